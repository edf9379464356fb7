//! `completions` and `man`: what shells and readers of manual pages get, made from the arguments themselves

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde::Serialize;

use super::failure::Failure;
use super::output::{Output, View};
use super::text::Clean;
use super::{examples, exit};
use crate::error::Error;

const MANUAL: &str = "Extension images";

/// Prints the completions of this command for a shell.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct CompletionArguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the manual pages of this command and of each verb, confext.1 and confext-VERB.1.
///
/// Pages that are there are replaced.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct ManArguments {
    /// The directory they are written to; it is made where it is missing.
    directory: PathBuf,
}

pub(super) fn completions(arguments: &CompletionArguments, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::command(), super::NAME, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    output.answer(&Completions { shell: arguments.shell.to_string(), script })
}

pub(super) fn man(arguments: &ManArguments, output: &Output) -> Result<(), Failure> {
    let mut command = super::command();
    command.build();
    let mut pages = Vec::new();
    let directory = &arguments.directory;
    let os = |operation, path: &Path| {
        let target = path.display().to_string();
        move |source: io::Error| Error::os(operation, target, source)
    };
    fs::create_dir_all(directory).map_err(os("create", directory))?;
    for command in every(&command) {
        let mut page = Vec::new();
        let man = Man::new(command.clone()).source(version()).manual(MANUAL);
        let path = directory.join(man.get_filename());
        write_page(&man, command, &mut page).map_err(Failure::Output)?;
        fs::write(&path, page).map_err(os("write", &path))?;
        pages.push(path.display().to_string());
    }
    output.summary(&Pages { pages })
}

fn version() -> String {
    format!("{} {}", super::NAME, env!("CARGO_PKG_VERSION"))
}

/// A command and all below it.
fn every(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set()).flat_map(every);
    std::iter::once(command).chain(below).collect()
}

/// The parts that follow from the arguments, and those that do not.
fn write_page(man: &Man, command: &Command, out: &mut dyn Write) -> io::Result<()> {
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    let mut rest = Roff::new();
    let mut words: Vec<&str> = command.get_bin_name().unwrap_or_default().split(' ').collect();
    words.remove(0);
    let examples = examples::of(&words);
    if !examples.is_empty() {
        rest.control("SH", ["EXAMPLES"]);
    }
    for (what, line) in examples {
        rest.control("TP", []).text([roman(*what)]).text([bold(*line)]);
    }
    rest.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in exit::TABLE {
        rest.control("TP", []).text([bold(status.to_string())]).text([roman(meaning.replace('`', ""))]);
    }
    rest.control("SH", ["SEE ALSO"]);
    let others =
        if words.is_empty() { "systemd\\-confext(8), systemd.image\\-policy(7)" } else { "confext(1)" };
    rest.text([roman(others.replace("\\-", "-"))]);
    rest.to_writer(out)
}

#[derive(Serialize)]
struct Completions {
    shell: String,
    script: String,
}

impl View for Completions {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.script.as_bytes())
    }
}

#[derive(Serialize)]
struct Pages {
    pages: Vec<String>,
}

impl View for Pages {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.pages.iter().try_for_each(|page| writeln!(out, "{}", Clean(page)))
    }
}
