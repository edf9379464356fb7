//! [`LoopDevice`]: one window of a file as a read-only block device.
//!
//! The device is configured in one call, so that nobody sees it half set up; the kernel's partition scan is never asked
//! for, because the window comes from a table that was checked here. The device clears itself when its last user is
//! gone: while a file system is mounted from it the value may be dropped.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use confext_ddi::units::{ByteRange, SectorSize};
use rustix::fs::{AtFlags, FileType, StatxFlags};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::sys::{self, LoopConfig, LoopFlags};

/// Getting a free number and configuring the device are two calls: another process may take it in between. Someone wins
/// each round, so this many attempts fail only when as many others attach without a pause.
const ATTEMPTS: u32 = 128;
/// The pause grows with each attempt up to this; all attempts together take at most about two seconds.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How a device reads its file.
///
/// ```no_run
/// use std::{fs::File, os::fd::AsFd as _};
///
/// use confext_core::loopdev::{Io, LoopDevice, Options};
/// use confext_ddi::units::ByteRange;
///
/// let image = File::open("app.raw")?;
/// let window = ByteRange::new(1 << 20, 2 << 20).ok_or("no window")?;
/// let device = LoopDevice::attach(image.as_fd(), &Options::new(window).io(Io::Direct))?;
/// if device.io() == Io::Buffered {
///     println!("the file system that app.raw is on can do nothing else");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Io {
    /// Through the file's page cache. The only way for memory.
    #[default]
    Buffered,
    /// Past the page cache where the file system can do that; the kernel falls back to the cache where it cannot.
    Direct,
}

/// How to make a [`LoopDevice`].
///
/// ```
/// use std::os::fd::AsFd as _;
///
/// use confext_core::loopdev::{LoopDevice, Options};
/// use confext_ddi::units::{ByteRange, SectorSize};
///
/// let image = tempfile::tempfile()?;
/// image.set_len(4096)?;
/// let window = ByteRange::new(512, 4096).ok_or("no window")?;
/// let options = Options::new(window).block_size(SectorSize::new(4096).ok_or("no size")?).name("app");
/// // The window starts in the middle of a block.
/// let error = LoopDevice::attach(image.as_fd(), &options).unwrap_err();
/// assert_eq!(error.code(), "loop-window");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Which bytes of the file the device shows; a whole number of blocks.
    pub window: ByteRange,
    /// The logical block size. Default 512, which every file system accepts.
    pub block_size: SectorSize,
    /// How the file is read. Default buffered.
    pub io: Io,
    /// A name for people, shown by tools that list loop devices; at most 63 bytes of it.
    pub name: String,
}

impl Options {
    /// The defaults for a window.
    #[must_use]
    pub fn new(window: ByteRange) -> Self {
        Self { window, block_size: SectorSize::S512, io: Io::default(), name: String::new() }
    }

    /// Sets the logical block size.
    #[must_use]
    pub fn block_size(mut self, block_size: SectorSize) -> Self {
        self.block_size = block_size;
        self
    }

    /// Sets how the file is read.
    #[must_use]
    pub fn io(mut self, io: Io) -> Self {
        self.io = io;
        self
    }

    /// Sets the name for people.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

/// A device number.
///
/// ```
/// use confext_core::loopdev::DeviceNumber;
///
/// // As `/proc/self/mountinfo` and the tables of device-mapper have it.
/// assert_eq!(DeviceNumber { major: 7, minor: 3 }.to_string(), "7:3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// The device.
    pub minor: u32,
}

impl std::fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A loop device, open. Dropped, it goes as soon as nobody else uses it.
///
/// ```no_run
/// use std::os::{fd::AsFd as _, linux::fs::MetadataExt as _};
///
/// use confext_core::loopdev::{LoopDevice, Options};
/// use confext_ddi::units::ByteRange;
///
/// let image = tempfile::tempfile()?;
/// image.set_len(1 << 20)?;
/// let window = ByteRange::new(4096, 8192).ok_or("no window")?;
/// let device = LoopDevice::attach(image.as_fd(), &Options::new(window))?;
/// assert_eq!(std::fs::read(device.path())?, [0; 4096]);
/// device.detach()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LoopDevice {
    device: File,
    path: PathBuf,
    device_number: DeviceNumber,
    disk_sequence: Option<u64>,
    io: Io,
}

