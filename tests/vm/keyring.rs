//! The keyring of dm-verity (Linux 7.0), which only a kernel that booted for it lets anybody fill, in a virtual machine

use std::process::Command;

#[test]
#[ignore = "needs root"]
fn the_kernels_own_keyring() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("script"), "RUST_BACKTRACE=0 exec ./vm-guest keyring\n")
        .expect("a script");
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vm/run.sh"))
        .args(["--program", env!("CARGO_BIN_EXE_vm-guest"), "script"])
        .current_dir(dir.path())
        .output()
        .expect("vm/run.sh starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    assert!(text.contains("the keyring of dm-verity"), "{text}");
}
