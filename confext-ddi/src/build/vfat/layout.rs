//! Where everything stands: the entries of the tree as items, each with its clusters.

use super::Options;
use super::entry;
use super::name::{self, Name};
use crate::build::tree::{Kind, Node, NodeId, Tree, show};
use crate::error::{Error, LimitExceeded, Result, Unsupported};

pub(super) const SECTOR: u64 = 512;
/// Entries of the largest directory.
const MOST_ENTRIES: u64 = 65_536;
/// Sectors before the first table of FAT32, as everybody has them.
const WIDE_RESERVED: u64 = 32;
const ENTRY_BYTES: u64 = 32;
/// How many clusters FAT16 may have, and at least has. Some readers are off by up to 16 where one kind becomes another.
const NARROW: std::ops::RangeInclusive<u64> = 4085 + 16..=65_524 - 16;
/// The fewest clusters of FAT32.
const WIDE_FEWEST: u64 = 65_525 + 16;
/// Sizes of clusters of FAT32, each with the size of a volume up to which it is taken.
const WIDE_CLUSTERS: [(u64, u64); 5] =
    [(512, 260 << 20), (4096, 8 << 30), (8192, 16 << 30), (16_384, 32 << 30), (32_768, 2 << 40)];

/// The refusal of an entry that vfat cannot hold.
pub(super) fn refused(path: &[u8], what: &'static str) -> Error {
    Unsupported::VfatEntry { path: show(path), what }.into()
}

/// A file or directory.
pub(super) struct Item<'t> {
    pub(super) path: Vec<u8>,
    pub(super) node: &'t Node,
    /// The directory it is in, as an index; the root is in none.
    pub(super) parent: Option<usize>,
    /// How long its content is.
    pub(super) bytes: u64,
    /// Of a directory: what is in it, with indexes.
    pub(super) names: Vec<(Name, usize)>,
    /// Its first cluster; 0 if it has none.
    pub(super) first: u32,
}

/// What a volume is made of.
pub(super) struct Layout<'t> {
    /// The root first, and each directory before what is in it.
    pub(super) items: Vec<Item<'t>>,
    wide: bool,
    cluster_bytes: u64,
    clusters: u64,
    /// Entries of the root directory, where it has a place of its own.
    root_entries: u64,
    /// The clusters of each item, in order: first and count.
    chains: Vec<(u64, u64)>,
}

impl<'t> Layout<'t> {
    pub(super) fn new(tree: &'t Tree) -> Result<Self> {
        let items = collect(tree)?;
        let root_bytes = items.first().map_or(0, |root| root.bytes);
        let root_entries = (root_bytes / ENTRY_BYTES).max(512).next_multiple_of(16);
        let needed = |cluster_bytes: u64, from: usize| {
            let clusters = |item: &Item<'_>| item.bytes.div_ceil(cluster_bytes);
            items.iter().skip(from).map(clusters).fold(0, u64::saturating_add)
        };
        let narrow = needed(SECTOR, 1);
        let mut layout = Self {
            wide: false,
            cluster_bytes: SECTOR,
            clusters: narrow.max(*NARROW.start()),
            root_entries,
            chains: Vec::new(),
            items: Vec::new(),
        };
        if narrow > *NARROW.end() || root_entries > u16::MAX.into() {
            let fits = |(cluster, most): &(u64, u64)| needed(*cluster, 0).saturating_mul(*cluster) <= *most;
            let Some((cluster_bytes, _)) = WIDE_CLUSTERS.into_iter().find(fits) else {
                let (found, most) = (needed(SECTOR, 0).saturating_mul(SECTOR), 2 << 40);
                return Err(LimitExceeded::Bytes { what: "vfat file system", found, most }.into());
            };
            layout.wide = true;
            layout.cluster_bytes = cluster_bytes;
            layout.clusters = needed(cluster_bytes, 0).max(WIDE_FEWEST);
            layout.root_entries = 0;
        }
        layout.place(items);
        Ok(layout)
    }

