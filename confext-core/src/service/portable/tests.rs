use std::collections::BTreeSet;
use std::fs;

use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::dps::Architecture;
use confext_ddi::policy::Policy;
use confext_ddi::release::ImageKind;
use confext_ddi::signature::KeyPair;

use super::*;
use crate::service::stack::tests::Scene;

const OS: &str = "ID=guest\nVERSION_ID=7\nIMAGE_ID=os\nIMAGE_VERSION=3\n";
const RUN: &str = "[Service]\nExecStart=/bin/run\n";

/// A base with units: some that count, and some that do not.
fn base(scene: &Scene, path: &str, os: &str, key: Option<&KeyPair>) {
    let files = [
        ("usr/lib/os-release", os),
        ("usr/lib/systemd/system/app.service", RUN),
        ("usr/lib/systemd/system/app-x@.service", RUN),
        ("usr/lib/systemd/system/app.socket", "[Socket]\nListenStream=/run/app\n"),
        ("usr/lib/systemd/system/apple.service", RUN),
        ("usr/lib/systemd/system/app.mount", "[Mount]\n"),
        ("usr/lib/systemd/system/app-masked.service", RUN),
        ("etc/systemd/system/app-masked.service", ""),
        ("usr/lib/systemd/system/own.service", "[Service]\nRootDirectory=/\nExtensionImages=/x\n"),
        ("usr/lib/systemd/system/host.service", RUN),
    ];
    image(scene, path, ImageKind::Portable, (&files, key));
}

fn image(scene: &Scene, path: &str, kind: ImageKind, (files, key): (&[(&str, &str)], Option<&KeyPair>)) {
    let mut tree = Tree::new();
    for (path, text) in files {
        tree.add_file(*path, text.as_bytes(), Meta::new(0o644)).unwrap();
    }
    let to = scene.path("host").join(path);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let name = name_of(path).to_owned();
    let mut builder = Builder::new(kind, name).tree(tree).architecture(Architecture::of_build().unwrap());
    if kind != ImageKind::Portable {
        builder = builder.release(ReleaseFields::new("guest").version_id("7"));
    }
    if key.is_none() {
        builder = builder.unsigned();
    }
    let key = key.map(|key| -> &dyn confext_ddi::signature::Sign { key });
    builder.build_file(&to, key).unwrap();
}

fn options(scene: &Scene, policy: Policy) -> admission::Options {
    admission::Options { policy, ..scene.options() }
}

/// Every file below the directories of units, with its text or where it leads.
fn files(host: &Host) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut to_do: Vec<_> = ["etc", "run"].map(|name| host.path().join(name).join("systemd")).into();
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
            found.insert((path.strip_prefix(host.path()).unwrap().display().to_string(), text));
        }
    }
    found
}

fn scene() -> (Scene, Host) {
    let scene = Scene::new();
    scene.file("host/usr/lib/systemd/portable/profile/default/service.conf", "[Service]\n");
    scene.file("host/usr/lib/systemd/system/host.service", RUN);
    let host = scene.hosts().0;
    (scene, host)
}

