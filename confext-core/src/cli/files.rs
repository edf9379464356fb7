//! `ls` and `cat`: the files of an image, read through its hash tree.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use confext_ddi::Limits;
use confext_ddi::error::Lookup;
use confext_ddi::fs::{self, FileSystem, FileType, Metadata};
use confext_ddi::policy::Evidence;
use confext_ddi::signature::Time;
use serde::Serialize;

use super::failure::Failure;
use super::image;
use super::output::{Output, View};
use super::style::NAME;
use super::table::{Cell, Column, Paper, Table};
use super::text::Path;

/// Lists files of an image.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct ListArguments {
    #[command(flatten)]
    image: image::Selected,
    /// A directory or file of the image; without it, the root.
    #[arg(default_value = "/")]
    path: OsString,
    /// Shows mode, owner, size, time and link target.
    #[arg(long, short)]
    long: bool,
    /// Lists directories in directories, too.
    #[arg(long, short = 'R')]
    recursive: bool,
}

/// Prints a file of an image.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct CatArguments {
    #[command(flatten)]
    image: image::Selected,
    /// A file of the image; links are followed inside it.
    path: OsString,
}

/// How much of a file is read at a time.
const READ_BYTES: usize = 1 << 20;

pub(super) fn list(arguments: &ListArguments, output: &Output) -> Result<(), Failure> {
    let admitted = arguments.image.admit()?;
    let limits = Limits::default();
    let listing = || {
        let files = admitted.file_system(&limits)?;
        let path = fs::resolve(files.as_ref(), arguments.path.as_bytes(), &limits)?;
        let entries = entries(files.as_ref(), &path, arguments.recursive, &limits)?;
        Ok((path, entries))
    };
    let (directory, entries) = listing().map_err(|error| arguments.image.fault(error))?;
    output.answer(&Listing {
        image: arguments.image.image.image.display().to_string(),
        evidence: admitted.evidence(),
        entries,
        style: Style { long: arguments.long, directory },
    })
}

fn entries(
    files: &dyn FileSystem,
    path: &[u8],
    recursive: bool,
    limits: &Limits,
) -> confext_ddi::Result<Vec<Entry>> {
    let metadata = files.stat(path)?;
    if metadata.file_type != FileType::Directory {
        return Ok(vec![Entry::new(files, path.to_vec(), metadata)?]);
    }
    if recursive {
        return fs::walk(files, path, limits)?
            .map(|entry| entry.and_then(|(path, metadata)| Entry::new(files, path, metadata)))
            .collect();
    }
    let of_name = |name: Vec<u8>| {
        let path = if path.is_empty() { name } else { [path, b"/", &name].concat() };
        let metadata = files.stat(&path)?;
        Entry::new(files, path, metadata)
    };
    files.read_dir(path)?.into_iter().map(|entry| of_name(entry.name)).collect()
}

pub(super) fn cat(arguments: &CatArguments, output: &Output) -> Result<(), Failure> {
    let admitted = arguments.image.admit()?;
    let limits = Limits::default();
    let fault = |error| arguments.image.fault(error);
    let files = admitted.file_system(&limits).map_err(fault)?;
    let path = fs::resolve(files.as_ref(), arguments.path.as_bytes(), &limits).map_err(fault)?;
    let metadata = files.stat(&path).map_err(fault)?;
    if metadata.file_type != FileType::Regular {
        let found = metadata.file_type.as_str();
        return Err(fault(
            Lookup::NotAFile { path: format!("/{}", String::from_utf8_lossy(&path)), found }.into(),
        ));
    }
    if output.is_json() {
        let content = Content::new(files.read(&path).map_err(fault)?);
        return output.answer(&File { name: Name::new(&path), size_bytes: metadata.size_bytes, content });
    }
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset: u64 = 0;
    while offset < metadata.size_bytes {
        let count = files.read_at(&path, offset, &mut buffer).map_err(fault)?;
        if count == 0 {
            break;
        }
        out.write_all(buffer.get(..count).unwrap_or_default()).map_err(Failure::Output)?;
        offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    out.flush().map_err(Failure::Output)
}

/// A path in JSON, which has no way to write all of them as text.
#[derive(Serialize)]
struct Name {
    /// With replacement characters for what is not UTF-8.
    path: String,
    /// The bytes, where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
}

impl Name {
    fn new(path: &[u8]) -> Self {
        let path_base64 = std::str::from_utf8(path).is_err().then(|| STANDARD.encode(path));
        Self { path: format!("/{}", String::from_utf8_lossy(path)), path_base64 }
    }
}

#[derive(Serialize)]
struct Listing<'a> {
    image: String,
    evidence: &'a Evidence,
    entries: Vec<Entry>,
    #[serde(skip)]
    style: Style,
}

