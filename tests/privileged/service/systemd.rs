//! Services of systemd, refreshed here and reloaded there, in both orders: the sandbox stays, the same content comes out

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use confext_core::Host;
use confext_core::service::{self, Changed, Found, Unit, ground_of, main_process};
use confext_core::stack::Outcome;
use confext_core::state::Checked;
use confext_core::trace::{Answer, KnownFrom};
use confext_ddi::build::{Builder, Meta, Tree};
use confext_ddi::release::ImageKind;
use confext_ddi::unit::{Entry, Extensions};

use crate::machine::{Outside, Systemd, on_machine, on_machine_of, run};

const WAIT: Duration = Duration::from_secs(30);

/// Below `/etc` of the sandboxed service, and what systemd mounts there.
const SANDBOX: &str = "ProtectSystem=strict\nInaccessiblePaths=/etc/secret /etc/hidden.conf\nReadOnlyPaths=/etc/ro\n\
    BindPaths=/srv/bound:/etc/bound\nBindReadOnlyPaths=/srv/file:/etc/file\nTemporaryFileSystem=/etc/empty\n\
    NoExecPaths=/etc/run /etc\n";

/// A service whose root is an image.
const IMAGE: &str = "[Service]\nType=exec\nRootImage=/srv/os.raw\nRootImagePolicy=root=unprotected+absent\n\
    ExtensionImages=/var/lib/confexts/app.raw.v\nExtensionImagePolicy=root=unprotected+absent\nMountAPIVFS=yes\n\
    RefreshOnReload=extensions\nBindReadOnlyPaths=/usr/bin /usr/lib -/usr/lib64\nExecStart=/usr/bin/sleep infinity\n";

fn unit(settings: &str, images: &str) -> String {
    format!(
        "[Service]\nType=notify-reload\nNotifyAccess=all\nExtensionImages={images}\n\
         ExtensionImagePolicy=root=unprotected+absent\n{settings}\n\
         ExecStart=/bin/bash -c 'trap \"systemd-notify --reloading; systemd-notify --ready\" HUP; \
         systemd-notify --ready; while :; do sleep 1000 & wait $$!; done'\n"
    )
}

fn prepare(outside: &Outside) {
    for version in 1..=6 {
        let version_text = version.to_string();
        outside.image_of("app", version, &[("etc/app.conf", &*version_text), ("etc/ro/app", &*version_text)]);
        outside.image("top", version, "etc/app.conf", &format!("top {version}"));
    }
    outside.installed("app", 1);
    outside.installed("top", 1);
    for (path, content) in [
        ("etc/secret/key", "key"),
        ("etc/hidden.conf", "hidden"),
        ("etc/ro/f", "ro"),
        ("etc/run/f", "run"),
        ("etc/bound/own", "own"),
        ("etc/file", "own"),
        ("etc/empty/f", "not seen"),
        ("srv/bound/f", "bound"),
        ("srv/file", "bound"),
        ("srv/root/etc/os-release", "ID=other\nVERSION_ID=9\n"),
        ("srv/root/etc/app.conf", "root"),
    ] {
        outside.file(path, content);
    }
    system(outside, "srv/os.raw", "ID=inner\nVERSION_ID=3\n", ("etc/inner.conf", "inner"));
    outside.file("etc/systemd/system/image.service", IMAGE);
    outside.file("srv/hosts/etc/extension-release.d/extension-release.hosts", "ID=_any\n");
    outside.file("srv/hosts/etc/hosts.conf", "merged");
    outside.file(
        "etc/systemd/system/unset.service",
        "[Service]\nExecStart=/bin/true\nExtensionImages=/a.raw.v\n",
    );
    let app = "/var/lib/confexts/app.raw.v";
    let both = format!("{app} /var/lib/confexts/top.raw.v");
    let root = "RootDirectory=/srv/root\nBindReadOnlyPaths=/usr/bin /usr/lib -/usr/lib64\nMountAPIVFS=yes";
    for (name, settings, images) in
        [("box", SANDBOX, app), ("plain", "", app), ("both", "", &*both), ("root", root, app)]
    {
        let mut text = unit(settings, images);
        if name == "root" {
            text = text.replace("Type=notify-reload\nNotifyAccess=all\n", "Type=exec\n");
            text =
                text[..text.find("ExecStart=").unwrap()].to_owned() + "ExecStart=/usr/bin/sleep infinity\n";
        }
        outside.file(&format!("etc/systemd/system/{name}.service"), &text);
    }
}

