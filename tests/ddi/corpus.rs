//! Every file of the fuzzing corpus, run through its target: what once went wrong stays right.

#[allow(dead_code, reason = "whole images are sealed with a part of it")]
#[path = "../../fuzz/src/reseal.rs"]
mod reseal;
#[allow(dead_code, reason = "the targets are written for the fuzzer")]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use confext_ddi::dps::Architecture;
use confext_ddi::image::{Image, Options};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How many changed files each target gets.
const CHANGED: usize = 24;

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

/// Every target has a dictionary, in libFuzzer's own form: comments, and words in quotes with `\xNN` for other bytes.
#[test]
fn every_target_has_a_dictionary() {
    let dir = corpus().join("../dictionaries");
    let known: BTreeSet<String> = targets::ALL.iter().map(|(target, _)| format!("{target}.dict")).collect();
    assert_eq!(names(&dir), known);
    for name in known {
        let text = std::fs::read_to_string(dir.join(&name)).unwrap();
        let words: BTreeSet<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(words.len() >= 10 && text.starts_with("# "), "{name}");
        assert_eq!(words.len(), text.lines().count() - 1, "{name} has a word twice");
        for word in words {
            let inner =
                word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).filter(|w| !w.is_empty());
            let inner = inner.unwrap_or_else(|| panic!("{name}: {word}"));
            let mut parts = inner.split('\\');
            let plain = |part: &str| part.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"');
            assert!(parts.next().is_some_and(plain), "{name}: {word}");
            for part in parts {
                let hex = part.strip_prefix('x').and_then(|part| part.get(..2));
                assert!(hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())), "{name}: {word}");
                assert!(plain(part), "{name}: {word}");
            }
        }
    }
}

/// The programs of the corpus come out as they are meant to: unchanged ones are admitted, and most changes get past the
/// checksums and hashes that would end them at the door.
#[test]
fn programs_make_images_that_are_looked_at() {
    let mut open = 0;
    for name in names(&corpus().join("whole_image")) {
        let program = std::fs::read(corpus().join("whole_image").join(&name)).unwrap();
        let (image, changed) = targets::program(&program).unwrap();
        let options = Image::open(&image[..], &Options::default().architecture(Architecture::X86_64));
        if !changed {
            assert!(options.is_ok(), "{name}");
        }
        open += usize::from(options.is_ok());
    }
    assert!(open >= 8, "{open} images can be opened");
}

/// Both libraries read the tables of the corpus, and see the same in them.
#[test]
fn the_gpt_crate_reads_tables_of_the_corpus() {
    let of = |name: &str| std::fs::read(corpus().join("gpt_differential").join(name)).unwrap();
    assert_eq!(targets::agree(&of("whole")), Some(true));
    let mut moved = of("whole");
    let last = moved.len() - 1;
    moved[last] ^= 1;
    assert_ne!(targets::agree(&moved), Some(false));
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

/// The words of a dictionary, as bytes.
fn words(target: &str) -> Vec<Vec<u8>> {
    let text =
        std::fs::read_to_string(corpus().join("../dictionaries").join(format!("{target}.dict"))).unwrap();
    let word = |line: &str| {
        let mut parts = line.trim_matches('"').split('\\');
        let first = parts.next().unwrap().as_bytes().to_vec();
        parts.fold(first, |mut word, part| {
            word.push(u8::from_str_radix(&part[1..3], 16).unwrap());
            word.extend_from_slice(&part.as_bytes()[3..]);
            word
        })
    };
    text.lines().filter(|line| line.starts_with('"')).map(word).collect()
}

/// Changes a few places: a bit, a byte, a word of the dictionary put in or over, a piece taken out or put in twice.
fn change(bytes: &mut Vec<u8>, words: &[Vec<u8>], next: &mut impl FnMut(usize) -> usize) {
    for _ in 0..=next(3) {
        let at = next(bytes.len() + 1);
        let end = (at + 1 + next(16)).min(bytes.len());
        let word = &words[next(words.len())];
        match next(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << next(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(next(256)).unwrap(),
            2 => drop(bytes.splice(at..at, word.iter().copied())),
            3 => drop(bytes.splice(at..(at + word.len()).min(bytes.len()), word.iter().copied())),
            4 => drop(bytes.drain(at.min(end)..end)),
            _ => {
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// What the fuzzer does, for a moment and the same each time: changed files of the corpus, with words of the dictionary.
#[test]
fn every_target_takes_changed_files_of_its_corpus() {
    for (target, run) in targets::ALL {
        let words = words(target);
        let files: Vec<_> = names(&corpus().join(target)).into_iter().collect();
        let each = (CHANGED / files.len()).max(1);
        files.par_iter().enumerate().for_each(|(number, name)| {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::try_from(number).unwrap();
            let mut next = move |most: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                usize::try_from(state >> 33).unwrap() % most.max(1)
            };
            let original = std::fs::read(corpus().join(target).join(name)).unwrap();
            for at in 0..each {
                let mut bytes = original.clone();
                change(&mut bytes, &words, &mut next);
                if target.starts_with("gpt") || *target == "image" {
                    reseal::reseal(&mut bytes);
                }
                let outcome = std::panic::catch_unwind(|| run(&bytes));
                assert!(outcome.is_ok(), "change {at} of fuzz/corpus/{target}/{name}: {bytes:02x?}");
            }
        });
    }
}

/// `docs/hostile-input.md` names tests and targets in backquotes: they exist.
#[test]
fn the_page_on_hostile_input_names_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/hostile-input.md")).unwrap();
    let mut functions = BTreeSet::new();
    let mut directories: Vec<PathBuf> =
        ["confext-ddi/src", "confext-core/src", "confext-core/tests", "tests"]
            .map(|dir| root.join(dir))
            .into();
    while let Some(dir) = directories.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                let names = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
                functions.extend(names.map(str::to_owned));
            }
        }
    }
    let quoted: BTreeSet<&str> = page.split('`').skip(1).step_by(2).collect();
    let is_name =
        |word: &str| word.contains('_') && word.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
    let targets: BTreeSet<&str> = targets::ALL.iter().map(|(target, _)| *target).collect();
    let mut named = 0;
    for word in &quoted {
        let exists = match *word {
            word if word.starts_with("fuzz/corpus/") => true,
            word if word.contains('/') && !word.ends_with(".v/") && !word.starts_with('.') => {
                root.join(word.split(' ').next().unwrap()).exists()
            }
            word if is_name(word) => functions.contains(word) || targets.contains(word),
            _ => true,
        };
        assert!(exists, "`{word}` is not there");
        named += usize::from(is_name(word));
    }
    assert!(named >= 60, "{named} tests are named");
    for target in targets {
        assert!(quoted.contains(target), "the page does not say what target {target} covers");
    }
}
