//! [`BlockChecks`]: what dm-verity checks, and what it does about blocks that do not check.

use serde::{Deserialize, Serialize};

use crate::dmverity::{self, Checks, Corruption, ZeroBlocks};

/// What dm-verity checks, and what it does about blocks that do not check.
///
/// ```
/// use confext_core::attach::BlockChecks;
/// use confext_core::dmverity::{Checks, Corruption};
///
/// let checks = BlockChecks::default().corruption(Corruption::Restart).checks(Checks::Once);
/// assert_eq!(checks.to_string(), "on corruption restart, checks once, zero blocks check");
///
/// // So that a merge asks for it:
/// let mut options = confext_core::Options::default();
/// options.checks = checks;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BlockChecks {
    /// What happens when a block does not check. Default: reading it fails.
    pub corruption: Corruption,
    /// How often a block is checked. Default: each time it is read from the file.
    pub checks: Checks,
    /// What is done about blocks that are to be all zeros. Default: they are read and checked as others.
    pub zero_blocks: ZeroBlocks,
}

impl BlockChecks {
    /// Sets what happens when a block does not check.
    #[must_use]
    pub const fn corruption(mut self, corruption: Corruption) -> Self {
        self.corruption = corruption;
        self
    }

    /// Sets how often a block is checked.
    #[must_use]
    pub const fn checks(mut self, checks: Checks) -> Self {
        self.checks = checks;
        self
    }

    /// Sets what is done about blocks that are to be all zeros.
    #[must_use]
    pub const fn zero_blocks(mut self, zero_blocks: ZeroBlocks) -> Self {
        self.zero_blocks = zero_blocks;
        self
    }

    pub(super) fn options<'a>(self) -> dmverity::Options<'a> {
        let Self { corruption, checks, zero_blocks } = self;
        dmverity::Options::default().corruption(corruption).checks(checks).zero_blocks(zero_blocks)
    }
}

impl std::fmt::Display for BlockChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { corruption, checks, zero_blocks } = self;
        write!(f, "on corruption {}, checks {}, ", corruption.as_str(), checks.as_str())?;
        write!(f, "zero blocks {}", zero_blocks.as_str())
    }
}
