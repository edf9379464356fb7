//! How the hierarchies of a host stand.

use confext_core::state::{self, HierarchyState, Writes};

use crate::layer::Layer;
use crate::record::{Tuple, record};

record! {
    /// A property of a mount that is not what a merge gives it.
    Doubt {
        /// Which property.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    }
}

record! {
    /// Whether a hierarchy can be written to while it is merged. Paths are inside the root, without a slash at the front.
    Mutable {
        /// `no`, `yes`, `auto`, `import`, `ephemeral` or `ephemeral-import`.
        mode: &'static str,
        /// Where writes go: `nowhere` (they are refused), `directory`, `host` (the host's own directory, above all
        /// extensions) or `memory` (they are gone with the stack).
        writes: &'static str,
        /// The directory that writes go to.
        path: Option<String>,
        /// The overlay's work directory.
        work: Option<String>,
        /// The directory with what was written before, where that is only seen.
        imported: Option<String>,
    }
}

record! {
    /// How one hierarchy stands.
    Status {
        /// The class that was looked for.
        class_: &'static str,
        /// `usr`, `opt` or `etc`.
        hierarchy: &'static str,
        /// `missing` (no such directory), `bare` or `merged`.
        state: &'static str,
        /// The names of the merged extensions, bottom first.
        extensions: Tuple<String>,
        /// When it was merged, seconds since 1970.
        since: Option<i64>,
        /// The policy it was merged under; `None` when another program merged it.
        policy: Option<String>,
        /// What it is made of, bottom first; `None` when another program merged it.
        layers: Option<Tuple<Layer>>,
        /// Whether it can be written to; `None` when another program merged it.
        mutable: Option<Mutable>,
        /// Whether programs can be run from it: `by-class` (from a sysext), `allowed` or `forbidden`; `None` when another
        /// program merged it.
        execution: Option<&'static str>,
        /// Where what is mounted is not as it was written down.
        doubts: Tuple<Doubt>,
    }
}

impl From<&state::Status> for Status {
    fn from(status: &state::Status) -> Self {
        let plain = |state| Self {
            class_: status.class.as_str(),
            hierarchy: status.hierarchy,
            state,
            extensions: Tuple(Vec::new()),
            since: None,
            policy: None,
            layers: None,
            mutable: None,
            execution: None,
            doubts: Tuple(Vec::new()),
        };
        match &status.state {
            HierarchyState::Missing => plain("missing"),
            HierarchyState::Bare => plain("bare"),
            HierarchyState::Merged { extensions, since, record, doubts } => Self {
                extensions: extensions.iter().cloned().collect(),
                since: Some(*since),
                policy: record.as_ref().map(|record| record.policy.clone()),
                layers: record.as_ref().map(|record| record.layers.iter().collect()),
                mutable: record.as_ref().map(|record| (&record.mutable).into()),
                execution: record.as_ref().map(|record| record.execution.as_str()),
                doubts: doubts.iter().collect(),
                ..plain("merged")
            },
        }
    }
}

impl From<&state::Mutable> for Mutable {
    fn from(mutable: &state::Mutable) -> Self {
        let (writes, path, work) = match &mutable.writes {
            Writes::Nowhere => ("nowhere", None, None),
            Writes::Directory { path, work } => ("directory", Some(path.clone()), Some(work.clone())),
            Writes::Host { work } => ("host", None, Some(work.clone())),
            Writes::Memory => ("memory", None, None),
        };
        Self { mode: mutable.mode.as_str(), writes, path, work, imported: mutable.imported.clone() }
    }
}

impl From<&state::Doubt> for Doubt {
    fn from(doubt: &state::Doubt) -> Self {
        Self { what: doubt.what, found: doubt.found.clone(), expected: doubt.expected.clone() }
    }
}
