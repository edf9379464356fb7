//! Manifests as JSON: written in one way, and read strictly.

use super::{Digest, Entry, Kind, Manifest};
use crate::Limits;
use crate::error::{Corrupt, LimitExceeded, Result, ResultExt as _, Unsupported};
use crate::fs::{FileType, Xattr};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

const FORMAT: &str = "confext-manifest";
const VERSION: u32 = 1;

impl Manifest {
    /// Writes the manifest as JSON, a line for each entry; the same manifest gives the same bytes.
    ///
    /// *Layout*: an object with `format` (`confext-manifest`), `version` (1) and `entries`; `docs/files.md` has the fields
    /// of an entry.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{{\"format\":\"{FORMAT}\",\"version\":{VERSION},\"entries\":[")?;
        for (at, entry) in self.entries().iter().enumerate() {
            out.write_all(if at == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut *out, entry)?;
        }
        out.write_all(b"\n]}\n")
    }

    /// Parses what [`Manifest::write_json`] wrote.
    ///
    /// White space and the order of the fields do not matter. All else does: an unknown or repeated field, a field that
    /// does not go with the type of file, entries out of order or without their directory, base64 where the text says
    /// it all.
    ///
    /// # Errors
    ///
    /// `manifest-json`, `manifest-version`, `manifest-entry`, `manifest-order`; `limit-bytes` above
    /// [`Limits::manifest_bytes`], `limit-count`.
    pub fn parse_json(text: &[u8], limits: &Limits) -> Result<Self> {
        parse(text, limits).within("manifest")
    }
}

fn parse(text: &[u8], limits: &Limits) -> Result<Manifest> {
    let (found, most) = (u64::try_from(text.len()).unwrap_or(u64::MAX), limits.manifest_bytes);
    if found > most {
        return Err(LimitExceeded::Bytes { what: "manifest", found, most }.into());
    }
    let wrong = |error: serde_json::Error| Corrupt::ManifestJson { reason: error.to_string() };
    // The version first: what another version has besides need not be known here.
    let head: Head = serde_json::from_slice(text).map_err(wrong)?;
    if head.format != FORMAT {
        let found = head.format.chars().take(80).collect();
        return Err(Corrupt::ManifestFormat { found }.into());
    }
    if head.version != VERSION {
        return Err(Unsupported::ManifestVersion { found: head.version }.into());
    }
    let document: Document = serde_json::from_slice(text).map_err(wrong)?;
    let entries = document.entries.into_iter().map(Raw::into_entry).collect::<Result<Vec<Entry>>>()?;
    Manifest::new(entries, limits)
}

#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "version")]
    _version: u32,
    entries: Vec<Raw>,
}

/// An entry as it stands in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    file_type: FileType,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime_sec: i64,
    mtime_nsec: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rdev: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<RawXattr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hard_link_to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hard_link_to_base64: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawXattr {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
    value_base64: String,
}

impl Serialize for Entry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Raw::new(self).serialize(serializer)
    }
}

impl Raw {
    fn new(entry: &Entry) -> Self {
        let (path, path_base64) = write_path(&entry.path);
        let (target, target_base64) = match &entry.kind {
            Kind::Symlink { target } => {
                let (text, base64) = write_text(target);
                (Some(text), base64)
            }
            _ => (None, None),
        };
        let (size_bytes, sha256) = match &entry.kind {
            Kind::Regular { size_bytes, sha256 } => {
                (Some(*size_bytes), sha256.map(|digest| digest.to_string()))
            }
            _ => (None, None),
        };
        let rdev = match &entry.kind {
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => Some((*major, *minor)),
            _ => None,
        };
        let (hard_link_to, hard_link_to_base64) = match entry.hard_link_to.as_deref().map(write_path) {
            Some((text, base64)) => (Some(text), base64),
            None => (None, None),
        };
        Self {
            path,
            path_base64,
            file_type: entry.kind.file_type(),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime_sec: entry.mtime_sec,
            mtime_nsec: entry.mtime_nsec,
            size_bytes,
            sha256,
            target,
            target_base64,
            rdev,
            xattrs: entry.xattrs.iter().map(RawXattr::new).collect(),
            hard_link_to,
            hard_link_to_base64,
        }
    }

