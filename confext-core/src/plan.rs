//! [`Plan`]: what a merge would do, path by path, and what speaks against it. A dry run is a value.

mod layers;
mod lists;
mod veto;
mod visible;

use std::collections::BTreeSet;

use confext_ddi::fs::{FileSystem, FileType, Metadata};
use confext_ddi::limits::Limits;
use confext_ddi::lint::rules;
use confext_ddi::release::Class;
use serde::Serialize;

use crate::consumers::{After, Consumed, Consumer, Heard};
use crate::directory::{Directory, Tree, join, lookup};
use crate::discover::{Rejection, Severity};
use crate::error::{Error, Result};
use crate::state;

pub use layers::{Fate, LayerChange};
pub(crate) use layers::{compare, without_tries};
pub use veto::{Allowance, Veto, VetoKind};
use visible::{Floors, Seen};

/// What a merge would do.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::Plan};
/// use confext_ddi::release::Class;
///
/// let plan: Plan = plan(&host, Class::Confext, &options)?;
/// let names: Vec<_> = plan.layers.iter().map(|layer| layer.name.as_str()).collect();
/// assert_eq!(names, ["app", "site"]);
/// assert!(plan.refusal.is_none() && plan.vetoes.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The class.
    pub class: Class,
    /// All extensions that would be stacked, bottom first, also those that something speaks against.
    pub layers: Vec<state::Layer>,
    /// What becomes of each extension, compared with what is merged now: those of the stack that would be, bottom first,
    /// then those that would go. An extension that a merge leaves out is not part of it.
    pub layer_changes: Vec<LayerChange>,
    /// The hierarchies that would be merged; those no extension has files in are left alone, unless they are to be written
    /// to.
    pub hierarchies: Vec<Hierarchy>,
    /// What speaks against it, in the order of layers and paths.
    pub vetoes: Vec<Veto>,
    /// What was found and would not be used.
    pub refused: Vec<Rejection>,
    /// Why a merge would change nothing and end with an error: the first reason.
    pub refusal: Option<Refusal>,
    /// Who has to hear of it, compared with what is merged now.
    pub after: After,
    /// Who has to hear of this stack.
    #[serde(skip)]
    pub(crate) heard: Heard,
}

/// What would stop a merge.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::Refusal};
/// use confext_ddi::release::Class;
///
/// options.required.insert("base".to_owned());
/// let refusal: Refusal = plan(&host, Class::Confext, &options)?.refusal.ok_or("it would be merged")?;
/// assert_eq!((refusal.code, refusal.name.as_deref()), ("required-missing", Some("base")));
/// println!("{}; {}", refusal.message, refusal.hint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refusal {
    /// The extension, as far as it has a name.
    pub name: Option<String>,
    /// The stable code.
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// What a merge would do to one hierarchy.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::Hierarchy};
/// use confext_ddi::release::Class;
///
/// let etc: Hierarchy = plan(&host, Class::Confext, &options)?.hierarchies.remove(0);
/// assert_eq!((etc.path, etc.layers.join(" ")), ("etc", "app site".to_owned()));
/// assert!(etc.changes.iter().any(|change| change.path == b"sysctl.d/50-app.conf"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Hierarchy {
    /// `usr`, `opt` or `etc`.
    pub path: &'static str,
    /// The extensions with files in it, bottom first.
    pub layers: Vec<String>,
    /// Every path that would be different, sorted by bytes.
    pub changes: Vec<Change>,
    /// Directories with files of several, which stay what they are, sorted by bytes.
    pub merged: Vec<MergedDirectory>,
    /// Where writes would go, and what was written before would be seen: as it would be recorded.
    pub mutable: state::Mutable,
}

/// A directory with files of more than one extension, or of an extension and the host.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::MergedDirectory};
/// use confext_ddi::release::Class;
///
/// std::fs::create_dir(root.path().join("etc/sysctl.d"))?;
/// std::fs::write(root.path().join("etc/sysctl.d/99-local.conf"), "vm.swappiness = 60\n")?;
/// let etc = plan(&host, Class::Confext, &options)?.hierarchies.remove(0);
/// let found: Option<&MergedDirectory> = etc.merged.iter().find(|directory| directory.path == b"sysctl.d");
/// assert_eq!(found.map(|directory| &directory.layers[..]), Some(&[Some("app".to_owned()), None][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MergedDirectory {
    /// Below the hierarchy.
    #[serde(serialize_with = "lossy")]
    pub path: Vec<u8>,
    /// Whose files are in it, topmost first: extensions', or with `None` the host's.
    pub layers: Vec<Option<String>>,
}

