//! Where a path comes from.

use std::ffi::OsString;
use std::sync::Arc;

use confext_core::trace::{self, Answer, KnownFrom, Presence, View};

use pyo3::prelude::*;

use crate::attached::Attached;
use crate::contents::kind;
use crate::evidence::Evidence;
use crate::kept::FromPython;
use crate::layer::{self, LayerPartition};
use crate::record::{Tuple, record};
use crate::status::Doubt;

record! {
    /// An extension that has a path.
    Source {
        /// The extension's name.
        layer: String,
        /// The image or directory, inside the root.
        image: String,
        /// `directory`, `raw` or `block`.
        kind: &'static str,
        /// The version chosen from a `.v/` directory.
        version: Option<String>,
        /// The partition it is from.
        partition: Option<LayerPartition>,
        /// What was checked; `known_from` says when. A signer stands here only if the signature was checked.
        evidence: Evidence,
        /// How its image reached the kernel; `None` for a directory, in a plan, and where another program merged it.
        attached: Option<Attached>,
        /// Who says that it is part of the stack, and when `evidence` was checked: `record` (at the merge), `origin`
        /// (another program merged it; checked now) or `plan` (checked now).
        known_from: &'static str,
        /// How it was made sure that the image opened for this answer is the one that is merged: `root-hash`, `file`,
        /// `directory` or `content`; `path` is no proof, and `plan` is no merge.
        confirmed_by: &'static str,
    }
}

record! {
    /// An extension of which it cannot be told whether it has a path.
    Unknown {
        /// The extension's name.
        layer: String,
        /// The stable code.
        code: &'static str,
        /// Why.
        reason: String,
    }
}

record! {
    /// Something that has the path, too, and is not seen.
    Shadow {
        /// `layer`, `unknown`, `imported`, `base` (the host's own) or `base-unknown`.
        by: &'static str,
        /// The extension below, when it is one.
        source: Option<Source>,
        /// The extension below of which it cannot be told, when it is one.
        unknown: Option<Unknown>,
    }
}

record! {
    /// Where a path comes from.
    Origin {
        /// The path inside the root, links on the way resolved.
        path: OsString,
        /// `live`, or `planned` for what a merge would give.
        view: &'static str,
        /// What is there, as in `Stat.kind`; `None` when there is nothing.
        kind: Option<&'static str>,
        /// `absent`, `not-merged`, `base`, `layer`, `directory`, `copied-up`, `written`, `deleted`, `hidden`, `submount`,
        /// `metadata` or `cannot-tell`.
        answer: &'static str,
        /// The hierarchy of the stack, where one is merged.
        hierarchy: Option<&'static str>,
        /// The extension it comes from: for `layer` and `hidden`, and for `directory` the topmost one.
        source: Option<Source>,
        /// All extensions that have it, topmost first: more than one only for `directory`.
        sources: Tuple<Source>,
        /// What has the path, too, and is not seen; topmost first.
        shadows: Tuple<Shadow>,
        /// Whether the host has it, for `directory` and `base`: `present`, `absent` or `unknown`.
        base: Option<&'static str>,
        /// Whether what was written after the merge has a `directory`, too: `present` or `absent`.
        written: Option<&'static str>,
        /// The extensions of which it cannot be told, topmost first.
        unknown: Tuple<Unknown>,
        /// Why it cannot be told, where it is not because of single extensions.
        because: Option<&'static str>,
        /// What the kernel says that does not fit the stack's record.
        doubts: Tuple<Doubt>,
        /// Of a symbolic link, where what it leads to comes from; only when that was asked for.
        target: Option<Target>,
    }
}

/// An origin in an origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target(Box<Origin>);

impl<'py> IntoPyObject<'py> for Target {
    type Target = Origin;
    type Output = Bound<'py, Origin>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        (*self.0).into_pyobject(py)
    }
}

impl FromPython for Target {
    fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Origin::from_python(object).map(|origin| Self(Box::new(origin)))
    }
}

