//! What the fuzz targets check: one short function for each public parser; ordinary tests replay the corpus through them.
//!
//! Each asserts that nothing panics (by running), that what is printed parses to the same value, and that limits hold.

use confext_ddi::image::{self, Image};
use confext_ddi::policy::Policy;
use confext_ddi::release::{Class, Release};
use confext_ddi::vpick::{
    self, Accept, ArchitectureRule, Entry, EntryKind, Filter, TriesRule, VersionedImage,
};
use confext_ddi::{Limits, dps, fs, fstype, gpt, signature, verity, version};

/// A target: the name of its corpus directory and the function it runs.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: &[Target] = &[
    ("gpt", gpt),
    ("image", image),
    ("verity_superblock", verity_superblock),
    ("signature_json", signature_json),
    ("pkcs7", pkcs7),
    ("policy", policy),
    ("release", release),
    ("version", version),
    ("vpick", vpick),
    ("erofs", erofs),
    ("squashfs", squashfs),
];

/// Caps low enough that reaching one is cheap.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.entries = 2_000;
    limits.file_bytes = 1 << 20;
    limits.image_bytes = 16 << 20;
    limits
}

/// A partition table: entries lie inside the image, in order of number, and do not overlap.
pub fn gpt(bytes: &[u8]) {
    let Ok(Some(table)) = gpt::Table::read(bytes, &limits()) else { return };
    let size = u64::try_from(bytes.len()).expect("a slice's length fits 64 bits");
    for (at, partition) in table.partitions.iter().enumerate() {
        assert!(partition.range.end() <= size && !partition.range.is_empty());
        for other in &table.partitions[at + 1..] {
            assert!(!partition.range.overlaps(other.range));
            assert!(partition.number < other.number);
        }
    }
}

/// A whole image: opening, judging by the weakest policy, and reading what it admits.
pub fn image(bytes: &[u8]) {
    let options = image::Options::default().limits(limits()).architecture(dps::Architecture::X86_64);
    let Ok(image) = Image::open(bytes, &options) else { return };
    let weakest = Policy::unprotected();
    let Ok(admitted) = weakest.judge(image, None) else { return };
    if let Ok(files) = admitted.file_system(&limits()) {
        read_files(&*files);
    }
}

/// A verity superblock: what is accepted prints to bytes that mean the same.
pub fn verity_superblock(bytes: &[u8]) {
    let Ok(superblock) = verity::Superblock::parse(bytes, &limits()) else { return };
    let again = verity::Superblock::parse(&superblock.to_bytes(), &limits()).expect("what is printed parses");
    assert_eq!(again, superblock);
    if let Ok(geometry) = verity::Geometry::new(&superblock) {
        assert!(geometry.levels().len() < 64);
    }
}

/// The JSON of a signature partition.
pub fn signature_json(bytes: &[u8]) {
    let Ok(json) = signature::Json::parse(bytes, &limits()) else { return };
    let again = signature::Json::parse(&json.to_bytes(), &limits()).expect("what is printed parses");
    assert_eq!(again, json);
}

/// The shape of a PKCS#7 signature.
pub fn pkcs7(bytes: &[u8]) {
    let _ = signature::SignedData::parse(bytes);
}

/// An image policy: what is printed means the same, and intersecting with itself changes nothing.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    let again = Policy::parse(&policy.to_string()).expect("what is printed parses");
    assert_eq!(again, policy);
    if let Ok(same) = policy.intersect(&policy) {
        assert_eq!(same.intersect(&policy).expect("it did before"), same);
    }
}

/// An `os-release` file.
pub fn release(bytes: &[u8]) {
    let Ok(release) = Release::parse(bytes, &limits()) else { return };
    for (key, value) in release.iter() {
        assert!(!key.is_empty());
        assert_eq!(release.get(key), Some(value));
    }
}

/// Two versions, split at the first newline: comparing them the other way round gives the other answer.
pub fn version(bytes: &[u8]) {
    let at = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (a, b) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    assert_eq!(version::compare(a, b), version::compare(b, a).reverse());
    assert!(version::compare(a, a).is_eq());
}

/// A `.v/` directory: the first line is its name, the others its entries. The order of entries does not matter.
pub fn vpick(bytes: &[u8]) {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let name = lines.next().unwrap_or_default();
    let native = ArchitectureRule::Host { native: dps::Architecture::X86_64, secondary: None };
    let filter = match VersionedImage::parse(name, Class::Confext, native) {
        Some(image) => image.filter,
        None => Filter::new(name, b".raw", Accept::Any).architecture(native).tries(TriesRule::Honoured),
    };
    let entries: Vec<_> = lines.take(100).map(|line| Entry::new(line, EntryKind::Regular)).collect();
    let choice = vpick::choose(entries.iter().cloned(), std::slice::from_ref(&filter));
    let backwards = vpick::choose(entries.iter().rev().cloned(), &[filter]);
    assert_eq!(choice.chosen, backwards.chosen);
    let taken = usize::from(choice.chosen.is_some());
    assert_eq!(taken + choice.outranked.len() + choice.rejected.len(), entries.len());
}

/// An EROFS image: everything is listed and read.
pub fn erofs(bytes: &[u8]) {
    if let Ok(files) = fs::open(bytes, fstype::FsType::Erofs, &limits()) {
        read_files(&*files);
    }
}

/// A squashfs image: everything is listed and read.
pub fn squashfs(bytes: &[u8]) {
    if let Ok(files) = fs::open(bytes, fstype::FsType::Squashfs, &limits()) {
        read_files(&*files);
    }
}

fn read_files(files: &dyn fs::FileSystem) {
    let Ok(walk) = fs::walk(files, b"", &limits()) else { return };
    let mut budget: u64 = 8 << 20;
    for (path, meta) in walk.filter_map(Result::ok).take(500) {
        assert!(!path.is_empty() && !path.contains(&0));
        let _ = files.xattrs(&path);
        match meta.file_type {
            fs::FileType::Symlink => drop(files.read_link(&path)),
            fs::FileType::Regular if meta.size_bytes <= budget => {
                if let Ok(content) = files.read(&path) {
                    let len = u64::try_from(content.len()).expect("a length fits 64 bits");
                    assert_eq!(len, meta.size_bytes);
                    budget -= len;
                }
            }
            _ => {}
        }
        let _ = fs::resolve(files, &path, &limits());
    }
}