/// A path that would be different.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::{Change, Effect}};
/// use confext_ddi::release::Class;
///
/// let etc = plan(&host, Class::Confext, &options)?.hierarchies.remove(0);
/// let motd: &Change = etc.changes.iter().find(|change| change.path == b"motd").ok_or("no change")?;
/// assert_eq!((motd.layer.as_str(), motd.effect), ("site", Effect::Shadowed));
/// assert_eq!(motd.shadows[0].layer, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Below the hierarchy.
    #[serde(serialize_with = "lossy")]
    pub path: Vec<u8>,
    /// What would be there.
    pub file_type: FileType,
    /// The extension it would come from.
    pub layer: String,
    /// What happens to the path.
    #[serde(flatten)]
    pub effect: Effect,
    /// What would no longer be seen there, topmost first.
    pub shadows: Vec<Shadowed>,
}

/// What happens to a path.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::Effect};
/// use confext_ddi::release::Class;
///
/// let etc = plan(&host, Class::Confext, &options)?.hierarchies.remove(0);
/// let effect = |path: &[u8]| etc.changes.iter().find(|change| change.path == path).map(|change| change.effect);
/// assert_eq!(effect(b"motd"), Some(Effect::Shadowed));
/// assert_eq!(effect(b"sysctl.d/50-app.conf"), Some(Effect::Added));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Effect {
    /// Nothing was there.
    Added,
    /// Something of the same type was there.
    Shadowed,
    /// Something of another type was there.
    TypeChanged {
        /// What was there.
        found: FileType,
    },
    /// A directory of the host stays, with other owner or mode.
    AttributesChanged {
        /// Those of the host.
        found: Attributes,
        /// Those of the extension.
        becomes: Attributes,
    },
    /// The extension takes away what was there.
    Hidden,
    /// A directory of the extension is seen instead of the ones below it, and not together with them.
    Opaque,
}

/// Owner and mode.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// # use std::os::unix::fs::PermissionsExt as _;
/// use std::fs::Permissions;
///
/// use confext_core::{plan, plan::Effect};
/// use confext_ddi::release::Class;
///
/// // A directory that others may not look into, until it is merged.
/// std::fs::create_dir(root.path().join("etc/sysctl.d"))?;
/// std::fs::set_permissions(root.path().join("etc/sysctl.d"), Permissions::from_mode(0o700))?;
/// # std::fs::set_permissions(root.path().join("run/confexts/app/etc/sysctl.d"), Permissions::from_mode(0o755))?;
/// let etc = plan(&host, Class::Confext, &options)?.hierarchies.remove(0);
/// let change = etc.changes.iter().find(|change| change.path == b"sysctl.d").ok_or("no change")?;
/// let Effect::AttributesChanged { found, becomes } = change.effect else { panic!("{change:?}") };
/// assert_eq!((found.mode, becomes.mode), (0o700, 0o755));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// Permission, set-id and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Something that is no longer seen.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::Shadowed};
/// use confext_ddi::{fs::FileType, release::Class};
///
/// let etc = plan(&host, Class::Confext, &options)?.hierarchies.remove(0);
/// let conf = etc.changes.iter().find(|change| change.path == b"app.conf").ok_or("no change")?;
/// let hidden = Shadowed { layer: Some("app".to_owned()), file_type: FileType::Regular };
/// assert_eq!((conf.layer.as_str(), &conf.shadows[..]), ("site", &[hidden][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shadowed {
    /// Whose it is: an extension's, or with `None` the host's.
    pub layer: Option<String>,
    /// What it is.
    pub file_type: FileType,
}

