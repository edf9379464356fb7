//! The boot sector, and where everything lies.

use super::{raw, wrong};
use crate::ReadAt;
use crate::error::{Corrupt, Result, Unsupported};
use crate::read::read_struct;
use crate::units::ByteRange;
use std::num::NonZeroU64;

/// How wide an entry of the table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Fat12,
    Fat16,
    Fat32,
}

impl Width {
    const fn bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }
}

/// Where the root directory is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Root {
    /// In a place of its own.
    Area(ByteRange),
    /// In clusters, as any other directory.
    Cluster(u32),
}

/// What the boot sector says, checked.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) width: Width,
    pub(super) sector_bytes: NonZeroU64,
    pub(super) cluster_bytes: NonZeroU64,
    /// The first of the tables; the others are copies.
    pub(super) table: ByteRange,
    pub(super) root: Root,
    /// How many clusters there are; the first has number 2.
    pub(super) clusters: u32,
    data_start: u64,
}

/// Numbers of sectors.
struct Layout {
    reserved: u64,
    table: u64,
    tables: u64,
    root: u64,
    all: u64,
}

impl Layout {
    const fn root_start(&self) -> u64 {
        self.reserved.saturating_add(self.tables.saturating_mul(self.table))
    }

    const fn data_start(&self) -> u64 {
        self.root_start().saturating_add(self.root)
    }
}

impl Volume {
    pub(super) fn read<R: ReadAt>(reader: &R) -> Result<Self> {
        let boot: raw::BootSector = read_struct(reader, 0)?;
        let signature: zerocopy::little_endian::U16 = read_struct(reader, raw::SIGNATURE_OFFSET)?;
        if signature.get() != raw::SIGNATURE {
            return Err(wrong("boot signature", signature.get(), "0xaa55"));
        }
        let sector_bytes = u64::from(boot.sector_bytes.get());
        let sector = NonZeroU64::new(sector_bytes)
            .filter(|_| (512..=4096).contains(&sector_bytes) && sector_bytes.is_power_of_two())
            .ok_or_else(|| wrong("sector size", sector_bytes, "512, 1024, 2048 or 4096"))?;
        let per_cluster = u64::from(boot.cluster_sectors);
        let cluster_bytes = NonZeroU64::new(per_cluster.saturating_mul(sector_bytes))
            .filter(|_| per_cluster.is_power_of_two())
            .ok_or_else(|| wrong("sectors of a cluster", per_cluster, "a power of two"))?;
        if !matches!(boot.media, 0xf0 | 0xf8..) {
            return Err(wrong("media type", boot.media, "0xf0, or 0xf8 to 0xff"));
        }
        let wide: Option<raw::Wide> = match boot.table_sectors.get() {
            0 => Some(read_struct(reader, raw::WIDE_OFFSET)?),
            _ => None,
        };
        let layout = layout(&boot, wide.as_ref(), sector)?;
        let (end, size) = (layout.all.saturating_mul(sector_bytes), reader.size_bytes()?);
        if end > size {
            return Err(Corrupt::OutOfBounds { end, size }.into());
        }
        let clusters = layout.all.saturating_sub(layout.data_start()).checked_div(per_cluster).unwrap_or(0);
        let width = width(clusters, wide.is_some())?;
        let table_bytes = layout.table.saturating_mul(sector_bytes);
        let entries = table_bytes.saturating_mul(8).checked_div(width.bits()).unwrap_or(0);
        let range = |start: u64, sectors: u64| {
            ByteRange::with_len(start.saturating_mul(sector_bytes), sectors.saturating_mul(sector_bytes))
        };
        let table = range(layout.reserved, layout.table).filter(|_| entries >= clusters.saturating_add(2));
        let table = table.ok_or_else(|| wrong("table", entries, "an entry for each cluster, and two"))?;
        let clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
        let root = match wide {
            Some(wide) => root_cluster(&wide, clusters)?,
            None => Root::Area(range(layout.root_start(), layout.root).unwrap_or(ByteRange::EMPTY)),
        };
        let data_start = layout.data_start().saturating_mul(sector_bytes);
        Ok(Self { width, sector_bytes: sector, cluster_bytes, table, root, clusters, data_start })
    }

