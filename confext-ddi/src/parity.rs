//! Parity over whole images: made, and used to repair a damaged image into a new one.
//!
//! [`verity::fec`](crate::verity::fec) has the code; here it meets partitions. What is covered is the data partition up to
//! the end of the data, and the hash partition behind its superblock, to its end: what `veritysetup format
//! --fec-device` covers when it is given the two partitions.

mod course;
#[cfg(feature = "directory")]
mod file;

#[cfg(feature = "directory")]
pub use file::{encode_file, encode_file_watched, repair_file, repair_file_watched};

use crate::digest::RootHash;
use crate::error::{Lookup, Result, ResultExt as _, Unsupported};
use crate::image::Image;
use crate::read::{ReadAt, Window, read_vec};
use crate::units::ByteRange;
use crate::verity::fec::{self, Area, Coverage, Parts, Report, Roots};
use crate::verity::{Progress, Reader, Superblock, check};
use crate::write::WriteAt;
use course::Course;
use std::ops::ControlFlow;

/// How much is copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// How to repair an image.
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
/// use confext_ddi::parity::{self, Options};
/// use confext_ddi::verity::fec::Roots;
/// use confext_ddi::write::Memory;
///
/// // Parity that can bring back 8 blocks of each round, in a file behind a header of 512 bytes.
/// let image = Image::open(bytes.as_slice(), &image::Options::default())?;
/// let roots = Roots::new(8).ok_or("from 2 to 24")?;
/// let mut fec = vec![0; 512];
/// parity::encode(&image, roots, |part| Ok(fec.extend_from_slice(part)))?;
///
/// let copy = Memory::new(vec![0; bytes.len()]);
/// parity::repair(&image, &fec, &copy, &Options::default().roots(roots).fec_offset(512))?;
/// assert_eq!(copy.into_inner(), bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// How many bytes of each codeword are parity. Default: 2, as `veritysetup` has it.
    pub roots: Roots,
    /// Where the parity starts in its source, in bytes. Default: 0.
    pub fec_offset: u64,
    /// The root hash to repair towards. Default: the one that the image claims.
    pub root_hash: Option<RootHash>,
}

impl Options {
    /// Sets the number of roots.
    #[must_use]
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// Sets where the parity starts.
    #[must_use]
    pub fn fec_offset(mut self, fec_offset: u64) -> Self {
        self.fec_offset = fec_offset;
        self
    }

    /// Sets the root hash.
    #[must_use]
    pub fn root_hash(mut self, root_hash: RootHash) -> Self {
        self.root_hash = Some(root_hash);
        self
    }
}

/// What the repair of an image came to.
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
/// use confext_ddi::{parity, verity::fec::Roots, write::Memory};
///
/// # let mut fec = Vec::new();
/// # let image = Image::open(bytes.as_slice(), &image::Options::default())?;
/// # parity::encode(&image, Roots::default(), |part| Ok(fec.extend_from_slice(part)))?;
/// // `fec` is the parity of this image; then a byte of a file changed.
/// let mut damaged = bytes.clone();
/// damaged[20480 + 2000] ^= 1;
/// let image = Image::open(damaged, &image::Options::default())?;
/// let copy = Memory::new(vec![0; bytes.len()]);
/// let repaired = parity::repair(&image, &fec, &copy, &parity::Options::default())?;
/// assert!(repaired.report.is_whole());
/// assert_eq!(repaired.report.repaired[0].offset, 20480);
/// assert_eq!(copy.into_inner(), bytes);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Repaired {
    /// The root hash that every block was checked against. Nobody checked a signature of it.
    pub root_hash: RootHash,
    /// Which blocks were damaged; offsets are those of the image.
    #[serde(flatten)]
    pub report: Report,
}

/// Where data and hash area of an image are.
struct Places {
    data: ByteRange,
    hash: ByteRange,
    root_hash: RootHash,
}

impl Places {
    fn of<R: ReadAt>(image: &Image<R>, root_hash: Option<RootHash>) -> Result<Self> {
        let hash = image
            .hash()
            .filter(|hash| hash.number.is_some())
            .map(|hash| hash.range)
            .ok_or(Lookup::NoHashTree)?;
        let claimed = image.claim().root_hash().copied();
        let root_hash = root_hash.or(claimed).ok_or(Lookup::NoHashTree)?;
        Ok(Self { data: image.data().range, hash, root_hash })
    }

    /// The hash area from the first block of the tree on.
    fn tree(&self, superblock: &Superblock) -> Result<ByteRange> {
        let start = u64::from(superblock.hash_block_size.bytes());
        let start = start.min(self.hash.len_bytes());
        let range = ByteRange::new(start, self.hash.len_bytes()).unwrap_or(ByteRange::EMPTY);
        self.hash.slice(range)
    }

    fn superblock<R: ReadAt + ?Sized>(&self, source: &R, limits: &crate::Limits) -> Result<Superblock> {
        let bytes = read_vec(source, self.hash.start(), Superblock::BYTES)?;
        Superblock::parse(&bytes, limits)
            .map_err(|error| error.shifted(self.hash.start()))
            .within("hash-area")
    }

    /// Reads all blocks through the tree.
    fn verify<R: ReadAt>(&self, source: &R, limits: &crate::Limits, course: &mut Course<'_>) -> Result<()> {
        let (data, hash) = (Window::new(source, self.data)?, Window::new(source, self.hash)?);
        let reader = Reader::new(data, hash, self.root_hash, limits)?;
        let before = course.done();
        let checked = check(&reader, 0, |at| course.reach(before.saturating_add(at.done_bytes)));
        course.go_on()?;
        checked?.to_error().map_or(Ok(()), Err)
    }
}

