//! Small vfat volumes made by code, of all widths: what comes before the zeros that most of them are.

/// A label, a deleted entry, a file of one cluster with a short name, one of three clusters that do not lie one behind the
/// other with a long name, and a directory with one that has an empty file.
///
/// *Layout*: boot sector · two tables · root directory (in cluster 2 of FAT32) · clusters of one sector. A reader has to be
/// given zeros up to 4 MiB.
#[must_use]
pub fn volume(bits: usize) -> Vec<u8> {
    const SECTOR: usize = 512;
    let (table_sectors, clusters): (usize, usize) = if bits == 16 { (17, 4085) } else { (1, 60) };
    let root_sectors = usize::from(bits != 32);
    let root = (1 + 2 * table_sectors) * SECTOR;
    let first = root + root_sectors * SECTOR;
    let mut volume = vec![0; first + 8 * SECTOR];
    let mut put = |at: usize, bytes: &[u8]| volume[at..at + bytes.len()].copy_from_slice(bytes);

    put(0, b"\xeb\x3c\x90confext \0\x02\x01\x01\0\x02");
    put(17, &[16 * root_sectors.to_le_bytes()[0], 0]);
    let sectors = u16::try_from(1 + 2 * table_sectors + root_sectors + clusters).unwrap();
    put(19, &sectors.to_le_bytes());
    put(21, &[0xf8]);
    if bits == 32 {
        put(36, &[1, 0, 0, 0, 0, 0, 0, 0, 2]);
        put(82, b"FAT32   ");
    } else {
        put(22, &[table_sectors.to_le_bytes()[0]]);
        put(54, if bits == 16 { b"FAT16   " } else { b"FAT12   " });
    }
    put(510, &[0x55, 0xaa]);

    // What follows clusters 0 to 8; the file with three is 5, 7, 6.
    let end = 0x0fff_ffff_u32;
    let next: [u32; 9] = [0x0fff_fff8, end, end, end, end, 7, end, 6, end];
    let mut table = Vec::new();
    match bits {
        12 => {
            for pair in next.chunks(2) {
                let (a, b) = (pair[0] & 0xfff, pair.get(1).map_or(0, |next| next & 0xfff));
                table.extend_from_slice(&(a | b << 12).to_le_bytes()[..3]);
            }
        }
        _ => next.iter().for_each(|next| table.extend_from_slice(&next.to_le_bytes()[..bits / 8])),
    }
    for copy in 0..2 {
        put((1 + copy * table_sectors) * SECTOR, &table);
    }

    let cluster = |number: usize| first + (number - 2) * SECTOR;
    let entries = |entries: &[[u8; 32]]| entries.concat();
    let [end_of_name, start_of_name] = long(b"ALONGN~1CON", "A long name.conf");
    put(
        root,
        &entries(&[
            entry(b"DISK       ", 0x08, 0, 0),
            entry(b"README  TXT", 0x21, 8, 5),
            entry(b"\xe5LD     TXT", 0x20, 8, 5),
            end_of_name,
            start_of_name,
            entry(b"ALONGN~1CON", 0x20, 5, 1400),
            entry(b"EFI        ", 0x10, 3, 0),
        ]),
    );
    let dots = |own, parent| [entry(b".          ", 0x10, own, 0), entry(b"..         ", 0x10, parent, 0)];
    let [own, parent] = dots(3, 0);
    put(cluster(3), &entries(&[own, parent, entry(b"BOOT       ", 0x10, 4, 0)]));
    let [own, parent] = dots(4, 3);
    put(cluster(4), &entries(&[own, parent, entry(b"BOOTX64 EFI", 0x20, 0, 0)]));
    for number in 5..9 {
        put(cluster(number), &[b"0123456789"[number]; 5]);
    }
    volume
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    entry[22..26].copy_from_slice(&[0xd4, 0x0d, 0x29, 0x2b]);
    entry[26..28].copy_from_slice(&cluster.to_le_bytes());
    entry[28..].copy_from_slice(&size.to_le_bytes());
    entry
}

/// The two entries of a name of 14 to 25 characters, its end first.
fn long(short: &[u8; 11], name: &str) -> [[u8; 32]; 2] {
    let checksum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().chain([0]).collect();
    units.resize(26, 0xffff);
    [(0x42, &units[13..]), (1, &units[..13])].map(|(order, units)| {
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let mut entry = [0; 32];
        entry[0] = order;
        entry[1..11].copy_from_slice(&bytes[..10]);
        (entry[11], entry[13]) = (0x0f, checksum);
        entry[14..26].copy_from_slice(&bytes[10..22]);
        entry[28..].copy_from_slice(&bytes[22..]);
        entry
    })
}
