//! What speaks against merging an extension, whatever protects it.

use confext_ddi::fs::{FileType, Metadata, Xattr};
use confext_ddi::lint::{Code, rules};
use serde::Serialize;

use super::{Holder, Input};

/// Something that speaks against a merge.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::Veto};
/// use confext_ddi::release::Class;
///
/// std::fs::write(root.path().join("run/confexts/app/etc/os-release"), "ID=other\n")?;
/// let veto: Veto = plan(&host, Class::Confext, &options)?.vetoes.remove(0);
/// assert_eq!((veto.kind.code(), veto.layer.as_str()), ("replaces-os-release", "app"));
/// assert_eq!((veto.hierarchy, &veto.path[..], veto.allowed), ("etc", &b"os-release"[..], false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// Whether the caller lets it pass.
    pub allowed: bool,
}

/// The kinds of objection. Each stops a merge unless it is explicitly allowed.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::VetoKind};
/// use confext_ddi::release::Class;
///
/// // Whoever has the key of that certificate could sign extensions from then on.
/// std::fs::create_dir(root.path().join("run/confexts/app/etc/verity.d"))?;
/// std::fs::write(root.path().join("run/confexts/app/etc/verity.d/app.crt"), "a certificate")?;
/// assert_eq!(plan(&host, Class::Confext, &options)?.vetoes[0].kind, VetoKind::TrustStore);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    /// The kind of a rule that a lint and a merge share.
    const fn of(code: Code) -> Option<Self> {
        match code {
            Code::OsRelease => Some(Self::OsRelease),
            Code::NestedExtensions => Some(Self::NestedExtensions),
            Code::TrustStore => Some(Self::TrustStore),
            Code::Metadata => Some(Self::Metadata),
            _ => None,
        }
    }

    /// Those that can be allowed.
    pub const ALLOWABLE: [Self; 7] = [
        Self::TypeChange,
        Self::OsRelease,
        Self::NestedExtensions,
        Self::TrustStore,
        Self::Metadata,
        Self::Whiteout,
        Self::OverlayAttribute,
    ];
}

/// An objection that does not stop a merge.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::{Allowance, VetoKind}};
/// use confext_ddi::release::Class;
///
/// std::fs::write(root.path().join("run/confexts/app/etc/os-release"), "ID=other\n")?;
/// // Of this extension only.
/// options.allow.extend(Allowance::parse("app:replaces-os-release"));
/// let plan = plan(&host, Class::Confext, &options)?;
/// assert!(plan.vetoes[0].allowed && plan.refusal.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Allowance {
    /// Which.
    pub kind: VetoKind,
    /// Of which extension; `None` for all.
    pub extension: Option<String>,
}

impl Allowance {
    /// Reads `KIND` or `NAME:KIND`, with the kind by its code; `None` when that is no kind that can be allowed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (extension, code) = match text.rsplit_once(':') {
            Some((name, code)) => (Some(name.to_owned()), code),
            None => (None, text),
        };
        let kind = VetoKind::ALLOWABLE.into_iter().find(|kind| kind.code() == code)?;
        Some(Self { kind, extension })
    }
}

impl From<VetoKind> for Allowance {
    fn from(kind: VetoKind) -> Self {
        Self { kind, extension: None }
    }
}

impl Veto {
    /// Whether the caller lets it pass.
    #[must_use]
    pub fn is_allowed_by(&self, allowed: &[Allowance]) -> bool {
        let fits = |one: &Allowance| {
            one.kind == self.kind && one.extension.as_ref().is_none_or(|name| *name == self.layer)
        };
        self.kind != VetoKind::Unreadable && allowed.iter().any(fits)
    }

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
            allowed: false,
        }
    }
}

/// What speaks against what extensions have at a path, below the hierarchy and from the root.
pub(super) fn of_path(
    input: &Input<'_>,
    (path, from_root): (&[u8], &[u8]),
    holders: &[Holder<'_>],
    base: Option<&Metadata>,
) -> Vec<Veto> {
    let mut vetoes = Vec::new();
    for holder in holders {
        let found = holder.metadata.file_type;
        let mut object = |kind, found: String, expected: &str| {
            vetoes.push(Veto::new(kind, input, holder.layer, path, (found, expected)));
        };
        if let Some(kind) = rules::forbidden(from_root, found).and_then(VetoKind::of) {
            object(kind, found.as_str().to_owned(), "nothing there");
        }
        if rules::is_whiteout(holder.metadata) {
            object(VetoKind::Whiteout, "a whiteout".to_owned(), "files, directories and links");
        } else if let Some(base) = base
            && rules::changes_type(base.file_type, found)
        {
            object(VetoKind::TypeChange, found.as_str().to_owned(), base.file_type.as_str());
        }
    }
    vetoes
}

/// The attribute of a directory that hides those below it.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// What speaks against the extended attributes of a file, and whether it is a directory that hides those below it.
pub(super) fn of_attributes(
    input: &Input<'_>,
    layer: usize,
    path: &[u8],
    metadata: &Metadata,
) -> (Option<Veto>, bool) {
    if !matches!(metadata.file_type, FileType::Directory | FileType::Regular) {
        return (None, false);
    }
    let Some((files, inside)) = input.in_layer(layer, path) else { return (None, false) };
    match files.xattrs(&inside) {
        Ok(xattrs) => {
            let is_opaque = |(name, value): &Xattr| name == OPAQUE && value == b"y";
            let opaque = metadata.file_type == FileType::Directory && xattrs.iter().any(is_opaque);
            let veto = rules::overlay_attribute(&xattrs).map(|name| {
                let name = String::from_utf8_lossy(name).into_owned();
                Veto::new(VetoKind::OverlayAttribute, input, layer, path, (name, "no such attribute"))
            });
            (veto, opaque)
        }
        // Not every reader can tell; the mounted file system, which a merge looks at, can.
        Err(error) if error.code() == "xattrs-unreadable" => (None, false),
        Err(error) => {
            let text = (error.to_string(), "extended attributes that can be read");
            (Some(Veto::new(VetoKind::Unreadable, input, layer, path, text)), false)
        }
    }
}
