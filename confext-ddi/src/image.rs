//! An image: its designated partitions or its bare file system.
//!
//! ```text
//!  root ──────── protected by ──────► root-verity ──── top of the tree = root hash ──┐
//!                                     root-verity-sig ── root hash and its signature ┴─► Claim
//! ```
//!
//! A bare file system has the same in files beside it ([`Sidecars`]). [`Image::open`] reads what an image says of itself;
//! nothing is checked against a key here. What it says becomes trust only in
//! [`Policy::judge`](crate::policy::Policy::judge).

mod claim;
mod layout;
mod partition;
mod select;

pub use claim::Claim;
pub use partition::{Partition, Skipped, SkippedBecause};

use crate::digest::RootHash;
use crate::dps::{Architecture, Designator};
use crate::error::{Corrupt, Result, Unsupported};
use crate::filter::Filter;
use crate::fstype::{self, FsType};
use crate::gpt;
use crate::limits::Limits;
use crate::read::ReadAt;
use crate::sidecar::{self, Sidecars};
use layout::Layout;
use std::sync::Arc;

/// Whether partitions of an architecture that is not the wanted one may be used.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, dps::Architecture, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.architecture(Architecture::S390x).unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::dps::Architecture;
/// use confext_ddi::image::{Foreign, Image, Options};
///
/// // The image was built for s390x, and is looked at on another machine.
/// let options = Options::default().architecture(Architecture::Arm64);
/// let refused = Image::open(bytes.as_slice(), &options).map(drop).unwrap_err();
/// assert_eq!(refused.code(), "foreign-architecture");
/// let image = Image::open(bytes.as_slice(), &options.foreign(Foreign::Accept))?;
/// assert_eq!(image.data().architecture, Some(Architecture::S390x));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Foreign {
    /// They are refused.
    #[default]
    Refuse,
    /// They are used when there are none of the wanted architecture.
    Accept,
}

/// Which root or usr partition counts when there are several, with its hash tree and signature: A/B images.
///
/// All other designators are there once, or the image is refused.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::RootHash;
/// use confext_ddi::image::{Image, Options, Select};
///
/// // The version that a boot entry names by its root hash, and no other.
/// let image = Image::open(bytes.as_slice(), &Options::default())?;
/// let wanted = *image.claim().root_hash().ok_or("it has a hash tree")?;
/// let options = Options::default().select(Select::RootHash(wanted));
/// assert!(Image::open(bytes.as_slice(), &options).is_ok());
/// let options = options.select(Select::RootHash(RootHash::from_bytes([7; 32])));
/// assert!(Image::open(bytes.as_slice(), &options).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Select {
    /// There must not be several.
    #[default]
    Only,
    /// The one whose label is the highest version by UAPI.10, of each designator: as systemd chooses. Data, hash tree
    /// and signature that do not belong together are found out when they are checked.
    Newest,
    /// The pair that this root hash names: the UUID of the data partition is its first half, that of the hash partition
    /// its second. The signature is the one made of it. An image that has no such pair is refused.
    RootHash(RootHash),
}

/// Which copies of the partition table an image must have.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::image::{Copies, Image, Options};
///
/// // A download that stopped early has no backup copy of the table, which lies at the end.
/// let partial = &bytes[..bytes.len() - 512];
/// let options = Options::default();
/// assert!(Image::open(partial, &options).is_ok());
/// let error = Image::open(partial, &options.copies(Copies::Both)).map(drop).unwrap_err();
/// assert_eq!(error.code(), "gpt-copies");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Copies {
    /// One that checks, the primary one first; [`gpt::Table::source`] tells which one it was and what the other is like.
    #[default]
    Any,
    /// A primary and a backup copy that agree.
    Both,
}

/// How to open an image.
///
/// ```
/// use confext_ddi::image::{Copies, Foreign, Options, Select};
///
/// // The newest of several root partitions, for whatever architecture, with both copies of the partition table.
/// let options = Options::default().select(Select::Newest).foreign(Foreign::Accept).copies(Copies::Both);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Caps on what is read and allocated.
    pub limits: Limits,
    /// The wanted architecture. Default: the one this program was built for.
    pub architecture: Option<Architecture>,
    /// What to do with partitions of other architectures. Default: refuse.
    pub foreign: Foreign,
    /// What to do about several root or usr partitions. Default: refuse.
    pub select: Select,
    /// Which copies of the partition table must be there. Default: one.
    pub copies: Copies,
    /// Which partitions are considered, by their labels. Default: all.
    pub filter: Filter,
    pub(crate) signature: SignaturePartition,
}

/// Whether a signature partition is read. Who signs an image does not mind what is in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignaturePartition {
    Read,
    Ignored,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            architecture: Architecture::of_build(),
            foreign: Foreign::default(),
            select: Select::default(),
            copies: Copies::default(),
            signature: SignaturePartition::Read,
            filter: Filter::default(),
        }
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

    /// Sets what to do about several root or usr partitions.
    #[must_use]
    pub fn select(mut self, select: Select) -> Self {
        self.select = select;
        self
    }

    /// Sets which copies of the partition table must be there.
    #[must_use]
    pub fn copies(mut self, copies: Copies) -> Self {
        self.copies = copies;
        self
    }

    /// Sets which partitions are considered.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }
}

