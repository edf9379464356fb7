//! What a merge would do, path by path.

use std::ffi::OsString;

use confext_core::plan::{self, Effect, Fate};

use crate::after::After;
use crate::argument::text;
use crate::contents::kind;
use crate::layer::{Layer, Rejection};
use crate::record::{Tuple, record};
use crate::status::Mutable;

record! {
    /// Owner and mode.
    Attributes {
        /// Permission, set-id and sticky bits.
        mode: u16,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    }
}

record! {
    /// Something that would no longer be seen.
    Shadowed {
        /// Whose it is: an extension's, or with `None` the host's.
        layer: Option<String>,
        /// What it is, as in `Stat.kind`.
        kind: &'static str,
    }
}

record! {
    /// A path that would be different.
    PathChange {
        /// Below the hierarchy.
        path: OsString,
        /// What would be there, as in `Stat.kind`.
        kind: &'static str,
        /// The extension it would come from.
        layer: String,
        /// `added`, `shadowed`, `type-changed`, `attributes-changed`, `hidden` or `opaque`.
        effect: &'static str,
        /// What was there, of another type.
        found_kind: Option<&'static str>,
        /// Owner and mode of the host's directory, where they would change.
        found: Option<Attributes>,
        /// What they would become.
        becomes: Option<Attributes>,
        /// What would no longer be seen there, topmost first.
        shadows: Tuple<Shadowed>,
    }
}

record! {
    /// A directory with files of several.
    MergedDirectory {
        /// Below the hierarchy.
        path: OsString,
        /// Whose files are in it, topmost first: extensions', or with `None` the host's.
        layers: Tuple<Option<String>>,
    }
}

record! {
    /// Why a merge would end with an error and change nothing.
    Refusal {
        /// The extension, as far as it has a name.
        name: Option<String>,
        /// The stable code.
        code: &'static str,
        /// What was found and what was expected.
        message: String,
        /// What to do about it.
        hint: &'static str,
    }
}

record! {
    /// An extension that is merged now, or would be, or both.
    LayerChange {
        /// The extension's name.
        name: String,
        /// `added`, `removed`, `replaced` (another one of its name would be merged), `rechecked` (the same one, but checked
        /// differently, or elsewhere), `kept`, or `unknown` (another program merged one of its name).
        change: &'static str,
        /// The test that says that it is another one, or the same: `root-hash`, `file`, `directory` or `content`.
        test: Option<&'static str>,
    }
}

record! {
    /// What a merge would do to one hierarchy.
    Hierarchy {
        /// `usr`, `opt` or `etc`.
        path: &'static str,
        /// The extensions with files in it, bottom first.
        layers: Tuple<String>,
        /// Every path that would be different, sorted by its bytes.
        changes: Tuple<PathChange>,
        /// Directories with files of several, sorted by their bytes.
        merged: Tuple<MergedDirectory>,
        /// Where writes would go, and what was written before would be seen.
        mutable: Mutable,
    }
}

record! {
    /// Something that speaks against a merge, and stops it unless `Host(allow=…)` names its code.
    Veto {
        /// The stable code.
        code: &'static str,
        /// The extension.
        layer: String,
        /// The hierarchy.
        hierarchy: &'static str,
        /// Below the hierarchy.
        path: OsString,
        /// What the extension has there.
        found: String,
        /// What would be no objection.
        expected: String,
        /// Whether `Host(allow=…)` lets it pass.
        allowed: bool,
    }
}

record! {
    /// What a merge would do.
    Plan {
        /// `confext` or `sysext`.
        class_: &'static str,
        /// The hierarchies that would be merged.
        hierarchies: Tuple<Hierarchy>,
        /// What speaks against it.
        vetoes: Tuple<Veto>,
        /// What was found and would not be used.
        refused: Tuple<Rejection>,
        /// The extensions of the stack, bottom first.
        layers: Tuple<Layer>,
        /// What becomes of each extension, compared with what is merged now: the stack that would be, bottom first, then
        /// those that would go.
        layer_changes: Tuple<LayerChange>,
        /// Why a merge would end with an error, if it would.
        refusal: Option<Refusal>,
        /// Who has to hear of it, compared with what is merged now.
        after: After,
    }
}

