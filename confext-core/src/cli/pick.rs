//! `pick`: the path that a path into a `.v/` directory stands for.

use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use clap::Args;
use confext_ddi::dps::Architecture;
use confext_ddi::vpick::{Accept, EntryKind, Tries};
use serde::Serialize;

use super::failure::Failure;
use super::output::{Output, View};
use super::table::{Cell, Column, Paper, Table};
use super::text;
use crate::pick::{self, Picked, Request};

/// Picks the best version out of `.v` directories: of `DIR/NAME.v` or `DIR.v/NAME___SUFFIX`. Other paths stay.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The paths.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What names end in, for a path that ends in `.v`.
    #[arg(long, value_name = "SUFFIX", default_value = "")]
    suffix: std::ffi::OsString,
    /// Which kinds of entry: `any`, `raw` (regular files and block devices) or `directory`.
    #[arg(long, value_name = "TYPE", default_value = "any", value_parser = accept)]
    accept: Accept,
    /// Only this version.
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// Only this architecture, like `arm64`, instead of those this machine runs.
    #[arg(long, value_name = "ARCHITECTURE", value_parser = architecture)]
    architecture: Option<Architecture>,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let request = Request {
        suffix: arguments.suffix.clone().into_vec(),
        accept: arguments.accept,
        version: arguments.version.clone(),
        architecture: arguments.architecture,
    };
    let picked = arguments.paths.iter().map(|path| pick::pick(path, &request));
    let picked = picked.map(|picked| picked.map(Row::from)).collect::<Result<_, _>>()?;
    output.answer(&Answer { picked })
}

fn accept(text: &str) -> Result<Accept, String> {
    match text {
        "any" => Ok(Accept::Any),
        "raw" => Ok(Accept::Raw),
        "directory" => Ok(Accept::Directory),
        _ => Err("expected any, raw or directory".to_owned()),
    }
}

fn architecture(text: &str) -> Result<Architecture, String> {
    let known = Architecture::ALL.into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| "expected an architecture like x86-64 or arm64".to_owned())
}

#[derive(Serialize)]
struct Answer {
    picked: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    path: String,
    #[serde(skip)]
    bytes: Vec<u8>,
    kind: EntryKind,
    version: Option<String>,
    architecture: Option<&'static str>,
    tries: Option<Tries>,
}

impl From<Picked> for Row {
    fn from(picked: Picked) -> Self {
        Self {
            path: picked.path.display().to_string(),
            bytes: picked.path.as_os_str().as_bytes().to_vec(),
            kind: picked.kind,
            version: picked.version,
            architecture: picked.architecture.map(Architecture::as_str),
            tries: picked.tries,
        }
    }
}

impl View for Answer {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.picked.iter().try_for_each(|row| writeln!(out, "{}", text::Path(&row.bytes)))
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        let columns_of = [
            Column::new("PATH").wrap(),
            Column::new("TYPE"),
            Column::new("VERSION").wrap(),
            Column::new("FOR"),
            Column::new("LEFT").right(),
            Column::new("MADE").right(),
        ];
        let mut table = Table::new(Paper::Screen { columns }, columns_of);
        for Row { bytes, kind, version, architecture, tries, .. } in &self.picked {
            let cells = [
                Cell::new(text::Path(bytes)),
                kind.as_str().into(),
                Cell::new(text::Clean(version.as_deref().unwrap_or_default())),
                architecture.unwrap_or_default().into(),
                tries.map(|tries| tries.left.to_string()).unwrap_or_default().into(),
                tries.map(|tries| tries.done.to_string()).unwrap_or_default().into(),
            ];
            table.row(cells, out)?;
        }
        table.end(out)
    }
}
