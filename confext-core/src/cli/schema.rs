//! `schema`: what the documents of `--json` are made of, as JSON Schema

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use clap::Args;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::output::{self, Output};
use crate::error::Error;

/// All of it; a definition for each verb.
const SCHEMA: &str = include_str!("schema.json");
const PREFIX: &str = "#/$defs/";

/// Prints the JSON Schema (draft 2020-12) of what verbs print with --json.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The verb, like verify or store publish; error for what each prints when it fails. Without it, all.
    verb: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let schema: Value = serde_json::from_str(SCHEMA).map_err(|error| Failure::Output(error.into()))?;
    let shown = if arguments.verb.is_empty() { schema } else { of_verb(&schema, &arguments.verb.join(" "))? };
    output.print(|out: &mut dyn Write| -> io::Result<()> { output::json(&shown, out) })
}

/// The definition of a verb with those that it refers to.
fn of_verb(schema: &Value, verb: &str) -> Result<Value, Failure> {
    let all = schema.get("$defs").and_then(Value::as_object);
    let nothing = Map::new();
    let all = all.unwrap_or(&nothing);
    if !all.contains_key(verb) {
        let known: Vec<&str> = all.keys().map(String::as_str).collect();
        let error = Error::conflict(
            "no-schema",
            "schema",
            format!("{verb:?}"),
            format!("one of {}", known.join(", ")),
        );
        return Err(Failure::Argument { name: "VERB", error });
    }
    let (mut needed, mut next) = (BTreeSet::new(), vec![verb.to_owned()]);
    while let Some(name) = next.pop() {
        if let Some(definition) = all.get(&name)
            && needed.insert(name)
        {
            references(definition, &mut next);
        }
    }
    let definitions: BTreeMap<&String, &Value> =
        all.iter().filter(|(name, _)| needed.contains(*name)).collect();
    let id = schema.get("$id").and_then(Value::as_str).unwrap_or_default();
    Ok(json!({
        "$schema": schema.get("$schema"),
        "$id": format!("{id}:{}", verb.replace(' ', "-")),
        "$ref": format!("{PREFIX}{verb}").replace(' ', "%20"),
        "$defs": definitions,
    }))
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(name) =
                object.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(PREFIX))
            {
                found.push(name.replace("%20", " "));
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
