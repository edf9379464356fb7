//! Which extensions a service has, and in which order

use std::collections::BTreeMap;

use confext_ddi::fs::FileSystem;
use confext_ddi::release::{self, Class, Strictness};
use confext_ddi::settings::Mutability;
use confext_ddi::unit::{Covered, Entry, EntryKind, Extensions, IfMissing};
use serde::Serialize;

use super::HIERARCHIES;
use super::find::{Picked, find};
use super::planned::{self, Planned};
use crate::admission::{Extension, Gate, HostMatch, LeftOut, Matched, Matcher, OnBad, Options, Terms};
use crate::directory::lookup;
use crate::discover::{Candidate, Rejection, Severity};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::parallel;
use crate::plan::{LayerFiles, Plan, Refusal};
use crate::service::ground::Ground;
use crate::state::{self, Identity};

/// The extensions of a service that may be used, in the order they are stacked, bottom first; and what is left out.
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
/// use confext_core::{Host, Options, service::{Unit, stack}};
///
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// let host = Host::open(root.path())?;
/// let unit = Unit::read(&host, "app")?.service;
/// let selected = stack::select(&host, &host, &unit.extensions, &options)?;
/// assert_eq!((selected.extensions.len(), selected.refused.len()), (1, 0));
/// let plans = selected.plan(&host, &options)?;
/// assert_eq!(plans[0].hierarchies[0].path, "etc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Selected {
    /// Those that passed.
    pub extensions: Vec<Member>,
    /// Everything else, in the order of the unit, each with its reason.
    pub refused: Vec<Rejection>,
    /// The policy that images were admitted under.
    pub policy: String,
    /// For those that can be matched only when they are mounted.
    pub(crate) matcher: Matcher,
}

/// An extension of a service.
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
/// use confext_core::{Host, Options, service::stack};
/// use confext_ddi::unit::{Entry, Extensions};
///
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// let host = Host::open(root.path())?;
/// let listed = Extensions::of([], [Entry::directory("/srv/gone").or_skipped(), Entry::directory("/srv/app")]);
/// let selected = stack::select(&host, &host, &listed, &options)?;
/// let member = &selected.extensions[0];
/// // The first one that is listed is not there, and may be missing.
/// assert_eq!((member.index, member.label.as_str()), (1, "app"));
/// assert_eq!(member.listed.path, "/srv/app");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Member {
    /// Its place among what the unit lists, from the bottom: images from 0 on, then directories.
    pub index: usize,
    /// What the unit says of it.
    pub listed: Entry,
    /// What it is called in a plan: its name, with its path where two have that name.
    pub label: String,
    /// The extension, open.
    pub extension: Extension,
}

/// Why something that is listed is not used.
struct Out {
    rejection: Box<Rejection>,
    /// The fault itself, where there is one.
    error: Option<Error>,
}

impl From<Rejection> for Out {
    fn from(rejection: Rejection) -> Self {
        Self { rejection: Box::new(rejection), error: None }
    }
}

/// Finds, opens, judges and orders the extensions of a service. Changes nothing and needs no privilege.
///
/// Images are judged by the unit's own policy where it has one, else by [`Options::policy`], and directories, which that
/// policy is not about, by [`Options::policy`]. The other options count as for a host.
///
/// # Errors
///
/// With [`OnBad::RefuseAll`](crate::admission::OnBad) the first fault of an extension. What a minus sign lets be missing
/// is no fault, and neither is an image that is listed twice. `mutable-private` for a mode in which a stack can be written
/// to; what keeps the root from being looked at.
pub fn select(
    host: &Host,
    root: &dyn Ground,
    extensions: &Extensions,
    options: &Options,
) -> Result<Selected> {
    let release = match options.host_match {
        HostMatch::Required => Some(root.release(&options.limits)?),
        HostMatch::Ignored => None,
    };
    select_for(host, release, extensions, options)
}

