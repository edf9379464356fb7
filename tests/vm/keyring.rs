//! The keyring of dm-verity (Linux 7.0), which only a kernel that booted for it lets anybody fill, in a virtual machine

use confext_tests::machine;

#[test]
#[ignore = "needs root"]
fn the_kernels_own_keyring() {
    let script = "RUST_BACKTRACE=0 exec ./vm-guest keyring\n";
    let text = machine::run(script, &["--program", env!("CARGO_BIN_EXE_vm-guest")]);
    assert!(text.ends_with("the keyring of dm-verity: ok\nvm-guest: 1 of 1 cases right\n"), "{text}");
}
