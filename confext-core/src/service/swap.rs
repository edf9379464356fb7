//! One view takes the place of another in the mount namespace of a process: assembled outside, moved in beneath

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use confext_ddi::release::Class;
use serde::Serialize;

use super::job::{self, Job, Step, Wanted};
use super::limited::limited;
use super::live::{View, refuse_receivers};
use super::process::{Process, name};
use super::users::Owners;
use crate::error::{Error, Result};
use crate::host::{Host, Layers};
use crate::plan::Fate;
use crate::stack::changes::changes;
use crate::stack::{Change, Outcome, Test};
use crate::state;
use crate::sys::MountAttrFlags;

/// How it is done.
///
/// ```no_run
/// # use std::time::Duration;
/// # use confext_core::{Host, service::Unit};
/// # let host = Host::open("/")?;
/// # let unit = Unit::live("nginx", Duration::from_secs(5))?;
/// # let nginx = confext_core::service::main_process("nginx", Duration::from_secs(5))?;
/// use confext_core::service::{self, How, Wanted};
/// use confext_ddi::release::Class;
///
/// let mut how = How::default();
/// // The service uses a network file system that may not answer.
/// how.wait = Duration::from_secs(1);
/// let changed = service::exchange(&host, &nginx, &Wanted::nothing(Class::Confext, "etc"), how)?;
/// assert!(changed.layers.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct How {
    /// How long to wait for file systems that the process sees, each of the two times they are looked at.
    pub wait: Duration,
    /// How layers get to the kernel.
    pub layers: Layers,
    /// What counts as a reason.
    pub when: When,
}

impl Default for How {
    fn default() -> Self {
        Self { wait: Duration::from_secs(10), layers: Layers::Auto, when: When::Different }
    }
}

/// When a view is exchanged.
///
/// ```no_run
/// # use std::time::Duration;
/// # use confext_core::{Host, service::Unit};
/// # let host = Host::open("/")?;
/// # let unit = Unit::live("nginx", Duration::from_secs(5))?;
/// # let nginx = confext_core::service::main_process("nginx", Duration::from_secs(5))?;
/// use confext_core::service::{self, Options, When};
/// use confext_core::stack::{Change, Outcome};
///
/// let mut options = Options::new(confext_core::Options::default());
/// // Whatever the record in its view says:
/// options.when = When::Always;
/// let report = service::refresh(&host, &nginx, &unit.service.extensions, &options)?;
/// assert!(!matches!(report.hierarchies[0].outcome, Outcome::Unchanged { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum When {
    /// When its record says something else.
    #[default]
    Different,
    /// In any case.
    Always,
}

/// What became of one hierarchy.
///
/// ```no_run
/// # use std::time::Duration;
/// # use confext_core::{Host, service::Unit};
/// # let host = Host::open("/")?;
/// # let unit = Unit::live("nginx", Duration::from_secs(5))?;
/// # let nginx = confext_core::service::main_process("nginx", Duration::from_secs(5))?;
/// use confext_core::service::{self, Options};
///
/// let options = Options::new(confext_core::Options::default());
/// let report = service::refresh(&host, &nginx, &unit.service.extensions, &options)?;
/// let etc = report.hierarchies.iter().find(|changed| changed.hierarchy == "etc").ok_or("it has /etc")?;
/// println!("{:?}, with the mounts {:?}", etc.outcome, etc.carried);
/// // What the service could not do before, it still cannot.
/// assert!(etc.attributes.contains(&"ro"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Changed {
    /// `etc`, `usr` or `opt`.
    pub hierarchy: &'static str,
    /// What was done, and why.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What was there.
    pub found: Found,
    /// What it is made of now, bottom first.
    pub layers: Vec<state::Layer>,
    /// The mounts on it that were carried over.
    pub carried: Vec<std::path::PathBuf>,
    /// What the mount forbids, before and after: `ro`, `nosuid`, `nodev`, `noexec`, `nosymfollow`.
    pub attributes: Vec<&'static str>,
    /// Whose the files of the layers are; `None` when none was mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owners: Option<Owners>,
}

