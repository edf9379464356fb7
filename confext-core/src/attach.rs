//! [`attach`]: the bytes of an admitted image become a block device, and what was checked is what is used.
//!
//! ```text
//!  Admitted ── each block read once, checked, copied ──► memfd ── sealed ──► loop device     SealedMemory
//!  Admitted without verity ────────── a window of the file ────────────────► loop device     Plain
//!  Admitted without verity ────────── EROFS in the file ─────────────────────────────────► InPlace, where the kernel can
//! ```

mod way;

use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use confext_ddi::error::{LimitExceeded, Refused};
use confext_ddi::fstype::{self, FsType};
use confext_ddi::image::Partition;
use confext_ddi::policy::{Admitted, Evidence, Protection};
use confext_ddi::read::{ReadAt, Window};
use confext_ddi::units::ByteRange;
pub use confext_ddi::verity::Progress;
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loopdev::{self, Io, LoopDevice};
use crate::sys::{self, AtFlags, ContextError, FsContext, SealFlags, Sharing, StatxFlags};
pub use way::{Reads, Reason, Way};

/// How the bytes reach the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// Copied into memory while they are checked, sealed, then read by a loop device: nobody can change them any more,
    /// and no device-mapper is needed. Costs memory as large as the file system.
    SealedMemory,
    /// A loop device on the file itself, for images admitted without verity. Who can write the file changes the mount.
    Plain,
    /// As little as the evidence allows. What was checked is copied as in [`Mode::SealedMemory`]. Of what nobody checks,
    /// EROFS is read from the file itself, without loop device and copy, where the kernel can do that (Linux 6.12); all else
    /// through a loop device as in [`Mode::Plain`]. Who can write the file changes the mount. [`Way`] says what was done.
    InPlace,
}

impl Mode {
    /// As it is written: `sealed-memory`, `plain` or `in-place`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SealedMemory => "sealed-memory",
            Self::Plain => "plain",
            Self::InPlace => "in-place",
        }
    }
}

/// Told how far the copy is; may stop it.
type Report<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// How to attach. A [`Mode`] converts into it.
pub struct Options<'a> {
    mode: Mode,
    progress: Option<&'a mut Report<'a>>,
}

impl<'a> Options<'a> {
    /// Attaches in this mode.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, progress: None }
    }

    /// Calls `report` now and then while bytes are copied; it may stop that.
    #[must_use]
    pub fn progress(mut self, report: &'a mut dyn FnMut(Progress) -> ControlFlow<()>) -> Self {
        self.progress = Some(report);
        self
    }
}

impl From<Mode> for Options<'_> {
    fn from(mode: Mode) -> Self {
        Self::new(mode)
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// What an attached image is, for people and programs that ask later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Origin {
    /// How its bytes reach the kernel, and why.
    pub way: Way,
    /// What was checked about them.
    pub evidence: Evidence,
    /// The partition they are from.
    pub partition: Partition,
    /// The file system, by the magic in the bytes that are used.
    pub fs_type: FsType,
    /// How many bytes the kernel was shown.
    pub len_bytes: u64,
}

/// An admitted image as the kernel can mount it. Dropped, a device goes with its last user.
#[derive(Debug)]
pub struct Attached {
    backing: Backing,
    origin: Origin,
}

/// What a file system is mounted from.
#[derive(Debug)]
pub(crate) enum Backing {
    Loop(LoopDevice),
    /// A superblock on the file.
    File(FsContext),
}

impl Attached {
    /// The device; `None` when the kernel reads the file itself.
    #[must_use]
    pub const fn device(&self) -> Option<&LoopDevice> {
        match &self.backing {
            Backing::Loop(device) => Some(device),
            Backing::File(_) => None,
        }
    }

    /// What it is.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Lets go of the device.
    ///
    /// # Errors
    ///
    /// As [`LoopDevice::detach`].
    pub fn detach(self) -> Result<()> {
        match self.backing {
            Backing::Loop(device) => device.detach(),
            Backing::File(_) => Ok(()),
        }
    }

