//! From extensions to assembled trees: attach, mount, plan, overlay.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use confext_ddi::dps::Designator;
use confext_ddi::fs::{Below, FileSystem};
use confext_ddi::release::Class;
use confext_ddi::settings::Mutability;

use super::bare::{self, Bare};
use super::mutable::Target;
use super::overlay::{self, Parts, Viewer};
use super::retire::Retired;
use super::staging::Staging;
use super::submounts::{self, Submount};
use super::upper::Over;
use super::{Audience, Manner, MountPoint, Selection, Stack, Tree, origin};
use crate::admission::{self, Body, Copying, Extension, LeftOut, Matched, Matcher, Options};
use crate::closing::Closing;
use crate::consumers::Heard;
use crate::copies::Place;
use crate::directory::Directory;
use crate::discover::{Candidate, Rejection, Severity};
use crate::error::{Error, Result};
use crate::host::{Host, Layering};
use crate::identity::Seen;
use crate::layer::{self, Layer};
use crate::plan::{Allowance, Input, LayerFiles, Plan, VetoKind};
use crate::state::{self, Current, FORMAT, Merged, Record};
use crate::units::Request;

impl Stack {
    /// Attaches, mounts, plans and assembles; nothing is put in place. `stacks` are those that were seen before.
    pub(crate) fn make(
        host: &Host,
        class: Class,
        options: &Options,
        (selection, stacks): (Selection, &[(&'static str, Merged)]),
        audience: Audience,
    ) -> Result<Self> {
        let layering = host.capabilities().layering(options.layers)?;
        if layering == Layering::Staged && options.mutability != Mutability::No {
            let why =
                format!("mode {} needs layers that are mounted nowhere (Linux 6.15)", options.mutability);
            return Err(Error::Missing { what: "a stack that can be written to", why });
        }
        let Selection { extensions, mut refused, matcher, .. } = selection;
        let mut mounted = Vec::new();
        let mut copying = Copying::of(extensions.iter(), options);
        for extension in extensions {
            let candidate = extension.candidate().clone();
            match Mounted::new(host, options, extension, &matcher, &mut copying) {
                Ok(layer) => mounted.push(layer),
                Err(out) if copying.is_cancelled() => return Err(out.error),
                Err(out) if options.is_fatal(Some(&candidate.name), out.severity) => return Err(out.error),
                Err(out) => refused.push(Rejection::of(&candidate, out.severity, &out.error)),
            }
        }
        let mut grounds = Ground::look_at_all(host, class, options, (&mounted, stacks))?;
        let mut plan = settle((class, audience), options, &mut mounted, &grounds, &mut refused)?;
        plan.refused = refused;
        grounds.retain(|ground| {
            let used = mounted.iter().any(|layer| layer.directories.contains_key(ground.hierarchy));
            used || ground.target.acts(ground.mount_point == MountPoint::Present)
        });
        let targets: Vec<_> = grounds.iter().map(|ground| (ground.hierarchy, &ground.target)).collect();
        Target::require_unused(host, class, &targets, audience)?;
        for ground in &grounds {
            ground.target.check(&ground.over(host, class, None))?;
        }
        let layers: Vec<_> = mounted.iter().map(|layer| layer.record.clone()).collect();
        if audience == Audience::One {
            plan.layers.clone_from(&layers);
        }
        let request = |layer: &Mounted| (layer.record.name.clone(), layer.request.clone());
        plan.heard.requests = mounted.iter().map(request).collect();
        for planned in &mut plan.hierarchies {
            let ground = grounds.iter().find(|ground| ground.hierarchy == planned.path);
            let written =
                ground.map(|ground| ground.target.planned(ground.hierarchy, options.mutability, None));
            planned.mutable = written.unwrap_or_default();
        }
        let written = |ground: &Ground| {
            Some((format!("/{}", ground.hierarchy), ground.target.origin(ground.hierarchy)?))
        };
        let directories = grounds.iter().filter_map(written).collect();
        let staging = match layering {
            Layering::Detached => None,
            Layering::Staged => Some(stage(&mounted, &grounds)?),
        };
        let merge = Merge {
            staging,
            host,
            class,
            options,
            audience,
            mounted: &mounted,
            layers: &layers,
            heard: &plan.heard,
            origin: origin::text(
                mounted.iter().map(|layer| (&layer.record, &layer.seen)),
                options.mutability,
                &directories,
            )?,
        };
        let mut closing = Closing::default();
        let trees =
            grounds.into_iter().map(|ground| merge.tree(ground, &mut closing)).collect::<Result<_>>()?;
        // The overlays have their own hold on the mounts.
        let (sharing, own): (Vec<_>, Vec<_>) =
            mounted.into_iter().partition(|mounted| mounted.layer.shares_its_mount());
        closing.close_all(own);
        if !sharing.is_empty() {
            closing.close(sharing);
        }
        if audience == Audience::One {
            // Who gets it may fork, which goes better without other threads.
            drop(std::mem::take(&mut closing));
        }
        Ok(Self { trees, layers, plan, manner: Manner::Mounts, namespace: None, closing })
    }
}

/// What the trees of all hierarchies have in common.
struct Merge<'a> {
    host: &'a Host,
    class: Class,
    options: &'a Options,
    audience: Audience,
    mounted: &'a [Mounted],
    layers: &'a [state::Layer],
    heard: &'a Heard,
    origin: String,
    staging: Option<Staging>,
}

impl Merge<'_> {
    fn tree(&self, ground: Ground, closing: &mut Closing) -> Result<Tree> {
        let Self { host, class, options, .. } = *self;
        // Before anything is above the directory that it writes to, or sees it.
        let retired = match (&ground.replaces, self.audience) {
            (Some(old), Audience::Everybody) => {
                Retired::begin(host, class, ground.hierarchy, old, options.busy_wait)?
            }
            _ => None,
        };
        let occupied = retired.as_ref().map(Retired::work_path);
        let over = ground.over(host, class, occupied);
        let (upper, mutable) = ground.target.prepare(&over, options.mutability)?;
        let directories = self.mounted.iter().filter_map(|layer| layer.directory(ground.hierarchy));
        let record = Record {
            format: FORMAT,
            class,
            hierarchy: ground.hierarchy.to_owned(),
            merged_at: now(),
            policy: options.policy.to_string(),
            created: ground.created,
            device: None,
            layers: self.layers.to_vec(),
            base: None,
            mutable,
            execution: options.execution,
            heard: Some(self.heard.below(ground.hierarchy)),
        };
        let mount = overlay::assemble(Parts {
            viewer: Viewer::Host,
            class,
            hierarchy: ground.hierarchy,
            layers: directories.collect(),
            base: ground.base.as_ref().map(Directory::fd),
            upper: upper.as_ref(),
            imported: ground.target.imported(),
            submounts: &ground.submounts,
            record,
            origin: &self.origin,
            staging: self.staging.as_ref(),
        })?;
        let overlay::Assembled { tree: mount, metadata, written: overlay::Written { bytes, record } } = mount;
        let Ground { hierarchy, replaces, mount_point, base, whole, .. } = ground;
        if self.audience == Audience::Everybody {
            // The next look at the host finds these bytes.
            host.understood().learn(state::place_of(class, hierarchy), bytes, record);
        }
        closing.close((metadata, base, whole));
        let replaces = replaces.map(|old| old.top);
        Ok(Tree { hierarchy, mount, replaces, mount_point, upper, retired })
    }
}

/// Moves everything that is to be a layer to where the kernel takes it from.
fn stage(mounted: &[Mounted], grounds: &[Ground]) -> Result<Staging> {
    let layers = mounted.iter().map(|layer| layer.layer.mount_root());
    let bases = grounds.iter().filter_map(|ground| ground.base.as_ref()).map(Directory::fd);
    let mut mounts: Vec<_> = layers.chain(bases).collect();
    // Several layers can be on one mount.
    mounts.sort_by_key(AsRawFd::as_raw_fd);
    mounts.dedup_by_key(|mount| mount.as_raw_fd());
    let staging = Staging::new()?;
    staging.adopt(&mounts)?;
    Ok(staging)
}

/// Plans, and leaves out what there is an objection to until there is none; or fails with the first objection.
fn settle(
    (class, audience): (Class, Audience),
    options: &Options,
    mounted: &mut Vec<Mounted>,
    grounds: &[Ground],
    refused: &mut Vec<Rejection>,
) -> Result<Plan> {
    loop {
        let inputs: Vec<_> = grounds.iter().filter_map(|ground| ground.input(mounted)).collect();
        let plan = match audience {
            // Nobody is shown what becomes of each path.
            Audience::Everybody => Plan::outline(class, &inputs, &options.limits)?,
            Audience::One => Plan::new(class, &inputs, &options.limits)?,
        };
        let Some(veto) = plan.objection(&allowed(options)) else { return Ok(plan) };
        let error = veto.to_error();
        let objectionable = mounted.iter().position(|layer| layer.record.name == veto.layer);
        match objectionable {
            Some(at) if !options.is_fatal(Some(&veto.layer), Severity::Refused) => {
                let layer = mounted.remove(at);
                refused.push(Rejection::of(&layer.candidate, Severity::Refused, &error));
            }
            _ => return Err(error),
        }
    }
}

/// The objections that do not count. What an overlay that can be written to leaves in its directory is followed, so that
/// nothing of the kind is taken from an extension then.
fn allowed(options: &Options) -> Vec<Allowance> {
    let keep = |allowance: &&Allowance| {
        options.mutability == Mutability::No || allowance.kind != VetoKind::OverlayAttribute
    };
    options.allow.iter().filter(keep).cloned().collect()
}

/// An extension as a mount, with the directories it has for each hierarchy.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) candidate: Candidate,
    pub(crate) record: state::Layer,
    request: Request,
    /// What it is used as.
    pub(crate) classes: Vec<Class>,
    directories: BTreeMap<&'static str, Part>,
    seen: Seen,
    /// Held until the overlay has its own hold on the mount.
    layer: Layer,
}