    fn into_entry(self) -> Result<Entry> {
        let shown = self.path.chars().take(200).collect::<String>();
        let wrong = |Wrong { what, found, expected }| {
            let found = found.chars().take(80).collect();
            Corrupt::ManifestEntry { path: shown.clone(), what, found, expected }
        };
        let path = read_path("path", &self.path, self.path_base64.as_deref()).map_err(wrong)?;
        let hard_link_to = match (&self.hard_link_to, &self.hard_link_to_base64) {
            (None, None) => None,
            (text, base64) => {
                let text = text.as_deref().unwrap_or_default();
                Some(read_path("hard_link_to", text, base64.as_deref()).map_err(wrong)?)
            }
        };
        let xattrs =
            self.xattrs.iter().map(RawXattr::read).collect::<Result<Vec<Xattr>, Wrong>>().map_err(wrong)?;
        let kind = self.kind().map_err(wrong)?;
        Ok(Entry {
            path,
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime_sec: self.mtime_sec,
            mtime_nsec: self.mtime_nsec,
            xattrs,
            hard_link_to,
        })
    }

    /// What the type of file asks for; a field of another type is refused.
    fn kind(&self) -> Result<Kind, Wrong> {
        let given = [
            ("size_bytes", self.size_bytes.is_some(), FileType::Regular),
            ("sha256", self.sha256.is_some(), FileType::Regular),
            ("target", self.target.is_some(), FileType::Symlink),
            ("target_base64", self.target_base64.is_some(), FileType::Symlink),
            ("rdev", self.rdev.is_some(), FileType::CharDevice),
        ];
        let found = match self.file_type {
            FileType::BlockDevice => FileType::CharDevice,
            other => other,
        };
        if let Some((what, ..)) = given.iter().find(|(_, given, of)| *given && *of != found) {
            return Err(Wrong::new(what, "a value", "none for this type of file"));
        }
        let missing = |what| Wrong::new(what, "no value", "one for this type of file");
        let device = || self.rdev.ok_or_else(|| missing("rdev"));
        Ok(match self.file_type {
            FileType::Directory => Kind::Directory,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::Regular => {
                let digest = |text: &String| {
                    let wrong = || Wrong::new("sha256", text, "64 lower-case hex digits");
                    Digest::parse(text).ok_or_else(wrong)
                };
                let sha256 = self.sha256.as_ref().map(digest).transpose()?;
                Kind::Regular { size_bytes: self.size_bytes.ok_or_else(|| missing("size_bytes"))?, sha256 }
            }
            FileType::Symlink => {
                let text = self.target.as_deref().ok_or_else(|| missing("target"))?;
                Kind::Symlink { target: read_text("target", text, self.target_base64.as_deref())? }
            }
            FileType::CharDevice => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
            FileType::BlockDevice => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        })
    }
}

impl RawXattr {
    fn new((name, value): &Xattr) -> Self {
        let (name, name_base64) = write_text(name);
        Self { name, name_base64, value_base64: STANDARD.encode(value) }
    }

    fn read(&self) -> Result<Xattr, Wrong> {
        let name = read_text("xattrs", &self.name, self.name_base64.as_deref())?;
        let value = STANDARD.decode(&self.value_base64);
        Ok((name, value.map_err(|_| Wrong::new("xattrs", &self.value_base64, "padded standard base64"))?))
    }
}

/// A value that is not as it would be written.
struct Wrong {
    what: &'static str,
    found: String,
    expected: &'static str,
}

impl Wrong {
    fn new(what: &'static str, found: impl Into<String>, expected: &'static str) -> Self {
        Self { what, found: found.into(), expected }
    }
}

/// Bytes as text; and as base64, where the text does not say all.
pub(crate) fn write_text(bytes: &[u8]) -> (String, Option<String>) {
    let base64 = std::str::from_utf8(bytes).is_err().then(|| STANDARD.encode(bytes));
    (String::from_utf8_lossy(bytes).into_owned(), base64)
}

fn read_text(what: &'static str, text: &str, base64: Option<&str>) -> Result<Vec<u8>, Wrong> {
    let Some(base64) = base64 else { return Ok(text.as_bytes().to_vec()) };
    let bytes = STANDARD.decode(base64).map_err(|_| Wrong::new(what, base64, "padded standard base64"))?;
    if std::str::from_utf8(&bytes).is_ok() {
        return Err(Wrong::new(what, base64, "no base64 for what is UTF-8"));
    }
    if String::from_utf8_lossy(&bytes) != text {
        return Err(Wrong::new(what, text, "the text of the base64 beside it"));
    }
    Ok(bytes)
}

/// As [`write_text`], with a slash in front of the text.
pub(crate) fn write_path(path: &[u8]) -> (String, Option<String>) {
    let (text, base64) = write_text(path);
    (format!("/{text}"), base64)
}

fn read_path(what: &'static str, text: &str, base64: Option<&str>) -> Result<Vec<u8>, Wrong> {
    let inner = text.strip_prefix('/').ok_or_else(|| Wrong::new(what, text, "a slash in front"))?;
    read_text(what, inner, base64)
}