/// What was at a hierarchy before.
///
/// ```no_run
/// # use std::time::Duration;
/// # use confext_core::{Host, service::Unit};
/// # let host = Host::open("/")?;
/// # let unit = Unit::live("nginx", Duration::from_secs(5))?;
/// # let nginx = confext_core::service::main_process("nginx", Duration::from_secs(5))?;
/// use confext_core::service::{self, Found, Options};
///
/// let options = Options::new(confext_core::Options::default());
/// let report = service::refresh(&host, &nginx, &unit.service.extensions, &options)?;
/// // After its start it has the overlay of systemd, and from the first refresh on one of ours.
/// assert!(matches!(report.hierarchies[0].found, Found::Systemd | Found::Own));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// No overlay of the service. What the host has merged is part of what is below.
    Nothing,
    /// One that was made here.
    Own,
    /// One that systemd made, or another program in its name.
    Systemd,
    /// Several: an exchange did not come to its end.
    Interrupted,
}

impl Found {
    /// `nothing`, `own`, `systemd` or `interrupted`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Own => "own",
            Self::Systemd => "systemd",
            Self::Interrupted => "interrupted",
        }
    }
}

impl View {
    pub(super) fn found(&self) -> Found {
        match (self.seen.own.len(), &self.record) {
            (0, _) => Found::Nothing,
            (1, Some(_)) => Found::Own,
            (1, None) => Found::Systemd,
            _ => Found::Interrupted,
        }
    }

    /// What is different from what should be; nothing when it is right.
    fn differences(&self, wanted: &Wanted<'_>) -> Vec<Change> {
        let record = match (self.found(), &self.record) {
            (Found::Interrupted, _) => return vec![Change::Interrupted],
            (_, None) => return vec![Change::Unknown],
            (_, Some(record)) => record,
        };
        let mut found = changes(&[(wanted.hierarchy, Some(record))], &wanted.layers, &wanted.policy);
        // The order counts here, and one extension may be there twice.
        let same = |(before, now): (&state::Layer, &state::Layer)| {
            before.name == now.name && matches!(Fate::between(before, now), Fate::Kept { .. })
        };
        let in_order =
            record.layers.len() == wanted.layers.len() && record.layers.iter().zip(&wanted.layers).all(same);
        if found.is_empty() && !in_order {
            found.push(Change::Hierarchy { hierarchy: wanted.hierarchy.to_owned() });
        }
        if record.base != Some(self.base_id) {
            found.push(Change::Below);
        }
        found
    }
}

/// Has a process see these layers over what it sees at the hierarchy without its own overlay. On failure it sees what it saw.
///
/// # Errors
///
/// `process-users`, `process-shared`, `process-gone`, `process-changed`; `locked`, `mounts-locked`; `stack-covered`,
/// `stack-changed`; `no-answer`; `hierarchy-missing`; `submount-point`; `missing-capability` before Linux 6.5, where an overlay
/// cannot be exchanged; `os`.
///
/// # Needs
///
/// `CAP_SYS_ADMIN`, `CAP_SYS_CHROOT`, `/proc`.
pub fn exchange(host: &Host, process: &Process, wanted: &Wanted<'_>, how: How) -> Result<Changed> {
    let held = Held::take(process, how.wait)?;
    let seen = held.look(&[(wanted.hierarchy, wanted.class)])?;
    let wanted = std::slice::from_ref(wanted);
    let changed = held.exchange(host, (seen, wanted), (how, Box::new(|_| Ok(()))))?;
    // One hierarchy in, one out.
    changed
        .into_iter()
        .next()
        .ok_or_else(|| Error::conflict("hierarchy-missing", "/", "nothing", "a directory"))
}

/// Says what speaks against the layers over these directories, which are copies of what is below them.
pub(super) type Judge = Box<dyn FnOnce(&[(&'static str, BorrowedFd<'_>)]) -> Result<()> + Send>;

/// A process whose mounts nobody else changes here at the same time.
pub(super) struct Held {
    process: Process,
    wait: Duration,
    _lock: File,
}

impl Held {
    /// # Errors
    ///
    /// `process-users`; `locked`; `process-gone`.
    pub(super) fn take(process: &Process, wait: Duration) -> Result<Self> {
        process.require_users()?;
        Ok(Self { process: process.clone(), wait, _lock: process.lock(wait)? })
    }

