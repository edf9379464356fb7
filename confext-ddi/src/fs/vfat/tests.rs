//! What is crafted byte by byte; images of other programs are read by `tests/oracle/vfat.rs`.

use super::*;
use crate::fs::{self, FileSystem};

const END: u32 = 0x0fff_ffff;
const SECTOR: usize = 512;

/// A volume with clusters of one sector; two tables, and a root directory of 16 entries.
struct Disk {
    bytes: Vec<u8>,
    width: usize,
    reserved: usize,
    table_sectors: usize,
}

impl Disk {
    fn new(width: usize) -> Self {
        let (reserved, table_sectors, clusters) = match width {
            12 => (1, 1, 60),
            16 => (1, 17, 4085),
            _ => (2, 1, 60),
        };
        let root = usize::from(width != 32);
        let sectors = reserved + 2 * table_sectors + root + clusters;
        let mut disk = Self { bytes: vec![0; sectors * SECTOR], width, reserved, table_sectors };
        disk.put(0, b"\xeb\x3c\x90confext ");
        disk.put(11, &[0, 2, 1, reserved as u8, 0, 2, 16 * root as u8, 0]);
        disk.put(19, &(sectors as u16).to_le_bytes());
        disk.put(21, &[0xf8]);
        if width == 32 {
            disk.put(36, &[table_sectors as u8, 0, 0, 0, 0, 0, 0, 0, 2]);
            disk.put(82, b"FAT32   ");
            disk.link(2, END);
        } else {
            disk.put(22, &[table_sectors as u8]);
            disk.put(54, b"FAT     ");
        }
        disk.put(510, &[0x55, 0xaa]);
        disk
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn link(&mut self, cluster: usize, next: u32) {
        let table = self.reserved * SECTOR;
        if self.width == 12 {
            let at = table + cluster * 3 / 2;
            let old = u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
            let next = next as u16 & 0xfff;
            let pair = if cluster.is_multiple_of(2) { old & 0xf000 | next } else { old & 0xf | next << 4 };
            self.put(at, &pair.to_le_bytes());
        } else {
            let len = self.width / 8;
            self.put(table + cluster * len, &next.to_le_bytes()[..len]);
        }
    }

    fn root(&self) -> usize {
        (self.reserved + 2 * self.table_sectors) * SECTOR
    }

    fn at(&self, cluster: usize) -> usize {
        self.root() + (cluster - 1 - usize::from(self.width == 32)) * SECTOR
    }

    fn entries(&mut self, start: usize, entries: &[[u8; 32]]) {
        for (index, entry) in entries.iter().enumerate() {
            self.put(start + index * 32, entry);
        }
    }

    fn open(&self) -> Result<Box<dyn FileSystem + '_>> {
        fs::open(&self.bytes[..], FsType::Vfat, &Limits::default())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let listed = self.open().unwrap().read_dir(path.as_bytes()).unwrap();
        listed.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect()
    }

    /// Reads everything.
    fn check(&self) -> Result<()> {
        let files = self.open()?;
        for item in fs::walk(&*files, b"", &Limits::default())? {
            let (path, meta) = item?;
            if meta.file_type == fs::FileType::Regular {
                files.read(&path)?;
            }
        }
        Ok(())
    }
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    // 2001-09-09 01:46:40.
    entry[22..26].copy_from_slice(&[0xd4, 0x0d, 0x29, 0x2b]);
    entry[26..28].copy_from_slice(&cluster.to_le_bytes());
    entry[28..].copy_from_slice(&size.to_le_bytes());
    entry
}

/// The entries of a long name, in the order on disk.
fn long(units: &[u16], short: &[u8; 11]) -> Vec<[u8; 32]> {
    let mut filled = units.to_vec();
    if !filled.len().is_multiple_of(13) {
        filled.push(0);
        filled.resize(filled.len().next_multiple_of(13), 0xffff);
    }
    let parts = filled.as_chunks::<13>().0;
    let part = |(index, units): (usize, &[u16; 13])| {
        let mut entry = [0; 32];
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        entry[0] = (index as u8 + 1) | if index + 1 == parts.len() { 0x40 } else { 0 };
        entry[1..11].copy_from_slice(&bytes[..10]);
        entry[11] = 0x0f;
        entry[13] = name::checksum(short);
        entry[14..26].copy_from_slice(&bytes[10..22]);
        entry[28..].copy_from_slice(&bytes[22..]);
        entry
    };
    parts.iter().enumerate().map(part).rev().collect()
}

