//! vfat images made by `mkfs.vfat` and filled by mtools, read here and compared with what mtools lists and copies out.

use confext_ddi::fs::{self, FileSystem, FileType};
use confext_ddi::fstype::{self, FsType};
use confext_ddi::{Limits, ReadAt as _};
use confext_tests::tools;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A kind of volume: the options of mkfs.vfat, and its size.
struct Volume {
    options: &'static [&'static str],
    size_bytes: u64,
}

const VOLUMES: [Volume; 9] = [
    Volume { options: &["-F", "12", "-s", "8"], size_bytes: 12 << 20 },
    Volume { options: &["-F", "12", "-S", "4096", "-r", "128"], size_bytes: 12 << 20 },
    Volume { options: &["-F", "12", "-f", "1", "-s", "64", "-S", "1024"], size_bytes: 40 << 20 },
    Volume { options: &["-F", "16", "-s", "4"], size_bytes: 20 << 20 },
    Volume { options: &["-F", "16", "-S", "2048", "-s", "1"], size_bytes: 20 << 20 },
    Volume { options: &["-F", "16", "-s", "128"], size_bytes: 300 << 20 },
    Volume { options: &["-F", "32", "-s", "1", "-n", "ESP"], size_bytes: 64 << 20 },
    Volume { options: &["-F", "32", "-s", "8", "-f", "1"], size_bytes: 300 << 20 },
    Volume { options: &["-F", "32", "-S", "4096", "-s", "1"], size_bytes: 300 << 20 },
];

struct Disk {
    dir: TempDir,
}

