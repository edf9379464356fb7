//! `trust`: whose signatures count on a host, what the kernel can check, and who would accept an image

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::host;
use super::super::output::{Output, View};
use super::super::style::{BAD, DOUBT, END, GOOD};
use super::super::table::{Cell, Column, Paper, Table};
use super::super::text::Clean;
use super::SourceArguments;
use crate::keyring::{Key, KeyState, Sealing};
use crate::trust::{
    Answer, ImageReport, KeyringReport, KeyringState, Parameter, Presence, Report, TrustFile, TrustState,
    Verdict, report,
};

/// Says whose signatures count here, and which source would accept an image. Changes nothing; root sees more.
#[derive(Debug, Args)]
#[group(skip)]
pub(in super::super) struct Arguments {
    /// The image to ask about.
    image: Option<PathBuf>,
    #[command(flatten)]
    host: host::Arguments,
    #[command(flatten)]
    sources: SourceArguments,
}

pub(in super::super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let (host, sources) = (arguments.host.open()?, arguments.sources.sources()?);
    let report = report(&host, &sources, arguments.image.as_deref(), SystemTime::now())?;
    output.answer(&Shown { root: host.path().display().to_string(), report })
}

#[derive(Serialize)]
struct Shown {
    root: String,
    #[serde(flatten)]
    report: Report,
}

impl View for Shown {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Report { kernel, keyrings, files, image, next_step, .. } = &self.report;
        writeln!(out, "kernel         {}", Clean(kernel.release.as_deref().unwrap_or("unknown")))?;
        writeln!(out, "device-mapper  {}", presence(kernel.device_mapper))?;
        writeln!(out, "verity target  {}", presence(kernel.verity))?;
        kernel.parameters.iter().try_for_each(|parameter| write_parameter(parameter, out))?;
        keyrings.iter().try_for_each(|keyring| write_keyring(keyring, out))?;
        if files.is_empty() {
            writeln!(out, "certificates   none in verity.d")?;
        }
        files.iter().try_for_each(|file| write_file(file, out))?;
        image.iter().try_for_each(|image| write_image(image, out))?;
        writeln!(out, "next step      {}", Clean(next_step))
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        let Report { kernel, keyrings, files, image, next_step, .. } = &self.report;
        let columns_of = [Column::new("WHAT"), Column::new("NAME").wrap(), Column::new("STATE").wrap()];
        let mut table = Table::new(Paper::Screen { columns }, columns_of);
        let release = Clean(kernel.release.as_deref().unwrap_or("unknown"));
        table.row(["kernel".into(), Cell::new(release), "".into()], out)?;
        for (what, found) in [("device-mapper", kernel.device_mapper), ("verity target", kernel.verity)] {
            let colour = match found {
                Presence::Present => GOOD,
                Presence::Absent => BAD,
                Presence::Unknown => DOUBT,
            };
            table.row([what.into(), "".into(), Cell::coloured(colour, presence(found))], out)?;
        }
        for Parameter { name, value, command_line, .. } in &kernel.parameters {
            let (said, note) = match (value, command_line) {
                (None, None) => continue,
                (Some(value), _) => (value, ""),
                (None, Some(asked)) => (asked, ", asked for at boot"),
            };
            let state = format!("{}{note}", Clean(said));
            table.row(["parameter".into(), Cell::new(Clean(name)), state.into()], out)?;
        }
        keyrings.iter().try_for_each(|keyring| keyring_rows(keyring, &mut table, out))?;
        if files.is_empty() {
            table.row(["certificates".into(), "".into(), "none in verity.d".into()], out)?;
        }
        files.iter().try_for_each(|file| table.row(file_row(file), out))?;
        image.iter().try_for_each(|image| image_rows(image, &mut table, out))?;
        table.end(out)?;
        writeln!(out, "next step: {}", Clean(next_step))
    }
}

fn keyring_rows(keyring: &KeyringReport, table: &mut Table, out: &mut dyn Write) -> io::Result<()> {
    let mut row = |state: Cell| table.row(["keyring".into(), Cell::new(Clean(&keyring.name)), state], out);
    let keys = match &keyring.state {
        KeyringState::Seen { sealing, keys } => {
            row(format!("{}, {} keys", sealed(*sealing), keys.len()).into())?;
            keys
        }
        KeyringState::Missing => return row("not there".into()),
        KeyringState::Hidden => return row(Cell::coloured(DOUBT, "cannot be seen: only root can")),
        KeyringState::Refused { code, message } => {
            return row(Cell::coloured(BAD, format!("[{code}] {}", Clean(message))));
        }
    };
    keys.iter().try_for_each(|key| {
        let (name, algorithm) = named(key);
        let state = match key.state {
            KeyState::Valid => Cell::coloured(GOOD, algorithm),
            KeyState::Revoked => Cell::coloured(BAD, "revoked"),
            KeyState::Expired => Cell::coloured(BAD, "expired"),
            KeyState::Hidden => Cell::coloured(DOUBT, "hidden"),
        };
        table.row(["  key".into(), name.into(), state], out)
    })
}

