//! [`run`] and [`Running`]: a command in namespaces of its own, with detached mounts in place that nobody else sees.

mod namespace;
mod place;
mod running;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use crate::error::Result;

pub(crate) use namespace::missing;
pub use namespace::{Namespace, may_mount};
pub use running::Running;

/// A detached mount and where it goes.
///
/// ```no_run
/// use std::path::Path;
///
/// use confext_core::{Host, Options, Stack};
/// use confext_ddi::release::Class;
///
/// let stack = Stack::assemble(&Host::open("/")?, Class::Confext, &Options::default())?;
/// let placements = stack.into_placements();
/// // Confexts are for /etc, and nobody sees this one yet.
/// assert_eq!(placements[0].hierarchy, Path::new("etc"));
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Placement {
    /// The directory it covers, below the root: `etc`.
    pub hierarchy: PathBuf,
    /// The mount, from `fsmount` or a detached copy.
    pub tree: OwnedFd,
    /// The namespace it was made in, which the command goes to; `None` when this process may mount.
    pub namespace: Option<Arc<Namespace>>,
}

impl Placement {
    /// A mount of this process's own.
    #[must_use]
    pub fn new(hierarchy: impl Into<PathBuf>, tree: OwnedFd) -> Self {
        Self { hierarchy: hierarchy.into(), tree, namespace: None }
    }
}

/// The file tree a command sees.
///
/// ```
/// use std::path::Path;
///
/// use confext_core::exec::Root;
///
/// // A command sees the root directory that its stack is over.
/// assert!(matches!(Root::of(Path::new("/")), Root::Host));
/// assert!(matches!(Root::of(Path::new("/srv/guest")), Root::Directory(path) if path == Path::new("/srv/guest")));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Root {
    /// The host's own, with the mounts below `/`.
    Host,
    /// The mounts are put below this directory and the command sees it as `/`.
    Directory(PathBuf),
}

/// Runs a command with `placements` in place, waits for it and returns its exit status, with its output where the
/// command was told to pipe it.
///
/// # Errors
///
/// As [`Running::start`].
///
/// # Needs
///
/// As [`Running::start`].
pub fn run(root: &Root, placements: Vec<Placement>, command: Command) -> Result<Output> {
    Running::start(root, placements, command)?.wait_with_output()
}

impl Root {
    /// The root directory of a host, as a command is to see it.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        if path == Path::new("/") { Self::Host } else { Self::Directory(path.to_path_buf()) }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Host => Path::new("/"),
            Self::Directory(path) => path,
        }
    }
}
