//! Every verb, whoever added it: what is true of all of them

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Arg, Command};

use super::{command, examples, exit};

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// All verbs and verbs of verbs, by their words.
fn verbs() -> Vec<(Vec<String>, Command)> {
    fn walk(words: &[String], command: &Command, found: &mut Vec<(Vec<String>, Command)>) {
        found.push((words.to_vec(), command.clone()));
        for verb in command.get_subcommands() {
            let words: Vec<String> = words.iter().cloned().chain([verb.get_name().to_owned()]).collect();
            walk(&words, verb, found);
        }
    }
    let mut top = command();
    top.build();
    let mut found = Vec::new();
    walk(&[], &top, &mut found);
    assert!(found.len() > 30, "the walk no longer finds what there is");
    found
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| !argument.is_global_set())
}

#[test]
fn the_parser_is_sound() {
    command().debug_assert();
}

#[test]
fn every_verb_has_examples_that_can_be_called() {
    for (words, verb) in verbs() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let examples = examples::of(&words);
        assert!(!examples.is_empty(), "no example for {words:?}: add one to cli/examples.rs");
        let help = verb.clone().render_long_help().to_string();
        for (what, line) in examples {
            assert!(help.contains(line), "{words:?}");
            let called: Vec<&str> = line.split(' ').collect();
            let begins = called[1..].starts_with(&words);
            assert!(begins && !what.is_empty(), "{line}");
            if let Err(error) = command().try_get_matches_from(called) {
                panic!("{line}: {error}");
            }
        }
    }
}

/// Who reads only the list of verbs knows what each does; who reads one knows each argument.
#[test]
fn every_verb_and_argument_says_what_it_is() {
    let says = |text: Option<String>| {
        let text = text.unwrap_or_default();
        text.len() > 4 && text.starts_with(|first: char| first.is_uppercase())
    };
    let mut silent = Vec::new();
    for (words, verb) in verbs() {
        if !says(verb.get_about().map(ToString::to_string)) {
            silent.push((words.clone(), "itself".to_owned()));
        }
        for argument in verb.get_arguments() {
            if !says(argument.get_help().map(ToString::to_string)) {
                silent.push((words.clone(), argument.get_id().to_string()));
            }
        }
    }
    assert!(silent.is_empty(), "say what they are: {silent:?}");
}

/// Names with another meaning in some verbs: how many there are, and why. Everywhere else one name is one thing.
const SEVERAL: &[(&str, usize, &str)] = &[
    ("allow", 2, "findings of an image, or objections of a plan"),
    ("check", 2, "a list that an image is compared with, or a command that says whether a unit works"),
    ("class", 3, "demanded where an image is made; both where much is looked at; else confext"),
    ("image", 2, "an item of a unit's setting, or the image that is asked about"),
    ("keep", 2, "how many stay where that is the question; where it is not, all"),
    ("name", 2, "of an extension, or of the file of a drop-in"),
    ("owner", 2, "a number for all where an image is made; whose, where its files are taken out"),
    ("reload", 2, "the manager, or not; how a unit is told"),
    ("require", 2, "an extension, or an item of doctor"),
    ("tries", 2, "a rollout counts always, a version that is published only where it is asked for"),
    ("version", 2, "of this program, or of an image"),
    ("wait", 2, "a manager answers sooner than a rollout ends"),
];

/// What a flag takes, its short form and its default are the same wherever there is one of that name.
#[test]
fn a_flag_is_the_same_in_every_verb() {
    let mut forms: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for (words, verb) in verbs() {
        for option in options(&verb) {
            let Some(long) = option.get_long() else { continue };
            let defaults = option.get_default_values();
            let names = option.get_value_names().filter(|_| option.get_action().takes_values());
            let form = format!("{names:?} {:?} {defaults:?}", option.get_short());
            forms.entry(long.to_owned()).or_default().entry(form).or_default().push(words.join(" "));
        }
    }
    forms.retain(|flag, forms| {
        let several = SEVERAL.iter().find(|(name, ..)| name == flag).map_or(1, |(_, count, _)| *count);
        forms.len() != several
    });
    assert!(forms.is_empty(), "not the same everywhere: {forms:#?}");
}

/// Each flag is in the section of its verb, or in one of the sections that are for several verbs.
#[test]
fn every_verb_and_flag_is_in_the_page() {
    let text = page("docs/command.md");
    for (words, verb) in verbs().into_iter().skip(1) {
        let name = &words[0];
        assert!(text.contains(&format!("`{name}`")), "{name} is not in the list of verbs");
        for option in options(&verb) {
            if let Some(long) = option.get_long().filter(|long| *long != "help") {
                let flag = format!("--{long}");
                let there = text.match_indices(&flag).any(|(at, _)| {
                    !text[at + flag.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '-')
                });
                assert!(there, "{words:?}: {flag} is not in docs/command.md");
            }
        }
    }
}

#[test]
fn the_exit_statuses_are_those_of_the_page() {
    let text = page("docs/command.md");
    for (status, meaning) in exit::TABLE {
        let row = format!("| {status} | {meaning} |\n");
        assert!(text.contains(&row), "not in docs/command.md: {row}");
    }
    let rows = text.split("| exit status | meaning |\n|---|---|\n").nth(1).unwrap();
    let rows = rows.lines().take_while(|line| line.starts_with('|')).count();
    assert_eq!(rows, exit::TABLE.len());
}
