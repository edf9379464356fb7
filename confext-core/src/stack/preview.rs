//! What a merge would do and what there is to merge: nothing is changed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use confext_ddi::fs::{FileSystem, FileType};
use confext_ddi::release::Class;
use serde::Serialize;

use super::mutable::Target;
use super::select::{missing, taken};
use super::upper::Over;
use super::{Audience, Selection, bare, retire, select};
use crate::admission::{Extension, OnBad, Options};
use crate::consumers::{After, Heard};
use crate::directory::{Directory, lookup};
use crate::discover::{Candidate, Rejection, Searched, Severity};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::{self, Input, LayerChange, LayerFiles, Plan, Refusal};
use crate::state::{self, Current};

/// Works out what [`merge`](super::merge) or a refresh would do. A bad extension is in [`Plan::refused`], whatever
/// [`Options::on_bad`] says: a dry run tells everything it finds.
///
/// Images are read without mounting them. Needs no privilege unless a stack is merged: what is under it then is seen only
/// with `CAP_SYS_ADMIN`.
///
/// # Errors
///
/// What keeps all extensions from being found, or the host from being looked at.
pub fn plan(host: &Host, class: Class, options: &Options) -> Result<Plan> {
    preview(host, class, options).map(|preview| preview.plan)
}

/// A plan, and how it came to it.
pub(crate) struct Preview {
    pub(crate) plan: Plan,
    /// What the plan's layers were found as, in the same order.
    pub(crate) candidates: Vec<Candidate>,
    /// The directories that were looked into.
    pub(crate) searched: Vec<Searched>,
}

pub(crate) fn preview(host: &Host, class: Class, options: &Options) -> Result<Preview> {
    let Selection { extensions, mut refused, searched, .. } = select(host, class, &tolerant(options))?;
    let names = extensions.iter().map(|extension| extension.candidate().name.as_str());
    let missing = missing(host, class, options, names.chain(taken(&refused)));
    refused.extend(missing);
    let mut readable: Vec<(&Extension, Box<dyn FileSystem + '_>)> = Vec::new();
    for extension in &extensions {
        match extension.files(&options.limits).and_then(|files| check_types(class, extension, files)) {
            Ok(files) => readable.push((extension, files)),
            Err(error) => refused.push(Rejection::of(extension.candidate(), Severity::Refused, &error)),
        }
    }
    let grounds = Ground::look_at_all(host, class, options)?;
    let mut inputs = Vec::new();
    let mut records: Vec<_> = readable.iter().map(|(extension, _)| extension.record()).collect();
    for ground in &grounds {
        let hierarchy = ground.hierarchy;
        let mut layers = Vec::new();
        for ((extension, files), record) in readable.iter().zip(&mut records) {
            let files = files.as_ref();
            if has_files(files, hierarchy).map_err(|error| in_image(extension, error))? {
                record.hierarchies.push(hierarchy.to_owned());
                layers.push(LayerFiles::new(&extension.candidate().name, files, hierarchy.as_bytes()));
            }
        }
        if !layers.is_empty() || ground.target.acts(ground.base.is_some()) {
            let base = ground.base.as_ref().map(|base| -> &dyn FileSystem { base });
            inputs.push(Input { hierarchy, layers, base });
        }
    }
    let mut plan = Plan::new(class, &inputs, &options.limits)?;
    plan.layers = records;
    let request =
        |(extension, _): &(&Extension, _)| (extension.candidate().name.clone(), extension.request().clone());
    plan.heard.requests = readable.iter().map(request).collect();
    let merged = MergedStacks::look(host, class)?;
    plan.after = After::between(&merged.heard(), &plan.heard);
    plan.refused = refused;
    plan.settle(&options.allow, |name, severity| options.is_fatal(name, severity));
    plan.layer_changes = merged.changes(&plan, options);
    write_to(host, class, options, &grounds, &mut plan);
    let candidates = readable.iter().map(|(extension, _)| extension.candidate().clone()).collect();
    Ok(Preview { plan, candidates, searched })
}

/// What a stack of a hierarchy would go over.
struct Ground {
    hierarchy: &'static str,
    /// The host's own directory.
    base: Option<Directory>,
    /// Where writes would go.
    target: Target,
    /// The work directory of the stack that is there now, or why that cannot be replaced.
    occupied: Result<Option<PathBuf>>,
}

impl Ground {
    fn look_at_all(host: &Host, class: Class, options: &Options) -> Result<Vec<Self>> {
        let mut grounds = Vec::new();
        for hierarchy in class.hierarchies() {
            let target = Target::find(host, hierarchy, options.mutability)?;
            let mut occupied = Ok(None);
            let base = match state::look(host, class, hierarchy)? {
                Current::Missing => None,
                // Without the mounts below, as a merge sees it; who may not copy mounts may still look.
                Current::Bare(directory) => Some(bare::copy(&directory).unwrap_or(directory)),
                Current::Merged(merged) => {
                    occupied = retire::work_path(host, class, hierarchy, &merged);
                    Some(bare::look_under(host, class, hierarchy, bare::Hidden::Leave)?.directory)
                }
            };
            let base = base.map(|base| Directory::new(base, &options.limits));
            grounds.push(Self { hierarchy, base, target, occupied });
        }
        Ok(grounds)
    }
}

/// Says where writes would go, and what of that would stop a merge.
fn write_to(host: &Host, class: Class, options: &Options, grounds: &[Ground], plan: &mut Plan) {
    let mut checks = Vec::new();
    let used: Vec<_> = grounds
        .iter()
        .filter(|ground| plan.hierarchies.iter().any(|planned| planned.path == ground.hierarchy))
        .collect();
    let targets: Vec<_> = used.iter().map(|ground| (ground.hierarchy, &ground.target)).collect();
    checks.push(Target::require_unused(host, class, &targets, Audience::Everybody));
    for (ground, planned) in used.iter().zip(&mut plan.hierarchies) {
        let occupied = ground.occupied.as_ref().ok().and_then(Option::as_deref);
        let base = ground.base.as_ref().map(Directory::fd);
        let over = Over { host, class, hierarchy: ground.hierarchy, base, occupied };
        checks.push(ground.target.check(&over));
        planned.mutable = ground.target.planned(ground.hierarchy, options.mutability, occupied);
    }
    let refusals = grounds.iter().filter_map(|ground| ground.occupied.as_ref().err());
    let first = checks.iter().filter_map(|check| check.as_ref().err()).chain(refusals).next();
    if plan.refusal.is_none() {
        plan.refusal = first.map(Refusal::of_error);
    }
}

/// Refuses an extension whose hierarchy is no directory, as mounting it would.
pub(super) fn check_types<'a>(
    class: Class,
    extension: &Extension,
    files: Box<dyn FileSystem + 'a>,
) -> Result<Box<dyn FileSystem + 'a>> {
    for hierarchy in class.hierarchies() {
        let found =
            lookup(files.as_ref(), hierarchy.as_bytes()).map_err(|error| in_image(extension, error))?;
        if let Some(found) = found.filter(|found| found.file_type != FileType::Directory) {
            let target = format!("{hierarchy} in {}", extension.candidate().path.display());
            return Err(Error::conflict("layer-type", target, found.file_type.as_str(), "a directory"));
        }
    }
    Ok(files)
}

