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

/// What the running kernel lets this process do; probed, not concluded from a version.
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
#[derive(Debug)]
pub struct Host {
    root: OwnedFd,
    path: PathBuf,
    scope: Scope,
    capabilities: OnceLock<Capabilities>,
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
        let initrd =
            sys::open_path(root.as_fd(), "etc/initrd-release", OFlags::empty(), ResolveFlags::empty());
        let scope = if initrd.is_ok() { Scope::Initrd } else { Scope::System };
        Ok(Self { root, path, scope, capabilities: OnceLock::new() })
    }

    /// Where the root directory is, for messages.
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
        self.path.join(path.strip_prefix("/").unwrap_or(path)).display().to_string()
    }

    /// Where an opened file is inside the root, links resolved; `None` when it is outside or was removed.
    pub(crate) fn path_of(&self, fd: BorrowedFd<'_>) -> Option<PathBuf> {
        let outside = fd_path(fd).ok()?;
        outside.strip_prefix(&self.path).ok().map(Path::to_path_buf)
    }
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
        let detached_layers = Ability::of(try_overlay().map_err(|error| error.source));
        // An empty source path without the flag that allows one: a kernel that knows the placement gets as far as the
        // path and finds nothing there, one that does not refuses the flag.
        let beneath = rustix::mount::move_mount(
            root,
            c"",
            root,
            c"",
            rustix::mount::MoveMountFlags::MOVE_MOUNT_BENEATH,
        );
        let mount_beneath = match beneath {
            Err(Errno::NOENT) => Ability::Present,
            Err(Errno::PERM) => Ability::NotPermitted,
            _ => Ability::Absent,
        };
        let mapped = mapper::find();
        let file_system = |name| Ability::of(FsContext::open(name).map(drop).map_err(|error| error.source));
        Self {
            overlay: file_system("overlay"),
            detached_layers,
            mount_beneath,
            erofs: file_system("erofs"),
            squashfs: file_system("squashfs"),
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
    fn require(self, what: &'static str, absent: &str) -> Result<()> {
        match self {
            Self::Present | Self::OnDemand => Ok(()),
            Self::Absent => Err(Error::Missing { what, why: absent.to_owned() }),
            Self::NotPermitted => {
                Err(Error::Missing { what, why: "the process lacks CAP_SYS_ADMIN".to_owned() })
            }
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
        let host = Host::open(dir.path()).unwrap();
        assert_eq!(host.read(Path::new("/link"), "file", 5).unwrap(), b"12345");
        assert_eq!(host.read(Path::new("/link"), "file", 4).unwrap_err().code(), "limit-bytes");
        assert_eq!(host.read(Path::new("etc"), "file", 4).unwrap_err().code(), "os");
        let fd = host.open_path(Path::new("link"), OFlags::empty()).unwrap();
        assert_eq!(host.path_of(fd.as_fd()).unwrap(), Path::new("etc/real"));
        assert!(host.open_path(Path::new("/"), OFlags::DIRECTORY).is_ok());
    }
}
