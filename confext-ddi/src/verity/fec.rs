//! Forward error correction: Reed–Solomon parity over data and hash tree, as `veritysetup --fec-device` writes it.
//!
//! ```text
//!  covered  ┌─────────────── data ───────────────┬── hash tree, to the end of its device ──┐ zeros
//!           │ 0  1  2  …                         │                                         │
//!           └────────────────────────────────────┴─────────────────────────────────────────┘
//!             the blocks n, rounds + n, 2·rounds + n, … are the 255 - roots rows of round n
//!
//!  round n  │ row 0            b │      each byte b of a block is in a codeword of its own:
//!           │ row 1            b │      one byte of each row, then `roots` bytes of parity
//!           │ …                b │
//!           │ row 254 - roots  b │      parity of round n, byte b: at (n · block size + b) · roots
//! ```
//!
//! A superblock is not covered; what follows the tree on its device is.
//!
//! *Spec*: kernel `admin-guide/device-mapper/verity.rst`, `use_fec_from_device`; the layout is that of `cryptsetup`.

mod code;
mod coverage;
mod covered;
mod encode;
mod field;
mod repair;
mod report;

pub use coverage::{Coverage, Roots};
pub use encode::encode;
pub(crate) use encode::encode_told;
pub(crate) use repair::repair_told;
pub use repair::{Parts, repair};
pub use report::{Area, Block, Report};

/// Hears how many more bytes are done; an error ends the work.
pub(crate) type Tell<'a> = dyn FnMut(u64) -> crate::error::Result<()> + 'a;