pub(super) fn has_files(files: &dyn FileSystem, hierarchy: &str) -> confext_ddi::Result<bool> {
    match lookup(files, hierarchy.as_bytes())? {
        Some(_) => Ok(!files.read_dir(hierarchy.as_bytes())?.is_empty()),
        None => Ok(false),
    }
}

fn in_image(extension: &Extension, source: confext_ddi::Error) -> Error {
    Error::Image { image: extension.candidate().path.display().to_string(), source }
}

fn tolerant(options: &Options) -> Options {
    Options { on_bad: OnBad::Skip, required: BTreeSet::new(), ..options.clone() }
}

/// The extensions of a class on a host.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// # std::fs::create_dir_all(root.path().join("etc"))?;
/// # std::fs::create_dir_all(root.path().join("run/confexts/app/etc/extension-release.d"))?;
/// # std::fs::write(root.path().join("etc/os-release"), "ID=demo\n")?;
/// # std::fs::write(root.path().join("run/confexts/app/etc/extension-release.d/extension-release.app"), "ID=demo\n")?;
/// # std::fs::write(root.path().join("run/confexts/app/etc/app.conf"), "answer = 42\n")?;
/// use confext_core::{Host, Options, list};
/// use confext_ddi::release::Class;
///
/// // By default a directory is refused: nobody can sign it.
/// let listing = list(&Host::open(root.path())?, Class::Confext, &Options::default())?;
/// assert!(listing.extensions.is_empty());
/// assert_eq!(listing.refused.len(), 1);
/// println!("[{}] {}", listing.refused[0].code, listing.refused[0].hint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Listing {
    /// Those that could be merged, bottom first.
    pub extensions: Vec<Listed>,
    /// Everything else that was found, with the reason.
    pub refused: Vec<Rejection>,
}

