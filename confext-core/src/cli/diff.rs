//! `diff`: what is different between the files of two images.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use confext_ddi::Limits;
use confext_ddi::diff::{self, Attribute, Change, Difference, Field, Options, Side};
use confext_ddi::fs::{FileSystem, Watched};
use confext_ddi::read::ReadAt as _;
use confext_ddi::signature::Time;
use serde::Serialize;

use super::failure::Failure;
use super::image::{self, Gate, Role};
use super::output::{Output, View};
use super::progress::Progress;
use super::style::{BAD, DOUBT, END, GOOD};
use super::text::Path as Shown;

/// Says what is different between the files of two images. Ends with 1 if something is.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The image to compare with.
    before: PathBuf,
    /// The image to compare.
    after: PathBuf,
    #[command(flatten)]
    gate: Gate,
    #[command(flatten)]
    role: Role,
    /// Attributes that may differ: mode, owner, mtime, content, xattrs, hard-links.
    #[arg(long, value_name = "ATTRIBUTES", value_delimiter = ',', value_parser = attribute)]
    ignore: Vec<Attribute>,
}

/// The argument `--ignore`.
pub(super) fn attribute(name: &str) -> Result<Attribute, String> {
    let known = Attribute::ALL;
    let found = known.iter().find(|(known, _)| *known == name).map(|(_, attribute)| *attribute);
    found.ok_or_else(|| format!("expected one of {}", known.map(|(name, _)| name).join(", ")))
}

/// How two trees are compared.
pub(super) fn options(ignore: &[Attribute]) -> Options {
    let mut options = Options::default();
    options.ignore = ignore.to_vec();
    options
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    let limits = Limits::default();
    let (before, after) = (&arguments.before, &arguments.after);
    let progress = Progress::new("comparing", output);
    let (old, new) =
        (arguments.role.admit(&arguments.gate, before)?, arguments.role.admit(&arguments.gate, after)?);
    let total_bytes = old.data().size_bytes().map_err(|error| image::fault(before, error))?;
    let old = old.file_system(&limits).map_err(|error| image::fault(before, error))?;
    let new = new.file_system(&limits).map_err(|error| image::fault(after, error))?;
    // Of one of the two: as much is read of the other.
    let tell = |bytes| {
        progress.add(bytes, total_bytes);
        Ok(())
    };
    let differences = compare(arguments, &Watched::new(old.as_ref(), &tell), new.as_ref(), &limits)?;
    drop(progress);
    let (before, after) = (before.display().to_string(), after.display().to_string());
    let view = Differences { before, after, differences };
    output.answer(&view)?;
    Ok(view.exit_status())
}

fn compare(
    arguments: &Arguments,
    old: &dyn FileSystem,
    new: &dyn FileSystem,
    limits: &Limits,
) -> Result<Vec<Difference>, Failure> {
    let options = options(&arguments.ignore);
    let found = diff::collect(Side::Files(old), Side::Files(new), &options, limits);
    found.map_err(|error| match error.path().starts_with("before") {
        true => image::fault(&arguments.before, error),
        false => image::fault(&arguments.after, error),
    })
}

#[derive(Serialize)]
pub(super) struct Differences {
    pub(super) before: String,
    pub(super) after: String,
    pub(super) differences: Vec<Difference>,
}

impl Differences {
    pub(super) fn exit_status(&self) -> u8 {
        u8::from(!self.differences.is_empty())
    }
}

impl View for Differences {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for Difference { path, change } in &self.differences {
            let (colour, sign) = match change {
                Change::Added(_) => (GOOD, '+'),
                Change::Removed(_) => (BAD, '-'),
                _ => (DOUBT, '~'),
            };
            write!(out, "{colour}{sign} /{}{END}", Shown(path))?;
            match change {
                Change::Added(entry) | Change::Removed(entry) => {
                    writeln!(out, "  {}", entry.kind.file_type().as_str())?;
                }
                Change::Changed(fields) => {
                    writeln!(out)?;
                    fields.iter().try_for_each(|field| write_field(field, out))?;
                }
                _ => writeln!(out)?,
            }
        }
        Ok(())
    }
}

fn write_field(field: &Field, out: &mut dyn Write) -> io::Result<()> {
    let (name, before, after) = match field {
        Field::FileType(before, after) => ("type", before.as_str().to_owned(), after.as_str().to_owned()),
        Field::Mode(before, after) => ("mode", format!("{before:04o}"), format!("{after:04o}")),
        Field::Uid(before, after) => ("user", before.to_string(), after.to_string()),
        Field::Gid(before, after) => ("group", before.to_string(), after.to_string()),
        Field::Mtime(before, after) => ("time", time(*before), time(*after)),
        Field::Size(before, after) => ("size", before.to_string(), after.to_string()),
        Field::Content(before, after) => ("sha256", before.to_string(), after.to_string()),
        Field::Target(before, after) => ("target", Shown(before).to_string(), Shown(after).to_string()),
        Field::Device(before, after) => ("device", device(*before), device(*after)),
        Field::Xattr(name, before, after) => {
            let name = Shown(name).to_string();
            let value = |value: &Option<Vec<u8>>| match value {
                Some(value) => format!("{:?}", Shown(value).to_string()),
                None => "none".to_owned(),
            };
            return writeln!(out, "    {name}: {} -> {}", value(before), value(after));
        }
        Field::HardLinkTo(before, after) => ("same file as", link(before), link(after)),
        other => (other.name(), String::new(), String::new()),
    };
    writeln!(out, "    {name}: {before} -> {after}")
}

fn time((seconds, nanoseconds): (i64, u32)) -> String {
    format!("{}, {nanoseconds} ns", Time::from_unix(seconds))
}

fn device((major, minor): (u32, u32)) -> String {
    format!("{major}, {minor}")
}

fn link(path: &Option<Vec<u8>>) -> String {
    path.as_ref().map_or_else(|| "none".to_owned(), |path| format!("/{}", Shown(path)))
}
