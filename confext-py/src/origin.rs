//! Where a path comes from.

use std::ffi::OsString;

use confext_core::trace::{self, Answer, Presence};

use crate::contents::kind;
use crate::evidence::Evidence;
use crate::layer::{self, LayerPartition};
use crate::record::{Tuple, record};

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
        /// What was checked when it was merged. A signer stands here only if the signature was checked then.
        evidence: Evidence,
        /// How it was made sure that the image opened for this answer is the one that is merged: `root-hash`, `file`,
        /// `directory` or `content`.
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
        /// `layer`, `unknown`, `base` (the host's own) or `base-unknown`.
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
        /// What is there, as in `Stat.kind`; `None` when there is nothing.
        kind: Option<&'static str>,
        /// `absent`, `not-merged`, `base`, `layer`, `directory`, `submount`, `metadata` or `cannot-tell`.
        answer: &'static str,
        /// The hierarchy of the stack, where one is merged.
        hierarchy: Option<&'static str>,
        /// The extension it comes from: for `layer`, and for `directory` the topmost one.
        source: Option<Source>,
        /// All extensions that have it, topmost first: more than one only for `directory`.
        sources: Tuple<Source>,
        /// What has the path, too, and is not seen; topmost first.
        shadows: Tuple<Shadow>,
        /// Whether the host has a `directory`, too: `present`, `absent` or `unknown`.
        base: Option<&'static str>,
        /// The extensions of which it cannot be told, topmost first.
        unknown: Tuple<Unknown>,
        /// Why it cannot be told, where it is not because of single extensions.
        because: Option<&'static str>,
    }
}

impl From<&trace::Origin> for Origin {
    fn from(origin: &trace::Origin) -> Self {
        let plain = |answer, hierarchy| Self {
            path: origin.path.as_os_str().to_owned(),
            kind: origin.file_type.map(kind),
            answer,
            hierarchy,
            source: None,
            sources: Tuple(Vec::new()),
            shadows: Tuple(Vec::new()),
            base: None,
            unknown: Tuple(Vec::new()),
            because: None,
        };
        match &origin.answer {
            Answer::Absent => plain("absent", None),
            Answer::NotMerged => plain("not-merged", None),
            Answer::Base { hierarchy } => plain("base", Some(hierarchy)),
            Answer::Layer { hierarchy, source, shadows } => Self {
                source: Some(source.as_ref().into()),
                sources: std::iter::once(source.as_ref()).collect(),
                shadows: shadows.iter().collect(),
                ..plain("layer", Some(hierarchy))
            },
            Answer::Directory { hierarchy, sources, base, unknown } => Self {
                source: sources.first().map(Source::from),
                sources: sources.iter().collect(),
                base: Some(presence(*base)),
                unknown: unknown.iter().collect(),
                ..plain("directory", Some(hierarchy))
            },
            Answer::Submount { hierarchy } => plain("submount", Some(hierarchy)),
            Answer::Metadata { hierarchy } => plain("metadata", Some(hierarchy)),
            Answer::CannotTell { hierarchy, unknown, because } => Self {
                unknown: unknown.iter().collect(),
                because: *because,
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
