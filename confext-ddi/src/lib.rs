//! Read, verify and build Discoverable Disk Images (UAPI.3) used as extension images (UAPI.4).
//!
//! ```text
//!  image file ─► gpt ─► dps/image ─► verity + signature ─► policy ─► Admitted ─► files
//!    ReadAt     Table     Image       Claim, Evidence     one gate
//! ```
//!
//! Each arrow is one function whose input is the previous stage's type. Nothing here asks or changes the running
//! system: there is no clock (time is an argument), no environment, no process, no printing.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        reason = "tests compute with their own small numbers; a panic there is a failed test"
    )
)]

// In order of use: a module uses only modules above it (a test checks this).
pub mod error;

pub mod units;

pub mod id;

pub mod digest;

pub mod limits;

pub mod read;

pub mod write;

pub mod gpt;

pub mod dps;

pub mod fstype;

pub mod version;

mod threads;

pub mod verity;

pub mod signature;

mod erofs;

mod ordered;

pub mod fs;

pub mod manifest;

pub mod diff;

pub mod release;

pub mod lint;

pub mod vpick;

pub mod sidecar;

pub mod filter;

pub mod image;

pub mod policy;

pub mod settings;

pub mod unit;

pub mod build;

pub mod parity;

pub use digest::RootHash;
pub use error::{Error, Result};
pub use limits::Limits;
pub use read::ReadAt;
