//! Damage to a small signed image, everywhere and of many kinds: it reads the same, or is refused with a typed error.

use confext_ddi::build::{Built, Meta};
use confext_ddi::fs;
use confext_ddi::image::Image;
use confext_ddi::policy::{Data, Evidence, Policy};
use confext_ddi::signature::{Certificates, Embed, Sign as _};
use confext_ddi::{Limits, ReadAt, Result};
use confext_tests::images::{self, File, NOW};
use confext_tests::reseal::reseal;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What counts: the verdict and every file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    evidence: Evidence,
    files: BTreeMap<Vec<u8>, File>,
}

/// An image and what it must read like, whatever happens to it.
struct Subject {
    image: Vec<u8>,
    areas: Vec<(&'static str, Range<usize>)>,
    trusted: Certificates,
    truth: Content,
}

/// What became of a damaged image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Same,
    Refused(&'static str),
    Different,
    Panicked,
}

impl Outcome {
    fn is_safe(self) -> bool {
        matches!(self, Self::Same | Self::Refused(_))
    }
}

/// How often each outcome was met, in each area.
type Tally = BTreeMap<(&'static str, Outcome), usize>;

fn read(image: &[u8], trusted: &Certificates) -> Result<Content> {
    let image = Image::open(image, &images::options())?;
    let admitted = Policy::signed().judge(image, Some(trusted))?;
    let limits = Limits::default();
    let files = images::read_everything(&*admitted.file_system(&limits)?, &limits)?;
    Ok(Content { evidence: admitted.evidence().clone(), files })
}

impl Subject {
    /// The smallest signed image: one file.
    fn new() -> Self {
        let (image, built) = images::signed();
        assert!(image.len() <= 65_536, "the smallest signed image: {} bytes", image.len());
        Self::of(image, &built)
    }

    /// One with a hash tree that has a block, which the smallest does not need.
    fn with_tree() -> Self {
        let (image, built) = images::build(images::builder(images::one_of_each()), Some(&images::vendor()));
        assert!(images::part(&image, &built, 1).len() >= 2 * 4096);
        Self::of(image, &built)
    }

    fn of(image: Vec<u8>, built: &Built) -> Self {
        let [data, hash, signature] =
            [0, 1, 2].map(|at| usize::try_from(built.partitions[at].range.start()).unwrap());
        let backup = image.len() - 33 * 512;
        let areas = vec![
            ("mbr", 0..512),
            ("header", 512..1024),
            ("entries", 1024..1024 + 128 * 128),
            ("gap", 1024 + 128 * 128..data),
            ("data", data..hash),
            ("hash superblock", hash..hash + 512),
            ("hash superblock padding", hash + 512..hash + 4096),
            ("hash tree", hash + 4096..signature),
            ("signature", signature..backup),
            ("backup entries", backup..image.len() - 512),
            ("backup header", image.len() - 512..image.len()),
        ];
        let trusted = images::trusted_at(NOW);
        let truth = read(&image, &trusted).unwrap();
        assert!(matches!(truth.evidence, Evidence::Signed { .. }));
        assert_eq!(truth.files[&b"etc/app.conf"[..]].content, b"answer = 42\n");
        Self { image, areas, trusted, truth }
    }

    fn area(&self, at: usize) -> &'static str {
        self.areas.iter().find(|(_, range)| range.contains(&at)).map_or("past the end", |(name, _)| name)
    }

    fn outcome(&self, image: &[u8]) -> Outcome {
        match catch_unwind(AssertUnwindSafe(|| read(image, &self.trusted))) {
            Ok(Ok(found)) if found == self.truth => Outcome::Same,
            Ok(Ok(_)) => Outcome::Different,
            Ok(Err(error)) => {
                assert!(
                    !error.code().is_empty() && !error.hint().is_empty() && !error.to_string().is_empty()
                );
                Outcome::Refused(error.code())
            }
            Err(_) => Outcome::Panicked,
        }
    }

    /// Does each damage to a fresh copy, counts what comes of it, and fails when anything is not safe.
    fn damage<T: Copy + Send + Sync + std::fmt::Debug>(
        &self,
        all: &[T],
        place: impl Fn(T) -> usize + Sync,
        damage: impl Fn(&mut Vec<u8>, T) + Sync,
    ) -> Tally {
        let outcomes: Vec<Outcome> = all
            .par_iter()
            .map_init(Vec::new, |copy: &mut Vec<u8>, each| {
                copy.clone_from(&self.image);
                damage(copy, *each);
                self.outcome(copy)
            })
            .collect();
        let mut tally = Tally::new();
        for (each, outcome) in all.iter().zip(outcomes) {
            assert!(outcome.is_safe(), "{each:?} in {}: {outcome:?}", self.area(place(*each)));
            *tally.entry((self.area(place(*each)), outcome)).or_default() += 1;
        }
        for ((area, outcome), times) in &tally {
            println!("{area}: {outcome:?} {times} times");
        }
        let same = tally.iter().filter(|((_, outcome), _)| *outcome == Outcome::Same).map(|(_, n)| n);
        let (same, total): (usize, usize) = (same.sum(), tally.values().sum());
        println!("{total} images: {same} read the same, {} were refused", total - same);
        assert_eq!(total, all.len());
        assert!(same > 0 && same < total, "both outcomes must occur");
        tally
    }
}

/// The outcomes met in an area.
fn outcomes(tally: &Tally, area: &str) -> BTreeSet<Outcome> {
    tally.keys().filter(|(found, _)| *found == area).map(|(_, outcome)| *outcome).collect()
}

/// Each position with each of these changed bits.
fn positions(range: Range<usize>, masks: &[u8]) -> Vec<(usize, u8)> {
    range.flat_map(|at| masks.iter().map(move |mask| (at, *mask))).collect()
}

fn flip(image: &mut [u8], (at, mask): (usize, u8)) {
    image[at] ^= mask;
}

#[test]
fn every_corrupted_byte() {
    let subject = Subject::new();
    let flips = positions(0..subject.image.len(), &[0x01, 0x20, 0xff]);
    let tally = subject.damage(&flips, |(at, _)| at, |image, each| flip(image, each));

    // The two copies of the table stand in for each other.
    for area in ["mbr", "header", "entries", "gap", "backup entries", "backup header"] {
        assert_eq!(outcomes(&tally, area), [Outcome::Same].into(), "{area}");
    }
    // The whole data partition is one block, so that the root hash is the hash of that block. Some flips make the
    // superblock name a larger file system, which is noticed before.
    assert_eq!(outcomes(&tally, "data"), [Outcome::Refused("root-hash"), Outcome::Refused("fs-size")].into());
    check_hash_area(&tally);
    assert!(outcomes(&tally, "signature").contains(&Outcome::Refused("signature-mismatch")));
}

#[test]
fn every_corrupted_byte_of_data_and_hash_tree() {
    let subject = Subject::with_tree();
    let start = |area| subject.areas.iter().find(|(name, _)| *name == area).unwrap().1.start;
    let flips = positions(start("data")..start("signature"), &[0x01, 0x80]);
    let tally = subject.damage(&flips, |(at, _)| at, |image, each| flip(image, each));
    check_hash_area(&tally);
    // Every block of the data holds something that is read.
    let data = outcomes(&tally, "data");
    assert!(!data.contains(&Outcome::Same) && data.contains(&Outcome::Refused("data-block")), "{data:?}");
    assert_eq!(outcomes(&tally, "hash tree"), [Outcome::Refused("root-hash")].into());
}

/// Of the superblock only the identifier means nothing, and what follows it in its block.
fn check_hash_area(tally: &Tally) {
    let count = |wanted: fn(&Outcome) -> bool| -> usize {
        let found = tally.iter().filter(|((area, outcome), _)| *area == "hash superblock" && wanted(outcome));
        found.map(|(_, times)| times).sum()
    };
    let (same, all) = (count(|outcome| *outcome == Outcome::Same), count(|_| true));
    assert_eq!(same * 512, all * 16, "the identifier has 16 of 512 bytes");
    assert_eq!(outcomes(tally, "hash superblock padding"), [Outcome::Same].into());
}

/// The signature partition without what nobody looks at: a certificate inside the signature.
#[test]
fn every_corrupted_bit_of_the_signature_partition() {
    let signer = images::vendor().embed(Embed::Nothing);
    let (image, built) = images::build(images::builder(images::one_file()), Some(&signer));
    let json = images::part(&image, &built, 2);
    let json = json.split(|byte| *byte == 0).next().unwrap();
    let text = std::str::from_utf8(json).unwrap();
    let start = usize::try_from(built.partitions[2].range.start()).unwrap();
    let member = format!("\"certificateFingerprint\":\"{}\"", signer.certificate_fingerprint());
    let hint = start + text.find(&member).unwrap();
    let hint = hint..hint + member.len();
    let subject = Subject::of(image.clone(), &built);
    let flips = positions(start..start + json.len(), &[1, 2, 4, 8, 16, 32, 64, 128]);
    let tally = subject.damage(&flips, |(at, _)| at, |image, each| flip(image, each));
    assert!(outcomes(&tally, "signature").contains(&Outcome::Refused("signature-mismatch")));
    // The fingerprint is a hint, which nothing relies on: who signed is found out from the signature.
    flips.par_iter().filter(|(at, _)| !hint.contains(at)).for_each(|each| {
        let mut copy = image.clone();
        flip(&mut copy, *each);
        let around = (each.0 - start).saturating_sub(20)..(each.0 - start + 1).min(text.len());
        assert_ne!(subject.outcome(&copy), Outcome::Same, "{each:?} after {:?}", &text[around]);
    });
}

/// Who tampers with a table makes its checksums right.
#[test]
fn every_corrupted_byte_of_the_tables_with_checksums_that_match() {
    let subject = Subject::new();
    let backup = subject.image.len() - 33 * 512;
    // The first entries in use, one that is not, and the last; the others are like those.
    let entries = |start: usize| [start..start + 5 * 128, start + 127 * 128..start + 128 * 128];
    let mut flips = Vec::new();
    let headers = [512..1024, subject.image.len() - 512..subject.image.len()];
    for range in headers.into_iter().chain(entries(1024)).chain(entries(backup)) {
        flips.extend(positions(range, &[0x01, 0x02, 0x10, 0x80, 0xff]));
    }
    subject.damage(
        &flips,
        |(at, _)| at,
        |image, each| {
            flip(image, each);
            reseal(image);
        },
    );
    // The same with the other copy gone: nothing stands in.
    let primary: Vec<_> = flips.iter().copied().filter(|(at, _)| *at < backup).collect();
    let tally = subject.damage(
        &primary,
        |(at, _)| at,
        |image, each| {
            flip(image, each);
            image[backup..].fill(0);
            reseal(image);
        },
    );
    let refused: BTreeSet<_> = tally.keys().filter(|(_, outcome)| *outcome != Outcome::Same).collect();
    assert!(refused.len() >= 10, "many checks say no: {refused:?}");
}

#[test]
fn truncation_at_every_length() {
    let subject = Subject::new();
    // Every sector boundary is among them.
    let lengths: Vec<usize> = (0..subject.image.len()).collect();
    let tally = subject.damage(&lengths, |len| len, |image, len| image.truncate(len));
    assert_eq!(subject.outcome(&[]), Outcome::Refused("image-empty"));
    // Without its end an image has its primary table; without its signature it is nothing.
    assert_eq!(outcomes(&tally, "backup header"), [Outcome::Same].into());
    assert!(!outcomes(&tally, "signature").contains(&Outcome::Same));
    assert!(!outcomes(&tally, "data").contains(&Outcome::Same));
}

#[test]
fn every_two_sectors_exchanged_and_every_sector_blanked() {
    let subject = Subject::new();
    let sectors = subject.image.len() / 512;
    let pairs: Vec<(usize, usize)> =
        (0..sectors).flat_map(|one| (one + 1..sectors).map(move |other| (one, other))).collect();
    subject.damage(
        &pairs,
        |(one, _)| one * 512,
        |image, (one, other)| {
            let (before, after) = image.split_at_mut(other * 512);
            before[one * 512..][..512].swap_with_slice(&mut after[..512]);
        },
    );
    let blanks: Vec<(usize, u8)> = (0..sectors).flat_map(|at| [(at, 0), (at, 0xff)]).collect();
    subject.damage(&blanks, |(at, _)| at * 512, |image, (at, with)| image[at * 512..][..512].fill(with));
}

/// Two damages at once: one alone may be caught by what the other breaks.
#[test]
fn random_damage_in_many_places() {
    let subject = Subject::new();
    let rounds: Vec<u64> = (1..=5_000).collect();
    let len = u64::try_from(subject.image.len()).unwrap();
    subject.damage(
        &rounds,
        |_| 0,
        |image, round| {
            let mut state = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            for _ in 0..=next() % 4 {
                let at = usize::try_from(next() % len).unwrap();
                let run = usize::try_from(next() % 16).unwrap();
                let end = (at + run).min(image.len());
                image[at..end].fill_with(|| next().to_le_bytes()[2]);
            }
            if round % 2 == 0 {
                reseal(image);
            }
        },
    );
}

/// A table at both ends, between them room for anything: the partitions stay where they are.
#[test]
fn bytes_after_the_image_change_nothing() {
    let subject = Subject::new();
    for more in [1, 511, 512, 4096, 1 << 20] {
        let mut image = subject.image.clone();
        image.resize(image.len() + more, 0xa5);
        assert_eq!(subject.outcome(&image), Outcome::Same, "{more} more bytes");
    }
}

/// Parts of two images that are each signed by the same key do not mix.
#[test]
fn parts_of_two_signed_images_do_not_mix() {
    let subject = Subject::with_tree();
    let mut tree = images::one_of_each();
    tree.set_xattr("etc/app.conf", "user.origin", "evil").unwrap();
    let (other, built) = images::build(images::builder(tree), Some(&images::vendor()));
    assert_eq!(other.len(), subject.image.len(), "the parts have the same places");
    assert_ne!(Some(&built.root_hash), subject.truth.evidence.root_hash());
    let starts = built.partitions.iter().map(|partition| usize::try_from(partition.range.start()).unwrap());
    let bounds: Vec<usize> = [0].into_iter().chain(starts).chain([other.len() - 33 * 512]).collect();
    // Table, data, hash area and signature, each from either image; all from one are left out.
    let seen: BTreeSet<Outcome> = (1..15_u8)
        .map(|mix| {
            let mut image = subject.image.clone();
            for (bit, cut) in bounds.windows(2).enumerate() {
                if mix & (1 << bit) != 0 {
                    image[cut[0]..cut[1]].copy_from_slice(&other[cut[0]..cut[1]]);
                }
            }
            image[bounds[4]..].fill(0);
            subject.outcome(&image)
        })
        .collect();
    assert!(seen.iter().all(|outcome| matches!(outcome, Outcome::Refused(_))), "{seen:?}");
    assert!(seen.len() >= 2, "{seen:?}");
}

/// A block that changes after it was checked is never served: what is hashed is what is returned.
#[test]
fn data_that_changes_between_two_reads() {
    struct Fickle {
        image: Vec<u8>,
        data: Range<u64>,
        reads: std::sync::atomic::AtomicUsize,
    }
    impl ReadAt for Fickle {
        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            self.image.read_exact_at(offset, buf)?;
            let touched = offset < self.data.end && offset + buf.len() as u64 > self.data.start;
            // Every second look at the data shows something else.
            if touched && self.reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 2 == 1 {
                buf.iter_mut().for_each(|byte| *byte ^= 0xff);
            }
            Ok(())
        }
        fn size_bytes(&self) -> Result<u64> {
            self.image.size_bytes()
        }
    }
    let (image, built) = images::build(images::builder(images::one_of_each()), Some(&images::vendor()));
    let trusted = images::trusted_at(NOW);
    let limits = Limits::default();
    let truth = read(&image, &trusted).unwrap().files;
    let range = built.partitions[0].range;
    let (mut same, mut refused) = (0, 0);
    for start in 0..2 {
        let fickle = Fickle { image: image.clone(), data: range.start()..range.end(), reads: start.into() };
        let opened = Image::open(fickle, &images::options());
        let Ok(admitted) = opened.and_then(|image| Policy::signed().judge(image, Some(&trusted))) else {
            refused += 1;
            continue;
        };
        let Ok(files) = admitted.file_system(&limits) else {
            refused += 1;
            continue;
        };
        for (path, file) in &truth {
            if file.meta.file_type != fs::FileType::Regular {
                continue;
            }
            for _ in 0..8 {
                match files.read(path) {
                    Ok(content) => {
                        assert_eq!(content, file.content);
                        same += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.code(), "data-block");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 0, "{same} the same, {refused} refused");
}

/// Every flipped bit of a larger tree's hash blocks and data fails the full check.
#[test]
fn every_damaged_block_fails_the_full_check() {
    let mut tree = images::one_file();
    tree.add_file("etc/large", confext_tests::source::noise(3, 1 << 20), Meta::new(0o600)).unwrap();
    let (image, built) = images::build(images::builder(tree), Some(&images::vendor()));
    let trusted = images::trusted_at(NOW);
    let check = |image: &[u8]| -> Result<()> {
        let image = Image::open(image, &images::options())?;
        let admitted = Policy::signed().judge(image, Some(&trusted))?;
        match admitted.data() {
            Data::Checked(reader) => reader.verify(),
            Data::Unchecked(_) => unreachable!("the policy asks for a signature"),
        }
    };
    check(&image).unwrap();
    let [data, hash] = [0, 1].map(|at| {
        let range = built.partitions[at].range;
        usize::try_from(range.start()).unwrap()..usize::try_from(range.end()).unwrap()
    });
    let superblock = hash.start..hash.start + 4096;
    let blocks: Vec<usize> = data.chain(hash).step_by(4096).filter(|at| !superblock.contains(at)).collect();
    assert!(blocks.len() > 256, "two levels of hash blocks");
    blocks.par_iter().for_each(|at| {
        let mut damaged = image.clone();
        damaged[at + at / 4096 % 4096] ^= 1 << (at / 4096 % 8);
        let code = check(&damaged).unwrap_err().code();
        assert!(matches!(code, "data-block" | "hash-block" | "root-hash"), "{code}");
    });
}
