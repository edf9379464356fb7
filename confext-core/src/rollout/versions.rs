//! The store as a rollout uses it: what can be done with its versions, each call failing or not

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use super::Rollout;
use crate::error::Result;
use crate::publish::{Pruned, Version};

/// The versions of one image. The best one is used.
pub(super) trait Versions {
    /// The version that is rolled out.
    fn new_version(&self) -> &str;
    /// All, the best first.
    fn list(&self) -> Result<Vec<Version>>;
    /// Puts the new version there; says whether it was.
    fn publish(&self) -> Result<bool>;
    fn begin(&self, version: &str) -> Result<()>;
    fn good(&self, version: &str) -> Result<()>;
    fn bad(&self, version: &str) -> Result<()>;
    fn withdraw(&self, version: &str) -> Result<()>;
    fn prune(&self, keep: NonZeroUsize, used: &BTreeSet<(u64, u64)>) -> Result<Pruned>;
}

/// Those of a directory.
pub(super) struct InStore<'a> {
    pub(super) rollout: &'a Rollout<'a>,
}

impl Versions for InStore<'_> {
    fn new_version(&self) -> &str {
        &self.rollout.publish.version
    }

    fn list(&self) -> Result<Vec<Version>> {
        self.rollout.store.versions()
    }

    fn publish(&self) -> Result<bool> {
        let Rollout { store, image, publish, cancelled, progress, .. } = self.rollout;
        let mut tell = |at| {
            progress(at);
            if cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        Ok(store.publish(image, publish, &mut tell)?.was_there)
    }

    fn begin(&self, version: &str) -> Result<()> {
        self.rollout.store.begin(version).map(drop)
    }

    fn good(&self, version: &str) -> Result<()> {
        self.rollout.store.good(version).map(drop)
    }

    fn bad(&self, version: &str) -> Result<()> {
        self.rollout.store.bad(version).map(drop)
    }

    fn withdraw(&self, version: &str) -> Result<()> {
        self.rollout.store.withdraw(version).map(drop)
    }

    fn prune(&self, keep: NonZeroUsize, used: &BTreeSet<(u64, u64)>) -> Result<Pruned> {
        self.rollout.store.prune(keep, used)
    }
}