    pub(crate) fn into_parts(self) -> (Backing, Origin) {
        (self.backing, self.origin)
    }
}

/// Makes the data partition of an admitted image something that the kernel can mount.
///
/// # Errors
///
/// `limit-bytes` when the file system is larger than [`Limits::image_bytes`](confext_ddi::Limits::image_bytes) (sealed
/// memory only); family `unverified` when a block does not check; `cancelled` when the progress callback said so;
/// `plain-on-verified` when [`Mode::Plain`] would throw away the check; `layer-file-system` when it holds no file system a
/// layer can be; else as [`LoopDevice::attach`].
pub fn attach<'a, R: ReadAt + AsFd>(
    admitted: Admitted<R>,
    options: impl Into<Options<'a>>,
) -> Result<Attached> {
    let Options { mode, progress } = options.into();
    let evidence = admitted.evidence().clone();
    let partition = admitted.image().data().clone();
    let unprotected = evidence.protection() == Protection::None;
    let (shown, because) = match mode {
        Mode::InPlace if unprotected => attach_in_place(admitted.image().reader(), &partition)?,
        Mode::SealedMemory | Mode::InPlace => {
            let report: &mut Report<'_> = match progress {
                Some(report) => report,
                None => &mut |_| ControlFlow::Continue(()),
            };
            let most = admitted.image().limits().image_bytes;
            let name = memory_name(&evidence);
            let shown = attach_sealed(&seal(admitted.data(), &name, most, report)?, &partition, &name)?;
            (shown, if mode == Mode::InPlace { Reason::HashTree } else { Reason::Asked })
        }
        Mode::Plain => (attach_plain(admitted.image().reader(), &evidence, &partition)?, Reason::Asked),
    };
    let Shown { backing, fs_type, len_bytes, reads } = shown;
    let io = match &backing {
        Backing::Loop(device) => Some(device.io()),
        Backing::File(_) => None,
    };
    let way = Way { asked: mode, reads, io, because };
    Ok(Attached { backing, origin: Origin { way, evidence, partition, fs_type, len_bytes } })
}

/// What is shown to the kernel.
struct Shown {
    backing: Backing,
    fs_type: FsType,
    len_bytes: u64,
    reads: Reads,
}

/// Bytes in memory that nobody can change, not even this process.
struct Sealed {
    file: File,
    range: ByteRange,
}

/// What a block device and every file system here need whole numbers of.
const BLOCK_BYTES: u64 = 4096;
/// How much is read, checked and written at a time.
const COPY_BYTES: u64 = 1 << 20;

/// Copies `data` into memory, reading each byte once, and seals it before anyone else sees it.
fn seal(data: &impl ReadAt, name: &str, most: u64, report: &mut Report<'_>) -> Result<Sealed> {
    let total_bytes = data.size_bytes()?;
    let padded = total_bytes.checked_next_multiple_of(BLOCK_BYTES);
    let range = padded.filter(|padded| *padded <= most).and_then(|padded| ByteRange::with_len(0, padded));
    let Some(range) = range else {
        let fault =
            LimitExceeded::Bytes { what: "file system to be held in memory", found: total_bytes, most };
        return Err(confext_ddi::Error::from(fault).into());
    };
    let memory = |operation| move |source| Error::os(operation, "sealed memory", source);
    let fd = sys::memfd(name).map_err(memory("make"))?;
    let mut file = File::from(fd);
    let mut buffer = vec![0; usize::try_from(COPY_BYTES.min(total_bytes)).unwrap_or(0)];
    let mut done_bytes = 0;
    while done_bytes < total_bytes {
        let count = usize::try_from(total_bytes.saturating_sub(done_bytes)).unwrap_or(usize::MAX);
        let end = count.min(buffer.len());
        let chunk = buffer.get_mut(..end).unwrap_or_default();
        data.read_exact_at(done_bytes, chunk)?;
        file.write_all(chunk).map_err(memory("write to"))?;
        done_bytes = done_bytes.saturating_add(u64::try_from(end).unwrap_or(u64::MAX));
        if report(Progress { done_bytes, total_bytes }).is_break() {
            let fault = Refused::Cancelled { done: done_bytes, total: total_bytes };
            return Err(confext_ddi::Error::from(fault).into());
        }
    }
    file.set_len(range.end()).map_err(memory("pad"))?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    sys::add_seals(file.as_fd(), seals).map_err(memory("seal"))?;
    Ok(Sealed { file, range })
}

