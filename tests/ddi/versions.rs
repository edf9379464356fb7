//! Version comparison against a second implementation that is written as plainly as possible.

#[allow(dead_code, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/src/targets/naive_version.rs"]
mod naive_version;

use confext_ddi::version;
use std::cmp::Ordering;

const PAIRS: &str = include_str!("../../confext-ddi/src/version/pairs.txt");

#[test]
fn the_second_implementation_knows_the_pairs() {
    for line in PAIRS.lines().filter(|line| !line.starts_with('#')) {
        let (sign, versions) = line.split_once('\t').unwrap();
        let expected = if sign == "<" { Ordering::Less } else { Ordering::Equal };
        let versions: Vec<&[u8]> = versions.split('\t').map(str::as_bytes).collect();
        for (index, older) in versions.iter().enumerate() {
            for newer in &versions[index + 1..] {
                assert_eq!(naive_version::compare(older, newer), expected, "{line}");
                assert_eq!(naive_version::compare(newer, older), expected.reverse(), "{line}");
            }
        }
    }
}

/// Every two texts of up to three of these characters: 672,400 pairs.
#[test]
fn both_implementations_agree_on_all_short_versions() {
    let characters = *b"~^-._01aB";
    let mut texts: Vec<Vec<u8>> = vec![Vec::new()];
    let mut longest = texts.clone();
    for _ in 0..3 {
        longest =
            longest.iter().flat_map(|text| characters.map(|next| [&text[..], &[next]].concat())).collect();
        texts.extend_from_slice(&longest);
    }
    assert_eq!(texts.len(), 1 + 9 + 81 + 729);
    for a in &texts {
        for b in &texts {
            let (ours, theirs) = (version::compare(a, b), naive_version::compare(a, b));
            assert_eq!(ours, theirs, "{:?} {:?}", String::from_utf8_lossy(a), String::from_utf8_lossy(b));
        }
    }
}
