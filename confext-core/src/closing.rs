//! [`Closing`]: mounts that nobody needs any more go while others go on
//!
//! When the last descriptor of a detached mount is closed, the kernel waits until no processor can be looking at it. Several
//! such waits at the same time take as long as one.

use std::thread::{Builder, JoinHandle};

/// As many threads as are worth it for things of one kind.
const MOST_THREADS: usize = 4;

/// What is being closed. Dropped, it waits until that is done.
#[derive(Debug, Default)]
pub(crate) struct Closing(Vec<JoinHandle<()>>);

impl Closing {
    /// Drops something beside what the caller goes on to do; before it returns where no thread can be had.
    pub(crate) fn close(&mut self, thing: impl Send + 'static) {
        self.0.extend(Builder::new().name("confext-closing".to_owned()).spawn(move || drop(thing)));
    }

    /// The same for many.
    pub(crate) fn close_all<T: Send + 'static>(&mut self, mut things: Vec<T>) {
        let share = things.len().div_ceil(MOST_THREADS).max(1);
        while things.len() > share {
            let rest = things.split_off(share);
            self.close(std::mem::replace(&mut things, rest));
        }
        if !things.is_empty() {
            self.close(things);
        }
    }

    /// Takes over what another one waits for.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn everything_is_closed_when_it_is_dropped() {
        let thing = Arc::new(());
        for count in [0, 1, 3, 4, 5, 9, 100] {
            let mut closing = Closing::default();
            closing.close_all(vec![Arc::clone(&thing); count]);
            let mut all = Closing::default();
            all.close(Arc::clone(&thing));
            all.join(closing);
            drop(all);
            assert_eq!(Arc::strong_count(&thing), 1, "{count}");
        }
    }
}
