//! The record of a merged stack: written into its metadata layer, read back, cross-checked with the mount it is in.
//!
//! *Layout* of `HIERARCHY/.systemd-sysext/` or `.systemd-confext/`, the top layer of every overlay made here:
//!
//! | file | content |
//! |---|---|
//! | `extensions` or `confexts` | names of the merged extensions, one a line |
//! | `dev` | `MAJOR:MINOR` of the overlay: tells a live stack from a copy of its files |
//! | `backing` | `MAJOR:MINOR` of the block device under the host's directory, where there is one |
//! | `origin` | what systemd compares to see whether anything changed |
//! | `work_dir` | the overlay's work directory inside the root, where writes go to a directory of the host |
//! | `provenance.json` | [`Record`] |
//!
//! All but the last are what systemd writes and reads, so its programs and this library see each other's stacks.

mod check;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use confext_ddi::RootHash;
use confext_ddi::id::Uuid;
use confext_ddi::policy::Evidence;
use confext_ddi::release::Class;
use confext_ddi::settings::Mutability;
use confext_ddi::signature::TrustSource;
use serde::{Deserialize, Serialize};

use crate::attach::Way;
use crate::consumers::Heard;
use crate::directory;
use crate::discover::Kind;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::{self, MountAttrFlags, OFlags, ResolveFlags};

pub use check::Doubt;

pub(crate) use check::{cross_check, doubts_about_record};

/// The version of [`Record`] that is written and read.
pub const FORMAT: u32 = 1;
/// A record is larger than this only if somebody else wrote it.
const MOST_BYTES: u64 = 16 << 20;

/// What a merged hierarchy is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// The class of all layers.
    pub class: Class,
    /// The hierarchy: `usr`, `opt` or `etc`.
    pub hierarchy: String,
    /// When it was merged, seconds since 1970.
    pub merged_at: u64,
    /// The image policy it was merged under.
    pub policy: String,
    /// Whether the mount point was made for the merge.
    pub created: bool,
    /// Major and minor number of the overlay's device: a record of another stack does not have it.
    #[serde(default)]
    pub device: Option<(u32, u32)>,
    /// All extensions of the stack, bottom first; not each has files in this hierarchy.
    pub layers: Vec<Layer>,
    /// The directory below them: major and minor number of its device, and its inode. Only of a service is it written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<(u32, u32, u64)>,
    /// Whether it can be written to; not at all where nothing is said.
    #[serde(default)]
    pub mutable: Mutable,
    /// Whether programs can be run from it; by its class where nothing is said.
    #[serde(default)]
    pub execution: Execution,
    /// Who has to hear when it changes; `None` when nothing is said.
    #[serde(default)]
    pub heard: Option<Heard>,
}

/// Whether programs can be run from what is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Execution {
    /// From a sysext, not from a confext.
    #[default]
    ByClass,
    /// Yes, unless the host forbids it for its own directory.
    Allowed,
    /// No.
    Forbidden,
}

impl Execution {
    /// `by-class`, `allowed` or `forbidden`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByClass => "by-class",
            Self::Allowed => "allowed",
            Self::Forbidden => "forbidden",
        }
    }

    /// What it comes to for a class.
    #[must_use]
    pub const fn is_allowed(self, class: Class) -> bool {
        match self {
            Self::ByClass => matches!(class, Class::Sysext),
            Self::Allowed => true,
            Self::Forbidden => false,
        }
    }
}

/// What the mounts of a stack forbid, as systemd has it, whatever the host forbids.
pub(crate) fn mount_flags(class: Class, execution: Execution) -> MountAttrFlags {
    let mut flags = MountAttrFlags::MOUNT_ATTR_NODEV;
    if class == Class::Confext {
        flags |= MountAttrFlags::MOUNT_ATTR_NOSUID;
    }
    if !execution.is_allowed(class) {
        flags |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    flags
}

/// Whether a hierarchy can be written to while it is merged. Paths are inside the root, without a slash at the front.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mutable {
    /// The mode the stack was merged with.
    pub mode: Mutability,
    /// Where writes go: the layer on top of everything.
    pub writes: Writes,
    /// The directory with what was written before, where it is seen only: the layer directly below the metadata.
    pub imported: Option<String>,
}

