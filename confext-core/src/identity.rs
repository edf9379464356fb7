//! What tells whether an extension is still the same: here at the next refresh, and to systemd at its own.

use std::os::fd::BorrowedFd;

use confext_ddi::digest::{self, Salt};
use confext_ddi::fs::Metadata;
use confext_ddi::id::Uuid;
use confext_ddi::limits::Limits;
use confext_ddi::manifest::{self, Entry};
use confext_ddi::read::ReadAt;
use confext_ddi::verity::{self, Geometry, Superblock};

use crate::directory::{self, Directory, Tree};
use crate::discover::Kind;
use crate::state::Identity;
use crate::sys::{self, FileHandle, MountId, Statx, StatxFlags};

/// A file is the same when it was not written to, replaced or given away.
pub(crate) fn of_file(stat: &Statx) -> Identity {
    Identity::File {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        size_bytes: stat.stx_size,
        modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
    }
}

/// How much of a listing is hashed at a time.
const LISTED_BYTES: usize = 4096;

/// A directory is the same when nothing that `stat` tells of anything in it is different.
pub(crate) fn of_directory(stat: &Statx, tree: &Tree) -> Identity {
    let mut listing = [0; 32];
    let mut bytes = Vec::with_capacity(LISTED_BYTES);
    for entry in tree.iter() {
        bytes.extend_from_slice(entry.path);
        bytes.push(0);
        add_numbers(&mut bytes, entry.metadata);
        if bytes.len() >= LISTED_BYTES {
            listing = digest::sha256(&[&listing, &bytes]);
            bytes.clear();
        }
    }
    listing = digest::sha256(&[&listing, &bytes]);
    Identity::Directory {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        listing: const_hex::encode(listing),
    }
}

/// The same, of one that nobody has looked at yet.
pub(crate) fn look_at_directory(files: &mut Directory) -> confext_ddi::Result<Identity> {
    let stat = directory::statx(files.fd())?;
    Ok(of_directory(&stat, files.look_at_all(&stat)?))
}

/// All of it, each number at a place of its own.
fn add_numbers(bytes: &mut Vec<u8>, metadata: &Metadata) {
    let Metadata { file_type, mode, uid, gid, size_bytes, mtime_sec, mtime_nsec, nlink, rdev, ino } =
        *metadata;
    let (major, minor) = rdev.unwrap_or((u32::MAX, u32::MAX));
    bytes.extend_from_slice(file_type.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&mode.to_le_bytes());
    for number in [uid, gid, mtime_nsec, nlink, major, minor] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for number in [size_bytes, ino] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&mtime_sec.to_le_bytes());
}

/// A directory has the same content when a merge of it shows the same, times apart.
///
/// Files are read on all processors; memory does not grow with them.
pub(crate) fn of_directory_content(files: &Directory, limits: &Limits) -> confext_ddi::Result<Identity> {
    let mut content = [0; 32];
    manifest::read(files, &manifest::Options::default(), limits, |entry| {
        let entry = Entry { mtime_sec: 0, mtime_nsec: 0, ..entry };
        content = digest::sha256(&[&content, format!("{entry:?}").as_bytes()]);
        Ok(())
    })?;
    Ok(Identity::Content { sha256: const_hex::encode(content) })
}

/// An image has the same content when every byte of its file system is the same.
///
/// It is read on all processors, as for a hash tree; memory does not grow with it.
pub(crate) fn of_image_content(data: &dyn ReadAt) -> confext_ddi::Result<Identity> {
    let size_bytes = data.size_bytes()?;
    let block_bytes: u64 = 4096;
    let blocks = size_bytes.checked_div(block_bytes).unwrap_or(0);
    // What is left over is not part of the tree.
    let rest = usize::try_from(size_bytes.checked_rem(block_bytes).unwrap_or(0)).unwrap_or(0);
    let mut last = vec![0; rest];
    data.read_exact_at(blocks.saturating_mul(block_bytes), &mut last)?;
    let mut parts = size_bytes.to_le_bytes().to_vec();
    if blocks > 0 {
        let superblock = Superblock::new(Uuid::from_bytes([0; 16]), blocks, Salt::new([])?);
        let root_hash = verity::write(data, &Geometry::new(&superblock)?, |_, _| Ok(()))?;
        parts.extend_from_slice(root_hash.as_bytes());
    }
    Ok(Identity::Content { sha256: const_hex::encode(digest::sha256(&[&parts, &last])) })
}

/// What systemd writes down of an extension without a hash tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The unique number of the mount it is on, in the namespace of whoever opened it.
    pub(crate) mount: Option<u64>,
    /// The file system's handle of it, where it has one.
    pub(crate) handle: Option<FileHandle>,
    pub(crate) inode: u64,
    /// When it was made, microseconds since 1970; 0 when that is not known.
    pub(crate) created_usec: u64,
    /// When it was written to last, microseconds since 1970; 0 for what is no file.
    pub(crate) modified_usec: u64,
}

