//! Where writes to a merged hierarchy go: found and checked before anything changes, made when the stack is assembled.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use confext_ddi::release::Class;
use confext_ddi::settings::Mutability;
use rustix::fs::{AtFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::upper::Over;
use super::{Audience, Change, retire, workdir};
use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::state::{self, Current, Merged, Mutable, Record, Writes};
use crate::sys::{self, OFlags};

/// Where the directories that writes go to are.
pub(super) const DIRECTORY: &str = "var/lib/extensions.mutable";
/// Whatever is merged, writes do not go below it.
const HIERARCHIES: [&str; 3] = ["usr", "opt", "etc"];

/// What a mode comes to for one hierarchy.
#[derive(Debug)]
pub(crate) enum Target {
    /// It cannot be written to, and nothing was written before.
    Nothing,
    /// It cannot be written to, and what was written before is seen.
    Import(Found),
    /// Writes go to this directory.
    Directory(Found),
    /// Writes go to the host's own directory.
    Host(Found),
    /// Writes go to a directory that is to be made.
    Missing,
    /// Writes go to memory, over what was written before.
    Memory(Option<Found>),
}

/// A directory that is there.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) fd: OwnedFd,
    /// Inside the root, links resolved.
    pub(super) path: PathBuf,
}

/// A hierarchy's name in one word, as in the name of its directory.
pub(super) fn component(hierarchy: &str) -> String {
    hierarchy.trim_matches('/').replace('/', ".")
}

impl Target {
    /// Looks for what a mode needs; changes nothing.
    ///
    /// # Errors
    ///
    /// `mutable-directory` when something else is in its place, or it lies where it cannot be used; `mutable-loop` when
    /// the hierarchy would be a layer of itself; `os`.
    pub(crate) fn find(host: &Host, hierarchy: &str, mode: Mutability) -> Result<Self> {
        let found = match mode {
            Mutability::No | Mutability::Ephemeral => None,
            _ => look(host, hierarchy)?,
        };
        Ok(match (mode, found) {
            (Mutability::No, _) | (Mutability::Auto | Mutability::Import, None) => Self::Nothing,
            (Mutability::Yes, None) => Self::Missing,
            (Mutability::Yes | Mutability::Auto, Some((found, Whose::Host))) => Self::Host(found),
            (Mutability::Yes | Mutability::Auto, Some((found, Whose::Other))) => Self::Directory(found),
            (Mutability::Ephemeral | Mutability::EphemeralImport, None) => Self::Memory(None),
            (_, Some((_, Whose::Host))) => {
                let target = host.display(&Path::new(DIRECTORY).join(component(hierarchy)));
                let found = format!("a link to /{hierarchy} itself");
                return Err(Error::conflict("mutable-loop", target, found, "a directory beside it"));
            }
            (Mutability::Import, Some((found, _))) => Self::Import(found),
            (Mutability::Ephemeral | Mutability::EphemeralImport, Some((found, _))) => {
                Self::Memory(Some(found))
            }
        })
    }

    /// Whether the hierarchy is merged for this alone, without files of any extension.
    pub(crate) fn acts(&self, present: bool) -> bool {
        match self {
            Self::Nothing => false,
            Self::Import(_) | Self::Directory(_) | Self::Host(_) => true,
            Self::Missing | Self::Memory(_) => present,
        }
    }

