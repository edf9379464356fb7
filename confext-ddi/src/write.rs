//! Writing at an offset: what a repaired image is written through.

use crate::error::{Corrupt, Error, Result};
use crate::read::{ReadAt, Window};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something of a fixed size that can be read and written at any offset: a file, a part of one, memory.
///
/// ```
/// use confext_ddi::write::{Memory, WriteAt};
///
/// /// Overwrites a block, of whatever it is in.
/// fn discard(target: &dyn WriteAt, block: u64) -> confext_ddi::Result<()> {
///     target.write_all_at(block * 4096, &[0; 4096])
/// }
///
/// let image = Memory::new(vec![7; 2 * 4096]);
/// discard(&image, 1)?;
/// // Nothing grows.
/// assert_eq!(discard(&image, 2).unwrap_err().code(), "out-of-bounds");
/// assert_eq!(image.into_inner()[4095..4097], [7, 0]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
pub trait WriteAt: ReadAt {
    /// Writes all of `bytes` at `offset`. The size does not change.
    ///
    /// # Errors
    ///
    /// `out-of-bounds` when the target ends before `offset + bytes.len()`; an I/O error as it came.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
}

/// Where `len_bytes` bytes from `offset` end, when that is inside of `target`.
fn checked_end<W: WriteAt + ?Sized>(target: &W, offset: u64, len_bytes: usize) -> Result<u64> {
    let size = target.size_bytes()?;
    let end = u64::try_from(len_bytes).ok().and_then(|len| offset.checked_add(len)).unwrap_or(u64::MAX);
    if end > size { Err(Error::from(Corrupt::OutOfBounds { end, size }).at_offset(offset)) } else { Ok(end) }
}

impl<W: WriteAt + ?Sized> WriteAt for &W {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        (**self).write_all_at(offset, bytes)
    }
}

#[cfg(any(unix, windows))]
impl WriteAt for std::fs::File {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        checked_end(self, offset, bytes.len())?;
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let at = u64::try_from(done).ok().and_then(|done| offset.checked_add(done)).unwrap_or(u64::MAX);
            match write_some(self, at, rest) {
                Ok(0) => {
                    return Err(
                        Error::from(std::io::Error::from(std::io::ErrorKind::WriteZero)).at_offset(at)
                    );
                }
                Ok(count) => done = done.saturating_add(count),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from(error).at_offset(at)),
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
fn write_some(file: &std::fs::File, offset: u64, bytes: &[u8]) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_some(file: &std::fs::File, offset: u64, bytes: &[u8]) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

/// The window keeps what is outside of it as it is.
impl<W: WriteAt> WriteAt for Window<W> {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = checked_end(self, offset, bytes.len())?;
        let start = self.range().start().checked_add(offset);
        let start = start.ok_or(Corrupt::OutOfBounds { end, size: self.range().len_bytes() })?;
        self.inner().write_all_at(start, bytes)
    }
}

/// Bytes in memory that can be read and written by many at once.
///
/// ```
/// use confext_ddi::write::{Memory, WriteAt as _};
///
/// let mut memory = Memory::new(vec![0; 3]);
/// memory.write_all_at(2, &[7])?;
/// assert_eq!(memory.into_inner(), [0, 0, 7]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Memory(Mutex<Vec<u8>>);

impl Memory {
    /// Takes the bytes.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }

    /// Gives the bytes back.
    #[must_use]
    pub fn into_inner(self) -> Vec<u8> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copying bytes cannot panic half-way: what another thread left behind is usable.
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadAt for Memory {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.lock().read_exact_at(offset, buf)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.lock().size_bytes()
    }
}

impl WriteAt for Memory {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = checked_end(self, offset, bytes.len())?;
        let mut all = self.lock();
        let size = all.size_bytes()?;
        let start = usize::try_from(offset).ok().and_then(|start| all.get_mut(start..));
        let place = start.and_then(|rest| rest.get_mut(..bytes.len()));
        place.ok_or(Corrupt::OutOfBounds { end, size })?.copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read_vec;
    use crate::units::ByteRange;

    fn check(target: &dyn WriteAt) {
        target.write_all_at(2, &[7, 8]).unwrap();
        target.write_all_at(6, &[]).unwrap();
        assert_eq!(target.size_bytes().unwrap(), 6);
        assert_eq!(read_vec(target, 0, 6).unwrap(), [0, 0, 7, 8, 0, 0]);
        for (offset, len) in [(5, 2), (6, 1), (7, 0), (u64::MAX, 1), (u64::MAX, 0)] {
            assert_eq!(target.write_all_at(offset, &vec![9; len]).unwrap_err().code(), "out-of-bounds");
        }
        assert_eq!(read_vec(target, 0, 6).unwrap(), [0, 0, 7, 8, 0, 0]);
    }

    #[test]
    fn files_windows_and_memory_are_written_the_same() {
        check(&Memory::new(vec![0; 6]));
        let file = tempfile::tempfile().unwrap();
        file.set_len(6).unwrap();
        check(&file);
        let outer = Memory::new(vec![0; 10]);
        check(&Window::new(&outer, ByteRange::new(3, 9).unwrap()).unwrap());
        assert_eq!(outer.into_inner(), [0, 0, 0, 0, 0, 7, 8, 0, 0, 0]);
    }
}
