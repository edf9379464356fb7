//! Loop devices: the ioctls of `/dev/loop-control` and `/dev/loopN`, and two of every block device.
#![allow(unsafe_code, reason = "an ioctl's argument type is a promise only its documentation makes")]

use std::ffi::c_void;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use linux_raw_sys::ioctl::{BLKGETDISKSEQ, BLKGETSIZE64};
use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LO_FLAGS_DIRECT_IO, LO_FLAGS_READ_ONLY, LOOP_CLR_FD, LOOP_CONFIGURE,
    LOOP_CTL_GET_FREE, LOOP_GET_STATUS64, loop_config, loop_info64,
};
use rustix::ioctl::{self, Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter};

const _: () = assert!(size_of::<loop_info64>() == 232);
const _: () = assert!(offset_of!(loop_info64, lo_offset) == 24);
const _: () = assert!(offset_of!(loop_info64, lo_sizelimit) == 32);
const _: () = assert!(offset_of!(loop_info64, lo_number) == 40);
const _: () = assert!(offset_of!(loop_info64, lo_flags) == 52);
const _: () = assert!(offset_of!(loop_info64, lo_file_name) == 56);
const _: () = assert!(size_of::<loop_config>() == 304);
const _: () = assert!(offset_of!(loop_config, block_size) == 4);
const _: () = assert!(offset_of!(loop_config, info) == 8);

bitflags::bitflags! {
    /// `LO_FLAGS_*`. The kernel's own partition scan is left out on purpose: it would parse a table nobody checked.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct LoopFlags: u32 {
        /// The device cannot be written to.
        #[expect(clippy::as_conversions, reason = "the discriminant of a kernel constant")]
        const READ_ONLY = LO_FLAGS_READ_ONLY as u32;
        /// The device lets go of its file when it is closed for the last time.
        #[expect(clippy::as_conversions, reason = "the discriminant of a kernel constant")]
        const AUTOCLEAR = LO_FLAGS_AUTOCLEAR as u32;
        /// The file is read past the page cache; the kernel drops the flag where it cannot be.
        #[expect(clippy::as_conversions, reason = "the discriminant of a kernel constant")]
        const DIRECT_IO = LO_FLAGS_DIRECT_IO as u32;
        const _ = !0;
    }
}

/// What [`loop_configure`] sets, all in one call.
#[derive(Debug, Clone)]
pub struct LoopConfig {
    /// Where in the file the device starts, in bytes.
    pub offset: u64,
    /// How much of the file it shows, in bytes; 0 is to the end.
    pub size_limit: u64,
    /// The logical block size in bytes: a power of two from 512 to a page; 0 is the kernel's choice.
    pub block_size: u32,
    /// How it behaves.
    pub flags: LoopFlags,
    /// For people: up to 63 bytes shown by `losetup`; longer is cut.
    pub name: Vec<u8>,
}

/// What a loop device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoopStatus {
    /// N of `/dev/loopN`.
    pub number: u32,
    /// Where in the file it starts, in bytes.
    pub offset: u64,
    /// How much of the file it shows, in bytes; 0 is to the end.
    pub size_limit: u64,
    /// How it behaves.
    pub flags: LoopFlags,
    /// The file's device number and inode number, as the kernel encodes them.
    pub backing: (u64, u64),
}

/// `ioctl(loop_control, LOOP_CTL_GET_FREE)`: the number of a device that was free a moment ago; makes one if there is none.
///
/// # Errors
///
/// `ENOSPC` or `ENOMEM` when no more can be made.
pub fn loop_free_number(loop_control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns the number; GetFree says so.
    Ok(unsafe { ioctl::ioctl(loop_control, GetFree) }?)
}

