//! One stack takes the place of another: beneath it, then the upper one is detached. At no moment is there neither.
//!
//! ```text
//!  host ◄── old          as it was
//!  host ◄── new ◄── old  put beneath the old one
//!  host ◄── new          the old one detached
//! ```
//!
//! Linux 6.5 has a call for the first step. Before, the kernel does the same when a mount arrives at a place by propagation
//! and something is mounted there already: so a copy of the host's mount, its peer, is made, on which nothing is mounted,
//! and the new stack is mounted on that. Where the host's mount has no peers it has one for this moment.
//!
//! That needs a way to the directory below the old stack. When the hierarchy is itself a mount point there is none, and
//! without the call the old stack has to be taken away first: that is done only when it was asked for.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use confext_ddi::release::Class;
use rustix::io::Errno;

use super::bare::{self, Parent};
use super::staging::{on_a_thread, stop_propagation};
use crate::admission::Exchange;
use crate::error::{Error, Result};
use crate::host::{Ability, Host, fd_path};
use crate::sys::{
    self, AttributeChange, Depth, MountAttrFlags, MountInfo, OFlags, Place, Propagation, ResolveFlags,
};

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By the kernel's own call.
    Beneath,
    /// By propagation from a peer of the host's mount.
    Propagated,
    /// The old one goes first: files are missing for a moment.
    WithGap,
}

/// `MS_SLAVE`, `MS_SHARED`
const SLAVE: u64 = 1 << 19;
const SHARED: u64 = 1 << 20;

/// Finds the way for one hierarchy; nothing is changed. `top` is the stack that is there.
///
/// # Errors
///
/// `missing-capability` when there is none without a gap, and a gap is not allowed.
pub(super) fn way(
    host: &Host,
    asked: Exchange,
    (class, hierarchy): (Class, &str),
    top: &OwnedFd,
) -> Result<Way> {
    let kernel = host.capabilities().mount_beneath;
    if kernel == Ability::Present && asked != Exchange::Propagated {
        return Ok(Way::Beneath);
    }
    // Of two stacks the upper one goes before the lower one is exchanged.
    if Parent::of(host, top).is_some() || bare::count(host, class, hierarchy, top)? > 1 {
        return Ok(Way::Propagated);
    }
    if asked == Exchange::GapAllowed {
        return Ok(Way::WithGap);
    }
    let target = host.display(Path::new(hierarchy));
    let why = format!("the kernel is older than Linux 6.5, and {target} is itself a mount point");
    Err(Error::Missing { what: "an exchange of stacks without a gap", why })
}

/// Puts `new` in the place of `old`.
///
/// There is no way back between the two steps: `old` is mounted on `new` then, so that detaching `new` would take the old
/// one along and leave the host bare. So the second call is made again if it fails. If that does not help, the old stack
/// stays on top and the new one unseen beneath it until the next refresh or unmerge.
///
/// # Errors
///
/// `os`; `missing-capability` when the way is none any more.
pub(super) fn exchange(
    host: &Host,
    way: Way,
    hierarchy: &str,
    (new, old): (BorrowedFd<'_>, &OwnedFd),
) -> Result<()> {
    let failed = |operation| {
        move |error: std::io::Error| Error::os(operation, host.display(Path::new(hierarchy)), error)
    };
    // Detaching goes through /proc: without it the exchange is not begun.
    fd_path(old.as_fd()).map_err(failed("look up"))?;
    let detach = || {
        let_lookups_end(old.as_fd());
        sys::detach(old.as_fd()).or_else(|_| sys::detach(old.as_fd()))
    };
    match way {
        Way::Beneath => {
            sys::move_mount(new, old.as_fd(), c"", Place::Beneath).map_err(failed("move_mount"))?;
            detach().map_err(failed("umount"))
        }
        Way::Propagated => {
            let Some(parent) = Parent::of(host, old) else {
                let why = "what the stack is mounted on cannot be reached".to_owned();
                return Err(Error::Missing { what: "an exchange of stacks without a gap", why });
            };
            let peers = propagate(new, &parent).map_err(failed("mount beneath the stack of"))?;
            detach().map_err(failed("umount"))?;
            if peers == Peers::ForAMoment {
                // As if it had never had any: nothing depends on that.
                let top = bare::open(host, hierarchy)?;
                let _ =
                    sys::set_attributes(top.as_fd(), &propagation(Propagation::Private), Depth::Recursive);
            }
            Ok(())
        }
        Way::WithGap => {
            let copy = sys::clone_tree(old.as_fd(), c"", Depth::Recursive).map_err(failed("copy"))?;
            detach().map_err(failed("umount"))?;
            let target = bare::open(host, hierarchy)?;
            let on_top = |tree| sys::move_mount(tree, target.as_fd(), c"", Place::OnTop);
            on_top(new).map_err(|error| {
                // Better the old one than none.
                let _ = on_top(copy.as_fd());
                failed("move_mount")(error)
            })
        }
    }
}

/// How long a lookup may take that began before a mount was changed.
pub(crate) const LOOKUP: Duration = Duration::from_millis(10);

/// Waits before a stack with mounts below it is detached. The kernel takes those off it at once, so that a lookup that is in the
/// stack already, and not yet in the mount, would not find the mount any more. A lookup that a change of mounts overtakes is
/// begun again, once, with locks; only such a one is at risk, and only from the next change. So no change is made for a
/// while.
pub(super) fn let_lookups_end(stack: BorrowedFd<'_>) {
    let below = sys::mount_id(stack).and_then(sys::mounts_below);
    if !below.is_ok_and(|mounts| mounts.is_empty()) {
        std::thread::sleep(LOOKUP);
    }
}

/// Whether the host's mount has peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peers {
    Always,
    ForAMoment,
}