/// An opened image: where its parts are and what it claims of itself. Nothing of it is checked yet.
///
/// ```
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class, signature::*};
/// # let now = Time::from(std::time::SystemTime::now());
/// # let key = KeyPair::generate("vendor", now, 30)?;
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let mut bytes = std::io::Cursor::new(Vec::new());
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).build(&mut bytes, Some(&key))?;
/// # let bytes = bytes.into_inner();
/// # let mut trusted = Certificates::new(now);
/// # trusted.add_pem(&key.certificate_pem()?)?;
///
/// let image = Image::open(bytes.as_slice(), &image::Options::default())?;
/// assert_eq!(image.data().designator.as_str(), "root");
/// // What it claims was not checked: `Policy::judge` does that.
/// assert!(matches!(image.claim(), image::Claim::Signed { .. }));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug)]
pub struct Image<R> {
    reader: Arc<R>,
    limits: Limits,
    table: Option<gpt::Table>,
    layout: Layout,
    claim: Claim,
    /// The file of its own that holds the hash tree.
    tree: Option<Arc<R>>,
    sidecars: sidecar::Report,
    name: Vec<u8>,
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
            tree: self.tree.clone(),
            sidecars: self.sidecars.clone(),
            name: self.name.clone(),
        }
    }
}

impl<R: ReadAt> Image<R> {
    /// Reads the partition table, or the superblock of a bare file system, and the signature partition.
    ///
    /// # Errors
    ///
    /// `image-empty`, `image-unknown`, `image-ambiguous`; as [`gpt::Table::read`] and [`fstype::probe`] report, with
    /// `fs-size` when a file system does not fit its place; `no-data-partition`, `image-filter`, `foreign-architecture`,
    /// `root-and-usr`, `partitions-ambiguous`, `root-hash-partition`, `gpt-copies`; `verity-without-data`, `signature-without-verity`,
    /// `verity-uuid-zero`, `root-hash-uuid`; as [`signature::Json::parse`](crate::signature::Json::parse) reports.
    pub fn open(reader: R, options: &Options) -> Result<Self> {
        Self::open_with(reader, Sidecars::none(), options)
    }

    /// As [`Image::open`], with what was found beside the image.
    ///
    /// A root hash that comes with a bare file system is that of the file with the hash tree; in an image with
    /// partitions it chooses them, as [`Select::RootHash`] does. A signature that comes along counts before that in a
    /// signature partition.
    ///
    /// # Errors
    ///
    /// As [`Image::open`], and `sidecar-incomplete`, `sidecar-ambiguous`, `sidecar-table`.
    pub fn open_with(reader: R, sidecars: Sidecars<R>, options: &Options) -> Result<Self> {
        let sidecars = sidecars.into_parts()?;
        let options = match (&sidecars.hash, options.select) {
            (Some(hash), Select::RootHash(asked)) if asked != hash.root_hash => {
                return Err(sidecar::Parts::<R>::other_hash(hash));
            }
            (Some(hash), _) => &options.clone().select(Select::RootHash(hash.root_hash)),
            (None, _) => options,
        };
        let size_bytes = reader.size_bytes()?;
        if size_bytes == 0 {
            return Err(Corrupt::ImageEmpty.into());
        }
        let table = gpt::Table::read(&reader, &options.limits)?;
        if let (Some(table), Copies::Both) = (&table, options.copies) {
            table.check_copies()?;
        }
        let bare = fstype::probe(&reader)?.filter(|found| found.fs_type != FsType::Swap);
        if let (Some(_), Some(_)) = (&table, &sidecars.tree) {
            return Err(Corrupt::SidecarTable { found: sidecars.tree_name }.into());
        }
        let layout = match (&table, bare) {
            (Some(_), Some(found)) => {
                return Err(Corrupt::ImageAmbiguous { file_system: found.fs_type.as_str() }.into());
            }
            (None, None) => return Err(Unsupported::NotAnImage { size: size_bytes }.into()),
            (Some(table), None) => layout::of_table(&reader, table, options)?,
            (None, Some(_)) => layout::of_bare(&reader, size_bytes, &sidecars, options)?,
        };
        let claim = claim::read(&reader, &layout, &sidecars, options)?;
        Ok(Self {
            reader: Arc::new(reader),
            limits: options.limits.clone(),
            table,
            layout,
            claim,
            tree: sidecars.tree.map(Arc::new),
            sidecars: sidecars.report,
            name: sidecars.image,
        })
    }

    /// Looks among the names of the files beside the image for some that are nearly those of sidecars. A policy that
    /// asks for protection refuses an image that is not signed where there is one.
    pub fn note_neighbours<N: AsRef<[u8]>>(&mut self, names: &[N]) {
        self.sidecars.near_misses = sidecar::near_misses(&self.name, names);
    }

    /// What was looked for beside the image, what was found, and what was nearly found.
    #[must_use]
    pub fn sidecars(&self) -> &sidecar::Report {
        &self.sidecars
    }

    /// The source of the image's bytes.
    #[must_use]
    pub fn reader(&self) -> &R {
        &self.reader
    }

    pub(crate) fn shared_reader(&self) -> Arc<R> {
        Arc::clone(&self.reader)
    }

    /// What [`Image::hash`] lies in: the image itself, or a file beside it.
    #[must_use]
    pub fn hash_reader(&self) -> &R {
        self.tree.as_ref().unwrap_or(&self.reader)
    }

    /// The same, to be kept.
    pub(crate) fn shared_hash_reader(&self) -> Arc<R> {
        Arc::clone(self.tree.as_ref().unwrap_or(&self.reader))
    }

    /// Whether there is such a partition, or a file that stands for it.
    pub(crate) fn has(&self, designator: Designator) -> bool {
        let is = |found: &Partition| found.designator == designator;
        let signed = matches!(self.claim, Claim::Signed { .. });
        self.layout.partitions.iter().any(is)
            || self.hash().is_some_and(is)
            || signed && self.data().designator.verity_sig() == Some(designator)
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

    /// The partition with the hash tree over [`Image::data`]; for a bare file system, all of the file that holds it.
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
