//! [`prepare`]: from what a unit says of extensions to admitted, mounted, ordered layers
//!
//! ```text
//!  Extensions ─► find ─► Gate ─► order ─► mount ─► Prepared
//!               .v/     policy,  the last listed
//!                       match    is on top
//! ```
//!
//! [`select`] is the only place that decides which extensions a service has and in which order, at a start as at a refresh.
//!
//! | what | here | systemd |
//! |---|---|---|
//! | order | images as listed, then directories as listed, the last on top: always | at a reload the other way round |
//! | os-release | that of the service's root: always | at a reload that of the host |
//! | policy | the unit's, else the caller's: always | at a reload none, where the unit has none |
//! | a confext's `/usr`, a sysext's `/etc` | not used, and said | merged |
//! | one image twice | the later one counts | the same, where its root hash is in a file beside it |
//! | mount options that have no effect | refused | dropped |

mod find;
mod planned;
mod select;

use std::os::fd::BorrowedFd;

use confext_ddi::release::Class;
use confext_ddi::unit::{Entry, Extensions};

pub(crate) use planned::bases;
pub(crate) use select::select_for;
pub use select::{Member, Preview, Selected, plan, select};

use super::ground::Ground;
use crate::admission::{Copying, LeftOut, Options};
use crate::discover::{Candidate, Rejection, Severity};
use crate::error::Result;
use crate::host::Host;
use crate::plan::Plan;
use crate::stack::Mounted;
use crate::state;

/// The hierarchies that extensions of a service are merged over, and of which class they are.
pub const HIERARCHIES: [(&str, Class); 3] =
    [("usr", Class::Sysext), ("opt", Class::Sysext), ("etc", Class::Confext)];

/// The extensions of a service as detached mounts, which nobody else sees, bottom first.
///
/// Dropped, they are unmounted unless something else (an overlay) holds them.
///
/// ```no_run
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
/// let prepared = stack::prepare(&host, &host, &unit.extensions, &options)?;
/// // Mounted, and nobody sees it.
/// assert_eq!(prepared.directories_of("etc").len(), 1);
/// assert_eq!(prepared.layers_of("etc")[0].name, "app");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Prepared {
    layers: Vec<Prepare>,
    refused: Vec<Rejection>,
    policy: String,
    options: Options,
}

/// One of them.
#[derive(Debug)]
struct Prepare {
    listed: Entry,
    /// What it is called in a plan.
    label: String,
    mounted: Mounted,
}

/// Picks, opens, judges, matches, orders and mounts the extensions of a service. Nothing is put in place.
///
/// Images and directories are on `host`, whatever root the service has; they must be for `root`. Whose signatures count is
/// asked of `host`.
///
/// # Errors
///
/// As [`select`], and of mounting. With [`OnBad::RefuseAll`](crate::admission::OnBad) the first thing that speaks against
/// an extension, as in a [`Plan`]; what the root has at the same paths is not looked at before [`Prepared::plan`].
///
/// # Needs
///
/// `CAP_SYS_ADMIN`.
pub fn prepare(
    host: &Host,
    root: &dyn Ground,
    extensions: &Extensions,
    options: &Options,
) -> Result<Prepared> {
    mount(host, select(host, root, extensions, options)?, options)
}

/// The same, for what was selected.
///
/// # Errors
///
/// As [`prepare`].
pub(crate) fn mount(host: &Host, selected: Selected, options: &Options) -> Result<Prepared> {
    let Selected { extensions, mut refused, policy, matcher } = selected;
    let mut layers = Vec::new();
    let mut copying = Copying::of(extensions.iter().map(|member| &member.extension), options);
    for Member { listed, label, extension, .. } in extensions {
        let candidate = extension.candidate().clone();
        let mounted = Mounted::new(host, options, extension, &matcher, &mut copying)
            .and_then(|mounted| match select::bad_option(&listed, &candidate, &mounted.classes) {
                Some(rejection) => Err(rejection.into_error().into()),
                None => Ok(mounted),
            })
            .map_err(|out| LeftOut { severity: select::severity(&listed, &out), ..out });
        match mounted {
            Ok(mounted) => layers.push(Prepare { listed, label, mounted }),
            Err(out) if copying.is_cancelled() => return Err(out.error),
            Err(out) if options.is_fatal(Some(&candidate.name), out.severity) => return Err(out.error),
            Err(out) => refused.push(Rejection::of(&candidate, out.severity, &out.error)),
        }
    }
    let mut prepared = Prepared { layers, refused, policy, options: options.clone() };
    prepared.settle()?;
    Ok(prepared)
}

