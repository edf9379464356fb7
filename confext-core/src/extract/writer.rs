//! From files of an image to files of this machine, one after the other.

use std::collections::HashMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use confext_ddi::Limits;
use confext_ddi::error::{Corrupt, Error as Fault, LimitExceeded, Refused};
use confext_ddi::fs::{self, FileSystem, FileType, Metadata};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::attributes::{apply, shown};
use super::journal::{Journal, split};
use super::place::{Destination, enter, enter_all, random};
use super::{Devices, Existing, Extracted, Options};
use crate::directory::{file_type, statx};
use crate::error::{Error, Result};
use crate::sys::{self, ResolveFlags};

/// How much of a file is read at a time.
const CHUNK_BYTES: u64 = 1 << 20;
/// What is left out when it is all zeros.
const HOLE_BYTES: usize = 4096;

/// A directory that is being filled.
struct Level {
    path: Vec<u8>,
    fd: OwnedFd,
    /// Of one that was made: its attributes, which are put on it when it is full.
    finish: Option<Metadata>,
}

/// The first name of a file that says to have more than one, and which file it is.
struct First {
    path: Vec<u8>,
    identity: (u32, u32, u64),
}

pub(super) struct Writer<'a, P> {
    destination: &'a Destination,
    options: &'a Options,
    limits: &'a Limits,
    progress: P,
    journal: Journal,
    levels: Vec<Level>,
    links: HashMap<u64, First>,
    done: Extracted,
    chunk: Vec<u8>,
}

impl<'a, P: FnMut(u64) -> ControlFlow<()>> Writer<'a, P> {
    pub(super) fn new(
        destination: &'a Destination,
        options: &'a Options,
        limits: &'a Limits,
        progress: P,
    ) -> Self {
        let journal = Journal::new(limits);
        let (levels, links, chunk) = (Vec::new(), HashMap::new(), Vec::new());
        let done = Extracted::default();
        Self { destination, options, limits, progress, journal, levels, links, done, chunk }
    }

    pub(super) fn into_parts(self) -> (Extracted, Journal) {
        (self.done, self.journal)
    }

    pub(super) fn write_all(&mut self, files: &dyn FileSystem) -> Result<()> {
        let root = files.stat(b"")?;
        let is_new = self.destination.is_new();
        self.done.directories = u64::from(is_new);
        let fd = self.destination.root().try_clone();
        let fd = fd.map_err(|error| Error::os("open", self.destination.shown(), error))?;
        self.levels.push(Level { path: Vec::new(), fd, finish: is_new.then_some(root) });
        for file in fs::walk(files, b"", self.limits)? {
            let (path, meta) = file?;
            self.leave_until(files, &path)?;
            self.write(files, path, &meta)?;
        }
        while !self.levels.is_empty() {
            self.leave(files)?;
        }
        Ok(())
    }

    /// Finishes the directories that `path` is not in.
    fn leave_until(&mut self, files: &dyn FileSystem, path: &[u8]) -> Result<()> {
        let (parent, name) = split(path);
        while self.levels.len() > 1 && self.levels.last().is_some_and(|level| level.path != parent) {
            self.leave(files)?;
        }
        let is_here = self.levels.last().is_some_and(|level| level.path == parent);
        // What a reader of images here does not let through; this is the last place to find out.
        if !is_here || matches!(name, b"" | b"." | b"..") || name.len() > 255 || name.contains(&0) {
            let (found, expected) = ("a name that is none", "1 to 255 bytes, no slash, no NUL, no . and ..");
            return Err(Error::conflict("extract-name", shown(path), found, expected));
        }
        Ok(())
    }

    fn leave(&mut self, files: &dyn FileSystem) -> Result<()> {
        if let Some(Level { path, fd, finish: Some(meta) }) = self.levels.pop() {
            let attributes = apply(fd.as_fd(), &path, &meta, &files.xattrs(&path)?, self.options)?;
            self.add(attributes);
        }
        Ok(())
    }