/// A signed image with a system that programs of the machine can be run in, and a file of its own.
fn system(outside: &Outside, path: &str, os_release: &str, (own, content): (&str, &str)) {
    let mut tree = Tree::new();
    for name in ["usr/bin", "usr/lib", "usr/lib64", "run", "proc", "sys", "dev", "tmp", "var/tmp", "etc"] {
        tree.add_dir(name, Meta::new(0o755)).unwrap();
    }
    for name in ["bin", "lib", "lib64", "sbin"] {
        tree.add_symlink(name, format!("usr/{name}"), Meta::new(0o777)).unwrap();
    }
    for (path, text) in [("etc/os-release", os_release), (own, content)] {
        tree.add_file(path, text.as_bytes(), Meta::new(0o644)).unwrap();
    }
    let builder = Builder::new(ImageKind::Portable, "system").tree(tree);
    builder.build_file(outside.dir.path().join("root").join(path), Some(&outside.key)).unwrap();
}

/// Has the vendor's signatures count.
fn trust() {
    fs::create_dir_all("/etc/verity.d").unwrap();
    fs::copy("vendor.crt", "/etc/verity.d/vendor.crt").unwrap();
}

/// Puts another version in the place of the one that is there.
fn put(name: &str, version: u32) {
    let store = format!("/var/lib/confexts/{name}.raw.v");
    let new = format!("{store}/{name}_{version}.raw");
    fs::copy(format!("{name}_{version}.raw"), format!("{store}/.new")).unwrap();
    fs::rename(format!("{store}/.new"), &new).unwrap();
    for entry in fs::read_dir(&store).unwrap() {
        let path = entry.unwrap().path();
        if path != Path::new(&new) {
            fs::remove_file(path).unwrap();
        }
    }
}

fn refresh(unit: &str, names: &[&str]) -> Changed {
    let mut extensions = Extensions::default();
    let entry = |name: &&str| Entry::image(format!("/var/lib/confexts/{name}.raw.v"));
    extensions.images = names.iter().map(entry).collect();
    let host = Host::open("/").unwrap();
    let process = main_process(&format!("{unit}.service"), WAIT).unwrap();
    let options = service::Options::new(confext_core::Options::default());
    let report = service::refresh(&host, &process, &extensions, &options);
    let report = report.unwrap_or_else(|error| panic!("{unit}: {}", error.explain()));
    report.hierarchies.into_iter().next().unwrap()
}

fn seen(unit: &str, path: &str) -> Option<String> {
    let pid = main_process(&format!("{unit}.service"), WAIT).unwrap().pid();
    fs::read_to_string(format!("/proc/{pid}/root/{path}")).ok()
}

/// Mount point, attributes and type of what is mounted at and below `/etc`.
fn mounts(unit: &str) -> Vec<String> {
    let pid = main_process(&format!("{unit}.service"), WAIT).unwrap().pid();
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let fields = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let front: Vec<_> = front.split(' ').collect();
        let kind = back.split(' ').next()?;
        Path::new(front[4])
            .starts_with("/etc")
            .then(|| format!("{} {} {kind} {}", front[4], front[5], front[3]))
    };
    let mut found: Vec<String> = text.lines().filter_map(fields).collect();
    found.sort();
    found
}

#[test]
#[ignore = "needs root"]
fn a_service_of_systemd_is_refreshed_and_reloaded() {
    on_machine("systemd::a_service_of_systemd_is_refreshed_and_reloaded", prepare, |_| {
        trust();
        sandboxed();
        in_turns();
        ordered();
        of_another_root();
        of_an_image(Systemd::V262);
        over_what_the_host_has_merged();
        unset();
    });
}

