//! What becomes of an extension's name, and why

use std::ffi::OsString;

use confext_core::discover::SearchState;
use confext_core::explain::{self, Reason};

use crate::evidence::Evidence;
use crate::layer::{kind, merged};
use crate::plan::{Refusal, Veto};
use crate::record::{Tuple, record};

record! {
    /// A directory in which extensions are looked for.
    Searched {
        /// Where it is, inside the root.
        path: &'static str,
        /// `listed` or `missing`.
        state: &'static str,
    }
}

record! {
    /// Why something is not used.
    Fault {
        /// Where, inside the root.
        path: OsString,
        /// The stable code.
        code: &'static str,
        /// What was found.
        found: Option<String>,
        /// What was expected.
        expected: Option<String>,
        /// All of it in one sentence.
        message: String,
        /// What to do about it.
        hint: &'static str,
    }
}

record! {
    /// Where in the stack an extension is.
    Place {
        /// Its place, from 1 at the bottom.
        position: usize,
        /// How many there are.
        of: usize,
        /// The hierarchies it has files in.
        hierarchies: Tuple<String>,
        /// The extensions above it, the next one first.
        above: Tuple<String>,
        /// The extensions below it, the next one first.
        below: Tuple<String>,
        /// What was checked of it just now.
        evidence: Evidence,
        /// Whether it is merged, as in `Listed.merged`.
        merged: &'static str,
    }
}

record! {
    /// One entry of a search directory, and what becomes of it.
    Explained {
        /// The entry that gives the name, inside the root.
        entry: OsString,
        /// What becomes of it: `used`, `vetoed`, `shadowed`, `masked`, `other-host`, `not-an-extension`, `refused` or
        /// `undecided` (only the kernel can read its file system).
        reason: &'static str,
        /// What it leads to, links resolved and the version chosen, as far as that was found out.
        path: Option<OsString>,
        /// `directory`, `raw` or `block`.
        kind: Option<&'static str>,
        /// The version chosen from a `.v/` directory.
        version: Option<String>,
        /// For `used`: where in the stack.
        place: Option<Place>,
        /// For `vetoed`: what speaks against it.
        vetoes: Tuple<Veto>,
        /// For `shadowed`: the entry that comes first.
        by: Option<OsString>,
        /// For `other-host`: the field of its release file that says so.
        field: Option<&'static str>,
        /// Code, found and expected, for the other reasons.
        fault: Option<Fault>,
        /// For a `.v/` directory: what in it is passed over.
        passed_over: Tuple<Fault>,
    }
}

record! {
    /// A name that somebody may have meant.
    Near {
        /// The class that has it: `confext` or `sysext`.
        class_: &'static str,
        /// The name.
        name: String,
    }
}

record! {
    /// Everything that has a name, and what becomes of it.
    Explanation {
        /// `confext` or `sysext`.
        class_: &'static str,
        /// The name that was asked for.
        name: String,
        /// `used`, `not-used`, `refused` (it would be used, but nothing is merged) or `unknown`.
        verdict: &'static str,
        /// Every entry of the name in all search directories, in order of precedence.
        entries: Tuple<Explained>,
        /// The search directories, in order of precedence.
        searched: Tuple<Searched>,
        /// Why a merge would end with an error, if it would.
        refusal: Option<Refusal>,
        /// Where nothing has the name: names that are nearly the same.
        near: Tuple<Near>,
    }
}

impl From<&explain::Explanation> for Explanation {
    fn from(explanation: &explain::Explanation) -> Self {
        Self {
            class_: explanation.class.as_str(),
            name: explanation.name.clone(),
            verdict: explanation.verdict.as_str(),
            entries: explanation.entries.iter().collect(),
            searched: explanation.searched.iter().collect(),
            refusal: explanation.refusal.as_ref().map(Refusal::from),
            near: explanation.near.iter().collect(),
        }
    }
}

impl From<&explain::Explained> for Explained {
    fn from(entry: &explain::Explained) -> Self {
        let path = |path: &std::path::Path| path.as_os_str().to_owned();
        let (mut place, mut by, mut field) = (None, None, None);
        let mut vetoes = Vec::new();
        match &entry.reason {
            Reason::Used(found) => place = Some(Place::from(found)),
            Reason::Vetoed { vetoes: found } => vetoes = found.iter().map(Veto::from).collect(),
            Reason::Shadowed { by: first } => by = Some(path(first)),
            Reason::OtherHost { field: found, .. } => field = Some(*found),
            _ => {}
        }
        Self {
            entry: path(&entry.entry),
            reason: entry.reason.as_str(),
            path: entry.path.as_deref().map(path),
            kind: entry.kind.map(kind),
            version: entry.version.clone(),
            place,
            vetoes: Tuple(vetoes),
            by,
            field,
            fault: entry.reason.fault().map(Fault::from),
            passed_over: entry.passed_over.iter().collect(),
        }
    }
}

impl From<&explain::Place> for Place {
    fn from(place: &explain::Place) -> Self {
        Self {
            position: place.position,
            of: place.of,
            hierarchies: place.hierarchies.iter().cloned().collect(),
            above: place.above.iter().cloned().collect(),
            below: place.below.iter().cloned().collect(),
            evidence: (&place.checked).into(),
            merged: merged(place.merged),
        }
    }
}

impl From<&explain::Fault> for Fault {
    fn from(fault: &explain::Fault) -> Self {
        Self {
            path: fault.path.as_os_str().to_owned(),
            code: fault.code,
            found: fault.found.clone(),
            expected: fault.expected.clone(),
            message: fault.message.clone(),
            hint: fault.hint,
        }
    }
}

impl From<&explain::Near> for Near {
    fn from(near: &explain::Near) -> Self {
        Self { class_: near.class.as_str(), name: near.name.clone() }
    }
}

impl From<&confext_core::discover::Searched> for Searched {
    fn from(searched: &confext_core::discover::Searched) -> Self {
        let state = match searched.state {
            SearchState::Listed => "listed",
            SearchState::Missing => "missing",
        };
        Self { path: searched.path, state }
    }
}
