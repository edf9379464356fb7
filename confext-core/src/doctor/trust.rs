//! Whose signatures count here, and whether the clock can tell when

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use confext_ddi::signature::Time;

use super::machine::Machine;
use super::{Finding, State};
use crate::keyring::{KeyState, Keyring, TRUSTED};
use crate::trust::{Trust, TrustState};

/// Files whose time is the least that a clock can say: the system's own, and the last one that was known.
const NOT_BEFORE: [&str; 4] =
    ["usr/lib/clock-epoch", "var/lib/systemd/timesync/clock", "usr/lib/os-release", "etc/os-release"];
/// There when the time came from the network.
const SYNCHRONISED: [&str; 2] = ["run/systemd/timesync/synchronized", "run/chrony/chronyd.pid"];

pub(super) fn keyrings(_: &Machine<'_>) -> Finding {
    let (mut with_keys, mut hidden) = (Vec::new(), false);
    for name in TRUSTED {
        match Keyring::find(name).and_then(|keyring| keyring.keys()) {
            Ok(keys) => {
                let valid = keys.iter().filter(|key| key.state == KeyState::Valid).count();
                if valid > 0 {
                    with_keys.push(format!("{name} ({valid})"));
                }
            }
            Err(error) => hidden |= error.code() == "os" || !rustix::process::geteuid().is_root(),
        }
    }
    if !with_keys.is_empty() {
        return Finding::yes(format!("valid keys in {}", with_keys.join(", ")));
    }
    if hidden {
        return Finding::new(State::NotPermitted, "only root sees the keyrings that the kernel trusts")
            .advise("run as root to see them; confext trust shows each key");
    }
    Finding::no("no keyring that the kernel trusts has a valid key")
        .advise("trust certificates of verity.d, or enrol a key (see confext trust)")
}

pub(super) fn certificates(machine: &Machine<'_>) -> Finding {
    let advice = "put the certificate of whoever signs your images into /etc/verity.d, as NAME.crt";
    let trust = match Trust::read(machine.host, Time::from(machine.now)) {
        Ok(trust) => trust,
        Err(error) => return Finding::new(State::Unknown, error.explain()).advise(error.hint()),
    };
    let refused = trust.files.iter().filter(|file| matches!(file.state, TrustState::Refused { .. })).count();
    let unreadable = if refused == 0 {
        String::new()
    } else {
        format!("; {refused} files cannot be used, see confext trust")
    };
    let now = Time::from(machine.now);
    let all = trust.certificates.len();
    let valid = trust.certificates.iter().filter(|certificate| {
        let (from, to) = certificate.validity();
        from <= now && now <= to
    });
    match (valid.count(), all) {
        (0, 0) => Finding::no(format!("no certificate in verity.d{unreadable}")).advise(advice),
        (0, all) => {
            Finding::no(format!("{all} certificates in verity.d, none of them valid now{unreadable}"))
                .advise("renew the certificates, or look at the item clock")
        }
        (valid, all) => {
            Finding::yes(format!("{valid} of {all} certificates in verity.d are valid now{unreadable}"))
        }
    }
}

/// A clock that is behind lets certificates count that have expired, and refuses new ones.
pub(super) fn clock(machine: &Machine<'_>) -> Finding {
    let modified = |path: &str| {
        let file = machine.host.open_path(Path::new(path), crate::sys::OFlags::empty()).ok()?;
        Some((std::fs::File::from(file).metadata().ok()?.modified().ok()?, path.to_owned()))
    };
    let shown = |moment: SystemTime| Time::from(moment);
    let now = shown(machine.now);
    let floor = NOT_BEFORE.into_iter().filter_map(modified).max();
    if let Some((floor, path)) = floor.filter(|(floor, _)| *floor > machine.now) {
        return Finding::no(format!("it says {now}, and /{path} is from {}", shown(floor)))
            .advise("set the clock: with it, certificates are valid or not at the wrong time");
    }
    if machine.now.duration_since(UNIX_EPOCH).is_err() {
        return Finding::no(format!("it says {now}")).advise("set the clock");
    }
    let network = SYNCHRONISED
        .into_iter()
        .any(|path| machine.host.open_path(Path::new(path), crate::sys::OFlags::empty()).is_ok());
    let source =
        if network { "set from the network" } else { "whether it is set from the network is not known" };
    Finding::yes(format!("it says {now}, which is not before anything on this system; {source}"))
}
