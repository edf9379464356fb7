//! [`Extensions`]: what a unit of systemd says of the extensions of its service: images, directories, policy, reload.
//!
//! Units say it with `ExtensionImages=`, `ExtensionDirectories=`, `ExtensionImagePolicy=` and `RefreshOnReload=`.
//!
//! ```text
//!  file of a unit, its drop-ins ─► Assignment… ─► Service: Extensions, Root, Reload ─► lines of a drop-in
//!                              parse          assign                             Extensions::lines
//! ```
//!
//! What systemd would skip with a warning is refused here, with file, line and item: a service that starts without one of
//! its extensions has another configuration than it was given.
//!
//! *Spec*: systemd.exec(5), systemd.service(5).

mod file;
mod name;
mod parse;
mod service;
mod specifier;
mod word;

pub use file::{Assignment, Place, parse};
pub use name::Name;
pub use service::{Covered, Reload, Root, Service};
pub use specifier::Specifiers;

use serde::Serialize;

use crate::dps::Designator;
use crate::policy::Policy;
use crate::release::Strictness;
use crate::vpick::{Accept, Pattern};

/// The extensions that a service is to have.
///
/// ```
/// use confext_ddi::Limits;
/// use confext_ddi::unit::{Assignment, Extensions, Name, Specifiers};
///
/// let unit = Name::parse("nginx.service")?;
/// let mut extensions = Extensions::default();
/// let setting = Assignment::new("Service", "ExtensionImages", "-/var/lib/%N.raw.v");
/// extensions.assign(&setting, &Specifiers::new(&unit), &Limits::default())?;
/// let paths: Vec<_> = extensions.bottom_first().map(|entry| entry.path.as_str()).collect();
/// assert_eq!(paths, ["/var/lib/nginx.raw.v"]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Extensions {
    /// `ExtensionImages=`, as listed.
    pub images: Vec<Entry>,
    /// `ExtensionDirectories=`, as listed.
    pub directories: Vec<Entry>,
    /// `ExtensionImagePolicy=`; `None` where it is not set.
    pub policy: Option<Policy>,
    /// `RefreshOnReload=`.
    pub refresh_on_reload: RefreshOnReload,
}

impl Extensions {
    /// These images and these directories, and nothing else said.
    #[must_use]
    pub fn of(images: impl IntoIterator<Item = Entry>, directories: impl IntoIterator<Item = Entry>) -> Self {
        let (images, directories) = (images.into_iter().collect(), directories.into_iter().collect());
        Self { images, directories, ..Self::default() }
    }

    /// All of them, the lowest first: the images as listed, then the directories as listed. What comes later hides what
    /// comes earlier.
    ///
    /// *Spec*: systemd.exec(5), `ExtensionDirectories=`.
    pub fn bottom_first(&self) -> impl Iterator<Item = &Entry> {
        self.images.iter().chain(&self.directories)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.images.is_empty() && self.directories.is_empty()
    }

    /// Whether systemd looks for new versions when the service reloads. It can only where the path of at least one of them
    /// stands for the best of many.
    #[must_use]
    pub fn is_refreshed_on_reload(&self) -> bool {
        let wanted = match self.refresh_on_reload {
            RefreshOnReload::Default => true,
            RefreshOnReload::Explicit { extensions, .. } => extensions,
        };
        wanted && self.bottom_first().any(Entry::is_versioned)
    }
}

/// One extension of a service, as its unit names it.
///
/// ```
/// use confext_ddi::unit::Entry;
///
/// let entry = Entry::image("/var/lib/confexts/app.raw.v").or_skipped();
/// assert!(entry.is_versioned());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its absolute path on the host, whatever root the service has; it can end in `.v` or have a part in a `.v` directory.
    pub path: String,
    /// An image or a directory.
    pub kind: EntryKind,
    /// What happens when there is none.
    pub if_missing: IfMissing,
    /// Mount options of an image, by partition, in the order they are written.
    pub options: Vec<(Designator, String)>,
    /// Which release files are taken.
    pub strictness: Strictness,
}

impl Entry {
    /// An image that has to be there, without options.
    #[must_use]
    pub fn image(path: impl Into<String>) -> Self {
        Self::new(path.into(), EntryKind::Image)
    }

    /// A directory that has to be there.
    #[must_use]
    pub fn directory(path: impl Into<String>) -> Self {
        Self::new(path.into(), EntryKind::Directory)
    }

    /// The same, done without where it is missing.
    #[must_use]
    pub fn or_skipped(self) -> Self {
        Self { if_missing: IfMissing::Skip, ..self }
    }

