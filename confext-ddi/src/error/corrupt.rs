//! Faults of the bytes: they break their specification.

family! {
    /// Their bytes break the specification.
    Corrupt {
        /// A read or a range went past the end of its source.
        OutOfBounds { end: u64, size: u64 } = "out-of-bounds",
            "data ends too early: found {size} bytes, expected at least {end}",
            "the image is truncated or a size in it is wrong; copy or build it again";
        /// A text that should be a UUID is not.
        UuidSyntax { found: String } = "uuid-syntax",
            "not a UUID: found {found:?}, expected 32 hex digits with or without dashes",
            "write it as xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
        /// A text that should be a root hash is not.
        RootHashSyntax { found: String } = "root-hash-syntax",
            "not a root hash: found {found:?}, expected 64 hex digits",
            "pass the root hash as the build printed it";
        /// A verity salt is too long.
        SaltSize { found: usize, most: usize } = "salt-size",
            "verity salt too long: found {found} bytes, expected at most {most}",
            "use a salt of 0 to 256 bytes; 32 is usual";
        // dps
        /// A name that should be an architecture is not.
        ArchitectureName { found: String } = "architecture-name",
            "unknown architecture: found {found:?}, expected a name like \"x86-64\" or \"arm64\"",
            "use the name release files use for it";
    }
}
