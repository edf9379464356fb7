use super::*;
use crate::plan::VetoKind;
use confext_ddi::policy::Policy;
use std::fs;
use std::os::unix::fs::symlink;

/// A host in a scratch directory.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::tempdir_in("/var/tmp").unwrap());
        root.file("etc/os-release", "ID=deb\nVERSION_ID=1\n");
        root
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn dir(&self, path: &str) {
        fs::create_dir_all(self.0.path().join(path)).unwrap();
    }

    /// A directory that is a confext of that name.
    fn confext(&self, path: &str, name: &str, release: &str) {
        self.file(&format!("{path}/etc/extension-release.d/extension-release.{name}"), release);
        self.file(&format!("{path}/etc/{name}.conf"), "x");
    }

    fn explain_with(&self, name: &str, change: impl FnOnce(&mut Options)) -> Explanation {
        let mut options = Options { policy: Policy::unprotected(), ..Options::default() };
        change(&mut options);
        explain(&Host::open(self.0.path()).unwrap(), Class::Confext, name, &options).unwrap()
    }

    fn explain(&self, name: &str) -> Explanation {
        self.explain_with(name, |_| {})
    }
}

/// The entries' names with what becomes of them.
fn reasons(explanation: &Explanation) -> Vec<(&str, &'static str)> {
    let one = |entry: &'_ Explained| entry.reason.as_str();
    explanation.entries.iter().map(|entry| (entry.entry.to_str().unwrap(), one(entry))).collect()
}

#[test]
fn what_is_used_says_where_in_the_stack() {
    let root = Root::new();
    for name in ["a1", "a2", "a10"] {
        root.confext(&format!("run/confexts/{name}"), name, "ID=_any\n");
    }
    let found = root.explain("a2");
    assert_eq!((found.verdict, &found.refusal), (Verdict::Used, &None));
    let [Explained { reason: Reason::Used(place), .. }] = &found.entries[..] else { panic!("{found:?}") };
    assert_eq!((place.position, place.of, place.merged), (2, 3, Merged::No));
    assert_eq!((place.above.join(" "), place.below.join(" ")), ("a10".into(), "a1".into()));
    assert_eq!((place.hierarchies.join(" "), &place.checked), ("etc".into(), &Checked::None));
    let states: Vec<_> = found.searched.iter().map(|searched| (searched.path, searched.state)).collect();
    use crate::discover::SearchState::{Listed, Missing};
    assert_eq!(
        states,
        [
            ("/run/confexts", Listed),
            ("/var/lib/confexts", Missing),
            ("/usr/local/lib/confexts", Missing),
            ("/usr/lib/confexts", Missing)
        ]
    );
}

#[test]
fn every_entry_of_the_name_is_there_in_order_of_precedence() {
    let root = Root::new();
    root.confext("usr/lib/confexts/app", "app", "ID=_any\n");
    root.confext("var/lib/confexts/app", "app", "ID=_any\n");
    root.dir("usr/local/lib/confexts/app");
    symlink("nothing", root.0.path().join("var/lib/confexts/app.raw")).unwrap();
    root.file("var/lib/confexts/.sysupdate.app_2.raw", "x");
    root.file("var/lib/confexts/other.txt", "x");
    let found = root.explain("app");
    assert_eq!(
        reasons(&found),
        [
            ("/var/lib/confexts/app", "used"),
            ("/var/lib/confexts/.sysupdate.app_2.raw", "not-an-extension"),
            ("/var/lib/confexts/app.raw", "not-an-extension"),
            ("/usr/local/lib/confexts/app", "shadowed"),
            ("/usr/lib/confexts/app", "shadowed"),
        ]
    );
    let Reason::Shadowed { by } = &found.entries[4].reason else { panic!("{found:?}") };
    assert_eq!(by, Path::new("/var/lib/confexts/app"));
    assert_eq!(found.entries[2].reason.fault().unwrap().code, "dangling-link");
}

#[test]
fn each_reason_has_found_and_expected() {
    let root = Root::new();
    root.confext("run/confexts/old", "old", "ID=deb\nVERSION_ID=0\n");
    root.confext("run/confexts/wrong", "another", "ID=_any\n");
    root.dir("run/confexts/off");
    root.file("run/confexts/empty.raw", "");
    let host = root.explain("old");
    assert_eq!(host.verdict, Verdict::NotUsed);
    let Reason::OtherHost { field, fault } = &host.entries[0].reason else { panic!("{host:?}") };
    assert_eq!((*field, fault.code), ("VERSION_ID", "host-version"));
    assert_eq!(
        (fault.found.as_deref(), fault.expected.as_deref()),
        (Some("VERSION_ID=\"0\""), Some("\"1\""))
    );
    assert_eq!(host.entries[0].kind, Some(Kind::Directory));
    assert_eq!(reasons(&root.explain("off")), [("/run/confexts/off", "masked")]);
    for (name, code) in [("wrong", "release-name"), ("empty", "image-empty")] {
        let found = root.explain(name);
        let Reason::Refused { fault } = &found.entries[0].reason else { panic!("{found:?}") };
        assert_eq!(fault.code, code);
        assert!(fault.found.is_some() && fault.expected.is_some(), "{fault:?}");
        assert!(!fault.hint.is_empty());
    }
}

