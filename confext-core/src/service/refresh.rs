//! [`refresh`]: a running service sees the extensions that its settings name now

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use confext_ddi::release::{self, Class};
use confext_ddi::unit::{Extensions, Name};
use serde::Serialize;

use super::job::Wanted;
use super::limited::limited;
use super::live::View;
use super::process::{Process, name};
use super::stack::{HIERARCHIES, Prepared, Selected, mount, select_for};
use super::swap::{Changed, Found, Held, How, When, decide};
use crate::admission::{self, release_of};
use crate::discover::Rejection;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::manager;
use crate::plan::Allowance;
use crate::state::Record;

/// How the view of a service is refreshed.
///
/// ```no_run
/// # use std::time::Duration;
/// # use confext_core::{Host, service::Unit};
/// # let host = Host::open("/")?;
/// # let unit = Unit::live("nginx", Duration::from_secs(5))?;
/// # let nginx = confext_core::service::main_process("nginx", Duration::from_secs(5))?;
/// use confext_core::service::{self, Hierarchies, Options, When};
///
/// let mut options = Options::new(confext_core::Options::default());
/// options.hierarchies = Hierarchies::All;
/// options.when = When::Always;
/// let report = service::refresh(&host, &nginx, &unit.service.extensions, &options)?;
/// assert_eq!(report.pid, nginx.pid());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```no_run
/// # use std::time::Duration;
/// # use confext_core::{Host, service::Unit};
/// # let host = Host::open("/")?;
/// # let unit = Unit::live("nginx", Duration::from_secs(5))?;
/// # let nginx = confext_core::service::main_process("nginx", Duration::from_secs(5))?;
/// use confext_core::service::{self, Hierarchies, Options};
///
/// let mut options = Options::new(confext_core::Options::default());
/// assert_eq!(options.hierarchies, Hierarchies::Etc);
/// // Its sysexts as well: for a service that loads plugins from /usr while it runs.
/// options.hierarchies = Hierarchies::All;
/// let report = service::refresh(&host, &nginx, &unit.service.extensions, &options)?;
/// assert_eq!(report.hierarchies[0].hierarchy, "usr");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Hierarchies {
    /// `/etc`: its confexts. A program that runs does not see its own files change.
    #[default]
    Etc,
    /// `/usr` and `/opt` as well, before it: also its sysexts. All of them change, or none.
    All,
}

impl Hierarchies {
    fn listed(self) -> impl Iterator<Item = (&'static str, Class)> {
        HIERARCHIES.into_iter().filter(move |(hierarchy, _)| self == Self::All || *hierarchy == "etc")
    }
}

/// What became of the view of a service.
///
/// ```no_run
/// # use std::time::Duration;
/// # use confext_core::{Host, service::Unit};
/// # let host = Host::open("/")?;
/// # let unit = Unit::live("nginx", Duration::from_secs(5))?;
/// # let nginx = confext_core::service::main_process("nginx", Duration::from_secs(5))?;
/// use confext_core::service::{self, Options};
/// use confext_core::stack::Outcome;
///
/// let options = Options::new(confext_core::Options::default());
/// service::refresh(&host, &nginx, &unit.service.extensions, &options)?;
/// // Again: it sees already what it should see.
/// let report = service::refresh(&host, &nginx, &unit.service.extensions, &options)?;
/// assert!(matches!(report.hierarchies[0].outcome, Outcome::Unchanged { .. } | Outcome::Nothing));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

/// Has a running service see the extensions that its settings name now, in the order they have at a start: found and verified on
/// the host, and where that is not what it sees already, mounted and assembled there, and put in place in its own mount
/// namespace by one move. On failure it sees what it saw.
///
/// What is mounted below the hierarchy stays, with what these mounts forbid; what the host has merged stays below. Nothing is
/// mounted, and the outcome says so, when the record in the service's view says the same already.
///
/// With [`Hierarchies::All`] all hierarchies change, or none: all is assembled first, then every new overlay is put beneath the
/// one that is there, then those go, one directly after the other.
///
/// # Errors
///
/// As [`prepare`](super::stack::prepare) and [`exchange`](super::exchange()); what a plan says against an extension; `rollback`
/// where a part has changed and the way back failed.
///
/// # Needs
///
/// As [`exchange`](super::exchange()).
pub fn refresh(host: &Host, process: &Process, extensions: &Extensions, options: &Options) -> Result<Report> {
    // From here on, so that nobody puts something older in place of what is found now.
    let held = Held::take(process, options.wait)?;
    let root = release(process, options.wait, &options.admission)?;
    let selected = select_for(host, root, extensions, &options.admission)?;
    let (mut views, mut missing) = (Vec::new(), Vec::new());
    for (hierarchy, class) in options.hierarchies.listed() {
        match held.look(&[(hierarchy, class)]) {
            // Not every root has an `/opt`.
            Err(error) if error.code() == "hierarchy-missing" => missing.push((hierarchy, error)),
            seen => views.extend(seen?.into_iter().map(|view| (hierarchy, class, view))),
        }
    }
    if options.when == When::Different
        && let Some(hierarchies) = unchanged(&selected, &views, &missing, &options.admission)
    {
        let Selected { policy, refused, .. } = selected;
        return Ok(Report { pid: process.pid(), hierarchies, policy, refused });
    }
    let prepared = Arc::new(mount(host, selected, &options.admission)?);
    if let Some((_, error)) =
        missing.into_iter().find(|(hierarchy, _)| !prepared.layers_of(hierarchy).is_empty())
    {
        return Err(error);
    }
    let wanted = views.iter().map(|(hierarchy, class, _)| Wanted {
        class: *class,
        hierarchy,
        directories: prepared.directories_of(hierarchy),
        mounts: prepared.mounts_of(hierarchy),
        layers: prepared.layers_of(hierarchy),
        policy: prepared.policy().to_owned(),
    });
    let wanted: Vec<_> = wanted.collect();
    let judged = (Arc::clone(&prepared), options.admission.allow.clone());
    let how = How { wait: options.wait, layers: options.admission.layers, when: options.when };
    let judge = move |bases: &[(&'static str, BorrowedFd<'_>)]| judge(&judged, bases);
    let views = views.into_iter().map(|(_, _, view)| view).collect();
    let hierarchies = held.exchange(host, (views, &wanted), (how, Box::new(judge)))?;
    let (policy, refused) = (prepared.policy().to_owned(), prepared.refused().to_vec());
    Ok(Report { pid: process.pid(), hierarchies, policy, refused })
}