    /// Gives every item its clusters, one behind the other.
    fn place(&mut self, mut items: Vec<Item<'t>>) {
        let mut next = 2_u64;
        for item in &mut items {
            let has_place = item.parent.is_none() && !self.wide;
            let count = if has_place { 0 } else { item.bytes.div_ceil(self.cluster_bytes) };
            if count > 0 {
                item.first = u32::try_from(next).unwrap_or(u32::MAX);
                self.chains.push((next, count));
                next = next.saturating_add(count);
            }
        }
        self.items = items;
    }

    pub(super) const fn is_wide(&self) -> bool {
        self.wide
    }

    const fn reserved(&self) -> u64 {
        if self.wide { WIDE_RESERVED } else { 1 }
    }

    pub(super) const fn reserved_bytes(&self) -> u64 {
        self.reserved().saturating_mul(SECTOR)
    }

    const fn table_sectors(&self) -> u64 {
        let width = if self.wide { 4 } else { 2 };
        self.clusters.saturating_add(2).saturating_mul(width).div_ceil(SECTOR)
    }

    const fn data_start(&self) -> u64 {
        let before = self.reserved().saturating_add(self.table_sectors().saturating_mul(2));
        before.saturating_mul(SECTOR).saturating_add(self.root_entries.saturating_mul(ENTRY_BYTES))
    }

    pub(super) const fn size_bytes(&self) -> u64 {
        self.data_start().saturating_add(self.clusters.saturating_mul(self.cluster_bytes))
    }

    /// Where the item that ends at `position` leaves off: at the end of its last cluster, or of the root's place.
    pub(super) const fn end_of(&self, item: &Item<'_>, position: u64) -> u64 {
        if item.parent.is_none() && !self.wide {
            return self.data_start();
        }
        let used = position.saturating_sub(self.data_start());
        self.data_start().saturating_add(match used.checked_next_multiple_of(self.cluster_bytes) {
            Some(end) => end,
            None => used,
        })
    }

    /// The table: each chain leads from one cluster to the next.
    pub(super) fn table(&self) -> Vec<u8> {
        let mut table = Vec::new();
        let wide = self.wide;
        let mut push = |value: u64| {
            let width = if wide { 4 } else { 2 };
            table.extend(value.to_le_bytes().iter().take(width));
        };
        let end = if wide { 0x0fff_ffff } else { 0xffff };
        // The first two are no clusters: the media type, and that the volume is sound.
        push(end & !0xff | 0xf8);
        push(end);
        for (first, count) in &self.chains {
            let last = first.saturating_add(*count).saturating_sub(1);
            (*first..last).for_each(|cluster| push(cluster.saturating_add(1)));
            push(end);
        }
        table.resize(usize::try_from(self.table_sectors().saturating_mul(SECTOR)).unwrap_or_default(), 0);
        table
    }

