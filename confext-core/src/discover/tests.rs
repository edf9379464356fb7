use super::*;
use std::fs;
use std::os::unix::fs::symlink;

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self, path: &str) -> &Self {
        fs::create_dir_all(self.0.path().join(path.trim_start_matches('/'))).unwrap();
        self
    }

    fn file(&self, path: &str) -> &Self {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
        self
    }

    fn link(&self, target: &str, path: &str) -> &Self {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// A directory with something in it.
    fn tree(&self, path: &str) -> &Self {
        self.file(&format!("{path}/etc/x"))
    }

    fn find(&self, class: Class) -> Discovery {
        discover(&Host::open(self.0.path()).unwrap(), class).unwrap()
    }

    fn confexts(&self) -> Vec<(String, String)> {
        let found = self.find(Class::Confext).candidates;
        found.into_iter().map(|c| (c.name, c.path.to_str().unwrap().to_owned())).collect()
    }

    fn codes(&self) -> Vec<(String, &'static str)> {
        let refused = self.find(Class::Confext).refused;
        refused
            .into_iter()
            .map(|r| (r.path.file_name().unwrap().to_str().unwrap().to_owned(), r.code))
            .collect()
    }
}

fn pair(name: &str, path: &str) -> (String, String) {
    (name.to_owned(), path.to_owned())
}

#[test]
fn nothing_there_is_nothing_found() {
    let found = Root::new().find(Class::Sysext);
    assert_eq!((found.candidates.len(), found.refused.len()), (0, 0));
}

#[test]
fn the_first_directory_with_a_name_wins() {
    let root = Root::new();
    root.file("/usr/lib/confexts/a.raw").file("/var/lib/confexts/a.raw").file("/usr/lib/confexts/b.raw");
    root.file("/etc/confexts/c.raw").file("/etc/extensions/d.raw");
    assert_eq!(root.confexts(), [pair("a", "/var/lib/confexts/a.raw"), pair("b", "/usr/lib/confexts/b.raw")]);
    assert_eq!(root.codes(), [("a.raw".to_owned(), "shadowed")]);
}

#[test]
fn an_initrd_has_directories_of_its_own() {
    let root = Root::new();
    root.file("/.extra/confext/a.raw").file("/usr/lib/confexts/b.raw");
    assert_eq!(root.confexts(), [pair("b", "/usr/lib/confexts/b.raw")]);
    root.file("/etc/initrd-release");
    assert_eq!(root.confexts(), [pair("a", "/.extra/confext/a.raw")]);
}

#[test]
fn names_are_taken_from_entries() {
    let root = Root::new();
    for raw in ["a.raw", "b.confext.raw", "c.sysext.raw", "app_1.2.raw", "back~.raw", ".hid.raw"] {
        root.file(&format!("/run/confexts/{raw}"));
    }
    root.tree("/run/confexts/d.confext").tree("/run/confexts/e.raw").tree("/run/confexts/f.sysext");
    root.file("/elsewhere/other.raw").link("/elsewhere/other.raw", "/run/confexts/g.raw");
    let names: Vec<_> = root.find(Class::Confext).candidates.into_iter().map(|c| c.name).collect();
    assert_eq!(names, [".hid", "a", "app_1.2", "b", "back~", "c.sysext", "d", "e.raw", "f.sysext", "g"]);
}

#[test]
fn d2_two_entries_of_one_name_have_a_fixed_order() {
    let order =
        ["n.confext", "n", "n.confext.raw", "n.raw", "n.confext.v", "n.v", "n.confext.raw.v", "n.raw.v"];
    for (at, first) in order.iter().enumerate() {
        let root = Root::new();
        for entry in &order[at..] {
            match entry.strip_suffix(".v") {
                Some(inner) if inner.ends_with(".raw") => {
                    let suffix = inner.strip_prefix('n').unwrap();
                    root.file(&format!("/run/confexts/{entry}/n_1{suffix}"));
                }
                Some(inner) => {
                    let suffix = inner.strip_prefix('n').unwrap();
                    root.tree(&format!("/run/confexts/{entry}/n_1{suffix}"));
                }
                None if entry.ends_with(".raw") => _ = root.file(&format!("/run/confexts/{entry}")),
                None => _ = root.tree(&format!("/run/confexts/{entry}")),
            }
        }
        let found = root.find(Class::Confext);
        assert_eq!(found.candidates.len(), 1);
        assert_eq!(found.candidates[0].entry, Path::new("/run/confexts").join(first));
        assert_eq!(found.refused.len(), order.len() - at - 1);
    }
}