/// What a path of a unit stands for: itself, or the version that counts now; links are followed.
pub(super) fn place_of(host: &Host, entry: &Entry) -> Result<Candidate> {
    let found = find::find(host, entry, &mut Vec::new());
    Ok(found.map_err(Rejection::into_error)?.candidate)
}

impl Prepared {
    /// Leaves out what something speaks against in itself until there is nothing, or fails with the first objection.
    fn settle(&mut self) -> Result<()> {
        loop {
            let plans = self.plan(&[])?;
            let mut objections = plans.iter().filter_map(|plan| plan.objection(&self.options.allow));
            let Some(veto) = objections.next() else { return Ok(()) };
            let error = veto.to_error();
            let at = self.layers.iter().position(|layer| layer.label == veto.layer);
            let name = at.and_then(|at| self.layers.get(at)).map(|layer| layer.mounted.record.name.as_str());
            match at {
                Some(at) if !self.options.is_fatal(name, Severity::Refused) => {
                    let layer = self.layers.remove(at);
                    self.refused.push(Rejection::of(&layer.mounted.candidate, Severity::Refused, &error));
                }
                _ => return Err(error),
            }
        }
    }

    /// What merging it over these directories changes, path by path, and what speaks against it: a plan for each class that
    /// has files. A hierarchy that is not in `bases` is taken to be empty.
    ///
    /// # Errors
    ///
    /// When the files of a base cannot be looked at.
    pub fn plan(&self, bases: &[(&str, BorrowedFd<'_>)]) -> Result<Vec<Plan>> {
        let bases = planned::opened(bases, &self.options.limits)?;
        let mut plans = planned::plan(&self.layers, &planned::borrowed(&bases), &self.options.limits)?;
        for plan in &mut plans {
            let of_class = |layer: &&Prepare| layer.mounted.classes.contains(&plan.class);
            plan.layers = self.layers.iter().filter(of_class).map(|layer| layer.record(plan.class)).collect();
            plan.layer_changes = crate::plan::compare(&[], plan.layers.iter());
            plan.refused.clone_from(&self.refused);
            plan.settle(&self.options.allow, |name, severity| self.options.is_fatal(name, severity));
        }
        Ok(plans)
    }

    /// What was found and is not used, each with its reason.
    #[must_use]
    pub fn refused(&self) -> &[Rejection] {
        &self.refused
    }

    /// The policy that images were admitted under.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Whether there is no extension.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// All extensions, bottom first, with the entry of the unit that each is from.
    pub fn layers(&self) -> impl Iterator<Item = (&Entry, &state::Layer)> {
        self.layers.iter().map(|layer| (&layer.listed, &layer.mounted.record))
    }

    /// The hierarchies that extensions have files in.
    #[must_use]
    pub fn hierarchies(&self) -> Vec<(&'static str, Class)> {
        let used = |(hierarchy, _): &(&str, Class)| {
            self.layers.iter().any(|layer| layer.mounted.directory(hierarchy).is_some())
        };
        HIERARCHIES.into_iter().filter(used).collect()
    }

    /// The extensions with files in a hierarchy, bottom first, as they are written down.
    #[must_use]
    pub fn layers_of(&self, hierarchy: &str) -> Vec<state::Layer> {
        self.in_hierarchy(hierarchy).map(|layer| layer.mounted.record.clone()).collect()
    }

    /// Their directories for it, in detached mounts, bottom first.
    #[must_use]
    pub fn directories_of(&self, hierarchy: &str) -> Vec<BorrowedFd<'_>> {
        self.layers.iter().filter_map(|layer| layer.mounted.directory(hierarchy)).collect()
    }

    /// The roots of the mounts that these directories are in, bottom first.
    #[must_use]
    pub fn mounts_of(&self, hierarchy: &str) -> Vec<BorrowedFd<'_>> {
        self.in_hierarchy(hierarchy).map(|layer| layer.mounted.mount()).collect()
    }

    fn in_hierarchy(&self, hierarchy: &str) -> impl Iterator<Item = &Prepare> {
        self.layers.iter().filter(move |layer| layer.mounted.directory(hierarchy).is_some())
    }
}

impl Prepare {
    fn record(&self, class: Class) -> state::Layer {
        select::record_as(self.mounted.record.clone(), class)
    }
}

impl planned::Planned for Prepare {
    fn files<'a>(&'a self, hierarchy: &'static str) -> Option<crate::plan::LayerFiles<'a>> {
        self.mounted.files(hierarchy, &self.label)
    }
}

#[cfg(test)]
pub(super) mod tests;
