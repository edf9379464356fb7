//! [`lock`]: a tree of mounts whose flags the root of another user namespace cannot take off

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use crate::error::{Error, Result};
use crate::exec::missing;
use crate::stack::staging::{on_a_thread, stop_propagation};
use crate::sys::{self, Depth, Helper, Inside, Mode, OFlags, Place};

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
