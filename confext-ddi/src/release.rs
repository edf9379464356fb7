//! `os-release` and `extension-release`: parse, look up, match against a host.

use serde::{Deserialize, Serialize};

/// What kind of extension an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A system extension: `/usr` and `/opt`.
    Sysext,
    /// A configuration extension: `/etc`.
    Confext,
}

impl Class {
    /// `sysext` or `confext`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sysext => "sysext",
            Self::Confext => "confext",
        }
    }

    /// The directories an extension of this class merges over, relative to the root, in order.
    #[must_use]
    pub const fn hierarchies(self) -> &'static [&'static str] {
        match self {
            Self::Sysext => &["usr", "opt"],
            Self::Confext => &["etc"],
        }
    }

    /// Where the image keeps its `extension-release.NAME`, relative to its root.
    #[must_use]
    pub const fn release_directory(self) -> &'static str {
        match self {
            Self::Sysext => "usr/lib/extension-release.d",
            Self::Confext => "etc/extension-release.d",
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
