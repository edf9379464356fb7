//! [`explain()`]: what becomes of each extension that a unit lists, and why

use std::path::PathBuf;

use confext_ddi::unit::{Covered, Entry, Extensions};
use serde::Serialize;

use super::ground::Ground;
use super::stack::{self, Member, Selected};
use crate::admission::{self, OnBad};
use crate::discover::{Rejection, Severity};
use crate::error::Result;
use crate::explain::{self, Fault, Place, Reason};
use crate::host::Host;
use crate::plan::{self, Plan, Refusal, Veto};
use crate::stack::Merged;
use crate::state;

/// What becomes of the extensions of a service.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// # for (path, text) in [
/// #     ("etc/os-release", "ID=demo\n"),
/// #     ("srv/app/etc/extension-release.d/extension-release.app", "ID=demo\n"),
/// #     ("srv/app/etc/app.conf", "answer = 42\n"),
/// #     ("etc/systemd/system/app.service", "[Service]\nExecStart=/bin/app\nExtensionDirectories=/srv/app\n"),
/// # ] {
/// #     std::fs::create_dir_all(root.path().join(path).parent().ok_or("no parent")?)?;
/// #     std::fs::write(root.path().join(path), text)?;
/// # }
/// use confext_core::{Host, Options, service::{Unit, explain::explain}};
///
/// let host = Host::open(root.path())?;
/// let unit = Unit::read(&host, "app")?.service;
/// let answer = explain((&host, &host), &unit.extensions, &Options::default(), None)?;
/// // The unit lists a directory, which nobody can sign: the service would not start.
/// assert_eq!(answer.refusal.map(|refusal| refusal.code), Some("policy"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The policy that images are admitted under.
    pub policy: String,
    /// Why the service would not start, or not be refreshed: the first reason.
    pub refusal: Option<Refusal>,
    /// What the unit lists, bottom first.
    pub listed: Vec<Explained>,
    /// Mounts of the unit at or below directories that extensions are merged over ([`with_mounts`](Self::with_mounts)).
    pub covered: Vec<Covered>,
}

/// What becomes of one.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// # for (path, text) in [
/// #     ("etc/os-release", "ID=demo\n"),
/// #     ("srv/app/etc/extension-release.d/extension-release.app", "ID=demo\n"),
/// #     ("srv/app/etc/app.conf", "answer = 42\n"),
/// #     ("etc/systemd/system/app.service", "[Service]\nExecStart=/bin/app\nExtensionDirectories=/srv/app\n"),
/// # ] {
/// #     std::fs::create_dir_all(root.path().join(path).parent().ok_or("no parent")?)?;
/// #     std::fs::write(root.path().join(path), text)?;
/// # }
/// # use confext_ddi::policy::Policy;
/// use confext_core::explain::Reason;
/// use confext_core::{Host, Options, service::{Unit, explain::explain}};
///
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// let host = Host::open(root.path())?;
/// let unit = Unit::read(&host, "app")?.service;
/// let answer = explain((&host, &host), &unit.extensions, &options, None)?;
/// let first = answer.listed.first().ok_or("what the unit lists")?;
/// assert_eq!(first.listed.path, "/srv/app");
/// assert!(matches!(&first.entry.reason, Reason::Used(place) if place.hierarchies == ["etc"]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// What the unit says.
    pub listed: Entry,
    /// Its name, as far as that was found out.
    pub name: Option<String>,
    /// Where its path leads, and what becomes of it.
    #[serde(flatten)]
    pub entry: explain::Explained,
}

/// Says of everything that a unit lists whether it is used and why. Changes nothing and needs no privilege.
///
/// `live` is what the process of the service sees now, where that is known.
///
/// # Errors
///
/// What keeps the root from being looked at. What is wrong with an extension is part of the answer.
pub fn explain(
    (host, root): (&Host, &dyn Ground),
    extensions: &Extensions,
    options: &admission::Options,
    live: Option<&[state::Layer]>,
) -> Result<Explanation> {
    let tolerant = admission::Options { on_bad: OnBad::Skip, ..options.clone() };
    let selected = stack::select(host, root, extensions, &tolerant)?;
    let plans = selected.plan(root, options)?;
    let refusal = plans.iter().find_map(|plan| plan.refusal.clone());
    let refusal = refusal.or_else(|| {
        let fatal = |bad: &&Rejection| options.is_fatal(bad.name.as_deref(), bad.severity);
        selected.refused.iter().find(fatal).map(Refusal::of)
    });
    let listed = extensions.bottom_first().enumerate();
    let listed = listed.map(|(index, entry)| explained(entry, index, (&selected, &plans), live));
    let (policy, covered) = (selected.policy.clone(), Vec::new());
    Ok(Explanation { policy, refusal, listed: listed.collect(), covered })
}

