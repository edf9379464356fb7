//! [`map`]: the same for many things on all processors, with the answers in their order

use std::sync::{Mutex, OnceLock, PoisonError};

/// With fewer a thread costs more than it saves.
const FEW: usize = 16;

/// Calls once for each item. The calls are made at the same time where that is worth it, so that none may wait for another.
pub(crate) fn map<T: Send, R: Send>(items: Vec<T>, call: impl Fn(T) -> R + Sync) -> Vec<R> {
    if items.len() < FEW || threads() < 2 {
        return items.into_iter().map(call).collect();
    }
    let answers: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let (left, answers) = (Mutex::new(items.into_iter().enumerate()), Mutex::new(answers));
    let work = || {
        loop {
            // The lock is not held during the call.
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((at, item)) = next else { break };
            let answer = call(item);
            if let Some(place) = answers.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
                *place = Some(answer);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads() {
            // Where no thread can be had this one does all of it.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    answers.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

/// How many threads there are to be. Asked for once: control groups are read for it.
fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_items() {
        for count in [0, 1, FEW - 1, FEW, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let expected: Vec<String> = items.iter().map(usize::to_string).collect();
            assert_eq!(map(items, |item| item.to_string()), expected);
        }
    }

    #[test]
    fn a_panic_is_the_callers() {
        let panics = std::panic::catch_unwind(|| map((0..100).collect(), |item| assert!(item != 50)));
        assert!(panics.is_err());
    }
}
