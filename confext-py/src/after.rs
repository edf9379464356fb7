//! Who has to hear of a changed stack

use confext_core::consumers::{self, Action, PathChange as Change};

use confext_core::manager;

use crate::record::{Tuple, record};

record! {
    /// A file that is different.
    ChangedPath {
        /// Below the root.
        path: String,
        /// `added`, `removed` or `changed`.
        change: &'static str,
    }
}

record! {
    /// A program, and what is different for it.
    Affected {
        /// `units`, `user-units`, `dbus`, `sysusers`, `tmpfiles`, `udev-rules`, `hwdb`, `ld-so`, `selinux`, `apparmor`,
        /// `binfmt`, `modules-load`, `sysctl`, `polkit`, `network` or `catalog`.
        consumer: &'static str,
        /// What makes it notice: a program and its arguments; `None` when it watches its directories.
        command: Option<Tuple<String>>,
        /// What is different, sorted.
        paths: Tuple<ChangedPath>,
    }
}

record! {
    /// What an extension asks of the service manager and means nothing.
    InvalidRequest {
        /// The extension.
        layer: String,
        /// The key of its release file.
        key: String,
        /// The value, or the word of it.
        found: String,
    }
}

record! {
    /// What extensions ask of the service manager.
    Work {
        /// Whether it is to read unit files again.
        reload: bool,
        /// Units to restart.
        restart: Tuple<String>,
        /// Units to reload, or to restart where they cannot.
        reload_or_restart: Tuple<String>,
        /// Units to stop: their file is gone.
        stop: Tuple<String>,
        /// What means nothing.
        invalid: Tuple<InvalidRequest>,
    }
}

record! {
    /// Who has to hear of a changed stack.
    After {
        /// Whether these are all changes: not when another program merged what was there before.
        complete: bool,
        /// Programs that read files which are different.
        consumers: Tuple<Affected>,
        /// What the extensions ask of the service manager.
        manager: Work,
    }
}

impl From<&consumers::After> for After {
    fn from(after: &consumers::After) -> Self {
        Self {
            complete: after.complete,
            consumers: after.consumers.iter().collect(),
            manager: (&after.manager).into(),
        }
    }
}

impl From<&consumers::Affected> for Affected {
    fn from(affected: &consumers::Affected) -> Self {
        let command = match &affected.action {
            Action::Command { command } => Some(command.iter().cloned().collect()),
            Action::Watches => None,
        };
        Self { consumer: affected.consumer.as_str(), command, paths: affected.paths.iter().collect() }
    }
}

impl From<&consumers::ChangedPath> for ChangedPath {
    fn from(path: &consumers::ChangedPath) -> Self {
        let change = match path.change {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
        };
        Self { path: path.path.clone(), change }
    }
}

impl From<&consumers::Work> for Work {
    fn from(work: &consumers::Work) -> Self {
        let all = |units: &[String]| units.iter().cloned().collect();
        Self {
            reload: work.reload,
            restart: all(&work.restart),
            reload_or_restart: all(&work.reload_or_restart),
            stop: all(&work.stop),
            invalid: work.invalid.iter().collect(),
        }
    }
}

impl From<&consumers::InvalidOf> for InvalidRequest {
    fn from(invalid: &consumers::InvalidOf) -> Self {
        Self {
            layer: invalid.layer.clone(),
            key: invalid.invalid.key.clone(),
            found: invalid.invalid.found.clone(),
        }
    }
}

record! {
    /// One action of the service manager.
    Done {
        /// `reload`, `stop`, `restart` or `reload-or-restart`.
        action: &'static str,
        /// The unit; `None` for the manager itself.
        unit: Option<String>,
        /// `done`, what else the manager says of the job, `refused`, or `unknown` when it took longer than the wait.
        result: String,
        /// What the manager says, where it refused.
        message: Option<String>,
    }
}

record! {
    /// What came of telling the service manager.
    Told {
        /// Each action, in the order they were asked for.
        actions: Tuple<Done>,
        /// Why not all of it was done: the stable code, what was found, and what to do about it.
        failure: Option<Tuple<String>>,
    }
}

impl From<&manager::Told> for Told {
    fn from(told: &manager::Told) -> Self {
        let failure = told.failure.as_ref();
        let failure = failure.map(|failure| {
            Tuple(vec![failure.code.to_owned(), failure.message.clone(), failure.hint.to_owned()])
        });
        Self { actions: told.actions.iter().collect(), failure }
    }
}

impl From<&manager::Done> for Done {
    fn from(done: &manager::Done) -> Self {
        Self {
            action: done.action.as_str(),
            unit: done.unit.clone(),
            result: done.result.clone(),
            message: done.message.clone(),
        }
    }
}
