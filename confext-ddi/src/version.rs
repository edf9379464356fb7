//! UAPI.10 version comparison.
//!
//! Versions are bytes: anything that is not an ASCII letter, a digit or one of `~ - ^ .` only separates. Nothing is
//! invalid, every two versions compare, and versions that compare equal need not be the same text (`007` and `7`).
//!
//! Where the text of the specification and systemd differ, in exotic cases only: an empty number is below every number,
//! as systemd has it (`123..0` < `123.0`); and a separator right after `~` counts as more text on every machine, as the
//! specification has it (`~` < `~é`), where systemd depends on whether the C type `char` is signed.

use std::cmp::Ordering;

/// Orders two versions: `Less` means that `a` is older than `b`.
///
/// *Spec:* UAPI.10, "Version Format Specification".
#[must_use]
pub fn compare(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> Ordering {
    let (mut a, mut b) = (a.as_ref(), b.as_ref());
    loop {
        (a, b) = (skip_separators(a), skip_separators(b));

        // A pre-release is older than no pre-release.
        match strip_both(&mut a, &mut b, b'~') {
            Ordering::Equal => {}
            unequal => return unequal,
        }
        // Whoever has text left is newer. Separators that follow `~` are such text.
        if a.is_empty() || b.is_empty() {
            return a.len().min(1).cmp(&b.len().min(1));
        }
        for mark in [b'-', b'^', b'.'] {
            match strip_both(&mut a, &mut b, mark) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        let starts_with_digit = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let ordering = if starts_with_digit(a) || starts_with_digit(b) {
            let (number_a, number_b);
            (number_a, a) = split_run(a, u8::is_ascii_digit);
            (number_b, b) = split_run(b, u8::is_ascii_digit);
            compare_numbers(number_a, number_b)
        } else {
            let (letters_a, letters_b);
            (letters_a, a) = split_run(a, u8::is_ascii_alphabetic);
            (letters_b, b) = split_run(b, u8::is_ascii_alphabetic);
            letters_a.cmp(letters_b)
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

/// Whether the text is a version that may stand in a file name: not empty, ASCII letters, digits and `. - ~ ^` only.
///
/// `_` and `+` are out because they separate the version from architecture and counters.
#[must_use]
pub fn is_valid(text: impl AsRef<[u8]>) -> bool {
    let text = text.as_ref();
    !text.is_empty() && text.iter().all(|&byte| is_significant(byte))
}

const fn is_significant(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'-' | b'^' | b'.')
}

fn skip_separators(text: &[u8]) -> &[u8] {
    split_run(text, |&byte| !is_significant(byte)).1
}

/// The longest prefix of bytes that `accept` takes, and the rest.
fn split_run(text: &[u8], accept: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !accept(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

/// `Less` or `Greater` when exactly one side starts with `mark`: that side is lower. Else drops it from both, if there.
fn strip_both(a: &mut &[u8], b: &mut &[u8], mark: u8) -> Ordering {
    match (a.strip_prefix(&[mark]), b.strip_prefix(&[mark])) {
        (Some(rest_a), Some(rest_b)) => {
            (*a, *b) = (rest_a, rest_b);
            Ordering::Equal
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Numbers of any length; an empty one is below every other.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits| split_run(digits, |&digit| digit == b'0').1;
    let (value_a, value_b) = (significant(a), significant(b));
    a.is_empty()
        .cmp(&b.is_empty())
        .reverse()
        .then_with(|| value_a.len().cmp(&value_b.len()))
        .then_with(|| value_a.cmp(value_b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(a: &str, expected: Ordering, b: &str) {
        assert_eq!(compare(a, b), expected, "{a:?} against {b:?}");
        assert_eq!(compare(b, a), expected.reverse(), "{b:?} against {a:?}");
    }

    /// Lines of `<` or `=` and versions, separated by tabs.
    const PAIRS: &str = include_str!("version/pairs.txt");

    #[test]
    fn the_known_pairs_compare_as_specified() {
        let mut compared = 0;
        for line in PAIRS.lines().filter(|line| !line.starts_with('#')) {
            let (sign, versions) = line.split_once('\t').unwrap();
            let expected = match sign {
                "<" => Ordering::Less,
                "=" => Ordering::Equal,
                other => panic!("{other:?}"),
            };
            let versions: Vec<&str> = versions.split('\t').collect();
            for (index, older) in versions.iter().enumerate() {
                check(older, Ordering::Equal, older);
                for newer in &versions[index + 1..] {
                    check(older, expected, newer);
                    compared += 1;
                }
            }
        }
        assert!(compared > 400, "{compared} pairs");
    }

    #[test]
    fn bytes_that_are_not_text_only_separate() {
        assert_eq!(compare([0xff, b'1'], [b'1', 0xfe]), Ordering::Equal);
        assert_eq!(compare(b"~", b"~\xe9"), Ordering::Less);
    }

    #[test]
    fn a_version_in_a_name_has_no_separators() {
        for valid in ["1", "1.0-2~rc1^git", "a", "-", "~"] {
            assert!(is_valid(valid), "{valid:?}");
        }
        for invalid in ["", "1_2", "1+2", "1 ", "1/2", "é", "1\n"] {
            assert!(!is_valid(invalid), "{invalid:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn it_is_a_total_order(
            a in "[~^._0129aB-]{0,6}", b in "[~^._0129aB-]{0,6}", c in "[~^._0129aB-]{0,6}",
        ) {
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            let mut sorted = [&a, &b, &c];
            sorted.sort_by(|x, y| compare(x, y));
            prop_assert_ne!(compare(sorted[0], sorted[1]), Ordering::Greater);
            prop_assert_ne!(compare(sorted[1], sorted[2]), Ordering::Greater);
            prop_assert_ne!(compare(sorted[0], sorted[2]), Ordering::Greater, "{:?}", sorted);
            if compare(sorted[0], sorted[2]) == Ordering::Equal {
                prop_assert_eq!(compare(sorted[0], sorted[1]), Ordering::Equal, "{:?}", sorted);
            }
        }

        #[test]
        fn any_bytes_compare(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }
    }
}
