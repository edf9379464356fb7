//! Errors on their way out: as text on standard error or as JSON on standard output, and the exit status.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::{self, Write};

use clap::error::ErrorKind;
use confext_ddi::verity::{Fault, Report};
use serde::Serialize;

use super::exit::{HOST, IMAGE, USAGE};
use super::output::{self, Output};
use super::style::{BAD, END};
use super::text::{Clean, Count};
use crate::error::Error;

/// Why a call ends without its result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The library says no.
    Library(Error),
    /// Blocks of an image are changed.
    Damaged {
        /// All of them.
        report: Box<Report>,
        /// The first.
        error: Error,
    },
    /// An argument's value is at fault.
    Argument {
        /// Its name, like `--policy`.
        name: &'static str,
        /// What is wrong with it.
        error: Error,
    },
    /// The result could not be printed.
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<confext_ddi::Error> for Failure {
    fn from(error: confext_ddi::Error) -> Self {
        Self::Library(error.into())
    }
}

#[derive(Serialize)]
struct Document {
    error: Body,
}

/// The fields of an error in JSON, all of them always there but the last.
#[derive(Serialize)]
struct Body {
    code: &'static str,
    family: &'static str,
    message: String,
    image: Option<String>,
    path: Option<String>,
    offset: Option<u64>,
    hint: String,
    causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<Box<Report>>,
}

impl Failure {
    /// Prints the failure where this call wants it and returns the exit status.
    pub(super) fn report(&self, output: &Output) -> u8 {
        // Who closed the pipe wants to hear no more.
        if !matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            print(self.body(), output.is_json());
        }
        self.status()
    }

    fn status(&self) -> u8 {
        match self {
            Self::Library(error) | Self::Damaged { error, .. } => status_of(error),
            Self::Argument { .. } => USAGE,
            Self::Output(_) => HOST,
        }
    }

    fn body(&self) -> Body {
        match self {
            Self::Library(error) => body_of(error),
            Self::Damaged { report, error } => Body { damage: Some(report.clone()), ..body_of(error) },
            Self::Argument { name, error } => {
                let body = body_of(error);
                Body { message: format!("{name}: {}", body.message), ..body }
            }
            Self::Output(error) => body_of(&Error::os("write to", "standard output", io_copy(error))),
        }
    }
}

/// The fault of the image, where it is one.
fn image_fault(error: &Error) -> Option<&confext_ddi::Error> {
    match error {
        Error::Image { source, .. } | Error::Ddi(source) => Some(source),
        _ => None,
    }
}

fn status_of(error: &Error) -> u8 {
    match image_fault(error).map(confext_ddi::Error::family) {
        None | Some("io") => HOST,
        Some(_) => IMAGE,
    }
}

fn body_of(error: &Error) -> Body {
    let fault = image_fault(error);
    let image = match error {
        Error::Image { image, .. } => Some(image.clone()),
        _ => None,
    };
    let mut causes = Vec::new();
    let mut cause = match fault {
        Some(fault) => fault.source(),
        None => error.source(),
    };
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    Body {
        code: error.code(),
        family: fault.map_or("host", confext_ddi::Error::family),
        message: fault.map_or_else(|| error.to_string(), |fault| fault.fault().to_string()),
        image,
        path: fault.map(confext_ddi::Error::path).filter(|path| !path.is_empty()),
        offset: fault.and_then(confext_ddi::Error::offset),
        hint: error.hint().to_owned(),
        causes,
        damage: None,
    }
}

/// The same failure again: errors of the standard library cannot be cloned.
fn io_copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Reports what the argument parser says; asking for help is no failure.
pub(super) fn syntax(error: &clap::Error, arguments: &[OsString]) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return if error.print().is_ok() { 0 } else { HOST };
    }
    let own = arguments.iter().take_while(|argument| *argument != "--");
    if !own.into_iter().any(|argument| argument == "--json") {
        // A failure to print has nowhere to be reported to.
        let _ = error.print();
        return USAGE;
    }
    let text = error.render().to_string();
    let (message, usage) = text.trim().split_once("\n\n").unwrap_or((text.trim(), ""));
    let body = Body {
        code: "usage",
        family: "usage",
        message: message.trim_start_matches("error: ").to_owned(),
        image: None,
        path: None,
        offset: None,
        hint: usage.lines().next().unwrap_or("see confext --help").trim().to_owned(),
        causes: Vec::new(),
        damage: None,
    };
    print(body, true);
    USAGE
}

/// A failure to print has nowhere to be reported to.
fn print(body: Body, json: bool) {
    let _ = if json {
        output::json(&Document { error: body }, &mut io::stdout().lock())
    } else {
        text(&body, &mut anstream::stderr().lock())
    };
}

fn text(body: &Body, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{BAD}error[{}]{END}: {}", body.code, Clean(&body.message))?;
    let place = [body.image.as_deref(), body.path.as_deref()];
    let place: Vec<&str> = place.into_iter().flatten().collect();
    let offset = body.offset.map(|offset| format!("byte {offset}"));
    let place: Vec<String> =
        [(!place.is_empty()).then(|| place.join(": ")), offset].into_iter().flatten().collect();
    if !place.is_empty() {
        writeln!(out, "  at: {}", Clean(&place.join(", ")))?;
    }
    for cause in &body.causes {
        writeln!(out, "  cause: {}", Clean(cause))?;
    }
    if let Some(report) = &body.damage {
        damage(report, out)?;
    }
    writeln!(out, "  hint: {}", Clean(&body.hint))
}

/// All changed blocks, by their places in the image.
fn damage(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let data = Count(report.changed_data_blocks, "data block");
    let hash = Count(report.changed_hash_blocks, "hash block");
    let unchecked = Count(report.unchecked_blocks, "block");
    writeln!(out, "  changed: {data}, {hash}; {unchecked} below could not be checked")?;
    for range in &report.ranges {
        let fault = match range.fault {
            Fault::Changed => "changed",
            Fault::Unchecked => "unchecked",
        };
        let what =
            range.level.map_or_else(|| "data".to_owned(), |level| format!("level {level} of the tree"));
        let (start, end, count, first) =
            (range.range.start(), range.range.end(), Count(range.blocks, "block"), range.first_block);
        writeln!(out, "    bytes {start} to {end}: {fault}, {what}, {count} from block {first}")?;
    }
    if report.omitted > 0 {
        writeln!(out, "    and {} more ranges", report.omitted)?;
    }
    Ok(())
}
