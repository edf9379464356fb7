//! Boot partitions: the files that firmware and boot loaders read, in vfat before everything else.

use super::{Builder, range_after};
use crate::build::tree::{Timestamp, Tree};
use crate::build::{gpt as table, ids, vfat};
use crate::dps::{Designator, PartitionType};
use crate::error::{Refused, Result, ResultExt as _, Unsupported};
use crate::gpt::{Attributes, Partition};
use crate::id::Uuid;
use crate::release::ImageKind;
use crate::units::PartitionNumber;
use std::io::{Read as _, Seek, SeekFrom, Write};

impl Builder {
    /// The files of the EFI system partition of an operating system: vfat, in a partition before all others, see
    /// [`vfat::write`]. Firmware reads it before there is a key: no hash tree protects it, and policies that ask for
    /// protection leave it unused.
    #[must_use]
    pub fn esp(mut self, tree: Tree) -> Self {
        self.boot.insert(Designator::Esp, tree);
        self
    }

    /// The same for the extended boot loader partition: more kernels than fit the EFI system partition.
    #[must_use]
    pub fn xbootldr(mut self, tree: Tree) -> Self {
        self.boot.insert(Designator::Xbootldr, tree);
        self
    }

    /// Only an operating system boots.
    pub(super) fn check_boot(&self) -> Result<()> {
        match self.boot.keys().next() {
            Some(designator) if !matches!(self.kind, ImageKind::Root | ImageKind::Usr) => {
                let (designator, found) = (designator.as_str(), self.kind.as_str());
                Err(Refused::BootPartition { designator, found }.into())
            }
            _ => Ok(()),
        }
    }

    /// Writes the boot partitions from where the first partition starts. Types, labels and identifiers are those
    /// systemd-repart gives; it sets no attributes.
    pub(super) fn write_boot<W: Write + Seek>(&self, seed: Uuid, out: &mut W) -> Result<Vec<Partition>> {
        let mut partitions: Vec<Partition> = Vec::new();
        for (designator, tree) in &self.boot {
            let kind = PartitionType { designator: *designator, architecture: None };
            let type_guid = kind.to_guid().ok_or(Unsupported::ArchitectureUnknown)?;
            let mut options = vfat::Options::default();
            options.uuid = ids::file_system(seed, type_guid);
            options.label = designator.as_str().to_ascii_uppercase();
            options.latest_mtime = self.time.map(Timestamp::from_seconds);
            options.build_time = options.latest_mtime.unwrap_or_default();
            let start = partitions.last().map_or(table::FIRST_PARTITION, |last| last.range.end());
            out.seek(SeekFrom::Start(start))?;
            let size = vfat::write(tree, &options, out).within(designator.as_str())?;
            let range = range_after(start, size.next_multiple_of(table::GRAIN))?;
            let padding = range.len_bytes().saturating_sub(size);
            std::io::copy(&mut std::io::repeat(0).take(padding), out)?;
            partitions.push(Partition {
                number: next_number(&partitions)?,
                type_guid,
                unique_guid: ids::partition(seed, type_guid).to_guid(),
                range,
                attributes: Attributes::empty(),
                label: designator.as_str().to_owned(),
            });
        }
        Ok(partitions)
    }
}

/// The number behind those that are taken.
pub(super) fn next_number(partitions: &[Partition]) -> Result<PartitionNumber> {
    let number = partitions.len().checked_add(1).and_then(|number| u32::try_from(number).ok());
    let number = number.and_then(PartitionNumber::new);
    number.ok_or_else(|| Unsupported::GptNoRoom { reason: "a partition has a number above 128" }.into())
}
