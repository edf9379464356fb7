//! `trace`: where a path comes from, and who signed it; or all paths, by image or by signer

mod report;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::host;
use super::list::version;
use super::output::{Output, View};
use super::text::Clean;
use crate::attach::{CheckedBy, Mapped};
use crate::state::Checked;
use crate::trace::{
    self, Answer, Compare, Filter, KnownFrom, Links, Origin, Presence, Shadow, Source, Tracer, Unknown,
};

/// Says which extension a path comes from, from which image, who signed it, and what it shadows.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The path, inside the root directory.
    #[arg(required_unless_present = "report", conflicts_with = "report")]
    path: Option<PathBuf>,
    #[command(flatten)]
    report: Report,
    /// What a merge would give, and not what is merged. Changes nothing.
    #[arg(long)]
    planned: bool,
    /// Also says where that comes from which a symbolic link leads to.
    #[arg(long, conflicts_with = "report")]
    follow: bool,
    /// Compares the content of files, too, and not only their attributes.
    #[arg(long, conflicts_with = "planned")]
    content: bool,
    #[command(flatten)]
    class: host::ClassesArgument,
    #[command(flatten)]
    stack: host::StackArguments,
}

/// Which of all paths.
#[derive(Debug, Args)]
#[group(id = "report", multiple = false)]
struct Report {
    /// Every path of every hierarchy that has a stack.
    #[arg(long)]
    all: bool,
    /// Those of one image: the extension's name, or the path of the image.
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Those of one signer: the fingerprint of the certificate, or its subject.
    #[arg(long, value_name = "SIGNER")]
    signer: Option<String>,
    /// Those that nothing vouches for.
    #[arg(long)]
    unverified: bool,
}

impl Report {
    fn filter(&self) -> Option<Filter> {
        let named = self.image.clone().map(Filter::Image).or_else(|| self.signer.clone().map(Filter::Signer));
        named.or(self.unverified.then_some(Filter::Unverified)).or(self.all.then_some(Filter::All))
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    // What is merged was judged when it was merged.
    let (host, admission) = match (arguments.planned, arguments.class.class.list()) {
        (true, [class]) => arguments.stack.open(*class)?,
        _ => arguments.stack.plain()?,
    };
    let mut options = trace::Options {
        limits: admission.limits.clone(),
        trust: admission.trust.clone(),
        ..Default::default()
    };
    if arguments.content {
        options.compare = Compare::Content;
    }
    if arguments.follow {
        options.links = Links::Follow;
    }
    let tracer = if arguments.planned {
        Tracer::planned(&host, arguments.class.class.list(), &admission, &options)?
    } else {
        Tracer::live(&host, &options)?
    };
    match (&arguments.path, arguments.report.filter()) {
        (Some(path), None) => output.answer(&tracer.trace(path)?),
        (_, filter) => report::run(&host, &tracer, &filter.unwrap_or_default(), output),
    }
}

impl View for Origin {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        write_origin(self, out)?;
        if let Some(target) = &self.target {
            write!(out, "it leads to ")?;
            write_origin(target, out)?;
        }
        Ok(())
    }
}

