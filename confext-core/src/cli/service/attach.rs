//! `service attach`: units of images, beside the host's own

use std::io::{self, Write};

use clap::Args;
use confext_ddi::unit::EntryKind;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::{Output, View};
use crate::cli::style::BAD;
use crate::cli::table::{Cell, Column, Paper, Table};
use crate::cli::text::Clean;
use crate::cli::{host, trust};
use crate::service::portable::{Attachment, Part, Portable, Which};
use crate::service::{Lifetime, portable};
use crate::state::Checked;

/// Attaches a portable service: its units are taken from an image and its extensions, and bound to them and to the protection
/// that was checked. They count from the next `systemctl daemon-reload` on.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The image or directory that the units have as their root.
    #[arg(value_name = "IMAGE")]
    base: String,
    /// Names of units, or what they begin with, before a dash, a dot or an at sign. Default: the name of the image.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// An extension: an image or a directory. Can be given again; the last one is on top, and directories are over images.
    #[arg(long, value_name = "PATH")]
    extension: Vec<String>,
    /// All units of the images.
    #[arg(long, conflicts_with = "names")]
    all_units: bool,
    /// The profile of the services, or none: /usr/lib/systemd/portable/profile/NAME/service.conf says what they may do.
    #[arg(long, value_name = "NAME", default_value = "default")]
    profile: String,
    /// Until the machine stops, not until it is removed.
    #[arg(long)]
    runtime: bool,
    /// Says what would be written, and writes nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    host: host::Arguments,
    #[command(flatten)]
    trust: trust::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let host = arguments.host.open()?;
    let options = arguments.trust.options(&host, None)?;
    let mut wanted = Portable::new(arguments.base.as_str());
    wanted.extensions.clone_from(&arguments.extension);
    wanted.which = match (arguments.all_units, arguments.names.as_slice()) {
        (true, _) => Which::All,
        (false, []) => Which::OfBase,
        (false, names) => Which::Named(names.to_vec()),
    };
    wanted.profile = Some(arguments.profile.clone()).filter(|name| name != "none");
    wanted.lifetime = if arguments.runtime { Lifetime::Runtime } else { Lifetime::Persistent };
    let attachment = wanted.plan(&host, &options)?;
    if arguments.dry_run {
        return output.answer(&Answer { done: "nothing", attachment: &attachment });
    }
    attachment.attach(&host)?;
    output.summary(&Answer { done: "attached", attachment: &attachment })
}

#[derive(Serialize)]
struct Answer<'a> {
    done: &'static str,
    #[serde(flatten)]
    attachment: &'a Attachment,
}

impl View for Answer<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let attachment = self.attachment;
        for unit in &attachment.units {
            writeln!(out, "{}: {} in {}", Clean(&unit.name), Clean(&unit.path), Clean(&unit.from))?;
        }
        write_part("root", &attachment.base, out)?;
        for part in &attachment.extensions {
            write_part("extension", part, out)?;
        }
        for (what, policy) in
            [("root", &attachment.root_policy), ("extensions", &attachment.extension_policy)]
        {
            if let Some(policy) = policy {
                writeln!(out, "  {what} must stay {policy}")?;
            }
        }
        for file in &attachment.files {
            writeln!(out, "  file       {}", Clean(&file.path.to_string_lossy()))?;
        }
        if self.done == "nothing" { writeln!(out, "nothing was written") } else { Ok(()) }
    }
}

fn write_part(what: &str, part: &Part, out: &mut dyn Write) -> io::Result<()> {
    let kind = match part.kind {
        EntryKind::Image => "image",
        EntryKind::Directory => "directory",
    };
    let checked = match &part.checked {
        Checked::None => "not protected".to_owned(),
        Checked::Verity { .. } => "under a hash tree, not signed".to_owned(),
        Checked::Signed { by, .. } => format!("signed by {}", by.subject),
    };
    let columns = [Column::new("WHAT").before("  ").piped(10, " "), Column::new("VALUE")];
    let value = format!("{kind} {}, {}", Clean(&part.path), Clean(&checked));
    Table::new(Paper::Pipe, columns).row([what.into(), value.into()], out)
}

/// Detaches a portable service: its units and their drop-ins are removed. Units that run have to be stopped before.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct DetachArguments {
    /// The image or directory that the units have as their root: its path as it was attached, or its name.
    #[arg(value_name = "IMAGE")]
    base: String,
    #[command(flatten)]
    host: host::Arguments,
}

pub(super) fn detach(arguments: &DetachArguments, output: &Output) -> Result<(), Failure> {
    let gone = portable::detach(&arguments.host.open()?, &arguments.base)?;
    output.summary(&List { attached: vec![gone] })
}

/// Lists the portable services that are attached, whichever program attached them.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct ListArguments {
    #[command(flatten)]
    host: host::Arguments,
}

pub(super) fn list(arguments: &ListArguments, output: &Output) -> Result<(), Failure> {
    output.answer(&List { attached: portable::attached(&arguments.host.open()?)? })
}

#[derive(Serialize)]
struct List {
    attached: Vec<portable::Attached>,
}

impl View for List {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for one in &self.attached {
            let lifetime = match one.lifetime {
                Lifetime::Persistent => "",
                Lifetime::Runtime => ", until the machine stops",
            };
            writeln!(out, "{}{lifetime}", Clean(&one.base))?;
            for extension in &one.extensions {
                writeln!(out, "  extension  {}", Clean(extension))?;
            }
            for unit in &one.units {
                writeln!(out, "  unit       {}", Clean(unit))?;
            }
            for unit in &one.incomplete {
                writeln!(out, "  incomplete {}", Clean(unit))?;
            }
        }
        Ok(())
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        let columns_of = [
            Column::new("IMAGE").wrap(),
            Column::new("UNTIL"),
            Column::new("WHAT"),
            Column::new("NAME").wrap(),
        ];
        let mut table = Table::new(Paper::Screen { columns }, columns_of);
        for one in &self.attached {
            let until = match one.lifetime {
                Lifetime::Persistent => "",
                Lifetime::Runtime => "the machine stops",
            };
            let parts = [("", "extension", &one.extensions), ("", "unit", &one.units)];
            for (colour, what, names) in parts.into_iter().chain([(BAD, "incomplete", &one.incomplete)]) {
                for name in names {
                    let what = Cell::coloured(colour, what);
                    table.row(
                        [Cell::new(Clean(&one.base)), until.into(), what, Cell::new(Clean(name))],
                        out,
                    )?;
                }
            }
        }
        table.end(out)
    }
}
