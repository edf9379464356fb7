use super::explain::explain;
use super::stack::tests::{Scene, listed};
use super::trace;
use crate::admission::{OnBad, Options};
use crate::explain::Reason;
use crate::state::Checked;
use crate::trace::{Answer, KnownFrom, Presence, View};

#[test]
fn each_listed_extension_has_its_reason() {
    let scene = Scene::new();
    scene.image("srv/a.raw.v/a_1.raw", ("a", "etc/a"));
    scene.image("srv/a.raw.v/a_2.raw", ("a", "etc/a"));
    std::fs::copy(scene.path("host/srv/a.raw.v/a_2.raw"), scene.path("host/srv/a_0.raw")).unwrap();
    scene.confext("srv/c", "c", "ID=_any\n");
    scene.file("host/srv/c/usr/x", "");
    scene.confext("srv/host", "host", "ID=host\n");
    scene.confext("srv/whiteout", "whiteout", "ID=_any\n");
    scene.file("host/srv/whiteout/etc/os-release", "");
    let extensions = listed(
        &["/srv/a_0.raw", "/srv/a.raw.v", "-/srv/none.raw"],
        &["/srv/c", "/srv/host", "/srv/whiteout"],
    );
    let (host, root) = scene.hosts();
    let options = Options { on_bad: OnBad::RefuseAll, ..scene.options() };
    let found = explain((&host, &root), &extensions, &options, None).unwrap();
    let reasons: Vec<_> = found.listed.iter().map(|one| one.entry.reason.as_str()).collect();
    let expected = ["shadowed", "used", "not-an-extension", "used", "other-host", "vetoed"];
    assert_eq!(reasons, expected, "{:?}", found.listed);
    assert_eq!(found.refusal.unwrap().code, "host-os");
    let [_, a, _, c, ..] = &found.listed[..] else { panic!() };
    let Reason::Used(place) = &a.entry.reason else { panic!("{a:?}") };
    assert_eq!((place.position, place.of, &place.hierarchies[..]), (1, 2, &["etc".to_owned()][..]));
    assert_eq!((place.above.join(" "), place.below.join(" ")), ("c".into(), String::new()));
    assert!(matches!(place.checked, Checked::Signed { .. }));
    assert_eq!((a.entry.version.as_deref(), a.entry.passed_over[0].code), (Some("2"), "version-outranked"));
    assert_eq!(c.entry.passed_over[0].code, "class-hierarchy");
}

#[test]
fn a_planned_view_says_what_would_be_where() {
    let scene = Scene::new();
    scene.image("srv/a.raw", ("a", "etc/x"));
    scene.image("srv/b.raw", ("b", "etc/x"));
    scene.confext("srv/c", "c", "ID=_any\n");
    scene.file("host/srv/c/usr/bin/tool", "");
    scene.file("host/etc/only-host", "");
    let (host, root) = scene.hosts();
    let extensions = listed(&["/srv/b.raw", "/srv/a.raw"], &["/srv/c"]);
    let tracer = trace::plan(&host, &root, &extensions, &scene.options()).unwrap();
    assert_eq!(tracer.view(), View::Planned);
    let answer = |path: &str| tracer.trace(path).unwrap().answer;
    let Answer::Layer { source, shadows, .. } = answer("/etc/x") else { panic!() };
    assert_eq!((&*source.image, source.known_from, shadows.len()), ("/srv/a.raw", KnownFrom::Plan, 1));
    assert!(matches!(source.checked, Checked::Signed { .. }));
    assert!(matches!(answer("/etc/c.conf"), Answer::Layer { source, .. } if source.layer == "c"));
    assert_eq!(answer("/etc/base.conf"), Answer::Base { hierarchy: "etc", base: Presence::Present });
    assert_eq!(answer("/etc/only-host"), Answer::Absent);
    assert_eq!(answer("/usr/bin/tool"), Answer::Absent);
}

