//! [`Host`]: a root directory, what runs there, and what the kernel can do. There are no global paths.

use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use confext_ddi::dps::Architecture;
use confext_ddi::limits::Limits;
use confext_ddi::release::{self, Release, Scope};
use rustix::io::Errno;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::mapper::{self, Loaded};
use crate::sys::{self, ContextError, FsContext, MountAttrFlags, OFlags, ResolveFlags, Sharing};
use crate::understood::Understood;

/// What the running kernel lets this process do; probed, not concluded from a version.
///
/// ```
/// use confext_core::{Host, host::Ability};
///
/// let host = Host::open("/")?;
/// let can = host.capabilities();
/// if can.mount_beneath != Ability::Present {
///     println!("a refresh leaves a gap, or is refused");
/// }
/// // It is tried once for each host.
/// assert!(std::ptr::eq(can, host.capabilities()));
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Mounting overlayfs.
    pub overlay: Ability,
    /// Overlay layers that are detached mounts, given as file descriptors (Linux 6.15). Without it layers are staged in
    /// a mount namespace of their own.
    pub detached_layers: Ability,
    /// A mount put beneath another one (Linux 6.5): what an exchange without a gap needs.
    pub mount_beneath: Ability,
    /// Mounting EROFS.
    pub erofs: Ability,
    /// Mounting squashfs.
    pub squashfs: Ability,
    /// The device mapper.
    pub device_mapper: Ability,
    /// Its target `verity`.
    pub dm_verity: Ability,
    /// Signatures that dm-verity checks itself (`CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG`).
    pub dm_verity_signatures: Ability,
}

/// Whether something can be done.
///
/// ```
/// use confext_core::{Host, doctor, host::Ability};
///
/// let advice = match Host::open("/")?.capabilities().dm_verity {
///     Ability::Present | Ability::OnDemand => "blocks are checked as they are read",
///     Ability::NotPermitted => "ask again as root",
///     Ability::Absent => "images are copied to memory while they are checked",
/// };
/// println!("{advice}");
/// assert!(doctor::State::from(Ability::OnDemand).is_usable());
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// Yes.
    Present,
    /// The kernel cannot.
    Absent,
    /// This process may not, so it is not known whether the kernel could.
    NotPermitted,
    /// Not now: the kernel looks for the module when it is used. Asking loads nothing.
    OnDemand,
}

/// A root directory: everything below it is looked up with it as the root, so that no link leads out.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// # std::fs::create_dir_all(root.path().join("etc"))?;
/// # std::fs::create_dir_all(root.path().join("run/confexts/app/etc/extension-release.d"))?;
/// # std::fs::write(root.path().join("etc/os-release"), "ID=demo\n")?;
/// # std::fs::write(root.path().join("run/confexts/app/etc/extension-release.d/extension-release.app"), "ID=demo\n")?;
/// # std::fs::write(root.path().join("run/confexts/app/etc/app.conf"), "answer = 42\n")?;
/// use confext_core::Host;
/// use confext_ddi::Limits;
///
/// // Any directory with an os-release.
/// let host = Host::open(root.path())?;
/// assert_eq!(host.release(&Limits::default())?.os_release.get("ID"), Some("demo"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Host {
    root: OwnedFd,
    path: PathBuf,
    reach: Reach,
    scope: Scope,
    capabilities: OnceLock<Capabilities>,
    understood: Understood,
}

/// What leads to a root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Its path, in the file tree of this process.
    Path,
    /// Only its descriptor: it may be in another mount namespace, or in none.
    Descriptor,
}

