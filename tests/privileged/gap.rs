//! A short run of `tests/bench/gap.rs`: no reader misses a file, whatever is merged

use std::process::Command;

#[test]
#[ignore = "needs root"]
fn no_file_is_missing_during_a_refresh() {
    let output = Command::new(env!("CARGO_BIN_EXE_confext-bench-gap")).arg("20").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    print!("{text}");
    assert_eq!(text.lines().count(), 6, "{text}");
    for line in text.lines() {
        assert!(line.contains(" 20 refreshes, ") && line.contains(" 0 misses, "), "{line}");
    }
}
