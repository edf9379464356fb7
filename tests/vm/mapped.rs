//! dm-verity as it is activated here, on Debian's kernels in a virtual machine.

use std::fs;
use std::path::Path;
use std::process::Output;

use confext_ddi::release::Class;
use confext_tests::machine;
use confext_tests::peer::{Place, Protect};

/// Runs `vm-mapper` with these arguments in a machine.
fn machine(dir: &Path, options: &[&str], arguments: &[&str]) -> Output {
    let script = "RUST_BACKTRACE=0 exec ./vm-mapper \"$@\"\n";
    fs::write(dir.join("script"), script).expect("a script");
    let program = ["--program", env!("CARGO_BIN_EXE_vm-mapper")];
    machine::boot(dir, &[&program, options].concat(), &[&["script"], arguments].concat())
}

/// All `count` cases were run, and each was right.
fn all_right(output: &Output, count: usize) {
    let text = machine::succeeded(output);
    assert!(text.ends_with(&format!("\nvm-mapper: {count} of {count} cases right\n")), "{text}");
}

#[test]
#[ignore = "needs root"]
fn linux_7_checks_signatures_of_ours_and_of_systemd_repart() {
    let place = Place::create();
    place.populate(Class::Confext, "tree");
    place.repart(Class::Confext, Protect::Signed, ("tree", "repart.raw"), &[]);
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let rest = ["-subj", "/CN=ec", "-keyout", "ec.key", "-out", "ec.pem"];
    place.peer(&[&["openssl", "req", "-x509"], &curve[..], &rest[..]].concat());
    let files = ["repart.raw", "signer.pem", "ec.key", "ec.pem"].map(|name| ["--file", name]);
    let arguments = ["keyring", "repart.raw", "signer.pem", "ec.pem"];
    let output = machine(place.dir(), files.as_flattened(), &arguments);
    all_right(&output, 25);
}

#[test]
#[ignore = "needs root"]
fn restart_on_corruption_restarts_the_machine() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = machine(dir.path(), &["--kernel", "6.12"], &["restart"]);
    let text = String::from_utf8_lossy(&output.stdout);
    // The machine stopped before the script did.
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert_eq!(text, "vm-mapper: reading a changed block\n");
}
