//! The stack of an ordinary user: the same selection, checks and plan, and the files of the extensions written to memory.
//!
//! An ordinary user mounts no image. In a user namespace he mounts file systems in memory and overlays; so every file of an
//! admitted image is read through its hash tree, as for an extraction, and written to a file system in memory that is no
//! larger than the files, and that nobody else has. Over it and the host's directory goes an overlay, or where the kernel
//! allows none a tree in which the host's files are mounted one by one.

mod portion;
mod stage;
mod tree;

use std::collections::BTreeMap;
use std::path::Path;

use confext_ddi::error::{Error as Fault, LimitExceeded};
use confext_ddi::fs::{self, FileSystem, FileType};
use confext_ddi::release::Class;
use confext_ddi::settings::Mutability;

use super::overlay::{self, Metadata, Parts, Viewer};
use super::preview::{check_types, has_files};
use super::{MountPoint, Selection, Stack, Tree, origin};
use crate::admission::{Extension, Options};
use crate::attach::{Mode, Reads, Reason, Way};
use crate::closing::Closing;
use crate::directory::Directory;
use crate::discover::{Rejection, Severity};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::{Effect, Input, LayerFiles, Plan};
use crate::state::{self, FORMAT, Record};
use portion::Portion;
use stage::{Extracted, Stage};

pub use tree::Manner;

/// An extension whose files can be read.
struct Layer<'a> {
    extension: &'a Extension,
    files: Box<dyn FileSystem + 'a>,
    record: state::Layer,
}

/// What a stack of a hierarchy goes over.
struct Ground {
    hierarchy: &'static str,
    base: Directory,
}

/// Assembles it.
///
/// # Errors
///
/// As [`Stack::assemble`]; `missing-capability` where there are no user namespaces, or for what only root can have.
pub(super) fn assemble(host: &Host, class: Class, options: &Options, selection: Selection) -> Result<Stack> {
    check_options(options)?;
    let Selection { extensions, mut refused, .. } = selection;
    let mut layers = Vec::new();
    for extension in &extensions {
        match Layer::open(extension, class, options) {
            Ok(layer) => layers.push(layer),
            Err(error) => leave_out(extension, error, options, &mut refused)?,
        }
    }
    let grounds = Ground::look_at_all(host, class, options)?;
    let mut plan = settle(class, options, &mut layers, &grounds, &mut refused)?;
    plan.refused = refused;
    plan.layers = layers.iter().map(|layer| layer.record.clone()).collect();
    let request = |layer: &Layer<'_>| (layer.record.name.clone(), layer.extension.request().clone());
    plan.heard.requests = layers.iter().map(request).collect();
    for layer in &layers {
        let missing =
            |hierarchy: &&String| !grounds.iter().any(|ground| ground.hierarchy == hierarchy.as_str());
        if let Some(hierarchy) = layer.record.hierarchies.iter().find(missing) {
            let (found, expected) = ("nothing", "a directory to merge over");
            return Err(Error::conflict("hierarchy-missing", shown(host, hierarchy), found, expected));
        }
    }
    let size = Size::of(&layers, class, options)?;
    let (stage, namespace) = Stage::new(host, class, size.memory_bytes)?;
    let opaque = |change: &crate::plan::Change| change.effect == Effect::Opaque;
    if !stage.has_attributes() && plan.hierarchies.iter().any(|planned| planned.changes.iter().any(opaque)) {
        let why = "a directory of an extension hides those below it, which a file system in memory can say from Linux 6.6 on";
        return Err(Error::Missing { what: "this stack without root", why: why.to_owned() });
    }
    let merge = Merge { host, class, options, layers: &layers, plan: &plan, stage: &stage };
    let mut extracted = Extracted { bytes: 0, of_bytes: size.content_bytes, watch: &options.watch };
    let mut trees = Vec::new();
    let mut manner = Manner::Overlay;
    for ground in &grounds {
        if layers.iter().any(|layer| layer.has(ground.hierarchy)) {
            let (tree, made) = merge.tree(ground, &mut extracted)?;
            trees.push(tree);
            if manner == Manner::Overlay {
                manner = made;
            }
        }
    }
    stage.vanish()?;
    let layers = std::mem::take(&mut plan.layers);
    plan.layers.clone_from(&layers);
    Ok(Stack { trees, layers, plan, manner, namespace: Some(namespace), closing: Closing::default() })
}

