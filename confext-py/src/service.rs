//! The extensions of a single service: what its unit lists, and what becomes of it

use std::path::PathBuf;

use confext_core::error::Error;
use confext_core::service::{self, Process, Unit, stack};
use confext_core::{Host as Root, Options};
use pyo3::prelude::*;

use crate::explain::Explained;
use crate::host::Host;
use crate::layer::Rejection;
use crate::origin::Origin;
use crate::plan::{Plan, Refusal};
use crate::record::{Tuple, record};

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
    }
}

/// A service as its unit says that it is started, or with another root.
struct Service {
    root: Root,
    unit: Unit,
}

impl Service {
    fn read(host: &Root, unit: &str, root: Option<PathBuf>) -> Result<Self, Error> {
        let unit = Unit::read(host, unit)?;
        let root = match root {
            Some(root) => Root::open(root)?,
            None => service::root_of(host, &unit.service.root)?,
        };
        Ok(Self { root, unit })
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
        let Service { root, unit } = Service::read(host, unit, root)?;
        let found = stack::plan(host, &root, &unit.service.extensions, options)?;
        Ok(ServicePlan {
            plans: found.plans.iter().collect(),
            refusal: found.refusal.as_ref().map(Refusal::from),
            refused: found.refused.iter().collect(),
            policy: found.policy,
        })
    })
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
        let Service { root, unit } = Service::read(host, unit, root)?;
        let found = service::explain::explain((host, &root), &unit.service.extensions, options, None)?;
        Ok(ServiceExplanation {
            listed: found.listed.iter().map(|one| &one.entry).collect(),
            refusal: found.refusal.as_ref().map(Refusal::from),
            policy: found.policy,
        })
    })
}

/// Where a path in the view of a service comes from, and who signed it: in the view of its process `pid`, or else as it would be
/// if the service were started now.
#[pyfunction]
#[pyo3(signature = (host, unit, path, *, pid=None))]
pub(crate) fn service_trace(
    py: Python<'_>,
    host: &Host,
    unit: &str,
    path: PathBuf,
    pid: Option<u32>,
) -> PyResult<Origin> {
    host.with_any(py, |host: &Root, options: &Options| {
        let tracer = |origin: confext_core::trace::Origin| Origin::from(&origin);
        match pid {
            None => {
                let Service { root, unit } = Service::read(host, unit, None)?;
                let planned = service::trace::plan(host, &root, &unit.service.extensions, options)?;
                planned.trace(path).map(tracer)
            }
            Some(pid) => {
                let unit = Unit::read(host, unit)?;
                let process = Process::open(pid)?;
                let root = process.host()?;
                let view = (&process, &root);
                service::trace::live(host, view, &unit.service.extensions, options)?.trace(path).map(tracer)
            }
        }
    })
}
