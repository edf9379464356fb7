//! Indexes that `mkfs.erofs` does not write: two algorithms in one file, and extent records without a place or an offset.

use super::raw;
use crate::build::{self, Meta, Tree};
use crate::fs;
use crate::fstype::FsType;
use crate::{Limits, Result};
use std::io::Write as _;

const BLOCK: usize = 4096;
/// The first block that clusters are put into. Before it are the metadata and the parameters of the algorithms.
const FIRST: u32 = 2;
/// LZ4 and DEFLATE, by bit and by number.
const ALGORITHMS: u8 = 0b101;
const LZ4: u8 = 0;
const DEFLATE: u8 = 2;

/// Layouts of an inode: a full index or extents, and a compact index.
const FULL: u8 = 1;
const COMPACT: u8 = 3;

fn lz4(content: &[u8]) -> Vec<u8> {
    lz4_flex::block::compress(content)
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Text that is not the same at any two offsets near each other.
fn text(len: usize) -> Vec<u8> {
    (0_u32..).flat_map(|line| format!("line {line}\n").into_bytes()).take(len).collect()
}

/// The header of an index.
fn header(start: u32, advise: u16, algorithms: u8, cluster_bits: u8) -> Vec<u8> {
    let (start, advise) = (start.to_le_bytes(), advise.to_le_bytes());
    [&start[..], &advise, &[algorithms, cluster_bits]].concat()
}

/// An image of one file `f`, whose inode has this layout and size and is followed by this index. Each cluster is put into as
/// many blocks as it needs, at their end.
fn image(layout: u8, size: usize, index: &[u8], clusters: &[Vec<u8>]) -> Vec<u8> {
    let mut tree = Tree::new();
    // What takes the room of the index.
    tree.add_file("f", vec![0xaa; 500], Meta::new(0o644)).unwrap();
    let mut image = Vec::new();
    build::erofs::write(&tree, &build::erofs::Options::default(), &mut image).unwrap();
    assert!(image.len() <= BLOCK);
    image.resize(BLOCK, 0);
    let content = image.windows(500).position(|bytes| bytes == [0xaa; 500]).unwrap();
    let ino = fs::open(&image[..], FsType::Erofs, &Limits::default()).unwrap().stat(b"f").unwrap().ino;
    let inode = usize::try_from(ino).unwrap() * 32;
    assert_eq!(content, inode + if image[inode] & 1 == 1 { 64 } else { 32 });
    image[inode] = image[inode] & !0x0e | layout << 1;
    image[inode + 8..inode + 12].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
    image[content..content + index.len()].copy_from_slice(index);
    // The superblock: no checksum; it ends where the second block starts, with the parameters of the algorithms.
    image[1032] &= !1;
    image[1037] = u8::try_from((BLOCK - 1024 - 128) / 16).unwrap();
    let features = raw::INCOMPAT_ZERO_PADDING | raw::INCOMPAT_COMPRESSION_CONFIGS;
    image[1104] |= u8::try_from(features).unwrap();
    image[1108] = ALGORITHMS;
    image.extend_from_slice(&[&[14, 0][..], &[0; 14], &[6, 0], &[0; 6]].concat());
    image.resize(2 * BLOCK, 0);
    for cluster in clusters {
        image.resize(image.len() + cluster.len().next_multiple_of(BLOCK) - cluster.len(), 0);
        image.extend_from_slice(cluster);
    }
    image
}

fn read(image: &[u8]) -> Result<Vec<u8>> {
    fs::open(image, FsType::Erofs, &Limits::default())?.read(b"f")
}

/// The file in one piece, and in pieces from any offset.
fn assert_read(image: &[u8], expected: &[u8]) {
    assert!(read(image).unwrap() == expected);
    let files = fs::open(image, FsType::Erofs, &Limits::default()).unwrap();
    for at in (0..expected.len()).rev().step_by(601) {
        let mut piece = vec![0; 700.min(expected.len() - at)];
        files.read_at(b"f", at as u64, &mut piece).unwrap();
        assert!(piece == expected[at..at + piece.len()], "at {at}");
    }
}

/// Why the file cannot be read, in one piece or from some byte on by a reader that knows nothing of the others.
fn code(image: &[u8]) -> &'static str {
    let read = || {
        let open = || fs::open(image, FsType::Erofs, &Limits::default());
        let size = open()?.read(b"f")?.len();
        (0..size).step_by(1000).try_for_each(|at| open()?.read_at(b"f", at as u64, &mut [0; 10]).map(drop))
    };
    read().map_or_else(|error| error.code(), |()| "read")
}

/// Heads: where in its logical cluster the extent starts, and its block.
fn head(kind: u16, offset: u16, block: u32) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &offset.to_le_bytes(), &block.to_le_bytes()].concat()
}

