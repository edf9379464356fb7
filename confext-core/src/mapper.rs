//! [`Control`]: the device mapper's control device, found without making anything in `/dev`, and what the kernel has of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use crate::error::{Error, Result};
use crate::sys::{self, ContextError, FsContext, MountAttrFlags, Sharing};

const CONTROL: &str = "/dev/mapper/control";
/// The major number of the devices in `/proc/misc`.
const MISC_MAJOR: u32 = 10;
/// `require_signatures` is there when dm-verity was built to check signatures.
const REQUIRE_SIGNATURES: &str = "/sys/module/dm_verity/parameters/require_signatures";

/// The control device, open.
#[derive(Debug)]
pub(crate) struct Control(File);

/// Whether the kernel has something now. Nothing is loaded to find that out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// Yes.
    Yes,
    /// No, but the kernel may load it when it is used.
    NotYet,
    /// No.
    No,
    /// This process may not ask.
    NotPermitted,
}

/// What there is of the device mapper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) mapper: Loaded,
    pub(crate) verity: Loaded,
    pub(crate) signatures: Loaded,
}

impl Control {
    /// Opens it. Where `/dev/mapper/control` is there and the device mapper is not loaded, the kernel loads it.
    ///
    /// # Errors
    ///
    /// `missing-capability` when there is none; `os` when it cannot be opened.
    pub(crate) fn open() -> Result<Self> {
        let missing = |why: String| Error::Missing { what: "the device mapper", why };
        let control = match open_device(Path::new(CONTROL), OFlags::RDWR) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(minor) = misc_minor() else {
                    return Err(missing(format!(
                        "{CONTROL} does not exist, and no device-mapper is in /proc/misc"
                    )));
                };
                let node = private_node(FileType::CharacterDevice, (MISC_MAJOR, minor), OFlags::RDWR);
                node.map_err(|source| Error::os("open the control device of", "device-mapper", source))?
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV)) => {
                return Err(missing(format!("{CONTROL}: {error}")));
            }
            Err(error) => return Err(Error::os("open", CONTROL, error)),
        };
        match sys::dm_version(control.as_fd()) {
            Ok([4, minor, _]) if minor >= 27 => Ok(Self(control)),
            Ok([major, minor, patch]) => {
                Err(missing(format!("its interface is {major}.{minor}.{patch}, and 4.27 is needed")))
            }
            Err(error) => Err(missing(format!("{CONTROL} does not answer as one: {error}"))),
        }
    }

    /// Whether a target is loaded, and its version.
    pub(crate) fn target(&self, kind: &str) -> io::Result<Option<[u32; 3]>> {
        let targets = sys::dm_target_versions(self.as_fd())?;
        Ok(targets.into_iter().find(|target| target.kind == kind).map(|target| target.version))
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Looks without loading anything: the control device is opened only when the device mapper is loaded already.
pub(crate) fn find() -> Found {
    let all = |state| Found { mapper: state, verity: state, signatures: state };
    if misc_minor().is_none() {
        return all(if Path::new(CONTROL).exists() { Loaded::NotYet } else { Loaded::No });
    }
    let targets = match Control::open() {
        Ok(control) => control.target("verity"),
        Err(Error::Os { source, .. }) => Err(source),
        Err(_) => return all(Loaded::No),
    };
    let verity = match targets {
        Ok(Some(_)) => Loaded::Yes,
        Ok(None) => Loaded::NotYet,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Loaded::NotPermitted,
        Err(_) => Loaded::No,
    };
    let signatures = match verity {
        Loaded::Yes if !checks_signatures() => Loaded::No,
        other => other,
    };
    let mapper = if verity == Loaded::NotPermitted { Loaded::NotPermitted } else { Loaded::Yes };
    Found { mapper, verity, signatures }
}

/// Whether the dm-verity that is loaded can check signatures.
pub(crate) fn checks_signatures() -> bool {
    Path::new(REQUIRE_SIGNATURES).exists()
}

/// Whether the kernel takes no table of dm-verity without a signature.
pub(crate) fn requires_signatures() -> bool {
    std::fs::read(REQUIRE_SIGNATURES).is_ok_and(|value| matches!(value.first(), Some(b'Y' | b'1')))
}

/// The minor number of the control device, if the device mapper is loaded.
fn misc_minor() -> Option<u32> {
    minor_in(&std::fs::read_to_string("/proc/misc").ok()?)
}

fn minor_in(text: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let (minor, name) = line.trim().split_once(' ')?;
        (name.trim() == "device-mapper").then(|| minor.parse().ok())?
    })
}

/// Opens a mapped device by its number. The path is one that this process can hand to the kernel while the file is open:
/// `/dev/dm-N`, or where `/dev` has no such node, or another device by that name, the file itself.
pub(crate) fn open_mapped(number: (u32, u32)) -> io::Result<(File, PathBuf)> {
    use std::os::fd::AsRawFd as _;
    let path = PathBuf::from(format!("/dev/dm-{}", number.1));
    if let Ok(file) = open_device(&path, OFlags::RDONLY)
        && is_device(&file, FileType::BlockDevice, number)
    {
        return Ok((file, path));
    }
    let file = open_block(number)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok((file, path))
}

/// Opens a block device by its number, whatever `/dev` has.
pub(crate) fn open_block(number: (u32, u32)) -> io::Result<File> {
    private_node(FileType::BlockDevice, number, OFlags::RDONLY)
}

fn open_device(path: &Path, flags: OFlags) -> io::Result<File> {
    let more = OFlags::NONBLOCK | OFlags::NOCTTY;
    File::options()
        .read(true)
        .write(flags.contains(OFlags::RDWR))
        .custom_flags(more.bits().cast_signed())
        .open(path)
}

fn is_device(file: &File, kind: FileType, number: (u32, u32)) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| {
        let found = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        FileType::from_raw_mode(stat.st_mode) == kind && found == number
    })
}

/// Opens a device through a node in a file system that only this call sees, and that is gone with the file.
fn private_node(kind: FileType, number: (u32, u32), flags: OFlags) -> io::Result<File> {
    let place = private_directory().map_err(|error| error.source)?;
    let device = rustix::fs::makedev(number.0, number.1);
    rustix::fs::mknodat(&place, c"device", kind, Mode::RUSR | Mode::WUSR, device)?;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::openat(&place, c"device", flags, Mode::empty())?))
}

fn private_directory() -> std::result::Result<OwnedFd, ContextError> {
    let context = FsContext::open("tmpfs")?;
    context.create(Sharing::Shared)?;
    context.mount(MountAttrFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_number_is_found_by_its_name() {
        let text = "260 vboxguest\n236 device-mapper\n  1 psaux\n";
        assert_eq!(minor_in(text), Some(236));
        assert_eq!(minor_in(" 60 device-mapper\n"), Some(60));
        for text in ["", "236 device-mapper-2\n", "x device-mapper\n", "236\n"] {
            assert_eq!(minor_in(text), None, "{text}");
        }
    }
}
