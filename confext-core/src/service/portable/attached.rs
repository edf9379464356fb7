//! What is attached to a host: put in place, listed, and taken away again

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use confext_ddi::unit::Name;
use rustix::fs::{AtFlags, FlockOperation, RenameFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::text::{DROP_IN, PROFILE, marked};
use super::{Attachment, Content, Written, name_of};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::manager;
use crate::service::Lifetime;
use crate::service::find::DIRECTORIES;
use crate::service::place;

/// What names begin with while they are not complete: no unit is called so.
const HIDDEN: &str = ".#confext-";
/// More than any drop-in has.
const MOST_BYTES: u64 = 1 << 20;
/// How long the service manager may take to say whether a unit runs.
const WAIT: Duration = Duration::from_secs(10);

/// A portable service that is attached, by this program or by `portablectl`.
///
/// ```no_run
/// use confext_core::service::portable::{Attached, attached};
/// use confext_core::Host;
///
/// let all: Vec<Attached> = attached(&Host::open("/")?)?;
/// println!("{} are attached", all.len());
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Attached {
    /// The image or directory that is the root of its units.
    pub base: String,
    /// Its extensions, in the order in which they were named.
    pub extensions: Vec<String>,
    /// How long it counts.
    pub lifetime: Lifetime,
    /// Its units.
    pub units: Vec<String>,
    /// Units of which there are only drop-ins: whoever attached or detached it did not come to the end.
    pub incomplete: Vec<String>,
}

/// Where attached units are.
pub(super) const fn directory(lifetime: Lifetime) -> &'static str {
    match lifetime {
        Lifetime::Persistent => "/etc/systemd/system.attached",
        Lifetime::Runtime => "/run/systemd/system.attached",
    }
}

/// Whether there is something of this name. What cannot be looked at is not taken for nothing.
fn is_there(host: &Host, path: &Path) -> Result<bool> {
    match host.open_path(path, crate::sys::OFlags::NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(Error::os("open", host.display(path), error)),
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Reads the images that a drop-in names; `None` where there is none that attaching made.
fn read_marked(host: &Host, path: &Path) -> Result<Option<Vec<String>>> {
    match host.read(path, "drop-in", MOST_BYTES) {
        Ok(text) => Ok(marked(&String::from_utf8_lossy(&text))),
        // Something else has the name.
        Err(Error::Os { source, .. })
            if is_absent(&source) || Errno::from_io_error(&source).is_some_and(is_other) =>
        {
            Ok(None)
        }
        Err(error @ Error::Os { .. }) => Err(error),
        Err(_) => Ok(None),
    }
}

fn is_other(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::LOOP)
}

/// Units must be new: the drop-ins of an attached one would count for one that is there.
pub(super) fn check_absent<'a>(host: &Host, units: impl Iterator<Item = &'a str>) -> Result<()> {
    for unit in units {
        for directory in DIRECTORIES {
            let own = directory.ends_with(".attached");
            let path = Path::new(directory).join(unit);
            let beside = Path::new(directory).join(format!("{unit}.d"));
            // One with nothing in it is what detaching leaves when it is killed.
            let is_beside = own && is_there(host, &beside)? && !place::names(host, &beside)?.is_empty();
            for (path, is_there) in [(&path, is_there(host, &path)?), (&beside, is_beside)] {
                if is_there {
                    let found = format!("{} is there", path.display());
                    return Err(Error::conflict("portable-exists", unit, found, "a name that no unit has"));
                }
            }
        }
    }
    Ok(())
}

/// What is attached to a host.
///
/// # Errors
///
/// `os`.
pub fn attached(host: &Host) -> Result<Vec<Attached>> {
    let mut found = Vec::new();
    for lifetime in [Lifetime::Persistent, Lifetime::Runtime] {
        let directory = Path::new(directory(lifetime));
        let mut groups: BTreeMap<Vec<String>, Attached> = BTreeMap::new();
        let mut names = place::names(host, directory)?;
        names.sort();
        for name in names.iter().filter_map(|name| std::str::from_utf8(name).ok()) {
            let Some(unit) = name.strip_suffix(".d").filter(|unit| Name::parse(unit).is_ok()) else {
                continue;
            };
            let path = directory.join(name).join(DROP_IN);
            let Some(paths) = read_marked(host, &path)? else { continue };
            let mut rest = paths.iter().cloned();
            let base = rest.next().unwrap_or_default();
            let (units, incomplete, extensions) = (Vec::new(), Vec::new(), rest.collect());
            let new = Attached { base, extensions, lifetime, units, incomplete };
            let group = groups.entry(paths.clone()).or_insert(new);
            let list =
                if is_there(host, &directory.join(unit))? { &mut group.units } else { &mut group.incomplete };
            list.push(unit.to_owned());
        }
        found.extend(groups.into_values());
    }
    Ok(found)
}

