//! Building: EROFS, verity, signature and GPT to a deterministic DDI.
//!
//! A [`Tree`] holds the entries, [`erofs::write`] makes a file system of them.

mod content;
pub mod erofs;
mod tree;

pub use content::Content;
pub use tree::{Device, Meta, Timestamp, Tree};