fn write_origin(origin: &Origin, out: &mut dyn Write) -> io::Result<()> {
    let path = origin.path.to_string_lossy();
    let (path, view) = (Clean(&path), if origin.view == trace::View::Planned { "would be " } else { "" });
    match &origin.answer {
        Answer::Absent => {
            writeln!(out, "{path}: there {} nothing", if view.is_empty() { "is" } else { "would be" })
        }
        Answer::NotMerged => writeln!(out, "{path}: {view}from the host; nothing is merged here"),
        Answer::Base { base: Presence::Unknown, .. } => {
            writeln!(out, "{path}: {view}from the host; no extension has it, and only root can look there")
        }
        Answer::Base { .. } => writeln!(out, "{path}: {view}from the host; no extension has it"),
        Answer::Layer { source, shadows, .. } => {
            writeln!(out, "{path}: {view}from an extension")?;
            write_source(source, out)?;
            write_shadows(shadows, out)
        }
        Answer::Directory { sources, base, unknown, written, .. } => {
            let host = match base {
                Presence::Present => "the host and",
                Presence::Absent => "not the host, but",
                Presence::Unknown => "perhaps the host, and",
            };
            let written =
                if *written == Presence::Present { " what was written after the merge," } else { "" };
            writeln!(out, "{path}: {view}a directory of{written} {host} these extensions, topmost first")?;
            sources.iter().try_for_each(|source| write_source(source, out))?;
            unknown.iter().try_for_each(|unknown| write_unknown(unknown, out))
        }
        Answer::CopiedUp { shadows, .. } => {
            writeln!(out, "{path}: {view}changed after the merge; nothing vouches for it")?;
            write_shadows(shadows, out)
        }
        Answer::Written { .. } => {
            writeln!(out, "{path}: {view}written after the merge; nothing vouches for it")
        }
        Answer::Deleted { shadows, .. } => {
            writeln!(out, "{path}: {view}deleted after the merge")?;
            write_shadows(shadows, out)
        }
        Answer::Hidden { source, shadows, .. } => {
            writeln!(out, "{path}: {view}taken away by an extension")?;
            write_source(source, out)?;
            write_shadows(shadows, out)
        }
        Answer::Submount { hierarchy } => {
            writeln!(out, "{path}: from something mounted on top of {hierarchy}")
        }
        Answer::Metadata { hierarchy } => {
            writeln!(out, "{path}: the record of what is merged over {hierarchy}")
        }
        Answer::CannotTell { unknown, because, doubts, .. } => {
            writeln!(
                out,
                "{path}: cannot tell{}",
                because.map(|why| format!(": {why}")).unwrap_or_default()
            )?;
            for doubt in doubts {
                let (found, expected) = (Clean(&doubt.found), Clean(&doubt.expected));
                writeln!(out, "  doubt      {}: found {found}, expected {expected}", doubt.what)?;
            }
            unknown.iter().try_for_each(|unknown| write_unknown(unknown, out))
        }
    }
}

fn write_source(source: &Source, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  extension  {}{}", Clean(&source.layer), version(source.version.as_deref()))?;
    writeln!(out, "  image      {}", Clean(&source.image))?;
    if let Some(partition) = &source.partition {
        let number = partition.number.map(|number| format!("{number}, ")).unwrap_or_default();
        writeln!(out, "  partition  {number}{}", Clean(&partition.designator))?;
    }
    match &source.checked {
        Checked::None => writeln!(out, "  checked    nothing")?,
        Checked::Verity { root_hash } => writeln!(out, "  root hash  {root_hash}, no signature checked")?,
        Checked::Signed { root_hash, by } => {
            writeln!(out, "  root hash  {root_hash}")?;
            writeln!(out, "  signed by  {}", Clean(&by.subject))?;
            if let Some(fingerprint) = &by.fingerprint {
                writeln!(out, "             certificate {}", Clean(fingerprint))?;
            }
            writeln!(out, "             trusted by {}", Clean(&by.source.to_string()))?;
        }
    }
    if let Some(way) = &source.attached {
        write!(out, "  read from  {}", way.reads.phrase())?;
        match &way.verity {
            Some(Mapped { name, signature: CheckedBy::Kernel, .. }) => {
                writeln!(out, " {}; the kernel checked the signature", Clean(name))?;
            }
            Some(Mapped { name, .. }) => writeln!(out, " {}", Clean(name))?,
            None => writeln!(out)?,
        }
    }
    match source.known_from {
        KnownFrom::Record => {
            writeln!(out, "  confirmed  by its {}; checked when it was merged", source.confirmed_by)
        }
        KnownFrom::Origin => {
            let by = source.confirmed_by;
            writeln!(
                out,
                "  confirmed  by its {by}, on the word of who merged it; checked now, not at the merge"
            )
        }
        KnownFrom::Plan => writeln!(out, "  confirmed  checked now; a merge checks again"),
        KnownFrom::Settings => {
            writeln!(out, "  confirmed  by the unit's settings only: systemd made the stack; checked now")
        }
    }
}

fn write_shadows(shadows: &[Shadow], out: &mut dyn Write) -> io::Result<()> {
    shadows.iter().try_for_each(|shadow| match shadow {
        Shadow::Layer { source } => writeln!(out, "  shadows    that of extension {}", Clean(&source.layer)),
        Shadow::Unknown { unknown } => write_unknown(unknown, out),
        Shadow::Imported => writeln!(out, "  shadows    what was written before the merge"),
        Shadow::Base => writeln!(out, "  shadows    that of the host"),
        Shadow::BaseUnknown => {
            writeln!(out, "  shadows    perhaps that of the host: only root can look there")
        }
    })
}

fn write_unknown(unknown: &Unknown, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  unknown    {} [{}] {}", Clean(&unknown.layer), unknown.code, Clean(&unknown.reason))
}
