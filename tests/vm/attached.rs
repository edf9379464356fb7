//! Extensions under dm-verity, where systemd 262 is process 1: attached, refreshed, refused, and handed from one program to
//! the other.

use confext_tests::machine;

#[test]
#[ignore = "needs root"]
fn the_kernel_checks_what_is_merged() {
    let script = "cat /proc/1/comm; RUST_BACKTRACE=0 exec ./vm-guest dm-verity\n";
    let text = machine::run(script, &["--manager", "--program", env!("CARGO_BIN_EXE_vm-guest")]);
    assert!(text.starts_with("systemd\n"), "{text}");
    assert!(text.ends_with("\nvm-guest: 9 of 9 cases right\n"), "{text}");
}