impl Mounted {
    /// Its directory for a hierarchy, if it has files in it.
    pub(crate) fn directory(&self, hierarchy: &str) -> Option<BorrowedFd<'_>> {
        self.directories.get(hierarchy).map(Part::fd)
    }

    /// The same, for a plan that calls it this.
    pub(crate) fn files<'a>(&'a self, hierarchy: &str, name: &'a str) -> Option<LayerFiles<'a>> {
        let part = self.directories.get(hierarchy)?;
        Some(LayerFiles::of_directory(name, part.files(), part.root()))
    }

    /// The root of the mount that it is in.
    pub(crate) fn mount(&self) -> BorrowedFd<'_> {
        self.layer.mount_root()
    }
}

/// A directory of an extension for one hierarchy, and how its files are looked at.
#[derive(Debug)]
enum Part {
    Own(Box<Directory>),
    /// In an extension that was looked at before.
    Of(Arc<Directory>, &'static str, Arc<OwnedFd>),
}

impl Part {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(directory) => directory.fd(),
            Self::Of(_, _, directory) => directory.as_fd(),
        }
    }

    fn files(&self) -> &Directory {
        match self {
            Self::Own(directory) => directory,
            Self::Of(files, ..) => files,
        }
    }

    fn root(&self) -> &'static [u8] {
        match self {
            Self::Own(_) => b"",
            Self::Of(_, path, _) => path.as_bytes(),
        }
    }
}

