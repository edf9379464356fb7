//! Quantities: one newtype per unit, so that sectors, blocks and bytes cannot be mixed up.

use crate::error::{Corrupt, Result};
use serde::{Deserialize, Serialize};

/// A logical block address: an index of a sector, not of a byte.
///
/// ```
/// use confext_ddi::units::{Lba, SectorSize};
///
/// // The table's header is in the second sector, wherever that is.
/// assert_eq!(SectorSize::ALL.map(|size| size.offset_of(Lba(1))), [512, 1024, 2048, 4096].map(Some));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lba(pub u64);

/// A GPT sector size in bytes: 512, 1024, 2048 or 4096.
///
/// ```
/// use confext_ddi::units::{Lba, SectorSize};
///
/// assert_eq!(SectorSize::new(520), None);
/// assert_eq!(SectorSize::S512.offset_of(Lba(40)), Some(20480));
/// assert_eq!(SectorSize::S512.offset_of(Lba(u64::MAX)), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SectorSize(u32);

impl SectorSize {
    /// 512 bytes, what almost every image uses.
    pub const S512: Self = Self(512);
    /// All sizes that are probed, ascending.
    pub const ALL: [Self; 4] = [Self(512), Self(1024), Self(2048), Self(4096)];

    /// Returns the sector size of `bytes` bytes, or `None` when it is not one of [`SectorSize::ALL`].
    #[must_use]
    pub fn new(bytes: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.0 == bytes)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// The byte offset at which sector `lba` starts, or `None` when it is beyond 2^64.
    #[must_use]
    pub fn offset_of(self, lba: Lba) -> Option<u64> {
        lba.0.checked_mul(u64::from(self.0))
    }
}

/// A dm-verity block size in bytes: a power of two from 512 to 65536.
///
/// ```
/// use confext_ddi::units::BlockSize;
///
/// assert_eq!(BlockSize::B4096.bits(), 12);
/// assert_eq!(BlockSize::new(1024).map(BlockSize::bytes), Some(1024));
/// assert_eq!(BlockSize::new(4097), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BlockSize(u32);

impl BlockSize {
    /// 4096 bytes, what every tool writes.
    pub const B4096: Self = Self(4096);

    /// Returns the block size of `bytes` bytes, or `None` when it is not a power of two from 512 to 65536.
    #[must_use]
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (512..=65536).contains(&bytes)).then_some(Self(bytes))
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// The base-2 logarithm of the size: 12 for 4096.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0.trailing_zeros()
    }
}

/// A half-open range of bytes: `start` is in it, `end` is the first byte after it.
///
/// ```
/// use confext_ddi::units::ByteRange;
///
/// let sectors = ByteRange::with_len(4096, 512).ok_or("beyond the largest offset")?;
/// assert_eq!((sectors.start(), sectors.end()), (4096, 4608));
/// assert!(ByteRange::with_len(u64::MAX, 1).is_none());
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// The range of no bytes at 0.
    pub const EMPTY: Self = Self { start: 0, end: 0 };

    /// Returns the range from `start` to before `end`, or `None` when it would end before it starts.
    #[must_use]
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// Returns the range of `len_bytes` bytes from `start`, or `None` when it would end beyond 2^64.
    #[must_use]
    pub fn with_len(start: u64, len_bytes: u64) -> Option<Self> {
        Some(Self { start, end: start.checked_add(len_bytes)? })
    }

    /// The first byte.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The first byte after the range.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.end
    }

    /// How many bytes the range holds.
    #[must_use]
    pub const fn len_bytes(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the range holds no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Whether the two ranges share a byte.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether all of `other` lies in this range.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Moves a range that is relative to this one's start to absolute offsets.
    ///
    /// # Errors
    ///
    /// `out-of-bounds` when it does not fit in this range.
    pub fn slice(self, relative: Self) -> Result<Self> {
        let absolute = self.start.checked_add(relative.start).zip(self.start.checked_add(relative.end));
        match absolute {
            Some((start, end)) if end <= self.end => Ok(Self { start, end }),
            _ => Err(Corrupt::OutOfBounds { end: relative.end, size: self.len_bytes() }.into()),
        }
    }
}

/// The number of a partition: 1 is the first entry of the table.
///
/// ```
/// use confext_ddi::units::PartitionNumber;
///
/// // They count from 1, as `/dev/loop0p1` does.
/// assert_eq!(PartitionNumber::new(1).map(|number| number.to_string()).as_deref(), Some("1"));
/// assert_eq!(PartitionNumber::new(0), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PartitionNumber(std::num::NonZeroU32);

impl PartitionNumber {
    /// Returns the number, or `None` for 0.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        std::num::NonZeroU32::new(number).map(Self)
    }

    /// The number, from 1.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0.get()
    }
}

impl std::fmt::Display for PartitionNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_outside_the_standard_are_not_representable() {
        assert_eq!(SectorSize::new(512), Some(SectorSize::S512));
        assert_eq!([0, 256, 513, 8192].map(SectorSize::new), [None; 4]);
        assert_eq!([0, 256, 4097, 131_072].map(BlockSize::new), [None; 4]);
        assert_eq!(BlockSize::new(65536).map(BlockSize::bits), Some(16));
        assert_eq!(PartitionNumber::new(0), None);
    }

    #[test]
    fn ranges_are_half_open_and_never_wrap() {
        let range = ByteRange::with_len(10, 20).unwrap();
        assert_eq!((range.end(), range.len_bytes()), (30, 20));
        assert!(!range.overlaps(ByteRange::new(30, 40).unwrap()));
        assert!(range.overlaps(ByteRange::new(29, 30).unwrap()));
        assert_eq!(ByteRange::with_len(u64::MAX, 1), None);
        assert_eq!(ByteRange::new(2, 1), None);
        let inner = range.slice(ByteRange::new(5, 20).unwrap()).unwrap();
        assert_eq!((inner.start(), inner.end()), (15, 30));
        assert_eq!(range.slice(ByteRange::new(5, 21).unwrap()).unwrap_err().code(), "out-of-bounds");
        assert_eq!(range.slice(ByteRange::new(0, u64::MAX).unwrap()).unwrap_err().code(), "out-of-bounds");
    }

    #[test]
    fn offsets_of_sectors_are_checked() {
        assert_eq!(SectorSize::S512.offset_of(Lba(2)), Some(1024));
        assert_eq!(SectorSize::S512.offset_of(Lba(u64::MAX)), None);
    }
}
