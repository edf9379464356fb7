//! What is said of the view of a service: whose word it is, and what was checked, for stacks made here and by systemd

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use confext_core::admission::{OnBad, Options, Trust};
use confext_core::service::stack::{Prepared, prepare};
use confext_core::service::{How, Process, Wanted, exchange, trace};
use confext_core::state::Checked;
use confext_core::trace::{Answer, KnownFrom, Presence, Source};
use confext_core::{Host, Result};
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::dps::Architecture;
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, KeyPair, Time};
use confext_ddi::unit::{Entry, Extensions};
use confext_tests::subject::Subject;
use confext_tests::sweep::isolated;

const PRIVATE: &[&str] = &["--mount", "--propagation", "private"];
/// An `/etc` and a `/run` of its own.
const OWN: &str = "mount -t tmpfs tmpfs /etc; echo -n base >/etc/base; mount -t tmpfs tmpfs /run";

struct Scene {
    dir: tempfile::TempDir,
    key: KeyPair,
}

impl Scene {
    fn new() -> Self {
        let key = KeyPair::generate("signer", Time::from(SystemTime::now()), 1).unwrap();
        Self { dir: tempfile::tempdir_in("/var/tmp").unwrap(), key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A signed image, which says in each file what it is.
    fn image(&self, name: &str, (class, files): (Class, &[&str])) -> Entry {
        let mut tree = Tree::new();
        for file in files {
            tree.add_file(file, name.as_bytes(), Meta::new(0o644)).unwrap();
        }
        let path = self.path(&format!("{name}.raw"));
        Builder::new(class, name)
            .tree(tree)
            .release(ReleaseFields::any())
            .architecture(Architecture::of_build().unwrap())
            .build_file(&path, Some(&self.key))
            .unwrap();
        Entry::image(path.to_str().unwrap())
    }

    fn directory(&self, name: &str, files: &[&str]) -> Entry {
        let write = |path: &str, text: &str| {
            let path = self.path(name).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(&format!("etc/extension-release.d/extension-release.{name}"), "ID=_any\n");
        files.iter().for_each(|file| write(file, name));
        Entry::directory(self.path(name).to_str().unwrap())
    }

    fn options(&self) -> Options {
        let mut certificates = Certificates::new(Time::from(SystemTime::now()));
        certificates.add_pem(&self.key.certificate_pem().unwrap()).unwrap();
        let mut options = Options::default();
        options.policy = Policy::unprotected();
        options.trust = Trust::Verifier(Arc::new(certificates));
        options
    }
}

fn listed(images: Vec<Entry>, directories: Vec<Entry>) -> Extensions {
    let mut extensions = Extensions::default();
    (extensions.images, extensions.directories) = (images, directories);
    extensions
}

/// Has the process see them over `/etc`.
fn put(host: &Host, process: &Process, prepared: &Prepared) -> Result<()> {
    let mut wanted = Wanted::nothing(Class::Confext, "etc");
    wanted.directories = prepared.directories_of("etc");
    wanted.mounts = prepared.mounts_of("etc");
    wanted.layers = prepared.layers_of("etc");
    wanted.policy = prepared.policy().to_owned();
    exchange(host, process, &wanted, How::default()).map(drop)
}

fn source(answer: Answer) -> Arc<Source> {
    match answer {
        Answer::Layer { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs root"]
fn a_view_made_here_is_known_from_its_record() {
    isolated(|| {
        let scene = Scene::new();
        let extensions = listed(
            vec![
                scene.image("a", (Class::Confext, &["etc/x", "etc/a"])),
                scene.image("b", (Class::Confext, &["etc/x"])),
                scene.image("s", (Class::Sysext, &["usr/lib/s"])),
            ],
            vec![scene.directory("c", &["etc/c"])],
        );
        let (host, subject) = (Host::open("/").unwrap(), Subject::start(PRIVATE, OWN));
        let process = subject.process();
        let root = process.host().unwrap();
        let prepared = prepare(&host, &root, &extensions, &scene.options()).unwrap();
        assert_eq!(prepared.hierarchies(), [("usr", Class::Sysext), ("etc", Class::Confext)]);
        let names: Vec<_> = prepared.layers().map(|(_, layer)| layer.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "s", "c"]);
        put(&host, &process, &prepared).unwrap();
        drop(prepared);
        assert_eq!(subject.read("etc/x").as_deref(), Some("b"));

        // Whatever the settings say meanwhile, and whoever is trusted now.
        let nothing = Extensions::default();
        let mut nobody = scene.options();
        nobody.trust = Trust::Nobody;
        let tracer = trace::live(&host, (&process, &root), &nothing, &nobody).unwrap();
        let answer = |path: &str| tracer.trace(path).unwrap().answer;
        let x = source(answer("/etc/x"));
        assert_eq!((&*x.layer, x.known_from, x.confirmed_by), ("b", KnownFrom::Record, "root-hash"));
        assert!(matches!(&x.checked, Checked::Signed { by, .. } if by.subject == "CN=signer"));
        let Answer::Layer { shadows, .. } = answer("/etc/x") else { panic!() };
        assert_eq!(shadows.len(), 1);
        assert_eq!(source(answer("/etc/c")).checked, Checked::None);
        assert_eq!(answer("/etc/base"), Answer::Base { hierarchy: "etc", base: Presence::Present });
        assert_eq!(answer("/etc/.confext/provenance.json"), Answer::Metadata { hierarchy: "etc" });
        assert_eq!(answer("/etc/none"), Answer::Absent);
        assert_eq!(answer("/usr/lib/s"), Answer::Absent);

        // Another image in its place is not the one that is seen.
        fs::remove_file(scene.path("b.raw")).unwrap();
        scene.image("b", (Class::Confext, &["etc/x", "etc/y"]));
        let tracer = trace::live(&host, (&process, &root), &nothing, &nobody).unwrap();
        let Answer::CannotTell { unknown, .. } = tracer.trace("/etc/x").unwrap().answer else { panic!() };
        assert_eq!((&*unknown[0].layer, unknown[0].code), ("b", "layer-changed"));
    });
}

#[test]
#[ignore = "needs root"]
fn a_view_made_by_systemd_is_known_from_the_settings() {
    isolated(|| {
        let scene = Scene::new();
        let (a, b) = (scene.directory("a", &["etc/x", "etc/a"]), scene.directory("b", &["etc/x"]));
        let host = Host::open("/").unwrap();
        let extensions = "/run/systemd/unit-extensions";
        let setup = format!(
            "{OWN}; mkdir -p {extensions}/0 {extensions}/1
             mount --bind {} {extensions}/0; mount --bind {} {extensions}/1
             mount -t overlay -o ro,lowerdir={extensions}/1/etc:{extensions}/0/etc:/etc systemd-extensions /etc",
            a.path, b.path
        );
        let subject = Subject::start(PRIVATE, &setup);
        let process = subject.process();
        let root = process.host().unwrap();
        assert_eq!(subject.read("etc/x").as_deref(), Some("b"));
        let trace = |extensions: &Extensions, path: &str| {
            let tracer = trace::live(&host, (&process, &root), extensions, &scene.options()).unwrap();
            tracer.trace(path).unwrap().answer
        };
        let right = listed(vec![], vec![a.clone(), b.clone()]);
        let x = source(trace(&right, "/etc/x"));
        assert_eq!((&*x.layer, x.known_from, x.confirmed_by), ("b", KnownFrom::Settings, "settings"));
        assert_eq!(source(trace(&right, "/etc/a")).layer, "a");
        assert!(matches!(trace(&right, "/etc/base"), Answer::Base { .. }));
        // Settings that have changed since: what they have in its place does not look like what is seen, or is not there.
        let wrong = listed(vec![], vec![a.clone(), scene.directory("other", &["etc/x"])]);
        assert!(matches!(trace(&wrong, "/etc/x"), Answer::CannotTell { .. }));
        let fewer = listed(vec![], vec![a]);
        let Answer::CannotTell { unknown, .. } = trace(&fewer, "/etc/x") else { panic!() };
        assert_eq!((&*unknown[0].layer, unknown[0].code), ("number 2", "layer-changed"));
    });
}

#[test]
#[ignore = "needs root"]
fn what_speaks_against_an_extension_stops_all_or_leaves_it_out() {
    isolated(|| {
        let scene = Scene::new();
        let extensions = listed(
            vec![scene.image("a", (Class::Confext, &["etc/a"]))],
            vec![
                scene.directory("forged", &["etc/os-release"]),
                scene.directory("mark", &["etc/.confext/x"]),
            ],
        );
        let (host, mut options) = (Host::open("/").unwrap(), scene.options());
        let error = prepare(&host, &host, &extensions, &options).unwrap_err();
        assert!(["replaces-os-release", "metadata-directory"].contains(&error.code()), "{error}");
        options.on_bad = OnBad::Skip;
        let prepared = prepare(&host, &host, &extensions, &options).unwrap();
        assert_eq!(prepared.layers_of("etc").len(), 1);
        let mut codes: Vec<_> = prepared.refused().iter().map(|bad| bad.code).collect();
        codes.sort_unstable();
        assert_eq!(codes, ["metadata-directory", "replaces-os-release"]);
    });
}
