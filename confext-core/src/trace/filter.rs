//! [`Filter`]: which answers somebody wants who asks from the other end, by image or by signer.

use super::{Answer, Origin, Source};
use crate::state::Checked;

/// Which paths of a tree are wanted.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trace::{Filter, Options, Tracer};
/// use confext_ddi::release::Class;
///
/// let tracer = Tracer::planned(&host, &[Class::Confext], &options, &Options::default())?;
/// let wanted = Filter::Image("site".to_owned());
/// let mut paths = tracer.tree().filter_map(Result::ok).filter(|origin| wanted.wants(origin));
/// assert!(paths.any(|origin| origin.path.ends_with("etc/motd")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Filter {
    /// All.
    #[default]
    All,
    /// Those from one image: by the extension's name, the path of the image, or the name of its file.
    Image(String),
    /// Those from images of one signer: by the fingerprint of the certificate, or by its subject.
    Signer(String),
    /// Those that nothing vouches for: from an image without a hash tree or a directory, written after the merge, or of
    /// which it cannot be told. What the host has is not among them.
    Unverified,
}

impl Filter {
    /// Whether a path is wanted. A directory is when one of those that have it is; of [`Filter::Unverified`], when the one
    /// is that gives it owner and mode.
    #[must_use]
    pub fn wants(&self, origin: &Origin) -> bool {
        if *self == Self::All {
            return true;
        }
        match &origin.answer {
            Answer::Layer { source, .. } | Answer::Hidden { source, .. } => self.wants_source(source),
            Answer::Directory { sources, .. } if *self == Self::Unverified => {
                sources.first().is_some_and(|source| self.wants_source(source))
            }
            Answer::Directory { sources, .. } => sources.iter().any(|source| self.wants_source(source)),
            Answer::CopiedUp { .. }
            | Answer::Written { .. }
            | Answer::Deleted { .. }
            | Answer::CannotTell { .. } => *self == Self::Unverified,
            _ => false,
        }
    }

    /// Whether what is from an extension is wanted.
    #[must_use]
    pub fn wants_source(&self, source: &Source) -> bool {
        match self {
            Self::All => true,
            Self::Image(wanted) => {
                let file = source.image.rsplit('/').next();
                *wanted == source.layer || *wanted == source.image || Some(wanted.as_str()) == file
            }
            Self::Signer(wanted) => match &source.checked {
                Checked::Signed { by, .. } => {
                    by.subject == *wanted
                        || by.fingerprint.as_ref().is_some_and(|known| is_fingerprint(wanted, known))
                }
                Checked::None | Checked::Verity { .. } => false,
            },
            Self::Unverified => source.checked == Checked::None,
        }
    }
}

/// Fingerprints are written in either case, and with colons.
fn is_fingerprint(wanted: &str, fingerprint: &str) -> bool {
    let plain = |text: &str| text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
    plain(wanted) == plain(fingerprint)
}

#[cfg(test)]
mod tests;
