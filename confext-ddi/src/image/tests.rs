use super::sample::{self, Part};
use super::*;
use crate::dps::Designator;
use crate::gpt::Attributes;
use crate::id::{Guid, Uuid};
use crate::sidecar::Kind;

const NATIVE: Architecture = Architecture::X86_64;

fn options() -> Options {
    Options::default().architecture(NATIVE)
}

fn open(parts: &[Part]) -> Result<Image<Vec<u8>>> {
    Image::open(sample::disk(parts), &options())
}

fn signed() -> Vec<Part> {
    sample::signed(NATIVE)
}

fn part(designator: Designator, architecture: Option<Architecture>) -> Part {
    Part::new(designator, architecture, sample::erofs())
}

fn numbers(image: &Image<Vec<u8>>) -> Vec<u32> {
    image.partitions().iter().map(|found| found.number.unwrap().value()).collect()
}

#[test]
fn a_signed_image() {
    let image = open(&signed()).unwrap();
    let data = image.data();
    assert_eq!((data.designator, data.architecture), (Designator::Root, Some(NATIVE)));
    assert_eq!((data.range.start(), data.range.len_bytes()), (4096, 8 * 4096));
    assert_eq!((data.fs, data.read_only, data.growfs), (Some(FsType::Erofs), true, false));
    assert_eq!(data.label.as_deref(), Some("root"));
    assert_eq!(image.hash().unwrap().designator, Designator::RootVerity);
    assert_eq!(numbers(&image), [1, 2, 3]);
    assert!(image.table().is_some() && image.skipped().is_empty());
    let Claim::Signed { root_hash, signature_der, fingerprint: None, .. } = image.claim() else {
        panic!("{:?}", image.claim())
    };
    assert_eq!(signature_der, sample::SIGNATURE);
    assert_eq!(root_hash.as_bytes()[..16], data.uuid.unwrap().to_bytes());
}

#[test]
fn what_the_partitions_say_of_protection() {
    let parts = signed();
    assert_eq!(*open(&parts[..1]).unwrap().claim(), Claim::None);
    let whole = *open(&parts).unwrap().claim().root_hash().unwrap();
    assert_eq!(*open(&parts[..2]).unwrap().claim(), Claim::Verity { root_hash: whole });
    let mut reversed = parts;
    reversed.reverse();
    assert_eq!(open(&reversed).unwrap().claim().root_hash(), Some(&whole), "order does not matter");
}

#[test]
fn a_bare_file_system() {
    let image = Image::open(sample::erofs(), &options()).unwrap();
    let data = image.data();
    assert_eq!((data.designator, data.number, data.uuid), (Designator::Root, None, None));
    assert_eq!((data.range.start(), data.range.end()), (0, 8 * 4096));
    assert_eq!((data.fs, image.table().is_some()), (Some(FsType::Erofs), false));
    assert_eq!(*image.claim(), Claim::None);
    let cut = sample::erofs()[..7 * 4096].to_vec();
    assert_eq!(Image::open(cut, &options()).unwrap_err().code(), "fs-size");
}

#[test]
fn what_is_no_image() {
    let code = |bytes: Vec<u8>| Image::open(bytes, &options()).unwrap_err().code();
    assert_eq!(code(vec![]), "image-empty");
    assert_eq!(code(vec![0; 100]), "image-unknown");
    assert_eq!(code(b"#!/bin/sh\n".repeat(1000)), "image-unknown");
    let mut swap = vec![0; 8192];
    swap[4086..4096].copy_from_slice(b"SWAPSPACE2");
    assert_eq!(code(swap), "image-unknown");
    let mut both = sample::disk(&signed());
    both[..6].copy_from_slice(b"LUKS\xba\xbe");
    both[7] = 1;
    assert_eq!(code(both), "image-ambiguous");
    let directory = std::fs::File::open(".").unwrap();
    assert_eq!(Image::open(directory, &options()).unwrap_err().code(), "io");
}

