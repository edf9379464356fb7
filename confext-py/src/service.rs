//! The extensions of a single service: what its unit lists, and what becomes of it

use std::path::PathBuf;
use std::time::Duration;

use confext_core::error::Error;
use confext_core::manager;
use confext_core::service::{self, Ground, Process, Unit, stack};
use confext_core::{Host as Root, Options};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::conditions::seconds;
use crate::explain::Explained;
use crate::host::Host;
use crate::layer::{Layer, Rejection};
use crate::logs::told;
use crate::origin::Origin;
use crate::plan::{Plan, Refusal};
use crate::record::{Tuple, record};
use crate::report::{Change, Decision, reasons};
use crate::unit::{CoveredDirectory, Item, extensions};

record! {
    /// What the extensions of a service change, and which are not used.
    ServicePlan {
        /// A plan for each class that has files.
        plans: Tuple<Plan>,
        /// Why the service would not have these extensions: the first reason.
        refusal: Option<Refusal>,
        /// What is not used, and why.
        refused: Tuple<Rejection>,
        /// The policy that images are admitted under.
        policy: String,
        /// What the unit mounts over paths that extensions change.
        covered: Tuple<CoveredDirectory>,
    }
}

record! {
    /// What becomes of each extension that a unit lists, bottom first.
    ServiceExplanation {
        /// What the unit lists: `entry` is its path.
        listed: Tuple<Explained>,
        /// Why the service would not have these extensions: the first reason.
        refusal: Option<Refusal>,
        /// The policy that images are admitted under.
        policy: String,
        /// What the unit mounts at directories that extensions are merged over, or below.
        covered: Tuple<CoveredDirectory>,
    }
}

record! {
    /// What became of one directory in the view of a service.
    ServiceView {
        /// `etc`, `usr` or `opt`.
        hierarchy: &'static str,
        /// `merged`, `refreshed`, `unchanged`, `unmerged` or `nothing`.
        outcome: &'static str,
        /// Why what was there was no longer right, when it was refreshed.
        because: Tuple<Change>,
        /// Why it is still right, when it is unchanged.
        decided_by: Tuple<Decision>,
        /// What was there: `nothing`, `own`, `systemd` or `interrupted`.
        found: &'static str,
        /// What it is made of now, bottom first.
        layers: Tuple<Layer>,
        /// The mounts on it that were carried over.
        carried: Tuple<String>,
        /// What the mount forbids: `ro`, `nosuid`, `nodev`, `noexec`, `nosymfollow`.
        attributes: Tuple<&'static str>,
        /// Whose the files are: `image`, or `namespace` of a process in a user namespace; `None` when nothing was mounted.
        owners: Option<&'static str>,
    }
}

record! {
    /// What became of the view of a service.
    ServiceReport {
        /// The number of its process.
        pid: u32,
        /// Each directory that was looked at.
        hierarchies: Tuple<ServiceView>,
        /// What is not used, and why.
        refused: Tuple<Rejection>,
        /// The policy of images.
        policy: String,
    }
}

impl From<&service::Report> for ServiceReport {
    fn from(report: &service::Report) -> Self {
        Self {
            pid: report.pid,
            hierarchies: report.hierarchies.iter().collect(),
            refused: report.refused.iter().collect(),
            policy: report.policy.clone(),
        }
    }
}

impl From<&service::Changed> for ServiceView {
    fn from(changed: &service::Changed) -> Self {
        let (outcome, because, decided_by) = reasons(&changed.outcome);
        Self {
            hierarchy: changed.hierarchy,
            outcome,
            because: because.iter().collect(),
            decided_by: decided_by.iter().collect(),
            found: changed.found.as_str(),
            layers: changed.layers.iter().collect(),
            carried: changed.carried.iter().map(|path| path.display().to_string()).collect(),
            attributes: changed.attributes.iter().copied().collect(),
            owners: changed.owners.map(service::Owners::as_str),
        }
    }
}

/// What a service has below its extensions: what its unit says, or another root directory.
fn ground(
    host: &Root,
    unit: &Unit,
    root: Option<PathBuf>,
    options: &Options,
) -> Result<Box<dyn Ground>, Error> {
    match root {
        Some(root) => Ok(Box::new(Root::open(root)?)),
        None => service::ground_of(host, &unit.service, options),
    }
}

/// What the extensions of a service would change in its view if it were started now. Changes nothing and needs no privilege.
///
/// `root` is the root directory of the service, instead of the one that its unit says.
#[pyfunction]
#[pyo3(signature = (host, unit, *, root=None))]
pub(crate) fn service_plan(
    py: Python<'_>,
    host: &Host,
    unit: &str,
    root: Option<PathBuf>,
) -> PyResult<ServicePlan> {
    host.with_any(py, |host, options| {
        let unit = Unit::read(host, unit)?;
        let root = ground(host, &unit, root, options)?;
        let found = stack::plan(host, root.as_ref(), &unit.service.extensions, options)?;
        let found = found.with_mounts(&unit.service.covered);
        Ok(ServicePlan {
            plans: found.plans.iter().collect(),
            refusal: found.refusal.as_ref().map(Refusal::from),
            refused: found.refused.iter().collect(),
            policy: found.policy,
            covered: found.covered.iter().collect(),
        })
    })
    .and_then(|result| told(py, result))
}

