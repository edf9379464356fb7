//! Faults of this library: the bytes may be fine, it cannot deal with them.

family! {
    /// The bytes may be fine, this library cannot deal with them.
    Unsupported {
        /// The hash algorithm is not on the allow-list.
        HashAlgorithm { found: String } = "hash-algorithm",
            "hash algorithm not allowed: found {found:?}, expected \"sha256\"",
            "build the image with sha256";
        // verity
        /// A verity superblock of another version.
        VerityVersion { found: u32 } = "verity-version",
            "verity superblock version not known: found {found}, expected 1",
            "build the hash tree with veritysetup, systemd-repart or confext";
        /// A verity hash type that puts the salt behind the block, or an unknown one.
        VerityHashType { found: u32 } = "verity-hash-type",
            "verity hash type not allowed: found {found}, expected 1",
            "build the hash tree with hash type 1, the default of every tool";
        /// A valid verity block size that is not on the allow-list.
        VerityBlockSize { which: &'static str, found: u32 } = "verity-block-size-unsupported",
            "{which} block size not allowed: found {found}, expected 4096",
            "build the hash tree with blocks of 4096 bytes";
        // gpt
        /// The revision of the partition table is not 1.0.
        GptRevision { found: u32 } = "gpt-revision",
            "revision of the partition table unknown: found {found:#010x}, expected 0x00010000",
            "build the image with a revision 1.0 table, the only one there is";
    }
}
