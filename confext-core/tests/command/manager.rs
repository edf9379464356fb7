//! `--reload`, where systemd is process 1: what extensions ask of the service manager is done, and nothing else

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::fixture::{Scratch, confext};

/// A directory with the command, for a machine whose service manager is systemd's.
pub struct Machine {
    pub scratch: Scratch,
    work: PathBuf,
}

const EXTENSIONS: &str = "work/root/var/lib/extensions";

impl Machine {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let work = scratch.path("work");
        std::fs::create_dir_all(&work).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_confext"), work.join("confext")).unwrap();
        Self { scratch, work }
    }

    /// A sysext with a service, and these lines in its release file.
    fn extension(&self, place: &str, name: &str, keys: &str) {
        let release = format!("{place}/{name}/usr/lib/extension-release.d/extension-release.{name}");
        self.scratch.file(&release, format!("ID=_any\n{keys}"));
        let unit = format!("{place}/{name}/usr/lib/systemd/system/{name}.service");
        self.scratch.file(&unit, "[Service]\nExecStart=sleep infinity\n");
    }

    /// Runs the script on the machine and returns the files that it writes into `out`, as JSON where they are.
    pub fn run(&self, script: &str) {
        self.run_on(&[], script);
    }

    /// The same with options of `tests/manager.sh`.
    fn run_on(&self, options: &[&str], script: &str) {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/manager.sh");
        let functions = r#"set -eu
            mkdir -p out
            expect() { [ "$2" = "$3" ] || { echo "$1: found $2, expected $3" >&2; exit 1; }; }
            # Calls the command, keeps its document, and compares the exit status.
            call() { out=$1; wanted=$2; shift 2; status=0
                ./confext --json "$@" >"out/$out" || status=$?
                expect "$out" "$status" "$wanted"; }
            policy='--class sysext --policy root=unprotected+absent'
        "#;
        let output = Command::new(tests)
            .args(options)
            .arg(&self.work)
            .args(["sh", "-c", &format!("{functions}\n{script}")])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}: {errors}", output.status);
    }

    fn document(&self, name: &str) -> Value {
        serde_json::from_str(&self.output(name)).unwrap()
    }

    /// What the command printed.
    pub fn output(&self, name: &str) -> String {
        std::fs::read_to_string(self.work.join("out").join(name)).unwrap()
    }

    /// The actions of a report, each with its result.
    fn told(&self, name: &str) -> Vec<String> {
        let report = self.document(name);
        let Some(actions) = report["told"]["actions"].as_array() else { return Vec::new() };
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        actions
            .iter()
            .map(|one| [word(&one["action"]), word(&one["unit"]), word(&one["result"])].join(" "))
            .collect()
    }
}

#[test]
#[ignore = "needs root"]
fn units_are_reloaded_restarted_and_stopped_as_extensions_ask() {
    let machine = Machine::new();
    machine.extension(EXTENSIONS, "app", "EXTENSION_RESTART_UNITS=app.service\n");
    machine.extension("work/later", "two", "EXTENSION_RELOAD_OR_RESTART_UNITS=two.service\n");
    machine.run(
        r#"
        call merged 0 merge $policy --reload
        expect active "$(systemctl is-active app.service)" active
        before=$(systemctl show -P MainPID app.service)
        call unchanged 0 refresh $policy --reload
        expect "left alone" "$(systemctl show -P MainPID app.service)" "$before"
        cp -a later/two /var/lib/extensions/
        call silent 0 refresh $policy
        expect "nobody told" "$(systemctl is-active two.service || :)" inactive
        rm -r /var/lib/extensions/two
        call gone 0 refresh $policy --reload
        expect "restarted" "$(systemctl show -P MainPID app.service | grep -cx "$before" || :)" 0
        cp -a later/two /var/lib/extensions/
        call second 0 refresh $policy --reload
        expect active "$(systemctl is-active two.service)" active
        call unmerged 0 unmerge --class sysext --reload
        expect stopped "$(systemctl is-active app.service || :)" inactive
        expect stopped "$(systemctl is-active two.service || :)" inactive
        "#,
    );
    assert_eq!(machine.told("merged"), ["reload - done", "restart app.service done"]);
    assert_eq!(machine.document("unchanged")["outcome"], "unchanged");
    assert!(machine.document("unchanged")["told"].is_null() && machine.document("silent")["told"].is_null());
    assert_eq!(
        machine.document("silent")["after"]["manager"]["reload_or_restart"],
        serde_json::json!(["two.service"])
    );
    assert_eq!(
        machine.told("gone"),
        ["reload - done", "stop two.service skipped", "restart app.service done"]
    );
    assert_eq!(
        machine.told("second"),
        ["reload - done", "restart app.service done", "reload-or-restart two.service done"]
    );
    assert_eq!(machine.told("unmerged"), ["reload - done", "stop app.service done", "stop two.service done"]);
}