/// Takes away what was attached of a base: the path that it was attached by, or its name without version. Units go before
/// their drop-ins, so that none is left that is not bound to its images. What else somebody put beside them stays.
///
/// # Errors
///
/// `portable-missing` when nothing is attached of it; `portable-active` when the service manager of this machine runs one of
/// its units, `portable-several` when several are of that name, `portable-busy`, `os`.
pub fn detach(host: &Host, base: &str) -> Result<Attached> {
    let all = attached(host)?;
    let exact = all.iter().filter(|one| one.base == base).count();
    let fits =
        |one: &&Attached| if exact > 0 { one.base == base } else { name_of(&one.base) == name_of(base) };
    let mut fitting = all.iter().filter(fits);
    let Some(one) = fitting.next() else {
        let expected = "an image that units are attached of";
        return Err(Error::conflict("portable-missing", base, "nothing that is attached", expected));
    };
    if let Some(other) = fitting.next() {
        let place = |one: &Attached| format!("{} in {}", one.base, directory(one.lifetime));
        let found = format!("{} and {}", place(one), place(other));
        return Err(Error::conflict("portable-several", base, found, "one of that name"));
    }
    refuse_running(host, &one.units)?;
    let failed = |source: std::io::Error| {
        Error::os("detach", host.display(Path::new(directory(one.lifetime))), source)
    };
    let Locked(place) = &lock(host, Path::new(directory(one.lifetime)))?;
    take_all(place, one.units.iter().chain(&one.incomplete).map(String::as_str))
        .map_err(|errno| failed(errno.into()))?;
    Ok(one.clone())
}

/// Only of this machine it is known what runs, and only where somebody answers.
fn refuse_running(host: &Host, units: &[String]) -> Result<()> {
    if !host.is_own() {
        return Ok(());
    }
    for unit in units.iter().filter(|unit| !unit.contains("@.")) {
        let Ok(state) = manager::unit_state(unit, WAIT) else { return Ok(()) };
        if !matches!(state.active.as_str(), "inactive" | "failed") {
            let found = format!("a unit that is {}", state.active);
            return Err(Error::conflict("portable-active", unit.clone(), found, "one that is stopped"));
        }
    }
    Ok(())
}

/// The directory of attached units, for oneself.
struct Locked(OwnedFd);

impl Drop for Locked {
    /// To close it is not enough: a child that another thread starts at this moment has it, too, until it runs its program.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Opens the directory, and has it for oneself.
fn lock(host: &Host, path: &Path) -> Result<Locked> {
    let place = place::make(host, path)?;
    match rustix::fs::flock(&place, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Locked(place)),
        Err(Errno::WOULDBLOCK) => {
            let (found, expected) = ("another program that attaches or detaches", "none");
            Err(Error::conflict("portable-busy", host.display(path), found, expected))
        }
        Err(errno) => Err(Error::os("lock", host.display(path), errno)),
    }
}

/// Puts all files of an attachment in place, or none.
pub(super) fn put(host: &Host, attachment: &Attachment) -> Result<()> {
    let path = Path::new(directory(attachment.lifetime));
    let Locked(place) = &lock(host, path)?;
    let units: Vec<&str> = attachment.units.iter().map(|unit| unit.name.as_str()).collect();
    check_absent(host, units.iter().copied())?;
    let mut done = Vec::new();
    let result = put_all(place, attachment, path, &mut done);
    if result.is_err() {
        take_back(place, &done);
        clear(place, &units);
        let _ = rustix::fs::fsync(place);
    }
    result.map_err(|errno| match errno {
        Errno::EXIST => {
            let (target, expected) = (units.join(", "), "names that no unit has");
            Error::conflict("portable-exists", target, "a unit that came meanwhile", expected)
        }
        errno => Error::os("attach", host.display(path), errno),
    })
}