    /// The boot sector, without code: nothing boots from it but firmware that reads files.
    pub(super) fn boot_sector(&self, options: &Options) -> Vec<u8> {
        let sectors = self.size_bytes() / SECTOR;
        let few = u16::try_from(sectors).unwrap_or(0);
        let many = if few == 0 { u32::try_from(sectors).unwrap_or(u32::MAX) } else { 0 };
        let table = self.table_sectors();
        let short_table = if self.wide { 0 } else { u16::try_from(table).unwrap_or(0) };
        let mut bytes = if self.wide { b"\xeb\x58\x90".to_vec() } else { b"\xeb\x3c\x90".to_vec() };
        bytes.extend_from_slice(b"confext ");
        bytes.extend_from_slice(&u16::try_from(SECTOR).unwrap_or(512).to_le_bytes());
        bytes.push(u8::try_from(self.cluster_bytes / SECTOR).unwrap_or(1));
        bytes.extend_from_slice(&u16::try_from(self.reserved()).unwrap_or(1).to_le_bytes());
        bytes.push(2);
        bytes.extend_from_slice(&u16::try_from(self.root_entries).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&few.to_le_bytes());
        bytes.push(0xf8);
        bytes.extend_from_slice(&short_table.to_le_bytes());
        // Sectors of a track, heads, sectors before the partition: of old.
        bytes.extend_from_slice(&[63, 0, 255, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&many.to_le_bytes());
        if self.wide {
            bytes.extend_from_slice(&u32::try_from(table).unwrap_or(u32::MAX).to_le_bytes());
            // Flags, version, cluster of the root, sectors of the counts and of the copy of this one.
            bytes.extend_from_slice(&[0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 6, 0]);
            bytes.extend_from_slice(&[0; 12]);
        }
        // The first disk; three fields follow.
        bytes.extend_from_slice(&[0x80, 0, 0x29]);
        let [a, b, c, d, ..] = options.uuid.to_bytes();
        bytes.extend_from_slice(&[d, c, b, a]);
        bytes.extend_from_slice(&entry::label(&options.label));
        bytes.extend_from_slice(if self.wide { b"FAT32   " } else { b"FAT16   " });
        sealed(bytes)
    }

    /// FAT32's sector with counts.
    pub(super) fn info_sector(&self) -> Vec<u8> {
        let used = self.chains.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = b"RRaA".to_vec();
        bytes.resize(484, 0);
        bytes.extend_from_slice(b"rrAa");
        bytes.extend_from_slice(&number(self.clusters.saturating_sub(used)));
        // Where to look for free ones.
        bytes.extend_from_slice(&number(used.saturating_add(2)));
        sealed(bytes)
    }
}

/// A whole sector, with the mark at its end.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(510, 0);
    bytes.extend_from_slice(&[0x55, 0xaa]);
    bytes
}

/// The items of a tree: directories before what is in them, names in the order of their bytes.
fn collect(tree: &Tree) -> Result<Vec<Item<'_>>> {
    let item = |path: Vec<u8>, node: NodeId, parent: Option<usize>| Item {
        path,
        node: tree.node(node),
        parent,
        bytes: 0,
        names: Vec::new(),
        first: 0,
    };
    let mut items = vec![item(Vec::new(), NodeId::ROOT, None)];
    let mut index = 0;
    while let Some(current) = items.get(index) {
        let (path, node) = (current.path.clone(), current.node);
        if !node.xattrs.is_empty() {
            return Err(refused(&path, "extended attributes"));
        }
        let (bytes, names) = match &node.kind {
            Kind::File(content) => (file_bytes(content.size_bytes())?, Vec::new()),
            Kind::Directory(children) => {
                let path_of = |name: &[u8]| match path.is_empty() {
                    true => name.to_vec(),
                    false => [&path[..], b"/", name].concat(),
                };
                let named = name::of_directory(children, path_of)?;
                // Its label, or itself and its parent.
                let own = if current.parent.is_none() { 1 } else { 2 };
                let entries = named.iter().map(|(name, _)| name.entries()).fold(own, u64::saturating_add);
                if entries > MOST_ENTRIES {
                    return Err(refused(&path, "more entries than a directory can have"));
                }
                let mut names = Vec::new();
                for ((name, child), key) in named.into_iter().zip(children.keys()) {
                    names.push((name, items.len()));
                    items.push(item(path_of(key), child, Some(index)));
                }
                (entries.saturating_mul(ENTRY_BYTES), names)
            }
            Kind::Symlink(_) => return Err(refused(&path, "a symbolic link")),
            Kind::Device(_) => return Err(refused(&path, "a device node")),
            Kind::Fifo => return Err(refused(&path, "a fifo")),
            Kind::Socket => return Err(refused(&path, "a socket")),
        };
        if let Some(current) = items.get_mut(index) {
            (current.bytes, current.names) = (bytes, names);
        }
        index = index.saturating_add(1);
    }
    Ok(items)
}

fn file_bytes(found: u64) -> Result<u64> {
    let most = u64::from(u32::MAX);
    if found > most {
        return Err(LimitExceeded::Bytes { what: "file of vfat", found, most }.into());
    }
    Ok(found)
}
