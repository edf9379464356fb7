//! One rollout at a time for each service, and for each store: files of `/run` that are locked

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation};
use rustix::io::Errno;

use super::{Limit, cancelled};
use crate::error::{Error, Result};
use crate::sys::{Mode, OFlags};

/// How often another rollout is asked for.
const PAUSE: Duration = Duration::from_millis(20);

/// Held until they are dropped, or the process ends. The empty files stay: who waits for one has it open.
#[derive(Debug)]
pub(super) struct Locks {
    _held: Vec<File>,
}

impl Locks {
    /// Takes all of them, in this order.
    pub(super) fn take(directory: &Path, names: &[String], limit: &Limit<'_>) -> Result<Self> {
        let target = || directory.display().to_string();
        match rustix::fs::mkdirat(CWD, directory, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::os("make", target(), errno)),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::open(directory, flags, Mode::empty())
            .map_err(|errno| Error::os("open", target(), errno))?;
        let started = Instant::now();
        let mut held = Vec::new();
        for name in names {
            let path = directory.join(name).display().to_string();
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&place, name.as_str(), flags, Mode::from_raw_mode(0o600))
                .map_err(|errno| Error::os("open", path.as_str(), errno))?;
            loop {
                match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => break,
                    Err(Errno::WOULDBLOCK | Errno::INTR) if limit.is_cancelled() => return Err(cancelled()),
                    Err(Errno::WOULDBLOCK | Errno::INTR) if started.elapsed() < limit.left => {
                        std::thread::sleep(PAUSE);
                    }
                    Err(Errno::WOULDBLOCK | Errno::INTR) => {
                        return Err(Error::conflict(
                            "locked",
                            path,
                            "a lock held by another rollout",
                            "none",
                        ));
                    }
                    Err(errno) => return Err(Error::os("lock", path, errno)),
                }
            }
            held.push(file.into());
        }
        Ok(Self { _held: held })
    }
}

/// A file name that stands for a service: as it is, but for bytes that no unit's name has.
pub(super) fn of_service(name: &str) -> String {
    let mut text = String::from("service-");
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' | b':' | b'@' => {
                text.push(char::from(byte))
            }
            _ => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}
