//! What a repair came to.

use serde::Serialize;

/// What a block holds.
///
/// ```
/// # use confext_ddi::{Limits, digest::Salt, id::Uuid, units::BlockSize, write::Memory};
/// # use confext_ddi::verity::{Superblock, build, fec::{Coverage, Roots, encode}};
/// # let (bytes, roots) = (vec![7_u8; 200 * 4096], Roots::default());
/// # let superblock = Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default());
/// # let tree = build(&bytes, &superblock)?;
/// # let hash_bytes = tree.bytes[4096..].to_vec();
/// # let coverage = Coverage::new(BlockSize::B4096, roots, 200, 3)?;
/// # let mut fec = Vec::new();
/// # encode(&bytes, &hash_bytes, &coverage, |part| Ok(fec.extend_from_slice(part)))?;
/// # let (data, hash) = (Memory::new(bytes), Memory::new(hash_bytes));
/// use confext_ddi::verity::fec::{Area, Parts, repair};
/// use confext_ddi::write::WriteAt as _;
///
/// // `data` and the tree in `hash` are 203 blocks; `fec` is their parity, of two roots.
/// // The second leaf of the tree, behind its top, is lost.
/// hash.write_all_at(2 * 4096, &[0; 4096])?;
/// let parts = Parts { data: &data, hash: &hash, fec: &fec };
/// let report = repair(&parts, &superblock, &tree.root_hash, roots, &Limits::default())?;
/// assert_eq!(report.repaired[0].area, Area::Hash);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Data.
    Data,
    /// Digests.
    Hash,
}

/// A block that was damaged.
///
/// ```
/// # use confext_ddi::{Limits, digest::Salt, id::Uuid, units::BlockSize, write::Memory};
/// # use confext_ddi::verity::{Superblock, build, fec::{Coverage, Roots, encode}};
/// # let (bytes, roots) = (vec![7_u8; 200 * 4096], Roots::default());
/// # let superblock = Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default());
/// # let tree = build(&bytes, &superblock)?;
/// # let hash_bytes = tree.bytes[4096..].to_vec();
/// # let coverage = Coverage::new(BlockSize::B4096, roots, 200, 3)?;
/// # let mut fec = Vec::new();
/// # encode(&bytes, &hash_bytes, &coverage, |part| Ok(fec.extend_from_slice(part)))?;
/// # let (data, hash) = (Memory::new(bytes), Memory::new(hash_bytes));
/// use confext_ddi::verity::fec::{Area, Parts, repair};
/// use confext_ddi::write::WriteAt as _;
///
/// // `data` and the tree in `hash` are 203 blocks; `fec` is their parity, of two roots.
/// data.write_all_at(7 * 4096, b"a disk that is old")?;
/// let parts = Parts { data: &data, hash: &hash, fec: &fec };
/// let report = repair(&parts, &superblock, &tree.root_hash, roots, &Limits::default())?;
/// let block = report.repaired[0];
/// assert_eq!((block.area, block.block, block.offset), (Area::Data, 7, 7 * 4096));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
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
///
/// ```
/// # use confext_ddi::{Limits, digest::Salt, id::Uuid, units::BlockSize, write::Memory};
/// # use confext_ddi::verity::{Superblock, build, fec::{Coverage, Roots, encode}};
/// # let (bytes, roots) = (vec![7_u8; 200 * 4096], Roots::default());
/// # let superblock = Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default());
/// # let tree = build(&bytes, &superblock)?;
/// # let hash_bytes = tree.bytes[4096..].to_vec();
/// # let coverage = Coverage::new(BlockSize::B4096, roots, 200, 3)?;
/// # let mut fec = Vec::new();
/// # encode(&bytes, &hash_bytes, &coverage, |part| Ok(fec.extend_from_slice(part)))?;
/// # let (data, hash) = (Memory::new(bytes), Memory::new(hash_bytes));
/// use confext_ddi::verity::fec::{Parts, repair};
/// use confext_ddi::write::WriteAt as _;
///
/// // `data` and the tree in `hash` are 203 blocks; `fec` is their parity, of two roots.
/// // Three blocks of one round are more than two roots can bring back.
/// for block in [0, 2, 4] {
///     data.write_all_at(block * 4096, b"a disk that is old")?;
/// }
/// let parts = Parts { data: &data, hash: &hash, fec: &fec };
/// let report = repair(&parts, &superblock, &tree.root_hash, roots, &Limits::default())?;
/// assert!(!report.is_whole());
/// assert_eq!((report.repaired.len(), report.unrepairable.len()), (0, 3));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
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