/// Where writes to a merged hierarchy go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "kebab-case")]
pub enum Writes {
    /// Nowhere: it is read-only.
    #[default]
    Nowhere,
    /// A directory of the host, above all extensions.
    Directory {
        /// The directory, links resolved.
        path: String,
        /// The overlay's work directory, beside it.
        work: String,
    },
    /// The host's own directory, which is above all extensions then and not below them.
    Host {
        /// The overlay's work directory, beside it.
        work: String,
    },
    /// Memory: they are gone with the stack.
    Memory,
}

/// One extension of a merged stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Layer {
    /// The extension's name.
    pub name: String,
    /// Where the image or directory is, inside the root.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// The version chosen from a `.v/` directory.
    pub version: Option<String>,
    /// What makes it the same extension at the next refresh.
    pub identity: Identity,
    /// What was checked when it was merged.
    pub checked: Checked,
    /// The partition of the image that is mounted.
    pub partition: Option<Partition>,
    /// The hierarchies it has files in.
    pub hierarchies: Vec<String>,
    /// How its image was attached; `None` for a directory, and before a merge.
    #[serde(default)]
    pub attached: Option<Way>,
}

/// The partition a layer is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// `root` or `usr`.
    pub designator: String,
    /// Its place in the table, from 1.
    pub number: Option<u32>,
    /// Its identifier.
    pub uuid: Option<Uuid>,
}

/// What tells whether an extension is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "test", rename_all = "kebab-case")]
pub enum Identity {
    /// The root hash: the content is the same wherever it is.
    RootHash {
        /// The top of the hash tree.
        root_hash: RootHash,
    },
    /// An image without a hash tree: the file it is in.
    File {
        /// Major and minor number of the file system's device.
        device: (u32, u32),
        /// Inode number.
        inode: u64,
        /// Size in bytes.
        size_bytes: u64,
        /// When its content was changed last: seconds since 1970, and nanoseconds.
        modified: (i64, u32),
        /// When anything about it was changed last: seconds since 1970, and nanoseconds.
        changed: (i64, u32),
    },
    /// A directory: itself, and the names, types, owners, modes, sizes and times of everything in it.
    Directory {
        /// Major and minor number of the file system's device.
        device: (u32, u32),
        /// Inode number.
        inode: u64,
        /// SHA-256 over all that, in hex.
        listing: String,
    },
    /// What the extension contains, wherever it is: of an image every byte of its file system, of a directory every
    /// file with its content and attributes, without times.
    Content {
        /// A digest of all that, in hex.
        sha256: String,
    },
}

impl Identity {
    /// The name of the test: `root-hash`, `file`, `directory` or `content`.
    #[must_use]
    pub const fn test(&self) -> &'static str {
        match self {
            Self::RootHash { .. } => "root-hash",
            Self::File { .. } => "file",
            Self::Directory { .. } => "directory",
            Self::Content { .. } => "content",
        }
    }
}

/// What was checked when a layer was merged: [`Evidence`] as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Checked {
    /// Nothing.
    None,
    /// Every block against this root hash.
    Verity {
        /// The top of the hash tree.
        root_hash: RootHash,
    },
    /// The same, and the root hash's signature.
    Signed {
        /// The top of the hash tree.
        root_hash: RootHash,
        /// Whose signature it was.
        by: SignedBy,
    },
}

/// Whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBy {
    /// The certificate's subject.
    pub subject: String,
    /// SHA-256 of the certificate, in hex; `None` where nobody has the certificate of a kernel's key.
    pub fingerprint: Option<String>,
    /// Start of the certificate's validity, seconds since 1970; `None` as above.
    pub not_before: Option<i64>,
    /// End of the certificate's validity, seconds since 1970; `None` as above.
    pub not_after: Option<i64>,
    /// Where it is said that this signer counts.
    pub source: TrustSource,
}

impl Checked {
    /// The root hash that was checked.
    #[must_use]
    pub const fn root_hash(&self) -> Option<&RootHash> {
        match self {
            Self::None => None,
            Self::Verity { root_hash } | Self::Signed { root_hash, .. } => Some(root_hash),
        }
    }
}

impl From<&Evidence> for Checked {
    fn from(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::None => Self::None,
            Evidence::Verity { root_hash } => Self::Verity { root_hash: *root_hash },
            Evidence::Signed { root_hash, by } => Self::Signed {
                root_hash: *root_hash,
                by: SignedBy {
                    subject: by.subject.clone(),
                    fingerprint: by.fingerprint.map(|known| known.to_string()),
                    not_before: by.not_before,
                    not_after: by.not_after,
                    source: by.source.clone(),
                },
            },
        }
    }
}