/// What becomes of each extension that a unit lists: used, and where in the stack, or why not.
#[pyfunction]
#[pyo3(signature = (host, unit, *, root=None))]
pub(crate) fn service_explain(
    py: Python<'_>,
    host: &Host,
    unit: &str,
    root: Option<PathBuf>,
) -> PyResult<ServiceExplanation> {
    host.with_any(py, |host, options| {
        let unit = Unit::read(host, unit)?;
        let root = ground(host, &unit, root, options)?;
        let (both, extensions) = ((host, root.as_ref()), &unit.service.extensions);
        let found = service::explain::explain(both, extensions, options, None)?;
        let found = found.with_mounts(&unit.service.covered);
        Ok(ServiceExplanation {
            listed: found.listed.iter().map(|one| &one.entry).collect(),
            refusal: found.refusal.as_ref().map(Refusal::from),
            policy: found.policy,
            covered: found.covered.iter().collect(),
        })
    })
    .and_then(|result| told(py, result))
}

/// How long file systems of a service may take to be looked at.
const TRACE_WAIT: Duration = Duration::from_secs(10);

/// Where a path in the view of a service comes from, and who signed it: in the view of its process `pid`, or else as it would be
/// if the service were started now, over `root` instead of the root directory that its unit says.
#[pyfunction]
#[pyo3(signature = (host, unit, path, *, pid=None, root=None))]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn service_trace(
    py: Python<'_>,
    host: &Host,
    unit: &str,
    path: PathBuf,
    pid: Option<u32>,
    root: Option<PathBuf>,
) -> PyResult<Origin> {
    if pid.is_some() && root.is_some() {
        return Err(PyTypeError::new_err("either pid or root"));
    }
    host.with_any(py, |host: &Root, options: &Options| {
        let tracer = |origin: confext_core::trace::Origin| Origin::from(&origin);
        match pid {
            None => {
                let unit = Unit::read(host, unit)?;
                let root = match root {
                    Some(root) => Root::open(root)?,
                    None => service::root_of(host, &unit.service.root)?,
                };
                let planned = service::trace::plan(host, &root, &unit.service.extensions, options)?;
                planned.with_mounts(&unit.service.covered).trace(path).map(tracer)
            }
            Some(pid) => {
                let unit = Unit::read(host, unit)?;
                let (asked, process) = ((&unit.service.extensions, options), Process::open(pid)?);
                let found = service::trace::answers(host, &process, asked, &[path], TRACE_WAIT)?;
                // One path was asked about.
                let missing = || Error::Missing { what: "an answer", why: "none was given".to_owned() };
                found.into_iter().next().map(tracer).ok_or_else(missing)
            }
        }
    })
    .and_then(|result| told(py, result))
}

/// Has a running service see the extensions that its unit lists, as the service manager has loaded it; or the process `pid`, or
/// the service, `images` and `directories`, which count instead. Nothing is restarted, and what is mounted below `/etc` there stays.
///
/// With `sysexts` also `/usr` and `/opt`. With `force` what is right already is exchanged. `timeout` is for the service manager,
/// and for file systems of the service, each of the two times they are looked at. `progress` is called while images are copied into
/// memory, with how many bytes of all are done and how many there are. On failure the service sees what it saw.
#[pyfunction]
#[pyo3(signature = (host, unit=None, *, pid=None, images=None, directories=None, sysexts=false, force=false, timeout=10.0, progress=None))]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn service_refresh(
    py: Python<'_>,
    host: &Host,
    unit: Option<&str>,
    pid: Option<u32>,
    images: Option<Vec<Item<'_>>>,
    directories: Option<Vec<Item<'_>>>,
    sysexts: bool,
    force: bool,
    timeout: f64,
    progress: Option<Py<PyAny>>,
) -> PyResult<ServiceReport> {
    let timeout = seconds("timeout", timeout)?;
    let named = images.is_some() || directories.is_some();
    let which = match (unit, pid, named) {
        (Some(unit), None, _) => Which::Unit(manager::unit_name(unit)),
        (None, Some(pid), true) => Which::Process(pid),
        (None, Some(_), false) => {
            return Err(PyTypeError::new_err("pid needs images or directories; none at all is images=[]"));
        }
        _ => return Err(PyTypeError::new_err("either unit or pid")),
    };
    let listed = if named { Some(extensions(images, directories)?) } else { None };
    host.watched(py, progress, None, |host, admission| {
        let (process, extensions) = match (which, listed) {
            (Which::Process(pid), listed) => (Process::open(pid)?, listed.unwrap_or_default()),
            (Which::Unit(unit), Some(listed)) => (service::main_process(&unit, timeout)?, listed),
            (Which::Unit(unit), None) => {
                let extensions = Unit::live(&unit, timeout)?.service.extensions;
                (service::main_process(&unit, timeout)?, extensions)
            }
        };
        let mut options = service::Options::new(admission);
        options.wait = timeout;
        options.hierarchies = if sysexts { service::Hierarchies::All } else { service::Hierarchies::Etc };
        options.when = if force { service::When::Always } else { service::When::Different };
        Ok(ServiceReport::from(&service::refresh(host, &process, &extensions, &options)?))
    })
    .and_then(|result| told(py, result))
}

/// Whose view is refreshed.
enum Which {
    Unit(String),
    Process(u32),
}
