//! Programs of this machine that tests ask.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// A program, found also where Debian keeps system tools, with the messages and times that tests expect.
pub fn tool(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C").env_remove("SOURCE_DATE_EPOCH");
    command
}

/// Runs a program, which has to be there: an oracle that is not asked proves nothing.
pub fn output(program: &str, arguments: &[impl AsRef<OsStr>], dir: &Path) -> Output {
    let output = tool(program).args(arguments).current_dir(dir).output();
    output.unwrap_or_else(|error| panic!("{program} cannot be run ({error}): run tests/setup.sh tools"))
}

/// Runs a program that must succeed, and returns what it printed.
pub fn run(program: &str, arguments: &[impl AsRef<OsStr>], dir: &Path) -> String {
    let output = output(program, arguments, dir);
    let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