#[test]
fn one_wrong_part_one_code() {
    type Edit = fn(&mut Vec<Part>);
    let usr = |designator| Part::new(designator, Some(NATIVE), sample::erofs());
    fn again(parts: &mut Vec<Part>, at: usize) {
        let mut part = parts[at].clone();
        part.id = sample::fresh_id();
        parts.push(part);
    }
    let cases: &[(Edit, &str)] = &[
        (|p| p.truncate(0), "no-data-partition"),
        (|p| p.truncate(2), "ok"),
        (|p| again(p, 0), "partitions-ambiguous"),
        (|p| again(p, 1), "partitions-ambiguous"),
        (|p| again(p, 2), "partitions-ambiguous"),
        (|p| drop(p.remove(1)), "signature-without-verity"),
        (|p| p[0].attributes = Attributes::NO_AUTO, "no-data-partition"),
        (|p| p[0].label = "_empty".into(), "no-data-partition"),
        (|p| p[0].label = "PRT#root".into(), "no-data-partition"),
        (|p| p[0].label = "PND#root".into(), "no-data-partition"),
        (|p| p[1].label = "_empty".into(), "signature-without-verity"),
        (|p| p[0].kind = Uuid::from_bytes([1; 16]).to_guid(), "no-data-partition"),
        (|p| p[0].id = Uuid::from_bytes([1; 16]).to_guid(), "root-hash-uuid"),
        (|p| p[1].id = Uuid::from_bytes([1; 16]).to_guid(), "root-hash-uuid"),
        (|p| p[0].id = Guid::ZERO, "verity-uuid-zero"),
        (|p| p[1].id = Guid::ZERO, "verity-uuid-zero"),
        (|p| p[2].bytes.fill(0), "signature-empty"),
        (|p| p[2].bytes[0] = b'[', "signature-json"),
        (|p| p[2].bytes.resize((4 << 20) + 1, 0), "limit-bytes"),
        (|p| p[0].bytes.truncate(4 * 4096), "fs-size"),
        (|p| p[0].bytes[..8].copy_from_slice(b"LUKS\xba\xbe\0\x02"), "fs-ambiguous"),
    ];
    for (at, (edit, expected)) in cases.iter().enumerate() {
        let mut parts = signed();
        edit(&mut parts);
        let code = open(&parts).map_or_else(|error| error.code(), |_| "ok");
        assert_eq!(code, *expected, "case {at}");
    }
    for (designator, expected) in [
        (Designator::Usr, "root-and-usr"),
        (Designator::UsrVerity, "verity-without-data"),
        (Designator::UsrVeritySig, "verity-without-data"),
        (Designator::Home, "ok"),
        (Designator::Swap, "ok"),
    ] {
        let mut parts = signed();
        parts.push(match designator.has_architecture() {
            true => usr(designator),
            false => Part::new(designator, None, sample::erofs()),
        });
        let code = open(&parts).map_or_else(|error| error.code(), |_| "ok");
        assert_eq!(code, expected, "{designator}");
    }
}

#[test]
fn both_of_two_are_named_and_the_place_is_told() {
    let mut parts = signed();
    parts.push(Part { id: sample::fresh_id(), ..parts[0].clone() });
    let error = open(&parts).unwrap_err();
    assert!(error.to_string().contains("two root partitions: found numbers 1 and 4"), "{error}");
    let mut parts = signed();
    parts[2].bytes.extend([0, 1]);
    let error = open(&parts).unwrap_err();
    let in_image = open(&signed()).unwrap().partitions()[2].range.start();
    assert_eq!((error.code(), error.path().as_str()), ("signature-padding", "root-verity-sig/signature"));
    assert_eq!(error.offset(), Some(in_image + parts[2].bytes.len() as u64 - 1));
}

#[test]
fn skipped_partitions_are_told_with_their_reason() {
    let mut parts = signed();
    let extra = |label: &str| Part { label: label.into(), id: sample::fresh_id(), ..signed()[0].clone() };
    parts.extend([extra("_empty"), extra("PRT#x_1"), extra("PND#x_2")]);
    parts.push(Part { attributes: Attributes::NO_AUTO, ..extra("old") });
    parts.push(Part { kind: Uuid::from_bytes([1; 16]).to_guid(), ..extra("what") });
    parts.push(Part::new(Designator::Root, Some(Architecture::Arm64), sample::erofs()));
    let image = open(&parts).unwrap();
    let told: Vec<_> =
        image.skipped().iter().map(|skipped| (skipped.number.value(), skipped.because)).collect();
    use SkippedBecause::{Empty, ForeignArchitecture, NoAuto, Unfinished, UnknownType};
    let expected = [
        (4, Empty),
        (5, Unfinished),
        (6, Unfinished),
        (7, NoAuto),
        (8, UnknownType),
        (9, ForeignArchitecture),
    ];
    assert_eq!(told, expected);
    assert_eq!(numbers(&image), [1, 2, 3]);
    let esp = Part { attributes: Attributes::NO_AUTO, ..Part::new(Designator::Esp, None, sample::erofs()) };
    assert_eq!(open(&[signed()[0].clone(), esp]).unwrap().skipped(), []);
    let esp = Part { attributes: Attributes::NO_BLOCK_IO, ..part(Designator::Esp, None) };
    let image = open(&[signed()[0].clone(), esp]).unwrap();
    assert_eq!(image.skipped()[0].because, SkippedBecause::NoBlockIo);
}

