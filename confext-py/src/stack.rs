//! `Stack`: extensions merged for one command only.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use confext_core::exec::{Placement, Root, Running as CoreRunning};
use confext_core::service::{self, Unit};
use confext_core::stack::Manner;
use confext_core::{Host as CoreHost, Options, Stack as CoreStack, manager};
use confext_ddi::release::Class;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::argument::{Mapping, class};
use crate::conditions::seconds;
use crate::error::detached;
use crate::host::Host;
use crate::layer::Layer;
use crate::plan::Plan;
use crate::record::Tuple;
use crate::running::{Collected, Launch, Pipes, Running, Stream};

/// Extensions of a host or of a service, assembled and not put in place: for a command that sees them merged, and nobody else.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Stack {
    /// The root directory of the command.
    host: Arc<CoreHost>,
    layers: Tuple<Layer>,
    plans: Tuple<Plan>,
    manner: Manner,
    /// `None` once it was run or closed.
    stacks: Mutex<Option<Vec<CoreStack>>>,
}

#[pymethods]
impl Stack {
    /// Open, judge, attach and mount the extensions of a class; or, with `service`, those that a unit lists, of both classes, over
    /// the root directory that it has.
    ///
    /// The unit is read from files below the host's root, or with `live` as the running service manager has it, which is waited
    /// for at most `timeout` seconds. `progress` is called while images are copied into memory, for each class by itself, with how
    /// many bytes of all are done and how many there are.
    #[new]
    #[pyo3(signature = (host, class_="confext", *, service=None, live=false, timeout=10.0, progress=None))]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn new(
        py: Python<'_>,
        host: &Bound<'_, Host>,
        class_: &str,
        service: Option<&str>,
        live: bool,
        timeout: f64,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let (host, timeout) = (host.get(), seconds("timeout", timeout)?);
        let (root, stacks) = match service {
            None if live => return Err(PyTypeError::new_err("live is for a service")),
            None => {
                let class = class(class_)?;
                let assemble = |host: &CoreHost, options: Options| CoreStack::assemble(host, class, &options);
                (host.host(), vec![host.watched(py, progress, Some(class), assemble)?])
            }
            Some(_) if class(class_)? != Class::Confext => {
                return Err(PyTypeError::new_err("either class_ or service, which has both"));
            }
            Some(name) => host.watched(py, progress, None, |host, options| {
                let unit = match live {
                    true => Unit::live(&manager::unit_name(name), timeout)?,
                    false => Unit::read(host, name)?,
                };
                let root = service::directory_of(host, &unit.service.root)?;
                let stacks = service::assemble(host, &root, &unit.service.extensions, &options)?;
                Ok((Arc::new(root), stacks))
            })?,
        };
        let manner = stacks.iter().map(CoreStack::manner).find(|manner| **manner != Manner::Mounts);
        Ok(Self {
            host: root,
            layers: stacks.iter().flat_map(CoreStack::layers).collect(),
            plans: stacks.iter().map(CoreStack::plan).collect(),
            manner: manner.cloned().unwrap_or(Manner::Mounts),
            stacks: Mutex::new(Some(stacks)),
        })
    }

    /// The extensions of the stack, bottom first; of a service first the sysexts, then the confexts.
    #[getter]
    fn layers(&self) -> Tuple<Layer> {
        self.layers.clone()
    }

    /// What it changes, path by path: a plan for each class.
    #[getter]
    fn plans(&self) -> Tuple<Plan> {
        self.plans.clone()
    }

    /// The last of them: where there are several, that of the confexts.
    #[getter]
    fn plan(&self) -> PyResult<Plan> {
        // A stack is of one class at least.
        self.plans.0.last().cloned().ok_or_else(|| PyValueError::new_err("the stack has no plan"))
    }

    /// How it is made: `mounts` of images; or, for an ordinary user, files in memory under an `overlay` or in a `tree`.
    #[getter]
    fn manner(&self) -> &'static str {
        match self.manner {
            Manner::Mounts => "mounts",
            Manner::Overlay => "overlay",
            _ => "tree",
        }
    }

    /// Why it is a tree.
    #[getter]
    fn manner_reason(&self) -> Option<&str> {
        match &self.manner {
            Manner::Tree { because } => Some(because),
            _ => None,
        }
    }

    /// Run a command that sees the host's root with the stack in place, in a mount namespace of its own.
    ///
    /// Returns a `subprocess.CompletedProcess`. The mounts go with the command's last process: a stack runs once. When the
    /// wait is interrupted, the command is killed.
    #[pyo3(signature = (arguments, *, capture_output=false, cwd=None, env=None))]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn run<'py>(
        &self,
        py: Python<'py>,
        arguments: Vec<PathBuf>,
        capture_output: bool,
        cwd: Option<PathBuf>,
        env: Option<Mapping<OsString, OsString>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let output = if capture_output { Stream::Pipe } else { Stream::Inherit };
        let launch = Launch { arguments, cwd, env, streams: [Stream::Inherit, output, output] };
        let (running, pipes) = self.launch(py, &launch)?;
        let running = launch.handle(py, running, Pipes::default())?;
        let collected = Collected::begin(pipes);
        let status = running.finish(py)?;
        let [stdout, stderr] = collected.end(py)?;
        let completed = py.import("subprocess")?.getattr("CompletedProcess")?;
        completed.call1((running.args(), status, stdout, stderr))
    }

    /// Start a command that sees the host's root with the stack in place, and return while it runs.
    ///
    /// The streams are those of the caller, or `subprocess.PIPE`, `subprocess.DEVNULL`, and for standard error
    /// `subprocess.STDOUT`.
    #[pyo3(signature = (arguments, *, stdin=None, stdout=None, stderr=None, cwd=None, env=None))]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn start(
        &self,
        py: Python<'_>,
        arguments: Vec<PathBuf>,
        stdin: Option<Stream>,
        stdout: Option<Stream>,
        stderr: Option<Stream>,
        cwd: Option<PathBuf>,
        env: Option<Mapping<OsString, OsString>>,
    ) -> PyResult<Running> {
        let streams = [stdin, stdout, stderr].map(|stream| stream.unwrap_or(Stream::Inherit));
        let launch = Launch { arguments, cwd, env, streams };
        let (running, pipes) = self.launch(py, &launch)?;
        launch.handle(py, running, pipes)
    }

    /// Take the mounts away. Nothing happens when it was run.
    fn close(&self, py: Python<'_>) {
        let stacks = self.take();
        py.detach(|| drop(stacks));
    }

    fn __repr__(&self) -> String {
        let state = match self.lock().is_some() {
            true => "ready",
            false => "used up",
        };
        format!("<confext.Stack of {} layers, {state}>", self.layers.0.len())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        self.close(py);
    }
}

impl Stack {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<CoreStack>>> {
        self.stacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Vec<CoreStack>> {
        self.lock().take()
    }

    /// The stack, which is used up.
    pub(crate) fn take_all(&self) -> PyResult<Vec<CoreStack>> {
        self.take().ok_or_else(|| PyValueError::new_err("the stack was run or closed before"))
    }

    fn launch(&self, py: Python<'_>, launch: &Launch) -> PyResult<(CoreRunning, Pipes)> {
        let (command, pipes) = launch.command()?;
        let (root, stacks) = (Root::of(self.host.path()), self.take_all()?);
        let running = detached(py, move || CoreRunning::start(&root, placements(stacks), command))?;
        Ok((running, pipes))
    }
}

/// What belongs together, to be put in place.
pub(crate) fn placements(stacks: Vec<CoreStack>) -> Vec<Placement> {
    stacks.into_iter().flat_map(CoreStack::into_placements).collect()
}
