//! Calls of the kernel, tried where that changes nothing

use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags};

use super::machine::{Listed, Machine};
use super::{Finding, State};
use crate::host::Ability;
use crate::sys::{self, MountSource, OFlags, OpenTreeFlags, SealFlags};

/// `MS_SHARED`
const SHARED: u64 = 1 << 20;

pub(super) fn mount_calls(machine: &Machine<'_>) -> Finding {
    match sys::open_tree(machine.host.root(), c"", OpenTreeFlags::AT_EMPTY_PATH) {
        Ok(_) => Finding::yes("open_tree answers"),
        Err(error) => Finding::no(format!("open_tree: {error}"))
            .advise("use Linux 5.2 or newer, in a container that allows the calls for mounting"),
    }
}

pub(super) fn detached_layers(machine: &Machine<'_>) -> Finding {
    if machine.file_system("overlay") != Listed::Yes {
        return Finding::new(State::Unknown, "overlay is not loaded, and trying would load it");
    }
    let state = State::from(Ability::of_detached_layers());
    let why = match state {
        State::Yes => "an overlay of two detached mounts was made",
        State::NotPermitted => "this process may make no mount to try it with",
        _ => {
            "overlayfs takes no detached mounts as layers: layers are staged where nobody sees them, which is as good"
        }
    };
    Finding::new(state, why)
}

pub(super) fn mount_beneath(machine: &Machine<'_>) -> Finding {
    let state = State::from(Ability::of_mount_beneath(machine.host.root()));
    let why = match state {
        State::Yes => "move_mount knows MOVE_MOUNT_BENEATH",
        State::NotPermitted => "this process may not move mounts",
        _ => "move_mount does not know MOVE_MOUNT_BENEATH: stacks are exchanged by propagation",
    };
    Finding::new(state, why)
}

pub(super) fn mount_numbers(_: &Machine<'_>) -> Finding {
    match MountSource::current() {
        MountSource::Calls => Finding::yes("statmount and listmount answer"),
        MountSource::Table => Finding::no(
            "statmount or listmount is not there or forbidden: the table of mounts in /proc is read, which has numbers \
             that are used again",
        ),
    }
}

pub(super) fn propagation(machine: &Machine<'_>) -> Finding {
    let place = machine.host.open_path(Path::new("etc"), OFlags::DIRECTORY);
    let place = place.or_else(|_| machine.host.root().try_clone_to_owned());
    let info = place.and_then(|place| sys::mount_info(sys::mount_id(place.as_fd())?));
    match info {
        Ok(info) if info.propagation & SHARED != 0 => Finding::yes(
            "what is mounted over /etc reaches other mount namespaces: the mount there is shared",
        ),
        Ok(_) => Finding::no(
            "the mount of /etc is not shared: what is merged is seen in this mount namespace only",
        )
        .advise("run in the mount namespace of process 1, or make the mount shared (mount --make-rshared /)"),
        Err(error) => {
            Finding::new(State::Unknown, format!("the mount of /etc cannot be asked about: {error}"))
        }
    }
}

pub(super) fn sealed_memory(_: &Machine<'_>) -> Finding {
    let sealed =
        sys::memfd("confext-doctor").and_then(|memory| sys::add_seals(memory.as_fd(), SealFlags::WRITE));
    match sealed {
        Ok(()) => Finding::yes("memory was made and sealed"),
        Err(error) => Finding::no(format!("memory cannot be made and sealed: {error}"))
            .advise("allow memfd_create, or have images attached as dm-verity"),
    }
}

pub(super) fn process_descriptors(_: &Machine<'_>) -> Finding {
    let own = Pid::from_raw(i32::try_from(std::process::id()).unwrap_or(1)).unwrap_or(Pid::INIT);
    match rustix::process::pidfd_open(own, PidfdFlags::empty()) {
        Ok(_) => Finding::yes("pidfd_open answers"),
        Err(error) => Finding::no(format!("pidfd_open: {error}"))
            .advise("use Linux 5.8 or newer, in a container that allows pidfd_open and setns"),
    }
}
