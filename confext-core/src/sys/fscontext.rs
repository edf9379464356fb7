//! File-system contexts: `fsopen`, `fsconfig`, `fsmount`, and the kernel's log of why one failed.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::mount::{self, FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags};
use rustix::path::Arg;

/// A file-system context: a mount that is being described, not yet anywhere.
///
/// # Needs
///
/// `CAP_SYS_ADMIN` in the mount namespace's user namespace; Linux 5.2.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
    fs_type: String,
}

/// Whether the superblock may be one that is already mounted elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Take an existing superblock of the same source.
    Shared,
    /// Refuse with `EBUSY` if the superblock exists already (Linux 6.6).
    Exclusive,
}

/// A call on a file-system context that failed, with what the kernel logged about it.
#[derive(Debug)]
pub struct ContextError {
    /// The system call: `fsopen`, `fspick`, `fsconfig` or `fsmount`.
    pub call: &'static str,
    /// What it was about: the file system, with key and value where there are some.
    pub subject: String,
    /// The kernel's messages, oldest first, without their level; often empty.
    pub log: Vec<String>,
    /// The errno.
    pub source: io::Error,
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.call, self.subject)?;
        if self.log.is_empty() { f.write_str("failed") } else { f.write_str(&self.log.join("; ")) }
    }
}

impl std::error::Error for ContextError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl FsContext {
    /// `fsopen(fs_type, FSOPEN_CLOEXEC)`
    ///
    /// # Errors
    ///
    /// `ENODEV` when the kernel has no such file system; `EPERM` without privilege.
    pub fn open(fs_type: &str) -> Result<Self, ContextError> {
        match mount::fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(fd) => Ok(Self { fd, fs_type: fs_type.to_owned() }),
            Err(errno) => Err(ContextError {
                call: "fsopen",
                subject: fs_type.to_owned(),
                log: Vec::new(),
                source: errno.into(),
            }),
        }
    }

    /// `fspick(mount, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)`: the file system that is mounted there, to be changed.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it is not the root of a mount; `EPERM` without privilege.
    pub fn pick(root: BorrowedFd<'_>) -> Result<Self, ContextError> {
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        match mount::fspick(root, c"", flags) {
            Ok(fd) => Ok(Self { fd, fs_type: "a mounted file system".to_owned() }),
            Err(errno) => Err(ContextError {
                call: "fspick",
                subject: "a mounted file system".to_owned(),
                log: Vec::new(),
                source: errno.into(),
            }),
        }
    }

    /// `fsconfig(fd, FSCONFIG_SET_FLAG, key, NULL, 0)`
    ///
    /// # Errors
    ///
    /// As the file system says; the message has its log.
    pub fn set_flag(&self, key: &str) -> Result<(), ContextError> {
        mount::fsconfig_set_flag(&self.fd, key).map_err(|errno| self.failed("fsconfig", key, errno))
    }

    /// `fsconfig(fd, FSCONFIG_SET_STRING, key, value, 0)`; a value has at most 255 bytes.
    ///
    /// # Errors
    ///
    /// As the file system says; the message has its log.
    pub fn set_string(&self, key: &str, value: impl Arg + Copy) -> Result<(), ContextError> {
        mount::fsconfig_set_string(&self.fd, key, value)
            .map_err(|errno| self.failed("fsconfig", &format!("{key}={}", value.to_string_lossy()), errno))
    }

    /// `fsconfig(fd, FSCONFIG_SET_FD, key, NULL, value)`; overlayfs takes `lowerdir+` like this from Linux 6.13 on.
    ///
    /// # Errors
    ///
    /// As the file system says; the message has its log.
    pub fn set_fd(&self, key: &str, value: BorrowedFd<'_>) -> Result<(), ContextError> {
        mount::fsconfig_set_fd(&self.fd, key, value)
            .map_err(|errno| self.failed("fsconfig", &format!("{key}=<fd>"), errno))
    }

    /// `fsconfig(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0)` or `FSCONFIG_CMD_CREATE_EXCL`: makes the superblock.
    ///
    /// # Errors
    ///
    /// As the file system says; the message has its log. [`Sharing::Exclusive`] gives `EOPNOTSUPP` before Linux 6.6.
    pub fn create(&self, sharing: Sharing) -> Result<(), ContextError> {
        match sharing {
            Sharing::Shared => mount::fsconfig_create(&self.fd),
            Sharing::Exclusive => mount::fsconfig_create_exclusive(&self.fd),
        }
        .map_err(|errno| self.failed("fsconfig", "create", errno))
    }

    /// `fsconfig(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0)`: changes the superblock, for all its mounts.
    ///
    /// # Errors
    ///
    /// `EBUSY` when it is to be read-only and files are open for writing; as the file system says.
    pub fn reconfigure(&self) -> Result<(), ContextError> {
        mount::fsconfig_reconfigure(&self.fd).map_err(|errno| self.failed("fsconfig", "reconfigure", errno))
    }

    /// `fsmount(fd, FSMOUNT_CLOEXEC, attributes)`: the detached mount; dropped, it is gone.
    ///
    /// # Errors
    ///
    /// `EBUSY` when the superblock was not made, `EPERM` without privilege.
    pub fn mount(&self, attributes: MountAttrFlags) -> Result<OwnedFd, ContextError> {
        mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| self.failed("fsmount", "", errno))
    }

    /// Reads the kernel's messages about this context, oldest first; each is returned once.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        // The kernel keeps 8 messages and drops the oldest; a message longer than the buffer gives EMSGSIZE and is lost.
        const KEPT_MESSAGES: usize = 8;
        let mut buffer = [0_u8; 4096];
        let mut messages = Vec::new();
        for _ in 0..KEPT_MESSAGES {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(count) if count > 0 => {
                    messages.push(message(buffer.get(..count).unwrap_or_default()));
                }
                Err(rustix::io::Errno::MSGSIZE | rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        messages
    }

    fn failed(&self, call: &'static str, what: &str, errno: rustix::io::Errno) -> ContextError {
        let separator = if what.is_empty() { "" } else { " " };
        let subject = format!("{}{separator}{what}", self.fs_type);
        ContextError { call, subject, log: self.log(), source: errno.into() }
    }
}

impl AsFd for FsContext {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One log line is a level (`e`, `w` or `i`), a space and the text.
fn message(line: &[u8]) -> String {
    let text = match line {
        [b'e' | b'w' | b'i', b' ', text @ ..] => text,
        other => other,
    };
    let text = CStr::from_bytes_until_nul(text).map_or(text, CStr::to_bytes);
    String::from_utf8_lossy(text).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_loses_its_level_and_its_end() {
        assert_eq!(
            message(b"e erofs: cannot find valid erofs superblock\n"),
            "erofs: cannot find valid erofs superblock"
        );
        assert_eq!(message(b"no level"), "no level");
        assert_eq!(message(b"w "), "");
    }

    #[test]
    fn an_error_says_call_subject_and_log() {
        let mut error = ContextError {
            call: "fsconfig",
            subject: "erofs source=/dev/loop3".into(),
            log: Vec::new(),
            source: io::ErrorKind::InvalidInput.into(),
        };
        assert_eq!(error.to_string(), "fsconfig erofs source=/dev/loop3: failed");
        error.log = vec!["one".into(), "two".into()];
        assert_eq!(error.to_string(), "fsconfig erofs source=/dev/loop3: one; two");
    }
}