fn units(name: &str) -> Vec<u16> {
    name.encode_utf16().collect()
}

/// In the root a label, a file, one that was deleted, a file with a long name and a directory; in that another one with an
/// empty file.
fn sample(width: usize) -> Disk {
    let mut disk = Disk::new(width);
    let long_entries = long(&units("A long name.conf"), b"ALONGN~1CON");
    let root = disk.root();
    let mut readme = entry(b"README  TXT", 0x21, 8, 5);
    readme[12] = 0x08;
    disk.entries(
        root,
        &[
            entry(b"DISK       ", 0x08, 0, 0),
            readme,
            entry(b"\xe5LD     TXT", 0x20, 8, 5),
            long_entries[0],
            long_entries[1],
            entry(b"ALONGN~1CON", 0x20, 5, 1400),
            entry(b"EFI        ", 0x10, 3, 0),
        ],
    );
    let (efi, boot) = (disk.at(3), disk.at(4));
    disk.entries(
        efi,
        &[
            entry(b".          ", 0x10, 3, 0),
            entry(b"..         ", 0x10, 0, 0),
            entry(b"BOOT       ", 0x10, 4, 0),
        ],
    );
    disk.entries(
        boot,
        &[
            entry(b".          ", 0x10, 4, 0),
            entry(b"..         ", 0x10, 3, 0),
            entry(b"BOOTX64 EFI", 0x20, 0, 0),
        ],
    );
    for (cluster, next) in [(3, END), (4, END), (5, 7), (7, 6), (6, END), (8, END)] {
        disk.link(cluster, next);
    }
    for (cluster, content) in [(5, 1), (7, 2), (6, 3)] {
        let at = disk.at(cluster);
        disk.put(at, &[content; SECTOR]);
    }
    let at = disk.at(8);
    disk.put(at, b"hello");
    disk
}

#[test]
fn all_widths_are_read() {
    for width in [12, 16, 32] {
        let disk = sample(width);
        disk.check().unwrap();
        assert_eq!(disk.names(""), ["A long name.conf", "EFI", "readme.TXT"], "{width}");
        assert_eq!(disk.names("EFI"), ["BOOT"], "{width}");
        let files = disk.open().unwrap();
        assert_eq!(files.read(b"readme.TXT").unwrap(), b"hello");
        let content = [vec![1; 512], vec![2; 512], vec![3; 376]].concat();
        assert!(files.read(b"A long name.conf").unwrap() == content, "{width}");
        for (offset, len) in [(0, 1), (500, 30), (511, 514), (1000, 400), (1399, 1), (1400, 9)] {
            let mut buf = vec![0; len];
            let count = files.read_at(b"A long name.conf", offset as u64, &mut buf).unwrap();
            assert_eq!(buf[..count], content[offset..content.len().min(offset + len)], "{width} {offset}");
        }
        let meta = files.stat(b"EFI/BOOT/BOOTX64.EFI").unwrap();
        assert_eq!((meta.mode, meta.uid, meta.gid, meta.nlink), (0o644, 0, 0, 1));
        assert_eq!((meta.size_bytes, meta.mtime_sec), (0, 1_000_000_000));
        assert_eq!(files.stat(b"EFI").unwrap().mode, 0o755);
        assert_eq!(files.read_link(b"readme.TXT").unwrap_err().code(), "not-a-symlink");
        assert_eq!(files.xattrs(b"readme.TXT").unwrap(), []);
    }
}

#[test]
fn names_are_found_whatever_their_case() {
    let disk = sample(12);
    let files = disk.open().unwrap();
    for path in ["readme.txt", "README.TXT", "efi/Boot/bootx64.efi", "a LONG name.CONF"] {
        assert!(files.stat(path.as_bytes()).is_ok(), "{path}");
    }
    // The short name of a file with a long one is no name of it.
    assert_eq!(files.stat(b"ALONGN~1.CON").unwrap_err().code(), "no-such-file");
}

