//! What the fuzz targets check: one short function for each public parser; ordinary tests replay the corpus through them.
//!
//! Each asserts that nothing panics (by running), that what is printed parses to the same value, and that limits hold.

// Tests compile this file as a part of themselves: the paths are the same from there.
#[path = "targets/bare.rs"]
mod bare;
#[path = "targets/build_rules.rs"]
mod build_rules;
#[path = "targets/fec.rs"]
mod fec;
#[path = "targets/gpt_differential.rs"]
mod gpt_differential;
#[path = "targets/hash_tree.rs"]
mod hash_tree;
#[path = "targets/naive_version.rs"]
mod naive_version;
#[path = "targets/texts.rs"]
mod texts;
#[path = "targets/unit.rs"]
mod unit;
#[path = "targets/whole.rs"]
mod whole;

use confext_ddi::build::{self, Meta, TarOptions, Timestamp, Tree, Whiteouts};
use confext_ddi::filter::Filter as ImageFilter;
use confext_ddi::image::{self, Image};
use confext_ddi::policy::{KeyRules, Policy, Protection, Rule, Use};
use confext_ddi::read::{ReadAt as _, read_vec};
use confext_ddi::release::{Class, Host, Release, Scope};
use confext_ddi::settings::Settings;
use confext_ddi::sidecar::{self, Kind, Sidecars};
use confext_ddi::signature::{Fingerprint, Signer, TrustSource, Verifier};
use confext_ddi::vpick::{
    self, Accept, ArchitectureRule, Entry, EntryKind, Filter, TriesRule, VersionedImage,
};
use confext_ddi::{Limits, Result, RootHash, dps, fs, fstype, gpt, signature, verity, version};

pub use bare::bare;
pub use build_rules::build_rules;
pub use fec::fec;
pub use gpt_differential::{agree, gpt_differential};
pub use hash_tree::hash_tree;
pub use naive_version::compare as naive_compare;
pub use texts::{certificate, fstype, manifest, text};
pub use unit::unit;
pub use whole::{run as program, whole_image};

/// A target: the name of its corpus directory and the function it runs.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: &[Target] = &[
    ("gpt", gpt),
    ("image", image),
    ("verity_superblock", verity_superblock),
    ("verity_reader", verity_reader),
    ("signature_json", signature_json),
    ("pkcs7", pkcs7),
    ("policy", policy),
    ("key_rules", key_rules),
    ("settings", settings),
    ("unit", unit),
    ("image_filter", image_filter),
    ("release", release),
    ("version", version),
    ("vpick", vpick),
    ("sidecar", sidecar),
    ("erofs", erofs),
    ("squashfs", squashfs),
    ("ext4", ext4),
    ("vfat", vfat),
    ("tar", tar),
    ("whole_image", whole_image),
    ("gpt_differential", gpt_differential),
    ("fec", fec),
    ("fstype", fstype),
    ("text", text),
    ("certificate", certificate),
    ("manifest", manifest),
    ("hash_tree", hash_tree),
    ("build_rules", build_rules),
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

/// A verifier that takes every signature of the right shape, so that what is behind it is reached.
struct Anybody;

impl Verifier for Anybody {
    fn verify(&self, _: &RootHash, signature_der: &[u8]) -> Result<Signer> {
        signature::SignedData::parse(signature_der)?;
        let fingerprint = Fingerprint::from_bytes([0; 32]);
        Ok(Signer {
            subject: "anybody".to_owned(),
            fingerprint: Some(fingerprint),
            not_before: Some(0),
            not_after: Some(i64::MAX),
            source: TrustSource::Caller,
        })
    }
}

