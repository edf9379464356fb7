use super::*;

use crate::build::{Builder, Built, Meta, ReleaseFields, Tree};
use crate::dps::Architecture;
use crate::image;
use crate::release::Class;
use crate::write::Memory;
use std::io::Cursor;

/// An image with a hash tree of three levels' blocks, and where its partitions are.
fn image() -> (Vec<u8>, Built) {
    let mut tree = Tree::new();
    let noise: Vec<u8> = (0..700_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    tree.add_file("etc/app.data", noise, Meta::new(0o644)).unwrap();
    let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned();
    let builder = builder
        .architecture(Architecture::X86_64)
        .seed("4f68bce3-e8cd-4db1-96e7-fbcaf984b709".parse().unwrap());
    let mut out = Cursor::new(Vec::new());
    let built = builder.build(&mut out, None).unwrap();
    (out.into_inner(), built)
}

fn open(bytes: &[u8]) -> Image<&[u8]> {
    Image::open(bytes, &image::Options::default().architecture(Architecture::X86_64)).unwrap()
}

fn parity(image: &[u8], roots: Roots) -> Vec<u8> {
    let mut out = Vec::new();
    let sink = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    let coverage = encode(&open(image), roots, sink).unwrap();
    assert_eq!(out.len() as u64, coverage.fec_bytes());
    out
}

#[test]
fn a_damaged_image_becomes_what_it_was() {
    let (whole, built) = image();
    let roots = Roots::new(4).unwrap();
    let fec = parity(&whole, roots);
    let [data, hash] = [0, 1].map(|at| built.partitions[at].range.start());
    let mut damaged = whole.clone();
    // The file system's superblock, a block further on, and a block of the tree.
    let places = [data, data + 5 * 4096, hash + 2 * 4096];
    for place in &places[..2] {
        damaged[*place as usize..][..4096].fill(0x5a);
    }
    damaged[places[2] as usize + 100] ^= 1;
    let before = damaged.clone();
    let output = Memory::new(vec![0; whole.len()]);
    let offset = [vec![7; 333], fec.clone()].concat();
    let options = Options::default().roots(roots).fec_offset(333);
    let repaired = repair(&open(&damaged), &offset, &output, &options).unwrap();
    assert!(repaired.report.is_whole());
    assert_eq!(repaired.root_hash, built.root_hash);
    let offsets: Vec<u64> = repaired.report.repaired.iter().map(|block| block.offset).collect();
    assert_eq!(offsets, places);
    assert_eq!(damaged, before);
    assert!(output.into_inner() == whole);
}

#[test]
fn what_cannot_be_repaired_is_told() {
    let (whole, built) = image();
    let fec = parity(&whole, Roots::MIN);
    let data = built.partitions[0].range.start();
    let mut damaged = whole.clone();
    for block in [3, 4, 5] {
        damaged[data as usize + block * 4096..][..4096].fill(0x5a);
    }
    let output = Memory::new(vec![0; whole.len()]);
    let repaired = repair(&open(&damaged), &fec, &output, &Options::default()).unwrap();
    let offsets: Vec<u64> = repaired.report.unrepairable.iter().map(|block| block.offset).collect();
    assert_eq!(offsets, [3, 4, 5].map(|block| data + block * 4096));
    assert!(!repaired.report.is_whole() && repaired.report.repaired.is_empty());
    assert!(output.into_inner() == damaged, "nothing is written but what is right");
    assert_eq!(encode(&open(&damaged), Roots::MIN, |_| Ok(())).unwrap_err().code(), "data-block");
}

#[test]
fn what_cannot_be_asked_for_has_a_code() {
    let (whole, built) = image();
    let fec = parity(&whole, Roots::MIN);
    let output = Memory::new(vec![0; whole.len()]);
    let fault = |image: &[u8], fec: &Vec<u8>, options: Options| {
        repair(&open(image), fec, &output, &options).unwrap_err()
    };
    assert_eq!(fault(&whole, &fec[1..].to_vec(), Options::default()).code(), "fec-area");
    assert_eq!(fault(&whole, &fec, Options::default().fec_offset(1)).code(), "fec-area");
    assert_eq!(fault(&whole, &fec, Options::default().fec_offset(u64::MAX)).code(), "fec-area");
    assert_eq!(fault(&whole, &fec, Options::default().roots(Roots::MAX)).code(), "fec-area");
    let range = built.partitions[0].range;
    let bare = &whole[range.start() as usize..range.end() as usize];
    assert_eq!(fault(bare, &fec, Options::default()).code(), "no-hash-tree");
    let mut spoiled = whole.clone();
    spoiled[built.partitions[1].range.start() as usize] ^= 1;
    let error = fault(&spoiled, &fec, Options::default());
    assert_eq!((error.code(), error.path().as_str()), ("verity-magic", "hash-area/superblock"));
    let short = Memory::new(vec![0; whole.len() - 1]);
    assert_eq!(repair(&open(&whole), &fec, &short, &Options::default()).unwrap_err().code(), "out-of-bounds");
}

/// Towards another root hash nothing is right, and nothing is written.
#[test]
fn another_root_hash_repairs_nothing() {
    let (whole, _) = image();
    let fec = parity(&whole, Roots::MIN);
    let output = Memory::new(vec![0; whole.len()]);
    let options = Options::default().root_hash(RootHash::parse(&"11".repeat(32)).unwrap());
    let repaired = repair(&open(&whole), &fec, &output, &options).unwrap();
    assert_eq!((repaired.report.repaired.len(), repaired.report.unrepairable.len()), (0, 1));
    assert!(repaired.report.unchecked_blocks > 100);
    assert!(output.into_inner() == whole);
}

#[cfg(feature = "directory")]
#[test]
fn a_path_has_the_whole_image_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (fec_path, path) = (dir.path().join("app.fec"), dir.path().join("app.raw"));
    let (whole, built) = image();
    let coverage = encode_file(&open(&whole), Roots::MIN, &fec_path).unwrap();
    let fec = std::fs::File::open(&fec_path).unwrap();
    assert_eq!(fec.size_bytes().unwrap(), coverage.fec_bytes());
    let mut damaged = whole.clone();
    let start = built.partitions[0].range.start() as usize;
    damaged[start..][..3 * 4096].fill(9);
    let repaired = repair_file(&open(&damaged), &fec, &path, &Options::default()).unwrap();
    assert_eq!(repaired.report.unrepairable.len(), 3);
    assert!(!path.exists());
    damaged[start..][..4096].copy_from_slice(&whole[start..][..4096]);
    let repaired = repair_file(&open(&damaged), &fec, &path, &Options::default()).unwrap();
    assert!(repaired.report.is_whole());
    assert!(std::fs::read(&path).unwrap() == whole);
    let again = repair_file(&open(&damaged), &fec, &path, &Options::default()).unwrap_err();
    assert_eq!(again.code(), "output-exists");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
}

