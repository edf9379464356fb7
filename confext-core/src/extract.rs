//! [`extract`]: the files of an image into a directory, never outside it, and on failure as if nothing had happened.
//!
//! Every step is made from the file descriptor of the directory it is in, with one name that is neither `.` nor `..` and
//! has no slash; directories are entered with `openat2` and `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS` and
//! `RESOLVE_NO_MAGICLINKS`. So neither names nor links in the image lead out, nor links that are there already or that
//! somebody puts there meanwhile.

mod attributes;
mod journal;
mod place;
mod writer;

use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::path::Path;

use confext_ddi::Limits;
use confext_ddi::fs::FileSystem;
use serde::Serialize;

use crate::error::{Error, Result};
use place::Destination;
use writer::Writer;

/// What becomes of what is in the way. A directory in the place of a directory is never in the way: it is kept, with its
/// attributes.
///
/// ```
/// # use std::ops::ControlFlow;
/// # use confext_ddi::{Limits, build::{Meta, Tree}};
/// # let (root, limits, mut tree) = (tempfile::tempdir()?, Limits::default(), Tree::new());
/// # let to = root.path();
/// # tree.add_file("app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let image = tree.files(&limits);
/// use confext_core::extract::{Existing, Options, extract};
///
/// std::fs::write(to.join("app.conf"), "answer = 41\n")?;
/// let mut options = Options::default();
/// let refused = extract(&image, to, &options, &limits, |_| ControlFlow::Continue(())).unwrap_err();
/// assert_eq!(refused.code(), "extract-exists");
///
/// options.existing = Existing::Replace;
/// assert_eq!(extract(&image, to, &options, &limits, |_| ControlFlow::Continue(()))?.replaced, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Nothing is extracted (`extract-exists`).
    #[default]
    Refuse,
    /// Files and links are replaced, each in one step; they are back if the extraction fails. A directory in the place of
    /// a file is not replaced.
    Replace,
}

/// Whose the files are.
///
/// ```
/// # use std::ops::ControlFlow;
/// # use confext_ddi::{Limits, build::{Meta, Tree}};
/// # let (root, limits, mut tree) = (tempfile::tempdir()?, Limits::default(), Tree::new());
/// # let to = root.path().join("app");
/// # tree.add_file("app.conf", "answer = 42\n", Meta::new(0o644).owner(33, 33))?;
/// # let image = tree.files(&limits);
/// use std::os::unix::fs::MetadataExt as _;
/// use confext_core::extract::{Options, Ownership, extract};
///
/// // Everything is for whoever owns the directory that it goes to.
/// let owner = std::fs::metadata(root.path())?;
/// let mut options = Options::default();
/// options.ownership = Ownership::Fixed { uid: owner.uid(), gid: owner.gid() };
/// extract(&image, &to, &options, &limits, |_| ControlFlow::Continue(()))?;
/// assert_eq!(std::fs::metadata(to.join("app.conf"))?.uid(), owner.uid());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Ownership {
    /// Those of who extracts.
    #[default]
    Caller,
    /// As in the image. Needs `CAP_CHOWN`.
    AsIs,
    /// All of one user and group. Needs `CAP_CHOWN` for others than one's own.
    Fixed {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// As in the image, moved: 0 becomes `first`, and an owner from `count` on is refused (`extract-owner`). Needs
    /// `CAP_CHOWN`.
    Shifted {
        /// What 0 becomes.
        first: u32,
        /// How many there are.
        count: u32,
    },
}

/// What becomes of device nodes.
///
/// ```
/// # use std::ops::ControlFlow;
/// # use confext_ddi::{Limits, build::{Device, Meta, Tree}};
/// # let (root, limits, mut tree) = (tempfile::tempdir()?, Limits::default(), Tree::new());
/// # let to = root.path().join("app");
/// use confext_core::extract::{Devices, Options, extract};
///
/// tree.add_device("dev/null", Device::Character { major: 1, minor: 3 }, Meta::new(0o666))?;
/// let image = tree.files(&limits);
/// let mut options = Options::default();
/// let refused = extract(&image, &to, &options, &limits, |_| ControlFlow::Continue(())).unwrap_err();
/// assert_eq!(refused.code(), "extract-device");
///
/// options.devices = Devices::LeaveOut;
/// let done = extract(&image, &to, &options, &limits, |_| ControlFlow::Continue(()))?;
/// assert_eq!(done.devices_left_out, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// Nothing is extracted (`extract-device`).
    #[default]
    Refuse,
    /// They are left out.
    LeaveOut,
    /// They are made. Needs `CAP_MKNOD`.
    Make,
}

/// What becomes of the set-user-id and set-group-id bits of files.
///
/// ```
/// # use std::ops::ControlFlow;
/// # use confext_ddi::{Limits, build::{Meta, Tree}};
/// # let (root, limits, mut tree) = (tempfile::tempdir()?, Limits::default(), Tree::new());
/// # let to = root.path().join("app");
/// use std::os::unix::fs::PermissionsExt as _;
/// use confext_core::extract::{Options, SetId, extract};
///
/// tree.add_file("bin/su", "…", Meta::new(0o4755))?;
/// let mut options = Options::default();
/// options.set_id = SetId::Keep;
/// extract(&tree.files(&limits), &to, &options, &limits, |_| ControlFlow::Continue(()))?;
/// assert_eq!(std::fs::metadata(to.join("bin/su"))?.permissions().mode() & 0o7777, 0o4755);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetId {
    /// They are cleared.
    #[default]
    Clear,
    /// They are kept.
    Keep,
}

