//! Extensions: those that could be merged, those that are, and those that are left out.

use std::ffi::OsString;

use confext_core::discover::{Kind, Rejection as Rejected, Severity};
use confext_core::stack::{self, Merged};
use confext_core::state;

use crate::attached::Attached;
use crate::evidence::Evidence;
use crate::record::{Tuple, record};

record! {
    /// The partition a layer is from.
    LayerPartition {
        /// `root` or `usr`.
        designator: String,
        /// Its place in the table, from 1; `None` without a table.
        number: Option<u32>,
        /// Its identifier; `None` without a table.
        uuid: Option<String>,
    }
}

record! {
    /// One extension of a stack.
    Layer {
        /// The extension's name.
        name: String,
        /// Where the image or directory is, inside the root.
        path: String,
        /// `directory`, `raw` or `block`.
        kind: &'static str,
        /// The version chosen from a `.v/` directory.
        version: Option<String>,
        /// What was checked when it was opened or merged.
        evidence: Evidence,
        /// The partition of the image that is mounted.
        partition: Option<LayerPartition>,
        /// The hierarchies it has files in.
        hierarchies: Tuple<String>,
        /// What tells it from another one of its name: `root-hash`, `file`, `directory` or `content`.
        identity: &'static str,
        /// How its image reached the kernel; `None` for a directory, and before it is merged.
        attached: Option<Attached>,
    }
}

record! {
    /// Something that was found and is not used, and why.
    Rejection {
        /// The extension's name, as far as it has one.
        name: Option<String>,
        /// Where it is, inside the root.
        path: OsString,
        /// `ignored`: as intended; `refused`: something is wrong with it.
        severity: &'static str,
        /// The stable code.
        code: &'static str,
        /// What was found and what was expected.
        message: String,
        /// What to do about it.
        hint: &'static str,
        /// What was found, where the message says it.
        found: Option<String>,
        /// What was expected, where the message says it.
        expected: Option<String>,
        /// The field of the release file that is for another host.
        field: Option<&'static str>,
        /// For `shadowed`: the entry that has the name.
        by: Option<OsString>,
    }
}

record! {
    /// An extension that could be merged.
    Listed {
        /// Where it was found, inside the root: the name comes from here.
        entry: OsString,
        /// What it is, and what was checked of it just now.
        layer: Layer,
        /// Whether it is merged: `yes`, `no`, `other` (another one of its name is) or `unknown` (another program merged
        /// one of its name).
        merged: &'static str,
    }
}

record! {
    /// What there is to merge.
    Listing {
        /// Those that could be merged, bottom first.
        extensions: Tuple<Listed>,
        /// Everything else that was found, with the reason.
        refused: Tuple<Rejection>,
    }
}

impl From<&state::Partition> for LayerPartition {
    fn from(partition: &state::Partition) -> Self {
        let uuid = partition.uuid.map(|uuid| uuid.to_string());
        Self { designator: partition.designator.clone(), number: partition.number, uuid }
    }
}

impl From<&state::Layer> for Layer {
    fn from(layer: &state::Layer) -> Self {
        Self {
            name: layer.name.clone(),
            path: layer.path.clone(),
            kind: kind(layer.kind),
            version: layer.version.clone(),
            evidence: (&layer.checked).into(),
            partition: layer.partition.as_ref().map(LayerPartition::from),
            hierarchies: layer.hierarchies.iter().cloned().collect(),
            identity: layer.identity.test(),
            attached: layer.attached.as_ref().map(Attached::from),
        }
    }
}

impl From<&Rejected> for Rejection {
    fn from(rejected: &Rejected) -> Self {
        Self {
            name: rejected.name.clone(),
            path: rejected.path.as_os_str().to_owned(),
            severity: match rejected.severity {
                Severity::Ignored => "ignored",
                Severity::Refused => "refused",
            },
            code: rejected.code,
            message: rejected.message.clone(),
            hint: rejected.hint,
            found: rejected.details.found.clone(),
            expected: rejected.details.expected.clone(),
            field: rejected.details.field,
            by: rejected.details.by.as_ref().map(|path| path.as_os_str().to_owned()),
        }
    }
}

impl From<&stack::Listed> for Listed {
    fn from(listed: &stack::Listed) -> Self {
        let entry = listed.candidate.entry.as_os_str().to_owned();
        Self { entry, layer: (&listed.layer).into(), merged: merged(listed.merged) }
    }
}

impl From<&stack::Listing> for Listing {
    fn from(listing: &stack::Listing) -> Self {
        Self { extensions: listing.extensions.iter().collect(), refused: listing.refused.iter().collect() }
    }
}

pub(crate) const fn merged(merged: Merged) -> &'static str {
    match merged {
        Merged::Yes => "yes",
        Merged::No => "no",
        Merged::Other => "other",
        Merged::Unknown => "unknown",
    }
}

pub(crate) const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Directory => "directory",
        Kind::Raw => "raw",
        Kind::Block => "block",
    }
}
