//! A whole image, changed by a program and made consistent again, so that what is behind checksums and hashes is reached.
//!
//! The input is a byte of options and changes of it: an area, a place in it (two bytes), a number of bytes from 1 to 8,
//! and these bytes. After changes to the data the hash tree is built anew with the parameters that the superblock then
//! has; root hash, signature partition, identifiers and checksums follow, unless an option leaves them as they were.

use super::{Anybody, kept, limits, read_files};
use crate::reseal::reseal;
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::fs::{self, FileSystem};
use confext_ddi::image::{Image, Options};
use confext_ddi::policy::Policy;
use confext_ddi::read::ReadAt as _;
use confext_ddi::release::Class;
use confext_ddi::signature::{Fingerprint, Json, Sign};
use confext_ddi::verity::{Superblock, build};
use confext_ddi::{Result, RootHash, dps};
use std::io::Cursor;
use std::ops::Range;
use std::sync::LazyLock;

/// An image and where its parts are: data, hash area, and signature if there is one.
struct Base {
    image: Vec<u8>,
    parts: Vec<Range<usize>>,
}

/// A signer whose signatures nobody checks.
struct Stamp;

impl Sign for Stamp {
    fn sign(&self, _: &RootHash) -> Result<Vec<u8>> {
        Ok(include_bytes!("../../corpus/pkcs7/without-certificate").to_vec())
    }

    fn certificate_fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes([1; 32])
    }
}

/// Signed and unsigned, each with one block of data and with several.
static BASES: LazyLock<Vec<Base>> = LazyLock::new(|| {
    let bases = [(true, false), (true, true), (false, false), (false, true)];
    bases.into_iter().map(|(signed, large)| base(signed, large)).collect()
});

fn base(signed: bool, large: bool) -> Base {
    let mut tree = Tree::new();
    let added = tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644));
    added.expect("a path");
    if large {
        let content: Vec<u8> = (0..9000_u32).map(|at| at.to_le_bytes()[0]).collect();
        tree.add_file("etc/app.d/large", content, Meta::new(0o600)).expect("a path");
        tree.add_symlink("etc/link", "app.d/large", Meta::new(0o777)).expect("a path");
        tree.set_xattr("etc/app.conf", "user.origin", "test").expect("an attribute");
    }
    let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
    let builder = builder.architecture(dps::Architecture::X86_64).source_date_epoch(0);
    let seed = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709".parse().expect("a UUID");
    let builder = if signed { builder.seed(seed) } else { builder.seed(seed).unsigned() };
    let mut out = Cursor::new(Vec::new());
    let signer = signed.then_some(&Stamp as &dyn Sign);
    let built = builder.build(&mut out, signer).expect("everything fits");
    let place = |at: u64| usize::try_from(at).expect("a small image");
    let parts = built.partitions.iter().map(|part| place(part.range.start())..place(part.range.end()));
    let mut base = Base { parts: parts.collect(), image: out.into_inner() };
    // The file system's own checksum would end every change to its superblock.
    let flags = base.parts[0].start + 1032;
    base.image[flags] &= !1;
    base.follow(Follow::ALL);
    base
}

/// What is made to fit after the data was changed.
#[derive(Clone, Copy)]
struct Follow {
    tree: bool,
    signature: bool,
    identifiers: bool,
}

impl Follow {
    const ALL: Self = Self { tree: true, signature: true, identifiers: true };
}

impl Base {
    /// Builds the tree anew and has everything that names its root hash follow.
    fn follow(&mut self, follow: Follow) {
        let (data, hash) = (self.parts[0].clone(), self.parts[1].clone());
        let Ok(superblock) = Superblock::parse(&self.image[hash.clone()], &limits()) else { return };
        if !follow.tree {
            return;
        }
        let Ok(tree) = build(&self.image[data], &superblock) else { return };
        let Some(area) = self.image[hash].get_mut(Superblock::BYTES..tree.bytes.len()) else { return };
        area.copy_from_slice(&tree.bytes[Superblock::BYTES..]);
        if let Some(range) = self.parts.get(2).filter(|_| follow.signature) {
            let place = &mut self.image[range.clone()];
            let mut json = Json::parse(place, &limits()).expect("nothing changed it yet");
            json.root_hash = tree.root_hash;
            let text = json.to_bytes();
            place.fill(0);
            place[..text.len()].copy_from_slice(&text);
        }
        if follow.identifiers {
            self.identify(&tree.root_hash);
        }
    }

    /// Both halves of the root hash as the identifiers of data and hash partition, in both copies of the table.
    fn identify(&mut self, root_hash: &RootHash) {
        let halves = root_hash.as_bytes();
        for entries in [1024, self.image.len() - 33 * 512] {
            for (at, half) in [&halves[..16], &halves[16..32]].into_iter().enumerate() {
                let mut id: [u8; 16] = half.try_into().expect("half a digest");
                // The first three fields of a GUID are little-endian.
                id[..4].reverse();
                id[4..6].reverse();
                id[6..8].reverse();
                self.image[entries + 128 * at + 16..][..16].copy_from_slice(&id);
            }
        }
    }

