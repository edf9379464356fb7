//! `Stack`: extensions merged for one command only.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use confext_core::exec::{self, Root};
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

/// Extensions of a host, assembled and not put in place: for a command that sees them merged, and nobody else.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Stack {
    host: Arc<CoreHost>,
    layers: Tuple<Layer>,
    plan: Plan,
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

    /// Run a command that sees the host's root with the stack in place, in a mount namespace of its own.
    ///
    /// Returns a `subprocess.CompletedProcess`. The mounts go with the command's last process: a stack runs once.
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
        let Some((program, rest)) = arguments.split_first() else {
            return Err(PyValueError::new_err("arguments: found none, expected a program"));
        };
        let mut command = Command::new(program);
        command.args(rest);
        if capture_output {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        if let Some(env) = env {
            command.env_clear().envs(env.0);
        }
        let stack = self.take().ok_or_else(|| PyValueError::new_err("the stack was run or closed before"))?;
        let root = match self.host.path() {
            path if path == std::path::Path::new("/") => Root::Host,
            path => Root::Directory(path.to_path_buf()),
        };
        let output = detached(py, move || exec::run(&root, stack.into_placements(), command))?;
        let (stdout, stderr) = match capture_output {
            true => (Some(output.stdout), Some(output.stderr)),
            false => (None, None),
        };
        let completed = py.import("subprocess")?.getattr("CompletedProcess")?;
        let arguments: Vec<OsString> = arguments.into_iter().map(PathBuf::into_os_string).collect();
        completed.call1((arguments, return_code(output.status), stdout, stderr))
    }

    /// Take the mounts away. Nothing happens when it was run.
    fn close(&self, py: Python<'_>) {
        let stack = self.take();
        py.detach(|| drop(stack));
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
    fn take(&self) -> Option<CoreStack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// As `subprocess` tells it: a signal is a negative number.
fn return_code(status: ExitStatus) -> i32 {
    let signal = || status.signal().map(i32::wrapping_neg);
    status.code().or_else(signal).unwrap_or(i32::MIN)
}