/// An extension's files for one hierarchy.
///
/// ```
/// use confext_core::plan::{Input, LayerFiles, Plan};
/// use confext_ddi::{Limits, build::{Meta, Tree}, release::Class};
///
/// // An extension that is not built yet.
/// let (mut tree, limits) = (Tree::new(), Limits::default());
/// tree.add_file("etc/os-release", "ID=other\n", Meta::new(0o644))?;
/// let files = tree.files(&limits);
/// let layers = vec![LayerFiles::new("app", &files, b"etc")];
/// let plan = Plan::new(Class::Confext, &[Input { hierarchy: "etc", layers, base: None }], &limits)?;
/// assert_eq!(plan.vetoes[0].kind.code(), "replaces-os-release");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LayerFiles<'a> {
    /// The extension's name.
    pub name: &'a str,
    /// Where the files are.
    pub files: &'a dyn FileSystem,
    /// The hierarchy's directory in there.
    pub root: &'a [u8],
    /// All of the files, where they were looked at before.
    tree: Option<&'a Tree>,
}

/// What one hierarchy would be made of.
///
/// ```
/// use confext_core::plan::{Effect, Input, LayerFiles, Plan};
/// use confext_ddi::{Limits, build::{Meta, Tree}, release::Class};
///
/// let (mut tree, mut below, limits) = (Tree::new(), Tree::new(), Limits::default());
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// below.add_file("app.conf", "answer = 41\n", Meta::new(0o644))?;
/// let (files, base) = (tree.files(&limits), below.files(&limits));
/// let layers = vec![LayerFiles::new("app", &files, b"etc")];
/// let input = Input { hierarchy: "etc", layers, base: Some(&base) };
/// let plan = Plan::new(Class::Confext, &[input], &limits)?;
/// assert_eq!(plan.hierarchies[0].changes[0].effect, Effect::Shadowed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Input<'a> {
    /// `usr`, `opt` or `etc`.
    pub hierarchy: &'static str,
    /// The extensions with files in it, bottom first.
    pub layers: Vec<LayerFiles<'a>>,
    /// The host's directory, if it has it.
    pub base: Option<&'a dyn FileSystem>,
}

impl<'a> LayerFiles<'a> {
    /// All of it.
    #[must_use]
    pub const fn new(name: &'a str, files: &'a dyn FileSystem, root: &'a [u8]) -> Self {
        Self { name, files, root, tree: None }
    }

    /// Of a directory of this machine.
    pub(crate) fn of_directory(name: &'a str, files: &'a Directory, root: &'a [u8]) -> Self {
        Self { tree: files.tree(), ..Self::new(name, files, root) }
    }
}

/// How much of a plan somebody wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// What becomes of each path.
    Paths,
    /// What speaks against it, and who has to hear of it.
    Outline,
}

