//! `confext.build`: a directory or entries in memory become an image.

use std::collections::BTreeMap;
use std::path::PathBuf;

use confext_core::Error;
use confext_ddi::build::{Builder, DirectoryOptions, ReleaseFields, Tree};
use confext_ddi::id::Uuid;
use confext_ddi::release::ImageKind;
use confext_ddi::signature::{KeyPair, Sign};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::argument::{Mapping, Pem, architecture, image_kind};
use crate::entry;
use crate::error::{detached, raise};
use crate::record::record;

record! {
    /// What was built.
    Built {
        /// What a signature of the image vouches for, in hex.
        root_hash: String,
        /// The size of the image in bytes.
        size: u64,
        /// SHA-256 of the certificate whose key signed it, in hex; `None` for an image with a hash tree only.
        fingerprint: Option<String>,
    }
}

/// Build an image from a directory, or from a mapping of path to entry.
///
/// `class_` says what it is: an extension (`confext`, `sysext`), a `portable` service, or the `root` or `usr` of an
/// operating system. `name` is the image's file name without version and ending: a host looks for the release file of an
/// extension by this name. Without `release` the entries must have that file; `{"ID": "_any"}` fits every host. Signing needs `key` and `certificate`;
/// without them, `unsigned=True` says that this is meant, and `sign_later=True` leaves room for a signature that `sign` puts
/// in: until then nobody uses the image.
///
/// The same input, seed and time give the same bytes. The file appears at once when it is complete; one that is there
/// is replaced.
#[pyfunction]
#[pyo3(signature = (
    name, *, class_="confext", source, output, release=None, key=None, certificate=None, unsigned=false,
    sign_later=false, architecture=None, seed=None, source_date_epoch=None,
))]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn build(
    py: Python<'_>,
    name: &str,
    class_: &str,
    source: &Bound<'_, PyAny>,
    output: PathBuf,
    release: Option<Mapping<String, String>>,
    key: Option<Pem>,
    certificate: Option<Pem>,
    unsigned: bool,
    sign_later: bool,
    architecture: Option<&str>,
    seed: Option<&Bound<'_, PyAny>>,
    source_date_epoch: Option<i64>,
) -> PyResult<Built> {
    let kind = image_kind(class_)?;
    let mut builder = Builder::new(kind, name);
    if let Some(architecture) = self::architecture(architecture)? {
        builder = builder.architecture(architecture);
    }
    if let Some(seed) = seed {
        // A `uuid.UUID` prints as one.
        let seed = Uuid::parse(&seed.str()?.to_cow()?).map_err(|error| raise(py, &error.into()))?;
        builder = builder.seed(seed);
    }
    if let Some(seconds) = source_date_epoch {
        builder = builder.source_date_epoch(seconds);
    }
    if let Some(fields) = release {
        builder = builder.release(release_fields(kind, fields.0));
    }
    if unsigned && sign_later {
        return Err(PyValueError::new_err("unsigned and sign_later exclude each other: found both"));
    }
    if unsigned {
        builder = builder.unsigned();
    }
    if sign_later {
        builder = builder.sign_later();
    }
    if key.is_some() != certificate.is_some() {
        return Err(PyValueError::new_err("key and certificate go together: found one of them"));
    }
    let source = Source::new(py, source)?;
    detached(py, move || {
        let signer = match (key, certificate) {
            (Some(key), Some(certificate)) => Some(signer(&key, &certificate)?),
            _ => None,
        };
        let signer = signer.as_ref().map(|signer| -> &dyn Sign { signer });
        let built = builder.tree(source.tree()?).build_file(output, signer)?;
        Ok(Built {
            root_hash: built.root_hash.to_hex(),
            size: built.size_bytes,
            fingerprint: built.signed.map(|fingerprint| fingerprint.to_string()),
        })
    })
}

/// Where the entries are from.
enum Source {
    Memory(Tree),
    Directory(PathBuf),
}

impl Source {
    fn new(py: Python<'_>, source: &Bound<'_, PyAny>) -> PyResult<Self> {
        if source.hasattr("items")? {
            let raise = |error: confext_ddi::Error| raise(py, &error.into());
            return entry::tree(raise, source).map(Self::Memory);
        }
        source.extract().map(Self::Directory).map_err(|_| {
            let found = source.get_type();
            PyTypeError::new_err(format!("source: found {found}, expected a path or a mapping"))
        })
    }

    fn tree(self) -> confext_ddi::Result<Tree> {
        match self {
            Self::Memory(tree) => Ok(tree),
            Self::Directory(path) => Tree::from_directory(path, &DirectoryOptions::default()),
        }
    }
}

fn signer(key: &Pem, certificate: &Pem) -> Result<KeyPair, Error> {
    Ok(KeyPair::from_pem(&key.read()?.bytes, &certificate.read()?.bytes)?)
}

/// The fields with a setter of their own, and all others.
fn release_fields(kind: ImageKind, mut fields: BTreeMap<String, String>) -> ReleaseFields {
    let mut release = ReleaseFields::new(fields.remove("ID").unwrap_or_default());
    if let Some(class) = kind.class() {
        if let Some(level) = fields.remove(class.level_key()) {
            release = release.level(level);
        }
        if let Some(scope) = fields.remove(class.scope_key()) {
            release = release.scope(scope);
        }
    }
    fields.into_iter().fold(release, |release, (key, value)| release.field(key, value))
}