/// How one field of the sample is changed.
type Change = fn(&mut Disk);

/// The sample with 12 bits, one field changed: what is wrong with it.
#[test]
fn each_damaged_field_has_its_code() {
    /// The nth entry of the root.
    const fn root(index: usize) -> usize {
        3 * SECTOR + 32 * index
    }
    const EFI: usize = 5 * SECTOR;
    const BOOT: usize = 6 * SECTOR;
    let changes: &[(&str, Change)] = &[
        ("boot signature", |disk| disk.put(510, &[0])),
        ("sector size", |disk| disk.put(11, &[0, 1])),
        ("sector size", |disk| disk.put(11, &[0, 3])),
        ("sector size", |disk| disk.put(11, &[0, 32])),
        ("sectors of a cluster", |disk| disk.put(13, &[0])),
        ("sectors of a cluster", |disk| disk.put(13, &[3])),
        ("number of reserved sectors", |disk| disk.put(14, &[0])),
        ("number of tables", |disk| disk.put(16, &[0])),
        ("size of the root directory", |disk| disk.put(17, &[0])),
        ("size of the root directory", |disk| disk.put(17, &[17])),
        ("number of sectors", |disk| disk.put(19, &[4])),
        ("number of sectors", |disk| disk.put(19, &[0])),
        ("number of sectors", |disk| disk.put(32, &[1])),
        ("media type", |disk| disk.put(21, &[0xf7])),
        ("number of clusters", |disk| disk.put(13, &[128])),
        ("chain of a file", |disk| disk.link(6, 5)),
        ("chain of a file", |disk| disk.link(7, END)),
        ("chain of a file", |disk| disk.link(8, 9)),
        ("cluster in a chain", |disk| disk.link(7, 0)),
        ("cluster in a chain", |disk| disk.link(7, 1)),
        ("cluster in a chain", |disk| disk.link(7, 62)),
        ("cluster in a chain", |disk| disk.link(7, 0xff7)),
        ("cluster in a chain", |disk| disk.link(3, 0)),
        ("directory entry", |disk| disk.link(3, 3)),
        ("directory entry", |disk| disk.link(3, 8)),
        ("order of a long name", |disk| disk.put(root(3), &[0x43])),
        ("order of a long name", |disk| disk.put(root(3), &[0x02])),
        ("order of a long name", |disk| disk.put(root(3), &[0x40])),
        ("order of a long name", |disk| disk.put(root(3), &[0x55])),
        ("order of a long name", |disk| disk.put(root(4), &[0x02])),
        ("order of a long name", |disk| disk.put(root(4), &[0x41])),
        ("part of a long name", |disk| disk.put(root(4) + 12, &[1])),
        ("part of a long name", |disk| disk.put(root(4) + 26, &[1])),
        ("checksum of a long name", |disk| disk.put(root(4) + 13, &[1])),
        ("checksum of a long name", |disk| disk.put(root(5), b"B")),
        ("long name", |disk| disk.put(root(3) + 1, &[0, 0])),
        ("long name", |disk| disk.put(root(3) + 28, &[0, 0])),
        ("long name", |disk| disk.put(root(4) + 1, &[0, 0])),
        ("long name", |disk| disk.put(root(4) + 1, b"/\0")),
        ("long name", |disk| disk.put(root(4) + 1, &[0, 0xd8])),
        ("long name", |disk| disk.put(root(5), &[0xe5])),
        ("long name", |disk| disk.put(root(5) + 11, &[0x08])),
        ("directory entry", |disk| disk.put(root(2), &[0])),
        ("attributes of a file", |disk| disk.put(root(1) + 11, &[0x40])),
        ("short name", |disk| disk.put(root(1), b"/")),
        ("short name", |disk| disk.put(root(1) + 1, &[0])),
        ("short name", |disk| disk.put(root(1), b"        ")),
        ("directory", |disk| disk.put(root(1), b"EFI        ")),
        ("directory", |disk| disk.put(root(1), b"ALONGN~1CON")),
        ("directory entry", |disk| disk.put(root(1), b"..         ")),
        ("month", |disk| disk.put(root(1) + 24, &[0x09, 0x2a])),
        ("day", |disk| disk.put(root(1) + 24, &[0x20, 0x2b])),
        ("day", |disk| disk.put(root(1) + 24, &[0x3f, 0x2b])),
        ("time of a day", |disk| disk.put(root(1) + 22, &[0, 0xc0])),
        ("time of a day", |disk| disk.put(root(1) + 22, &[0x80, 0x07])),
        ("time of a day", |disk| disk.put(root(1) + 22, &[0x1e, 0])),
        ("cluster of an empty file", |disk| disk.put(root(1) + 28, &[0])),
        ("cluster", |disk| disk.put(root(1) + 26, &[0])),
        ("cluster", |disk| disk.put(root(1) + 26, &[62])),
        ("file size", |disk| disk.put(root(1) + 28, &[0, 0, 1])),
        ("size of a directory", |disk| disk.put(root(6) + 28, &[1])),
        ("cluster", |disk| disk.put(root(6) + 26, &[0])),
        ("cluster of ..", |disk| disk.put(root(6) + 26, &[4])),
        ("cluster of ..", |disk| disk.put(root(6) + 26, &[9])),
        ("cluster of ..", |disk| disk.put(EFI + 32 + 26, &[9])),
        ("cluster of ..", |disk| disk.put(BOOT + 32 + 26, &[0])),
        ("cluster of .", |disk| disk.put(EFI + 26, &[4])),
        ("directory entry", |disk| disk.put(EFI, b"x")),
        ("directory entry", |disk| disk.put(EFI + 11, &[0x20])),
        ("cluster of ..", |disk| disk.put(EFI + 64 + 26, &[3])),
        ("directory", |disk| disk.put(root(1), &entry(b"EFI2       ", 0x10, 3, 0))),
    ];
    for (index, (what, change)) in changes.iter().enumerate() {
        let mut disk = sample(12);
        change(&mut disk);
        let error = disk.check().expect_err(what);
        assert_eq!(error.code(), "file-system", "change {index}: {error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{what} is wrong")), "change {index}, {what}: {text}");
    }
}

