//! Places that are written to and looked into, and programs that are run where they are asked for

use std::os::fd::AsFd as _;
use std::path::Path;

use confext_ddi::release::Class;
use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::machine::Machine;
use super::{Finding, State};
use crate::discover::{SearchState, discover};

/// The lock and what programs leave to each other is below it.
pub(super) fn run(machine: &Machine<'_>) -> Finding {
    let access = rustix::fs::accessat(machine.host.root(), "run", Access::WRITE_OK, AtFlags::EACCESS);
    match access {
        Ok(()) => Finding::yes("/run can be written to"),
        Err(Errno::NOENT) => {
            let root =
                rustix::fs::accessat(machine.host.root().as_fd(), ".", Access::WRITE_OK, AtFlags::EACCESS);
            match root {
                Ok(()) => Finding::yes("there is no /run, and it can be made"),
                Err(errno) => Finding::no(format!("there is no /run, and it cannot be made: {errno}"))
                    .advise("make the directory /run, on a tmpfs"),
            }
        }
        Err(Errno::ROFS) => Finding::no("/run is read-only: the lock of a merge cannot be taken")
            .advise("mount a tmpfs on /run, as a booted system has one"),
        Err(errno) => Finding::new(State::NotPermitted, format!("/run: {errno}"))
            .advise("run as root: the lock of a merge is below /run"),
    }
}

pub(super) fn extensions(machine: &Machine<'_>) -> Finding {
    let (mut there, mut found) = (Vec::new(), 0_usize);
    for class in [Class::Confext, Class::Sysext] {
        let discovery = match discover(machine.host, class) {
            Ok(discovery) => discovery,
            Err(error) => return Finding::new(State::Unknown, error.explain()).advise(error.hint()),
        };
        let listed = discovery.searched.iter().filter(|searched| searched.state == SearchState::Listed);
        there.extend(listed.map(|searched| searched.path));
        found = found.saturating_add(discovery.candidates.len());
    }
    if there.is_empty() {
        return Finding::no("none of the directories of extensions exists").advise(
            "put an image into /var/lib/confexts (for /etc) or /var/lib/extensions (for /usr and /opt)",
        );
    }
    Finding::yes(format!("{} with {found} extensions", there.join(", ")))
}

pub(super) fn mkfs_erofs(_: &Machine<'_>) -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join("mkfs.erofs"))
        .find(|file| rustix::fs::access(file.as_path(), Access::EXEC_OK).is_ok() && Path::is_file(file));
    match found {
        Some(file) => Finding::yes(file.display().to_string()),
        None => Finding::no("no mkfs.erofs in PATH")
            .advise("install erofs-utils for compressed EROFS; build makes EROFS without it, not compressed"),
    }
}