impl Seen {
    /// Looks at an extension as it was opened by its path: a copy of its mount has another number. With all that `statx`
    /// tells of it.
    ///
    /// # Errors
    ///
    /// As `statx`.
    pub(crate) fn of(opened: BorrowedFd<'_>, kind: Kind) -> std::io::Result<(Self, Statx)> {
        let (stat, mount) = sys::statx_and_mount(opened, Self::ASKED)?;
        Ok((Self::new(opened, kind, (&stat, mount)), stat))
    }

    /// What `statx` is to be asked for.
    pub(crate) const ASKED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

    /// Of one that was asked for already, and is open in any mount.
    pub(crate) fn new(opened: BorrowedFd<'_>, kind: Kind, (stat, mount): (&Statx, Option<MountId>)) -> Self {
        let birth = microseconds(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        let birth = (stat.stx_mask & StatxFlags::BTIME.bits() != 0).then_some(birth).filter(known);
        // The attribute stands in for a file system without birth times; of two times the earlier one counts.
        let noted = noted_birth(opened).filter(known);
        let created = match (birth, noted) {
            (Some(birth), Some(noted)) => Some(birth.min(noted)),
            (birth, noted) => birth.or(noted),
        };
        let modified = microseconds(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
        Self {
            mount: mount.map(MountId::number),
            handle: sys::file_handle(opened).ok(),
            inode: stat.stx_ino,
            created_usec: if kind == Kind::Block { 0 } else { created.unwrap_or(0) },
            modified_usec: if kind == Kind::Raw { modified } else { 0 },
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as filter passes it")]
fn known(time: &u64) -> bool {
    *time != 0 && *time != u64::MAX
}

/// As systemd counts: a time before 1970, or too far off, is infinity.
fn microseconds(seconds: i64, nanoseconds: u32) -> u64 {
    let fraction = u64::from(nanoseconds).checked_div(1000).unwrap_or(0);
    let seconds = u64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    seconds.and_then(|seconds| seconds.checked_add(fraction)).unwrap_or(u64::MAX)
}

/// The attribute in which systemd notes when it made a file.
fn noted_birth(opened: BorrowedFd<'_>) -> Option<u64> {
    let mut value = [0; 8];
    let len = rustix::fs::fgetxattr(opened, "user.crtime_usec", &mut value).ok()?;
    (len == value.len()).then_some(u64::from_le_bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::path::Path;

    fn content(path: &Path) -> Identity {
        let limits = Limits::default();
        let files = Directory::new(File::open(path).unwrap().into(), &limits);
        of_directory_content(&files, &limits).unwrap()
    }

    #[test]
    fn the_content_of_a_directory_is_what_a_merge_shows() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            std::fs::create_dir_all(dir.path().join(name).join("etc/app.d")).unwrap();
            std::fs::write(dir.path().join(name).join("etc/app.d/a"), b"1234").unwrap();
        }
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let before = content(&one);
        // Another copy, and times.
        assert_eq!(content(&two), before);
        let file = File::options().append(true).open(one.join("etc/app.d/a")).unwrap();
        let times = file.metadata().unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(content(&one), before);
        // Content of the same size, with the time put back.
        std::fs::write(one.join("etc/app.d/a"), b"1235").unwrap();
        file.set_modified(times.modified().unwrap()).unwrap();
        assert_ne!(content(&one), before);
        // A mode.
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(two.join("etc/app.d"), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_ne!(content(&two), before);
    }

    #[test]
    fn the_content_of_an_image_is_every_byte_of_it() {
        let mut seen = Vec::new();
        for len in [0, 1, 4095, 4096, 4097, 8192, 70_000] {
            let mut bytes = vec![7_u8; len];
            seen.push(of_image_content(&bytes.as_slice()).unwrap());
            for at in [0, len / 2, len.saturating_sub(1)].into_iter().filter(|at| *at < len) {
                bytes[at] ^= 1;
                let changed = of_image_content(&bytes.as_slice()).unwrap();
                assert!(!seen.contains(&changed), "byte {at} of {len}");
                bytes[at] ^= 1;
            }
        }
        for (at, identity) in seen.iter().enumerate() {
            assert!(!seen[..at].contains(identity));
        }
    }

    #[test]
    fn times_are_counted_like_systemd_does() {
        assert_eq!(microseconds(1, 999_999), 1_000_999);
        assert_eq!(microseconds(-1, 0), u64::MAX);
        assert_eq!(microseconds(i64::MAX, 0), u64::MAX);
        let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        let seen = |kind| Seen::of(file.as_file().as_fd(), kind).unwrap().0;
        assert!(seen(Kind::Raw).modified_usec > 0 && seen(Kind::Raw).handle.is_some());
        assert_eq!(seen(Kind::Directory).modified_usec, 0);
        assert_eq!((seen(Kind::Block).created_usec, seen(Kind::Block).modified_usec), (0, 0));
        let noted = 1_000_000_u64.to_le_bytes();
        let how = rustix::fs::XattrFlags::empty();
        rustix::fs::fsetxattr(file.as_file(), "user.crtime_usec", &noted, how).unwrap();
        assert_eq!(seen(Kind::Raw).created_usec, 1_000_000);
    }
}