/// Mounts `new` on a peer of the mount that `parent` is on, so that it arrives there, beneath what is there.
fn propagate(new: BorrowedFd<'_>, parent: &Parent) -> std::io::Result<Peers> {
    let info = sys::mount_place(parent.mount)?;
    let mount = || mount_by_peer(new, parent, Path::new(""));
    if info.propagation & SHARED != 0 {
        return mount().map(|()| Peers::Always);
    }
    let lone = Lone::share(&info)?;
    let mounted = mount();
    mounted.and(lone.unshare()).map(|()| Peers::ForAMoment)
}

/// Mounts `new` at a place below the hierarchy, on the host's directory, while a stack hides it.
///
/// # Errors
///
/// `EINVAL` where the host's mount has no peers. It could have one for this moment; but a process that is killed then would
/// leave it so.
pub(super) fn mount_hidden(new: BorrowedFd<'_>, parent: &Parent, place: &Path) -> std::io::Result<()> {
    if sys::mount_place(parent.mount)?.propagation & SHARED == 0 {
        return Err(Errno::INVAL.into());
    }
    mount_by_peer(new, parent, place)
}

/// On a copy of the host's mount, from which it arrives there.
fn mount_by_peer(new: BorrowedFd<'_>, parent: &Parent, place: &Path) -> std::io::Result<()> {
    let peer = sys::clone_tree(parent.directory.as_fd(), c"", Depth::Single)?;
    let name = Path::new(parent.path.file_name().unwrap_or_default()).join(place);
    let place = sys::open_path(peer.as_fd(), &name, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)?;
    on_a_thread(|| Ok(mount_on_peer(new, &peer, &place)))
        .map_err(|error| std::io::Error::other(error.explain()))?
}

/// In a mount namespace that ends with the thread: its mounts go then, without anything that propagates.
fn mount_on_peer(new: BorrowedFd<'_>, peer: &OwnedFd, place: &OwnedFd) -> std::io::Result<()> {
    sys::unshare_mounts()?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, sys::Mode::empty())?;
    stop_propagation(root.as_fd())?;
    sys::move_mount(peer.as_fd(), root.as_fd(), c"", Place::OnTop)?;
    sys::move_mount(new, place.as_fd(), c"", Place::OnTop)?;
    sys::set_attributes(peer.as_fd(), &propagation(Propagation::Private), Depth::Recursive)
}

fn propagation(kind: Propagation) -> AttributeChange {
    AttributeChange { propagation: Some(kind), ..AttributeChange::set(MountAttrFlags::empty()) }
}

/// A mount without peers that gets some for a moment.
struct Lone {
    root: OwnedFd,
    before: Propagation,
}

impl Lone {
    fn share(info: &MountInfo) -> std::io::Result<Self> {
        use std::os::unix::ffi::OsStrExt as _;
        let path = Path::new(std::ffi::OsStr::from_bytes(&info.mount_point));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, sys::Mode::empty())?;
        // Something else may be mounted over it.
        if sys::mount_id(root.as_fd())? != info.id {
            return Err(Errno::STALE.into());
        }
        let before = if info.propagation & SLAVE == 0 { Propagation::Private } else { Propagation::Slave };
        sys::set_attributes(root.as_fd(), &propagation(Propagation::Shared), Depth::Single)?;
        Ok(Self { root, before })
    }

    fn unshare(self) -> std::io::Result<()> {
        sys::set_attributes(self.root.as_fd(), &propagation(self.before), Depth::Single)
    }
}