/// Work that says how far it is.
#[cfg(feature = "directory")]
type Work<'a> = &'a dyn Fn(&mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<()>;

/// What a call tells, and that ending it at any of these steps leaves nothing.
#[cfg(feature = "directory")]
fn steps(output: &std::path::Path, call: Work<'_>) -> Vec<u64> {
    let mut told = Vec::new();
    call(&mut |at| {
        told.push((at.done_bytes, at.total_bytes));
        ControlFlow::Continue(())
    })
    .unwrap();
    let total = told[0].1;
    assert!(told.iter().all(|(_, all)| *all == total), "{told:?}");
    let told: Vec<u64> = told.into_iter().map(|(done, _)| done).collect();
    assert!(told.is_sorted(), "{told:?}");
    assert_eq!((told.first(), told.last()), (Some(&0), Some(&total)));
    assert!(output.exists());
    std::fs::remove_file(output).unwrap();
    let left = || std::fs::read_dir(output.parent().unwrap()).unwrap().count();
    let before = left();
    for (last, done) in told.iter().enumerate() {
        let mut calls = 0;
        let error = call(&mut |_| {
            calls += 1;
            if calls > last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap_err();
        assert_eq!((error.code(), calls), ("cancelled", last + 1), "nobody is asked again");
        let said = format!("when {done} of {total} were done");
        assert!(error.to_string().contains(&said), "{error}: {said}");
        assert_eq!(left(), before, "{last}");
    }
    told
}

#[cfg(feature = "directory")]
#[test]
fn who_watches_hears_all_and_can_end_it_at_any_step() {
    let dir = tempfile::tempdir().unwrap();
    let (fec_path, path) = (dir.path().join("app.fec"), dir.path().join("app.raw"));
    let (whole, built) = image();
    let opened = open(&whole);
    let told = steps(&fec_path, &|tell| encode_file_watched(&opened, Roots::MIN, &fec_path, tell).map(drop));
    // At the beginning, when all is checked, and at the end.
    assert!(told.len() >= 3, "{told:?}");
    encode_file(&opened, Roots::MIN, &fec_path).unwrap();
    let fec = std::fs::File::open(&fec_path).unwrap();
    let mut damaged = whole.clone();
    damaged[built.partitions[0].range.start() as usize..][..4096].fill(9);
    for image in [&whole, &damaged] {
        let opened = open(image);
        let options = Options::default();
        let told = steps(&path, &|tell| repair_file_watched(&opened, &fec, &path, &options, tell).map(drop));
        assert!(told.len() > 4, "{told:?}");
    }
    // What stays damaged is told to its end as well.
    damaged[built.partitions[0].range.start() as usize..][..5 * 4096].fill(9);
    let mut last = (0, 1);
    let tell = |at: Progress| {
        last = (at.done_bytes, at.total_bytes);
        ControlFlow::Continue(())
    };
    let repaired = repair_file_watched(&open(&damaged), &fec, &path, &Options::default(), tell).unwrap();
    assert!(!repaired.report.is_whole() && last.0 == last.1 && !path.exists());
}
