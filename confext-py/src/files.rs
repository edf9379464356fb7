//! `Manifest`, `Difference` and `Extracted`: the files of an image listed, compared and written to a directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{Hash as _, Hasher as _};

use confext_core::extract::{self, Devices, Existing, Ownership, SetId, Sync};
use confext_ddi::Limits;
use confext_ddi::diff::{self, Attribute, Change, Field};
use confext_ddi::manifest::{self, Dialect, Entry, Kind};
use pyo3::IntoPyObjectExt as _;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyRange, PyTuple};

use crate::argument::{choice, text};
use crate::contents::{Files, kind};
use crate::error::detached;
use crate::kept::{FromPython, Reduced};
use crate::record::{Tuple, record};
use crate::source::bounds;

record! {
    /// A file of a manifest.
    ManifestEntry {
        /// The path from the image's root, with a slash in front.
        path: OsString,
        /// `regular`, `directory`, `symlink`, `char-device`, `block-device`, `fifo` or `socket`.
        kind: &'static str,
        /// Permission, set-id and sticky bits.
        mode: u16,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Modification time, seconds since 1970.
        mtime: i64,
        /// Nanoseconds of the modification time.
        mtime_nsec: u32,
        /// Size in bytes; only of a regular file.
        size: Option<u64>,
        /// SHA-256 of the content, in hex; only of a regular file that was read.
        sha256: Option<String>,
        /// Where it leads; only of a symbolic link.
        target: Option<OsString>,
        /// Major and minor number; only of a device node.
        rdev: Option<(u32, u32)>,
        /// Extended attributes by full name.
        xattrs: BTreeMap<OsString, Vec<u8>>,
        /// The first path of the same file, where there is one before this.
        hard_link_to: Option<OsString>,
    }
}

impl From<&Entry> for ManifestEntry {
    fn from(entry: &Entry) -> Self {
        let (mut size, mut sha256, mut target, mut rdev) = (None, None, None, None);
        match &entry.kind {
            Kind::Regular { size_bytes, sha256: digest } => {
                (size, sha256) = (Some(*size_bytes), digest.map(|digest| digest.to_string()));
            }
            Kind::Symlink { target: link } => target = Some(text(link)),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                rdev = Some((*major, *minor));
            }
            _ => {}
        }
        Self {
            path: path(&entry.path),
            kind: kind(entry.kind.file_type()),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime_sec,
            mtime_nsec: entry.mtime_nsec,
            size,
            sha256,
            target,
            rdev,
            xattrs: entry.xattrs.iter().map(|(name, value)| (text(name), value.clone())).collect(),
            hard_link_to: entry.hard_link_to.as_deref().map(path),
        }
    }
}

fn path(path: &[u8]) -> OsString {
    text(&[b"/", path].concat())
}

/// Every file of an image with its attributes and the SHA-256 of its content, in a fixed order.
///
/// `Admitted.manifest` and `Manifest.parse` make one.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Manifest(pub(crate) manifest::Manifest);

#[pymethods]
impl Manifest {
    /// Read what `to_json` wrote.
    #[staticmethod]
    fn parse(py: Python<'_>, json: Vec<u8>) -> PyResult<Self> {
        detached(py, || Ok(Self(manifest::Manifest::parse_json(&json, &Limits::default())?)))
    }

    /// The files, the root first, a directory before what is in it, names sorted by their bytes.
    #[getter]
    fn entries(&self) -> Tuple<ManifestEntry> {
        self.0.entries().iter().collect()
    }

    /// The manifest as JSON, which `parse` reads.
    fn to_json(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        detached(py, || {
            let mut out = Vec::new();
            self.0.write_json(&mut out).map_err(confext_ddi::Error::from)?;
            Ok(out)
        })
    }

    /// The manifest as mtree: `bsd` as NetBSD and libarchive read it, `systemd` as `systemd-dissect` prints it.
    #[pyo3(signature = (dialect="bsd"))]
    fn to_mtree(&self, py: Python<'_>, dialect: &str) -> PyResult<Vec<u8>> {
        let dialect = choice("dialect", dialect, &[("bsd", Dialect::Bsd), ("systemd", Dialect::Systemd)])?;
        detached(py, || {
            let mut out = Vec::new();
            self.0.write_mtree(dialect, &mut out).map_err(confext_ddi::Error::from)?;
            Ok(out)
        })
    }

