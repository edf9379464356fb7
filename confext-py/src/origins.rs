//! Answers for all paths of a host, made on a thread while they are asked for.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use confext_core::Error;
use pyo3::prelude::*;

use crate::error::{detached, raise};
use crate::origin::Origin;

/// How many answers are made before they are asked for.
const AHEAD: usize = 256;
/// How long the interpreter waits for a signal of its own while an answer is made.
const SLICE: Duration = Duration::from_millis(50);

/// Answers, one after the other. The thread that makes them ends when the last one was made, or when nobody asks any more.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Origins(Mutex<Receiver<Result<Origin, Error>>>);

impl Origins {
    /// Starts a thread that hands every answer to the function it gets.
    pub(crate) fn start(
        make: impl FnOnce(&dyn Fn(Result<Origin, Error>) -> ControlFlow<()>) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        let (sender, receiver) = sync_channel(AHEAD);
        std::thread::spawn(move || {
            let send = |answer| match sender.send(answer) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            if let Err(error) = make(&send) {
                let _ = send(Err(error));
            }
        });
        Self(Mutex::new(receiver))
    }
}

#[pymethods]
impl Origins {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Origin>> {
        loop {
            let next = detached(py, || {
                let receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(receiver.recv_timeout(SLICE))
            })?;
            match next {
                Ok(answer) => return answer.map(Some).map_err(|error| raise(py, &error)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            }
        }
    }

    fn __repr__(&self) -> &'static str {
        "<confext.Origins>"
    }
}
