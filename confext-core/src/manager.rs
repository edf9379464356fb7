//! [`act`]: the service manager reloads, and restarts, reloads and stops units, over D-Bus

#[cfg(feature = "manager")]
mod about;
#[cfg(feature = "manager")]
pub(crate) mod ask;
#[cfg(feature = "manager")]
mod bus;
#[cfg(feature = "manager")]
mod talk;
mod unit;

use std::time::Duration;

use serde::Serialize;

use crate::consumers::Work;
use crate::error::{Error, Result};
pub use unit::{UnitState, reload_unit, unit_name, unit_state};
pub(crate) use unit::{main_process, reload, state};

/// How long to wait, and who may end it before.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "manager"), expect(dead_code, reason = "there is nobody to wait for"))]
pub(crate) struct Patience<'a> {
    /// How long.
    pub(crate) wait: Duration,
    /// Whether the caller has had enough.
    pub(crate) stopped: &'a dyn Fn() -> bool,
}

impl Patience<'static> {
    /// So long, and nobody ends it before.
    pub(crate) fn of(wait: Duration) -> Self {
        Self { wait, stopped: &|| false }
    }
}

/// Whether the service manager is told after a change of a stack.
///
/// ```
/// use std::time::Duration;
///
/// use confext_core::{Options, manager::Reload};
///
/// // After a merge, units are restarted and reloaded as the release files of extensions say.
/// let mut options = Options::default();
/// assert_eq!(options.reload, Reload::No);
/// options.reload = Reload::AsAsked { wait: Duration::from_secs(90) };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reload {
    /// No: the report says what it would have been told.
    #[default]
    No,
    /// As the extensions ask for. Needs the feature `manager`. Waits for each job, this long at most for all.
    AsAsked {
        /// How long to wait for jobs.
        wait: Duration,
    },
}

/// What came of telling the service manager.
///
/// ```no_run
/// use std::time::Duration;
///
/// use confext_core::{consumers::Work, manager};
///
/// let mut work = Work::default();
/// work.reload_or_restart.push("nginx.service".to_owned());
/// let told = manager::act(&work, Duration::from_secs(90));
/// if let Some(failure) = &told.failure {
///     eprintln!("[{}] {}; {}", failure.code, failure.message, failure.hint);
/// }
/// assert_eq!(told.actions[0].unit.as_deref(), Some("nginx.service"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Told {
    /// Each action, in the order they were asked for.
    pub actions: Vec<Done>,
    /// Why not all of it was done; the stack stays as it is.
    pub failure: Option<Failure>,
}

/// One action of the service manager.
///
/// ```no_run
/// use std::time::Duration;
///
/// use confext_core::{consumers::Work, manager};
///
/// let mut work = Work::default();
/// work.stop.push("old.service".to_owned());
/// let told = manager::act(&work, Duration::from_secs(90));
/// assert_eq!(told.failure, None);
/// for done in &told.actions {
///     let unit = done.unit.as_deref().unwrap_or("the manager");
///     assert_eq!(done.result, "done", "{} {unit}: {:?}", done.action.as_str(), done.message);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Done {
    /// What.
    pub action: Action,
    /// The unit; `None` for the manager itself.
    pub unit: Option<String>,
    /// What came of it: `done`, what else the manager says of the job (`failed`, `canceled`, `timeout`, `dependency`,
    /// `skipped`, …), `refused` when it did not take the job, or `unknown` when it took longer than the wait.
    pub result: String,
    /// What the manager says, where it refused.
    pub message: Option<String>,
}

/// What a service manager does.
///
/// ```no_run
/// use std::time::Duration;
///
/// use confext_core::{consumers::Work, manager::{self, Action}};
///
/// let mut work = Work::default();
/// (work.reload, work.restart) = (true, vec!["nginx.service".to_owned()]);
/// let told = manager::act(&work, Duration::from_secs(90));
/// let actions: Vec<_> = told.actions.iter().map(|done| done.action).collect();
/// // Unit files are read again before a unit is restarted.
/// assert_eq!(actions, [Action::Reload, Action::Restart]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It reads all unit files again.
    Reload,
    /// It restarts a unit.
    Restart,
    /// It reloads a unit, or restarts it where that cannot be done.
    ReloadOrRestart,
    /// It stops a unit.
    Stop,
}