#[test]
fn what_is_attached_is_bound_to_what_was_checked() {
    let (scene, host) = scene();
    base(&scene, "srv/app_1.raw", OS, Some(scene.key()));
    let unit = [("usr/lib/systemd/system/app.service", "[Service]\nExecStart=/bin/newer\n")];
    image(&scene, "srv/tool_2.raw", ImageKind::Sysext, (&unit, Some(scene.key())));
    image(&scene, "srv/site.raw", ImageKind::Confext, (&[("etc/site.conf", "")], Some(scene.key())));
    let mut wanted = Portable::new("/srv/app_1.raw");
    wanted.extensions = vec!["/srv/site.raw".into(), "/srv/tool_2.raw".into()];
    let options = options(&scene, Policy::signed());
    let attachment = wanted.plan(&host, &options).unwrap();
    assert!(files(&host).is_empty(), "a plan writes nothing");
    let names: Vec<_> = attachment.units.iter().map(|unit| (&*unit.name, &*unit.from)).collect();
    let base = "/srv/app_1.raw";
    assert_eq!(names, [("app-x@.service", base), ("app.service", "/srv/tool_2.raw"), ("app.socket", base)]);
    attachment.attach(&host).unwrap();
    let written = files(&host);
    assert_eq!(written.len(), 3 + 3 + 2);
    let text = |name: &str| written.iter().find(|(path, _)| path.ends_with(name)).unwrap().1.clone();
    assert_eq!(text("attached/app.service"), "[Service]\nExecStart=/bin/newer\n");
    let marker = "# Drop-in created for image '/srv/app_1.raw:/srv/site.raw:/srv/tool_2.raw', do not edit.\n";
    assert_eq!(text("app.socket.d/20-portable.conf"), marker);
    assert_eq!(
        text("app.service.d/20-portable.conf"),
        format!(
            "{marker}\n[Service]\nRootImage=/srv/app_1.raw\nRootImagePolicy=root=signed:=absent\n\
             Environment=PORTABLE=tool_2.raw\nLogExtraFields=PORTABLE=tool_2.raw\n\
             Environment=PORTABLE_ROOT=app_1.raw\nLogExtraFields=PORTABLE_ROOT=app_1.raw\n\
             LogExtraFields=PORTABLE_ROOT_NAME_AND_VERSION=os_3\n\
             LogExtraFields=PORTABLE_EXTENSION=site.raw\nLogExtraFields=PORTABLE_EXTENSION=tool_2.raw\n\
             ExtensionImages=/srv/site.raw\nExtensionImages=/srv/tool_2.raw\n\
             ExtensionImagePolicy=root=signed:=absent\n"
        )
    );
    let profile = "-> /usr/lib/systemd/portable/profile/default/service.conf";
    assert_eq!(text("app.service.d/10-profile.conf"), profile);
    // What was written is what the unit says.
    let unit = crate::service::Unit::read(&host, "app").unwrap();
    assert_eq!(unit.service.root, confext_ddi::unit::Root::Image("/srv/app_1.raw".into()));
    assert_eq!(unit.service.root_policy.unwrap().to_string(), "root=signed:=absent");
    // It is there now, once.
    assert_eq!(wanted.plan(&host, &options).unwrap_err().code(), "portable-exists");
    assert_eq!(attachment.attach(&host).unwrap_err().code(), "portable-exists");
    assert_eq!(files(&host), written);
    let all = attached(&host).unwrap();
    assert_eq!((all.len(), &*all[0].base, all[0].extensions.len(), all[0].units.len()), (1, base, 2, 3));
    assert_eq!(detach(&host, "other").unwrap_err().code(), "portable-missing");
    // A newer one of that name is the same service.
    assert_eq!(detach(&host, "/srv/app_2.raw").unwrap(), all[0]);
    assert!(files(&host).is_empty() && attached(&host).unwrap().is_empty());
}

#[test]
fn a_weaker_image_does_not_lower_what_others_must_be() {
    let (scene, host) = scene();
    base(&scene, "srv/app.raw", OS, None);
    image(&scene, "srv/one.raw", ImageKind::Confext, (&[("etc/one", "")], Some(scene.key())));
    image(&scene, "srv/two.raw", ImageKind::Confext, (&[("etc/two", "")], None));
    scene.file("host/srv/three/etc/extension-release.d/extension-release.three", "ID=guest\nVERSION_ID=7\n");
    let mut wanted = Portable::new("/srv/app.raw");
    let plan = |wanted: &Portable, policy: Policy| wanted.plan(&host, &options(&scene, policy));
    assert_eq!(plan(&wanted, Policy::signed()).unwrap_err().code(), "policy");
    let attachment = plan(&wanted, Policy::verity()).unwrap();
    assert_eq!(attachment.root_policy.unwrap().to_string(), "root=verity:=absent");
    assert_eq!(attachment.extension_policy, None);
    wanted.extensions = vec!["/srv/one.raw".into(), "/srv/two.raw".into()];
    assert_eq!(plan(&wanted, Policy::verity()).unwrap_err().code(), "portable-mixed");
    wanted.extensions = vec!["/srv/one.raw".into(), "/srv/three".into()];
    assert_eq!(plan(&wanted, Policy::verity()).unwrap_err().code(), "policy");
    let attachment = plan(&wanted, Policy::unprotected()).unwrap();
    assert_eq!(attachment.extension_policy.unwrap().to_string(), "root=signed:=absent");
}