/// An extension that could be merged.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// # for (path, text) in [
/// #     ("etc/os-release", "ID=demo\n"),
/// #     ("run/confexts/app/etc/extension-release.d/extension-release.app", "ID=demo\n"),
/// #     ("run/confexts/app/etc/app.conf", "answer = 42\n"),
/// # ] {
/// #     std::fs::create_dir_all(root.path().join(path).parent().ok_or("no parent")?)?;
/// #     std::fs::write(root.path().join(path), text)?;
/// # }
/// # use confext_ddi::policy::Policy;
/// use confext_core::{Host, Options, list};
/// use confext_ddi::release::Class;
///
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// let listing = list(&Host::open(root.path())?, Class::Confext, &options)?;
/// let listed = listing.extensions.first().ok_or("there is one")?;
/// assert_eq!(listed.candidate.path, std::path::Path::new("/run/confexts/app"));
/// println!("{}: {:?}", listed.layer.name, listed.layer.checked);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Listed {
    /// Where it was found.
    pub candidate: Candidate,
    /// What was checked of it just now, and what tells it from another.
    pub layer: state::Layer,
    /// Whether it is merged.
    pub merged: Merged,
}

/// Whether an extension is part of the merged stack.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// # for (path, text) in [
/// #     ("etc/os-release", "ID=demo\n"),
/// #     ("run/confexts/app/etc/extension-release.d/extension-release.app", "ID=demo\n"),
/// #     ("run/confexts/app/etc/app.conf", "answer = 42\n"),
/// # ] {
/// #     std::fs::create_dir_all(root.path().join(path).parent().ok_or("no parent")?)?;
/// #     std::fs::write(root.path().join(path), text)?;
/// # }
/// # use confext_ddi::policy::Policy;
/// use confext_core::{Host, Options, list, stack::Merged};
/// use confext_ddi::release::Class;
///
/// # let mut options = Options::default();
/// # options.policy = Policy::unprotected();
/// let listing = list(&Host::open(root.path())?, Class::Confext, &options)?;
/// let waiting = listing.extensions.iter().filter(|listed| listed.merged != Merged::Yes);
/// let names: Vec<_> = waiting.map(|listed| listed.layer.name.as_str()).collect();
/// assert_eq!(names, ["app"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merged {
    /// No.
    No,
    /// Another one of its name is.
    Other,
    /// Yes.
    Yes,
    /// One of its name is, merged by another program that does not say which.
    Unknown,
}

/// What is merged of a class: for each hierarchy the names, and our record.
pub(crate) struct MergedStacks(Vec<(Vec<String>, Option<Arc<state::Record>>)>);

impl MergedStacks {
    pub(crate) fn look(host: &Host, class: Class) -> Result<Self> {
        let mut stacks = Vec::new();
        for hierarchy in class.hierarchies() {
            if let Current::Merged(merged) = state::look(host, class, hierarchy)? {
                stacks.push((merged.names, merged.record));
            }
        }
        Ok(Self(stacks))
    }

    /// What becomes of the extensions of the stacks, if a plan is followed.
    fn changes(&self, plan: &Plan, options: &Options) -> Vec<LayerChange> {
        let mut merged: Vec<(&str, Option<&state::Layer>)> = Vec::new();
        for (names, record) in &self.0 {
            for name in names {
                let mut layers = record.iter().flat_map(|record| &record.layers);
                let layer = layers.find(|layer| layer.name == *name);
                match merged.iter_mut().find(|(known, _)| known == name) {
                    Some((_, known)) => *known = known.or(layer),
                    None => merged.push((name, layer)),
                }
            }
        }
        let left_out = |layer: &&state::Layer| {
            let mut objections = plan.vetoes.iter().filter(|veto| !veto.allowed);
            objections.any(|veto| veto.layer == layer.name)
                && !options.is_fatal(Some(&layer.name), Severity::Refused)
        };
        plan::compare(&merged, plan.layers.iter().filter(|layer| !left_out(layer)))
    }

    /// Who hears when they change.
    fn heard(&self) -> Heard {
        Heard::of_all(
            self.0.iter().map(|(_, record)| record.as_ref().and_then(|record| record.heard.as_ref())),
        )
    }

    /// Whether an extension is part of them.
    pub(crate) fn of(&self, layer: &state::Layer) -> Merged {
        let Some((_, record)) = self.0.iter().find(|(names, _)| names.contains(&layer.name)) else {
            return Merged::No;
        };
        match record.iter().flat_map(|record| &record.layers).find(|found| found.name == layer.name) {
            None => Merged::Unknown,
            Some(found) if found.identity == layer.identity => Merged::Yes,
            Some(_) => Merged::Other,
        }
    }
}

/// Lists what there is, what of it could be merged, and what is.
///
/// # Errors
///
/// What keeps all extensions from being found.
pub fn list(host: &Host, class: Class, options: &Options) -> Result<Listing> {
    let Selection { extensions, refused, .. } = select(host, class, &tolerant(options))?;
    let merged = MergedStacks::look(host, class)?;
    let extensions = extensions.iter().map(|extension| {
        let layer = extension.record();
        Listed { candidate: extension.candidate().clone(), merged: merged.of(&layer), layer }
    });
    Ok(Listing { extensions: extensions.collect(), refused })
}