impl LoopDevice {
    /// Binds a free loop device to a window of `backing`: read-only, clearing itself, without partitions.
    ///
    /// # Errors
    ///
    /// `os` when a call failed; `missing-capability` when there are no loop devices here; `loop-window` when the window is
    /// empty, ends after the file or is no whole number of blocks; `loop-contended` when every free device was taken away.
    ///
    /// # Needs
    ///
    /// Root (access to `/dev/loop-control`); Linux 5.8.
    pub fn attach(backing: BorrowedFd<'_>, options: &Options) -> Result<Self> {
        check_window(backing, options)?;
        let control = open_control()?;
        let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
        for attempt in 0..ATTEMPTS {
            let number = sys::loop_free_number(control.as_fd())
                .map_err(|source| Error::os("get a free loop device from", CONTROL, source))?;
            match Self::configure(number, backing, options) {
                Ok(device) => return device.checked(number, options),
                Err(Failure::Taken(error)) => last = error,
                Err(Failure::Other(error)) => return Err(error),
            }
            std::thread::sleep(Duration::from_micros(250).saturating_mul(attempt).min(LONGEST_PAUSE));
        }
        Err(Error::conflict(
            "loop-contended",
            CONTROL,
            format!("{ATTEMPTS} devices taken by others ({last})"),
            "a free device",
        ))
    }

    /// `/dev/loopN`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its device number, which a file system mounted from it has as `st_dev`.
    #[must_use]
    pub const fn device_number(&self) -> DeviceNumber {
        self.device_number
    }

    /// The number of this use of the device, which no other use shares; `None` before Linux 5.15.
    #[must_use]
    pub const fn disk_sequence(&self) -> Option<u64> {
        self.disk_sequence
    }

    /// How it reads its file: what was asked for, or the page cache where the file system can do nothing else.
    #[must_use]
    pub const fn io(&self) -> Io {
        self.io
    }

    /// Makes sure that the device still is in the use that it was attached for: its number may be in another use, and its
    /// file may have been exchanged by somebody else.
    ///
    /// # Errors
    ///
    /// `mount-source`; `os` when the kernel cannot be asked.
    pub(crate) fn check_use(&self) -> Result<()> {
        // Before Linux 5.15 there is nothing to compare.
        let Some(expected) = self.disk_sequence else { return Ok(()) };
        let found = sys::disk_sequence(self.device.as_fd())
            .map_err(|source| os_error("read the sequence of loop device", &self.path, source))?;
        if found == expected {
            return Ok(());
        }
        let (found, expected) = (format!("use {found} of the device"), format!("use {expected}"));
        Err(Error::conflict("mount-source", self.path.display().to_string(), found, expected))
    }

    /// Lets go of the file now; while a file system is mounted from the device, when that is unmounted.
    ///
    /// # Errors
    ///
    /// `os` when the kernel refuses.
    pub fn detach(self) -> Result<()> {
        sys::loop_clear(self.device.as_fd())
            .map_err(|source| Error::os("detach loop device", self.path.display().to_string(), source))
    }

