//! [`Error`]: families by who is at fault, each fault with a stable code, the numbers that failed, and what to do next.
//!
//! All user-visible error text of the crate is here and in the family files below. `docs/errors.md` lists every code;
//! a test compares the two.

use std::borrow::Cow;

/// Declares one family: an enum whose variants carry the numbers that failed, with code, text and advice in one place.
macro_rules! family {
    (
        $(#[$meta:meta])* $name:ident {
            $( $(#[$vmeta:meta])* $variant:ident $({ $( $(#[$fmeta:meta])* $field:ident : $type:ty ),+ $(,)? })?
                = $code:literal, $text:literal, $hint:literal; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$vmeta])* #[doc = ""] #[doc = concat!("Code `", $code, "`. ", $hint)]
               #[error($text)]
               $variant $({ $( $(#[$fmeta])* #[allow(missing_docs, reason = "named by the message")] $field: $type ),+ })?, )*
        }

        impl $name {
            /// Every code of this family with its advice, in the order of declaration.
            pub const CODES: &'static [(&'static str, &'static str)] = &[ $( ($code, $hint) ),* ];

            /// The stable code: kebab-case, listed in `docs/errors.md`.
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $code ),* }
            }

            /// What to do about it, one sentence.
            #[must_use]
            pub const fn hint(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $hint ),* }
            }
        }
    };
}

mod corrupt;
mod limit;
mod lookup;
mod refused;
mod unsupported;
mod unverified;

pub use corrupt::Corrupt;
pub use limit::LimitExceeded;
pub use lookup::Lookup;
pub use refused::Refused;
pub use unsupported::Unsupported;
pub use unverified::Unverified;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where in an image a fault was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    segments: Vec<Cow<'static, str>>,
    offset: Option<u64>,
}

/// What went wrong, by who is at fault.
///
/// ```
/// use confext_ddi::error::Fault;
/// use confext_ddi::{Limits, signature::Json};
///
/// let mut limits = Limits::default();
/// limits.signature_bytes = 16;
/// let error = Json::parse(&[b' '; 17], &limits).unwrap_err();
/// // Is it worth to try again with other limits?
/// assert!(matches!(error.fault(), Fault::Limit(_)));
/// assert_eq!((error.family(), error.code()), ("limit", "limit-bytes"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Reading or writing failed.
    Io(std::io::Error),
    /// Their bytes break the specification.
    Corrupt(Corrupt),
    /// The bytes may be fine, this library cannot deal with them.
    Unsupported(Unsupported),
    /// A hash or signature does not check. Never retried, never downgraded.
    Unverified(Unverified),
    /// Policy or host match says no.
    Refused(Refused),
    /// A cap of [`Limits`](crate::Limits) was reached.
    Limit(LimitExceeded),
    /// The question is at fault: what was asked for is not there, or cannot be asked for.
    Lookup(Lookup),
}

/// An error of this crate: a [`Fault`] and where it was found ([`Error::path`], [`Error::offset`]).
///
/// ```
/// use confext_ddi::image::{self, Image};
///
/// let error = Image::open([0_u8; 4096].as_slice(), &image::Options::default()).map(drop).unwrap_err();
/// println!("[{}] {error}; {}", error.code(), error.hint());
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    fault: Fault,
    place: Place,
}

