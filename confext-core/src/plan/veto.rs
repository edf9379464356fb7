//! What speaks against merging an extension, whatever protects it.

use confext_ddi::fs::{FileType, Metadata};
use serde::Serialize;

use super::{Holder, Input};

/// Something that speaks against a merge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Veto {
    /// What it is.
    pub kind: VetoKind,
    /// The extension.
    pub layer: String,
    /// The hierarchy.
    pub hierarchy: &'static str,
    /// Below the hierarchy.
    #[serde(serialize_with = "super::lossy")]
    pub path: Vec<u8>,
    /// What the extension has there.
    pub found: String,
    /// What would be no objection.
    pub expected: String,
}

/// The kinds of objection. Each stops a merge unless it is explicitly allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum VetoKind {
    /// A directory or symbolic link of the host would become something else: a real `usr/sbin` over a link to `bin`
    /// hides everything in it.
    TypeChange,
    /// The file extensions are matched with would be replaced.
    OsRelease,
    /// The extension brings extensions.
    NestedExtensions,
    /// The extension brings certificates whose signatures would count from then on.
    TrustStore,
    /// The extension has a directory of the name of the stack's own metadata.
    Metadata,
    /// The extension takes files of the host away.
    Whiteout,
    /// The extension has attributes that tell the overlay to hide or redirect.
    OverlayAttribute,
    /// The extension's files cannot be read. Cannot be allowed.
    Unreadable,
}

impl VetoKind {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TypeChange => "type-change",
            Self::OsRelease => "replaces-os-release",
            Self::NestedExtensions => "nested-extensions",
            Self::TrustStore => "brings-certificates",
            Self::Metadata => "metadata-directory",
            Self::Whiteout => "whiteout",
            Self::OverlayAttribute => "overlay-attribute",
            Self::Unreadable => "layer-unreadable",
        }
    }

    pub(super) fn is_allowed_by(self, allowed: &[Self]) -> bool {
        self != Self::Unreadable && allowed.contains(&self)
    }
}

impl Veto {
    pub(super) fn new(
        kind: VetoKind,
        input: &Input<'_>,
        layer: usize,
        path: &[u8],
        (found, expected): (impl Into<String>, impl Into<String>),
    ) -> Self {
        Self {
            kind,
            layer: input.layers.get(layer).map_or_else(String::new, |layer| layer.name.to_owned()),
            hierarchy: input.hierarchy,
            path: path.to_vec(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// Paths an extension must not have, or have anything below, by hierarchy.
const FORBIDDEN: [(&str, &str, VetoKind); 12] = [
    ("usr", "lib/os-release", VetoKind::OsRelease),
    ("etc", "os-release", VetoKind::OsRelease),
    ("etc", "initrd-release", VetoKind::OsRelease),
    ("etc", "extensions", VetoKind::NestedExtensions),
    ("usr", "lib/confexts", VetoKind::NestedExtensions),
    ("usr", "local/lib/confexts", VetoKind::NestedExtensions),
    ("etc", "verity.d", VetoKind::TrustStore),
    ("usr", "lib/verity.d", VetoKind::TrustStore),
    ("usr", "local/lib/verity.d", VetoKind::TrustStore),
    ("usr", ".systemd-sysext", VetoKind::Metadata),
    ("opt", ".systemd-sysext", VetoKind::Metadata),
    ("etc", ".systemd-confext", VetoKind::Metadata),
];

/// What speaks against what extensions have at a path.
pub(super) fn of_path(
    input: &Input<'_>,
    path: &[u8],
    holders: &[Holder],
    base: Option<&Metadata>,
) -> Vec<Veto> {
    let mut vetoes = Vec::new();
    for holder in holders {
        let found = holder.metadata.file_type;
        let mut object = |kind, found: String, expected: &str| {
            vetoes.push(Veto::new(kind, input, holder.layer, path, (found, expected)));
        };
        for (hierarchy, forbidden, kind) in FORBIDDEN {
            // A directory alone brings nothing; what is in it does. Metadata must not even have the directory.
            let alone = found == FileType::Directory && kind != VetoKind::Metadata;
            if hierarchy == input.hierarchy
                && is_or_below(path, forbidden)
                && !(alone && path == forbidden.as_bytes())
            {
                object(kind, found.as_str().to_owned(), "nothing there");
            }
        }
        if is_whiteout(&holder.metadata) {
            object(VetoKind::Whiteout, "a whiteout".to_owned(), "files, directories and links");
        } else if let Some(base) = base
            && matches!(base.file_type, FileType::Directory | FileType::Symlink)
            && base.file_type != found
        {
            object(VetoKind::TypeChange, found.as_str().to_owned(), base.file_type.as_str());
        }
    }
    vetoes
}

/// What speaks against the extended attributes of a file.
pub(super) fn of_attributes(
    input: &Input<'_>,
    layer: usize,
    path: &[u8],
    metadata: &Metadata,
) -> Option<Veto> {
    if !matches!(metadata.file_type, FileType::Directory | FileType::Regular) {
        return None;
    }
    let (files, inside) = input.in_layer(layer, path)?;
    let kind_and_text = match files.xattrs(&inside) {
        Ok(xattrs) => {
            let name = xattrs
                .into_iter()
                .map(|(name, _)| name)
                .find(|name| name.starts_with(b"trusted.overlay."))?;
            (VetoKind::OverlayAttribute, (String::from_utf8_lossy(&name).into_owned(), "no such attribute"))
        }
        // Not every reader can tell; the mounted file system, which a merge looks at, can.
        Err(error) if error.code() == "xattrs-unreadable" => return None,
        Err(error) => (VetoKind::Unreadable, (error.to_string(), "extended attributes that can be read")),
    };
    Some(Veto::new(kind_and_text.0, input, layer, path, kind_and_text.1))
}

/// A character device 0:0: the overlay's mark for "nothing here".
pub(super) fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type == FileType::CharDevice && metadata.rdev == Some((0, 0))
}

fn is_or_below(path: &[u8], place: &str) -> bool {
    matches!(path.strip_prefix(place.as_bytes()), Some([] | [b'/', ..]))
}
