//! What a merge, refresh or unmerge came to.

use confext_core::stack::{self, Change as Changed, Outcome};

use crate::after::{After, Told};
use crate::layer::{Layer, Rejection};
use crate::record::{Tuple, record};

record! {
    /// A difference between a merged stack and what a refresh merges.
    Change {
        /// `added`, `removed`, `replaced`, `rechecked`, `attached`, `checks`, `policy`, `execution`, `mutability`, `hierarchy`, `below`, `interrupted`, `unknown` or `asked`.
        kind: &'static str,
        /// The extension, or the hierarchy.
        name: Option<String>,
        /// The test that says that an extension is another one: `root-hash`, `file`, `directory` or `content`.
        test: Option<&'static str>,
        /// The policy, the mode, or the way to attach or to run programs, before.
        found: Option<String>,
        /// The same, now.
        expected: Option<String>,
    }
}

record! {
    /// How it was decided that an extension is the same as before.
    Decision {
        /// The extension.
        name: String,
        /// `root-hash`, `file`, `directory` or `content`.
        test: &'static str,
    }
}

record! {
    /// What was done, and with what.
    Report {
        /// `confext` or `sysext`.
        class_: &'static str,
        /// `merged`, `refreshed`, `unchanged`, `unmerged` or `nothing` (there was nothing to do).
        outcome: &'static str,
        /// Why the stack from before was no longer right, when it was refreshed.
        because: Tuple<Change>,
        /// Why the stack is still right, when it is unchanged.
        decided_by: Tuple<Decision>,
        /// The hierarchies that are merged now.
        hierarchies: Tuple<String>,
        /// Of these, the ones that other mount namespaces receive, too.
        propagated: Tuple<String>,
        /// Of these, the ones in which files were missing for a moment; only with `Host(exchange='gap-allowed')`.
        gaps: Tuple<String>,
        /// The extensions of the stack that is there now, bottom first.
        layers: Tuple<Layer>,
        /// What was found and is not used.
        refused: Tuple<Rejection>,
        /// Who has to hear of the change.
        after: After,
        /// What could not be removed after the change, with the reason.
        left_behind: Tuple<String>,
        /// What came of `reload=True`; `None` when nothing was told.
        told: Option<Told>,
    }
}

impl From<&stack::Report> for Report {
    fn from(report: &stack::Report) -> Self {
        let (outcome, because, decided_by) = reasons(&report.outcome);
        Self {
            class_: report.class.as_str(),
            outcome,
            because: because.iter().collect(),
            decided_by: decided_by.iter().collect(),
            hierarchies: report.hierarchies.iter().cloned().collect(),
            propagated: report.propagated.iter().cloned().collect(),
            gaps: report.gaps.iter().cloned().collect(),
            layers: report.layers.iter().collect(),
            refused: report.refused.iter().collect(),
            after: (&report.after).into(),
            left_behind: report.left_behind.iter().cloned().collect(),
            told: report.told.as_ref().map(Told::from),
        }
    }
}

/// An outcome as one word, why something was done, and why nothing was.
pub(crate) fn reasons(outcome: &Outcome) -> (&'static str, &[Changed], &[stack::Test]) {
    match outcome {
        Outcome::Merged => ("merged", &[], &[]),
        Outcome::Refreshed { because } => ("refreshed", because, &[]),
        Outcome::Unchanged { decided_by } => ("unchanged", &[], decided_by),
        Outcome::Unmerged => ("unmerged", &[], &[]),
        Outcome::Nothing => ("nothing", &[], &[]),
    }
}

impl From<&stack::Test> for Decision {
    fn from(test: &stack::Test) -> Self {
        Self { name: test.name.clone(), test: test.test }
    }
}

impl From<&Changed> for Change {
    fn from(change: &Changed) -> Self {
        let plain = |kind| Self { kind, name: None, test: None, found: None, expected: None };
        let named = |kind, name: &String| Self { name: Some(name.clone()), ..plain(kind) };
        match change {
            Changed::Added { name } => named("added", name),
            Changed::Removed { name } => named("removed", name),
            Changed::Replaced { name, test } => Self { test: Some(test), ..named("replaced", name) },
            Changed::Rechecked { name } => named("rechecked", name),
            Changed::Attached { name, found, expected } => Self {
                found: Some(found.as_str().to_owned()),
                expected: Some(expected.as_str().to_owned()),
                ..named("attached", name)
            },
            Changed::Checks { name, found, expected } => Self {
                found: Some(found.to_string()),
                expected: Some(expected.to_string()),
                ..named("checks", name)
            },
            Changed::Policy { found, expected } => {
                Self { found: Some(found.clone()), expected: Some(expected.clone()), ..plain("policy") }
            }
            Changed::Execution { found, expected } => Self {
                found: Some(found.as_str().to_owned()),
                expected: Some(expected.as_str().to_owned()),
                ..plain("execution")
            },
            Changed::Mutability { found, expected } => Self {
                found: Some(found.as_str().to_owned()),
                expected: Some(expected.as_str().to_owned()),
                ..plain("mutability")
            },
            Changed::Hierarchy { hierarchy } => named("hierarchy", hierarchy),
            Changed::Below => plain("below"),
            Changed::Interrupted => plain("interrupted"),
            Changed::Asked => plain("asked"),
            _ => plain("unknown"),
        }
    }
}
