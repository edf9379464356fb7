use super::*;
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::signature::{Certificates, KeyPair, Time};
use std::time::SystemTime;

struct Scene {
    dir: tempfile::TempDir,
    key: KeyPair,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::create_dir(dir.path().join("app.raw.v")).unwrap();
        let key = KeyPair::generate("CN=publisher", Time::from(SystemTime::now()), 1).unwrap();
        Self { dir, key }
    }

    fn store(&self) -> Store {
        Store::open(self.dir.path().join("app.raw.v"), Class::Confext).unwrap()
    }

    fn image(&self, name: &str, content: &str) -> File {
        self.image_for(Architecture::of_build().unwrap(), name, content)
    }

    fn image_for(&self, architecture: Architecture, name: &str, content: &str) -> File {
        let mut tree = Tree::new();
        tree.add_file("etc/app.conf", content.as_bytes(), Meta::new(0o644)).unwrap();
        let path = self.dir.path().join("source.raw");
        Builder::new(Class::Confext, name)
            .tree(tree)
            .release(ReleaseFields::any())
            .architecture(architecture)
            .replace_file()
            .build_file(&path, Some(&self.key))
            .unwrap();
        File::open(path).unwrap()
    }

    fn options(&self, version: &str) -> Options {
        let mut certificates = Certificates::new(Time::from(SystemTime::now()));
        certificates.add_pem(&self.key.certificate_pem().unwrap()).unwrap();
        Options { verifier: Some(Arc::new(certificates)), ..Options::new(version) }
    }

    fn publish(&self, content: &str, options: &Options) -> Result<Published> {
        let architecture = options.architecture.or_else(Architecture::of_build).unwrap();
        let image = self.image_for(architecture, "app", content);
        self.store().publish(&image, options, &mut |_| ControlFlow::Continue(()))
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("app.raw.v")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn foreign() -> Architecture {
    let native = Architecture::of_build();
    if native == Some(Architecture::Arm64) { Architecture::Riscv64 } else { Architecture::Arm64 }
}

#[test]
fn a_version_is_published_once_and_whole() {
    let scene = Scene::new();
    let one = scene.publish("one", &scene.options("1")).unwrap();
    assert!(!one.was_there && matches!(one.evidence, Evidence::Signed { .. }));
    assert_eq!(scene.names(), ["app_1.raw"]);
    let source = std::fs::read(scene.dir.path().join("source.raw")).unwrap();
    assert_eq!(std::fs::read(&one.version.path).unwrap(), source);
    assert!(scene.publish("one", &scene.options("1")).unwrap().was_there);
    assert_eq!(scene.publish("other", &scene.options("1")).unwrap_err().code(), "version-exists");
    let options = Options { tries: Some(3), ..scene.options("2") };
    scene.publish("two", &options).unwrap();
    assert_eq!(scene.names(), ["app_1.raw", "app_2+3-0.raw"]);
    // For another machine, which is not chosen here.
    let foreign = Options { architecture: Some(foreign()), ..scene.options("2") };
    assert!(!scene.publish("two", &foreign).unwrap().was_there);
    assert!(scene.publish("two", &foreign).unwrap().was_there);
    std::fs::remove_file(scene.publish("two", &foreign).unwrap().version.path).unwrap();
    // The same version under other counters is the same version.
    assert_eq!(scene.publish("three", &scene.options("2")).unwrap_err().code(), "version-exists");
    assert_eq!(scene.store().versions().unwrap()[0].version, "2");
}

#[test]
fn nothing_is_published_that_does_not_check() {
    let scene = Scene::new();
    let nobody = Options::new("1");
    assert_eq!(scene.publish("one", &nobody).unwrap_err().code(), "signature-unchecked");
    assert_eq!(scene.publish("one", &scene.options("1 2")).unwrap_err().code(), "version-name");
    // Another name inside.
    let refused = |file: &File| {
        scene.store().publish(file, &scene.options("1"), &mut |_| ControlFlow::Continue(())).unwrap_err()
    };
    assert_eq!(refused(&scene.image("other", "one")).code(), "release-name");
    // A changed byte anywhere in the data.
    scene.image("app", &"x".repeat(100_000));
    let path = scene.dir.path().join("source.raw");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|found| found == b"xxxx").unwrap() + 50_000;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(refused(&File::open(&path).unwrap()).code(), "data-block");
    let stopped = scene
        .store()
        .publish(&scene.image("app", "one"), &scene.options("1"), &mut |_| ControlFlow::Break(()));
    assert_eq!(stopped.unwrap_err().code(), "cancelled");
    assert_eq!(scene.names(), [""; 0]);
}

