//! [`Stage`]: a file system in memory, in a user's namespace, where the files of extensions are written to and put together.

use std::cell::Cell;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use confext_ddi::Limits;
use confext_ddi::fs::FileSystem;
use confext_ddi::release::Class;
use confext_ddi::verity::Progress;
use rustix::fs::{XattrFlags, fsetxattr};

use crate::admission::Watch;
use crate::directory;
use crate::error::{Error, Result};
use crate::exec::{self, Namespace};
use crate::extract::{self, Devices, extract};
use crate::host::Host;
use crate::sys::{self, Depth, Helper, Mode, MountAttrFlags, OFlags, Place, ResolveFlags, SuperblockFlags};

/// The place, which nobody else sees.
pub(super) struct Stage {
    helper: Helper,
    /// The root of the file system, for reading.
    root: OwnedFd,
    /// The host's root, in the namespace.
    host: OwnedFd,
    attributes: bool,
    next: Cell<u32>,
}

/// How much of the files is written.
pub(super) struct Extracted<'a> {
    pub(super) bytes: u64,
    pub(super) of_bytes: u64,
    pub(super) watch: &'a Watch,
}

impl Stage {
    /// Makes a namespace and in it a file system for so many bytes of files.
    ///
    /// # Errors
    ///
    /// `missing-capability`; `memory-short` when the machine has less than twice that; `os`.
    pub(super) fn new(host: &Host, class: Class, bytes: u64) -> Result<(Self, Arc<Namespace>)> {
        /// For directories, links and what is written down.
        const MORE_BYTES: u64 = 32 << 20;
        let (namespace, helper) = Namespace::make()?;
        let wanted = bytes.saturating_add(MORE_BYTES);
        let mount = memory(&helper, class, Some(wanted))?;
        let most = size_of(memory(&helper, class, None)?.as_fd())?;
        if bytes > most {
            let (found, expected) = (format!("{bytes} bytes"), format!("at most {most}, half of the memory"));
            return Err(Error::conflict("memory-short", "the files of all extensions", found, expected));
        }
        let failed = |operation| move |error| Error::os(operation, "a file system in memory", error);
        // Over the root, where lookups do not lead: it has to be somewhere for layers to be taken from it.
        let outer = helper.open(Path::new("/")).map_err(failed("find a place for"))?;
        helper
            .move_mount(mount.as_fd(), outer.as_fd(), Path::new(""), Place::OnTop)
            .map_err(failed("mount"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(&mount, c".", flags, Mode::empty());
        let root = root.map_err(|errno| failed("open")(errno.into()))?;
        let at_root = |error| Error::os("open", host.path().display().to_string(), error);
        let inside = helper.open(host.path()).map_err(at_root)?;
        let attributes = fsetxattr(&root, "user.confext", b"", XattrFlags::empty()).is_ok();
        let stage = Self { helper, root, host: inside, attributes, next: Cell::new(0) };
        Ok((stage, Arc::new(namespace)))
    }

    /// Whether files can have attributes of users.
    pub(super) const fn has_attributes(&self) -> bool {
        self.attributes
    }

    pub(super) const fn helper(&self) -> &Helper {
        &self.helper
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// A name that nothing has.
    pub(super) fn next(&self) -> String {
        let number = self.next.get();
        self.next.set(number.saturating_add(1));
        number.to_string()
    }

    /// A hierarchy of the host, in the namespace.
    pub(super) fn open_hierarchy(&self, host: &Host, hierarchy: &str) -> Result<OwnedFd> {
        let flags = OFlags::DIRECTORY;
        sys::open_path(self.host.as_fd(), hierarchy, flags, ResolveFlags::NO_MAGICLINKS)
            .map_err(|error| Error::os("open", super::shown(host, hierarchy), error))
    }

    /// Writes files to a directory; `done` counts the bytes of all, and tells who watches.
    pub(super) fn extract(
        &self,
        files: &dyn FileSystem,
        name: &str,
        limits: &Limits,
        done: &mut Extracted<'_>,
    ) -> Result<()> {
        // Of device nodes, only marks of overlays are left.
        let mut options = extract::Options { devices: Devices::Make, ..extract::Options::default() };
        if !self.attributes {
            options.xattrs.clear();
        }
        let mut limits = limits.clone();
        limits.content_bytes = limits.content_bytes.saturating_sub(done.bytes);
        let place = format!("/proc/self/fd/{}/{name}", self.root.as_raw_fd());
        let tell = |bytes| {
            let done_bytes = done.bytes.saturating_add(bytes).min(done.of_bytes);
            done.watch.tell(Progress { done_bytes, total_bytes: done.of_bytes })
        };
        let extracted = extract(files, Path::new(&place), &options, &limits, tell)?;
        done.bytes = done.bytes.saturating_add(extracted.bytes);
        Ok(())
    }

    /// Makes a directory, open for reading.
    pub(super) fn make_directory(&self, name: &str) -> Result<OwnedFd> {
        let failed = |errno| Error::os("make", "a directory in memory", errno);
        rustix::fs::mkdirat(&self.root, name, Mode::RWXU).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.root, name, flags, Mode::empty()).map_err(failed)
    }

    /// Makes the directory that the hierarchy gets its mode from: the host's.
    pub(super) fn make_top(&self, name: &str, base: BorrowedFd<'_>) -> Result<OwnedFd> {
        let failed = |error| Error::os("make", "the top of a stack", error);
        let mode = directory::metadata(base).map_err(failed)?.mode;
        let top = self.make_directory(name)?;
        rustix::fs::fchmod(&top, Mode::from_raw_mode(u32::from(mode & 0o1777)))
            .map_err(|errno| failed(errno.into()))?;
        Ok(top)
    }

    /// Mounts an overlay of directories here, top first, and takes a copy of it.
    pub(super) fn overlay(&self, class: Class, lower: &[&str]) -> std::io::Result<OwnedFd> {
        let options =
            ["userxattr,redirect_dir=nofollow,metacopy=off,index=off,lowerdir=", lower.join(":").as_str()]
                .concat();
        let name = self.next();
        rustix::fs::mkdirat(&self.root, name.as_str(), Mode::RWXU)?;
        let what = ("overlay", class.as_str(), name.as_str());
        self.helper.mount(self.root(), what, (SuperblockFlags::RDONLY, &options))?;
        self.helper.clone_tree(self.root(), Path::new(&name), Depth::Single)
    }

    /// Nobody changes it from here on.
    pub(super) fn seal(&self, tree: &OwnedFd, flags: MountAttrFlags) -> Result<()> {
        self.helper
            .set_attributes(tree.as_fd(), flags | MountAttrFlags::MOUNT_ATTR_RDONLY, Depth::Recursive)
            .map_err(|error| Error::os("make read-only", "a stack", error))
    }

    /// Takes the place away; what was put together here stays as long as somebody has it.
    pub(super) fn vanish(self) -> Result<()> {
        self.helper
            .detach(self.root.as_fd())
            .map_err(|error| Error::os("umount", "a file system in memory", error))
    }
}

/// A file system in memory; without a size it has the largest that the kernel gives.
fn memory(helper: &Helper, class: Class, bytes: Option<u64>) -> Result<OwnedFd> {
    let context = helper.fs_open("tmpfs").map_err(|error| exec::missing(&error))?;
    let set = |key: &str, value: &str| {
        rustix::mount::fsconfig_set_string(&context, key, value)
            .map_err(|errno| Error::os("set up", "a file system in memory", errno))
    };
    set("source", class.as_str())?;
    set("mode", "0700")?;
    if let Some(bytes) = bytes {
        set("size", &bytes.to_string())?;
    }
    let made = helper.fs_create(context.as_fd());
    let flags = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    made.and_then(|()| helper.fs_mount(context.as_fd(), flags)).map_err(|error| exec::missing(&error))
}

fn size_of(mount: BorrowedFd<'_>) -> Result<u64> {
    let stat = rustix::fs::fstatvfs(mount)
        .map_err(|errno| Error::os("ask about", "a file system in memory", errno))?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}
