//! Portable services: what is attached here is what `portablectl` attaches, each takes away what the other attached, and systemd
//! starts it; what is to be different is

#[path = "../privileged/rollout/machine.rs"]
#[allow(dead_code, reason = "a part of it is for rollouts")]
mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use confext_core::Host;
use confext_core::admission::{Options, Trust};
use confext_core::service::portable::{Attachment, Portable, Which, attached, detach};
use confext_core::service::{Lifetime, main_process};
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::policy::Policy;
use confext_ddi::release::ImageKind;
use confext_ddi::signature::{Certificates, KeyPair, Time};

use machine::{on_machine, run};

const ATTACHED: &str = "/run/systemd/system.attached";
const OS: &str = "ID=guest\nVERSION_ID=7\nIMAGE_ID=os\nIMAGE_VERSION=3\n";
const RUN: &str = "[Service]\nType=exec\nExecStart=/usr/bin/sleep infinity\n\
    BindReadOnlyPaths=/usr/bin /usr/lib -/usr/lib64\nMountAPIVFS=yes\n";

/// Units of a base, and of nothing else.
const UNITS: [(&str, &str); 6] = [
    ("usr/lib/systemd/system/app.service", RUN),
    ("usr/lib/systemd/system/app-x@.service", RUN),
    ("usr/lib/systemd/system/app.socket", "[Socket]\nListenStream=/run/app\n"),
    ("etc/systemd/system/app.timer", "[Timer]\nOnCalendar=daily\n"),
    ("usr/lib/systemd/system/apple.service", RUN),
    ("usr/lib/systemd/system/app.mount", "[Mount]\n"),
];

struct Scene {
    key: KeyPair,
    host: Host,
}

/// What is attached, and with what.
struct Case {
    base: &'static str,
    extensions: &'static [&'static str],
    names: &'static [&'static str],
}

const CASES: [Case; 7] = [
    Case { base: "/srv/app", extensions: &[], names: &[] },
    Case { base: "/srv/app_1.raw", extensions: &[], names: &[] },
    Case { base: "/srv/app", extensions: &["/srv/site", "/srv/tool"], names: &["app", "tool"] },
    Case { base: "/srv/app_1.raw", extensions: &["/srv/site.raw", "/srv/tool.raw"], names: &["app", "tool"] },
    Case { base: "/srv/app_1.raw", extensions: &["/srv/site.raw", "/srv/tool"], names: &["app.service"] },
    Case { base: "/srv/app", extensions: &["/srv/tool.raw", "/srv/site.raw"], names: &["app-x", "apple"] },
    Case { base: "/srv/app", extensions: &["/srv/tool"], names: &["tool"] },
];

impl Scene {
    fn new() -> Self {
        let key = KeyPair::generate("CN=confext-test", Time::from(SystemTime::now()), 1).unwrap();
        fs::create_dir_all("/etc/verity.d").unwrap();
        fs::write("/etc/verity.d/test.crt", key.certificate_pem().unwrap()).unwrap();
        let scene = Self { key, host: Host::open("/").unwrap() };
        let base = [&[("usr/lib/os-release", OS)][..], &UNITS].concat();
        scene.image("/srv/app_1.raw", ImageKind::Portable, &base, true);
        for (path, text) in base {
            file(&format!("/srv/app/{path}"), text);
        }
        // What profiles mount something on.
        file("/srv/app/etc/machine-id", "");
        file("/srv/app/etc/resolv.conf", "");
        for name in ["usr/bin", "usr/lib64", "run", "proc", "sys", "dev", "tmp", "var/tmp", "etc"] {
            fs::create_dir_all(format!("/srv/app/{name}")).unwrap();
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), format!("/srv/app/{name}")).unwrap();
        }
        let tool = [("usr/lib/systemd/system/tool-1.service", RUN)];
        scene.image("/srv/tool.raw", ImageKind::Sysext, &tool, true);
        scene.image("/srv/weak.raw", ImageKind::Confext, &[("etc/weak", "weak")], false);
        scene.image("/srv/site.raw", ImageKind::Confext, &[("etc/site.conf", "image")], true);
        let release = "ID=guest\nVERSION_ID=7\nSYSEXT_ID=kit\nSYSEXT_VERSION_ID=5\nSYSEXT_SCOPE=portable\n";
        file("/srv/tool/usr/lib/extension-release.d/extension-release.tool", release);
        file("/srv/tool/usr/lib/systemd/system/tool-1.service", RUN);
        file("/srv/site/etc/extension-release.d/extension-release.site", "ID=guest\nVERSION_ID=7\n");
        file("/srv/site/etc/site.conf", "directory");
        scene
    }

    fn image(&self, path: &str, kind: ImageKind, files: &[(&str, &str)], signed: bool) {
        let mut tree = Tree::new();
        for (path, text) in files {
            tree.add_file(*path, text.as_bytes(), Meta::new(0o644)).unwrap();
        }
        let name = Path::new(path).file_stem().unwrap().to_str().unwrap();
        let mut builder = Builder::new(kind, name.split('_').next().unwrap()).tree(tree);
        if kind != ImageKind::Portable {
            builder = builder.release(ReleaseFields::new("guest").version_id("7"));
        }
        if !signed {
            builder = builder.unsigned();
        }
        let key: Option<&dyn confext_ddi::signature::Sign> = if signed { Some(&self.key) } else { None };
        builder.build_file(path, key).unwrap();
    }

    fn plan(&self, wanted: &Portable, policy: Policy) -> confext_core::Result<Attachment> {
        let mut certificates = Certificates::new(Time::from(SystemTime::now()));
        certificates.add_pem(&self.key.certificate_pem().unwrap()).unwrap();
        let mut options = Options::default();
        options.policy = policy;
        options.trust = Trust::Verifier(Arc::new(certificates));
        wanted.plan(&self.host, &options)
    }

    fn attach(&self, wanted: &Portable) -> Attachment {
        let attachment = self.plan(wanted, Policy::unprotected());
        let attachment = attachment.unwrap_or_else(|error| panic!("{wanted:?}: {}", error.explain()));
        attachment.attach(&self.host).unwrap();
        attachment
    }
}