/// When the files have to be on disk.
///
/// ```
/// # use std::ops::ControlFlow;
/// # use confext_ddi::{Limits, build::{Meta, Tree}};
/// # let (root, limits, mut tree) = (tempfile::tempdir()?, Limits::default(), Tree::new());
/// # let to = root.path().join("app");
/// # tree.add_file("app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let image = tree.files(&limits);
/// use confext_core::extract::{Options, Sync, extract};
///
/// // Once this returns, a power failure takes nothing away.
/// let mut options = Options::default();
/// options.sync = Sync::Now;
/// extract(&image, &to, &options, &limits, |_| ControlFlow::Continue(()))?;
/// assert!(to.join("app.conf").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// When the kernel sees fit.
    #[default]
    Later,
    /// Before the extraction succeeds: the whole file system is synchronised.
    Now,
}

/// How files are extracted. The defaults are safe: nothing of the image gets rights.
///
/// ```
/// # use std::ops::ControlFlow;
/// # use confext_ddi::{Limits, build::{Meta, Tree}};
/// # let (root, limits, mut tree) = (tempfile::tempdir()?, Limits::default(), Tree::new());
/// # let to = root.path().join("app");
/// use confext_core::extract::{Options, extract};
///
/// tree.add_file("bin/ping", "…", Meta::new(0o755))?;
/// tree.set_xattr("bin/ping", "security.capability", "…")?;
/// // Only `user.` attributes are set, so that nothing of the image gets rights.
/// let options = Options::default();
/// let done = extract(&tree.files(&limits), &to, &options, &limits, |_| ControlFlow::Continue(()))?;
/// assert_eq!(done.xattrs_left_out, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// What is in the way.
    pub existing: Existing,
    /// Whose the files are.
    pub ownership: Ownership,
    /// Device nodes.
    pub devices: Devices,
    /// Set-id bits of files.
    pub set_id: SetId,
    /// Beginnings of the names of extended attributes that are set; default `user.`. Others are left out. Those of
    /// `trusted.overlay.`, which an overlay obeys, are only set for a beginning that names them, not for `trusted.`.
    pub xattrs: Vec<String>,
    /// When the files have to be on disk.
    pub sync: Sync,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            existing: Existing::default(),
            ownership: Ownership::default(),
            devices: Devices::default(),
            set_id: SetId::default(),
            xattrs: vec!["user.".to_owned()],
            sync: Sync::default(),
        }
    }
}

/// What was extracted, and what of it was not as in the image.
///
/// ```
/// # use std::ops::ControlFlow;
/// # use confext_ddi::{Limits, build::{Meta, Tree}};
/// # let (root, limits, mut tree) = (tempfile::tempdir()?, Limits::default(), Tree::new());
/// # let to = root.path().join("app");
/// use confext_core::extract::{Extracted, Options, extract};
///
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// tree.add_file("bin/su", "…", Meta::new(0o4755))?;
/// let image = tree.files(&limits);
/// let done: Extracted = extract(&image, &to, &Options::default(), &limits, |_| ControlFlow::Continue(()))?;
/// assert_eq!((done.files, done.directories, done.set_id_cleared), (2, 3, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Extracted {
    /// Directories that were made, the destination included.
    pub directories: u64,
    /// Regular files, each once.
    pub files: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Device nodes, named pipes and sockets.
    pub special_files: u64,
    /// Bytes of the contents of files, holes included.
    pub bytes: u64,
    /// Files and links that were there and are replaced.
    pub replaced: u64,
    /// Files whose set-id bits were cleared.
    pub set_id_cleared: u64,
    /// Extended attributes that were left out.
    pub xattrs_left_out: u64,
    /// Device nodes that were left out.
    pub devices_left_out: u64,
}

/// Extracts all of `files` to the directory `destination`.
///
/// A destination that is not there appears when it is complete: the files are written to a directory beside it, which
/// is then renamed. Into one that is there, files are written one by one. On failure everything that was made is removed
/// again and everything that was replaced is put back; what could not be is in the error (`extract-leftover`).
///
/// Blocks of zeros become holes. `progress` gets the bytes of contents written so far, and may stop the extraction.
///
/// # Errors
///
/// `extract-destination`, `extract-exists`, `extract-name`, `extract-owner`, `extract-device`, `extract-changed`,
/// `extract-leftover`, `os`; what reading the files brings; `limit-count` above [`Limits::entries`] or
/// [`Limits::depth`], `limit-bytes` above [`Limits::content_bytes`] or, for names, [`Limits::manifest_bytes`];
/// `cancelled`.
///
/// # Needs
///
/// `openat2` (Linux 5.6), `/proc`.
pub fn extract(
    files: &dyn FileSystem,
    destination: &Path,
    options: &Options,
    limits: &Limits,
    progress: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Extracted> {
    let destination = Destination::open(destination)?;
    let mut writer = Writer::new(&destination, options, limits, progress);
    let written = writer.write_all(files).and_then(|()| {
        if options.sync == Sync::Now {
            rustix::fs::syncfs(destination.root())
                .map_err(|errno| Error::os("syncfs", destination.shown(), errno))?;
        }
        Ok(())
    });
    let (extracted, journal) = writer.into_parts();
    match written.and_then(|()| destination.appear(options.sync)) {
        Ok(()) => journal.commit(destination.root().as_fd()).map(|()| extracted),
        Err(error) => Err(destination.vanish(journal.undo(destination.root().as_fd()), error)),
    }
}

#[cfg(test)]
mod tests;
