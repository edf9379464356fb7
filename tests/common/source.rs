//! A directory with one of everything a file system must keep, and a record of any directory to compare with.

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

/// The size of the sparse file that [`populate`] makes.
pub const SPARSE_BYTES: u64 = 8 << 30;
/// Where the sparse file has data: start and length.
pub const ISLANDS: [(u64, u64); 3] = [(0, 5000), ((4 << 30) + 12_345, 300_000), (SPARSE_BYTES - 4099, 4099)];
/// How many entries the large directory has.
pub const MANY: usize = 5000;

/// What of an entry must be the same in an image of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// In bytes; 0 for a directory, whose size is the file system's own business.
    pub size: u64,
    /// How many names.
    pub nlink: u64,
    /// Major and minor number of a device node.
    pub device: Option<(u32, u32)>,
    /// By full name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// A digest of a file's bytes, or a link's target.
    pub content: Vec<u8>,
    /// The first path of the same inode.
    pub first_name: Vec<u8>,
}

/// Bytes that look random and depend on `seed` only.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// Fills `dir` with files of every size that matters, names, links and, from [`populate_as_root`], all the rest.
pub fn populate(dir: &Path) {
    for size in
        [0, 1, 4031, 4032, 4033, 4063, 4064, 4065, 4095, 4096, 4097, 8191, 8192, 70_000, (1 << 20) + 1]
    {
        std::fs::write(dir.join(format!("size-{size}")), noise(size, size as usize)).unwrap();
    }
    let many = dir.join("many");
    std::fs::create_dir(&many).unwrap();
    for at in 0..MANY {
        // Names on both sides of "." and "..", which stand sorted among the others on disk.
        let name = format!("{}entry-{:05}", ["", "!", "-", ".a", "zz", "é"][at % 6], at * 7919 % MANY);
        std::fs::write(many.join(name), if at % 50 == 0 { noise(at as u64, at) } else { Vec::new() })
            .unwrap();
    }
    std::fs::create_dir_all(dir.join("deep/a/b/c/d/e/f")).unwrap();
    std::fs::create_dir(dir.join("empty")).unwrap();
    std::fs::write(dir.join("n".repeat(255)), "long name").unwrap();
    std::fs::write(dir.join(OsStr::from_bytes(b"not-\xff\xfe-utf8\x01\n")), "name of bytes").unwrap();
    symlink("short", dir.join("link-short")).unwrap();
    symlink(".", dir.join("link-dot")).unwrap();
    symlink("l".repeat(4095), dir.join("link-4095")).unwrap();
    symlink("l".repeat(4032), dir.join("link-4032")).unwrap();
    symlink("l".repeat(4033), dir.join("link-4033")).unwrap();
    for name in ["deep/second", "third", "many/fourth"] {
        std::fs::hard_link(dir.join("size-4097"), dir.join(name)).unwrap();
    }
    std::fs::set_permissions(dir.join("size-1"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(dir.join("deep"), std::fs::Permissions::from_mode(0o3770)).unwrap();
    for (name, tv_sec, tv_nsec) in [
        ("size-4095", -2, 500_000_000),
        ("size-4096", -(1 << 35), 0),
        ("size-4097", 1 << 40, 999_999_999),
        ("link-short", 1_000_000_000, 1),
        ("empty", 0, 0),
    ] {
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        fs::utimensat(CWD, dir.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    let mut sparse = std::fs::File::create(dir.join("sparse")).unwrap();
    sparse.set_len(SPARSE_BYTES).unwrap();
    for (start, len) in ISLANDS {
        sparse.seek(SeekFrom::Start(start)).unwrap();
        sparse.write_all(&noise(start, len as usize)).unwrap();
    }
    std::fs::File::create(dir.join("hole")).unwrap().set_len(3 << 20).unwrap();
}

/// Adds what only root can make: owners, device nodes, and attributes of every namespace.
pub fn populate_as_root(dir: &Path) {
    populate(dir);
    for (name, file_type, major, minor) in [
        ("null", FileType::CharacterDevice, 1, 3),
        ("block", FileType::BlockDevice, 4095, 0xf_ffff),
        ("zero", FileType::CharacterDevice, 0, 0),
        ("fifo", FileType::Fifo, 0, 0),
        ("socket", FileType::Socket, 0, 0),
    ] {
        fs::mknodat(CWD, dir.join(name), file_type, Mode::from_raw_mode(0o640), fs::makedev(major, minor))
            .unwrap();
    }
    std::os::unix::fs::lchown(dir.join("size-0"), Some(65_536), Some(1)).unwrap();
    std::os::unix::fs::lchown(dir.join("link-short"), Some(1), Some(u32::MAX - 1)).unwrap();
    let set = |name: &str, attribute: &str, value: &[u8]| {
        fs::lsetxattr(dir.join(name), attribute, value, XattrFlags::empty()).unwrap();
    };
    let label = b"system_u:object_r:etc_t:s0\0";
    for name in ["", "size-1", "link-short", "link-4095", "null", "fifo", "socket", "many", "sparse"] {
        set(name, "security.selinux", label);
    }
    set("size-1", "user.empty", b"");
    set("size-1", "user.binary", b"\0\xff\0");
    set("size-4064", "trusted.overlay.opaque", b"y");
    for at in 0..3 {
        set("size-8191", &format!("user.large-{at}"), &noise(at, 20_000));
    }
    for name in ["hole", "link-4032", "empty", "many/fourth"] {
        set(name, "trusted.wide", &noise(9, 3900));
    }
    set("size-70000", &format!("user.{}", "n".repeat(250)), &noise(8, 4096));
    // Version 2, then tag, permissions and id: owner, user 1000, group, mask, others.
    let acl = [(1, 6, u32::MAX), (2, 6, 1000), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 4, u32::MAX)];
    let mut value = vec![2, 0, 0, 0];
    for (tag, permissions, id) in acl {
        value.extend([tag, 0, permissions, 0]);
        value.extend(u32::to_le_bytes(id));
    }
    set("size-4033", "system.posix_acl_access", &value);
    set("deep", "system.posix_acl_default", &value);
}

/// A digest of a file. A file too large to read whole is sampled: all around the islands, and 4 KiB every 4 MiB.
pub fn digest(size: u64, mut read: impl FnMut(u64, &mut [u8])) -> Vec<u8> {
    let mut ranges = vec![(0, size)];
    if size > 1 << 28 {
        let around = |(start, len): (u64, u64)| (start.saturating_sub(9000), (start + len + 9000).min(size));
        ranges = ISLANDS.into_iter().map(around).collect();
        ranges.extend((0..size / (4 << 20)).map(|at| (at << 22, (at << 22) + 4096)));
    }
    let mut hash = Sha256::new();
    for (start, end) in ranges {
        let mut buf = vec![0; usize::try_from(end - start).unwrap()];
        read(start, &mut buf);
        hash.update(&buf);
    }
    hash.finalize().to_vec()
}

/// Records everything below `dir`, itself under the empty path, by `lstat` of every name.
pub fn record(dir: &Path) -> BTreeMap<Vec<u8>, Entry> {
    let mut out = BTreeMap::new();
    // An overlay shows files of several file systems.
    let mut first_names: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    let mut waiting = vec![Vec::new()];
    while let Some(name) = waiting.pop() {
        let path = if name.is_empty() { dir.to_owned() } else { dir.join(OsStr::from_bytes(&name)) };
        let meta = path.symlink_metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if meta.is_dir() {
            let mut below: Vec<Vec<u8>> = std::fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path().strip_prefix(dir).unwrap().as_os_str().as_bytes().to_vec())
                .collect();
            below.sort_unstable_by(|a, b| b.cmp(a));
            waiting.extend(below);
        }
        let content = if meta.is_symlink() {
            std::fs::read_link(&path).unwrap().into_os_string().into_vec()
        } else if meta.is_file() {
            let mut file = std::fs::File::open(&path).unwrap();
            if meta.len() <= 1 << 28 {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, meta.len(), "{}", path.display());
            }
            digest(meta.len(), |offset, buf| file.read_exact_at(buf, offset).unwrap())
        } else {
            Vec::new()
        };
        let is_device = matches!(meta.mode() & 0o170_000, 0o020_000 | 0o060_000);
        let entry = Entry {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap()),
            size: if meta.is_dir() { 0 } else { meta.len() },
            nlink: meta.nlink(),
            device: is_device.then(|| (fs::major(meta.rdev()), fs::minor(meta.rdev()))),
            xattrs: xattrs(&path),
            content,
            first_name: first_names.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone()).clone(),
        };
        out.insert(name, entry);
    }
    out
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let len = match fs::llistxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other.unwrap(),
    };
    let mut out = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let len = fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(len);
        out.insert(name.to_vec(), value);
    }
    out
}

/// Asserts that two records are the same, naming the first entry that differs.
pub fn assert_same(found: &BTreeMap<Vec<u8>, Entry>, expected: &BTreeMap<Vec<u8>, Entry>) {
    for (path, entry) in expected {
        let other = found.get(path).unwrap_or_else(|| panic!("{} is missing", path.escape_ascii()));
        assert_eq!(other, entry, "{}", path.escape_ascii());
    }
    let more: Vec<String> = found
        .keys()
        .filter(|path| !expected.contains_key(*path))
        .map(|path| path.escape_ascii().to_string())
        .collect();
    assert!(more.is_empty(), "more than expected: {more:?}");
}
