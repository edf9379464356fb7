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
mod parts;
mod planned;
mod process;
mod stack;
mod stated;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use confext_ddi::RootHash;
use confext_ddi::fs::FileType;
use confext_ddi::limits::Limits;
use confext_ddi::release::Class;
use confext_ddi::unit::Covered;
use serde::{Serialize, Serializer};

use crate::admission::{self, Trust};
use crate::attach::Way;
use crate::discover::Kind;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::state::{Checked, Doubt, Identity, Layer, Partition};

pub use filter::Filter;
pub use tree::Tree;

use layers::Context;
pub(crate) use process::{Made, Overlay};
use stack::Stack;

/// Where a path comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Origin {
    /// The path inside the root, links on the way resolved; a link at the end is the answer's subject itself.
    #[serde(serialize_with = "crate::discover::lossy")]
    pub path: PathBuf,
    /// Whether it is about what is merged, or about what a merge would give.
    pub view: View,
    /// What is there; `None` when there is nothing.
    pub file_type: Option<FileType>,
    /// Where it comes from.
    #[serde(flatten)]
    pub answer: Answer,
    /// Of a symbolic link, where what it leads to comes from; only when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Box<Origin>>,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// What is merged.
    Live,
    /// What a merge would give. Nothing is changed, and no privilege is needed unless a stack is merged.
    Planned,
}

/// The answer to "where does this come from?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// There is nothing at this path.
    Absent,
    /// From the host: nothing is merged over this place.
    NotMerged,
    /// From the host: a stack is merged here, and none of its extensions has the path.
    Base {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
        /// `present` when it was compared with the host's own file; `unknown` when it is from the host because nothing
        /// else has it: looking under the stack takes a privilege.
        base: Presence,
    },
    /// From an extension.
    Layer {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
        /// The extension.
        #[serde(serialize_with = "shared")]
        source: Arc<Source>,
        /// What has the path, too, and is not seen; topmost first.
        shadows: Vec<Shadow>,
    },
    /// A directory that several have: what is in it is traced by itself.
    Directory {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
        /// The extensions that have it, topmost first: the first gives it owner and mode.
        #[serde(serialize_with = "all_shared")]
        sources: Vec<Arc<Source>>,
        /// Whether the host has it, too.
        base: Presence,
        /// Whether what was written after the merge has it, too, above all others.
        written: Presence,
        /// Extensions of which it cannot be told.
        unknown: Vec<Unknown>,
    },
    /// Written after the merge, over something that is no longer seen: what was changed was copied first.
    CopiedUp {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
        /// What it was copied from, and what that shadows; topmost first.
        shadows: Vec<Shadow>,
    },
    /// Written after the merge, where nothing was.
    Written {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
    },
    /// Deleted after the merge.
    Deleted {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
        /// What is no longer seen; topmost first.
        shadows: Vec<Shadow>,
    },
    /// An extension takes away what is there.
    Hidden {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
        /// The extension.
        #[serde(serialize_with = "shared")]
        source: Arc<Source>,
        /// What is no longer seen; topmost first.
        shadows: Vec<Shadow>,
    },
    /// From something mounted on top of the stack.
    Submount {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
    },
    /// The stack's own: its metadata, or the place of a mount that no layer has.
    Metadata {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
    },
    /// There is no telling.
    CannotTell {
        /// The hierarchy of the stack.
        hierarchy: &'static str,
        /// The extensions of which it cannot be told, topmost first.
        unknown: Vec<Unknown>,
        /// Why, where it is not because of single extensions.
        because: Option<&'static str>,
        /// What the kernel says that does not fit the stack's record.
        doubts: Vec<Doubt>,
    },
}

impl Answer {
    /// The name in documents.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::NotMerged => "not-merged",
            Self::Base { .. } => "base",
            Self::Layer { .. } => "layer",
            Self::Directory { .. } => "directory",
            Self::CopiedUp { .. } => "copied-up",
            Self::Written { .. } => "written",
            Self::Deleted { .. } => "deleted",
            Self::Hidden { .. } => "hidden",
            Self::Submount { .. } => "submount",
            Self::Metadata { .. } => "metadata",
            Self::CannotTell { .. } => "cannot-tell",
        }
    }

    /// The hierarchy whose stack it is about.
    #[must_use]
    pub const fn hierarchy(&self) -> Option<&'static str> {
        match self {
            Self::Absent | Self::NotMerged => None,
            Self::Base { hierarchy, .. }
            | Self::Layer { hierarchy, .. }
            | Self::Directory { hierarchy, .. }
            | Self::CopiedUp { hierarchy, .. }
            | Self::Written { hierarchy }
            | Self::Deleted { hierarchy, .. }
            | Self::Hidden { hierarchy, .. }
            | Self::Submount { hierarchy }
            | Self::Metadata { hierarchy }
            | Self::CannotTell { hierarchy, .. } => Some(hierarchy),
        }
    }

    /// What has the path, too, and is not seen; topmost first.
    #[must_use]
    pub fn shadows(&self) -> &[Shadow] {
        match self {
            Self::Layer { shadows, .. }
            | Self::CopiedUp { shadows, .. }
            | Self::Deleted { shadows, .. }
            | Self::Hidden { shadows, .. } => shadows,
            _ => &[],
        }
    }
}

