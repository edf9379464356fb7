//! The device mapper: the ioctls of `/dev/mapper/control`
#![allow(unsafe_code, reason = "an ioctl's argument type is a promise only its documentation makes")]

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};

use super::dmwire::{DmDevice, DmFlags, DmTarget, DmTargetVersion, DmWhich, Message};

/// `_IOWR(0xfd, number, struct dm_ioctl)`; the size of the structure is asserted where it is laid out.
const fn opcode(number: u32) -> Opcode {
    0xc138_fd00 | number
}

const DM_VERSION: Opcode = opcode(0);
const DM_DEV_CREATE: Opcode = opcode(3);
const DM_DEV_REMOVE: Opcode = opcode(4);
const DM_DEV_RENAME: Opcode = opcode(5);
const DM_DEV_SUSPEND: Opcode = opcode(6);
const DM_DEV_STATUS: Opcode = opcode(7);
const DM_TABLE_LOAD: Opcode = opcode(9);
const DM_TABLE_DEPS: Opcode = opcode(11);
const DM_TABLE_STATUS: Opcode = opcode(12);
const DM_LIST_VERSIONS: Opcode = opcode(13);

/// Room for an answer at first, and at most: the kernel says when it does not fit.
const FIRST_ROOM_BYTES: usize = 16 << 10;
const MOST_ROOM_BYTES: usize = 1 << 20;

/// When a device is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmRemoval {
    /// Now, or not at all.
    Now,
    /// With its last user, which is now if nobody uses it.
    WithLastUser,
}

/// What is asked about the targets of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmQuery {
    /// What they say of themselves now.
    Status,
    /// What they were told when they were made.
    Table,
}

/// `ioctl(control, DM_VERSION)`: the version of the interface, major, minor and patch level.
///
/// # Errors
///
/// `ENOTTY` when it is not the device mapper's control device.
pub fn dm_version(control: BorrowedFd<'_>) -> io::Result<[u32; 3]> {
    // No device is meant, but the field has to have something.
    let message = Message::new(DmWhich::Number { major: 0, minor: 0 }, DmFlags::empty())?;
    call(control, DM_VERSION, message)?.version()
}

/// `ioctl(control, DM_LIST_VERSIONS)`: the targets that are loaded. Loads none.
///
/// # Errors
///
/// `EACCES` without `CAP_SYS_ADMIN`.
pub fn dm_target_versions(control: BorrowedFd<'_>) -> io::Result<Vec<DmTargetVersion>> {
    let which = DmWhich::Number { major: 0, minor: 0 };
    with_room(control, DM_LIST_VERSIONS, which, DmFlags::empty())?.versions()
}

/// `ioctl(control, DM_DEV_CREATE)`: a device without a table, with a number that is free.
///
/// # Errors
///
/// `EBUSY` when name or uuid are taken; `EINVAL` for a name with a slash.
pub fn dm_create(control: BorrowedFd<'_>, name: &str, uuid: &str) -> io::Result<DmDevice> {
    let message = Message::new(DmWhich::Name(name), DmFlags::empty())?.uuid(uuid)?;
    call(control, DM_DEV_CREATE, message)?.device()
}

/// `ioctl(control, DM_TABLE_LOAD)`: a read-only table of one target, which [`dm_resume`] brings into use. The kernel loads
/// the target's module if it is not loaded yet.
///
/// # Errors
///
/// What the target says: `EINVAL` for a line that it does not understand, and when there is no such target. dm-verity
/// also fails as its check of a signature does: `ENOKEY`, `EKEYREJECTED`, `EBADMSG`, `ENOPKG`, `EINVAL`.
pub fn dm_load(control: BorrowedFd<'_>, which: DmWhich<'_>, target: &DmTarget) -> io::Result<DmDevice> {
    let message = Message::new(which, DmFlags::READ_ONLY)?.table(target)?;
    call(control, DM_TABLE_LOAD, message)?.device()
}

