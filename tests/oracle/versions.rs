//! Version comparison against systemd: every known pair, and many made up.

#[allow(dead_code, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/src/targets/naive_version.rs"]
mod naive_version;

use confext_ddi::version;
use confext_tests::peer::Place;
use std::cmp::Ordering;

const PAIRS: &str = include_str!("../../confext-ddi/src/version/pairs.txt");
/// Reads pairs, and says for each what systemd makes of it, by its exit status.
const ASK: &str = r#"while IFS=$(printf '\001') read -r a b; do
    systemd-analyze compare-versions -- "$a" "$b" >/dev/null
    echo $?
done <pairs"#;

/// Every pair that is written down, neighbours of those that are in a row, less those where systemd depends on the machine: a byte above 127 right after `~`.
fn known() -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for line in PAIRS.lines().filter(|line| !line.starts_with('#')) {
        let versions: Vec<&str> = line.split('\t').skip(1).collect();
        pairs.extend(versions.windows(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())));
    }
    pairs.retain(|(a, b)| ![a, b].iter().any(|version| version.starts_with('~') && !version.is_ascii()));
    pairs
}

/// Texts of up to six characters that matter.
fn made_up(count: usize) -> Vec<(String, String)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % most
    };
    let mut text = || -> String {
        let len = next(7);
        (0..len).map(|_| char::from(b"~^-._+01029aABrc"[next(16)])).collect()
    };
    (0..count).map(|_| (text(), text())).collect()
}

#[test]
#[ignore = "needs root"]
fn systemd_orders_versions_the_same() {
    let pairs = [known(), made_up(150)].concat();
    assert!(pairs.len() > 290);
    let place = Place::create();
    let lines: String = pairs.iter().map(|(a, b)| format!("{a}\u{1}{b}\n")).collect();
    std::fs::write(place.path("pairs"), lines).unwrap();
    let answers = place.peer(&["sh", "-c", ASK]);
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), pairs.len());
    for ((a, b), answer) in pairs.iter().zip(answers) {
        let theirs = match answer {
            "12" => Ordering::Less,
            "0" => Ordering::Equal,
            "11" => Ordering::Greater,
            other => panic!("{a:?} {b:?}: exit status {other}"),
        };
        assert_eq!(version::compare(a, b), theirs, "{a:?} {b:?}");
        assert_eq!(naive_version::compare(a.as_bytes(), b.as_bytes()), theirs, "{a:?} {b:?}");
    }
}
