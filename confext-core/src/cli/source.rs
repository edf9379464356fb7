//! Where the entries of an image come from: a directory or a tar archive.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use confext_ddi::build::{
    DirectoryOptions, Labels, Otherwise, OwnerRange, Patterns, Rules, TarOptions, Tree, Whiteouts,
    XattrPattern, Xattrs,
};
use confext_ddi::release::ImageKind;

use super::failure::Failure;
use crate::error::Error;

/// What becomes the image.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("entries").required(true))]
pub(super) struct Arguments {
    /// The directory whose content becomes the image.
    #[arg(long, value_name = "DIR", group = "entries")]
    source: Option<PathBuf>,
    /// The tar archive whose content becomes the image, not compressed; - is standard input.
    #[arg(long, value_name = "FILE", group = "entries")]
    tar: Option<PathBuf>,
    /// Makes every entry owned by this user and group, as numbers.
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    owner: Option<(u32, u32)>,
    /// Makes users from FIRST to LAST those from NEW on. Can be given again, the first that fits counts.
    #[arg(long, value_name = "FIRST[-LAST]=NEW", value_parser = owners, conflicts_with = "owner")]
    map_uid: Vec<OwnerRange>,
    /// The same with groups.
    #[arg(long, value_name = "FIRST[-LAST]=NEW", value_parser = owners, conflicts_with = "owner")]
    map_gid: Vec<OwnerRange>,
    /// Refuses users and groups that are not mapped.
    #[arg(long, conflicts_with = "owner")]
    mapped_only: bool,
    /// Leaves entries out, by a pattern as in .gitignore: *.pyc, cache/, /usr/share/doc. Can be given again.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Leaves extended attributes out.
    #[arg(long)]
    no_xattrs: bool,
    /// Leaves out extended attributes of this name, or with * at its end, that start so. Can be given again.
    #[arg(long, value_name = "NAME")]
    drop_xattr: Vec<String>,
    /// Labels entries by a list in the form of SELinux's file_contexts.
    #[arg(long, value_name = "FILE")]
    file_contexts: Option<PathBuf>,
    /// What .wh. files of an OCI layer become: refuse, or overlay for the marks of an overlay. Without it, archives with
    /// such files are refused, and in directories they are files like any other.
    #[arg(long, value_parser = whiteouts)]
    whiteouts: Option<Whiteouts>,
}

impl Arguments {
    /// The entries, changed by the rules. What comes through a pipe is kept beside `output` until the image is written.
    pub(super) fn tree(&self, kind: ImageKind, output: &Path) -> Result<Tree, Failure> {
        let rules = self.rules()?;
        let mut tree = self.entries(output)?;
        tree.apply(&rules, kind)?;
        Ok(tree)
    }

    /// The files of a boot partition. Rules are about the image proper; that extended attributes are left out is said of
    /// both.
    pub(super) fn boot_tree(&self, directory: &Path) -> Result<Tree, Failure> {
        let mut options = DirectoryOptions::default();
        options.xattrs = if self.no_xattrs { Xattrs::Leave } else { Xattrs::All };
        Ok(Tree::from_directory(directory, &options)?)
    }

    fn rules(&self) -> Result<Rules, Failure> {
        let argument =
            |name| move |error: confext_ddi::Error| Failure::Argument { name, error: error.into() };
        let mut rules = Rules::default();
        rules.exclude = Patterns::new(&self.exclude).map_err(argument("--exclude"))?;
        rules.owners.users.clone_from(&self.map_uid);
        rules.owners.groups.clone_from(&self.map_gid);
        if self.mapped_only {
            rules.owners.otherwise = Otherwise::Refuse;
        }
        rules.drop_xattrs = self.drop_xattr.iter().map(XattrPattern::new).collect();
        if let Some(path) = &self.file_contexts {
            let name = "--file-contexts";
            let failed = |source| Error::os("read", path.display().to_string(), source);
            let text = std::fs::read_to_string(path).map_err(failed);
            let text = text.map_err(|error| Failure::Argument { name, error })?;
            rules.labels = Some(Labels::parse(&text).map_err(argument(name))?);
        }
        Ok(rules)
    }

    fn entries(&self, output: &Path) -> Result<Tree, Failure> {
        let xattrs = if self.no_xattrs { Xattrs::Leave } else { Xattrs::All };
        if let Some(path) = &self.tar {
            let mut options = TarOptions::default();
            (options.owner, options.xattrs) = (self.owner, xattrs);
            options.whiteouts = self.whiteouts.unwrap_or_default();
            return Ok(Tree::from_tar(archive(path, output)?, &options)?);
        }
        let mut options = DirectoryOptions::default();
        (options.owner, options.xattrs, options.whiteouts) = (self.owner, xattrs, self.whiteouts);
        Ok(Tree::from_directory(self.source.as_deref().unwrap_or(Path::new("")), &options)?)
    }
}

/// Opens an archive so that it can be read at any place.
fn archive(path: &Path, output: &Path) -> Result<File, Failure> {
    let failed = |operation| move |source| Error::os(operation, path.display().to_string(), source);
    let mut file = if path == Path::new("-") {
        File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed("read"))?)
    } else {
        File::open(path).map_err(failed("open"))?
    };
    if file.metadata().map_err(failed("look at"))?.is_file() {
        return Ok(file);
    }
    let mut kept = unnamed(output)
        .map_err(|source| Error::os("create a file beside", output.display().to_string(), source))?;
    io::copy(&mut file, &mut kept).map_err(failed("copy"))?;
    Ok(kept)
}

/// A file beside `output` that is gone when it is closed.
fn unnamed(output: &Path) -> io::Result<File> {
    let path = output.with_file_name(format!(".#confext-tar.{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn owners(text: &str) -> Result<OwnerRange, String> {
    OwnerRange::parse(text).map_err(|error| error.to_string())
}

fn owner(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    numbers.ok_or_else(|| "expected two numbers, like 0:0".to_owned())
}

fn whiteouts(text: &str) -> Result<Whiteouts, String> {
    match text {
        "refuse" => Ok(Whiteouts::Refuse),
        "overlay" => Ok(Whiteouts::Overlay),
        _ => Err("expected refuse or overlay".to_owned()),
    }
}
