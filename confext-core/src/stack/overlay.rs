//! One hierarchy as an overlay: metadata on top, extensions, the host's directory at the bottom. Assembled as a detached
//! mount: nobody sees it before it is put in place.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use confext_ddi::limits::Limits;
use confext_ddi::release::Class;
use rustix::fs::{Gid, StatVfsMountFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::staging::{Recipe, Staging};
use super::submounts::{self, Submount};
use super::upper::Upper;
use super::workdir;
use crate::directory;
use crate::error::{Error, Result};
use crate::state::{self, RECORD_FILE, Record, Writes};
use crate::sys::{
    self, AttributeChange, Depth, FsContext, Mode, MountAttrFlags, OFlags, Place, ResolveFlags, Sharing,
    SuperblockFlags,
};

/// The kernel's limit on lower layers (`OVL_MAX_STACK`).
const MOST_LAYERS: usize = 500;

/// Whose view an overlay is part of, which decides its names and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Viewer {
    /// The host's: as systemd has it.
    Host,
    /// A service's: named so that systemd takes it for its own, with these attributes.
    Service(MountAttrFlags),
}

/// What one hierarchy is made of.
pub(crate) struct Parts<'a> {
    pub(crate) viewer: Viewer,
    pub(crate) class: Class,
    pub(crate) hierarchy: &'static str,
    /// The directories of the extensions, bottom first.
    pub(crate) layers: Vec<BorrowedFd<'a>>,
    /// The host's directory; `None` where it had to be made.
    pub(crate) base: Option<BorrowedFd<'a>>,
    /// The layer that writes go to.
    pub(crate) upper: Option<&'a Upper>,
    /// What was written before, where it is only seen.
    pub(crate) imported: Option<BorrowedFd<'a>>,
    /// The mounts to carry over.
    pub(crate) submounts: &'a [Submount],
    /// What is written down about it.
    pub(crate) record: Record,
    /// What systemd compares.
    pub(crate) origin: &'a str,
    /// Where layers and base were moved to, if they had to be.
    pub(crate) staging: Option<&'a Staging>,
}

/// Makes the overlay, with the mounts below it.
///
/// # Errors
///
/// `too-many-layers`; `submount-point`; `mutable-directory`; `file-system-context` with the kernel's message; `os`.
pub(crate) fn assemble(parts: Parts<'_>) -> Result<Assembled> {
    let found = parts.layers.len().saturating_add(2).saturating_add(usize::from(parts.imported.is_some()));
    if found > MOST_LAYERS {
        let expected = format!("at most {MOST_LAYERS}");
        return Err(Error::conflict("too-many-layers", parts.hierarchy, format!("{found} layers"), expected));
    }
    let metadata = Metadata::make(&parts)?;
    if let Some(staging) = parts.staging {
        staging.adopt(&[metadata.root.as_fd()])?;
    }
    if parts.submounts.is_empty() {
        let tree = mount(&parts, &metadata, Purpose::Use)?;
        return finish(parts, metadata, tree);
    }
    // A mount point that no layer has: made in the metadata layer, then the overlay is made again. Changing a layer of
    // an overlay that was looked at is not defined, and neither are two overlays that write to one directory.
    let purpose = if parts.upper.is_some() { Purpose::Look } else { Purpose::Use };
    let tree = mount(&parts, &metadata, purpose)?;
    let missing = missing_points(tree.as_fd(), parts.submounts)?;
    if missing.is_empty() && purpose == Purpose::Use {
        return finish(parts, metadata, tree);
    }
    for submount in missing {
        metadata.add_point(submount, tree.as_fd())?;
    }
    drop(tree);
    let tree = mount(&parts, &metadata, Purpose::Use)?;
    finish(parts, metadata, tree)
}

/// An overlay, and what it has its own hold on.
pub(crate) struct Assembled {
    /// The overlay.
    pub(crate) tree: OwnedFd,
    /// The file system with its metadata.
    pub(crate) metadata: Metadata,
    /// What is written down there about it.
    pub(crate) written: Written,
}

/// A record as it is in its file.
pub(crate) struct Written {
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// What it says.
    pub(crate) record: Record,
}

/// What an overlay is mounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To see what is where; nothing is written to it.
    Look,
    /// To be put in place.
    Use,
}

