//! `service` and `generator`: settings of units below a root, drop-ins that say them, and what comes of them

use serde_json::json;

use crate::documents::Documented;
use crate::fixture::{Scratch, confext};

#[test]
fn settings_are_shown_with_their_places_and_written_as_drop_ins() {
    let scratch = Scratch::new();
    scratch.file(
        "root/usr/lib/systemd/system/app.service",
        "[Service]\nExecStart=/bin/x\nRootImage=/r.raw\nBindPaths=/q:/etc\nExtensionImages=/%p.v\nExtensionImagePolicy=root=signed\n",
    );
    scratch.file("root/etc/systemd/system/app.service.confext.d/tree/etc/a", "");
    let root = scratch.path("root");
    let root = root.to_str().unwrap();
    let call = |arguments: &[&str]| confext(arguments.iter().chain(&["--root", root, "--json"]));
    let shown = call(&["service", "show", "app"]).ok().json();
    let extensions = &shown["service"]["extensions"];
    assert_eq!(extensions["images"][0]["path"], "/app.v");
    assert_eq!(extensions["directories"][0]["path"], "/etc/systemd/system/app.service.confext.d/tree");
    assert_eq!(
        shown["settings"][0]["place"],
        json!({ "file": "/usr/lib/systemd/system/app.service", "line": 5 })
    );

    let write =
        ["service", "drop-in", "app", "--image", "-/b.v:root:nodev", "--refresh-on-reload", "~credentials"];
    for done in ["new", "same"] {
        let answer = call(&write).ok().json();
        assert_eq!(answer["done"], done);
        Documented::read("service drop-in").check(&[answer]);
    }
    let again = call(&["service", "show", "app"]).ok().json();
    scratch
        .file("root/etc/systemd/system/other.service", "[Service]\nRootDirectory=/srv\nExecReload=/bin/x\n");
    scratch.file("root/etc/systemd/system/plain.service", "[Service]\nExecStart=/bin/x\n");
    let [other, plain] = ["other", "plain"].map(|name| call(&["service", "show", name]).ok().json());
    assert_eq!(
        (&other["service"]["root"]["directory"], &plain["service"]["root"]),
        (&json!("/srv"), &json!("host"))
    );
    Documented::read("service show").check(&[shown, again.clone(), other, plain]);
    assert_eq!(again["service"]["extensions"]["images"][1]["options"], json!([["root", "nodev"]]));
    assert_eq!(again["files"][1], "/etc/systemd/system/app.service.d/50-confext.conf");
    let text = confext(["service", "show", "app", "--root", root]).ok();
    for line in [
        "also",
        "/b.v, left out where it is missing",
        "covered    /etc by BindPaths=",
        "policy     root=signed",
    ]
    .iter()
    .skip(1)
    {
        assert!(text.text().contains(line), "{line}:\n{}", text.text());
    }
    assert_eq!(call(&["service", "drop-in", "app", "--remove"]).ok().json()["done"], "removed");
    assert_eq!(call(&["service", "drop-in", "app", "--remove"]).ok().json()["done"], "absent");
    for (arguments, status, code) in [
        (&["service", "drop-in", "app", "--image", "b.raw"][..], 1, "unit-setting"),
        (&["service", "drop-in", "app", "--name", "x"], 3, "drop-in-name"),
        (&["service", "show", "none"], 3, "unit-missing"),
        (&["service", "show", "a/b"], 1, "unit-name"),
    ] {
        let answer = call(arguments);
        assert_eq!(answer.status, status, "{arguments:?}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], code);
    }
}

#[test]
fn the_generator_writes_drop_ins_and_is_installed() {
    let scratch = Scratch::new();
    scratch.file("root/etc/systemd/system/app.service.confext.d/tree/etc/a", "");
    scratch.file("root/etc/systemd/system/app.service.confext.d/notes.txt", "");
    let (root, normal) = (scratch.path("root"), scratch.path("normal"));
    let (root, normal) = (root.to_str().unwrap(), normal.to_str().unwrap());
    let done = confext(["generator", normal, "/early", "/late", "--root", root]).ok();
    assert!(done.stderr.contains("notes.txt left out: unknown"), "{}", done.stderr);
    let written = std::fs::read_to_string(scratch.path("normal/app.service.d/99-confext.d.conf")).unwrap();
    assert!(
        written.ends_with("ExtensionDirectories=-/etc/systemd/system/app.service.confext.d/tree\n"),
        "{written}"
    );
    let answer = confext(["generator", normal, "--root", root, "--json"]).ok().json();
    Documented::read("generator").check(&[answer]);
    for (verb, done) in [
        (&["install-generator", "--program", "/usr/bin/confext"][..], "new"),
        (&["install-generator", "--program", "/usr/bin/confext"], "same"),
        (&["uninstall-generator"], "removed"),
        (&["uninstall-generator"], "absent"),
    ] {
        let answer = confext(["service"].iter().chain(verb).chain(&["--root", root, "--json"])).ok().json();
        assert_eq!(answer["done"], done, "{verb:?}");
        Documented::read("service install-generator").check(&[answer]);
    }
}

#[test]
fn a_unit_is_asked_about() {
    let scratch = Scratch::new();
    let (any, release) = ("ID=_any\n", "etc/extension-release.d/extension-release");
    scratch.file("host/etc/os-release", "ID=debian\n");
    for name in ["a", "b"] {
        scratch.file(&format!("host/srv/{name}/{release}.{name}"), any);
        scratch.file(&format!("host/srv/{name}/etc/x"), name);
    }
    scratch.file("host/etc/systemd/system/app.service", "[Service]\nExtensionDirectories=/srv/a\n");
    let drop_in = "[Service]\nExtensionDirectories=/srv/b -/srv/none\n";
    scratch.file("host/etc/systemd/system/app.service.d/more.conf", drop_in);
    let root = scratch.path("host");
    let root = root.to_str().unwrap();
    let ask = |verb: &'static str, more: &[&str]| {
        let arguments = ["--json", "service", verb, "--root", root, "--policy", "unprotected", "app.service"];
        confext(arguments.iter().chain(more))
    };
    let plan = ask("plan", &[]).ok().json();
    assert_eq!(plan["plans"][0]["hierarchies"][0]["layers"], serde_json::json!(["a", "b"]));
    assert_eq!(plan["refused"][0]["code"], "extension-missing");
    let explained = ask("explain", &["b"]).ok().json();
    assert_eq!(
        (&explained["listed"][0]["reason"], &explained["listed"][0]["position"]),
        (&"used".into(), &2.into())
    );
    assert_eq!(ask("explain", &["c"]).status, 1);
    let origin = ask("trace", &["/etc/x"]).ok().json();
    assert_eq!((&origin["source"]["image"], &origin["view"]), (&"/srv/b".into(), &"planned".into()));
    // Directories cannot be signed, and nobody says that they count.
    let strict = confext(["--json", "service", "explain", "--root", root, "app.service"]);
    assert_eq!((strict.status, &strict.json()["refusal"]["code"]), (1, &"policy".into()));
    for verb in ["plan", "explain"] {
        let text = confext(["service", verb, "--root", root, "--policy", "unprotected", "app.service"]).ok();
        assert!(text.text().contains("/srv/none"), "{}", text.text());
    }
}

