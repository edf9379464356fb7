//! Extensions under dm-verity, where systemd 262 is process 1: attached, refreshed, refused, and handed from one program to
//! the other.

use std::process::Command;

#[test]
#[ignore = "needs root"]
fn the_kernel_checks_what_is_merged() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = "cat /proc/1/comm; RUST_BACKTRACE=0 exec ./vm-guest dm-verity\n";
    std::fs::write(dir.path().join("script"), script).expect("a script");
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vm/run.sh"))
        .args(["--manager", "--program", env!("CARGO_BIN_EXE_vm-guest"), "script"])
        .current_dir(dir.path())
        .output()
        .expect("vm/run.sh starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    assert!(text.starts_with("systemd\n"), "{text}");
}
