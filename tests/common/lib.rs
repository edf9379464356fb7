//! What several test tiers share: images made by code, scratch places, and the sweep for leaked kernel objects.

pub mod beside;
pub mod fat;
pub mod faults;
pub mod images;
pub mod machine;
pub mod namespace;
mod pages;
pub mod peer;
#[path = "../../fuzz/src/reseal.rs"]
pub mod reseal;
pub mod root;
pub mod scene;
pub mod source;
pub mod subject;
pub mod sweep;
pub mod tools;
