//! Building: EROFS, verity, signature and GPT to a deterministic DDI.
//!
//! A [`Tree`] holds the entries, [`erofs::write`] makes a file system of them, [`Builder`] a complete image, and
//! [`sign_image`] signs one that is there.

mod attach;
mod content;
mod ddi;
#[cfg(all(feature = "directory", target_os = "linux"))]
mod directory;
pub mod erofs;
mod files;
mod format;
mod gpt;
mod hashed;
mod ids;
#[cfg(feature = "rules")]
mod labels;
#[cfg(feature = "directory")]
mod output;
mod owners;
#[cfg(feature = "rules")]
mod patterns;
mod release;
#[cfg(feature = "rules")]
mod rules;
mod source;
#[cfg(all(feature = "read-fs", unix))]
mod squashfs;
mod tar;
mod tree;
pub mod vfat;

#[cfg(feature = "openssl")]
pub use attach::attach_signature;
pub use attach::{Existing, SignOptions, SignedImage, sign_image, to_sign};
pub use content::Content;
pub use ddi::{Builder, Built};
#[cfg(all(feature = "directory", target_os = "linux"))]
pub use directory::DirectoryOptions;
pub use files::Files;
pub use format::{Keeps, MakeFileSystem, Target};
#[cfg(feature = "rules")]
pub use labels::Labels;
#[cfg(feature = "directory")]
pub(crate) use output::{Partial, must_be_free};
#[cfg(feature = "directory")]
pub use output::{Tell, sign_file, sign_file_watched};
pub use owners::{Otherwise, OwnerRange, Owners};
#[cfg(feature = "rules")]
pub use patterns::Patterns;
pub use release::ReleaseFields;
#[cfg(feature = "rules")]
pub use rules::{Applied, Rules, XattrPattern};
pub use source::{Whiteouts, Xattrs};
#[cfg(all(feature = "read-fs", unix))]
pub use squashfs::{Compression, Squashfs};
pub use tar::TarOptions;
pub use tree::{Device, Meta, Timestamp, Tree};
