//! Identifiers that follow from a seed, by the rules of systemd-repart: the same seed gives the same identifiers.

use crate::digest::sha256;
use crate::id::{Guid, Uuid};

/// HMAC-SHA256 (RFC 2104) with a key of 16 bytes.
fn hmac(key: Uuid, message: &[u8]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        for (byte, key) in block.iter_mut().zip(key.to_bytes()) {
            *byte ^= key;
        }
        block
    };
    sha256(&[&padded(0x5c), &sha256(&[&padded(0x36), message])])
}

fn first_half(digest: [u8; 32]) -> Uuid {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = digest;
    Uuid::from_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

fn derive(key: Uuid, message: &[u8]) -> Uuid {
    first_half(hmac(key, message)).into_v4()
}

/// The identifier of the disk.
pub(super) fn disk(seed: Uuid) -> Uuid {
    derive(seed, b"disk-uuid")
}

/// The identifier of the first partition of a type, where nothing else gives it one.
pub(super) fn partition(seed: Uuid, type_guid: Guid) -> Uuid {
    derive(seed, &type_guid.to_uuid().to_bytes())
}

/// The identifier of the file system in the first partition of a type.
pub(super) fn file_system(seed: Uuid, type_guid: Guid) -> Uuid {
    derive(partition(seed, type_guid), b"file-system-uuid")
}

/// The identifier of the hash area.
pub(super) fn verity(seed: Uuid) -> Uuid {
    derive(seed, b"verity-uuid")
}

/// The salt of the hash tree.
pub(super) fn verity_salt(seed: Uuid) -> [u8; 32] {
    hmac(seed, b"verity-salt")
}

/// The identifiers of a data partition and its hash tree: the first and the last 16 bytes of the root hash, as they are.
pub(super) fn of_root_hash(root_hash: &crate::RootHash) -> (Uuid, Uuid) {
    let bytes = root_hash.as_bytes();
    // Root hashes have 20 bytes at least.
    let id = |half: Option<&[u8; 16]>| Uuid::from_bytes(half.copied().unwrap_or_default());
    (id(bytes.first_chunk()), id(bytes.last_chunk()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_known_answer() {
        // RFC 4231, test case 1 has a key of 20 bytes; this key is its case 2 ("Jefe") padded with the zeros HMAC adds.
        let mut key = [0; 16];
        key[..4].copy_from_slice(b"Jefe");
        let digest = hmac(Uuid::from_bytes(key), b"what do ya want for nothing?");
        assert_eq!(
            const_hex::encode(digest),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_root_hash_names_both_partitions() {
        let root_hash = crate::RootHash::from_bytes::<32>(std::array::from_fn(|at| at as u8));
        let (data, hash) = of_root_hash(&root_hash);
        assert_eq!(data.to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(hash.to_string(), "10111213-1415-1617-1819-1a1b1c1d1e1f");
    }
}