impl Case {
    fn wanted(&self) -> Portable {
        let mut wanted = Portable::new(self.base);
        wanted.extensions = self.extensions.iter().map(|&path| path.to_owned()).collect();
        wanted.lifetime = Lifetime::Runtime;
        if !self.names.is_empty() {
            wanted.which = Which::Named(self.names.iter().map(|&name| name.to_owned()).collect());
        }
        wanted
    }

    fn portablectl(&self, verb: &str) {
        let extensions = self.extensions.iter().map(|path| format!("--extension={path}"));
        let mut command = Command::new("portablectl");
        command.args([verb, "--runtime", "--quiet", "--no-reload"]).args(extensions);
        let output = command.arg(self.base).args(self.names).output().unwrap();
        assert!(output.status.success(), "{verb} {}: {}", self.base, String::from_utf8_lossy(&output.stderr));
    }
}

fn file(path: &str, text: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Each file with its text, or where it leads.
fn written() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut to_do = vec![Path::new(ATTACHED).to_path_buf()];
    while let Some(path) = to_do.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten() {
            let path = entry.unwrap().path();
            let text = match fs::read_link(&path) {
                Ok(target) => format!("-> {}", target.display()),
                Err(_) if path.is_dir() => {
                    to_do.push(path);
                    continue;
                }
                Err(_) => fs::read_to_string(&path).unwrap(),
            };
            found.insert(path.strip_prefix(ATTACHED).unwrap().display().to_string(), text);
        }
    }
    found
}

/// The settings of a drop-in without policies; and the policies.
fn settings(text: &str) -> (BTreeSet<String>, BTreeMap<String, Policy>) {
    let (mut all, mut policies) = (BTreeSet::new(), BTreeMap::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.split_once("Policy=") {
            Some((key, policy)) => drop(policies.insert(key.to_owned(), Policy::parse(policy).unwrap())),
            None => drop(all.insert(line.to_owned())),
        }
    }
    (all, policies)
}

#[test]
#[ignore = "needs root"]
fn portable_services_are_those_of_portablectl() {
    on_machine(
        "portable_services_are_those_of_portablectl",
        |_| {},
        |_| {
            let scene = Scene::new();
            for case in &CASES {
                same(&scene, case);
            }
            different(&scene);
            started(&scene);
        },
    );
}