/// A whole image: opening, judging by every policy, and reading what they admit. No policy admits an image with less
/// protection than it asks for, and nothing counts as signed without a verifier.
pub fn image(bytes: &[u8]) {
    let options = image::Options::default().limits(limits()).architecture(dps::Architecture::X86_64);
    let policies = [
        (Policy::signed(), Protection::Signed),
        (Policy::verity(), Protection::Verity),
        (Policy::unprotected(), Protection::None),
    ];
    for verifier in [None, Some(&Anybody as &dyn Verifier)] {
        let mut weaker_must_admit = false;
        for (policy, least) in &policies {
            let Ok(image) = Image::open(bytes, &options) else { return };
            let Ok(admitted) = policy.judge(image, verifier) else {
                assert!(!weaker_must_admit, "a policy that asks for less admits less");
                continue;
            };
            weaker_must_admit = true;
            let protection = admitted.evidence().protection();
            assert!(protection >= *least);
            assert!(protection < Protection::Signed || verifier.is_some());
            assert_eq!(admitted.evidence().signer().is_some(), protection == Protection::Signed);
            if let Some(files) = kept(admitted.file_system(&limits())) {
                read_files(&*files);
            }
        }
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

/// A superblock before a tree that is right for the data: what is read is the data, or nothing.
///
/// The input is 512 bytes of superblock, then up to 132 blocks of data in short: each byte stands for a block of it.
pub fn verity_reader(bytes: &[u8]) {
    let Some((superblock, data)) = bytes.split_at_checked(verity::Superblock::BYTES) else { return };
    // The reader refuses what does not parse in the same way; its salt is kept, so that a changed one is not the end.
    let Ok(parsed) = verity::Superblock::parse(superblock, &limits()) else { return };
    let data: Vec<u8> = data.iter().take(132).flat_map(|byte| [*byte; 4096]).collect();
    let blocks = u64::try_from(data.len() / 4096).expect("a slice's length fits 64 bits");
    let right = verity::Superblock::new(confext_ddi::id::Uuid::from_bytes([2; 16]), blocks, parsed.salt);
    let Ok(tree) = verity::build(&data, &right) else { return };
    let mut area = tree.bytes;
    area[..superblock.len()].copy_from_slice(superblock);
    let Ok(reader) = verity::Reader::new(&data[..], &area[..], tree.root_hash, &limits()) else { return };
    let mut copied = Vec::new();
    let sink = |block: &[u8]| {
        copied.extend_from_slice(block);
        Ok(())
    };
    let checked = verity::copy_verified(&reader, sink, |_| std::ops::ControlFlow::Continue(()));
    assert!(data.starts_with(&copied));
    if checked.is_ok() {
        assert_eq!(copied.len(), data.len(), "the root hash pins the number of blocks");
    }
}

/// The JSON of a signature partition.
pub fn signature_json(bytes: &[u8]) {
    let Ok(json) = signature::Json::parse(bytes, &limits()) else { return };
    let again = signature::Json::parse(&json.to_bytes(), &limits()).expect("what is printed parses");
    assert_eq!(again, json);
}

/// The shape of a PKCS#7 signature: what is accepted has a signer and a signature, is strict about its end, and means
/// the same when it is written again.
pub fn pkcs7(bytes: &[u8]) {
    let Ok(parsed) = signature::SignedData::parse(bytes) else { return };
    assert!(signature::SignedData::is_message(bytes));
    let written = parsed.to_der(&[]);
    assert_eq!(signature::SignedData::parse(&written).expect("what is written parses"), parsed);
    assert!(bytes.len() <= signature::SignedData::MAX_BYTES);
    assert!(!parsed.signature.is_empty() && !parsed.issuer_der.is_empty() && !parsed.serial.is_empty());
    // One message and nothing else: neither a byte more nor a byte less is the same signature.
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    assert!(signature::SignedData::parse(&longer).is_err());
    assert!(signature::SignedData::parse(&bytes[..bytes.len() - 1]).is_err());
}

/// An image policy: what is printed means the same, the shortest form as well; against itself and against everything it
/// stays what it is.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    let again = Policy::parse(&policy.to_string()).expect("what is printed parses");
    assert_eq!(again, policy);
    let short = policy.simplify();
    assert!(short.is_equivalent(&policy) && policy.is_as_strict_as(&short) && short.is_as_strict_as(&policy));
    assert_eq!(short.simplify(), short);
    // Without the word `signed`: with it, a signature that does not check is refused.
    let everything = Policy::otherwise(
        Use::ALL.into_iter().filter(|used| *used != Use::Signed).fold(Rule::ignore(), Rule::or),
    );
    assert!(policy.is_as_strict_as(&everything) && policy.is_as_strict_as(&policy.union(&short)));
    if let Ok(same) = policy.intersect(&everything) {
        assert!(same.is_as_strict_as(&policy) && policy.is_as_strict_as(&same));
        assert_eq!(same.intersect(&same).expect("it did before"), same);
    }
}

/// Rules for keys: what is printed means the same, and no more than the lines that are there.
pub fn key_rules(bytes: &[u8]) {
    let Ok(rules) = KeyRules::parse(bytes, &limits()) else { return };
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(rules.len() <= lines);
    let again =
        KeyRules::parse(rules.to_string().as_bytes(), &Limits::default()).expect("what is printed parses");
    assert_eq!(again, rules);
}

/// A configuration file: what it says is said by a file with nothing else in it, and only to the class it is for.
pub fn settings(bytes: &[u8]) {
    let [own, other] = [Class::Confext, Class::Sysext].map(|class| {
        let mut settings = Settings::default();
        settings.read(bytes, class, "f").map(|()| settings)
    });
    if let (Ok(own), Ok(other)) = (&own, &other) {
        assert_eq!((own, other), (&Settings::default(), &Settings::default()));
    }
    let Ok(read) = own else { return };
    let mut text = format!("[{}]\n", confext_ddi::settings::section(Class::Confext));
    if let Some(setting) = &read.mutability {
        text.push_str(&format!("Mutable={}\n", setting.value));
    }
    if let Some(setting) = &read.policy {
        text.push_str(&format!("ImagePolicy={}\n", setting.value));
    }
    let mut again = Settings::default();
    again.read(text.as_bytes(), Class::Confext, "g").expect("what is printed parses");
    assert_eq!(again.mutability.map(|setting| setting.value), read.mutability.map(|setting| setting.value));
    assert_eq!(again.policy.map(|setting| setting.value), read.policy.map(|setting| setting.value));
}

/// An image filter: what is printed means the same, also for the labels in the text itself.
pub fn image_filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(filter) = ImageFilter::parse(text) else { return };
    let again = ImageFilter::parse(&filter.to_string()).expect("what is printed parses");
    assert_eq!(again, filter);
    for designator in dps::Designator::ALL {
        let labels = text.split([':', '=']).take(8).map(|label| label.get(..72).unwrap_or(label));
        for label in labels.chain([""]) {
            assert_eq!(filter.admits(designator, label), again.admits(designator, label));
            assert!(filter.admits(designator, label) || filter.pattern(designator).is_some());
        }
    }
}

