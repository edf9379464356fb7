//! `trace --all`: every path, written while the tree is walked; each extension once, at the front.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use confext_ddi::fs::FileType;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::output::{Output, paper};
use super::super::progress::Progress;
use super::super::style::{BAD, DOUBT, GOOD};
use super::super::table::{Cell, Column, Paper, Table};
use super::super::text::{Clean, Path};
use crate::error::Error;
use crate::host::Host;
use crate::state::Checked;
use crate::trace::{Answer, Filter, Origin, Shadow, Source, Traced, Tracer, Tree};

pub(super) fn run(host: &Host, tracer: &Tracer<'_>, filter: &Filter, output: &Output) -> Result<(), Failure> {
    let stacks = tracer.stacks();
    let sources = || stacks.iter().flat_map(|stack| &stack.layers);
    if matches!(filter, Filter::Image(_) | Filter::Signer(_))
        && !sources().any(|source| filter.wants_source(source))
    {
        return Err(nobody(filter, &stacks).into());
    }
    let mut walk = Report { counts: BTreeMap::new(), failed: None };
    let root = host.path().display().to_string();
    let progress = Progress::while_printing("tracing", output);
    let mut wanted = Wanted { tree: tracer.tree(), filter, progress };
    if output.is_json() {
        let head = Head { root: &root, view: tracer.view(), stacks: &stacks };
        output.print(|out| walk.json(&head, &mut wanted, out))?;
    } else {
        output.tell(|out| walk.text(&mut wanted, paper(), out))?;
    }
    walk.failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The paths that are wanted, one after the other, and on the way how far it is.
struct Wanted<'a> {
    tree: Tree<'a>,
    filter: &'a Filter,
    progress: Progress,
}

impl Wanted<'_> {
    /// The next one. What was written before is where it belongs when something is shown.
    fn next(&mut self, out: &mut dyn Write) -> io::Result<Option<Result<Origin, Error>>> {
        while let Some(origin) = self.tree.next() {
            let at = self.tree.progress();
            let is_wanted = origin.as_ref().map_or(true, |origin| self.filter.wants(origin));
            if is_wanted && self.progress.shares_its_terminal() {
                self.progress.hide();
            } else if self.progress.is_news(at.done, at.total) {
                out.flush()?;
                self.progress.show(at.done, at.total);
            }
            if is_wanted {
                return Ok(Some(origin));
            }
        }
        self.progress.clear();
        Ok(None)
    }
}

/// A name with a typo is not an image without files.
fn nobody(filter: &Filter, stacks: &[Traced]) -> Error {
    let sources = stacks.iter().flat_map(|stack| &stack.layers);
    let (target, mut known): (_, Vec<&str>) = match filter {
        Filter::Image(name) => (name, sources.map(|source| source.layer.as_str()).collect()),
        Filter::Signer(name) => (name, sources.filter_map(|source| signer(source)).collect()),
        _ => return Error::conflict("nothing-traced", "the stack", "nothing", "an extension"),
    };
    known.sort_unstable();
    known.dedup();
    let found = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::conflict("nothing-traced", target, found, "one that is part of a stack")
}

fn signer(source: &Source) -> Option<&str> {
    match &source.checked {
        Checked::Signed { by, .. } => Some(&by.subject),
        Checked::None | Checked::Verity { .. } => None,
    }
}

/// What comes before the paths.
#[derive(Serialize)]
struct Head<'a> {
    root: &'a str,
    view: crate::trace::View,
    stacks: &'a [Traced],
}

/// A path; extensions are named, their evidence is in the head.
#[derive(Serialize)]
struct Line<'a> {
    path: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    file_type: Option<FileType>,
    answer: &'static str,
    hierarchy: Option<&'static str>,
    layers: Vec<&'a str>,
    shadows: Vec<Shadowed<'a>>,
}

#[derive(Serialize)]
struct Shadowed<'a> {
    by: &'static str,
    layer: Option<&'a str>,
}

struct Report {
    counts: BTreeMap<&'static str, u64>,
    /// The first path that could not be looked up.
    failed: Option<Error>,
}

