//! EROFS, uncompressed: the file system of every image built here.
//!
//! ```text
//!  block 0                          blocks 1 …                       data
//! ┌──────┬────────────┬──────────┬───────────────────────────────┬──────────────────────────────┐
//! │ 0    │ superblock │ inodes   │ inodes, each with attributes, │ whole blocks of files,       │
//! │      │ at 1024    │ at 1152  │ chunk table and inline tail   │ directories, long links      │
//! └──────┴────────────┴──────────┴───────────────────────────────┴──────────────────────────────┘
//! ```
//!
//! A first pass decides where everything stands (memory grows with the number of entries, never with file
//! contents), a second one writes front to back. The same tree and options give the same bytes.

mod chunks;
mod dirent;
mod layout;
mod space;
mod write;
mod xattr;

pub(super) use xattr::xattr_index;

use super::tree::{Timestamp, Tree};
use crate::error::{Result, ResultExt as _};
use crate::id::Uuid;
use std::io::Write;

/// The base-2 logarithm of the block size.
const BLOCK_BITS: u8 = 12;
/// The block size: what every kernel with pages of 4 KiB or more can mount.
const BLOCK: u64 = 1 << BLOCK_BITS;

/// What of an image does not come from its tree.
///
/// ```
/// use confext_ddi::build::{Meta, Timestamp, Tree, erofs};
/// use confext_ddi::{Limits, fs, fstype::FsType};
///
/// let mut tree = Tree::new();
/// let today = Timestamp::from_seconds(1_800_000_000);
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644).mtime(today))?;
///
/// // As `SOURCE_DATE_EPOCH` asks: no time in the image is later.
/// let mut options = erofs::Options::default();
/// options.latest_mtime = Some(Timestamp::from_seconds(1_700_000_000));
/// let mut image = Vec::new();
/// erofs::write(&tree, &options, &mut image)?;
/// let files = fs::open(image, FsType::Erofs, &Limits::default())?;
/// assert_eq!(files.stat(b"etc/app.conf")?.mtime_sec, 1_700_000_000);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The file system's identifier. Default: all zero.
    pub uuid: Uuid,
    /// Modification time of the entries that have none of their own. Default: 1970-01-01.
    pub build_time: Timestamp,
    /// Later modification times are set to this one, as `SOURCE_DATE_EPOCH` asks. Default: kept as they are.
    pub latest_mtime: Option<Timestamp>,
}

impl Default for Options {
    fn default() -> Self {
        Self { uuid: Uuid::from_bytes([0; 16]), build_time: Timestamp::default(), latest_mtime: None }
    }
}

/// Writes `tree` as an EROFS image, front to back from where `out` stands, and returns its size in bytes.
///
/// The size is a multiple of 4096, the least 4096.
///
/// # Errors
///
/// `erofs-size` when it needs more than 2^32 - 2 blocks, `xattr-size` when one entry has more than 256 KiB of
/// attributes, `source-changed` when a file is not what it was when it was added; else an I/O error.
///
/// # Spec
///
/// The kernel's `Documentation/filesystems/erofs.rst`.
pub fn write(tree: &Tree, options: &Options, out: &mut impl Write) -> Result<u64> {
    plan(tree, options)?.write(out)
}

/// A file system of which everything is known but the contents of its files.
pub(super) struct Plan<'t> {
    tree: &'t Tree,
    layout: layout::Layout<'t>,
    options: &'t Options,
}

/// Decides where everything stands.
pub(super) fn plan<'t>(tree: &'t Tree, options: &'t Options) -> Result<Plan<'t>> {
    let layout = layout::Layout::new(tree, options).within("erofs")?;
    Ok(Plan { tree, layout, options })
}

impl Plan<'_> {
    /// The size that it will have.
    pub(super) const fn size_bytes(&self) -> u64 {
        self.layout.blocks.saturating_mul(BLOCK)
    }

    pub(super) fn write(&self, out: &mut impl Write) -> Result<u64> {
        write::write(self.tree, &self.layout, self.options, out).within("erofs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Device, Meta};

    fn image(tree: &Tree, options: &Options) -> Vec<u8> {
        let mut out = Vec::new();
        assert_eq!(write(tree, options, &mut out).unwrap(), out.len() as u64);
        out
    }

    fn u32_at(image: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(image[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn one_small_file_is_one_block() {
        let mut tree = Tree::new();
        tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644)).unwrap();
        tree.add_file("etc/extension-release.d/extension-release.app", "ID=_any\n", Meta::new(0o644))
            .unwrap();
        let image = image(&tree, &Options::default());
        assert_eq!(image.len(), 4096);
        assert_eq!(u32_at(&image, 1024), crate::erofs::MAGIC);
        // Root inode number and count of inodes.
        assert_eq!(image[1038..1040], [36, 0]);
        assert_eq!(image[1040..1048], 5_u64.to_le_bytes());
        let mut zeroed = image[1024..].to_vec();
        zeroed[4..8].fill(0);
        assert_eq!(u32_at(&image, 1028), crate::erofs::crc32c(&zeroed));
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes_whatever_the_order() {
        let meta = Meta::new(0o640).owner(70_000, 3).mtime(Timestamp::from_seconds(-5));
        let names: Vec<String> = (0..500).map(|at| format!("d{}/f{at}", at % 7)).collect();
        let tree = |names: &mut dyn Iterator<Item = &String>| {
            let mut tree = Tree::new();
            for name in names {
                tree.add_file(name, name.repeat(name.len() * 37), meta).unwrap();
            }
            tree.add_device("dev", Device::Character { major: 1, minor: 3 }, meta).unwrap();
            tree
        };
        let forward = image(&tree(&mut names.iter()), &Options::default());
        let backward = image(&tree(&mut names.iter().rev()), &Options::default());
        assert!(forward == backward);
        let options = Options { latest_mtime: Some(Timestamp::from_seconds(-6)), ..Options::default() };
        assert!(forward != image(&tree(&mut names.iter()), &options));
    }

    #[test]
    fn an_image_beyond_32_bit_addresses_is_refused_before_anything_is_written() {
        #[derive(Debug)]
        struct Huge;
        impl crate::build::Content for Huge {
            fn size_bytes(&self) -> u64 {
                1 << 44
            }
            fn copy(&self, _: &[crate::units::ByteRange], _: &mut dyn Write) -> Result<()> {
                unreachable!("the layout refuses it first")
            }
        }
        let mut tree = Tree::new();
        tree.add_content("huge", std::sync::Arc::new(Huge), Meta::new(0o644)).unwrap();
        let mut out = Vec::new();
        let error = write(&tree, &Options::default(), &mut out).unwrap_err();
        assert_eq!((error.code(), error.path().as_str(), out.len()), ("erofs-size", "erofs", 0));
    }

    #[test]
    fn content_of_another_length_than_promised_is_noticed() {
        #[derive(Debug)]
        struct Wrong(usize);
        impl crate::build::Content for Wrong {
            fn size_bytes(&self) -> u64 {
                5000
            }
            fn copy(&self, _: &[crate::units::ByteRange], out: &mut dyn Write) -> Result<()> {
                Ok(out.write_all(&vec![1; self.0])?)
            }
        }
        for len in [0, 4, 5000, 9000] {
            let mut tree = Tree::new();
            tree.add_content("f", std::sync::Arc::new(Wrong(len)), Meta::new(0o644)).unwrap();
            let error = write(&tree, &Options::default(), &mut Vec::new()).unwrap_err();
            assert_eq!(error.code(), "source-changed", "{len}");
        }
    }
}
