//! Parity compared with `veritysetup`: same bytes over sizes, roots and block sizes, each repairs with the other's.

use confext_ddi::Limits;
use confext_ddi::RootHash;
use confext_ddi::read::{ReadAt as _, Window};
use confext_ddi::units::{BlockSize, ByteRange};
use confext_ddi::verity::fec::{Coverage, Parts, Roots, encode, repair};
use confext_ddi::verity::{Reader, Superblock, verify};
use confext_tests::source::noise;
use confext_tests::tools;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Output;

const SALT: &str = "5a5b5c5d";

/// A directory with data, and what `veritysetup format` made for it.
struct Formatted {
    dir: tempfile::TempDir,
    data_blocks: u64,
    block_size: BlockSize,
    roots: Roots,
    superblock: bool,
    root_hash: String,
}

fn veritysetup(arguments: &[&str]) -> Output {
    tools::output("veritysetup", arguments, Path::new("/"))
}

impl Formatted {
    fn new(data_blocks: u64, block_bytes: u32, roots: u8, superblock: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory");
        let bytes = usize::try_from(data_blocks * u64::from(block_bytes)).expect("small");
        std::fs::write(dir.path().join("data"), noise(data_blocks, bytes)).expect("room");
        let block_size = BlockSize::new(block_bytes).expect("a block size");
        let roots = Roots::new(roots).expect("a number of roots");
        let mut formatted =
            Self { dir, data_blocks, block_size, roots, superblock, root_hash: String::new() };
        let printed = formatted.run("format", &[]);
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        let printed = String::from_utf8(printed.stdout).expect("text");
        let root_hash =
            printed.lines().find_map(|line| line.strip_prefix("Root hash:")).expect("a root hash");
        root_hash.trim().clone_into(&mut formatted.root_hash);
        formatted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("temporary paths are UTF-8").to_owned()
    }

