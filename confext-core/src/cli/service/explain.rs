//! `service explain`: what becomes of each extension that a unit lists

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use super::super::explain::{write_fault, write_reason};
use super::super::failure::Failure;
use super::super::list::version;
use super::super::output::{Output, View};
use super::super::text::Clean;
use super::asked;
use super::plan::write_covered;
use crate::explain::Reason;
use crate::service::explain::{Explained, Explanation, explain};

/// Says of each extension that a unit lists whether it is used and where in the stack, or why not. Ends with 0 when the service
/// would have its extensions, with 1 when not.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    service: asked::Arguments,
    /// Only this extension, by its name or its path.
    #[arg(value_name = "EXTENSION")]
    extension: Option<String>,
}

/// The exit status for extensions that would not be used.
const NOT_USED: u8 = 1;

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    let asked = arguments.service.open()?;
    let explanation = explain((&asked.host, asked.root.as_ref()), &asked.extensions, &asked.options, None)?;
    let mut explanation = explanation.with_mounts(&asked.covered);
    if let Some(wanted) = &arguments.extension {
        explanation.listed.retain(|one| one.name.as_ref() == Some(wanted) || one.listed.path == *wanted);
    }
    let used = |one: &Explained| matches!(one.entry.reason, Reason::Used(_));
    let asked_for = match &arguments.extension {
        Some(_) => explanation.listed.iter().any(used),
        None => true,
    };
    let would_have = asked_for && explanation.refusal.is_none();
    output.answer(&Answer { unit: arguments.service.unit.clone(), explanation })?;
    Ok(if would_have { 0 } else { NOT_USED })
}

#[derive(Serialize)]
struct Answer {
    unit: String,
    #[serde(flatten)]
    explanation: Explanation,
}

impl View for Answer {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let unit = Clean(&self.unit);
        if let Some(refusal) = &self.explanation.refusal {
            writeln!(out, "{unit} would not have these extensions")?;
            writeln!(out, "  reason   [{}] {}", refusal.code, Clean(&refusal.message))?;
            writeln!(out, "  hint     {}", refusal.hint)?;
        }
        if self.explanation.listed.is_empty() {
            writeln!(out, "{unit} lists no such extension")?;
        }
        for one in &self.explanation.listed {
            writeln!(out, "{}{}", Clean(&one.listed.path), version(one.entry.version.as_deref()))?;
            if let Some(path) = one.entry.path.as_ref().filter(|path| **path != *one.listed.path) {
                writeln!(out, "  leads to {}", Clean(&path.to_string_lossy()))?;
            }
            write_reason(&one.entry.reason, out)?;
            for fault in &one.entry.passed_over {
                writeln!(out, "  passed over {}", Clean(&fault.path.to_string_lossy()))?;
                write_fault(fault, out)?;
            }
        }
        write_covered(&self.explanation.covered, out)
    }
}
