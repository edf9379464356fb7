//! `Stack`: extensions merged for one command only.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use confext_core::exec::{Root, Running as CoreRunning};
use confext_core::stack::Manner;
use confext_core::{Host as CoreHost, Stack as CoreStack};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::argument::Mapping;
use crate::error::detached;
use crate::host::Host;
use crate::layer::Layer;
use crate::plan::Plan;
use crate::record::Tuple;
use crate::running::{Collected, Launch, Pipes, Running, Stream};

/// Extensions of a host, assembled and not put in place: for a command that sees them merged, and nobody else.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Stack {
    host: Arc<CoreHost>,
    layers: Tuple<Layer>,
    plan: Plan,
    manner: Manner,
    /// `None` once it was run or closed.
    stack: Mutex<Option<CoreStack>>,
}

#[pymethods]
impl Stack {
    /// Open, judge, attach and mount the extensions of a class.
    #[new]
    #[pyo3(signature = (host, class_="confext"))]
    fn new(py: Python<'_>, host: &Bound<'_, Host>, class_: &str) -> PyResult<Self> {
        let host = host.get();
        let stack = host.with(py, class_, CoreStack::assemble)?;
        Ok(Self {
            host: host.host(),
            layers: stack.layers().iter().collect(),
            plan: stack.plan().into(),
            manner: stack.manner().clone(),
            stack: Mutex::new(Some(stack)),
        })
    }

    /// The extensions of the stack, bottom first.
    #[getter]
    fn layers(&self) -> Tuple<Layer> {
        self.layers.clone()
    }

    /// What it changes, path by path.
    #[getter]
    fn plan(&self) -> Plan {
        self.plan.clone()
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
        let stack = self.take();
        py.detach(|| drop(stack));
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
    fn lock(&self) -> MutexGuard<'_, Option<CoreStack>> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<CoreStack> {
        self.lock().take()
    }

    /// The stack, which is used up.
    pub(crate) fn take_one(&self) -> PyResult<CoreStack> {
        self.take().ok_or_else(|| PyValueError::new_err("the stack was run or closed before"))
    }

    fn launch(&self, py: Python<'_>, launch: &Launch) -> PyResult<(CoreRunning, Pipes)> {
        let (command, pipes) = launch.command()?;
        let (root, stack) = (Root::of(self.host.path()), self.take_one()?);
        let running = detached(py, move || CoreRunning::start(&root, stack.into_placements(), command))?;
        Ok((running, pipes))
    }
}