    /// The directory that is being filled.
    fn here(&self) -> BorrowedFd<'_> {
        self.levels.last().map_or(self.destination.root(), |level| &level.fd).as_fd()
    }

    fn write(&mut self, files: &dyn FileSystem, path: Vec<u8>, meta: &Metadata) -> Result<()> {
        let is_device = matches!(meta.file_type, FileType::CharDevice | FileType::BlockDevice);
        match self.options.devices {
            Devices::Refuse if is_device => {
                let (found, expected) = (meta.file_type.as_str(), "no device nodes");
                return Err(Error::conflict("extract-device", shown(&path), found, expected));
            }
            Devices::LeaveOut if is_device => {
                self.done.devices_left_out = self.done.devices_left_out.saturating_add(1);
                return Ok(());
            }
            _ => {}
        }
        self.journal.reserve(&path)?;
        let (_, name) = split(&path);
        let found = found_at(self.here(), name).map_err(failed("stat", &path))?;
        match (found, self.options.existing) {
            (Some(FileType::Directory), _) if meta.file_type == FileType::Directory => {
                let fd = enter(self.here(), name).map_err(|error| Error::os("open", shown(&path), error))?;
                self.levels.push(Level { path, fd, finish: None });
                Ok(())
            }
            (Some(found), Existing::Refuse) | (Some(found @ FileType::Directory), Existing::Replace) => {
                let expected = match self.options.existing {
                    Existing::Refuse => "nothing",
                    Existing::Replace => "no directory",
                };
                Err(Error::conflict(
                    "extract-exists",
                    shown(&path),
                    format!("a {}", found.as_str()),
                    expected,
                ))
            }
            (Some(_), Existing::Replace) => self.replace(files, path, meta),
            (None, _) if meta.file_type == FileType::Directory => self.make_directory(path, meta),
            (None, _) => {
                let name = name.to_vec();
                self.make(files, (&path, &path), &name, meta)
            }
        }
    }

    /// Puts something where a file or link is, which stays in the same directory until all is done.
    fn replace(&mut self, files: &dyn FileSystem, path: Vec<u8>, meta: &Metadata) -> Result<()> {
        let (_, name) = split(&path);
        let name = name.to_vec();
        let other = format!(".#confext.{:016x}", random());
        self.done.replaced = self.done.replaced.saturating_add(1);
        if meta.file_type == FileType::Directory {
            let here = self.here();
            rustix::fs::renameat_with(here, name.as_slice(), here, &other, RenameFlags::NOREPLACE)
                .map_err(failed("rename", &path))?;
            self.journal.set_aside(&path, other);
            return self.make_directory(path, meta);
        }
        // Under the other name first: the step below takes it away again if a later one fails.
        let parent = split(&path).0.to_vec();
        let new = crate::directory::join(&parent, other.as_bytes());
        self.journal.reserve(&new)?;
        self.make(files, (&path, &new), other.as_bytes(), meta)?;
        let here = self.here();
        rustix::fs::renameat_with(here, &other, here, name.as_slice(), RenameFlags::EXCHANGE)
            .map_err(failed("exchange", &path))?;
        self.journal.replaced(&path, other);
        Ok(())
    }

    fn make_directory(&mut self, path: Vec<u8>, meta: &Metadata) -> Result<()> {
        let (_, name) = split(&path);
        rustix::fs::mkdirat(self.here(), name, Mode::RWXU).map_err(failed("mkdir", &path))?;
        self.journal.made_directory(&path);
        let fd = enter(self.here(), name).map_err(|error| Error::os("open", shown(&path), error))?;
        self.done.directories = self.done.directories.saturating_add(1);
        self.levels.push(Level { path, fd, finish: Some(meta.clone()) });
        Ok(())
    }

    /// Makes the file of `path` under `name`, which is `new` below the destination.
    fn make(
        &mut self,
        files: &dyn FileSystem,
        (path, new): (&[u8], &[u8]),
        name: &[u8],
        meta: &Metadata,
    ) -> Result<()> {
        if meta.nlink > 1
            && let Some(first) = self.links.get(&meta.ino)
        {
            link(self.destination.root().as_fd(), first, self.here(), name, path)?;
            self.journal.made_file(new);
            self.done.hard_links = self.done.hard_links.saturating_add(1);
            return Ok(());
        }
        let fd = match meta.file_type {
            FileType::Regular => self.make_regular(files, (path, new), name, meta)?,
            _ => self.make_other(files, (path, new), name, meta)?,
        };
        let attributes = apply(fd.as_fd(), path, meta, &files.xattrs(path)?, self.options)?;
        self.add(attributes);
        if meta.nlink > 1 {
            self.journal.reserve(path)?;
            let identity = identity(fd.as_fd()).map_err(|error| Error::os("stat", shown(path), error))?;
            self.links.insert(meta.ino, First { path: path.to_vec(), identity });
        }
        Ok(())
    }

    fn make_regular(
        &mut self,
        files: &dyn FileSystem,
        (path, new): (&[u8], &[u8]),
        name: &[u8],
        meta: &Metadata,
    ) -> Result<OwnedFd> {
        let total = self.done.bytes.saturating_add(meta.size_bytes);
        if total > self.limits.content_bytes {
            let (what, most) = ("contents of all files", self.limits.content_bytes);
            return Err(Fault::from(LimitExceeded::Bytes { what, found: total, most }).into());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.here(), name, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(file.map_err(failed("create", path))?);
        self.journal.made_file(new);
        self.fill(files, path, meta.size_bytes, &file)?;
        self.done.files = self.done.files.saturating_add(1);
        Ok(file.into())
    }

    /// Writes the content; what is zero stays a hole.
    fn fill(&mut self, files: &dyn FileSystem, path: &[u8], size_bytes: u64, file: &File) -> Result<()> {
        let failed = |error| Error::os("write", shown(path), error);
        file.set_len(size_bytes).map_err(failed)?;
        let mut offset: u64 = 0;
        while offset < size_bytes {
            let len = size_bytes.saturating_sub(offset).min(CHUNK_BYTES);
            self.chunk.resize(usize::try_from(len).unwrap_or(0), 0);
            let count = files.read_at(path, offset, &mut self.chunk)?;
            let chunk = self.chunk.get(..count).unwrap_or_default();
            if chunk.is_empty() {
                return Err(Fault::from(Corrupt::SourceChanged { path: shown(path), what: "size" }).into());
            }
            write_data(file, offset, chunk).map_err(failed)?;
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            offset = offset.saturating_add(count);
            self.done.bytes = self.done.bytes.saturating_add(count);
            if (self.progress)(self.done.bytes).is_break() {
                let (done, total) = (self.done.bytes, self.limits.content_bytes);
                return Err(Fault::from(Refused::Cancelled { done, total }).into());
            }
        }
        Ok(())
    }

    /// A link, a pipe, a socket or a device. Returns it open as a place.
    fn make_other(
        &mut self,
        files: &dyn FileSystem,
        (path, new): (&[u8], &[u8]),
        name: &[u8],
        meta: &Metadata,
    ) -> Result<OwnedFd> {
        let kind = match meta.file_type {
            FileType::Symlink => None,
            FileType::CharDevice => Some(rustix::fs::FileType::CharacterDevice),
            FileType::BlockDevice => Some(rustix::fs::FileType::BlockDevice),
            FileType::Socket => Some(rustix::fs::FileType::Socket),
            FileType::Fifo | FileType::Regular | FileType::Directory => Some(rustix::fs::FileType::Fifo),
        };
        match kind {
            None => {
                let target = files.read_link(path)?;
                rustix::fs::symlinkat(target.as_slice(), self.here(), name)
                    .map_err(failed("symlink", path))?;
                self.done.symlinks = self.done.symlinks.saturating_add(1);
            }
            Some(kind) => {
                let (major, minor) = meta.rdev.unwrap_or_default();
                let device = rustix::fs::makedev(major, minor);
                rustix::fs::mknodat(self.here(), name, kind, Mode::RUSR | Mode::WUSR, device)
                    .map_err(failed("mknod", path))?;
                self.done.special_files = self.done.special_files.saturating_add(1);
            }
        }
        self.journal.made_file(new);
        place(self.here(), name).map_err(|error| Error::os("open", shown(path), error))
    }

    fn add(&mut self, more: Extracted) {
        self.done.set_id_cleared = self.done.set_id_cleared.saturating_add(more.set_id_cleared);
        self.done.xattrs_left_out = self.done.xattrs_left_out.saturating_add(more.xattrs_left_out);
    }
}

