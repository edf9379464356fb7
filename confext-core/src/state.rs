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
mod record;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use confext_ddi::release::Class;
use serde::Serialize;

use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::{self, OFlags, ResolveFlags};

pub use check::Doubt;
pub use record::{Checked, Execution, Identity, Layer, Mutable, Partition, Record, SignedBy, Writes};

pub(crate) use check::{cross_check, doubts_about_record};
pub(crate) use record::mount_flags;

/// The version of [`Record`] that is written and read.
pub const FORMAT: u32 = 1;
/// A record is larger than this only if somebody else wrote it.
const MOST_BYTES: usize = 16 << 20;

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
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{state::{HierarchyState, Status}, status};
/// use confext_ddi::release::Class;
///
/// let all: Vec<Status> = status(&host, Class::Confext)?;
/// assert_eq!((all[0].hierarchy, &all[0].state), ("etc", &HierarchyState::Bare));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{state::HierarchyState, status};
/// use confext_ddi::release::Class;
///
/// let mut merged = Vec::new();
/// for one in status(&host, Class::Sysext)? {
///     match one.state {
///         HierarchyState::Merged { extensions, .. } => merged.extend(extensions),
///         HierarchyState::Bare => println!("/{}: nothing is merged", one.hierarchy),
///         HierarchyState::Missing => println!("/{}: not there", one.hierarchy),
///     }
/// }
/// assert!(merged.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    let Some(fd) = open(host, hierarchy)? else { return Ok(Current::Missing) };
    look_at(host, class, hierarchy, fd)
}

/// The same, by one who has seen this before: of a stack that is still there only that is asked.
///
/// # Errors
///
/// `os`.
pub(crate) fn look_again(
    host: &Host,
    class: Class,
    hierarchy: &str,
    before: Option<&Merged>,
) -> Result<Current> {
    let Some(fd) = open(host, hierarchy)? else { return Ok(Current::Missing) };
    let is_on = |mount| sys::mount_id(fd.as_fd()).is_ok_and(|now| now == mount);
    match before {
        // The number of a mount that is held is not given to another one.
        Some(Merged { top, names, since, record, fault: None })
            if sys::mount_id(top.as_fd()).is_ok_and(is_on) =>
        {
            let (names, record) = (names.clone(), record.clone());
            Ok(Current::Merged(Box::new(Merged { top: fd, names, since: *since, record, fault: None })))
        }
        _ => look_at(host, class, hierarchy, fd),
    }
}

fn open(host: &Host, hierarchy: &str) -> Result<Option<OwnedFd>> {
    match host.open_path(Path::new(hierarchy), OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        fd => fd.map(Some).map_err(|error| Error::os("open", host.display(Path::new(hierarchy)), error)),
    }
}

fn look_at(host: &Host, class: Class, hierarchy: &str, fd: OwnedFd) -> Result<Current> {
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
        match bytes.map(|bytes| host.understood().of(place_of(class, hierarchy), bytes, parse)) {
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

/// What the record of a hierarchy is kept under.
pub(crate) fn place_of(class: Class, hierarchy: &str) -> String {
    format!("{class} {hierarchy}")
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
    // All of it at once, with room for a byte more.
    let expected = usize::try_from(file.metadata()?.len()).unwrap_or(MOST_BYTES).min(MOST_BYTES);
    let mut bytes = Vec::with_capacity(expected.saturating_add(1));
    while rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))? > 0
        && bytes.len() != expected
        && bytes.len() < MOST_BYTES
    {
        bytes.reserve(1);
    }
    bytes.truncate(MOST_BYTES);
    Ok(Some(bytes))
}

fn at(host: &Host, hierarchy: &str, error: io::Error) -> Error {
    Error::os("read the metadata of", host.display(Path::new(hierarchy)), error)
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::discover::Kind;
    use confext_ddi::RootHash;

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