#[test]
#[ignore = "needs root"]
fn a_unit_that_fails_undoes_nothing() {
    let machine = Machine::new();
    machine.extension(EXTENSIONS, "app", "EXTENSION_RESTART_UNITS=\"no.service app.service\"\n");
    machine.extension("work/other/var/lib/extensions", "app", "EXTENSION_RESTART_UNITS=app.service\n");
    machine.scratch.file("work/other/usr/lib/os-release", "ID=x\n");
    machine.run(
        r#"
        call merged 4 merge $policy --reload
        expect active "$(systemctl is-active app.service)" active
        test -e /usr/lib/systemd/system/app.service
        call other 0 merge $policy --root "$PWD/other" --reload
        test -e other/usr/lib/systemd/system/app.service
        call back 0 unmerge --class sysext --root "$PWD/other" --reload
        mv /run/dbus/system_bus_socket /run/dbus/hidden
        call alone 4 unmerge --class sysext --reload
        mv /run/dbus/hidden /run/dbus/system_bus_socket
        test ! -e /usr/lib/systemd/system/app.service
        "#,
    );
    assert_eq!(
        machine.told("merged"),
        ["reload - done", "restart app.service done", "restart no.service refused"]
    );
    assert_eq!(machine.document("merged")["told"]["failure"]["code"], "manager-action");
    assert_eq!(machine.document("merged")["outcome"], "merged");
    assert!(machine.document("other")["told"].is_null() && machine.document("back")["told"].is_null());
    assert_eq!(machine.document("alone")["told"]["failure"]["code"], "manager-unreachable");
    assert_eq!(machine.document("alone")["outcome"], "unmerged");
}

/// A machine with a unit, and version 1 of an image beside it; version 2 is at hand.
fn machine_with_an_image_beside_a_unit() -> Machine {
    let machine = Machine::new();
    let unit =
        "[Service]\nType=exec\nExecStart=sleep infinity\nExtensionImagePolicy=root=unprotected+absent\n";
    machine.scratch.file("work/root/etc/systemd/system/app.service", unit);
    let versions = "work/root/etc/systemd/system/app.service.confext.d/app.raw.v";
    for version in [1, 2] {
        let release = format!("tree-{version}/etc/extension-release.d/extension-release.app");
        machine.scratch.file(&release, "ID=_any\n");
        machine.scratch.file(&format!("tree-{version}/etc/app/version"), format!("{version}\n"));
        let place = if version == 1 { versions } else { "work" };
        std::fs::create_dir_all(machine.scratch.path(place)).unwrap();
        let image = machine.scratch.path(&format!("{place}/app_{version}.raw"));
        let tree = machine.scratch.path(&format!("tree-{version}"));
        let options = ["build", "--class", "confext", "--name", "app", "--unsigned", "--source"];
        let paths = [tree.to_str().unwrap(), "--output", image.to_str().unwrap()];
        confext(options.iter().chain(&paths)).ok();
    }
    machine
}

/// The generator is installed, the service started with the first version, and a second one dropped.
const DROPPED: &str = r#"
    cp confext /usr/local/bin/confext
    call installed 0 service install-generator --program /usr/local/bin/confext
    systemctl daemon-reload
    systemctl start app.service
    expect started "$(seen)" 1
    before=$(systemctl show -P MainPID app.service)
    cp app_2.raw /etc/systemd/system/app.service.confext.d/app.raw.v/
"#;

const SEEN: &str = r#"
    seen() { nsenter --target "$(systemctl show -P MainPID app.service)" --mount cat /etc/app/version || :; }
"#;

#[test]
#[ignore = "needs root"]
fn extensions_beside_a_unit_are_there_at_its_start_and_new_ones_at_its_reload() {
    let machine = machine_with_an_image_beside_a_unit();
    machine.run(&format!(
        "{SEEN}{}{DROPPED}{}",
        r#"
        systemctl start app.service
        expect "nobody knows of it" "$(seen 2>/dev/null)" ""
        systemctl stop app.service
        "#,
        r#"
        systemctl reload app.service
        expect reloaded "$(seen)" 2
        expect "the same process" "$(systemctl show -P MainPID app.service)" "$before"
        call read 0 service show app
        call live 0 service show app --live
        call gone 0 service uninstall-generator
        systemctl daemon-reload
        expect "no drop-in" "$(systemctl show -P DropInPaths app.service)" ""
        "#,
    ));
    let (read, live) = (machine.document("read"), machine.document("live"));
    for key in ["images", "directories", "policy"] {
        assert_eq!(read["service"]["extensions"][key], live["service"]["extensions"][key], "{key}");
    }
    assert_eq!((&read["files"], &read["name"]), (&live["files"], &live["name"]));
    assert_eq!(live["running"]["active"], "active");
}