/// Writes data to a new file; blocks of zeros are holes there already.
fn write_data(file: &File, offset: u64, data: &[u8]) -> std::io::Result<()> {
    let mut at = offset;
    let blocks: Vec<&[u8]> = data.chunks(HOLE_BYTES).collect();
    for run in blocks.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let len = run.iter().map(|block| block.len()).fold(0, usize::saturating_add);
        let start = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = data.get(start..start.saturating_add(len)).unwrap_or_default();
        if run.first().is_some_and(|block| !is_zero(block)) {
            file.write_all_at(bytes, at)?;
        }
        at = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }
    Ok(())
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// What has a name, if anything; a link is not followed.
fn found_at(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Option<FileType>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(
            file_type(rustix::fs::FileType::from_raw_mode(stat.st_mode)).unwrap_or(FileType::Regular),
        )),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens whatever has a name as a place; a link is not followed.
fn place(directory: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<OwnedFd> {
    let resolve = ResolveFlags::NO_MAGICLINKS;
    sys::open_below(directory, name, OFlags::PATH | OFlags::NOFOLLOW, resolve)
}

/// Which file an open one is.
fn identity(fd: BorrowedFd<'_>) -> std::io::Result<(u32, u32, u64)> {
    let stat = statx(fd)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}

/// Makes another name of a file that was extracted before.
fn link(
    root: BorrowedFd<'_>,
    first: &First,
    directory: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
) -> Result<()> {
    let changed = |found: &str| {
        let expected = "the file that was extracted there";
        Error::conflict("extract-changed", shown(&first.path), found, expected)
    };
    let (parent, first_name) = split(&first.path);
    let opened = enter_all(root, parent).and_then(|parent| place(parent.as_fd(), first_name));
    let opened = opened.map_err(|error| changed(&error.to_string()))?;
    let found = identity(opened.as_fd()).map_err(|error| Error::os("stat", shown(&first.path), error))?;
    if found != first.identity {
        return Err(changed("another file"));
    }
    // By this path, because linking an open file by itself takes a capability.
    let opened = format!("/proc/self/fd/{}", opened.as_raw_fd());
    rustix::fs::linkat(rustix::fs::CWD, opened, directory, name, AtFlags::SYMLINK_FOLLOW)
        .map_err(failed("link", path))
}

/// Turns the failure of a call on a path into an error.
fn failed(operation: &'static str, path: &[u8]) -> impl Fn(Errno) -> Error + use<> {
    let target = shown(path);
    move |errno| Error::os(operation, target.clone(), errno)
}
