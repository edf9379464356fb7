use super::*;
use crate::admission::{OnBad, Trust};
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::dps::{Architecture, Designator};
use confext_ddi::policy::Policy;
use confext_ddi::release::Strictness;
use confext_ddi::signature::{Certificates, KeyPair, Time};
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::SystemTime;

/// A host with extensions, and the root that a service has.
pub(in crate::service) struct Scene {
    dir: tempfile::TempDir,
    key: KeyPair,
}

impl Scene {
    pub(in crate::service) fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let key = KeyPair::generate("signer", Time::from(SystemTime::now()), 1).unwrap();
        let scene = Self { dir, key };
        scene.file("host/etc/os-release", "ID=host\n");
        scene.file("root/etc/os-release", "ID=guest\nCONFEXT_LEVEL=3\nSYSEXT_LEVEL=4\n");
        scene.file("root/etc/base.conf", "base");
        scene
    }

    pub(in crate::service) fn key(&self) -> &KeyPair {
        &self.key
    }

    pub(in crate::service) fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    pub(in crate::service) fn file(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A directory that is a confext.
    pub(in crate::service) fn confext(&self, path: &str, name: &str, release: &str) {
        self.file(&format!("host/{path}/etc/extension-release.d/extension-release.{name}"), release);
        self.file(&format!("host/{path}/etc/{name}.conf"), path);
    }

    /// A directory that is a sysext.
    pub(in crate::service) fn sysext(&self, path: &str, name: &str, release: &str) {
        self.file(&format!("host/{path}/usr/lib/extension-release.d/extension-release.{name}"), release);
        self.file(&format!("host/{path}/usr/bin/{name}"), path);
    }

    /// A signed image with one file.
    pub(in crate::service) fn image(&self, path: &str, (name, file): (&str, &str)) {
        let class = if file.starts_with("etc") { Class::Confext } else { Class::Sysext };
        let mut tree = Tree::new();
        tree.add_file(file, path.as_bytes(), Meta::new(0o644)).unwrap();
        let path = self.path(&format!("host/{path}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        Builder::new(class, name)
            .tree(tree)
            .release(ReleaseFields::any())
            .architecture(Architecture::of_build().unwrap())
            .build_file(&path, Some(&self.key))
            .unwrap();
    }

    pub(in crate::service) fn options(&self) -> Options {
        let mut certificates = Certificates::new(Time::from(SystemTime::now()));
        certificates.add_pem(&self.key.certificate_pem().unwrap()).unwrap();
        Options {
            policy: Policy::unprotected(),
            trust: Trust::Verifier(Arc::new(certificates)),
            on_bad: OnBad::Skip,
            ..Options::default()
        }
    }

    pub(in crate::service) fn hosts(&self) -> (Host, Host) {
        let root = fs::File::open(self.path("root")).unwrap();
        let root = Host::of_root(root.into(), "the root of a service").unwrap();
        (Host::open(self.path("host")).unwrap(), root)
    }

    pub(in crate::service) fn select_with(
        &self,
        extensions: &Extensions,
        options: &Options,
    ) -> Result<Selected> {
        let (host, root) = self.hosts();
        select(&host, &root, extensions, options)
    }

    pub(in crate::service) fn select(&self, extensions: &Extensions) -> Selected {
        self.select_with(extensions, &self.options()).unwrap()
    }
}

pub(in crate::service) fn listed(images: &[&str], directories: &[&str]) -> Extensions {
    let entry = |path: &&str, make: fn(String) -> Entry| match path.strip_prefix('-') {
        Some(path) => make(path.to_owned()).or_skipped(),
        None => make((*path).to_owned()),
    };
    let mut extensions = Extensions::default();
    extensions.images = images.iter().map(|path| entry(path, Entry::image)).collect();
    extensions.directories = directories.iter().map(|path| entry(path, Entry::directory)).collect();
    extensions
}

fn used(selected: &Selected) -> Vec<&str> {
    selected.extensions.iter().map(|member| member.extension.candidate().path.to_str().unwrap()).collect()
}

fn codes(selected: &Selected) -> Vec<(&'static str, Severity)> {
    let counts = |code| !matches!(code, "version-outranked" | "version-rejected");
    let refused = selected.refused.iter().filter(|bad| counts(bad.code));
    refused.map(|bad| (bad.code, bad.severity)).collect()
}

#[test]
fn images_then_directories_and_the_last_listed_on_top() {
    let scene = Scene::new();
    scene.image("srv/b.raw", ("b", "etc/b"));
    scene.image("srv/a.raw.v/a_2.raw", ("a", "etc/a"));
    scene.image("srv/a.raw.v/a_10+3-0.raw", ("a", "etc/a10"));
    scene.image("srv/s.raw", ("s", "usr/bin/s"));
    scene.confext("srv/c.v/c_7", "c", "ID=guest\nCONFEXT_LEVEL=3\n");
    scene.confext("srv/c.v/c_1", "c", "ID=guest\nCONFEXT_LEVEL=3\n");
    scene.sysext("srv/d", "d", "ID=guest\nSYSEXT_LEVEL=4\nSYSEXT_SCOPE=portable\n");
    let extensions = listed(&["/srv/s.raw", "/srv/b.raw", "/srv/a.raw.v"], &["/srv/c.v/c___", "/srv/d"]);
    let selected = scene.select(&extensions);
    let expected = ["/srv/s.raw", "/srv/b.raw", "/srv/a.raw.v/a_10+3-0.raw", "/srv/c.v/c_7", "/srv/d"];
    assert_eq!(used(&selected), expected, "{:?}", selected.refused);
    assert_eq!(codes(&selected), []);
    let classes: Vec<_> = selected.extensions.iter().map(|m| m.extension.classes().to_vec()).collect();
    let (s, c) = (vec![Class::Sysext], vec![Class::Confext]);
    assert_eq!(classes, [s.clone(), c.clone(), c.clone(), c, s]);
    let a = selected.extensions[2].extension.candidate();
    assert_eq!((a.name.as_str(), a.version.as_deref()), ("a", Some("10")));
    let (_, root) = scene.hosts();
    let plans = selected.plan(&root, &scene.options()).unwrap();
    let etc = plans.iter().find(|plan| plan.class == Class::Confext).unwrap();
    assert_eq!(etc.hierarchies[0].layers, ["b", "a", "c"]);
    let names: Vec<_> = etc.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["b", "a", "c"]);
}

#[test]
fn one_thing_wrong_one_code() {
    let scene = Scene::new();
    let good = "ID=guest\nCONFEXT_LEVEL=3\n";
    scene.confext("srv/good", "good", good);
    scene.confext("srv/host", "host", "ID=host\n");
    scene.confext("srv/level", "level", "ID=guest\nCONFEXT_LEVEL=9\n");
    // The level of the other class is not looked at.
    scene.confext("srv/other", "other", "ID=guest\nCONFEXT_LEVEL=3\nSYSEXT_LEVEL=1\n");
    scene.confext("srv/named", "elsewise", good);
    scene.confext("srv/app_7", "app", good);
    scene.file("host/srv/none/etc/x", "");
    scene.file("host/srv/text.raw", "no image");
    fs::create_dir_all(scene.path("host/srv/empty.v")).unwrap();
    fs::create_dir_all(scene.path("host/srv/empty")).unwrap();
    symlink("nowhere", scene.path("host/srv/dangling")).unwrap();
    symlink("good", scene.path("host/srv/linked")).unwrap();
    symlink("loop", scene.path("host/srv/loop")).unwrap();
    let bad = |code| vec![(code, Severity::Refused)];
    let ignored = |code| vec![(code, Severity::Ignored)];
    for (path, kind, expected) in [
        ("/srv/good", "d", vec![]),
        ("/srv/good/", "d", vec![]),
        ("/srv/other", "d", vec![]),
        ("/srv/app_7", "d", vec![]),
        ("/srv/host", "d", bad("host-os")),
        ("-/srv/host", "d", bad("host-os")),
        ("/srv/level", "d", bad("host-level")),
        ("/srv/named", "d", bad("release-name")),
        ("/srv/linked", "d", bad("release-name")),
        ("/srv/none", "d", bad("release-missing")),
        ("-/srv/none", "d", ignored("release-missing")),
        ("/srv/empty", "d", bad("release-missing")),
        ("/srv/missing", "d", bad("extension-missing")),
        ("-/srv/missing", "d", ignored("extension-missing")),
        ("/srv/dangling", "d", bad("extension-missing")),
        ("/srv/loop", "d", bad("link-loop")),
        ("/srv/empty.v", "d", bad("nothing-to-pick")),
        ("-/srv/empty.v", "d", ignored("nothing-to-pick")),
        ("/srv/missing.v", "i", bad("extension-missing")),
        ("-/srv/missing.v/x___.raw", "i", ignored("extension-missing")),
        ("/srv/good", "i", bad("extension-kind")),
        ("/srv/text.raw", "d", bad("extension-kind")),
        ("/srv/text.raw", "i", bad("image-unknown")),
        ("-/srv/text.raw", "i", bad("image-unknown")),
    ] {
        let extensions = if kind == "d" { listed(&[], &[path]) } else { listed(&[path], &[]) };
        let selected = scene.select(&extensions);
        assert_eq!(codes(&selected), expected, "{path} {:?}", selected.refused);
        assert_eq!(used(&selected).len(), usize::from(expected.is_empty()), "{path}");
        let strict = Options { on_bad: OnBad::RefuseAll, ..scene.options() };
        let result = scene.select_with(&extensions, &strict).map(drop).map_err(|error| error.code());
        let fatal = expected.iter().find(|(_, severity)| *severity == Severity::Refused);
        assert_eq!(result, fatal.map_or(Ok(()), |(code, _)| Err(*code)), "{path}");
    }
}

#[test]
fn the_file_that_is_listed_gives_the_name() {
    let scene = Scene::new();
    scene.confext("srv/target", "app", "ID=guest\nCONFEXT_LEVEL=3\n");
    symlink("../target", scene.path("host/srv/app_1")).unwrap();
    fs::create_dir_all(scene.path("host/srv/app.v")).unwrap();
    symlink("../target", scene.path("host/srv/app.v/app_3")).unwrap();
    symlink("target", scene.path("host/srv/app_2")).unwrap();
    for (path, name, version) in [("/srv/app_2", "app_2", None), ("/srv/app.v", "app", Some("3"))] {
        let selected = scene.select(&listed(&[], &[path]));
        let candidate = selected.extensions[0].extension.candidate();
        assert_eq!((candidate.name.as_str(), candidate.version.as_deref()), (name, version));
        assert_eq!(candidate.path.to_str().unwrap(), "/srv/target");
    }
    // A relaxed entry takes any release file, but only one.
    let mut extensions = listed(&[], &["/srv/target"]);
    assert_eq!(codes(&scene.select(&extensions)), [("release-name", Severity::Refused)]);
    extensions.directories[0].strictness = Strictness::Relaxed;
    assert_eq!(codes(&scene.select(&extensions)), []);
}

#[test]
fn what_is_listed_twice_counts_where_it_is_listed_last() {
    let scene = Scene::new();
    scene.image("srv/a.raw", ("a", "etc/a"));
    scene.image("srv/b.raw", ("b", "etc/b"));
    fs::copy(scene.path("host/srv/a.raw"), scene.path("host/srv/a_2.raw")).unwrap();
    scene.confext("srv/c", "c", "ID=_any\n");
    symlink("c", scene.path("host/srv/c_2")).unwrap();
    let extensions = listed(&["/srv/a.raw", "/srv/b.raw", "/srv/a_2.raw"], &["/srv/c", "/srv/c_2"]);
    let selected = scene.select(&extensions);
    assert_eq!(used(&selected), ["/srv/b.raw", "/srv/a_2.raw", "/srv/c"]);
    assert_eq!(codes(&selected), [("duplicate-extension", Severity::Ignored); 2]);
    let by = |at: usize| selected.refused[at].details.by.as_deref().unwrap().to_str().unwrap();
    assert_eq!((by(0), by(1)), ("/srv/a_2.raw", "/srv/c"));
    let strict = Options { on_bad: OnBad::RefuseAll, ..scene.options() };
    assert!(scene.select_with(&extensions, &strict).is_ok());
}

#[test]
fn two_extensions_of_one_name_are_told_apart() {
    let scene = Scene::new();
    scene.image("srv/one/app.raw", ("app", "etc/x"));
    scene.image("srv/two/app.raw", ("app", "etc/x"));
    let selected = scene.select(&listed(&["/srv/one/app.raw", "/srv/two/app.raw"], &[]));
    let (_, root) = scene.hosts();
    let plans = selected.plan(&root, &scene.options()).unwrap();
    assert_eq!(plans[0].hierarchies[0].layers, ["app (/srv/one/app.raw)", "app (/srv/two/app.raw)"]);
    let change = plans[0].hierarchies[0].changes.iter().find(|change| change.path == b"x").unwrap();
    assert_eq!(change.layer, "app (/srv/two/app.raw)");
}

#[test]
fn a_class_gives_its_own_hierarchies_only() {
    let scene = Scene::new();
    scene.confext("srv/c", "c", "ID=_any\n");
    scene.file("host/srv/c/usr/bin/tool", "");
    scene.sysext("srv/s", "s", "ID=_any\n");
    scene.file("host/srv/s/etc/s.conf", "");
    scene.confext("srv/both", "both", "ID=_any\n");
    scene.sysext("srv/both", "both", "ID=_any\n");
    let selected = scene.select(&listed(&[], &["/srv/c", "/srv/s", "/srv/both"]));
    assert_eq!(codes(&selected), [("class-hierarchy", Severity::Ignored); 2]);
    assert_eq!(selected.extensions[2].extension.classes(), [Class::Sysext, Class::Confext]);
    let (_, root) = scene.hosts();
    let plans = selected.plan(&root, &scene.options()).unwrap();
    let layers = |at: usize| plans[at].hierarchies[0].layers.join(" ");
    assert_eq!((plans[0].class, layers(0)), (Class::Sysext, "s both".to_owned()));
    assert_eq!((plans[1].class, layers(1)), (Class::Confext, "c both".to_owned()));
    // Of both, it has to be for the root as both.
    scene.sysext("srv/both", "both", "ID=other\n");
    assert_eq!(codes(&scene.select(&listed(&[], &["/srv/both"]))), [("host-os", Severity::Refused)]);
}

#[test]
fn the_units_policy_is_about_images_and_the_callers_about_the_rest() {
    let scene = Scene::new();
    scene.image("srv/a.raw", ("a", "etc/a"));
    scene.confext("srv/c", "c", "ID=_any\n");
    let mut extensions = listed(&["/srv/a.raw"], &["/srv/c"]);
    let signed = Options { policy: Policy::signed(), ..scene.options() };
    let selected = scene.select_with(&extensions, &signed).unwrap();
    assert_eq!(codes(&selected), [("policy", Severity::Refused)]);
    assert_eq!(used(&selected), ["/srv/a.raw"]);
    assert_eq!(selected.policy, Policy::signed().to_string());
    extensions.policy = Some(Policy::signed());
    assert_eq!(codes(&scene.select(&extensions)), []);
    let nobody = Options { trust: Trust::Nobody, ..scene.options() };
    let selected = scene.select_with(&extensions, &nobody).unwrap();
    assert_eq!(used(&selected), ["/srv/c"]);
    assert_eq!(selected.refused[0].severity, Severity::Refused);
    // A default is never "everything": who says nothing gets signatures.
    let default = Options { trust: nobody.trust, on_bad: OnBad::Skip, ..Options::default() };
    extensions.policy = None;
    assert!(scene.select_with(&extensions, &default).unwrap().extensions.is_empty());
}

#[test]
fn mount_options_without_effect_are_refused_by_name() {
    let scene = Scene::new();
    scene.image("srv/c.raw", ("c", "etc/c"));
    scene.image("srv/s.raw", ("s", "usr/bin/s"));
    for (path, options, fault) in [
        ("/srv/c.raw", "ro,nodev,,noexec", None),
        ("/srv/s.raw", "ro,noatime", None),
        ("/srv/s.raw", "noexec", Some("noexec for root")),
        ("/srv/c.raw", "rw", Some("rw for root")),
        ("/srv/c.raw", "ro,discard", Some("discard for root")),
    ] {
        let mut extensions = listed(&[path], &[]);
        extensions.images[0].options = vec![(Designator::Root, options.to_owned())];
        let selected = scene.select(&extensions);
        let found = selected.refused.first().map(|bad| (bad.code, bad.details.found.as_deref().unwrap()));
        assert_eq!(found, fault.map(|fault| ("mount-option", fault)), "{options}");
    }
}

#[test]
fn a_stack_of_a_service_is_not_written_to() {
    let scene = Scene::new();
    let options = Options { mutability: confext_ddi::settings::Mutability::Yes, ..scene.options() };
    assert_eq!(scene.select_with(&listed(&[], &[]), &options).unwrap_err().code(), "mutable-private");
    assert!(scene.select(&listed(&[], &[])).extensions.is_empty());
}

#[test]
fn paths_do_not_lead_out_of_the_host() {
    let scene = Scene::new();
    scene.confext("srv/c", "c", "ID=_any\n");
    let outside = scene.path("outside");
    fs::create_dir_all(outside.join("etc/extension-release.d")).unwrap();
    symlink(&outside, scene.path("host/srv/out")).unwrap();
    symlink("/srv/c", scene.path("host/srv/c_1")).unwrap();
    symlink("/srv", scene.path("host/srv.v")).unwrap();
    let selected = scene.select(&listed(&[], &["-/srv/out", "/../srv/c_1", "/srv.v/c___"]));
    assert_eq!(used(&selected), ["/srv/c"]);
}
