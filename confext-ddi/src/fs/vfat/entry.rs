//! Entries of directories as inodes: type, size, time and the first cluster.

use super::raw::attribute;
use super::volume::{Root, Width};
use super::{Vfat, raw, wrong};
use crate::ReadAt;
use crate::error::Result;
use crate::fs::{FileType, Metadata};
use crate::read::read_struct;

/// Identifies the root, which has no entry. Others are known by where their entries are: none is in the first sector.
pub(super) const ROOT: u64 = 0;
const ENTRY_BYTES: u64 = 32;
/// Numbers of files start here; those of directories are their first clusters, so that one is itself wherever it is.
const FILES: u64 = 1 << 40;

/// Where content starts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// An empty file has no clusters.
    Nothing,
    Cluster(u32),
    Root,
}

#[derive(Debug, Clone)]
pub(in crate::fs) struct Inode {
    pub(super) meta: Metadata,
    pub(super) start: Start,
}

/// The identifier of the entry at this offset.
pub(super) const fn id_at(offset: u64) -> u64 {
    offset / ENTRY_BYTES
}

/// The first cluster an entry names. Other widths than FAT32 have no upper half.
pub(super) fn first_cluster<R: ReadAt>(fs: &Vfat<R>, entry: &raw::Entry) -> u32 {
    let high = if fs.volume.width == Width::Fat32 { entry.cluster_high.get() } else { 0 };
    u32::from(high) << 16 | u32::from(entry.cluster_low.get())
}

pub(super) const fn file_type(entry: &raw::Entry) -> FileType {
    if entry.attributes & attribute::DIRECTORY == 0 { FileType::Regular } else { FileType::Directory }
}

impl Inode {
    pub(super) fn read<R: ReadAt>(fs: &Vfat<R>, id: u64) -> Result<Self> {
        if id == ROOT {
            let ino = match fs.volume.root {
                Root::Area(_) => 1,
                Root::Cluster(cluster) => cluster.into(),
            };
            return Ok(Self { meta: metadata(FileType::Directory, ino), start: Start::Root });
        }
        let entry: raw::Entry = read_struct(&fs.reader, id.saturating_mul(ENTRY_BYTES))?;
        let (first, size) = (first_cluster(fs, &entry), u64::from(entry.size.get()));
        let file_type = file_type(&entry);
        let mut meta = metadata(file_type, FILES | id);
        meta.mtime_sec = seconds(entry.date.get(), entry.time.get())?;
        if file_type == FileType::Directory {
            if size != 0 {
                return Err(wrong("size of a directory", size, "0"));
            }
            fs.volume.offset_of(first)?;
            meta.ino = first.into();
            return Ok(Self { meta, start: Start::Cluster(first) });
        }
        meta.size_bytes = size;
        let start = match (size, first) {
            (0, 0) => Start::Nothing,
            (0, first) => return Err(wrong("cluster of an empty file", first, "0")),
            _ => {
                fs.volume.offset_of(first)?;
                Start::Cluster(first)
            }
        };
        if size.div_ceil(fs.volume.cluster_bytes.get()) > fs.volume.clusters.into() {
            return Err(wrong("file size", size, "at most that of all clusters"));
        }
        Ok(Self { meta, start })
    }
}

const fn metadata(file_type: FileType, ino: u64) -> Metadata {
    Metadata {
        mode: if matches!(file_type, FileType::Directory) { 0o755 } else { 0o644 },
        file_type,
        uid: 0,
        gid: 0,
        size_bytes: 0,
        mtime_sec: 0,
        mtime_nsec: 0,
        nlink: 1,
        rdev: None,
        ino,
    }
}

/// Seconds since 1970, taken for UTC. Who knows no time writes zeros: that is the first moment there is, as in Linux.
fn seconds(date: u16, time: u16) -> Result<i64> {
    /// Days before each month of a year that is no leap year.
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    /// From 1970 to 1980.
    const START_DAYS: i64 = 3652;
    if (date, time) == (0, 0) {
        return Ok(START_DAYS.saturating_mul(86400));
    }
    let years = i64::from(date >> 9);
    let (month, day) = (usize::from(date >> 5 & 0xf), i64::from(date & 0x1f));
    // 2100, 120 years after the start, is no leap year.
    let is_leap = years % 4 == 0 && years != 120;
    let leap_days = (years.saturating_add(3) / 4).saturating_sub(i64::from(years > 120));
    let before = month.checked_sub(1).and_then(|index| BEFORE.get(index));
    let before = *before.ok_or_else(|| wrong("month", month, "1 to 12"))?;
    let days_of_month = match month {
        2 => 28_i64.saturating_add(i64::from(is_leap)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=days_of_month).contains(&day) {
        return Err(wrong("day", day, "a day of the month"));
    }
    let (hour, minute, second) =
        (i64::from(time >> 11), i64::from(time >> 5 & 0x3f), i64::from(time & 0x1f).saturating_mul(2));
    if hour > 23 || minute > 59 || second > 59 {
        return Err(wrong("time of a day", time, "hours to 23, minutes to 59 and pairs of seconds to 29"));
    }
    let days = START_DAYS
        .saturating_add(years.saturating_mul(365))
        .saturating_add(leap_days)
        .saturating_add(before)
        .saturating_add(i64::from(is_leap && month > 2))
        .saturating_add(day.saturating_sub(1));
    let minutes = hour.saturating_mul(60).saturating_add(minute);
    Ok(days.saturating_mul(86400).saturating_add(minutes.saturating_mul(60)).saturating_add(second))
}