    /// The bytes that a number stands for, and whether the tree is built after they are changed.
    fn area(&self, number: u8) -> (Range<usize>, bool) {
        let (data, hash) = (self.parts[0].clone(), self.parts[1].clone());
        let backup = self.image.len() - 512;
        match number % 9 {
            0 => (512..604, false),
            1 => (1024..1024 + 4 * 128, false),
            2 => (backup..backup + 92, false),
            // Superblock and first inodes of the file system, then all of it.
            3 => (data.start + 1024..data.start + 1536, true),
            4 => (data, true),
            5 => (hash.start..hash.start + 512, true),
            6 => (hash.start + 512..hash.end, false),
            7 => (self.parts.get(2).cloned().unwrap_or(hash), false),
            _ => (0..512, false),
        }
    }
}

/// What a program does: the image that comes of it, and whether anything was changed.
pub fn run(program: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (options, mut rest) = program.split_first()?;
    let base = &BASES[usize::from(options & 3)];
    let mut work = Base { image: base.image.clone(), parts: base.parts.clone() };
    let follow = Follow {
        tree: options & 0x10 == 0,
        signature: options & 0x20 == 0,
        identifiers: options & 0x40 == 0,
    };
    let (mut before, mut after) = (Vec::new(), Vec::new());
    while let [area, low, high, len, more @ ..] = rest {
        let len = usize::from(len % 8) + 1;
        let Some((bytes, more)) = more.split_at_checked(len) else { break };
        let (range, tree_follows) = work.area(*area);
        let at = range.start + usize::from(u16::from_le_bytes([*low, *high])) % range.len();
        let change = (at, &bytes[..len.min(range.end - at)]);
        if tree_follows {
            before.push(change)
        } else {
            after.push(change)
        }
        rest = more;
    }
    let changed = !before.is_empty() || !after.is_empty() || options & 0x80 != 0;
    for (at, bytes) in before {
        work.image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    if changed {
        work.follow(follow);
    }
    for (at, bytes) in after {
        work.image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    if options & 0x80 == 0 {
        reseal(&mut work.image);
    }
    Some((work.image, changed))
}

/// The target: everything that `image` asserts; what is read through the tree is what is in the data; and the root hash
/// that counts is the hash of that data, worked out without the reader.
pub fn whole_image(program: &[u8]) {
    let Some((image, changed)) = run(program) else { return };
    super::image(&image);
    let options = Options::default().limits(limits()).architecture(dps::Architecture::X86_64);
    let admitted = Image::open(&image[..], &options).and_then(|opened| {
        let (data, hash) = (opened.data().range, opened.hash().map(|hash| hash.range));
        Policy::verity().judge(opened, Some(&Anybody)).map(|admitted| (admitted, data, hash))
    });
    let (admitted, data, hash) = match admitted {
        Ok(admitted) => admitted,
        Err(error) => return assert!(changed, "refused as it was built: {error}"),
    };
    let part = |range: confext_ddi::units::ByteRange| {
        let place = |at: u64| usize::try_from(at).expect("inside of the image");
        &image[place(range.start())..place(range.end())]
    };
    let (data, hash) = (part(data), part(hash.expect("the policy asks for a tree")));
    let size =
        usize::try_from(admitted.data().size_bytes().expect("memory has a size")).expect("a small image");
    let mut read = vec![0; size];
    if admitted.data().read_exact_at(0, &mut read).is_ok() {
        assert!(read == data[..size], "the tree vouches for other data");
        let superblock = Superblock::parse(hash, &limits()).expect("the reader took it");
        let tree = build(data, &superblock).expect("memory can be read");
        assert_eq!(admitted.evidence().root_hash(), Some(&tree.root_hash));
    }
    let Some(checked) = kept(admitted.file_system(&limits())) else { return };
    read_files(&*checked);
    let Some(found) = admitted_type(&read) else { return };
    if let Some(plain) = kept(fs::open(&data[..size], found, &limits())) {
        same_names(&*checked, &*plain);
    }
}

fn admitted_type(data: &[u8]) -> Option<confext_ddi::fstype::FsType> {
    confext_ddi::fstype::probe(data).ok()?.map(|found| found.fs_type)
}

/// Whatever the checked view lists, the plain one has just so.
fn same_names(checked: &dyn FileSystem, plain: &dyn FileSystem) {
    let Some(walk) = kept(fs::walk(checked, b"", &limits())) else { return };
    for (path, meta) in walk.filter_map(kept).take(100) {
        let same = plain.stat(&path).expect("the same bytes without checks");
        assert!(meta == same, "{} differs", String::from_utf8_lossy(&path));
        if let Some(content) = kept(checked.read(&path)) {
            assert!(plain.read(&path).is_ok_and(|plain| plain == content));
        }
    }
}