fn same(scene: &Scene, case: &Case) {
    case.portablectl("attach");
    let theirs = written();
    // Ours takes away what portablectl attached.
    let listed = attached(&scene.host).unwrap();
    assert_eq!((listed.len(), &*listed[0].base), (1, case.base), "{listed:?}");
    detach(&scene.host, case.base).unwrap();
    assert_eq!(written(), BTreeMap::new());
    case.portablectl("attach");
    case.portablectl("detach");
    scene.attach(&case.wanted());
    let ours = written();
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{}", case.base);
    for (path, text) in &ours {
        if !path.ends_with("20-portable.conf") {
            assert_eq!(text, &theirs[path], "{path}");
            continue;
        }
        let ((all, policies), (expected, weaker)) = (settings(text), settings(&theirs[path]));
        assert_eq!(all, expected, "{path} of {}", case.base);
        assert_eq!(policies.keys().collect::<Vec<_>>(), weaker.keys().collect::<Vec<_>>(), "{path}");
        for policy in policies.values() {
            assert_eq!(policy.to_string(), "root=signed:=absent");
        }
    }
    // And portablectl lists and takes away what is attached here.
    case.portablectl("detach");
    assert_eq!(written(), BTreeMap::new());
}

/// Where portablectl would write what is wrong.
fn different(scene: &Scene) {
    // The weakest of several images lowers what is asked of all.
    let mixed =
        Case { base: "/srv/app", extensions: &["/srv/site.raw", "/srv/weak.raw"], names: &["app.service"] };
    mixed.portablectl("attach");
    let (_, policies) = settings(&written()["app.service.d/20-portable.conf"]);
    let allows = |policy: &Policy, word: &str| policy.to_string().contains(word);
    assert!(allows(&policies["ExtensionImage"], "verity+signed"), "{policies:?}");
    mixed.portablectl("detach");
    assert_eq!(scene.plan(&mixed.wanted(), Policy::unprotected()).unwrap_err().code(), "portable-mixed");
    // The unit of an extension is over that of the base, as everything else of it; a mask takes a name away.
    file(
        "/srv/newer/usr/lib/extension-release.d/extension-release.newer",
        "ID=_any\nSYSEXT_SCOPE=portable\n",
    );
    file("/srv/newer/usr/lib/systemd/system/app.service", &format!("# newer\n{RUN}"));
    let newer = Case { base: "/srv/app", extensions: &["/srv/newer"], names: &["app"] };
    let mask = "/srv/app/etc/systemd/system/app.socket";
    std::os::unix::fs::symlink("/dev/null", mask).unwrap();
    newer.portablectl("attach");
    assert!(written()["app.service"] == RUN && written().contains_key("app.socket"));
    newer.portablectl("detach");
    scene.attach(&newer.wanted());
    assert!(written()["app.service"].starts_with("# newer") && !written().contains_key("app.socket"));
    detach(&scene.host, "app").unwrap();
    fs::remove_file(mask).unwrap();
    // A confext is compared by the level of confexts.
    file("/srv/level/usr/lib/os-release", "ID=guest\nVERSION_ID=7\nCONFEXT_LEVEL=2\n");
    file("/srv/level/usr/lib/systemd/system/level.service", RUN);
    file("/srv/two/etc/extension-release.d/extension-release.two", "ID=guest\nCONFEXT_LEVEL=2\n");
    let level = Case { base: "/srv/level", extensions: &["/srv/two"], names: &[] };
    let output = Command::new("portablectl")
        .args(["attach", "--runtime", "--no-reload", "--extension=/srv/two", "/srv/level"])
        .output()
        .unwrap();
    assert!(!output.status.success(), "portablectl compares SYSEXT_LEVEL no more");
    scene.attach(&level.wanted());
    detach(&scene.host, "/srv/level").unwrap();
}

/// systemd starts what was attached, with its extensions.
fn started(scene: &Scene) {
    let mut wanted = Portable::new("/srv/app");
    wanted.which = Which::Named(vec!["app.service".to_owned()]);
    wanted.extensions = vec!["/srv/site".to_owned()];
    wanted.profile = Some("trusted".to_owned());
    wanted.lifetime = Lifetime::Runtime;
    scene.attach(&wanted);
    run("systemctl", &["daemon-reload"]);
    run("systemctl", &["start", "app.service"]);
    let pid = main_process("app", Duration::from_secs(30)).unwrap().pid();
    let seen = |path: &str| fs::read_to_string(format!("/proc/{pid}/root/{path}")).unwrap();
    assert_eq!(seen("etc/site.conf"), "directory");
    assert!(seen("etc/systemd/system/app.timer").contains("OnCalendar"), "it has the root of the base");
    assert_eq!(detach(&scene.host, "/srv/app").unwrap_err().code(), "portable-active");
    run("systemctl", &["stop", "app.service"]);
    detach(&scene.host, "/srv/app").unwrap();
    assert_eq!(written(), BTreeMap::new());
}
