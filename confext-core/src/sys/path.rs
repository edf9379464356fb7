//! Opening and asking: `openat2`, `statx`, `fstatvfs`.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::StatVfsMountFlags;
pub use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// `openat2(dir, path, {O_PATH | O_CLOEXEC | flags, resolve})`
///
/// `path` is looked up with `dir` as the root: `..` and absolute links stay inside.
///
/// # Errors
///
/// `ENOENT`, `ENOTDIR`, `ELOOP` with [`ResolveFlags::NO_SYMLINKS`]; `EAGAIN` when renames and mounts never stop racing
/// with the lookup of `..`.
pub fn open_path(
    dir: BorrowedFd<'_>,
    path: impl Arg,
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
    open(dir, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | resolve)
}

/// `openat2(dir, path, {O_CLOEXEC | flags, mode, RESOLVE_IN_ROOT | resolve})`: opens for reading or writing inside `dir`.
///
/// # Errors
///
/// As [`open_path`], and the errors of opening the file itself.
pub fn open_beneath(
    dir: BorrowedFd<'_>,
    path: impl Arg,
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let mode = if flags.contains(OFlags::CREATE) { Mode::from_bits_retain(0o644) } else { Mode::empty() };
    open(dir, path, OFlags::CLOEXEC | flags, mode, ResolveFlags::IN_ROOT | resolve)
}

/// `openat2(dir, path, {O_CLOEXEC | flags, RESOLVE_BENEATH | resolve})`: a path that leads out of `dir` is an error.
///
/// # Errors
///
/// `EXDEV` for a path that leads out; as [`open_path`], and the errors of opening the file itself.
pub fn open_below(
    dir: BorrowedFd<'_>,
    path: impl Arg,
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    open(dir, path, OFlags::CLOEXEC | flags, Mode::empty(), ResolveFlags::BENEATH | resolve)
}

/// A lookup that goes through `..` fails with `EAGAIN` when anything on the machine is renamed or mounted meanwhile,
/// because it can then not be told that it stayed inside. With a root of its own no path leads out: there `EXDEV` says that
/// what was found was moved out, or its mount detached, before the lookup ended. Both are to be tried again.
fn open(
    dir: BorrowedFd<'_>,
    path: impl Arg,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    const ATTEMPTS: u32 = 1000;
    let no_way_out = resolve.contains(ResolveFlags::IN_ROOT) && !resolve.contains(ResolveFlags::NO_XDEV);
    let opened = path.into_with_c_str(|path| {
        for _ in 1..ATTEMPTS {
            match rustix::fs::openat2(dir, path, flags, mode, resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::XDEV) if no_way_out => {}
                other => return other,
            }
        }
        rustix::fs::openat2(dir, path, flags, mode, resolve)
    });
    Ok(opened?)
}

/// `statx(dir, path, flags, mask)`
///
/// # Errors
///
/// As `stat`.
pub fn statx(dir: BorrowedFd<'_>, path: impl Arg, flags: AtFlags, mask: StatxFlags) -> io::Result<Statx> {
    Ok(rustix::fs::statx(dir, path, flags, mask)?)
}

/// `fstatvfs(fd)`, its mount flags: works on detached mounts too, where `statmount` does not.
///
/// # Errors
///
/// As `fstatfs`.
pub fn volume_flags(fd: BorrowedFd<'_>) -> io::Result<StatVfsMountFlags> {
    Ok(rustix::fs::fstatvfs(fd)?.f_flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_lookup_stays_inside_its_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), b"inside").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../etc/passwd", dir.path().join("dots")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        for link in ["absolute", "dots", "/etc/passwd", "etc/../../etc/passwd"] {
            let fd = open_beneath(root.as_fd(), link, OFlags::RDONLY, ResolveFlags::empty()).unwrap();
            assert_eq!(io::read_to_string(std::fs::File::from(fd)).unwrap(), "inside", "{link}");
        }
        let error =
            open_path(root.as_fd(), "absolute", OFlags::empty(), ResolveFlags::NO_SYMLINKS).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }
}
