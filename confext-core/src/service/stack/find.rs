//! From a path that a unit lists to the file it stands for

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::release::is_valid_image_name;
use confext_ddi::unit::{Entry, EntryKind, IfMissing};
use confext_ddi::vpick::{ArchitectureRule, Filter, Pattern, TriesRule, VersionedImage};
use rustix::fs::FileType;

use crate::discover::{Candidate, Kind, Rejection, Severity, best, locate};
use crate::host::Host;
use crate::sys::OFlags;

/// What an entry stands for.
pub(super) struct Picked {
    pub(super) candidate: Candidate,
    /// The name of the file without its ending: a link's own, and with the version.
    pub(super) image_name: String,
}

/// Finds the file of an entry on a host. Versions that do not count or are outranked go to `passed`.
pub(super) fn find(host: &Host, entry: &Entry, passed: &mut Vec<Rejection>) -> Result<Picked, Rejection> {
    let listed = Path::new(&entry.path);
    let pattern = entry.pattern().map_err(|error| {
        let expected = "a path, or a directory of versions";
        Rejection::new(Severity::Refused, listed, error.code(), error.to_string(), expected)
    })?;
    let (path, name, version) = match pattern {
        Pattern::Literal => (listed.to_owned(), None, None),
        Pattern::Versioned { directory, base, suffix, accept } => {
            let native = host.architecture();
            let architecture = native.map_or(ArchitectureRule::Unused, |native| ArchitectureRule::Host {
                native,
                secondary: native.secondary(),
            });
            let name = String::from_utf8_lossy(&base).into_owned();
            let filter =
                Filter::new(base, suffix, accept).architecture(architecture).tries(TriesRule::Honoured);
            let directory = PathBuf::from(OsStr::from_bytes(&directory));
            if is_missing(host, &directory) {
                return Err(missing(entry, &directory));
            }
            let wanted = VersionedImage { name, filter };
            let Some(pick) = best(host, &directory, &wanted, passed)? else {
                let expected = format!("{}_VERSION and the ending, for this machine", wanted.name);
                let found = "no entry that fits";
                return Err(Rejection::new(severity(entry), &directory, "nothing-to-pick", found, expected));
            };
            let path = directory.join(OsStr::from_bytes(&pick.name));
            (path, is_valid_image_name(&wanted.name).then_some(wanted.name), Some(pick.version))
        }
    };
    let place = match locate(host, &path) {
        Err(rejection) if rejection.code == "dangling-link" => return Err(missing(entry, &path)),
        place => place?,
    };
    let Some(kind) = kind(entry.kind, place.kind) else {
        let found = format!("a {}", describe(place.kind));
        let expected = match entry.kind {
            EntryKind::Image => "a file or a block device",
            EntryKind::Directory => "a directory",
        };
        return Err(Rejection::new(Severity::Refused, &path, "extension-kind", found, expected));
    };
    let Some(image_name) = image_name(&path) else {
        let found = format!("{:?}", path.file_name().unwrap_or_default().to_string_lossy());
        return Err(Rejection::new(Severity::Refused, &path, "image-name", found, "a valid image name"));
    };
    let name = name.unwrap_or_else(|| image_name.clone());
    let candidate = Candidate { name, entry: listed.to_owned(), path: place.path, kind, version };
    Ok(Picked { candidate, image_name })
}

/// The name that a release file has for a file of this path.
fn image_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = [".sysext.raw", ".confext.raw", ".raw"].into_iter().find_map(|end| name.strip_suffix(end));
    let name = stem.unwrap_or(name);
    is_valid_image_name(name).then(|| name.to_owned())
}

fn kind(wanted: EntryKind, found: FileType) -> Option<Kind> {
    match (wanted, found) {
        (EntryKind::Image, FileType::RegularFile) => Some(Kind::Raw),
        (EntryKind::Image, FileType::BlockDevice) => Some(Kind::Block),
        (EntryKind::Directory, FileType::Directory) => Some(Kind::Directory),
        _ => None,
    }
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "regular file",
        FileType::Directory => "directory",
        FileType::BlockDevice => "block device",
        _ => "special file",
    }
}

fn is_missing(host: &Host, path: &Path) -> bool {
    host.open_path(path, OFlags::empty()).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn severity(entry: &Entry) -> Severity {
    match entry.if_missing {
        IfMissing::Refuse => Severity::Refused,
        IfMissing::Skip => Severity::Ignored,
    }
}

fn missing(entry: &Entry, path: &Path) -> Rejection {
    let expected = match entry.kind {
        EntryKind::Image => "an image",
        EntryKind::Directory => "a directory",
    };
    Rejection::new(severity(entry), path, "extension-missing", "nothing", expected)
}
