//! [`Staging`]: a mount namespace nobody else sees, where overlays are assembled on kernels that refuse detached mounts
//! as layers.
//!
//! Before Linux 6.15 overlayfs takes a layer only from the caller's own mount namespace, by a path. So there
//! is a namespace with nobody in it; a thread goes there to move the layers in, and again for each overlay. What comes
//! back is a detached copy of the overlay, which holds on to its layers; the namespace goes with its descriptor.
//!
//! Layers are named by the numbers of their descriptors, relative to `/proc/self/fd`: no name needs escaping, and 500 of
//! them fit into the one page that `mount(2)` takes. That call is used because it takes all of them in one string, on
//! every kernel; what the kernel says about a failure beside the errno is only in its log.

use std::cell::Cell;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::sys::{
    self, AttributeChange, Depth, FsContext, Mode, MountAttrFlags, NamespaceKind, OFlags, Place, Propagation,
    Sharing, SuperblockFlags,
};

/// The kernel copies one page of options and ends it with a zero.
const MOST_OPTION_BYTES: usize = 4095;
/// `MS_SHARED`
const SHARED: u64 = 1 << 20;

/// The namespace.
#[derive(Debug)]
pub(crate) struct Staging {
    namespace: OwnedFd,
    /// A file system in memory there, for mount points.
    points: OwnedFd,
    /// The directory of this process's descriptors.
    descriptors: OwnedFd,
    next: Cell<u32>,
}

/// What an overlay is made of.
pub(crate) struct Recipe<'a> {
    /// What the mount table shows as its source.
    pub(crate) source: &'a str,
    /// Options and their values.
    pub(crate) options: &'a [(&'a str, &'a str)],
    /// The lower directories, top first.
    pub(crate) lower: &'a [BorrowedFd<'a>],
    pub(crate) superblock: SuperblockFlags,
    pub(crate) attributes: MountAttrFlags,
}

impl Staging {
    /// Makes the namespace.
    ///
    /// # Errors
    ///
    /// `os`.
    ///
    /// # Needs
    ///
    /// `CAP_SYS_ADMIN`, `CAP_SYS_CHROOT` to go there again; `/proc`.
    pub(crate) fn new() -> Result<Self> {
        let failed = |operation| move |error| Error::os(operation, "a mount namespace for layers", error);
        let context = FsContext::open("tmpfs")?;
        context.set_string("mode", "0700")?;
        context.create(Sharing::Shared)?;
        let points = context.mount(MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID)?;
        let descriptors = open("/proc/self/fd").map_err(failed("open /proc for"))?;
        let namespace = on_a_thread(|| {
            sys::unshare_mounts().map_err(failed("make"))?;
            let root = open("/").map_err(failed("open the root of"))?;
            stop_propagation(root.as_fd()).map_err(failed("make private"))?;
            // Over the root: it need not be a mount point, and whoever comes here finds it.
            sys::move_mount(points.as_fd(), root.as_fd(), c"", Place::OnTop).map_err(failed("mount in"))?;
            sys::current_mount_namespace().map_err(failed("open"))
        })?;
        Ok(Self { namespace, points, descriptors, next: Cell::new(0) })
    }

