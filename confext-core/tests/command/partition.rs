//! Boot partitions: built from directories, and read where the policy lets them be used.

use std::path::PathBuf;

use serde_json::Value;

use crate::fixture::{Call, Scratch, confext};

fn code(call: &Call) -> String {
    call.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

struct Disk {
    scratch: Scratch,
    image: PathBuf,
    built: Value,
}

fn build(scratch: &Scratch, class: &str, more: &[&str]) -> Call {
    scratch.file("system/etc/app.conf", "answer = 42\n");
    let boot = scratch.file("boot/EFI/BOOT/BOOTX64.EFI", [0x4d, 0x5a, 0xff]);
    let boot = boot.ancestors().nth(3).unwrap();
    let [source, output] = ["system", "disk.raw"].map(|name| scratch.path(name));
    let mut arguments = vec!["--json", "build", "--class", class, "--name", "app", "--release", "ID=test"];
    arguments.extend(["--source", source.to_str().unwrap(), "--output", output.to_str().unwrap()]);
    arguments.extend(["--esp", boot.to_str().unwrap(), "--unsigned", "--no-xattrs"]);
    arguments.extend(more);
    confext(arguments)
}

impl Disk {
    fn new() -> Self {
        let scratch = Scratch::new();
        let built = build(&scratch, "root", &[]).ok().json();
        Self { image: scratch.path("disk.raw"), scratch, built }
    }

    fn call(&self, verb: &str, more: &[&str]) -> Call {
        let image = self.image.to_str().unwrap();
        confext([&["--json", verb, image][..], more].concat())
    }
}

const POLICY: [&str; 2] = ["--policy", "root=verity:esp=unprotected"];
const ESP: [&str; 2] = ["--partition", "esp"];

#[test]
fn a_directory_becomes_an_esp_that_is_read_where_the_policy_allows_it() {
    let disk = Disk::new();
    let labels: Vec<&Value> =
        disk.built["partitions"].as_array().unwrap().iter().map(|partition| &partition["label"]).collect();
    assert_eq!(labels[0], "esp");
    let shown = disk.call("inspect", &[]).ok().json();
    assert_eq!(
        (&shown["partitions"][0]["designator"], &shown["partitions"][0]["fs"]),
        (&"esp".into(), &"vfat".into())
    );

    let listing = disk.call("ls", &[&["-R"], &POLICY[..], &ESP].concat()).ok().json();
    let paths: Vec<&Value> =
        listing["entries"].as_array().unwrap().iter().map(|entry| &entry["path"]).collect();
    assert_eq!(paths, ["/EFI", "/EFI/BOOT", "/EFI/BOOT/BOOTX64.EFI"]);
    assert_eq!(listing["evidence"]["kind"], "none");
    let content = disk.call("cat", &[&["/efi/boot/bootx64.efi"], &POLICY[..], &ESP].concat()).ok().json();
    assert_eq!(content["base64"], "TVr/");
    let manifest = disk.call("manifest", &[&POLICY[..], &ESP].concat()).ok().json();
    assert_eq!(manifest["entries"].as_array().unwrap().len(), 4);
    let out = disk.scratch.path("out");
    disk.call("extract", &[&[out.to_str().unwrap()], &POLICY[..], &ESP].concat()).ok();
    assert_eq!(std::fs::read(out.join("EFI/BOOT/BOOTX64.EFI")).unwrap(), [0x4d, 0x5a, 0xff]);

    // The image proper has files of its own, and an ESP that is not used is no reason to refuse it.
    let root = disk.call("ls", &["-R", "--policy", "verity"]).ok().json();
    assert!(root["entries"].as_array().unwrap().iter().any(|entry| entry["path"] == "/etc/app.conf"));
}

#[test]
fn other_policies_and_partitions_are_refused() {
    let disk = Disk::new();
    for (policy, expected) in [
        ("signed", "policy"),
        ("verity", "policy"),
        ("unprotected", "policy"),
        ("root=signed:esp=unprotected", "policy"),
        ("root=verity:esp=unprotected+erofs", "policy-file-system"),
    ] {
        let refused = disk.call("ls", &[&["--policy", policy], &ESP[..]].concat());
        assert_eq!((refused.status, code(&refused).as_str()), (1, expected), "{policy}");
    }
    let missing = disk.call("ls", &[&POLICY[..], &["--partition", "home"]].concat());
    assert_eq!((missing.status, code(&missing).as_str()), (1, "no-such-partition"));
    for wrong in ["root", "usr-verity", "boot"] {
        assert_eq!(disk.call("ls", &["--partition", wrong]).status, 2, "{wrong}");
    }
}

#[test]
fn only_an_operating_system_boots() {
    let scratch = Scratch::new();
    let refused = build(&scratch, "confext", &[]);
    assert_eq!((refused.status, code(&refused).as_str()), (1, "boot-partition"));
    assert!(!scratch.path("disk.raw").exists());
    scratch.file("boot/efi/other", "");
    let refused = build(&scratch, "root", &[]);
    assert_eq!((refused.status, code(&refused).as_str()), (1, "vfat-entry"));
    std::fs::remove_dir_all(scratch.path("boot/efi")).unwrap();
    let xbootldr = scratch.path("boot");
    let built = build(&scratch, "root", &["--xbootldr", xbootldr.to_str().unwrap()]).ok().json();
    assert_eq!(built["partitions"][1]["label"], "xbootldr");
}