/// What the root of a process says of itself, for extensions to be compared with; where anything is compared.
pub(super) fn release(
    process: &Process,
    wait: Duration,
    options: &admission::Options,
) -> Result<Option<release::Host>> {
    let (of, options) = (process.clone(), options.clone());
    limited(name(process.pid()), wait, move |_| release_of(&of.host()?, &options))
}

/// The report when everything is there already, as far as that can be told without mounting anything.
fn unchanged(
    selected: &Selected,
    views: &[(&'static str, Class, View)],
    missing: &[(&'static str, Error)],
    options: &admission::Options,
) -> Option<Vec<Changed>> {
    let listed = |hierarchy| selected.layers_of(hierarchy, options);
    if !missing.iter().all(|(hierarchy, _)| listed(hierarchy).is_some_and(|layers| layers.is_empty())) {
        return None;
    }
    let right = |(hierarchy, class, view): &(&'static str, Class, View)| {
        let mut wanted = Wanted::nothing(*class, hierarchy);
        wanted.layers = listed(hierarchy)?;
        wanted.policy.clone_from(&selected.policy);
        let (changed, step) = decide(view, &wanted, When::Different);
        step.is_none().then_some(changed)
    };
    views.iter().map(right).collect()
}

/// What speaks against the extensions when the directories are known that they go over.
fn judge(
    (prepared, allowed): &(Arc<Prepared>, Vec<Allowance>),
    bases: &[(&'static str, BorrowedFd<'_>)],
) -> Result<()> {
    let plans = prepared.plan(bases)?;
    let is_of = |class: Class| bases.iter().any(|(hierarchy, _)| class.hierarchies().contains(hierarchy));
    let objection = plans.iter().filter(|plan| is_of(plan.class)).find_map(|plan| plan.objection(allowed));
    objection.map_or(Ok(()), |veto| Err(veto.to_error()))
}

/// The main process of a running unit, asked of the service manager. A name without a type is that of a service.
///
/// # Errors
///
/// `unit-name`; `process-gone` when it has none; as [`Process::open`]; `manager-unit`, `manager-unreachable`; `missing-capability` without
/// the feature `manager`.
pub fn main_process(unit: &str, wait: Duration) -> Result<Process> {
    let unit = Name::parse(unit)?;
    let unit = unit.as_str();
    if let Some(process) = manager::main_process(unit, manager::Patience::of(wait), Process::open)? {
        return Ok(process);
    }
    // A unit that nobody knows has none either.
    manager::unit_state(unit, wait)?;
    Err(Error::conflict("process-gone", unit, "no main process that stays", "one that is running"))
}

/// How a hierarchy in the view of a process stands.
///
/// ```no_run
/// # use std::time::Duration;
/// # use confext_core::{Host, service::Unit};
/// # let host = Host::open("/")?;
/// # let unit = Unit::live("nginx", Duration::from_secs(5))?;
/// # let nginx = confext_core::service::main_process("nginx", Duration::from_secs(5))?;
/// use confext_core::service::{self, Found};
///
/// for status in service::status(&nginx, Duration::from_secs(5))? {
///     let layers = status.record.iter().flat_map(|record| &record.layers);
///     let names: Vec<_> = layers.map(|layer| layer.name.as_str()).collect();
///     println!("/{}: {} {}", status.hierarchy, status.found.as_str(), names.join(" over "));
///     assert_eq!(status.record.is_some(), status.found == Found::Own);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        let view = match View::look(process, class, hierarchy, wait) {
            Err(error) if error.code() == "hierarchy-missing" => continue,
            view => view?,
        };
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