#[test]
fn what_a_unit_mounts_over_extensions_is_said() {
    let scene = Scene::new();
    scene.image("srv/a.raw", ("a", "etc/app/x"));
    scene.confext("srv/c", "c", "ID=_any\n");
    let unit = "[Service]\nExtensionImages=/srv/a.raw\nExtensionDirectories=/srv/c\nBindPaths=/x:/etc/app\n\
        InaccessiblePaths=/etc/other\nTemporaryFileSystem=/usr/share /etc/c.conf\nBindReadOnlyPaths=/e:/etc";
    let name = confext_ddi::unit::Name::parse("a.service").unwrap();
    let (limits, mut service) = (confext_ddi::Limits::default(), confext_ddi::unit::Service::default());
    let specifiers = confext_ddi::unit::Specifiers::new(&name);
    for setting in confext_ddi::unit::parse(unit.as_bytes(), "a.service", &limits).unwrap() {
        service.assign(&setting, &name, &specifiers, &limits).unwrap();
    }
    let (host, root) = scene.hosts();
    let (extensions, options) = (&service.extensions, scene.options());
    let paths = |covered: &[confext_ddi::unit::Covered]| -> Vec<String> {
        covered.iter().map(|mount| format!("{} {}", mount.key, mount.path)).collect()
    };
    // Of a plan, those over what changes.
    let preview = super::stack::plan(&host, &root, extensions, &options).unwrap();
    assert_eq!(paths(&preview.covered), Vec::<String>::new());
    let expected = ["BindPaths /etc/app", "TemporaryFileSystem /etc/c.conf", "BindReadOnlyPaths /etc"];
    assert_eq!(paths(&preview.with_mounts(&service.covered).covered), expected);
    let found = explain((&host, &root), extensions, &options, None).unwrap().with_mounts(&service.covered);
    assert_eq!(paths(&found.covered).len(), 4, "{:?}", found.covered);
    let below: Vec<_> = service.covered.iter().filter(|mount| !mount.is_whole()).cloned().collect();
    let tracer = || trace::plan(&host, &root, extensions, &options).unwrap();
    let covered = tracer().with_mounts(&below);
    for path in ["/etc/app", "/etc/app/x", "/etc/c.conf", "/etc/other/y"] {
        let answer = covered.trace(path).unwrap().answer;
        assert!(
            matches!(answer, Answer::Submount { hierarchy: "etc" } | Answer::Absent),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(covered.trace("/etc/app/x").unwrap().answer, Answer::Submount { hierarchy: "etc" });
    assert!(matches!(covered.trace("/etc/base.conf").unwrap().answer, Answer::Base { .. }));
    // At the directory itself systemd uses the one or the other.
    let either = tracer().with_mounts(&service.covered[4..]);
    let answer = either.trace("/etc/app/x").unwrap().answer;
    assert!(matches!(answer, Answer::CannotTell { because: Some(_), .. }), "{answer:?}");
}

/// The image that is the root of a service is read without being mounted, after its own policy judged it.
#[test]
fn the_root_image_of_a_service_is_what_its_extensions_are_planned_over() {
    use confext_ddi::build::{Builder, Meta, Tree};
    use confext_ddi::release::ImageKind;
    let scene = Scene::new();
    let mut tree = Tree::new();
    let os = "ID=inner\nVERSION_ID=3\n";
    for (path, text) in [("usr/lib/os-release", os), ("etc/app.conf", "base"), ("etc/kept", "")] {
        tree.add_file(path, text.as_bytes(), Meta::new(0o644)).unwrap();
    }
    std::fs::create_dir_all(scene.path("host/srv/os.raw.v")).unwrap();
    let path = scene.path("host/srv/os.raw.v/os_3.raw");
    Builder::new(ImageKind::Portable, "os").tree(tree).build_file(&path, Some(scene.key())).unwrap();
    scene.confext("srv/app", "app", "ID=inner\nVERSION_ID=3\n");
    scene.confext("srv/host", "host", "ID=host\n");
    let unit = |settings: &str| {
        let lists = "ExtensionDirectories=/srv/app /srv/host";
        let text = format!("[Service]\nExecStart=/x\nRootImage=/srv/os.raw.v\n{settings}\n{lists}\n");
        scene.file("host/etc/systemd/system/app.service", &text);
        let host = scene.hosts().0;
        let unit = super::Unit::read(&host, "app").unwrap();
        (host, unit)
    };
    let (host, read) = unit("");
    let ground = super::ground_of(&host, &read.service, &scene.options()).unwrap();
    let preview = super::stack::plan(&host, ground.as_ref(), &read.service.extensions, &scene.options());
    let preview = preview.unwrap();
    // What is for the host is not for the image, and what the image has is replaced.
    assert_eq!(preview.refused.iter().map(|bad| bad.code).collect::<Vec<_>>(), ["host-os"]);
    let changes = &preview.plans[0].hierarchies[0].changes;
    let replaced = |path: &[u8]| changes.iter().any(|change| change.path == path);
    assert!(replaced(b"app.conf") && !replaced(b"kept"), "{changes:?}");
    let shadowed = changes.iter().find(|change| change.path == b"app.conf").map(|change| change.effect);
    assert_eq!(shadowed, Some(crate::plan::Effect::Shadowed));
    let found = explain((&host, ground.as_ref()), &read.service.extensions, &scene.options(), None).unwrap();
    let reasons: Vec<_> = found.listed.iter().map(|one| one.entry.reason.as_str()).collect();
    assert_eq!(reasons, ["used", "other-host"]);
    // Whoever asks for more than it has, or trusts nobody, reads nothing of it.
    let nobody = Options { trust: crate::admission::Trust::Nobody, ..scene.options() };
    for (settings, options, code) in [
        ("RootImagePolicy=root=absent", scene.options(), "policy"),
        ("RootImagePolicy=root=signed", nobody, "signature-unchecked"),
        ("RootImage=/srv/none.raw", scene.options(), "extension-missing"),
    ] {
        let (host, read) = unit(settings);
        let error = super::ground_of(&host, &read.service, &options).err().unwrap();
        assert_eq!(error.code(), code, "{settings}");
    }
}
