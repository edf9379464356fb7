use super::super::{Attributes, raw, sample::Sample};
use super::*;
use crate::id::Uuid;
use proptest::prelude::*;

fn guid(n: u8) -> Guid {
    Uuid::from_bytes([n; 16]).to_guid()
}

/// Sectors of 512 bytes, 64 of them, 8 entries; partitions 1 (sectors 8–15) and 3 (16–23).
fn sample() -> Sample {
    let mut sample = Sample::new(512, 64, 8);
    sample.entries[0] = Sample::entry(guid(1), guid(2), (8, 15), "root");
    sample.entries[0].attributes = (1 << 60 | 1 << 63 | 1 << 48).into();
    sample.entries[2] = Sample::entry(guid(3), guid(4), (16, 23), "Größe 𝄞");
    sample
}

fn read(image: &[u8]) -> Result<Option<Table>> {
    Table::read(image, &Limits::default())
}

fn code(image: &[u8]) -> &'static str {
    read(image).unwrap_err().code()
}

#[test]
fn a_good_table() {
    let table = read(&sample().image()).unwrap().unwrap();
    assert_eq!(table.source, Source::Primary { backup: BackupState::Same });
    assert_eq!(table.sector_size, SectorSize::S512);
    assert_eq!(table.disk_guid, Guid::from_disk_bytes([7; 16]));
    assert_eq!(table.usable, ByteRange::new(4 * 512, 61 * 512).unwrap());
    let [one, three] = &table.partitions[..] else { panic!("{table:?}") };
    assert_eq!((one.number.value(), three.number.value()), (1, 3));
    assert_eq!((one.type_guid, one.unique_guid), (guid(1), guid(2)));
    assert_eq!((one.range.start(), one.range.end()), (8 * 512, 16 * 512));
    assert_eq!((one.label.as_str(), three.label.as_str()), ("root", "Größe 𝄞"));
    assert!(one.attributes.contains(Attributes::READ_ONLY | Attributes::NO_AUTO));
    assert_eq!(one.attributes.bits(), 1 << 60 | 1 << 63 | 1 << 48, "unknown bits are kept");
    assert_eq!(three.attributes, Attributes::empty());
}

#[test]
fn nothing_and_too_little() {
    for len in [0, 1, 511, 512, 1023, 4096, 100_000] {
        assert_eq!(read(&vec![0; len]).unwrap(), None, "{len}");
    }
    let mut image = sample().image();
    image[512..520].copy_from_slice(b"EFI PARS");
    image[63 * 512] = 0;
    assert_eq!(read(&image).unwrap(), None, "no magic, no table");
}

#[test]
fn every_sector_size_is_found() {
    for size in SectorSize::ALL {
        let mut sample = Sample::new(size.bytes().into(), 64, 32);
        sample.entries[31] = Sample::entry(guid(1), guid(2), (20, 21), "last entry");
        let table = read(&sample.image()).unwrap().unwrap();
        assert_eq!(table.sector_size, size);
        assert_eq!(table.partitions[0].range.start(), 20 * u64::from(size.bytes()));
        assert_eq!(table.partitions[0].number.value(), 32);
        let mut image = sample.image();
        image[size.bytes() as usize] = 0;
        let table = read(&image).unwrap().unwrap();
        assert_eq!((table.sector_size, table.source), (size, Source::Backup { reason: "gpt-missing" }));
    }
}

#[test]
fn tables_of_two_sector_sizes_are_ambiguous() {
    // The entries of the small one end before byte 4096, so that both headers can stand.
    let (small, large) = (Sample::new(512, 256, 4), Sample::new(4096, 32, 4));
    let mut image = small.primary_only();
    large.put(&mut image, large.header());
    let error = read(&image).unwrap_err();
    assert_eq!(error.code(), "gpt-ambiguous");
    assert!(error.to_string().contains("512") && error.to_string().contains("4096"), "{error}");
    // A header that does not check is no table.
    image[4096 + 60] ^= 1;
    assert_eq!(read(&image).unwrap().unwrap().sector_size, SectorSize::S512);
}

