//! One view takes the place of another in the mount namespace of a process: assembled outside, moved in beneath

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use confext_ddi::release::Class;
use serde::Serialize;

use super::limited::{Gate, limited};
use super::live::{Home, Seen, View, refuse_receivers, see};
use super::process::{Process, name};
use crate::error::{Error, Result};
use crate::host::{Host, Layering, Layers};
use crate::plan::Fate;
use crate::stack::changes::changes;
use crate::stack::exchange::LOOKUP;
use crate::stack::overlay::{self, Parts, Viewer};
use crate::stack::staging::Staging;
use crate::stack::{Change, Outcome, Test};
use crate::state::{self, Execution, FORMAT, Mutable, Record};
use crate::sys::{self, MountAttrFlags, Place};

/// What a hierarchy of a process is to be made of.
#[derive(Debug)]
#[non_exhaustive]
pub struct Wanted<'a> {
    /// The class of all layers.
    pub class: Class,
    /// `etc`, `usr` or `opt`.
    pub hierarchy: &'static str,
    /// Their directories in detached mounts, bottom first.
    pub directories: Vec<BorrowedFd<'a>>,
    /// The roots of these mounts: kernels before Linux 6.15 need them.
    pub mounts: Vec<BorrowedFd<'a>>,
    /// What the layers are, bottom first.
    pub layers: Vec<state::Layer>,
    /// The policy they were admitted under.
    pub policy: String,
}

impl Wanted<'_> {
    /// Nothing: the process is to see what is there without extensions.
    #[must_use]
    pub fn nothing(class: Class, hierarchy: &'static str) -> Self {
        let (directories, mounts, layers) = (Vec::new(), Vec::new(), Vec::new());
        Self { class, hierarchy, directories, mounts, layers, policy: String::new() }
    }
}

/// How it is done.
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
}

/// What was at a hierarchy before.
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
/// `process-users`, `process-shared`, `process-gone`, `process-changed`; `locked`; `stack-covered`, `stack-changed`; `no-answer`;
/// `hierarchy-missing`; `submount-point`; `missing-capability` before Linux 6.5, where an overlay cannot be exchanged; `os`.
///
/// # Needs
///
/// `CAP_SYS_ADMIN`, `CAP_SYS_CHROOT`, `/proc`.
pub fn exchange(host: &Host, process: &Process, wanted: &Wanted<'_>, how: How) -> Result<Changed> {
    exchange_judged(host, process, wanted, (how, Box::new(|_| Ok(()))))
}

/// Says what speaks against the layers over this directory, which is a copy of what is below them.
pub(super) type Judge = Box<dyn FnOnce(BorrowedFd<'_>) -> Result<()> + Send>;

/// The same, if nothing speaks against it.
///
/// # Errors
///
/// As [`exchange`]; what `judge` says.
pub(super) fn exchange_judged(
    host: &Host,
    process: &Process,
    wanted: &Wanted<'_>,
    (how, judge): (How, Judge),
) -> Result<Changed> {
    process.require_own_users()?;
    let _lock = process.lock(how.wait)?;
    let view = View::look(process, wanted.class, wanted.hierarchy, how.wait)?;
    refuse_receivers(process, &view.seen)?;
    let mut changed = Changed {
        hierarchy: wanted.hierarchy,
        outcome: Outcome::Nothing,
        found: view.found(),
        layers: wanted.layers.clone(),
        carried: view.seen.mounts.iter().map(|found| found.path().to_owned()).collect(),
        attributes: words(view.attributes()),
    };
    let empty = wanted.directories.is_empty();
    if view.seen.own.is_empty() && empty {
        return Ok(changed);
    }
    let because = if view.seen.own.is_empty() { Vec::new() } else { view.differences(wanted) };
    if !view.seen.own.is_empty() && because.is_empty() && how.when == When::Different {
        let test = |layer: &state::Layer| Test { name: layer.name.clone(), test: layer.identity.test() };
        changed.outcome = Outcome::Unchanged { decided_by: wanted.layers.iter().map(test).collect() };
        return Ok(changed);
    }
    let step = match (view.seen.own.is_empty(), empty && view.is_plain()) {
        (true, _) => Step::Add,
        (false, true) => Step::Remove,
        (false, false) => Step::Exchange,
    };
    if step == Step::Exchange {
        let why = "an overlay in the view of a process cannot be exchanged before Linux 6.5";
        host.capabilities().mount_beneath.require("a mount beneath another one", why)?;
    }
    changed.outcome = match step {
        Step::Add => Outcome::Merged,
        _ if empty => Outcome::Unmerged,
        _ if because.is_empty() => Outcome::Refreshed { because: vec![Change::Asked] },
        _ => Outcome::Refreshed { because },
    };
    let job = Job::new(host, process, wanted, (view, step), how)?;
    let whose = name(process.pid());
    let attributes = job.attributes;
    limited(whose, how.wait, move |gate| {
        judge(job.view.base.as_fd())?;
        job.run(gate)
    })?;
    changed.attributes = words(attributes);
    Ok(changed)
}

/// What is done in the view of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// On what is there.
    Add,
    /// Beneath the overlay that is there, which is detached then.
    Exchange,
    /// The overlay is detached. Where mounts on it, or what it forbids, would go with it, one without layers takes its place.
    Remove,
}

