//! `build`: a directory becomes a signed image.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use confext_ddi::Limits;
use confext_ddi::build::{Builder, Built, Compression, ReleaseFields, Squashfs, Tree};
use confext_ddi::dps::Architecture;
use confext_ddi::fs;
use confext_ddi::id::Uuid;
use confext_ddi::lint::{Finding, Severity};
use confext_ddi::release::ImageKind;
use confext_ddi::signature::{KeyPair, Sign};
use serde::Serialize;

use super::failure::Failure;
use super::image::architecture;
use super::lint::{Rules, Shown};
use super::output::{Output, View};
use super::progress::Progress;
use super::sign;
use super::source;
use super::text::{Clean, Size};
use crate::error::Error;
use crate::mkfs::MkfsErofs;

/// Builds an image from a directory. The same directory, seed and time give the same bytes.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("signing").required(true))]
pub(super) struct Arguments {
    /// What it is: confext (/etc), sysext (/usr and /opt), portable (a service with its tree), root or usr (of an
    /// operating system).
    #[arg(long, value_parser = kind)]
    class: ImageKind,
    /// The image's name, without version: hosts look for an extension's extension-release.NAME.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    source: source::Arguments,
    /// The directory whose content becomes the EFI system partition, vfat that nothing protects: with --class root or usr.
    #[arg(long, value_name = "DIR")]
    esp: Option<PathBuf>,
    /// The same for the extended boot loader partition.
    #[arg(long, value_name = "DIR")]
    xbootldr: Option<PathBuf>,
    /// The image to write: a new file.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replaces a file that is there when the new image is complete.
    #[arg(long)]
    replace: bool,
    /// The file system: erofs, which is not compressed; squashfs; or mkfs.erofs, made by the program of that name.
    #[arg(long, value_name = "NAME", default_value = "erofs", value_parser = ["erofs", "squashfs", "mkfs.erofs"])]
    file_system: String,
    /// How it is compressed: zstd, xz or gzip for squashfs, the words of its option -z for mkfs.erofs.
    #[arg(long, value_name = "HOW")]
    compression: Option<String>,
    /// Signs with this private key (PEM, not encrypted).
    #[arg(long, value_name = "FILE", group = "signing", requires = "certificate")]
    key: Option<PathBuf>,
    /// The certificate that goes with the key (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Leaves out the signature: hosts accept such an image only by explicit choice.
    #[arg(long, group = "signing")]
    unsigned: bool,
    /// Leaves room for a signature that confext sign puts in: until then nobody uses the image.
    #[arg(long, group = "signing")]
    sign_later: bool,
    /// A field of the release file, like ID=debian; ID=_any goes with every system. Can be given again. Without any, the
    /// directory must have its own release file.
    #[arg(long, value_name = "KEY=VALUE", value_parser = field)]
    release: Vec<(String, String)>,
    /// The architecture; without it, that of this program.
    #[arg(long, value_parser = architecture)]
    architecture: Option<Architecture>,
    /// What identifiers are made from, a UUID.
    #[arg(long, value_parser = uuid)]
    seed: Option<Uuid>,
    /// No file is newer than this, in seconds since 1970.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    source_date_epoch: Option<i64>,
    /// Warnings stop the build, too: it writes nothing unless nothing speaks against the image.
    #[arg(long)]
    lint: bool,
    #[command(flatten)]
    rules: Rules,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let signer = arguments.signer()?;
    let tree = arguments.source.tree(arguments.class, &arguments.output)?;
    let total_bytes = if output.wants_progress() { content_bytes(&tree)? } else { 0 };
    let mut builder = arguments.builder(tree)?;
    let findings = arguments.rules.apply(|options| builder.lint(options))?;
    let stops = |finding: &&Finding| arguments.lint || finding.severity == Severity::Error;
    if let Some(finding) = findings.iter().find(stops) {
        return Err(finding.to_error().into());
    }
    if arguments.replace {
        builder = builder.replace_file();
    }
    let signer = signer.as_ref().map(|signer| -> &dyn Sign { signer });
    let progress = Progress::new("building", output);
    let built = builder.build_file_watched(&arguments.output, signer, &mut |done_bytes| {
        progress.show(done_bytes, total_bytes);
        ControlFlow::Continue(())
    })?;
    drop(progress);
    output.summary(&Summary {
        image: arguments.output.display().to_string(),
        name: &arguments.name,
        class: arguments.class,
        later: arguments.sign_later,
        built,
        findings: findings.iter().map(Shown).collect(),
    })
}

