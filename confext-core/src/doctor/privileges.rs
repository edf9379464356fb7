//! What this process may do, and what it could do without privileges

use std::io;

use rustix::thread::CapabilitySet;

use super::machine::{Listed, Machine};
use super::{Finding, State};
use crate::sys::RehearsalStep;

/// What a process has that is in no user namespace but the first.
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];

pub(super) fn mount(machine: &Machine<'_>) -> Finding {
    let (admin, root) = (Machine::may(CapabilitySet::SYS_ADMIN), Machine::may(CapabilitySet::SYS_CHROOT));
    let inside = match in_first_namespace(machine) {
        Some(true) => "",
        Some(false) => ", in a user namespace of its own, which has no devices",
        None => ", in a user namespace that cannot be told from the first",
    };
    match (admin, root) {
        (true, true) => Finding::yes(format!("it has CAP_SYS_ADMIN and CAP_SYS_CHROOT{inside}")),
        (true, false) => Finding::yes(format!("it has CAP_SYS_ADMIN{inside}"))
            .advise("add CAP_SYS_CHROOT: run --root and refreshes of services need it"),
        (false, _) => Finding::new(State::NotPermitted, format!("it lacks CAP_SYS_ADMIN{inside}"))
            .advise("run as root, or in a container with CAP_SYS_ADMIN; what only reads images needs none"),
    }
}

/// `None` where `/proc` does not tell.
fn in_first_namespace(machine: &Machine<'_>) -> Option<bool> {
    Some(machine.text("proc/self/uid_map")?.split_whitespace().eq(ALL_USERS))
}

pub(super) fn files(_: &Machine<'_>) -> Finding {
    let wanted = [
        ("CAP_CHOWN", CapabilitySet::CHOWN),
        ("CAP_DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
        ("CAP_FOWNER", CapabilitySet::FOWNER),
        ("CAP_FSETID", CapabilitySet::FSETID),
        ("CAP_MKNOD", CapabilitySet::MKNOD),
        ("CAP_SETFCAP", CapabilitySet::SETFCAP),
    ];
    let lacking: Vec<&str> =
        wanted.into_iter().filter(|(_, set)| !Machine::may(*set)).map(|(name, _)| name).collect();
    if lacking.is_empty() {
        return Finding::yes("it may give files any owner, mode and attribute");
    }
    Finding::new(State::NotPermitted, format!("it lacks {}", lacking.join(", ")))
        .advise("extract with --owner caller, or as root; build reads what this user may read")
}

pub(super) fn user_namespaces(machine: &Machine<'_>) -> Finding {
    let reached = |step| format!("a process of its own made one{step}");
    match machine.rehearsed() {
        Err((RehearsalStep::Namespaces, error)) => {
            Finding::new(state_of(error), format!("{error}{}", limits(machine))).advise(
                "raise user.max_user_namespaces, or allow user namespaces to users (kernel.unprivileged_userns_clone)",
            )
        }
        Err((RehearsalStep::Identity, error)) => {
            let why = reached(", and may not say who is root in it: ");
            Finding::new(state_of(error), format!("{why}{error}{}", limits(machine)))
                .advise("allow user namespaces to this program, where a security module restricts them")
        }
        _ => Finding::yes(reached("")),
    }
}

pub(super) fn rootless(machine: &Machine<'_>) -> Finding {
    match machine.rehearsed() {
        Err((step @ RehearsalStep::Tmpfs, error)) => Finding::new(
            state_of(error),
            format!("{} in a user namespace: {error}{}", what(*step), limits(machine)),
        )
        .advise("allow mounts in user namespaces to this program, where a security module restricts them"),
        Err((RehearsalStep::Overlay, _)) | Ok(()) => {
            Finding::yes("a process of its own made a user namespace and mounted a tmpfs in it")
        }
        Err((_, error)) => Finding::new(state_of(error), format!("no user namespace: {error}"))
            .advise("see user-namespaces; as root none is needed"),
    }
}

pub(super) fn overlay_userxattr(machine: &Machine<'_>) -> Finding {
    match machine.rehearsed() {
        Err((step @ RehearsalStep::Overlay, error)) => {
            Finding::new(state_of(error), format!("{} in a user namespace: {error}", what(*step)))
                .advise("use Linux 5.11 or newer; without it a run without root sees a plain tree")
        }
        Err((_, error)) => Finding::new(state_of(error), format!("no mounts in a user namespace: {error}"))
            .advise("see rootless-run"),
        Ok(()) if machine.file_system("overlay") == Listed::Yes => {
            Finding::yes("an overlay was made in a user namespace")
        }
        Ok(()) => Finding::new(State::Unknown, "overlay is not loaded, and trying would load it"),
    }
}

const fn what(step: RehearsalStep) -> &'static str {
    match step {
        RehearsalStep::Namespaces | RehearsalStep::Identity => "no identity",
        RehearsalStep::Tmpfs => "no tmpfs",
        RehearsalStep::Overlay => "no overlay",
    }
}

fn state_of(error: &io::Error) -> State {
    match error.kind() {
        io::ErrorKind::PermissionDenied => State::NotPermitted,
        _ => State::No,
    }
}

/// What the kernel was told about user namespaces.
fn limits(machine: &Machine<'_>) -> String {
    let settings = [
        "user/max_user_namespaces",
        "kernel/unprivileged_userns_clone",
        "kernel/apparmor_restrict_unprivileged_userns",
    ];
    let told = settings.into_iter().filter_map(|name| {
        let value = machine.text(&format!("proc/sys/{name}"))?;
        Some(format!("{}={}", name.replace('/', "."), value.trim()))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}
