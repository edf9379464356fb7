//! A hierarchy with a stack, merged or planned: what it is put together from.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use confext_ddi::fs::FileSystem;
use confext_ddi::release::Class;

use super::layers::{Context, Extended};
use super::parts::{Part, Parts};
use super::stated::Origin;
use super::{Presence, Source, Traced, Unknown};
use crate::admission::{self, OnBad};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::stack::{Hidden, copy_bare, found_written, look_under, select};
use crate::state::{self, Current, Doubt, Merged, Mutable, Writes};
use crate::sys::{self, MountId, OFlags};

/// A hierarchy with a stack.
pub(super) struct Stack {
    pub(super) class: Class,
    pub(super) hierarchy: &'static str,
    /// Where it is inside the root, links resolved.
    pub(super) path: PathBuf,
    /// Where it is mounted; `None` for a plan.
    pub(super) live: Option<Live>,
    /// Its extensions, bottom first.
    pub(super) layers: Vec<Arc<Extended>>,
    /// Why nothing can be told of it.
    pub(super) trouble: Option<Trouble>,
    writes: Writes,
    /// The directory with what was written in another run, inside the root.
    imports: Option<String>,
    /// Whether the host has nothing of its own there.
    pub(super) created: bool,
    /// The directory with what is written down about it.
    pub(super) metadata: &'static str,
    host: OnceLock<Option<Directory>>,
    written: OnceLock<std::result::Result<Directory, Unknown>>,
    imported: OnceLock<std::result::Result<Directory, Unknown>>,
}

/// A stack that is merged.
pub(super) struct Live {
    pub(super) top: OwnedFd,
    pub(super) mount: MountId,
}

/// Why nothing can be told of a stack.
pub(super) struct Trouble {
    pub(super) because: &'static str,
    pub(super) doubts: Vec<Doubt>,
}

/// What one of the parts of a stack is.
#[derive(Clone, Copy)]
pub(super) enum Role<'a> {
    /// What was written after the merge.
    Written,
    /// What was written in another run.
    Imported,
    Layer(&'a Arc<Source>),
    /// An extension that could not be opened.
    Unknown,
    /// The host's own directory.
    Host,
}

/// The parts of a stack, each with what it is.
pub(super) struct Sight<'a> {
    pub(super) parts: Parts<'a>,
    roles: Vec<Role<'a>>,
    /// `unknown` when the host has something, but it cannot be looked at.
    pub(super) host: Presence,
    /// Whether there may be changes that no path leads to.
    pub(super) memory: bool,
}

impl<'a> Sight<'a> {
    pub(super) fn role(&self, part: usize) -> Role<'a> {
        self.roles.get(part).copied().unwrap_or(Role::Unknown)
    }
}

/// The stacks of a class that are merged.
pub(super) fn merged(context: &Context<'_>, class: Class) -> Result<Vec<Stack>> {
    let mut stacks = Vec::new();
    for hierarchy in class.hierarchies() {
        let Current::Merged(merged) = state::look(context.host, class, hierarchy)? else { continue };
        context.host.reachable("the mount of a stack")?;
        let Some(path) = context.host.path_of(merged.top.as_fd()) else { continue };
        let failed = |error| Error::os("ask about the mount of", *hierarchy, error);
        let mut stack = Stack::new(class, hierarchy, path);
        stack.describe_merged(*merged).map_err(failed)?;
        stacks.push(stack);
    }
    Ok(stacks)
}

