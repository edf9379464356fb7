//! Services of each kind: reloaded by notification, by a command, by a signal; and what does not work goes back

use std::fs;
use std::num::NonZeroUsize;
use std::process::Command;
use std::time::Duration;

use confext_core::rollout::{
    Check, Event, Inside as Where, Outcome, Refresh, Reload, Rollout, Runs, Signal, State, Step, Unit,
    rollout,
};
use confext_core::{Host, manager};

use crate::machine::{Inside, directly_by, extensions, on_machine, run};

const WAIT: Duration = Duration::from_secs(30);

/// A shell that writes what it read into `/run/NAME.read`, and reads again when it gets a signal.
fn script(name: &str, reload: &str) -> String {
    format!(
        "ExecStart=/bin/bash -c 'look() {{ cat /etc/app.conf >/run/{name}.read; }}; trap \"{reload}\" HUP; look; \
         systemd-notify --ready; while :; do sleep 1000 & wait $$!; done'\n"
    )
}

fn unit(name: &str, settings: &str, reload: &str) -> String {
    format!("[Service]\nNotifyAccess=all\n{}{settings}\n{}", extensions("app"), script(name, reload))
}

/// Rolls a version out to a unit that is told in this way, with a check of this script.
fn roll(inside: &Inside, version: u32, unit: &mut Unit<'_>, keep: usize) -> (Outcome, Vec<Event>) {
    let (store, image) = (inside.store("app"), inside.open("app", version));
    let mut wanted = Rollout::new(&store, &image, inside.options(version));
    wanted.keep = NonZeroUsize::new(keep);
    let mut events = Vec::new();
    let outcome = rollout(&wanted, unit, &mut |event| events.push(event)).unwrap();
    (outcome, events)
}

fn checked(name: &str, script: &str) -> Unit<'static> {
    let mut unit = Unit::new(name);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    unit.checks.push(Check::Command(command, Where::Service));
    unit
}

fn steps(events: &[Event]) -> Vec<String> {
    let ended = events.iter().filter(|event| event.state != State::Started);
    ended
        .map(|event| {
            let (way, step) = (event.way.as_str(), event.step.as_str());
            let failed = if event.state == State::Failed { " failed" } else { "" };
            format!("{way} {step} {}{failed}", event.version.as_deref().unwrap_or("-"))
        })
        .collect()
}

fn prepare(outside: &crate::machine::Outside) {
    for version in 1..=4 {
        outside.image("app", version, "etc/app.conf", &format!("version {version}\n"));
    }
    outside.installed("app", 1);
    let notifies = "systemd-notify --reloading; look; systemd-notify --ready";
    for (name, settings, reload) in [
        ("notify", "Type=notify-reload", notifies),
        ("command", "Type=notify\nExecReload=/bin/sh -c 'kill -HUP $MAINPID'", "look"),
        ("broken", "Type=notify\nExecReload=/bin/grep -qv 3 /etc/app.conf", "look"),
        ("fixed", "Type=notify", "look"),
    ] {
        outside.file(&format!("etc/systemd/system/{name}.service"), &unit(name, settings, reload));
    }
}

#[test]
#[ignore = "needs root"]
fn a_service_runs_the_new_version_or_the_one_before() {
    on_machine("services::a_service_runs_the_new_version_or_the_one_before", prepare, |inside| {
        for name in ["notify", "command", "broken"] {
            fs::remove_dir_all("/var/lib/confexts/app.raw.v").unwrap();
            fs::create_dir("/var/lib/confexts/app.raw.v").unwrap();
            fs::copy("app_1.raw", "/var/lib/confexts/app.raw.v/app_1.raw").unwrap();
            run("systemctl", &["start", name]);
            let before = manager::unit_state(name, WAIT).unwrap();
            in_turn(inside, name);
            let after = manager::unit_state(name, WAIT).unwrap();
            assert_eq!(after, before, "it is still the same process");
            run("systemctl", &["stop", name]);
        }
        refused(inside);
        directly(inside);
    });
}

