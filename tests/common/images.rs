//! Small images made by code, the same bytes each time, and everything that can be read from one.

use confext_ddi::build::{Builder, Built, Meta, ReleaseFields, Tree};
use confext_ddi::dps::Architecture;
use confext_ddi::fs::{self, FileSystem, FileType, Metadata};
use confext_ddi::image::Options;
use confext_ddi::lint;
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, KeyPair, Sign, Time};
use confext_ddi::{Limits, Result};
use std::collections::BTreeMap;
use std::io::Cursor;

/// The moment of all tests with fixed images: 2023-11-14 22:13:20 UTC.
pub const NOW: Time = Time::from_unix(1_700_000_000);
/// The architecture of the images, whatever the tests run on.
pub const ARCHITECTURE: Architecture = Architecture::X86_64;
/// What the identifiers follow from.
pub const SEED: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
/// The name of the images.
pub const NAME: &str = "app";

/// The key of the fixed images: RSA, whose signatures are the same each time.
///
/// `fixtures/vendor.key` and `fixtures/vendor.crt` were made once with
/// `KeyPair::generate("confext-test vendor", Time::from_unix(1_700_000_000 - 60), 2)`: nobody trusts it, and its
/// certificate is valid for two days of 2023.
pub fn vendor() -> KeyPair {
    let key = include_bytes!("../fixtures/vendor.key");
    KeyPair::from_pem(key, include_bytes!("../fixtures/vendor.crt")).unwrap()
}

/// The certificate of [`vendor`], at `now`.
pub fn trusted_at(now: Time) -> Certificates {
    trust(&vendor(), now)
}

/// The certificate of `key`, at `now`.
pub fn trust(key: &KeyPair, now: Time) -> Certificates {
    let mut set = Certificates::new(now);
    set.add_pem(&key.certificate_pem().unwrap()).unwrap();
    set
}

/// Opens images of [`ARCHITECTURE`].
pub fn options() -> Options {
    Options::default().architecture(ARCHITECTURE)
}

/// One configuration file.
pub fn one_file() -> Tree {
    let mut tree = Tree::new();
    tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644)).unwrap();
    tree
}

/// One of every kind of entry that fits an extension.
pub fn one_of_each() -> Tree {
    let mut tree = one_file();
    tree.add_dir("etc/app.d", Meta::new(0o750)).unwrap();
    tree.add_file("etc/app.d/large", crate::source::noise(7, 9000), Meta::new(0o600)).unwrap();
    tree.add_symlink("etc/app.d/link", "../app.conf", Meta::new(0o777)).unwrap();
    tree.add_hardlink("etc/app.d/again", "etc/app.conf").unwrap();
    tree.set_xattr("etc/app.conf", "user.origin", "test").unwrap();
    tree
}

/// A confext for every host; the same bytes each time.
pub fn builder(tree: Tree) -> Builder {
    Builder::new(Class::Confext, NAME)
        .tree(tree)
        .release(ReleaseFields::any())
        .architecture(ARCHITECTURE)
        .seed(SEED.parse().unwrap())
        .source_date_epoch(NOW.as_unix())
        // Images of tests are the attack: what a build would refuse has to be refused by who reads it.
        .allow(lint::Code::ALL.iter().copied())
}

/// Builds an image in memory.
pub fn build(builder: Builder, signer: Option<&dyn Sign>) -> (Vec<u8>, Built) {
    let mut out = Cursor::new(Vec::new());
    let built = builder.build(&mut out, signer).unwrap();
    (out.into_inner(), built)
}

/// The smallest signed confext: one file, signed by [`vendor`].
pub fn signed() -> (Vec<u8>, Built) {
    build(builder(one_file()), Some(&vendor()))
}

/// The same with a hash tree and no signature.
pub fn unsigned() -> (Vec<u8>, Built) {
    build(builder(one_file()).unsigned(), None)
}

/// The same with neither: a table with a root partition only.
pub fn unprotected() -> Vec<u8> {
    let (mut image, _) = unsigned();
    edit_entries(&mut image, |entries| entries[1].fill(0));
    image
}

/// The same without a table: the bare file system.
pub fn bare() -> Vec<u8> {
    let (image, built) = unsigned();
    part(&image, &built, 0).to_vec()
}

/// The bytes of the partition at `index`.
pub fn part<'a>(image: &'a [u8], built: &Built, index: usize) -> &'a [u8] {
    let range = built.partitions[index].range;
    &image[usize::try_from(range.start()).unwrap()..usize::try_from(range.end()).unwrap()]
}

/// Changes the entries of both copies of a table of ours and makes the checksums right again.
pub fn edit_entries(image: &mut [u8], change: impl Fn(&mut [[u8; 128]])) {
    let backup = image.len() - 33 * 512;
    for at in [1024, backup] {
        let (entries, _) = image[at..at + 128 * 128].as_chunks_mut::<128>();
        change(entries);
    }
    crate::reseal::reseal(image);
}

/// A file of an image, with all that an image says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What `stat` tells.
    pub meta: Metadata,
    /// A regular file's bytes, a link's target.
    pub content: Vec<u8>,
    /// Extended attributes.
    pub xattrs: Vec<fs::Xattr>,
}

/// Reads every file, link and attribute, and the root directory.
///
/// # Errors
///
/// The first that reading meets.
pub fn read_everything(files: &dyn FileSystem, limits: &Limits) -> Result<BTreeMap<Vec<u8>, File>> {
    let mut all = BTreeMap::new();
    let root = std::iter::once(files.stat(b"").map(|meta| (Vec::new(), meta)));
    for item in root.chain(fs::walk(files, b"", limits)?) {
        let (path, meta) = item?;
        let content = match meta.file_type {
            FileType::Regular => files.read(&path)?,
            FileType::Symlink => files.read_link(&path)?,
            _ => Vec::new(),
        };
        let xattrs = files.xattrs(&path)?;
        all.insert(path, File { meta, content, xattrs });
    }
    Ok(all)
}