#[test]
fn a_portable_service_is_attached_listed_and_detached() {
    let scratch = Scratch::new();
    for (path, text) in [
        ("srv/app/etc/os-release", "ID=guest\n"),
        ("srv/app/usr/lib/systemd/system/app.service", "[Service]\nExecStart=/bin/x\n"),
        ("srv/app/usr/lib/systemd/system/app-job.timer", "[Timer]\n"),
        ("srv/site/etc/extension-release.d/extension-release.site", "ID=guest\n"),
        ("usr/lib/systemd/portable/profile/default/service.conf", "[Service]\n"),
    ] {
        scratch.file(&format!("root/{path}"), text);
    }
    let root = scratch.path("root");
    let root = root.to_str().unwrap();
    let call = |arguments: &[&str]| confext(arguments.iter().chain(&["--root", root, "--json"]));
    let open = ["--policy", "root=unprotected+verity+signed"];
    let attach = ["service", "attach", "/srv/app", "--extension", "/srv/site", open[0], open[1]];
    let planned = call(&[&attach[..], &["--dry-run"]].concat()).ok().json();
    assert_eq!((&planned["done"], planned["files"].as_array().unwrap().len()), (&json!("nothing"), 5));
    let none = call(&["service", "attached"]).ok().json();
    let done = call(&attach).ok().json();
    assert_eq!((&done["done"], &done["files"]), (&json!("attached"), &planned["files"]));
    assert_eq!(done["units"][1]["path"], "/usr/lib/systemd/system/app.service");
    Documented::read("service attach").check(&[planned, done]);
    let text = confext(["service", "attached", "--root", root]).ok();
    assert!(text.text().starts_with("/srv/app\n  extension  /srv/site\n  unit       app-job.timer\n"));
    let listed = call(&["service", "attached"]).ok().json();
    let gone = call(&["service", "detach", "app"]).ok().json();
    assert_eq!((&gone, &none["attached"]), (&listed, &json!([])));
    Documented::read("service attached").check(&[listed]);
    for (arguments, status, code) in [
        (&["service", "detach", "app"][..], 3, "portable-missing"),
        (&["service", "attach", "/srv/app"], 1, "policy"),
        (&["service", "attach", "/srv/app", "none", open[0], open[1]], 3, "portable-units"),
        (&["service", "attach", "/srv/none", open[0], open[1]], 3, "extension-missing"),
    ] {
        let answer = call(arguments);
        assert_eq!(answer.json()["error"]["code"], code, "{arguments:?}");
        assert_eq!(answer.status, status, "{arguments:?}: {}", answer.text());
    }
}
