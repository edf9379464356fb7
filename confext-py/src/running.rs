//! `Running`: a command that runs with a stack, with the methods of `subprocess.Popen`.

use std::ffi::OsString;
use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::IntoRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use confext_core::Error;
use confext_core::exec::Running as CoreRunning;
use confext_core::sys::Signal;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::argument::Mapping;
use crate::error::detached;
use crate::stack::{Stack, placements};

/// How long the interpreter waits for a signal of its own while a command is waited for.
const SLICE: Duration = Duration::from_millis(50);

/// A command that was started with a stack.
///
/// As a context manager it is waited for at the end, after its pipes were closed; when an exception ends the block, it is
/// killed first.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Running {
    arguments: Vec<OsString>,
    pid: u32,
    running: Mutex<CoreRunning>,
    /// What it reads, where that is a pipe.
    #[pyo3(get)]
    stdin: Option<Py<PyAny>>,
    /// What it prints, where that is a pipe.
    #[pyo3(get)]
    stdout: Option<Py<PyAny>>,
    /// What it prints on standard error, where that is a pipe.
    #[pyo3(get)]
    stderr: Option<Py<PyAny>>,
}

#[pymethods]
impl Running {
    /// The command and its arguments.
    #[getter]
    pub(crate) fn args(&self) -> Vec<OsString> {
        self.arguments.clone()
    }

    /// Its process number.
    #[getter]
    fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, as `subprocess` tells it; `None` while it runs.
    #[getter]
    fn returncode(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        self.poll(py)
    }

    /// How it ended; `None` while it runs.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        Ok(detached(py, || self.lock().try_wait())?.map(return_code))
    }

    /// Wait for its end; `subprocess.TimeoutExpired` after that many seconds.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<i32> {
        let most = timeout.map(seconds).transpose()?;
        let start = Instant::now();
        loop {
            let left = most.map_or(SLICE, |most| most.saturating_sub(start.elapsed()).min(SLICE));
            if let Some(status) = detached(py, || self.lock().wait_for(left))? {
                return Ok(return_code(status));
            }
            py.check_signals()?;
            if most.is_some_and(|most| start.elapsed() >= most) {
                let expired = py.import("subprocess")?.getattr("TimeoutExpired")?;
                return Err(PyErr::from_value(expired.call1((self.arguments.clone(), timeout))?));
            }
        }
    }

    /// Send it a signal; nothing happens when it has ended.
    fn send_signal(&self, py: Python<'_>, signal: i32) -> PyResult<()> {
        let Some(signal) = Signal::from_named_raw(signal) else {
            return Err(PyValueError::new_err(format!("signal: found {signal}, expected that of a signal")));
        };
        detached(py, || self.lock().signal(signal))
    }

    /// Send it `SIGTERM`.
    fn terminate(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.lock().signal(Signal::TERM))
    }

    /// Send it `SIGKILL`.
    fn kill(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.lock().kill())
    }

    /// Put another stack in the place of the one it sees, while it runs; that stack is used up.
    fn refresh(&self, py: Python<'_>, stack: &Bound<'_, Stack>) -> PyResult<()> {
        let stacks = stack.get().take_all()?;
        detached(py, || self.lock().refresh(placements(stacks)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let arguments = self.arguments.clone().into_pyobject(py)?.repr()?;
        Ok(format!("<confext.Running {} {arguments}>", self.pid))
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*exception))]
    fn __exit__(&self, py: Python<'_>, exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        if exception.get_item(0).is_ok_and(|kind| !kind.is_none()) {
            self.kill(py)?;
        }
        let mut closed = Ok(());
        for stream in [&self.stdin, &self.stdout, &self.stderr].into_iter().flatten() {
            closed = closed.and(stream.bind(py).call_method0("close").map(drop));
        }
        self.finish(py)?;
        closed
    }
}

impl Running {
    pub(crate) fn lock(&self) -> MutexGuard<'_, CoreRunning> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; who is interrupted does not leave it behind.
    pub(crate) fn finish(&self, py: Python<'_>) -> PyResult<i32> {
        self.wait(py, None).inspect_err(|_| {
            // The interruption is what is told.
            let _ = py.detach(|| {
                let mut running = self.lock();
                running.kill().and_then(|()| running.wait())
            });
        })
    }
}

/// Where a standard stream of a command leads: as `subprocess` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// To the caller's own.
    Inherit,
    /// To a pipe.
    Pipe,
    /// Nowhere.
    Null,
    /// To where standard output leads.
    Stdout,
}

impl<'py> FromPyObject<'_, 'py> for Stream {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.extract::<i32>() {
            Ok(-1) => Ok(Self::Pipe),
            Ok(-2) => Ok(Self::Stdout),
            Ok(-3) => Ok(Self::Null),
            _ => Err(PyTypeError::new_err(format!(
                "found {}, expected None, subprocess.PIPE, subprocess.DEVNULL or, for stderr, subprocess.STDOUT",
                object.repr()?
            ))),
        }
    }
}

