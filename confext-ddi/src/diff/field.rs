//! [`Field`]: one attribute that is not the same.

use crate::fs::FileType;
use crate::manifest::{Digest, Entry, Kind, write_path, write_text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap as _;
use serde_json::json;
use std::collections::BTreeMap;

/// Attributes that a comparison can leave out. Type, link target and device number cannot be.
///
/// ```
/// use confext_ddi::diff::Attribute;
///
/// // The names that a command takes.
/// let named = |name: &str| Attribute::ALL.into_iter().find(|(known, _)| *known == name);
/// assert_eq!(named("mtime"), Some(("mtime", Attribute::Mtime)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Attribute {
    /// Permission, set-id and sticky bits; never of symbolic links, whose mode means nothing.
    Mode,
    /// User and group.
    Owner,
    /// Modification time.
    Mtime,
    /// Size and content of regular files.
    Content,
    /// Extended attributes.
    Xattrs,
    /// Which paths are the same file.
    HardLinks,
}

impl Attribute {
    /// Every attribute, with the name a command takes.
    pub const ALL: [(&'static str, Self); 6] = [
        ("mode", Self::Mode),
        ("owner", Self::Owner),
        ("mtime", Self::Mtime),
        ("content", Self::Content),
        ("xattrs", Self::Xattrs),
        ("hard-links", Self::HardLinks),
    ];
}

/// An attribute that is not the same: before, then after.
///
/// ```
/// # use confext_ddi::build::{Meta, Tree};
/// # let (mut old, mut new) = (Tree::new(), Tree::new());
/// # old.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # new.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o600))?;
/// use confext_ddi::{Limits, diff::{self, Change, Field, Side}};
///
/// let limits = Limits::default();
/// let (old, new) = (old.files(&limits), new.files(&limits));
/// let found = diff::collect(Side::Files(&old), Side::Files(&new), &diff::Options::default(), &limits)?;
/// assert_eq!(found[0].change, Change::Changed(vec![Field::Mode(0o644, 0o600)]));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The type. What only one of the types has is then not compared.
    FileType(FileType, FileType),
    /// The mode.
    Mode(u16, u16),
    /// The user.
    Uid(u32, u32),
    /// The group.
    Gid(u32, u32),
    /// The modification time: seconds and nanoseconds.
    Mtime((i64, u32), (i64, u32)),
    /// The size in bytes. The contents are then not compared.
    Size(u64, u64),
    /// The content, with the same size.
    Content(Digest, Digest),
    /// The target of a symbolic link.
    Target(Vec<u8>, Vec<u8>),
    /// Major and minor number of a device.
    Device((u32, u32), (u32, u32)),
    /// One extended attribute: its name, and its values where it is there.
    Xattr(Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>),
    /// The first path of the same file, where there is one before this.
    HardLinkTo(Option<Vec<u8>>, Option<Vec<u8>>),
}

impl Field {
    /// The field's name in a manifest.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::FileType(..) => "file_type",
            Self::Mode(..) => "mode",
            Self::Uid(..) => "uid",
            Self::Gid(..) => "gid",
            Self::Mtime(..) => "mtime",
            Self::Size(..) => "size_bytes",
            Self::Content(..) => "sha256",
            Self::Target(..) => "target",
            Self::Device(..) => "rdev",
            Self::Xattr(..) => "xattr",
            Self::HardLinkTo(..) => "hard_link_to",
        }
    }

    /// Bytes on the heap, about.
    pub(super) fn held_bytes(&self) -> u64 {
        let option = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let bytes = match self {
            Self::Target(before, after) => before.len().saturating_add(after.len()),
            Self::Xattr(name, before, after) => {
                name.len().saturating_add(option(before)).saturating_add(option(after))
            }
            Self::HardLinkTo(before, after) => option(before).saturating_add(option(after)),
            _ => 0,
        };
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// The values as JSON: numbers, texts, or null where there is none.
    fn values(&self) -> (serde_json::Value, serde_json::Value) {
        let path = |path: &Option<Vec<u8>>| path.as_ref().map(|path| write_path(path).0);
        let base64 = |value: &Option<Vec<u8>>| value.as_ref().map(|value| STANDARD.encode(value));
        match self {
            Self::FileType(before, after) => (json!(before), json!(after)),
            Self::Mode(before, after) => (json!(before), json!(after)),
            Self::Uid(before, after) | Self::Gid(before, after) => (json!(before), json!(after)),
            Self::Mtime(before, after) => (json!(before), json!(after)),
            Self::Size(before, after) => (json!(before), json!(after)),
            Self::Content(before, after) => (json!(before), json!(after)),
            Self::Target(before, after) => (json!(write_text(before).0), json!(write_text(after).0)),
            Self::Device(before, after) => (json!(before), json!(after)),
            Self::Xattr(_, before, after) => (json!(base64(before)), json!(base64(after))),
            Self::HardLinkTo(before, after) => (json!(path(before)), json!(path(after))),
        }
    }

    /// The values' bytes as base64, where their text does not say all.
    fn bytes(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::Target(before, after) => (write_text(before).1, write_text(after).1),
            Self::HardLinkTo(before, after) => {
                let base64 = |path: &Option<Vec<u8>>| path.as_ref().and_then(|path| write_path(path).1);
                (base64(before), base64(after))
            }
            _ => (None, None),
        }
    }
}