    fn configure(number: u32, backing: BorrowedFd<'_>, options: &Options) -> Result<Self, Failure> {
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let os = |operation, source| Failure::new(operation, &path, source);
        let device = File::open(&path).map_err(|source| os("open loop device", source))?;
        let direct = match options.io {
            Io::Buffered => LoopFlags::empty(),
            Io::Direct => LoopFlags::DIRECT_IO,
        };
        let config = LoopConfig {
            offset: options.window.start(),
            size_limit: options.window.len_bytes(),
            block_size: options.block_size.bytes(),
            flags: LoopFlags::READ_ONLY | LoopFlags::AUTOCLEAR | direct,
            name: options.name.clone().into_bytes(),
        };
        sys::loop_configure(device.as_fd(), backing, &config)
            .map_err(|source| os("configure loop device", source))?;
        // From here on the device is ours: a failure drops it, and it clears itself.
        let stat = sys::statx(device.as_fd(), c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
            .map_err(|source| Failure::Other(os_error("stat loop device", &path, source)))?;
        let device_number = DeviceNumber { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor };
        let disk_sequence = sys::disk_sequence(device.as_fd()).ok();
        Ok(Self { device, path, device_number, disk_sequence, io: options.io })
    }

    /// Checks that the kernel did what was asked: the window is the one that was checked, and nothing can write to it.
    fn checked(mut self, number: u32, options: &Options) -> Result<Self> {
        let status = sys::loop_status(self.device.as_fd())
            .map_err(|source| os_error("read status of loop device", &self.path, source))?;
        let bytes = sys::device_bytes(self.device.as_fd())
            .map_err(|source| os_error("read size of loop device", &self.path, source))?;
        let safe = LoopFlags::READ_ONLY | LoopFlags::AUTOCLEAR;
        let window = options.window;
        let right = status.number == number
            && status.flags.contains(safe)
            && status.offset == window.start()
            && bytes == window.len_bytes();
        if right {
            let direct = status.flags.contains(LoopFlags::DIRECT_IO);
            self.io = if direct { Io::Direct } else { Io::Buffered };
            return Ok(self);
        }
        Err(Error::conflict(
            "loop-window",
            self.path.display().to_string(),
            format!(
                "device {} of {bytes} bytes from byte {} with flags {:?}",
                status.number, status.offset, status.flags
            ),
            format!(
                "device {number} of {} bytes from byte {} with flags {safe:?}",
                window.len_bytes(),
                window.start()
            ),
        ))
    }
}

impl AsFd for LoopDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

const CONTROL: &str = "/dev/loop-control";

fn open_control() -> Result<File> {
    File::options().read(true).write(true).open(CONTROL).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            Error::Missing { what: "the loop driver", why: format!("{CONTROL} does not exist") }
        }
        _ => Error::os("open", CONTROL, source),
    })
}

fn check_window(backing: BorrowedFd<'_>, options: &Options) -> Result<()> {
    let stat = sys::statx(backing, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map_err(|source| Error::os("stat", "the file of a loop device", source))?;
    let window = options.window;
    let block_bytes = u64::from(options.block_size.bytes());
    let whole = |bytes: u64| bytes.is_multiple_of(block_bytes);
    let is_file = FileType::from_raw_mode(stat.stx_mode.into()).is_file();
    let inside = !is_file || window.end() <= stat.stx_size;
    if inside && !window.is_empty() && whole(window.len_bytes()) && whole(window.start()) {
        return Ok(());
    }
    Err(Error::conflict(
        "loop-window",
        "the file of a loop device",
        format!("bytes {} to {} of {}", window.start(), window.end(), stat.stx_size),
        format!("a window inside the file of whole blocks of {block_bytes} bytes"),
    ))
}

fn os_error(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::os(operation, path.display().to_string(), source)
}

/// Why one attempt failed: another one may work, or not.
enum Failure {
    Taken(io::Error),
    Other(Error),
}

impl Failure {
    fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        match source.raw_os_error() {
            // Taken between the two calls, held by a prober, being taken down, or its node not there yet.
            Some(libc::EBUSY | libc::ENXIO | libc::ENODEV | libc::EAGAIN | libc::ENOENT) => {
                Self::Taken(source)
            }
            _ => Self::Other(os_error(operation, path, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: u64, end: u64) -> Options {
        Options::new(ByteRange::new(start, end).unwrap())
    }

    #[test]
    fn a_window_must_be_whole_blocks_inside_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        for (start, end) in [(0, 4096), (512, 1024), (3584, 4096)] {
            check_window(file.as_fd(), &window(start, end)).unwrap();
        }
        for (start, end) in [(0, 4608), (4096, 4608), (512, 512), (0, 100), (100, 612), (0, u64::MAX)] {
            let error = check_window(file.as_fd(), &window(start, end)).unwrap_err();
            assert_eq!(error.code(), "loop-window", "{start}..{end}");
        }
        let large_blocks = window(512, 1024).block_size(SectorSize::new(4096).unwrap());
        assert_eq!(check_window(file.as_fd(), &large_blocks).unwrap_err().code(), "loop-window");
    }

    #[test]
    fn only_a_taken_device_is_tried_again() {
        let path = Path::new("/dev/loop0");
        let failure = |errno| Failure::new("open", path, io::Error::from_raw_os_error(errno));
        assert!(matches!(failure(libc::EBUSY), Failure::Taken(_)));
        assert!(matches!(failure(libc::EACCES), Failure::Other(Error::Os { .. })));
    }
}
