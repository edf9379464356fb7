//! What is made from the arguments: manual pages that groff takes without a warning, and completions that shells take.

use std::process::{Command, Output};

use crate::fixture::{Scratch, confext};
use crate::schema;

/// What a program says of a file; it must say nothing.
#[track_caller]
fn says_nothing(output: &Output) {
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn every_verb_has_a_manual_page_that_groff_takes() {
    let scratch = Scratch::new();
    let directory = scratch.path("man1");
    let told = confext(["--json", "man", directory.to_str().unwrap()]).ok().json();
    let pages = told["pages"].as_array().unwrap();
    for verb in schema::verbs(&[]).iter().chain([&String::new()]) {
        let name = format!("confext {verb}").trim().replace(' ', "-");
        let page = directory.join(format!("{name}.1"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{name}: {error}"));
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "\"EXIT STATUS\""] {
            assert!(text.contains(&format!(".SH {section}\n")), "{name}: no {section}");
        }
        assert!(pages.iter().any(|page| page.as_str().unwrap().ends_with(&format!("/{name}.1"))), "{name}");
    }
    let mut groff = Command::new("groff");
    groff.args(["-man", "-Kutf8", "-Tutf8", "-rHY=0", "-ww", "-z"]);
    for page in pages {
        says_nothing(&groff.arg(page.as_str().unwrap()).output().expect("groff starts"));
    }
    // Again, over what is there.
    assert_eq!(confext(["man", directory.to_str().unwrap()]).ok().text().lines().count(), pages.len());
    let file = scratch.file("file", "");
    assert_eq!(confext(["man", file.to_str().unwrap()]).status, 3);
}

#[test]
fn shells_take_the_completions() {
    let scratch = Scratch::new();
    for (shell, check) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let script = confext(["completions", shell]).ok();
        let file = scratch.file(shell, script.text());
        says_nothing(&Command::new(check).arg("-n").arg(&file).output().expect("the shell starts"));
        for verb in ["verify", "unmerge", "doctor"] {
            assert!(script.text().contains(verb), "{shell}: {verb}");
        }
        let told = confext(["--json", "completions", shell]).ok().json();
        assert_eq!((&told["shell"], &told["script"]), (&shell.into(), &script.text().into()));
    }
    assert_eq!(confext(["completions", "csh"]).status, 2);
}

/// What a user gets who presses the key.
#[test]
fn bash_completes_verbs_flags_and_values() {
    let scratch = Scratch::new();
    let file = scratch.file("bash", confext(["completions", "bash"]).ok().text());
    let complete = |words: &[&str]| {
        let script = r#"source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _confext confext "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        let output = Command::new("bash").args(["-c", script]).arg(&file).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete(&["confext", "unm"]), "unmerge\n");
    assert_eq!(complete(&["confext", "store", "pu"]), "publish\n");
    assert_eq!(complete(&["confext", "merge", "--lock"]), "--lock-wait\n");
    assert_eq!(complete(&["confext", "merge", "--class", "s"]), "sysext\n");
    assert_eq!(complete(&["confext", "plan", "--class", "s"]), "sysext\n");
}