const PLAIN: u16 = 0;
const HEAD1: u16 = 1;
const OTHER: u16 = 2;
const HEAD2: u16 = 3;

/// A record that is no head: clusters back, or a number of blocks, and clusters on.
fn other(back: u16, on: u16) -> Vec<u8> {
    [&OTHER.to_le_bytes()[..], &[0, 0], &back.to_le_bytes(), &on.to_le_bytes()].concat()
}

/// Six clusters: the first algorithm in one block, the second in one, and a plain one at the end.
#[test]
fn full_index_with_two_algorithms() {
    let content = text(5 * BLOCK + 300);
    let (second, plain) = (2 * BLOCK + 100, 5 * BLOCK);
    let clusters = [lz4(&content[..second]), deflate(&content[second..plain]), content[plain..].to_vec()];
    assert!(clusters.iter().all(|cluster| cluster.len() <= BLOCK));
    let mut stored = clusters[2].clone();
    stored.resize(BLOCK, 0);
    let clusters = [clusters[0].clone(), clusters[1].clone(), stored];
    let records = [
        head(HEAD1, 0, FIRST),
        other(1, 1),
        head(HEAD2, 100, FIRST + 1),
        other(1, 2),
        other(2, 1),
        head(PLAIN, 0, FIRST + 2),
    ];
    let index = |algorithms: u8, records: &[Vec<u8>]| {
        [header(0, 0, algorithms, 0), vec![0; 8], records.concat()].concat()
    };
    let made = |algorithms: u8, records: &[Vec<u8>]| {
        image(FULL, content.len(), &index(algorithms, records), &clusters)
    };
    let both = LZ4 | DEFLATE << 4;
    assert_read(&made(both, &records), &content);
    for (what, algorithms, at, record, expected) in [
        ("the algorithms exchanged", DEFLATE | LZ4 << 4, 0, head(HEAD1, 0, FIRST), "compressed-data"),
        ("an algorithm that is not listed", LZ4 | 3 << 4, 0, head(HEAD1, 0, FIRST), "file-system"),
        ("an unknown algorithm", LZ4 | 4 << 4, 0, head(HEAD1, 0, FIRST), "file-system-feature"),
        ("another head", both, 2, head(HEAD1, 100, FIRST + 1), "compressed-data"),
        ("a start behind the cluster", both, 2, head(HEAD2, 4096, FIRST + 1), "file-system"),
        ("a block behind the image", both, 2, head(HEAD2, 100, 0xffff_fff0), "out-of-bounds"),
        ("no way back", both, 3, other(0, 2), "file-system"),
        ("back before the start", both, 3, other(4, 2), "file-system"),
        ("blocks without big clusters", both, 3, other(0x802, 2), "file-system"),
        ("a plain extent of two clusters", both, 5, other(3, 1), "compressed-data"),
    ] {
        let mut records = records.clone();
        records[at] = record;
        assert_eq!(code(&made(algorithms, &records)), expected, "{what}");
    }
}

/// A cluster of two blocks for each algorithm: the second record of an extent has the number of its blocks.
#[test]
fn full_index_with_two_algorithms_in_big_clusters() {
    // Bytes that do not compress, and zeros that do.
    let mut state = 0x2545_f491_u32;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    let middle = 2 * BLOCK;
    let content: Vec<u8> = (0..2 * middle).map(|at| if at % middle < 6000 { noise() } else { 0 }).collect();
    let clusters = [deflate(&content[..middle]), lz4(&content[middle..])];
    assert!(clusters.iter().all(|cluster| (BLOCK + 1..=2 * BLOCK).contains(&cluster.len())));
    let records =
        [head(HEAD2, 0, FIRST), other(0x802, 1), head(HEAD1, 0, FIRST + 2), other(0x802, 1)].concat();
    let advise = raw::ADVISE_BIG_1 | raw::ADVISE_BIG_2;
    let index = |advise| [header(0, advise, LZ4 | DEFLATE << 4, 0), vec![0; 8], records.clone()].concat();
    assert_read(&image(FULL, content.len(), &index(advise), &clusters), &content);
    assert_eq!(code(&image(FULL, content.len(), &index(raw::ADVISE_BIG_1), &clusters)), "compressed-data");
    assert_eq!(code(&image(FULL, content.len(), &index(0), &clusters)), "file-system");
}