/// An extension that has the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Source {
    /// The extension's name.
    pub layer: String,
    /// The image or directory, inside the root.
    pub image: String,
    /// What it is.
    pub kind: Kind,
    /// The version chosen from a `.v/` directory.
    pub version: Option<String>,
    /// The partition it is from.
    pub partition: Option<Partition>,
    /// The root hash its content was checked against.
    pub root_hash: Option<RootHash>,
    /// What was checked: at the merge, or now. See `known_from`. A signer stands here only if the signature was checked.
    pub checked: Checked,
    /// How its image reached the kernel; `None` for a directory that is mounted, in a plan, and where another program merged it.
    pub attached: Option<Way>,
    /// Who says that this extension is part of the stack, and when `checked` was checked.
    pub known_from: KnownFrom,
    /// How it was made sure that the image opened for this answer is the one that is merged.
    pub confirmed_by: &'static str,
}

/// On whose word an extension is part of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KnownFrom {
    /// This library wrote it down, and the overlay is as it says. What was checked was checked at the merge.
    Record,
    /// Another program wrote it down. What was checked was checked for this answer, and not at the merge.
    Origin,
    /// Nothing is merged: it would be part of the stack. What was checked was checked for this answer.
    Plan,
    /// Systemd made the stack of a service, and the unit's settings say which extension a layer is. What was checked was
    /// checked for this answer, and not when the service started.
    Settings,
}

/// Something that has the path, too, and is not seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Shadow {
    /// An extension below.
    Layer {
        /// The extension.
        #[serde(serialize_with = "shared")]
        source: Arc<Source>,
    },
    /// An extension below of which it cannot be told.
    Unknown {
        /// Which one, and why.
        #[serde(flatten)]
        unknown: Unknown,
    },
    /// What was written in another run of the stack, and is seen only.
    Imported,
    /// The host's own file.
    Base,
    /// It cannot be told whether the host has it: that takes the privilege to look under the stack.
    BaseUnknown,
}

/// An extension of which it cannot be told whether it has a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// The extension's name.
    pub layer: String,
    /// The stable code.
    pub code: &'static str,
    /// Why.
    pub reason: String,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Yes.
    Present,
    /// No.
    Absent,
    /// It cannot be told without the privilege to look under the stack.
    Unknown,
}

/// How to answer.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compare {
    /// Type, mode, owner, size, time of change and inode number.
    #[default]
    Attributes,
    /// The content, too: every byte is read twice.
    Content,
}

/// What is asked of a symbolic link.
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
/// # let root = tempfile::tempdir()?;
/// # std::fs::create_dir_all(root.path().join("etc"))?;
/// # std::fs::create_dir_all(root.path().join("run/confexts/app/etc/extension-release.d"))?;
/// # std::fs::write(root.path().join("etc/os-release"), "ID=demo\n")?;
/// # std::fs::write(root.path().join("run/confexts/app/etc/extension-release.d/extension-release.app"), "ID=demo\n")?;
/// # std::fs::write(root.path().join("run/confexts/app/etc/app.conf"), "answer = 42\n")?;
/// use confext_core::{Host, trace::{Options, Tracer}};
///
/// let host = Host::open(root.path())?;
/// let tracer = Tracer::live(&host, &Options::default())?;
/// assert_eq!(tracer.trace("/etc/os-release")?.answer.as_str(), "not-merged");
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
    #[serde(serialize_with = "all_shared")]
    pub layers: Vec<Arc<Source>>,
    /// The other extensions, and why they could not.
    pub unknown: Vec<Unknown>,
    /// Why nothing can be told of it at all.
    pub because: Option<&'static str>,
    /// What the kernel says that does not fit the stack's record.
    pub doubts: Vec<Doubt>,
}

impl Source {
    pub(crate) fn new(layer: Layer, known_from: KnownFrom) -> Self {
        Self {
            root_hash: layer.checked.root_hash().copied(),
            confirmed_by: match (&layer.identity, known_from) {
                (_, KnownFrom::Plan) => "plan",
                (_, KnownFrom::Settings) => "settings",
                // What another program compares is not all that tells one from another.
                (Identity::RootHash { .. }, KnownFrom::Origin) | (_, KnownFrom::Record) => {
                    layer.identity.test()
                }
                (_, KnownFrom::Origin) => "path",
            },
            layer: layer.name,
            image: layer.path,
            kind: layer.kind,
            version: layer.version,
            partition: layer.partition,
            checked: layer.checked,
            attached: layer.attached,
            known_from,
        }
    }
}

impl Unknown {
    fn new(layer: &str, error: &Error) -> Self {
        Self { layer: layer.to_owned(), code: error.code(), reason: error.explain() }
    }
}

fn shared<S: Serializer>(source: &Arc<Source>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    source.as_ref().serialize(serializer)
}

fn all_shared<S: Serializer>(sources: &[Arc<Source>], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(sources.iter().map(AsRef::as_ref))
}
