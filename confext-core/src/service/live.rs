//! What is at a hierarchy in the mount namespace of a process: its own overlay, what is below that, and the mounts on it

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use confext_ddi::release::Class;
use rustix::fs::StatxAttributes;

use super::limited::limited;
use super::lower;
use super::process::{Process, name};
use crate::directory;
use crate::error::{Error, Result};
use crate::stack::staging::stop_propagation;
use crate::stack::submounts::{self, Found, Submount, make_private};
use crate::state::{self, Record, SERVICE_SOURCE};
use crate::sys::{self, Depth, MountAttrFlags, MountId, MountInfo, OFlags, Place, ResolveFlags};

/// A hierarchy in the view of a process.
#[derive(Debug)]
pub(super) struct View {
    pub(super) seen: Seen,
    /// Our record; `None` without an overlay, and when another program made it.
    pub(super) record: Option<Record>,
    /// Copies of the mounts on it.
    pub(super) submounts: Vec<Submount>,
    /// The directory without the service's own overlays: a detached private mount of it, without mounts below.
    pub(super) base: OwnedFd,
    /// Device and inode of that directory.
    pub(super) base_id: (u32, u32, u64),
    /// The mounts on it that the overlays hide.
    pub(super) hidden: Vec<Found>,
}

/// What the mount table says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Where it is, links resolved, from the root of the process.
    pub(super) place: PathBuf,
    /// The mount that the directory is on.
    pub(super) mount: MountInfo,
    /// The service's own overlays, the uppermost first; several after an exchange that did not come to its end.
    pub(super) own: Vec<MountInfo>,
    /// The mount that what is put here is mounted on.
    pub(super) under: MountInfo,
    /// The mounts on it.
    pub(super) mounts: Vec<Found>,
}

impl View {
    /// Looks; nothing changes.
    ///
    /// # Errors
    ///
    /// `hierarchy-missing`; `stack-covered`; `process-changed`; `process-gone`; `mounts-locked`; `no-answer`; `os`.
    pub(super) fn look(
        process: &Process,
        class: Class,
        hierarchy: &'static str,
        wait: Duration,
    ) -> Result<Self> {
        let process = process.clone();
        limited(name(process.pid()), wait, move |_| look_inside(&process, class, hierarchy))
    }

    /// What the mount that is seen allows.
    pub(super) fn attributes(&self) -> MountAttrFlags {
        self.seen.mount.attributes & KEPT
    }

    /// Whether the overlay can be taken off without a mount on it, or what it forbids, going with it.
    pub(super) fn is_plain(&self) -> bool {
        let forbidden = self.attributes() & FORBIDS;
        self.seen.mounts == self.hidden && self.seen.under.attributes.contains(forbidden)
    }
}

/// What can be set on a mount of another file system.
const KEPT: MountAttrFlags = FORBIDS
    .union(MountAttrFlags::MOUNT_ATTR_NOATIME)
    .union(MountAttrFlags::MOUNT_ATTR_STRICTATIME)
    .union(MountAttrFlags::MOUNT_ATTR_NODIRATIME);
/// What of it takes rights away.
const FORBIDS: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC)
    .union(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW);

/// The way back to where the thread came from.
pub(super) struct Home {
    namespace: OwnedFd,
    root: OwnedFd,
    /// `/proc/PID/task/TID` of the thread, by which it knows the mounts of where it is.
    thread: OwnedFd,
}

impl Home {
    pub(super) fn remember() -> Result<Self> {
        let failed = |error| Error::os("open", "the mount namespace of the caller", error);
        let namespace = sys::current_mount_namespace().map_err(failed)?;
        Ok(Self { namespace, root: open("/")?, thread: open("/proc/thread-self")? })
    }

    fn table(&self) -> Result<Vec<MountInfo>> {
        sys::mounts_of(self.thread.as_fd()).map_err(|error| Error::os("list", "the mounts there", error))
    }

    fn return_to(&self) -> Result<()> {
        let failed = |error| Error::os("return to", "the mount namespace of the caller", error);
        sys::enter_namespace(self.namespace.as_fd(), sys::NamespaceKind::Mount).map_err(failed)?;
        sys::enter_root(self.root.as_fd()).map_err(failed)
    }
}