/// Two signed root partitions with their trees and signatures, slot A (numbers 1 to 3) and slot B (4 to 6).
fn two_slots() -> (Vec<Part>, [RootHash; 2]) {
    let labelled = |parts: Vec<Part>, version: &str| -> Vec<Part> {
        parts.into_iter().map(|part| Part { label: format!("{}_{version}", part.label), ..part }).collect()
    };
    let mut other = sample::erofs();
    other[5 * 4096] ^= 0xff;
    let slots = [labelled(signed(), "9"), labelled(sample::protected(NATIVE, other, |_| vec![1]), "10")];
    let hashes = [0, 1].map(|slot: usize| *open(&slots[slot]).unwrap().claim().root_hash().unwrap());
    (slots.concat(), hashes)
}

#[test]
fn of_two_slots_the_newest_or_the_named_one_counts() {
    let (parts, hashes) = two_slots();
    let error = open(&parts).unwrap_err();
    assert_eq!(error.code(), "partitions-ambiguous");
    assert!(error.to_string().contains("two root partitions: found numbers 1 and 4"), "{error}");

    let mut reversed = parts.clone();
    reversed.reverse();
    for (parts, of_a) in [(&parts, [1, 2, 3]), (&reversed, [4, 5, 6])] {
        let of_b = of_a.map(|number| if of_a[0] == 1 { number + 3 } else { number - 3 });
        for (select, expected, numbers_expected, because) in [
            (Select::Newest, hashes[1], of_b, SkippedBecause::OlderVersion),
            (Select::RootHash(hashes[0]), hashes[0], of_a, SkippedBecause::OtherRootHash),
            (Select::RootHash(hashes[1]), hashes[1], of_b, SkippedBecause::OtherRootHash),
        ] {
            let image = Image::open(sample::disk(parts), &options().select(select)).unwrap();
            let Claim::Signed { root_hash, .. } = image.claim() else { panic!("{:?}", image.claim()) };
            assert_eq!((*root_hash, numbers(&image)), (expected, numbers_expected.to_vec()), "{select:?}");
            assert_eq!(image.skipped().len(), 3);
            assert!(image.skipped().iter().all(|skipped| skipped.because == because));
        }
    }
}

#[test]
fn the_newest_must_be_one_and_belong_together() {
    let newest = |edit: fn(&mut Vec<Part>)| {
        let mut parts = two_slots().0;
        edit(&mut parts);
        let image = Image::open(sample::disk(&parts), &options().select(Select::Newest));
        image.map(|image| numbers(&image)).map_err(|error| error.code())
    };
    assert_eq!(newest(|_| ()), Ok(vec![4, 5, 6]));
    assert_eq!(newest(|p| p[3].label = "root_09".into()), Err("partitions-ambiguous"));
    assert_eq!(newest(|p| p[3].label = String::new()), Err("root-hash-uuid"), "data of A, the rest of B");
    assert_eq!(newest(|p| p[5].label = "a".into()), Err("root-hash-uuid"), "signature of A, the rest of B");
    assert_eq!(newest(|p| p[3].label = "PRT#root_10".into()), Err("root-hash-uuid"), "an unfinished update");
    assert_eq!(
        newest(|p| p[3..].iter_mut().for_each(|part| part.label = "PRT#10".into())),
        Ok(vec![1, 2, 3])
    );
    let homes = [Part { label: "1".into(), ..part(Designator::Home, None) }, part(Designator::Home, None)];
    let homes = [vec![part(Designator::Root, Some(NATIVE))], homes.to_vec()].concat();
    let error = Image::open(sample::disk(&homes), &options().select(Select::Newest)).unwrap_err();
    assert_eq!(error.code(), "partitions-ambiguous", "only root and usr have versions");
}