#[test]
fn versions_that_are_passed_over_are_told_with_their_directory() {
    let root = Root::new();
    for version in ["1", "2"] {
        root.confext(&format!("run/confexts/app.v/app_{version}"), "app", "ID=_any\n");
    }
    root.dir("run/confexts/app.v/app_1_2");
    root.dir("run/confexts/none.v/none");
    let found = root.explain("app");
    let [entry] = &found.entries[..] else { panic!("{found:?}") };
    assert_eq!((entry.version.as_deref(), entry.reason.as_str()), (Some("2"), "used"));
    assert_eq!(entry.path.as_deref(), Some(Path::new("/run/confexts/app.v/app_2")));
    let passed: Vec<_> = entry
        .passed_over
        .iter()
        .map(|one| (one.path.file_name().unwrap().to_str().unwrap(), one.code))
        .collect();
    assert_eq!(passed, [("app_1_2", "version-rejected"), ("app_1", "version-outranked")]);
    let none = root.explain("none");
    assert_eq!(reasons(&none), [("/run/confexts/none.v", "not-an-extension")]);
    assert_eq!(none.entries[0].reason.fault().unwrap().code, "no-version");
    assert_eq!(none.entries[0].passed_over[0].code, "version-rejected");
}

#[test]
fn what_speaks_against_it_can_be_allowed_for_it_alone() {
    let root = Root::new();
    root.confext("run/confexts/app", "app", "ID=_any\n");
    root.file("run/confexts/app/etc/os-release", "ID=x\n");
    root.confext("run/confexts/zoo", "zoo", "ID=_any\n");
    let found = root.explain("app");
    let Reason::Vetoed { vetoes } = &found.entries[0].reason else { panic!("{found:?}") };
    assert_eq!((found.verdict, vetoes[0].kind), (Verdict::NotUsed, VetoKind::OsRelease));
    // Nothing else is merged either, unless the bad one is skipped.
    let zoo = root.explain("zoo");
    assert_eq!((zoo.verdict, zoo.refusal.unwrap().code), (Verdict::Refused, "replaces-os-release"));
    let skip = root.explain_with("zoo", |options| options.on_bad = crate::admission::OnBad::Skip);
    let Reason::Used(place) = &skip.entries[0].reason else { panic!("{skip:?}") };
    assert_eq!((skip.verdict, place.of), (Verdict::Used, 1));
    for (allow, verdict) in [
        ("app:replaces-os-release", Verdict::Used),
        ("zoo:replaces-os-release", Verdict::NotUsed),
        ("replaces-os-release", Verdict::Used),
        ("whiteout", Verdict::NotUsed),
    ] {
        let allow = crate::plan::Allowance::parse(allow).unwrap();
        assert_eq!(root.explain_with("app", |options| options.allow.push(allow)).verdict, verdict);
    }
    for unknown in ["", "layer-unreadable", "app:", "x"] {
        assert_eq!(crate::plan::Allowance::parse(unknown), None);
    }
}

#[test]
fn an_unknown_name_lists_those_that_are_near() {
    let root = Root::new();
    root.confext("run/confexts/application", "application", "ID=_any\n");
    root.confext("run/confexts/monitor", "monitor", "ID=_any\n");
    root.file("run/extensions/monitro/usr/x", "x");
    root.file("run/confexts/.#x.raw", "");
    let found = root.explain("monitro");
    assert_eq!((found.verdict, found.entries.len()), (Verdict::Unknown, 0));
    let near: Vec<_> = found.near.iter().map(|near| (near.class, near.name.as_str())).collect();
    assert_eq!(near, [(Class::Sysext, "monitro"), (Class::Confext, "monitor")]);
    assert_eq!(root.explain("app").near[0].name, "application");
    assert_eq!(root.explain("quite-another").near, []);
}

#[test]
fn a_required_extension_decides_for_all() {
    let root = Root::new();
    root.confext("run/confexts/app", "app", "ID=_any\n");
    root.confext("run/confexts/old", "old", "ID=deb\nVERSION_ID=0\n");
    root.dir("run/confexts/off");
    root.file("run/confexts/bad.raw", "");
    let select = |required: &str, on_bad| {
        let mut options = Options { policy: Policy::unprotected(), on_bad, ..Options::default() };
        options.required.insert(required.to_owned());
        let host = Host::open(root.0.path()).unwrap();
        let plan = crate::stack::plan(&host, Class::Confext, &options).unwrap();
        let error = crate::stack::select(&host, Class::Confext, &options).err();
        assert_eq!(plan.refusal.as_ref().map(|refusal| refusal.code), error.as_ref().map(crate::Error::code));
        error.map(|error| error.code())
    };
    use crate::admission::OnBad::{RefuseAll, Skip};
    for (required, code) in [
        ("app", None),
        ("old", Some("host-version")),
        ("off", Some("masked")),
        ("bad", Some("image-empty")),
        ("none", Some("required-missing")),
    ] {
        assert_eq!(select(required, Skip), code, "{required}");
    }
    assert_eq!(select("app", RefuseAll), Some("image-empty"));
}
