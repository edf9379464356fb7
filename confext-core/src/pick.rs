//! [`pick`]: the path that a path into a `.v/` directory stands for.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::dps::Architecture;
use confext_ddi::error::Lookup;
use confext_ddi::vpick::{
    Accept, ArchitectureRule, Best, EntryKind, Filter, Pattern, Pick, Tries, TriesRule,
};
use rustix::fs::{AtFlags, FileType, RawDir};

use crate::error::{Error, Result};
use crate::sys::{Mode, OFlags};

/// How much of a directory is read at a time.
const LISTING_BYTES: usize = 256 << 10;

/// What to pick.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// use std::fs;
///
/// use confext_core::pick::{Request, pick};
///
/// let versions = root.path().join("app.raw.v");
/// fs::create_dir(&versions)?;
/// for name in ["app_1.raw", "app_2.raw"] {
///     fs::write(versions.join(name), "")?;
/// }
/// let mut request = Request::default();
/// request.suffix = b".raw".to_vec();
/// assert_eq!(pick(&versions, &request)?.path, versions.join("app_2.raw"));
/// request.version = Some("1".to_owned());
/// assert_eq!(pick(&versions, &request)?.path, versions.join("app_1.raw"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// What names end in, for a path that ends in `.v`.
    pub suffix: Vec<u8>,
    /// Which kinds of entry.
    pub accept: Accept,
    /// Only this version: the same text.
    pub version: Option<String>,
    /// Only this architecture, instead of those this machine runs.
    pub architecture: Option<Architecture>,
}

impl Default for Request {
    /// Any suffix that the path gives, any kind, any version, for this machine.
    fn default() -> Self {
        Self { suffix: Vec::new(), accept: Accept::Any, version: None, architecture: None }
    }
}

/// What a path stands for.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// use std::fs;
///
/// use confext_core::pick::{Request, pick};
///
/// let versions = root.path().join("app.v");
/// fs::create_dir(&versions)?;
/// // Of the newer one no attempt is left.
/// for name in ["app_9.raw", "app_10+0-3.raw"] {
///     fs::write(versions.join(name), "")?;
/// }
/// let picked = pick(&versions.join("app___.raw"), &Request::default())?;
/// assert_eq!((picked.version.as_deref(), picked.tries), (Some("9"), None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Picked {
    /// The path; links are not resolved.
    pub path: PathBuf,
    /// What it is, after links.
    pub kind: EntryKind,
    /// The version in its name, if a choice was made.
    pub version: Option<String>,
    /// The architecture in its name.
    pub architecture: Option<Architecture>,
    /// The counters in its name.
    pub tries: Option<Tries>,
}

/// Picks the best entry when the path asks for one (see [`Pattern`]), else says what the path is.
///
/// The directory is read once; of its entries only those that could win and are links are looked at.
///
/// # Errors
///
/// `pattern-empty`, `pattern-directory`; `nothing-to-pick` when no entry fits; `os` when the directory, or the file of a
/// path that is no pattern, cannot be opened.
///
/// *Spec:* UAPI.11 (`.v/` directories); `systemd.v`(7), `systemd-vpick`(1).
pub fn pick(path: &Path, request: &Request) -> Result<Picked> {
    let bytes = path.as_os_str().as_bytes();
    let pattern = Pattern::parse(bytes, &request.suffix, request.accept)?;
    let Pattern::Versioned { directory, base, suffix, accept } = pattern else {
        let found = std::fs::metadata(path).map_err(|error| failed("look at", path, error))?;
        let mode = std::os::unix::fs::MetadataExt::mode(&found);
        let kind = entry_kind(FileType::from_raw_mode(mode));
        return Ok(Picked { path: path.to_owned(), kind, version: None, architecture: None, tries: None });
    };
    let architecture = match (request.architecture, Architecture::of_build()) {
        (Some(wanted), _) => ArchitectureRule::Only(wanted),
        (None, Some(native)) => ArchitectureRule::Host { native, secondary: native.secondary() },
        (None, None) => ArchitectureRule::Unused,
    };
    let mut filter = Filter::new(base, suffix, accept).architecture(architecture).tries(TriesRule::Honoured);
    filter.version.clone_from(&request.version);
    let directory = match directory.as_slice() {
        b"" => Path::new("."),
        directory => Path::new(OsStr::from_bytes(directory)),
    };
    let Some(Pick { name, kind, version, architecture, tries, .. }) = best(directory, &filter)? else {
        let expected = [&filter.base, b"_VERSION".as_slice(), &filter.suffix].concat();
        let expected = String::from_utf8_lossy(&expected).into_owned();
        let fault = Lookup::NothingToPick { path: directory.display().to_string(), expected };
        return Err(confext_ddi::Error::from(fault).into());
    };
    let path = directory.join(OsStr::from_bytes(&name));
    Ok(Picked { path, kind, version: Some(version), architecture, tries })
}