/// Packs of two records of 16 bits and a block.
#[test]
fn compact_index_with_two_algorithms() {
    let content = text(4 * BLOCK);
    let second = 2 * BLOCK + 77;
    let clusters = [lz4(&content[..second]), deflate(&content[second..])];
    let pack = |first: u16, second: u16, block: u32| {
        [&first.to_le_bytes()[..], &second.to_le_bytes(), &block.to_le_bytes()].concat()
    };
    let record = |kind: u16, number: u16| kind << 12 | number;
    let made = |second: u16| {
        let packs =
            [pack(record(HEAD1, 0), record(OTHER, 1), FIRST - 1), pack(second, record(OTHER, 1), FIRST)];
        let index = [header(0, 0, LZ4 | DEFLATE << 4, 0), packs.concat()].concat();
        image(COMPACT, content.len(), &index, &clusters)
    };
    assert_read(&made(record(HEAD2, 77)), &content);
    assert_eq!(code(&made(record(HEAD1, 77))), "compressed-data");
    assert_eq!(code(&made(record(OTHER, 0))), "compressed-data");
}

/// A packed length, and the number of the algorithm plus one.
fn packed(len: usize, algorithm: u8) -> u32 {
    u32::try_from(len).unwrap() | u32::from(algorithm + 1) << 28
}

/// Extents of one size: the clusters one after the other, packed byte by byte, with a hole and another algorithm.
fn extents() -> (Vec<u8>, [Vec<u8>; 3]) {
    let mut content = text(3 * BLOCK + 500);
    content[BLOCK..2 * BLOCK].fill(0);
    let [first, second, last] = [&content[..BLOCK], &content[2 * BLOCK..3 * BLOCK], &content[3 * BLOCK..]];
    let clusters = [lz4(first), deflate(second), last.to_vec()];
    (content, clusters)
}

/// Puts the clusters into blocks, and has where the first starts.
fn together(clusters: &[Vec<u8>]) -> (Vec<u8>, u64) {
    let mut bytes = clusters.concat();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    (bytes, u64::from(FIRST) * BLOCK as u64)
}

/// Records of four bytes: each cluster follows the one before, and the place of the first stands before the records.
#[test]
fn extents_with_a_length_only() {
    let (content, clusters) = extents();
    let (bytes, start) = together(&clusters);
    let lengths = [
        packed(clusters[0].len(), LZ4),
        0,
        packed(clusters[1].len(), DEFLATE),
        u32::try_from(clusters[2].len()).unwrap(),
    ];
    let made = |start: u64, lengths: [u32; 4]| {
        let records: Vec<u8> = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
        let index = [header(0, raw::ADVISE_EXTENTS, 0, 0), start.to_le_bytes().to_vec(), records].concat();
        image(FULL, content.len(), &index, std::slice::from_ref(&bytes))
    };
    assert_read(&made(start, lengths), &content);
    assert_eq!(code(&made(start + 1, lengths)), "compressed-data");
    assert_eq!(code(&made(1 << 40, lengths)), "out-of-bounds");
    assert_eq!(code(&made(u64::MAX, lengths)), "out-of-bounds");
    for (what, at, length, expected) in [
        ("a cluster that is too short", 0, packed(clusters[0].len() - 1, LZ4), "compressed-data"),
        ("an unknown algorithm", 0, packed(clusters[0].len(), 7), "file-system-feature"),
        ("an algorithm that is not listed", 0, packed(clusters[0].len(), 1), "file-system"),
        ("a cluster beyond the largest", 2, packed((1 << 20) + 1, DEFLATE), "file-system-feature"),
        ("stored bytes that are too few", 3, 499, "file-system"),
    ] {
        let mut lengths = lengths;
        lengths[at] = length;
        assert_eq!(code(&made(start, lengths)), expected, "{what}");
    }
}

/// Records of eight bytes: a length and a place.
#[test]
fn extents_with_a_length_and_a_place() {
    let (content, clusters) = extents();
    let (bytes, start) = together(&clusters);
    let start = u32::try_from(start).unwrap();
    let at = |before: usize| {
        start + u32::try_from(clusters[..before].iter().map(Vec::len).sum::<usize>()).unwrap()
    };
    let records = [
        [packed(clusters[0].len(), LZ4), at(0)],
        // A hole has no place.
        [0, 0xffff_ffff],
        [packed(clusters[1].len(), DEFLATE), at(1)],
        [u32::try_from(clusters[2].len()).unwrap(), at(2)],
    ];
    let made = |records: [[u32; 2]; 4]| {
        let records: Vec<u8> = records.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        let index = [header(0, raw::ADVISE_EXTENTS | 1 << 1, 0, 0), records].concat();
        image(FULL, content.len(), &index, std::slice::from_ref(&bytes))
    };
    assert_read(&made(records), &content);
    for (what, at, record, expected) in [
        ("a place behind the image", 0, [records[0][0], 0xffff_ff00], "out-of-bounds"),
        ("another place", 2, [records[2][0], at(0)], "compressed-data"),
        ("a cluster that is too short", 2, [records[2][0] - 1, at(1)], "compressed-data"),
    ] {
        let mut records = records;
        records[at] = record;
        assert_eq!(code(&made(records)), expected, "{what}");
    }
}
