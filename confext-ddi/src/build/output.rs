//! Building to a path: the finished image appears there at once, or nothing does.

use super::attach::{SignOptions, SignedImage, sign_image};
use super::ddi::{Builder, Built};
use crate::error::{Lookup, Result, ResultExt as _};
use crate::signature::Sign;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// How many left-over names are tried before giving up.
const MAX_TRIES: u32 = 1000;

impl Builder {
    /// Builds to a new file of this path, or, with [`Builder::replace_file`], in place of one that is there.
    ///
    /// The image grows under another name in the same directory and is put in place when it is complete and on disk: who
    /// opens the path sees the old file or the new one. On failure nothing is left.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`]; `output-exists`; an I/O error with the path.
    pub fn build_file(self, path: impl AsRef<Path>, signer: Option<&dyn Sign>) -> Result<Built> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let replace = self.replace;
        if !replace {
            must_be_free(path)?;
        }
        let mut partial = Partial::create(path).within(place.clone())?;
        let built = self.build(&mut partial.file, signer)?;
        if replace {
            partial.finish(path).within(place)?
        } else {
            partial.finish_new(path).within(place)?
        }
        Ok(built)
    }
}

/// Signs the image in the file `source` as [`sign_image`] does, and writes it to the file `output`: the same path, or one
/// where nothing is.
///
/// The image is copied next to `output`, checked and signed there, and put in place when it is complete and on disk: who
/// opens the path sees the old file or the new one, also after a crash. What is checked and signed is the copy, so that nobody
/// can exchange the bytes in between. Permissions are those of `source`, the owner is who signs. On failure nothing is
/// left.
///
/// # Errors
///
/// As [`sign_image`]; `output-exists`; an I/O error with the path.
pub fn sign_file(
    source: impl AsRef<Path>,
    output: impl AsRef<Path>,
    signer: &dyn Sign,
    options: &SignOptions,
) -> Result<SignedImage> {
    let (source, output) = (source.as_ref(), output.as_ref());
    let (from, to) = (source.display().to_string(), output.display().to_string());
    let mut image = File::open(source).within(from.clone())?;
    let in_place = source == output;
    if !in_place {
        must_be_free(output)?;
    }
    let mut partial = Partial::create(output).within(to.clone())?;
    let permissions = image.metadata().within(from)?.permissions();
    std::io::copy(&mut image, &mut partial.file).within(to.clone())?;
    let signed = sign_image(&mut partial.file, signer, options)?;
    partial.file.set_permissions(permissions).within(to.clone())?;
    if in_place {
        partial.finish(output).within(to)?
    } else {
        partial.finish_new(output).within(to)?
    }
    Ok(signed)
}

/// For an answer before the work. What counts is [`Partial::finish_new`].
pub(crate) fn must_be_free(target: &Path) -> Result<()> {
    match target.symlink_metadata() {
        Ok(_) => Err(exists(target)),
        Err(_) => Ok(()),
    }
}

fn exists(target: &Path) -> crate::Error {
    Lookup::OutputExists { path: target.display().to_string() }.into()
}

/// A file that is removed unless it is finished.
pub(crate) struct Partial {
    pub(crate) file: File,
    path: Option<PathBuf>,
}

impl Partial {
    pub(crate) fn create(target: &Path) -> Result<Self> {
        let name =
            target.file_name().ok_or(std::io::ErrorKind::InvalidInput).map_err(std::io::Error::from)?;
        let mut try_number = 0_u32;
        loop {
            // Hidden, and without the suffix that makes a file an image: discovery must not see it.
            let mut hidden = OsString::from(".#");
            hidden.push(name);
            hidden.push(format!(".{try_number}.partial"));
            let path = target.with_file_name(hidden);
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file, path: Some(path) }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && try_number < MAX_TRIES => {
                    try_number = try_number.saturating_add(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Puts it at a path, in place of what is there.
    pub(crate) fn finish(mut self, target: &Path) -> Result<()> {
        self.file.sync_all()?;
        if let Some(path) = &self.path {
            std::fs::rename(path, target)?;
        }
        self.path = None;
        Ok(())
    }

    /// Puts it at a path where nothing is: in one step, so that of two that write to it one fails.
    pub(crate) fn finish_new(self, target: &Path) -> Result<()> {
        self.file.sync_all()?;
        let Some(path) = &self.path else { return Ok(()) };
        // The other name goes when `self` does.
        match std::fs::hard_link(path, target) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(target)),
            // A file system without hard links: an empty file takes the name, and is replaced.
            Err(_) => match OpenOptions::new().write(true).create_new(true).open(target) {
                Ok(_) => self.finish(target),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(target)),
                Err(error) => Err(error.into()),
            },
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nobody is left to report to; the name says what it is.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn of_many_that_write_a_new_file_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("app.raw");
        let partials: Vec<_> = (0..8).map(|_| Partial::create(&target).unwrap()).collect();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let write = |(number, mut partial): (usize, Partial)| {
                partial.file.write_all(&number.to_le_bytes()).unwrap();
                let target = &target;
                scope.spawn(move || partial.finish_new(target).map(|()| number))
            };
            let threads: Vec<_> = partials.into_iter().enumerate().map(write).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let written: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        let [winner] = written[..] else { panic!("{written:?}") };
        assert_eq!(std::fs::read(&target).unwrap(), winner.to_le_bytes());
        for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(error.code(), "output-exists");
            assert!(error.to_string().contains("app.raw"), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_is_something() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("app.raw");
        std::os::unix::fs::symlink("nowhere", &target).unwrap();
        let partial = Partial::create(&target).unwrap();
        assert_eq!(must_be_free(&target).unwrap_err().code(), "output-exists");
        assert_eq!(partial.finish_new(&target).unwrap_err().code(), "output-exists");
        assert!(!dir.path().join("nowhere").exists());
    }
}
