//! Building: EROFS, verity, signature and GPT to a deterministic DDI.
//!
//! A [`Tree`] holds the entries, [`erofs::write`] makes a file system of them.

mod content;
#[cfg(all(feature = "directory", target_os = "linux"))]
mod directory;
pub mod erofs;
mod tree;

pub use content::Content;
#[cfg(all(feature = "directory", target_os = "linux"))]
pub use directory::{DirectoryOptions, Xattrs};
pub use tree::{Device, Meta, Timestamp, Tree};
