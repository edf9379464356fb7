//! What the sources of a tree share: which extended attributes are taken, and what marks of deleted files mean.

use super::tree::{Device, Kind, Meta, Tree, join, show};
use crate::error::{Refused, Result};

/// Which extended attributes of a source to take.
///
/// ```
/// # use confext_ddi::build::{Meta, erofs};
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # tree.set_xattr("etc/app.conf", "user.origin", "a desktop")?;
/// # let mut archive = Vec::new();
/// # tree.write_tar(&erofs::Options::default(), &mut archive)?;
/// use confext_ddi::build::{TarOptions, Tree, Xattrs};
/// use confext_ddi::{Limits, fs::FileSystem as _};
///
/// // In the archive, `etc/app.conf` has `user.origin`.
/// let mut options = TarOptions::default();
/// options.xattrs = Xattrs::Leave;
/// let tree = Tree::from_tar(archive, &options)?;
/// assert!(tree.files(&Limits::default()).xattrs(b"etc/app.conf")?.is_empty());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Xattrs {
    /// All that there are; one that EROFS cannot store is an error.
    #[default]
    All,
    /// None.
    Leave,
}

/// What the marks of an OCI layer for deleted files become: `.wh.NAME`, and `.wh..wh..opq` for all of a directory.
///
/// *Spec*: OCI image specification, "Image Layer Filesystem Changeset".
///
/// ```
/// # use confext_ddi::build::{Meta, erofs};
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/.wh.app.conf", "", Meta::new(0o644))?;
/// # let mut layer = Vec::new();
/// # tree.write_tar(&erofs::Options::default(), &mut layer)?;
/// use confext_ddi::build::{TarOptions, Tree, Whiteouts};
/// use confext_ddi::{Limits, fs::{FileSystem as _, FileType}};
///
/// // A layer that has `etc/.wh.app.conf` takes `etc/app.conf` away.
/// let mut options = TarOptions::default();
/// options.whiteouts = Whiteouts::Overlay;
/// let tree = Tree::from_tar(layer, &options)?;
/// let mark = tree.files(&Limits::default()).stat(b"etc/app.conf")?;
/// assert_eq!((mark.file_type, mark.rdev), (FileType::CharDevice, Some((0, 0))));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Whiteouts {
    /// An error: an image that takes files away is not what most callers mean.
    #[default]
    Refuse,
    /// What an overlay understands: a character device 0:0, and the attribute `trusted.overlay.opaque`.
    Overlay,
}

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_XATTR: &[u8] = b"trusted.overlay.opaque";

/// The marks of a source, kept until all of its entries are there: a mark takes away what lower layers have, never what
/// stands beside it.
#[derive(Debug, Default)]
pub(super) struct Marks {
    deleted: Vec<Vec<u8>>,
    opaque: Vec<Vec<u8>>,
}

impl Marks {
    /// Keeps `path` if it is a mark, and says whether it is.
    pub(super) fn take(&mut self, path: &[u8], whiteouts: Whiteouts) -> Result<bool> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash.saturating_add(1)..)),
            None => (&[][..], Some(path)),
        };
        let name = name.unwrap_or_default();
        let Some(hidden) = name.strip_prefix(PREFIX) else { return Ok(false) };
        let reserved = hidden.is_empty() || hidden.starts_with(PREFIX);
        if whiteouts == Whiteouts::Refuse || (reserved && name != OPAQUE) || matches!(hidden, b"." | b"..") {
            return Err(Refused::OciWhiteout { path: show(path) }.into());
        }
        if reserved {
            self.opaque.push(parent.to_vec());
        } else {
            self.deleted.push(join(parent, hidden));
        }
        Ok(true)
    }

    /// Adds what the marks stand for.
    pub(super) fn apply(self, tree: &mut Tree) -> Result<()> {
        for path in self.deleted {
            match tree.find(&path)?.map(|node| matches!(tree.node(node).kind, Kind::Directory(_))) {
                None => tree.add_device(path, Device::Character { major: 0, minor: 0 }, Meta::new(0))?,
                // The lower directory goes, with all that is in it; the new one stays.
                Some(true) => tree.set_xattr(path, OPAQUE_XATTR, "y")?,
                // A file in its place hides it already.
                Some(false) => {}
            }
        }
        for path in self.opaque {
            if !tree.contains(&path) {
                tree.add_dir(&path, Meta::new(0o755))?;
            }
            tree.set_xattr(path, OPAQUE_XATTR, "y")?;
        }
        Ok(())
    }
}
