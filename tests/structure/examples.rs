//! Every public type has an example in its documentation

use super::{is_tests, rust_sources, without_tests};

/// Whether a type is declared in a line, and which.
fn declares(line: &str) -> Option<&str> {
    let rest =
        ["pub struct ", "pub enum ", "pub trait "].iter().find_map(|start| line.strip_prefix(start))?;
    rest.split(|end: char| !end.is_alphanumeric() && end != '_').next()
}

/// The public types of a source whose documentation has no block.
fn without_example(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut has_block = false;
    for line in without_tests(text).lines() {
        match declares(line) {
            Some(name) if !has_block => found.push(name),
            _ if line.starts_with("///") => has_block |= line.contains("```"),
            // Attributes stand between a type and its documentation.
            _ if line.starts_with("#[") || line.starts_with(' ') || line.starts_with(")]") => {}
            _ => has_block = false,
        }
    }
    found
}

#[test]
fn public_types_have_examples() {
    let mut without = Vec::new();
    for (file, text) in rust_sources(&["confext-ddi/src", "confext-core/src"]) {
        // The command has no types for others, and system calls are not for everybody.
        let internal = ["confext-core/src/cli", "confext-core/src/sys", "confext-core/src/bin"];
        if !is_tests(&file) && !internal.iter().any(|start| file.starts_with(start)) {
            without.extend(without_example(&text).into_iter().map(|name| format!("{file}: {name}")));
        }
    }
    assert!(without.is_empty(), "without an example:\n{}", without.join("\n"));
}

#[test]
fn an_example_is_seen() {
    let text = "/// One.\n///\n/// ```\n/// ```\n#[derive(Debug)]\npub struct A {\n    /// B.\n    b: u8,\n}\n\n/// Two.\npub enum B {\n";
    assert_eq!(without_example(text), ["B"]);
}
