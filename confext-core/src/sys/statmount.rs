//! Asking about mounts by their unique number: `statmount`, `listmount`, and `statx` for the number.
#![allow(unsafe_code, reason = "statmount and listmount are in no safe interface and are called by number")]

use std::ffi::CStr;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd as _, BorrowedFd};

use linux_raw_sys::general::{
    __NR_listmount, __NR_statmount, STATMOUNT_FS_TYPE, STATMOUNT_MNT_BASIC, STATMOUNT_MNT_OPTS,
    STATMOUNT_MNT_POINT, STATMOUNT_MNT_ROOT, STATMOUNT_SB_BASIC, STATMOUNT_SB_SOURCE, mnt_id_req, statmount,
};
use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags};
use rustix::mount::MountAttrFlags;
use rustix::path::Arg;
use serde::Serialize;

const _: () = assert!(size_of::<mnt_id_req>() == 32);
const _: () = assert!(offset_of!(mnt_id_req, mnt_id) == 8);
const _: () = assert!(offset_of!(mnt_id_req, param) == 16);
const _: () = assert!(offset_of!(mnt_id_req, mnt_ns_id) == 24);
const _: () = assert!(size_of::<statmount>() == 512);
const _: () = assert!(offset_of!(statmount, mask) == 8);
const _: () = assert!(offset_of!(statmount, mnt_id) == 40);
const _: () = assert!(offset_of!(statmount, sb_source) == 124);
const _: () = assert!(offset_of!(statmount, str_) == 512);

/// The kernel's own size of the request's second version, with the namespace (`MNT_ID_REQ_SIZE_VER1`).
const REQUEST_BYTES: u32 = 32;
/// `STATX_MNT_ID_UNIQUE` (Linux 6.8).
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
/// A mount's strings are at most its options, a page for each layer of an overlay; more is not believed.
const MOST_BUFFER_BYTES: usize = 16 << 20;

#[expect(clippy::as_conversions, reason = "a small constant; From is not const")]
const SYS_STATMOUNT: libc::c_long = __NR_statmount as libc::c_long;
#[expect(clippy::as_conversions, reason = "a small constant; From is not const")]
const SYS_LISTMOUNT: libc::c_long = __NR_listmount as libc::c_long;

/// A mount's unique number: never used again until the next boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct MountId(u64);

/// What the kernel says of one mount. Strings are plain bytes, without the escapes of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountInfo {
    /// Its number.
    pub id: MountId,
    /// The number of the mount it is on.
    pub parent: MountId,
    /// Its flags.
    pub attributes: MountAttrFlags,
    /// Propagation as `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE` bits.
    pub propagation: u64,
    /// The group of mounts it propagates to; 0 where it is not shared.
    pub peer_group: u64,
    /// The superblock's device: major and minor.
    pub device: (u32, u32),
    /// The superblock's flags, `SB_RDONLY` is bit 0.
    pub superblock_flags: u32,
    /// The file-system type.
    pub fs_type: Vec<u8>,
    /// The directory of the file system that is mounted.
    pub root: Vec<u8>,
    /// Where it is mounted, seen from the caller's root.
    pub mount_point: Vec<u8>,
    /// The source; `None` before Linux 6.13, and where it was not asked for.
    pub source: Option<Vec<u8>>,
    /// The file system's options, separated by commas; `None` before Linux 6.11, and where they were not asked for.
    pub options: Option<Vec<u8>>,
}

impl MountId {
    /// The number of the caller's root mount when its mounts are listed.
    pub const ROOT: Self = Self(u64::MAX);

    /// A number that was written down.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// `statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID_UNIQUE)`: the number of the mount a descriptor is on.
///
/// # Needs
///
/// Linux 6.8.
///
/// # Errors
///
/// `Unsupported` when the kernel has no unique numbers.
pub(super) fn mount_id(fd: BorrowedFd<'_>) -> io::Result<MountId> {
    let mask = StatxFlags::from_bits_retain(STATX_MNT_ID_UNIQUE);
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, mask)?;
    if stat.stx_mask & STATX_MNT_ID_UNIQUE == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(MountId(stat.stx_mnt_id))
}

