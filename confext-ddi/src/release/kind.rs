//! What an image is: its partition, its release file, and what it may hold.

use super::Class;
use crate::dps::Designator;
use serde::{Deserialize, Serialize};

/// What an image is for.
///
/// ```
/// use confext_ddi::{dps::Designator, release::{Class, ImageKind}};
///
/// let kind = ImageKind::from_name("usr");
/// assert_eq!(kind.map(ImageKind::designator), Some(Designator::Usr));
/// assert_eq!(kind.and_then(ImageKind::class), None);
/// assert_eq!(ImageKind::from(Class::Confext).class(), Some(Class::Confext));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ImageKind {
    /// A system extension: `/usr` and `/opt`.
    Sysext,
    /// A configuration extension: `/etc`.
    Confext,
    /// A portable service: a small operating system tree with the units that run in it.
    Portable,
    /// The root file system of an operating system.
    Root,
    /// The `/usr` of an operating system: the root of the image is what the host mounts at `/usr`.
    Usr,
}

impl ImageKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sysext, Self::Confext, Self::Portable, Self::Root, Self::Usr];

    /// `sysext`, `confext`, `portable`, `root` or `usr`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sysext => "sysext",
            Self::Confext => "confext",
            Self::Portable => "portable",
            Self::Root => "root",
            Self::Usr => "usr",
        }
    }

    /// Looks a kind up by its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The class of an extension; `None` for images that stand by themselves.
    #[must_use]
    pub const fn class(self) -> Option<Class> {
        match self {
            Self::Sysext => Some(Class::Sysext),
            Self::Confext => Some(Class::Confext),
            Self::Portable | Self::Root | Self::Usr => None,
        }
    }

    /// The partition its files are in.
    #[must_use]
    pub const fn designator(self) -> Designator {
        match self {
            Self::Usr => Designator::Usr,
            Self::Sysext | Self::Confext | Self::Portable | Self::Root => Designator::Root,
        }
    }

    /// Where the root of the image appears on a host: `usr` for the content of `/usr`, else nothing.
    #[must_use]
    pub const fn mount_point(self) -> &'static str {
        match self {
            Self::Usr => "usr",
            Self::Sysext | Self::Confext | Self::Portable | Self::Root => "",
        }
    }

    /// Where the release file of the image `name` may be, relative to its root: the first that exists counts.
    ///
    /// *Spec*: UAPI.4 for extensions, os-release(5) for the others.
    #[must_use]
    pub fn release_paths(self, name: &str) -> Vec<String> {
        match (self.class(), self) {
            (Some(class), _) => vec![format!("{}/extension-release.{name}", class.release_directory())],
            (None, Self::Usr) => vec!["lib/os-release".to_owned()],
            (None, _) => vec!["etc/os-release".to_owned(), "usr/lib/os-release".to_owned()],
        }
    }
}

impl From<Class> for ImageKind {
    fn from(class: Class) -> Self {
        match class {
            Class::Sysext => Self::Sysext,
            Class::Confext => Self::Confext,
        }
    }
}

impl std::fmt::Display for ImageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
