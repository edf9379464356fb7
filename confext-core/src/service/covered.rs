//! What a unit mounts over files of its extensions: said with a plan, an explanation and a trace

use confext_ddi::unit::Covered;

use super::explain::Explanation;
use super::stack::Preview;
use crate::explain::Reason;
use crate::plan::Plan;

impl Preview {
    /// With those of a unit's mounts that are over paths which extensions change.
    #[must_use]
    pub fn with_mounts(mut self, mounts: &[Covered]) -> Self {
        let over = |mount: &&Covered| self.plans.iter().any(|plan| covers(mount, plan));
        self.covered = mounts.iter().filter(over).cloned().collect();
        self
    }
}

impl Explanation {
    /// With those of a unit's mounts that are at or below directories which extensions are merged over.
    #[must_use]
    pub fn with_mounts(mut self, mounts: &[Covered]) -> Self {
        let used = |mount: &&Covered| {
            let own = mount.hierarchy.trim_start_matches('/');
            let places = self.listed.iter().filter_map(|one| match &one.entry.reason {
                Reason::Used(place) => Some(place),
                _ => None,
            });
            places.flat_map(|place| &place.hierarchies).any(|hierarchy| hierarchy == own)
        };
        self.covered = mounts.iter().filter(used).cloned().collect();
        self
    }
}

/// Whether a mount is at, above or below a path that a plan changes.
fn covers(mount: &Covered, plan: &Plan) -> bool {
    let own = |hierarchy: &&crate::plan::Hierarchy| hierarchy.path == mount.hierarchy.trim_start_matches('/');
    let below = mount.path.strip_prefix(mount.hierarchy).unwrap_or_default().trim_start_matches('/');
    let below = std::path::Path::new(below);
    plan.hierarchies.iter().filter(own).flat_map(|hierarchy| &hierarchy.changes).any(|change| {
        use std::os::unix::ffi::OsStrExt as _;
        std::path::Path::new(std::ffi::OsStr::from_bytes(&change.path)).starts_with(below)
    })
}