impl From<&trace::Origin> for Origin {
    fn from(origin: &trace::Origin) -> Self {
        let plain = |answer, hierarchy| Self {
            path: origin.path.as_os_str().to_owned(),
            view: match origin.view {
                View::Live => "live",
                View::Planned => "planned",
            },
            kind: origin.file_type.map(kind),
            answer,
            hierarchy,
            source: None,
            sources: Tuple(Vec::new()),
            shadows: Tuple(Vec::new()),
            base: None,
            written: None,
            unknown: Tuple(Vec::new()),
            because: None,
            doubts: Tuple(Vec::new()),
            target: origin.target.as_ref().map(|target| Target(Box::new(Self::from(target.as_ref())))),
        };
        let from_one = |answer, hierarchy, source: &Arc<trace::Source>, shadows: &[trace::Shadow]| Self {
            source: Some(source.as_ref().into()),
            sources: std::iter::once(source.as_ref()).collect(),
            shadows: shadows.iter().collect(),
            ..plain(answer, Some(hierarchy))
        };
        match &origin.answer {
            Answer::Absent => plain("absent", None),
            Answer::NotMerged => plain("not-merged", None),
            Answer::Base { hierarchy, base } => {
                Self { base: Some(presence(*base)), ..plain("base", Some(hierarchy)) }
            }
            Answer::Layer { hierarchy, source, shadows } => from_one("layer", hierarchy, source, shadows),
            Answer::Hidden { hierarchy, source, shadows } => from_one("hidden", hierarchy, source, shadows),
            Answer::Directory { hierarchy, sources, base, written, unknown } => Self {
                source: sources.first().map(|source| Source::from(source.as_ref())),
                sources: sources.iter().map(AsRef::as_ref).collect(),
                base: Some(presence(*base)),
                written: Some(presence(*written)),
                unknown: unknown.iter().collect(),
                ..plain("directory", Some(hierarchy))
            },
            Answer::CopiedUp { hierarchy, shadows } => {
                Self { shadows: shadows.iter().collect(), ..plain("copied-up", Some(hierarchy)) }
            }
            Answer::Deleted { hierarchy, shadows } => {
                Self { shadows: shadows.iter().collect(), ..plain("deleted", Some(hierarchy)) }
            }
            Answer::Written { hierarchy } => plain("written", Some(hierarchy)),
            Answer::Submount { hierarchy } => plain("submount", Some(hierarchy)),
            Answer::Metadata { hierarchy } => plain("metadata", Some(hierarchy)),
            Answer::CannotTell { hierarchy, unknown, because, doubts } => Self {
                unknown: unknown.iter().collect(),
                because: *because,
                doubts: doubts.iter().collect(),
                ..plain("cannot-tell", Some(hierarchy))
            },
            _ => plain("cannot-tell", None),
        }
    }
}

impl From<&trace::Source> for Source {
    fn from(source: &trace::Source) -> Self {
        Self {
            layer: source.layer.clone(),
            image: source.image.clone(),
            kind: layer::kind(source.kind),
            version: source.version.clone(),
            partition: source.partition.as_ref().map(LayerPartition::from),
            evidence: (&source.checked).into(),
            attached: source.attached.as_ref().map(Attached::from),
            known_from: match source.known_from {
                KnownFrom::Record => "record",
                KnownFrom::Origin => "origin",
                KnownFrom::Plan => "plan",
                KnownFrom::Settings => "settings",
            },
            confirmed_by: source.confirmed_by,
        }
    }
}

impl From<&trace::Unknown> for Unknown {
    fn from(unknown: &trace::Unknown) -> Self {
        Self { layer: unknown.layer.clone(), code: unknown.code, reason: unknown.reason.clone() }
    }
}

impl From<&trace::Shadow> for Shadow {
    fn from(shadow: &trace::Shadow) -> Self {
        let plain = |by| Self { by, source: None, unknown: None };
        match shadow {
            trace::Shadow::Layer { source } => {
                Self { source: Some(source.as_ref().into()), ..plain("layer") }
            }
            trace::Shadow::Unknown { unknown } => Self { unknown: Some(unknown.into()), ..plain("unknown") },
            trace::Shadow::Imported => plain("imported"),
            trace::Shadow::Base => plain("base"),
            trace::Shadow::BaseUnknown => plain("base-unknown"),
        }
    }
}

const fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Present => "present",
        Presence::Absent => "absent",
        Presence::Unknown => "unknown",
    }
}
