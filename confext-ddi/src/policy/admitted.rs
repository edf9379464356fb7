//! An image that passed the gate, and the evidence for it.

use super::Protection;
use crate::digest::RootHash;
use crate::dps::Designator;
use crate::error::{Error, Refused, Result, Unsupported};
use crate::fs::{self, FileSystem};
use crate::fstype;
use crate::image::{Image, Partition};
use crate::limits::Limits;
use crate::read::{ReadAt, Window};
use crate::release::{self, Class, Strictness};
use crate::signature::Signer;
use crate::verity;
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What was checked when an image was admitted.
///
/// ```
/// use confext_ddi::policy::{Evidence, Protection};
///
/// assert_eq!(Evidence::None.protection(), Protection::None);
/// assert!(Evidence::None.root_hash().is_none() && Evidence::None.signer().is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Evidence {
    /// Nothing.
    None,
    /// Every block is checked against this root hash as it is read.
    Verity {
        /// The top of the hash tree.
        root_hash: RootHash,
    },
    /// The same, and the root hash is signed.
    Signed {
        /// The top of the hash tree.
        root_hash: RootHash,
        /// Whose signature was checked; of several, the first that checks, or the one that
        /// [`KeyRules`](super::KeyRules) allow.
        by: Signer,
    },
}

impl Evidence {
    /// How strong it is.
    #[must_use]
    pub const fn protection(&self) -> Protection {
        match self {
            Self::None => Protection::None,
            Self::Verity { .. } => Protection::Verity,
            Self::Signed { .. } => Protection::Signed,
        }
    }

    /// The root hash that was checked.
    #[must_use]
    pub const fn root_hash(&self) -> Option<&RootHash> {
        match self {
            Self::None => None,
            Self::Verity { root_hash } | Self::Signed { root_hash, .. } => Some(root_hash),
        }
    }

    /// Whose signature was checked.
    #[must_use]
    pub const fn signer(&self) -> Option<&Signer> {
        match self {
            Self::Signed { by, .. } => Some(by),
            Self::None | Self::Verity { .. } => None,
        }
    }
}

/// The bytes of an admitted image's data partition.
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
/// use std::ops::ControlFlow;
///
/// let image = Image::open(bytes.as_slice(), &image::Options::default())?;
/// let admitted = Policy::signed().judge(image, Some(&trusted))?;
/// // Reads every block, and so checks all of them.
/// let read = admitted.data().read_whole(|_| ControlFlow::Continue(()))?;
/// assert_eq!(read, 4096);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each image, and it is not moved around")]
pub enum Data<R: ReadAt> {
    /// Each block is checked against the root hash as it is read.
    Checked(Checked<R>),
    /// As they are: the policy allows it.
    Unchecked(Window<Arc<R>>),
}

/// How much is read at a time where nothing is checked.
const READ_BYTES: usize = 1 << 20;

impl<R: ReadAt> Data<R> {
    /// Reads everything once: checked, on all processors, or where there is nothing to check by, as it is. Returns how many
    /// bytes there are.
    ///
    /// # Errors
    ///
    /// As [`verity::copy_in_parts`]; `cancelled` when `progress` said so.
    pub fn read_whole(&self, mut progress: impl FnMut(verity::Progress) -> ControlFlow<()>) -> Result<u64> {
        let total_bytes = self.size_bytes()?;
        let data = match self {
            Self::Checked(data) => return data.copy(|_, _| Ok(()), progress).map(|()| total_bytes),
            Self::Unchecked(data) => data,
        };
        let mut buffer = vec![0; READ_BYTES];
        let mut done_bytes: u64 = 0;
        while done_bytes < total_bytes {
            let count = usize::try_from(total_bytes.saturating_sub(done_bytes)).unwrap_or(usize::MAX);
            let chunk = buffer.get_mut(..count.min(READ_BYTES)).unwrap_or_default();
            data.read_exact_at(done_bytes, chunk)?;
            done_bytes = done_bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if progress(verity::Progress { done_bytes, total_bytes }).is_break() {
                return Err(Refused::Cancelled { done: done_bytes, total: total_bytes }.into());
            }
        }
        Ok(total_bytes)
    }
}

impl<R: ReadAt> ReadAt for Data<R> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match self {
            Self::Checked(data) => data.read_exact_at(offset, buf),
            Self::Unchecked(data) => data.read_exact_at(offset, buf),
        }
    }

    fn size_bytes(&self) -> Result<u64> {
        match self {
            Self::Checked(data) => data.size_bytes(),
            Self::Unchecked(data) => data.size_bytes(),
        }
    }
}

