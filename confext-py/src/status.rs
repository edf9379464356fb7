//! How the hierarchies of a host stand.

use confext_core::state::{self, HierarchyState};

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
                doubts: doubts.iter().collect(),
                ..plain("merged")
            },
        }
    }
}

impl From<&state::Doubt> for Doubt {
    fn from(doubt: &state::Doubt) -> Self {
        Self { what: doubt.what, found: doubt.found.clone(), expected: doubt.expected.clone() }
    }
}
