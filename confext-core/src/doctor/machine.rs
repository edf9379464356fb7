//! What several answers are made of, looked up once

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::thread::CapabilitySet;

use crate::error::Result;
use crate::host::Host;
use crate::manager::{self, About};
use crate::mapper::{self, Found};
use crate::sys::{self, RehearsalStep};

/// How long the service manager may take to say what it is.
const MANAGER_WAIT: Duration = Duration::from_secs(3);

/// The machine, as far as it has been looked at.
pub(super) struct Machine<'a> {
    pub(super) host: &'a Host,
    pub(super) now: SystemTime,
    pub(super) release: Option<String>,
    /// What is below `/proc` and `/sys`, or stands in for them in a test.
    kernel: PathBuf,
    mapped: OnceCell<Found>,
    rehearsed: OnceCell<std::result::Result<(), (RehearsalStep, io::Error)>>,
    manager: OnceCell<Result<About>>,
}

/// Whether the kernel has a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// Now.
    Yes,
    /// As a module that it can load.
    AsModule,
    /// No.
    No,
    /// Not now, and its modules cannot be seen from here.
    Unseen,
}

impl<'a> Machine<'a> {
    pub(super) fn new(host: &'a Host, now: SystemTime) -> Self {
        Self::with_kernel(host, now, Path::new("/"))
    }

    /// As [`Machine::new`], with `proc`, `sys` and `lib/modules` below a directory.
    pub(super) fn with_kernel(host: &'a Host, now: SystemTime, kernel: &Path) -> Self {
        let release = fs::read_to_string(kernel.join("proc/sys/kernel/osrelease"));
        Self {
            host,
            now,
            release: release.ok().map(|text| text.trim().to_owned()),
            kernel: kernel.to_path_buf(),
            mapped: OnceCell::new(),
            rehearsed: OnceCell::new(),
            manager: OnceCell::new(),
        }
    }

    /// The text of a file of the kernel.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.kernel.join(path)).ok()
    }

    /// Whether something is there.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.kernel.join(path).exists()
    }

    pub(super) fn mapped(&self) -> Found {
        *self.mapped.get_or_init(mapper::find)
    }

    /// What the service manager says of itself.
    pub(super) fn manager(&self) -> &Result<About> {
        self.manager.get_or_init(|| manager::about(MANAGER_WAIT))
    }

    /// How far a run without root would come. The overlay is tried only where that loads nothing.
    pub(super) fn rehearsed(&self) -> &std::result::Result<(), (RehearsalStep, io::Error)> {
        self.rehearsed.get_or_init(|| {
            let loaded = self.file_system("overlay") == Listed::Yes;
            sys::rehearse(if loaded { RehearsalStep::Overlay } else { RehearsalStep::Tmpfs })
        })
    }

    /// What this process may do.
    pub(super) fn may(capability: CapabilitySet) -> bool {
        rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
    }

    /// Whether a module of the kernel can be loaded, by what its indexes say; `None` where they cannot be seen.
    pub(super) fn has_module(&self, alias: &str) -> Option<bool> {
        let switched_off =
            self.text("proc/sys/kernel/modules_disabled").is_some_and(|text| text.trim() == "1");
        // There with every kernel that has modules.
        if switched_off || (self.exists("proc/misc") && !self.exists("proc/modules")) {
            return Some(false);
        }
        let directory = format!("lib/modules/{}", self.release.as_deref()?);
        let aliases = self.text(&format!("{directory}/modules.alias"))?;
        let file = format!("/{}.ko", alias.trim_start_matches("fs-"));
        let files = self.text(&format!("{directory}/modules.dep")).unwrap_or_default();
        let named = |line: &str| line.split_whitespace().nth(1) == Some(alias);
        Some(aliases.lines().any(named) || files.lines().any(|line| line.contains(&file)))
    }

    /// Whether the kernel has a file system. Nothing is loaded to find out.
    pub(super) fn file_system(&self, name: &str) -> Listed {
        let listed = self.text("proc/filesystems").unwrap_or_default();
        if listed.lines().any(|line| line.split_whitespace().next_back() == Some(name)) {
            return Listed::Yes;
        }
        match self.has_module(&format!("fs-{name}")) {
            Some(true) => Listed::AsModule,
            Some(false) => Listed::No,
            None => Listed::Unseen,
        }
    }
}