/// The ends of pipes that stay here.
#[derive(Default)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<PipeWriter>,
    pub(crate) stdout: Option<PipeReader>,
    pub(crate) stderr: Option<PipeReader>,
}

/// A command that is to be started.
pub(crate) struct Launch {
    pub(crate) arguments: Vec<PathBuf>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) env: Option<Mapping<OsString, OsString>>,
    pub(crate) streams: [Stream; 3],
}

impl Launch {
    /// The command, and the ends of its pipes.
    pub(crate) fn command(&self) -> PyResult<(Command, Pipes)> {
        let Some((program, rest)) = self.arguments.split_first() else {
            return Err(PyValueError::new_err("arguments: found none, expected a program"));
        };
        let mut command = Command::new(program);
        command.args(rest);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        if let Some(env) = &self.env {
            command.env_clear().envs(&env.0);
        }
        let mut pipes = Pipes::default();
        let [stdin, stdout, stderr] = self.streams;
        match stdin {
            Stream::Inherit => {}
            Stream::Null => drop(command.stdin(Stdio::null())),
            Stream::Pipe => {
                let (reader, writer) = pipe()?;
                command.stdin(reader);
                pipes.stdin = Some(writer);
            }
            Stream::Stdout => return Err(misplaced("stdin")),
        }
        let mut written = None;
        match stdout {
            Stream::Inherit => {}
            Stream::Null => drop(command.stdout(Stdio::null())),
            Stream::Pipe => {
                let (reader, writer) = pipe()?;
                command.stdout(writer.try_clone()?);
                (pipes.stdout, written) = (Some(reader), Some(writer));
            }
            Stream::Stdout => return Err(misplaced("stdout")),
        }
        match (stderr, stdout, written) {
            (Stream::Inherit, _, _) => {}
            (Stream::Null, _, _) | (Stream::Stdout, Stream::Null, _) => drop(command.stderr(Stdio::null())),
            (Stream::Pipe, _, _) => {
                let (reader, writer) = pipe()?;
                command.stderr(writer);
                pipes.stderr = Some(reader);
            }
            (Stream::Stdout, _, Some(writer)) => drop(command.stderr(writer)),
            (Stream::Stdout, _, None) => drop(command.stderr(std::io::stdout())),
        }
        Ok((command, pipes))
    }

    /// The handle of a command that was started.
    pub(crate) fn handle(self, py: Python<'_>, running: CoreRunning, pipes: Pipes) -> PyResult<Running> {
        let open = |fd: Option<i32>, mode: &str| -> PyResult<Option<Py<PyAny>>> {
            let Some(fd) = fd else { return Ok(None) };
            Ok(Some(py.import("io")?.call_method1("open", (fd, mode))?.unbind()))
        };
        Ok(Running {
            arguments: self.arguments.into_iter().map(PathBuf::into_os_string).collect(),
            pid: running.id(),
            running: Mutex::new(running),
            stdin: open(pipes.stdin.map(PipeWriter::into_raw_fd), "wb")?,
            stdout: open(pipes.stdout.map(PipeReader::into_raw_fd), "rb")?,
            stderr: open(pipes.stderr.map(PipeReader::into_raw_fd), "rb")?,
        })
    }
}

fn misplaced(stream: &str) -> PyErr {
    PyValueError::new_err(format!("{stream}: found subprocess.STDOUT, expected it for stderr only"))
}

fn seconds(number: f64) -> PyResult<Duration> {
    // What is over is over, as `subprocess` has it.
    Duration::try_from_secs_f64(number.max(0.0))
        .map_err(|error| PyValueError::new_err(format!("timeout: found {number}, expected seconds: {error}")))
}

/// As `subprocess` tells it: a signal is a negative number.
fn return_code(status: ExitStatus) -> i32 {
    let signal = || status.signal().map(i32::wrapping_neg);
    status.code().or_else(signal).unwrap_or(i32::MIN)
}

/// Reads pipes to their ends on threads of their own, so that none of them fills up.
pub(crate) struct Collected([Option<std::thread::JoinHandle<std::io::Result<Vec<u8>>>>; 2]);

impl Collected {
    pub(crate) fn begin(pipes: Pipes) -> Self {
        let read = |pipe: Option<PipeReader>| {
            pipe.map(|mut pipe| {
                std::thread::spawn(move || {
                    let mut bytes = Vec::new();
                    std::io::Read::read_to_end(&mut pipe, &mut bytes)?;
                    Ok(bytes)
                })
            })
        };
        Self([read(pipes.stdout), read(pipes.stderr)])
    }

    /// What was read of standard output and standard error.
    pub(crate) fn end(self, py: Python<'_>) -> PyResult<[Option<Vec<u8>>; 2]> {
        let Self([stdout, stderr]) = self;
        let join = |thread: Option<std::thread::JoinHandle<std::io::Result<Vec<u8>>>>| {
            let Some(thread) = thread else { return Ok(None) };
            let read = thread.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
            read.map(Some).map_err(|source| Error::Os {
                operation: "read",
                target: "a pipe".to_owned(),
                source,
            })
        };
        detached(py, || Ok([join(stdout)?, join(stderr)?]))
    }
}
