//! [`trace`]: path → layer → image → partition → root hash → verified signer → what it shadows.
//!
//! A [`Tracer`] answers for what is merged, or for what a merge would give; for one path, or for all of them. The answer
//! is of one type.
//!
//! The layers of a stack are private mounts: no other process can look into them. So the record names each layer, and
//! the answer is found by opening the same images again, which counts only when they are proven to be the same: every
//! byte is checked against the recorded root hash, or the file or directory passes the identity test of a refresh. The
//! record itself counts only where it fits the overlay as the kernel shows it, and a file is said to be from an image only
//! when it is seen with the attributes it has there. Where that is not so the answer is that it cannot be told, and why.

mod answer;
mod filter;
mod layers;
mod live;
mod origin;
mod parts;
mod planned;
mod process;
mod stack;
mod stated;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use confext_ddi::limits::Limits;
use confext_ddi::release::Class;
use confext_ddi::unit::Covered;
use serde::Serialize;

use crate::admission::{self, Trust};
use crate::error::Result;
use crate::host::Host;
use crate::state::Doubt;

pub use filter::Filter;
pub use origin::{Answer, KnownFrom, Origin, Presence, Shadow, Source, Unknown, View};
pub use tree::{Progress, Tree};

use layers::Context;
pub(crate) use process::{Made, Overlay};
use stack::Stack;

/// How to answer.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trace::{Options, Tracer};
/// use confext_ddi::release::Class;
///
/// // An image may have millions of files: nobody wants to hear of more than these.
/// let mut how = Options::default();
/// how.limits.entries = 3;
/// let tracer = Tracer::planned(&host, &[Class::Confext], &options, &how)?;
/// let end = tracer.tree().find_map(Result::err).ok_or("there are no more")?;
/// assert_eq!(end.code(), "limit-count");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Caps for everything that is read. Default: [`Limits::default`].
    pub limits: Limits,
    /// Whose signatures count where another program merged a stack. Default: those of the host's certificates.
    pub trust: Trust,
    /// What is compared of a file that is seen and that of its image. Default: its attributes.
    pub compare: Compare,
    /// Whether what a symbolic link leads to is traced, too. Default: the link only.
    pub links: Links,
}

/// What is compared of a file that is seen and the one it is said to be.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trace::{Compare, Options, Tracer};
///
/// // That a file is from an image is said only where every byte of it is the same.
/// let mut options = Options::default();
/// options.compare = Compare::Content;
/// let tracer = Tracer::live(&host, &options)?;
/// assert_eq!(tracer.trace("/etc/motd")?.answer.as_str(), "not-merged");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compare {
    /// Type, mode, owner, size, time of change and inode number.
    #[default]
    Attributes,
    /// The content, too: every byte is read twice.
    Content,
}

/// What is asked of a symbolic link.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trace::{Links, Options, Tracer};
/// use confext_ddi::release::Class;
///
/// std::os::unix::fs::symlink("app.conf", root.path().join("etc/current.conf"))?;
/// let mut how = Options::default();
/// how.links = Links::Follow;
/// let origin = Tracer::planned(&host, &[Class::Confext], &options, &how)?.trace("/etc/current.conf")?;
/// let target = origin.target.ok_or("no link")?;
/// assert_eq!((origin.answer.as_str(), target.answer.as_str()), ("base", "layer"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Links {
    /// Where the link comes from.
    #[default]
    Stay,
    /// And where that comes from which it leads to.
    Follow,
}

/// Says where a path inside the root comes from.
///
/// # Errors
///
/// `os` when the path cannot be looked up at all. That an image is gone or a record cannot be understood is no error but
/// part of the answer.
pub fn trace(host: &Host, path: impl AsRef<Path>, limits: &Limits) -> Result<Origin> {
    Tracer::live(host, &Options { limits: limits.clone(), ..Options::default() })?.trace(path)
}

/// Says where a path would come from if the extensions of a class were merged now; needs no privilege unless a stack is.
///
/// # Errors
///
/// What keeps all extensions from being found, or the host from being looked at.
pub fn trace_plan(
    host: &Host,
    class: Class,
    path: impl AsRef<Path>,
    options: &admission::Options,
) -> Result<Origin> {
    let own = Options { limits: options.limits.clone(), ..Options::default() };
    Tracer::planned(host, &[class], options, &own)?.trace(path)
}

/// The stacks of a root directory, to be asked about any number of paths. Each image is opened once.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trace::{Options, Tracer};
/// use confext_ddi::release::Class;
///
/// let tracer = Tracer::planned(&host, &[Class::Confext], &options, &Options::default())?;
/// assert_eq!(tracer.trace("/etc/app.conf")?.answer.as_str(), "layer");
/// assert_eq!(tracer.trace("/etc/os-release")?.answer.as_str(), "base");
/// assert_eq!(tracer.trace("/etc/nothing")?.answer.as_str(), "absent");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tracer<'h> {
    context: Context<'h>,
    view: View,
    stacks: Vec<Stack>,
    covers: Vec<Covered>,
}