/// What only root can have.
fn check_options(options: &Options) -> Result<()> {
    let what = match (options.mutability, options.attach) {
        (Mutability::No, Mode::DmVerity) => "dm-verity without root",
        (Mutability::No, Mode::Plain) => "a loop device without root",
        (Mutability::No, _) => return Ok(()),
        _ => "a stack that can be written to without root",
    };
    let why = "this process may not mount images: run as root, or leave that option out".to_owned();
    Err(Error::Missing { what, why })
}

fn leave_out(
    extension: &Extension,
    error: Error,
    options: &Options,
    refused: &mut Vec<Rejection>,
) -> Result<()> {
    let candidate = extension.candidate();
    if options.is_fatal(Some(&candidate.name), Severity::Refused) {
        return Err(error);
    }
    refused.push(Rejection::of(candidate, Severity::Refused, &error));
    Ok(())
}

/// Plans, and leaves out what there is an objection to until there is none; or fails with the first objection.
fn settle(
    class: Class,
    options: &Options,
    layers: &mut Vec<Layer<'_>>,
    grounds: &[Ground],
    refused: &mut Vec<Rejection>,
) -> Result<Plan> {
    loop {
        let inputs: Vec<_> = grounds.iter().filter_map(|ground| ground.input(layers)).collect();
        let plan = Plan::new(class, &inputs, &options.limits)?;
        let Some(veto) = plan.objection(&options.allow) else { return Ok(plan) };
        let error = veto.to_error();
        match layers.iter().position(|layer| layer.record.name == veto.layer) {
            Some(at) => {
                let layer = layers.remove(at);
                leave_out(layer.extension, error, options, refused)?;
            }
            None => return Err(error),
        }
    }
}

/// How much the files are.
struct Size {
    /// In whole pages, as the file system in memory counts.
    memory_bytes: u64,
    /// What is in them; of a file with several names for each.
    content_bytes: u64,
}

impl Size {
    fn of(layers: &[Layer<'_>], class: Class, options: &Options) -> Result<Self> {
        const PAGE_BYTES: u64 = 4096;
        let (mut memory_bytes, mut content_bytes): (u64, u64) = (0, 0);
        for layer in layers {
            for hierarchy in class.hierarchies().iter().filter(|hierarchy| layer.has(hierarchy)) {
                for file in fs::walk(&layer.portion(hierarchy), b"", &options.limits)? {
                    let (_, meta) = file.map_err(|error| layer.fault(error))?;
                    memory_bytes = memory_bytes.saturating_add(PAGE_BYTES);
                    if meta.file_type == FileType::Regular {
                        content_bytes = content_bytes.saturating_add(meta.size_bytes);
                        let pages = meta.size_bytes.div_ceil(PAGE_BYTES);
                        memory_bytes = memory_bytes.saturating_add(pages.saturating_mul(PAGE_BYTES));
                    }
                }
                let most = options.limits.content_bytes;
                if content_bytes > most {
                    let (what, found) = ("contents of all files", content_bytes);
                    return Err(layer.fault(Fault::from(LimitExceeded::Bytes { what, found, most })));
                }
            }
        }
        Ok(Self { memory_bytes, content_bytes })
    }
}

impl<'a> Layer<'a> {
    fn open(extension: &'a Extension, class: Class, options: &Options) -> Result<Self> {
        let files = check_types(class, extension, extension.files(&options.limits)?)?;
        let mut record = extension.record();
        record.attached = Some(Way {
            asked: options.attach,
            reads: Reads::Extracted,
            io: None,
            because: Reason::NotPermitted,
            detail: None,
            verity: None,
        });
        let mut layer = Self { extension, files, record };
        for hierarchy in class.hierarchies() {
            if has_files(layer.files.as_ref(), hierarchy).map_err(|error| layer.fault(error))? {
                layer.record.hierarchies.push((*hierarchy).to_owned());
            }
        }
        Ok(layer)
    }

    fn has(&self, hierarchy: &str) -> bool {
        self.record.hierarchies.iter().any(|found| found == hierarchy)
    }

