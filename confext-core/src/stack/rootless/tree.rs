//! From directories in memory and the host's directory to one tree: an overlay, or the host's files mounted one by one.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use confext_ddi::release::Class;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::portion::OPAQUE;
use super::stage::Stage;
use crate::error::{Error, Result};
use crate::sys::{self, Depth, MountAttrFlags, Place, ResolveFlags, Statx};

/// How a stack is made.
///
/// ```no_run
/// # let root = tempfile::tempdir()?;
/// # for (path, text) in [
/// #     ("etc/os-release", "ID=demo\n"),
/// #     ("run/confexts/app/etc/extension-release.d/extension-release.app", "ID=demo\n"),
/// #     ("run/confexts/app/etc/app.conf", "answer = 42\n"),
/// # ] {
/// #     std::fs::create_dir_all(root.path().join(path).parent().ok_or("no parent")?)?;
/// #     std::fs::write(root.path().join(path), text)?;
/// # }
/// # use confext_core::{Host, Options};
/// # use confext_ddi::{policy::Policy, release::Class};
/// # let host = Host::open(root.path())?;
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// use confext_core::{Stack, exec::may_mount, stack::Manner};
///
/// let stack = Stack::assemble(&host, Class::Confext, &options)?;
/// match stack.manner() {
///     Manner::Mounts => println!("images are mounted"),
///     Manner::Tree { because } => println!("no overlay, as {because}"),
///     _ => println!("files in memory"),
/// }
/// assert_eq!(*stack.manner() == Manner::Mounts, may_mount());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "manner", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Manner {
    /// Of mounted images, by who may mount them.
    Mounts,
    /// Of files in memory, by an ordinary user: an overlay over the host's directory.
    Overlay,
    /// Of files in memory, by an ordinary user: a tree in which the host's files are mounted one by one, as they are at
    /// the start. What the host adds to its directory later is not seen.
    Tree {
        /// Why it is no overlay.
        because: String,
    },
}

/// A detached tree.
pub(super) struct Made {
    pub(super) tree: OwnedFd,
    pub(super) manner: Manner,
}

/// Makes it: `layers` bottom first, `top` over them, and the host's directory below.
pub(super) fn make(
    stage: &Stage,
    class: Class,
    (layers, top): (&[String], &str),
    (base, hierarchy): (&OwnedFd, &str),
) -> Result<Made> {
    let because = match overlay(stage, class, (layers, top), base) {
        Ok(tree) => return Ok(Made { tree, manner: Manner::Overlay }),
        Err(error) => error.to_string(),
    };
    let failed = |error| Error::os("put together", format!("/{hierarchy} in memory"), error);
    let tree = Plain::make(stage, (layers, top), base.as_fd()).map_err(failed)?;
    Ok(Made { tree, manner: Manner::Tree { because } })
}

fn overlay(
    stage: &Stage,
    class: Class,
    (layers, top): (&[String], &str),
    base: &OwnedFd,
) -> io::Result<OwnedFd> {
    let helper = stage.helper();
    // With mounts below that are to stay where they are, there is no copy, and no overlay.
    let copy = helper.clone_tree(base.as_fd(), Path::new(""), Depth::Single).map_err(|error| match error
        .raw_os_error()
    {
        Some(libc::EINVAL) => io::Error::other("something is mounted below the host's directory"),
        _ => error,
    })?;
    helper.set_attributes(copy.as_fd(), MountAttrFlags::empty(), Depth::Single)?;
    let name = stage.next();
    rustix::fs::mkdirat(stage.root(), name.as_str(), Mode::RWXU)?;
    helper.move_mount(copy.as_fd(), stage.root(), Path::new(&name), Place::OnTop)?;
    let mut lower = vec![top];
    lower.extend(layers.iter().rev().map(String::as_str));
    lower.push(&name);
    let tree = stage.overlay(class, &lower);
    tree.map_err(|error| io::Error::new(error.kind(), format!("the kernel makes no overlay here: {error}")))
}

/// The tree without an overlay.
struct Plain<'a> {
    stage: &'a Stage,
}

/// A directory at one place of the tree, of which layer it is.
struct Part {
    directory: OwnedFd,
    /// Whether it is the host's: its files are mounted, those of extensions are moved.
    is_base: bool,
}

/// What has a name in one of the parts.
struct Entry<'p> {
    part: &'p Part,
    place: OwnedFd,
    stat: Statx,
}

