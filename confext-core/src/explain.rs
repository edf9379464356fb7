//! [`explain`]: why an extension of a name is used, and where in the stack, or why it is not

mod near;

use std::path::{Path, PathBuf};

use confext_ddi::release::Class;
use serde::Serialize;

use crate::admission::Options;
use crate::discover::{Candidate, Kind, Rejection, Searched, lossy, lossy_if_any};
use crate::error::Result;
use crate::host::Host;
use crate::plan::{Plan, Refusal, Veto};
use crate::stack::{Merged, MergedStacks, Preview, preview};
use crate::state::Checked;

pub use near::Near;

/// Everything that has a name, or nearly, and what becomes of it.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{explain, explain::{Explanation, Verdict}};
/// use confext_ddi::release::Class;
///
/// let answer: Explanation = explain(&host, Class::Confext, "app", &options)?;
/// assert_eq!(answer.verdict, Verdict::Used);
/// assert_eq!(answer.entries[0].path, Some("/run/confexts/app".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The class.
    pub class: Class,
    /// The name that was asked for.
    pub name: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// Why a merge would end with an error and change nothing, whatever this extension is like.
    pub refusal: Option<Refusal>,
    /// The directories that were looked into, in order of precedence.
    pub searched: Vec<Searched>,
    /// Every entry of the name in all of them, in order of precedence.
    pub entries: Vec<Explained>,
    /// Where nothing has the name: names that are nearly the same, and the same one in the other class.
    pub near: Vec<Near>,
}

/// What becomes of a name.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{Options, explain, explain::Verdict};
/// use confext_ddi::release::Class;
///
/// assert_eq!(explain(&host, Class::Confext, "app", &options)?.verdict, Verdict::Used);
/// assert_eq!(explain(&host, Class::Confext, "other", &options)?.verdict, Verdict::Unknown);
/// // Nobody can sign a directory, and that is what the default policy asks for.
/// assert_eq!(explain(&host, Class::Confext, "app", &Options::default())?.verdict, Verdict::NotUsed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is part of the stack that a merge makes.
    Used,
    /// Something has the name, and is not part of the stack.
    NotUsed,
    /// It would be part of the stack, but there would be none: see [`Explanation::refusal`].
    Refused,
    /// Nothing has the name.
    Unknown,
}

/// One entry of a search directory, and what becomes of it.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{explain, explain::Explained};
/// use confext_ddi::release::Class;
///
/// std::fs::create_dir_all(root.path().join("usr/lib/confexts/app/etc"))?;
/// let answer = explain(&host, Class::Confext, "app", &options)?;
/// let entries = answer.entries.iter().map(|one: &Explained| (one.entry.to_str(), one.reason.as_str()));
/// let expected = [(Some("/run/confexts/app"), "used"), (Some("/usr/lib/confexts/app"), "shadowed")];
/// assert_eq!(entries.collect::<Vec<_>>(), expected);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// The entry of the search directory that gives the name, inside the root.
    #[serde(serialize_with = "lossy")]
    pub entry: PathBuf,
    /// What it leads to, links resolved and the version chosen, as far as that was found out.
    #[serde(serialize_with = "lossy_if_any")]
    pub path: Option<PathBuf>,
    /// What that is.
    pub kind: Option<Kind>,
    /// The version chosen from a `.v/` directory.
    pub version: Option<String>,
    /// What becomes of it, and why.
    #[serde(flatten)]
    pub reason: Reason,
    /// For a `.v/` directory: what in it is passed over, and why.
    pub passed_over: Vec<Fault>,
}

/// What becomes of an entry, and why.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{explain, explain::Reason};
/// use confext_ddi::release::Class;
///
/// let release = "run/confexts/app/etc/extension-release.d/extension-release.app";
/// std::fs::write(root.path().join(release), "ID=other\n")?;
/// let answer = explain(&host, Class::Confext, "app", &options)?;
/// let Reason::OtherHost { field, fault } = &answer.entries[0].reason else { panic!("it is for this host") };
/// assert_eq!((*field, fault.found.as_deref()), ("ID", Some("ID=\"other\"")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// It is part of the stack.
    Used(Place),
    /// Something speaks against it that is not allowed.
    Vetoed {
        /// What.
        vetoes: Vec<Veto>,
    },
    /// An entry that comes first has its name.
    Shadowed {
        /// That entry.
        #[serde(serialize_with = "lossy")]
        by: PathBuf,
    },
    /// It is an empty directory, which keeps the name from being used.
    Masked,
    /// It is sound, and for another host.
    OtherHost {
        /// The field of its release file that says so.
        field: &'static str,
        /// Code, what it says, and what the host would need.
        fault: Fault,
    },
    /// It is no extension, or none yet.
    NotAnExtension {
        /// What it is instead.
        fault: Fault,
    },
    /// Something is wrong with it, or the policy says no.
    Refused {
        /// What.
        fault: Fault,
    },
    /// Only the kernel can read its file system: it is decided when it is mounted.
    Undecided {
        /// Why it cannot be told.
        fault: Fault,
    },
}

