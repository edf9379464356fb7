//! [`Unit::live`]: a unit as the running service manager has it

#[cfg(feature = "manager")]
mod answer;

use std::time::Duration;

use super::Unit;
use crate::error::Result;

impl Unit {
    /// Asks the running service manager for a unit, which it loads for that if it has to. What it skipped of the unit's files is
    /// not in there, and neither is where each setting is from. A policy that is systemd's default is taken for none.
    ///
    /// # Errors
    ///
    /// `unit-masked`; `manager-unit` when the manager knows no such unit, or answers what is not understood;
    /// `manager-unreachable`, also when there is no answer in time; `missing-capability` without the feature `manager`.
    pub fn live(name: &str, wait: Duration) -> Result<Self> {
        #[cfg(feature = "manager")]
        return answer::live(name, wait);
        #[cfg(not(feature = "manager"))]
        {
            let _ = (name, wait);
            Err(crate::manager::without())
        }
    }
}
