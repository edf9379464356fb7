//! [`report`]: what this machine can do and what it cannot, why, and what to do about it
//!
//! Everything is tried or looked up; nothing is concluded from a version. Nothing is changed, and no module of the kernel is
//! loaded: what would be loaded when it is used is [`State::OnDemand`].

mod devices;
mod file_systems;
mod kernel;
mod machine;
mod manager;
mod places;
mod privileges;
mod trust;

use std::borrow::Cow;
use std::time::SystemTime;

use serde::Serialize;

use crate::host::{Ability, Host};
use machine::Machine;

/// What a machine can do.
///
/// ```
/// use confext_core::{Host, doctor};
///
/// let report = doctor::report(&Host::open("/")?, std::time::SystemTime::now());
/// for item in &report.items {
///     println!("{}: {}", item.id, item.state.as_str());
/// }
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The release of the running kernel; `None` when `/proc` does not tell.
    pub kernel: Option<String>,
    /// Each thing that was looked at, always all of them, in the order of [`ids`].
    pub items: Vec<Item>,
}

/// One thing that something depends on.
///
/// ```
/// use confext_core::{Host, doctor};
///
/// let report = doctor::report(&Host::open("/")?, std::time::SystemTime::now());
/// let overlay = report.items.iter().find(|item| item.id == "overlay").ok_or("always in there")?;
/// assert!(overlay.needed_for.contains(&"merge"));
/// if let Some(advice) = &overlay.advice {
///     println!("{} is {}, as {}: {advice}", overlay.id, overlay.state.as_str(), overlay.why);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Item {
    /// Its name, stable.
    pub id: &'static str,
    /// Whether it is there.
    pub state: State,
    /// How that was found out.
    pub why: String,
    /// What to do about it, where there is something to do.
    pub advice: Option<Cow<'static, str>>,
    /// What depends on it: verbs of the command, and options of theirs.
    pub needed_for: &'static [&'static str],
}

/// Whether something can be done.
///
/// ```
/// use confext_core::{Host, doctor::{self, State}};
///
/// let report = doctor::report(&Host::open("/")?, std::time::SystemTime::now());
/// let in_the_way = report.items.iter().filter(|item| item.needed_for.contains(&"merge"));
/// for item in in_the_way.filter(|item| !item.state.is_usable()) {
///     println!("{}: {}", item.id, item.state.as_str());
/// }
/// // The kernel loads the module when it is needed.
/// assert!(State::OnDemand.is_usable());
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Not by this process; whether somebody else could is not known.
    NotPermitted,
    /// Not now, but the kernel loads a module when it is used.
    OnDemand,
    /// It could not be found out without changing something.
    Unknown,
}

impl State {
    /// The name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::NotPermitted => "not-permitted",
            Self::OnDemand => "on-demand",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it may be relied on.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Yes | Self::OnDemand)
    }
}

impl From<Ability> for State {
    fn from(ability: Ability) -> Self {
        match ability {
            Ability::Present => Self::Yes,
            Ability::Absent => Self::No,
            Ability::NotPermitted => Self::NotPermitted,
            Ability::OnDemand => Self::OnDemand,
        }
    }
}

/// What came of looking at one thing.
struct Finding {
    state: State,
    why: String,
    advice: Option<Cow<'static, str>>,
}

impl Finding {
    fn new(state: State, why: impl Into<String>) -> Self {
        Self { state, why: why.into(), advice: None }
    }

    fn yes(why: impl Into<String>) -> Self {
        Self::new(State::Yes, why)
    }

    fn no(why: impl Into<String>) -> Self {
        Self::new(State::No, why)
    }

    /// What to do about it.
    fn advise(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// What to do about it, where it cannot be used and nothing else was advised.
    fn or_advise(self, advice: &'static str) -> Self {
        if self.state.is_usable() || self.advice.is_some() { self } else { self.advise(advice) }
    }
}

/// One thing to look at.
struct Check {
    id: &'static str,
    needed_for: &'static [&'static str],
    look: fn(&Machine<'_>) -> Finding,
}

const fn check(
    id: &'static str,
    needed_for: &'static [&'static str],
    look: fn(&Machine<'_>) -> Finding,
) -> Check {
    Check { id, needed_for, look }
}

const MERGE: &[&str] = &["merge", "refresh", "unmerge", "run"];
const ROOTLESS: &[&str] = &["run without root"];
const VERITY: &[&str] = &["merge --attach dm-verity", "refresh --attach dm-verity", "run --attach dm-verity"];
const SERVICES: &[&str] = &["merge --reload", "service", "rollout"];

/// All of them, in the order of a report.
const CHECKS: &[Check] = &[
    check("mount-calls", MERGE, kernel::mount_calls),
    check("mount-privilege", MERGE, privileges::mount),
    check("file-privileges", &["extract", "build --source"], privileges::files),
    check("user-namespaces", ROOTLESS, privileges::user_namespaces),
    check("rootless-run", ROOTLESS, privileges::rootless),
    check("overlay", MERGE, file_systems::overlay),
    check("overlay-userxattr", ROOTLESS, privileges::overlay_userxattr),
    check("detached-layers", &["merge without staging"], kernel::detached_layers),
    check("mount-beneath", &["refresh without a gap"], kernel::mount_beneath),
    check("mount-numbers", &["status", "trace"], kernel::mount_numbers),
    check("mount-propagation", &["merge seen by services"], kernel::propagation),
    check("sealed-memory", &["merge --attach sealed-memory"], kernel::sealed_memory),
    check("process-descriptors", &["service refresh", "rollout"], kernel::process_descriptors),
    check("erofs", MERGE, file_systems::erofs),
    check("squashfs", &["merge of squashfs images"], file_systems::squashfs),
    check("ext4", &["merge of ext4 images"], file_systems::ext4),
    check("loop-devices", MERGE, devices::loops),
    check("device-mapper", VERITY, devices::mapper),
    check("dm-verity", VERITY, devices::verity),
    check("dm-verity-signatures", &["signatures that the kernel checks"], devices::signatures),
    check("keyrings", &["--trust keyrings", "signatures that the kernel checks"], trust::keyrings),
    check("certificates", &["--trust certificates", "--policy signed"], trust::certificates),
    check("clock", &["--policy signed"], trust::clock),
    check("run-directory", MERGE, places::run),
    check("extension-directories", &["list", "plan", "merge"], places::extensions),
    check("systemd", SERVICES, manager::systemd),
    check("systemd-bus", SERVICES, manager::bus),
    check("systemd-refresh-on-reload", &["RefreshOnReload= of services"], manager::refresh_on_reload),
    check("mkfs-erofs", &["build --file-system mkfs.erofs"], places::mkfs_erofs),
];

/// The names of all things that are looked at, in the order of a report.
pub fn ids() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|check| check.id)
}

/// Looks at everything. `now` is the moment at which certificates have to be valid.
///
/// Where the extensions and the certificates are is looked up below the host's root; all else is about the running kernel and
/// this process.
#[must_use]
pub fn report(host: &Host, now: SystemTime) -> Report {
    let machine = Machine::new(host, now);
    let item = |check: &Check| {
        let Finding { state, why, advice } = (check.look)(&machine);
        Item { id: check.id, state, why, advice, needed_for: check.needed_for }
    };
    Report { kernel: machine.release.clone(), items: CHECKS.iter().map(item).collect() }
}

#[cfg(test)]
mod tests;
