//! [`run`]: overlays that are ready take the places of others in the view of a process, all of them or none

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use confext_ddi::release::Class;

use super::limited::Gate;
use super::live::{Home, Seen, View, see};
use super::lookups::Lookups;
use super::process::Process;
use super::users::{self, Owners};
use crate::error::{Error, Result};
use crate::host::Layering;
use crate::stack::overlay::{self, Parts, Viewer};
use crate::stack::staging::Staging;
use crate::stack::submounts::make_private;
use crate::state::{self, Execution, FORMAT, Mutable, Record};
use crate::sys::{self, Depth, MountAttrFlags, OFlags, Place};

/// What a hierarchy of a process is to be made of.
///
/// ```no_run
/// use std::time::Duration;
///
/// use confext_core::{Host, service::{self, How, Wanted}, stack::Outcome};
/// use confext_ddi::release::Class;
///
/// // A service is to see /etc as it is without confexts.
/// let nginx = service::main_process("nginx", Duration::from_secs(5))?;
/// let nothing = Wanted::nothing(Class::Confext, "etc");
/// let changed = service::exchange(&Host::open("/")?, &nginx, &nothing, How::default())?;
/// assert!(matches!(changed.outcome, Outcome::Unmerged | Outcome::Nothing));
/// # Ok::<(), confext_core::Error>(())
/// ```
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

/// What is done in the view of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// On what is there.
    Add,
    /// Beneath the overlay that is there, which is detached then.
    Exchange,
    /// The overlay is detached. Where mounts on it, or what it forbids, would go with it, one without layers takes its place.
    Remove,
}

/// All that it takes for one hierarchy.
pub(super) struct Job {
    class: Class,
    hierarchy: &'static str,
    step: Step,
    view: View,
    directories: Vec<OwnedFd>,
    owners: Owners,
    mounts: Vec<OwnedFd>,
    layering: Layering,
    record: Record,
    attributes: MountAttrFlags,
}

impl Job {
    pub(super) fn new(
        process: &Process,
        wanted: &Wanted<'_>,
        (view, step): (View, Step),
        layering: Layering,
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
        let mapped = match process.own_users() {
            Some(users) => users::map(&wanted.directories, users, layering)?,
            None => None,
        };
        let (directories, owners) = match mapped {
            Some(mapped) => (mapped, Owners::Namespace),
            None => (own(&wanted.directories)?, Owners::Image),
        };
        Ok(Self {
            class: wanted.class,
            hierarchy: wanted.hierarchy,
            step,
            view,
            directories,
            owners,
            mounts: own(&wanted.mounts)?,
            layering,
            record,
            attributes,
        })
    }

    /// What the mount will forbid.
    pub(super) const fn attributes(&self) -> MountAttrFlags {
        self.attributes
    }

    /// Whose the files of the layers are.
    pub(super) const fn owners(&self) -> Owners {
        self.owners
    }

    /// What the overlay goes over.
    pub(super) fn base(&self) -> (&'static str, BorrowedFd<'_>) {
        (self.hierarchy, self.view.base.as_fd())
    }

    fn failed(&self, operation: &'static str) -> impl Fn(std::io::Error) -> Error {
        move |error| Error::os(operation, format!("/{}", self.hierarchy), error)
    }

    fn assemble(&self, process: &Process) -> Result<OwnedFd> {
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
        let assembled = overlay::assemble(Parts {
            viewer: Viewer::Service(self.attributes),
            class: self.class,
            hierarchy: self.hierarchy,
            layers: self.directories.iter().map(OwnedFd::as_fd).collect(),
            base: Some(self.view.base.as_fd()),
            upper: None,
            imported: None,
            submounts: &self.view.submounts,
            record: self.record.clone(),
            origin: "",
            staging: staging.as_ref(),
        })?;
        let tree = assembled.tree;
        if process.own_users().is_some() { users::lock(tree) } else { Ok(tree) }
    }

    /// The overlay to exchange, or the directory to mount on, if all is as it was.
    fn confirm(&self, process: &Process, home: &Home) -> Result<OwnedFd> {
        let (top, seen) = see(home, process, self.hierarchy)?;
        if seen == self.view.seen { Ok(top) } else { Err(self.changed(&seen)) }
    }

    fn changed(&self, found: &Seen) -> Error {
        let found = format!("mount {} there", found.mount.id.number());
        Error::conflict("stack-changed", format!("/{}", self.hierarchy), found, "the one seen before")
    }

    /// Of several overlays the upper ones are taken away: each is complete.
    fn uppermost(
        &self,
        process: &Process,
        mut top: OwnedFd,
        (home, lookups): (&Home, &Lookups),
        gate: &Gate,
    ) -> Result<OwnedFd> {
        for below in self.view.seen.own.iter().skip(1) {
            gate.pass(|| {
                lookups.end(Instant::now());
                sys::detach_at(top.as_fd()).map_err(self.failed("umount"))
            })?;
            let (next, seen) = see(home, process, self.hierarchy)?;
            if seen.mount.id != below.id {
                return Err(self.changed(&seen));
            }
            top = next;
        }
        Ok(top)
    }
}

