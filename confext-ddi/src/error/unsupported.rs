//! Faults of this library: the bytes may be fine, it cannot deal with them.

family! {
    /// The bytes may be fine, this library cannot deal with them.
    Unsupported {
        /// The hash algorithm is not on the allow-list.
        HashAlgorithm { found: String } = "hash-algorithm",
            "hash algorithm not allowed: found {found:?}, expected \"sha256\"",
            "build the image with sha256";
    }
}
