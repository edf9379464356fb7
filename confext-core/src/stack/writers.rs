//! Who has a file open for writing: a name for what keeps a stack busy

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;

use crate::sys::OFlags;

/// A file on the mount of a directory that a process has open for writing, in words. `None` when none is found: it may be
/// open by way of a copy of the mount, mapped into memory only, or in a process that cannot be looked at.
pub(super) fn first(directory: BorrowedFd<'_>) -> Option<String> {
    let own = fs::read_to_string(format!("/proc/self/fdinfo/{}", directory.as_raw_fd())).ok()?;
    let mount = field(&own, "mnt_id")?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let is_number = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    processes
        .filter(|process| is_number(&process.file_name()))
        .find_map(|process| in_process(&process.path(), mount))
}

fn in_process(process: &Path, mount: &str) -> Option<String> {
    let descriptors = fs::read_dir(process.join("fdinfo")).ok()?.flatten();
    let is_one = |info: &Path| fs::read_to_string(info).is_ok_and(|text| is_writing(&text, mount));
    let found = descriptors.map(|one| one.path()).find(|info| is_one(info))?;
    let path = fs::read_link(process.join("fd").join(found.file_name()?)).ok()?;
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let number = process.file_name()?.to_string_lossy();
    Some(format!("{} open for writing in process {number} ({})", path.display(), name.trim_end()))
}

/// Whether `/proc/PID/fdinfo/FD` is of a descriptor on this mount that can be written to.
fn is_writing(info: &str, mount: &str) -> bool {
    let flags = field(info, "flags").and_then(|text| u32::from_str_radix(text, 8).ok());
    let flags = OFlags::from_bits_retain(flags.unwrap_or(0));
    field(info, "mnt_id") == Some(mount)
        && flags.intersects(OFlags::WRONLY | OFlags::RDWR)
        && !flags.contains(OFlags::PATH)
}

fn field<'t>(info: &'t str, name: &str) -> Option<&'t str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_file_that_is_open_for_writing_is_found() {
        let info = |flags: &str| format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t53\nino:\t5\n");
        for (flags, expected) in
            [("0100001", true), ("0100002", true), ("0100000", false), ("012100002", false), ("x", false)]
        {
            assert_eq!(is_writing(&info(flags), "53"), expected, "{flags}");
            assert!(!is_writing(&info(flags), "5"));
        }
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("written")).unwrap();
        let place = fs::File::open(dir.path()).unwrap();
        let own = fs::read_to_string(format!("/proc/self/fdinfo/{}", place.as_fd().as_raw_fd())).unwrap();
        let found = in_process(Path::new("/proc/self"), field(&own, "mnt_id").unwrap()).unwrap();
        assert!(found.contains(" open for writing in process self ("), "{found}");
        drop(file);
    }
}
