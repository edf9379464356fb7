//! [`apply`]: one class or both are merged, refreshed or unmerged in one go, all or none.

use confext_ddi::release::Class;

use super::changes::{self, attached_otherwise, changes, executed_otherwise};
use super::exchange;
use super::place::{Removal, Step, place};
use super::{
    Audience, Change, Lock, Outcome, Report, Selection, Stack, Test, Tree, bare, mutable, retire, select,
};
use crate::admission::{Options, Replace};
use crate::closing::Closing;
use crate::consumers::{After, Heard};
use crate::discover::Rejection;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::manager::{self, Reload, Told};
use crate::plan::Plan;
use crate::state::{self, Current, Layer, Merged, Record};

/// What is to be done with the stacks of a host.
///
/// ```no_run
/// # let root = tempfile::tempdir()?;
/// # for (path, text) in [
/// #     ("etc/os-release", "ID=demo\n"),
/// #     ("run/confexts/app/etc/extension-release.d/extension-release.app", "ID=demo\n"),
/// #     ("run/confexts/app/etc/app.conf", "answer = 42\n"),
/// # ] {
/// #     std::fs::create_dir_all(root.path().join(path).parent().ok_or("no parent")?)?;
/// #     std::fs::write(root.path().join(path), text)?;
/// # }
/// # use confext_core::{Host, Options};
/// # use confext_ddi::{policy::Policy, release::Class};
/// # let host = Host::open(root.path())?;
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// # let sysexts = options.clone();
/// use confext_core::{apply, stack::Verb};
///
/// // Sysexts and confexts in one go: both change, or none.
/// let classes = [(Class::Sysext, &sysexts), (Class::Confext, &options)];
/// let reports = apply(&host, Verb::Refresh, &classes)?;
/// assert_eq!(reports[1].layers[0].name, "app");
/// apply(&host, Verb::Unmerge, &classes)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Put stacks where none are. If there is one for a part of the classes or hierarchies only, a merge did not come to its
    /// end, and this one does what [`Verb::Refresh`] does.
    Merge,
    /// Make what is merged what should be merged: merge, replace, take away or leave alone.
    Refresh,
    /// Take away what is merged, also by systemd.
    Unmerge,
}

/// The order in which hierarchies are put in place or exchanged; they are taken away in the other direction. Programs
/// come before the configuration that is for them.
const ORDER: [&str; 3] = ["usr", "opt", "etc"];

/// Merges, refreshes or unmerges the extensions of one class or of both, each with its own options.
///
/// There is one lock. Everything of all classes is found, opened, judged, attached and assembled first, on the host as it
/// is before any of it is changed: what a sysext brings into `/usr/lib/confexts` is found by the next call. Then `usr`,
/// `opt` and `etc` are put in place or exchanged, in this order and by one move each; what goes is taken away after that,
/// in the order `etc`, `opt`, `usr`. If one of these fails, the ones before it are taken back.
///
/// The reports are in the order of `classes`.
///
/// # Errors
///
/// `class-twice`; [`Verb::Merge`]: `already-merged`; whatever keeps an extension from being used (see
/// [`OnBad`](crate::admission::OnBad)); `os`. The stacks that were there still are. If even going back fails, `rollback`
/// says what stands.
///
/// # Needs
///
/// `CAP_SYS_ADMIN`, Linux 6.1, `/proc`; before Linux 6.15 also `CAP_SYS_CHROOT`.
pub fn apply(host: &Host, verb: Verb, classes: &[(Class, &Options)]) -> Result<Vec<Report>> {
    for (at, (class, _)) in classes.iter().enumerate() {
        if classes.iter().take(at).any(|(before, _)| before == class) {
            return Err(Error::conflict("class-twice", class.as_str(), "it twice", "each class once"));
        }
    }
    host.reachable("a change of a stack")?;
    let wait = classes.iter().map(|(_, options)| options.lock_wait).max().unwrap_or_default();
    let lock = Lock::take(host, wait)?;
    let stacks = classes.iter().map(|(class, _)| look(host, *class)).collect::<Result<Vec<_>>>()?;
    if verb == Verb::Merge {
        refuse_merged(host, classes, &stacks)?;
    }
    let intents = classes
        .iter()
        .zip(stacks)
        .map(|((class, options), stacks)| Intent::new(host, verb, (*class, stacks), options))
        .collect::<Result<Vec<_>>>()?;
    let (mut reports, mut steps, mut closing) = (Vec::new(), Vec::new(), Closing::default());
    for intent in intents {
        reports.push(intent.report);
        steps.extend(intent.steps);
        closing.join(intent.closing);
    }
    steps.sort_by_key(rank);
    place(host, &lock, &steps)?;
    // The lock is held until nothing of the old stacks is left. What stays is no error: the stacks have changed.
    let mut last = None;
    for mut step in steps {
        let hierarchy = step.hierarchy();
        if let Some(before) = step.old().and_then(|old| last.replace(old)) {
            closing.close(before);
        }
        if let Err(error) = step.settle() {
            let mut report =
                reports.iter_mut().find(|report| report.class.hierarchies().contains(&hierarchy));
            report.iter_mut().for_each(|report| report.left_behind.push(error.explain()));
        }
    }
    // One of them here: there is nothing else to do than to wait.
    drop(last);
    drop(closing);
    // Units may take their time, and may merge themselves.
    drop(lock);
    for (report, (_, options)) in reports.iter_mut().zip(classes) {
        report.told = tell(host, report, options.reload);
    }
    Ok(reports)
}

