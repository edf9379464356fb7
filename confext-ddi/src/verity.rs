//! dm-verity: superblock, geometry, hash tree, checked reader.
//!
//! ```text
//!  hash area   ┌────────────┬───────────┬─ … ─┬──────────────────┐
//!              │ superblock │ top level │     │ level 0 (leaves) │   blocks of 512 to 65536 bytes
//!              └────────────┴───────────┴─ … ─┴──────────────────┘
//!  level 0 holds the digests of the data blocks, level n those of the blocks of level n-1; the digest of the
//!  top level's one block is the root hash. A digest is hash(salt ‖ block); the rest of a block is zero.
//! ```
//!
//! One data block needs no level at all: its own digest is the root hash.
//!
//! The root hash pins the content, and with it the salt and the number of blocks: see [`Reader`].

mod cache;
mod check;
mod copy;
pub mod fec;
mod geometry;
mod hasher;
mod many;
mod reader;
mod superblock;
mod tree;

pub use check::{Damage, Fault, Report, check, verify};
pub use copy::copy_in_parts;
pub use geometry::{Geometry, HashArea, Level};
pub(crate) use reader::computed_root_hash;
pub use reader::{Progress, Reader, copy_verified};
pub use superblock::{HashType, Superblock};
pub(crate) use tree::Growing;
pub use tree::{Tree, build, write};