impl Mounted {
    pub(crate) fn new(
        host: &Host,
        options: &Options,
        extension: Extension,
        matcher: &Matcher,
        copying: &mut Copying<'_>,
    ) -> Result<Self, LeftOut> {
        let mut record = extension.record();
        let admission::Parts { candidate, matched, mut classes, named, mut request, body, seen } =
            extension.into_parts();
        // What may be of either class is mounted with what it may have as a sysext.
        let class = classes.first().copied().unwrap_or(Class::Sysext);
        let layer_options =
            layer::Options::new(candidate.name.as_str(), class, host.display(&candidate.path));
        let mut files = None;
        let layer = match body {
            Body::Image(admitted) => {
                let attached = copying.attach(*admitted).map_err(|error| of_image(&candidate, error))?;
                Layer::mount(attached, layer_options)?
            }
            Body::Directory(place) => {
                let Place { directory, mount } = *place;
                let layer = match mount {
                    Some(mount) => Layer::of_copy(directory.share(), mount, layer_options),
                    None => Layer::from_directory(directory.fd(), layer_options)?,
                };
                files = Some(Arc::new(directory));
                layer
            }
        };
        if matched == Matched::WhenMounted {
            let fit = matcher.fit(&candidate, whole(&layer, options)?.as_ref(), &named)?;
            (request, classes) = (fit.request, fit.classes);
        }
        if let layer::Source::Image { origin, .. } = layer.source() {
            record.attached = Some(origin.way.clone());
        }
        let mut directories = BTreeMap::new();
        for &path in classes.iter().flat_map(|class| class.hierarchies()) {
            let kept = files.as_ref().and_then(|files| files.tree()?.hierarchy(path));
            let directory = match kept {
                Some(directory) => Arc::clone(directory),
                None => match layer.hierarchy(path)? {
                    Some(directory) => Arc::new(directory),
                    None => continue,
                },
            };
            let part = match &files {
                Some(files) => Part::Of(Arc::clone(files), path, directory),
                None => Part::Own(Box::new(Directory::of_shared(directory, &options.limits))),
            };
            let has_entries = part.files().has_entries(part.root());
            if has_entries.map_err(|source| of_image(&candidate, source.into()))? {
                record.hierarchies.push(path.to_owned());
                directories.insert(path, part);
            }
        }
        Ok(Self { candidate, record, request, classes, directories, seen, layer })
    }
}

