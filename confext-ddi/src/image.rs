//! An image: its designated partitions or its bare file system.
//!
//! ```text
//!  root ──────── protected by ──────► root-verity ──── top of the tree = root hash ──┐
//!                                     root-verity-sig ── root hash and its signature ┴─► Claim
//! ```
//!
//! [`Image::open`] reads what an image says of itself; nothing is checked against a key here. What it says becomes
//! trust only in [`Policy::judge`](crate::policy::Policy::judge).

mod claim;
mod layout;
mod partition;

pub use claim::Claim;
pub use partition::{Partition, Skipped, SkippedBecause};

use crate::dps::Architecture;
use crate::error::{Corrupt, Result, Unsupported};
use crate::fstype::{self, FsType};
use crate::gpt;
use crate::limits::Limits;
use crate::read::ReadAt;
use layout::Layout;
use std::sync::Arc;

/// Whether partitions of an architecture that is not the wanted one may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Foreign {
    /// They are refused.
    #[default]
    Refuse,
    /// They are used when there are none of the wanted architecture.
    Accept,
}

/// How to open an image.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Caps on what is read and allocated.
    pub limits: Limits,
    /// The wanted architecture. Default: the one this program was built for.
    pub architecture: Option<Architecture>,
    /// What to do with partitions of other architectures. Default: refuse.
    pub foreign: Foreign,
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: Limits::default(), architecture: Architecture::of_build(), foreign: Foreign::Refuse }
    }
}

impl Options {
    /// Sets the caps.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the wanted architecture.
    #[must_use]
    pub fn architecture(mut self, architecture: Architecture) -> Self {
        self.architecture = Some(architecture);
        self
    }

    /// Sets what to do with partitions of other architectures.
    #[must_use]
    pub fn foreign(mut self, foreign: Foreign) -> Self {
        self.foreign = foreign;
        self
    }
}

/// An opened image: where its parts are and what it claims of itself. Nothing of it is checked yet.
#[derive(Debug)]
pub struct Image<R> {
    reader: Arc<R>,
    limits: Limits,
    table: Option<gpt::Table>,
    layout: Layout,
    claim: Claim,
}

/// The copy reads from the same source.
impl<R> Clone for Image<R> {
    fn clone(&self) -> Self {
        Self {
            reader: Arc::clone(&self.reader),
            limits: self.limits.clone(),
            table: self.table.clone(),
            layout: self.layout.clone(),
            claim: self.claim.clone(),
        }
    }
}

impl<R: ReadAt> Image<R> {
    /// Reads the partition table, or the superblock of a bare file system, and the signature partition.
    ///
    /// # Errors
    ///
    /// `image-empty`, `image-unknown`, `image-ambiguous`; as [`gpt::Table::read`] and [`fstype::probe`] report, with
    /// `fs-size` when a file system does not fit its place; `no-data-partition`, `foreign-architecture`,
    /// `root-and-usr`, `partitions-ambiguous`; `verity-without-data`, `signature-without-verity`,
    /// `verity-uuid-zero`, `root-hash-uuid`; as [`signature::Json::parse`](crate::signature::Json::parse) reports.
    pub fn open(reader: R, options: &Options) -> Result<Self> {
        let size_bytes = reader.size_bytes()?;
        if size_bytes == 0 {
            return Err(Corrupt::ImageEmpty.into());
        }
        let table = gpt::Table::read(&reader, &options.limits)?;
        let bare = fstype::probe(&reader)?.filter(|found| found.fs_type != FsType::Swap);
        let layout = match (&table, bare) {
            (Some(_), Some(found)) => {
                return Err(Corrupt::ImageAmbiguous { file_system: found.fs_type.as_str() }.into());
            }
            (None, None) => return Err(Unsupported::NotAnImage { size: size_bytes }.into()),
            (Some(table), None) => layout::of_table(&reader, table, options)?,
            (None, Some(_)) => layout::of_bare(&reader, size_bytes)?,
        };
        let claim = claim::read(&reader, &layout, &options.limits)?;
        Ok(Self { reader: Arc::new(reader), limits: options.limits.clone(), table, layout, claim })
    }

    /// The source of the image's bytes.
    #[must_use]
    pub fn reader(&self) -> &R {
        &self.reader
    }

    pub(crate) fn shared_reader(&self) -> Arc<R> {
        Arc::clone(&self.reader)
    }

    /// The caps the image was opened with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The partition table; `None` for a bare file system.
    #[must_use]
    pub fn table(&self) -> Option<&gpt::Table> {
        self.table.as_ref()
    }

    /// The designated partitions, in the order of their numbers; of a bare file system, one.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.layout.partitions
    }

    /// The partitions that are there but do not count, and why.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.layout.skipped
    }

    /// The root or usr partition: what the image is for.
    #[must_use]
    pub fn data(&self) -> &Partition {
        &self.layout.data
    }

    /// The partition with the hash tree over [`Image::data`].
    #[must_use]
    pub fn hash(&self) -> Option<&Partition> {
        self.layout.tree.as_ref().map(|tree| &tree.hash)
    }

    /// What the image says of its own protection. Nobody checked it.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