/// The same, where it is known already what the root says of itself.
pub(crate) fn select_for(
    host: &Host,
    root: Option<release::Host>,
    extensions: &Extensions,
    options: &Options,
) -> Result<Selected> {
    if options.mutability != Mutability::No {
        let found = format!("mode {}", options.mutability);
        return Err(Error::conflict("mutable-private", "the stack of a service", found, "no"));
    }
    let gate = Gate::of_service(host, root, options)?;
    let policy = extensions.policy.as_ref().unwrap_or(&options.policy);
    let listed = extensions.bottom_first().enumerate().collect();
    let found = parallel::map(listed, |(index, entry): (usize, &Entry)| {
        let mut passed = Vec::new();
        let policy = if entry.kind == EntryKind::Image { policy } else { &options.policy };
        let result = find(host, entry, &mut passed).map_err(Out::from).and_then(|picked| {
            let strictness = match options.strictness {
                Strictness::Relaxed => Strictness::Relaxed,
                Strictness::Strict => entry.strictness,
            };
            let terms = Terms { policy, image_name: &picked.image_name, strictness };
            admit(&gate, entry, &picked, terms)
        });
        (index, entry, passed, result)
    });
    let (mut members, mut refused): (Vec<Member>, _) = (Vec::new(), Vec::new());
    for (index, entry, passed, result) in found {
        refused.extend(passed.into_iter().map(|bad| of_entry(bad, index)));
        match result {
            Ok(extension) => {
                let outside = outside_of_class(&extension, options);
                refused.extend(outside.into_iter().map(|bad| of_entry(bad, index)));
                let label = extension.candidate().name.clone();
                members.push(Member { index, listed: entry.clone(), label, extension });
            }
            Err(out) if options.is_fatal(out.rejection.name.as_deref(), out.rejection.severity) => {
                return Err(out.error.unwrap_or_else(|| out.rejection.into_error()));
            }
            Err(mut out) => {
                out.rejection.details.listed = Some(index);
                refused.push(*out.rejection);
            }
        }
    }
    let mut members = without_duplicates(members, &mut refused);
    label(&mut members);
    let policy = policy.to_string();
    Ok(Selected { extensions: members, refused, policy, matcher: gate.into_matcher() })
}

fn of_entry(mut rejection: Rejection, index: usize) -> Rejection {
    rejection.details.listed = Some(index);
    rejection
}

fn admit(
    gate: &Gate<'_>,
    entry: &Entry,
    picked: &Picked,
    terms: Terms<'_>,
) -> std::result::Result<Extension, Out> {
    let candidate = &picked.candidate;
    let extension = gate.admit_on(candidate.clone(), terms).map_err(|left| {
        let rejection = Box::new(Rejection::of(candidate, severity(entry, &left), &left.error));
        Out { rejection, error: Some(left.error) }
    })?;
    match bad_option(entry, candidate, extension.classes()) {
        Some(rejection) => Err(rejection.into()),
        None => Ok(extension),
    }
}

/// How bad it is that an extension is left out: it was asked for, so that one for another root is a fault, too.
pub(super) fn severity(entry: &Entry, left: &LeftOut) -> Severity {
    match (entry.if_missing, left.error.code()) {
        (IfMissing::Skip, "release-missing") => Severity::Ignored,
        _ => Severity::Refused,
    }
}

/// Mount options that are so for every layer. Access times are never written to a layer.
const OPTIONS: [&str; 7] = ["defaults", "ro", "nodev", "noatime", "nodiratime", "relatime", "norelatime"];
/// Those that are so for a confext only.
const CONFEXT_OPTIONS: [&str; 2] = ["nosuid", "noexec"];

/// The first mount option that would have no effect. Of what the kernel alone can read the class is not known at first.
pub(super) fn bad_option(entry: &Entry, candidate: &Candidate, classes: &[Class]) -> Option<Rejection> {
    let confext = matches!(classes, [] | [Class::Confext]);
    let honoured = |option: &str| OPTIONS.contains(&option) || (confext && CONFEXT_OPTIONS.contains(&option));
    for (designator, options) in &entry.options {
        let bad = options.split(',').find(|option| !option.is_empty() && !honoured(option));
        if let Some(bad) = bad {
            let found = format!("{bad} for {}", designator.as_str());
            let mut expected = OPTIONS.to_vec();
            expected.extend(CONFEXT_OPTIONS.iter().filter(|_| confext));
            let expected = expected.join(", ");
            let rejection =
                Rejection::new(Severity::Refused, &candidate.path, "mount-option", found, expected);
            return Some(rejection.named(&candidate.name));
        }
    }
    None
}

