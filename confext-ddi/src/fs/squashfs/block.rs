//! Blocks of data and metadata: read, unpacked, and the last few kept.

use super::{Squashfs, wrong};
use crate::ReadAt;
use crate::error::{Corrupt, Error, Result, Unsupported};
use crate::fs::fence;
use backhand::compression::{CompressionAction as _, Compressor, DefaultCompressor};
use std::sync::{Arc, PoisonError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Xz,
    Lz4,
    Zstd,
}

impl Compression {
    pub(super) fn from_raw(raw: u16) -> Result<Self> {
        match raw {
            1 => Ok(Self::Gzip),
            4 => Ok(Self::Xz),
            5 => Ok(Self::Lz4),
            6 => Ok(Self::Zstd),
            2 | 3 => {
                Err(Unsupported::FileSystemFeature { what: "lzma or lzo compression", found: raw.into() }
                    .into())
            }
            _ => Err(wrong("compression", raw, "1 to 6")),
        }
    }

    /// Unpacks one block. Every decoder stops when the output reaches the largest size a block of the format can have.
    fn unpack(self, packed: &[u8], most: usize) -> Result<Vec<u8>> {
        let (compressor, format) = match self {
            Self::Gzip => (Compressor::Gzip, "gzip"),
            Self::Xz => (Compressor::Xz, "xz"),
            Self::Lz4 => (Compressor::Lz4, "lz4"),
            Self::Zstd => (Compressor::Zstd, "zstd"),
        };
        let damaged = |found: String| Error::from(Corrupt::CompressedData { format, found });
        fence(format, || {
            let mut unpacked = Vec::with_capacity(most);
            DefaultCompressor
                .decompress(packed, &mut unpacked, compressor)
                .map_err(|error| damaged(error.to_string()))?;
            if unpacked.len() > most {
                return Err(damaged(format!("more than {most} bytes")));
            }
            Ok(unpacked)
        })
    }
}

/// An unpacked block, and where what follows it on disk begins.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) end: u64,
}

/// The blocks that were unpacked last.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    recent: Vec<(u64, Arc<Block>)>,
    bytes: usize,
}

impl Blocks {
    /// Enough for four data blocks of the largest size.
    const MOST_BYTES: usize = 4 << 20;

    fn get(&mut self, offset: u64) -> Option<Arc<Block>> {
        let index = self.recent.iter().position(|(at, _)| *at == offset)?;
        // The one used last is the last to go.
        if let Some(from) = self.recent.get_mut(index..) {
            from.rotate_left(1);
        }
        self.recent.last().map(|(_, block)| Arc::clone(block))
    }

    fn put(&mut self, offset: u64, block: &Arc<Block>) {
        self.bytes = self.bytes.saturating_add(block.bytes.len());
        self.recent.push((offset, Arc::clone(block)));
        let mut drop = 0_usize;
        for (_, old) in &self.recent {
            if self.bytes <= Self::MOST_BYTES && self.recent.len().saturating_sub(drop) <= 256 {
                break;
            }
            self.bytes = self.bytes.saturating_sub(old.bytes.len());
            drop = drop.saturating_add(1);
        }
        self.recent.drain(..drop.min(self.recent.len()));
    }
}

impl<R: ReadAt> Squashfs<R> {
    /// A block of a table: at most 8 KiB, with its size in front.
    pub(super) fn metadata_block(&self, offset: u64) -> Result<Arc<Block>> {
        const MOST: usize = 8192;
        self.cached(offset, || {
            let mut header = [0; 2];
            self.reader.read_exact_at(offset, &mut header)?;
            let header = u16::from_le_bytes(header);
            let size = usize::from(header & 0x7fff);
            if !(1..=MOST).contains(&size) {
                return Err(wrong("metadata block size", size, "1 to 8192"));
            }
            self.load(super::add(offset, 2)?, size, header & 0x8000 == 0, MOST)
        })
    }

    /// A block of file content; `size` as it is recorded, with the bit for "not compressed".
    pub(super) fn data_block(&self, offset: u64, size: u32) -> Result<Arc<Block>> {
        let most = usize::try_from(self.superblock.block_size.get()).unwrap_or(0);
        self.cached(offset, || {
            let len = usize::try_from(size & 0x00ff_ffff).unwrap_or(usize::MAX);
            if size & 0xfe00_0000 != 0 || !(1..=most).contains(&len) {
                return Err(wrong("data block size", size, "1 to the block size"));
            }
            self.load(offset, len, size & 0x0100_0000 == 0, most)
        })
    }

    fn load(&self, offset: u64, size: usize, packed: bool, most: usize) -> Result<Block> {
        let end = super::add(offset, u64::try_from(size).unwrap_or(u64::MAX))?;
        if end > self.superblock.bytes_used {
            return Err(Corrupt::OutOfBounds { end, size: self.superblock.bytes_used }.into());
        }
        let mut bytes = vec![0; size];
        self.reader.read_exact_at(offset, &mut bytes)?;
        if packed {
            bytes = self.superblock.compression.unpack(&bytes, most)?;
        }
        Ok(Block { bytes, end })
    }

    fn cached(&self, offset: u64, load: impl FnOnce() -> Result<Block>) -> Result<Arc<Block>> {
        // What is cached is whole at any time, also when another thread panicked.
        let lock = || self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = lock().get(offset) {
            return Ok(block);
        }
        let block = Arc::new(load().map_err(|error| error.at_offset(offset))?);
        lock().put(offset, &block);
        Ok(block)
    }
}
