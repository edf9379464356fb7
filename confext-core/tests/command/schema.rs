//! Every document that a test gets is what the schema says. The schema's words are those of JSON Schema 2020-12, as far as they
//! are used; `tests/python/test_schema.py` has another implementation judge the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::fixture::confext;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

/// Words that say something to people only.
const NOTES: [&str; 3] = ["description", "title", "$comment"];

fn resolve(reference: &str) -> &'static Value {
    let name = reference.strip_prefix("#/$defs/").expect("a reference to a definition").replace("%20", " ");
    SCHEMA["$defs"].get(&name).unwrap_or_else(|| panic!("the schema has no {name:?}"))
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("no type of JSON: {kind}"),
    }
}

/// The first thing that is not as the schema says, with its place.
fn fault(schema: &Value, value: &Value, place: &str) -> Option<String> {
    let words = schema.as_object().expect("a schema is an object");
    words.iter().find_map(|(word, wanted)| {
        let told = || Some(format!("{place}: {word} {wanted}: {value}"));
        match word.as_str() {
            "$ref" => fault(resolve(wanted.as_str().unwrap()), value, place),
            "type" => {
                let kinds = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                let fits = kinds.iter().any(|kind| is_of_type(value, kind.as_str().unwrap()));
                if fits { None } else { told() }
            }
            "enum" => {
                if wanted.as_array().unwrap().contains(value) {
                    None
                } else {
                    told()
                }
            }
            "const" => {
                if wanted == value {
                    None
                } else {
                    told()
                }
            }
            "minimum" => match value.as_i64().zip(wanted.as_i64()) {
                Some((value, least)) if value < least => told(),
                _ => None,
            },
            "anyOf" => {
                let faults: Vec<String> =
                    wanted.as_array().unwrap().iter().map_while(|one| fault(one, value, place)).collect();
                (faults.len() == wanted.as_array().unwrap().len()).then(|| faults.join("; or "))
            }
            "items" => value.as_array().and_then(|items| {
                items.iter().enumerate().find_map(|(at, item)| fault(wanted, item, &format!("{place}[{at}]")))
            }),
            "properties" => value.as_object().and_then(|object| properties(wanted, object, place)),
            "required" => value.as_object().and_then(|object| {
                let missing =
                    wanted.as_array().unwrap().iter().find(|key| !object.contains_key(key.as_str().unwrap()));
                missing.map(|key| format!("{place}: {key} is missing"))
            }),
            "additionalProperties" => {
                let known = schema["properties"].as_object();
                let unknown = value.as_object().and_then(|object| {
                    object.iter().find(|(key, _)| !known.is_some_and(|known| known.contains_key(*key)))
                });
                match (unknown, wanted) {
                    (Some((key, _)), Value::Bool(false)) => {
                        Some(format!("{place}: {key} is not in the schema"))
                    }
                    (Some((key, value)), Value::Object(_)) => fault(wanted, value, &format!("{place}.{key}")),
                    _ => None,
                }
            }
            word if NOTES.contains(&word) => None,
            word => panic!("{place}: this test does not know the word {word:?}"),
        }
    })
}

fn properties(wanted: &Value, object: &Map<String, Value>, place: &str) -> Option<String> {
    wanted.as_object().unwrap().iter().find_map(|(key, schema)| {
        object.get(key).and_then(|value| fault(schema, value, &format!("{place}.{key}")))
    })
}

/// The verb of a call: of its words the longest row that the schema has.
fn verb_of(arguments: &[String]) -> Option<String> {
    let own = arguments.iter().take_while(|argument| *argument != "--");
    let words: Vec<&str> = own.map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let known = SCHEMA["$defs"].as_object().unwrap();
    let pair = words.windows(2).map(|pair| pair.join(" ")).find(|name| known.contains_key(name));
    pair.or_else(|| words.iter().find(|word| known.contains_key(**word)).map(|word| (*word).to_owned()))
}

/// Has the document of a call be what the schema says.
#[track_caller]
pub fn check(arguments: &[String], document: &Value) {
    let name = if document.get("error").is_some() {
        "error".to_owned()
    } else {
        verb_of(arguments).unwrap_or_else(|| panic!("no verb of the schema in {arguments:?}"))
    };
    if let Some(fault) = fault(resolve(&format!("#/$defs/{name}")), document, &name) {
        panic!("the schema says otherwise: {fault}");
    }
}

/// The verbs of the help, and those below them.
pub fn verbs(of: &[String]) -> Vec<String> {
    let help = confext(of.iter().map(String::as_str).chain(["--help"])).ok();
    let Some((_, list)) = help.text().split_once("\nCommands:\n") else {
        return if of.is_empty() { Vec::new() } else { vec![of.join(" ")] };
    };
    let names =
        list.lines().take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    let names: Vec<String> = names.map(|line| line.trim().split(' ').next().unwrap().to_owned()).collect();
    names.iter().flat_map(|name| verbs(&[of, std::slice::from_ref(name)].concat())).collect()
}

/// Verbs whose documents are not of confext's making, or that print none.
const WITHOUT: [&str; 1] = ["run"];

#[test]
fn every_verb_has_a_schema() {
    let known: BTreeSet<&str> = SCHEMA["$defs"].as_object().unwrap().keys().map(String::as_str).collect();
    let verbs = verbs(&[]);
    assert!(verbs.len() > 30, "{verbs:?}");
    for verb in verbs.iter().filter(|verb| !WITHOUT.contains(&verb.as_str())) {
        assert!(known.contains(verb.as_str()), "no schema for {verb}: add it to src/cli/schema.json");
    }
    assert!(known.contains("error"));
}

#[test]
fn what_is_unknown_is_told() {
    let document = confext(["--json", "policy", "show", "signed"]).ok().json();
    let schema = resolve("#/$defs/policy show");
    assert_eq!(fault(schema, &document, "x"), None);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut document = document.clone();
        change(&mut document);
        fault(schema, &document, "x").unwrap_or_else(|| panic!("accepted: {document}"))
    };
    let added = changed(&|document| document["partitions"][0]["new"] = true.into());
    assert_eq!(added, "x.partitions[0]: new is not in the schema");
    let retyped = changed(&|document| document["policy"] = 1.into());
    assert!(retyped.starts_with("x.policy: type"), "{retyped}");
    let removed = changed(&|document| drop(document.as_object_mut().unwrap().remove("policy")));
    assert_eq!(removed, "x: \"policy\" is missing");
}
