//! Reading at an offset: the only file of this crate that does I/O while an image is read.

use crate::error::{Corrupt, Error, Result};
use crate::units::ByteRange;

/// Something that can be read at any offset: a byte slice, a file, a block device, a checked view.
///
/// ```
/// use confext_ddi::read::{ReadAt as _, Window};
/// use confext_ddi::units::ByteRange;
///
/// // Bytes, files, and parts of them are read alike.
/// let image = [1, 2, 3, 4];
/// let part = Window::new(&image[..], ByteRange::new(1, 3).ok_or("no range")?)?;
/// let mut two = [0; 2];
/// part.read_exact_at(0, &mut two)?;
/// assert_eq!(two, [2, 3]);
/// assert!(part.read_exact_at(1, &mut two).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ReadAt: Send + Sync {
    /// Fills `buf` with the bytes from `offset`.
    ///
    /// # Errors
    ///
    /// `out-of-bounds` when the source ends before `offset + buf.len()`; an I/O error as it came; a checked source
    /// also fails when the bytes are not what was promised.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// The source's size in bytes.
    ///
    /// # Errors
    ///
    /// An I/O error as it came.
    fn size_bytes(&self) -> Result<u64>;
}

/// Reads `len_bytes` bytes from `offset` into a new buffer.
///
/// The caller has checked `len_bytes` against a limit; the source's size is checked here before anything is allocated.
///
/// # Errors
///
/// `out-of-bounds` when the source is too short; else as [`ReadAt::read_exact_at`].
pub fn read_vec<R: ReadAt + ?Sized>(reader: &R, offset: u64, len_bytes: usize) -> Result<Vec<u8>> {
    check_bounds(offset, len_bytes, reader.size_bytes()?)?;
    let mut buf = vec![0; len_bytes];
    reader.read_exact_at(offset, &mut buf)?;
    Ok(buf)
}

/// Reads one structure as it stands on disk.
#[cfg(feature = "read-fs")]
pub(crate) fn read_struct<T, R>(reader: &R, offset: u64) -> Result<T>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes,
    R: ReadAt + ?Sized,
{
    let mut value = T::new_zeroed();
    reader.read_exact_at(offset, value.as_mut_bytes())?;
    Ok(value)
}

fn check_bounds(offset: u64, len_bytes: usize, size: u64) -> Result<()> {
    let end = u64::try_from(len_bytes).ok().and_then(|len| offset.checked_add(len)).unwrap_or(u64::MAX);
    if end > size {
        return Err(Error::from(Corrupt::OutOfBounds { end, size }).at_offset(offset));
    }
    Ok(())
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let size = u64::try_from(self.len()).unwrap_or(u64::MAX);
        check_bounds(offset, buf.len(), size)?;
        let source = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..))
            .and_then(|rest| rest.get(..buf.len()))
            .ok_or(Corrupt::OutOfBounds { end: offset, size })?;
        buf.copy_from_slice(source);
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(u64::try_from(self.len()).unwrap_or(u64::MAX))
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.as_slice().read_exact_at(offset, buf)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.as_slice().size_bytes()
    }
}

macro_rules! forward_read_at {
    ($($pointer:ty),*) => {$(
        impl<R: ReadAt + ?Sized> ReadAt for $pointer {
            fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
                (**self).read_exact_at(offset, buf)
            }

            fn size_bytes(&self) -> Result<u64> {
                (**self).size_bytes()
            }
        }
    )*};
}
forward_read_at!(&R, Box<R>, std::sync::Arc<R>);

