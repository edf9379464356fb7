//! [`Layer`]: one extension as a detached read-only mount, not yet anywhere in the file tree.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use confext_ddi::RootHash;
use confext_ddi::dps::Designator;
use confext_ddi::error::LimitExceeded;
use confext_ddi::fstype::FsType;
use confext_ddi::policy::Evidence;
use confext_ddi::release::Class;
use rustix::fs::{AtFlags, FileType, StatxFlags};
use serde::Serialize;

use crate::attach::{Attached, Backing, Device, Origin};
use crate::error::{Error, Result};
use crate::loopdev::DeviceNumber;
use crate::sys::{
    self, AttributeChange, Depth, FsContext, MountAttrFlags, OFlags, Propagation, ResolveFlags, Sharing,
};

/// What a layer is made from.
///
/// ```no_run
/// use std::os::fd::AsFd;
///
/// use confext_core::layer::{Layer, Options, Source};
/// use confext_ddi::release::Class;
///
/// let tree = std::fs::File::open("/srv/app")?;
/// let layer = Layer::from_directory(tree.as_fd(), Options::new("app", Class::Confext, "/srv/app"))?;
/// assert_eq!(layer.source(), &Source::Directory);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "there is one for each layer, and it is not moved around")]
pub enum Source {
    /// A disk image.
    Image {
        /// Its bytes and what was checked about them.
        #[serde(flatten)]
        origin: Origin,
        /// The device its file system is mounted from; `None` when that is the file itself.
        device: Option<DeviceNumber>,
    },
    /// A directory: nothing about it can be checked.
    Directory,
}

/// What is the same for a layer of either kind.
///
/// ```
/// use confext_core::layer::Options;
/// use confext_ddi::release::Class;
///
/// let options = Options::new("app", Class::Confext, "/run/confexts/app.raw");
/// assert_eq!(options.name, "app");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The extension's name.
    pub name: String,
    /// Its class: decides the mount flags and the hierarchies.
    pub class: Class,
    /// Where the image or directory is, for people and for `trace`.
    pub path: PathBuf,
}

impl Options {
    /// All of it.
    #[must_use]
    pub fn new(name: impl Into<String>, class: Class, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), class, path: path.into() }
    }
}

/// An extension as a detached mount: read-only, no device nodes, and for a confext nothing executable or setuid.
///
/// Dropped, it is unmounted unless something else (an overlay) holds it; its devices go with it.
///
/// ```no_run
/// use confext_core::{attach::{Mode, attach}, layer::{Layer, Options}};
/// use confext_ddi::{image::{self, Image}, policy::Policy, release::Class};
///
/// let image = Image::open(std::fs::File::open("/srv/app.raw")?, &image::Options::default())?;
/// let attached = attach(Policy::verity().judge(image, None)?, Mode::Auto)?;
/// let layer = Layer::mount(attached, Options::new("app", Class::Confext, "/srv/app.raw"))?;
/// assert_eq!(layer.read("etc/app.conf", 4096)?.as_deref(), Some(&b"answer = 42\n"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Layer {
    name: String,
    class: Class,
    path: PathBuf,
    source: Source,
    mount: Arc<OwnedFd>,
    /// The mount that it is in, where several layers share one.
    shared: Option<Arc<OwnedFd>>,
}

/// A directory of a layer that is merged over a directory of the host.
///
/// ```no_run
/// use std::os::fd::AsFd;
///
/// use confext_core::layer::{Layer, Options};
/// use confext_ddi::release::Class;
///
/// let tree = std::fs::File::open("/srv/app")?;
/// let layer = Layer::from_directory(tree.as_fd(), Options::new("app", Class::Sysext, "/srv/app"))?;
/// let paths: Vec<_> = layer.hierarchies()?.iter().map(|hierarchy| hierarchy.path).collect();
/// assert_eq!(paths, ["usr", "opt"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Hierarchy {
    /// Its path below the root: `usr`, `opt` or `etc`.
    pub path: &'static str,
    /// The directory, open as a path.
    pub directory: OwnedFd,
}

impl Layer {
    /// Mounts the file system of an attached image.
    ///
    /// # Errors
    ///
    /// `file-system-context` with the kernel's message when it cannot be mounted; `mount-source` when the kernel mounted
    /// another device than the attached one, or when the device was put to another use meanwhile.
    ///
    /// # Needs
    ///
    /// `CAP_SYS_ADMIN`; Linux 5.2.
    pub fn mount(attached: Attached, options: Options) -> Result<Self> {
        let Options { name, class, path } = options;
        let (backing, origin) = attached.into_parts();
        let from = |device| mount_checked(device, origin.fs_type, class);
        let mount = match &backing {
            Backing::File(superblock) => superblock.mount(mount_flags(class))?,
            Backing::Loop(device) => from(Device::Loop(device))?,
            Backing::Verity(device) => from(Device::Verity(device))?,
        };
        let device = backing.device().map(Device::device_number);
        // The mount holds the device open now, so closing ours leaves it there until the mount goes.
        drop(backing);
        let source = Source::Image { origin, device };
        Ok(Self { name, class, path, source, mount: Arc::new(mount), shared: None })
    }