    /// Whether there is a cluster of this number.
    pub(super) const fn has(&self, cluster: u32) -> bool {
        cluster >= 2 && cluster.saturating_sub(2) < self.clusters
    }

    /// Where a cluster starts, in bytes.
    pub(super) fn offset_of(&self, cluster: u32) -> Result<u64> {
        if !self.has(cluster) {
            return Err(wrong("cluster", cluster, "2 to the number of all clusters and one"));
        }
        let index = u64::from(cluster.saturating_sub(2));
        Ok(self.data_start.saturating_add(index.saturating_mul(self.cluster_bytes.get())))
    }
}

/// Counts sectors.
fn layout(boot: &raw::BootSector, wide: Option<&raw::Wide>, sector: NonZeroU64) -> Result<Layout> {
    let all = match (boot.few_sectors.get(), boot.many_sectors.get()) {
        (0, many) => many,
        (few, 0) => few.into(),
        (few, many) if many == u32::from(few) => many,
        (_, many) => return Err(wrong("number of sectors", many, "one number")),
    };
    if boot.reserved_sectors.get() == 0 {
        return Err(wrong("number of reserved sectors", 0_u32, "at least 1"));
    }
    if boot.tables == 0 {
        return Err(wrong("number of tables", 0_u32, "at least 1"));
    }
    let root_bytes = u64::from(boot.root_entries.get()).saturating_mul(32);
    if wide.is_some() && root_bytes != 0 {
        return Err(wrong("size of the root directory", root_bytes, "0 where it is in clusters"));
    }
    if wide.is_none() && (root_bytes == 0 || root_bytes % sector != 0) {
        return Err(wrong("size of the root directory", root_bytes, "whole sectors"));
    }
    let layout = Layout {
        reserved: boot.reserved_sectors.get().into(),
        table: wide.map_or(boot.table_sectors.get().into(), |wide| wide.table_sectors.get().into()),
        tables: boot.tables.into(),
        root: root_bytes / sector,
        all: all.into(),
    };
    if layout.data_start() >= layout.all {
        return Err(wrong("number of sectors", all, "more than what is before the first cluster"));
    }
    Ok(layout)
}

/// The width of the table's entries.
///
/// The specification goes by the number of clusters alone. Linux, firmware and what makes small EFI system partitions
/// tell FAT32 by its boot sector, so that it may have fewer clusters than FAT16.
fn width(clusters: u64, wide: bool) -> Result<Width> {
    match clusters {
        0 => Err(wrong("number of clusters", 0_u32, "at least 1")),
        1..=0x0fff_fff5 if wide => Ok(Width::Fat32),
        _ if wide => Err(wrong("number of clusters", clusters, "at most 268435445")),
        1..=4084 => Ok(Width::Fat12),
        4085..=65524 => Ok(Width::Fat16),
        _ => Err(wrong("number of clusters", clusters, "at most 65524 without FAT32")),
    }
}

fn root_cluster(wide: &raw::Wide, clusters: u32) -> Result<Root> {
    const ONE_TABLE: u16 = 0x80;
    if wide.version.get() != 0 {
        let found = wide.version.get().into();
        return Err(Unsupported::FileSystemFeature { what: "a later version of FAT32", found }.into());
    }
    if wide.flags.get() & ONE_TABLE != 0 {
        let found = wide.flags.get().into();
        return Err(Unsupported::FileSystemFeature { what: "tables that are no copies", found }.into());
    }
    let root = wide.root_cluster.get();
    match root.checked_sub(2) {
        Some(index) if index < clusters => Ok(Root::Cluster(root)),
        _ => Err(wrong("cluster of the root directory", root, "2 to the number of all clusters and one")),
    }
}
