//! What the wheel of the tests is made of: what the other tests have built already.

use std::collections::BTreeSet;
use std::process::Command;

/// Each package of a build with its features, as cargo chooses them for what is built together.
fn packages(selection: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--no-dedupe", "--prefix", "none", "--format", "{p} [{f}]"])
        .args(selection)
        .current_dir(super::root())
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// One feature that is another makes all that depends on the package anew: minutes, each time the tests run.
#[test]
fn the_wheel_of_the_tests_is_made_of_what_is_built() {
    let tests = packages(&[
        "--workspace",
        "--exclude=confext-py",
        "--features=confext-core/cli",
        "--edges=normal,build,dev",
    ]);
    let wheel =
        packages(&["--package=confext-py", "--features=confext-py/as-tested", "--edges=normal,build"]);
    let own = ["confext-py ", "pyo3", "target-lexicon "];
    let anew: Vec<_> =
        wheel.difference(&tests).filter(|package| !own.iter().any(|own| package.starts_with(own))).collect();
    assert!(anew.is_empty(), "with the features of the wheel: {anew:#?}");
    assert!(wheel.len() > 100, "{wheel:?}");
}
