//! Small images with random damage: every file is read or refused, in bounded memory and a bounded number of reads.

use confext_ddi::fs::{self, FileType};
use confext_ddi::fstype::FsType;
use confext_ddi::{Limits, ReadAt, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const ROUNDS: usize = 20_000;

/// Far below what an unchecked size of 32 bits would take.
const MEMORY_BYTES: u64 = 1 << 30;

/// More reads than any walk of the sample takes; a loop takes more.
const MOST_READS: u32 = 100_000;

struct Counted<'a> {
    bytes: &'a [u8],
    reads: AtomicU32,
}

impl ReadAt for Counted<'_> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        assert!(reads < MOST_READS, "the reader goes round and round");
        self.bytes.read_exact_at(offset, buf)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.bytes.size_bytes()
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }
}

/// Reads everything; returns the codes of what was refused.
fn read_everything(image: &[u8], fs_type: FsType) -> Vec<&'static str> {
    let mut limits = Limits::default();
    (limits.entries, limits.file_bytes, limits.depth) = (10_000, 1 << 20, 64);
    let counted = Counted { bytes: image, reads: AtomicU32::new(0) };
    let opened = match fs::open(counted, fs_type, &limits) {
        Ok(opened) => opened,
        Err(error) => return vec![error.code()],
    };
    let mut codes = Vec::new();
    let walk = match fs::walk(&*opened, b"", &limits) {
        Ok(walk) => walk,
        Err(error) => return vec![error.code()],
    };
    for item in walk {
        let found = item.and_then(|(path, meta)| {
            opened.xattrs(&path)?;
            match meta.file_type {
                FileType::Regular => {
                    opened.read_at(&path, meta.size_bytes / 2, &mut [0; 5000])?;
                    opened.read(&path).map(drop)
                }
                FileType::Symlink => {
                    opened.read_link(&path)?;
                    fs::resolve(&*opened, &path, &limits).map(drop)
                }
                _ => Ok(()),
            }
        });
        codes.extend(found.err().map(|error| error.code()));
    }
    codes
}

fn damage(image: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        // Half of the damage to the first blocks, where superblock and inodes are.
        let end = if random.below(2) == 0 { image.len().min(4096) } else { image.len() };
        let at = random.below(end);
        let value = [0, 0xff, 0x7f, 0x80, random.next() as u8][random.below(5)];
        let len = [1, 1, 2, 4, 8][random.below(5)].min(image.len() - at);
        image[at..at + len].fill(value);
    }
}

/// The EROFS superblock's checksum would stop most damage at the door.
fn without_checksum(mut image: Vec<u8>) -> Vec<u8> {
    image[1032] &= !1;
    image
}

fn mutate(images: &[Vec<u8>], fs_type: FsType) {
    let all = Rlimit { current: Some(MEMORY_BYTES), ..getrlimit(Resource::As) };
    setrlimit(Resource::As, all).unwrap();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for image in images {
        assert_eq!(
            read_everything(image, fs_type),
            ["no-such-file"],
            "the sample itself, but for its dangling link"
        );
    }
    for round in 0..ROUNDS {
        let mut image = images[round % images.len()].clone();
        damage(&mut image, &mut random);
        if random.below(8) == 0 {
            image.truncate(random.below(image.len()));
        }
        for code in read_everything(&image, fs_type) {
            *codes.entry(code).or_default() += 1;
        }
    }
    for expected in ["out-of-bounds", "file-system", "file-system-feature"] {
        assert!(codes.contains_key(expected), "no damage led to {expected}: {codes:?}");
    }
    assert!(!codes.contains_key("reader-failed"), "a decoder panicked: {codes:?}");
    assert!(!codes.contains_key("io"), "an error lost its kind: {codes:?}");
}

fn make_source(root: &Path) {
    std::fs::create_dir_all(root.join("etc/extension-release.d")).unwrap();
    std::fs::write(root.join("etc/extension-release.d/extension-release.app"), "ID=_any\n").unwrap();
    std::fs::write(root.join("etc/a.conf"), "key=value\n".repeat(700)).unwrap();
    std::fs::write(root.join("etc/large"), "0123456789abcdef!".repeat(4000)).unwrap();
    for index in 0..40 {
        std::fs::write(root.join(format!("etc/file-{index}")), format!("{index}\n")).unwrap();
    }
    std::os::unix::fs::symlink("a.conf", root.join("etc/link")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("etc/dangling")).unwrap();
    for name in ["etc/a.conf", "etc/file-1", "etc/file-2"] {
        rustix::fs::setxattr(root.join(name), "user.note", b"a note", rustix::fs::XattrFlags::empty())
            .unwrap();
    }
}

/// One image of the same files for each set of options.
fn images(program: &str, options: &[&[&str]]) -> Vec<Vec<u8>> {
    let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap();
    let (source, image) = (dir.path().join("source"), dir.path().join("image"));
    make_source(&source);
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let make = |options: &&[&str]| {
        let mut command = Command::new(program);
        if program == "mkfs.erofs" {
            command.args(*options).arg(&image).arg(&source);
        } else if program == "mke2fs" {
            std::fs::File::create_new(&image).unwrap().set_len(512 << 10).unwrap();
            command
                .args(["-q", "-F", "-b", "1024", "-N", "96"])
                .args(*options)
                .arg("-d")
                .arg(&source)
                .arg(&image);
        } else {
            command.arg(&source).arg(&image).args(["-quiet", "-no-progress", "-nopad"]).args(*options);
        }
        let output = command.env("PATH", &path).output();
        let output = output.unwrap_or_else(|error| panic!("{program} cannot be run ({error})"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        let bytes = std::fs::read(&image).unwrap();
        std::fs::remove_file(&image).unwrap();
        bytes
    };
    options.iter().map(make).collect()
}

#[test]
fn damaged_erofs_images_are_read_or_refused() {
    let options: &[&[&str]] =
        &[&[], &["-x1", "--chunksize=4096"], &["-zlz4"], &["-zlz4hc", "-Efragments,dedupe", "-C65536"]];
    let images: Vec<_> = images("mkfs.erofs", options).into_iter().map(without_checksum).collect();
    mutate(&images, FsType::Erofs);
}

#[test]
fn damaged_squashfs_images_are_read_or_refused() {
    let options: &[&[&str]] = &[
        &["-comp", "gzip"],
        &["-comp", "xz"],
        &["-comp", "lz4", "-b", "4096"],
        &["-comp", "zstd", "-no-fragments"],
        &["-noI", "-noD", "-noF", "-noX"],
    ];
    mutate(&images("mksquashfs", options), FsType::Squashfs);
}

/// Without the superblock's checksum and that of everything else, as above.
#[test]
fn damaged_ext4_images_are_read_or_refused() {
    let options: &[&[&str]] = &[
        &["-t", "ext4", "-O", "^metadata_csum,^has_journal"],
        &["-t", "ext4", "-O", "^metadata_csum,^has_journal,inline_data,^64bit"],
        &["-t", "ext2", "-O", "^metadata_csum"],
    ];
    mutate(&images("mke2fs", options), FsType::Ext4);
}
