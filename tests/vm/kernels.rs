//! The host side on the kernels of Debian 12 and 13, in a virtual machine.

use confext_tests::machine;

/// Boots a kernel once and runs all cases of `guest.rs` on it, and those of `mapper` that need no keyring.
fn all_cases(series: &str) {
    // Then without dm-verity, and without any of the device mapper.
    let script = "ulimit -n 4096; export RUST_BACKTRACE=0; uname -r; ./vm-mapper || exit; ./vm-guest || exit; \
                  rmmod dm-verity; ./vm-guest without-dm-verity || exit; \
                  rmmod dm-bufio dm-mod; exec ./vm-guest without-dm-verity\n";
    let [guest, mapper] = [env!("CARGO_BIN_EXE_vm-guest"), env!("CARGO_BIN_EXE_vm-mapper")];
    let text = machine::run(script, &["--kernel", series, "--program", guest, "--program", mapper]);
    assert!(text.starts_with(&format!("{series}.")), "{text}");
    assert!(text.contains("\nvm-mapper: 9 of 9 cases right\n"), "{text}");
    assert!(text.contains("\nvm-guest: 8 of 8 cases right\n"), "{text}");
    assert_eq!(text.matches("\nvm-guest: 1 of 1 cases right\n").count(), 2, "{text}");
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