/// It has no refresh of its own. What is done here needs none.
#[test]
#[ignore = "needs root"]
fn a_service_of_systemd_257_is_refreshed() {
    on_machine_of(Systemd::V257, "systemd::a_service_of_systemd_257_is_refreshed", prepare, |_| {
        trust();
        sandboxed();
        put("app", 1);
        run("systemctl", &["start", "plain"]);
        put("app", 2);
        run("systemctl", &["reload", "plain"]);
        assert_eq!(seen("plain", "etc/app.conf").as_deref(), Some("1"), "its reload refreshes nothing");
        for version in [2, 3] {
            put("app", version);
            refresh("plain", &["app"]);
            run("systemctl", &["reload", "plain"]);
            assert_eq!(seen("plain", "etc/app.conf").as_deref(), Some(&*version.to_string()));
        }
        run("systemctl", &["stop", "plain"]);
        of_another_root();
        of_an_image(Systemd::V257);
        over_what_the_host_has_merged();
        run("systemctl", &["start", "both"]);
        assert_eq!(traced("both", "etc/app.conf"), ("top".into(), KnownFrom::Settings));
        assert_eq!(traced("both", "etc/ro/app"), ("app".into(), KnownFrom::Settings));
        refresh("both", &["app", "top"]);
        assert_eq!(traced("both", "etc/app.conf"), ("top".into(), KnownFrom::Record));
        unset();
    });
}

/// The root is an image: it is planned with before anything runs, and refreshed by turns.
fn of_an_image(systemd: Systemd) {
    put("app", 1);
    let host = Host::open("/").unwrap();
    let read = Unit::read(&host, "image").unwrap().service;
    let options = confext_core::Options::default();
    let ground = ground_of(&host, &read, &options).unwrap();
    let planned = service::stack::plan(&host, ground.as_ref(), &read.extensions, &options).unwrap();
    assert_eq!((planned.refusal, planned.refused), (None, Vec::new()));
    assert_eq!(planned.plans[0].hierarchies[0].layers, ["app"]);
    run("systemctl", &["start", "image"]);
    let check = |version: u32| {
        assert_eq!(seen("image", "etc/app.conf").as_deref(), Some(&*version.to_string()));
        assert_eq!(seen("image", "etc/inner.conf").as_deref(), Some("inner"));
        assert!(seen("image", "etc/os-release").unwrap().contains("ID=inner"));
    };
    check(1);
    put("app", 2);
    refresh("image", &["app"]);
    check(2);
    if systemd == Systemd::V262 {
        put("app", 3);
        run("systemctl", &["reload", "image"]);
        check(3);
    }
    put("app", 4);
    refresh("image", &["app"]);
    check(4);
    run("systemctl", &["stop", "image"]);
}

/// An overlay of the host, made by systemd as well, is none of the service.
fn over_what_the_host_has_merged() {
    put("app", 1);
    fs::create_dir_all("/run/confexts").unwrap();
    std::os::unix::fs::symlink("/srv/hosts", "/run/confexts/hosts").unwrap();
    // The others are the service's, and it takes all.
    fs::rename("/var/lib/confexts", "/var/lib/aside").unwrap();
    run("systemd-confext", &["merge"]);
    fs::rename("/var/lib/aside", "/var/lib/confexts").unwrap();
    let check = |version: Option<&str>| {
        assert_eq!(seen("plain", "etc/app.conf").as_deref(), version);
        assert_eq!(seen("plain", "etc/hosts.conf").as_deref(), Some("merged"));
    };
    run("systemctl", &["start", "plain"]);
    check(Some("1"));
    put("app", 2);
    assert_eq!(refresh("plain", &["app"]).found, Found::Systemd);
    check(Some("2"));
    refresh("plain", &[]);
    check(None);
    // Without one of its own, what it sees is the host's.
    assert_eq!(refresh("plain", &[]).found, Found::Nothing);
    assert_eq!(refresh("plain", &["app"]).found, Found::Nothing);
    check(Some("2"));
    run("systemctl", &["stop", "plain"]);
    run("systemd-confext", &["unmerge"]);
    fs::remove_file("/run/confexts/hosts").unwrap();
}