impl Host {
    /// Opens a root directory: `/`, or the root of another system.
    ///
    /// # Errors
    ///
    /// `os` when it is not there or no directory.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let given = root.as_ref();
        let failed = |source: std::io::Error| Error::os("open", given.display().to_string(), source);
        let path = std::fs::canonicalize(given).map_err(failed)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(&path, flags, sys::Mode::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Self::new(root, path, Reach::Path))
    }

    /// A root directory that is given as a descriptor: that of another process, or a mounted image. `path` is only what
    /// messages call it.
    ///
    /// What is in it can be found, read and planned with. What goes by the path of a root directory, or asks the kernel
    /// about its mounts, ends with `missing-capability`: nothing can be merged into it, and what is under a stack that is
    /// merged in it cannot be seen.
    ///
    /// # Errors
    ///
    /// `os` when it is no directory.
    pub fn of_root(root: OwnedFd, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let failed = |source: std::io::Error| Error::os("look at", path.display().to_string(), source);
        let stat = rustix::fs::fstat(&root).map_err(|errno| failed(errno.into()))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
            return Err(failed(Errno::NOTDIR.into()));
        }
        Ok(Self::new(root, path, Reach::Descriptor))
    }

    /// The same once more.
    pub(crate) fn share(&self) -> Result<Self> {
        let root = self.root.try_clone();
        let root = root.map_err(|error| Error::os("open", self.path.display().to_string(), error))?;
        let (path, capabilities) = (self.path.clone(), OnceLock::new());
        Ok(Self {
            root,
            path,
            reach: self.reach,
            scope: self.scope,
            capabilities,
            understood: Understood::default(),
        })
    }

    fn new(root: OwnedFd, path: PathBuf, reach: Reach) -> Self {
        let initrd =
            sys::open_path(root.as_fd(), "etc/initrd-release", OFlags::empty(), ResolveFlags::empty());
        let scope = if initrd.is_ok() { Scope::Initrd } else { Scope::System };
        Self { root, path, reach, scope, capabilities: OnceLock::new(), understood: Understood::default() }
    }

    /// Where the root directory is; of one that was given as a descriptor, what messages call it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which phase of the boot it is for.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The architecture extensions must be for: the one this program was built for.
    #[must_use]
    pub fn architecture(&self) -> Option<Architecture> {
        Architecture::of_build()
    }

    /// What extensions are matched with: `etc/os-release`, else `usr/lib/os-release`, with architecture and scope.
    ///
    /// # Errors
    ///
    /// `os` when there is neither file; `host-id-missing` and the `release-` codes when it says too little.
    pub fn release(&self, limits: &Limits) -> Result<release::Host> {
        let Some(architecture) = self.architecture() else {
            let why = "no partition types are defined for it".to_owned();
            return Err(Error::Missing { what: "extensions for this architecture", why });
        };
        let release = self.os_release(limits)?;
        let host = release::Host::new(release, architecture, self.scope);
        Ok(host.map_err(|error| error.within("os-release"))?)
    }

    /// What the system says of itself.
    pub(crate) fn os_release(&self, limits: &Limits) -> Result<Release> {
        let what = "os-release file";
        let first = self.read(Path::new("etc/os-release"), what, limits.release_bytes);
        let bytes = match first {
            Err(Error::Os { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                self.read(Path::new("usr/lib/os-release"), what, limits.release_bytes)?
            }
            read => read?,
        };
        Ok(Release::parse(&bytes, limits).map_err(|error| error.within("os-release"))?)
    }

    /// What the kernel can do, probed at the first call.
    pub fn capabilities(&self) -> &Capabilities {
        self.capabilities.get_or_init(|| Capabilities::probe(self.root.as_fd()))
    }

    /// What was read of its stacks last.
    pub(crate) fn understood(&self) -> &Understood {
        &self.understood
    }

    /// The root directory itself.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens `path` inside the root as a place, not for reading; links are followed inside.
    pub(crate) fn open_path(&self, path: &Path, flags: OFlags) -> std::io::Result<OwnedFd> {
        sys::open_path(self.root.as_fd(), inside(path), flags, ResolveFlags::NO_MAGICLINKS)
    }

    /// Opens `path` inside the root for reading; links are followed inside. Never waits for a pipe's other end.
    pub(crate) fn open_file(&self, path: &Path) -> std::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        sys::open_beneath(self.root.as_fd(), inside(path), flags, ResolveFlags::NO_MAGICLINKS)
    }

    /// Reads a regular file inside the root, at most `most_bytes` of it.
    ///
    /// # Errors
    ///
    /// `os`; `limit-bytes` when it is longer.
    pub(crate) fn read(&self, path: &Path, what: &'static str, most_bytes: u64) -> Result<Vec<u8>> {
        let failed = |source| Error::os("read", self.display(path), source);
        let file = std::fs::File::from(self.open_file(path).map_err(failed)?);
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(Errno::INVAL.into()));
        }
        let mut bytes = Vec::new();
        file.take(most_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found > most_bytes {
            let fault = confext_ddi::error::LimitExceeded::Bytes { what, found, most: most_bytes };
            return Err(Error::Ddi(fault.into()));
        }
        Ok(bytes)
    }

    /// `path` as the caller's process would write it, for messages.
    pub(crate) fn display(&self, path: &Path) -> String {
        self.path.join(path.strip_prefix("/").unwrap_or(path)).to_string_lossy().into_owned()
    }

    /// Where an opened file is inside the root, links resolved; `None` when it is outside or was removed.
    pub(crate) fn path_of(&self, fd: BorrowedFd<'_>) -> Option<PathBuf> {
        let outside = fd_path(fd).ok()?;
        match self.reach {
            Reach::Path => outside.strip_prefix(&self.path).ok().map(Path::to_path_buf),
            Reach::Descriptor => self.checked_path_of(fd, &outside),
        }
    }

    /// Both paths begin where the file tree does that both are in. What was moved out has a path that begins elsewhere, so
    /// the path counts only if it leads back.
    fn checked_path_of(&self, fd: BorrowedFd<'_>, outside: &Path) -> Option<PathBuf> {
        let inside = outside.strip_prefix(fd_path(self.root()).ok()?).ok()?;
        let flags = ResolveFlags::NO_SYMLINKS;
        let found = sys::open_path(self.root(), self::inside(inside), OFlags::NOFOLLOW, flags).ok()?;
        (identity(found.as_fd())? == identity(fd)?).then(|| inside.to_path_buf())
    }

    /// The path of the root directory, where it is in the file tree of this process.
    ///
    /// # Errors
    ///
    /// `missing-capability`: `what` needs it.
    pub(crate) fn reachable(&self, what: &'static str) -> Result<&Path> {
        match self.reach {
            Reach::Path => Ok(&self.path),
            Reach::Descriptor => {
                let why = format!("no path of this process leads to the root {}", self.path.display());
                Err(Error::Missing { what, why })
            }
        }
    }

    /// Whether it is the root directory of this process.
    pub(crate) fn is_own(&self) -> bool {
        self.reach == Reach::Path && self.path == Path::new("/")
    }
}

