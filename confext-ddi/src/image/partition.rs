//! The partitions of an image that mean something to it.

use crate::dps::{Architecture, Designator};
use crate::fstype::FsType;
use crate::id::Uuid;
use crate::units::{ByteRange, PartitionNumber};
use serde::Serialize;

/// A partition with a designator; or, in an image without a partition table, all of the image as `root`.
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
/// use confext_ddi::dps::Designator;
/// use confext_ddi::fstype::FsType;
/// use confext_ddi::image::{Image, Options};
///
/// let image = Image::open(bytes, &Options::default())?;
/// let data = image.data();
/// assert_eq!((data.designator, data.fs, data.read_only), (Designator::Root, Some(FsType::Erofs), true));
/// assert_eq!(image.partitions().len(), 2);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Partition {
    /// What it is for.
    pub designator: Designator,
    /// For which architecture.
    pub architecture: Option<Architecture>,
    /// Its place in the table; `None` without a table.
    pub number: Option<PartitionNumber>,
    /// Its identifier; `None` without a table.
    pub uuid: Option<Uuid>,
    /// Its name; `None` without a table.
    pub label: Option<String>,
    /// Where it lies, in bytes from the start of the image.
    pub range: ByteRange,
    /// Whether the table marks it read-only.
    pub read_only: bool,
    /// Whether the table asks to grow its file system.
    pub growfs: bool,
    /// The file system it seems to hold, by magic. Not checked against any hash.
    pub fs: Option<FsType>,
}

/// Why a partition does not count.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::ImageKind};
/// #     let (mut tree, mut esp) = (Tree::new(), Tree::new());
/// #     tree.add_dir("usr", Meta::new(0o755))?;
/// #     esp.add_file("loader/loader.conf", "timeout 3\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(ImageKind::Root, "os").tree(tree).esp(esp);
/// #     let builder = builder.allow(confext_ddi::lint::Code::ALL.iter().copied());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.release(ReleaseFields::new("debian")).unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::image::{Image, Options, SkippedBecause};
///
/// // Only this boot partition counts, and it is not there.
/// let options = Options::default().filter("esp=app_2".parse()?);
/// let image = Image::open(bytes, &options)?;
/// let because = image.skipped()[0].because;
/// assert_eq!(because, SkippedBecause::Filtered);
/// assert_eq!(because.as_str(), "its label does not match the image filter");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkippedBecause {
    /// UAPI.2 does not know its type.
    UnknownType,
    /// Its attribute bit 63 says so.
    NoAuto,
    /// It is an EFI system partition that firmware must not read: attribute bit 1.
    NoBlockIo,
    /// Its label is `_empty`: a free slot.
    Empty,
    /// Its label starts with `PRT#` or `PND#`: an update is not finished.
    Unfinished,
    /// Its label does not match the image filter.
    Filtered,
    /// It is for another architecture.
    ForeignArchitecture,
    /// Another one of its kind has a label that is a higher version.
    OlderVersion,
    /// It is not the one that the root hash names.
    OtherRootHash,
}

impl SkippedBecause {
    /// The reason in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownType => "its type is not known",
            Self::NoAuto => "marked as not to be used (no-auto)",
            Self::NoBlockIo => "not to be read by firmware (no block I/O)",
            Self::Empty => "a free slot (_empty)",
            Self::Unfinished => "its update is not finished",
            Self::Filtered => "its label does not match the image filter",
            Self::ForeignArchitecture => "for another architecture",
            Self::OlderVersion => "another one has a newer label",
            Self::OtherRootHash => "not the one that the root hash names",
        }
    }
}

/// A partition that does not count.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::ImageKind};
/// #     let (mut tree, mut esp) = (Tree::new(), Tree::new());
/// #     tree.add_dir("usr", Meta::new(0o755))?;
/// #     esp.add_file("loader/loader.conf", "timeout 3\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(ImageKind::Root, "os").tree(tree).esp(esp);
/// #     let builder = builder.allow(confext_ddi::lint::Code::ALL.iter().copied());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.release(ReleaseFields::new("debian")).unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::image::{Image, Options};
///
/// let options = Options::default().filter("esp=app_2".parse()?);
/// let image = Image::open(bytes, &options)?;
/// for skipped in image.skipped() {
///     println!("partition {}: {}", skipped.number, skipped.because.as_str());
/// }
/// assert_eq!(image.skipped()[0].number.value(), 1);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// Its place in the table.
    pub number: PartitionNumber,
    /// Why.
    pub because: SkippedBecause,
}