#[test]
fn a_root_hash_that_names_nothing_is_an_error() {
    let (parts, [hash, _]) = two_slots();
    let open = |parts: &[Part], hash| {
        Image::open(sample::disk(parts), &options().select(Select::RootHash(hash)))
            .map(|image| (numbers(&image), matches!(image.claim(), Claim::Signed { .. })))
            .map_err(|error| error.code())
    };
    let changed = |at: usize| {
        let mut bytes: [u8; 32] = hash.as_bytes().try_into().unwrap();
        bytes[at] ^= 1;
        RootHash::from_bytes(bytes)
    };
    assert_eq!(open(&parts, changed(0)), Err("root-hash-partition"));
    assert_eq!(open(&parts, changed(31)), Err("root-hash-partition"));
    assert_eq!(open(&signed()[..1], hash), Err("root-hash-partition"), "no tree at all");
    assert_eq!(open(&signed(), hash), Ok((vec![1, 2, 3], true)));
    // The other slot's signature does not count for this one.
    assert_eq!(open(&[&parts[..2], &parts[3..]].concat(), hash), Ok((vec![1, 2], false)));
    let mut broken = parts;
    broken[5].bytes[0] = b'[';
    assert_eq!(open(&broken, hash), Err("signature-json"), "what cannot be read cannot be passed over");
    let bare = Image::open(sample::erofs(), &options().select(Select::RootHash(hash))).unwrap_err();
    assert_eq!(bare.code(), "root-hash-partition");
    let usr = [signed(), vec![part(Designator::Usr, Some(NATIVE))]].concat();
    assert_eq!(open(&usr, hash), Err("root-and-usr"), "it chooses among those of one designator");
}

/// A bare file system with what may lie beside it: root hash, signature, hash tree.
fn beside(parts: &[Part], kinds: &[Kind]) -> Sidecars<Vec<u8>> {
    let hash = *open(parts).unwrap().claim().root_hash().unwrap();
    let mut sidecars = Sidecars::of(b"app.raw");
    for kind in kinds {
        let bytes = match kind {
            Kind::HashTree => {
                sidecars.add_tree(parts[1].bytes.clone());
                continue;
            }
            Kind::RootHashSignature | Kind::UsrHashSignature => sample::SIGNATURE.to_vec(),
            _ => format!("{hash}\n").into_bytes(),
        };
        sidecars.add_bytes(*kind, &bytes, &Limits::default()).unwrap();
    }
    sidecars
}

#[test]
fn what_lies_beside_a_bare_file_system_protects_it() {
    use Kind::{HashTree, RootHash, RootHashAttribute, RootHashSignature, UsrHash, UsrHashSignature};
    let parts = signed();
    let open = |kinds: &[Kind], options: &Options| {
        Image::open_with(sample::erofs(), beside(&parts, kinds), options).map_err(|error| error.code())
    };
    let said = |kinds: &[Kind]| {
        open(kinds, &options()).map(|image| {
            let kind = match image.claim() {
                Claim::None => "none",
                Claim::Verity { .. } => "verity",
                Claim::Signed { .. } => "signed",
            };
            (image.data().designator, kind)
        })
    };
    assert_eq!(said(&[]), Ok((Designator::Root, "none")));
    assert_eq!(said(&[RootHash, HashTree]), Ok((Designator::Root, "verity")));
    assert_eq!(said(&[RootHashAttribute, RootHash, HashTree]), Ok((Designator::Root, "verity")));
    assert_eq!(said(&[RootHash, HashTree, RootHashSignature]), Ok((Designator::Root, "signed")));
    assert_eq!(said(&[UsrHash, HashTree, UsrHashSignature]), Ok((Designator::Usr, "signed")));
    for part in [&[RootHash][..], &[HashTree], &[RootHash, RootHashSignature], &[HashTree, RootHashSignature]]
    {
        assert_eq!(said(part), Err("sidecar-incomplete"), "{part:?}: nothing is left out in silence");
    }
    let image = open(&[RootHash, HashTree], &options()).unwrap();
    assert_eq!(image.sidecars().looked_for.len(), 2);
    let hash = *image.claim().root_hash().unwrap();
    assert!(open(&[RootHash, HashTree], &options().select(Select::RootHash(hash))).is_ok());
    let other = options().select(Select::RootHash(crate::RootHash::from_bytes([7; 32])));
    assert_eq!(open(&[RootHash, HashTree], &other).unwrap_err(), "sidecar-ambiguous");
}

