//! What people see.

use std::io::Read as _;
use std::process::Stdio;

use crate::fixture::{Scratch, command, confext};

#[test]
fn help_names_every_verb_and_status() {
    let help = confext(["--help"]).ok();
    let verbs = [
        "build",
        "inspect",
        "verify",
        "ls",
        "cat",
        "fec",
        "repair",
        "list",
        "plan",
        "policy",
        "merge",
        "refresh",
        "unmerge",
        "status",
        "store",
        "rollout",
        "trace",
        "run",
        "service",
        "generator",
    ];
    for word in verbs.into_iter().chain(["Exit status:", "--json"]) {
        assert!(help.text().contains(word), "{word}:\n{}", help.text());
    }
    assert_eq!(confext(["--version"]).ok().text(), format!("confext {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(confext::<&str>([]).status, 2);
}

#[test]
fn a_terminal_is_safe_from_names_in_an_image() {
    let scratch = Scratch::new();
    scratch.file("tree-1/etc/app/\x1b[31mred", "");
    let image = scratch.signed("a.raw");
    let [flag, certificate] = scratch.vendor.trust();
    let list = confext(["ls", "-l", flag, certificate, image.to_str().unwrap(), "etc/app"]).ok();
    assert!(list.text().contains("\\u{1b}[31mred\n") && list.text().contains("b\\xffn\n"), "{}", list.text());
    assert!(list.text().contains("link -> /etc/app/app.conf\n"));
}

#[test]
fn quiet_calls_print_no_summary() {
    let scratch = Scratch::new();
    let (tree, image) = (scratch.tree(1), scratch.path("a.raw"));
    let fixed =
        ["build", "--class", "confext", "--name", "app", "--release", "ID=_any", "--unsigned", "--source"];
    let paths = [tree.to_str().unwrap(), "--output", image.to_str().unwrap()];
    let loud = confext(fixed.iter().chain(&paths)).ok();
    assert!(loud.text().contains("root hash"), "{}", loud.text());
    let again = confext(fixed.iter().chain(&paths));
    assert_eq!(again.status, 1);
    assert!(again.stderr.contains("[output-exists]") && again.stderr.contains("a.raw"), "{}", again.stderr);
    let quiet = confext(["--quiet"].iter().chain(&fixed).chain(&paths).chain(&["--replace"])).ok();
    assert_eq!((quiet.text(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn who_closes_the_pipe_hears_no_complaint() {
    let scratch = Scratch::new();
    scratch.file("tree-1/etc/app/large", vec![b'x'; 4 << 20]);
    let image = scratch.signed("a.raw");
    let [flag, certificate] = scratch.vendor.trust();
    let mut child = command()
        .args(["cat", flag, certificate, image.to_str().unwrap(), "etc/app/large"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stderr, b"");
    assert_eq!(first, *b"x");
}