impl Report {
    fn json(&mut self, head: &Head<'_>, origins: &mut Wanted<'_>, out: &mut dyn Write) -> io::Result<()> {
        // The document is written while the tree is walked: the head without its closing brace, then the paths.
        let text = serde_json::to_string_pretty(head)?;
        let text = text.strip_suffix("\n}").unwrap_or(&text);
        write!(out, "{text},\n  \"paths\": [")?;
        let mut separator = "\n    ";
        while let Some(origin) = origins.next(out)? {
            let Some(origin) = self.take(origin) else { continue };
            out.write_all(separator.as_bytes())?;
            serde_json::to_writer(&mut *out, &line(&origin))?;
            separator = ",\n    ";
        }
        let counts = serde_json::to_string(&self.counts)?;
        writeln!(out, "\n  ],\n  \"complete\": {},\n  \"counts\": {counts}\n}}", self.failed.is_none())
    }

    fn text(&mut self, origins: &mut Wanted<'_>, paper: Paper, out: &mut dyn Write) -> io::Result<()> {
        // The last one has what is left; where it is the paths that need more, lines are broken between them.
        let paths = match paper {
            Paper::Screen { columns } => columns.saturating_sub(34).max(20),
            Paper::Pipe => 0,
        };
        let mut table = Table::streamed(paper, COLUMNS, [12, paths, 10]);
        while let Some(origin) = origins.next(out)? {
            let Some(origin) = self.take(origin) else { continue };
            let line = line(&origin);
            let slash = if origin.file_type == Some(FileType::Directory) { "/" } else { "" };
            let path = format!("{}{slash}", Path(origin.path.as_os_str().as_bytes()));
            let layers: Vec<_> = line.layers.iter().map(|layer| Clean(layer).to_string()).collect();
            let answer = Cell::coloured(colour(&origin.answer), line.answer);
            table.row([answer, path.into(), layers.join(", ").into()], out)?;
        }
        table.end(out)?;
        let counts: Vec<_> = self.counts.iter().map(|(answer, count)| format!("{count} {answer}")).collect();
        writeln!(out, "{}", if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") })
    }

    fn take(&mut self, origin: Result<Origin, Error>) -> Option<Origin> {
        match origin {
            Ok(origin) => {
                let count = self.counts.entry(origin.answer.as_str()).or_default();
                *count = count.saturating_add(1);
                Some(origin)
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                None
            }
        }
    }
}

const COLUMNS: [Column; 3] = [
    Column::new("ANSWER").piped(12, " "),
    Column::new("PATH").wrap(),
    Column::new("EXTENSIONS").before("  ").wrap(),
];

/// Only where there is something to look at: most paths are the host's.
const fn colour(answer: &Answer) -> &'static str {
    match answer {
        Answer::Layer { .. } => GOOD,
        Answer::CopiedUp { .. } | Answer::Written { .. } | Answer::CannotTell { .. } => DOUBT,
        Answer::Deleted { .. } | Answer::Hidden { .. } => BAD,
        _ => "",
    }
}

fn line(origin: &Origin) -> Line<'_> {
    let bytes = origin.path.as_os_str().as_bytes();
    let layers = match &origin.answer {
        Answer::Layer { source, .. } | Answer::Hidden { source, .. } => vec![source.layer.as_str()],
        Answer::Directory { sources, .. } => sources.iter().map(|source| source.layer.as_str()).collect(),
        Answer::CannotTell { unknown, .. } => unknown.iter().map(|unknown| unknown.layer.as_str()).collect(),
        _ => Vec::new(),
    };
    Line {
        path: String::from_utf8_lossy(bytes),
        path_base64: std::str::from_utf8(bytes).is_err().then(|| STANDARD.encode(bytes)),
        file_type: origin.file_type,
        answer: origin.answer.as_str(),
        hierarchy: origin.answer.hierarchy(),
        layers,
        shadows: origin.answer.shadows().iter().map(shadowed).collect(),
    }
}

fn shadowed(shadow: &Shadow) -> Shadowed<'_> {
    let (by, layer) = match shadow {
        Shadow::Layer { source } => ("layer", Some(source.layer.as_str())),
        Shadow::Unknown { unknown } => ("unknown", Some(unknown.layer.as_str())),
        Shadow::Imported => ("imported", None),
        Shadow::Base => ("base", None),
        Shadow::BaseUnknown => ("base-unknown", None),
    };
    Shadowed { by, layer }
}