#[test]
fn what_lies_beside_an_image_with_partitions() {
    let (parts, [first, _]) = two_slots();
    let open = |parts: &[Part], sidecars| {
        Image::open_with(sample::disk(parts), sidecars, &options()).map_err(|error| error.code())
    };
    let image = open(&parts, beside(&parts[..3], &[Kind::RootHash])).unwrap();
    assert_eq!((image.claim().root_hash(), numbers(&image)), (Some(&first), vec![1, 2, 3]));
    let image = open(&parts[..2], beside(&parts[..3], &[Kind::RootHash, Kind::RootHashSignature])).unwrap();
    assert!(matches!(image.claim(), Claim::Signed { .. }));
    assert_eq!(open(&parts[3..], beside(&parts[..3], &[Kind::RootHash])).unwrap_err(), "root-hash-partition");
    let tree = beside(&parts[..3], &[Kind::RootHash, Kind::HashTree]);
    assert_eq!(open(&parts[..3], tree).unwrap_err(), "sidecar-table");
}

#[test]
fn two_copies_of_the_table_may_be_asked_for() {
    let mut image = sample::disk(&signed());
    let both = options().copies(Copies::Both);
    assert!(Image::open(&image[..], &both).is_ok());
    let last = image.len() - 512;
    image[last] = 0;
    assert!(Image::open(&image[..], &options()).is_ok());
    assert_eq!(Image::open(&image[..], &both).unwrap_err().code(), "gpt-copies");
    assert!(Image::open(sample::erofs(), &both).is_ok(), "a bare file system has no table");
}

#[test]
fn every_designator_of_every_architecture_is_found() {
    for architecture in Architecture::ALL {
        for data in [Designator::Root, Designator::Usr] {
            let mut parts = sample::signed(architecture);
            for (part, designator) in
                parts.iter_mut().zip([Some(data), data.verity(), data.verity_sig()].map(Option::unwrap))
            {
                part.kind = Part::new(designator, Some(architecture), vec![]).kind;
            }
            let plain = Designator::ALL.into_iter().filter(|one| !one.has_architecture());
            parts.extend(plain.clone().map(|designator| part(designator, None)));
            let image = Image::open(sample::disk(&parts), &options().architecture(architecture)).unwrap();
            let found: Vec<_> = image.partitions().iter().map(|found| found.designator).collect();
            let expected = [Some(data), data.verity(), data.verity_sig()].into_iter().flatten().chain(plain);
            assert_eq!(found, expected.collect::<Vec<_>>());
            assert!(matches!(image.claim(), Claim::Signed { .. }) && image.skipped().is_empty());
            if architecture != NATIVE {
                let refused = Image::open(sample::disk(&parts), &options()).unwrap_err();
                assert_eq!(refused.code(), "foreign-architecture", "{architecture}");
            }
        }
    }
}

#[test]
fn foreign_architectures() {
    let root = |architecture| Part::new(Designator::Root, Some(architecture), sample::erofs());
    let (arm, arm64, x86) = (root(Architecture::Arm), root(Architecture::Arm64), root(Architecture::X86));
    let refused = open(std::slice::from_ref(&arm64)).unwrap_err();
    assert_eq!(refused.code(), "foreign-architecture");
    assert!(refused.to_string().contains("found arm64, expected x86-64"), "{refused}");
    assert_eq!(
        open(std::slice::from_ref(&x86)).unwrap_err().code(),
        "foreign-architecture",
        "the secondary one too"
    );

    let accept = options().foreign(Foreign::Accept);
    let chosen = |parts: &[Part]| {
        Image::open(sample::disk(parts), &accept).map(|image| image.data().architecture.unwrap())
    };
    assert_eq!(chosen(std::slice::from_ref(&arm64)).unwrap(), Architecture::Arm64);
    assert_eq!(chosen(&[arm64.clone(), x86.clone()]).unwrap(), Architecture::X86);
    assert_eq!(chosen(&[arm64.clone(), x86, arm.clone(), root(NATIVE)]).unwrap(), NATIVE);
    let error = chosen(&[arm, arm64.clone()]).unwrap_err();
    assert_eq!(error.code(), "partitions-ambiguous");
    assert!(error.to_string().contains("numbers 1 and 2"), "{error}");

    let asked = Options::default().architecture(Architecture::Arm64);
    assert_eq!(Image::open(sample::disk(&[arm64]), &asked).unwrap().data().number.unwrap().value(), 1);
    // A hash tree for another architecture protects nothing.
    let mut parts = signed();
    parts[1].kind = Part::new(Designator::RootVerity, Some(Architecture::Arm64), vec![]).kind;
    parts.truncate(2);
    assert_eq!(*open(&parts).unwrap().claim(), Claim::None);
}