    fn portion(&self, hierarchy: &'static str) -> Portion<'_> {
        Portion::new(self.files.as_ref(), hierarchy)
    }

    /// Names the image in a fault of it.
    fn fault(&self, source: Fault) -> Error {
        Error::Image { image: self.extension.candidate().path.display().to_string(), source }
    }
}

impl Ground {
    fn look_at_all(host: &Host, class: Class, options: &Options) -> Result<Vec<Self>> {
        let mut grounds = Vec::new();
        for hierarchy in class.hierarchies() {
            // A stack that is merged there cannot be taken off without root: it is part of what is below.
            match super::bare::open(host, hierarchy) {
                Ok(base) => {
                    grounds.push(Self { hierarchy, base: Directory::new(base, &options.limits) });
                }
                Err(Error::Os { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(grounds)
    }

    fn input<'a>(&'a self, layers: &'a [Layer<'_>]) -> Option<Input<'a>> {
        let hierarchy = self.hierarchy;
        let layers: Vec<_> = layers
            .iter()
            .filter(|layer| layer.has(hierarchy))
            .map(|layer| LayerFiles::new(&layer.record.name, layer.files.as_ref(), hierarchy.as_bytes()))
            .collect();
        (!layers.is_empty()).then_some(Input { hierarchy, layers, base: Some(&self.base) })
    }
}

/// What the trees of all hierarchies have in common.
struct Merge<'a> {
    host: &'a Host,
    class: Class,
    options: &'a Options,
    layers: &'a [Layer<'a>],
    plan: &'a Plan,
    stage: &'a Stage,
}

impl Merge<'_> {
    fn tree(&self, ground: &Ground, extracted: &mut Extracted<'_>) -> Result<(Tree, Manner)> {
        let hierarchy = ground.hierarchy;
        let mut names = Vec::new();
        for layer in self.layers.iter().filter(|layer| layer.has(hierarchy)) {
            let name = self.stage.next();
            let files = layer.portion(hierarchy);
            self.stage.extract(&files, &name, &self.options.limits, extracted).map_err(
                |error| match error {
                    Error::Ddi(source) => layer.fault(source),
                    other => other,
                },
            )?;
            names.push(name);
        }
        let record = self.record(hierarchy);
        let origin = origin::text(
            self.layers.iter().map(|layer| (&layer.record, layer.extension.seen())),
            Mutability::No,
            &BTreeMap::new(),
        )?;
        let parts = Parts {
            viewer: Viewer::Host,
            class: self.class,
            hierarchy,
            layers: Vec::new(),
            base: None,
            upper: None,
            imported: None,
            submounts: &[],
            record,
            origin: &origin,
            staging: None,
        };
        let base = self.stage.open_hierarchy(self.host, hierarchy)?;
        let flags = parts.flags()? | overlay::kept(Some(ground.base.fd()), hierarchy)?;
        let top = self.stage.next();
        let metadata = Metadata::write_to(self.stage.make_top(&top, ground.base.fd())?, &parts)?;
        let made = tree::make(self.stage, self.class, (&names, &top), (&base, hierarchy))?;
        metadata.write_device(std::os::fd::AsFd::as_fd(&made.tree), parts.record)?;
        self.stage.seal(&made.tree, flags)?;
        let tree = Tree {
            hierarchy,
            mount: made.tree,
            replaces: None,
            mount_point: MountPoint::Present,
            upper: None,
            retired: None,
        };
        Ok((tree, made.manner))
    }

    fn record(&self, hierarchy: &str) -> Record {
        Record {
            format: FORMAT,
            class: self.class,
            hierarchy: hierarchy.to_owned(),
            merged_at: super::make::now(),
            policy: self.options.policy.to_string(),
            created: false,
            base: None,
            device: None,
            layers: self.layers.iter().map(|layer| layer.record.clone()).collect(),
            mutable: state::Mutable::default(),
            execution: self.options.execution,
            heard: Some(self.plan.heard.below(hierarchy)),
        }
    }
}

/// `path` below a root, for messages.
fn shown(host: &Host, hierarchy: &str) -> String {
    host.display(Path::new(hierarchy))
}
