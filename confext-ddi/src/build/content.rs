//! [`Content`]: where the bytes of a file come from when an image is written.

use crate::error::{Corrupt, Result};
use crate::units::ByteRange;
use std::io::Write;

/// The bytes of a regular file, fetched when the image is written.
///
/// ```
/// use confext_ddi::build::{Content, Meta, Tree, erofs};
/// use confext_ddi::units::ByteRange;
/// use std::io::{self, Read as _, Write};
/// use std::sync::Arc;
///
/// /// So many spaces, none of them in memory.
/// #[derive(Debug)]
/// struct Spaces(u64);
///
/// impl Content for Spaces {
///     fn size_bytes(&self) -> u64 {
///         self.0
///     }
///
///     fn copy(&self, ranges: &[ByteRange], mut out: &mut dyn Write) -> confext_ddi::Result<()> {
///         for range in ranges {
///             io::copy(&mut io::repeat(b' ').take(range.len_bytes()), &mut out)?;
///         }
///         Ok(())
///     }
/// }
///
/// let mut tree = Tree::new();
/// tree.add_content("etc/spaces", Arc::new(Spaces(1 << 20)), Meta::new(0o644))?;
/// let size = erofs::write(&tree, &erofs::Options::default(), &mut io::sink())?;
/// assert!(size > 1 << 20);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
pub trait Content: Send + Sync + std::fmt::Debug {
    /// How many bytes the file has.
    fn size_bytes(&self) -> u64;

    /// The ranges that are not holes: ascending, apart from each other, inside the file. `None` = no holes.
    fn data(&self) -> Option<&[ByteRange]> {
        None
    }

    /// Writes the bytes of `ranges`, one range after the other, to `out`.
    ///
    /// # Errors
    ///
    /// `source-changed` when the source is no longer what it was when the entry was added; else an I/O error.
    fn copy(&self, ranges: &[ByteRange], out: &mut dyn Write) -> Result<()>;
}

impl Content for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }

    fn copy(&self, ranges: &[ByteRange], out: &mut dyn Write) -> Result<()> {
        for range in ranges {
            let start = usize::try_from(range.start()).ok();
            let end = usize::try_from(range.end()).ok();
            let bytes = start.zip(end).and_then(|(start, end)| self.get(start..end));
            let size = self.size_bytes();
            out.write_all(bytes.ok_or(Corrupt::OutOfBounds { end: range.end(), size })?)?;
        }
        Ok(())
    }
}
