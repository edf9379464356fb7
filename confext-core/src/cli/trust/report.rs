//! `trust`: whose signatures count on a host, what the kernel can check, and who would accept an image

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::host;
use super::super::output::{Output, View};
use super::super::style::{BAD, END, GOOD};
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
            let sealing = match sealing {
                Sealing::Sealed => "sealed",
                Sealing::Restricted => "restricted",
                Sealing::Open => "open",
                Sealing::Unknown => "not writable",
            };
            writeln!(out, "keyring        {name}, {sealing}, {} keys", keys.len())?;
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
    let number = key.serial.to_string();
    let name = key.description.as_deref().unwrap_or(&number);
    let algorithm = key.algorithm.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
    writeln!(out, "  key          {}{}{state}", Clean(name), Clean(&algorithm))
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