impl Plan {
    /// Works out what merging would do. Looks at every file of the extensions, and at the host only where they have
    /// something.
    ///
    /// # Errors
    ///
    /// When the host's files cannot be looked at. What keeps an extension from being read is a [`VetoKind::Unreadable`].
    pub fn new(class: Class, inputs: &[Input<'_>], limits: &Limits) -> Result<Self> {
        Self::in_detail(class, inputs, limits, Detail::Paths)
    }

    /// The same without [`Hierarchy::changes`] and [`Hierarchy::merged`], for who does what is planned and shows it to
    /// nobody.
    pub(crate) fn outline(class: Class, inputs: &[Input<'_>], limits: &Limits) -> Result<Self> {
        Self::in_detail(class, inputs, limits, Detail::Outline)
    }

    fn in_detail(class: Class, inputs: &[Input<'_>], limits: &Limits, detail: Detail) -> Result<Self> {
        let mut plan = Self {
            class,
            layers: Vec::new(),
            layer_changes: Vec::new(),
            hierarchies: Vec::new(),
            vetoes: Vec::new(),
            refused: Vec::new(),
            refusal: None,
            after: After::default(),
            heard: Heard::nothing(),
        };
        for input in inputs {
            let mut lists = lists::look(input, limits);
            lists.iter_mut().for_each(|list| plan.vetoes.append(&mut list.vetoes));
            let holders = lists::holders(&lists);
            let hierarchy = plan.hierarchy(input, &holders, detail)?;
            plan.hierarchies.push(hierarchy);
        }
        Ok(plan)
    }

    fn hierarchy(&mut self, input: &Input<'_>, holders: &[Holder<'_>], detail: Detail) -> Result<Hierarchy> {
        let mut floors = Floors::default();
        let (mut changes, mut merged) = (Vec::new(), Vec::new());
        let mut base_files = Base { files: input.base, absent: BTreeSet::new(), last: (b"", false) };
        let mut from_root = Vec::new();
        for holders in holders.chunk_by(|one, next| one.path == next.path) {
            let Some(Holder { path, .. }) = holders.first() else { continue };
            let has_directory = holders.iter().any(|holder| holder.metadata.file_type == FileType::Directory);
            let base = base_files.get(path, has_directory).map_err(|error| error.within(input.hierarchy))?;
            from_root.clear();
            for part in [input.hierarchy.as_bytes(), b"/", path] {
                from_root.extend_from_slice(part);
            }
            self.vetoes.extend(veto::of_path(input, (path, &from_root), holders, base.as_ref()));
            let seen = floors.seen(path, holders, base.as_ref());
            if let Some(file) = consumed(input, (path, &from_root), seen) {
                self.heard.add(file);
            }
            if detail == Detail::Paths {
                changes.extend(change(input, path, seen));
                merged.extend(merge_of(input, path, seen));
            }
        }
        let layers = input.layers.iter().map(|layer| layer.name.to_owned()).collect();
        let mutable = state::Mutable::default();
        Ok(Hierarchy { path: input.hierarchy, layers, changes, merged, mutable })
    }

    /// Says what would stop a merge, when these objections are allowed and this is the first bad extension.
    pub(crate) fn settle(
        &mut self,
        allowed: &[Allowance],
        is_fatal: impl Fn(Option<&str>, Severity) -> bool,
    ) {
        for veto in &mut self.vetoes {
            veto.allowed = veto.is_allowed_by(allowed);
        }
        let bad = self
            .refused
            .iter()
            .find(|bad| bad.is_for_its_name() && is_fatal(bad.name.as_deref(), bad.severity))
            .map(Refusal::of);
        let objection = || {
            let fatal = |veto: &&Veto| !veto.allowed && is_fatal(Some(&veto.layer), Severity::Refused);
            self.vetoes.iter().find(fatal).map(Refusal::of_veto)
        };
        self.refusal = bad.or_else(objection);
    }

    /// The first thing that speaks against it and is not in `allowed`.
    #[must_use]
    pub fn objection(&self, allowed: &[Allowance]) -> Option<&Veto> {
        self.vetoes.iter().find(|veto| !veto.is_allowed_by(allowed))
    }
}

impl Refusal {
    pub(crate) fn of(bad: &Rejection) -> Self {
        Self { name: bad.name.clone(), code: bad.code, message: bad.message.clone(), hint: bad.hint }
    }

    fn of_veto(veto: &Veto) -> Self {
        Self { name: Some(veto.layer.clone()), ..Self::of_error(&veto.to_error()) }
    }

    /// Of what no extension is to blame for.
    pub(crate) fn of_error(error: &Error) -> Self {
        Self { name: None, code: error.code(), message: error.explain(), hint: error.hint() }
    }
}

impl Veto {
    /// As an error, where it stops a merge.
    #[must_use]
    pub fn to_error(&self) -> Error {
        let path = String::from_utf8_lossy(&self.path);
        let target = format!("{}: {}/{path}", self.layer, self.hierarchy);
        Error::conflict(self.kind.code(), target, self.found.as_str(), self.expected.as_str())
    }
}

/// What an extension has at a path.
#[derive(Debug, Clone, Copy)]
struct Holder<'a> {
    /// Below the hierarchy.
    path: &'a [u8],
    /// Its place among the layers.
    layer: usize,
    metadata: &'a Metadata,
    /// Whether it is a directory that hides those below it.
    opaque: bool,
}

/// The host's directory, which is not asked for what is in a directory that it does not have.
struct Base<'a> {
    files: Option<&'a dyn FileSystem>,
    /// Directories that it does not have. Those come before what is in them.
    absent: BTreeSet<&'a [u8]>,
    /// The directory that was asked about last, and whether it does not have that: most are asked about many times in a row.
    last: (&'a [u8], bool),
}

impl<'a> Base<'a> {
    fn get(&mut self, path: &'a [u8], is_asked_for_more: bool) -> confext_ddi::Result<Option<Metadata>> {
        let Some(files) = self.files else { return Ok(None) };
        let slash = path.iter().rposition(|&byte| byte == b'/');
        let parent = slash.and_then(|at| path.get(..at)).unwrap_or_default();
        if parent != self.last.0 {
            self.last = (parent, self.absent.contains(parent));
        }
        let found = if self.last.1 { None } else { lookup(files, path)? };
        if found.is_none() && is_asked_for_more {
            self.absent.insert(path);
        }
        Ok(found)
    }
}

fn change(input: &Input<'_>, path: &[u8], Seen { holders, base }: Seen<'_>) -> Option<Change> {
    let (top, others) = holders.split_first()?;
    let name = |layer: usize| input.layers.get(layer).map(|layer| layer.name.to_owned());
    let mut shadows: Vec<Shadowed> = others
        .iter()
        .map(|holder| Shadowed { layer: name(holder.layer), file_type: holder.metadata.file_type })
        .collect();
    shadows.extend(base.map(|base| Shadowed { layer: None, file_type: base.file_type }));
    let file_type = top.metadata.file_type;
    let effect = if rules::is_whiteout(top.metadata) {
        Effect::Hidden
    } else if top.opaque && !shadows.is_empty() {
        Effect::Opaque
    } else if file_type == FileType::Directory && shadows.iter().all(|s| s.file_type == FileType::Directory) {
        // Directories are merged: nothing in them is lost.
        shadows.clear();
        match base.map(|base| (Attributes::of(base), Attributes::of(top.metadata))) {
            None => Effect::Added,
            Some((found, becomes)) if found != becomes => Effect::AttributesChanged { found, becomes },
            Some(_) => return None,
        }
    } else {
        match shadows.first() {
            None => Effect::Added,
            Some(first) if first.file_type == file_type => Effect::Shadowed,
            Some(first) => Effect::TypeChanged { found: first.file_type },
        }
    };
    Some(Change { path: path.to_vec(), file_type, layer: name(top.layer)?, effect, shadows })
}

/// A file of an extension that some program reads, below the hierarchy and from the root.
fn consumed(input: &Input<'_>, (path, from_root): (&[u8], &[u8]), seen: Seen<'_>) -> Option<Consumed> {
    let top = seen.holders.first().filter(|top| top.metadata.file_type != FileType::Directory)?;
    Consumer::of(from_root)?;
    let over_host = seen.base.is_some_and(|base| base.file_type != FileType::Directory);
    let (files, inside) = input.in_layer(top.layer, path)?;
    let layer = input.layers.get(top.layer)?.name;
    let file = Consumed::of(from_root, layer, (files, &inside), (top.metadata, over_host))?;
    Some(if rules::is_whiteout(top.metadata) { file.hidden() } else { file })
}

/// Whose files are together in a directory, where they are of more than one.
fn merge_of(input: &Input<'_>, path: &[u8], Seen { holders, base }: Seen<'_>) -> Option<MergedDirectory> {
    let mut layers = Vec::new();
    let mut open = true;
    for holder in holders {
        open = holder.metadata.file_type == FileType::Directory;
        if !open {
            break;
        }
        layers.push(input.layers.get(holder.layer).map(|layer| layer.name.to_owned()));
        open = !holder.opaque;
        if !open {
            break;
        }
    }
    if open && base.is_some_and(|base| base.file_type == FileType::Directory) {
        layers.push(None);
    }
    (layers.len() > 1).then(|| MergedDirectory { path: path.to_vec(), layers })
}

impl Attributes {
    fn of(metadata: &Metadata) -> Self {
        Self { mode: metadata.mode, uid: metadata.uid, gid: metadata.gid }
    }
}

impl Input<'_> {
    /// The path of a file of a layer, where that layer has it.
    fn in_layer(&self, layer: usize, path: &[u8]) -> Option<(&dyn FileSystem, Vec<u8>)> {
        let layer = self.layers.get(layer)?;
        Some((layer.files, join(layer.root, path)))
    }
}

fn lossy<S: serde::Serializer>(path: &[u8], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests;
