//! [`Patterns`]: which entries to leave out, as patterns over their paths.

use crate::error::{Corrupt, LimitExceeded, Result};
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// The most patterns of one set.
const MAX_PATTERNS: usize = 10_000;

/// Patterns over paths, as ignore files have them.
///
/// `*` and `?` stand for anything but `/`, `**` for whole directories, `[…]` for one of some characters, `{a,b}` for one
/// of some texts; `\` takes the meaning of the next character away. A pattern with a `/` before its end is a path from
/// the root of the tree, with or without its leading `/`; any other is a name in any directory. One that ends in `/`
/// is for directories only.
///
/// ```
/// use confext_ddi::build::Patterns;
///
/// let left_out = Patterns::new(["*.pyc", "/usr/share/doc"])?;
/// assert!(left_out.matches(b"usr/lib/app/main.pyc", false));
/// assert!(!left_out.matches(b"usr/lib/app/main.py", false));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    any: GlobSet,
    directories: GlobSet,
}

impl Patterns {
    /// Takes patterns.
    ///
    /// # Errors
    ///
    /// `exclude-pattern` for one that cannot be read, `limit-count` above 10,000.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self> {
        let (mut any, mut directories) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let mut count = 0_usize;
        for pattern in patterns {
            count = count.saturating_add(1);
            if count > MAX_PATTERNS {
                let (found, most) = (u64::try_from(count).unwrap_or(u64::MAX), 10_000);
                return Err(LimitExceeded::Count { what: "patterns", found, most }.into());
            }
            let pattern = pattern.as_ref();
            let wrong = |expected: String| Corrupt::ExcludePattern { found: pattern.to_owned(), expected };
            let (path, set) = match pattern.strip_suffix('/') {
                Some(path) => (path, &mut directories),
                None => (pattern, &mut any),
            };
            let anchored = path.contains('/');
            let path = path.strip_prefix('/').unwrap_or(path);
            if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(wrong("names separated by single slashes".to_owned()).into());
            }
            let text = if anchored { path.to_owned() } else { format!("**/{path}") };
            let glob = GlobBuilder::new(&text).literal_separator(true).backslash_escape(true).build();
            set.add(glob.map_err(|error| wrong(error.kind().to_string()))?);
        }
        let build = |set: &GlobSetBuilder| {
            let wrong = |error: globset::Error| Corrupt::ExcludePattern {
                found: error.glob().unwrap_or_default().to_owned(),
                expected: error.kind().to_string(),
            };
            set.build().map_err(wrong)
        };
        Ok(Self { any: build(&any)?, directories: build(&directories)? })
    }

    /// Whether there are no patterns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.directories.is_empty()
    }

    /// Whether a path, relative and without a leading `/`, is one to leave out.
    #[must_use]
    pub fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        let candidate = Candidate::from_bytes(path);
        self.any.is_match_candidate(&candidate)
            || (is_directory && self.directories.is_match_candidate(&candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_ignore_files() {
        for (pattern, path, directory, expected) in [
            ("*.pyc", "usr/lib/a.pyc", false, true),
            ("*.pyc", "a.pyc", false, true),
            ("*.pyc", "a.pyc/b", false, false),
            ("/a", "a", false, true),
            ("/a", "b/a", false, false),
            ("usr/*/x", "usr/lib/x", false, true),
            ("usr/*/x", "usr/lib/y/x", false, false),
            ("usr/**/x", "usr/lib/y/x", false, true),
            ("usr/**/x", "usr/x", false, true),
            ("usr/**", "usr/a/b", false, true),
            ("usr/**", "usr", true, false),
            ("cache/", "var/cache", true, true),
            ("cache/", "var/cache", false, false),
            ("/var/cache/", "var/cache", true, true),
            ("a?c", "abc", false, true),
            ("a?c", "a/c", false, false),
            ("[ab]", "x/b", false, true),
            ("{a,b}.d", "b.d", true, true),
            ("\\*", "*", false, true),
            ("\\*", "x", false, false),
        ] {
            let patterns = Patterns::new([pattern]).unwrap();
            assert_eq!(patterns.matches(path.as_bytes(), directory), expected, "{pattern} {path}");
        }
        assert!(Patterns::new(["*"]).unwrap().matches(b"\xff", false));
        assert!(Patterns::new::<&str>([]).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["", "/", "//", "a//b", "../a", "a/./b", "[a", "{a", "a\\"] {
            assert_eq!(Patterns::new([pattern]).unwrap_err().code(), "exclude-pattern", "{pattern:?}");
        }
        let many = std::iter::repeat_n("a", MAX_PATTERNS + 1);
        assert_eq!(Patterns::new(many).unwrap_err().code(), "limit-count");
    }
}