/// Where in the stack an extension is.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{explain, explain::Reason};
/// use confext_ddi::release::Class;
///
/// let answer = explain(&host, Class::Confext, "site", &options)?;
/// let Reason::Used(place) = &answer.entries[0].reason else { panic!("it is not used") };
/// assert_eq!((place.position, place.of), (2, 2));
/// assert_eq!((&place.below[..], &place.hierarchies[..]), (&["app".to_owned()][..], &["etc".to_owned()][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Place {
    /// Its place, from 1 at the bottom.
    pub position: usize,
    /// How many there are.
    pub of: usize,
    /// The hierarchies it has files in.
    pub hierarchies: Vec<String>,
    /// The extensions above it, the next one first.
    pub above: Vec<String>,
    /// The extensions below it, the next one first.
    pub below: Vec<String>,
    /// What was checked of it just now.
    pub checked: Checked,
    /// Whether it is merged.
    pub merged: Merged,
}

/// Why something is not used.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{Options, explain};
/// use confext_ddi::release::Class;
///
/// // Nobody can sign a directory, and that is what the default policy asks for.
/// let answer = explain(&host, Class::Confext, "app", &Options::default())?;
/// let fault = answer.entries[0].reason.fault().ok_or("it is used")?;
/// assert_eq!(fault.code, "policy");
/// println!("{}; {}", fault.message, fault.hint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Fault {
    /// Where, inside the root.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The stable code.
    pub code: &'static str,
    /// What was found.
    pub found: Option<String>,
    /// What was expected.
    pub expected: Option<String>,
    /// All of it in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// Says of everything that has a name, in all search directories, whether it is used and why. Changes nothing and needs
/// no privilege; the host need not run.
///
/// # Errors
///
/// What keeps all extensions from being found, or the host from being looked at.
pub fn explain(host: &Host, class: Class, name: &str, options: &Options) -> Result<Explanation> {
    let Preview { plan, candidates, searched } = preview(host, class, options)?;
    let merged = MergedStacks::look(host, class)?;
    let mut entries: Vec<Explained> = Vec::new();
    if let Some(candidate) = candidates.iter().find(|candidate| candidate.name == name) {
        let reason = reason_of(&plan, name, &merged);
        entries.push(Explained {
            entry: candidate.entry.clone(),
            path: Some(candidate.path.clone()),
            kind: Some(candidate.kind),
            version: candidate.version.clone(),
            reason,
            passed_over: Vec::new(),
        });
    }
    let about = |bad: &&Rejection| bad.code != "required-missing" && near::is_about(bad, name);
    let (versions, others): (Vec<_>, Vec<_>) =
        plan.refused.iter().filter(about).partition(|bad| is_of_version(bad.code));
    entries.extend(others.into_iter().map(Explained::of));
    for version in versions {
        // What is in a directory is told with the directory.
        let inside = |entry: &&mut Explained| version.path.parent() == Some(&entry.entry);
        match entries.iter_mut().find(inside) {
            Some(entry) => entry.passed_over.push(version.into()),
            None => entries.push(Explained::of(version)),
        }
    }
    entries.sort_by_key(|entry| precedence(&searched, entry));
    let used = entries.iter().any(|entry| matches!(entry.reason, Reason::Used(_)));
    let verdict = match (used, &plan.refusal) {
        (true, None) => Verdict::Used,
        (true, Some(_)) => Verdict::Refused,
        (false, _) if entries.is_empty() => Verdict::Unknown,
        (false, _) => Verdict::NotUsed,
    };
    let near = if entries.is_empty() { near::names(host, class, name, &plan)? } else { Vec::new() };
    let name = name.to_owned();
    Ok(Explanation { class, name, verdict, refusal: plan.refusal, searched, entries, near })
}

