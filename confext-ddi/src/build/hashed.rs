//! Data on its way to the output, hashed while it is written: it is not read back.

use super::ddi::range_after;
use crate::digest::RootHash;
use crate::error::{Error, Result};
use crate::units::ByteRange;
use crate::verity::{Geometry, Growing};
use std::io::{self, Seek, SeekFrom, Write};

/// How much is written and hashed at the same time: a multiple of what a leaf covers, and short enough to stay in the
/// processor's caches in between.
const PART_BYTES: usize = 4 << 20;
/// What is written and hashed sooner than a thread is started.
const FEW_BYTES: usize = 256 << 10;

/// Writes to `out` what is written to it, and behind it the hash tree.
pub(super) struct Hashed<'o, W> {
    out: &'o mut W,
    data: ByteRange,
    hash: ByteRange,
    tree: Growing<'o>,
    part: Vec<u8>,
    /// How many bytes of data are in `out`.
    written: u64,
    fault: Option<Error>,
}

impl<'o, W: Write + Seek + Send> Hashed<'o, W> {
    /// Starts with the hash tree's superblock. `out` gets data for the whole of `data`, which the geometry is of.
    pub(super) fn start(out: &'o mut W, data: ByteRange, geometry: &'o Geometry) -> Result<Self> {
        let hash = range_after(data.end(), geometry.hash_area_bytes())?;
        let tree = Growing::start(geometry, &mut |offset, bytes| put(out, hash, offset, bytes))?;
        debug_assert!(
            u64::try_from(PART_BYTES).is_ok_and(|part| part.is_multiple_of(tree.leaf_data_bytes()))
        );
        out.seek(SeekFrom::Start(data.start()))?;
        Ok(Self { out, data, hash, tree, part: Vec::with_capacity(PART_BYTES), written: 0, fault: None })
    }

    /// Why writing failed, where it did not fail in the output.
    pub(super) fn fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    /// Ends the tree, once all data was written.
    pub(super) fn finish(mut self) -> Result<(RootHash, ByteRange)> {
        self.hand_on()?;
        let Self { out, hash, tree, .. } = self;
        let root_hash = tree.finish(&mut |offset, bytes| put(out, hash, offset, bytes))?;
        Ok((root_hash, hash))
    }

    /// Writes and hashes what came together.
    fn hand_on(&mut self) -> Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let Self { out, data, hash, tree, part, written, .. } = self;
        let start = data.start().saturating_add(*written);
        let mut write = || out.write_all(part).map_err(|error| Error::from(error).at_offset(start));
        let (wrote, leaves) = if part.len() <= FEW_BYTES {
            (write(), tree.leaves_of(part))
        } else {
            crate::threads::ready();
            rayon::join(write, || tree.leaves_of(part))
        };
        wrote?;
        let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
        tree.add(len, &leaves?, &mut |offset, bytes| put(*out, *hash, offset, bytes))?;
        *written = written.saturating_add(len);
        part.clear();
        out.seek(SeekFrom::Start(data.start().saturating_add(*written)))?;
        Ok(())
    }
}

/// Writes a part of the hash tree.
fn put<W: Write + Seek>(out: &mut W, hash: ByteRange, offset: u64, bytes: &[u8]) -> Result<()> {
    let absolute = hash.start().saturating_add(offset);
    out.seek(SeekFrom::Start(absolute))?;
    out.write_all(bytes).map_err(|error| Error::from(error).at_offset(absolute))
}

impl<W: Write + Seek + Send> Write for Hashed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PART_BYTES.saturating_sub(self.part.len());
        let bytes = bytes.get(..room).unwrap_or(bytes);
        self.part.extend_from_slice(bytes);
        if self.part.len() == PART_BYTES {
            self.hand_on().map_err(|error| {
                self.fault = Some(error);
                io::Error::other("the output")
            })?;
        }
        Ok(bytes.len())
    }

    /// Nothing: what came together is handed on when it is enough, or by [`Hashed::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Salt;
    use crate::id::Uuid;
    use crate::verity::{self, Superblock};
    use std::io::Cursor;

    const START: u64 = 20_480;

    fn superblock(blocks: u64) -> Superblock {
        Superblock::new(Uuid::from_bytes([7; 16]), blocks, Salt::new([3; 32]).unwrap())
    }

    /// In writes of a size that divides nothing.
    fn hashed(data: &[u8], geometry: &Geometry, out: &mut (impl Write + Seek + Send)) -> Result<RootHash> {
        let range = ByteRange::with_len(START, geometry.data_bytes()).unwrap();
        let mut hashed = Hashed::start(out, range, geometry)?;
        for part in data.chunks(1_000_003) {
            if let Err(error) = hashed.write_all(part) {
                return Err(hashed.fault().unwrap_or_else(|| error.into()));
            }
        }
        Ok(hashed.finish()?.0)
    }

    #[test]
    fn the_tree_is_that_of_the_data_read_back() {
        let part = PART_BYTES as u64 / 4096;
        for blocks in [1, 2, 128, 129, part - 1, part, part + 1, 2 * part + 130, 128 * 128 + 1] {
            let data: Vec<u8> = (0..blocks * 1024).flat_map(|at| (at as u32).to_le_bytes()).collect();
            let superblock = superblock(blocks);
            let geometry = Geometry::new(&superblock).unwrap();
            let mut out = Cursor::new(Vec::new());
            let root_hash = hashed(&data, &geometry, &mut out).unwrap();
            let tree = verity::build(&data, &superblock).unwrap();
            assert_eq!(root_hash, tree.root_hash, "{blocks}");
            let (written, start) = (out.into_inner(), START as usize);
            assert!(written[start..start + data.len()] == data, "{blocks}");
            assert!(written[start + data.len()..] == tree.bytes, "{blocks}");
        }
    }

    #[test]
    fn data_of_another_length_has_no_tree() {
        let geometry = Geometry::new(&superblock(3)).unwrap();
        for blocks in [2, 4] {
            let error = hashed(&vec![0; blocks * 4096], &geometry, &mut Cursor::new(Vec::new())).unwrap_err();
            assert_eq!(error.code(), "verity-data-area", "{blocks}");
        }
    }

    #[test]
    fn an_output_that_fails_is_told() {
        struct Full(Cursor<Vec<u8>>);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.0.position() > START + 2 * PART_BYTES as u64 && bytes.len() > 1 << 20 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.0.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Seek for Full {
            fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
                self.0.seek(to)
            }
        }
        let blocks = 4 * PART_BYTES / 4096;
        let geometry = Geometry::new(&superblock(blocks as u64)).unwrap();
        let error =
            hashed(&vec![1; blocks * 4096], &geometry, &mut Full(Cursor::new(Vec::new()))).unwrap_err();
        assert_eq!(error.code(), "io");
        assert_eq!(error.offset(), Some(START + 3 * PART_BYTES as u64));
    }
}
