//! Checksums of metadata: crc32c, neither inverted at the start nor at the end.

/// A checksum over what came so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checksum(u32);

impl Checksum {
    /// Over nothing.
    pub(super) const START: Self = Self(u32::MAX);

    pub(super) const fn from_value(value: u32) -> Self {
        Self(value)
    }

    pub(super) fn over(self, bytes: &[u8]) -> Self {
        // The library's sum is inverted on both ends.
        Self(!crc32c::crc32c_append(!self.0, bytes))
    }

    pub(super) const fn value(self) -> u32 {
        self.0
    }
}
