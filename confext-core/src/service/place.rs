//! Small files inside a root, written whole or not at all: on disk before they have their name

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::{Mode, OFlags};

/// What writing came to.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// use confext_core::{Host, service::{DropIn, Lifetime, Wrote}};
/// use confext_ddi::unit::{Entry, Extensions, Name};
///
/// let host = Host::open(root.path())?;
/// let drop_in = DropIn::new(&Name::parse("app.service")?, "50-confext.conf", Lifetime::Persistent)?;
/// let extensions = Extensions::of([Entry::image("/var/lib/app.raw")], []);
/// assert_eq!(drop_in.write(&host, &extensions)?, Wrote::New);
/// // Nothing to tell the service manager the second time.
/// assert_eq!(drop_in.write(&host, &extensions)?, Wrote::Same);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrote {
    /// It is there now.
    New,
    /// It is another one now.
    Changed,
    /// It was there, the same.
    Same,
}

impl Wrote {
    /// `new`, `changed` or `same`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Same => "same",
        }
    }
}

/// The mode of a file that everybody may read.
pub(super) const PLAIN: u32 = 0o644;
/// That of a program.
pub(super) const PROGRAM: u32 = 0o755;
/// More than any file that is written here has.
const MOST_BYTES: u64 = 1 << 20;

/// Puts a file at a path inside the root; directories on the way are made.
pub(super) fn write(host: &Host, path: &Path, content: &[u8], mode: u32) -> Result<Wrote> {
    let (parent, name) = split(host, path)?;
    let before = match host.read(path, "file", MOST_BYTES) {
        Ok(before) if before == content => return Ok(Wrote::Same),
        Ok(_) => Wrote::Changed,
        Err(Error::Os { source, .. }) if source.kind() == ErrorKind::NotFound => Wrote::New,
        // It is replaced, whatever it is.
        Err(_) => Wrote::Changed,
    };
    let directory = make(host, parent)?;
    let failed = |operation| move |source: std::io::Error| Error::os(operation, host.display(path), source);
    let hidden = format!(".#{name}.{}", std::process::id());
    let made = put(&directory, &hidden, content, mode).and_then(|()| {
        rustix::fs::renameat(&directory, hidden.as_str(), &directory, name)?;
        Ok(rustix::fs::fsync(&directory)?)
    });
    if made.is_err() {
        // What is left has a name that nobody reads.
        let _ = rustix::fs::unlinkat(&directory, hidden.as_str(), AtFlags::empty());
    }
    made.map_err(failed("write"))?;
    Ok(before)
}

pub(super) fn put(directory: &OwnedFd, name: &str, content: &[u8], mode: u32) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // What a process of the same number left that was killed.
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut file = File::from(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(content)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    file.sync_all()
}

/// Removes a file, and its directory where that is one of drop-ins with nothing in it.
pub(super) fn remove(host: &Host, path: &Path) -> Result<bool> {
    let (parent, name) = split(host, path)?;
    let failed = |source: std::io::Error| Error::os("remove", host.display(path), source);
    let directory = match open(host, parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        directory => directory.map_err(failed)?,
    };
    match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        removed => removed.map_err(|errno| failed(errno.into()))?,
    }
    rustix::fs::fsync(&directory).map_err(|errno| failed(errno.into()))?;
    if let (true, Some(above), Some(own)) =
        (parent.extension().is_some_and(|end| end == "d"), parent.parent(), parent.file_name())
    {
        // It stays where other drop-ins are in it.
        let _ = open(host, above).map(|above| rustix::fs::unlinkat(above, own, AtFlags::REMOVEDIR));
    }
    Ok(true)
}

fn split<'a>(host: &Host, path: &'a Path) -> Result<(&'a Path, &'a str)> {
    let parts = path.parent().zip(path.file_name().and_then(|name| name.to_str()));
    parts.ok_or_else(|| Error::os("write", host.display(path), Errno::INVAL))
}

fn open(host: &Host, path: &Path) -> std::io::Result<OwnedFd> {
    let place = host.open_path(path, OFlags::DIRECTORY)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(place, c".", flags, Mode::empty())?)
}

/// Opens a directory inside the root, and makes what is missing of it.
pub(super) fn make(host: &Host, path: &Path) -> Result<OwnedFd> {
    let failed = |source: std::io::Error| Error::os("make", host.display(path), source);
    match open(host, path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened.map_err(failed),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(Errno::NOENT.into()));
    };
    let parent = make(host, parent)?;
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    rustix::fs::fsync(&parent).map_err(|errno| failed(errno.into()))?;
    open(host, path).map_err(failed)
}

/// The names in a directory inside the root; none where there is no such directory.
pub(super) fn names(host: &Host, directory: &Path) -> Result<Vec<Vec<u8>>> {
    let failed = |error| Error::os("list", host.display(directory), error);
    let place = match host.open_path(directory, OFlags::DIRECTORY) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => return Ok(Vec::new()),
        place => place.map_err(failed)?,
    };
    directory::names(place.as_fd()).map_err(|errno| failed(errno.into()))
}