/// Tells the service manager of this machine, if its root directory is the one that has changed.
fn tell(host: &Host, report: &Report, reload: Reload) -> Option<Told> {
    let Reload::AsAsked { wait } = reload else { return None };
    let changed = !matches!(report.outcome, Outcome::Unchanged { .. } | Outcome::Nothing);
    (changed && host.is_own() && !report.after.manager.is_empty())
        .then(|| manager::act(&report.after.manager, wait))
}

fn rank(step: &Step) -> (Way, usize) {
    let way = if matches!(step, Step::Remove(_)) { Way::Out } else { Way::In };
    rank_of(way, step.hierarchy())
}

/// What goes is taken away last: if anything fails before, nothing of it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    In,
    Out,
}

fn rank_of(way: Way, hierarchy: &str) -> (Way, usize) {
    let place = ORDER.iter().position(|known| *known == hierarchy).unwrap_or(ORDER.len());
    match way {
        Way::In => (way, place),
        Way::Out => (way, ORDER.len().saturating_sub(place)),
    }
}

/// Merges the extensions of a class: [`apply`] of [`Verb::Merge`].
///
/// # Errors
///
/// As [`apply`].
///
/// # Needs
///
/// As [`apply`].
pub fn merge(host: &Host, class: Class, options: &Options) -> Result<Report> {
    one(host, Verb::Merge, class, options)
}

/// Makes what is merged what should be merged: [`apply`] of [`Verb::Refresh`].
///
/// A stack is replaced without a gap: the new one is assembled, put beneath the old one, and the old one is detached.
/// A reader of a file that is in both never misses it.
///
/// # Errors
///
/// As [`apply`].
///
/// # Needs
///
/// As [`apply`].
pub fn refresh(host: &Host, class: Class, options: &Options) -> Result<Report> {
    one(host, Verb::Refresh, class, options)
}

/// Takes the stack of a class away, also one that systemd merged: [`apply`] of [`Verb::Unmerge`]. Nothing merged is no
/// error.
///
/// # Errors
///
/// As [`apply`].
///
/// # Needs
///
/// As [`apply`].
pub fn unmerge(host: &Host, class: Class, options: &Options) -> Result<Report> {
    one(host, Verb::Unmerge, class, options)
}

fn one(host: &Host, verb: Verb, class: Class, options: &Options) -> Result<Report> {
    let reports = apply(host, verb, &[(class, options)])?;
    // One class in, one report out.
    reports
        .into_iter()
        .next()
        .ok_or_else(|| Error::conflict("class-twice", class.as_str(), "no report", "one"))
}

