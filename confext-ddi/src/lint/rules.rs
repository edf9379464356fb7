//! The rules of one entry, as functions of what it is: a lint and a merge apply the same ones.

use super::Code;
use crate::fs::{FileType, Metadata, Xattr};
use crate::release::Class;

/// Paths an extension must not have, or have anything below.
const FORBIDDEN: [(&str, Code); 15] = [
    ("usr/lib/os-release", Code::OsRelease),
    ("etc/os-release", Code::OsRelease),
    ("etc/initrd-release", Code::OsRelease),
    ("etc/extensions", Code::NestedExtensions),
    ("usr/lib/confexts", Code::NestedExtensions),
    ("usr/local/lib/confexts", Code::NestedExtensions),
    ("etc/verity.d", Code::TrustStore),
    ("usr/lib/verity.d", Code::TrustStore),
    ("usr/local/lib/verity.d", Code::TrustStore),
    ("usr/.systemd-sysext", Code::Metadata),
    ("opt/.systemd-sysext", Code::Metadata),
    ("etc/.systemd-confext", Code::Metadata),
    ("usr/.confext", Code::Metadata),
    ("opt/.confext", Code::Metadata),
    ("etc/.confext", Code::Metadata),
];

/// Directories of every host, by the file hierarchy (file-hierarchy(7)).
const DIRECTORIES: [&str; 9] = [
    "usr/bin",
    "usr/lib",
    "usr/share",
    "usr/include",
    "usr/libexec",
    "usr/local",
    "usr/src",
    "etc/systemd",
    "etc/ssl",
];

/// Directories of some hosts, symbolic links of others.
const DEPENDS: [&str; 4] = ["usr/sbin", "usr/lib64", "usr/lib32", "usr/libx32"];

/// Whether an extension must not have an entry of this type at a path from its root, and why.
///
/// A directory alone brings nothing, what is in it does; only the stack's metadata must not even have the directory.
#[must_use]
pub fn forbidden(path: &[u8], file_type: FileType) -> Option<Code> {
    FORBIDDEN.iter().find_map(|(place, code)| {
        let alone = file_type == FileType::Directory && *code != Code::Metadata && path == place.as_bytes();
        (is_or_below(path, place) && !alone).then_some(*code)
    })
}

/// A character device 0:0: the overlay's mark for "nothing here".
#[must_use]
pub fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type == FileType::CharDevice && metadata.rdev == Some((0, 0))
}

/// The first attribute that tells an overlay to hide, redirect or copy from elsewhere.
#[must_use]
pub fn overlay_attribute(xattrs: &[Xattr]) -> Option<&[u8]> {
    xattrs.iter().map(|(name, _)| name.as_slice()).find(|name| is_overlay_attribute(name))
}

/// Whether an attribute of this name tells an overlay something.
#[must_use]
pub fn is_overlay_attribute(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.")
}

/// Whether an entry over one of the host takes more away than the entry itself: a file or link over a directory, or
/// anything else over a link.
#[must_use]
pub fn changes_type(base: FileType, found: FileType) -> bool {
    matches!(base, FileType::Directory | FileType::Symlink) && base != found
}

/// Whether an entry lies outside of what its class merges, and what would be right.
#[must_use]
pub(super) fn placement(class: Class, path: &[u8], file_type: FileType) -> Option<(Code, String)> {
    // Of a tree in the wrong place only its top is told.
    if path.is_empty() || path.contains(&b'/') {
        return None;
    }
    if !class.hierarchies().iter().any(|hierarchy| hierarchy.as_bytes() == path) {
        return Some((
            Code::OutsideHierarchy,
            format!("nothing but {}/", class.hierarchies().join("/ and ")),
        ));
    }
    (file_type != FileType::Directory).then(|| (Code::HierarchyKind, "a directory".to_owned()))
}

/// What a file of an extension may do that its class is not for: found and expected.
#[must_use]
pub(super) fn privilege(class: Class, metadata: &Metadata) -> Option<(Code, &'static str, &'static str)> {
    let device = matches!(metadata.file_type, FileType::CharDevice | FileType::BlockDevice);
    match class {
        Class::Confext if device => Some((Code::DeviceNode, metadata.file_type.as_str(), "no device nodes")),
        Class::Sysext if device => Some((Code::InertDevice, metadata.file_type.as_str(), "no device nodes")),
        Class::Confext if metadata.file_type == FileType::Regular && metadata.mode & 0o6000 != 0 => {
            Some((Code::SetId, "a set-id bit", "files nobody runs"))
        }
        Class::Confext | Class::Sysext => None,
    }
}

/// Without the files of a host: what would be another type on every host, or on some.
pub(super) fn usual_layout(path: &[u8], found: FileType) -> Option<(Code, &'static str)> {
    let is = |place: &&str| place.as_bytes() == path;
    if DIRECTORIES.iter().any(is) && found != FileType::Directory {
        return Some((Code::TypeChange, "directory"));
    }
    DEPENDS
        .iter()
        .any(is)
        .then_some((Code::LayoutDependent, "what the host has there: a directory or a link"))
}

fn is_or_below(path: &[u8], place: &str) -> bool {
    matches!(path.strip_prefix(place.as_bytes()), Some([] | [b'/', ..]))
}