/// What an extension has where its class has nothing. It is not seen.
fn outside_of_class(extension: &Extension, options: &Options) -> Vec<Rejection> {
    let (classes, candidate) = (extension.classes(), extension.candidate());
    let Ok(files) = extension.files(&options.limits) else { return Vec::new() };
    let outside = HIERARCHIES.into_iter().filter(|(_, class)| !classes.contains(class));
    let used = |(hierarchy, _): &(&str, Class)| has_files(files.as_ref(), hierarchy).unwrap_or(false);
    let note = |(hierarchy, class): (&str, Class)| {
        let found = format!("/{hierarchy} in an extension that is no {class}");
        let names: Vec<_> = classes.iter().flat_map(|class| class.hierarchies()).copied().collect();
        let expected = format!("files in /{} only", names.join(" and /"));
        Rejection::new(Severity::Ignored, &candidate.path, "class-hierarchy", found, expected)
            .named(&candidate.name)
    };
    outside.filter(used).map(note).collect()
}

fn has_files(files: &dyn FileSystem, hierarchy: &str) -> confext_ddi::Result<bool> {
    match lookup(files, hierarchy.as_bytes())? {
        Some(_) => Ok(!files.read_dir(hierarchy.as_bytes())?.is_empty()),
        None => Ok(false),
    }
}

/// Of what is the same, the later one stays: it would hide all of the earlier one.
fn without_duplicates(members: Vec<Member>, refused: &mut Vec<Rejection>) -> Vec<Member> {
    let (mut kept, mut dropped): (Vec<Member>, _) = (Vec::new(), Vec::new());
    for member in members.into_iter().rev() {
        let own = member.extension.identity();
        match kept.iter().find(|later| is_same(later.extension.identity(), own)) {
            Some(later) => {
                let candidate = member.extension.candidate();
                let by = &later.extension.candidate().path;
                let found = "the content of one that is listed later";
                let expected = format!("it once: {} counts", by.display());
                let mut rejection = Rejection::new(
                    Severity::Ignored,
                    &candidate.path,
                    "duplicate-extension",
                    found,
                    expected,
                )
                .named(&candidate.name);
                rejection.details.by = Some(by.clone());
                rejection.details.candidate = Some(candidate.clone());
                dropped.push(of_entry(rejection, member.index));
            }
            None => kept.push(member),
        }
    }
    kept.reverse();
    refused.extend(dropped.into_iter().rev());
    kept
}

fn is_same(one: &Identity, other: &Identity) -> bool {
    match (one, other) {
        // Whatever was changed in it between the two looks.
        (
            Identity::Directory { device, inode, .. },
            Identity::Directory { device: other_device, inode: other_inode, .. },
        ) => (device, inode) == (other_device, other_inode),
        _ => one == other,
    }
}

/// Two extensions may have one name: then they are called by their paths as well.
fn label(members: &mut [Member]) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for member in members.iter() {
        let count = counts.entry(member.label.clone()).or_default();
        *count = count.saturating_add(1);
    }
    for member in members {
        if counts.get(&member.label).is_some_and(|count| *count > 1) {
            let candidate = member.extension.candidate();
            member.label = format!("{} ({})", candidate.name, candidate.path.display());
        }
    }
}

/// A record with the hierarchies of one class.
pub(super) fn record_as(mut record: state::Layer, class: Class) -> state::Layer {
    record.hierarchies.retain(|hierarchy| class.hierarchies().contains(&hierarchy.as_str()));
    record
}

/// An extension whose files can be read without the kernel.
struct Readable<'a> {
    member: &'a Member,
    files: Box<dyn FileSystem + 'a>,
    hierarchies: Vec<&'static str>,
}

impl Planned for Readable<'_> {
    fn files<'a>(&'a self, hierarchy: &'static str) -> Option<LayerFiles<'a>> {
        self.hierarchies
            .contains(&hierarchy)
            .then(|| LayerFiles::new(&self.member.label, self.files.as_ref(), hierarchy.as_bytes()))
    }
}

impl Selected {
    /// The extensions with files in a hierarchy, bottom first, as they would be written down; `None` where only the kernel can
    /// read them. Nothing is mounted.
    pub(crate) fn layers_of(&self, hierarchy: &'static str, options: &Options) -> Option<Vec<state::Layer>> {
        let layer = |member| {
            let readable = Readable::new(member, options).ok()?;
            let record = readable.hierarchies.contains(&hierarchy).then(|| member.extension.record());
            (member.extension.matched() == Matched::Yes).then_some(record)
        };
        let layers: Option<Vec<_>> = self.extensions.iter().map(layer).collect();
        Some(layers?.into_iter().flatten().collect())
    }

