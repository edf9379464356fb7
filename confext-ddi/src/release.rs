//! `os-release` and `extension-release`: parse, look up, match against a host.
//!
//! An extension says in its `extension-release.NAME` which hosts it is for; [`find`] looks that file up in an image,
//! [`Host::admits`] compares it with the host's `os-release`, and [`check_content`] refuses an image that would replace
//! the very file the comparison is made with.

mod find;
mod host;
mod kind;
mod parse;

pub(crate) use find::read;
pub use find::{Found, Strictness, base_name, check_content, find, is_valid_image_name, os_release};
pub use host::{Host, Scope, matches};
pub use kind::ImageKind;
pub use parse::Release;

use serde::{Deserialize, Serialize};

/// What kind of extension an image is.
///
/// ```
/// use confext_ddi::release::Class;
///
/// assert_eq!(Class::Confext.hierarchies(), ["etc"]);
/// assert_eq!(Class::Sysext.release_directory(), "usr/lib/extension-release.d");
/// ```
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

    /// The key of the extension's API level: `SYSEXT_LEVEL` or `CONFEXT_LEVEL`.
    #[must_use]
    pub const fn level_key(self) -> &'static str {
        match self {
            Self::Sysext => "SYSEXT_LEVEL",
            Self::Confext => "CONFEXT_LEVEL",
        }
    }

    /// The key of the scopes an extension is for: `SYSEXT_SCOPE` or `CONFEXT_SCOPE`.
    #[must_use]
    pub const fn scope_key(self) -> &'static str {
        match self {
            Self::Sysext => "SYSEXT_SCOPE",
            Self::Confext => "CONFEXT_SCOPE",
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
