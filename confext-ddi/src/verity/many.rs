//! SHA-256 of many blocks at once, where the crate is built with it and the processor can do it.

#[cfg(feature = "simd")]
pub(super) use confext_sha256::Prefixed;

/// Nothing: without the feature there is none.
#[cfg(not(feature = "simd"))]
#[derive(Debug, Clone)]
pub(super) enum Prefixed {}

#[cfg(not(feature = "simd"))]
impl Prefixed {
    pub(super) const fn new(_: &[u8]) -> Option<Self> {
        None
    }

    pub(super) const fn digest_each(&self, _: &[u8], _: usize, _: &mut [[u8; 32]]) {
        match *self {}
    }
}
