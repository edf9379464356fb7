//! The shape of the tree: what ARCHITECTURE.md and CONTRIBUTING.md promise, checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

mod examples;
mod features;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").to_path_buf()
}

/// Every tracked or to-be-tracked file below `directories`, relative to the repository.
fn files_below(directories: &[&str]) -> BTreeSet<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--"])
        .args(directories)
        .current_dir(root())
        .output()
        .expect("git lists the tree");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("file names are UTF-8");
    text.lines().filter(|file| root().join(file).is_file()).map(str::to_owned).collect()
}

fn rust_sources(directories: &[&str]) -> Vec<(String, String)> {
    let files = files_below(directories);
    let sources: Vec<_> = files
        .into_iter()
        .filter(|file| file.ends_with(".rs"))
        .map(|file| {
            let text = fs::read_to_string(root().join(&file)).expect("a tracked source file is readable");
            (file, text)
        })
        .collect();
    assert!(!sources.is_empty(), "no sources below {directories:?}");
    sources
}

/// The part of a source before its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// Whether a source is nothing but unit tests.
fn is_tests(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// Lines that hold code: no comments, no blank ones.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"))
}

#[test]
fn top_level_is_what_the_project_says() {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the tree");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let top: BTreeSet<_> = text.lines().filter_map(|file| file.split('/').next()).collect();
    let allowed = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "SECURITY.md",
        "clippy.toml",
        "rustfmt.toml",
        "confext-core",
        "confext-ddi",
        "confext-py",
        "docs",
        "examples",
        "fuzz",
        "tests",
    ];
    for entry in top {
        assert!(entry.starts_with('.') || allowed.contains(&entry), "unexpected top-level entry {entry}");
    }
}

/// Compares the part of a document between two markers with what it should be; `CONFEXT_BLESS=1` writes it instead.
fn check_generated(document: &str, marker: &str, expected: &str) {
    let path = root().join(document);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
    let (start, end) = (format!("<!-- {marker} -->\n"), format!("<!-- end of {marker} -->"));
    let (before, rest) = text.split_once(&start).unwrap_or_else(|| panic!("{document} has no {start:?}"));
    let (found, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{document} has no {end:?}"));
    if std::env::var_os("CONFEXT_BLESS").is_some() {
        fs::write(&path, format!("{before}{start}{expected}{end}{after}")).expect("the document is writable");
    } else {
        assert_eq!(
            found, expected,
            "{document} is out of date: CONFEXT_BLESS=1 cargo test -p confext-tests --test structure"
        );
    }
}

/// The first line of a file's own documentation.
fn what_it_is(file: &str) -> String {
    let text = fs::read_to_string(root().join(file)).expect("a tracked file is readable");
    let mut lines = text.lines().skip_while(|line| line.starts_with("#!"));
    let first = lines.next().unwrap_or_default();
    let what = first.trim_start_matches("//!").trim_start_matches('#').trim_start_matches("\"\"\"").trim();
    let what = what.trim_end_matches("\"\"\"").trim_end_matches('.');
    assert!(what.len() > 8 && what != first, "{file} must start by saying what it is: {first:?}");
    what.to_owned()
}

/// The file map of ARCHITECTURE.md lists every source and script with the first line of its own documentation.
#[test]
fn the_file_map_matches_the_tree() {
    let mut map = String::from("\n| file | what it is |\n|---|---|\n");
    for file in files_below(&["confext-ddi", "confext-core", "confext-py", "examples", "tests", "fuzz"]) {
        let unit_tests = file.contains("/src/") && is_tests(&file);
        if !unit_tests && [".rs", ".py", ".pyi", ".sh"].iter().any(|end| file.ends_with(end)) {
            map.push_str(&format!("| `{file}` | {} |\n", what_it_is(&file)));
        }
    }
    map.push('\n');
    check_generated("ARCHITECTURE.md", "file map", &map);
}

/// README shows code that runs: the part of each example between its two markers.
#[test]
fn the_readme_shows_the_examples() {
    for (example, language, comment) in
        [("examples/quickstart.rs", "rust", "//"), ("examples/quickstart.py", "python", "#")]
    {
        let text =
            fs::read_to_string(root().join(example)).unwrap_or_else(|error| panic!("{example}: {error}"));
        let shown = text
            .split(&format!("{comment} README starts here\n"))
            .nth(1)
            .and_then(|rest| rest.split(&format!("{comment} README ends here\n")).next())
            .unwrap_or_else(|| panic!("{example} has no two markers"));
        let lines: Vec<_> = shown.trim_matches('\n').lines().collect();
        let indent = lines
            .iter()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.len() - line.trim_start().len())
            .min()
            .unwrap_or(0);
        let code: String =
            lines.iter().map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
        check_generated("README.md", example, &format!("```{language}\n{code}```\n"));
    }
}