/// Of an extension that passed: its place in the stack, or what speaks against it.
fn reason_of(plan: &Plan, name: &str, merged: &MergedStacks) -> Reason {
    let is_vetoed = |name: &str| plan.vetoes.iter().any(|veto| veto.layer == name && !veto.allowed);
    if is_vetoed(name) {
        let against = |veto: &&Veto| veto.layer == name && !veto.allowed;
        return Reason::Vetoed { vetoes: plan.vetoes.iter().filter(against).cloned().collect() };
    }
    let stacked: Vec<_> = plan.layers.iter().filter(|layer| !is_vetoed(&layer.name)).collect();
    let mut parts = stacked.splitn(2, |layer| layer.name == name);
    let below: Vec<_> = parts.next().unwrap_or_default().iter().rev().map(|l| l.name.clone()).collect();
    let above = parts.next().unwrap_or_default().iter().map(|layer| layer.name.clone()).collect();
    let layer = plan.layers.iter().find(|layer| layer.name == name);
    Reason::Used(Place {
        position: below.len().saturating_add(1),
        of: stacked.len(),
        hierarchies: layer.map(|layer| layer.hierarchies.clone()).unwrap_or_default(),
        above,
        below,
        checked: layer.map_or(Checked::None, |layer| layer.checked.clone()),
        merged: layer.map_or(Merged::No, |layer| merged.of(layer)),
    })
}

fn is_of_version(code: &str) -> bool {
    matches!(code, "version-rejected" | "version-outranked")
}

/// The place of an entry's directory among the searched ones; entries of one directory stay in their order but for those
/// that are outranked, which come last.
fn precedence(searched: &[Searched], entry: &Explained) -> (usize, bool) {
    let directory = entry.entry.parent();
    let place = searched.iter().position(|searched| directory == Some(Path::new(searched.path)));
    (place.unwrap_or(usize::MAX), matches!(entry.reason, Reason::Shadowed { .. }))
}

impl Explained {
    fn of(bad: &Rejection) -> Self {
        let candidate = bad.details.candidate.as_ref();
        Self {
            entry: candidate.map_or_else(|| bad.path.clone(), |candidate| candidate.entry.clone()),
            path: candidate.map(|candidate| candidate.path.clone()),
            kind: candidate.map(|candidate: &Candidate| candidate.kind),
            version: candidate.and_then(|candidate| candidate.version.clone()),
            reason: Reason::of(bad),
            passed_over: Vec::new(),
        }
    }
}

impl Reason {
    pub(crate) fn of(bad: &Rejection) -> Self {
        match (bad.code, &bad.details.by, bad.details.field) {
            ("shadowed", Some(by), _) => Self::Shadowed { by: by.clone() },
            ("masked", ..) => Self::Masked,
            ("file-system-unsupported", ..) => Self::Undecided { fault: bad.into() },
            (_, _, Some(field)) => Self::OtherHost { field, fault: bad.into() },
            _ if bad.severity == crate::discover::Severity::Ignored => {
                Self::NotAnExtension { fault: bad.into() }
            }
            _ => Self::Refused { fault: bad.into() },
        }
    }

    /// The name in documents.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Used(_) => "used",
            Self::Vetoed { .. } => "vetoed",
            Self::Shadowed { .. } => "shadowed",
            Self::Masked => "masked",
            Self::OtherHost { .. } => "other-host",
            Self::NotAnExtension { .. } => "not-an-extension",
            Self::Refused { .. } => "refused",
            Self::Undecided { .. } => "undecided",
        }
    }

    /// Code, found and expected, where there are such.
    #[must_use]
    pub const fn fault(&self) -> Option<&Fault> {
        match self {
            Self::OtherHost { fault, .. }
            | Self::NotAnExtension { fault }
            | Self::Refused { fault }
            | Self::Undecided { fault } => Some(fault),
            Self::Used(_) | Self::Vetoed { .. } | Self::Shadowed { .. } | Self::Masked => None,
        }
    }
}

impl Verdict {
    /// The name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::NotUsed => "not-used",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

impl From<&Rejection> for Fault {
    fn from(bad: &Rejection) -> Self {
        Self {
            path: bad.path.clone(),
            code: bad.code,
            found: bad.details.found.clone(),
            expected: bad.details.expected.clone(),
            message: bad.message.clone(),
            hint: bad.hint,
        }
    }
}

#[cfg(test)]
mod tests;