fn attach_sealed(sealed: &Sealed, partition: &Partition, name: &str) -> Result<Shown> {
    // The magic is read again, from the bytes that are used: what was read when the image was opened was not checked.
    let fs_type = layer_file_system(&sealed.file, partition)?;
    let options = loopdev::Options::new(sealed.range).name(name);
    let backing = Backing::Loop(LoopDevice::attach(sealed.file.as_fd(), &options)?);
    Ok(Shown { backing, fs_type, len_bytes: sealed.range.len_bytes(), reads: Reads::SealedMemory })
}

fn attach_plain<R: ReadAt + AsFd>(image: &R, evidence: &Evidence, partition: &Partition) -> Result<Shown> {
    let protection = evidence.protection();
    if protection != Protection::None {
        return Err(Error::conflict(
            "plain-on-verified",
            place(partition),
            format!("protection {protection}"),
            format!("protection {}", Protection::None),
        ));
    }
    let fs_type = layer_file_system(&Window::new(image, partition.range)?, partition)?;
    attach_window(image.as_fd(), partition.range, fs_type)
}

/// A loop device on the file, past the page cache where the kernel can: the file system has a cache of its own.
fn attach_window(file: BorrowedFd<'_>, range: ByteRange, fs_type: FsType) -> Result<Shown> {
    let device = LoopDevice::attach(file, &loopdev::Options::new(range).io(Io::Direct))?;
    let (backing, len_bytes) = (Backing::Loop(device), range.len_bytes());
    Ok(Shown { backing, fs_type, len_bytes, reads: Reads::LoopDevice })
}

/// The file itself where that can be, else a loop device, and why.
fn attach_in_place<R: ReadAt + AsFd>(image: &R, partition: &Partition) -> Result<(Shown, Reason)> {
    let (file, range) = (image.as_fd(), partition.range);
    let fs_type = layer_file_system(&Window::new(image, range)?, partition)?;
    let reason = if fs_type != FsType::Erofs {
        Reason::FileSystem
    } else if !can_be_mounted_from(file).map_err(|source| Error::os("stat", place(partition), source))? {
        Reason::Place
    } else {
        match erofs_on(file, range) {
            Ok(context) => {
                let backing = Backing::File(context);
                let len_bytes = range.len_bytes();
                return Ok((Shown { backing, fs_type, len_bytes, reads: Reads::File }, Reason::Asked));
            }
            // Whatever is wrong with the image is found again, and told, when the device is mounted.
            Err(_) => Reason::Kernel,
        }
    };
    Ok((attach_window(file, range, fs_type)?, reason))
}

/// `OVERLAYFS_SUPER_MAGIC`
const OVERLAYFS: i128 = 0x794c_7630;

/// Whether a file system can be in this file: the overlay that is made of it later is one more on the kernel's stack, and
/// there can be two.
fn can_be_mounted_from(file: BorrowedFd<'_>) -> std::io::Result<bool> {
    let stat = sys::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
    let is_file = FileType::from_raw_mode(stat.stx_mode.into()).is_file();
    Ok(is_file && i128::from(rustix::fs::fstatfs(file)?.f_type) != OVERLAYFS)
}

/// A superblock on a part of the file that is open, whatever its path leads to now.
fn erofs_on(file: BorrowedFd<'_>, range: ByteRange) -> std::result::Result<FsContext, ContextError> {
    let context = FsContext::open(FsType::Erofs.as_str())?;
    context.set_string("source", format!("/proc/self/fd/{}", file.as_raw_fd()).as_str())?;
    if range.start() > 0 {
        context.set_string("fsoffset", range.start().to_string().as_str())?;
    }
    context.set_flag("ro")?;
    context.create(Sharing::Exclusive)?;
    Ok(context)
}