impl Disk {
    fn new(volume: &Volume) -> Self {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory");
        let disk = Self { dir };
        File::create_new(disk.path().join("image")).unwrap().set_len(volume.size_bytes).unwrap();
        tools::run("mkfs.vfat", &[volume.options, &["image"]].concat(), disk.path());
        disk
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs one of mtools on the image. Times on it are UTC, as they are taken here.
    fn try_mtool(&self, program: &str, arguments: &[&str]) -> Output {
        let output = tools::tool(program)
            .args(["-i", "image"])
            .args(arguments)
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .env("MTOOLSRC", "/dev/null")
            .current_dir(self.path())
            .output();
        output.unwrap_or_else(|error| panic!("{program} cannot be run ({error}): run tests/setup.sh tools"))
    }

    fn mtool(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.try_mtool(program, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn open(&self) -> Box<dyn FileSystem> {
        let image = File::open(self.path().join("image")).unwrap();
        let size = image.size_bytes().unwrap();
        let probed = fstype::probe(&image).unwrap().expect("a file system");
        assert_eq!(probed.fs_type, FsType::Vfat);
        assert!(probed.size_bytes.is_some_and(|found| found <= size));
        fs::open(image, FsType::Vfat, &Limits::default()).unwrap()
    }
}

fn content(len: usize, seed: u32) -> Vec<u8> {
    (0..len).map(|index| (index as u32 / 7).wrapping_mul(seed).to_le_bytes()[1]).collect()
}

/// Writes a file with a time that FAT can hold.
fn write(path: &Path, bytes: &[u8], index: u64) {
    std::fs::write(path, bytes).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + index * 86_398);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// A tree with what makes a difference: lengths around those of clusters, short, long and foreign names, a directory of
/// many clusters, many directories.
fn make_source(root: &Path) {
    for (index, len) in [0, 1, 511, 512, 513, 4095, 4096, 4097, 300_001].into_iter().enumerate() {
        write(&root.join(format!("length-{len}")), &content(len, 77), index as u64);
    }
    for (index, name) in [
        "UPPER.TXT",
        "lower.txt",
        "Mixed.Txt",
        "base.TXT",
        "thirteen char",
        "fourteen chars",
        "two.dots.here",
        ".hidden",
        "UPPER",
        "with + , ; = [ ] signs",
        "Straße und Gärten",
        "Ωμέγα καὶ ἄλφα.конфиг",
        "ファイル名",
        "a smile \u{1f600}",
    ]
    .into_iter()
    .enumerate()
    {
        write(&root.join(name), name.as_bytes(), 100 + index as u64);
    }
    write(&root.join("n".repeat(255)), b"the longest name", 1);
    let many = root.join("many");
    std::fs::create_dir(&many).unwrap();
    for index in 0..400 {
        write(&many.join(format!("a file with a long name {index}")), format!("{index}\n").as_bytes(), index);
    }
    let deep = (0..20).fold(root.join("deep"), |path, level| path.join(format!("Level {level}")));
    std::fs::create_dir_all(&deep).unwrap();
    write(&deep.join("bottom"), b"bottom", 3);
    std::fs::create_dir_all(root.join("EFI/BOOT")).unwrap();
    write(&root.join("EFI/BOOT/BOOTX64.EFI"), &content(150_000, 99), 4);
}

/// Everything that comes and goes: what was deleted, and files in the gaps.
fn churn(disk: &Disk) {
    let path = disk.path();
    disk.mtool("mmd", &["::/Fragmented Things"]);
    for index in 0..40 {
        write(&path.join("piece"), &content(20_000, index), index.into());
        disk.mtool("mcopy", &["-m", "piece", &format!("::/Fragmented Things/piece number {index}")]);
    }
    for index in (0..40).step_by(2) {
        disk.mtool("mdel", &[&format!("::/Fragmented Things/piece number {index}")]);
    }
    write(&path.join("large"), &content(600_000, 5), 9);
    disk.mtool("mcopy", &["-m", "large", "::/Fragmented Things/in the gaps"]);
    write(&path.join("small"), b"where a deleted entry was", 10);
    disk.mtool("mcopy", &["-m", "small", "::/Fragmented Things/SMALL"]);
    disk.mtool("mmd", &["::/gone", "::/gone/too"]);
    disk.mtool("mcopy", &["-m", "small", "::/gone/too/file"]);
    disk.mtool("mdeltree", &["::/gone"]);
    disk.mtool("mren", &["::/length-1", "::/Another Name For It"]);
    disk.mtool("mattrib", &["+r", "+h", "+s", "::/length-512", "::/lower.txt"]);
    disk.mtool("mattrib", &["+h", "::/EFI"]);
    disk.mtool("mlabel", &["::A LABEL"]);
}

/// Compares what is read here with what mtools lists and copies out.
fn compare(disk: &Disk) {
    let files = disk.open();
    let mut found: BTreeSet<String> = BTreeSet::new();
    let out = disk.path().join("out");
    std::fs::create_dir(&out).unwrap();
    disk.mtool("mcopy", &["-s", "-m", "-n", "::/", "out/"]);
    for item in fs::walk(&*files, b"", &Limits::default()).unwrap() {
        let (path, meta) = item.unwrap();
        let name = std::str::from_utf8(&path).unwrap();
        let expected = out.join(name).symlink_metadata().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(meta.file_type == FileType::Directory, expected.is_dir(), "{name}");
        if meta.file_type == FileType::Regular {
            assert_eq!((meta.size_bytes, meta.mtime_sec), (expected.size(), expected.mtime()), "{name}");
            let content = std::fs::read(out.join(name)).unwrap();
            assert!(files.read(&path).unwrap() == content, "{name} differs");
            for (offset, len) in [(0, 10), (4090, 20), (40_000, 70_000), (299_999, 9)] {
                let mut buf = vec![0xee; len];
                let count = files.read_at(&path, offset as u64, &mut buf).unwrap();
                let rest = content.get(offset..).unwrap_or_default();
                assert!(buf[..count] == rest[..rest.len().min(len)], "{name} at {offset}");
            }
        }
        let slash = if meta.file_type == FileType::Directory { "/" } else { "" };
        assert!(found.insert(format!("::/{name}{slash}")), "{name} comes twice");
    }
    let listed = disk.mtool("mdir", &["-b", "-a", "-/", "::/"]);
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    assert_eq!(found, listed);
    assert!(found.len() > 400);
    for path in ["efi/boot/bootx64.efi", "EFI/Boot/BootX64.EFI", "FRAGMENTED THINGS/In The Gaps"] {
        assert!(files.stat(path.as_bytes()).is_ok(), "{path}");
    }
    assert_eq!(files.stat(b"gone").unwrap_err().code(), "no-such-file");
}

fn compare_volume(volume: &Volume) {
    let disk = Disk::new(volume);
    let source = disk.path().join("source");
    std::fs::create_dir(&source).unwrap();
    make_source(&source);
    let mut entries: Vec<String> = std::fs::read_dir(&source)
        .unwrap()
        .map(|entry| format!("source/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    entries.sort();
    let mut arguments = vec!["-s", "-m"];
    arguments.extend(entries.iter().map(String::as_str));
    arguments.push("::/");
    disk.mtool("mcopy", &arguments);
    churn(&disk);
    compare(&disk);
    // Before and after what was changed, what went in comes out.
    let files = disk.open();
    for name in ["length-300001", "EFI/BOOT/BOOTX64.EFI", "ファイル名", "many/a file with a long name 399"]
    {
        assert!(files.read(name.as_bytes()).unwrap() == std::fs::read(source.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn fat12_is_what_mtools_copied_in() {
    VOLUMES[..3].iter().for_each(compare_volume);
}

#[test]
fn fat16_is_what_mtools_copied_in() {
    VOLUMES[3..6].iter().for_each(compare_volume);
}

#[test]
fn fat32_is_what_mtools_copied_in() {
    VOLUMES[6..].iter().for_each(compare_volume);
}

/// FAT32 with fewer clusters than FAT16 may have: what mkfs.vfat makes of a small EFI system partition. Only Linux and
/// firmware read it, so that there is nobody here to fill it.
#[test]
fn small_fat32_is_fat32() {
    for size_bytes in [64 << 10, 1 << 20, 30 << 20] {
        let disk = Disk::new(&Volume { options: &["-F", "32", "-s", "1", "-n", "SMALL"], size_bytes });
        let files = disk.open();
        assert_eq!(files.read_dir(b"").unwrap(), []);
    }
}
