//! [`Lookups`]: waits until no lookup is under way that began before mounts were changed

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::directory;
use crate::error::{Error, Result};
use crate::stack::exchange::LOOKUP;
use crate::sys::{Mode, OFlags};

/// How often is looked again.
const PAUSE: Duration = Duration::from_micros(250);

/// The threads that may be looking something up in a mount namespace of a service.
///
/// A stack with mounts below it takes those along when it is detached. A lookup that is in the stack by then, and not yet in
/// the mount, does not find it any more. The kernel begins a lookup again that a change of mounts overtakes, once, with
/// locks; only such a one is at risk, and only from the next change. So before the next change all threads that ran at the
/// first one must have been seen to sleep, which they do not do inside of a lookup, unless it is in a file system that is
/// another program; or [`LOOKUP`] must have passed, which is what it takes where threads never sleep.
///
/// Threads of the caller's mount namespace, and of that of process 1, do not look there. All others may: what happens in one
/// namespace can arrive in others.
#[derive(Debug)]
pub(super) struct Lookups {
    /// `/proc` of the caller.
    processes: OwnedFd,
    /// The namespaces in which nobody is asked about.
    elsewhere: Vec<Vec<u8>>,
    /// `PID/task/TID` of this thread.
    own: Vec<u8>,
}

impl Lookups {
    /// To be made before the thread goes to the namespace.
    ///
    /// # Errors
    ///
    /// `os` without `/proc`.
    pub(super) fn new() -> Result<Self> {
        let failed = |errno: Errno| Error::os("open", "/proc", errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let processes = rustix::fs::open("/proc", flags, Mode::empty()).map_err(failed)?;
        let mut this = Self { processes, elsewhere: Vec::new(), own: Vec::new() };
        this.own = this.link(b"thread-self").map_err(failed)?;
        let namespaces = [b"thread-self/ns/mnt".as_slice(), b"1/ns/mnt"].map(|path| this.link(path));
        this.elsewhere = namespaces.into_iter().flatten().collect();
        Ok(this)
    }

    fn link(&self, path: &[u8]) -> rustix::io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.processes, path, Vec::new())?.into_bytes())
    }

    /// Waits until all that began before `changed` have ended.
    pub(super) fn end(&self, changed: Instant) {
        let mut running: Option<Vec<Vec<u8>>> = None;
        while changed.elapsed() < LOOKUP {
            match &mut running {
                // Where it cannot be told, time does.
                None => running = self.running().ok(),
                Some(running) => running.retain(|thread| self.is_running(thread).unwrap_or(false)),
            }
            if running.as_ref().is_some_and(Vec::is_empty) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The threads that run, or wait for a disk or a lock of the kernel.
    fn running(&self) -> rustix::io::Result<Vec<Vec<u8>>> {
        let (own, mut running) =
            (self.own.split(|byte| *byte == b'/').next().unwrap_or_default(), Vec::new());
        for process in directory::names(self.processes.as_fd())? {
            if !process.iter().all(u8::is_ascii_digit) {
                continue;
            }
            match self.link(&[&process, b"/ns/mnt".as_slice()].concat()) {
                // Of the own process single threads may be there.
                Ok(namespace) if self.elsewhere.contains(&namespace) && process != own => continue,
                Err(Errno::NOENT | Errno::SRCH) => continue,
                namespace => drop(namespace?),
            }
            let tasks = [&process, b"/task".as_slice()].concat();
            for task in self.names(&tasks)? {
                let thread = [&tasks, b"/".as_slice(), &task].concat();
                if thread != self.own && self.is_running(&thread)? {
                    running.push(thread);
                }
            }
        }
        Ok(running)
    }

    fn names(&self, path: &[u8]) -> rustix::io::Result<Vec<Vec<u8>>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.processes, path, flags, Mode::empty()) {
            Ok(directory) => gone(directory::names(directory.as_fd())).map(Option::unwrap_or_default),
            Err(errno) => gone(Err(errno)).map(Option::unwrap_or_default),
        }
    }

    fn is_running(&self, thread: &[u8]) -> rustix::io::Result<bool> {
        let path = [thread, b"/stat"].concat();
        let opened =
            rustix::fs::openat(&self.processes, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let Some(file) = gone(opened)? else { return Ok(false) };
        let mut bytes = Vec::new();
        match File::from(file).read_to_end(&mut bytes) {
            Ok(_) => Ok(is_running(&bytes)),
            // It has ended meanwhile.
            Err(_) => Ok(false),
        }
    }
}

/// What is gone is nothing.
fn gone<T>(found: rustix::io::Result<T>) -> rustix::io::Result<Option<T>> {
    match found {
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        found => found.map(Some),
    }
}

/// Whether `/proc/PID/task/TID/stat` says that a thread runs, or waits in the kernel for what nothing interrupts. Its name may
/// have anything in it.
fn is_running(stat: &[u8]) -> bool {
    let end = stat.iter().rposition(|byte| *byte == b')');
    let state = end.and_then(|end| stat.get(end.saturating_add(2)));
    matches!(state, Some(b'R' | b'D'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_behind_the_name() {
        for (stat, expected) in [
            ("7 (cat) R 1 7", true),
            ("7 (cat) D 1 7", true),
            ("7 (cat) S 1 7", false),
            ("7 (a) R b) S 1 7", false),
            ("7 (S) R) R 1 7", true),
            ("7 (cat)", false),
            ("", false),
        ] {
            assert_eq!(is_running(stat.as_bytes()), expected, "{stat}");
        }
    }

    #[test]
    fn a_thread_that_runs_is_found_and_one_that_sleeps_is_not() {
        let (lookups, (stop, stopped)) = (Lookups::new().unwrap(), std::sync::mpsc::channel::<()>());
        let ids = |name: &str| -> Vec<Vec<u8>> {
            let tasks = lookups.names(b"self/task").unwrap();
            let of = |task: &Vec<u8>| {
                let comm = format!("/proc/self/task/{}/comm", String::from_utf8_lossy(task));
                std::fs::read_to_string(comm).is_ok_and(|comm| comm.trim_end() == name)
            };
            tasks.into_iter().filter(of).collect()
        };
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let sleeps = named("sleeps").spawn(move || stopped.recv().is_err()).unwrap();
        let runs = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let goes_on = std::sync::Arc::clone(&runs);
        let spins = named("spins").spawn(move || {
            while goes_on.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let running = |ids: Vec<Vec<u8>>| {
            ids.iter().any(|id| lookups.is_running(&[b"self/task/", id.as_slice()].concat()).unwrap())
        };
        while ids("spins").is_empty() || ids("sleeps").is_empty() || running(ids("sleeps")) {
            std::thread::yield_now();
        }
        assert!(running(ids("spins")));
        runs.store(false, std::sync::atomic::Ordering::Relaxed);
        drop(stop);
        spins.unwrap().join().unwrap();
        assert!(sleeps.join().unwrap());
        assert!(!lookups.is_running(b"0/task/0").unwrap());
    }
}
