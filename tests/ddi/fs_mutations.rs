//! The images of the fuzzing corpus with random damage: every file is read or refused, in bounded memory and a bounded number of reads.

use confext_ddi::fs::{self, FileType};
use confext_ddi::fstype::FsType;
use confext_ddi::{Limits, ReadAt, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

const ROUNDS: usize = 20_000;

/// Far below what an unchecked size of 32 bits would take.
const MEMORY_BYTES: u64 = 1 << 30;

/// More reads than any walk of the sample takes; a loop takes more.
const MOST_READS: u32 = 100_000;

struct Counted<'a> {
    bytes: &'a [u8],
    /// What is not among the bytes, up to this, is zero.
    size_bytes: u64,
    reads: AtomicU32,
}

impl ReadAt for Counted<'_> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        assert!(reads < MOST_READS, "the reader goes round and round");
        let rest = usize::try_from(offset).ok().and_then(|start| self.bytes.get(start..)).unwrap_or_default();
        if rest.len() >= buf.len() || offset.saturating_add(buf.len() as u64) > self.size_bytes {
            return self.bytes.read_exact_at(offset, buf);
        }
        buf.fill(0);
        buf[..rest.len()].copy_from_slice(rest);
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(self.size_bytes)
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
fn read_everything(image: &[u8], size_bytes: u64, fs_type: FsType) -> Vec<&'static str> {
    let mut limits = Limits::default();
    (limits.entries, limits.file_bytes, limits.depth) = (10_000, 1 << 20, 64);
    let counted = Counted { bytes: image, size_bytes, reads: AtomicU32::new(0) };
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

/// Seeds of vfat end where only zeros follow.
const fn size(image: &[u8], fs_type: FsType) -> u64 {
    if matches!(fs_type, FsType::Vfat) { 4 << 20 } else { image.len() as u64 }
}

fn mutate(images: &[Vec<u8>], fs_type: FsType) {
    let all = Rlimit { current: Some(MEMORY_BYTES), ..getrlimit(Resource::As) };
    setrlimit(Resource::As, all).unwrap();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for image in images {
        assert_eq!(read_everything(image, size(image, fs_type), fs_type), [""; 0], "the sample itself");
    }
    for round in 0..ROUNDS {
        let mut image = images[round % images.len()].clone();
        let mut size_bytes = size(&image, fs_type);
        damage(&mut image, &mut random);
        if random.below(8) == 0 {
            image.truncate(random.below(image.len()));
            size_bytes = image.len() as u64;
        }
        for code in read_everything(&image, size_bytes, fs_type) {
            *codes.entry(code).or_default() += 1;
        }
    }
    for expected in ["out-of-bounds", "file-system", "file-system-feature"] {
        assert!(codes.contains_key(expected), "no damage led to {expected}: {codes:?}");
    }
    assert!(!codes.contains_key("reader-failed"), "a decoder panicked: {codes:?}");
    assert!(!codes.contains_key("io"), "an error lost its kind: {codes:?}");
}

/// The seeds of a fuzz target: every layout that other programs write, and our own.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("regression-"));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn damaged_erofs_images_are_read_or_refused() {
    let images: Vec<_> = corpus("erofs").into_iter().map(without_checksum).collect();
    mutate(&images, FsType::Erofs);
}

#[test]
fn damaged_squashfs_images_are_read_or_refused() {
    mutate(&corpus("squashfs"), FsType::Squashfs);
}

#[test]
fn damaged_ext4_images_are_read_or_refused() {
    mutate(&corpus("ext4"), FsType::Ext4);
}

#[test]
fn damaged_vfat_images_are_read_or_refused() {
    mutate(&corpus("vfat"), FsType::Vfat);
}
