//! `confext.pick`: the path that a path into a `.v/` directory stands for.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use confext_core::pick::{self as library, Request};
use confext_ddi::dps::Architecture;
use confext_ddi::vpick::{Accept, EntryKind};
use pyo3::prelude::*;

use crate::argument::{architecture, choice};
use crate::error::detached;
use crate::record::record;

record! {
    /// What a path stands for. It is path-like: it can be passed where a path can.
    Picked {
        /// The path; links are not resolved.
        path: OsString,
        /// What it is, after links: `regular`, `directory`, `block-device` or `other`.
        kind: &'static str,
        /// The version in its name; `None` when there was nothing to pick from.
        version: Option<String>,
        /// The architecture in its name.
        architecture: Option<&'static str>,
        /// The counters in its name: attempts left, and made.
        tries: Option<(u32, u32)>,
    }
    {
        /// The path.
        fn __fspath__(&self) -> OsString {
            self.path.clone()
        }
    }
}

impl From<library::Picked> for Picked {
    fn from(picked: library::Picked) -> Self {
        Self {
            path: picked.path.into_os_string(),
            kind: match picked.kind {
                EntryKind::Regular => "regular",
                EntryKind::Directory => "directory",
                EntryKind::BlockDevice => "block-device",
                EntryKind::Other | EntryKind::Dangling => "other",
            },
            version: picked.version,
            architecture: picked.architecture.map(Architecture::as_str),
            tries: picked.tries.map(|tries| (tries.left, tries.done)),
        }
    }
}

/// Pick the best version out of a `.v` directory: of `DIR/NAME.v` or `DIR.v/NAME___SUFFIX`. Other paths stay.
///
/// `suffix` is what names end in, for a path that ends in `.v`. `accept` says which kinds of entry count: `any`, `raw`
/// (regular files and block devices) or `directory`. `version` and `architecture` let only that one count, else any
/// version for this machine.
#[pyfunction]
#[pyo3(
    signature = (path, *, suffix=OsString::new(), accept="any", version=None, architecture=None),
    text_signature = "(path, *, suffix='', accept='any', version=None, architecture=None)"
)]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn pick(
    py: Python<'_>,
    path: PathBuf,
    suffix: OsString,
    accept: &str,
    version: Option<String>,
    architecture: Option<&str>,
) -> PyResult<Picked> {
    let known = [("any", Accept::Any), ("raw", Accept::Raw), ("directory", Accept::Directory)];
    let mut request = Request::default();
    request.suffix = suffix.into_vec();
    request.accept = choice("accept", accept, &known)?;
    request.version = version;
    request.architecture = self::architecture(architecture)?;
    detached(py, move || library::pick(&path, &request).map(Picked::from))
}