/// What the service manager says of itself.
///
/// ```no_run
/// use std::time::Duration;
///
/// use confext_core::manager;
///
/// let about = manager::about(Duration::from_secs(5))?;
/// println!("systemd {}", about.version);
/// assert_ne!(about.refreshes_on_reload, Some(false), "services need `confext service refresh`");
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct About {
    /// Its version, as it writes it.
    pub version: String,
    /// Whether its services know `RefreshOnReload=`; `None` when none is loaded that could be asked.
    pub refreshes_on_reload: Option<bool>,
}

/// Asks the service manager of this machine what it is. Changes nothing.
///
/// # Errors
///
/// `manager-unreachable`; `missing-capability` without the feature `manager`.
pub fn about(wait: Duration) -> Result<About> {
    #[cfg(feature = "manager")]
    return about::about(wait);
    #[cfg(not(feature = "manager"))]
    {
        let _ = wait;
        Err(Error::Missing {
            what: "the service manager",
            why: "this program was built without it".to_owned(),
        })
    }
}

/// Why not all was done.
///
/// ```no_run
/// use std::time::Duration;
///
/// use confext_core::{consumers::Work, manager};
///
/// let mut work = Work::default();
/// work.restart.push("no-such.service".to_owned());
/// let told = manager::act(&work, Duration::from_secs(90));
/// // The stack stays as it is: whoever asked has to know.
/// assert_eq!(told.failure.map(|failure| failure.code), Some("manager-action"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// The stable code: `manager-unreachable` or `manager-action`, or `missing-capability`.
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl Action {
    /// The name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Restart => "restart",
            Self::ReloadOrRestart => "reload-or-restart",
            Self::Stop => "stop",
        }
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        Self { code: error.code(), message: error.explain(), hint: error.hint() }
    }
}

impl Work {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.reload && self.in_order().next().is_none()
    }

    /// Everything about units, in the order it is asked for: what goes is stopped first.
    fn in_order(&self) -> impl Iterator<Item = (Action, &str)> {
        let stop = self.stop.iter().map(|unit| (Action::Stop, unit.as_str()));
        let restart = self.restart.iter().map(|unit| (Action::Restart, unit.as_str()));
        let gentle = self.reload_or_restart.iter().map(|unit| (Action::ReloadOrRestart, unit.as_str()));
        stop.chain(restart).chain(gentle)
    }
}

/// Tells the service manager of this machine, over the system bus.
///
/// The manager reloads first, then units are stopped, restarted and reloaded as one batch, and their jobs are waited for.
/// What fails is in the result: nothing is undone.
#[must_use]
pub fn act(work: &Work, wait: Duration) -> Told {
    match tell(work, wait) {
        Ok(actions) => {
            let failed = actions.iter().find(|action| !matches!(action.result.as_str(), "done" | "skipped"));
            let failure = failed.map(|action| {
                let target =
                    format!("{} {}", action.action.as_str(), action.unit.as_deref().unwrap_or("the manager"));
                let found = action.message.clone().unwrap_or_else(|| format!("job {}", action.result));
                Failure::of(&Error::conflict("manager-action", target, found, "job done"))
            });
            Told { actions, failure }
        }
        Err(error) => Told { actions: Vec::new(), failure: Some(Failure::of(&error)) },
    }
}

#[cfg(feature = "manager")]
fn tell(work: &Work, wait: Duration) -> Result<Vec<Done>> {
    bus::tell(work, wait)
}

#[cfg(not(feature = "manager"))]
fn tell(_: &Work, _: Duration) -> Result<Vec<Done>> {
    Err(without())
}

#[cfg(not(feature = "manager"))]
pub(crate) fn without() -> Error {
    Error::Missing { what: "D-Bus", why: "this library was built without its feature `manager`".to_owned() }
}