fn finish(parts: Parts<'_>, metadata: Metadata, tree: OwnedFd) -> Result<Assembled> {
    let name = Path::new(parts.metadata_directory());
    let written = metadata.write_device(tree.as_fd(), parts.record)?;
    if parts.upper.is_some() {
        let failed = |error| Error::os("make read-only", "the metadata of a stack", error);
        // The kernel falls back to reading where a file system lacks what an overlay needs to write to it.
        if sys::volume_flags(tree.as_fd()).map_err(failed)?.contains(StatVfsMountFlags::RDONLY) {
            let found = "a file system without what an overlay needs to write to it";
            return Err(Error::conflict(
                "mutable-directory",
                parts.hierarchy,
                found,
                "extended attributes, and more",
            ));
        }
        let copy = sys::clone_tree(tree.as_fd(), name, Depth::Single).map_err(failed)?;
        submounts::make_private(copy.as_fd()).map_err(failed)?;
        let change = AttributeChange::set(MountAttrFlags::MOUNT_ATTR_RDONLY);
        sys::set_attributes(copy.as_fd(), &change, Depth::Single).map_err(failed)?;
        sys::move_mount(copy.as_fd(), tree.as_fd(), name, Place::OnTop).map_err(failed)?;
    }
    let tree = match parts.staging {
        // The kernels that need it do not mount anything on a detached mount either.
        Some(staging) if !parts.submounts.is_empty() => {
            staging.with_mounts(&tree, |tree| submounts::attach(tree, parts.submounts))?
        }
        _ => {
            submounts::attach(tree.as_fd(), parts.submounts)?;
            tree
        }
    };
    Ok(Assembled { tree, metadata, written })
}

/// By way of the staging namespace: only stacks that cannot be written to.
fn mount_staged(parts: &Parts<'_>, metadata: &Metadata, staging: &Staging) -> Result<OwnedFd> {
    let mut lower = vec![metadata.root.as_fd()];
    lower.extend(parts.layers.iter().rev());
    lower.extend(parts.base);
    staging.overlay(&Recipe {
        source: parts.source(),
        options: &[("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")],
        lower: &lower,
        superblock: SuperblockFlags::RDONLY,
        attributes: parts.flags()?,
    })
}

fn mount(parts: &Parts<'_>, metadata: &Metadata, purpose: Purpose) -> Result<OwnedFd> {
    if let Some(staging) = parts.staging {
        return mount_staged(parts, metadata, staging);
    }
    let context = FsContext::open("overlay")?;
    context.set_string("source", parts.source())?;
    // What an image says about redirects and shared inodes is not followed: it could name any file of a lower layer. What
    // was written to a merged hierarchy before has redirects, and with it no image that has some is merged.
    let redirects = match (parts.upper, parts.imported) {
        (Some(_), _) if purpose == Purpose::Use => "on",
        (None, None) => "nofollow",
        _ => "follow",
    };
    for (key, value) in [("redirect_dir", redirects), ("metacopy", "off"), ("index", "off")] {
        context.set_string(key, value)?;
    }
    match (parts.upper, purpose) {
        (Some(upper), Purpose::Use) => {
            // Nothing is left in the directory that says which overlay it was part of.
            context.set_string("uuid", "null")?;
            context.set_fd("upperdir", upper.directory.as_fd())?;
            context.set_fd("workdir", upper.work.as_fd())?;
        }
        (Some(upper), Purpose::Look) => context.set_fd("lowerdir+", upper.directory.as_fd())?,
        (None, _) => {}
    }
    context.set_fd("lowerdir+", metadata.root.as_fd())?;
    if let Some(imported) = parts.imported {
        context.set_fd("lowerdir+", imported.as_fd())?;
    }
    for layer in parts.layers.iter().rev() {
        context.set_fd("lowerdir+", layer.as_fd())?;
    }
    if let (Some(base), false) = (parts.base, parts.writes_to_host()) {
        context.set_fd("lowerdir+", base.as_fd())?;
    }
    if parts.upper.is_none() || purpose == Purpose::Look {
        context.set_flag("ro")?;
    }
    context.create(Sharing::Shared)?;
    Ok(context.mount(parts.flags()?)?)
}