#[test]
fn sizes_fit_what_there_is() {
    let code = |width: usize, change: Change| {
        let mut disk = sample(width);
        change(&mut disk);
        disk.check().map_err(|error| error.code())
    };
    assert_eq!(code(12, |disk| disk.put(19, &[65])), Err("out-of-bounds"));
    assert_eq!(code(12, |disk| disk.bytes.truncate(400)), Err("out-of-bounds"));
    // A sector of 512 bytes is a table for 339 clusters of 12 bits.
    let more: Change = |disk| {
        disk.bytes.resize(400 * SECTOR, 0);
        disk.put(19, &400_u16.to_le_bytes());
    };
    assert_eq!(code(12, more), Err("file-system"));
    assert_eq!(code(16, |disk| disk.put(22, &[15])), Err("file-system"));
    // One cluster less, and the same table is of 12 bits.
    assert_eq!(code(16, |disk| disk.put(19, &4120_u16.to_le_bytes())), Err("file-system"));
    let too_many: Change = |disk| {
        disk.bytes.resize(70_000 * SECTOR, 0);
        disk.put(19, &[0, 0]);
        disk.put(32, &70_000_u32.to_le_bytes());
    };
    assert_eq!(code(16, too_many), Err("file-system"));
}

#[test]
fn what_only_fat32_has() {
    let code = |change: Change| {
        let mut disk = sample(32);
        change(&mut disk);
        disk.check().map_err(|error| error.code())
    };
    assert_eq!(code(|disk| disk.put(17, &[16])), Err("file-system"));
    assert_eq!(code(|disk| disk.put(42, &[1])), Err("file-system-feature"));
    assert_eq!(code(|disk| disk.put(40, &[0x81])), Err("file-system-feature"));
    assert_eq!(code(|disk| disk.put(44, &[62])), Err("file-system"));
    assert_eq!(code(|disk| disk.put(44, &[1])), Err("file-system"));
    // Some write the cluster of the root where 0 stands for it; the upper bits of the table mean nothing.
    assert_eq!(code(|disk| disk.put(disk.at(3) + 32 + 26, &[2])), Ok(()));
    assert_eq!(code(|disk| disk.link(5, 0xf000_0007)), Ok(()));
    // The upper half of a cluster's number counts, which in other widths it does not.
    assert_eq!(code(|disk| disk.put(disk.root() + 32 + 20, &[1])), Err("file-system"));
    let mut other = sample(16);
    other.put(other.root() + 32 + 20, &[1]);
    other.check().unwrap();
}

