//! Checksums of a partition table made right again, so that what is changed is looked at and not refused at the door.

/// Makes the checksums of every table header in `image` fit its bytes: those of sectors of 512, 1024, 2048 and 4096
/// bytes, at the second and the last sector. Entries are summed before the header that names their checksum.
///
/// Nothing else is repaired: sizes and places stay what they are, also where they make no sense.
pub fn reseal(image: &mut [u8]) {
    for sector in [512, 1024, 2048, 4096] {
        let last = (image.len() / sector).saturating_sub(1) * sector;
        for at in [sector, last] {
            reseal_header(image, at, sector);
        }
    }
}

/// The header at byte `at`; nothing happens when there is none, or when its entries are not in the image.
pub fn reseal_header(image: &mut [u8], at: usize, sector: usize) {
    let Some(header) = image.get(at..at.saturating_add(92)).filter(|header| header.starts_with(b"EFI PART"))
    else {
        return;
    };
    let number = |from: usize| {
        u32::from_le_bytes([header[from], header[from + 1], header[from + 2], header[from + 3]])
    };
    // Above 4 GiB no image of a test is.
    let (low, high) = (number(72), number(76));
    let (count, each, header_bytes) = (number(80), number(84), number(12));
    let entries = usize::try_from(low).ok().filter(|_| high == 0).and_then(|lba| lba.checked_mul(sector));
    let len = usize::try_from(u64::from(count) * u64::from(each)).ok();
    let end = entries.zip(len).and_then(|(start, len)| start.checked_add(len));
    if let Some(sum) = entries.zip(end).and_then(|(start, end)| image.get(start..end)).map(crc32fast::hash) {
        image[at + 88..at + 92].copy_from_slice(&sum.to_le_bytes());
    }
    let end = usize::try_from(header_bytes).ok().and_then(|len| at.checked_add(len));
    if let Some(header) = end.and_then(|end| image.get_mut(at..end)).filter(|header| header.len() >= 20) {
        header[16..20].fill(0);
        let sum = crc32fast::hash(header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
    }
}
