//! Where metadata is: in the image, or in the content of an inode.

use super::{Erofs, raw, wrong};
use crate::ReadAt;
use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    Image,
    Metabox,
}

impl Area {
    /// Area and offset of an inode's number there.
    pub(super) fn of_inode(id: u64) -> (Self, u64) {
        let area = if id & raw::IN_METABOX == 0 { Self::Image } else { Self::Metabox };
        (area, id & !raw::IN_METABOX)
    }

    /// Notes where the fault is, if that is a place of the image.
    pub(super) fn locate(self, error: Error, offset: u64) -> Error {
        match self {
            Self::Image => error.at_offset(offset),
            Self::Metabox => error.within("metabox"),
        }
    }
}

/// An area of metadata as a source of its own.
pub(super) struct Meta<'a, R> {
    erofs: &'a Erofs<R>,
    area: Area,
}

impl<'a, R> Meta<'a, R> {
    pub(super) const fn new(erofs: &'a Erofs<R>, area: Area) -> Self {
        Self { erofs, area }
    }
}

impl<R: ReadAt> ReadAt for Meta<'_, R> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match (self.area, &self.erofs.metabox) {
            (Area::Image, _) => self.erofs.devices.image().read_exact_at(offset, buf),
            (Area::Metabox, Some(metabox)) => self.erofs.read_content(metabox, offset, buf),
            (Area::Metabox, None) => {
                Err(wrong("inode number", offset, "one in the image, which has no metabox"))
            }
        }
    }

    fn size_bytes(&self) -> Result<u64> {
        match (self.area, &self.erofs.metabox) {
            (Area::Image, _) => self.erofs.devices.image().size_bytes(),
            (Area::Metabox, metabox) => Ok(metabox.as_ref().map_or(0, |inode| inode.size_bytes)),
        }
    }
}

/// A block of metadata, or nothing yet.
#[derive(Debug, Default)]
pub(super) struct Block {
    start: u64,
    bytes: Vec<u8>,
}

/// Small records that lie side by side: the block that was read last is kept.
pub(super) struct Records<'a, R> {
    source: Meta<'a, R>,
    block: Block,
}

impl<'a, R: ReadAt> Records<'a, R> {
    const BLOCK_BYTES: u64 = 4096;

    /// `block` is the last one of the same area, or none.
    pub(super) const fn new(source: Meta<'a, R>, block: Block) -> Self {
        Self { source, block }
    }

    pub(super) fn into_block(self) -> Block {
        self.block
    }

    /// `N` bytes that do not cross a multiple of 4096.
    pub(super) fn get<const N: usize>(&mut self, offset: u64) -> Result<[u8; N]> {
        if let Some(found) = self.kept(offset) {
            return Ok(found);
        }
        let start = offset.saturating_sub(offset % Self::BLOCK_BYTES);
        let rest = self.source.size_bytes()?.saturating_sub(start).min(Self::BLOCK_BYTES);
        let mut bytes = vec![0; usize::try_from(rest).unwrap_or(0)];
        self.source.read_exact_at(start, &mut bytes)?;
        self.block = Block { start, bytes };
        self.kept(offset)
            .ok_or_else(|| wrong("index of a compressed file", offset, "records that end before the image"))
    }

    fn kept<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let start = usize::try_from(offset.checked_sub(self.block.start)?).ok()?;
        self.block.bytes.get(start..)?.first_chunk().copied()
    }
}