/// The stacks of a class that a merge would make.
pub(super) fn planned(
    context: &Context<'_>,
    class: Class,
    options: &admission::Options,
) -> Result<Vec<Stack>> {
    let mut tolerant = admission::Options { on_bad: OnBad::Skip, ..options.clone() };
    tolerant.required.clear();
    let selection = select(context.host, class, &tolerant)?;
    let extensions = selection.extensions.into_iter();
    let extensions: Vec<_> =
        extensions.map(|extension| Arc::new(Extended::admitted(extension, context))).collect();
    let mut stacks = Vec::new();
    for hierarchy in class.hierarchies() {
        let current = state::look(context.host, class, hierarchy)?;
        let place = match &current {
            Current::Missing => None,
            Current::Bare(directory) => context.host.path_of(directory.as_fd()),
            Current::Merged(merged) => context.host.path_of(merged.top.as_fd()),
        };
        let mut stack = Stack::new(class, hierarchy, place.unwrap_or_else(|| PathBuf::from(hierarchy)));
        let has_files = |extension: &&Arc<Extended>| extension.has_files(hierarchy, context);
        stack.layers = extensions.iter().filter(has_files).map(Arc::clone).collect();
        let written = found_written(context.host, hierarchy, options.mutability)?;
        // What is merged now would go.
        if stack.layers.is_empty() && written.is_none() && !matches!(current, Current::Merged(_)) {
            continue;
        }
        if let Some(Mutable { writes, imported, .. }) = written {
            (stack.writes, stack.imports) = (writes, imported);
        }
        let host = match current {
            Current::Missing => None,
            // Without the mounts below, as a merge sees it; who may not copy mounts may still look.
            Current::Bare(directory) => Some(copy_bare(&directory).unwrap_or(directory)),
            Current::Merged(merged) if merged.record.as_ref().is_some_and(|record| record.created) => None,
            Current::Merged(_) => Some(look_under(context.host, class, hierarchy, Hidden::Leave)?.directory),
        };
        stack.created = host.is_none();
        let host = host.map(|host| Directory::new(host, &context.options.limits));
        _ = match (&stack.writes, host) {
            (Writes::Host { .. }, Some(host)) => stack.written.set(Ok(host)).is_ok(),
            (_, host) => stack.host.set(host).is_ok(),
        };
        stacks.push(stack);
    }
    Ok(stacks)
}

impl Stack {
    pub(super) fn new(class: Class, hierarchy: &'static str, path: PathBuf) -> Self {
        Self {
            class,
            hierarchy,
            path,
            live: None,
            layers: Vec::new(),
            trouble: None,
            writes: Writes::Nowhere,
            imports: None,
            created: false,
            metadata: state::metadata_directory(class),
            host: OnceLock::new(),
            written: OnceLock::new(),
            imported: OnceLock::new(),
        }
    }

    /// Says what is under it.
    pub(super) fn over(&mut self, host: Option<Directory>) {
        self.host = OnceLock::from(host);
    }

    fn describe_merged(&mut self, merged: Merged) -> std::io::Result<()> {
        let doubts = state::doubts_about_record(&merged, self.class)?;
        let trouble = |because, doubts| Some(Trouble { because, doubts });
        if let Some(record) = &merged.record {
            self.created = record.created;
            self.writes = record.mutable.writes.clone();
            self.imports = record.mutable.imported.clone();
            let used = |layer: &&state::Layer| layer.hierarchies.iter().any(|name| name == self.hierarchy);
            self.layers =
                record.layers.iter().filter(used).map(|layer| Arc::new(Extended::recorded(layer))).collect();
            if !doubts.is_empty() {
                self.trouble = trouble("the stack is not the one that its record describes", doubts);
            }
        } else if merged.fault.is_some() {
            self.trouble = trouble("the record of the stack cannot be understood", Vec::new());
        } else {
            self.describe_foreign(&merged)?;
            if self.trouble.is_none() && !doubts.is_empty() {
                self.trouble = trouble("the stack is not like one that systemd merges", doubts);
            }
        }
        let mount = sys::mount_id(merged.top.as_fd())?;
        self.live = Some(Live { top: merged.top, mount });
        Ok(())
    }

    /// A stack of another program: what it wrote down is where to look, and proves nothing.
    fn describe_foreign(&mut self, merged: &Merged) -> std::io::Result<()> {
        let text = state::read(merged.top.as_fd(), self.class, "origin")?;
        let Some(mut origin) = text.and_then(|text| Origin::parse(&text)) else {
            let because = "another program merged the stack and did not write down of what";
            self.trouble = Some(Trouble { because, doubts: Vec::new() });
            return Ok(());
        };
        for name in &merged.names {
            let Some(stated) = origin.extensions.remove(name) else {
                let because =
                    "another program merged the stack and did not write down where one extension was";
                self.trouble = Some(Trouble { because, doubts: Vec::new() });
                return Ok(());
            };
            self.layers.push(Arc::new(Extended::stated(name, stated)));
        }
        let info = sys::mount_info(sys::mount_id(merged.top.as_fd())?)?;
        let has_upper = has_option(info.options.as_deref().unwrap_or_default(), b"upperdir");
        let changes = origin.changes(self.hierarchy).map(str::to_owned);
        match (has_upper, changes) {
            (true, Some(directory)) if Path::new(&directory) == Path::new("/").join(&self.path) => {
                self.writes = Writes::Host { work: String::new() };
            }
            (true, Some(path)) if !origin.is_ephemeral() => {
                self.writes = Writes::Directory { path, work: String::new() };
            }
            (true, changes) => (self.writes, self.imports) = (Writes::Memory, changes),
            (false, changes) => self.imports = changes,
        }
        Ok(())
    }