/// An `os-release` file.
pub fn release(bytes: &[u8]) {
    let Ok(release) = Release::parse(bytes, &limits()) else { return };
    for (key, value) in release.iter() {
        assert!(!key.is_empty());
        assert_eq!(release.get(key), Some(value));
    }
    // As its own host, and on another one.
    let other = Release::parse(b"ID=debian\nVERSION_ID=13\n", &limits()).expect("a release file");
    for os_release in [release.clone(), other] {
        let Ok(host) = Host::new(os_release, dps::Architecture::X86_64, Scope::System) else { continue };
        for class in [Class::Sysext, Class::Confext] {
            let _ = host.admits(&release, class);
        }
    }
}

/// Two versions, split at the first newline: comparing them the other way round gives the other answer, and a second
/// implementation the same.
pub fn version(bytes: &[u8]) {
    let at = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (a, b) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    assert_eq!(version::compare(a, b), version::compare(b, a).reverse());
    assert!(version::compare(a, a).is_eq());
    assert_eq!(version::compare(a, b), naive_compare(a, b));
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

/// Names beside an image, and what is in its sidecars: the first line is the image's name, the second the names beside
/// it, with slashes between them, the third the root hash; the rest is hash tree and signature. What is admitted was
/// checked against that root hash, and reads as it is.
pub fn sidecar(bytes: &[u8]) {
    let mut lines = bytes.splitn(4, |&byte| byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (name, names, hash, rest) = (line(), line(), line(), line());
    let names: Vec<&[u8]> = names.split(|&byte| byte == b'/').take(100).collect();
    let right: Vec<Vec<u8>> = Kind::ALL.iter().filter_map(|kind| kind.file_name(name)).collect();
    for near in sidecar::near_misses(name, &names) {
        assert!(names.iter().any(|name| String::from_utf8_lossy(name) == near.found));
        assert!(right.iter().any(|name| String::from_utf8_lossy(name) == near.expected));
        assert!(near.found != near.expected);
    }
    let data = bare();
    let options = image::Options::default().limits(limits()).architecture(dps::Architecture::X86_64);
    for kinds in [[Kind::RootHash, Kind::RootHashSignature], [Kind::UsrHashAttribute, Kind::UsrHashSignature]]
    {
        for signed in [false, true] {
            let mut sidecars = Sidecars::of(name);
            let Ok(()) = sidecars.add_bytes(kinds[0], hash, &limits()) else { return };
            if signed && sidecars.add_bytes(kinds[1], rest, &limits()).is_err() {
                continue;
            }
            sidecars.add_tree(rest);
            let Ok(mut image) = Image::open_with(&data[..], sidecars, &options) else { return };
            image.note_neighbours(&names);
            let misnamed = !image.sidecars().near_misses.is_empty();
            let policy = if signed { Policy::signed() } else { Policy::verity() };
            let Ok(admitted) = policy.judge(image, Some(&Anybody)) else { continue };
            assert!(!misnamed);
            assert_eq!(admitted.evidence().signer().is_some(), signed);
            let root_hash = admitted.root_hash().expect("checked against a root hash").to_hex();
            assert!(hash.to_ascii_lowercase().starts_with(root_hash.as_bytes()));
            let size = usize::try_from(admitted.data().size_bytes().expect("in memory")).expect("small");
            if let Ok(read) = read_vec(admitted.data(), 0, size) {
                assert!(data.starts_with(&read));
            }
        }
    }
}

/// An EROFS image: everything is listed and read.
pub fn erofs(bytes: &[u8]) {
    if let Some(files) = kept(fs::open(bytes, fstype::FsType::Erofs, &limits())) {
        read_files(&*files);
    }
}

/// A squashfs image: everything is listed and read.
pub fn squashfs(bytes: &[u8]) {
    if let Some(files) = kept(fs::open(bytes, fstype::FsType::Squashfs, &limits())) {
        read_files(&*files);
    }
}

/// An ext4 image: everything is listed and read.
pub fn ext4(bytes: &[u8]) {
    if let Some(files) = kept(fs::open(bytes, fstype::FsType::Ext4, &limits())) {
        read_files(&*files);
    }
}

/// A vfat image: everything is listed and read, and what of it our writer takes is read back the same. The input is its
/// start; what it does not have is zero, because most of a volume with 16 or 32 bits is.
pub fn vfat(bytes: &[u8]) {
    const BYTES: usize = 4 << 20;
    let mut volume = bytes[..bytes.len().min(BYTES)].to_vec();
    volume.resize(BYTES, 0);
    let Some(files) = kept(fs::open(volume, fstype::FsType::Vfat, &limits())) else { return };
    read_files(&*files);
    let list = |files: &dyn fs::FileSystem| -> Result<Vec<_>> {
        let mut budget: u64 = 1 << 20;
        let entry = |entry: Result<(Vec<u8>, fs::Metadata)>| {
            let (path, meta) = entry?;
            let is_small = meta.file_type == fs::FileType::Regular && meta.size_bytes <= budget;
            budget -= if is_small { meta.size_bytes } else { 0 };
            let content = if is_small { files.read(&path)? } else { Vec::new() };
            Ok((path, meta.file_type, meta.mtime_sec, content))
        };
        fs::walk(files, b"", &limits())?.map(entry).collect()
    };
    let Ok(entries) = list(&*files) else { return };
    let mut tree = Tree::new();
    for (path, file_type, mtime, content) in &entries {
        let meta = Meta::new(0o644).mtime(Timestamp::from_seconds(*mtime));
        let added = match file_type {
            fs::FileType::Directory => tree.add_dir(path, meta),
            _ => tree.add_file(path, content.clone(), meta),
        };
        if added.is_err() {
            return;
        }
    }
    let mut written = Vec::new();
    // Names that are no names in Windows are read and not written.
    if build::vfat::write(&tree, &build::vfat::Options::default(), &mut written).is_ok() {
        let again = fs::open(written, fstype::FsType::Vfat, &limits()).expect("what is written is read");
        assert_eq!(list(&*again).expect("what is written is read"), entries);
    }
}

/// A tar archive, as it is and with the checksums of its headers made right: what is taken from it is what is read back
/// from the file system it becomes, and no entry is outside of it.
pub fn tar(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    for block in sealed.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    for bytes in [bytes.to_vec(), sealed] {
        for whiteouts in [Whiteouts::Refuse, Whiteouts::Overlay] {
            let mut options = TarOptions::default();
            options.limits = limits();
            options.whiteouts = whiteouts;
            let Ok(tree) = Tree::from_tar(bytes.clone(), &options) else { continue };
            assert!(tree.len() <= bytes.len());
            let files = tree.files(&limits());
            read_files(&files);
            let mut image = Vec::new();
            if build::erofs::write(&tree, &build::erofs::Options::default(), &mut image).is_err() {
                continue;
            }
            assert!(image.len() <= 16 * bytes.len() + (1 << 20), "{} of {}", image.len(), bytes.len());
            let image = fs::open(image, fstype::FsType::Erofs, &limits()).expect("what is written is read");
            let list = |files: &dyn fs::FileSystem| -> Vec<_> {
                let walk = fs::walk(files, b"", &limits()).expect("the root is a directory");
                let entry = |entry: Result<(Vec<u8>, fs::Metadata)>| {
                    entry.map(|(path, meta)| {
                        (path, meta.file_type, meta.mode, meta.uid, meta.nlink, meta.rdev)
                    })
                };
                walk.map(|item| entry(item).map_err(|error| error.code())).collect()
            };
            assert_eq!(list(&files), list(image.as_ref()));
        }
    }
}

/// A decoder that panicked behind its guard is a fault, too.
fn kept<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(|error| assert_ne!(error.code(), "reader-failed", "{error}")).ok()
}

fn read_files(files: &dyn fs::FileSystem) {
    let Some(walk) = kept(fs::walk(files, b"", &limits())) else { return };
    let mut budget: u64 = 8 << 20;
    for (path, meta) in walk.filter_map(kept).take(500) {
        assert!(!path.is_empty() && !path.contains(&0));
        let _ = kept(files.xattrs(&path));
        match meta.file_type {
            fs::FileType::Symlink => drop(kept(files.read_link(&path))),
            fs::FileType::Regular if meta.size_bytes <= budget => {
                if let Some(content) = kept(files.read(&path)) {
                    let len = u64::try_from(content.len()).expect("a length fits 64 bits");
                    assert_eq!(len, meta.size_bytes);
                    budget -= len;
                }
            }
            _ => {}
        }
        let _ = kept(fs::resolve(files, &path, &limits()));
    }
}