fn best(path: &Path, filter: &Filter) -> Result<Option<Pick>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed("open", path, errno.into()))?;
    let mut best = Best::new(filter);
    let mut buffer = Vec::with_capacity(LISTING_BYTES);
    let mut entries = RawDir::new(&directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|errno| failed("list", path, errno.into()))?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            best.offer(name.to_bytes(), || listed_kind(directory.as_fd(), name, entry.file_type()));
        }
    }
    Ok(best.into_pick())
}

/// What an entry is once links are followed: as the listing says, if that is enough to know it.
pub(crate) fn listed_kind(directory: BorrowedFd<'_>, name: &CStr, listed: FileType) -> EntryKind {
    match listed {
        FileType::Symlink | FileType::Unknown => rustix::fs::statat(directory, name, AtFlags::empty())
            .map_or(EntryKind::Dangling, |found| entry_kind(FileType::from_raw_mode(found.st_mode))),
        known => entry_kind(known),
    }
}

/// What a file that is no link counts as.
pub(crate) const fn entry_kind(kind: FileType) -> EntryKind {
    match kind {
        FileType::RegularFile => EntryKind::Regular,
        FileType::Directory => EntryKind::Directory,
        FileType::BlockDevice => EntryKind::BlockDevice,
        _ => EntryKind::Other,
    }
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::os(action, path.display().to_string(), source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_large_directory_is_no_burden() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let place = dir.path().join("app.raw.v");
        std::fs::create_dir(&place).unwrap();
        let first = place.join("app.raw_0");
        std::fs::write(&first, "").unwrap();
        for version in 1..100_000 {
            std::fs::hard_link(&first, place.join(format!("app.raw_{version}"))).unwrap();
        }
        symlink("nowhere", place.join("app.raw_100000")).unwrap();
        std::fs::create_dir(place.join("app.raw_99999999")).unwrap();
        let request = Request { accept: Accept::Raw, ..Request::default() };
        let picked = pick(&place, &request).unwrap();
        assert_eq!((picked.path, picked.kind), (place.join("app.raw_99999"), EntryKind::Regular));
    }

    #[test]
    fn links_are_followed_and_not_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("app.v");
        std::fs::create_dir_all(dir.path().join("tree")).unwrap();
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("app_1.raw"), "").unwrap();
        symlink("../tree", place.join("app_2.raw")).unwrap();
        symlink("app_3.raw", place.join("app_3.raw")).unwrap();
        let of = |accept| {
            let request = Request { suffix: b".raw".to_vec(), accept, ..Request::default() };
            pick(&place, &request).unwrap()
        };
        let any = of(Accept::Any);
        assert_eq!((any.path, any.kind), (place.join("app_2.raw"), EntryKind::Directory));
        assert_eq!(of(Accept::Raw).version.as_deref(), Some("1"));
        let literal = pick(dir.path(), &Request::default()).unwrap();
        assert_eq!((literal.path.as_path(), literal.version), (dir.path(), None));
        let version = Some("9".to_owned());
        let error = pick(&place, &Request { version, ..Request::default() }).unwrap_err();
        assert_eq!(error.code(), "nothing-to-pick");
        assert_eq!(pick(&dir.path().join("b.v"), &Request::default()).unwrap_err().code(), "os");
    }
}
