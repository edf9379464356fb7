//! What a repair came to.

use serde::Serialize;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Data.
    Data,
    /// Digests.
    Hash,
}

/// A block that was damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub struct Block {
    /// What it holds.
    pub area: Area,
    /// Which it is: counted from the start of the data, or from the first block of the tree.
    pub block: u64,
    /// Where it starts, in bytes: from the start of the source that was passed for its area, or, for a whole image, from
    /// the image's start.
    pub offset: u64,
}

/// What a repair came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The blocks that were damaged and were written anew, each checked against its hash before. In order.
    pub repaired: Vec<Block>,
    /// The blocks that are damaged and stay so. In order.
    pub unrepairable: Vec<Block>,
    /// How many blocks could not be looked at, because the hash block with their digest is unrepairable.
    pub unchecked_blocks: u64,
}

impl Report {
    /// Whether every block is what the root hash promises now.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.unrepairable.is_empty() && self.unchecked_blocks == 0
    }
}
