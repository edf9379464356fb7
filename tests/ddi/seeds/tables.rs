//! Partition tables: small ones, and an image that has nothing unused.

use confext_ddi::build::Built;
use confext_tests::images;
use confext_tests::reseal::reseal_header;

pub(crate) const SECTOR: usize = 512;

/// An image of ours with room for four entries instead of 128 and nothing unused: small enough for a fuzzer.
///
/// *Layout*: MBR · header · entries · gap to sector 8 · partitions · entries · header.
pub(crate) fn compact(image: &[u8], built: &Built) -> Vec<u8> {
    let (from, to) = (20_480, 8 * SECTOR);
    let end = usize::try_from(built.partitions.last().unwrap().range.end()).unwrap();
    let mut small = image[..3 * SECTOR].to_vec();
    small.resize(to, 0);
    small.extend_from_slice(&image[from..end]);
    let moved = u64::try_from((from - to) / SECTOR).unwrap();
    for entry in small[2 * SECTOR..3 * SECTOR].as_chunks_mut::<128>().0 {
        if entry[..16] != [0; 16] {
            for field in [32..40, 40..48] {
                let lba = u64::from_le_bytes(entry[field.clone()].try_into().unwrap());
                entry[field].copy_from_slice(&(lba - moved).to_le_bytes());
            }
        }
    }
    let entries = small[2 * SECTOR..3 * SECTOR].to_vec();
    small.extend_from_slice(&entries);
    small.extend_from_slice(&image[SECTOR..2 * SECTOR]);
    seal_compact(&mut small, SECTOR);
    small
}

/// Writes both headers of a compact image for where they are.
pub(crate) fn seal_compact(image: &mut [u8], sector: usize) {
    let last = image.len() / sector - 1;
    for (own, other, entries) in [(1, last, 2), (last, 1, last - 1)] {
        let at = own * sector;
        let numbers = [(24, own), (32, other), (40, 3), (48, last - 2), (72, entries)];
        for (field, value) in numbers {
            image[at + field..at + field + 8].copy_from_slice(&u64::try_from(value).unwrap().to_le_bytes());
        }
        image[at + 80..at + 84].copy_from_slice(&4_u32.to_le_bytes());
        reseal_header(image, at, sector);
    }
}

/// A table alone, for sectors of this size, with two small partitions.
pub(crate) fn table(sector: usize) -> Vec<u8> {
    let (image, _) = images::signed();
    let mut small = vec![0; 8 * sector];
    small[sector..sector + 92].copy_from_slice(&image[SECTOR..SECTOR + 92]);
    small[2 * sector..2 * sector + 256].copy_from_slice(&image[1024..1024 + 256]);
    for (entry, lba) in
        small[2 * sector..2 * sector + 256].as_chunks_mut::<128>().0.iter_mut().zip([3_u64, 4])
    {
        entry[32..40].copy_from_slice(&lba.to_le_bytes());
        entry[40..48].copy_from_slice(&lba.to_le_bytes());
    }
    small.copy_within(2 * sector..3 * sector, 6 * sector);
    small.copy_within(sector..2 * sector, 7 * sector);
    seal_compact(&mut small, sector);
    small
}
