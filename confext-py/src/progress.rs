//! How far long work is, for callers who want to know, and its end when they have had enough.

use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use confext_core::Error;
use confext_core::admission::Watch;
use pyo3::prelude::*;

use crate::error::detached;

/// How long the interpreter waits for a signal of its own while others work.
const SLICE: Duration = Duration::from_millis(50);

/// Tells a caller how far work is. An exception of the caller, or an interrupt, stops the work.
pub(crate) struct Progress {
    callback: Option<Py<PyAny>>,
    raised: Option<PyErr>,
}

impl Progress {
    /// Does `work` without the interpreter's lock, as [`detached`]. What was raised meanwhile says more than that the work
    /// was stopped.
    pub(crate) fn watch<T: Send>(
        py: Python<'_>,
        callback: Option<Py<PyAny>>,
        work: impl FnOnce(&mut Self) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let mut progress = Self { callback, raised: None };
        let done = detached(py, || work(&mut progress));
        match progress.raised {
            Some(error) => Err(error),
            None => done,
        }
    }

    /// The same for the images of stacks: `work` puts the watch into its options.
    pub(crate) fn watch_images<T: Send>(
        py: Python<'_>,
        callback: Option<Py<PyAny>>,
        work: impl FnOnce(Watch) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let shared = Arc::new(Mutex::new(Self { callback, raised: None }));
        let told = Arc::clone(&shared);
        let watch = Watch::new(move |at| {
            told.lock().unwrap_or_else(PoisonError::into_inner).tell(at.done_bytes, at.total_bytes)
        });
        let done = detached(py, || work(watch));
        match shared.lock().unwrap_or_else(PoisonError::into_inner).raised.take() {
            Some(error) => Err(error),
            None => done,
        }
    }

    /// Says that so much of all is done, in bytes.
    pub(crate) fn tell(&mut self, done: u64, total: u64) -> ControlFlow<()> {
        self.look(Some((done, total)))
    }

    /// Looks for an interrupt, and tells what there is to tell.
    fn look(&mut self, news: Option<(u64, u64)>) -> ControlFlow<()> {
        let told = Python::attach(|py| {
            py.check_signals()?;
            match (&self.callback, news) {
                (Some(callback), Some(news)) => callback.call1(py, news).map(drop),
                _ => Ok(()),
            }
        });
        match told {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.raised = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

/// Work that is done by other threads than the one that called: what they say is told from there.
#[derive(Default)]
pub(crate) struct Watcher {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    told: Option<(u64, u64)>,
    /// How often an answer was waited for, and how many of these were answered.
    asked: u64,
    answered: u64,
    enough: bool,
    ended: bool,
}

impl State {
    const fn flow(&self) -> ControlFlow<()> {
        if self.enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Watcher {
    /// Does `work` on a thread of its own. The caller's thread tells `callback` how far it is, and looks for interrupts; what is
    /// raised there ends the work.
    pub(crate) fn watch<T: Send>(
        py: Python<'_>,
        callback: Option<Py<PyAny>>,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let watcher = Self::default();
        let mut progress = Progress { callback, raised: None };
        let done = detached(py, || {
            std::thread::scope(|scope| {
                let worker = scope.spawn(|| {
                    let _end = End(&watcher);
                    work(&watcher)
                });
                watcher.attend(&mut progress);
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        });
        match progress.raised {
            Some(error) => Err(error),
            None => done,
        }
    }

    /// Says that so much of all is done, in bytes, and goes on: the answer can be to what was said before.
    pub(crate) fn tell(&self, done: u64, total: u64) -> ControlFlow<()> {
        let mut state = self.lock();
        state.told = Some((done, total));
        self.changed.notify_all();
        state.flow()
    }

    /// Says it and waits for the answer.
    pub(crate) fn ask(&self, done: u64, total: u64) -> ControlFlow<()> {
        let mut state = self.lock();
        state.told = Some((done, total));
        state.asked = state.asked.saturating_add(1);
        let question = state.asked;
        self.changed.notify_all();
        let waited = self.changed.wait_while(state, |state| !state.enough && state.answered < question);
        waited.unwrap_or_else(PoisonError::into_inner).flow()
    }

    fn attend(&self, progress: &mut Progress) {
        let mut last = (0, 0);
        loop {
            let (told, asked, ended) = {
                let state = self.lock();
                let waited = self
                    .changed
                    .wait_timeout_while(state, SLICE, |state| !state.ended && state.told.is_none());
                let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                (state.told.take(), state.asked, state.ended)
            };
            // Without news only signals are looked for.
            let news = told.is_some();
            last = told.unwrap_or(last);
            if progress.raised.is_none() && progress.look(news.then_some(last)).is_break() {
                self.lock().enough = true;
            }
            self.lock().answered = asked;
            self.changed.notify_all();
            if ended {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that a thread has ended, also by a panic.
struct End<'a>(&'a Watcher);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}
