//! [`UnitState`] and [`reload_unit`]: one unit of the service manager, as it is, and reloaded by a job

use std::time::Duration;

use confext_ddi::unit::Name;
use serde::Serialize;

use super::Patience;
#[cfg(feature = "manager")]
use super::talk;
use crate::error::Result;

/// What the service manager says of a unit.
///
/// ```no_run
/// use std::time::Duration;
///
/// use confext_core::manager;
///
/// let wait = Duration::from_secs(90);
/// let before = manager::unit_state("nginx", wait)?;
/// manager::reload_unit("nginx", wait)?;
/// let after = manager::unit_state("nginx", wait)?;
/// // It was a reload, and no restart.
/// assert_eq!((after.main_pid, after.started), (before.main_pid, before.started));
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnitState {
    /// Its name.
    pub unit: String,
    /// `ActiveState=`: `active`, `reloading`, `refreshing`, `inactive`, `failed`, …
    pub active: String,
    /// `SubState=`, like `running`.
    pub sub: String,
    /// `MainPID=`; none where it has no main process.
    pub main_pid: Option<u32>,
    /// `ExecMainStartTimestampMonotonic=`: when its main process started, in microseconds. With the number above it says which
    /// process it is.
    pub started: u64,
    /// `NRestarts=`: how often the manager started it again by itself.
    pub restarts: u32,
    /// `Result=`: how its last run ended, `success` while it runs.
    pub result: String,
    /// Whether it can be reloaded.
    pub can_reload: bool,
}

/// The name of a unit; without a type it is that of a service.
#[must_use]
pub fn unit_name(name: &str) -> String {
    Name::whole(name)
}

/// Asks for the state of a unit; a name without a type is that of a service.
///
/// # Errors
///
/// `manager-unreachable`, also when there is no answer in time; `manager-unit` when the manager knows no such unit;
/// `missing-capability` without the feature `manager`.
pub fn unit_state(unit: &str, wait: Duration) -> Result<UnitState> {
    state(&Name::whole(unit), Patience::of(wait))
}

/// Reloads a unit and waits for the job. Only a job that the manager calls done is no error.
///
/// The manager first refreshes the extensions of a service that it is to refresh, then has the service read its configuration.
/// A job that took longer than `wait` goes on: what comes of it is not known.
///
/// # Errors
///
/// `unit-reload` with the job's result (`failed`, `timeout`, `dependency`, `canceled`, …), or what the manager says when it does
/// not take the job; `manager-unreachable`; `missing-capability` without the feature `manager`.
pub fn reload_unit(unit: &str, wait: Duration) -> Result<()> {
    reload(&Name::whole(unit), Patience::of(wait))
}

#[cfg(feature = "manager")]
pub(crate) fn state(unit: &str, patience: Patience<'_>) -> Result<UnitState> {
    talk::state(unit, patience)
}

#[cfg(feature = "manager")]
pub(crate) fn reload(unit: &str, patience: Patience<'_>) -> Result<()> {
    talk::reload(unit, patience)
}

#[cfg(feature = "manager")]
pub(crate) fn main_process<T: Send + 'static>(
    unit: &str,
    patience: Patience<'_>,
    open: impl Fn(u32) -> Result<T> + Send + 'static,
) -> Result<Option<T>> {
    talk::main_process(unit, patience, open)
}

#[cfg(not(feature = "manager"))]
pub(crate) fn main_process<T>(_: &str, _: Patience<'_>, _: impl Fn(u32) -> Result<T>) -> Result<Option<T>> {
    Err(super::without())
}

#[cfg(not(feature = "manager"))]
pub(crate) fn state(_: &str, _: Patience<'_>) -> Result<UnitState> {
    Err(super::without())
}

#[cfg(not(feature = "manager"))]
pub(crate) fn reload(_: &str, _: Patience<'_>) -> Result<()> {
    Err(super::without())
}