    /// Makes a layer of a directory: a detached read-only copy of the mount it is on, without the mounts below it.
    ///
    /// # Errors
    ///
    /// `os` when the kernel refuses; `layer-type` when it is no directory.
    ///
    /// # Needs
    ///
    /// `CAP_SYS_ADMIN`; Linux 5.12.
    pub fn from_directory(directory: BorrowedFd<'_>, options: Options) -> Result<Self> {
        let Options { name, class, path } = options;
        let target = || path.display().to_string();
        let found = file_type(directory).map_err(|source| Error::os("stat", target(), source))?;
        if found != FileType::Directory {
            return Err(wrong_type(target(), found, FileType::Directory));
        }
        let mount = copy_of_mount(directory, class)
            .map_err(|source| Error::os("clone the mount of", target(), source))?;
        Ok(Self { name, class, path, source: Source::Directory, mount: Arc::new(mount), shared: None })
    }

    /// Makes a layer of a directory that is in such a copy already.
    pub(crate) fn of_copy(directory: Arc<OwnedFd>, mount: Arc<OwnedFd>, options: Options) -> Self {
        let Options { name, class, path } = options;
        Self { name, class, path, source: Source::Directory, mount: directory, shared: Some(mount) }
    }

    /// The extension's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its class.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// Where the image or directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is made from.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// What was checked about its content.
    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        match &self.source {
            Source::Image { origin, .. } => &origin.evidence,
            Source::Directory => &Evidence::None,
        }
    }

    /// The root hash its content was checked against.
    #[must_use]
    pub const fn root_hash(&self) -> Option<&RootHash> {
        self.evidence().root_hash()
    }

    /// The detached mount.
    #[must_use]
    pub fn mount_fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    /// The root of the mount that it is in.
    pub(crate) fn mount_root(&self) -> BorrowedFd<'_> {
        self.shared.as_ref().map_or(self.mount.as_fd(), |shared| shared.as_fd())
    }

    /// Whether other layers are in the same mount, which is not gone when this one is.
    pub(crate) fn shares_its_mount(&self) -> bool {
        self.shared.is_some()
    }

    /// The directories it has of those its class merges, in the class's order.
    ///
    /// # Errors
    ///
    /// As [`Layer::hierarchy`].
    pub fn hierarchies(&self) -> Result<Vec<Hierarchy>> {
        let mut found = Vec::new();
        for path in self.class.hierarchies() {
            if let Some(directory) = self.hierarchy(path)? {
                found.push(Hierarchy { path, directory });
            }
        }
        Ok(found)
    }

    /// One directory of the layer, open as a path; `None` when the layer has nothing there.
    ///
    /// # Errors
    ///
    /// `layer-type` when something else than a directory is there: a symbolic link could lead a merge to other content
    /// than the one that is shown, so it is not followed.
    pub fn hierarchy(&self, path: &str) -> Result<Option<OwnedFd>> {
        let Some(fd) = self.open_path(path)? else { return Ok(None) };
        let found = file_type(fd.as_fd()).map_err(|source| Error::os("stat", self.target(path), source))?;
        if found == FileType::Directory {
            Ok(Some(fd))
        } else {
            Err(wrong_type(self.target(path), found, FileType::Directory))
        }
    }

    /// Reads a regular file of the layer, looked up inside it; `None` when there is none.
    ///
    /// # Errors
    ///
    /// `layer-type` when it is no regular file; `limit-bytes` when it has more than `most` bytes.
    pub fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let Some(inside) = self.inside(path) else { return Ok(None) };
        let os = |operation| move |source| Error::os(operation, self.target(path), source);
        // A named pipe would wait for a writer without NONBLOCK.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match sys::open_beneath(self.mount.as_fd(), inside, flags, ResolveFlags::NO_MAGICLINKS) {
            Ok(fd) => fd,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(os("open")(error)),
        };
        let found = file_type(fd.as_fd()).map_err(os("stat"))?;
        if found != FileType::RegularFile {
            return Err(wrong_type(self.target(path), found, FileType::RegularFile));
        }
        let mut bytes = Vec::new();
        File::from(fd).take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(os("read"))?;
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found > most {
            let fault = LimitExceeded::Bytes { what: "file of a layer", found, most };
            return Err(confext_ddi::Error::from(fault).into());
        }
        Ok(Some(bytes))
    }

    fn open_path(&self, path: &str) -> Result<Option<OwnedFd>> {
        let Some(inside) = self.inside(path) else { return Ok(None) };
        match sys::open_path(self.mount.as_fd(), inside, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            // A link or a file on the way: the same fault as at the end.
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                Err(wrong_type(self.target(path), FileType::Symlink, FileType::Directory))
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
                Err(wrong_type(self.target(path), FileType::RegularFile, FileType::Directory))
            }
            Err(source) => Err(Error::os("open", self.target(path), source)),
        }
    }

    /// Where `path` is in the mount: a usr partition is mounted without the `usr` in front, and has nothing else.
    fn inside<'p>(&self, path: &'p str) -> Option<&'p str> {
        let path = path.trim_matches('/');
        let is_usr = matches!(
            &self.source,
            Source::Image { origin, .. } if origin.partition.designator == Designator::Usr
        );
        let inside = if is_usr {
            let rest = path.strip_prefix("usr")?;
            if rest.is_empty() { rest } else { rest.strip_prefix('/')? }
        } else {
            path
        };
        Some(if inside.is_empty() { "." } else { inside })
    }

    fn target(&self, path: &str) -> String {
        format!("{path} in {}", self.path.display())
    }
}