    /// What they would change over what the root has now, path by path, and what speaks against it: a plan for each class
    /// that has files. Nothing is mounted.
    ///
    /// # Errors
    ///
    /// When the root cannot be looked at.
    pub fn plan(&self, root: &dyn Ground, options: &Options) -> Result<Vec<Plan>> {
        let (mut readable, mut refused) = (Vec::new(), self.refused.clone());
        for member in &self.extensions {
            match Readable::new(member, options) {
                Ok(layer) => readable.push(layer),
                Err(error) => refused.push(of_entry(
                    Rejection::of(member.extension.candidate(), Severity::Refused, &error),
                    member.index,
                )),
            }
        }
        let bases = planned::of_ground(root, &options.limits)?;
        let mut plans = planned::plan(&readable, &planned::borrowed(&bases), &options.limits)?;
        for plan in &mut plans {
            let own = |layer: &&Readable<'_>| layer.member.extension.classes().contains(&plan.class);
            let record = |layer: &Readable<'_>| {
                let mut record = layer.member.extension.record();
                record.hierarchies = layer.hierarchies.iter().map(|&name| name.to_owned()).collect();
                record_as(record, plan.class)
            };
            plan.layers = readable.iter().filter(own).map(record).collect();
            plan.layer_changes = crate::plan::compare(&[], plan.layers.iter());
            plan.refused.clone_from(&refused);
            plan.settle(&options.allow, |name, severity| options.is_fatal(name, severity));
        }
        Ok(plans)
    }
}

/// What the extensions of a service change, and which are not used.
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
/// use confext_core::{Host, Options, service::{Unit, stack}};
///
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// let host = Host::open(root.path())?;
/// let unit = Unit::read(&host, "app")?.service;
/// let preview = stack::plan(&host, &host, &unit.extensions, &options)?;
/// assert_eq!((preview.refusal, preview.refused.len()), (None, 0));
/// assert!(preview.plans[0].layers.iter().any(|layer| layer.name == "app"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Preview {
    /// The policy that images are admitted under.
    pub policy: String,
    /// Why the service would not have these extensions: the first reason.
    pub refusal: Option<Refusal>,
    /// A plan for each class that has files.
    pub plans: Vec<Plan>,
    /// What is not used, and why.
    pub refused: Vec<Rejection>,
    /// Mounts of the unit that are over paths which extensions change ([`with_mounts`](Self::with_mounts)).
    pub covered: Vec<Covered>,
}

/// Works out what the extensions of a service would change in its root if it were started now: everything that speaks against
/// it is told, and not only the first thing. Changes nothing and needs no privilege.
///
/// # Errors
///
/// What keeps the root from being looked at.
pub fn plan(host: &Host, root: &dyn Ground, extensions: &Extensions, options: &Options) -> Result<Preview> {
    let mut tolerant = Options { on_bad: OnBad::Skip, ..options.clone() };
    tolerant.required.clear();
    let selected = select(host, root, extensions, &tolerant)?;
    let plans = selected.plan(root, options)?;
    let fatal = |bad: &&Rejection| options.is_fatal(bad.name.as_deref(), bad.severity);
    let refusal = selected.refused.iter().find(fatal).map(Refusal::of);
    let refusal = refusal.or_else(|| plans.iter().find_map(|plan| plan.refusal.clone()));
    let (policy, refused, covered) = (selected.policy, selected.refused, Vec::new());
    Ok(Preview { policy, refusal, plans, refused, covered })
}

impl<'a> Readable<'a> {
    fn new(member: &'a Member, options: &Options) -> Result<Self> {
        let files = member.extension.files(&options.limits)?;
        let candidate = member.extension.candidate();
        let in_image = |source| Error::Image { image: candidate.path.display().to_string(), source };
        let mut hierarchies = Vec::new();
        for &hierarchy in member.extension.classes().iter().flat_map(|class| class.hierarchies()) {
            let found = lookup(files.as_ref(), hierarchy.as_bytes()).map_err(in_image)?;
            match found.map(|found| found.file_type) {
                None => {}
                Some(confext_ddi::fs::FileType::Directory) => {
                    let entries = files.read_dir(hierarchy.as_bytes()).map_err(in_image)?;
                    hierarchies.extend((!entries.is_empty()).then_some(hierarchy));
                }
                Some(other) => {
                    let target = format!("{hierarchy} in {}", candidate.path.display());
                    return Err(Error::conflict("layer-type", target, other.as_str(), "a directory"));
                }
            }
        }
        Ok(Self { member, files, hierarchies })
    }
}
