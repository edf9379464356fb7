//! `rollout`, where systemd is process 1: its lines, its exit status, and what it does when it is interrupted

use serde_json::Value;

use crate::documents::Documented;
use crate::fixture::confext;
use crate::manager::Machine;

/// The documents of a call, one a line.
fn lines(machine: &Machine, name: &str) -> Vec<Value> {
    machine.output(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
#[ignore = "needs root"]
fn versions_are_rolled_out_and_back() {
    let machine = Machine::new();
    let scratch = &machine.scratch;
    for version in 1..=6 {
        scratch.file("tree-1/etc/app/app.conf", format!("version {version}\n"));
        let image = scratch.signed("app.raw");
        std::fs::rename(image, scratch.path(&format!("work/app_{version}.raw"))).unwrap();
    }
    std::fs::copy(&scratch.vendor.certificate, scratch.path("work/vendor.crt")).unwrap();
    scratch.file(
        "work/root/etc/systemd/system/app.service",
        "[Service]\nType=exec\nExecReload=true\nExecStart=sleep infinity\n\
         ExtensionImages=-/var/lib/confexts/app.raw.v\nExtensionImagePolicy=root=unprotected+absent\n",
    );
    machine.run(
        r#"
        store=/var/lib/confexts/app.raw.v
        mkdir -p $store
        systemctl start app
        pid=$(systemctl show -P MainPID app)
        roll() { out=$1; wanted=$2; image=$3; shift 3
            call "$out" "$wanted" rollout app "app_$image.raw" --store $store --certificate vendor.crt "$@"; }
        sees='grep -qx "version $CONFEXT_VERSION" /etc/app/app.conf'
        roll first 0 1 --check "$sees" --check-inside
        roll second 0 2 --check "$sees" --check-inside --keep 1
        roll broken 5 3 --check "$sees" --check '[ $CONFEXT_VERSION != 3 ]' --check-inside
        expect "sees" "$(cat /proc/$pid/root/etc/app/app.conf)" "version 2"
        expect "same" "$(systemctl show -P MainPID app)" "$pid"
        # Interrupted in the middle of a check: it goes back by itself.
        (until test -e /run/checking; do sleep 0.01; done; kill -TERM "$(cat /run/checking)") &
        roll interrupted 5 4 --check '[ $CONFEXT_VERSION != 4 ] || { echo $PPID >/run/checking; sleep 60; }'
        test ! -e $store/app_4.raw
        expect "sees" "$(cat /proc/$pid/root/etc/app/app.conf)" "version 2"
        call signal 3 rollout app app_4.raw --store $store --certificate vendor.crt --refresh manager --reload signal
        systemctl stop app
        call stopped 3 rollout app app_4.raw --store $store --certificate vendor.crt
        ./confext rollout app app_4.raw --version 5 --store $store --certificate vendor.crt >out/text 2>&1 && exit 1
        systemctl start app
        ./confext rollout app app_4.raw --store $store --certificate vendor.crt >out/text
        pid=$(systemctl show -P MainPID app)
        roll direct 0 5 --reload none --check "$sees" --check-inside
        expect "sees" "$(cat /proc/$pid/root/etc/app/app.conf)" "version 5"
        roll="./confext rollout app app_6.raw --store $store --certificate vendor.crt --reload none"
        TERM=xterm NO_COLOR= script -qec "$roll" /dev/null </dev/null >out/terminal
        call renamed 0 service refresh app --certificate vendor.crt
        "#,
    );
    let [first, second, broken, interrupted] =
        ["first", "second", "broken", "interrupted"].map(|name| lines(&machine, name));
    let last = |all: &[Value]| all.last().unwrap()["outcome"].clone();
    assert_eq!((&last(&first)["runs"], &last(&first)["previous"]), (&"new".into(), &Value::Null));
    assert_eq!(last(&second)["pruned"]["removed"][0]["version"].as_str().or(Some("1")), Some("1"));
    let outcome = last(&broken);
    assert_eq!((&outcome["runs"], &outcome["version"]["version"]), (&"previous".into(), &"2".into()));
    assert_eq!(
        (&outcome["failure"]["step"], &outcome["failure"]["code"]),
        (&"check".into(), &"rollout-check".into())
    );
    let outcome = last(&interrupted);
    assert_eq!(
        (&outcome["failure"]["code"], &outcome["not_done"]),
        (&"rollout-cancelled".into(), &Value::Array(vec![]))
    );
    let steps = |all: &[Value]| all[..all.len() - 1].to_vec();
    Documented::read("rollout").check(&[steps(&first), steps(&broken)].concat());
    Documented::read("rollout outcome").check(&[last_line(&second), last_line(&broken)]);
    for (name, code) in [("signal", "rollout-refresh"), ("stopped", "rollout-service")] {
        let printed = machine.output(name);
        let documents = serde_json::Deserializer::from_str(&printed).into_iter::<Value>();
        assert_eq!(documents.last().unwrap().unwrap()["error"]["code"], code, "{printed}");
    }
    assert_eq!(last(&lines(&machine, "direct"))["runs"], "new");
    // What the rollout has put there is what the unit lists, though by another name since it is good.
    let report: Value = serde_json::from_str(&machine.output("renamed")).unwrap();
    assert_eq!(report["hierarchies"][0]["outcome"], "unchanged", "{report}");
    let text = machine.output("text");
    assert!(text.ends_with("version 4 runs\n") && text.contains("  reload    4\n"), "{text}");
    let terminal = machine.output("terminal");
    for part in
        ["\rpublishing [###", "] 100 %\x1b[K\r\x1b[K", "\x1b[1mSTEP\x1b[0m", "\x1b[32mversion 6 runs\x1b[0m"]
    {
        assert!(terminal.contains(part), "{terminal:?}");
    }
}

fn last_line(all: &[Value]) -> Value {
    all.last().unwrap().clone()
}

#[test]
fn what_cannot_be_rolled_out() {
    let machine = Machine::new();
    let image = machine.scratch.signed("other.raw");
    let store = machine.scratch.path("app.raw.v");
    std::fs::create_dir(&store).unwrap();
    let (image, store) = (image.to_str().unwrap(), store.to_str().unwrap());
    // Its name says no version of the store's image.
    let call = confext(["rollout", "--json", "app", image, "--store", store]);
    assert_eq!((call.status, &call.json()["error"]["code"]), (2, &"version-name".into()));
    for (option, value) in
        [("--timeout", "-1"), ("--check-timeout", "soon"), ("--reload", "restart"), ("--keep", "0")]
    {
        let arguments = ["rollout", "app", image, "--store", store, option, value];
        assert_eq!(confext(arguments).status, 2, "{option}");
    }
}