/// A policy that nobody has set is none, whatever the manager shows in its place.
fn unset() {
    let live = Unit::live("unset", WAIT).unwrap().service;
    assert_eq!((live.extensions.policy, live.root_policy), (None, None));
    let live = Unit::live("image", WAIT).unwrap().service;
    assert_eq!(live.root_policy.unwrap().to_string(), "root=unprotected+absent");
}

fn sandboxed() {
    run("systemctl", &["start", "box"]);
    assert_eq!(seen("box", "etc/app.conf").as_deref(), Some("1"));
    let before = mounts("box");
    assert_eq!(before.len(), 8, "{before:#?}");
    let check = |version: &str| {
        assert_eq!(seen("box", "etc/app.conf").as_deref(), Some(version));
        assert_eq!(seen("box", "etc/secret/key"), None);
        assert_eq!(seen("box", "etc/bound/f").as_deref(), Some("bound"));
        assert_eq!(seen("box", "etc/file").as_deref(), Some("bound"));
        assert_eq!(seen("box", "etc/empty/f"), None);
        assert_eq!(seen("box", "etc/ro/f").as_deref(), Some("ro"));
        // It is the new directory that cannot be written to.
        assert_eq!(seen("box", "etc/ro/app").as_deref(), Some(version));
    };
    check("1");
    for version in 2..=3 {
        put("app", version);
        let changed = refresh("box", &["app"]);
        assert_eq!(changed.found, if version == 2 { Found::Systemd } else { Found::Own });
        assert!(matches!(changed.outcome, Outcome::Refreshed { .. }), "{changed:?}");
        check(&version.to_string());
        assert_eq!(mounts("box"), before);
    }
    assert!(matches!(refresh("box", &["app"]).outcome, Outcome::Unchanged { .. }));
    // Without extensions the sandbox is still there.
    refresh("box", &[]);
    assert_eq!((seen("box", "etc/app.conf"), mounts("box")), (None, before));
    run("systemctl", &["stop", "box"]);
}

/// Ours, then systemd's, then ours.
fn in_turns() {
    put("app", 1);
    run("systemctl", &["start", "plain"]);
    for (version, ours) in [(2, true), (3, false), (4, true), (5, true), (6, false)] {
        put("app", version);
        if ours {
            let changed = refresh("plain", &["app"]);
            assert!(matches!(changed.outcome, Outcome::Refreshed { .. }), "{changed:?}");
        } else {
            run("systemctl", &["reload", "plain"]);
        }
        assert_eq!(seen("plain", "etc/app.conf").as_deref(), Some(&*version.to_string()));
        assert_eq!(seen("plain", "etc/secret/key").as_deref(), Some("key"));
        let stacks = mounts("plain").iter().filter(|line| line.starts_with("/etc ")).count();
        assert_eq!(stacks, 1, "{:?}", mounts("plain"));
    }
    run("systemctl", &["stop", "plain"]);
}

/// What is on top at the start is on top after a refresh.
fn ordered() {
    run("systemctl", &["start", "both"]);
    assert_eq!(seen("both", "etc/app.conf").as_deref(), Some("top 1"));
    // systemd made it: the settings say which layer is which.
    assert_eq!(traced("both", "etc/app.conf"), ("top".into(), KnownFrom::Settings));
    assert_eq!(traced("both", "etc/ro/app"), ("app".into(), KnownFrom::Settings));
    put("app", 5);
    put("top", 2);
    refresh("both", &["app", "top"]);
    assert_eq!(seen("both", "etc/app.conf").as_deref(), Some("top 2"));
    assert_eq!(traced("both", "etc/app.conf"), ("top".into(), KnownFrom::Record));
    put("top", 3);
    run("systemctl", &["reload", "both"]);
    // Now it has turned them round, and says no numbers any more.
    assert_eq!(seen("both", "etc/app.conf").as_deref(), Some("5"));
    assert_eq!(traced("both", "etc/app.conf"), ("app".into(), KnownFrom::Settings));
    refresh("both", &["app", "top"]);
    assert_eq!(seen("both", "etc/app.conf").as_deref(), Some("top 3"));
    run("systemctl", &["stop", "both"]);
}