    fn __len__(&self) -> usize {
        self.0.entries().len()
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        for entry in self.0.entries() {
            (&entry.path, entry.mode, entry.mtime_sec).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        format!("<confext.Manifest of {} files>", self.0.entries().len())
    }

    /// For `pickle` and `copy`: as JSON.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        let py = slf.py();
        let restore = py.import("confext._values")?.getattr("restore")?;
        let json = PyBytes::new(py, &slf.get().to_json(py)?);
        Ok((restore, (slf.get_type(), PyTuple::new(py, [json])?)))
    }

    /// For `pickle` and `copy`.
    #[staticmethod]
    fn _restore(py: Python<'_>, fields: (Vec<u8>,)) -> PyResult<Self> {
        Self::parse(py, fields.0)
    }
}

/// A value of an attribute, as Python has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    Number(u64),
    Pair((i64, i64)),
    Text(OsString),
    Bytes(Vec<u8>),
}

impl<'py> IntoPyObject<'py> for Value {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        match self {
            Self::Number(number) => number.into_bound_py_any(py),
            Self::Pair(pair) => pair.into_bound_py_any(py),
            Self::Text(text) => text.into_bound_py_any(py),
            Self::Bytes(bytes) => PyBytes::new(py, &bytes).into_bound_py_any(py),
        }
    }
}

impl FromPython for Value {
    fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.as_bytes().to_vec()));
        }
        if let Ok(number) = object.extract() {
            return Ok(Self::Number(number));
        }
        object.extract().map(Self::Pair).or_else(|_| object.extract().map(Self::Text))
    }
}

record! {
    /// An attribute that is not the same on both sides.
    AttributeChange {
        /// `kind`, `mode`, `uid`, `gid`, `mtime`, `size`, `sha256`, `target`, `rdev`, `xattr` or `hard_link_to`.
        attribute: &'static str,
        /// The name of an extended attribute.
        name: Option<OsString>,
        /// The value on the first side: as in `ManifestEntry`, `mtime` with nanoseconds; `None` where there is none.
        before: Option<Value>,
        /// The value on the second side.
        after: Option<Value>,
    }
}

impl From<&Field> for AttributeChange {
    fn from(field: &Field) -> Self {
        let number = |number: &u32| Some(Value::Number(u64::from(*number)));
        let device = |(major, minor): &(u32, u32)| Some(Value::Pair((i64::from(*major), i64::from(*minor))));
        let time =
            |(seconds, nanoseconds): &(i64, u32)| Some(Value::Pair((*seconds, i64::from(*nanoseconds))));
        let word = |word: &str| Some(Value::Text(word.into()));
        let link = |first: &Option<Vec<u8>>| first.as_deref().map(|first| Value::Text(path(first)));
        let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(Value::Bytes);
        let (attribute, before, after) = match field {
            Field::FileType(before, after) => ("kind", word(kind(*before)), word(kind(*after))),
            Field::Mode(before, after) => ("mode", number(&(*before).into()), number(&(*after).into())),
            Field::Uid(before, after) => ("uid", number(before), number(after)),
            Field::Gid(before, after) => ("gid", number(before), number(after)),
            Field::Mtime(before, after) => ("mtime", time(before), time(after)),
            Field::Size(before, after) => ("size", Some(Value::Number(*before)), Some(Value::Number(*after))),
            Field::Content(before, after) => ("sha256", word(&before.to_string()), word(&after.to_string())),
            Field::Target(before, after) => {
                ("target", Some(Value::Text(text(before))), Some(Value::Text(text(after))))
            }
            Field::Device(before, after) => ("rdev", device(before), device(after)),
            Field::Xattr(_, before, after) => ("xattr", bytes(before), bytes(after)),
            Field::HardLinkTo(before, after) => ("hard_link_to", link(before), link(after)),
            other => (other.name(), None, None),
        };
        let name = match field {
            Field::Xattr(name, ..) => Some(text(name)),
            _ => None,
        };
        Self { attribute, name, before, after }
    }
}

record! {
    /// A path where two trees differ.
    Difference {
        /// The path from the image's root, with a slash in front.
        path: OsString,
        /// `added`, `removed` or `changed`.
        kind: &'static str,
        /// The file that only one side has. Its content was not read: of an image it has no digest.
        entry: Option<ManifestEntry>,
        /// What changed.
        changes: Tuple<AttributeChange>,
    }
}

impl From<&diff::Difference> for Difference {
    fn from(difference: &diff::Difference) -> Self {
        let (entry, changes) = match &difference.change {
            Change::Added(entry) | Change::Removed(entry) => (Some(entry.into()), Tuple(Vec::new())),
            Change::Changed(fields) => (None, fields.iter().collect()),
            _ => (None, Tuple(Vec::new())),
        };
        Self { path: path(&difference.path), kind: difference.change.as_str(), entry, changes }
    }
}

