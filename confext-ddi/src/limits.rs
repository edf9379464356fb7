//! [`Limits`]: caps that every parser takes, so that memory and time are bounded by options and never by the image.

use crate::digest::HashAlgorithms;

/// Caps on what a parser reads and allocates.
///
/// The defaults fit every extension image seen in the wild with room to spare; a fuzzer or an admission checker may
/// want them lower.
///
/// ```
/// use confext_ddi::{Limits, release::Release};
///
/// let mut limits = Limits::default();
/// limits.release_bytes = 8;
/// assert_eq!(Release::parse(b"ID=debian", &limits).unwrap_err().family(), "limit");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a GPT partition entry array. Default 1 MiB (128 entries of 128 bytes are 16 KiB).
    pub gpt_entries_bytes: u64,
    /// Bytes of the JSON in a signature partition. Default 4 MiB, what systemd reads.
    pub signature_bytes: u64,
    /// Nesting depth of JSON. Default 16.
    pub json_depth: usize,
    /// Signatures of one root hash. Default 16.
    pub signatures: usize,
    /// Bytes of one file read whole into memory. Default 64 MiB.
    pub file_bytes: u64,
    /// Entries of one directory, and of one walk. Default 1,000,000.
    pub entries: u64,
    /// Symbolic links followed while one path is resolved. Default 40, as the kernel.
    pub symlinks: u32,
    /// Components of a path, and depth of a walk. Default 256.
    pub depth: u32,
    /// Bytes of one inode's extended attributes. Default 1 MiB.
    pub xattr_bytes: u64,
    /// Bytes of an `os-release` or `extension-release` file. Default 64 KiB.
    pub release_bytes: u64,
    /// Bytes of a file with rules for keys. Default 1 MiB.
    pub key_rules_bytes: u64,
    /// Bytes of checked hash blocks a verity reader keeps. Default 1 MiB.
    pub hash_cache_bytes: u64,
    /// Hash algorithms that a hash tree may be of. Default sha256 and sha512.
    pub hash_algorithms: HashAlgorithms,
    /// Bytes of data that one hash tree protects. Default 16 TiB.
    pub verity_data_bytes: u64,
    /// Bytes of an image held in memory (sealed memory, or a file-system reader that needs a slice). Default 4 GiB.
    pub image_bytes: u64,
    /// Damaged blocks that one repair takes on. Default 1,000,000, about 50 MiB of memory.
    pub damaged_blocks: u64,
    /// Bytes of the contents of all files, where all of them are read: manifest, comparison, extraction. Holes count.
    /// Default 64 GiB.
    pub content_bytes: u64,
    /// Bytes of a manifest's text, and of the names and extended attributes of one in memory. Default 256 MiB.
    pub manifest_bytes: u64,
    /// Bytes of a file of a unit, or of a drop-in. Default 1 MiB, the longest line that systemd reads.
    pub unit_bytes: u64,
    /// Extensions that one unit names. Default 500, as many as an overlay has layers.
    pub unit_extensions: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            gpt_entries_bytes: 1 << 20,
            signature_bytes: 4 << 20,
            json_depth: 16,
            signatures: 16,
            file_bytes: 64 << 20,
            entries: 1_000_000,
            symlinks: 40,
            depth: 256,
            xattr_bytes: 1 << 20,
            release_bytes: 64 << 10,
            key_rules_bytes: 1 << 20,
            hash_cache_bytes: 1 << 20,
            hash_algorithms: HashAlgorithms::default(),
            verity_data_bytes: 16 << 40,
            image_bytes: 4 << 30,
            damaged_blocks: 1_000_000,
            content_bytes: 64 << 30,
            manifest_bytes: 256 << 20,
            unit_bytes: 1 << 20,
            unit_extensions: 500,
        }
    }
}
