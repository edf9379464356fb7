//! [`refresh`]: a running service sees the extensions that its settings name now

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use confext_ddi::release::Class;
use confext_ddi::unit::Extensions;
use serde::Serialize;

use super::live::View;
use super::process::Process;
use super::stack::{HIERARCHIES, Prepared, prepare};
use super::swap::{Changed, Found, How, Wanted, When, exchange_judged};
use crate::admission;
use crate::discover::Rejection;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::manager;
use crate::plan::Allowance;
use crate::state::Record;

/// How the view of a service is refreshed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Which extensions are used, on which conditions. Where an overlay could be written to, or how one is exchanged, is not
    /// asked: here it is read-only and without a gap.
    pub admission: admission::Options,
    /// How long to wait for file systems that the service sees, each of the two times they are looked at.
    pub wait: Duration,
    /// Which hierarchies.
    pub hierarchies: Hierarchies,
    /// What counts as a reason.
    pub when: When,
}

impl Options {
    /// `/etc`, where it is different, with this choice of extensions.
    #[must_use]
    pub fn new(admission: admission::Options) -> Self {
        let How { wait, when, .. } = How::default();
        Self { admission, wait, hierarchies: Hierarchies::Etc, when }
    }
}

/// Which hierarchies of a service are refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Hierarchies {
    /// `/etc`: its confexts. A program that runs does not see its own files change.
    #[default]
    Etc,
    /// `/usr` and `/opt` as well, before it: also its sysexts.
    All,
}

/// What became of the view of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The number of its process.
    pub pid: u32,
    /// Each hierarchy that was looked at.
    pub hierarchies: Vec<Changed>,
    /// The policy of images.
    pub policy: String,
    /// What is not used, and why.
    pub refused: Vec<Rejection>,
}

/// Has a running service see the extensions that its settings name now, in the order they have at a start: found, verified and
/// assembled on the host, put in place in its own mount namespace by one move. On failure it sees what it saw.
///
/// What is mounted below the hierarchy stays, with what these mounts forbid; what the host has merged stays below. Nothing is
/// done, and the outcome says so, when the record in the service's view says the same already.
///
/// With [`Hierarchies::All`] one hierarchy comes after the other: if a later one fails, an earlier one has changed.
///
/// # Errors
///
/// As [`prepare`] and [`exchange`](super::exchange()); what a plan says against an extension.
///
/// # Needs
///
/// As [`exchange`](super::exchange()).
pub fn refresh(host: &Host, process: &Process, extensions: &Extensions, options: &Options) -> Result<Report> {
    let prepared = Arc::new(prepare(host, &process.host()?, extensions, &options.admission)?);
    let how = How { wait: options.wait, layers: options.admission.layers, when: options.when };
    let mut hierarchies = Vec::new();
    for (hierarchy, class) in HIERARCHIES {
        if options.hierarchies == Hierarchies::Etc && hierarchy != "etc" {
            continue;
        }
        if hierarchy != "etc"
            && prepared.directories_of(hierarchy).is_empty()
            && !is_there(process, hierarchy)
        {
            continue;
        }
        let wanted = Wanted {
            class,
            hierarchy,
            directories: prepared.directories_of(hierarchy),
            mounts: prepared.mounts_of(hierarchy),
            layers: prepared.layers_of(hierarchy),
            policy: prepared.policy().to_owned(),
        };
        let judged = Arc::clone(&prepared);
        let allowed = options.admission.allow.clone();
        let judge = move |base: BorrowedFd<'_>| judge(&judged, class, &allowed, (hierarchy, base));
        hierarchies.push(exchange_judged(host, process, &wanted, (how, Box::new(judge)))?);
    }
    let (policy, refused) = (prepared.policy().to_owned(), prepared.refused().to_vec());
    Ok(Report { pid: process.pid(), hierarchies, policy, refused })
}

/// What speaks against the extensions when the directory is known that they go over.
fn judge(
    prepared: &Prepared,
    class: Class,
    allowed: &[Allowance],
    base: (&'static str, BorrowedFd<'_>),
) -> Result<()> {
    let plans = prepared.plan(&[base])?;
    let objection = plans.iter().filter(|plan| plan.class == class).find_map(|plan| plan.objection(allowed));
    objection.map_or(Ok(()), |veto| Err(veto.to_error()))
}

/// Not every root has an `/opt`.
fn is_there(process: &Process, hierarchy: &str) -> bool {
    let flags = crate::sys::OFlags::DIRECTORY;
    process.host().is_ok_and(|host| host.open_path(std::path::Path::new(hierarchy), flags).is_ok())
}

/// The main process of a running unit, asked of the service manager.
///
/// # Errors
///
/// `process-gone` when it has none; as [`Process::open`]; `manager-unit`, `manager-unreachable`; `missing-capability` without
/// the feature `manager`.
pub fn main_process(unit: &str, wait: Duration) -> Result<Process> {
    const ATTEMPTS: usize = 4;
    for _ in 0..ATTEMPTS {
        let before = manager::unit_state(unit, wait)?;
        let Some(pid) = before.main_pid else { break };
        let process = Process::open(pid)?;
        // The number could have gone to another process between the two.
        let after = manager::unit_state(unit, wait)?;
        if (after.main_pid, after.started) == (Some(pid), before.started) {
            return Ok(process);
        }
    }
    Err(Error::conflict("process-gone", unit, "no main process that stays", "one that is running"))
}

/// How a hierarchy in the view of a process stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// `etc`, `usr` or `opt`.
    pub hierarchy: &'static str,
    /// What is there.
    pub found: Found,
    /// What it is made of; `None` when another program made it.
    pub record: Option<Record>,
    /// The mounts on it.
    pub mounts: Vec<std::path::PathBuf>,
    /// What the mount forbids.
    pub attributes: Vec<&'static str>,
    /// Whether what it is over is what it was when it was made; `None` where that is not written down.
    pub below_unchanged: Option<bool>,
}

/// How the hierarchies of a process stand. Nothing changes.
///
/// # Errors
///
/// As [`exchange`](super::exchange()), except where something could not be changed.
///
/// # Needs
///
/// `CAP_SYS_ADMIN`, `CAP_SYS_CHROOT`, `/proc`.
pub fn status(process: &Process, wait: Duration) -> Result<Vec<Status>> {
    let mut found = Vec::new();
    for (hierarchy, class) in HIERARCHIES {
        if !is_there(process, hierarchy) {
            continue;
        }
        let view = View::look(process, class, hierarchy, wait)?;
        found.push(Status {
            hierarchy,
            found: view.found(),
            mounts: view.seen.mounts.iter().map(|mount| mount.path().to_owned()).collect(),
            attributes: super::swap::words(view.attributes()),
            below_unchanged: view.record.as_ref().and_then(|record| Some(record.base? == view.base_id)),
            record: view.record,
        });
    }
    Ok(found)
}