record! {
    /// What was extracted, and what of it was not as in the image.
    Extracted {
        /// Directories that were made, the destination included.
        directories: u64,
        /// Regular files, each once.
        files: u64,
        /// Symbolic links.
        symlinks: u64,
        /// Further names of files.
        hard_links: u64,
        /// Device nodes, named pipes and sockets.
        special_files: u64,
        /// Bytes of the contents of files, holes included.
        bytes: u64,
        /// Files and links that were there and are replaced.
        replaced: u64,
        /// Files whose set-id bits were cleared.
        set_id_cleared: u64,
        /// Extended attributes that were left out.
        xattrs_left_out: u64,
        /// Device nodes that were left out.
        devices_left_out: u64,
    }
}

impl From<extract::Extracted> for Extracted {
    fn from(extracted: extract::Extracted) -> Self {
        Self {
            directories: extracted.directories,
            files: extracted.files,
            symlinks: extracted.symlinks,
            hard_links: extracted.hard_links,
            special_files: extracted.special_files,
            bytes: extracted.bytes,
            replaced: extracted.replaced,
            set_id_cleared: extracted.set_id_cleared,
            xattrs_left_out: extracted.xattrs_left_out,
            devices_left_out: extracted.devices_left_out,
        }
    }
}

/// What an image is compared with.
pub(crate) enum Other<'py> {
    Image(Bound<'py, Files>),
    Manifest(Bound<'py, Manifest>),
}

impl<'py> Other<'py> {
    pub(crate) fn new(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(image) = object.cast::<Files>() {
            return Ok(Self::Image(image.clone()));
        }
        match object.cast::<Manifest>() {
            Ok(manifest) => Ok(Self::Manifest(manifest.clone())),
            Err(_) => {
                Err(PyTypeError::new_err(format!("found {}, expected Files or Manifest", object.get_type())))
            }
        }
    }
}

/// Which attributes may differ.
pub(crate) fn ignored(ignore: &[String]) -> PyResult<diff::Options> {
    let mut options = diff::Options::default();
    options.ignore =
        ignore.iter().map(|name| choice("ignore", name, &Attribute::ALL)).collect::<PyResult<_>>()?;
    Ok(options)
}

/// Whose extracted files are: a word, user and group, or what the owners of the image are moved to.
#[derive(FromPyObject)]
pub(crate) enum Owner<'py> {
    #[pyo3(transparent, annotation = "str")]
    Word(String),
    #[pyo3(transparent, annotation = "tuple[int, int]")]
    Fixed((u32, u32)),
    #[pyo3(transparent, annotation = "range")]
    Moved(Bound<'py, PyRange>),
}

/// What a caller says about an extraction.
pub(crate) struct Wishes<'a> {
    pub(crate) existing: &'a str,
    pub(crate) owner: &'a Owner<'a>,
    pub(crate) devices: &'a str,
    pub(crate) set_id: &'a str,
    pub(crate) xattrs: Vec<String>,
    pub(crate) sync: &'a str,
}

impl Wishes<'_> {
    pub(crate) fn options(self) -> PyResult<extract::Options> {
        let mut options = extract::Options::default();
        let existing = [("refuse", Existing::Refuse), ("replace", Existing::Replace)];
        options.existing = choice("existing", self.existing, &existing)?;
        let devices =
            [("refuse", Devices::Refuse), ("leave-out", Devices::LeaveOut), ("make", Devices::Make)];
        options.devices = choice("devices", self.devices, &devices)?;
        options.set_id = choice("set_id", self.set_id, &[("clear", SetId::Clear), ("keep", SetId::Keep)])?;
        options.sync = choice("sync", self.sync, &[("later", Sync::Later), ("now", Sync::Now)])?;
        options.ownership = match self.owner {
            Owner::Word(word) => {
                choice("owner", word, &[("caller", Ownership::Caller), ("image", Ownership::AsIs)])?
            }
            Owner::Fixed((uid, gid)) => Ownership::Fixed { uid: *uid, gid: *gid },
            Owner::Moved(range) => {
                let (first, last) = bounds(range.as_any())?;
                let number = |number: i64| {
                    let wrong =
                        |_| PyValueError::new_err(format!("owner: found {number}, expected 0 to 4294967295"));
                    u32::try_from(number).map_err(wrong)
                };
                let (first, last) = (number(first)?, number(last)?);
                Ownership::Shifted { first, count: last.saturating_sub(first).saturating_add(1) }
            }
        };
        options.xattrs = self.xattrs;
        Ok(options)
    }
}