#[test]
fn one_wrong_header_field_one_code() {
    type Edit = fn(&mut raw::Header);
    let cases: &[(Edit, &str)] = &[
        (|h| h.header_bytes = 0.into(), "gpt-header-size"),
        (|h| h.header_bytes = 91.into(), "gpt-header-size"),
        (|h| h.header_bytes = 513.into(), "gpt-header-size"),
        (|h| h.header_bytes = u32::MAX.into(), "gpt-header-size"),
        (|h| h.revision = 0x0002_0000.into(), "gpt-revision"),
        (|h| h.my_lba = 0.into(), "gpt-header-place"),
        (|h| h.my_lba = 2.into(), "gpt-header-place"),
        (|h| h.my_lba = u64::MAX.into(), "gpt-header-place"),
        (|h| h.entry_bytes = 0.into(), "gpt-entry-size"),
        (|h| h.entry_bytes = 1.into(), "gpt-entry-size"),
        (|h| h.entry_bytes = 64.into(), "gpt-entry-size"),
        (|h| h.entry_bytes = 127.into(), "gpt-entry-size"),
        (|h| h.entry_bytes = 129.into(), "gpt-entry-size"),
        (|h| h.entry_bytes = 384.into(), "gpt-entry-size"),
        (|h| h.entry_bytes = 8192.into(), "gpt-entries-place"),
        (|h| h.entry_bytes = (1 << 31).into(), "limit-bytes"),
        (|h| h.entry_bytes = (u32::MAX - 127).into(), "gpt-entry-size"),
        (|h| h.entry_bytes = 256.into(), "gpt-entries-place"),
        (|h| h.first_usable_lba = 0.into(), "gpt-usable-range"),
        (|h| h.first_usable_lba = 1.into(), "gpt-usable-range"),
        (|h| h.first_usable_lba = 61.into(), "gpt-usable-range"),
        (|h| h.last_usable_lba = 64.into(), "gpt-usable-range"),
        (|h| h.last_usable_lba = u64::MAX.into(), "gpt-usable-range"),
        (|h| h.first_usable_lba = 2.into(), "gpt-entries-place"),
        (|h| h.entries_lba = 0.into(), "gpt-entries-place"),
        (|h| h.entries_lba = 1.into(), "gpt-entries-place"),
        (|h| h.entries_lba = 30.into(), "gpt-entries-place"),
        (|h| h.entries_lba = 63.into(), "gpt-entries-place"),
        (|h| h.entries_lba = u64::MAX.into(), "gpt-entries-place"),
        (|h| h.entries_lba = (u64::MAX / 512).into(), "gpt-entries-place"),
        (|h| h.entries_lba = 61.into(), "gpt-entries-crc"),
        (|h| h.entry_count = 7.into(), "gpt-entries-crc"),
        (|h| h.entry_count = 9.into(), "gpt-entries-place"),
        (|h| h.entry_count = 8193.into(), "limit-bytes"),
        (|h| h.entry_count = u32::MAX.into(), "limit-bytes"),
        (|h| h.entries_crc = 0.into(), "gpt-entries-crc"),
    ];
    for (at, (edit, expected)) in cases.iter().enumerate() {
        let sample = sample();
        let mut image = sample.primary_only();
        let mut header = sample.header();
        edit(&mut header);
        // Entries stay where they are: only the header lies.
        image[512..604].copy_from_slice(zerocopy::IntoBytes::as_bytes(&header.sealed()));
        let error = read(&image).unwrap_err();
        assert_eq!(error.code(), *expected, "case {at}: {error}");
        assert_eq!(error.path(), "gpt");
        assert_eq!(
            error.offset(),
            Some(if error.code() == "gpt-entries-crc" { header.entries_lba.get() * 512 } else { 512 })
        );
    }
    let mut image = sample().primary_only();
    image[512 + 16] ^= 1;
    assert_eq!(code(&image), "gpt-header-crc");
}

#[test]
fn a_header_of_any_size_counts_all_of_its_bytes() {
    for sector in SectorSize::ALL.map(|size| size.bytes() as usize) {
        let sample = Sample::new(sector as u64, 64, 4);
        for header_bytes in [92, 93, 128, 500, 512, sector - 1, sector] {
            let mut image = sample.primary_only();
            let mut header = sample.header();
            header.header_bytes = (header_bytes as u32).into();
            image[sector..sector + 92].copy_from_slice(zerocopy::IntoBytes::as_bytes(&header));
            image[sector + 92..sector * 2].fill(1);
            let crc = raw::header_crc(&image[sector..sector + header_bytes]).unwrap();
            image[sector + 16..sector + 20].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(read(&image).unwrap().unwrap().partitions, [], "{header_bytes} of {sector}");
            image[sector + header_bytes - 1] ^= 2;
            assert_eq!(code(&image), "gpt-header-crc", "{header_bytes} of {sector}");
        }
        let mut image = sample.primary_only();
        let header = raw::Header { header_bytes: (sector as u32 + 1).into(), ..sample.header() };
        sample.put(&mut image, header);
        assert_eq!(code(&image), "gpt-header-size");
    }
}