/// The name of the metadata directory: `.systemd-sysext` or `.systemd-confext`.
#[must_use]
pub const fn metadata_directory(class: Class) -> &'static str {
    match class {
        Class::Sysext => ".systemd-sysext",
        Class::Confext => ".systemd-confext",
    }
}

/// The name of the list of extensions in it: `extensions` or `confexts`.
#[must_use]
pub const fn names_file(class: Class) -> &'static str {
    match class {
        Class::Sysext => "extensions",
        Class::Confext => "confexts",
    }
}

/// The metadata directory in the view of a service, where the host's is part of what is below.
pub const SERVICE_METADATA: &str = ".confext";
/// The source of a service's overlays in the mount table: by it systemd knows them.
pub const SERVICE_SOURCE: &str = "systemd-extensions";

/// The file with the [`Record`].
pub const RECORD_FILE: &str = "provenance.json";

/// How one hierarchy stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The class that was looked for.
    pub class: Class,
    /// The hierarchy: `usr`, `opt` or `etc`.
    pub hierarchy: &'static str,
    /// Whether something is merged over it.
    #[serde(flatten)]
    pub state: HierarchyState,
}

/// Whether something is merged over a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum HierarchyState {
    /// The host has no such directory.
    Missing,
    /// Nothing is merged.
    Bare,
    /// A stack is merged.
    Merged {
        /// Its extensions, bottom first.
        extensions: Vec<String>,
        /// When it was merged, seconds since 1970.
        since: i64,
        /// What it is made of; `None` when another program merged it.
        record: Option<Box<Record>>,
        /// Where what is mounted is not as the record says.
        doubts: Vec<Doubt>,
    },
}

/// How the hierarchies of a class stand; needs no privilege.
///
/// # Errors
///
/// `os`. That a record cannot be understood is a [`Doubt`].
pub fn status(host: &Host, class: Class) -> Result<Vec<Status>> {
    let one = |hierarchy: &&'static str| {
        let state = match look(host, class, hierarchy)? {
            Current::Missing => HierarchyState::Missing,
            Current::Bare(_) => HierarchyState::Bare,
            Current::Merged(merged) => {
                host.reachable("the mount of a stack")?;
                HierarchyState::Merged {
                    doubts: cross_check(&merged, class)
                        .map_err(|error| Error::os("ask about the mount of", *hierarchy, error))?,
                    extensions: merged.names,
                    since: merged.since,
                    record: merged.record.map(|record| Box::new(Record::clone(&record))),
                }
            }
        };
        Ok(Status { class, hierarchy, state })
    };
    class.hierarchies().iter().map(one).collect()
}

/// A hierarchy of the host as it is now.
#[derive(Debug)]
pub(crate) enum Current {
    /// There is no such directory.
    Missing,
    /// Nothing is merged over it.
    Bare(OwnedFd),
    /// A stack is merged over it.
    Merged(Box<Merged>),
}

/// A live stack.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The root of the overlay.
    pub(crate) top: OwnedFd,
    /// The names of its extensions, bottom first.
    pub(crate) names: Vec<String>,
    /// Seconds since 1970 at which it was merged.
    pub(crate) since: i64,
    /// Our record; `None` when another program merged it, or when it cannot be understood.
    pub(crate) record: Option<Arc<Record>>,
    /// Why the record cannot be understood.
    pub(crate) fault: Option<Error>,
}

