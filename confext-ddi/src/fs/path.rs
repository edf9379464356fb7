//! Paths as lists of components.

use crate::Limits;
use crate::error::{LimitExceeded, Lookup, Result};

/// A path as it is shown in messages.
pub(crate) fn display(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// The components of a path without empty ones and `.`; `..` is kept.
///
/// # Errors
///
/// `path-syntax` for a NUL byte, `limit-count` above [`Limits::depth`].
pub(super) fn components<'a>(path: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>> {
    if path.contains(&0) {
        return Err(Lookup::PathSyntax { found: display(path) }.into());
    }
    let components: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    let found = u64::try_from(components.len()).unwrap_or(u64::MAX);
    let most = u64::from(limits.depth);
    if found > most {
        return Err(LimitExceeded::Count { what: "components of a path", found, most }.into());
    }
    Ok(components)
}

/// As [`components`], for paths in which `..` has no meaning.
///
/// # Errors
///
/// `path-syntax`, `limit-count`.
pub(super) fn plain_components<'a>(path: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>> {
    let components = components(path, limits)?;
    if components.contains(&b"..".as_slice()) {
        return Err(Lookup::PathSyntax { found: display(path) }.into());
    }
    Ok(components)
}

/// `parent/name`, or `name` in the root.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// The order in which [`walk`](super::walk) lists two paths: that of their components, not of their bytes.
pub(crate) fn compare(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.split(|&byte| byte == b'/').cmp(b.split(|&byte| byte == b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_dots_do_not_count() {
        let limits = Limits { depth: 3, ..Limits::default() };
        let expected: Vec<&[u8]> = vec![b"a", b"b"];
        for path in ["a/b", "/a/b", "//a/./b/", "./a//b/."] {
            assert_eq!(plain_components(path.as_bytes(), &limits).unwrap(), expected, "{path}");
        }
        assert!(plain_components(b"/", &limits).unwrap().is_empty());
        assert_eq!(plain_components(b"a\0b", &limits).unwrap_err().code(), "path-syntax");
        assert_eq!(plain_components(b"a/../b", &limits).unwrap_err().code(), "path-syntax");
        assert_eq!(components(b"a/../b", &limits).unwrap().len(), 3);
        assert_eq!(components(b"a/b/c/d", &limits).unwrap_err().code(), "limit-count");
        assert_eq!(plain_components(b"..a/b..", &limits).unwrap().len(), 2);
    }
}
