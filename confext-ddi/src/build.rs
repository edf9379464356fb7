//! Building: EROFS, verity, signature and GPT to a deterministic DDI.
//!
//! A [`Tree`] holds the entries, [`erofs::write`] makes a file system of them, [`Builder`] a complete image.

mod content;
mod ddi;
#[cfg(all(feature = "directory", target_os = "linux"))]
mod directory;
pub mod erofs;
mod files;
mod gpt;
mod ids;
#[cfg(feature = "directory")]
mod output;
mod release;
mod source;
mod tar;
mod tree;

pub use content::Content;
pub use ddi::{Builder, Built};
#[cfg(all(feature = "directory", target_os = "linux"))]
pub use directory::DirectoryOptions;
pub use files::Files;
#[cfg(feature = "directory")]
pub(crate) use output::Partial;
pub use release::ReleaseFields;
pub use source::{Whiteouts, Xattrs};
pub use tar::TarOptions;
pub use tree::{Device, Meta, Timestamp, Tree};
