//! Work directories: what an overlay that can be written to needs beside the directory that writes go to.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use crate::directory;
use crate::error::{Error, Result};
use crate::sys::{self, Mode, OFlags};

/// What the kernel makes in a work directory.
const CONTENT: [&[u8]; 2] = [b"work", b"index"];
/// Deeper than anything an overlay leaves behind: whole trees are moved into it before they are removed.
const MOST_LEVELS: usize = 256;

/// The names a hierarchy's work directory can have: the first is systemd's; the second is for the time of a refresh, when
/// the stack that goes still has the first, and until the next one.
pub(super) fn names(hierarchy: &str) -> [String; 2] {
    let component = super::mutable::component(hierarchy);
    [format!(".systemd-{component}-workdir"), format!(".systemd-{component}-workdir-2")]
}

/// The path of the work directory of a new stack, in the directory `outer`: that of the stack that is there is not free.
pub(super) fn free(outer: &Path, hierarchy: &str, occupied: Option<&Path>) -> PathBuf {
    let [first, second] = names(hierarchy).map(|name| outer.join(name));
    if occupied == Some(&first) { second } else { first }
}

/// A work directory: removed when this is dropped, unless it is kept.
#[derive(Debug)]
pub(crate) struct Work {
    parent: OwnedFd,
    name: String,
    kept: bool,
}

impl Work {
    /// Makes an empty one; what an interrupted merge left there goes.
    pub(super) fn make(parent: BorrowedFd<'_>, name: &str) -> Result<Self> {
        let failed = |error: io::Error| Error::os("make the work directory", name, error);
        if let Some(leftover) = Self::existing(parent, name)? {
            leftover.remove().map_err(failed)?;
        }
        let mode = Mode::from_raw_mode(0o700);
        rustix::fs::mkdirat(parent, name, mode).map_err(|errno| failed(errno.into()))?;
        let parent = parent.try_clone_to_owned().map_err(failed)?;
        let made = Self { parent, name: name.to_owned(), kept: false };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&made.parent, name, flags, Mode::empty())
            .and_then(|fd| rustix::fs::fchmod(fd, mode))
            .map_err(|errno| failed(errno.into()))?;
        Ok(made)
    }

    /// The one that is there, if it is one: kept until it is to be removed.
    ///
    /// # Errors
    ///
    /// `work-directory` when there is something else; `os`.
    pub(super) fn existing(parent: BorrowedFd<'_>, name: &str) -> Result<Option<Self>> {
        let failed = |error: io::Error| Error::os("open the work directory", name, error);
        let fd = match open(parent, name) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(wrong(name, "something that is no directory")),
            fd => fd.map_err(|errno| failed(errno.into()))?,
        };
        let metadata = directory::metadata(fd.as_fd()).map_err(failed)?;
        if metadata.mode & 0o7777 != 0o700 || metadata.uid != rustix::process::geteuid().as_raw() {
            return Err(wrong(name, &format!("mode {:04o}, owner {}", metadata.mode & 0o7777, metadata.uid)));
        }
        let names = directory::names(fd.as_fd()).map_err(|errno| failed(errno.into()))?;
        if let Some(other) = names.iter().find(|name| !CONTENT.contains(&name.as_slice())) {
            return Err(wrong(name, &format!("{:?} in it", String::from_utf8_lossy(other))));
        }
        let parent = parent.try_clone_to_owned().map_err(failed)?;
        Ok(Some(Self { parent, name: name.to_owned(), kept: true }))
    }

    /// As a place, below the same mount as the directory it was made in.
    pub(super) fn open(&self) -> Result<OwnedFd> {
        open(self.parent.as_fd(), &self.name)
            .map_err(|errno| Error::os("open the work directory", self.name.as_str(), errno))
    }

    /// Keeps it, and removes others of the hierarchy beside it: nothing uses them.
    ///
    /// # Errors
    ///
    /// As [`remove_beside`].
    pub(super) fn keep_alone(mut self, hierarchy: &str) -> Result<()> {
        self.kept = true;
        remove_beside(self.parent.as_fd(), hierarchy, &self.name)
    }

    /// Removes it with everything in it.
    pub(super) fn remove(mut self) -> io::Result<()> {
        self.kept = true;
        remove(self.parent.as_fd(), self.name.as_bytes(), MOST_LEVELS)
    }
}

/// Removes what an interrupted change left beside the work directory that is used.
///
/// # Errors
///
/// `work-directory` when something else is there; `os`.
pub(super) fn remove_beside(parent: BorrowedFd<'_>, hierarchy: &str, used: &str) -> Result<()> {
    names(hierarchy).iter().filter(|name| *name != used).try_for_each(|name| {
        let Some(work) = Work::existing(parent, name)? else { return Ok(()) };
        work.remove().map_err(|error| Error::os("remove the work directory", name.as_str(), error))
    })
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.kept {
            // Also done before the next one is made.
            let _ = remove(self.parent.as_fd(), self.name.as_bytes(), MOST_LEVELS);
        }
    }
}

fn wrong(name: &str, found: &str) -> Error {
    Error::conflict("work-directory", name, found, "an overlay's work directory")
}