/// Whose a file of a running service is, signed by the vendor, and on whose word.
fn traced(unit: &str, path: &str) -> (String, KnownFrom) {
    let name = format!("{unit}.service");
    let host = Host::open("/").unwrap();
    let (process, extensions) =
        (main_process(&name, WAIT).unwrap(), service::Unit::live(&name, WAIT).unwrap().service.extensions);
    let options = confext_core::Options::default();
    let paths = [Path::new("/").join(path)];
    let found = service::trace::answers(&host, &process, (&extensions, &options), &paths, WAIT).unwrap();
    match &found[0].answer {
        Answer::Layer { source, .. } => {
            let Checked::Signed { by, .. } = &source.checked else { panic!("{source:?}") };
            assert!(by.subject.ends_with("confext-test vendor"), "{by:?}");
            (source.layer.clone(), source.known_from)
        }
        other => panic!("{path} of {unit}: {other:?}"),
    }
}

fn of_another_root() {
    put("app", 1);
    for name in ["usr/bin", "usr/lib", "usr/lib64", "run", "proc", "sys", "dev", "tmp", "var/lib"] {
        fs::create_dir_all(format!("/srv/root/{name}")).unwrap();
    }
    for name in ["bin", "lib", "lib64", "sbin"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), format!("/srv/root/{name}")).unwrap();
    }
    run("systemctl", &["start", "root"]);
    assert_eq!(seen("root", "etc/app.conf").as_deref(), Some("1"));
    for version in 2..=3 {
        put("app", version);
        refresh("root", &["app"]);
        assert_eq!(seen("root", "etc/app.conf").as_deref(), Some(&*version.to_string()));
        assert!(seen("root", "etc/os-release").unwrap().contains("ID=other"));
    }
    refresh("root", &[]);
    assert_eq!(seen("root", "etc/app.conf").as_deref(), Some("root"));
    run("systemctl", &["stop", "root"]);
}

/// How long a refresh takes, and what systemd's adds to a reload, for the same image. Prints figures, and asserts none:
/// `tests/bench/service.sh` runs it.
#[test]
#[ignore = "needs root"]
fn times() {
    on_machine("systemd::times", prepare, |_| {
        const ROUNDS: usize = 20;
        trust();
        let timed = |change: &dyn Fn()| {
            let started = Instant::now();
            change();
            started.elapsed()
        };
        let median = |mut times: Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        run("systemctl", &["start", "box"]);
        let rounds = |change: &dyn Fn()| {
            let times = (0..ROUNDS).map(|round| {
                put("app", if round % 2 == 0 { 2 } else { 1 });
                timed(change)
            });
            median(times.collect())
        };
        let ours = rounds(&|| assert!(matches!(refresh("box", &["app"]).outcome, Outcome::Refreshed { .. })));
        let asking = rounds(&|| drop(main_process("box.service", WAIT).unwrap()));
        refresh("box", &["app"]);
        let same = || assert!(matches!(refresh("box", &["app"]).outcome, Outcome::Unchanged { .. }));
        let unchanged = median((0..ROUNDS).map(|_| timed(&same)).collect());
        run("systemctl", &["restart", "box"]);
        let theirs = rounds(&|| drop(run("systemctl", &["reload", "box"])));
        let settings = "[Service]\nRefreshOnReload=no\n";
        fs::create_dir_all("/run/systemd/system/box.service.d").unwrap();
        fs::write("/run/systemd/system/box.service.d/no.conf", settings).unwrap();
        run("systemctl", &["daemon-reload"]);
        run("systemctl", &["restart", "box"]);
        let without = rounds(&|| drop(run("systemctl", &["reload", "box"])));
        let added = theirs.saturating_sub(without);
        // Who asks for the process is told over the same bus as `systemctl`, whose share is in neither side of the ratio.
        let ratio = |ours: Duration| ours.as_secs_f64() / added.as_secs_f64();
        println!(
            "refresh: {ours:.1?}, of which {asking:.1?} to ask for the process, {unchanged:.1?} where nothing is to do; \
             systemctl reload: {theirs:.1?}, of which the refresh adds {added:.1?}; ratio {:.2}, with asking {:.2}",
            ratio(ours.saturating_sub(asking)),
            ratio(ours)
        );
    });
}