#[test]
fn large_entries_and_empty_tables() {
    for entry_bytes in (7..=17).map(|bits| 1 << bits) {
        for sector in SectorSize::ALL.map(|size| u64::from(size.bytes())) {
            let array = u64::from(entry_bytes) * 8 / sector + 1;
            let mut sample = Sample { entry_bytes, ..Sample::new(sector, 2 * array + 20, 8) };
            let first = sample.first_usable();
            sample.entries[7] = Sample::entry(guid(1), guid(2), (first, first + 1), "seven");
            let table = read(&sample.image()).unwrap().unwrap();
            assert_eq!(table.partitions[0].label, "seven", "{entry_bytes}");
            assert_eq!(table.source, Source::Primary { backup: BackupState::Same });
        }
    }
    let empty = read(&Sample::new(512, 64, 0).image()).unwrap().unwrap();
    assert_eq!(empty.partitions, []);
}

#[test]
fn one_wrong_entry_field_one_code() {
    type Edit = fn(&mut Sample);
    let cases: &[(Edit, &str)] = &[
        (|s| s.entries[0].last_lba = 7.into(), "gpt-partition-range"),
        (|s| s.entries[0].first_lba = u64::MAX.into(), "gpt-partition-range"),
        (|s| s.entries[0].first_lba = 0.into(), "gpt-partition-outside"),
        (|s| s.entries[0].first_lba = 3.into(), "gpt-partition-outside"),
        (|s| s.entries[0].last_lba = 61.into(), "gpt-partition-outside"),
        (|s| s.entries[0].last_lba = u64::MAX.into(), "gpt-partition-outside"),
        (|s| s.entries[0].last_lba = (u64::MAX / 512).into(), "gpt-partition-outside"),
        (|s| s.entries[0].last_lba = 16.into(), "gpt-overlap"),
        (|s| s.entries[0].last_lba = 60.into(), "gpt-overlap"),
        (|s| s.entries[2].first_lba = 4.into(), "gpt-overlap"),
        (|s| s.entries[1] = s.entries[0], "gpt-overlap"),
        (|s| s.entries[2].unique_guid = s.entries[0].unique_guid, "gpt-duplicate"),
        (|s| s.entries[2].label[7] = 0x41.into(), "gpt-label"),
        (|s| s.entries[2].label[0] = 0xdc00.into(), "gpt-label"),
    ];
    for (at, (edit, expected)) in cases.iter().enumerate() {
        let mut sample = sample();
        edit(&mut sample);
        let error = read(&sample.image()).unwrap_err();
        assert_eq!(error.code(), *expected, "case {at}: {error}");
        // The checksums match, so the backup is no way around the fault.
        let mut image = sample.image();
        image[512] = 0;
        assert_eq!(code(&image), *expected, "case {at}, from the backup");
    }
    let mut sample = sample();
    sample.entries[7] = Sample::entry(guid(8), guid(9), (23, 24), "");
    let error = read(&sample.image()).unwrap_err();
    assert!(error.to_string().contains("partitions 3 and 8 overlap"), "{error}");
    sample.entries[7] = Sample::entry(guid(8), guid(4), (24, 24), "");
    let error = read(&sample.image()).unwrap_err();
    assert!(error.to_string().contains("partitions 3 and 8 have the same identifier"), "{error}");
    for entry in &mut sample.entries {
        entry.unique_guid = [0; 16];
    }
    assert_eq!(read(&sample.image()).unwrap().unwrap().partitions.len(), 3, "zeros are no identifier");
}

#[test]
fn unused_entries_may_hold_anything() {
    let mut sample = sample();
    sample.entries[1] =
        raw::Entry { type_guid: [0; 16], ..Sample::entry(guid(0), guid(9), (u64::MAX, 0), "\u{1}") };
    assert_eq!(read(&sample.image()).unwrap().unwrap().partitions.len(), 2);
}