/// `ioctl(device, LOOP_CONFIGURE, &config)`: binds a free device to a file with all its settings at once.
///
/// # Needs
///
/// Linux 5.8.
///
/// # Errors
///
/// `EBUSY` when the device is taken or held by someone; `EINVAL` for a block size it cannot have, `EBADF`.
pub fn loop_configure(
    device: BorrowedFd<'_>,
    backing: BorrowedFd<'_>,
    config: &LoopConfig,
) -> io::Result<()> {
    let mut name = [0_u8; 64];
    // The last byte stays 0.
    for (to, from) in name.iter_mut().take(63).zip(&config.name) {
        *to = *from;
    }
    let argument = loop_config {
        fd: u32::try_from(backing.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?,
        block_size: config.block_size,
        info: loop_info64 {
            lo_device: 0,
            lo_inode: 0,
            lo_rdevice: 0,
            lo_offset: config.offset,
            lo_sizelimit: config.size_limit,
            lo_number: 0,
            lo_encrypt_type: 0,
            lo_encrypt_key_size: 0,
            lo_flags: config.flags.bits(),
            lo_file_name: name,
            lo_crypt_name: [0; 64],
            lo_encrypt_key: [0; 32],
            lo_init: [0; 2],
        },
        __reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads a struct loop_config, whose layout is asserted above.
    let call = unsafe { Setter::<{ LOOP_CONFIGURE }, loop_config>::new(argument) };
    // SAFETY: as above; the kernel reads the argument during the call and keeps only the file it names by descriptor.
    Ok(unsafe { ioctl::ioctl(device, call) }?)
}

/// `ioctl(device, LOOP_GET_STATUS64, &info)`
///
/// # Errors
///
/// `ENXIO` when the device is bound to nothing; `ENOTTY` when it is no loop device.
pub fn loop_status(device: BorrowedFd<'_>) -> io::Result<LoopStatus> {
    // SAFETY: LOOP_GET_STATUS64 fills a struct loop_info64, whose layout is asserted above and any bytes of which are valid.
    let call = unsafe { Getter::<{ LOOP_GET_STATUS64 }, loop_info64>::new() };
    // SAFETY: as above.
    let info = unsafe { ioctl::ioctl(device, call) }?;
    Ok(LoopStatus {
        number: info.lo_number,
        offset: info.lo_offset,
        size_limit: info.lo_sizelimit,
        flags: LoopFlags::from_bits_retain(info.lo_flags),
        backing: (info.lo_device, info.lo_inode),
    })
}

/// `ioctl(device, LOOP_CLR_FD)`: lets go of the file now, or at the last close if someone else has the device open.
///
/// # Errors
///
/// `ENXIO` when the device is bound to nothing.
pub fn loop_clear(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    let call = unsafe { NoArg::<{ LOOP_CLR_FD }>::new() };
    // SAFETY: as above.
    Ok(unsafe { ioctl::ioctl(device, call) }?)
}

/// `ioctl(device, BLKGETDISKSEQ, &sequence)`: a number that no two uses of a device share.
///
/// # Needs
///
/// Linux 5.15.
///
/// # Errors
///
/// `ENOTTY` when it is no block device or the kernel is older.
pub fn disk_sequence(device: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: BLKGETDISKSEQ fills a u64.
    let call = unsafe { Getter::<{ BLKGETDISKSEQ }, u64>::new() };
    // SAFETY: as above.
    Ok(unsafe { ioctl::ioctl(device, call) }?)
}

/// `ioctl(device, BLKGETSIZE64, &bytes)`: the size of a block device in bytes.
///
/// # Errors
///
/// `ENOTTY` when it is no block device.
pub fn device_bytes(device: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: BLKGETSIZE64 fills a u64 (its number says size_t, its code writes 64 bits).
    let call = unsafe { Getter::<{ BLKGETSIZE64 }, u64>::new() };
    // SAFETY: as above.
    Ok(unsafe { ioctl::ioctl(device, call) }?)
}

struct GetFree;

// SAFETY: the operation takes no argument, so the pointer is not used, and returns a number that is not negative.
unsafe impl Ioctl for GetFree {
    type Output = u32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(number: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
        u32::try_from(number).map_err(|_| rustix::io::Errno::RANGE)
    }
}