    /// Runs `veritysetup` with all parameters of this tree.
    fn run(&self, action: &str, more: &[&str]) -> Output {
        let size = self.block_size.bytes();
        let mut arguments = vec![
            action.to_owned(),
            format!("--salt={SALT}"),
            format!("--data-block-size={size}"),
            format!("--hash-block-size={size}"),
            format!("--fec-device={}", self.text("fec")),
            format!("--fec-roots={}", self.roots),
        ];
        if !self.superblock {
            arguments.extend(["--no-superblock".to_owned(), format!("--data-blocks={}", self.data_blocks)]);
        }
        arguments.extend([self.text("data"), self.text("hash")]);
        arguments.extend(more.iter().map(|&more| more.to_owned()));
        veritysetup(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The hash area behind the superblock, to the end of its file.
    fn tree(&self, file: File) -> Window<File> {
        let start = if self.superblock { u64::from(self.block_size.bytes()) } else { 0 };
        let end = file.size_bytes().expect("a size");
        Window::new(file, ByteRange::new(start, end).expect("a range")).expect("inside")
    }

    fn coverage(&self) -> Coverage {
        let tree = self.tree(open(&self.path("hash"))).size_bytes().expect("a size");
        let hash_blocks = tree / u64::from(self.block_size.bytes());
        Coverage::new(self.block_size, self.roots, self.data_blocks, hash_blocks).expect("small numbers")
    }

    fn encode(&self) -> Vec<u8> {
        let mut parity = Vec::new();
        let sink = |bytes: &[u8]| {
            parity.extend_from_slice(bytes);
            Ok(())
        };
        let tree = self.tree(open(&self.path("hash")));
        encode(&open(&self.path("data")), &tree, &self.coverage(), sink).expect("files are readable");
        parity
    }

    fn compare(&self) {
        let theirs = std::fs::read(self.path("fec")).expect("their parity");
        let what = (self.data_blocks, self.block_size.bytes(), self.roots.get(), self.superblock);
        assert_eq!(theirs.len() as u64, self.coverage().fec_bytes(), "{what:?}");
        assert!(self.encode() == theirs, "{what:?}: parity differs");
    }
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).expect("a file")
}

fn spoil(path: &Path, block: u64, block_bytes: u64) {
    use std::os::unix::fs::FileExt as _;
    let junk = vec![0xa5; usize::try_from(block_bytes).expect("small")];
    open(path).write_all_at(&junk, block * block_bytes).expect("room");
}

#[test]
fn parity_is_the_same_for_every_number_of_roots() {
    for roots in 2..=24 {
        Formatted::new(3, 4096, roots, true).compare();
    }
}

#[test]
fn parity_is_the_same_around_each_round() {
    for roots in [2, 24] {
        let rows = 255 - u64::from(roots);
        for data_blocks in
            [1, 2, 127, 129, rows - 2, rows - 1, rows, rows + 1, 2 * rows - 5, 2 * rows + 1, 3000]
        {
            Formatted::new(data_blocks, 1024, roots, true).compare();
        }
    }
}

#[test]
fn parity_is_the_same_for_every_block_size_with_and_without_superblock() {
    for superblock in [true, false] {
        for block_bytes in [512, 1024, 2048, 4096] {
            for data_blocks in [1, 40, 300] {
                Formatted::new(data_blocks, block_bytes, 7, superblock).compare();
            }
        }
    }
}

/// Data behind the tree is covered, too.
#[test]
fn the_whole_hash_device_is_covered() {
    let formatted = Formatted::new(10, 4096, 2, true);
    let hash = open(&formatted.path("hash"));
    let tree_bytes = hash.size_bytes().expect("a size");
    hash.set_len(tree_bytes + 5 * 4096 + 100).expect("room");
    spoil(&formatted.path("hash"), tree_bytes / 4096 + 2, 4096);
    let again = formatted.run("format", &[]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(hash.size_bytes().expect("a size"), tree_bytes + 5 * 4096 + 100);
    formatted.compare();
}

/// Damage to two blocks of a round, what it mends without knowing where: `veritysetup` says that its parity mends it, and here it is mended, bit by bit.
#[test]
fn what_veritysetup_says_can_be_repaired_is_repaired() {
    let formatted = Formatted::new(600, 4096, 4, true);
    let whole = ["data", "hash"].map(|name| std::fs::read(formatted.path(name)).expect("a file"));
    for block in [0, 1, 18, 599] {
        spoil(&formatted.path("data"), block, 4096);
    }
    // Behind the superblock and the top of the tree: the second block of digests.
    spoil(&formatted.path("hash"), 3, 4096);
    let verdict = formatted.run("verify", &[&formatted.root_hash]);
    let told = String::from_utf8_lossy(&verdict.stderr).into_owned();
    assert!(told.contains("repairable errors with FEC device"), "{told}");

    let (data, hash) = (open(&formatted.path("data")), formatted.tree(open(&formatted.path("hash"))));
    let fec = open(&formatted.path("fec"));
    let superblock = std::fs::read(formatted.path("hash")).expect("the superblock");
    let limits = Limits::default();
    let superblock = Superblock::parse(&superblock, &limits).expect("their superblock");
    let root_hash: RootHash = formatted.root_hash.parse().expect("their root hash");
    let parts = Parts { data: &data, hash: &hash, fec: &fec };
    let report =
        repair(&parts, &superblock, &root_hash, formatted.roots, &limits).expect("files are readable");
    assert!(report.is_whole(), "{report:?}");
    let repaired: Vec<_> = report.repaired.iter().map(|block| block.block).collect();
    assert_eq!(repaired, [0, 1, 18, 599, 2]);
    let found = ["data", "hash"].map(|name| std::fs::read(formatted.path(name)).expect("a file"));
    assert!(found == whole);
    let verdict = formatted.run("verify", &[&formatted.root_hash]);
    assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
}

/// Parity of ours in `veritysetup`: it finds the same damage repairable.
#[test]
fn veritysetup_takes_our_parity() {
    let formatted = Formatted::new(500, 4096, 3, true);
    std::fs::write(formatted.path("fec"), formatted.encode()).expect("room");
    spoil(&formatted.path("data"), 250, 4096);
    let verdict = formatted.run("verify", &[&formatted.root_hash]);
    let told = String::from_utf8_lossy(&verdict.stderr).into_owned();
    assert!(told.contains("repairable errors with FEC device"), "{told}");
    let data = std::fs::read(formatted.path("data")).expect("the data");
    let hash = std::fs::read(formatted.path("hash")).expect("the tree");
    let root_hash: RootHash = formatted.root_hash.parse().expect("their root hash");
    let reader = Reader::new(data, hash, root_hash, &Limits::default()).expect("the tree is whole");
    assert_eq!(verify(&reader).expect_err("a block is spoiled").code(), "data-block");
}