/// Looks at a hierarchy of the host.
///
/// A stack is one only if the directory is the root of a mount *and* `dev` names that mount's device: a copy of a
/// merged tree is just files.
///
/// # Errors
///
/// `os`.
pub(crate) fn look(host: &Host, class: Class, hierarchy: &str) -> Result<Current> {
    let fd = match host.open_path(Path::new(hierarchy), OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Current::Missing),
        fd => fd.map_err(|error| Error::os("open", host.display(Path::new(hierarchy)), error))?,
    };
    if !is_stack(fd.as_fd(), class).map_err(|error| at(host, hierarchy, error))? {
        return Ok(Current::Bare(fd));
    }
    let target = || host.display(Path::new(hierarchy));
    let stat = directory::statx(fd.as_fd()).map_err(|error| Error::os("stat", target(), error))?;
    let names = read(fd.as_fd(), class, names_file(class)).map_err(|error| at(host, hierarchy, error))?;
    let names = String::from_utf8_lossy(&names.unwrap_or_default()).lines().map(str::to_owned).collect();
    let bytes = read(fd.as_fd(), class, RECORD_FILE).map_err(|error| at(host, hierarchy, error))?;
    // A record of another version of this library must not keep a stack from being taken away.
    let parse = |bytes: &[u8]| parse(bytes, class, hierarchy, &target());
    let (record, fault) =
        match bytes.map(|bytes| host.understood().of(format!("{class} {hierarchy}"), bytes, parse)) {
            Some(Ok(record)) => (Some(record), None),
            Some(Err(fault)) => (None, Some(fault)),
            None => (None, None),
        };
    // The directory that writes go to has times of its own.
    let since =
        record.as_ref().map(|record: &Arc<Record>| i64::try_from(record.merged_at).unwrap_or(i64::MAX));
    let since = since.unwrap_or(stat.stx_mtime.tv_sec);
    let merged = Merged { top: fd, names, since, record, fault };
    Ok(Current::Merged(Box::new(merged)))
}

fn parse(bytes: &[u8], class: Class, hierarchy: &str, target: &str) -> Result<Record> {
    let wrong = |found: String| {
        Error::conflict(
            "stack-metadata",
            target,
            found,
            format!("a record of format {FORMAT} for {class} in {hierarchy}"),
        )
    };
    let record: Record = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if record.format != FORMAT || record.class != class || record.hierarchy != hierarchy {
        return Err(wrong(format!("format {} for {} in {}", record.format, record.class, record.hierarchy)));
    }
    Ok(record)
}

/// Whether the directory is the root of a live stack of this class.
pub(crate) fn is_stack(directory: BorrowedFd<'_>, class: Class) -> io::Result<bool> {
    let stat = directory::statx(directory)?;
    if !stat.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT) {
        return Ok(false);
    }
    let Some(text) = read(directory, class, "dev")? else { return Ok(false) };
    Ok(text.trim_ascii() == format!("{}:{}", stat.stx_dev_major, stat.stx_dev_minor).as_bytes())
}

/// Reads a metadata file; `None` when there is none.
pub(crate) fn read(directory: BorrowedFd<'_>, class: Class, name: &str) -> io::Result<Option<Vec<u8>>> {
    read_in(directory, metadata_directory(class), name)
}

/// The record in the view of a service, where the directory is the root of an overlay that it is about.
///
/// # Errors
///
/// `os`; `stack-metadata` when it cannot be understood.
pub(crate) fn service_record(
    directory: BorrowedFd<'_>,
    class: Class,
    hierarchy: &str,
) -> Result<Option<Record>> {
    let target = || format!("/{hierarchy}");
    let failed = |error| Error::os("read the metadata of", target(), error);
    let stat = directory::statx(directory).map_err(failed)?;
    let device = (stat.stx_dev_major, stat.stx_dev_minor);
    let Some(bytes) = read_in(directory, SERVICE_METADATA, RECORD_FILE).map_err(failed)? else {
        return Ok(None);
    };
    let record = parse(&bytes, class, hierarchy, &target())?;
    Ok((record.device == Some(device)).then_some(record))
}

fn read_in(directory: BorrowedFd<'_>, metadata: &str, name: &str) -> io::Result<Option<Vec<u8>>> {
    let path = Path::new(metadata).join(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match sys::open_beneath(directory, path.as_path(), flags, ResolveFlags::NO_SYMLINKS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => std::fs::File::from(file?),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MOST_BYTES), &mut bytes)?;
    Ok(Some(bytes))
}

fn at(host: &Host, hierarchy: &str, error: io::Error) -> Error {
    Error::os("read the metadata of", host.display(Path::new(hierarchy)), error)
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    /// A confext image under a hash tree whose root hash is made of this byte.
    pub(crate) fn layer(name: &str, hash: u8) -> Layer {
        let root_hash = RootHash::from_bytes([hash; 32]);
        Layer {
            name: name.into(),
            path: format!("/run/confexts/{name}.raw"),
            kind: Kind::Raw,
            version: None,
            identity: Identity::RootHash { root_hash },
            checked: Checked::Verity { root_hash },
            partition: None,
            hierarchies: vec!["etc".into()],
            attached: None,
        }
    }
}

#[cfg(test)]
mod tests;
