//! The image and the other devices that it lists, with the one address space that they share.

use super::superblock::Superblock;
use super::{overflow, raw, wrong};
use crate::ReadAt;
use crate::error::{Error, Result, Unsupported};
use crate::read::read_struct;

/// A device besides the image: where it is in the address space of all, and its size.
struct Slot {
    /// `None` if it has no place in that space.
    start: Option<u64>,
    len_bytes: u64,
}

pub(super) struct Devices<R> {
    image: R,
    others: Vec<R>,
    slots: Vec<Slot>,
    /// The bits of a device's number that count.
    mask: usize,
}

impl<R: ReadAt> Devices<R> {
    pub(super) fn open(image: R, others: Vec<R>, superblock: &Superblock) -> Result<Self> {
        let mut slots = Vec::new();
        let size = image.size_bytes()?;
        let mut inside = true;
        for index in 0..u64::from(superblock.extra_devices) {
            let at = u64::from(superblock.device_table_slot)
                .checked_add(index)
                .and_then(|slot| slot.checked_mul(128))
                .ok_or_else(overflow)?;
            let slot: raw::DeviceSlot = read_struct(&image, at)?;
            let bytes = |low: u32, high: u16| {
                superblock
                    .long_block(low, high)
                    .checked_mul(superblock.block_size.get())
                    .ok_or_else(|| Error::from(overflow()).at_offset(at))
            };
            let len_bytes = bytes(slot.blocks_low.get(), slot.blocks_high.get())?;
            let start =
                Some(bytes(slot.unified_low.get(), slot.unified_high.get())?).filter(|&start| start != 0);
            inside &= start.and_then(|start| start.checked_add(len_bytes)).is_some_and(|end| end <= size);
            slots.push(Slot { start, len_bytes });
        }
        let (found, expected) = (others.len(), slots.len());
        if found != expected && !(found == 0 && inside) {
            return Err(Unsupported::FileSystemDevices { found, expected }.into());
        }
        let mask =
            expected.checked_add(1).and_then(usize::checked_next_power_of_two).unwrap_or(1).saturating_sub(1);
        Ok(Self { image, others, slots, mask })
    }

    pub(super) const fn image(&self) -> &R {
        &self.image
    }

    /// Reads from `start` of a device; of device 0, from `start` of the address space of all.
    pub(super) fn read(&self, device: u16, start: u64, buf: &mut [u8]) -> Result<()> {
        if device == 0 {
            return self.read_unified(start, buf);
        }
        let index = usize::from(device) & self.mask;
        let unknown = || wrong("device of a chunk", device, "the number of a device that the image lists");
        let index = index.checked_sub(1).ok_or_else(unknown)?;
        let slot = self.slots.get(index).ok_or_else(unknown)?;
        match self.others.get(index) {
            Some(other) => other.read_exact_at(start, buf),
            None => {
                let end = u64::try_from(buf.len()).ok().and_then(|len| start.checked_add(len));
                if end.is_none_or(|end| end > slot.len_bytes) {
                    return Err(wrong("address of a chunk", start, "one inside its device"));
                }
                let start = slot.start.and_then(|first| first.checked_add(start)).ok_or_else(overflow)?;
                self.image.read_exact_at(start, buf)
            }
        }
    }

    fn read_unified(&self, start: u64, buf: &mut [u8]) -> Result<()> {
        for (slot, other) in self.slots.iter().zip(&self.others) {
            let inside =
                slot.start.and_then(|first| start.checked_sub(first)).filter(|&at| at < slot.len_bytes);
            if let Some(at) = inside {
                return other.read_exact_at(at, buf);
            }
        }
        self.image.read_exact_at(start, buf)
    }
}
