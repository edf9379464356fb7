//! The threads of rayon, and what is done where there can be none

use std::error::Error as _;
use std::sync::OnceLock;

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use crate::error::Result;

/// Makes sure that rayon has threads, before it is used: where none can be started (a limit on them, no memory) it would
/// panic. There this thread does all of the work, now and later.
pub(crate) fn ready() {
    static GLOBAL: OnceLock<bool> = OnceLock::new();
    if rayon::current_thread_index().is_some() {
        return;
    }
    // An error without a source says that somebody else has started them.
    let started =
        || ThreadPoolBuilder::new().build_global().map_or_else(|error| error.source().is_none(), |()| true);
    if !GLOBAL.get_or_init(started) {
        this_thread_alone();
    }
}

/// Does `work` on each of the tasks, with something of its own for each thread; the results are in the order of the tasks.
///
/// One task is done by this thread: to start others would take longer.
///
/// # Errors
///
/// One that `work` returned.
pub(crate) fn map_init<T: Send, S, U: Send>(
    tasks: Vec<T>,
    init: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, T) -> Result<U> + Sync + Send,
) -> Result<Vec<U>> {
    if tasks.len() <= 1 {
        let mut own = init();
        return tasks.into_iter().map(|task| work(&mut own, task)).collect();
    }
    ready();
    tasks.into_par_iter().map_init(init, work).collect()
}

/// Makes a pool of this thread, which is in it from then on. It starts no thread, so that it can be made.
fn this_thread_alone() {
    if let Ok(pool) = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
        std::mem::forget(pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_alone_does_everything() {
        std::thread::spawn(|| {
            this_thread_alone();
            // As often as it is asked for.
            ready();
            ready();
            assert_eq!((rayon::current_thread_index(), rayon::current_num_threads()), (Some(0), 1));
            let here = std::thread::current().id();
            let sum: u64 = (0..10_000_u64)
                .into_par_iter()
                .map(|number| {
                    assert_eq!(std::thread::current().id(), here);
                    number
                })
                .sum();
            assert_eq!(sum, 49_995_000);
            assert_eq!(rayon::join(|| 1, || 2), (1, 2));
            assert_eq!(rayon::broadcast(|context| context.index()), [0]);
        })
        .join()
        .unwrap();
    }
}