/// `field`, `before` and `after` as in a manifest; for an extended attribute also `name`, and its values in base64.
impl serde::Serialize for Field {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("field", self.name())?;
        if let Self::Xattr(name, ..) = self {
            let (name, base64) = write_text(name);
            map.serialize_entry("name", &name)?;
            base64.map_or(Ok(()), |base64| map.serialize_entry("name_base64", &base64))?;
        }
        let ((before, after), (before_base64, after_base64)) = (self.values(), self.bytes());
        map.serialize_entry("before", &before)?;
        before_base64.map_or(Ok(()), |base64| map.serialize_entry("before_base64", &base64))?;
        map.serialize_entry("after", &after)?;
        after_base64.map_or(Ok(()), |base64| map.serialize_entry("after_base64", &base64))?;
        map.end()
    }
}

/// What differs between two entries of a path, but for contents of the same size.
pub(super) fn fields(before: &Entry, after: &Entry, ignore: &[Attribute]) -> Vec<Field> {
    let mut found = Vec::new();
    let counts = |attribute| !ignore.contains(&attribute);
    let (type_before, type_after) = (before.kind.file_type(), after.kind.file_type());
    if type_before != type_after {
        found.push(Field::FileType(type_before, type_after));
    }
    // That of a symbolic link means nothing.
    let has_mode = type_before != FileType::Symlink && type_after != FileType::Symlink;
    if counts(Attribute::Mode) && has_mode && before.mode != after.mode {
        found.push(Field::Mode(before.mode, after.mode));
    }
    if counts(Attribute::Owner) && before.uid != after.uid {
        found.push(Field::Uid(before.uid, after.uid));
    }
    if counts(Attribute::Owner) && before.gid != after.gid {
        found.push(Field::Gid(before.gid, after.gid));
    }
    let mtime = |entry: &Entry| (entry.mtime_sec, entry.mtime_nsec);
    if counts(Attribute::Mtime) && mtime(before) != mtime(after) {
        found.push(Field::Mtime(mtime(before), mtime(after)));
    }
    found.extend(of_kind(&before.kind, &after.kind).filter(|field| match field {
        Field::Size(..) => counts(Attribute::Content),
        _ => true,
    }));
    if counts(Attribute::Xattrs) && before.xattrs != after.xattrs {
        xattrs(before, after, &mut found);
    }
    if counts(Attribute::HardLinks) && before.hard_link_to != after.hard_link_to {
        found.push(Field::HardLinkTo(before.hard_link_to.clone(), after.hard_link_to.clone()));
    }
    found
}

/// What only this kind of file has.
fn of_kind(before: &Kind, after: &Kind) -> impl Iterator<Item = Field> + use<> {
    match (before, after) {
        (Kind::Regular { size_bytes: before, .. }, Kind::Regular { size_bytes: after, .. }) => {
            (before != after).then_some(Field::Size(*before, *after))
        }
        (Kind::Symlink { target: before }, Kind::Symlink { target: after }) => {
            (before != after).then(|| Field::Target(before.clone(), after.clone()))
        }
        (Kind::CharDevice { major, minor }, Kind::CharDevice { major: new_major, minor: new_minor })
        | (Kind::BlockDevice { major, minor }, Kind::BlockDevice { major: new_major, minor: new_minor }) => {
            let (before, after) = ((*major, *minor), (*new_major, *new_minor));
            (before != after).then_some(Field::Device(before, after))
        }
        _ => None,
    }
    .into_iter()
}

type Value<'a> = Option<&'a Vec<u8>>;

fn xattrs(before: &Entry, after: &Entry, found: &mut Vec<Field>) {
    let mut values: BTreeMap<&[u8], (Value<'_>, Value<'_>)> = BTreeMap::new();
    for (name, value) in &before.xattrs {
        values.entry(name).or_default().0 = Some(value);
    }
    for (name, value) in &after.xattrs {
        values.entry(name).or_default().1 = Some(value);
    }
    values.retain(|_, (before, after)| before != after);
    found.extend(
        values
            .into_iter()
            .map(|(name, (before, after))| Field::Xattr(name.to_vec(), before.cloned(), after.cloned())),
    );
}