/// A data partition under its hash tree. Errors of reading it say where in the image the fault is.
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
/// use confext_ddi::image::{self, Image};
/// use confext_ddi::policy::{Data, Policy};
///
/// let image = Image::open(bytes, &image::Options::default())?;
/// let admitted = Policy::verity().judge(image, None)?;
/// let Data::Checked(data) = admitted.data() else { panic!("the policy asks for a hash tree") };
/// assert_eq!(Some(data.root_hash()), admitted.root_hash());
/// // Blocks are checked as they are read; this is for who wants to know of all of them now.
/// data.verify()?;
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug)]
pub struct Checked<R: ReadAt> {
    reader: verity::Reader<Window<Arc<R>>, Window<Arc<R>>>,
    places: Places,
}

impl<R: ReadAt> Checked<R> {
    pub(super) fn open(image: &Image<R>, hash: &Partition, root_hash: RootHash) -> Result<Self> {
        let places = Places { data: place(image.data()), hash: place(hash) };
        let data = Window::new(image.shared_reader(), image.data().range)?;
        let area = Window::new(image.shared_hash_reader(), hash.range)?;
        let reader = verity::Reader::new(data, area, root_hash, image.limits());
        // Before anything is read, what is not about the data is about the hash area, which begins with a superblock.
        let reader = reader.map_err(|error| match error.path().starts_with("data") {
            true => places.in_data(error).at_offset(places.data.1),
            false => places.in_hash(error).at_offset(places.hash.1),
        })?;
        Ok(Self { reader, places })
    }

    /// What its hash tree is made with, and where each level of it lies: as it was checked against the root hash.
    #[must_use]
    pub const fn geometry(&self) -> &verity::Geometry {
        self.reader.geometry()
    }

    /// The root hash that each block is checked against.
    #[must_use]
    pub const fn root_hash(&self) -> &RootHash {
        self.reader.root_hash()
    }

    /// Checks every block, on all processors.
    ///
    /// # Errors
    ///
    /// As [`verity::verify`]: the first block that is not what the root hash says.
    pub fn verify(&self) -> Result<()> {
        verity::verify(&self.reader).map_err(|error| self.place(error))
    }

    /// Reads every block once, checks it and hands it to `sink` with its offset in the partition, on all processors and so
    /// in no order.
    ///
    /// # Errors
    ///
    /// As [`verity::copy_in_parts`].
    pub fn copy(
        &self,
        sink: impl Fn(u64, &[u8]) -> std::io::Result<()> + Sync,
        progress: impl FnMut(verity::Progress) -> ControlFlow<()>,
    ) -> Result<()> {
        verity::copy_in_parts(&self.reader, sink, progress).map_err(|error| self.place(error))
    }

    /// Checks every block, on all processors, and reports all that are changed, by their places in the image.
    ///
    /// # Errors
    ///
    /// As [`verity::check`].
    pub fn check(
        &self,
        most: usize,
        progress: impl FnMut(verity::Progress) -> ControlFlow<()>,
    ) -> Result<verity::Report> {
        let checked = verity::check(&self.reader, most, progress);
        let mut report = checked.map_err(|error| self.place(error))?;
        report.shift(self.places.data.1, self.places.hash.1);
        Ok(report)
    }

    /// The error of a report of [`Checked::check`], if there is one: its place is that in the image.
    #[must_use]
    pub fn fault(&self, report: &verity::Report) -> Option<Error> {
        report.to_error().map(|error| self.place(error))
    }

    fn place(&self, error: Error) -> Error {
        match error.path().starts_with("hash-tree") {
            true => self.places.in_hash(error),
            false => self.places.in_data(error),
        }
    }
}

impl<R: ReadAt> ReadAt for Checked<R> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.reader.read_exact_at(offset, buf).map_err(|error| self.place(error))
    }

    fn size_bytes(&self) -> Result<u64> {
        self.reader.size_bytes()
    }
}