/// Works out the parity of an image and hands it to `sink`, front to back; returns what it covers.
///
/// All blocks are checked against the root hash that the image claims before: parity of a damaged image would keep the
/// damage. A signature is not checked.
///
/// # Errors
///
/// `no-hash-tree`, `fec-block-sizes`; as [`Superblock::parse`], [`Reader::new`], [`verify`](crate::verity::verify) and
/// [`fec::encode`].
pub fn encode<R: ReadAt>(
    image: &Image<R>,
    roots: Roots,
    sink: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<Coverage> {
    encode_watched(image, roots, sink, |_| ControlFlow::Continue(()))
}

/// The same, and `progress` is called from time to time and may stop it: with 0 first, then with how many of the bytes that are
/// to be checked and to be covered are done, at last with all.
///
/// # Errors
///
/// As [`encode`]; `cancelled` when `progress` said so.
pub fn encode_watched<R: ReadAt>(
    image: &Image<R>,
    roots: Roots,
    sink: impl FnMut(&[u8]) -> std::io::Result<()>,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Coverage> {
    let (places, source) = (Places::of(image, None)?, image.reader());
    let data_bytes = places.data.len_bytes();
    let total_bytes = data_bytes.saturating_mul(2).saturating_add(places.hash.len_bytes());
    let mut course = Course::start(total_bytes, &mut progress)?;
    places.verify(source, image.limits(), &mut course)?;
    let superblock = places.superblock(source, image.limits())?;
    let (data, hash) = (superblock.data_block_size, superblock.hash_block_size);
    if data != hash {
        return Err(Unsupported::FecBlockSizes { data: data.bytes(), hash: hash.bytes() }.into());
    }
    let tree = Window::new(source, places.tree(&superblock)?)?;
    let hash_blocks = tree.range().len_bytes().checked_div(u64::from(hash.bytes())).unwrap_or(0);
    let coverage = Coverage::new(data, roots, superblock.data_blocks, hash_blocks)?;
    let covered = (&Window::new(source, places.data)?, &tree);
    fec::encode_told(covered, &coverage, sink, &mut |bytes| course.add(bytes))?;
    course.finish()?;
    Ok(coverage)
}

/// Copies an image to `output` and repairs the copy. The image itself is only read.
///
/// When every block could be repaired, the whole copy is read once more through its hash tree: then it is what the root
/// hash promises. Otherwise it is not to be used: see [`Report::is_whole`]. No signature is checked: what the copy is
/// worth says [`Policy::judge`](crate::policy::Policy::judge), as for any image. `output` is at least as large as the
/// image.
///
/// # Errors
///
/// `no-hash-tree`, `out-of-bounds`; as [`Superblock::parse`], [`fec::repair`], [`Reader::new`] and
/// [`verify`](crate::verity::verify).
pub fn repair<R: ReadAt, F: ReadAt, W: WriteAt>(
    image: &Image<R>,
    fec: &F,
    output: &W,
    options: &Options,
) -> Result<Repaired> {
    repair_watched(image, fec, output, options, |_| ControlFlow::Continue(()))
}

/// The same, and `progress` is called from time to time and may stop it: with 0 first, then with how many of the bytes that are
/// copied, looked through and read once more are done, at last with all. Where blocks are mended it is called, too, with what it
/// was called with before.
///
/// When it is stopped, `output` is not to be used.
///
/// # Errors
///
/// As [`repair`]; `cancelled` when `progress` said so.
pub fn repair_watched<R: ReadAt, F: ReadAt, W: WriteAt>(
    image: &Image<R>,
    fec: &F,
    output: &W,
    options: &Options,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Repaired> {
    let places = Places::of(image, options.root_hash)?;
    let copied = image.reader().size_bytes()?;
    let total_bytes = copied.saturating_add(places.data.len_bytes().saturating_mul(2));
    let mut course = Course::start(total_bytes, &mut progress)?;
    copy(image.reader(), output, &mut course)?;
    let superblock = places.superblock(output, image.limits())?;
    let tree = places.tree(&superblock)?;
    let fec_bytes = fec.size_bytes()?;
    let parity = ByteRange::new(options.fec_offset.min(fec_bytes), fec_bytes).unwrap_or(ByteRange::EMPTY);
    let fec = Window::new(fec, parity)?;
    let parts =
        Parts { data: &Window::new(output, places.data)?, hash: &Window::new(output, tree)?, fec: &fec };
    let wanted = (&superblock, &places.root_hash);
    let tell: &mut fec::Tell<'_> = &mut |bytes| course.add(bytes);
    let mut report = fec::repair_told(&parts, wanted, options.roots, image.limits(), tell)?;
    for block in report.repaired.iter_mut().chain(&mut report.unrepairable) {
        let start = match block.area {
            Area::Data => places.data.start(),
            Area::Hash => tree.start(),
        };
        block.offset = block.offset.saturating_add(start);
    }
    if report.is_whole() {
        places.verify(output, image.limits(), &mut course)?;
    }
    course.finish()?;
    Ok(Repaired { root_hash: places.root_hash, report })
}

/// Copies all of `source`.
fn copy<R: ReadAt + ?Sized, W: WriteAt + ?Sized>(
    source: &R,
    output: &W,
    course: &mut Course<'_>,
) -> Result<()> {
    let size = source.size_bytes()?;
    let mut buffer = Vec::new();
    let mut done = 0_u64;
    while done < size {
        let count = size.saturating_sub(done).min(COPY_BYTES);
        buffer.resize(usize::try_from(count).unwrap_or(usize::MAX), 0);
        source.read_exact_at(done, &mut buffer)?;
        output.write_all_at(done, &buffer)?;
        done = done.saturating_add(count);
        course.add(count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
