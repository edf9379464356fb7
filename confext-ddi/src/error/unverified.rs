//! Faults of trust: a hash or a signature does not check. Never retried, never downgraded.

family! {
    /// A hash or signature does not check.
    Unverified {
        /// A data block's hash is not the one the hash tree holds.
        DataBlock { block: u64 } = "data-block",
            "data block {block} does not match the hash tree",
            "the image was changed after it was built; fetch it again from its source";
        /// A block of the hash tree does not match the level above it.
        HashBlock { level: u32, block: u64 } = "hash-block",
            "hash block {block} of level {level} does not match the level above",
            "the hash tree was changed after it was built; fetch the image again from its source";
        /// The top of the hash tree is not the root hash.
        RootHash { found: String, expected: String } = "root-hash",
            "the hash tree's top is {found}, expected root hash {expected}",
            "the image does not belong to this root hash; check which build the hash is from";
        // verity
        /// The hash tree was made for another number of data blocks than its superblock says.
        HashTail { data_blocks: u64 } = "hash-tail",
            "the hash tree was not made for {data_blocks} data blocks, which its superblock says",
            "the superblock was changed after the image was built; fetch the image again from its source";

        // signature
    }
}