#[test]
fn a_usr_image() {
    let mut parts = signed();
    for (part, designator) in
        parts.iter_mut().zip([Designator::Usr, Designator::UsrVerity, Designator::UsrVeritySig])
    {
        part.kind = Part::new(designator, Some(NATIVE), vec![]).kind;
    }
    let image = open(&parts).unwrap();
    assert_eq!(image.data().designator, Designator::Usr);
    assert!(matches!(image.claim(), Claim::Signed { .. }));
}

#[test]
fn twenty_thousand_mutations_never_panic() {
    let good = sample::disk(&signed());
    let claim = open(&signed()).unwrap().claim().clone();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let sizes = good.len();
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..next() % 4 + 1 {
            let at = match next() % 4 {
                0 => next() % sizes,
                1 => 4096 + next() % 2048,
                2 => sizes - 8 * 512 - 4096 + next() % 8192,
                _ => 512 + next() % 2048,
            };
            bad[at] = next() as u8;
        }
        if next() % 32 == 0 {
            bad.truncate(next() % sizes);
        }
        match Image::open(bad, &options()) {
            Ok(image) => opened += usize::from(*image.claim() == claim),
            Err(error) => {
                assert!(!error.to_string().is_empty() && !error.hint().is_empty());
                refused += 1;
            }
        }
    }
    assert!(opened > 1000 && refused > 1000, "{opened} opened, {refused} refused");
}

#[test]
fn a_filter_leaves_partitions_out_by_their_labels() {
    let two = || {
        let mut parts = signed();
        parts.push(Part { label: "root-old".into(), ..part(Designator::Root, Some(NATIVE)) });
        parts
    };
    let open = |parts: &[Part], filter: &str| {
        Image::open(sample::disk(parts), &options().filter(Filter::parse(filter).unwrap()))
    };
    assert_eq!(open(&two(), "").unwrap_err().code(), "partitions-ambiguous");
    let image = open(&two(), "root=root").unwrap();
    assert_eq!(numbers(&image), [1, 2, 3]);
    assert!(matches!(image.claim(), Claim::Signed { .. }));
    let skipped: Vec<_> = image.skipped().iter().map(|part| (part.number.value(), part.because)).collect();
    assert_eq!(skipped, [(4, SkippedBecause::Filtered)]);

    let error = open(&signed(), "root=app*").unwrap_err();
    assert_eq!((error.family(), error.code()), ("refused", "image-filter"));
    let text = "the image filter leaves out the root partition: found label \"root\", expected one that matches \"app*\"";
    assert_eq!(error.to_string(), text);
    assert_eq!(open(&signed(), "root-verity=x").unwrap_err().code(), "signature-without-verity");
    // What is left protects nothing, and is judged as that.
    let bare = open(&signed(), "root-verity=x:root-verity-sig=x").unwrap();
    assert!(matches!(bare.claim(), Claim::None));
    assert_eq!(open(&signed(), "usr=x").unwrap().partitions().len(), 3);
}

#[test]
fn a_bare_file_system_has_no_label() {
    for (filter, admitted) in
        [("root=*", true), ("root=", true), ("usr=a", true), ("root=a*", false), ("root=?*", false)]
    {
        let options = options().filter(Filter::parse(filter).unwrap());
        let code = Image::open(sample::erofs(), &options).err().map(|error| error.code());
        assert_eq!(code, (!admitted).then_some("image-filter"), "{filter}");
    }
}