#[cfg(any(unix, windows))]
impl ReadAt for std::fs::File {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = u64::try_from(done).ok().and_then(|done| offset.checked_add(done)).unwrap_or(u64::MAX);
            match read_some(self, at, rest) {
                Ok(0) => {
                    let end = u64::try_from(rest.len()).unwrap_or(u64::MAX).saturating_add(at);
                    return Err(Error::from(Corrupt::OutOfBounds { end, size: at }).at_offset(offset));
                }
                Ok(count) => done = done.saturating_add(count),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from(error).at_offset(at)),
            }
        }
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64> {
        let meta = self.metadata()?;
        if meta.is_file() {
            return Ok(meta.len());
        }
        if meta.is_dir() {
            return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory).into());
        }
        // A block device's metadata has no size; its end has. Reads never use the file position.
        Ok(std::io::Seek::seek(&mut &*self, std::io::SeekFrom::End(0))?)
    }
}

#[cfg(unix)]
fn read_some(file: &std::fs::File, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(windows)]
fn read_some(file: &std::fs::File, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

/// A checked sub-range of another source: offsets start at 0, nothing outside the range can be read.
///
/// ```
/// use confext_ddi::read::{Window, read_vec};
/// use confext_ddi::units::ByteRange;
///
/// let partition = ByteRange::new(4, 9).ok_or("it ends after it starts")?;
/// let window = Window::new(&b"gpt:files:tree"[..], partition)?;
/// assert_eq!(read_vec(&window, 0, 5)?, b"files");
/// // What lies behind it belongs to others.
/// assert_eq!(read_vec(&window, 0, 6).unwrap_err().code(), "out-of-bounds");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Window<R> {
    inner: R,
    range: ByteRange,
}

impl<R: ReadAt> Window<R> {
    /// Makes the view of `range`.
    ///
    /// # Errors
    ///
    /// `out-of-bounds` when the range ends after the source does.
    pub fn new(inner: R, range: ByteRange) -> Result<Self> {
        let size = inner.size_bytes()?;
        if range.end() > size {
            return Err(Error::from(Corrupt::OutOfBounds { end: range.end(), size }).at_offset(range.start()));
        }
        Ok(Self { inner, range })
    }

    /// What the view is of.
    pub(crate) const fn inner(&self) -> &R {
        &self.inner
    }

    /// Where the view lies in its source.
    #[must_use]
    pub const fn range(&self) -> ByteRange {
        self.range
    }
}

impl<R: ReadAt> ReadAt for Window<R> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(offset, buf.len(), self.range.len_bytes())?;
        let start = self.range.start().checked_add(offset);
        let start = start.ok_or(Corrupt::OutOfBounds { end: offset, size: self.range.len_bytes() })?;
        self.inner.read_exact_at(start, buf)
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(self.range.len_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn check(reader: &dyn ReadAt) {
        assert_eq!(reader.size_bytes().unwrap(), 10);
        assert_eq!(read_vec(reader, 3, 4).unwrap(), [3, 4, 5, 6]);
        assert!(read_vec(reader, 10, 0).unwrap().is_empty());
        assert_eq!(read_vec(reader, 7, 4).unwrap_err().code(), "out-of-bounds");
        assert_eq!(read_vec(reader, u64::MAX, 4).unwrap_err().code(), "out-of-bounds");
        let mut buf = [0; 4];
        assert_eq!(reader.read_exact_at(7, &mut buf).unwrap_err().code(), "out-of-bounds");
        assert_eq!(reader.read_exact_at(11, &mut []).is_err(), reader.read_exact_at(12, &mut []).is_err());
    }

    #[test]
    fn slices_files_and_windows_read_the_same() {
        let bytes: Vec<u8> = (0..10).collect();
        check(&bytes);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        check(&file);
        let padded: Vec<u8> = [0xff; 5].into_iter().chain(0..10).chain([0xff; 5]).collect();
        check(&Window::new(padded, ByteRange::new(5, 15).unwrap()).unwrap());
    }

    #[test]
    fn a_window_must_lie_in_its_source() {
        let short = [0_u8; 4];
        let range = ByteRange::new(2, 5).unwrap();
        assert_eq!(Window::new(&short[..], range).unwrap_err().code(), "out-of-bounds");
    }
}