fn open(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Removes a directory and what is below it, never across a mount and never through a link.
fn remove(parent: BorrowedFd<'_>, name: &[u8], levels: usize) -> io::Result<()> {
    let levels = levels.checked_sub(1).ok_or(Errno::LOOP)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    if sys::mount_id(fd.as_fd())? != sys::mount_id(parent)? {
        return Err(Errno::BUSY.into());
    }
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match rustix::fs::unlinkat(&fd, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => remove(fd.as_fd(), name.to_bytes(), levels)?,
            done => done?,
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// What is written down about a work directory: its path inside the root, as systemd escapes it, and a line feed.
pub(super) fn to_line(path: &str) -> String {
    let mut line = String::new();
    for byte in path.bytes() {
        match byte {
            b'\\' | b'"' | b'\'' => line.extend(['\\', char::from(byte)]),
            b'!'..=b'~' | b' ' => line.push(char::from(byte)),
            _ => line.push_str(&format!("\\{byte:03o}")),
        }
    }
    line.push('\n');
    line
}

/// Reads such a line.
///
/// # Errors
///
/// `work-directory` unless it is a relative path without `.`, `..` and empty parts.
pub(super) fn from_line(line: &[u8]) -> Result<PathBuf> {
    let shown = || String::from_utf8_lossy(line).trim_end().to_owned();
    let refused = || Error::conflict("work-directory", "work_dir", shown(), "a relative, normalized path");
    let text = unescape(line.strip_suffix(b"\n").unwrap_or(line)).ok_or_else(refused)?;
    let path = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&text));
    if is_normalized(&path) { Ok(path) } else { Err(refused()) }
}

/// Whether a path leads down from where it starts, in the one way to write it.
pub(super) fn is_normalized(path: &Path) -> bool {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    // Components leave out what changes nothing, like a slash at the end.
    let same = path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
    plain && same && !path.as_os_str().is_empty()
}

/// Takes C escapes off; `None` for one that is not known, and for a zero byte.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = if *first == b'\\' { escaped(after)? } else { (*first, after) };
        if byte == 0 {
            return None;
        }
        bytes.push(byte);
        rest = after;
    }
    Some(bytes)
}

/// What follows a backslash, and the rest.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (kind, rest) = text.split_first()?;
    let byte = match kind {
        b'a' => 0x07,
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'r' => b'\r',
        b's' => b' ',
        b'\\' | b'"' | b'\'' => *kind,
        b'x' => return number(rest.get(..2)?, 16).zip(rest.get(2..)),
        _ => return number(text.get(..3)?, 8).zip(text.get(3..)),
    };
    Some((byte, rest))
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_path_is_read_as_it_was_written() {
        for path in ["var/lib/extensions.mutable/.systemd-etc-workdir", "a b/\"c\"\\'d", "ü/\n\u{1}"] {
            let line = to_line(path);
            assert!(line.ends_with('\n') && line.is_ascii() && line.lines().count() == 1, "{line}");
            assert_eq!(from_line(line.as_bytes()).unwrap(), Path::new(path));
        }
        assert_eq!(from_line(b"a\\x41\\101\\s\\tb").unwrap(), Path::new("aAA \tb"));
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for line in [
            "",
            "\n",
            "/abs\n",
            "../x\n",
            "a/../b\n",
            "a/./b\n",
            "./a\n",
            "a//b\n",
            "a/\n",
            ".\n",
            "a\\000\n",
            "a\\q\n",
            "a\\",
            "a\\x4",
            "a\\x+1",
            "a\\400\n",
            "\\x2e\\x2e/a\n",
            "\\057a\n",
        ] {
            assert_eq!(from_line(line.as_bytes()).unwrap_err().code(), "work-directory", "{line:?}");
        }
    }

    #[test]
    fn only_a_work_directory_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let parent = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let existing = |name: &str| Work::existing(parent.as_fd(), name);
        assert!(existing("missing").unwrap().is_none());
        let work = Work::make(parent.as_fd(), "w").unwrap();
        std::fs::create_dir_all(dir.path().join("w/work/#1/deep")).unwrap();
        std::fs::write(dir.path().join("w/work/#1/deep/file"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("w/work/link")).unwrap();
        assert!(existing("w").unwrap().is_some());
        // Made again over what was left.
        let again = Work::make(parent.as_fd(), "w").unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("w")).unwrap().count(), 0);
        drop((work, again));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

        // Of the names of a hierarchy only the one that is used stays.
        let [first, second] = names("etc");
        std::fs::create_dir(dir.path().join(&first)).unwrap();
        std::fs::set_permissions(dir.path().join(&first), std::fs::Permissions::from_mode(0o700)).unwrap();
        Work::make(parent.as_fd(), &second).unwrap().keep_alone("etc").unwrap();
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, [second.as_str()]);
        remove_beside(parent.as_fd(), "etc", "").unwrap();

        Work::make(parent.as_fd(), "w").unwrap().keep_alone("none").unwrap();
        std::fs::write(dir.path().join("w/other"), "").unwrap();
        assert_eq!(existing("w").unwrap_err().code(), "work-directory");
        std::fs::remove_file(dir.path().join("w/other")).unwrap();
        std::fs::set_permissions(dir.path().join("w"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(existing("w").unwrap_err().code(), "work-directory");
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("w", dir.path().join("link")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(existing(name).unwrap_err().code(), "work-directory");
        }
    }
}
