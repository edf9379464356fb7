//! The service manager: there, reachable, and what it does about extensions of services itself

use super::machine::Machine;
use super::{Finding, State};

/// There when systemd is process 1, by its own documentation (sd_booted).
const BOOTED: &str = "run/systemd/system";

pub(super) fn systemd(machine: &Machine<'_>) -> Finding {
    if machine.exists(BOOTED) {
        return Finding::yes(format!("/{BOOTED} is there: systemd is process 1"));
    }
    Finding::no(format!("there is no /{BOOTED}: systemd is not process 1"))
        .advise("nothing, unless services are to be reloaded: merging needs no service manager")
}

pub(super) fn bus(machine: &Machine<'_>) -> Finding {
    match machine.manager() {
        Ok(about) => Finding::yes(format!("it answers on the system bus: version {}", about.version)),
        Err(error) => Finding::no(error.explain()).advise(if machine.exists(BOOTED) {
            "start the system bus (dbus.service or dbus-broker.service)"
        } else {
            "nothing, unless services are to be reloaded: merging needs no service manager"
        }),
    }
}

pub(super) fn refresh_on_reload(machine: &Machine<'_>) -> Finding {
    match machine.manager().as_ref().map(|about| about.refreshes_on_reload) {
        Ok(Some(true)) => Finding::yes("services have the property RefreshOnReload"),
        Ok(Some(false)) => Finding::no("services have no property RefreshOnReload")
            .advise("refresh the extensions of a service with confext service refresh"),
        Ok(None) => Finding::new(State::Unknown, "no service is loaded that could be asked"),
        Err(_) => Finding::new(State::Unknown, "the service manager cannot be asked; see systemd-bus"),
    }
}