/// Device, inode and mount.
fn identity(fd: BorrowedFd<'_>) -> Option<(u32, u32, u64, u64)> {
    let mask = sys::StatxFlags::INO | sys::StatxFlags::MNT_ID;
    let stat = sys::statx(fd, c"", sys::AtFlags::EMPTY_PATH, mask).ok()?;
    Some((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, stat.stx_mnt_id))
}

/// What `/proc` says of a file descriptor.
pub(crate) fn fd_path(fd: BorrowedFd<'_>) -> std::io::Result<PathBuf> {
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// A path for a lookup with a root of its own; the empty one is the root itself.
fn inside(path: &Path) -> &Path {
    if path.as_os_str().as_bytes().is_empty() { Path::new(".") } else { path }
}

impl Capabilities {
    fn probe(root: BorrowedFd<'_>) -> Self {
        let mapped = mapper::find();
        Self {
            overlay: Ability::of_file_system("overlay"),
            detached_layers: Ability::of_detached_layers(),
            mount_beneath: Ability::of_mount_beneath(root),
            erofs: Ability::of_file_system("erofs"),
            squashfs: Ability::of_file_system("squashfs"),
            device_mapper: mapped.mapper.into(),
            dm_verity: mapped.verity.into(),
            dm_verity_signatures: mapped.signatures.into(),
        }
    }

    /// How layers are given to overlayfs.
    ///
    /// # Errors
    ///
    /// `missing-capability` when there is no way.
    pub(crate) fn layering(&self, asked: Layers) -> Result<Layering> {
        self.overlay.require("overlayfs", "the kernel has no such file system")?;
        Ok(match (asked, self.detached_layers) {
            (Layers::Auto, Ability::Present) => Layering::Detached,
            _ => Layering::Staged,
        })
    }
}

/// How the layers of a stack get to the kernel. Neither way shows in what is merged.
///
/// ```
/// use confext_core::{Options, host::Layers};
///
/// // To see on a newer kernel what one before Linux 6.15 does.
/// let mut options = Options::default();
/// options.layers = Layers::Staged;
/// assert_ne!(options.layers, Options::default().layers);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Layers {
    /// As detached mounts where the kernel takes them, and otherwise staged.
    #[default]
    Auto,
    /// By way of a mount namespace that nobody else sees: what kernels before Linux 6.15 need.
    Staged,
}

/// How layers are given to overlayfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layering {
    /// As descriptors of detached mounts.
    Detached,
    /// By path, in a mount namespace of their own.
    Staged,
}

/// Makes a small overlay that nobody sees.
fn try_overlay() -> std::result::Result<(), ContextError> {
    let layer = || {
        let context = FsContext::open("tmpfs")?;
        context.create(Sharing::Shared)?;
        context.mount(MountAttrFlags::empty())
    };
    let overlay = FsContext::open("overlay")?;
    // Open until the overlay has its own hold on them: a detached mount goes with its last descriptor.
    let layers = [layer()?, layer()?];
    for layer in &layers {
        overlay.set_fd("lowerdir+", layer.as_fd())?;
    }
    overlay.create(Sharing::Shared)
}

impl From<Loaded> for Ability {
    fn from(loaded: Loaded) -> Self {
        match loaded {
            Loaded::Yes => Self::Present,
            Loaded::NotYet => Self::OnDemand,
            Loaded::No => Self::Absent,
            Loaded::NotPermitted => Self::NotPermitted,
        }
    }
}

