//! [`Way`]: how the bytes of an image reach the kernel, and why not otherwise.

use serde::{Deserialize, Serialize};

use super::{BlockChecks, Mode};
use crate::loopdev::Io;

/// How an image was attached.
///
/// ```no_run
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let image = Image::open(std::fs::File::open(&path)?, &image::Options::default())?;
/// # let admitted = Policy::verity().judge(image, None)?;
/// use confext_core::attach::{Mode, Reason, attach};
///
/// let attached = attach(admitted, Mode::Auto)?;
/// let way = &attached.origin().way;
/// if way.because == Reason::NoDmVerity {
///     println!("copied, as {}", way.detail.as_deref().unwrap_or_default());
/// }
/// assert_eq!((way.asked, way.verity.is_some()), (Mode::Auto, way.because == Reason::Asked));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Way {
    /// What the caller asked for.
    pub asked: Mode,
    /// What the kernel reads.
    pub reads: Reads,
    /// How a loop device reads its file, as the kernel says afterwards; `None` without one.
    pub io: Option<Io>,
    /// Why it is this way.
    pub because: Reason,
    /// What the kernel said against more than this: what dm-verity lacks here, or why its keyrings do not vouch for the
    /// signature; `None` when nothing was tried in vain.
    #[serde(default)]
    pub detail: Option<String>,
    /// The dm-verity device, if it is one.
    #[serde(default)]
    pub verity: Option<Mapped>,
}

/// A dm-verity device.
///
/// ```no_run
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let image = Image::open(std::fs::File::open(&path)?, &image::Options::default())?;
/// # let admitted = Policy::verity().judge(image, None)?;
/// use confext_core::attach::{CheckedBy, Mode, attach};
///
/// let attached = attach(admitted, Mode::DmVerity)?;
/// let mapped = attached.origin().way.verity.as_ref().ok_or("a device of dm-verity")?;
/// println!("dmsetup status {}", mapped.name);
/// // This policy asked for a hash tree, and for no signature.
/// assert_eq!(mapped.signature, CheckedBy::Nobody);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Mapped {
    /// Its name, as `dmsetup` lists it.
    pub name: String,
    /// Who checked the signature of the root hash.
    pub signature: CheckedBy,
    /// What it does about blocks that do not check, and which it checks.
    pub checks: BlockChecks,
}

/// Who checked the signature of a root hash, for a dm-verity device.
///
/// ```no_run
/// use confext_core::attach::{CheckedBy, Way};
///
/// /// What an audit asks of each image that is merged.
/// fn is_checked_by_the_kernel(way: &Way) -> bool {
///     way.verity.as_ref().is_some_and(|mapped| mapped.signature == CheckedBy::Kernel)
/// }
/// # use confext_core::{Host, state::HierarchyState};
/// # use confext_ddi::release::Class;
///
/// for status in confext_core::status(&Host::open("/")?, Class::Confext)? {
///     let HierarchyState::Merged { record: Some(record), .. } = status.state else { continue };
///     assert!(record.layers.iter().flat_map(|layer| &layer.attached).all(is_checked_by_the_kernel));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckedBy {
    /// The kernel, when it made the device, against its trusted keyrings.
    Kernel,
    /// This library, before the device was made without one.
    Library,
    /// Nobody: nobody asked for one.
    Nobody,
}

impl CheckedBy {
    /// As it is written: `kernel`, `library` or `nobody`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Library => "library",
            Self::Nobody => "nobody",
        }
    }
}

/// What the kernel reads of an image.
///
/// ```no_run
/// # use confext_core::{Host, state::HierarchyState};
/// # use confext_ddi::release::Class;
/// use confext_core::attach::Reads;
///
/// // Whether who can write an image's file changes what is merged.
/// for status in confext_core::status(&Host::open("/")?, Class::Confext)? {
///     let HierarchyState::Merged { record: Some(record), .. } = status.state else { continue };
///     for way in record.layers.iter().flat_map(|layer| &layer.attached) {
///         assert!(!matches!(way.reads, Reads::LoopDevice | Reads::File), "{}", way.reads.as_str());
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// The file, through dm-verity: each block is checked when it is read.
    DmVerity,
    /// A copy in memory that nobody can change, through a loop device.
    SealedMemory,
    /// The file, through a loop device.
    LoopDevice,
    /// The file itself.
    File,
    /// Nothing: its files were read, checked, by this process and written to memory.
    Extracted,
}

impl Reads {
    /// As it is written: `dm-verity`, `sealed-memory`, `loop-device`, `file` or `extracted`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DmVerity => "dm-verity",
            Self::SealedMemory => "sealed-memory",
            Self::LoopDevice => "loop-device",
            Self::File => "file",
            Self::Extracted => "extracted",
        }
    }

    /// The same for people.
    pub(crate) const fn phrase(self) -> &'static str {
        match self {
            Self::DmVerity => "its file, through dm-verity",
            Self::SealedMemory => "a copy in sealed memory",
            Self::LoopDevice => "its file, through a loop device",
            Self::File => "its file",
            Self::Extracted => "its files, written to memory",
        }
    }
}

/// Why an image was attached in one way and not in another.
///
/// ```no_run
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let image = Image::open(std::fs::File::open(&path)?, &image::Options::default())?;
/// # let admitted = Policy::verity().judge(image, None)?;
/// use confext_core::attach::{Mode, Reads, Reason, attach};
///
/// // As little as the evidence allows: what was checked is copied.
/// let attached = attach(admitted, Mode::InPlace)?;
/// let way = &attached.origin().way;
/// assert_eq!((way.reads, way.because), (Reads::SealedMemory, Reason::HashTree));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is what was asked for, or the first choice of what leaves a choice.
    Asked,
    /// What was checked must not change afterwards, so it was copied.
    HashTree,
    /// It has no hash tree that dm-verity could check it with, so it was copied.
    NoHashTree,
    /// There is no dm-verity here; [`Way::detail`] says what is missing. So it was copied while it was checked.
    NoDmVerity,
    /// Only EROFS can be read without a block device.
    FileSystem,
    /// It is no regular file, or one of an overlay, on which the kernel stacks no second one.
    Place,
    /// The kernel reads no EROFS from files (Linux 6.12 and later do), or not this one.
    Kernel,
    /// This process may not mount images.
    NotPermitted,
}

impl Reason {
    /// As it is written: `asked`, `hash-tree`, `no-hash-tree`, `no-dm-verity`, `file-system`, `place`, `kernel` or
    /// `not-permitted`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::HashTree => "hash-tree",
            Self::NoHashTree => "no-hash-tree",
            Self::NoDmVerity => "no-dm-verity",
            Self::FileSystem => "file-system",
            Self::Place => "place",
            Self::Kernel => "kernel",
            Self::NotPermitted => "not-permitted",
        }
    }
}