struct Style {
    long: bool,
    /// What the paths are shown relative to.
    directory: Vec<u8>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    name: Name,
    #[serde(flatten)]
    metadata: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip)]
    raw: Raw,
}

/// The bytes behind what JSON shows.
struct Raw {
    path: Vec<u8>,
    target: Vec<u8>,
}

impl Entry {
    fn new(files: &dyn FileSystem, path: Vec<u8>, metadata: Metadata) -> confext_ddi::Result<Self> {
        let target = match metadata.file_type {
            FileType::Symlink => Some(files.read_link(&path)?),
            _ => None,
        };
        Ok(Self {
            name: Name::new(&path),
            metadata,
            target: target.as_ref().map(|target| String::from_utf8_lossy(target).into_owned()),
            raw: Raw { path, target: target.unwrap_or_default() },
        })
    }

    /// Below the listed directory; a listed file by its own name.
    fn relative(&self, directory: &[u8]) -> &[u8] {
        let rest = self.raw.path.strip_prefix(directory).unwrap_or(&self.raw.path);
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        if rest.is_empty() { &self.raw.path } else { rest }
    }

    fn row(&self, directory: &[u8]) -> [Cell; 7] {
        let Metadata { file_type, mode, uid, gid, size_bytes, mtime_sec, rdev, .. } = &self.metadata;
        let letter = match file_type {
            FileType::Regular => '-',
            FileType::Directory => 'd',
            FileType::Symlink => 'l',
            FileType::CharDevice => 'c',
            FileType::BlockDevice => 'b',
            FileType::Fifo => 'p',
            FileType::Socket => 's',
        };
        let size = match rdev {
            Some((major, minor)) => format!("{major}, {minor}"),
            None => size_bytes.to_string(),
        };
        let mut name = Path(self.relative(directory)).to_string();
        if *file_type == FileType::Symlink {
            name = format!("{name} -> {}", Path(&self.raw.target));
        }
        let colour = if *file_type == FileType::Directory { NAME } else { "" };
        [
            Cell::new(letter),
            Cell::new(format_args!("{mode:04o}")),
            Cell::new(uid),
            Cell::new(gid),
            Cell::new(size),
            Cell::new(Time::from_unix(*mtime_sec)),
            Cell::coloured(colour, name),
        ]
    }
}

/// Those of `ls --long`.
const LONG: [Column; 7] = [
    Column::new("TYPE").piped(0, " "),
    Column::new("MODE").piped(0, " "),
    Column::new("USER").right().piped(5, " "),
    Column::new("GROUP").right().piped(5, " "),
    Column::new("SIZE").right().piped(10, " "),
    Column::new("CHANGED").piped(0, " "),
    Column::new("NAME"),
];

impl Listing<'_> {
    fn write(&self, paper: Paper, out: &mut dyn Write) -> io::Result<()> {
        if !self.style.long {
            let names = self.entries.iter().map(|entry| Path(entry.relative(&self.style.directory)));
            return names.into_iter().try_for_each(|name| writeln!(out, "{name}"));
        }
        let mut table = Table::new(paper, LONG);
        for entry in &self.entries {
            table.row(entry.row(&self.style.directory), out)?;
        }
        table.end(out)
    }
}

impl View for Listing<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write(Paper::Pipe, out)
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        self.write(Paper::Screen { columns }, out)
    }
}

#[derive(Serialize)]
struct File {
    #[serde(flatten)]
    name: Name,
    size_bytes: u64,
    #[serde(flatten)]
    content: Content,
}

/// The bytes of a file in JSON.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    Text(String),
    Base64(String),
}

impl Content {
    fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(STANDARD.encode(error.as_bytes())),
        }
    }
}

impl View for File {
    fn text(&self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