/// About how much is written.
fn content_bytes(tree: &Tree) -> Result<u64, Failure> {
    let limits = Limits::default();
    let files = tree.files(&limits);
    let mut sizes = fs::walk(&files, b"", &limits)?;
    Ok(sizes.try_fold(0_u64, |sum, item| item.map(|(_, file)| sum.saturating_add(file.size_bytes)))?)
}

impl Arguments {
    fn signer(&self) -> Result<Option<KeyPair>, Failure> {
        let (Some(key), Some(certificate)) = (&self.key, &self.certificate) else { return Ok(None) };
        sign::key_pair(key, certificate).map(Some)
    }

    fn builder(&self, tree: Tree) -> Result<Builder, Failure> {
        let mut builder =
            Builder::new(self.class, &self.name).tree(tree).allow(self.rules.allow.iter().copied());
        if self.unsigned {
            builder = builder.unsigned();
        }
        if self.sign_later {
            builder = builder.sign_later();
        }
        if let Some(architecture) = self.architecture {
            builder = builder.architecture(architecture);
        }
        if let Some(seed) = self.seed {
            builder = builder.seed(seed);
        }
        if let Some(seconds) = self.source_date_epoch {
            builder = builder.source_date_epoch(seconds);
        }
        if let Some(directory) = &self.esp {
            builder = builder.esp(self.source.boot_tree(directory)?);
        }
        if let Some(directory) = &self.xbootldr {
            builder = builder.xbootldr(self.source.boot_tree(directory)?);
        }
        let builder = match self.release_fields() {
            Some(fields) => builder.release(fields),
            None => builder,
        };
        self.format(builder)
    }

    fn format(&self, builder: Builder) -> Result<Builder, Failure> {
        let unknown = |expected: &str| {
            let found = self.compression.clone().unwrap_or_default();
            let source = io::Error::other(format!("found {found:?}, expected {expected}"));
            Failure::Argument { name: "--compression", error: Error::os("use", "compression", source) }
        };
        match (self.file_system.as_str(), self.compression.as_deref()) {
            ("squashfs", how) => match how.unwrap_or("zstd") {
                "zstd" => Ok(builder.format(Squashfs::new(Compression::Zstd))),
                "xz" => Ok(builder.format(Squashfs::new(Compression::Xz))),
                "gzip" => Ok(builder.format(Squashfs::new(Compression::Gzip))),
                _ => Err(unknown("zstd, xz or gzip")),
            },
            ("mkfs.erofs", how) => {
                let parent = self.output.parent().filter(|parent| !parent.as_os_str().is_empty());
                let maker = MkfsErofs::new(parent.unwrap_or(Path::new(".")));
                Ok(builder.format(match how {
                    Some(how) => maker.compression(how),
                    None => maker,
                }))
            }
            (_, None) => Ok(builder),
            (_, Some(_)) => Err(unknown("none: erofs is not compressed, squashfs and mkfs.erofs are")),
        }
    }

    /// Without any, the directory has to have its own release file.
    fn release_fields(&self) -> Option<ReleaseFields> {
        let (level, scope) = self.class.class().map(|class| (class.level_key(), class.scope_key())).unzip();
        let id = self.release.iter().find(|(key, _)| key == "ID").map_or("", |(_, id)| id);
        let add = |fields: ReleaseFields, (key, value): &(String, String)| match key.as_str() {
            "ID" => fields,
            key if Some(key) == level => fields.level(value),
            key if Some(key) == scope => fields.scope(value),
            key => fields.field(key, value),
        };
        (!self.release.is_empty()).then(|| self.release.iter().fold(ReleaseFields::new(id), add))
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    image: String,
    name: &'a str,
    class: ImageKind,
    #[serde(skip)]
    later: bool,
    #[serde(flatten)]
    built: Built,
    findings: Vec<Shown<'a>>,
}

impl View for Summary<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: {} {}, {}",
            Clean(&self.image),
            self.class,
            Clean(self.name),
            Size(self.built.size_bytes)
        )?;
        writeln!(out, "  root hash    {}", self.built.root_hash)?;
        match &self.built.signed {
            Some(fingerprint) => writeln!(out, "  signed by    certificate {fingerprint}"),
            None => writeln!(out, "  not signed{}", if self.later { " yet" } else { "" }),
        }?;
        self.findings.iter().try_for_each(|finding| finding.text(out))
    }
}

fn field(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("expected KEY=VALUE".to_owned()),
    }
}

pub(super) fn kind(text: &str) -> Result<ImageKind, String> {
    ImageKind::from_name(text)
        .ok_or_else(|| format!("expected {}", ImageKind::ALL.map(ImageKind::as_str).join(", ")))
}

fn uuid(text: &str) -> Result<Uuid, String> {
    Uuid::parse(text).map_err(|error| error.to_string())
}