#[test]
fn checksums_choose_the_copy_and_the_choice_is_told() {
    let sample = sample();
    let source = |image: &[u8]| read(image).unwrap().unwrap().source;
    let damage = |image: &[u8], at: usize| {
        let mut image = image.to_vec();
        image[at] ^= 1;
        image
    };
    let image = sample.image();
    assert_eq!(source(&sample.primary_only()), Source::Primary { backup: BackupState::Missing });
    assert_eq!(source(&damage(&image, 63 * 512 + 20)), Source::Primary { backup: BackupState::Damaged });
    assert_eq!(source(&damage(&image, 61 * 512)), Source::Primary { backup: BackupState::Damaged });
    assert_eq!(source(&damage(&image, 512 + 60)), Source::Backup { reason: "gpt-header-crc" });
    assert_eq!(source(&damage(&image, 2 * 512)), Source::Backup { reason: "gpt-entries-crc" });
    assert_eq!(code(&damage(&damage(&image, 2 * 512), 63 * 512 + 20)), "gpt-entries-crc");
    assert_eq!(code(&damage(&damage(&image, 512), 63 * 512 + 20)), "gpt-header-crc");

    let mut other = sample.clone();
    other.entries[0].unique_guid = [9; 16];
    let mut image = sample.primary_only();
    other.put(&mut image, other.backup_header());
    assert_eq!(source(&image), Source::Primary { backup: BackupState::Different });
    assert_eq!(read(&image).unwrap().unwrap().partitions[0].unique_guid, guid(2), "the primary one counts");
}

#[test]
fn two_copies_that_agree_may_be_asked_for() {
    let sample = sample();
    let check = |image: &[u8]| read(image).unwrap().unwrap().check_copies().map_err(|error| error.code());
    assert_eq!(check(&sample.image()), Ok(()));
    let damaged = |at: usize| {
        let mut image = sample.image();
        image[at] ^= 1;
        image
    };
    let mut other = sample.clone();
    other.entries[0].attributes = 0.into();
    let mut different = sample.primary_only();
    other.put(&mut different, other.backup_header());
    // Headers that do not point at each other are not the two copies of one table.
    let mut astray = sample.primary_only();
    sample.put(&mut astray, raw::Header { alternate_lba: 2.into(), ..sample.backup_header() });
    let mut lost = sample.image();
    sample.put(&mut lost, raw::Header { alternate_lba: 40.into(), ..sample.header() });
    for image in [
        damaged(512),
        damaged(512 + 60),
        damaged(2 * 512),
        damaged(61 * 512),
        damaged(63 * 512),
        sample.primary_only(),
        different,
        astray,
        lost,
    ] {
        assert_eq!(check(&image), Err("gpt-copies"));
    }
}

#[test]
fn a_backup_that_is_not_at_the_end_is_found_through_the_primary() {
    let sample = sample();
    let mut image = sample.image();
    image.resize(100 * 512, 0);
    let source = |image: &[u8]| read(image).unwrap().unwrap().source;
    assert_eq!(source(&image), Source::Primary { backup: BackupState::Same });
    image[512 + 60] ^= 1;
    assert_eq!(source(&image), Source::Backup { reason: "gpt-header-crc" });
    image[512] = 0;
    assert_eq!(read(&image).unwrap(), None, "nothing points to it any more");
}

#[test]
fn truncation_is_never_silent() {
    let image = sample().image();
    for sectors in 0..64 {
        let cut = &image[..sectors * 512];
        match read(cut) {
            Ok(None) => assert!(sectors < 2, "{sectors}"),
            Ok(Some(table)) => {
                assert_eq!(table.source, Source::Primary { backup: BackupState::Missing });
                assert!(sectors > 60);
            }
            Err(error) => {
                assert!(["gpt-usable-range", "gpt-entries-place"].contains(&error.code()), "{error}");
            }
        }
    }
}

#[test]
fn the_limit_is_an_option() {
    let image = sample().image();
    let read = |most| Table::read(&image, &Limits { gpt_entries_bytes: most, ..Limits::default() });
    assert!(read(8 * 128).is_ok());
    assert_eq!(read(8 * 128 - 1).unwrap_err().code(), "limit-bytes");
}

type Planned = (u32, u64, u64, u64, String);

/// What the `gpt` crate writes for these partitions: number, first sector, sectors, flags, label.
fn written_by_gpt(
    sector: gpt::disk::LogicalBlockSize,
    planned: &[Planned],
) -> (Vec<u8>, gpt::GptDisk<std::io::Cursor<Vec<u8>>>) {
    let device = std::io::Cursor::new(vec![0; 1 << 20]);
    let config = gpt::GptConfig::new().writable(true).logical_block_size(sector);
    let mut disk = config.create_from_device(device, None).unwrap();
    for (number, first, sectors, flags, label) in planned {
        let kind = gpt::partition_types::LINUX_FS;
        disk.add_partition_at(label, *number, *first, *sectors, kind, *flags).unwrap();
    }
    disk.write_inplace().unwrap();
    (disk.device_ref().get_ref().clone(), disk)
}