    /// Looks at hierarchies.
    ///
    /// # Errors
    ///
    /// As [`View::look`]; `process-shared`.
    pub(super) fn look(&self, hierarchies: &[(&'static str, Class)]) -> Result<Vec<View>> {
        let look = |(hierarchy, class): &(&'static str, Class)| {
            let view = View::look(&self.process, *class, hierarchy, self.wait)?;
            refuse_receivers(&self.process, &view.seen)?;
            Ok(view)
        };
        hierarchies.iter().map(look).collect()
    }

    /// Exchanges all of them, or none: `views` are of the hierarchies that are `wanted`, in this order. Everything is assembled
    /// first; then all new overlays are put in place, each beneath the one that is there, and after that those are detached.
    ///
    /// # Errors
    ///
    /// As [`exchange`]; what `judge` says; `rollback` when a part is exchanged, and the way back failed.
    pub(super) fn exchange(
        &self,
        host: &Host,
        (views, wanted): (Vec<View>, &[Wanted<'_>]),
        (how, judge): (How, Judge),
    ) -> Result<Vec<Changed>> {
        let (mut report, mut jobs) = (Vec::new(), Vec::new());
        for (view, wanted) in views.into_iter().zip(wanted) {
            let (mut changed, step) = decide(&view, wanted, how.when);
            if let Some(step) = step {
                if step == Step::Exchange {
                    let why = "an overlay in the view of a process cannot be exchanged before Linux 6.5";
                    host.capabilities().mount_beneath.require("a mount beneath another one", why)?;
                }
                let layering = host.capabilities().layering(how.layers)?;
                let job = Job::new(&self.process, wanted, (view, step), layering)?;
                changed.attributes = words(job.attributes());
                changed.owners = (!wanted.directories.is_empty()).then(|| job.owners());
                jobs.push(job);
            }
            report.push(changed);
        }
        if !jobs.is_empty() {
            let process = self.process.clone();
            limited(name(process.pid()), self.wait, move |gate| {
                let bases: Vec<_> = jobs.iter().map(Job::base).collect();
                judge(&bases)?;
                job::run(&process, &jobs, gate)
            })?;
        }
        Ok(report)
    }
}

/// What is to be done, and what will have been done then.
pub(super) fn decide(view: &View, wanted: &Wanted<'_>, when: When) -> (Changed, Option<Step>) {
    let mut changed = Changed {
        hierarchy: wanted.hierarchy,
        outcome: Outcome::Nothing,
        found: view.found(),
        layers: wanted.layers.clone(),
        carried: view.seen.mounts.iter().map(|found| found.path().to_owned()).collect(),
        attributes: words(view.attributes()),
        owners: None,
    };
    let (bare, empty) = (view.seen.own.is_empty(), wanted.layers.is_empty() && wanted.directories.is_empty());
    if bare && empty {
        return (changed, None);
    }
    let because = if bare { Vec::new() } else { view.differences(wanted) };
    if !bare && because.is_empty() && when == When::Different {
        let test = |layer: &state::Layer| Test { name: layer.name.clone(), test: layer.identity.test() };
        changed.outcome = Outcome::Unchanged { decided_by: wanted.layers.iter().map(test).collect() };
        return (changed, None);
    }
    let step = match (bare, empty && view.is_plain()) {
        (true, _) => Step::Add,
        (false, true) => Step::Remove,
        (false, false) => Step::Exchange,
    };
    changed.outcome = match step {
        Step::Add => Outcome::Merged,
        _ if empty => Outcome::Unmerged,
        _ if because.is_empty() => Outcome::Refreshed { because: vec![Change::Asked] },
        _ => Outcome::Refreshed { because },
    };
    (changed, Some(step))
}

pub(super) fn words(attributes: MountAttrFlags) -> Vec<&'static str> {
    [
        (MountAttrFlags::MOUNT_ATTR_RDONLY, "ro"),
        (MountAttrFlags::MOUNT_ATTR_NOSUID, "nosuid"),
        (MountAttrFlags::MOUNT_ATTR_NODEV, "nodev"),
        (MountAttrFlags::MOUNT_ATTR_NOEXEC, "noexec"),
        (MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
    ]
    .into_iter()
    .filter_map(|(flag, word)| attributes.contains(flag).then_some(word))
    .collect()
}