impl Ability {
    pub(crate) fn require(self, what: &'static str, absent: &str) -> Result<()> {
        match self {
            Self::Present | Self::OnDemand => Ok(()),
            Self::Absent => Err(Error::Missing { what, why: absent.to_owned() }),
            Self::NotPermitted => {
                Err(Error::Missing { what, why: "the process lacks CAP_SYS_ADMIN".to_owned() })
            }
        }
    }

    /// A file system. The kernel looks for its module.
    pub(crate) fn of_file_system(name: &str) -> Self {
        Self::of(FsContext::open(name).map(drop).map_err(|error| error.source))
    }

    /// Overlay layers that are detached mounts.
    pub(crate) fn of_detached_layers() -> Self {
        Self::of(try_overlay().map_err(|error| error.source))
    }

    /// A mount beneath another one. Nothing is mounted.
    pub(crate) fn of_mount_beneath(root: BorrowedFd<'_>) -> Self {
        // An empty source path without the flag that allows one: a kernel that knows the placement gets as far as the
        // path and finds nothing there, one that does not refuses the flag.
        let beneath = rustix::mount::move_mount(
            root,
            c"",
            root,
            c"",
            rustix::mount::MoveMountFlags::MOVE_MOUNT_BENEATH,
        );
        match beneath {
            Err(Errno::NOENT) => Self::Present,
            Err(Errno::PERM) => Self::NotPermitted,
            _ => Self::Absent,
        }
    }

    fn of(result: std::io::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Present,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Self::NotPermitted,
            Err(_) => Self::Absent,
        }
    }
}

#[cfg(test)]
impl Host {
    /// A root with these files, for tests; a text that starts with `-> ` is a link.
    pub(crate) fn of_files(files: &[(&str, &str)]) -> (tempfile::TempDir, Self) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => std::fs::write(path, text).unwrap(),
            }
        }
        let host = Self::open(root.path()).unwrap();
        (root, host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_read_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Host::open(dir.path()).unwrap().scope(), Scope::System);
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/initrd-release"), b"ID=x\n").unwrap();
        assert_eq!(Host::open(dir.path()).unwrap().scope(), Scope::Initrd);
    }

    #[test]
    fn a_root_must_be_a_directory_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        for path in [file, dir.path().join("missing")] {
            let error = Host::open(&path).unwrap_err();
            assert_eq!(error.code(), "os");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn links_and_limits_stay_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/real"), b"12345").unwrap();
        std::os::unix::fs::symlink("/etc/real", dir.path().join("link")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        for host in [Host::open(dir.path()).unwrap(), Host::of_root(root.into(), "/proc/1/root").unwrap()] {
            assert_eq!(host.read(Path::new("/link"), "file", 5).unwrap(), b"12345");
            assert_eq!(host.read(Path::new("/link"), "file", 4).unwrap_err().code(), "limit-bytes");
            assert_eq!(host.read(Path::new("etc"), "file", 4).unwrap_err().code(), "os");
            let fd = host.open_path(Path::new("link"), OFlags::empty()).unwrap();
            assert_eq!(host.path_of(fd.as_fd()).unwrap(), Path::new("etc/real"));
            assert!(host.open_path(Path::new("/"), OFlags::DIRECTORY).is_ok());
            assert_eq!(host.path_of(host.root()).unwrap(), Path::new(""));
        }
    }

    #[test]
    fn what_left_a_root_has_no_path_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("file"), b"").unwrap();
        let host = Host::of_root(std::fs::File::open(&root).unwrap().into(), "a root").unwrap();
        let file = host.open_path(Path::new("file"), OFlags::empty()).unwrap();
        assert_eq!(host.path_of(file.as_fd()).unwrap(), Path::new("file"));
        std::fs::rename(root.join("file"), dir.path().join("file")).unwrap();
        assert_eq!(host.path_of(file.as_fd()), None);
        std::fs::write(root.join("file"), b"").unwrap();
        std::fs::remove_file(dir.path().join("file")).unwrap();
        assert_eq!(host.path_of(file.as_fd()), None);
    }

    #[test]
    fn a_descriptor_is_not_taken_for_what_its_path_says() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::of_root(std::fs::File::open(dir.path()).unwrap().into(), "/").unwrap();
        assert!(!host.is_own() && Host::open("/").unwrap().is_own());
        assert_eq!(host.reachable("a merge").unwrap_err().code(), "missing-capability");
        let options = crate::Options::default();
        for class in [release::Class::Confext, release::Class::Sysext] {
            for result in [
                crate::merge(&host, class, &options).map(drop),
                crate::unmerge(&host, class, &options).map(drop),
                crate::Stack::assemble(&host, class, &options).map(drop),
            ] {
                assert_eq!(result.unwrap_err().code(), "missing-capability");
            }
        }
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(Host::of_root(file.into(), "x").unwrap_err().code(), "os");
    }
}
