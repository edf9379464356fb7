//! vfat, FAT16 or FAT32: the file system of EFI system partitions and of extended boot loader partitions.
//!
//! ```text
//!  sector 0            1 … (FAT32: 32 in all)
//! ┌──────────────────┬───────────┬────────────┬────────────────┬─────────────────────────────────────┐
//! │ boot sector      │ FAT32:    │ two tables │ FAT16: root    │ clusters: directories and files,    │
//! │ without code     │ its copy  │            │ directory      │ each in one piece, then free ones   │
//! └──────────────────┴───────────┴────────────┴────────────────┴─────────────────────────────────────┘
//! ```
//!
//! FAT16 as long as everything fits, which is up to 32 MiB; then FAT32. Neither has fewer clusters than the specification
//! asks for, so that the least size is 2 MiB. The same tree and options give the same bytes.
//!
//! *Spec*: Microsoft, "FAT: General Overview of On-Disk Format", 1.03; UEFI 2.10, section 13.3.

mod entry;
mod layout;
mod name;
#[cfg(test)]
mod tests;

use super::erofs;
use super::format::effective;
use super::tree::{Kind, Timestamp, Tree, show};
use crate::error::{Corrupt, Result, ResultExt as _};
use crate::id::Uuid;
use crate::units::ByteRange;
use entry::Time;
use layout::{Item, Layout, SECTOR};
use std::io::Write;

/// What of a volume does not come from its tree.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// What the volume's identifier is made from: its first four bytes. Default: all zero.
    pub uuid: Uuid,
    /// The volume's label: up to 11 upper-case ASCII letters, digits and spaces. Default: `ESP`.
    pub label: String,
    /// Modification time of the entries that have none of their own; no time is before 1980. Default: 1970-01-01.
    pub build_time: Timestamp,
    /// Later modification times are set to this one, as `SOURCE_DATE_EPOCH` asks. Default: kept as they are.
    pub latest_mtime: Option<Timestamp>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            uuid: Uuid::from_bytes([0; 16]),
            label: "ESP".to_owned(),
            build_time: Timestamp::default(),
            latest_mtime: None,
        }
    }
}

/// Writes `tree` as a vfat volume, front to back from where `out` stands, and returns its size in bytes: a multiple of 512.
///
/// FAT has neither owners nor modes: they are left out. Hard links become copies, and of times pairs of seconds remain.
///
/// # Errors
///
/// `vfat-entry` for what vfat cannot hold: anything but files and directories, extended attributes, names that are not
/// UTF-8, have one of `"*/:<>?\|` or a control character, end in a dot or a space, are longer than 255 units of UTF-16, or
/// are those of another entry in another case; more than 65,536 entries in a directory; times after 2107. `limit-bytes`
/// for a file of 4 GiB, `source-changed` when a file is not what it was when it was added; else an I/O error.
pub fn write(tree: &Tree, options: &Options, out: &mut impl Write) -> Result<u64> {
    let layout = Layout::new(tree).within("vfat")?;
    Writer { layout, options, sink: Sink { out, position: 0 } }.write().within("vfat")
}

struct Writer<'t, 'o, W> {
    layout: Layout<'t>,
    options: &'o Options,
    sink: Sink<'o, W>,
}

impl<W: Write> Writer<'_, '_, W> {
    fn write(mut self) -> Result<u64> {
        let boot = self.layout.boot_sector(self.options);
        self.put(&boot)?;
        if self.layout.is_wide() {
            let info = self.layout.info_sector();
            self.put(&info)?;
            self.sink.pad_to(6_u64.saturating_mul(SECTOR))?;
            self.put(&boot)?;
            self.put(&info)?;
        }
        self.sink.pad_to(self.layout.reserved_bytes())?;
        let table = self.layout.table();
        self.put(&table)?;
        self.put(&table)?;
        let items = std::mem::take(&mut self.layout.items);
        for item in &items {
            self.item(item, &items).within(show(&item.path))?;
        }
        self.sink.pad_to(self.layout.size_bytes())?;
        Ok(self.sink.position)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.sink.write_all(bytes)?)
    }

    fn item(&mut self, item: &Item<'_>, items: &[Item<'_>]) -> Result<()> {
        match &item.node.kind {
            Kind::File(content) => {
                let range = ByteRange::with_len(0, item.bytes).unwrap_or(ByteRange::EMPTY);
                let end = self.sink.position.saturating_add(item.bytes);
                if !range.is_empty() {
                    content.copy(&[range], &mut self.sink)?;
                }
                if self.sink.position != end {
                    return Err(Corrupt::SourceChanged { path: show(&item.path), what: "size" }.into());
                }
            }
            _ => {
                let bytes = self.directory(item, items)?;
                self.put(&bytes)?;
            }
        }
        self.sink.pad_to(self.layout.end_of(item, self.sink.position))
    }

    fn directory(&self, item: &Item<'_>, items: &[Item<'_>]) -> Result<Vec<u8>> {
        let first_of = |index: usize| items.get(index).map_or(0, |item| item.first);
        let time = self.time(item)?;
        let mut bytes = Vec::new();
        if let Some(parent) = item.parent {
            // The root is named by zero, also where it has a cluster.
            let parent_first = if parent == 0 { 0 } else { first_of(parent) };
            entry::short(&mut bytes, *b".          ", entry::DIRECTORY, time, (item.first, 0));
            entry::short(&mut bytes, *b"..         ", entry::DIRECTORY, time, (parent_first, 0));
        } else {
            entry::short(&mut bytes, entry::label(&self.options.label), entry::LABEL, time, (0, 0));
        }
        for (name, child) in &item.names {
            let Some(child) = items.get(*child) else { continue };
            let time = self.time(child)?;
            entry::long(&mut bytes, name);
            let (attributes, size) = match &child.node.kind {
                Kind::File(_) => (entry::ARCHIVE, u32::try_from(child.bytes).unwrap_or(u32::MAX)),
                _ => (entry::DIRECTORY, 0),
            };
            entry::short(&mut bytes, name.short, attributes, time, (child.first, size));
        }
        Ok(bytes)
    }

    fn time(&self, item: &Item<'_>) -> Result<Time> {
        let mut options = erofs::Options { build_time: self.options.build_time, ..erofs::Options::default() };
        options.latest_mtime = self.options.latest_mtime;
        let seconds = effective(item.node.meta.mtime, &options).seconds();
        Time::new(seconds).ok_or_else(|| layout::refused(&item.path, "a time after 2107"))
    }
}

/// Counts what is written.
struct Sink<'o, W> {
    out: &'o mut W,
    position: u64,
}

impl<W: Write> Sink<'_, W> {
    fn pad_to(&mut self, end: u64) -> Result<()> {
        static ZEROS: [u8; 65_536] = [0; 65_536];
        while self.position < end {
            let rest = usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX);
            self.write_all(ZEROS.get(..rest).unwrap_or(&ZEROS))?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Sink<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.position = self.position.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
