//! How far long work is, for callers who want to know, and its end when they have had enough.

use std::ops::ControlFlow;

use confext_core::Error;
use pyo3::prelude::*;

use crate::error::detached;

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

    /// Says that so much of all is done, in bytes.
    pub(crate) fn tell(&mut self, done: u64, total: u64) -> ControlFlow<()> {
        let told = Python::attach(|py| {
            py.check_signals()?;
            match &self.callback {
                Some(callback) => callback.call1(py, (done, total)).map(drop),
                None => Ok(()),
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
