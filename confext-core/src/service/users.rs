//! What a process in a user namespace of its own gets: files that have its owners, and flags that it cannot take off

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::exec::missing;
use crate::host::Layering;
use crate::stack::staging::{on_a_thread, stop_propagation};
use crate::sys::{self, Depth, Helper, Inside, Mode, OFlags, Place};

/// Whose the files of extensions are for a process.
///
/// ```
/// use confext_core::service::Owners;
///
/// // In a container whose root is user 100000 outside, a file of user 0 in the image is root's.
/// assert_eq!(Owners::Namespace.as_str(), "namespace");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owners {
    /// Of the users that the image names, by their numbers outside. Who is not mapped inside is nobody there.
    Image,
    /// Of the users that have these numbers in the user namespace of the process.
    Namespace,
}

impl Owners {
    /// `image` or `namespace`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Namespace => "namespace",
        }
    }
}

/// Copies of the mounts of layers, through which their files have owners of a user namespace; `None` when a file system of one of
/// them cannot do that, or the kernel cannot copy such mounts: all layers have owners of one kind.
///
/// # Errors
///
/// `os`.
pub(super) fn map(
    layers: &[BorrowedFd<'_>],
    users: BorrowedFd<'_>,
    layering: Layering,
) -> Result<Option<Vec<OwnedFd>>> {
    if layering == Layering::Staged {
        return Ok(None);
    }
    let failed = |operation| move |error| Error::os(operation, "a layer for another user namespace", error);
    let mut mapped = Vec::new();
    for layer in layers {
        let copy = sys::clone_tree(*layer, c"", Depth::Single).map_err(failed("copy"))?;
        match sys::map_owners(copy.as_fd(), users) {
            Ok(()) => mapped.push(copy),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::PermissionDenied) => {
                return Ok(None);
            }
            Err(error) => return Err(failed("map the owners of")(error)),
        }
    }
    Ok(Some(mapped))
}

/// Where the tree is for a moment.
const PLACE: &str = "/proc";

/// What the kernel trusts because root mounted it must not be made writable, nor its device nodes and set-id programs be made
/// to count, by the root of a container. The kernel locks the flags of mounts, and the mounts on them to their places, when
/// they are copied to a mount namespace of another user namespace. So that is done here, in one that nobody else sees; what
/// comes back is a copy of that.
///
/// # Errors
///
/// `missing-capability` where there are no user namespaces; `os`.
///
/// # Needs
///
/// `CAP_SYS_ADMIN`.
pub(super) fn lock(tree: OwnedFd) -> Result<OwnedFd> {
    let failed = |operation| move |error| Error::os(operation, "mounts for another user namespace", error);
    on_a_thread(|| {
        sys::unshare_mounts().map_err(failed("unshare"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path| {
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(|errno| failed("open a place for")(errno.into()))
        };
        stop_propagation(open("/")?.as_fd()).map_err(failed("make private"))?;
        // A directory that is there, and that nobody needs here. Over the root there could be no user namespace.
        sys::move_mount(tree.as_fd(), open(PLACE)?.as_fd(), c"", Place::OnTop).map_err(failed("place"))?;
        let helper = Helper::start(Inside::New).map_err(|error| missing(&error))?;
        let there = helper.open(Path::new(PLACE)).map_err(failed("find"))?;
        helper.clone_tree(there.as_fd(), Path::new(""), Depth::Recursive).map_err(failed("copy"))
    })
}