fn in_turn(inside: &Inside, name: &str) {
    // The service sees the version that is checked, and has read it.
    let read = format!(
        "grep -qx \"version $CONFEXT_VERSION\" /etc/app.conf && \
         until grep -qx \"version $CONFEXT_VERSION\" /run/{name}.read; do sleep 0.01; done"
    );
    let read = if name == "broken" { "exit 0" } else { &read };
    let (outcome, events) = roll(inside, 2, &mut checked(name, read), 5);
    assert!(outcome.is_complete(), "{name}: {outcome:?}");
    let there =
        ["lock -", "look -", "publish 2", "begin 2", "refresh 2", "reload 2", "check 2", "good 2", "prune 2"];
    assert_eq!(steps(&events), there.map(|step| format!("there {step}")), "{name}");
    let no =
        if name == "broken" { "exit 0".to_owned() } else { format!("{read} && [ $CONFEXT_VERSION != 3 ]") };
    let (outcome, events) = roll(inside, 3, &mut checked(name, &no), 5);
    let failed = if name == "broken" { Step::Reload } else { Step::Check };
    let context = format!("{name}: {outcome:?}");
    assert_eq!((outcome.runs, &outcome.not_done[..]), (Runs::Previous, &[][..]), "{context}");
    assert_eq!(outcome.failure.as_ref().map(|it| it.step), Some(failed), "{context}");
    assert_eq!(outcome.version.map(|it| it.version).as_deref(), Some("2"), "{context}");
    let last = &steps(&events)[steps(&events).len() - 4..];
    assert_eq!(last, ["back bad 3", "back refresh 2", "back reload 2", "back check 2"], "{context}");
    let sees = format!("/proc/{}/root/etc/app.conf", main_pid(name));
    assert_eq!(fs::read_to_string(sees).unwrap(), "version 2\n", "{name}");
    // What is bad is not tried again, and what is used is not pruned.
    let (outcome, _) = roll(inside, 3, &mut checked(name, read), 1);
    assert_eq!((outcome.runs, outcome.failure.unwrap().code), (Runs::Previous, "version-tries"), "{name}");
    let (outcome, _) = roll(inside, 4, &mut checked(name, read), 1);
    assert!(outcome.is_complete(), "{name}: {outcome:?}");
    let left: Vec<String> =
        inside.store("app").versions().unwrap().into_iter().map(|it| it.version).collect();
    assert!(left.first().is_some_and(|best| best == "4"), "{name}: {left:?}");
    let in_use = outcome.pruned.unwrap().in_use.len();
    assert_eq!(left.len(), 1 + in_use, "{name}: {left:?}");
}

/// A service that only knows a signal sees a version by our own refresh.
fn directly(inside: &Inside) {
    fs::remove_dir_all("/var/lib/confexts/app.raw.v").unwrap();
    fs::create_dir("/var/lib/confexts/app.raw.v").unwrap();
    fs::copy("app_1.raw", "/var/lib/confexts/app.raw.v/app_1.raw").unwrap();
    run("systemctl", &["restart", "fixed"]);
    let host = Host::open("/").unwrap();
    let unit = |script: &str| {
        let mut unit = checked("fixed", script);
        unit.refresh = directly_by(inside, &host, "app");
        unit.reload = Reload::Signal(Signal::Hup);
        unit
    };
    let read = "until grep -qx \"version $CONFEXT_VERSION\" /run/fixed.read; do sleep 0.01; done";
    let (outcome, _) = roll(inside, 2, &mut unit(read), 5);
    assert!(outcome.is_complete(), "{outcome:?}");
    let (outcome, _) = roll(inside, 3, &mut unit(&format!("{read}; [ $CONFEXT_VERSION != 3 ]")), 5);
    assert_eq!((outcome.runs, &outcome.not_done[..]), (Runs::Previous, &[][..]), "{outcome:?}");
    let sees = format!("/proc/{}/root/etc/app.conf", main_pid("fixed"));
    assert_eq!(fs::read_to_string(sees).unwrap(), "version 2\n");
}

fn main_pid(name: &str) -> u32 {
    manager::unit_state(name, WAIT).unwrap().main_pid.unwrap()
}

/// What cannot be told, or does not run, is touched by nobody.
fn refused(inside: &Inside) {
    let (store, image) = (inside.store("app"), inside.open("app", 3));
    let before = store.versions().unwrap();
    let refused = |mut unit: Unit<'_>| {
        let wanted = Rollout::new(&store, &image, inside.options(3));
        rollout(&wanted, &mut unit, &mut |_| {}).unwrap_err().code()
    };
    assert_eq!(refused(Unit::new("notify")), "rollout-service");
    assert_eq!(refused(Unit::new("nothing")), "manager-unit");
    run("systemctl", &["start", "fixed"]);
    assert_eq!(refused(Unit::new("fixed")), "rollout-refresh");
    let mut by_signal = Unit::new("fixed");
    by_signal.reload = Reload::Signal(Signal::Hup);
    assert_eq!(refused(by_signal), "rollout-refresh");
    assert_eq!(store.versions().unwrap(), before);
    // A signal reaches the main process; one that ends of it is not the same any more.
    for (signal, expected) in [(Signal::Hup, Runs::New), (Signal::Usr1, Runs::Previous)] {
        fs::remove_file("/run/fixed.read").unwrap();
        fs::remove_dir_all("/var/lib/confexts/app.raw.v").unwrap();
        fs::create_dir("/var/lib/confexts/app.raw.v").unwrap();
        let mut unit = checked("fixed", "until test -e /run/fixed.read; do sleep 0.01; done");
        unit.reload = Reload::Signal(signal);
        unit.refresh = Refresh::Call(Box::new(|_| Ok(())));
        unit.settle = Duration::from_millis(200);
        let store = inside.store("app");
        let wanted = Rollout::new(&store, &image, inside.options(3));
        let outcome = rollout(&wanted, &mut unit, &mut |_| {});
        let outcome = outcome.unwrap();
        if expected == Runs::New {
            assert!(outcome.is_complete(), "{outcome:?}");
        } else {
            let failure = outcome.failure.unwrap();
            assert_eq!((failure.step, failure.code), (Step::Check, "rollout-service"), "{failure:?}");
            assert_eq!(outcome.runs, Runs::Unknown, "there is nothing left that could be told");
        }
    }
}
