//! Building to a path: the finished image appears there at once, or nothing does.

use super::attach::{SignOptions, SignedImage, sign_image};
use super::ddi::{Builder, Built};
use crate::error::{Error, Lookup, Refused, Result, ResultExt as _};
use crate::signature::Sign;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
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
        self.build_file_watched(path, signer, &mut |_| ControlFlow::Continue(()))
    }

    /// The same, and `tell` hears how many bytes were written and read back so far, from one of the threads that work. It can
    /// end the work.
    ///
    /// # Errors
    ///
    /// As [`Builder::build_file`]; `cancelled`.
    pub fn build_file_watched(
        self,
        path: impl AsRef<Path>,
        signer: Option<&dyn Sign>,
        tell: &mut Tell<'_>,
    ) -> Result<Built> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let replace = self.replace;
        if !replace {
            must_be_free(path)?;
        }
        let mut partial = Partial::create(path).within(place.clone())?;
        let built = Watched::watch(&mut partial.file, tell, |file| self.build(file, signer))?;
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
    sign_file_watched(source, output, signer, options, &mut |_| ControlFlow::Continue(()))
}

/// The same, and `tell` hears how many bytes were checked and written so far, from one of the threads that work. It can end the
/// work.
///
/// # Errors
///
/// As [`sign_file`]; `cancelled`.
pub fn sign_file_watched(
    source: impl AsRef<Path>,
    output: impl AsRef<Path>,
    signer: &dyn Sign,
    options: &SignOptions,
    tell: &mut Tell<'_>,
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
    let sign = |file: &mut Watched<'_, '_, File>| sign_image(file, signer, options);
    let signed = Watched::watch(&mut partial.file, tell, sign)?;
    partial.file.set_permissions(permissions).within(to.clone())?;
    if in_place {
        partial.finish(output).within(to)?
    } else {
        partial.finish_new(output).within(to)?
    }
    Ok(signed)
}

/// Hears how many bytes are done, and says whether to go on.
pub type Tell<'a> = dyn FnMut(u64) -> ControlFlow<()> + Send + 'a;

/// A file of which somebody hears how far it is.
struct Watched<'f, 't, F> {
    file: &'f mut F,
    tell: &'f mut Tell<'t>,
    done: u64,
    /// How many bytes there have to be before the next word.
    next: u64,
    is_cancelled: bool,
}

/// How many bytes there are between two words.
const STEP_BYTES: u64 = 1 << 20;

impl<'f, 't, F> Watched<'f, 't, F> {
    /// Does something with the file. That the caller ended it is the reason, whatever came of that.
    fn watch<T>(
        file: &'f mut F,
        tell: &'f mut Tell<'t>,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let mut watched = Self { file, tell, done: 0, next: 0, is_cancelled: false };
        let result = watched.told(0).map_err(Error::from).and_then(|()| work(&mut watched));
        if watched.is_cancelled {
            return Err(Refused::Cancelled { done: watched.done, total: watched.done }.into());
        }
        let last = (watched.tell)(watched.done);
        // All of it is done: what is left is to give it its name, which a caller who has had enough does not want.
        match (result, last) {
            (Ok(_), ControlFlow::Break(())) => {
                Err(Refused::Cancelled { done: watched.done, total: watched.done }.into())
            }
            (result, _) => result,
        }
    }

    fn told(&mut self, bytes: usize) -> std::io::Result<()> {
        self.done = self.done.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.done < self.next {
            return Ok(());
        }
        self.next = self.done.saturating_add(STEP_BYTES);
        if self.is_cancelled || (self.tell)(self.done).is_break() {
            self.is_cancelled = true;
            self.next = 0;
            return Err(std::io::Error::other("cancelled"));
        }
        Ok(())
    }
}

impl<F: Read> Read for Watched<'_, '_, F> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buf)?;
        self.told(count)?;
        Ok(count)
    }
}

impl<F: Write> Write for Watched<'_, '_, F> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(buf)?;
        self.told(count)?;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl<F: Seek> Seek for Watched<'_, '_, F> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// For an answer before the work. What counts is [`Partial::finish_new`].
pub(crate) fn must_be_free(target: &Path) -> Result<()> {
    match target.symlink_metadata() {
        Ok(_) => Err(exists(target)),
        Err(_) => Ok(()),
    }
}

fn exists(target: &Path) -> Error {
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

    #[test]
    fn a_build_that_is_cancelled_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("app.raw");
        let builder = || {
            let mut tree = crate::build::Tree::new();
            let meta = crate::build::Meta::new(0o644);
            tree.add_file("etc/big", vec![7; 5 << 20], meta).unwrap();
            let release = crate::build::ReleaseFields::any();
            Builder::new(crate::release::Class::Confext, "app").tree(tree).release(release).unsigned()
        };
        let mut told = Vec::new();
        let built = builder()
            .build_file_watched(&target, None, &mut |done| {
                told.push(done);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(told.is_sorted() && told.first() == Some(&0) && told.len() > 2, "{told:?}");
        assert!(told.last().is_some_and(|last| *last >= 5 << 20 && *last <= 2 * built.size_bytes));
        std::fs::remove_file(&target).unwrap();
        for enough in [0, 1, 1 << 20, 4 << 20, *told.last().unwrap()] {
            let mut tell =
                |done| if done >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let error = builder().build_file_watched(&target, None, &mut tell).unwrap_err();
            assert_eq!(error.code(), "cancelled", "{enough}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{enough}");
        }
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