#[test]
fn every_refusal_has_its_reason() {
    let root = Root::new();
    root.file("/run/confexts/readme.txt")
        .file("/run/confexts/.sysupdate.x.raw")
        .file("/run/confexts/.#x.raw");
    root.link("missing", "/run/confexts/gone.raw").link("loop.raw", "/run/confexts/loop.raw");
    root.tree("/run/confexts/s.mstack").dir("/run/confexts/mask").file("/usr/lib/confexts/mask.raw");
    root.dir("/run/confexts/empty.raw.v").file("/run/confexts/file.v");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.0.path().join("run/confexts/pipe.raw"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let mut codes = root.codes();
    codes.sort();
    let expected = [
        (".#x.raw", "image-name"),
        (".sysupdate.x.raw", "unfinished-download"),
        ("empty.raw.v", "no-version"),
        ("file.v", "not-an-image"),
        ("gone.raw", "dangling-link"),
        ("loop.raw", "link-loop"),
        ("mask", "masked"),
        ("mask.raw", "shadowed"),
        ("pipe.raw", "not-an-image"),
        ("readme.txt", "not-an-image"),
        ("s.mstack", "stack-image"),
    ];
    assert_eq!(codes, expected.map(|(name, code)| (name.to_owned(), code)));
    assert_eq!(root.confexts(), []);
    for rejection in root.find(Class::Confext).refused {
        assert!(!rejection.hint.is_empty() && !rejection.message.is_empty(), "{rejection:?}");
    }
}

#[test]
fn an_unusable_entry_keeps_its_name() {
    let root = Root::new();
    root.tree("/run/confexts/s.mstack").file("/usr/lib/confexts/s.raw");
    assert_eq!(root.confexts(), []);
    assert_eq!(root.codes(), [("s.raw".to_owned(), "shadowed"), ("s.mstack".to_owned(), "stack-image")]);
}

#[test]
fn the_best_version_is_used() {
    let root = Root::new();
    for name in ["app_1.raw", "app_2.raw", "app_3~rc1_bogus.raw", "other_9.raw"] {
        root.file(&format!("/var/lib/confexts/app.raw.v/{name}"));
    }
    root.link("nowhere", "/var/lib/confexts/app.raw.v/app_9.raw");
    root.file("/elsewhere/real.raw").link("/elsewhere/real.raw", "/var/lib/confexts/app.raw.v/app_5.raw");
    let found = root.find(Class::Confext);
    let app = &found.candidates[0];
    assert_eq!((app.name.as_str(), app.version.as_deref()), ("app", Some("5")));
    assert_eq!(app.path, Path::new("/elsewhere/real.raw"));
    assert_eq!(app.entry, Path::new("/var/lib/confexts/app.raw.v"));
    let outranked = found.refused.iter().filter(|r| r.code == "version-outranked").count();
    let rejected = found.refused.iter().filter(|r| r.code == "version-rejected").count();
    assert_eq!((outranked, rejected), (2, 3));
}

#[test]
fn absolute_links_stay_inside_the_root() {
    let root = Root::new();
    root.tree("/store/tree").link("/store", "/run/confexts").link("/store/tree", "/usr/lib/confexts/a");
    assert_eq!(root.confexts(), [pair("a", "/store/tree"), pair("tree", "/store/tree")]);
}

#[test]
fn a_search_directory_that_cannot_be_listed_is_an_error() {
    let root = Root::new();
    root.file("/run/confexts");
    let error = discover(&Host::open(root.0.path()).unwrap(), Class::Confext).unwrap_err();
    assert_eq!(error.code(), "os");
    assert!(error.to_string().contains("run/confexts"), "{error}");
}
