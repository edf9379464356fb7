//! The words of a policy.

use serde::Serialize;

/// How a partition is protected, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Not at all.
    None,
    /// By a hash tree: nobody changed it after somebody built it.
    Verity,
    /// By a hash tree whose root hash is signed by a trusted key.
    Signed,
}

impl Protection {
    /// `none`, `verity` or `signed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Verity => "verity",
            Self::Signed => "signed",
        }
    }
}

impl std::fmt::Display for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