    /// The same with mount options. The one about release files is taken out of them, and counts as
    /// [`Strictness::Relaxed`].
    #[must_use]
    pub fn with_options(self, options: Vec<(Designator, String)>) -> Self {
        let mut entry = Self { options, ..self };
        parse::relax(&mut entry);
        entry
    }

    fn new(path: String, kind: EntryKind) -> Self {
        let (if_missing, strictness) = (IfMissing::Refuse, Strictness::Strict);
        Self { path, kind, if_missing, options: Vec::new(), strictness }
    }

    /// What the path asks for: a file, or the best of many.
    ///
    /// # Errors
    ///
    /// Those of [`Pattern::parse`].
    pub fn pattern(&self) -> crate::Result<Pattern> {
        let (suffix, accept) = match self.kind {
            EntryKind::Image => (".raw", Accept::Raw),
            EntryKind::Directory => ("", Accept::Directory),
        };
        Pattern::parse(self.path.as_bytes(), suffix.as_bytes(), accept)
    }

    /// Whether the path stands for the best of many.
    #[must_use]
    pub fn is_versioned(&self) -> bool {
        matches!(self.pattern(), Ok(Pattern::Versioned { .. }))
    }
}

/// Which of the two lists an extension is from.
///
/// ```
/// use confext_ddi::unit::{Entry, EntryKind, Extensions};
///
/// let images = [Entry::image("/var/lib/app.raw")];
/// let extensions = Extensions::of(images, [Entry::directory("/srv/app")]);
/// let kinds: Vec<_> = extensions.bottom_first().map(|entry| entry.kind).collect();
/// assert_eq!(kinds, [EntryKind::Image, EntryKind::Directory]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// `ExtensionImages=`.
    Image,
    /// `ExtensionDirectories=`.
    Directory,
}

/// What happens when an extension is missing, or no version of it fits.
///
/// ```
/// use confext_ddi::unit::{Entry, IfMissing};
///
/// let entry = Entry::image("/var/lib/app.raw");
/// assert_eq!(entry.if_missing, IfMissing::Refuse);
/// // As a unit says it.
/// assert_eq!(entry.or_skipped().item()?, "-/var/lib/app.raw");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfMissing {
    /// The service does not start.
    #[default]
    Refuse,
    /// It is left out: `-` before the path.
    Skip,
}

/// What is read again when a service reloads.
///
/// ```
/// use confext_ddi::Limits;
/// use confext_ddi::unit::{Assignment, Extensions, Name, RefreshOnReload, Specifiers};
///
/// let mut extensions = Extensions::default();
/// let setting = Assignment::new("Service", "RefreshOnReload", "extensions");
/// let specifiers = Specifiers::new(&Name::parse("app.service")?);
/// extensions.assign(&setting, &specifiers, &Limits::default())?;
/// let expected = RefreshOnReload::Explicit { extensions: true, credentials: false };
/// assert_eq!(extensions.refresh_on_reload, expected);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshOnReload {
    /// The unit does not say: extensions, where the service can.
    #[default]
    Default,
    /// The unit says it.
    Explicit {
        /// New versions of extensions.
        extensions: bool,
        /// Credentials.
        credentials: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_over_images_and_the_last_is_on_top() {
        let extensions = Extensions {
            images: vec![Entry::image("/a.raw"), Entry::image("/b.raw")],
            directories: vec![Entry::directory("/c").or_skipped()],
            ..Extensions::default()
        };
        let paths: Vec<_> = extensions.bottom_first().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["/a.raw", "/b.raw", "/c"]);
        assert!(!extensions.is_empty() && !extensions.is_refreshed_on_reload());
        assert!(Extensions::default().is_empty());
    }

    #[test]
    fn a_reload_looks_for_versions_where_there_can_be_some() {
        for (entry, versioned) in [
            (Entry::image("/a.v"), true),
            (Entry::image("/a.v/"), true),
            (Entry::image("/a.raw.v"), true),
            (Entry::image("/a.v/b___.raw"), true),
            (Entry::directory("/a.v/b___"), true),
            (Entry::image("/a.raw"), false),
            (Entry::directory("/a.v/b"), false),
        ] {
            let mut extensions = Extensions { images: vec![entry.clone()], ..Extensions::default() };
            assert_eq!(extensions.is_refreshed_on_reload(), versioned, "{entry:?}");
            extensions.refresh_on_reload = RefreshOnReload::Explicit { extensions: false, credentials: true };
            assert!(!extensions.is_refreshed_on_reload());
        }
    }
}
