//! Every file of the fuzzing corpus, run through its target: what once went wrong stays right.

#[allow(dead_code, reason = "the targets are written for the fuzzer")]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_target_takes_every_file_of_its_corpus() {
    let mut total = 0;
    for (target, run) in targets::ALL {
        let dir = corpus().join(target);
        let files = names(&dir);
        assert!(!files.is_empty(), "{target} has no corpus");
        for name in &files {
            let bytes = std::fs::read(dir.join(name)).unwrap();
            let outcome = std::panic::catch_unwind(|| run(&bytes));
            assert!(outcome.is_ok(), "fuzz/corpus/{target}/{name}");
            total += 1;
        }
    }
    assert!(total >= 60, "{total} files");
}

#[test]
fn every_target_has_a_program_and_a_corpus_of_its_own() {
    let known: BTreeSet<String> = targets::ALL.iter().map(|(target, _)| (*target).to_owned()).collect();
    assert_eq!(names(&corpus()), known);
    let programs = names(&corpus().join("../fuzz_targets"));
    let programs: BTreeSet<String> =
        programs.iter().map(|name| name.strip_suffix(".rs").expect("a Rust source").to_owned()).collect();
    assert_eq!(programs, known);
}

/// Targets take parts of valid inputs, too: every file cut at many places.
#[test]
fn every_target_takes_every_file_cut_short() {
    for (target, run) in targets::ALL {
        let dir = corpus().join(target);
        for name in names(&dir) {
            let bytes = std::fs::read(dir.join(&name)).unwrap();
            for part in 0..16 {
                let cut = &bytes[..bytes.len() * part / 16];
                assert!(
                    std::panic::catch_unwind(|| run(cut)).is_ok(),
                    "the first {} bytes of fuzz/corpus/{target}/{name}",
                    cut.len()
                );
            }
        }
    }
}