fn explained(
    entry: &Entry,
    index: usize,
    (selected, plans): (&Selected, &[Plan]),
    live: Option<&[state::Layer]>,
) -> Explained {
    let about = |bad: &&Rejection| bad.details.listed == Some(index);
    let aside =
        |bad: &&Rejection| matches!(bad.code, "version-rejected" | "version-outranked" | "class-hierarchy");
    let passed_over = selected.refused.iter().filter(about).filter(aside).map(Fault::from).collect();
    let member = selected.extensions.iter().find(|member| member.index == index);
    let unreadable = plans.iter().flat_map(|plan| &plan.refused).filter(about).find(|bad| !aside(bad));
    let refused = selected.refused.iter().filter(about).find(|bad| !aside(bad)).or(unreadable);
    let reason = match (refused, member) {
        (Some(bad), _) => reason_of(bad),
        (None, Some(member)) => place_of(member, (selected, plans), live),
        (None, None) => Reason::of(&Rejection::new(
            Severity::Refused,
            entry.path.as_ref(),
            "layer-unreadable",
            "nothing",
            "an extension",
        )),
    };
    let candidate = member
        .map(|member| member.extension.candidate())
        .or_else(|| refused.and_then(|bad| bad.details.candidate.as_ref()));
    Explained {
        listed: entry.clone(),
        name: candidate.map(|candidate| candidate.name.clone()),
        entry: explain::Explained {
            entry: PathBuf::from(&entry.path),
            path: candidate.map(|candidate| candidate.path.clone()),
            kind: candidate.map(|candidate| candidate.kind),
            version: candidate.and_then(|candidate| candidate.version.clone()),
            reason,
            passed_over,
        },
    }
}

/// Of something that is not used, why.
fn reason_of(bad: &Rejection) -> Reason {
    match (bad.code, &bad.details.by) {
        ("duplicate-extension", Some(by)) => Reason::Shadowed { by: by.clone() },
        _ => Reason::of(bad),
    }
}

/// Of an extension that passed: its place in the stack, or what speaks against it.
fn place_of(
    member: &Member,
    (selected, plans): (&Selected, &[Plan]),
    live: Option<&[state::Layer]>,
) -> Reason {
    let vetoes = || plans.iter().flat_map(|plan| &plan.vetoes).filter(|veto| !veto.allowed);
    let is_vetoed = |label: &str| vetoes().any(|veto| veto.layer == label);
    if is_vetoed(&member.label) {
        let against = |veto: &&Veto| veto.layer == member.label;
        return Reason::Vetoed { vetoes: vetoes().filter(against).cloned().collect() };
    }
    let stacked: Vec<_> = selected.extensions.iter().filter(|other| !is_vetoed(&other.label)).collect();
    let label = |other: &&Member| other.label.clone();
    let below: Vec<_> = stacked.iter().rev().filter(|other| other.index < member.index).map(label).collect();
    let above = stacked.iter().filter(|other| other.index > member.index).map(label).collect();
    let record = member.extension.record();
    let has_files = |hierarchy: &&plan::Hierarchy| hierarchy.layers.contains(&member.label);
    let hierarchies = plans.iter().flat_map(|plan| &plan.hierarchies).filter(has_files);
    Reason::Used(Place {
        position: below.len().saturating_add(1),
        of: stacked.len(),
        hierarchies: hierarchies.map(|hierarchy| hierarchy.path.to_owned()).collect(),
        above,
        below,
        checked: record.checked.clone(),
        merged: merged(&record, live),
    })
}

fn merged(record: &state::Layer, live: Option<&[state::Layer]>) -> Merged {
    let Some(live) = live else { return Merged::Unknown };
    let named: Vec<_> = live.iter().filter(|layer| layer.name == record.name).collect();
    match named.iter().any(|layer| layer.identity == record.identity) {
        true => Merged::Yes,
        false if named.is_empty() => Merged::No,
        false => Merged::Other,
    }
}
