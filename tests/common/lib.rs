//! What several test tiers share: images made by code, scratch places, and the sweep for leaked kernel objects.

pub mod namespace;
pub mod source;
pub mod sweep;
