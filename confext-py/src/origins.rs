//! Answers for all paths of a host, made on a thread while they are asked for.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use confext_core::Error;
use confext_core::trace::Progress;
use pyo3::prelude::*;

use crate::error::{detached, raise};
use crate::origin::Origin;

/// How many answers are made before they are asked for.
const AHEAD: usize = 256;
/// How long the interpreter waits for a signal of its own while an answer is made.
const SLICE: Duration = Duration::from_millis(50);

/// Answers, one after the other. The thread that makes them ends when the last one was made, or when nobody asks any more.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Origins {
    news: Mutex<Receiver<News>>,
    progress: Option<Py<PyAny>>,
}

/// What the thread says.
pub(crate) enum News {
    Answer(Box<Result<Origin, Error>>),
    Progress(Progress),
}

/// How many words about how far it is there are in all.
const STEPS: u64 = 1000;

/// Where the thread says it.
pub(crate) struct Sender {
    news: SyncSender<News>,
    /// Whether somebody wants to know how far it is, and what was said last, in [`STEPS`].
    step: Option<u64>,
}

impl Sender {
    /// Says how far it is, where that is worth a word.
    pub(crate) fn tell(&mut self, at: Progress) -> ControlFlow<()> {
        let step = at.done.saturating_mul(STEPS).checked_div(at.total).unwrap_or(STEPS);
        match self.step {
            Some(last) if last < step => {
                self.step = Some(step);
                self.send(News::Progress(at))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    /// Hands over an answer.
    pub(crate) fn answer(&self, answer: Result<Origin, Error>) -> ControlFlow<()> {
        self.send(News::Answer(Box::new(answer)))
    }

    fn send(&self, news: News) -> ControlFlow<()> {
        match self.news.send(news) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

impl Origins {
    /// Starts a thread that hands every answer to what it gets. `progress` is called by who asks.
    pub(crate) fn start(
        progress: Option<Py<PyAny>>,
        make: impl FnOnce(&mut Sender) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        let (news, receiver) = sync_channel(AHEAD);
        let mut sender = Sender { news, step: progress.is_some().then_some(0) };
        std::thread::spawn(move || {
            if let Err(error) = make(&mut sender) {
                let _ = sender.answer(Err(error));
            }
        });
        Self { news: Mutex::new(receiver), progress }
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
                let receiver = self.news.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(receiver.recv_timeout(SLICE))
            })?;
            match next {
                Ok(News::Answer(answer)) => return answer.map(Some).map_err(|error| raise(py, &error)),
                Ok(News::Progress(at)) => {
                    if let Some(progress) = &self.progress {
                        progress.call1(py, (at.done, at.total))?;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            }
        }
    }

    fn __repr__(&self) -> &'static str {
        "<confext.Origins>"
    }
}
