//! `policy`: what an image policy says, what its author may not have meant, and what two of them have in common.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use confext_ddi::dps::Designator;
use confext_ddi::fstype::FsType;
use confext_ddi::policy::{Attribute, Finding, Level, Policy, Rule, Use};
use serde::Serialize;

use super::failure::Failure;
use super::output::{Output, View};
use super::style::{DOUBT, END, NAME};
use super::table::{Cell, Column, Paper, Table};
use super::text::Clean;

/// Shows, checks and combines image policies. No image is looked at.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows what a policy says of each partition, and its shortest form.
    Show {
        /// The policy: signed, verity, unprotected, a preset of systemd like @sysext, or an image policy.
        policy: String,
    },
    /// Says what the author of a policy may not have meant; the exit status is 1 if there is a warning.
    Lint {
        /// The policy: signed, verity, unprotected, a preset of systemd like @sysext, or an image policy.
        policy: String,
    },
    /// Combines policies into the one that admits what all of them admit.
    Intersect {
        /// Two or more policies, each as for show.
        #[arg(required = true, num_args = 2..)]
        policies: Vec<String>,
    },
    /// Combines policies into the strictest one that admits what any of them admits.
    Union {
        /// Two or more policies, each as for show.
        #[arg(required = true, num_args = 2..)]
        policies: Vec<String>,
    },
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    match &arguments.action {
        Action::Show { policy } => {
            output.answer(&Shown::new(&parse(policy)?))?;
        }
        Action::Lint { policy } => {
            let report = Report::new(&parse(policy)?);
            let warned = report.findings.iter().any(|finding| finding.level == Level::Warning);
            output.answer(&report)?;
            return Ok(u8::from(warned));
        }
        Action::Intersect { policies } => {
            let policies = policies.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
            let combined =
                policies.iter().skip(1).try_fold(first(&policies), |all, next| all.intersect(next))?;
            output.answer(&Combined::new(&policies, &combined))?;
        }
        Action::Union { policies } => {
            let policies = policies.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
            let combined = policies.iter().skip(1).fold(first(&policies), |all, next| all.union(next));
            output.answer(&Combined::new(&policies, &combined))?;
        }
    }
    Ok(0)
}

/// There are two or more.
fn first(policies: &[Policy]) -> Policy {
    policies.first().cloned().unwrap_or_default()
}

/// A policy by name or in systemd's notation.
pub(super) fn parse(text: &str) -> Result<Policy, Failure> {
    Policy::named(text)
        .map_or_else(|| Policy::parse(text), Ok)
        .map_err(|error| Failure::Argument { name: "policy", error: error.into() })
}

#[derive(Serialize)]
struct Shown {
    policy: Policy,
    shortest: Policy,
    partitions: Vec<Partition>,
    default: Described,
}

#[derive(Serialize)]
struct Partition {
    designator: Designator,
    /// Nothing satisfies it, when there is none.
    rule: Option<Described>,
}

#[derive(Serialize)]
struct Described {
    text: Rule,
    uses: Vec<Use>,
    read_only: Attribute,
    growfs: Attribute,
    file_systems: Option<Vec<FsType>>,
}

impl From<Rule> for Described {
    fn from(rule: Rule) -> Self {
        Self {
            text: rule,
            uses: rule.uses().collect(),
            read_only: rule.asks_read_only(),
            growfs: rule.asks_growfs(),
            file_systems: rule.file_systems(),
        }
    }
}

impl Shown {
    fn new(policy: &Policy) -> Self {
        let partition =
            |designator| Partition { designator, rule: policy.rule(designator).map(Described::from) };
        Self {
            policy: policy.clone(),
            shortest: policy.simplify(),
            partitions: Policy::DESIGNATORS.into_iter().map(partition).collect(),
            default: policy.default_rule().into(),
        }
    }
}

const COLUMNS: [Column; 2] = [Column::new("PARTITION").piped(16, " "), Column::new("RULE").wrap()];

impl View for Shown {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write(Paper::Pipe, out)
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        self.write(Paper::Screen { columns }, out)
    }
}

impl Shown {
    fn write(&self, paper: Paper, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "policy           {}", self.policy)?;
        writeln!(out, "shortest form    {}", self.shortest)?;
        let mut table = Table::new(paper, COLUMNS);
        for Partition { designator, rule } in &self.partitions {
            let rule = match rule {
                Some(rule) => Cell::new(rule.text),
                None => "nothing satisfies its rule".into(),
            };
            table.row([designator.as_str().into(), rule], out)?;
        }
        table.row(["default".into(), Cell::new(self.default.text)], out)?;
        table.end(out)
    }
}

#[derive(Serialize)]
struct Report {
    policy: Policy,
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    code: &'static str,
    level: Level,
    designator: Option<Designator>,
    found: String,
    message: &'static str,
    hint: &'static str,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        let lint = finding.lint;
        Self {
            code: lint.code(),
            level: lint.level(),
            designator: finding.designator,
            found: finding.found,
            message: lint.text(),
            hint: lint.hint(),
        }
    }
}

impl Report {
    fn new(policy: &Policy) -> Self {
        let findings = policy.lint().into_iter().map(Found::from).collect();
        Self { policy: policy.clone(), findings }
    }
}

impl View for Report {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for Found { code, level, found, message, hint, .. } in &self.findings {
            let colour = if *level == Level::Warning { DOUBT } else { NAME };
            writeln!(out, "{colour}{level}[{code}]{END}: {}: {message}", Clean(found))?;
            writeln!(out, "  hint: {hint}")?;
        }
        if self.findings.is_empty() {
            writeln!(out, "nothing found in {}", self.policy)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Combined {
    policies: Vec<Policy>,
    policy: Policy,
}

impl Combined {
    fn new(policies: &[Policy], combined: &Policy) -> Self {
        Self { policies: policies.to_vec(), policy: combined.clone() }
    }
}

impl View for Combined {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.policy)
    }
}