/// `ioctl(control, DM_DEV_SUSPEND)` without the flag to suspend: the table that was loaded comes into use.
///
/// # Errors
///
/// `ENXIO` when there is no such device; `EINVAL` when it has no table.
pub fn dm_resume(control: BorrowedFd<'_>, which: DmWhich<'_>) -> io::Result<DmDevice> {
    call(control, DM_DEV_SUSPEND, Message::new(which, DmFlags::empty())?)?.device()
}

/// `ioctl(control, DM_DEV_RENAME)`
///
/// # Errors
///
/// `EBUSY` when the name is taken; `ENXIO` when there is no such device.
pub fn dm_rename(control: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<DmDevice> {
    let message = Message::new(DmWhich::Name(from), DmFlags::empty())?.text(to)?;
    call(control, DM_DEV_RENAME, message)?.device()
}

/// `ioctl(control, DM_DEV_REMOVE)`, with `DM_DEFERRED_REMOVE` for [`DmRemoval::WithLastUser`].
///
/// # Errors
///
/// `ENXIO` when there is no such device; `EBUSY` when it is in use and is to go now.
pub fn dm_remove(control: BorrowedFd<'_>, which: DmWhich<'_>, removal: DmRemoval) -> io::Result<()> {
    let flags = match removal {
        DmRemoval::Now => DmFlags::empty(),
        DmRemoval::WithLastUser => DmFlags::DEFERRED_REMOVE,
    };
    call(control, DM_DEV_REMOVE, Message::new(which, flags)?).map(drop)
}

/// `ioctl(control, DM_DEV_STATUS)`
///
/// # Errors
///
/// `ENXIO` when there is no such device.
pub fn dm_status(control: BorrowedFd<'_>, which: DmWhich<'_>) -> io::Result<DmDevice> {
    call(control, DM_DEV_STATUS, Message::new(which, DmFlags::empty())?)?.device()
}

/// `ioctl(control, DM_TABLE_STATUS)`: the targets of the table in use.
///
/// # Errors
///
/// `ENXIO` when there is no such device.
pub fn dm_table_status(
    control: BorrowedFd<'_>,
    which: DmWhich<'_>,
    query: DmQuery,
) -> io::Result<(DmDevice, Vec<DmTarget>)> {
    let flags = match query {
        DmQuery::Status => DmFlags::empty(),
        DmQuery::Table => DmFlags::STATUS_TABLE,
    };
    let answer = with_room(control, DM_TABLE_STATUS, which, flags)?;
    Ok((answer.device()?, answer.targets()?))
}

/// `ioctl(control, DM_TABLE_DEPS)`: the numbers of the devices that the table in use is over.
///
/// # Errors
///
/// `ENXIO` when there is no such device.
pub fn dm_dependencies(control: BorrowedFd<'_>, which: DmWhich<'_>) -> io::Result<Vec<(u32, u32)>> {
    with_room(control, DM_TABLE_DEPS, which, DmFlags::empty())?.dependencies()
}

/// The same call with more and more room, until the answer fits.
fn with_room(
    control: BorrowedFd<'_>,
    opcode: Opcode,
    which: DmWhich<'_>,
    flags: DmFlags,
) -> io::Result<Message> {
    let mut room = FIRST_ROOM_BYTES;
    loop {
        let answer = call(control, opcode, Message::new(which, flags)?.room(room)?)?;
        if !answer.flags()?.contains(DmFlags::BUFFER_FULL) {
            return Ok(answer);
        }
        room = room.saturating_mul(2);
        if room > MOST_ROOM_BYTES {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
    }
}

fn call(control: BorrowedFd<'_>, opcode: Opcode, mut message: Message) -> io::Result<Message> {
    // SAFETY: every call of this device reads and writes as many bytes as the message says that it has; Call says so.
    unsafe { ioctl::ioctl(control, Call { opcode, message: &mut message }) }?;
    Ok(message)
}

struct Call<'a> {
    opcode: Opcode,
    message: &'a mut Message,
}

// SAFETY: the argument points to the message's bytes, whose number is in their header, and which the message owns; any
// bytes the kernel writes there are valid.
unsafe impl Ioctl for Call<'_> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.message.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}