/// A merge is for what is not merged. If only a part of it is, then a merge before this one did not come to its end.
fn refuse_merged(host: &Host, classes: &[(Class, &Options)], stacks: &[Stacks]) -> Result<()> {
    for ((class, _), stacks) in classes.iter().zip(stacks) {
        if stacks.is_empty() || changes::interrupted(host, *class, stacks)? {
            return Ok(());
        }
    }
    let Some((hierarchy, merged)) = stacks.iter().flatten().next() else { return Ok(()) };
    let found = format!("a stack of {}", merged.names.join(", "));
    Err(Error::conflict("already-merged", host.display((*hierarchy).as_ref()), found, "no stack"))
}

/// What is to happen to one class, all of it assembled.
struct Intent {
    steps: Vec<Step>,
    /// What will have been done when the steps are.
    report: Report,
    /// What was needed to assemble it.
    closing: Closing,
}

/// The hierarchies of a class over which something is merged.
type Stacks = Vec<(&'static str, Merged)>;

impl Intent {
    fn new(host: &Host, verb: Verb, (class, stacks): (Class, Stacks), options: &Options) -> Result<Self> {
        if verb == Verb::Unmerge {
            return Self::unmerge(host, (class, options), stacks, Vec::new());
        }
        let left_over = changes::interrupted(host, class, &stacks)?;
        let selection = select(host, class, options)?;
        if selection.extensions.is_empty() && !mutable::acts_alone(host, class, options.mutability)? {
            return Self::unmerge(host, (class, options), stacks, selection.refused);
        }
        if stacks.is_empty() {
            return Self::stack(host, class, stacks, (options, selection, Outcome::Merged));
        }
        let wanted: Vec<Layer> = selection.extensions.iter().map(|extension| extension.record()).collect();
        let mut because = changes(&records(&stacks), &wanted, &options.policy.to_string());
        because.extend(attached_otherwise(&records(&stacks), options.attach, options.checks));
        because.extend(executed_otherwise(class, &records(&stacks), options.execution));
        because.extend(mutable::changes(host, class, options.mutability, &stacks)?);
        if left_over {
            because.push(Change::Interrupted);
        }
        if options.replace == Replace::Always {
            because.push(Change::Asked);
        }
        if because.is_empty() {
            return Self::keep(host, (class, stacks), wanted, selection.refused);
        }
        Self::stack(host, class, stacks, (options, selection, Outcome::Refreshed { because }))
    }

    /// Nothing is to be done.
    fn keep(
        host: &Host,
        (class, stacks): (Class, Stacks),
        wanted: Vec<Layer>,
        refused: Vec<Rejection>,
    ) -> Result<Self> {
        let test = |layer: &Layer| Test { name: layer.name.clone(), test: layer.identity.test() };
        let outcome = Outcome::Unchanged { decided_by: wanted.iter().map(test).collect() };
        let mut report = Report::new(class, outcome, refused);
        for (hierarchy, merged) in &stacks {
            report.hierarchies.push((*hierarchy).to_owned());
            if let Err(error) = retire::tidy(host, class, hierarchy, merged) {
                report.left_behind.push(error.explain());
            }
            if bare::propagates(&merged.top, bare::Over::Stack)? {
                report.propagated.push((*hierarchy).to_owned());
            }
        }
        let recorded = stacks.into_iter().find_map(|(_, merged)| merged.record);
        report.layers = recorded.map_or(wanted, |record| record.layers.clone());
        Ok(Self { steps: Vec::new(), report, closing: Closing::default() })
    }

    /// Everything that is merged goes.
    fn unmerge(
        host: &Host,
        (class, options): (Class, &Options),
        stacks: Stacks,
        refused: Vec<Rejection>,
    ) -> Result<Self> {
        let outcome = if stacks.is_empty() { Outcome::Nothing } else { Outcome::Unmerged };
        let after = After::between(&heard(&stacks), &Heard::nothing());
        let steps = stacks.into_iter().map(|(hierarchy, merged)| {
            Ok(Step::Remove(Removal::new(host, class, hierarchy, merged, options.busy_wait)?))
        });
        let report = Report { after, ..Report::new(class, outcome, refused) };
        Ok(Self { steps: steps.collect::<Result<_>>()?, report, closing: Closing::default() })
    }

    /// A stack is put in place; of what is merged, the hierarchies that it has no tree for go.
    fn stack(
        host: &Host,
        class: Class,
        stacks: Stacks,
        (options, selection, outcome): (&Options, Selection, Outcome),
    ) -> Result<Self> {
        let Stack { trees, layers, plan: Plan { refused, heard: now, .. }, closing, .. } =
            Stack::make(host, class, options, (selection, &stacks), Audience::Everybody)?;
        if trees.is_empty() {
            return Self::unmerge(host, (class, options), stacks, refused);
        }
        let after = After::between(&heard(&stacks), &now);
        let mut report = Report { layers, after, ..Report::new(class, outcome, refused) };
        let mut steps = Vec::new();
        for (hierarchy, merged) in stacks {
            if !trees.iter().any(|tree| tree.hierarchy == hierarchy) {
                steps.push(Step::Remove(Removal::new(host, class, hierarchy, merged, options.busy_wait)?));
            }
        }
        for tree in trees {
            report.hierarchies.push(tree.hierarchy.to_owned());
            if propagates(host, &tree)? {
                report.propagated.push(tree.hierarchy.to_owned());
            }
            let Some(top) = &tree.replaces else {
                steps.push(Step::Add(tree));
                continue;
            };
            let way = exchange::way(host, options.exchange, (class, tree.hierarchy), top)?;
            if way == exchange::Way::WithGap {
                report.gaps.push(tree.hierarchy.to_owned());
            }
            steps.push(Step::Exchange(class, tree, way));
        }
        Ok(Self { steps, report, closing })
    }
}

fn records(stacks: &Stacks) -> Vec<(&'static str, Option<&Record>)> {
    stacks.iter().map(|(hierarchy, merged)| (*hierarchy, merged.record.as_deref())).collect()
}

/// Who has to hear of it when they change.
fn heard(stacks: &Stacks) -> Heard {
    let records = stacks.iter().map(|(_, merged)| merged.record.as_deref());
    Heard::of_all(records.map(|record| record.and_then(|record| record.heard.as_ref())))
}

fn propagates(host: &Host, tree: &Tree) -> Result<bool> {
    match (&tree.replaces, tree.mount_point) {
        (Some(top), _) => bare::propagates(top, bare::Over::Stack),
        (None, super::MountPoint::Missing) => {
            let root = host.root().try_clone_to_owned();
            bare::propagates(
                &root.map_err(|error| Error::os("open", host.path().display().to_string(), error))?,
                bare::Over::Host,
            )
        }
        (None, super::MountPoint::Present) => {
            bare::propagates(&bare::open(host, tree.hierarchy)?, bare::Over::Host)
        }
    }
}

fn look(host: &Host, class: Class) -> Result<Stacks> {
    let mut stacks = Vec::new();
    for hierarchy in class.hierarchies() {
        if let Current::Merged(merged) = state::look(host, class, hierarchy)? {
            stacks.push((*hierarchy, *merged));
        }
    }
    Ok(stacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_come_first_and_go_last() {
        let mut steps = Vec::new();
        for way in [Way::Out, Way::In] {
            steps.extend(["etc", "opt", "usr"].map(|hierarchy| (way, hierarchy)));
        }
        steps.sort_by_key(|(way, hierarchy)| rank_of(*way, hierarchy));
        assert_eq!(steps[..3], ["usr", "opt", "etc"].map(|hierarchy| (Way::In, hierarchy)));
        assert_eq!(steps[3..], ["etc", "opt", "usr"].map(|hierarchy| (Way::Out, hierarchy)));
    }
}