/// All that the thread needs.
struct Job {
    process: Process,
    class: Class,
    hierarchy: &'static str,
    step: Step,
    view: View,
    directories: Vec<OwnedFd>,
    mounts: Vec<OwnedFd>,
    layering: Layering,
    record: Record,
    attributes: MountAttrFlags,
}

impl Job {
    fn new(
        host: &Host,
        process: &Process,
        wanted: &Wanted<'_>,
        (view, step): (View, Step),
        how: How,
    ) -> Result<Self> {
        let failed = |error| Error::os("open", "a layer", error);
        let own = |fds: &[BorrowedFd<'_>]| -> Result<Vec<_>> {
            fds.iter().map(|fd| fd.try_clone_to_owned().map_err(failed)).collect()
        };
        let record = Record {
            format: FORMAT,
            class: wanted.class,
            hierarchy: wanted.hierarchy.to_owned(),
            merged_at: now(),
            policy: wanted.policy.clone(),
            created: false,
            device: None,
            layers: wanted.layers.clone(),
            base: Some(view.base_id),
            mutable: Mutable::default(),
            execution: Execution::default(),
            heard: None,
        };
        let attributes = match step {
            // As it is; a first one is the host's doing, and gives nothing that was not there.
            Step::Add => {
                view.attributes()
                    | MountAttrFlags::MOUNT_ATTR_RDONLY
                    | MountAttrFlags::MOUNT_ATTR_NODEV
                    | MountAttrFlags::MOUNT_ATTR_NOSUID
            }
            Step::Exchange | Step::Remove => view.attributes(),
        };
        Ok(Self {
            process: process.clone(),
            class: wanted.class,
            hierarchy: wanted.hierarchy,
            step,
            view,
            directories: own(&wanted.directories)?,
            mounts: own(&wanted.mounts)?,
            layering: host.capabilities().layering(how.layers)?,
            record,
            attributes,
        })
    }

    fn run(self, gate: &Gate) -> Result<()> {
        let tree = if self.step == Step::Remove { None } else { Some(self.assemble()?) };
        let home = Home::remember()?;
        self.process.enter()?;
        let top = self.uppermost(&home, gate)?;
        let failed = |operation| move |error| Error::os(operation, format!("/{}", self.hierarchy), error);
        let detach = || {
            if !self.view.seen.mounts.is_empty() {
                // A lookup may be in the old overlay already, and not yet in a mount on it, which goes at once.
                std::thread::sleep(LOOKUP);
            }
            sys::detach_at(top.as_fd()).or_else(|_| sys::detach_at(top.as_fd())).map_err(failed("umount"))
        };
        let put = |place| match &tree {
            Some(tree) => {
                sys::move_mount(tree.as_fd(), top.as_fd(), c"", place).map_err(failed("move_mount"))
            }
            None => Ok(()),
        };
        gate.finish(|| match self.step {
            Step::Add => put(Place::OnTop),
            Step::Exchange => put(Place::Beneath).and_then(|()| detach()),
            Step::Remove => detach(),
        })
    }

    fn assemble(&self) -> Result<OwnedFd> {
        let staging = match self.layering {
            Layering::Detached => None,
            Layering::Staged => {
                let staging = Staging::new()?;
                let mut mounts: Vec<_> = self.mounts.iter().map(OwnedFd::as_fd).collect();
                mounts.push(self.view.base.as_fd());
                staging.adopt(&mounts)?;
                Some(staging)
            }
        };
        overlay::assemble(&Parts {
            viewer: Viewer::Service(self.attributes),
            class: self.class,
            hierarchy: self.hierarchy,
            layers: self.directories.iter().map(OwnedFd::as_fd).collect(),
            base: Some(self.view.base.as_fd()),
            upper: None,
            imported: None,
            submounts: &self.view.submounts,
            record: &self.record,
            origin: "",
            staging: staging.as_ref(),
        })
    }

    /// The overlay to exchange, or the directory to mount on. Of several overlays the upper ones are taken away: each is
    /// complete.
    fn uppermost(&self, home: &Home, gate: &Gate) -> Result<OwnedFd> {
        let (mut top, mut seen) = see(home, &self.process, self.hierarchy)?;
        let changed = |found: &Seen| {
            let found = format!("mount {} there", found.mount.id.number());
            Error::conflict("stack-changed", format!("/{}", self.hierarchy), found, "the one seen before")
        };
        if seen != self.view.seen {
            return Err(changed(&seen));
        }
        for below in self.view.seen.own.iter().skip(1) {
            let failed = |error| Error::os("umount", format!("/{}", self.hierarchy), error);
            gate.pass(|| {
                std::thread::sleep(LOOKUP);
                sys::detach_at(top.as_fd()).map_err(failed)
            })?;
            (top, seen) = see(home, &self.process, self.hierarchy)?;
            if seen.mount.id != below.id {
                return Err(changed(&seen));
            }
        }
        Ok(top)
    }
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

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
