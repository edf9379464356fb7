//! `lint`: what speaks against an image, or against the directory that is to become one.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use confext_ddi::Limits;
use confext_ddi::build::{DirectoryOptions, Tree};
use confext_ddi::error::Corrupt;
use confext_ddi::fs::FileSystem;
use confext_ddi::lint::{self, Code, Finding, Severity};
use confext_ddi::policy::Admitted;
use confext_ddi::release::{Class, ImageKind};
use rustix::fs::{Mode, OFlags};
use serde::{Serialize, Serializer};

use super::build::kind;
use super::failure::Failure;
use super::image;
use super::output::{Output, View};
use super::style::{BAD, DOUBT, END};
use super::text::{self, Clean};
use crate::directory::Directory;
use crate::error::Error;

/// Says what speaks against an image or a directory. Ends with 1 if something does.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The image, or the directory that is to become one.
    image: PathBuf,
    #[command(flatten)]
    gate: image::Gate,
    /// What it is: confext, sysext, portable, root or usr.
    #[arg(long, value_parser = kind)]
    class: ImageKind,
    /// The image's name; without it, that of the file without version and ending.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    rules: Rules,
}

/// What stops an image.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Rules {
    /// The root directory of a host the extension is for: what would become another type there is found.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Accepts what this code stands for. Can be given again.
    #[arg(long, value_name = "CODE", value_parser = code)]
    pub(super) allow: Vec<Code>,
}

impl Rules {
    /// Has `look` look with the files of the host, and leaves out what is allowed.
    pub(super) fn apply(
        &self,
        look: impl FnOnce(&lint::Options<'_>) -> confext_ddi::Result<Vec<Finding>>,
    ) -> Result<Vec<Finding>, Failure> {
        let base = self.base.as_deref().map(open_directory).transpose()?;
        let mut options = lint::Options::default();
        options.base = base.as_ref().map(|base| -> &dyn FileSystem { base });
        let mut findings = look(&options)?;
        findings.retain(|finding| !self.allow.contains(&finding.code));
        Ok(findings)
    }
}

fn open_directory(path: &Path) -> Result<Directory, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Error::os("open", path.display().to_string(), errno))?;
    Ok(Directory::new(fd, &Limits::default()))
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    let path = &arguments.image;
    let name = arguments.name.clone().unwrap_or_else(|| image::name(path));
    let limits = Limits::default();
    let kind = arguments.class;
    let findings = if path.is_dir() {
        let tree = Tree::from_directory(path, &DirectoryOptions::default())?;
        arguments.rules.apply(|options| lint::lint(&tree.files(&limits), kind, &name, options))?
    } else {
        let admitted = arguments.admit(&name)?;
        let files = admitted.file_system(&limits).map_err(|error| image::fault(path, error))?;
        arguments.rules.apply(|options| lint::lint(files.as_ref(), kind, &name, options))?
    };
    let stops = findings.iter().any(|finding| finding.severity == Severity::Error);
    output.answer(&Report {
        image: path.display().to_string(),
        name,
        class: kind,
        findings: findings.iter().map(Shown).collect(),
    })?;
    Ok(u8::from(stops))
}

impl Arguments {
    /// Opens the image and has the policy and the key rules judge it.
    fn admit(&self, name: &str) -> Result<Admitted<File>, Failure> {
        match (self.class.class(), self.gate.has_key_rules()) {
            (Some(class), _) => self.gate.admit(&self.image, name, class),
            // Without rules the class does not matter.
            (None, false) => self.gate.admit(&self.image, name, Class::Confext),
            (None, true) => {
                let (place, found) = ("--class".to_owned(), self.class.as_str().to_owned());
                let fault = Corrupt::KeyRule { place, found, expected: "confext or sysext" };
                let error = confext_ddi::Error::from(fault).into();
                Err(Failure::Argument { name: "--key-rules", error })
            }
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    image: String,
    name: String,
    class: ImageKind,
    findings: Vec<Shown<'a>>,
}

/// A finding with its advice.
pub(super) struct Shown<'a>(pub(super) &'a Finding);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct WithHint<'a> {
            #[serde(flatten)]
            finding: &'a Finding,
            hint: &'static str,
        }
        WithHint { finding: self.0, hint: self.0.code.hint() }.serialize(serializer)
    }
}

impl Shown<'_> {
    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Finding { code, severity, path, found, expected, .. } = self.0;
        let (colour, severity) = match severity {
            Severity::Error => (BAD, "error"),
            Severity::Warning => (DOUBT, "warning"),
        };
        let (found, expected) = (Clean(found), Clean(expected));
        writeln!(
            out,
            "{colour}{severity}[{code}]{END}: /{}: found {found}, expected {expected}",
            text::Path(path)
        )?;
        writeln!(out, "  hint: {}", code.hint())
    }
}

impl View for Report<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.findings.is_empty() {
            return writeln!(out, "{}: nothing speaks against it", Clean(&self.image));
        }
        self.findings.iter().try_for_each(|finding| finding.text(out))
    }
}

fn code(text: &str) -> Result<Code, String> {
    Code::from_text(text).ok_or_else(|| {
        let known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        format!("expected one of {}", known.join(", "))
    })
}
