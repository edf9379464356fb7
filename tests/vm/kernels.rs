//! The host side on the kernels of Debian 12 and 13, in a virtual machine.

use std::process::Command;

/// Boots a kernel once and runs all cases of `guest.rs` on it, and those of `mapper` that need no keyring.
fn all_cases(series: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    // Then without dm-verity, and without any of the device mapper.
    let script = "ulimit -n 4096; export RUST_BACKTRACE=0; uname -r; ./vm-mapper || exit; ./vm-guest || exit; \
                  rmmod dm-verity; ./vm-guest without-dm-verity || exit; \
                  rmmod dm-bufio dm-mod; exec ./vm-guest without-dm-verity\n";
    std::fs::write(dir.path().join("script"), script).expect("a script");
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vm/run.sh"))
        .args(["--kernel", series, "--program", env!("CARGO_BIN_EXE_vm-guest")])
        .args(["--program", env!("CARGO_BIN_EXE_vm-mapper"), "script"])
        .current_dir(dir.path())
        .output()
        .expect("vm/run.sh starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    assert!(text.starts_with(&format!("{series}.")), "{text}");
    assert!(text.contains("\nvm-mapper: 9 of 9 cases right\n"), "{text}");
    for missing in
        ["the device mapper's verity target is not available", "the device mapper is not available"]
    {
        assert!(text.contains(&format!("dm-verity: {missing}")), "{text}");
    }
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
