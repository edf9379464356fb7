//! Work in a mount namespace of somebody else, which may never end: on a thread, with a limit, after which nothing is changed

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sys;

/// Whether the work may still change something.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Open,
    /// The last change was made, and nothing comes after it but the answer.
    Finished,
    /// The caller has gone.
    Closed,
}

impl Gate {
    /// Changes something, unless the caller has gone. `change` looks nothing up, so that it comes to an end: the caller waits
    /// for it.
    ///
    /// # Errors
    ///
    /// `no-answer`; what `change` says.
    pub(super) fn pass<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        self.change(State::Open, change)
    }

    /// The same, and there is nothing to wait for after it.
    ///
    /// # Errors
    ///
    /// As [`Gate::pass`].
    pub(super) fn finish<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        self.change(State::Finished, change)
    }

    fn change<T>(&self, next: State, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Closed {
            return Err(no_answer("the caller", Duration::ZERO));
        }
        let done = change();
        *state = next;
        done
    }

    /// Says how it was.
    fn close(&self) -> State {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), State::Closed)
    }
}

/// Does `work` on a thread with root and working directory of its own, and waits for at most `wait`. A lookup in a file
/// system that does not answer cannot be called off: the thread is left alone then, and changes nothing any more.
///
/// # Errors
///
/// `no-answer`; `os` when there is no thread to be had; what `work` says.
pub(super) fn limited<T: Send + 'static>(
    whose: String,
    wait: Duration,
    work: impl FnOnce(&Gate) -> Result<T> + Send + 'static,
) -> Result<T> {
    let gate = Gate::default();
    let (answer, answers) = mpsc::sync_channel(1);
    let passed = gate.clone();
    let thread = std::thread::Builder::new().name("confext-service".to_owned()).spawn(move || {
        let done = sys::unshare_directories()
            .map_err(|error| Error::os("unshare the directories of", "a thread", error))
            .and_then(|()| work(&passed));
        // Nobody may be waiting any more.
        let _ = answer.send(done);
    });
    let thread = thread.map_err(|error| Error::os("start", "a thread", error))?;
    let answered = match answers.recv_timeout(wait) {
        // A change that has begun is waited for; after the last one there is only the answer.
        Err(RecvTimeoutError::Timeout) => match gate.close() {
            State::Finished => answers.recv().ok(),
            State::Open | State::Closed => answers.try_recv().ok(),
        },
        Ok(answered) => Some(answered),
        Err(RecvTimeoutError::Disconnected) => None,
    };
    match answered {
        Some(done) => {
            // It has nothing left to do but to end, and what it holds goes with it.
            let _ = thread.join();
            done
        }
        None if thread.is_finished() => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => Err(no_answer(whose, wait)),
        },
        None => Err(no_answer(whose, wait)),
    }
}

fn no_answer(whose: impl Into<String>, wait: Duration) -> Error {
    let found = format!("no answer from its file systems in {} ms", wait.as_millis());
    Error::conflict("no-answer", whose, found, "an answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_late_changes_nothing() {
        let (go, wait_for) = mpsc::channel();
        let (seen, saw) = mpsc::channel();
        let done = limited("x".to_owned(), Duration::from_millis(1), move |gate| {
            wait_for.recv().unwrap();
            let passed = gate.pass(|| Ok(()));
            seen.send(passed.is_ok()).unwrap();
            passed
        });
        assert_eq!(done.unwrap_err().code(), "no-answer");
        go.send(()).unwrap();
        assert!(!saw.recv().unwrap());
    }

    #[test]
    fn a_change_that_has_begun_is_waited_for() {
        let (begun, begins) = mpsc::channel();
        let done = limited("x".to_owned(), Duration::from_millis(50), move |gate| {
            gate.finish(|| {
                begun.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(200));
                Ok(7)
            })
        });
        begins.recv().unwrap();
        assert_eq!(done.unwrap(), 7);
    }
}