fn look_inside(process: &Process, class: Class, hierarchy: &'static str) -> Result<View> {
    let home = Home::remember()?;
    process.enter()?;
    let (top, seen) = see(&home, process, hierarchy)?;
    let failed = |operation| move |error| Error::os(operation, format!("/{hierarchy}"), error);
    let submounts = copies(&home.table()?, &seen, (top.as_fd(), &seen.mount))?;
    if seen.own.is_empty() {
        let base = bare_copy(process, top.as_fd(), hierarchy)?;
        make_private(base.as_fd()).map_err(failed("make private"))?;
        let base_id = identity(base.as_fd()).map_err(failed("stat"))?;
        let hidden = seen.mounts.clone();
        return Ok(View { seen, record: None, submounts, base, base_id, hidden });
    }
    // A record that cannot be understood is one of another version: what it says has changed in any case.
    let record = state::service_record(top.as_fd(), class, hierarchy).unwrap_or_default();
    // With everything around it, since the directory itself is under the overlay.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat(&top, "..", flags, sys::Mode::empty());
    let around = parent.map_err(|errno| failed("open the parent of")(errno.into()))?;
    let around = sys::clone_tree(around.as_fd(), c"", Depth::Recursive).map_err(failed("copy"))?;
    make_private(around.as_fd()).map_err(failed("make private"))?;
    drop(top);
    home.return_to()?;
    let (base, hidden) = peel(&home, process, &around, &seen)?;
    let base_id = identity(base.as_fd()).map_err(failed("stat"))?;
    Ok(View { seen, record, submounts, base, base_id, hidden })
}

/// Copies of the mounts on a mount, each with all that is on it. One that shows the hierarchy's own directory, as
/// `ReadOnlyPaths=` makes them, is to show that of the new overlay: it comes by itself, and then what is on it.
fn copies(
    table: &[MountInfo],
    seen: &Seen,
    (top, on): (BorrowedFd<'_>, &MountInfo),
) -> Result<Vec<Submount>> {
    let mut found = Vec::new();
    for mount in submounts::among(table.to_vec(), on.id, &seen.place) {
        let mut copy = submounts::copy_of(top, &mount)?;
        let place = seen.place.join(mount.path());
        let here = |info: &&MountInfo| {
            info.parent == on.id && Path::new(OsStr::from_bytes(&info.mount_point)) == place
        };
        let info = table.iter().find(here);
        let own = info.filter(|info| seen.shows_itself(info, mount.path()));
        copy.again = own.map(|info| info.attributes & KEPT);
        found.push(copy);
        if let Some(own) = own {
            found.extend(copies(table, seen, (top, own))?);
        }
    }
    Ok(found)
}

impl Seen {
    /// Whether what is mounted at a path below the hierarchy is what the hierarchy itself has there.
    fn shows_itself(&self, mount: &MountInfo, path: &Path) -> bool {
        let point = Path::new(OsStr::from_bytes(&self.mount.mount_point));
        let Ok(inside) = self.place.strip_prefix(point) else { return false };
        let root = Path::new(OsStr::from_bytes(&self.mount.root)).join(inside).join(path);
        mount.device == self.mount.device && Path::new(OsStr::from_bytes(&mount.root)) == root
    }
}

/// Opens the hierarchy, in the namespace of the process, and reads what the table says of it.
///
/// # Errors
///
/// As [`View::look`].
pub(super) fn see(home: &Home, process: &Process, hierarchy: &str) -> Result<(OwnedFd, Seen)> {
    let failed = |operation| move |error| Error::os(operation, format!("/{hierarchy}"), error);
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let top = match sys::open_path(process.root(), hierarchy, OFlags::DIRECTORY, resolve) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let target = format!("/{hierarchy} of {}", name(process.pid()));
            return Err(Error::conflict("hierarchy-missing", target, "nothing", "a directory"));
        }
        top => top.map_err(failed("open"))?,
    };
    rustix::process::fchdir(&top).map_err(|errno| failed("change into")(errno.into()))?;
    let place = rustix::process::getcwd(Vec::new()).map_err(|errno| failed("look up")(errno.into()))?;
    let place = PathBuf::from(OsString::from_vec(place.into_bytes()));
    if !place.is_absolute() {
        let found = format!("/{hierarchy} in a place that its namespace has no path to");
        return Err(Error::conflict("process-changed", name(process.pid()), found, "one that it has"));
    }
    let id = sys::table_mount_id(top.as_fd()).map_err(failed("ask about the mount of"))?;
    let stat = directory::statx(top.as_fd()).map_err(failed("stat"))?;
    let is_root = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    let table = home.table()?;
    let Some(mount) = table.iter().find(|mount| mount.id == id).cloned() else {
        let found = format!("/{hierarchy} on a mount that is not in its namespace");
        return Err(Error::conflict("process-changed", name(process.pid()), found, "one that is"));
    };
    let own = if is_root { own_overlays(&table, &mount, hierarchy)? } else { Vec::new() };
    let under = match own.last() {
        Some(lowest) => parent(&table, lowest).cloned().ok_or_else(|| covered(&mount))?,
        None => mount.clone(),
    };
    let mounts = submounts::among(table, id, &place);
    Ok((top, Seen { place, mount, own, under, mounts }))
}

/// The service's own overlays among what is mounted at one place, from the top.
fn own_overlays(table: &[MountInfo], top: &MountInfo, hierarchy: &str) -> Result<Vec<MountInfo>> {
    let mut own = Vec::new();
    let mut at = Some(top);
    let mut covers = false;
    while let Some(mount) = at {
        if !is_own(mount, hierarchy) {
            covers = true;
        } else if covers {
            // Somebody has mounted something over all of it since; under that nothing could be seen to change.
            return if own.is_empty() { Err(covered(top)) } else { Ok(own) };
        } else {
            own.push(mount.clone());
        }
        at = parent(table, mount).filter(|below| below.mount_point == mount.mount_point);
    }
    Ok(own)
}

