//! [`Entry`]: one file of a manifest.

use crate::Limits;
use crate::error::{Corrupt, LimitExceeded, Result};
use crate::fs::{self, FileType, Xattr};

/// SHA-256 of the content of a file.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, manifest::{self, Kind, Manifest}};
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// let limits = Limits::default();
/// let manifest = Manifest::of(&tree.files(&limits), &manifest::Options::default(), &limits, |_| {})?;
/// let Some(Kind::Regular { sha256: Some(digest), .. }) = manifest.get(b"etc/app.conf").map(|e| &e.kind) else {
///     panic!("a regular file, and contents are read");
/// };
/// assert!(digest.to_string().starts_with("0a775022"));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Takes the digest's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 lower-case hex digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (lower && text.len() == 64 && const_hex::decode_to_slice(text, &mut bytes).is_ok())
            .then_some(Self(bytes))
    }
}

/// 64 lower-case hex digits.
impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a file is, with what only that kind of file has.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, manifest::{self, Kind, Manifest}};
///
/// let mut tree = Tree::new();
/// tree.add_symlink("etc/mtab", "../proc/self/mounts", Meta::new(0o777))?;
/// let limits = Limits::default();
/// let manifest = Manifest::of(&tree.files(&limits), &manifest::Options::default(), &limits, |_| {})?;
/// let link = Kind::Symlink { target: b"../proc/self/mounts".to_vec() };
/// assert_eq!(manifest.get(b"etc/mtab").map(|entry| &entry.kind), Some(&link));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular {
        /// Size of its content.
        size_bytes: u64,
        /// Of its content; `None` when contents were not read.
        sha256: Option<Digest>,
    },
    /// A symbolic link.
    Symlink {
        /// 1 to 4095 bytes without NUL.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl Kind {
    /// The type alone.
    #[must_use]
    pub const fn file_type(&self) -> FileType {
        match self {
            Self::Directory => FileType::Directory,
            Self::Regular { .. } => FileType::Regular,
            Self::Symlink { .. } => FileType::Symlink,
            Self::CharDevice { .. } => FileType::CharDevice,
            Self::BlockDevice { .. } => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

/// One file of a manifest.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, manifest};
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o640))?;
/// tree.add_hardlink("etc/other.conf", "etc/app.conf")?;
/// let limits = Limits::default();
/// let mut last = None;
/// manifest::read(&tree.files(&limits), &manifest::Options::default(), &limits, |entry| {
///     last = Some(entry);
///     Ok(())
/// })?;
/// let last = last.ok_or("the root is an entry at least")?;
/// assert_eq!((last.path.as_slice(), last.mode), (&b"etc/other.conf"[..], 0o640));
/// assert_eq!(last.hard_link_to.as_deref(), Some(&b"etc/app.conf"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From the root, without a leading slash; empty for the root itself. Any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission, set-id and sticky bits: `0o7777` at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime_sec: i64,
    /// Nanoseconds of the modification time.
    pub mtime_nsec: u32,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// The first path, in the order of the manifest, of the file that this is another name of.
    pub hard_link_to: Option<Vec<u8>>,
}

impl Entry {
    /// The path as it is shown in messages.
    pub(crate) fn shown_path(&self) -> String {
        fs::display(&self.path)
    }

    /// The directory the entry is in; `None` for the root.
    pub(super) fn parent(&self) -> Option<&[u8]> {
        match self.path.iter().rposition(|&byte| byte == b'/') {
            _ if self.path.is_empty() => None,
            None => Some(b""),
            Some(slash) => self.path.get(..slash),
        }
    }

    /// Bytes on the heap, about.
    pub(crate) fn held_bytes(&self) -> u64 {
        let target = match &self.kind {
            Kind::Symlink { target } => target.len(),
            _ => 0,
        };
        let xattrs = self.xattrs.iter().map(|(name, value)| name.len().saturating_add(value.len()));
        let rest = self.hard_link_to.as_ref().map_or(0, Vec::len).saturating_add(target);
        let sum = xattrs.fold(self.path.len().saturating_add(rest), usize::saturating_add);
        u64::try_from(sum).unwrap_or(u64::MAX)
    }

    /// Whether all but the names agree, as it must for two names of one file.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        let attributes = |entry: &Self| (entry.mode, entry.uid, entry.gid, entry.mtime_sec, entry.mtime_nsec);
        attributes(self) == attributes(other)
            && self.kind != Kind::Directory
            && self.kind == other.kind
            && self.xattrs == other.xattrs
    }

    /// Checks that the values are possible.
    pub(super) fn check(&self, limits: &Limits) -> Result<()> {
        let wrong = |what, found: String, expected| {
            Err(Corrupt::ManifestEntry { path: self.shown_path(), what, found, expected }.into())
        };
        for name in self.path.split(|&byte| byte == b'/').filter(|_| !self.path.is_empty()) {
            if matches!(name, b"" | b"." | b"..") || name.len() > 255 || name.contains(&0) {
                let found = String::from_utf8_lossy(name).chars().take(80).collect::<String>();
                return wrong("path", format!("{found:?}"), "names of 1 to 255 bytes, no NUL, no . and ..");
            }
        }
        let depth = u64::try_from(self.path.split(|&byte| byte == b'/').count()).unwrap_or(u64::MAX);
        let most = u64::from(limits.depth);
        if depth > most {
            return Err(LimitExceeded::Count { what: "components of a path", found: depth, most }.into());
        }
        if self.mode > 0o7777 {
            return wrong("mode", format!("{:#o}", self.mode), "at most 0o7777");
        }
        if self.mtime_nsec > 999_999_999 {
            return wrong("nanoseconds", self.mtime_nsec.to_string(), "at most 999999999");
        }
        if let Kind::Symlink { target } = &self.kind
            && (!(1..=4095).contains(&target.len()) || target.contains(&0))
        {
            return wrong("target", format!("{} bytes", target.len()), "1 to 4095 bytes without NUL");
        }
        if self.xattrs.iter().any(|(name, _)| !(1..=255).contains(&name.len()) || name.contains(&0)) {
            return wrong(
                "extended attribute",
                "an impossible name".to_owned(),
                "1 to 255 bytes without NUL",
            );
        }
        if !self.xattrs.is_sorted_by(|(a, _), (b, _)| a < b) {
            return wrong("extended attributes", "another order".to_owned(), "names in ascending order");
        }
        Ok(())
    }
}