impl std::fmt::Debug for Tracer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("view", &self.view).finish_non_exhaustive()
    }
}

impl<'h> Tracer<'h> {
    /// For what is merged. In a root directory that does not run nothing is.
    ///
    /// # Errors
    ///
    /// `os` when the hierarchies cannot be looked at.
    pub fn live(host: &'h Host, options: &Options) -> Result<Self> {
        let context = Context::new(host, options);
        let mut stacks = Vec::new();
        for class in [Class::Confext, Class::Sysext] {
            stacks.extend(stack::merged(&context, class)?);
        }
        Ok(Self { context, view: View::Live, stacks, covers: Vec::new() })
    }

    /// For what merging the extensions of these classes would give, whether or not something is merged.
    ///
    /// An extension that would not be used is left out, whatever [`on_bad`](admission::Options::on_bad) says. What speaks
    /// against the merge is in the [plan](crate::plan()), and does not count here.
    ///
    /// # Errors
    ///
    /// What keeps all extensions from being found, or the host from being looked at.
    pub fn planned(
        host: &'h Host,
        classes: &[Class],
        admission: &admission::Options,
        options: &Options,
    ) -> Result<Self> {
        let context = Context::new(host, options);
        let mut stacks = Vec::new();
        for class in classes {
            stacks.extend(stack::planned(&context, *class, admission)?);
        }
        Ok(Self { context, view: View::Planned, stacks, covers: Vec::new() })
    }

    /// What it answers about.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// Where a path inside the root comes from.
    ///
    /// # Errors
    ///
    /// `os` when it cannot be looked up at all.
    pub fn trace(&self, path: impl AsRef<Path>) -> Result<Origin> {
        match self.view {
            View::Live => live::trace(&self.context, &self.stacks, path.as_ref()),
            View::Planned => {
                let origin = planned::trace(&self.context, &self.stacks, path.as_ref())?;
                Ok(self.cover(origin))
            }
        }
    }

    /// For a plan of a service, with what its unit mounts at or below the directories that extensions are merged over.
    #[must_use]
    pub fn with_mounts(mut self, mounts: &[Covered]) -> Self {
        let merged = |mount: &&Covered| {
            self.stacks.iter().any(|stack| stack.hierarchy == mount.hierarchy.trim_start_matches('/'))
        };
        self.covers = mounts.iter().filter(merged).cloned().collect();
        self
    }

    fn cover(&self, origin: Origin) -> Origin {
        const EITHER: &str =
            "the unit mounts something at the directory itself: systemd uses that or the extensions";
        let Some(mount) = self.covers.iter().find(|mount| origin.path.starts_with(&mount.path)) else {
            return origin;
        };
        let Some(stack) =
            self.stacks.iter().find(|it| it.hierarchy == mount.hierarchy.trim_start_matches('/'))
        else {
            return origin;
        };
        let hierarchy = stack.hierarchy;
        let answer = match mount.is_whole() {
            true => Answer::CannotTell {
                hierarchy,
                unknown: Vec::new(),
                because: Some(EITHER),
                doubts: Vec::new(),
            },
            false => Answer::Submount { hierarchy },
        };
        Origin { answer, file_type: None, target: None, ..origin }
    }

    /// Every path of every hierarchy that has a stack: what is seen there, and what is hidden.
    #[must_use]
    pub fn tree(&self) -> Tree<'_> {
        Tree::new(self)
    }

    /// The classes that have a stack.
    pub(crate) fn classes(&self) -> impl Iterator<Item = Class> {
        self.stacks.iter().map(|stack| stack.class)
    }

    /// The stacks: for each hierarchy, what is known of it and from whom. Opens every image.
    #[must_use]
    pub fn stacks(&self) -> Vec<Traced> {
        self.stacks.iter().map(|stack| stack.describe(&self.context)).collect()
    }
}

/// A hierarchy with a stack.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trace::{Options, Traced, Tracer};
/// use confext_ddi::release::Class;
///
/// let tracer = Tracer::planned(&host, &[Class::Confext], &options, &Options::default())?;
/// let etc: Traced = tracer.stacks().remove(0);
/// let names: Vec<_> = etc.layers.iter().map(|source| source.layer.as_str()).collect();
/// assert_eq!((etc.hierarchy, names), ("etc", vec!["app", "site"]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Traced {
    /// The class.
    pub class: Class,
    /// `usr`, `opt` or `etc`.
    pub hierarchy: &'static str,
    /// Where it is inside the root, links resolved.
    #[serde(serialize_with = "crate::discover::lossy")]
    pub path: PathBuf,
    /// The extensions with files in it, bottom first; those that could be opened.
    #[serde(serialize_with = "origin::all_shared")]
    pub layers: Vec<Arc<Source>>,
    /// The other extensions, and why they could not.
    pub unknown: Vec<Unknown>,
    /// Why nothing can be told of it at all.
    pub because: Option<&'static str>,
    /// What the kernel says that does not fit the stack's record.
    pub doubts: Vec<Doubt>,
}