impl From<&plan::Plan> for Plan {
    fn from(plan: &plan::Plan) -> Self {
        Self {
            class_: plan.class.as_str(),
            hierarchies: plan.hierarchies.iter().collect(),
            vetoes: plan.vetoes.iter().collect(),
            refused: plan.refused.iter().collect(),
            layers: plan.layers.iter().collect(),
            layer_changes: plan.layer_changes.iter().collect(),
            refusal: plan.refusal.as_ref().map(Refusal::from),
            after: (&plan.after).into(),
        }
    }
}

impl From<&plan::Hierarchy> for Hierarchy {
    fn from(hierarchy: &plan::Hierarchy) -> Self {
        Self {
            path: hierarchy.path,
            layers: hierarchy.layers.iter().cloned().collect(),
            changes: hierarchy.changes.iter().collect(),
            merged: hierarchy.merged.iter().collect(),
            mutable: (&hierarchy.mutable).into(),
        }
    }
}

impl From<&plan::LayerChange> for LayerChange {
    fn from(changed: &plan::LayerChange) -> Self {
        let (change, test) = match changed.fate {
            Fate::Added => ("added", None),
            Fate::Removed => ("removed", None),
            Fate::Replaced { test } => ("replaced", Some(test)),
            Fate::Rechecked => ("rechecked", None),
            Fate::Kept { test } => ("kept", Some(test)),
            _ => ("unknown", None),
        };
        Self { name: changed.name.clone(), change, test }
    }
}

impl From<&plan::MergedDirectory> for MergedDirectory {
    fn from(directory: &plan::MergedDirectory) -> Self {
        Self { path: text(&directory.path), layers: directory.layers.iter().cloned().collect() }
    }
}

impl From<&plan::Refusal> for Refusal {
    fn from(refusal: &plan::Refusal) -> Self {
        Self {
            name: refusal.name.clone(),
            code: refusal.code,
            message: refusal.message.clone(),
            hint: refusal.hint,
        }
    }
}

impl From<&plan::Change> for PathChange {
    fn from(change: &plan::Change) -> Self {
        let mut found_kind = None;
        let (mut found, mut becomes) = (None, None);
        let effect = match &change.effect {
            Effect::Added => "added",
            Effect::Shadowed => "shadowed",
            Effect::TypeChanged { found } => {
                found_kind = Some(kind(*found));
                "type-changed"
            }
            Effect::AttributesChanged { found: before, becomes: after } => {
                (found, becomes) = (Some(before.into()), Some(after.into()));
                "attributes-changed"
            }
            Effect::Hidden => "hidden",
            Effect::Opaque => "opaque",
            _ => "other",
        };
        Self {
            path: text(&change.path),
            kind: kind(change.file_type),
            layer: change.layer.clone(),
            effect,
            found_kind,
            found,
            becomes,
            shadows: change.shadows.iter().collect(),
        }
    }
}

impl From<&plan::Attributes> for Attributes {
    fn from(attributes: &plan::Attributes) -> Self {
        Self { mode: attributes.mode, uid: attributes.uid, gid: attributes.gid }
    }
}

impl From<&plan::Shadowed> for Shadowed {
    fn from(shadowed: &plan::Shadowed) -> Self {
        Self { layer: shadowed.layer.clone(), kind: kind(shadowed.file_type) }
    }
}

impl From<&plan::Veto> for Veto {
    fn from(veto: &plan::Veto) -> Self {
        Self {
            code: veto.kind.code(),
            layer: veto.layer.clone(),
            hierarchy: veto.hierarchy,
            path: text(&veto.path),
            found: veto.found.clone(),
            expected: veto.expected.clone(),
            allowed: veto.allowed,
        }
    }
}
