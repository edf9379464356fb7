//! `extract`: the files of an image into a directory.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use confext_ddi::Limits;
use confext_ddi::policy::Evidence;
use serde::Serialize;

use super::failure::Failure;
use super::image;
use super::output::{Output, View};
use super::progress::Progress;
use super::text::{Clean, Size};
use crate::error::Error;
use crate::extract::{Devices, Existing, Extracted, Options, Ownership, SetId, Sync, extract};

/// Extracts the files of an image to a directory; on failure nothing of it stays.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: image::Selected,
    /// The directory; one that is not there appears when it is complete.
    destination: PathBuf,
    /// Replaces files and links that are there.
    #[arg(long)]
    replace: bool,
    /// Whose the files are: caller, image (as in the image), UID:GID, or FIRST+COUNT (as in the image, moved).
    #[arg(long, value_name = "WHOSE", default_value = "caller", value_parser = ownership)]
    owner: Ownership,
    /// What becomes of device nodes.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = DevicesName::Refuse)]
    devices: DevicesName,
    /// Keeps set-user-id and set-group-id bits.
    #[arg(long)]
    keep_set_id: bool,
    /// Sets extended attributes whose names begin so, like user. (the default) or security.; can be given again, and an
    /// empty one sets none.
    #[arg(long, value_name = "BEGINNING")]
    xattr: Vec<String>,
    /// Waits until everything is on disk.
    #[arg(long)]
    sync: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DevicesName {
    Refuse,
    LeaveOut,
    Make,
}

fn ownership(text: &str) -> Result<Ownership, String> {
    let wrong = || "expected caller, image, UID:GID or FIRST+COUNT".to_owned();
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    match (text, text.split_once(':'), text.split_once('+')) {
        ("caller", ..) => Ok(Ownership::Caller),
        ("image", ..) => Ok(Ownership::AsIs),
        (_, Some((uid, gid)), _) => Ok(Ownership::Fixed { uid: number(uid)?, gid: number(gid)? }),
        (_, _, Some((first, count))) => {
            Ok(Ownership::Shifted { first: number(first)?, count: number(count)? })
        }
        _ => Err(wrong()),
    }
}

impl Arguments {
    fn options(&self) -> Options {
        let mut options = Options { ownership: self.owner, ..Options::default() };
        if self.replace {
            options.existing = Existing::Replace;
        }
        options.devices = match self.devices {
            DevicesName::Refuse => Devices::Refuse,
            DevicesName::LeaveOut => Devices::LeaveOut,
            DevicesName::Make => Devices::Make,
        };
        if self.keep_set_id {
            options.set_id = SetId::Keep;
        }
        if !self.xattr.is_empty() {
            options.xattrs = self.xattr.iter().filter(|beginning| !beginning.is_empty()).cloned().collect();
        }
        if self.sync {
            options.sync = Sync::Now;
        }
        options
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let admitted = arguments.image.admit()?;
    let limits = Limits::default();
    let fault = |error| arguments.image.fault(error);
    let files = admitted.file_system(&limits).map_err(fault)?;
    // About: holes and compression make contents larger than what holds them.
    let total_bytes = admitted.size_bytes().map_err(fault)?;
    let progress = Progress::new("extracting", output);
    let show = |done_bytes: u64| {
        progress.show(done_bytes.min(total_bytes), total_bytes);
        ControlFlow::Continue(())
    };
    let extracted = extract(files.as_ref(), &arguments.destination, &arguments.options(), &limits, show);
    drop(progress);
    output.summary(&Summary {
        image: arguments.image.image.image.display().to_string(),
        evidence: admitted.evidence(),
        destination: arguments.destination.display().to_string(),
        extracted: extracted.map_err(|error| match error {
            Error::Ddi(source) => fault(source),
            other => other.into(),
        })?,
    })
}

#[derive(Serialize)]
struct Summary<'a> {
    image: String,
    evidence: &'a Evidence,
    destination: String,
    #[serde(flatten)]
    extracted: Extracted,
}

impl View for Summary<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Extracted { directories, files, bytes, .. } = self.extracted;
        let (destination, size) = (Clean(&self.destination), Size(bytes));
        writeln!(out, "{destination}: {files} files in {directories} new directories, {size}")?;
        for (count, what) in [
            (self.extracted.replaced, "replaced"),
            (self.extracted.set_id_cleared, "without their set-id bits"),
            (self.extracted.xattrs_left_out, "extended attributes left out"),
            (self.extracted.devices_left_out, "device nodes left out"),
        ] {
            if count > 0 {
                writeln!(out, "  {count} {what}")?;
            }
        }
        Ok(())
    }
}
