//! Reading through metadata blocks as if they were one piece.

use super::{Squashfs, add, wrong};
use crate::ReadAt;
use crate::error::Result;
use crate::read::read_struct;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A place in the metadata.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    block: u64,
    offset: usize,
    /// Where the table ends: no block starts there or later.
    end: u64,
}

impl Cursor {
    /// The place that a reference names: block in the upper bits, relative to its table, offset in the lower 16.
    pub(super) fn from_reference(table: u64, reference: u64, end: u64) -> Result<Self> {
        Self::new(table, reference >> 16, reference & 0xffff, end)
    }

    pub(super) fn new(table: u64, block: u64, offset: u64, end: u64) -> Result<Self> {
        Ok(Self { block: add(table, block)?, offset: usize::try_from(offset).unwrap_or(usize::MAX), end })
    }

    pub(super) fn read<R: ReadAt>(&mut self, fs: &Squashfs<R>, buf: &mut [u8]) -> Result<()> {
        let mut rest = buf;
        while !rest.is_empty() {
            if self.block >= self.end {
                return Err(wrong("metadata reference", self.block, "a block of its table"));
            }
            let block = fs.metadata_block(self.block)?;
            let available = block
                .bytes
                .get(self.offset..)
                .ok_or_else(|| wrong("metadata reference", self.offset, "an offset inside its block"))?;
            let len = available.len().min(rest.len());
            let (part, next) = rest.split_at_mut_checked(len).unwrap_or((&mut [], &mut []));
            part.copy_from_slice(available.get(..len).unwrap_or_default());
            rest = next;
            self.offset = self.offset.saturating_add(len);
            if self.offset >= block.bytes.len() {
                (self.block, self.offset) = (block.end, 0);
            }
        }
        Ok(())
    }

    pub(super) fn read_value<T, R>(&mut self, fs: &Squashfs<R>) -> Result<T>
    where
        T: FromZeros + FromBytes + IntoBytes,
        R: ReadAt,
    {
        let mut value = T::new_zeroed();
        self.read(fs, value.as_mut_bytes())?;
        Ok(value)
    }
}

impl<R: ReadAt> Squashfs<R> {
    /// Entry `index` of a table that is found through a list of its blocks' offsets.
    pub(super) fn table_entry<T>(&self, list: u64, index: u64) -> Result<T>
    where
        T: FromZeros + FromBytes + IntoBytes,
    {
        let size = u64::try_from(size_of::<T>()).unwrap_or(u64::MAX);
        let at = index.saturating_mul(size);
        let (block, offset) = (at / 8192, at % 8192);
        let start: zerocopy::little_endian::U64 =
            read_struct(&self.reader, add(list, block.saturating_mul(8))?)?;
        Cursor::new(start.get(), 0, offset, self.superblock.bytes_used)?.read_value(self)
    }
}
