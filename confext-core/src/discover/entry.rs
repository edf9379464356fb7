//! One entry of a search directory: its kind, its name, and for `.v/` directories the version to use.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::release::{Class, is_valid_image_name};
use confext_ddi::vpick::{self, ArchitectureRule, EntryKind, Pick, VersionedImage};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::{Candidate, Found, Kind, Rejection, Severity};
use crate::directory;
use crate::host::Host;
use crate::pick::entry_kind;
use crate::sys::OFlags;

/// Looks at one entry, which leads to `place`. Everything that has no name goes to `refused`.
pub(super) fn examine(
    (host, class): (&Host, Class),
    path: &Path,
    (name, place): (&[u8], Result<Place, Rejection>),
    refused: &mut Vec<Rejection>,
) -> Option<Found> {
    if name.starts_with(b".sysupdate.") {
        let found = "a download in progress";
        refused.push(Rejection::ignored(path, "unfinished-download", found, "an image"));
        return None;
    }
    let place = match place {
        Ok(place) => place,
        Err(rejection) => {
            refused.push(rejection);
            return None;
        }
    };
    let kind = match place.kind {
        FileType::RegularFile if name.ends_with(b".raw") => Kind::Raw,
        FileType::Directory => Kind::Directory,
        FileType::BlockDevice => Kind::Block,
        other => {
            let found = format!("a {}", describe(other));
            let expected = "a directory, a block device or a file that ends in .raw";
            refused.push(Rejection::ignored(path, "not-an-image", found, expected));
            return None;
        }
    };
    if kind == Kind::Directory && name.ends_with(b".v") {
        return versioned(host, class, path, name, refused);
    }
    let Some((extension, rank)) = derive_name(name, class, kind) else {
        refused.push(bad_name(path, name));
        return None;
    };
    let result = if kind == Kind::Directory && name.ends_with(b".mstack") {
        let (found, expected) = ("a stack of images", "an image or a directory tree");
        Err(Rejection::new(Severity::Refused, path, "stack-image", found, expected))
    } else {
        usable(path, &extension, kind, place)
    };
    Some(Found { name: extension, entry: path.to_path_buf(), rank, result })
}

fn usable(entry: &Path, name: &str, kind: Kind, place: Place) -> Result<Candidate, Rejection> {
    let Place { fd, path, .. } = place;
    if let Some(fd) = fd.filter(|_| kind == Kind::Directory) {
        match directory::is_empty(fd.as_fd()) {
            Ok(true) => return Err(masked(entry)),
            Ok(false) => {}
            Err(errno) => return Err(not_opened(entry, errno)),
        }
    }
    Ok(Candidate { name: name.to_owned(), entry: entry.to_path_buf(), path, kind, version: None })
}

/// A directory in which nothing is.
pub(crate) fn masked(entry: &Path) -> Rejection {
    Rejection::ignored(entry, "masked", "an empty directory, which masks this name", "an extension")
}

/// Takes the name out of an entry's name, with the entry's rank among entries of the same name: `N.CLASS`, `N`,
/// `N.CLASS.raw`, `N.raw`, the same two with `.mstack`, then all of them as `.v/`.
fn derive_name(entry: &[u8], class: Class, kind: Kind) -> Option<(String, u8)> {
    let (stem, base): (&[u8], u8) = match kind {
        Kind::Raw => (entry.strip_suffix(b".raw")?, 2),
        Kind::Directory => match entry.strip_suffix(b".mstack") {
            Some(stem) => (stem, 4),
            None => (entry, 0),
        },
        // A device node is no file name chosen for an image: nothing is taken off.
        Kind::Block => return Some((valid(entry)?, 3)),
    };
    let (name, rank) = match strip_class(stem, class) {
        Some(name) => (name, base),
        None => (stem, base.saturating_add(1)),
    };
    Some((valid(name)?, rank))
}

fn strip_class(stem: &[u8], class: Class) -> Option<&[u8]> {
    let suffix: &[u8] = match class {
        Class::Sysext => b".sysext",
        Class::Confext => b".confext",
    };
    stem.strip_suffix(suffix)
}

fn valid(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    is_valid_image_name(name).then(|| name.to_owned())
}

fn versioned(
    host: &Host,
    class: Class,
    path: &Path,
    name: &[u8],
    refused: &mut Vec<Rejection>,
) -> Option<Found> {
    let architecture = host.architecture().map_or(ArchitectureRule::Unused, |native| {
        ArchitectureRule::Host { native, secondary: native.secondary() }
    });
    let Some(wanted) = VersionedImage::parse(name, class, architecture) else {
        refused.push(bad_name(path, name));
        return None;
    };
    // Directories, then raw files, then what systemd's stacks would be; with the class in the name first.
    let raw = wanted.filter.suffix.ends_with(b".raw");
    let with_class = wanted.filter.suffix.len() > if raw { 4 } else { 0 };
    let rank = 6_u8.saturating_add(u8::from(raw).saturating_mul(2)).saturating_add(u8::from(!with_class));
    match choose(host, path, &wanted, refused) {
        Ok(Some(mut candidate)) => {
            candidate.entry = path.to_path_buf();
            Some(Found { name: wanted.name, entry: path.to_path_buf(), rank, result: Ok(candidate) })
        }
        Ok(None) => {
            let expected = pattern(&wanted);
            let rejection = Rejection::ignored(path, "no-version", "no entry that fits", expected);
            refused.push(rejection.named(&wanted.name));
            None
        }
        Err(rejection) => {
            Some(Found { name: wanted.name, entry: path.to_path_buf(), rank, result: Err(rejection) })
        }
    }
}

