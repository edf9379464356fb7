//! A virtual machine that runs one script, by `tests/vm/run.sh`

use std::path::Path;
use std::process::{Command, Output};

/// Boots, with these options of `run.sh` before the script, a file of this name in `dir`, and its arguments behind it.
///
/// # Panics
///
/// When `run.sh` cannot be started.
#[must_use]
pub fn boot(dir: &Path, options: &[&str], script: &[&str]) -> Output {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vm/run.sh"))
        .args(options)
        .args(script)
        .current_dir(dir)
        .output()
        .expect("vm/run.sh starts")
}

/// Boots with this text as the script, which has to end with 0, and returns what it printed.
///
/// # Panics
///
/// When the script, or the machine, fails: with all that was printed.
#[must_use]
pub fn run(script: &str, options: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("script"), script).expect("a script");
    succeeded(&boot(dir.path(), options, &["script"]))
}

/// What a script printed that has to have ended with 0.
///
/// # Panics
///
/// As [`run`].
#[must_use]
pub fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    text
}