/// `statx(fd, "", AT_EMPTY_PATH, mask | STATX_MNT_ID_UNIQUE)`: the same with all that is asked for.
///
/// # Needs
///
/// As [`mount_id`].
///
/// # Errors
///
/// As `stat`.
pub(super) fn statx_and_mount(
    dir: BorrowedFd<'_>,
    path: impl Arg,
    flags: AtFlags,
    mask: StatxFlags,
) -> io::Result<(Statx, Option<MountId>)> {
    let unique = StatxFlags::from_bits_retain(STATX_MNT_ID_UNIQUE);
    let stat = rustix::fs::statx(dir, path, flags, mask | unique)?;
    let id = (stat.stx_mask & STATX_MNT_ID_UNIQUE != 0).then_some(MountId(stat.stx_mnt_id));
    Ok((stat, id))
}

/// How much is asked about a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Everything.
    All,
    /// All but source and options: those of an overlay name each of its layers, which takes the kernel a while.
    Place,
}

/// `statmount(&{id}, buf, len, 0)`: what the kernel says of a mount of the caller's namespace.
///
/// # Needs
///
/// Linux 6.8; detached mounts are not found.
///
/// # Errors
///
/// `ENOENT` when there is no such mount; `EPERM` when it is not below the caller's root.
pub(super) fn mount_info(id: MountId, ask: Ask) -> io::Result<MountInfo> {
    let place = STATMOUNT_SB_BASIC
        | STATMOUNT_MNT_BASIC
        | STATMOUNT_MNT_ROOT
        | STATMOUNT_MNT_POINT
        | STATMOUNT_FS_TYPE;
    let mask = match ask {
        Ask::All => place | STATMOUNT_MNT_OPTS | STATMOUNT_SB_SOURCE,
        Ask::Place => place,
    };
    let request = request(id, u64::from(mask));
    let mut len_bytes = 4096_usize;
    loop {
        let mut buffer = vec![0_u8; len_bytes];
        // SAFETY: `request` is a mnt_id_req that says its size, `buffer` is writable for the length given; both live
        // across the call and the kernel keeps neither.
        let result = unsafe {
            libc::syscall(SYS_STATMOUNT, &raw const request, buffer.as_mut_ptr(), buffer.len(), 0_u32)
        };
        if result == 0 {
            return Answer(&buffer).parse().ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
        let error = io::Error::last_os_error();
        let larger = len_bytes.saturating_mul(4);
        if error.raw_os_error() != Some(libc::EOVERFLOW) || larger > MOST_BUFFER_BYTES {
            return Err(error);
        }
        len_bytes = larger;
    }
}

/// `listmount(&{parent, after}, ids, len, 0)` until all are read: every mount below `parent`, at any depth.
///
/// # Needs
///
/// Linux 6.8.
///
/// # Errors
///
/// `ENOENT` when there is no such mount; `EPERM` when it is not below the caller's root.
pub(super) fn list_mounts(parent: MountId) -> io::Result<Vec<MountId>> {
    let mut found = Vec::new();
    let mut page = [0_u64; 256];
    let mut after = 0;
    loop {
        let request = request(parent, after);
        // SAFETY: `request` is a mnt_id_req that says its size, `page` is writable for the number of entries given; both
        // live across the call and the kernel keeps neither.
        let result =
            unsafe { libc::syscall(SYS_LISTMOUNT, &raw const request, page.as_mut_ptr(), page.len(), 0_u32) };
        let count = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
        let ids = page.get(..count).unwrap_or(&page);
        found.extend(ids.iter().copied().map(MountId));
        match ids.last() {
            Some(last) if count == page.len() => after = *last,
            _ => return Ok(found),
        }
    }
}

/// Whether the kernel has these calls and lets the process make them.
pub(super) fn works() -> bool {
    let Ok(root) = rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
        return false;
    };
    // In a change of root the mount may not be there to be seen; what counts is that the call was understood.
    let answered = |result: io::Result<MountInfo>| match result {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    mount_id(root.as_fd()).is_ok_and(|id| answered(mount_info(id, Ask::All)))
        && list_mounts(MountId::ROOT).is_ok()
}

const fn request(id: MountId, param: u64) -> mnt_id_req {
    mnt_id_req { size: REQUEST_BYTES, spare: 0, mnt_id: id.0, param, mnt_ns_id: 0 }
}

/// The bytes `statmount` filled in: a `struct statmount`, then the strings its fields point to.
struct Answer<'a>(&'a [u8]);