fn choose(
    host: &Host,
    directory: &Path,
    wanted: &VersionedImage,
    refused: &mut Vec<Rejection>,
) -> Result<Option<Candidate>, Rejection> {
    let Some(pick) = best(host, directory, wanted, refused)? else { return Ok(None) };
    let path = directory.join(std::ffi::OsStr::from_bytes(&pick.name));
    let kind = match pick.kind {
        EntryKind::Directory => Kind::Directory,
        EntryKind::BlockDevice => Kind::Block,
        _ => Kind::Raw,
    };
    let place = locate(host, &path)?;
    let mut candidate = usable(&path, &wanted.name, kind, place)?;
    candidate.version = Some(pick.version);
    Ok(Some(candidate))
}

/// The best entry of a directory of versions. What does not count and what is outranked goes to `refused`.
pub(crate) fn best(
    host: &Host,
    directory: &Path,
    wanted: &VersionedImage,
    refused: &mut Vec<Rejection>,
) -> Result<Option<Pick>, Rejection> {
    let place =
        host.open_path(directory, OFlags::DIRECTORY).map_err(|error| lookup_failed(directory, &error))?;
    let listed = directory::listing(place.as_fd()).map_err(|errno| not_opened(directory, errno))?;
    let inside = |name: &[u8]| directory.join(std::ffi::OsStr::from_bytes(name));
    let entries = listed.into_iter().map(|(name, listed)| {
        let kind = match listed {
            // Links are followed inside the root; some file systems list no kinds.
            FileType::Symlink | FileType::Unknown => {
                resolve(host, &inside(&name)).map_or(EntryKind::Dangling, |(_, kind)| entry_kind(kind))
            }
            known => entry_kind(known),
        };
        vpick::Entry { name, kind }
    });
    let choice = vpick::choose(entries, std::slice::from_ref(&wanted.filter));
    for rejected in choice.rejected {
        let path = inside(&rejected.name);
        let found = format!("an entry that does not count ({})", rejected.reason);
        let rejection = Rejection::ignored(&path, "version-rejected", found, pattern(wanted));
        refused.push(rejection.named(&wanted.name));
    }
    let Some(pick) = choice.chosen else { return Ok(None) };
    for lower in choice.outranked {
        let path = inside(&lower.name);
        let found = format!("version {}", lower.version);
        let expected = format!("version {}, which is used", pick.version);
        let rejection = Rejection::ignored(&path, "version-outranked", found, expected);
        refused.push(rejection.named(&wanted.name));
    }
    Ok(Some(pick))
}

/// What an entry leads to.
pub(crate) struct Place {
    /// `None` where nobody has looked into it.
    pub(super) fd: Option<OwnedFd>,
    pub(crate) kind: FileType,
    /// From the root, without links.
    pub(crate) path: PathBuf,
}

/// Follows links inside the root and says what is there and where that is. What a writer puts another one in the place of
/// meanwhile has no path inside the root any more: the other one counts then.
pub(crate) fn locate(host: &Host, path: &Path) -> Result<Place, Rejection> {
    const ATTEMPTS: u32 = 100;
    for _ in 0..ATTEMPTS {
        let (fd, kind) = resolve(host, path)?;
        if let Some(inside) = host.path_of(fd.as_fd()) {
            return Ok(Place { fd: Some(fd), kind, path: Path::new("/").join(inside) });
        }
    }
    Err(not_opened(path, Errno::XDEV))
}

/// Follows links inside the root and says what is there.
fn resolve(host: &Host, path: &Path) -> Result<(OwnedFd, FileType), Rejection> {
    let fd = host.open_path(path, OFlags::empty()).map_err(|error| lookup_failed(path, &error))?;
    let stat = directory::statx(fd.as_fd()).map_err(|error| lookup_failed(path, &error))?;
    Ok((fd, FileType::from_raw_mode(u32::from(stat.stx_mode))))
}

fn lookup_failed(path: &Path, error: &std::io::Error) -> Rejection {
    not_opened(path, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn not_opened(path: &Path, errno: Errno) -> Rejection {
    let expected = "an image or a directory";
    match errno {
        Errno::NOENT => Rejection::ignored(path, "dangling-link", "a link to nothing", expected),
        Errno::LOOP => {
            let found = "a link that leads back to itself, or out of the root";
            Rejection::new(Severity::Refused, path, "link-loop", found, expected)
        }
        other => {
            let found = std::io::Error::from(other);
            Rejection::new(Severity::Refused, path, "os", found, "an entry that can be opened")
        }
    }
}

fn bad_name(path: &Path, name: &[u8]) -> Rejection {
    let found = format!("{:?}", String::from_utf8_lossy(name));
    Rejection::ignored(path, "image-name", found, "a valid image name")
}

fn pattern(wanted: &VersionedImage) -> String {
    format!("{}_VERSION{}", wanted.name, String::from_utf8_lossy(&wanted.filter.suffix))
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file that does not end in .raw",
        FileType::Symlink => "link",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        _ => "special file",
    }
}
