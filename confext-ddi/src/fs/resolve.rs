//! Following symbolic links inside an image.

use std::borrow::Cow;

use super::path::{components, display};
use super::{FileSystem, FileType};
use crate::Limits;
use crate::error::{Corrupt, LimitExceeded, Lookup, Result};

/// Follows every symbolic link of `path`, also in its last component, and returns the path of what is there.
///
/// The image is its own root: an absolute link starts again at the image's root and `..` stops there, so that no path
/// leads out. The file at the end must exist.
///
/// # Errors
///
/// `no-such-file` when the path or a link on it leads nowhere; `not-a-directory`, `path-syntax`, `symlink-target`;
/// `limit-symlinks` above [`Limits::symlinks`], `limit-count` above [`Limits::depth`].
pub fn resolve(fs: &dyn FileSystem, path: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    // Components still to go, next one last; and the way so far, each with the length of the path before it.
    let mut rest: Vec<Cow<'_, [u8]>> =
        components(path, limits)?.into_iter().rev().map(Cow::Borrowed).collect();
    let mut done: Vec<u8> = Vec::with_capacity(path.len());
    let mut links: u32 = 0;
    let mut file_type = FileType::Directory;

    while let Some(component) = rest.pop() {
        if file_type != FileType::Directory {
            return Err(Lookup::NotADirectory { path: display(&done), found: file_type.as_str() }.into());
        }
        if *component == *b".." {
            let parent = done.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            done.truncate(parent);
            continue;
        }
        let parent = done.len();
        if parent > 0 {
            done.push(b'/');
        }
        done.extend_from_slice(&component);
        file_type = fs.stat(&done)?.file_type;
        if file_type != FileType::Symlink {
            continue;
        }
        links = links.saturating_add(1);
        if links > limits.symlinks {
            return Err(LimitExceeded::Symlinks { path: display(path), most: limits.symlinks }.into());
        }
        let target = fs.read_link(&done)?;
        check_target(&done, &target)?;
        done.truncate(if target.starts_with(b"/") { 0 } else { parent });
        rest.extend(components(&target, limits)?.into_iter().rev().map(|part| Cow::Owned(part.to_vec())));
        if rest.len() > usize::try_from(limits.depth).unwrap_or(usize::MAX) {
            let (found, most) = (u64::try_from(rest.len()).unwrap_or(u64::MAX), u64::from(limits.depth));
            return Err(LimitExceeded::Count { what: "components of a path", found, most }.into());
        }
        file_type = FileType::Directory;
    }
    Ok(done)
}

fn check_target(path: &[u8], target: &[u8]) -> Result<()> {
    if target.is_empty() || target.len() > 4095 || target.contains(&0) {
        let found = u64::try_from(target.len()).unwrap_or(u64::MAX);
        return Err(Corrupt::SymlinkTarget { path: display(path), found }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFs;
    use super::*;

    fn image() -> MemoryFs {
        let mut fs = MemoryFs::new();
        fs.file("usr/lib/os-release", "ID=x");
        fs.symlink("lib", "usr/lib");
        fs.symlink("etc/os-release", "../usr/lib/os-release");
        fs.symlink("etc/absolute", "/usr/lib/os-release");
        fs.symlink("etc/escape", "../../../../usr/lib");
        fs.symlink("etc/chain", "absolute");
        fs.symlink("etc/dangling", "nowhere");
        fs.symlink("etc/loop", "loop");
        fs.symlink("etc/a", "b/x");
        fs.symlink("etc/b", "a");
        fs.symlink("etc/dot", ".");
        fs.symlink("etc/up", "..");
        fs.symlink("etc/empty", "");
        fs.symlink("etc/nul", "a\0b");
        fs
    }

    #[test]
    fn links_stay_inside() {
        let fs = image();
        for (path, expected) in [
            ("", ""),
            ("/", ""),
            ("..", ""),
            ("usr/lib", "usr/lib"),
            ("lib", "usr/lib"),
            ("lib/os-release", "usr/lib/os-release"),
            ("/lib/../lib/os-release", "usr/lib/os-release"),
            ("etc/os-release", "usr/lib/os-release"),
            ("etc/absolute", "usr/lib/os-release"),
            ("etc/escape/os-release", "usr/lib/os-release"),
            ("../../etc/chain", "usr/lib/os-release"),
            ("etc/dot/./chain", "usr/lib/os-release"),
            ("etc/up/etc/up/usr", "usr"),
            // The kernel's rule: `..` after a link leaves the directory the link leads to.
            ("lib/..", "usr"),
        ] {
            let found = resolve(&fs, path.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(String::from_utf8(found).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn faults_have_codes() {
        let fs = image();
        for (path, code) in [
            ("etc/nothing", "no-such-file"),
            ("etc/dangling", "no-such-file"),
            ("etc/loop", "limit-symlinks"),
            ("etc/a", "limit-symlinks"),
            ("etc/absolute/x", "not-a-directory"),
            ("etc/absolute/..", "not-a-directory"),
            ("etc/empty", "symlink-target"),
            ("etc/nul", "symlink-target"),
            ("etc/\0", "path-syntax"),
        ] {
            let error = resolve(&fs, path.as_bytes(), &Limits::default()).unwrap_err();
            assert_eq!(error.code(), code, "{path}: {error}");
        }
        let limits = Limits { symlinks: 1, ..Limits::default() };
        assert_eq!(resolve(&fs, b"etc/chain", &limits).unwrap_err().code(), "limit-symlinks");
        assert_eq!(resolve(&fs, b"etc/absolute", &limits).unwrap(), b"usr/lib/os-release");
    }
}