/// A directory whose chain leads back to itself has more entries than there can be.
#[test]
fn a_chain_that_contains_itself_ends() {
    let mut disk = sample(12);
    disk.link(3, 9);
    disk.link(9, 9);
    let (efi, loop_start) = (disk.at(3), disk.at(9));
    for index in 3..16 {
        disk.put(efi + index * 32, &[0xe5]);
    }
    for index in 0..16 {
        disk.put(loop_start + index * 32, &[0xe5]);
    }
    let error = disk.check().unwrap_err();
    assert!(error.to_string().contains("number of entries of a directory is wrong"), "{error}");
}

#[test]
fn limits_are_kept() {
    let disk = sample(12);
    let mut limits = Limits { entries: 2, ..Limits::default() };
    let files = fs::open(&disk.bytes[..], FsType::Vfat, &limits).unwrap();
    assert_eq!(files.read_dir(b"").unwrap_err().code(), "limit-count");
    limits = Limits { file_bytes: 1399, ..Limits::default() };
    let files = fs::open(&disk.bytes[..], FsType::Vfat, &limits).unwrap();
    assert_eq!(files.read(b"A long name.conf").unwrap_err().code(), "limit-bytes");
}

#[test]
fn names_are_as_long_and_as_foreign_as_they_may_be() {
    let longest = "ä\u{1f4be}".repeat(85);
    for name in ["Straße \u{1f980}", "thirteen byte", &longest] {
        let mut disk = Disk::new(12);
        disk.put(17, &[64]);
        let root = disk.root();
        let short = b"SHORT   ~1 ";
        let mut entries = long(&units(name), short);
        entries.push(entry(short, 0x20, 0, 0));
        disk.entries(root, &entries);
        assert_eq!(disk.names(""), [name]);
    }
    let mut disk = Disk::new(12);
    disk.put(17, &[64]);
    let root = disk.root();
    let mut entries = long(&vec![u16::from(b'x'); 256], b"X          ");
    entries.push(entry(b"X          ", 0x20, 0, 0));
    disk.entries(root, &entries);
    assert_eq!(disk.check().unwrap_err().code(), "file-system");
}

#[test]
fn short_names_are_of_code_page_437() {
    let mut lower = entry(b"\x9a\xe2      \x80  ", 0x20, 0, 0);
    lower[12] = 0x18;
    let mut disk = Disk::new(12);
    let root = disk.root();
    disk.entries(
        root,
        &[
            entry(b"\x05\x8e\xff\xfe    \x80  ", 0x20, 0, 0),
            lower,
            entry(b"A B        ", 0x20, 0, 0),
            entry(b"A       B  ", 0x20, 0, 0),
        ],
    );
    assert_eq!(disk.names(""), ["A B", "A.B", "üΓ.ç", "σÄ\u{a0}■.Ç"]);
}

#[test]
fn times_count_from_1980() {
    for (date, time, expected) in [
        ([0, 0], [0, 0], 315_532_800),
        ([0x21, 0], [0, 0], 315_532_800),
        ([0x5d, 0x28], [0x7d, 0xbf], 951_868_798),
        ([0x61, 0x28], [0, 0], 951_868_800),
        ([0x5c, 0xf0], [0, 0], 4_107_456_000),
        ([0x61, 0xf0], [0, 0], 4_107_542_400),
        ([0x9f, 0xff], [0x7d, 0xbf], 4_354_819_198),
    ] {
        let mut disk = sample(12);
        let at = disk.root() + 32 + 22;
        disk.put(at, &[time, date].concat());
        assert_eq!(disk.open().unwrap().stat(b"readme.txt").unwrap().mtime_sec, expected, "{date:?}");
    }
    let mut disk = sample(12);
    let at = disk.root() + 32 + 22;
    // 2100 has no 29th of February.
    disk.put(at, &[0, 0, 0x5d, 0xf0]);
    assert_eq!(disk.check().unwrap_err().code(), "file-system");
}
