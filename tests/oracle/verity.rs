//! Hash trees compared with `veritysetup`: same bytes, same root hash, each accepts the other's.

use confext_ddi::digest::{HashAlgorithm, HashAlgorithms, Salt};
use confext_ddi::units::BlockSize;
use confext_ddi::verity::{Geometry, HashArea, HashType, Reader, Superblock, build, verify, write};
use confext_ddi::{Limits, RootHash};
use confext_tests::peer::Place;
use confext_tests::tools;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Output;

const UUID: &str = "11111111-2222-4333-8444-555555555555";

fn veritysetup(arguments: &[&str]) -> Output {
    tools::output("veritysetup", arguments, Path::new("/"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "veritysetup: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("veritysetup prints text")
}

/// Data without two equal blocks.
fn write_data(path: &Path, blocks: u64) -> File {
    let mut file = File::create_new(path).expect("a new file");
    let mut out = std::io::BufWriter::new(&mut file);
    for block in 0..blocks {
        out.write_all(&block.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(512)).expect("room");
    }
    out.flush().expect("room");
    drop(out);
    File::open(path).expect("just written")
}

fn compare(blocks: u64, salt: &[u8]) {
    let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory");
    let (data_path, hash_path) = (dir.path().join("data"), dir.path().join("hash"));
    let data = write_data(&data_path, blocks);
    let salt_hex: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
    let salt_argument = format!("--salt={}", if salt.is_empty() { "-" } else { &salt_hex });
    let uuid_argument = format!("--uuid={UUID}");
    let printed = succeeded(&veritysetup(&[
        "format",
        &salt_argument,
        &uuid_argument,
        text(&data_path),
        text(&hash_path),
    ]));
    let root_line = printed.lines().find_map(|line| line.strip_prefix("Root hash:")).expect("a root hash");
    let theirs: RootHash = root_line.trim().parse().expect("a root hash");
    let their_bytes = std::fs::read(&hash_path).expect("the tree");

    let uuid = UUID.parse().expect("a UUID");
    let superblock = Superblock::new(uuid, blocks, Salt::new(salt).expect("at most 256 bytes"));
    let tree = build(&data, &superblock).expect("a tree");
    assert_eq!(tree.root_hash, theirs, "{blocks} blocks, salt {salt_hex}");
    assert!(tree.bytes == their_bytes, "{blocks} blocks, salt {salt_hex}: trees differ");

    let reader = Reader::new(&data, &their_bytes[..], theirs, &Limits::default()).expect("their tree");
    assert_eq!(reader.superblock(), &superblock);
    verify(&reader).expect("their tree checks");
    std::fs::write(&hash_path, &tree.bytes).expect("room");
    succeeded(&veritysetup(&["verify", text(&data_path), text(&hash_path), &tree.root_hash.to_hex()]));
}

#[test]
fn trees_are_the_same_around_each_level() {
    for blocks in [1, 2, 3, 126, 127, 128, 129, 255, 256, 257, 1000, 16383, 16384, 16385] {
        compare(blocks, &[0x5a; 32]);
    }
}

#[test]
fn trees_are_the_same_with_any_salt() {
    for len in [0, 1, 31, 55, 56, 63, 64, 65, 255, 256] {
        let salt: Vec<u8> = (0..=255).take(len).collect();
        compare(1, &salt);
        compare(130, &salt);
    }
    compare(16385 + 128, &[]);
}

fn all_allowed() -> Limits {
    let mut limits = Limits::default();
    limits.hash_algorithms = HashAlgorithms::ALL;
    limits
}

/// One way to make a hash tree.
#[derive(Debug)]
struct Case {
    superblock: Superblock,
    area: HashArea,
    /// Whether data and hash tree are on one device; else each is on its own.
    one_device: bool,
}

impl Case {
    fn geometry(&self) -> Geometry {
        Geometry::at(&self.superblock, self.area).expect("a tree that veritysetup makes, too")
    }

    /// The command that makes this tree, with all parameters named, and what its output goes to.
    fn command(&self, number: usize) -> String {
        let (superblock, hash) = (&self.superblock, format!("hash-{number}"));
        let salt: String = superblock.salt.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let no_superblock = if matches!(self.area, HashArea::Bare(_)) { "--no-superblock" } else { "" };
        // The file has its size beforehand: veritysetup fails to write a superblock alone behind the end of one.
        let copied_bytes = if self.one_device { self.geometry().data_bytes() } else { 0 };
        let size = self.geometry().tree_end();
        let prepare = format!("head -c {copied_bytes} data >{hash}; truncate -s {size} {hash}; ");
        format!(
            "{prepare}veritysetup format --uuid={UUID} --hash={} --format={} --data-block-size={} --hash-block-size={} \
             --data-blocks={} --hash-offset={} --salt={} {no_superblock} {} {hash} >out-{number} || exit 1\n",
            superblock.algorithm,
            superblock.hash_type.value(),
            superblock.data_block_size.bytes(),
            superblock.hash_block_size.bytes(),
            superblock.data_blocks,
            self.area.start(),
            if salt.is_empty() { "-" } else { &salt },
            if self.one_device { &hash } else { "data" },
        )
    }

    /// Compares the tree byte by byte, and has our reader check theirs.
    fn compare(&self, data: &[u8], printed: &str, their_file: &[u8]) {
        let geometry = self.geometry();
        let root_line =
            printed.lines().find_map(|line| line.strip_prefix("Root hash:")).expect("a root hash");
        let theirs: RootHash = root_line.trim().parse().expect("a root hash");
        let start = usize::try_from(self.area.start()).expect("small");
        let mut ours = their_file[..start].to_vec();
        ours.resize(usize::try_from(geometry.tree_end()).expect("small"), 0xee);
        let root_hash = write(data, &geometry, |offset, bytes| {
            let at = usize::try_from(offset).expect("small");
            ours[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        })
        .expect("a tree");
        assert_eq!(root_hash, theirs, "{self:?}");
        assert!(ours == their_file, "{self:?}: trees differ");

        let limits = all_allowed();
        let reader = match self.area {
            HashArea::Superblock(offset) => Reader::at(data, their_file, offset, theirs, &limits),
            HashArea::Bare(_) => Reader::with_geometry(data, their_file, geometry, theirs, &limits),
        };
        let reader = reader.unwrap_or_else(|error| panic!("{self:?}: {error}"));
        assert_eq!(reader.superblock(), &self.superblock);
        verify(&reader).unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }
}

/// The most data of a case.
const CASE_BYTES: u64 = 9 << 20;

/// Every algorithm, hash type and hash block size, with numbers of blocks around each boundary of a level; data block
/// sizes, salts and places take turns.
fn cases() -> Vec<Case> {
    let sizes: Vec<BlockSize> = (9..=16).filter_map(|bits| BlockSize::new(1 << bits)).collect();
    let salts = [0, 1, 20, 32, 55, 56, 63, 64, 65, 128, 255, 256];
    let mut cases = Vec::new();
    for algorithm in HashAlgorithm::ALL {
        for hash_type in [HashType::Original, HashType::Normal] {
            for hash_block_size in &sizes {
                let uuid = UUID.parse().expect("a UUID");
                let mut superblock = Superblock::new(uuid, 1, Salt::default());
                (superblock.algorithm, superblock.hash_type) = (algorithm, hash_type);
                superblock.hash_block_size = *hash_block_size;
                let in_block = Geometry::new(&superblock).expect("one block").digests_per_block();
                let powers = (1..5).map(|power| in_block.saturating_pow(power));
                let counts = [1, 2].into_iter().chain(powers.flat_map(|power| power - 1..=power + 1));
                for data_blocks in counts {
                    let turn = cases.len();
                    let fits = |size: &&BlockSize| u64::from(size.bytes()) * data_blocks <= CASE_BYTES;
                    let fitting: Vec<_> = sizes.iter().filter(fits).collect();
                    let Some(data_block_size) = fitting.get(turn % fitting.len().max(1)) else { continue };
                    superblock.data_blocks = data_blocks;
                    superblock.data_block_size = **data_block_size;
                    let salt: Vec<u8> =
                        (0..=255).cycle().skip(turn % 250).take(salts[turn % salts.len()]).collect();
                    superblock.salt = Salt::new(salt).expect("at most 256 bytes");
                    let data_bytes = u64::from(data_block_size.bytes()) * data_blocks;
                    let hash_block = u64::from(hash_block_size.bytes());
                    let (area, one_device) = match turn % 7 {
                        0 => (HashArea::Superblock(data_bytes), true),
                        1 => (HashArea::Bare(data_bytes.next_multiple_of(hash_block)), true),
                        2 => (HashArea::Bare(0), false),
                        3 => (HashArea::Bare(3 * hash_block), false),
                        4 => (HashArea::Superblock(512 * (turn as u64 % 300)), false),
                        _ => (HashArea::default(), false),
                    };
                    cases.push(Case { superblock: superblock.clone(), area, one_device });
                }
            }
        }
    }
    cases
}

/// The newest `veritysetup`, with every parameter that a hash tree has.
#[test]
#[ignore = "needs root"]
fn trees_are_the_same_for_all_parameters() {
    let place = Place::create();
    drop(write_data(&place.path("data"), CASE_BYTES / 4096));
    let data = std::fs::read(place.path("data")).expect("the data");
    let cases = cases();
    assert!(cases.len() >= 500, "{}", cases.len());
    let script: String = cases.iter().enumerate().map(|(number, case)| case.command(number)).collect();
    std::fs::write(place.path("script"), script).expect("room");
    place.peer(&["bash", "script"]);
    for (number, case) in cases.iter().enumerate() {
        let printed = std::fs::read_to_string(place.path(&format!("out-{number}"))).expect("output");
        let hash = std::fs::read(place.path(&format!("hash-{number}"))).expect("the tree");
        case.compare(&data, &printed, &hash);
    }
}

/// What is weak is refused by name unless it is allowed.
#[test]
fn weak_algorithms_need_to_be_allowed() {
    for (algorithm, allowed) in
        [("sha256", true), ("sha512", true), ("sha1", false), ("sha224", false), ("sha384", false)]
    {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory");
        let (data_path, hash_path) = (dir.path().join("data"), dir.path().join("hash"));
        write_data(&data_path, 4);
        let hash = format!("--hash={algorithm}");
        succeeded(&veritysetup(&["format", &hash, text(&data_path), text(&hash_path)]));
        let bytes = std::fs::read(&hash_path).expect("the tree");
        let parsed = Superblock::parse(&bytes, &Limits::default());
        assert_eq!(parsed.map_err(|error| error.code()).err(), (!allowed).then_some("hash-algorithm"));
        let limits = all_allowed();
        assert_eq!(Superblock::parse(&bytes, &limits).expect("allowed").algorithm.name(), algorithm);
    }
}

/// Changed by one bit, an image that checked is refused by both.
#[test]
fn a_changed_bit_is_found_by_both() {
    let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory");
    let (data_path, hash_path) = (dir.path().join("data"), dir.path().join("hash"));
    let data = write_data(&data_path, 200);
    let superblock = Superblock::new(UUID.parse().expect("a UUID"), 200, Salt::default());
    let tree = build(&data, &superblock).expect("a tree");
    let root = tree.root_hash.to_hex();
    let mut bytes = std::fs::read(&data_path).expect("the data");
    bytes[150 * 4096 + 7] ^= 0x40;
    std::fs::write(&data_path, &bytes).expect("room");
    std::fs::write(&hash_path, &tree.bytes).expect("room");
    let output = veritysetup(&["verify", text(&data_path), text(&hash_path), &root]);
    assert!(!output.status.success());
    let reader =
        Reader::new(bytes, tree.bytes, tree.root_hash, &Limits::default()).expect("the top is whole");
    let error = verify(&reader).expect_err("a bit was changed");
    assert_eq!((error.code(), error.offset()), ("data-block", Some(150 * 4096)));
}