fn covered(top: &MountInfo) -> Error {
    let target = String::from_utf8_lossy(&top.mount_point).into_owned();
    let found = format!("a mount of {} on top", String::from_utf8_lossy(&top.fs_type));
    Error::conflict("stack-covered", target, found, "the overlay of the service")
}

fn parent<'t>(table: &'t [MountInfo], mount: &MountInfo) -> Option<&'t MountInfo> {
    table.iter().find(|other| other.id == mount.parent && other.id != mount.id)
}

/// Ours and those of systemd have a name; those of systemd until 257 have the one of any overlay.
fn is_own(mount: &MountInfo, hierarchy: &str) -> bool {
    mount.fs_type == b"overlay"
        && match mount.source.as_deref() {
            Some(source) if source == SERVICE_SOURCE.as_bytes() => true,
            Some(b"overlay") => {
                mount.options.as_deref().is_some_and(|options| lower::is_of_a_unit(options, hierarchy))
            }
            _ => false,
        }
}

/// Takes the overlays off a copy, in a mount namespace that nobody else sees, and comes back with what was under them.
fn peel(home: &Home, process: &Process, around: &OwnedFd, seen: &Seen) -> Result<(OwnedFd, Vec<Found>)> {
    let target = seen.place.display().to_string();
    let target = target.as_str();
    let failed = |operation| move |error| Error::os(operation, target, error);
    sys::unshare_mounts().map_err(failed("unshare the mounts of"))?;
    let root = open("/")?;
    stop_propagation(root.as_fd()).map_err(failed("make private the mounts around"))?;
    sys::move_mount(around.as_fd(), root.as_fd(), c"", Place::OnTop).map_err(failed("mount a copy of"))?;
    sys::enter_root(around.as_fd()).map_err(failed("go to a copy of"))?;
    let last = seen.place.file_name().unwrap_or_default();
    let bare = || {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        sys::open_path(around.as_fd(), Path::new(last), flags, ResolveFlags::NO_SYMLINKS)
    };
    for overlay in &seen.own {
        let top = bare().map_err(failed("open a copy of"))?;
        let stat = directory::statx(top.as_fd()).map_err(failed("stat a copy of"))?;
        if (stat.stx_dev_major, stat.stx_dev_minor) != overlay.device {
            return Err(Error::conflict("stack-changed", target, "another mount", "the overlay seen before"));
        }
        sys::detach_at(top.as_fd()).map_err(failed("umount a copy of"))?;
    }
    let bare = bare().map_err(failed("open a copy of"))?;
    let id: MountId = sys::table_mount_id(bare.as_fd()).map_err(failed("ask about the mount of"))?;
    let hidden = submounts::among(home.table()?, id, &Path::new("/").join(last));
    let base = bare_copy(process, bare.as_fd(), target)?;
    make_private(base.as_fd()).map_err(failed("make private"))?;
    Ok((base, hidden))
}

/// A copy of a directory without the mounts on it.
///
/// # Errors
///
/// `mounts-locked` where the kernel gives none: what these mounts hide is not to be seen by who may not unmount them.
fn bare_copy(process: &Process, directory: BorrowedFd<'_>, hierarchy: &str) -> Result<OwnedFd> {
    sys::clone_tree(directory, c"", Depth::Single).map_err(|error| {
        let target = format!("/{} of {}", hierarchy.trim_start_matches('/'), name(process.pid()));
        match error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
            && process.own_users().is_some()
        {
            true => {
                let found = "mounts on it that its user namespace got from another one and may not unmount";
                Error::conflict("mounts-locked", target, found, "mounts that were made in it")
            }
            false => Error::os("copy", target, error),
        }
    })
}

fn identity(directory: BorrowedFd<'_>) -> std::io::Result<(u32, u32, u64)> {
    let stat = directory::statx(directory)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}

fn open(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, sys::Mode::empty()).map_err(|errno| Error::os("open", path, errno))
}

/// Refuses when what is mounted in the view of the process would arrive at the host as well.
///
/// # Errors
///
/// `process-shared`; `os`.
pub(super) fn refuse_receivers(process: &Process, seen: &Seen) -> Result<()> {
    let group = seen.under.peer_group;
    if group == 0 {
        return Ok(());
    }
    for (path, whose) in [("/proc/thread-self", "the caller"), ("/proc/1", "process 1")] {
        let failed = |error| Error::os("read the mounts of", whose, error);
        let table = sys::mounts_of(open(path)?.as_fd()).map_err(failed)?;
        if table.iter().any(|mount| mount.peer_group == group) {
            let found = format!("its mount of {} shared with {whose}", seen.place.display());
            return Err(Error::conflict("process-shared", name(process.pid()), found, "mounts of its own"));
        }
    }
    Ok(())
}
