//! Where the entries of an image come from: a directory or a tar archive.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use confext_ddi::build::{DirectoryOptions, TarOptions, Tree, Whiteouts, Xattrs};

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
    /// Leaves extended attributes out.
    #[arg(long)]
    no_xattrs: bool,
    /// What .wh. files of an OCI layer become: refuse, or overlay for the marks of an overlay. Without it, archives with
    /// such files are refused, and in directories they are files like any other.
    #[arg(long, value_parser = whiteouts)]
    whiteouts: Option<Whiteouts>,
}

impl Arguments {
    /// The entries. What comes through a pipe is kept beside `output` until the image is written.
    pub(super) fn tree(&self, output: &Path) -> Result<Tree, Failure> {
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