#[test]
fn one_thing_changed_is_one_code() {
    let (scene, host) = scene();
    base(&scene, "srv/app.raw", OS, Some(scene.key()));
    base(&scene, "srv/closed.raw", &format!("{OS}PORTABLE_PREFIXES=\"app own\"\n"), Some(scene.key()));
    base(&scene, "srv/other.raw", "ID=other\n", Some(scene.key()));
    image(&scene, "srv/ext.raw", ImageKind::Confext, (&[("etc/x", "")], Some(scene.key())));
    scene.file(
        "host/srv/scope/etc/extension-release.d/extension-release.scope",
        "ID=_any\nCONFEXT_SCOPE=system\n",
    );
    scene.file("host/srv/dangling/usr/lib/os-release", OS);
    fs::create_dir_all(scene.path("host/srv/dangling/etc/systemd/system")).unwrap();
    let link = scene.path("host/srv/dangling/etc/systemd/system/dangling.service");
    std::os::unix::fs::symlink("/nothing", link).unwrap();
    let named = |name: &str| Which::Named(vec![name.to_owned()]);
    let plain = Portable::new("/srv/app.raw");
    let with = |extension: &str| Portable { extensions: vec![extension.to_owned()], ..plain.clone() };
    let of = |base: &str, which| Portable { which, ..Portable::new(base) };
    for (wanted, code) in [
        (Portable { which: named("none"), ..plain.clone() }, "portable-units"),
        (Portable { which: named("own"), ..plain.clone() }, "portable-unit"),
        (Portable { which: named("host"), ..plain.clone() }, "portable-exists"),
        (Portable { profile: Some("none".into()), ..plain.clone() }, "portable-profile"),
        (Portable { profile: Some("../x".into()), ..plain.clone() }, "portable-profile"),
        (of("/srv/closed.raw", named("apple")), "portable-prefix"),
        (of("/srv/closed.raw", Which::OfBase), "portable-prefix"),
        (of("/srv/dangling", Which::OfBase), "portable-unit"),
        (of("srv/app.raw", Which::OfBase), "portable-path"),
        (of("/srv/a:b.raw", Which::OfBase), "portable-path"),
        (of("/srv/none.raw", Which::OfBase), "extension-missing"),
        (with("/srv/scope"), "host-scope"),
        (with("/srv/none"), "extension-missing"),
        (
            Portable { extensions: vec!["/srv/ext.raw".into()], ..of("/srv/other.raw", named("app")) },
            "host-os",
        ),
    ] {
        let error = wanted.plan(&host, &options(&scene, Policy::unprotected())).unwrap_err();
        assert_eq!(error.code(), code, "{wanted:?}: {}", error.explain());
    }
    let all = Portable { which: named("app"), ..Portable::new("/srv/closed.raw") };
    assert_eq!(all.plan(&host, &options(&scene, Policy::signed())).unwrap().units.len(), 3);
    assert!(files(&host).is_empty());
}

#[test]
fn what_stands_in_the_way_leaves_nothing_behind() {
    let (scene, host) = scene();
    base(&scene, "srv/app.raw", OS, Some(scene.key()));
    let attachment = Portable::new("/srv/app.raw").plan(&host, &options(&scene, Policy::signed())).unwrap();
    // What another attempt left that was killed is no hindrance.
    let place = "host/etc/systemd/system.attached";
    scene.file(&format!("{place}/.#confext-app.service"), "half");
    scene.file(&format!("{place}/.#confext-app.service.d/20-portable.conf"), "half");
    attachment.attach(&host).unwrap();
    let whole = files(&host);
    assert!(whole.iter().all(|(_, text)| text != "half"), "{whole:?}");
    // Killed between the drop-ins and the unit: it can be seen, and detached.
    fs::remove_file(scene.path(&format!("{place}/app.socket"))).unwrap();
    let one = attached(&host).unwrap().remove(0);
    assert_eq!((one.units.len(), one.incomplete), (2, vec!["app.socket".to_owned()]));
    // What somebody else put beside a unit stays.
    scene.file(&format!("{place}/app.service.d/90-own.conf"), "own");
    detach(&host, "app").unwrap();
    let left: Vec<_> = files(&host).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, ["etc/systemd/system.attached/app.service.d/90-own.conf"]);
    fs::remove_dir_all(scene.path(&format!("{place}/app.service.d"))).unwrap();
    // A name that comes meanwhile ends it; what it had put is gone.
    scene.file(&format!("{place}/app.socket"), "somebody's");
    let before = files(&host);
    assert_eq!(attachment.attach(&host).unwrap_err().code(), "portable-exists");
    assert_eq!(files(&host), before);
}