    /// What systemd calls the mutable directory of the hierarchy.
    pub(crate) fn origin(&self, hierarchy: &str) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Missing => Some(format!("/{DIRECTORY}/{}", component(hierarchy))),
            Self::Memory(_) => Some(format!("/run/systemd/sysext/{}", component(hierarchy))),
            Self::Import(found) | Self::Directory(found) | Self::Host(found) => {
                Some(format!("/{}", found.path.display()))
            }
        }
    }

    /// Whether the host's own directory is on top, and so not below the extensions.
    pub(crate) fn is_host(&self) -> bool {
        matches!(self, Self::Host(_))
    }

    /// What was written before, where it is only seen.
    pub(crate) fn imported(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Import(found) | Self::Memory(Some(found)) => Some(found.fd.as_fd()),
            _ => None,
        }
    }

    /// The directory that is used, whether it is written to or seen.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Import(found) | Self::Directory(found) | Self::Host(found) | Self::Memory(Some(found)) => {
                Some(&found.path)
            }
            Self::Nothing | Self::Missing | Self::Memory(None) => None,
        }
    }

    /// What a merge of this comes to, as it is written down.
    pub(crate) fn planned(&self, hierarchy: &str, mode: Mutability, occupied: Option<&Path>) -> Mutable {
        let made = Path::new(DIRECTORY).join(component(hierarchy));
        let path = self.path().unwrap_or(&made);
        let text = |path: &Path| path.display().to_string();
        let outer = path.parent().unwrap_or(Path::new(""));
        let work = || text(&workdir::free(outer, hierarchy, occupied));
        let writes = match self {
            Self::Nothing | Self::Import(_) => Writes::Nowhere,
            Self::Directory(_) | Self::Missing => Writes::Directory { path: text(path), work: work() },
            Self::Host(_) => Writes::Host { work: work() },
            Self::Memory(_) => Writes::Memory,
        };
        let imported = self.imported().and(self.path()).map(text);
        Mutable { mode, writes, imported }
    }

    /// Whether a merge of this comes to what was merged.
    fn is_as(&self, merged: &Mutable) -> bool {
        let imported = merged.imported.as_deref().map(Path::new);
        match (self, &merged.writes) {
            (Self::Nothing, Writes::Nowhere) | (Self::Memory(None), Writes::Memory) => imported.is_none(),
            (Self::Import(found), Writes::Nowhere) | (Self::Memory(Some(found)), Writes::Memory) => {
                imported == Some(&found.path)
            }
            (Self::Directory(found), Writes::Directory { path, .. }) => found.path == Path::new(path),
            (Self::Host(_), Writes::Host { .. }) => true,
            _ => false,
        }
    }

    /// Refuses a directory that another stack writes to, or that two of this merge would share.
    ///
    /// # Errors
    ///
    /// `mutable-in-use`; `os`.
    pub(crate) fn require_unused(
        host: &Host,
        class: Class,
        targets: &[(&str, &Self)],
        audience: Audience,
    ) -> Result<()> {
        if targets.iter().all(|(_, target)| target.path().is_none()) {
            return Ok(());
        }
        let mut used = Vec::new();
        for other in [Class::Sysext, Class::Confext] {
            for hierarchy in other.hierarchies() {
                let replaced = audience == Audience::Everybody
                    && other == class
                    && targets.iter().any(|(name, _)| name == hierarchy);
                let Current::Merged(merged) = state::look(host, other, hierarchy)? else { continue };
                let written = retire::directory(host, other, hierarchy, &merged)?;
                if let (false, Some(path)) = (replaced, written) {
                    used.push((other, (*hierarchy).to_owned(), path));
                }
            }
        }
        for (hierarchy, target) in targets {
            let Some(path) = target.path() else { continue };
            let overlaps = |used: &Path| used.starts_with(path) || path.starts_with(used);
            let sibling = targets.iter().filter(|(name, _)| name != hierarchy).find_map(|(name, target)| {
                let path = target.path().filter(|path| overlaps(path))?;
                Some((class, (*name).to_owned(), path.to_path_buf()))
            });
            let other = used.iter().find(|(_, _, used)| overlaps(used)).cloned();
            if let Some((other, name, used)) = sibling.or(other) {
                let found = format!("the same as {} of the {other} over /{name}", used.display());
                let expected = "a directory of its own";
                return Err(Error::conflict("mutable-in-use", host.display(path), found, expected));
            }
        }
        Ok(())
    }
}

/// Whether a directory is the hierarchy that it is for.
enum Whose {
    Host,
    Other,
}

fn look(host: &Host, hierarchy: &str) -> Result<Option<(Found, Whose)>> {
    let place = Path::new(DIRECTORY).join(component(hierarchy));
    let failed = |error| Error::os("open", host.display(&place), error);
    let wrong = |found: &str, expected: &str| {
        Error::conflict("mutable-directory", host.display(&place), found, expected)
    };
    let fd = match host.open_path(&place, OFlags::DIRECTORY) {
        Err(error) => {
            return match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => Ok(None),
                Some(Errno::NOTDIR) => Err(wrong("a file", "a directory")),
                Some(Errno::LOOP) => Err(wrong("a link that leads back to itself", "a directory")),
                _ => Err(failed(error)),
            };
        }
        Ok(fd) => fd,
    };
    let path = host.path_of(fd.as_fd()).ok_or_else(|| wrong("nothing any more", "a directory"))?;
    let own = host.open_path(Path::new(hierarchy), OFlags::DIRECTORY).ok();
    if own.is_some_and(|own| same_file(own.as_fd(), fd.as_fd()).unwrap_or_default()) {
        return Ok(Some((Found { fd, path }, Whose::Host)));
    }
    let overlapping =
        HIERARCHIES.iter().find(|other| path.starts_with(other) || Path::new(other).starts_with(&path));
    if let Some(other) = overlapping {
        let found = format!("/{}", path.display());
        return Err(wrong(&found, &format!("a directory that is not below /{other} or above it")));
    }
    Ok(Some((Found { fd, path }, Whose::Other)))
}

