//! [`Origin`]: what is said of a path: what kind of answer it is, from which extension, and over what

use std::path::PathBuf;
use std::sync::Arc;

use confext_ddi::RootHash;
use confext_ddi::fs::FileType;
use serde::{Serialize, Serializer};

use crate::attach::Way;
use crate::discover::Kind;
use crate::error::Error;
use crate::state::{Checked, Doubt, Identity, Layer, Partition};

/// Where a path comes from.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{trace::{Origin, View}, trace_plan};
/// use confext_ddi::{fs::FileType, release::Class};
///
/// let origin: Origin = trace_plan(&host, Class::Confext, "/etc/app.conf", &options)?;
/// assert_eq!((origin.view, origin.file_type), (View::Planned, Some(FileType::Regular)));
/// assert_eq!(origin.answer.as_str(), "layer");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{trace::{Options, Tracer, View}, trace_plan};
/// use confext_ddi::release::Class;
///
/// // Nothing is merged yet, so that the file is the host's; after a merge it would be an extension's.
/// let live = Tracer::live(&host, &Options::default())?.trace("/etc/motd")?;
/// assert_eq!((live.view, live.answer.as_str()), (View::Live, "not-merged"));
/// let planned = trace_plan(&host, Class::Confext, "/etc/motd", &options)?;
/// assert_eq!((planned.view, planned.answer.as_str()), (View::Planned, "layer"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// What is merged.
    Live,
    /// What a merge would give. Nothing is changed, and no privilege is needed unless a stack is merged.
    Planned,
}

/// The answer to "where does this come from?".
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{trace::Answer, trace_plan};
/// use confext_ddi::release::Class;
///
/// let origin = trace_plan(&host, Class::Confext, "/etc/app.conf", &options)?;
/// let Answer::Layer { source, shadows, .. } = origin.answer else { panic!("{origin:?}") };
/// assert_eq!((source.layer.as_str(), shadows.len()), ("site", 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::{Options, trace::Answer, trace_plan};
/// use confext_ddi::release::Class;
///
/// let origin = trace_plan(&host, Class::Confext, "/etc/app.conf", &Options::default())?;
/// let Answer::Layer { source, .. } = origin.answer else { panic!("{origin:?}") };
/// assert_eq!((source.layer.as_str(), source.image.as_str()), ("app", "/run/confexts/app.raw"));
/// assert!(source.partition.is_some() && source.root_hash.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

/// On whose word an extension is part of a stack.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{trace::{Answer, KnownFrom}, trace_plan};
/// use confext_ddi::release::Class;
///
/// let origin = trace_plan(&host, Class::Confext, "/etc/motd", &options)?;
/// let Answer::Layer { source, .. } = origin.answer else { panic!("{origin:?}") };
/// // Nobody merged it: what was checked was checked just now.
/// assert_eq!(source.known_from, KnownFrom::Plan);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{trace::Shadow, trace_plan};
/// use confext_ddi::release::Class;
///
/// let origin = trace_plan(&host, Class::Confext, "/etc/app.conf", &options)?;
/// let [Shadow::Layer { source }] = origin.answer.shadows() else { panic!("{origin:?}") };
/// assert_eq!(source.layer, "app");
/// let origin = trace_plan(&host, Class::Confext, "/etc/motd", &options)?;
/// assert_eq!(origin.answer.shadows(), [Shadow::Base]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```no_run
/// use confext_core::{Host, trace, trace::{Answer, Unknown}};
/// use confext_ddi::Limits;
///
/// // Where an image of the stack is gone, or is another one by now.
/// let origin = trace(&Host::open("/")?, "/etc/app.conf", &Limits::default())?;
/// if let Answer::CannotTell { unknown, .. } = origin.answer {
///     for Unknown { layer, code, reason } in unknown {
///         println!("{layer}: [{code}] {reason}");
///     }
/// }
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// The extension's name.
    pub layer: String,
    /// The stable code.
    pub code: &'static str,
    /// Why.
    pub reason: String,
}

impl Unknown {
    pub(super) fn new(layer: &str, error: &Error) -> Self {
        Self { layer: layer.to_owned(), code: error.code(), reason: error.explain() }
    }
}

/// Whether something is there.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{trace::{Answer, Presence}, trace_plan};
/// use confext_ddi::release::Class;
///
/// std::fs::create_dir(root.path().join("etc/sysctl.d"))?;
/// let origin = trace_plan(&host, Class::Confext, "/etc/sysctl.d", &options)?;
/// let Answer::Directory { sources, base, .. } = origin.answer else { panic!("{origin:?}") };
/// assert_eq!((sources[0].layer.as_str(), base), ("app", Presence::Present));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

fn shared<S: Serializer>(source: &Arc<Source>, serializer: S) -> Result<S::Ok, S::Error> {
    source.as_ref().serialize(serializer)
}

pub(super) fn all_shared<S: Serializer>(sources: &[Arc<Source>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(sources.iter().map(AsRef::as_ref))
}
