//! The host side on the kernels of Debian 12 and 13, in a virtual machine.

use std::process::Command;

/// Boots a kernel once and runs all cases of `guest.rs` on it.
fn all_cases(series: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("script"), "ulimit -n 4096; uname -r; RUST_BACKTRACE=0 exec ./vm-guest\n")
        .expect("a script");
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vm/run.sh"))
        .args(["--kernel", series, "--program", env!("CARGO_BIN_EXE_vm-guest"), "script"])
        .current_dir(dir.path())
        .output()
        .expect("vm/run.sh starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    assert!(text.starts_with(&format!("{series}.")), "{text}");
}

#[test]
#[ignore = "needs root"]
fn linux_6_1() {
    all_cases("6.1");
}

#[test]
#[ignore = "needs root"]
fn linux_6_12() {
    all_cases("6.12");
}
