//! Work on many threads whose results come out in the order of the jobs, with a bounded number under way.

use crate::error::Result;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

/// Jobs of each thread that are begun, or done and not yet handed on.
const AHEAD: usize = 16;

/// As many threads as this process computes with.
pub(crate) fn default_threads() -> NonZeroUsize {
    crate::threads::ready();
    NonZeroUsize::new(rayon::current_num_threads()).unwrap_or(NonZeroUsize::MIN)
}

/// Has `threads` threads do `work` on each of `jobs`, and hands the results to `each` in the order of the jobs.
///
/// `jobs` and `each` run on the caller's thread. At most 16 jobs for each thread are under way, so that a slow one does
/// not make results pile up. The first error of `each` ends it: jobs that were not begun are not begun any more.
///
/// These are not the threads of rayon: one of those takes up other work while it waits for its own, and would so have
/// the buffers of any number of jobs.
pub(crate) fn in_order<T: Send, U: Send>(
    threads: NonZeroUsize,
    jobs: impl Iterator<Item = T>,
    work: impl Fn(T) -> U + Sync,
    mut each: impl FnMut(U) -> Result<()>,
) -> Result<()> {
    let most = threads.get().saturating_mul(AHEAD);
    let (give, take) = mpsc::sync_channel::<(u64, T)>(most);
    let take = Mutex::new(take);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Moved in: the threads end when it is gone.
        let give = give;
        let (put, get) = mpsc::channel();
        let mut started: usize = 0;
        for _ in 0..threads.get() {
            let (put, take, ended, work) = (put.clone(), &take, &ended, &work);
            let thread = std::thread::Builder::new().spawn_scoped(scope, move || {
                while let Some((number, job)) = next(take) {
                    if ended.load(Ordering::Relaxed) {
                        continue;
                    }
                    // A panic must not leave the caller waiting for this result.
                    let result = catch_unwind(AssertUnwindSafe(|| work(job)));
                    if put.send((number, result)).is_err() {
                        return;
                    }
                }
            });
            if thread.is_err() {
                break;
            }
            started = started.saturating_add(1);
        }
        if started == 0 {
            // No thread can be had: this one does all of it.
            return jobs.into_iter().try_for_each(|job| each(work(job)));
        }
        let handed_on = hand_on(most, jobs, &give, &get, &mut each);
        ended.store(true, Ordering::Relaxed);
        handed_on
    })
}

type Done<U> = (u64, std::thread::Result<U>);

fn next<T>(take: &Mutex<mpsc::Receiver<T>>) -> Option<T> {
    // Nothing panics while the lock is held.
    take.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn hand_on<T, U>(
    most: usize,
    jobs: impl Iterator<Item = T>,
    give: &mpsc::SyncSender<(u64, T)>,
    get: &mpsc::Receiver<Done<U>>,
    each: &mut impl FnMut(U) -> Result<()>,
) -> Result<()> {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let (mut begun, mut handed_on): (u64, u64) = (0, 0);
    let mut early = BTreeMap::new();
    let mut jobs = jobs.fuse();
    loop {
        while begun.saturating_sub(handed_on) < most
            && let Some(job) = jobs.next()
        {
            // The channel has room for all of them, so this neither waits nor fails.
            if give.send((begun, job)).is_err() {
                return Ok(());
            }
            begun = begun.saturating_add(1);
        }
        if begun == handed_on {
            return Ok(());
        }
        let Ok((number, result)) = get.recv() else { return Ok(()) };
        early.insert(number, result.unwrap_or_else(|panic| resume_unwind(panic)));
        while let Some(result) = early.remove(&handed_on) {
            each(result)?;
            handed_on = handed_on.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refused;
    use std::sync::atomic::AtomicU64;

    fn threads(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        for count in [1, 2, 7] {
            let mut found = Vec::new();
            // The first jobs take longest.
            let slow =
                |job: u64| (0..(1000 - job) * 100).fold(job, |sum, at| std::hint::black_box(sum + at - at));
            in_order(threads(count), 0..1000, slow, |result| {
                found.push(result);
                Ok(())
            })
            .unwrap();
            assert!(found.iter().copied().eq(0..1000), "{count} threads");
        }
        in_order(threads(3), 0..0, |job: u64| job, |_| panic!("there is none")).unwrap();
    }

    #[test]
    fn no_more_than_so_many_are_under_way() {
        let handed_on = AtomicU64::new(0);
        let jobs = (0..500_u64).inspect(|job| {
            let open = job - handed_on.load(Ordering::SeqCst);
            assert!(open < 2 * AHEAD as u64, "job {job} begins with {open} open");
        });
        in_order(
            threads(2),
            jobs,
            |job| job,
            |_| {
                handed_on.fetch_add(1, Ordering::SeqCst);
                Ok(())
            },
        )
        .unwrap();
    }

    #[test]
    fn the_first_error_ends_it() {
        let begun = AtomicU64::new(0);
        let work = |job: u64| {
            begun.fetch_add(1, Ordering::SeqCst);
            job
        };
        let error = in_order(threads(2), 0..u64::MAX, work, |job| match job {
            100 => Err(Refused::Cancelled { done: job, total: u64::MAX }.into()),
            _ => Ok(()),
        })
        .unwrap_err();
        assert_eq!(error.code(), "cancelled");
        assert!(begun.into_inner() < 200);
    }

    #[test]
    fn a_panic_is_passed_on() {
        let run = || in_order(threads(2), 0..100_u64, |job| assert!(job != 50, "job 50"), |()| Ok(()));
        let panic = catch_unwind(run).unwrap_err();
        assert!(panic.downcast_ref::<&str>().is_some_and(|text| text.contains("job 50")));
    }
}
