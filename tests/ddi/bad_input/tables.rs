//! Partition tables, and what is in the partitions.

use super::*;

pub(super) fn tables() -> Vec<Case> {
    let trusted = images::trusted_at(NOW);
    let run = |image: &[u8]| check(&trusted).run(image);
    let (signed, built) = images::signed();
    let damage = |places: &[usize], seal: bool| {
        let mut image = signed.clone();
        places.iter().for_each(|at| image[*at] ^= 0xff);
        if seal {
            reseal(&mut image);
        }
        image
    };
    let last = signed.len() - SECTOR;
    let cut_off = usize::try_from(built.partitions[1].range.start()).unwrap();
    let foreign = Check { architecture: Architecture::Arm64, ..check(&trusted) };
    let mut tiny = Limits::default();
    tiny.gpt_entries_bytes = 128;
    let limited = Image::open(&signed[..], &images::options().limits(tiny)).map(drop);
    let mut two_things = signed.clone();
    two_things[..4].copy_from_slice(b"hsqs");
    two_things[28..32].copy_from_slice(&[4, 0, 0, 0]);
    let copies = images::options().copies(Copies::Both);
    let named = images::options().select(Select::RootHash(RootHash::from_bytes([7; 32])));
    vec![
        case("empty file", "image-empty", &["found 0 bytes", "expected a partition table"], run(b"")),
        case(
            "no partition table and no file system",
            "image-unknown",
            &["found 65536 bytes", "expected a partition table or a file system"],
            run(&confext_tests::source::noise(1, 65_536)),
        ),
        case(
            "two root partitions",
            "partitions-ambiguous",
            &["two root partitions", "numbers 1 and 2", "expected one"],
            run(&edited(signed.clone(), |entries| {
                let kind: [u8; 16] = entries[0][..16].try_into().unwrap();
                entries[1][..16].copy_from_slice(&kind);
            })),
        ),
        case(
            "root and usr partition",
            "root-and-usr",
            &["root in partition 1", "usr in partition 3", "expected one of them"],
            run(&edited(signed.clone(), |entries| {
                set_designator(entries, 2, Designator::Usr);
            })),
        ),
        case(
            "no root partition",
            "no-data-partition",
            &["found 1 partitions", "1 of them not to be used", "expected one"],
            run(&edited(images::unprotected(), |entries| {
                entries[0][..16].fill(0x5a);
            })),
        ),
        case(
            "hash tree for a partition that is not there",
            "verity-without-data",
            &["partition 2 is root-verity", "found no root partition"],
            run(&edited(images::unsigned().0, |entries| set_designator(entries, 0, Designator::Usr))),
        ),
        case(
            "signature without hash tree",
            "signature-without-verity",
            &["partition 3 is root-verity-sig", "found no root-verity partition"],
            run(&edited(signed.clone(), |entries| entries[1].fill(0))),
        ),
        case(
            "image for another architecture",
            "foreign-architecture",
            &["found x86-64", "expected arm64"],
            foreign.run(&signed),
        ),
        case(
            "table and file system at once",
            "image-ambiguous",
            &["squashfs", "expected one of them"],
            run(&two_things),
        ),
        case(
            "both table headers damaged",
            "gpt-header-crc",
            &["found", "expected"],
            run(&damage(&[SECTOR + 56, last + 56], false)),
        ),
        case(
            "both entry arrays damaged",
            "gpt-entries-crc",
            &["found", "expected"],
            run(&damage(&[1024, last - 32 * SECTOR], false)),
        ),
        case(
            "table of another revision",
            "gpt-revision",
            &["found", "expected"],
            run(&damage(&[SECTOR + 8, last + 8], true)),
        ),
        case(
            "entries of odd size",
            "gpt-entry-size",
            &["found", "expected"],
            run(&damage(&[SECTOR + 84, last + 84], true)),
        ),
        case(
            "partition past the usable range",
            "gpt-partition-outside",
            &["1", "expected"],
            run(&edited(signed.clone(), |entries| entries[0][41] = 0xff)),
        ),
        case(
            "partition that ends before it starts",
            "gpt-partition-range",
            &["1", "found"],
            run(&edited(signed.clone(), |entries| entries[0][40..48].fill(0))),
        ),
        case(
            "partitions that overlap",
            "gpt-overlap",
            &["1", "2"],
            run(&edited(signed.clone(), |entries| entries[0][40..48].copy_from_slice(&56_u64.to_le_bytes()))),
        ),
        case(
            "partitions of one identifier",
            "gpt-duplicate",
            &["partitions 1 and 2", "expected one of each"],
            run(&edited(signed.clone(), |entries| {
                let id: [u8; 16] = entries[0][16..32].try_into().unwrap();
                entries[1][16..32].copy_from_slice(&id);
            })),
        ),
        case(
            "one copy of the table where two are asked for",
            "gpt-copies",
            &["found a damaged backup copy", "expected a primary and a backup copy"],
            Image::open(damage(&[last + 56], false), &copies).map(drop),
        ),
        case(
            "root hash of another image",
            "root-hash-partition",
            &["no root partition", "expected 07070707-0707-0707-0707-070707070707"],
            Image::open(&signed[..], &named).map(drop),
        ),
        case("copy that was cut off", "gpt-usable-range", &["found", "expected"], run(&signed[..cut_off])),
        case("more than a limit allows", "limit-bytes", &["found 16384 bytes", "at most 128"], limited),
    ]
}
