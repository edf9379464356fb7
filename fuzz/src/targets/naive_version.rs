//! UAPI.10 a second time, as plainly as it can be written: what `version::compare` is compared with.

use std::cmp::Ordering;
use std::collections::VecDeque;

/// The characters that mean something.
const SIGNIFICANT: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz~-^.";

/// Orders two versions, one character after the other.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let mut sides = [a, b].map(|text| text.iter().map(|byte| char::from(*byte)).collect::<VecDeque<char>>());
    loop {
        for side in &mut sides {
            while side.front().is_some_and(|next| !SIGNIFICANT.contains(*next)) {
                side.pop_front();
            }
        }
        if let Some(order) = mark(&mut sides, '~') {
            return order;
        }
        match (sides[0].is_empty(), sides[1].is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        for sign in ['-', '^', '.'] {
            if let Some(order) = mark(&mut sides, sign) {
                return order;
            }
        }
        let numeric = sides.iter().any(|side| side.front().is_some_and(char::is_ascii_digit));
        let [mut a, mut b] = [0, 1].map(|at| {
            let mut run = String::new();
            while let Some(next) = sides[at].front() {
                if (numeric && !next.is_ascii_digit()) || (!numeric && !next.is_ascii_alphabetic()) {
                    break;
                }
                run.push(*next);
                sides[at].pop_front();
            }
            run
        });
        if numeric && !a.is_empty() && !b.is_empty() {
            // As long as each other, numbers compare like text.
            let width = a.len().max(b.len());
            (a, b) = (format!("{a:0>width$}"), format!("{b:0>width$}"));
        }
        if a != b {
            return a.cmp(&b);
        }
    }
}

/// Whoever alone starts with the sign is older; when both do, it is taken away.
fn mark(sides: &mut [VecDeque<char>; 2], sign: char) -> Option<Ordering> {
    let starts = [0, 1].map(|at| sides[at].front() == Some(&sign));
    match starts {
        [true, false] => Some(Ordering::Less),
        [false, true] => Some(Ordering::Greater),
        [false, false] => None,
        [true, true] => {
            for side in sides {
                side.pop_front();
            }
            None
        }
    }
}
