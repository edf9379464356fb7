//! Small images for tests.

use crate::digest::{HashAlgorithm, RootHash, Salt};
use crate::dps::{Architecture, Designator, PartitionType};
use crate::gpt::Attributes;
use crate::gpt::raw::ENTRY_BYTES;
use crate::gpt::sample::Sample;
use crate::id::{Guid, Uuid};
use crate::signature::Json;
use crate::units::BlockSize;
use crate::verity;
use std::sync::atomic::{AtomicU64, Ordering};

/// A partition to be.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) kind: Guid,
    pub(crate) id: Guid,
    pub(crate) label: String,
    pub(crate) attributes: Attributes,
    pub(crate) bytes: Vec<u8>,
}

impl Part {
    pub(crate) fn new(designator: Designator, architecture: Option<Architecture>, bytes: Vec<u8>) -> Self {
        let kind = PartitionType { designator, architecture }.to_guid().unwrap();
        let label = designator.as_str().to_owned();
        Self { kind, id: fresh_id(), label, attributes: Attributes::READ_ONLY, bytes }
    }
}

/// An identifier that no other partition has.
pub(crate) fn fresh_id() -> Guid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_bytes(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes()).to_guid()
}

/// Lays the partitions out one after the other, each from a multiple of 4096 on.
pub(crate) fn disk(parts: &[Part]) -> Vec<u8> {
    let mut sample = Sample { entry_bytes: ENTRY_BYTES, ..Sample::new(512, 0, 16) };
    let mut next = 8;
    for (entry, part) in sample.entries.iter_mut().zip(parts) {
        let sectors = (part.bytes.len() as u64).div_ceil(4096) * 8;
        *entry = Sample::entry(part.kind, part.id, (next, next + sectors - 1), &part.label);
        entry.attributes = part.attributes.bits().into();
        next += sectors;
    }
    sample.sectors = next + 8;
    let mut image = sample.image();
    for (entry, part) in sample.entries.iter().zip(parts) {
        let at = entry.first_lba.get() as usize * 512;
        image[at..at + part.bytes.len()].copy_from_slice(&part.bytes);
    }
    image
}

/// Eight blocks that pass for EROFS by their superblock.
pub(crate) fn erofs() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..8 * 4096_usize).map(|at| (at / 4096) as u8 + 1).collect();
    bytes[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
    bytes[1024 + 12] = 12;
    bytes[1024 + 36..1024 + 40].copy_from_slice(&8_u32.to_le_bytes());
    bytes[1024 + 80..1024 + 84].fill(0);
    bytes
}

/// The signature that [`crate::policy`]'s tests take for one.
pub(crate) const SIGNATURE: &[u8] = b"a signature";

/// Root partition, hash tree and signature, which belong together; nothing of it is real but the tree.
pub(crate) fn signed(architecture: Architecture) -> Vec<Part> {
    protected(architecture, erofs(), |_| SIGNATURE.to_vec())
}

/// Root partition with this content, its hash tree and the signature that `sign` makes.
pub(crate) fn protected(
    architecture: Architecture,
    data: Vec<u8>,
    sign: impl FnOnce(&RootHash) -> Vec<u8>,
) -> Vec<Part> {
    protected_by(HashAlgorithm::Sha256, architecture, data, sign)
}

/// The same with a hash tree of this algorithm.
pub(crate) fn protected_by(
    algorithm: HashAlgorithm,
    architecture: Architecture,
    data: Vec<u8>,
    sign: impl FnOnce(&RootHash) -> Vec<u8>,
) -> Vec<Part> {
    let superblock = verity::Superblock {
        uuid: Uuid::from_bytes([6; 16]),
        hash_type: verity::HashType::Normal,
        algorithm,
        data_block_size: BlockSize::B4096,
        hash_block_size: BlockSize::B4096,
        data_blocks: data.len() as u64 / 4096,
        salt: Salt::new([9; 32]).unwrap(),
    };
    let tree = verity::build(&data, &superblock).unwrap();
    let json = Json {
        root_hash: tree.root_hash,
        certificate_fingerprint: None,
        signature_der: sign(&tree.root_hash),
        additional: Vec::new(),
    };
    let end = tree.root_hash.as_bytes().len() - 16;
    let half = |at: usize| {
        let half: [u8; 16] = tree.root_hash.as_bytes()[at..at + 16].try_into().unwrap();
        Uuid::from_bytes(half).to_guid()
    };
    let part = |designator, bytes| Part::new(designator, Some(architecture), bytes);
    vec![
        Part { id: half(0), ..part(Designator::Root, data) },
        Part { id: half(end), ..part(Designator::RootVerity, tree.bytes) },
        part(Designator::RootVeritySig, json.to_bytes()),
    ]
}
