//! Caps reached: a `Limits` option says how much is too much.

family! {
    /// A cap of [`Limits`](crate::Limits) was reached.
    LimitExceeded {
        /// Something is larger than the option allows.
        Bytes { what: &'static str, found: u64, most: u64 } = "limit-bytes",
            "{what} too large: found {found} bytes, expected at most {most}",
            "raise the named option of Limits if you trust the source";
        /// There are more of something than the option allows.
        Count { what: &'static str, found: u64, most: u64 } = "limit-count",
            "too many {what}: found {found}, expected at most {most}",
            "raise the named option of Limits if you trust the source";
        /// Something is nested deeper than the option allows.
        Depth { what: &'static str, most: u64 } = "limit-depth",
            "{what} nested too deep: expected at most {most} levels",
            "raise the named option of Limits if you trust the source";
        // fs
        /// More symbolic links than allowed while one path was resolved; most likely they lead round and round.
        Symlinks { path: String, most: u32 } = "limit-symlinks",
            "too many symbolic links on the way to {path:?}: expected at most {most}",
            "look for links that lead round and round";
    }
}