/// Assembles all, then puts all in place. What is above says what can go wrong; nothing is changed before the last part.
///
/// # Errors
///
/// As [`exchange`](super::swap::exchange).
pub(super) fn run(process: &Process, jobs: &[Job], gate: &Gate) -> Result<()> {
    let tree = |job: &Job| match job.step {
        Step::Remove => Ok(None),
        Step::Add | Step::Exchange => job.assemble(process).map(Some),
    };
    let trees = jobs.iter().map(tree).collect::<Result<Vec<_>>>()?;
    let (home, lookups) = (Home::remember()?, Lookups::new()?);
    process.enter()?;
    let tops = jobs.iter().map(|job| job.confirm(process, &home)).collect::<Result<Vec<_>>>()?;
    let mut moves = Vec::new();
    for ((job, tree), top) in jobs.iter().zip(trees).zip(tops) {
        moves.push(Move { job, tree, top: job.uppermost(process, top, (&home, &lookups), gate)?, old: None });
    }
    if moves.len() > 1 {
        moves.iter_mut().try_for_each(Move::remember)?;
    }
    gate.finish(|| swap(&moves, &lookups))
}

/// One overlay on its way.
struct Move<'a> {
    job: &'a Job,
    /// The new one.
    tree: Option<OwnedFd>,
    /// What is there.
    top: OwnedFd,
    /// What it takes to have the old one back, where something can fail after it has gone.
    old: Option<Old>,
}

struct Old {
    /// A copy, with all that is mounted on it.
    tree: OwnedFd,
    /// The directory that it is in.
    parent: OwnedFd,
}

/// None of the calls here looks anything up, except on the way back. All new overlays are there before the first old one goes:
/// if one cannot be put there, nobody has seen anything of the others.
fn swap(moves: &[Move<'_>], lookups: &Lookups) -> Result<()> {
    for (at, one) in moves.iter().enumerate() {
        if let Err(error) = one.put() {
            // Of those beneath others nothing is seen; the next refresh takes them in.
            let before = moves.iter().take(at).filter(|one| one.job.step == Step::Add);
            return Err(before.fold(error, |error, one| after(one.take_back(), error)));
        }
    }
    let changed = Instant::now();
    if moves.iter().any(|one| one.job.step != Step::Add && !one.job.view.seen.mounts.is_empty()) {
        lookups.end(changed);
    }
    for (at, one) in moves.iter().enumerate() {
        if let Err(error) = one.detach() {
            let before = moves.iter().take(at).rev();
            let error = before.fold(error, |error, one| after(one.go_back(lookups), error));
            let added = moves.iter().skip(at).filter(|one| one.job.step == Step::Add);
            return Err(added.fold(error, |error, one| after(one.take_back(), error)));
        }
    }
    Ok(())
}

/// What went wrong first says more, unless the way back failed.
fn after(back: Result<()>, first: Error) -> Error {
    match back {
        Ok(()) => first,
        Err(back) => {
            let found = format!("{first}; and on the way back: {back}");
            Error::conflict("rollback", "the view of the process", found, "the view from before")
        }
    }
}

impl Move<'_> {
    fn remember(&mut self) -> Result<()> {
        if self.job.step == Step::Add {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(&self.top, "..", flags, sys::Mode::empty());
        let parent = parent.map_err(|errno| self.job.failed("open the parent of")(errno.into()))?;
        let tree =
            sys::clone_tree(self.top.as_fd(), c"", Depth::Recursive).map_err(self.job.failed("copy"))?;
        make_private(tree.as_fd()).map_err(self.job.failed("make private"))?;
        self.old = Some(Old { tree, parent });
        Ok(())
    }

    fn put(&self) -> Result<()> {
        let (Some(tree), place) = (&self.tree, self.place()) else { return Ok(()) };
        sys::move_mount(tree.as_fd(), self.top.as_fd(), c"", place).map_err(self.job.failed("move_mount"))
    }

    fn place(&self) -> Place {
        if self.job.step == Step::Add { Place::OnTop } else { Place::Beneath }
    }

    /// The old one goes. There is no way to take away the new one beneath it alone: where the others cannot be had back, a call
    /// that fails is made again.
    fn detach(&self) -> Result<()> {
        if self.job.step == Step::Add {
            return Ok(());
        }
        let detach = || sys::detach_at(self.top.as_fd());
        let again = |error| if self.old.is_some() { Err(error) } else { detach() };
        detach().or_else(again).map_err(self.job.failed("umount"))
    }

    /// A first one goes.
    fn take_back(&self) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        sys::detach_at(tree.as_fd()).map_err(self.job.failed("umount"))
    }

    /// The old one is there again.
    fn go_back(&self, lookups: &Lookups) -> Result<()> {
        let (Some(old), failed) = (&self.old, |operation| self.job.failed(operation)) else {
            return self.take_back();
        };
        if let Some(tree) = &self.tree {
            sys::move_mount(old.tree.as_fd(), tree.as_fd(), c"", Place::Beneath)
                .map_err(failed("move_mount"))?;
            lookups.end(Instant::now());
            return self.take_back();
        }
        let name = self.job.view.seen.place.file_name().unwrap_or_default();
        let (tree, parent) = (old.tree.as_fd(), old.parent.as_fd());
        sys::move_mount(tree, parent, std::path::Path::new(name), Place::OnTop).map_err(failed("move_mount"))
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