#[test]
fn unsafe_code_is_only_where_it_has_to_be() {
    let (mut system_calls, mut instructions) = (0, 0);
    let places = [
        "confext-ddi/sha256/src",
        "confext-ddi/src",
        "confext-core/src",
        "confext-py/src",
        "examples",
        "fuzz",
    ];
    for (file, text) in rust_sources(&places) {
        let uses = code_lines(&text)
            .filter(|line| {
                ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                    .iter()
                    .any(|word| line.contains(word))
            })
            .count();
        if file.starts_with("confext-core/src/sys/") {
            system_calls += uses;
        } else if file == "confext-ddi/sha256/src/lib.rs" {
            instructions += uses;
        } else {
            assert_eq!(uses, 0, "unsafe code in {file}");
        }
    }
    assert!(system_calls > 0, "the check no longer finds the unsafe code that is there");
    assert_eq!(instructions, 6, "three calls of kernels, registers in and out, whose processor it is");
}

#[test]
fn confext_ddi_asks_nothing_of_the_system() {
    let forbidden = [
        "std::env",
        "SystemTime::now",
        "Instant::now",
        "std::process",
        "println!",
        "eprintln!",
        "Command::new",
    ];
    for (file, text) in rust_sources(&["confext-ddi/src"]) {
        if is_tests(&file) {
            continue;
        }
        for line in code_lines(without_tests(&text)) {
            for word in forbidden {
                assert!(!line.contains(word), "{file}: {word} in {line:?}");
            }
        }
    }
}

#[test]
fn confext_ddi_has_no_system_crate_without_its_default_features() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "-p", "confext-ddi", "--no-default-features", "-e", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(tree.starts_with("confext-ddi "), "{tree}");
    for name in ["rustix", "nix", "linux-raw-sys", "openssl-sys"] {
        assert!(
            !tree.lines().any(|line| line.split(' ').next() == Some(name)),
            "{name} is in the tree:\n{tree}"
        );
    }
}

#[test]
fn dependencies_run_one_way() {
    let manifest = |name: &str| fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
    assert!(!manifest("confext-ddi").contains("confext-core"));
    assert!(!manifest("confext-core").contains("confext-py"));
    assert!(!manifest("confext-ddi/sha256").contains("confext-ddi ="));
    assert!(!manifest("fuzz").contains("confext-core"), "fuzz targets depend on confext-ddi only");
}

const FOUNDATION: [&str; 6] = ["error", "limits", "units", "id", "digest", "read"];