    /// All parts, opened.
    pub(super) fn sight<'a>(&'a self, context: &Context<'_>) -> Sight<'a> {
        let mut sight = Sight {
            parts: Parts(Vec::new()),
            roles: Vec::new(),
            host: Presence::Absent,
            memory: self.writes == Writes::Memory,
        };
        let mut push = |files: std::result::Result<&'a dyn FileSystem, &'a Unknown>, name, root, role| {
            sight.parts.0.push(Part { files, name, root });
            sight.roles.push(role);
        };
        let directory = |found: &'a std::result::Result<Directory, Unknown>| {
            found.as_ref().map(|found| -> &dyn FileSystem { found })
        };
        match &self.writes {
            Writes::Nowhere | Writes::Memory => {}
            Writes::Directory { path, .. } => {
                let written = self.written.get_or_init(|| open(path, context));
                push(directory(written), WRITTEN, "", Role::Written);
            }
            Writes::Host { .. } => {
                let written = self.written.get_or_init(|| self.host_directory(context).ok_or_else(hidden));
                push(directory(written), WRITTEN, "", Role::Written);
            }
        }
        if let Some(path) = &self.imports {
            let imported = self.imported.get_or_init(|| open(path, context));
            push(directory(imported), IMPORTED, "", Role::Imported);
        }
        for layer in self.layers.iter().rev() {
            match layer.get(context) {
                Ok(opened) => {
                    push(Ok(opened.files.as_ref()), &layer.name, self.hierarchy, Role::Layer(&opened.source));
                }
                Err(unknown) => push(Err(unknown), &layer.name, self.hierarchy, Role::Unknown),
            }
        }
        if !self.created && !matches!(self.writes, Writes::Host { .. }) {
            match self.host.get_or_init(|| self.host_directory(context)) {
                Some(host) => {
                    push(Ok(host), "the host", "", Role::Host);
                    sight.host = Presence::Present;
                }
                None => sight.host = Presence::Unknown,
            }
        }
        sight
    }

    fn host_directory(&self, context: &Context<'_>) -> Option<Directory> {
        let bare = look_under(context.host, self.class, self.hierarchy, Hidden::Leave).ok()?;
        Some(Directory::new(bare.directory, &context.options.limits))
    }

    pub(super) fn describe(&self, context: &Context<'_>) -> Traced {
        let opened = || self.layers.iter().map(|layer| layer.get(context));
        Traced {
            class: self.class,
            hierarchy: self.hierarchy,
            path: Path::new("/").join(&self.path),
            layers: opened().filter_map(|layer| Some(Arc::clone(&layer.ok()?.source))).collect(),
            unknown: opened().filter_map(|layer| layer.err().cloned()).collect(),
            because: self.trouble.as_ref().map(|trouble| trouble.because),
            doubts: self.trouble.as_ref().map(|trouble| trouble.doubts.clone()).unwrap_or_default(),
        }
    }
}

const WRITTEN: &str = "what was written after the merge";
const IMPORTED: &str = "what was written before the merge";

fn open(path: &str, context: &Context<'_>) -> std::result::Result<Directory, Unknown> {
    let opened = context.host.open_path(Path::new(path), OFlags::DIRECTORY);
    let opened = opened.map_err(|error| Error::os("open", context.host.display(Path::new(path)), error));
    let opened = opened.map_err(|error| Unknown::new(WRITTEN, &error))?;
    Ok(Directory::new(opened, &context.options.limits))
}

fn hidden() -> Unknown {
    let reason = "the host's own directory cannot be looked at".to_owned();
    Unknown { layer: WRITTEN.to_owned(), code: "missing-capability", reason }
}

fn has_option(options: &[u8], key: &[u8]) -> bool {
    let fields = options.split(|&byte| byte == b',');
    fields.filter_map(|field| field.strip_prefix(key)).any(|rest| rest.starts_with(b"="))
}