/// There systemd has no refresh, so that a new version comes by ours.
#[test]
#[ignore = "needs root"]
fn extensions_beside_a_unit_of_systemd_257() {
    let machine = machine_with_an_image_beside_a_unit();
    machine.run_on(
        &["--stable"],
        &format!(
            "{SEEN}{DROPPED}{}",
            r#"
            call plan 0 service plan app
            call refreshed 0 service refresh app
            expect refreshed "$(seen)" 2
            call again 0 service refresh app
            expect "the same process" "$(systemctl show -P MainPID app.service)" "$before"
            systemctl restart app.service
            expect restarted "$(seen)" 2
            call gone 0 service uninstall-generator
            systemctl daemon-reload
            expect "no drop-in" "$(systemctl show -P DropInPaths app.service)" ""
            "#
        ),
    );
    let outcome = |name: &str| {
        let hierarchy = &machine.document(name)["hierarchies"][0];
        [&hierarchy["outcome"], &hierarchy["found"]].map(|word| word.as_str().unwrap().to_owned())
    };
    assert_eq!(outcome("refreshed"), ["refreshed", "systemd"]);
    assert_eq!(outcome("again"), ["unchanged", "own"]);
}

/// What the files say, what the manager has loaded and what the service sees are three things, with systemd 262 and 257.
#[test]
#[ignore = "needs root"]
fn a_command_has_the_stack_of_a_unit_by_its_files_or_by_the_manager() {
    let machine = Machine::new();
    for name in ["one", "two"] {
        let release = format!("work/root/srv/{name}/etc/extension-release.d/extension-release.{name}");
        machine.scratch.file(&release, "ID=_any\n");
        machine.scratch.file(&format!("work/root/srv/{name}/etc/version"), name);
    }
    machine.scratch.file("work/root/srv/guest/etc/os-release", "ID=guest\n");
    machine.scratch.file("work/root/srv/guest/etc/base", " guest");
    let one = "ExtensionDirectories=/srv/one\n";
    for (name, settings) in [
        ("app", one.to_owned()),
        ("guest", format!("{one}RootDirectory=/srv/guest\n")),
        ("image", format!("{one}RootImage=/srv/guest.raw\n")),
        ("bare", String::new()),
    ] {
        let text = format!("[Service]\nType=exec\nExecStart=sleep infinity\n{settings}");
        machine.scratch.file(&format!("work/root/etc/systemd/system/{name}.service"), text);
    }
    let script = r#"
        cp confext /usr/bin/confext
        cd /
        as() { unit=$1; shift; confext run --service "$unit" --policy root=unprotected+absent "$@"; }
        fails() { wanted=$1 code=$2; shift 2; status=0
            found=$("$@" 2>&1) || status=$?
            expect "$*: $found" "$status" "$wanted"
            case $found in *"$code"*) ;; *) echo "$*: $found" >&2; exit 1;; esac; }
        nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs confext run --service "$@"; }
        seen() { cat "/proc/$(systemctl show -P MainPID app.service)/root/etc/version"; }

        systemctl start app.service
        expect files "$(as app -- cat /etc/version)" one
        sed -i s,/srv/one,/srv/two, /etc/systemd/system/app.service
        expect "files now" "$(as app -- cat /etc/version)" two
        expect loaded "$(as app --live -- cat /etc/version)" one
        systemctl daemon-reload
        expect "loaded now" "$(as app --live -- cat /etc/version)" two
        expect "the service has what it had" "$(seen)" one
        expect "nobody else sees it" "$(cat /etc/version 2>/dev/null || :)" ""
        expect "an ordinary user" \
            "$(nobody app --live --policy root=unprotected+absent -- cat /etc/version)" two

        for name in bin sbin lib lib64; do ln -s usr/$name /srv/guest/$name; done
        mkdir /srv/guest/usr
        mount --rbind /usr /srv/guest/usr
        for live in "" --live; do
            expect "its own root" "$(as guest $live -- cat /etc/version /etc/base)" "one guest"
            fails 7 "" as app $live -- sh -c "exit 7"
            fails 127 "" as app $live -- /no/such/program
            fails 125 "mounted" as image $live -- true
            fails 125 "none" as bare $live -- true
            fails 125 "missing" as missing $live -- true
            fails 125 "name" as ../app $live -- true
            fails 125 "policy" confext run --service app $live -- true
        done
        fails 2 "--service" confext run --live -- true
        fails 2 "--root" as app --live --root / -- true
        fails 2 "--class" as app --class sysext -- true
        mv /run/dbus/system_bus_socket /run/dbus/hidden
        fails 125 "bus" as app --live -- true
        expect "files need nobody" "$(as app -- cat /etc/version)" two
        "#;
    for systemd in [&[][..], &["--stable"]] {
        machine.run_on(systemd, script);
    }
}