/// Name and start of the two partitions.
#[derive(Debug)]
struct Places {
    data: (&'static str, u64),
    hash: (&'static str, u64),
}

fn place(partition: &Partition) -> (&'static str, u64) {
    (partition.designator.as_str(), partition.range.start())
}

impl Places {
    fn in_data(&self, error: Error) -> Error {
        let (name, start) = self.data;
        error.shifted(start).within(name)
    }

    fn in_hash(&self, error: Error) -> Error {
        let (name, start) = self.hash;
        error.shifted(start).within(name)
    }
}

/// Puts the data partition's name in front of an error's path, unless the error says where it is.
pub(super) fn within_data(error: Error, designator: Designator) -> Error {
    let path = error.path();
    let first = path.split('/').next();
    let known = [Some(designator), designator.verity()].into_iter().flatten();
    if known.into_iter().any(|part| first == Some(part.as_str())) {
        return error;
    }
    error.within(designator.as_str())
}

/// An image that a policy admitted. Only [`Policy::judge`](super::Policy::judge) makes one.
///
/// ```compile_fail,E0624
/// # use confext_ddi::{image::Image, policy::{Admitted, Data, Evidence}};
/// fn without_a_judgement(image: Image<Vec<u8>>, data: Data<Vec<u8>>) -> Admitted<Vec<u8>> {
///     Admitted::new(image, Evidence::None, Vec::new(), data)
/// }
/// ```
#[derive(Debug)]
pub struct Admitted<R: ReadAt> {
    image: Image<R>,
    evidence: Evidence,
    signers: Vec<Signer>,
    data: Data<R>,
}

impl<R: ReadAt> Admitted<R> {
    pub(super) fn new(image: Image<R>, evidence: Evidence, signers: Vec<Signer>, data: Data<R>) -> Self {
        Self { image, evidence, signers, data }
    }

    /// Makes another one of the signers the one that counts.
    pub(super) fn with_signer(mut self, signer: Signer) -> Self {
        if let Evidence::Signed { by, .. } = &mut self.evidence {
            *by = signer;
        }
        self
    }

    /// Everyone whose signature of the root hash was checked and counts, in the order of the image.
    #[must_use]
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// What was checked.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> &Image<R> {
        &self.image
    }

    /// The bytes of the data partition: checked as they are read, when the evidence says so.
    #[must_use]
    pub fn data(&self) -> &Data<R> {
        &self.data
    }

    /// The root hash that was checked.
    #[must_use]
    pub fn root_hash(&self) -> Option<&RootHash> {
        self.evidence.root_hash()
    }

    /// The files of the image, each byte checked as it is read when the evidence says so. Those of a usr partition are
    /// below `usr`.
    ///
    /// # Errors
    ///
    /// `file-system-unsupported`, `fs-ambiguous`; else as [`fs::open`] reports.
    pub fn file_system(&self, limits: &Limits) -> Result<Box<dyn FileSystem + '_>> {
        self.open_files(&self.data, limits).map_err(|error| within_data(error, self.image.data().designator))
    }

    /// As [`Admitted::file_system`], for who keeps the files longer than a borrow lasts.
    ///
    /// # Errors
    ///
    /// As [`Admitted::file_system`].
    pub fn shared_file_system(self: &Arc<Self>, limits: &Limits) -> Result<Box<dyn FileSystem>>
    where
        R: 'static,
    {
        let data = SharedData(Arc::clone(self));
        self.open_files(data, limits).map_err(|error| within_data(error, self.image.data().designator))
    }

    fn open_files<'a>(&self, data: impl ReadAt + 'a, limits: &Limits) -> Result<Box<dyn FileSystem + 'a>> {
        // The magic is read again, from the bytes that are used.
        let found = fstype::probe(&data)?;
        let found = found.ok_or(Unsupported::FileSystem { found: "no known magic" })?;
        let files = fs::open(data, found.fs_type, limits)?;
        match self.image.data().designator {
            Designator::Usr => Ok(Box::new(fs::Below::new("usr", files, limits))),
            _ => Ok(files),
        }
    }

    /// The release file of the image that goes by `image_name`.
    ///
    /// # Errors
    ///
    /// As [`Admitted::file_system`] and [`release::find`] report.
    pub fn release(&self, class: Class, image_name: &str, strictness: Strictness) -> Result<release::Found> {
        let limits = self.image.limits();
        release::find(self.file_system(limits)?.as_ref(), class, image_name, strictness, limits)
    }
}

/// [`Admitted::data`], held on to.
struct SharedData<R: ReadAt>(Arc<Admitted<R>>);

impl<R: ReadAt> ReadAt for SharedData<R> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.data.read_exact_at(offset, buf)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.0.data.size_bytes()
    }
}