/// `lib.rs` lists the modules in order of use: a module uses itself and modules above it, tests excepted.
#[test]
fn modules_use_only_modules_above_them() {
    for name in ["confext-ddi", "confext-core"] {
        let lib = fs::read_to_string(root().join(name).join("src/lib.rs")).expect("lib.rs");
        let order: BTreeMap<String, usize> = lib
            .lines()
            .filter_map(|line| {
                line.trim_start_matches("pub(crate) ")
                    .trim_start_matches("pub ")
                    .strip_prefix("mod ")?
                    .strip_suffix(';')
            })
            .enumerate()
            .map(|(at, module)| (module.to_owned(), at))
            .collect();
        assert!(order.len() > 5, "{name} lists its modules in lib.rs");
        for (file, text) in rust_sources(&[&format!("{name}/src")]) {
            let inner = file.trim_start_matches(&format!("{name}/src/"));
            let module = inner.split(['/', '.']).next().expect("a first component");
            let Some(own) = order.get(module).filter(|_| !is_tests(&file)) else { continue };
            for line in code_lines(without_tests(&text)) {
                for used in line.split("crate::").skip(1) {
                    let used: String =
                        used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                    // The foundation is one layer: errors name quantities, quantities fail with errors.
                    if FOUNDATION.contains(&module) && FOUNDATION.contains(&used.as_str()) {
                        continue;
                    }
                    if let Some(at) = order.get(&used) {
                        assert!(
                            at <= own,
                            "{file} uses {used}, which stands below {module} in lib.rs: {line}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn files_stay_readable() {
    for (file, text) in
        rust_sources(&["confext-ddi/sha256/src", "confext-ddi/src", "confext-core/src", "confext-py/src"])
    {
        let lines = if is_tests(&file) { 0 } else { without_tests(&text).lines().count() };
        assert!(lines <= 700, "{file} has {lines} lines before its tests: split it");
        let stem = Path::new(&file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(!["util", "utils", "helpers", "common", "misc"].contains(&stem), "{file}: name the concept");
    }
}

#[test]
fn every_error_code_is_documented() {
    let mut table = String::from("\n| code | family | what to do |\n|---|---|---|\n");
    for (family, code, hint) in confext_ddi::error::all_codes() {
        table.push_str(&format!("| `{code}` | {family} | {hint} |\n"));
    }
    for (code, hint) in confext_core::error::all_codes() {
        table.push_str(&format!("| `{code}` | host | {hint} |\n"));
    }
    table.push('\n');
    check_generated("docs/errors.md", "codes", &table);
}

#[test]
fn every_lint_code_is_documented() {
    let mut table = String::from("\n| code | severity | what to do |\n|---|---|---|\n");
    for code in confext_ddi::lint::Code::ALL {
        let severity = format!("{:?}", code.severity()).to_lowercase();
        table.push_str(&format!("| `{code}` | {severity} | {} |\n", code.hint()));
    }
    table.push('\n');
    check_generated("docs/building.md", "lint codes", &table);
}

/// Every row says what shows it, by names of tests and fuzz targets that exist, or says that nothing does.
#[test]
fn what_covers_hostile_input_exists() {
    let text = fs::read_to_string(root().join("docs/hostile-input.md")).expect("the page");
    let (_, classes) = text.split_once("\n## Classes of faults\n").expect("the classes");
    let mut known: BTreeSet<String> = files_below(&["fuzz/fuzz_targets"])
        .iter()
        .filter_map(|file| Some(file.strip_prefix("fuzz/fuzz_targets/")?.strip_suffix(".rs")?.to_owned()))
        .collect();
    for (_, source) in rust_sources(&["confext-ddi", "confext-core", "confext-py", "tests"]) {
        let functions = source.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
        known.extend(functions.map(str::to_owned));
    }
    let rows = classes.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault |"));
    let mut count = 0;
    for row in rows {
        let (_, covered) = row[2..].split_once(" | ").unwrap_or_else(|| panic!("two columns: {row}"));
        let names = covered.split('`').skip(1).step_by(2);
        let is_name = |name: &&str| name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        let (found, missing): (Vec<_>, Vec<_>) =
            names.filter(is_name).partition(|name| known.contains(*name));
        // Other words between backticks have no underscores.
        let missing: Vec<_> = missing.into_iter().filter(|name| name.contains('_')).collect();
        assert!(missing.is_empty(), "no test or target {missing:?}: {row}");
        assert!(
            !found.is_empty() || covered.contains("Not covered: "),
            "neither shown nor said not to be: {row}"
        );
        count += 1;
    }
    assert!(count > 80, "{count} rows");
}

/// The numbers in a text that `start` comes before and `end` after, with what follows each.
fn numbers<'a>(text: &'a str, start: &str, end: &str) -> Vec<(u32, &'a str)> {
    let number = |rest: &'a str| {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        Some((rest[..digits].parse().ok()?, rest[digits..].strip_prefix(end)?))
    };
    text.split(start).skip(1).filter_map(number).collect()
}

/// Each difference on a host has a test of its number, and each such test a difference.
#[test]
fn differences_from_systemd_have_tests() {
    let text = fs::read_to_string(root().join("docs/systemd-compat.md")).expect("the page");
    let mut listed: Vec<u32> = numbers(&text, "**D", "**").into_iter().map(|(number, _)| number).collect();
    listed.sort_unstable();
    let mut shown = BTreeSet::new();
    for (_, source) in rust_sources(&["confext-ddi", "confext-core", "tests"]) {
        for (number, rest) in numbers(&source, "fn d", "_") {
            shown.insert(number);
            // One test may show two: `d25_d26_…`.
            let second = rest.strip_prefix('d').and_then(|rest| rest.split_once('_'));
            shown.extend(second.and_then(|(digits, _)| digits.parse::<u32>().ok()));
        }
    }
    assert_eq!(listed, Vec::from_iter(shown), "numbers in docs/systemd-compat.md, and of tests");
    assert!(listed.len() > 25);
}

#[test]
fn ignored_tests_only_wait_for_root() {
    for (file, text) in rust_sources(&["confext-ddi", "confext-core", "confext-py", "tests"]) {
        if file.starts_with("tests/structure") {
            continue;
        }
        for line in code_lines(&text).filter(|line| line.starts_with("#[ignore")) {
            assert_eq!(
                line, "#[ignore = \"needs root\"]",
                "{file}: run.sh only includes tests ignored for this reason"
            );
        }
    }
}

/// `docs/policy.md` lists every finding of [`confext_ddi::policy::Policy::lint`].
#[test]
fn every_lint_of_policies_is_documented() {
    let mut table =
        String::from("\n| code | level | what is the matter | the way out |\n|---|---|---|---|\n");
    for lint in confext_ddi::policy::Lint::ALL {
        let (code, level, text, hint) = (lint.code(), lint.level(), lint.text(), lint.hint());
        table.push_str(&format!("| `{code}` | {level} | {text} | {hint} |\n"));
    }
    table.push('\n');
    check_generated("docs/policy.md", "lint codes", &table);
}

/// Only the gate makes an `Admitted`, and whoever opens an image outside of `confext-ddi` has it judged.
#[test]
fn there_is_one_gate() {
    let places = |directories: &[&str], words: &[&str]| -> BTreeSet<String> {
        let of = |(file, text): &(String, String)| {
            let found =
                code_lines(without_tests(text)).any(|line| words.iter().any(|word| line.contains(word)));
            (found && !is_tests(file)).then(|| file.clone())
        };
        rust_sources(directories).iter().filter_map(of).collect()
    };
    let crates = ["confext-ddi/src", "confext-core/src", "confext-py/src"];
    // The constructor is not public; nothing else in the crate calls it, and nothing is written around it.
    let makes = places(&crates, &["Admitted::new(", "Admitted {", "-> Admitted<"]);
    let makes: BTreeSet<_> = makes.into_iter().filter(|file| file.starts_with("confext-ddi")).collect();
    assert_eq!(makes, ["confext-ddi/src/policy/judge.rs".to_owned()].into());
    let judges = places(&crates, &["judge::judge("]);
    assert_eq!(judges, ["confext-ddi/src/policy.rs".to_owned()].into());
    // Each place that opens an image judges it there, but for one: it opens it with the files beside it, for those who
    // judge it or only look at it.
    let opens = places(&["confext-core/src", "confext-py/src"], &["Image::open("]);
    let judged = places(&["confext-core/src", "confext-py/src"], &[".judge("]);
    let unjudged: Vec<_> = opens.difference(&judged).map(String::as_str).collect();
    assert_eq!(unjudged, ["confext-core/src/sidecars.rs"], "opened without a judgement");
}
