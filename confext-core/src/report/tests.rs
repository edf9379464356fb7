use super::*;
use confext_ddi::policy::Policy;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

/// A root directory that does not run, with confexts that are directories.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::tempdir_in("/var/tmp").unwrap());
        root.file(b"etc/os-release", "ID=deb\n");
        root
    }

    fn file(&self, path: &[u8], text: &str) {
        let path = self.0.path().join(OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn confext(&self, name: &str, files: &[&[u8]]) {
        let place = format!("run/confexts/{name}");
        self.file(
            format!("{place}/etc/extension-release.d/extension-release.{name}").as_bytes(),
            "ID=_any\n",
        );
        for file in files {
            self.file(&[place.as_bytes(), b"/etc/", file].concat(), "x");
        }
    }

    fn report(&self, change: impl FnOnce(&mut Options)) -> Report {
        let admission = admission::Options { policy: Policy::unprotected(), ..Default::default() };
        let mut options = Options { made_at: Some(Time::from_unix(1_764_201_600)), ..Options::default() };
        change(&mut options);
        report(&Host::open(self.0.path()).unwrap(), &[(Class::Confext, &admission)], &options).unwrap()
    }

    fn page(&self, change: impl FnOnce(&mut Options)) -> String {
        page(&self.report(change))
    }
}

fn page(report: &Report) -> String {
    let mut page = Vec::new();
    report.write_html(&mut page).unwrap();
    String::from_utf8(page).unwrap()
}

fn data(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// The paths as a reader of the columns puts them together, each with its answer.
fn paths(data: &serde_json::Value) -> Vec<(String, String)> {
    let mut place: Vec<String> = Vec::new();
    let mut paths = Vec::new();
    for (at, name) in data["names"].as_array().unwrap().iter().enumerate() {
        place.truncate(usize::try_from(data["depths"][at].as_u64().unwrap()).unwrap());
        place.push(name.as_str().unwrap().to_owned());
        let kind = &data["kinds"][usize::try_from(data["of"][at].as_u64().unwrap()).unwrap()];
        paths.push((place.join("/"), kind["a"].as_str().unwrap().to_owned()));
    }
    paths
}

#[test]
fn every_path_is_there_with_its_answer_and_what_it_hides() {
    let root = Root::new();
    root.file(b"etc/hosts", "of the host\n");
    root.confext("a", &[b"one", b"d/two"]);
    root.confext("b", &[b"hosts", b"d/two"]);
    let report = root.report(|_| {});
    let counts = report.counts();
    assert_eq!((counts.layers, counts.shadowing, counts.refused, counts.objections), (2, 2, 0, 0));
    assert_eq!(report.view(), View::Planned);
    let data = data(&page(&report));
    let expected = [
        ("/etc", "directory"),
        ("/etc/d", "directory"),
        ("/etc/d/two", "layer"),
        ("/etc/extension-release.d", "directory"),
        ("/etc/extension-release.d/extension-release.a", "layer"),
        ("/etc/extension-release.d/extension-release.b", "layer"),
        ("/etc/hosts", "layer"),
        ("/etc/one", "layer"),
        ("/etc/os-release", "base"),
    ];
    let found = paths(&data);
    let found: Vec<_> = found.iter().map(|(path, answer)| (path.as_str(), answer.as_str())).collect();
    assert_eq!(found, expected);
    let kind = |at: usize| &data["kinds"][usize::try_from(data["of"][at].as_u64().unwrap()).unwrap()];
    assert_eq!((&kind(2)["l"], &kind(2)["o"]), (&serde_json::json!([1]), &serde_json::json!([0])));
    assert_eq!(kind(6)["o"], serde_json::json!(["host"]));
    assert_eq!(data["layers"][1]["name"], "b");
}

#[test]
fn the_topmost_layer_comes_first_and_says_how_much_of_it_is_seen() {
    let root = Root::new();
    root.confext("a", &[b"x", b"y"]);
    root.confext("b", &[b"x"]);
    let page = root.page(|_| {});
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is not in {page}"));
    assert!(at("<b>b</b>") < at("<b>a</b>"));
    assert!(page.contains("<td><a href=\"#layer-1\">b</a></td><td><a href=\"#layer-0\">a</a></td>"));
}

#[test]
fn hostile_names_are_text() {
    let root = Root::new();
    let hostile: &[&[u8]] = &[
        b"<script>alert(1)<",
        b"<!--<script>",
        b"\" onload=\"x",
        b"\xff\xfe",
        b"a\nb\x1b[2J",
        "\u{202e}gpj.exe".as_bytes(),
        "\u{2028}".as_bytes(),
        b"&lt;b&gt;",
    ];
    root.confext("a", hostile);
    root.file(b"run/confexts/<img src=x>.raw", "");
    root.file(b"run/confexts/bad/etc/os-release", "");
    root.file(b"run/confexts/bad/etc/extension-release.d/extension-release.bad", "ID=</script>\n");
    let page = root.page(|_| {});
    let (before, data_and_rest) = page.split_once("id=\"data\">").unwrap();
    let (json, rest) = data_and_rest.split_once("</script>").unwrap();
    // Two elements of script, both ours, and nothing else that begins like one.
    assert_eq!(page.matches("<script").count(), 2, "{page}");
    assert!(!json.contains('<') && !json.contains('&'));
    assert!(rest.trim_start().starts_with("<script>"));
    assert!(!before.contains("<img") && before.contains("&lt;img src=x&gt;"));
    for character in ['\u{202e}', '\u{2028}', '\u{1b}'] {
        assert!(!page.contains(character), "{character:?}");
    }
    let names: Vec<String> = paths(&data(&page)).into_iter().map(|(path, _)| path).collect();
    for name in ["/etc/<script>alert(1)<", "/etc/\\xff\\xfe", "/etc/a\\nb\\u{1b}[2J", "/etc/\\u{202e}gpj.exe"]
    {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let root = Root::new();
    for name in ["a", "b", "c"] {
        root.confext(name, &[b"x", name.as_bytes()]);
    }
    assert_eq!(root.page(|_| {}), root.page(|_| {}));
    let (page, later) = (root.page(|_| {}), root.page(|options| options.made_at = Some(Time::from_unix(0))));
    assert!(page.contains("made 2025-11-27T00:00:00Z") && later.contains("made 1970-01-01T00:00:00Z"));
    assert!(!root.page(|options| options.made_at = None).contains(" · made "));
}

#[test]
fn what_is_too_much_is_counted() {
    let root = Root::new();
    root.confext("a", &[b"d/1", b"d/2", b"d/3", b"e/1"]);
    for number in 0..5 {
        root.file(format!("etc/host-{number}").as_bytes(), "");
        root.file(format!("run/confexts/{number}.img").as_bytes(), "");
    }
    let report = root.report(|options| {
        (options.files, options.host_files, options.listed) = (4, 2, 3);
    });
    // Nine of the extension, with the directories; five and os-release of the host.
    let counts = report.counts();
    assert_eq!((counts.files, counts.files_left_out), (6, 5 + 4));
    let page = page(&report);
    for said in ["5 more paths of extensions", "4 more paths that only the host has", "2 more entries"] {
        assert!(page.contains(said), "{said}: {page}");
    }
}

/// A file whose directory was left out still has its place.
#[test]
fn a_directory_of_which_nothing_was_said_is_between() {
    let root = Root::new();
    root.confext("a", &[b"d/e/1"]);
    let host = Host::open(root.0.path()).unwrap();
    let admission = admission::Options { policy: Policy::unprotected(), ..Default::default() };
    let options = Options::default();
    let tracer = Tracer::planned(&host, &[Class::Confext], &admission, &options.trace).unwrap();
    let mut report = Report::new(Subject::of(&host), View::Planned, &options);
    let stacks = tracer.stacks();
    report.add_stack(&stacks[0]);
    let last = tracer.tree().map(Result::unwrap).find(|origin| origin.path.ends_with("e/1")).unwrap();
    report.files.add(&stacks[0], &last, &mut report.layers);
    let found = paths(&data(&page(&report)));
    let answers: Vec<_> = found.iter().map(|(path, answer)| format!("{path} {answer}")).collect();
    assert_eq!(answers, ["/etc between", "/etc/d between", "/etc/d/e between", "/etc/d/e/1 layer"]);
}

#[test]
fn objections_are_listed_and_marked_at_their_files() {
    let root = Root::new();
    root.confext("a", &[b"os-release"]);
    let report = root.report(|_| {});
    assert_eq!(report.counts().objections, 1);
    let page = page(&report);
    assert!(page.contains("replaces-os-release") && page.contains("ends with an error and changes nothing"));
    let data = data(&page);
    let at = usize::try_from(data["marks"][0][0].as_u64().unwrap()).unwrap();
    assert_eq!((&data["names"][at], &data["marks"][0][1]), (&"os-release".into(), &0.into()));
}

#[test]
fn the_policy_is_that_of_the_page() {
    let page = Root::new().page(|_| {});
    let between =
        |from: &str, to: &str| page.split_once(from).unwrap().1.split_once(to).unwrap().0.to_owned();
    let expected =
        seal::policy(&between("</script>\n<script>", "</script>"), &between("<style>", "</style>"));
    assert!(page.contains(&format!("content=\"{expected}\"")));
    // Nothing that would need more than that: no style or handler of a single element, no address.
    for forbidden in [" style=", " onclick=", "http://", "https://", "src="] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

/// As for a service: there are plans, and nothing to be traced.
#[test]
fn a_plan_alone_shows_what_would_be_different() {
    let root = Root::new();
    root.file(b"etc/hosts", "of the host\n");
    root.confext("a", &[b"d/one", b"d-e", b"hosts"]);
    root.confext("b", &[b"d/one", b"os-release"]);
    let admission = admission::Options { policy: Policy::unprotected(), ..Default::default() };
    let plan = stack::plan(&Host::open(root.0.path()).unwrap(), Class::Confext, &admission).unwrap();
    let subject = Subject { what: "service".to_owned(), name: "<nginx>.service".to_owned() };
    let mut report = Report::new(subject, View::Planned, &Options::default());
    report.add_planned(&plan);
    let counts = report.counts();
    assert_eq!((counts.layers, counts.shadowing, counts.objections), (2, 3, 1));
    let page = page(&report);
    assert!(page.contains("<h1>&lt;nginx&gt;.service</h1>") && page.contains("confext report · service"));
    let found = paths(&data(&page));
    let found: Vec<_> = found.iter().map(|(path, answer)| format!("{path} {answer}")).collect();
    let expected = [
        "/etc between",
        "/etc/d directory",
        "/etc/d/one layer",
        "/etc/d-e layer",
        "/etc/extension-release.d directory",
        "/etc/extension-release.d/extension-release.a layer",
        "/etc/extension-release.d/extension-release.b layer",
        "/etc/hosts layer",
        "/etc/os-release layer",
    ];
    assert_eq!(found, expected);
}

#[test]
fn who_watches_hears_all_of_it_and_can_end_it_at_any_step() {
    let root = Root::new();
    root.file(b"etc/hosts", "of the host\n");
    root.file(b"etc/d/host", "");
    root.confext("a", &[b"d/one", b"d/e/f/two", b"hosts"]);
    root.confext("b", &[b"d/one", b"g/1", b"g/2"]);
    let host = Host::open(root.0.path()).unwrap();
    let admission = admission::Options { policy: Policy::unprotected(), ..Default::default() };
    let classes = [(Class::Confext, &admission), (Class::Sysext, &admission)];
    for view in [Choice::Live, Choice::Planned] {
        let options = Options { view, ..Options::default() };
        let mut told = Vec::new();
        let watch = |at| {
            told.push(at);
            ControlFlow::Continue(())
        };
        let report = report_watched(&host, &classes, &options, watch).unwrap();
        assert_eq!(report.counts(), super::report(&host, &classes, &options).unwrap().counts());
        let total = told[0].total;
        assert!(told.iter().all(|at| at.total == total && at.done <= total), "{told:?}");
        assert!(told.is_sorted_by_key(|at| at.done), "{told:?}");
        assert_eq!((told[0].done, told.last().unwrap().done), (0, total));
        let mut different: Vec<_> = told.iter().map(|at| at.done).collect();
        different.dedup();
        // More than a step for each of the parts that it has.
        assert!(view == Choice::Live || different.len() > 10, "{told:?}");
        for last in 0..told.len() {
            let mut calls = 0;
            let error = report_watched(&host, &classes, &options, |at| {
                calls += 1;
                assert_eq!(at, told[calls - 1]);
                if calls > last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap_err();
            assert_eq!((error.code(), calls), ("cancelled", last + 1));
        }
    }
}

/// Directories have equal parts of what their parent has, however many paths are in them.
#[test]
fn a_walk_says_how_far_it_is() {
    let root = Root::new();
    root.confext("a", &[b"a/1", b"a/2", b"b/1/2/3"]);
    let host = Host::open(root.0.path()).unwrap();
    let admission = admission::Options { policy: Policy::unprotected(), ..Default::default() };
    let options = trace::Options::default();
    let tracer = Tracer::planned(&host, &[Class::Confext], &admission, &options).unwrap();
    let mut tree = tracer.tree();
    assert_eq!(tree.progress().done, 0);
    let mut told = Vec::new();
    while let Some(origin) = tree.next() {
        let at = tree.progress();
        told.push((origin.unwrap().path.display().to_string(), at.done * 1000 / at.total));
    }
    let expected = [
        ("/etc", 0),
        ("/etc/a", 0),
        ("/etc/a/1", 125),
        ("/etc/a/2", 250),
        ("/etc/b", 250),
        ("/etc/b/1", 250),
        ("/etc/b/1/2", 250),
        ("/etc/b/1/2/3", 500),
        ("/etc/extension-release.d", 500),
        ("/etc/extension-release.d/extension-release.a", 750),
        ("/etc/os-release", 1000),
    ];
    assert_eq!(told, expected.map(|(path, done)| (path.to_owned(), done)));
}