/// What the host forbids or leaves out on the mount of its directory stays forbidden over it.
pub(super) fn kept(base: Option<BorrowedFd<'_>>, hierarchy: &str) -> Result<MountAttrFlags> {
    use rustix::fs::StatVfsMountFlags as Volume;
    /// `ST_NOSYMFOLLOW`, which rustix has no name for.
    const NO_SYMLINKS: Volume = Volume::from_bits_retain(0x2000);
    const KEPT: [(Volume, MountAttrFlags); 6] = [
        (Volume::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (Volume::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (Volume::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (Volume::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (Volume::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        (NO_SYMLINKS, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    ];
    let Some(base) = base else { return Ok(MountAttrFlags::empty()) };
    let found =
        sys::volume_flags(base).map_err(|error| Error::os("read the mount flags of", hierarchy, error))?;
    let kept = KEPT.iter().filter(|(flag, _)| found.contains(*flag)).map(|(_, attribute)| *attribute);
    Ok(kept.fold(MountAttrFlags::empty(), |all, one| all | one))
}

impl Parts<'_> {
    /// Whether the host's directory is on top, and so not below the extensions.
    fn writes_to_host(&self) -> bool {
        matches!(self.record.mutable.writes, Writes::Host { .. })
    }

    pub(super) fn flags(&self) -> Result<MountAttrFlags> {
        if let Viewer::Service(attributes) = self.viewer {
            return Ok(attributes);
        }
        let flags = state::mount_flags(self.class, self.record.execution) | kept(self.base, self.hierarchy)?;
        Ok(match self.upper {
            Some(_) => flags | MountAttrFlags::MOUNT_ATTR_NOATIME,
            None => flags | MountAttrFlags::MOUNT_ATTR_RDONLY,
        })
    }

    fn source(&self) -> &'static str {
        match self.viewer {
            Viewer::Host => self.class.as_str(),
            Viewer::Service(_) => state::SERVICE_SOURCE,
        }
    }

    fn metadata_directory(&self) -> &'static str {
        match self.viewer {
            Viewer::Host => state::metadata_directory(self.class),
            Viewer::Service(_) => state::SERVICE_METADATA,
        }
    }
}

fn missing_points<'s>(tree: BorrowedFd<'_>, submounts: &'s [Submount]) -> Result<Vec<&'s Submount>> {
    let mut missing = Vec::new();
    for submount in submounts {
        let resolve = ResolveFlags::NO_SYMLINKS;
        match sys::open_path(tree, submount.path.as_path(), OFlags::NOFOLLOW, resolve) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(submount),
            Err(error) => return Err(Error::os("open", submount.path.display().to_string(), error)),
        }
    }
    Ok(missing)
}

/// The top layer: a small file system in memory with the metadata directory.
pub(crate) struct Metadata {
    /// Root of the file system in memory, or the directory there that it is written to.
    root: OwnedFd,
    /// The metadata directory in it.
    directory: OwnedFd,
}

impl Metadata {
    fn make(parts: &Parts<'_>) -> Result<Self> {
        let context = FsContext::open("tmpfs")?;
        context.set_string("source", parts.class.as_str())?;
        context.set_string("mode", "0755")?;
        context.create(Sharing::Shared)?;
        let root = context.mount(MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID)?;
        Self::write_to(root, parts)
    }

    /// Writes it to a directory that is there.
    pub(super) fn write_to(root: OwnedFd, parts: &Parts<'_>) -> Result<Self> {
        Self::fill(root, parts).map_err(|error| Error::os("write", "the metadata of a stack", error))
    }

    fn fill(root: OwnedFd, parts: &Parts<'_>) -> io::Result<Self> {
        let name = parts.metadata_directory();
        rustix::fs::mkdirat(&root, name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&root, name, flags, Mode::empty())?;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755))?;
        // Nothing an extension has in a directory of this name may show through.
        for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
            match rustix::fs::fsetxattr(&directory, name, b"y", XattrFlags::empty()) {
                // The first is not for users, the second not for older kernels; the plan refuses extensions with such a
                // directory anyway.
                Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let metadata = Self { root, directory };
        if parts.viewer == Viewer::Host {
            let mut names: Vec<&str> = parts.record.layers.iter().map(|layer| layer.name.as_str()).collect();
            names.push("");
            metadata.write(state::names_file(parts.class), names.join("\n").as_bytes())?;
            metadata.write("origin", parts.origin.as_bytes())?;
        }
        if let Writes::Directory { work, .. } | Writes::Host { work } = &parts.record.mutable.writes {
            metadata.write("work_dir", workdir::to_line(work).as_bytes())?;
        }
        if let Some(base) = parts.base {
            if let (Some((major, minor)), false) = (backing_device(base.as_fd())?, parts.writes_to_host()) {
                metadata.write("backing", format!("{major}:{minor}\n").as_bytes())?;
            }
            // Last, so that the directory's own times are those of the merge.
            copy_attributes(base.as_fd(), metadata.root.as_fd())?;
        }
        Ok(metadata)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let fd = rustix::fs::openat(&self.directory, name, flags, mode)?;
        rustix::fs::fchmod(&fd, mode)?;
        io::Write::write_all(&mut std::fs::File::from(fd), bytes)
    }

    /// The overlay's device is known only when it exists; nobody has looked at this directory through it yet.
    pub(super) fn write_device(&self, tree: BorrowedFd<'_>, record: Record) -> Result<Written> {
        let class = record.class;
        let write = || {
            let stat = directory::statx(tree)?;
            let (major, minor) = (stat.stx_dev_major, stat.stx_dev_minor);
            let record = Record { device: Some((major, minor)), ..record };
            let bytes = serde_json::to_vec(&record)?;
            self.write(RECORD_FILE, &bytes)?;
            self.write("dev", format!("{major}:{minor}\n").as_bytes())?;
            Ok(Written { bytes, record })
        };
        write().map_err(|error: io::Error| Error::os("write", format!("dev of a {class} stack"), error))
    }

    /// Makes a place for a mount, with the directories on the way as the tree has them.
    fn add_point(&self, submount: &Submount, tree: BorrowedFd<'_>) -> Result<()> {
        let path = submount.path.as_path();
        self.make_point(path, submount.tree.as_fd(), tree)
            .map_err(|error| Error::os("make a mount point", path.display().to_string(), error))
    }

    fn make_point(&self, path: &Path, mount: BorrowedFd<'_>, tree: BorrowedFd<'_>) -> io::Result<()> {
        let is_directory = directory::metadata(mount)?.file_type == confext_ddi::fs::FileType::Directory;
        for outer in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            if !outer.as_os_str().as_bytes().is_empty() {
                self.make_parent(outer, tree)?;
            }
        }
        let made = if is_directory {
            rustix::fs::mkdirat(&self.root, path, Mode::from_raw_mode(0o755))
        } else {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&self.root, path, flags, Mode::from_raw_mode(0o644)).map(drop)
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn make_parent(&self, path: &Path, tree: BorrowedFd<'_>) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.root, path, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => return Ok(()),
            made => made?,
        }
        let place = sys::open_path(self.root.as_fd(), path, OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)?;
        match sys::open_path(tree, path, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS) {
            Ok(existing) => copy_attributes(existing.as_fd(), place.as_fd()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Attributes that change who may do what; others are left.
const COPIED_XATTRS: [&[u8]; 3] =
    [b"security.selinux", b"system.posix_acl_access", b"system.posix_acl_default"];

/// Gives a directory owner, mode, label and access lists of another one: the top layer decides what the merged directory
/// has.
pub(super) fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let metadata = directory::metadata(from)?;
    // The descriptors may be open as places only, which `fchmod` does not take.
    let path = format!("/proc/self/fd/{}", to.as_raw_fd());
    let owner = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
    rustix::fs::chown(path.as_str(), Some(owner.0), Some(owner.1))?;
    rustix::fs::chmod(path.as_str(), Mode::from_raw_mode(u32::from(metadata.mode)))?;
    for (name, value) in directory::xattrs(from, &Limits::default())? {
        if !COPIED_XATTRS.contains(&name.as_slice()) {
            continue;
        }
        match rustix::fs::setxattr(path.as_str(), name.as_slice(), &value, XattrFlags::empty()) {
            // A label of a security module that is not running.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// The block device under a directory; major 0 means there is none.
fn backing_device(directory: BorrowedFd<'_>) -> io::Result<Option<(u32, u32)>> {
    let stat = directory::statx(directory)?;
    Ok((stat.stx_dev_major != 0).then_some((stat.stx_dev_major, stat.stx_dev_minor)))
}
