//! `doctor`: what it says, what it requires, and that it changes nothing.

use std::os::unix::process::CommandExt as _;

use serde_json::Value;

use crate::documents::Documented;
use crate::fixture::{Scratch, command, confext};

fn item<'a>(document: &'a Value, id: &str) -> &'a Value {
    document["items"].as_array().unwrap().iter().find(|item| item["id"] == id).expect(id)
}

#[test]
fn doctor() {
    let scratch = Scratch::new();
    let root = scratch.host();
    let root = root.to_str().unwrap();
    let bare = confext(["--json", "doctor", "--root", root]).ok().json();
    assert_eq!(item(&bare, "certificates")["state"], "no");
    let unmet = confext(["--json", "doctor", "--root", root, "--require", "certificates,clock"]);
    assert_eq!((unmet.status, &unmet.json()["unmet"]), (3, &serde_json::json!(["certificates"])));
    Documented::read("doctor").check(&[bare, unmet.json()]);
    std::fs::create_dir_all(scratch.path("host/etc/verity.d")).unwrap();
    std::fs::copy(&scratch.vendor.certificate, scratch.path("host/etc/verity.d/vendor.crt")).unwrap();
    let text = confext(["doctor", "--root", root, "--require", "certificates"]).ok();
    assert!(text.text().contains("1 of 1 certificates in verity.d are valid now"), "{}", text.text());
    let wrong = confext(["doctor", "--require", "no-such-item"]);
    assert!(wrong.status == 2 && wrong.stderr.contains("mount-privilege"), "{}", wrong.stderr);
}

/// Each item of the document is explained in the page, and no other.
#[test]
fn every_item_is_explained() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/doctor.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let explained: Vec<&str> = rows.map(|(id, _)| id).collect();
    assert_eq!(explained, confext_core::doctor::ids().collect::<Vec<_>>());
}

/// Whoever calls it: a user without privileges is told so, and of what would help.
#[test]
#[ignore = "needs root"]
fn without_privileges_it_says_what_is_not_permitted() {
    let call = command().args(["--json", "doctor"]).uid(65534).gid(65534).output().unwrap();
    assert!(call.status.success(), "{}", String::from_utf8_lossy(&call.stderr));
    let document: Value = serde_json::from_slice(&call.stdout).unwrap();
    for id in ["mount-privilege", "file-privileges", "run-directory"] {
        let found = item(&document, id);
        assert_eq!(found["state"], "not-permitted", "{found}");
        assert!(found["advice"].is_string(), "{found}");
    }
    let refused = command().args(["doctor", "--require", "mount-privilege"]).uid(65534).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
}

/// The kernel's modules, mounts and devices are what they were.
#[test]
#[ignore = "needs root"]
fn nothing_is_changed() {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let state = || {
        let modules = text("/proc/modules").lines().count();
        let lists = ["/proc/filesystems", "/proc/misc", "/proc/self/mountinfo"].map(text);
        (modules, lists, std::path::Path::new("/run/confext").exists())
    };
    let before = state();
    confext(["doctor"]).ok();
    assert_eq!(state(), before);
}