impl Answer<'_> {
    fn parse(&self) -> Option<MountInfo> {
        let mask = self.u64(offset_of!(statmount, mask))?;
        let has = |bit: u32| mask & u64::from(bit) != 0;
        let optional = |bit: u32, at: usize| if has(bit) { self.string(at).map(Some) } else { Some(None) };
        let attributes = u32::try_from(self.u64(offset_of!(statmount, mnt_attr))?).ok()?;
        Some(MountInfo {
            id: MountId(self.u64(offset_of!(statmount, mnt_id))?),
            parent: MountId(self.u64(offset_of!(statmount, mnt_parent_id))?),
            attributes: MountAttrFlags::from_bits_retain(attributes),
            propagation: self.u64(offset_of!(statmount, mnt_propagation))?,
            peer_group: self.u64(offset_of!(statmount, mnt_peer_group))?,
            device: (
                self.u32(offset_of!(statmount, sb_dev_major))?,
                self.u32(offset_of!(statmount, sb_dev_minor))?,
            ),
            superblock_flags: self.u32(offset_of!(statmount, sb_flags))?,
            fs_type: self.string(offset_of!(statmount, fs_type))?,
            root: self.string(offset_of!(statmount, mnt_root))?,
            mount_point: self.string(offset_of!(statmount, mnt_point))?,
            source: optional(STATMOUNT_SB_SOURCE, offset_of!(statmount, sb_source))?,
            options: optional(STATMOUNT_MNT_OPTS, offset_of!(statmount, mnt_opts))?,
        })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn string(&self, at: usize) -> Option<Vec<u8>> {
        let start = usize::try_from(self.u32(at)?).ok()?.checked_add(offset_of!(statmount, str_))?;
        let text = CStr::from_bytes_until_nul(self.0.get(start..)?).ok()?;
        Some(text.to_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_mount_is_known_by_its_number() {
        let root = std::fs::File::open("/").unwrap();
        let id = mount_id(root.as_fd()).unwrap();
        let info = mount_info(id, Ask::All).unwrap();
        assert_eq!(
            mount_info(id, Ask::Place).unwrap(),
            MountInfo { source: None, options: None, ..info.clone() }
        );
        assert_eq!(info.id, id);
        assert_eq!(info.mount_point, b"/");
        assert!(!info.fs_type.is_empty());
        let below = list_mounts(MountId::ROOT).unwrap();
        let proc = std::fs::File::open("/proc").unwrap();
        assert!(below.contains(&mount_id(proc.as_fd()).unwrap()));
    }

    #[test]
    fn an_answer_that_points_outside_is_no_answer() {
        let mut bytes = vec![0; 512];
        assert!(Answer(&bytes).parse().is_none());
        bytes.push(0);
        assert!(Answer(&bytes).parse().is_some());
        bytes[36..40].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(Answer(&bytes).parse().is_none());
    }

    #[test]
    fn a_mount_that_does_not_exist_is_not_found() {
        let error = mount_info(MountId::new(1 << 62), Ask::All).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}