/// Partitions in rising order, each after a gap, numbered from the back.
fn plans() -> impl Strategy<Value = Vec<Planned>> {
    let part = (0_u64..5, 1_u64..20, any::<u64>(), "[a-zA-Z0-9 _äß𝄞#-]{0,18}");
    prop::collection::vec(part, 0..8).prop_map(|parts| {
        let (count, mut next) = (parts.len() as u32, 40);
        let place = |(at, (gap, sectors, flags, label)): (usize, (u64, u64, u64, String))| {
            let first = next + gap;
            next = first + sectors;
            (count - at as u32, first, sectors, flags, label)
        };
        parts.into_iter().enumerate().map(place).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_the_gpt_crate_writes_is_read_equally(planned in plans(), large in any::<bool>()) {
        use gpt::disk::LogicalBlockSize::{Lb512, Lb4096};
        let sector = if large { Lb4096 } else { Lb512 };
        let (image, disk) = written_by_gpt(sector, &planned);
        let table = read(&image).unwrap().unwrap();
        prop_assert_eq!(u64::from(table.sector_size.bytes()), sector.as_u64());
        prop_assert_eq!(&table.source, &Source::Primary { backup: BackupState::Same });
        prop_assert_eq!(table.disk_guid.to_string(), disk.guid().to_string());
        let used: Vec<_> = disk.partitions().iter().filter(|(_, part)| part.is_used()).collect();
        prop_assert_eq!(table.partitions.len(), used.len());
        for (ours, (number, theirs)) in table.partitions.iter().zip(used) {
            prop_assert_eq!(ours.number.value(), *number);
            prop_assert_eq!(ours.type_guid.to_string(), theirs.part_type_guid.guid.to_string());
            prop_assert_eq!(ours.unique_guid.to_string(), theirs.part_guid.to_string());
            prop_assert_eq!(ours.range.start(), theirs.first_lba * sector.as_u64());
            prop_assert_eq!(ours.range.end(), (theirs.last_lba + 1) * sector.as_u64());
            prop_assert_eq!(ours.attributes.bits(), theirs.flags);
            prop_assert_eq!(&ours.label, &theirs.name);
        }
    }
}

#[test]
fn a_table_we_write_is_read_equally_by_the_gpt_crate() {
    let mut sample = Sample::new(512, 128, 128);
    sample.entries[0] = Sample::entry(guid(1), guid(2), (48, 55), "root");
    sample.entries[5] = Sample::entry(guid(3), guid(4), (40, 40), "Größe");
    let image = sample.image();
    let ours = read(&image).unwrap().unwrap();
    let disk = gpt::GptConfig::new().open_from_device(std::io::Cursor::new(image)).unwrap();
    let theirs: Vec<_> = disk.partitions().values().map(|part| (part.name.clone(), part.first_lba)).collect();
    let expected: Vec<_> =
        ours.partitions.iter().map(|part| (part.label.clone(), part.range.start() / 512)).collect();
    assert_eq!(theirs, expected);
    assert_eq!(disk.primary_header().unwrap().crc32_parts, disk.backup_header().unwrap().crc32_parts);
}

#[test]
fn twenty_thousand_mutations_never_panic() {
    let good = sample().image();
    let expected = read(&good).unwrap().unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let (mut same, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut image = good.clone();
        for _ in 0..next() % 8 + 1 {
            // Mostly where the table is, sometimes sealed again so that the checks behind the checksum are reached.
            let at = if next() % 4 == 0 { next() % image.len() } else { 512 + next() % 1536 };
            image[at] = next() as u8;
        }
        if next() % 2 == 0 {
            reseal(&mut image);
        }
        if next() % 16 == 0 {
            image.truncate(next() % good.len());
        }
        match read(&image) {
            Ok(Some(table)) => same += usize::from(table.partitions == expected.partitions),
            Ok(None) => {}
            Err(error) => {
                assert!(!error.code().is_empty() && !error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(same > 1000 && refused > 1000, "{same} tables survived, {refused} were refused");
}

/// Makes the checksums of the primary copy fit whatever its bytes are now; drops the backup.
fn reseal(image: &mut [u8]) {
    let crc = raw::crc(&[&image[1024..2048]]);
    image[512 + 88..512 + 92].copy_from_slice(&crc.to_le_bytes());
    image[512 + 12..512 + 16].copy_from_slice(&92_u32.to_le_bytes());
    let crc = raw::header_crc(&image[512..604]).unwrap();
    image[528..532].copy_from_slice(&crc.to_le_bytes());
    image[63 * 512] = 0;
}