impl<'a> Plain<'a> {
    /// Moves everything into the top directory, which is the tree then.
    fn make(stage: &'a Stage, (layers, top): (&[String], &str), base: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let open = |name: &str| open_directory(stage.root(), name.as_bytes());
        let mut parts = Vec::new();
        for name in layers.iter().rev() {
            parts.push(Part { directory: open(name)?, is_base: false });
        }
        let base = open_directory(base, b".")?;
        parts.push(Part { directory: base, is_base: true });
        let plain = Self { stage };
        plain.merge(open(top)?.as_fd(), &parts, 0)?;
        stage.helper().clone_tree(stage.root(), Path::new(top), Depth::Recursive)
    }

    /// Fills a directory with what the parts have, topmost first.
    fn merge(&self, into: BorrowedFd<'_>, parts: &[Part], depth: u32) -> io::Result<()> {
        /// As deep as walks go.
        const MOST: u32 = 256;
        if depth > MOST {
            return Err(Errno::LOOP.into());
        }
        let mut names = std::collections::BTreeSet::new();
        for part in parts {
            names.extend(list(part.directory.as_fd())?);
        }
        for name in names {
            self.merge_name(into, parts, (&name, depth))?;
        }
        Ok(())
    }

    fn merge_name(
        &self,
        into: BorrowedFd<'_>,
        parts: &[Part],
        (name, depth): (&[u8], u32),
    ) -> io::Result<()> {
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for part in parts {
            let Some(entry) = Entry::look(part, name)? else { continue };
            // What is mounted on the host stays on top of everything, as over an overlay.
            if part.is_base && entry.stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
                entries.clear();
                entries.push(entry);
                break;
            }
            entries.push(entry);
        }
        let Some(first) = entries.first() else { return Ok(()) };
        if is_whiteout(&first.stat) || is_there(into, name)? {
            return Ok(());
        }
        // Directories are merged down to the first that hides those below it.
        let count = entries.iter().take_while(|entry| entry.file_type() == FileType::Directory).count();
        let opaque = entries.iter().position(|entry| !entry.part.is_base && is_opaque(entry.place.as_fd()));
        let count = opaque.map_or(count, |at| count.min(at.saturating_add(1)));
        if count < 2 {
            return self.take(into, first, name);
        }
        let mut merged = Vec::new();
        for entry in entries.iter().take(count) {
            let directory = open_directory(entry.part.directory.as_fd(), name)?;
            merged.push(Part { directory, is_base: entry.part.is_base });
        }
        rustix::fs::mkdirat(into, name, Mode::RWXU)?;
        let directory = open_directory(into, name)?;
        self.merge(directory.as_fd(), &merged, depth.saturating_add(1))?;
        let mode = Mode::from_raw_mode(u32::from(first.stat.stx_mode & 0o1777));
        Ok(rustix::fs::fchmod(&directory, mode)?)
    }

    /// All of one part's, whatever is in it.
    fn take(&self, into: BorrowedFd<'_>, entry: &Entry<'_>, name: &[u8]) -> io::Result<()> {
        let from = entry.part.directory.as_fd();
        if !entry.part.is_base {
            return Ok(rustix::fs::renameat_with(from, name, into, name, RenameFlags::NOREPLACE)?);
        }
        match entry.file_type() {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                return Ok(rustix::fs::symlinkat(target, into, name)?);
            }
            FileType::Directory => rustix::fs::mkdirat(into, name, Mode::RWXU)?,
            _ => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                drop(rustix::fs::openat(into, name, flags, Mode::RUSR)?);
            }
        }
        let helper = self.stage.helper();
        let copy = helper.clone_tree(entry.place.as_fd(), Path::new(""), Depth::Recursive)?;
        helper.set_attributes(copy.as_fd(), MountAttrFlags::empty(), Depth::Recursive)?;
        let name = Path::new(OsStr::from_bytes(name));
        helper.move_mount(copy.as_fd(), into, name, Place::OnTop)
    }
}

impl<'p> Entry<'p> {
    fn look(part: &'p Part, name: &[u8]) -> io::Result<Option<Self>> {
        let resolve = ResolveFlags::NO_SYMLINKS;
        let place = match sys::open_path(part.directory.as_fd(), name, OFlags::NOFOLLOW, resolve) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            place => place?,
        };
        let stat = sys::statx(place.as_fd(), c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        Ok(Some(Self { part, place, stat }))
    }

    fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.stx_mode.into())
    }
}

fn is_whiteout(stat: &Statx) -> bool {
    let is_device = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::CharacterDevice;
    is_device && (stat.stx_rdev_major, stat.stx_rdev_minor) == (0, 0)
}

fn is_opaque(place: BorrowedFd<'_>) -> bool {
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    let mut value = [0_u8; 1];
    rustix::fs::getxattr(path, OPAQUE, &mut value).is_ok_and(|count| count == 1 && value == *b"y")
}

fn is_there(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn open_directory(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    sys::open_beneath(directory, name, flags, ResolveFlags::NO_SYMLINKS)
}

fn list(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    Ok(names)
}
