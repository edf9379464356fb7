//! The image's own file as what the kernel reads: through a loop device, or as it is.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use confext_ddi::fstype::FsType;
use confext_ddi::image::Partition;
use confext_ddi::policy::{Evidence, Protection};
use confext_ddi::read::{ReadAt, Window};
use confext_ddi::units::ByteRange;
use rustix::fs::FileType;

use super::{Backing, Reads, Reason, Shown, layer_file_system, place};
use crate::error::{Error, Result};
use crate::loopdev::{self, Io, LoopDevice};
use crate::sys::{self, AtFlags, ContextError, FsContext, Sharing, StatxFlags};

pub(super) fn attach_plain<R: ReadAt + AsFd>(
    image: &R,
    evidence: &Evidence,
    partition: &Partition,
) -> Result<Shown> {
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
    Ok(Shown { backing, fs_type, len_bytes, reads: Reads::LoopDevice, mapped: None })
}

/// The file itself where that can be, else a loop device, and why.
pub(super) fn attach_in_place<R: ReadAt + AsFd>(image: &R, partition: &Partition) -> Result<(Shown, Reason)> {
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
                return Ok((
                    Shown { backing, fs_type, len_bytes, reads: Reads::File, mapped: None },
                    Reason::Asked,
                ));
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