fn put_all(
    place: &OwnedFd,
    attachment: &Attachment,
    path: &Path,
    done: &mut Vec<String>,
) -> rustix::io::Result<()> {
    let units = || attachment.units.iter().map(|unit| unit.name.as_str());
    clear(place, &units().collect::<Vec<_>>());
    // Everything is on disk under a hidden name before anything has its own.
    for unit in units() {
        let beside = format!("{unit}.d");
        let hidden = format!("{HIDDEN}{beside}");
        rustix::fs::mkdirat(place, hidden.as_str(), crate::sys::Mode::from_raw_mode(0o755))?;
        let own = open(place, &hidden)?;
        for file in of(&attachment.files, &path.join(&beside)) {
            write(&own, file.path.file_name(), &file.content)?;
        }
        rustix::fs::fsync(&own)?;
        for file in attachment.files.iter().filter(|file| file.path == path.join(unit)) {
            write(place, Some(format!("{HIDDEN}{unit}").as_ref()), &file.content)?;
        }
    }
    for name in units().map(|unit| format!("{unit}.d")) {
        rename(place, &name)?;
        done.push(name);
    }
    rustix::fs::fsync(place)?;
    for name in units().map(str::to_owned) {
        rename(place, &name)?;
        done.push(name);
    }
    rustix::fs::fsync(place)
}

fn of<'a>(files: &'a [Written], directory: &'a Path) -> impl Iterator<Item = &'a Written> {
    files.iter().filter(move |file| file.path.parent() == Some(directory))
}

fn rename(place: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    let hidden = format!("{HIDDEN}{name}");
    rustix::fs::renameat_with(place, hidden.as_str(), place, name, RenameFlags::NOREPLACE)
}

fn open(place: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    use crate::sys::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(place, name, flags, Mode::empty())
}

fn write(place: &OwnedFd, name: Option<&std::ffi::OsStr>, content: &Content) -> rustix::io::Result<()> {
    let name = name.and_then(|name| name.to_str()).ok_or(Errno::INVAL)?;
    match content {
        Content::LinkTo(target) => rustix::fs::symlinkat(target, place, name),
        Content::Text(text) => place::put(place, name, text.as_bytes(), place::PLAIN)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}

/// Takes what is left of names that are not complete, of an attempt that was killed, and directories with nothing in them.
fn clear(place: &OwnedFd, units: &[&str]) {
    for unit in units {
        remove_beside(place, &format!("{HIDDEN}{unit}.d")).ok();
        rustix::fs::unlinkat(place, format!("{HIDDEN}{unit}"), AtFlags::empty()).ok();
        // Only where nothing is in it.
        rustix::fs::unlinkat(place, format!("{unit}.d"), AtFlags::REMOVEDIR).ok();
    }
}

/// Takes units, and their drop-ins when it is on disk that there are no units any more.
fn take_all<'a>(place: &OwnedFd, units: impl Iterator<Item = &'a str> + Clone) -> rustix::io::Result<()> {
    for unit in units.clone() {
        gone(rustix::fs::unlinkat(place, unit, AtFlags::empty()))?;
    }
    rustix::fs::fsync(place)?;
    for unit in units {
        remove_beside(place, &format!("{unit}.d"))?;
    }
    rustix::fs::fsync(place)
}

/// Takes back what was put. What cannot be taken away is left to [`detach`], and with a unit all drop-ins.
fn take_back(place: &OwnedFd, done: &[String]) {
    let (beside, units): (Vec<&str>, Vec<&str>) =
        done.iter().map(String::as_str).partition(|name| name.ends_with(".d"));
    let left =
        units.iter().filter(|unit| gone(rustix::fs::unlinkat(place, **unit, AtFlags::empty())).is_err());
    if left.count() == 0 && rustix::fs::fsync(place).is_ok() {
        for name in beside {
            let _ = remove_beside(place, name);
        }
    }
}

/// Takes the drop-ins that attaching made, and their directory where nothing else is in it.
fn remove_beside(place: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    let own = match open(place, name) {
        Err(Errno::NOENT) => return Ok(()),
        own => own?,
    };
    // The one that names the images goes last: until then it can be found again.
    for file in [PROFILE, DROP_IN] {
        gone(rustix::fs::unlinkat(own.as_fd(), file, AtFlags::empty()))?;
    }
    match gone(rustix::fs::unlinkat(place, name, AtFlags::REMOVEDIR)) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        removed => removed,
    }
}

fn gone(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