/// A detached copy of the mount that a directory is on, rooted there, with the flags of a layer.
pub(crate) fn copy_of_mount(directory: BorrowedFd<'_>, class: Class) -> std::io::Result<OwnedFd> {
    let mount = copy(directory)?;
    // Private, or a detached copy of a shared mount would still take part in what happens to the original.
    let propagation = Some(Propagation::Private);
    let change = AttributeChange { propagation, ..AttributeChange::set(mount_flags(class)) };
    sys::set_attributes(mount.as_fd(), &change, Depth::Single)?;
    Ok(mount)
}

/// A detached copy; before Linux 6.15 a detached mount cannot be copied, but then it is the caller's own already.
fn copy(directory: BorrowedFd<'_>) -> std::io::Result<OwnedFd> {
    let copy = sys::clone_tree(directory, c"", Depth::Single);
    let Err(error) = copy else { return copy };
    let found = sys::mount_id(directory).and_then(sys::mount_info);
    let is_detached = found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if error.raw_os_error() == Some(libc::EINVAL) && is_detached {
        return directory.try_clone_to_owned();
    }
    Err(error)
}

/// Read-only and no device nodes for every class; a confext is configuration, so nothing in it runs.
fn mount_flags(class: Class) -> MountAttrFlags {
    let all = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    match class {
        Class::Sysext => all,
        Class::Confext => all | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    }
}

/// Mounts the device, and no other one that has its name meanwhile.
fn mount_checked(device: Device<'_>, fs_type: FsType, class: Class) -> Result<OwnedFd> {
    let mount = mount_device(device, fs_type, class)?;
    check_device(mount.as_fd(), device)?;
    device.check_use()?;
    Ok(mount)
}

fn mount_device(device: Device<'_>, fs_type: FsType, class: Class) -> Result<OwnedFd> {
    let context = FsContext::open(fs_type.as_str())?;
    context.set_string("source", device.path())?;
    context.set_flag("ro")?;
    if fs_type == FsType::Ext4 {
        // A journal that was not replayed would be replayed onto the device, which cannot be written to.
        context.set_flag("noload")?;
    }
    match context.create(Sharing::Exclusive) {
        Ok(()) => {}
        // Before Linux 6.6 there is no way to ask for a superblock of one's own; a device just attached has no other.
        Err(error) if error.source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            context.create(Sharing::Shared)?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(context.mount(mount_flags(class))?)
}

/// The device was found by its name in `/dev`: checks that what was mounted is the device that was attached.
fn check_device(mount: BorrowedFd<'_>, device: Device<'_>) -> Result<()> {
    let path = || device.path().display().to_string();
    let stat = sys::statx(mount, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map_err(|source| Error::os("stat the mount of", path(), source))?;
    let found = DeviceNumber { major: stat.stx_dev_major, minor: stat.stx_dev_minor };
    let expected = device.device_number();
    if found == expected {
        return Ok(());
    }
    Err(Error::conflict(
        "mount-source",
        path(),
        format!("a mount of device {found}"),
        format!("device {expected}"),
    ))
}

fn file_type(fd: BorrowedFd<'_>) -> std::io::Result<FileType> {
    let stat = sys::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
    Ok(FileType::from_raw_mode(stat.stx_mode.into()))
}

fn wrong_type(target: String, found: FileType, expected: FileType) -> Error {
    Error::conflict("layer-type", target, type_name(found), type_name(expected))
}

const fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Unknown => "something unknown",
    }
}
