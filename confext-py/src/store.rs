//! `Store`: the versions of one image in its `.v/` directory.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use confext_core::image_file;
use confext_core::publish::{self, Options};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::argument::{Moment, Pems, architecture, certificate_rules, class};
use crate::error::detached;
use crate::evidence::Evidence;
use crate::host::Host;
use crate::key_rules::KeyRulesArgument;
use crate::logs::told;
use crate::policy::PolicyArgument;
use crate::progress::Progress;
use crate::record::{Tuple, record};

record! {
    /// A version in a `.v` directory. It is path-like: it can be passed where a path can.
    StoredVersion {
        /// Its file.
        path: OsString,
        /// The version in its name.
        version: String,
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

record! {
    /// A version that was published.
    Published {
        /// The version.
        version: StoredVersion,
        /// What was checked of the file that is there now.
        evidence: Evidence,
        /// Whether it was there before, byte for byte.
        was_there: bool,
    }
}

record! {
    /// What pruning did.
    Pruned {
        /// The versions that are gone.
        removed: Tuple<StoredVersion>,
        /// Those that would be, were they not in use.
        in_use: Tuple<StoredVersion>,
    }
}

impl From<publish::Version> for StoredVersion {
    fn from(version: publish::Version) -> Self {
        Self {
            path: version.path.into_os_string(),
            version: version.version,
            architecture: version.architecture,
            tries: version.tries.map(|tries| (tries.left, tries.done)),
        }
    }
}

impl From<publish::Published> for Published {
    fn from(published: publish::Published) -> Self {
        Self {
            version: published.version.into(),
            evidence: Evidence::from(&published.evidence),
            was_there: published.was_there,
        }
    }
}

impl From<publish::Pruned> for Pruned {
    fn from(pruned: publish::Pruned) -> Self {
        Self { removed: pruned.removed.into_iter().collect(), in_use: pruned.in_use.into_iter().collect() }
    }
}

/// The versions of one image in its directory, `NAME.raw.v` or `NAME.CLASS.raw.v`.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Store {
    store: publish::Store,
    path: PathBuf,
}

#[pymethods]
impl Store {
    /// Open the directory. `wait` is how many seconds to wait for another writer.
    #[new]
    #[pyo3(signature = (path, *, class_="confext", wait=30.0))]
    fn new(py: Python<'_>, path: PathBuf, class_: &str, wait: f64) -> PyResult<Self> {
        let class = class(class_)?;
        let wait = Duration::try_from_secs_f64(wait)
            .map_err(|_| PyValueError::new_err(format!("wait: found {wait}, expected seconds from 0")))?;
        detached(py, move || Ok(Self { store: publish::Store::open(&path, class)?.wait(wait), path }))
    }

    /// The directory.
    #[getter]
    fn path(&self) -> OsString {
        self.path.clone().into_os_string()
    }

    /// The image's name.
    #[getter]
    fn name(&self) -> &str {
        self.store.name()
    }

    fn __repr__(&self) -> String {
        format!("Store({:?})", self.path)
    }

    /// All versions, best first: the first one is used.
    fn versions(&self, py: Python<'_>) -> PyResult<Tuple<StoredVersion>> {
        detached(py, || Ok(self.store.versions()?.into_iter().collect()))
    }

    /// The version that is used.
    fn used(&self, py: Python<'_>) -> PyResult<StoredVersion> {
        detached(py, || self.store.used().map(StoredVersion::from))
    }

    /// Put a version there: copied, checked to its last byte, on disk, and then by one step under its name.
    ///
    /// What is checked is the copy that is published. `tries` is how often it may be tried before others are preferred; with
    /// `host` it must be for that host. The other arguments are those of `confext.verify`. A version that is there already,
    /// with the same bytes, is no error.
    #[pyo3(
        signature = (
            image, /, *, version, certificates, policy=PolicyArgument::default(), now=None, certificate_rules="",
            key_rules=None, architecture=None, tries=None, host=None, progress=None,
        ),
        text_signature = "($self, image, /, *, version, certificates, policy='signed', now=None, certificate_rules='', \
            key_rules=None, architecture=None, tries=None, host=None, progress=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn publish(
        &self,
        py: Python<'_>,
        image: PathBuf,
        version: String,
        certificates: Pems,
        policy: PolicyArgument,
        now: Option<Moment>,
        certificate_rules: &str,
        key_rules: Option<KeyRulesArgument>,
        architecture: Option<&str>,
        tries: Option<u32>,
        host: Option<Py<Host>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Published> {
        let rules = self::certificate_rules(py, certificate_rules)?;
        let now = Moment::or_now(now.as_ref());
        let host = host.map(|host| host.get().host());
        let mut options = Options::new(version);
        options.policy = policy.0;
        options.architecture = self::architecture(architecture)?;
        options.tries = tries;
        Progress::watch(py, progress, move |progress| {
            options.verifier = certificates.read()?.verifier(now, rules)?;
            options.key_rules = key_rules.map(|rules| rules.read()).transpose()?.map(Arc::new);
            options.host = host.map(|host| host.release(&options.limits)).transpose()?;
            let source = image_file::open(&image)?;
            let mut tell = |at: publish::Progress| progress.tell(at.done_bytes, at.total_bytes);
            self.store.publish(&source, &options, &mut tell).map(Published::from)
        })
        .and_then(|result| told(py, result))
    }

    /// Count an attempt to use a version, before it is made; without `version`, of the one that is used.
    #[pyo3(signature = (version=None))]
    fn begin(&self, py: Python<'_>, version: Option<String>) -> PyResult<StoredVersion> {
        self.mark(py, version, publish::Store::begin)
    }

    /// Call a version good: it is not counted any more.
    #[pyo3(signature = (version=None))]
    fn good(&self, py: Python<'_>, version: Option<String>) -> PyResult<StoredVersion> {
        self.mark(py, version, publish::Store::good)
    }

    /// Call a version bad: it is used only when nothing else is there. Returns the one that is used now.
    #[pyo3(signature = (version=None))]
    fn bad(&self, py: Python<'_>, version: Option<String>) -> PyResult<StoredVersion> {
        self.mark(py, version, publish::Store::bad)
    }

    /// Remove all but the best versions; not those that the stacks of a host are made of, where one is given.
    #[pyo3(signature = (keep=3, *, host=None))]
    fn prune(&self, py: Python<'_>, keep: usize, host: Option<Py<Host>>) -> PyResult<Pruned> {
        let keep = NonZeroUsize::new(keep)
            .ok_or_else(|| PyValueError::new_err("keep: found 0, expected at least 1"))?;
        let host = host.map(|host| host.get().host());
        detached(py, || {
            let used = host.map_or_else(|| Ok(BTreeSet::new()), |host| publish::in_use(&host))?;
            self.store.prune(keep, &used).map(Pruned::from)
        })
    }
}

impl Store {
    pub(crate) fn store(&self) -> &publish::Store {
        &self.store
    }

    fn mark(
        &self,
        py: Python<'_>,
        version: Option<String>,
        call: impl FnOnce(&publish::Store, &str) -> confext_core::Result<publish::Version> + Send,
    ) -> PyResult<StoredVersion> {
        detached(py, || {
            let version = match version {
                Some(version) => version,
                None => self.store.used()?.version,
            };
            call(&self.store, &version).map(StoredVersion::from)
        })
    }
}