    /// Does `work` inside.
    fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = self.namespace.as_fd();
        on_a_thread(move || {
            let failed = |error| Error::os("enter", "a mount namespace for layers", error);
            sys::unshare_directories().map_err(failed)?;
            sys::enter_namespace(namespace, NamespaceKind::Mount).map_err(failed)?;
            work()
        })
    }

    /// Moves detached mounts here. Their descriptors, and all below them, go on to work; they are good as layers then.
    ///
    /// # Errors
    ///
    /// `os`.
    pub(crate) fn adopt(&self, mounts: &[BorrowedFd<'_>]) -> Result<()> {
        let names = mounts.iter().map(|_| self.make_point()).collect::<Result<Vec<_>>>()?;
        let points = self.points.as_fd();
        self.enter(|| mounts.iter().zip(names).try_for_each(|(mount, name)| adopt(points, *mount, &name)))
    }

    /// Makes an overlay of layers that were moved here: a detached mount.
    ///
    /// # Errors
    ///
    /// `too-many-layers` when their numbers do not fit into a page; `os`.
    pub(crate) fn overlay(&self, recipe: &Recipe<'_>) -> Result<OwnedFd> {
        let options = recipe.options()?;
        let failed = |operation| move |error| Error::os(operation, "an overlay", error);
        let name = self.make_point()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let point = rustix::fs::openat(&self.points, name.as_str(), flags, Mode::empty())
            .map_err(|errno| failed("open the mount point of")(errno.into()))?;
        let target = point.as_raw_fd().to_string();
        let (points, descriptors) = (self.points.as_fd(), self.descriptors.as_fd());
        let tree = self.enter(|| {
            rustix::process::fchdir(descriptors).map_err(|errno| failed("go to")(errno.into()))?;
            sys::mount_file_system("overlay", recipe.source, &target, (recipe.superblock, &options))
                .map_err(failed("mount"))?;
            sys::clone_tree(points, name.as_str(), Depth::Single).map_err(failed("copy"))
        })?;
        // The ways of keeping access times exclude each other: one is set by taking all of them off.
        let clear = MountAttrFlags::MOUNT_ATTR__ATIME;
        let change = AttributeChange { clear, ..AttributeChange::set(recipe.attributes) };
        sys::set_attributes(tree.as_fd(), &change, Depth::Single).map_err(failed("set mount flags of"))?;
        Ok(tree)
    }

    /// Lets `attach` put mounts onto a detached tree, and returns a detached copy of it with them.
    ///
    /// # Errors
    ///
    /// Those of `attach`; `os`.
    pub(crate) fn with_mounts(
        &self,
        tree: &OwnedFd,
        attach: impl FnOnce(BorrowedFd<'_>) -> Result<()> + Send,
    ) -> Result<OwnedFd> {
        let (points, name) = (self.points.as_fd(), self.make_point()?);
        self.enter(|| {
            adopt(points, tree.as_fd(), &name)?;
            attach(tree.as_fd())?;
            let copy = sys::clone_tree(tree.as_fd(), c"", Depth::Recursive);
            copy.map_err(|error| Error::os("copy", "an overlay with the mounts below it", error))
        })
    }

    fn make_point(&self) -> Result<String> {
        let number = self.next.get();
        self.next.set(number.saturating_add(1));
        let name = number.to_string();
        rustix::fs::mkdirat(&self.points, name.as_str(), Mode::from_raw_mode(0o700))
            .map_err(|errno| Error::os("make", "a mount point for a layer", errno))?;
        Ok(name)
    }
}

impl Recipe<'_> {
    fn options(&self) -> Result<String> {
        let mut text = String::new();
        for (key, value) in self.options {
            text.extend([key, "=", value, ","]);
        }
        let numbers: Vec<_> = self.lower.iter().map(|layer| layer.as_raw_fd().to_string()).collect();
        text.extend(["lowerdir=", &numbers.join(":")]);
        if text.len() > MOST_OPTION_BYTES {
            let found = format!("{} layers, with {} bytes of options", self.lower.len(), text.len());
            let expected = format!("at most {MOST_OPTION_BYTES} bytes on this kernel");
            return Err(Error::conflict("too-many-layers", self.source, found, expected));
        }
        Ok(text)
    }
}

fn adopt(points: BorrowedFd<'_>, mount: BorrowedFd<'_>, name: &str) -> Result<()> {
    sys::move_mount(mount, points, name, Place::OnTop)
        .map_err(|error| Error::os("move_mount", "a layer", error))
}

/// Namespaces belong to threads: nothing changes for the one that calls.
pub(crate) fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("confext-staging".to_owned()).spawn_scoped(scope, work);
        match thread.map_err(|error| Error::os("start", "a thread", error))?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn open(path: &str) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Keeps what is mounted here from being mounted elsewhere.
pub(crate) fn stop_propagation(root: BorrowedFd<'_>) -> std::io::Result<()> {
    match sys::set_propagation(Path::new("/"), Propagation::Private, Depth::Recursive) {
        // In a change of root it is no mount point. That is fine as long as nothing propagates.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            let mount = sys::mount_id(root).and_then(sys::mount_info);
            if mount.is_ok_and(|mount| mount.propagation & SHARED == 0) { Ok(()) } else { Err(error) }
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(lower: &[BorrowedFd<'_>]) -> Result<String> {
        let recipe = Recipe {
            source: "confext",
            options: &[("index", "off")],
            lower,
            superblock: SuperblockFlags::RDONLY,
            attributes: MountAttrFlags::empty(),
        };
        recipe.options()
    }

    #[test]
    fn options_name_layers_by_number_and_stay_within_a_page() {
        let file = std::fs::File::open("/").unwrap();
        let number = file.as_raw_fd();
        let two = options(&[file.as_fd(), file.as_fd()]).unwrap();
        assert_eq!(two, format!("index=off,lowerdir={number}:{number}"));
        assert_eq!(options(&vec![file.as_fd(); 4096]).unwrap_err().code(), "too-many-layers");
    }
}