/// The file systems a layer can be: read-only mounts of these need no repair and have one superblock a device.
fn layer_file_system(data: &impl ReadAt, partition: &Partition) -> Result<FsType> {
    let found = fstype::probe(data)?.map(|superblock| superblock.fs_type);
    match found {
        Some(fs_type @ (FsType::Erofs | FsType::Squashfs | FsType::Ext4)) => Ok(fs_type),
        other => Err(Error::conflict(
            "layer-file-system",
            place(partition),
            other.map_or("no known file system", FsType::as_str),
            "erofs, squashfs or ext4",
        )),
    }
}

fn place(partition: &Partition) -> String {
    format!("{} partition", partition.designator.as_str())
}

/// Shown as the device's file by tools that list loop devices.
fn memory_name(evidence: &Evidence) -> String {
    match evidence.root_hash() {
        Some(root_hash) => format!("confext-{root_hash}"),
        None => "confext-unverified".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Counts how often each byte is asked for, and fails at one.
    struct Source {
        bytes: Vec<u8>,
        read_bytes: AtomicU64,
        bad_from: u64,
    }

    impl ReadAt for Source {
        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> confext_ddi::Result<()> {
            self.read_bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
            if offset + buf.len() as u64 > self.bad_from {
                let block = self.bad_from / 4096;
                return Err(confext_ddi::error::Unverified::DataBlock {
                    block,
                    found: String::new(),
                    expected: String::new(),
                }
                .into());
            }
            self.bytes.read_exact_at(offset, buf)
        }

        fn size_bytes(&self) -> confext_ddi::Result<u64> {
            self.bytes.size_bytes()
        }
    }

    fn source(len: usize) -> Source {
        let bytes = (0..len).map(|at| (at / 7 % 251) as u8).collect();
        Source { bytes, read_bytes: AtomicU64::new(0), bad_from: u64::MAX }
    }

    #[test]
    fn each_byte_is_read_once_and_the_copy_is_sealed_and_padded() {
        let source = source((3 << 20) + 5);
        let mut reports = Vec::new();
        let sealed = seal(&source, "confext-test", 1 << 30, &mut |step| {
            reports.push(step);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(source.read_bytes.load(Ordering::Relaxed), (3 << 20) + 5);
        assert_eq!(sealed.range.len_bytes(), (3 << 20) + 4096);
        assert_eq!(reports.len(), 4);
        assert!(reports.iter().all(|step| step.total_bytes == (3 << 20) + 5));
        assert_eq!(reports.last().unwrap().done_bytes, (3 << 20) + 5);
        let mut copy = vec![0; source.bytes.len()];
        ReadAt::read_exact_at(&sealed.file, 0, &mut copy).unwrap();
        assert!(copy == source.bytes);
        assert_eq!(sealed.file.write_at(b"x", 0).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        let seals = sys::seals(sealed.file.as_fd()).unwrap();
        assert!(seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL));
    }

    #[test]
    fn a_block_that_does_not_check_ends_the_copy() {
        let mut source = source(3 << 20);
        source.bad_from = 2 << 20;
        let error = seal(&source, "confext-test", 1 << 30, &mut |_| ControlFlow::Continue(())).err().unwrap();
        assert_eq!(error.code(), "data-block");
    }

    #[test]
    fn more_than_the_limit_is_refused_before_anything_is_read() {
        let source = source(4097);
        assert!(seal(&source, "confext-test", 8192, &mut |_| ControlFlow::Continue(())).is_ok());
        let read_bytes = source.read_bytes.load(Ordering::Relaxed);
        let error = seal(&source, "confext-test", 8191, &mut |_| ControlFlow::Continue(())).err().unwrap();
        assert_eq!(error.code(), "limit-bytes");
        assert_eq!(source.read_bytes.load(Ordering::Relaxed), read_bytes);
    }
}