/// Names the image in an error that is about its bytes.
fn of_image(candidate: &Candidate, error: Error) -> Error {
    match error {
        Error::Ddi(source) => Error::Image { image: candidate.path.display().to_string(), source },
        other => other,
    }
}

/// All files of a mounted layer, where they would be mounted.
fn whole(layer: &Layer, options: &Options) -> Result<Box<dyn FileSystem>> {
    let mount = layer.mount_fd().try_clone_to_owned();
    let mount = mount.map_err(|error| Error::os("open", layer.path().display().to_string(), error))?;
    let files = Directory::new(mount, &options.limits);
    Ok(match layer.source() {
        layer::Source::Image { origin, .. } if origin.partition.designator == Designator::Usr => {
            Box::new(Below::new("usr", Box::new(files), &options.limits))
        }
        _ => Box::new(files),
    })
}

/// What a stack of a hierarchy goes over.
struct Ground {
    hierarchy: &'static str,
    /// The host's own directory.
    base: Option<Directory>,
    /// The mount that the directory was found in, which nobody needs any more.
    whole: Option<OwnedFd>,
    submounts: Vec<Submount>,
    replaces: Option<Box<Merged>>,
    /// Where writes go.
    target: Target,
    mount_point: MountPoint,
    /// Whether the directory is there only because a merge made it, or will.
    created: bool,
}

impl Ground {
    /// Looks at the hierarchies that extensions have files in, and at those that are to be written to.
    /// `stacks` were there when the merge began.
    fn look_at_all(
        host: &Host,
        class: Class,
        options: &Options,
        (mounted, stacks): (&[Mounted], &[(&'static str, Merged)]),
    ) -> Result<Vec<Self>> {
        let mut grounds = Vec::new();
        for hierarchy in class.hierarchies() {
            let used = mounted.iter().any(|layer| layer.directories.contains_key(hierarchy));
            let target = Target::find(host, hierarchy, options.mutability)?;
            if used || !matches!(target, Target::Nothing) {
                let before = stacks.iter().find(|(name, _)| name == hierarchy).map(|(_, merged)| merged);
                let current = state::look_again(host, class, hierarchy, before)?;
                grounds.push(Self::look(host, class, options, (hierarchy, target, current))?);
            }
        }
        Ok(grounds)
    }

    /// What writes go over.
    fn over<'a>(&'a self, host: &'a Host, class: Class, occupied: Option<&'a Path>) -> Over<'a> {
        let base = self.base.as_ref().map(Directory::fd);
        Over { host, class, hierarchy: self.hierarchy, base, occupied }
    }

    fn look(
        host: &Host,
        class: Class,
        options: &Options,
        (hierarchy, target, current): (&'static str, Target, Current),
    ) -> Result<Self> {
        let base = |directory| Some(Directory::new(directory, &options.limits));
        Ok(match current {
            Current::Missing => Self {
                hierarchy,
                base: None,
                whole: None,
                submounts: Vec::new(),
                replaces: None,
                target,
                mount_point: MountPoint::Missing,
                created: true,
            },
            Current::Bare(directory) => Self {
                hierarchy,
                base: base(bare::copy(&directory)?),
                whole: None,
                submounts: submounts::copy(directory.as_fd())?,
                replaces: None,
                target,
                mount_point: MountPoint::Present,
                created: false,
            },
            Current::Merged(merged) => {
                let Bare { directory, whole, .. } =
                    bare::look_under(host, class, hierarchy, bare::Hidden::Leave)?;
                Self {
                    hierarchy,
                    whole,
                    base: base(directory),
                    submounts: submounts::copy(merged.top.as_fd())?,
                    created: merged.record.as_ref().is_some_and(|record| record.created),
                    replaces: Some(merged),
                    target,
                    mount_point: MountPoint::Present,
                }
            }
        })
    }

    /// For the plan; `None` when no extension has files here any more and nothing is to be written.
    fn input<'a>(&'a self, mounted: &'a [Mounted]) -> Option<Input<'a>> {
        let layer = |layer: &'a Mounted| layer.files(self.hierarchy, &layer.record.name);
        let layers: Vec<_> = mounted.iter().filter_map(layer).collect();
        let base = self.base.as_ref().map(|base| -> &dyn FileSystem { base });
        let acts = self.target.acts(self.mount_point == MountPoint::Present);
        (acts || !layers.is_empty()).then_some(Input { hierarchy: self.hierarchy, layers, base })
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