fn file_row(file: &TrustFile) -> [Cell; 3] {
    let state = match &file.state {
        TrustState::Used => Cell::coloured(GOOD, "used"),
        TrustState::Shadowed => Cell::coloured(DOUBT, "hidden by an earlier directory"),
        TrustState::Masks => Cell::coloured(DOUBT, "masks its name"),
        TrustState::Refused { code, message } => Cell::coloured(BAD, format!("[{code}] {}", Clean(message))),
    };
    ["certificate".into(), Cell::new(Clean(&file.path.to_string_lossy())), state]
}

fn image_rows(image: &ImageReport, table: &mut Table, out: &mut dyn Write) -> io::Result<()> {
    if image.signatures.is_empty() {
        table.row(["image".into(), "".into(), Cell::coloured(DOUBT, "not signed")], out)?;
    }
    for signature in &image.signatures {
        let claims = signature.claims.as_deref().unwrap_or("nobody: it cannot be read");
        table.row(["signature of".into(), Cell::new(Clean(claims)), "".into()], out)?;
        for answer in &signature.answers {
            let chosen = if answer.chosen { "" } else { ", not chosen" };
            let (what, state) = match &answer.verdict {
                Verdict::Accepted { signer } => {
                    (Cell::coloured(GOOD, "  accepted by"), format!("as {}{chosen}", Clean(&signer.subject)))
                }
                Verdict::Refused { code, .. } => {
                    (Cell::coloured(BAD, "  refused by"), format!("[{code}]{chosen}"))
                }
            };
            table.row([what, Cell::new(Clean(&answer.source)), state.into()], out)?;
        }
    }
    Ok(())
}

const fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Present => "there",
        Presence::Absent => "not there, or not loaded",
        Presence::Unknown => "cannot be seen",
    }
}

fn write_parameter(parameter: &Parameter, out: &mut dyn Write) -> io::Result<()> {
    let Parameter { name, value, command_line, .. } = parameter;
    match (value, command_line) {
        (None, None) => Ok(()),
        (Some(value), _) => writeln!(out, "parameter      {}={}", Clean(name), Clean(value)),
        (None, Some(asked)) => {
            writeln!(out, "parameter      {}={}, asked for at boot", Clean(name), Clean(asked))
        }
    }
}

fn write_keyring(keyring: &KeyringReport, out: &mut dyn Write) -> io::Result<()> {
    let name = Clean(&keyring.name);
    match &keyring.state {
        KeyringState::Seen { sealing, keys } => {
            writeln!(out, "keyring        {name}, {}, {} keys", sealed(*sealing), keys.len())?;
            keys.iter().try_for_each(|key| write_key(key, out))
        }
        KeyringState::Missing => writeln!(out, "keyring        {name} is not there"),
        KeyringState::Hidden => writeln!(out, "keyring        {name} cannot be seen: only root can"),
        KeyringState::Refused { code, message } => {
            writeln!(out, "keyring        {name} [{code}] {}", Clean(message))
        }
    }
}

fn write_key(key: &Key, out: &mut dyn Write) -> io::Result<()> {
    let state = match key.state {
        KeyState::Valid => "",
        KeyState::Revoked => ", revoked",
        KeyState::Expired => ", expired",
        KeyState::Hidden => ", hidden",
    };
    let (name, algorithm) = named(key);
    let comma = if algorithm.is_empty() { "" } else { ", " };
    writeln!(out, "  key          {name}{comma}{algorithm}{state}")
}

/// Its name and its algorithm.
fn named(key: &Key) -> (String, String) {
    let number = key.serial.to_string();
    let name = Clean(key.description.as_deref().unwrap_or(&number)).to_string();
    (name, Clean(key.algorithm.as_deref().unwrap_or_default()).to_string())
}

const fn sealed(sealing: Sealing) -> &'static str {
    match sealing {
        Sealing::Sealed => "sealed",
        Sealing::Restricted => "restricted",
        Sealing::Open => "open",
        Sealing::Unknown => "not writable",
    }
}

fn write_file(file: &TrustFile, out: &mut dyn Write) -> io::Result<()> {
    let path = file.path.to_string_lossy();
    let path = Clean(&path);
    match &file.state {
        TrustState::Used => writeln!(out, "certificate    {path}"),
        TrustState::Shadowed => writeln!(out, "certificate    {path}, hidden by an earlier directory"),
        TrustState::Masks => writeln!(out, "certificate    {path}, masks its name"),
        TrustState::Refused { code, message } => {
            writeln!(out, "certificate    {path} [{code}] {}", Clean(message))
        }
    }
}

fn write_image(image: &ImageReport, out: &mut dyn Write) -> io::Result<()> {
    if image.signatures.is_empty() {
        writeln!(out, "image          not signed")?;
    }
    for signature in &image.signatures {
        let claims = signature.claims.as_deref().unwrap_or("nobody: it cannot be read");
        writeln!(out, "signature      of {}", Clean(claims))?;
        signature.answers.iter().try_for_each(|answer| write_answer(answer, out))?;
    }
    Ok(())
}

fn write_answer(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    let chosen = if answer.chosen { "" } else { ", not chosen" };
    match &answer.verdict {
        Verdict::Accepted { signer } => {
            let (source, subject) = (Clean(&answer.source), Clean(&signer.subject));
            writeln!(out, "  {GOOD}accepted{END}     by {source}{chosen}: {subject}")
        }
        Verdict::Refused { code, .. } => {
            writeln!(out, "  {BAD}refused{END}      by {}{chosen} [{code}]", Clean(&answer.source))
        }
    }
}