pub(super) fn same_file(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> std::io::Result<bool> {
    let id = |stat: &sys::Statx| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
    Ok(id(&directory::statx(a)?) == id(&directory::statx(b)?))
}

impl Target {
    /// Refuses a directory that cannot be written to, or would let others in; changes nothing.
    ///
    /// # Errors
    ///
    /// `mutable-mode`, `mutable-read-only`, `mutable-directory`; `os`.
    pub(crate) fn check(&self, over: &Over<'_>) -> Result<()> {
        let (Self::Directory(found) | Self::Host(found)) = self else { return Ok(()) };
        let fd = if self.is_host() { over.base.unwrap_or(found.fd.as_fd()) } else { found.fd.as_fd() };
        let target = || over.host.display(&found.path);
        let failed = |error| Error::os("stat", target(), error);
        if let Some(base) = over.base {
            let (theirs, own) =
                (directory::metadata(fd).map_err(failed)?, directory::metadata(base).map_err(failed)?);
            if theirs.mode != own.mode || (theirs.uid != own.uid && theirs.uid != 0) {
                let (found, expected) = (
                    format!("mode {:04o}, owner {}", theirs.mode, theirs.uid),
                    format!("mode {:04o}, owner {} as /{}", own.mode, own.uid, over.hierarchy),
                );
                return Err(Error::conflict("mutable-mode", target(), found, expected));
            }
        }
        if sys::volume_flags(fd).map_err(failed)?.contains(StatVfsMountFlags::RDONLY) {
            return Err(read_only(target()));
        }
        let metadata = state::metadata_directory(over.class);
        match rustix::fs::statat(fd, metadata, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(errno.into())),
            Ok(_) => Err(Error::conflict("mutable-directory", target(), metadata, "nothing of this name")),
        }
    }
}

pub(super) fn read_only(target: String) -> Error {
    Error::conflict("mutable-read-only", target, "a read-only file system", "one that can be written to")
}

/// What is different between how hierarchies are merged and how a mode would merge them.
///
/// # Errors
///
/// As [`Target::find`].
pub(crate) fn changes(
    host: &Host,
    class: Class,
    mode: Mutability,
    stacks: &[(&'static str, Merged)],
) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for hierarchy in class.hierarchies() {
        let target = Target::find(host, hierarchy, mode)?;
        let merged = stacks.iter().find(|(name, _)| name == hierarchy).map(|(_, merged)| merged);
        let stays = match merged.map(|merged| (merged, merged.record.as_deref())) {
            Some((_, Some(record))) if record.mutable.mode != mode => {
                let change = Change::Mutability { found: record.mutable.mode, expected: mode };
                if !changes.contains(&change) {
                    changes.push(change);
                }
                true
            }
            Some((now, Some(record))) => {
                let files =
                    record.layers.iter().flat_map(|layer| &layer.hierarchies).any(|name| name == hierarchy);
                target.is_as(&record.mutable)
                    && (files || target.acts(!record.created))
                    && !is_interrupted(host, hierarchy, record, now)?
            }
            Some((_, None)) => true,
            None => !target.acts(is_there(host, hierarchy)),
        };
        let change = (!stays).then(|| Change::Hierarchy { hierarchy: (*hierarchy).to_owned() });
        changes.extend(change);
    }
    Ok(changes)
}

/// Whether a refresh ended between making the old stack read-only and putting the new one in place.
fn is_interrupted(host: &Host, hierarchy: &str, record: &Record, now: &Merged) -> Result<bool> {
    if record.mutable.writes == Writes::Nowhere {
        return Ok(false);
    }
    let flags = sys::volume_flags(now.top.as_fd())
        .map_err(|error| Error::os("stat", host.display(Path::new(hierarchy)), error))?;
    Ok(flags.contains(StatVfsMountFlags::RDONLY))
}

fn is_there(host: &Host, hierarchy: &str) -> bool {
    host.open_path(Path::new(hierarchy), OFlags::DIRECTORY).is_ok()
}

/// What a merge that was not made yet finds written: where the mode makes a directory, or memory, there is nothing in it.
/// `None` where a hierarchy would not be merged for it alone.
///
/// # Errors
///
/// As [`Target::find`].
pub(crate) fn found_written(host: &Host, hierarchy: &str, mode: Mutability) -> Result<Option<Mutable>> {
    let target = Target::find(host, hierarchy, mode)?;
    let planned = target.planned(hierarchy, mode, None);
    let writes = match target {
        Target::Missing | Target::Memory(_) => Writes::Nowhere,
        _ => planned.writes,
    };
    let acts = target.acts(is_there(host, hierarchy));
    Ok(acts.then_some(Mutable { writes, ..planned }))
}

/// Whether a mode merges anything without extensions.
///
/// # Errors
///
/// As [`Target::find`].
pub(crate) fn acts_alone(host: &Host, class: Class, mode: Mutability) -> Result<bool> {
    for hierarchy in class.hierarchies() {
        if Target::find(host, hierarchy, mode)?.acts(is_there(host, hierarchy)) {
            return Ok(true);
        }
    }
    Ok(false)
}