#[test]
fn counters_say_what_is_used_next() {
    let scene = Scene::new();
    scene.publish("one", &scene.options("1")).unwrap();
    scene.publish("two", &Options { tries: Some(2), ..scene.options("2") }).unwrap();
    let store = scene.store();
    let used = || store.versions().unwrap()[0].version.clone();
    assert_eq!(store.begin("2").unwrap().tries, Some(Tries { left: 1, done: 1 }));
    assert_eq!((used().as_str(), scene.names()), ("2", vec!["app_1.raw".into(), "app_2+1-1.raw".to_owned()]));
    store.begin("2").unwrap();
    assert_eq!(store.begin("2").unwrap_err().code(), "version-tries");
    assert_eq!(used(), "1");
    store.good("2").unwrap();
    assert_eq!((used().as_str(), scene.names()), ("2", vec!["app_1.raw".into(), "app_2.raw".to_owned()]));
    assert_eq!(store.bad("2").unwrap().version, "1");
    assert_eq!(scene.names(), ["app_1.raw", "app_2+0-1.raw"]);
    assert_eq!(store.begin("1").unwrap().tries, None);
    assert_eq!(store.good("7").unwrap_err().code(), "version-missing");
}

#[test]
fn the_best_versions_are_kept_and_those_in_use() {
    let scene = Scene::new();
    for version in ["1", "2", "3", "4", "5"] {
        scene.publish(version, &scene.options(version)).unwrap();
    }
    std::fs::write(scene.dir.path().join("app.raw.v/readme"), "no version").unwrap();
    let store = scene.store();
    store.bad("5").unwrap();
    let stat = rustix::fs::stat(scene.dir.path().join("app.raw.v/app_1.raw")).unwrap();
    let used = BTreeSet::from([(stat.st_dev, stat.st_ino)]);
    let pruned = store.prune(NonZeroUsize::new(2).unwrap(), &used).unwrap();
    let versions = |list: &[Version]| list.iter().map(|it| it.version.clone()).collect::<Vec<_>>();
    assert_eq!(versions(&pruned.removed), ["2", "5"]);
    assert_eq!(versions(&pruned.in_use), ["1"]);
    assert_eq!(scene.names(), ["app_1.raw", "app_3.raw", "app_4.raw", "readme"]);
}

#[test]
fn of_many_that_publish_a_version_one_does() {
    let scene = Scene::new();
    let images: Vec<_> = (0..8)
        .map(|number| {
            scene.image("app", &format!("content {number}"));
            let place = scene.dir.path().join(format!("{number}.raw"));
            std::fs::rename(scene.dir.path().join("source.raw"), &place).unwrap();
            File::open(place).unwrap()
        })
        .collect();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let publish = |image: File| {
            let scene = &scene;
            scope.spawn(move || {
                let done =
                    scene.store().publish(&image, &scene.options("1"), &mut |_| ControlFlow::Continue(()));
                done.map_err(|error| error.code())
            })
        };
        let threads: Vec<_> = images.into_iter().map(publish).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().flat_map(|outcome| outcome.as_ref().err()).all(|code| *code == "version-exists"));
    assert_eq!(scene.names(), ["app_1.raw"]);
}

#[test]
fn what_a_killed_writer_left_is_removed_and_a_lock_is_waited_for() {
    let scene = Scene::new();
    let left = scene.dir.path().join("app.raw.v/.#app_9.raw.publish");
    std::fs::write(&left, "half").unwrap();
    let store = scene.store();
    let lock = Lock::take(&store.directory, &store.path, Duration::ZERO).unwrap();
    let busy = scene.store().wait(Duration::ZERO);
    assert_eq!(busy.good("1").unwrap_err().code(), "locked");
    drop(lock);
    scene.publish("one", &scene.options("1")).unwrap();
    assert_eq!(scene.names(), ["app_1.raw"]);
}

#[test]
fn the_directory_says_which_image_it_is_of() {
    let scene = Scene::new();
    let open = |name: &str, class| {
        let path = scene.dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Store::open(path, class).map(|store| store.name().to_owned()).map_err(|error| error.code())
    };
    assert_eq!(open("app.raw.v", Class::Confext), Ok("app".to_owned()));
    assert_eq!(open("app.confext.raw.v", Class::Confext), Ok("app".to_owned()));
    assert_eq!(open("app.v", Class::Confext), Err("store-name"));
    assert_eq!(open("app.raw", Class::Confext), Err("store-name"));
    assert_eq!(Store::open(scene.dir.path().join("none.raw.v"), Class::Confext).unwrap_err().code(), "os");
}