impl Error {
    /// What went wrong.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// The stable code: kebab-case, listed in `docs/errors.md`; `io` for a failed read or write.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match &self.0.fault {
            Fault::Io(_) => "io",
            Fault::Corrupt(fault) => fault.code(),
            Fault::Unsupported(fault) => fault.code(),
            Fault::Unverified(fault) => fault.code(),
            Fault::Refused(fault) => fault.code(),
            Fault::Limit(fault) => fault.code(),
            Fault::Lookup(fault) => fault.code(),
        }
    }

    /// The family's name: `io`, `corrupt`, `unsupported`, `unverified`, `refused`, `limit` or `lookup`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match &self.0.fault {
            Fault::Io(_) => "io",
            Fault::Corrupt(_) => "corrupt",
            Fault::Unsupported(_) => "unsupported",
            Fault::Unverified(_) => "unverified",
            Fault::Refused(_) => "refused",
            Fault::Limit(_) => "limit",
            Fault::Lookup(_) => "lookup",
        }
    }

    /// What to do about it, one sentence.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match &self.0.fault {
            Fault::Io(_) => "check that the file exists, can be read, and that its device is healthy",
            Fault::Corrupt(fault) => fault.hint(),
            Fault::Unsupported(fault) => fault.hint(),
            Fault::Unverified(fault) => fault.hint(),
            Fault::Refused(fault) => fault.hint(),
            Fault::Limit(fault) => fault.hint(),
            Fault::Lookup(fault) => fault.hint(),
        }
    }

    /// The byte offset in the image (or in the innermost source known), where it is known.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.place.offset
    }

    /// A path like `root-verity/superblock` that says which part of the image the fault is in; empty when not known.
    #[must_use]
    pub fn path(&self) -> String {
        self.0.place.segments.iter().rev().map(AsRef::as_ref).collect::<Vec<&str>>().join("/")
    }

    /// Puts `part` in front of the path: called by each stage with its own name as the error passes through.
    #[must_use]
    pub fn within(mut self, part: impl Into<Cow<'static, str>>) -> Self {
        self.0.place.segments.push(part.into());
        self
    }

    /// Sets the offset, unless one nearer to the fault is known.
    #[must_use]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.0.place.offset.get_or_insert(offset);
        self
    }

    /// Moves a known offset by the start of the part it is relative to.
    #[must_use]
    pub fn shifted(mut self, start: u64) -> Self {
        self.0.place.offset = self.0.place.offset.map(|offset| offset.saturating_add(start));
        self
    }

    fn from_fault(fault: Fault) -> Self {
        Self(Box::new(Inner { fault, place: Place::default() }))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(_) => f.write_str("input/output failed"),
            Self::Corrupt(fault) => fault.fmt(f),
            Self::Unsupported(fault) => fault.fmt(f),
            Self::Unverified(fault) => fault.fmt(f),
            Self::Refused(fault) => fault.fmt(f),
            Self::Limit(fault) => fault.fmt(f),
            Self::Lookup(fault) => fault.fmt(f),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path();
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        self.0.fault.fmt(f)?;
        match self.0.place.offset {
            Some(offset) => write!(f, " (at byte {offset})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.fault {
            Fault::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::from_fault(Fault::Io(error))
    }
}

macro_rules! from_family {
    ($($family:ident => $variant:ident),*) => {$(
        impl From<$family> for Error {
            fn from(fault: $family) -> Self {
                Self::from_fault(Fault::$variant(fault))
            }
        }
    )*};
}
from_family!(
    Corrupt => Corrupt, Unsupported => Unsupported, Unverified => Unverified, Refused => Refused,
    LimitExceeded => Limit, Lookup => Lookup
);

/// Adds the place to an error as it passes through.
///
/// ```
/// use confext_ddi::{RootHash, error::ResultExt as _};
///
/// let parsed = RootHash::parse("no hash").within("release.json");
/// assert_eq!(parsed.unwrap_err().path(), "release.json");
/// ```
pub trait ResultExt<T> {
    /// Puts `part` in front of the error's path.
    ///
    /// # Errors
    ///
    /// The same error, with its place.
    fn within(self, part: impl Into<Cow<'static, str>>) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for std::result::Result<T, E> {
    fn within(self, part: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|error| error.into().within(part))
    }
}

/// Every code of the crate: family, code, advice. `io` is not in the list.
pub fn all_codes() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let family = |name: &'static str, codes: &'static [(&'static str, &'static str)]| {
        codes.iter().map(move |(code, hint)| (name, *code, *hint))
    };
    family("corrupt", Corrupt::CODES)
        .chain(family("unsupported", Unsupported::CODES))
        .chain(family("unverified", Unverified::CODES))
        .chain(family("refused", Refused::CODES))
        .chain(family("limit", LimitExceeded::CODES))
        .chain(family("lookup", Lookup::CODES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_kebab_case_and_have_advice() {
        let mut seen = std::collections::BTreeSet::new();
        for (_, code, hint) in all_codes() {
            assert!(seen.insert(code), "{code} is used twice");
            assert!(
                code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{code}"
            );
            assert!(!hint.is_empty() && !hint.ends_with('.'), "{code}: {hint}");
        }
    }

    #[test]
    fn the_place_is_built_from_the_inside_out() {
        let inner: Result<()> = Err(Error::from(Corrupt::OutOfBounds { end: 9, size: 4 }).at_offset(8));
        let error = inner.within("superblock").within("root-verity").unwrap_err().at_offset(1).shifted(100);
        assert_eq!(error.path(), "root-verity/superblock");
        assert_eq!(error.offset(), Some(108));
        assert_eq!(
            error.to_string(),
            "root-verity/superblock: data ends too early: found 4 bytes, expected at least 9 (at byte 108)"
        );
    }
}
