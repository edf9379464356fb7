//! Images that stand by themselves, signed: to two releases of systemd they are what they were built as, and what systemd
//! lists of their files is what was put in.

use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::release::ImageKind;
use confext_tests::peer::{Place, Systemd};
use serde_json::Value;

/// The directories that systemd asks for before it takes a tree for a portable service, and the unit.
fn root_tree() -> Tree {
    let mut tree = Tree::new();
    for directory in ["proc", "sys", "dev", "run", "tmp", "var/tmp"] {
        tree.add_dir(directory, Meta::new(0o755)).unwrap();
    }
    for file in ["etc/machine-id", "etc/resolv.conf"] {
        tree.add_file(file, Vec::new(), Meta::new(0o644)).unwrap();
    }
    let unit = "[Service]\nExecStart=/usr/bin/app\n";
    tree.add_file("usr/lib/systemd/system/app.service", unit, Meta::new(0o644)).unwrap();
    tree.add_file("usr/bin/app", "#!/bin/sh\n", Meta::new(0o755)).unwrap();
    tree
}

fn usr_tree() -> Tree {
    let mut tree = Tree::new();
    tree.add_file("bin/app", "#!/bin/sh\n", Meta::new(0o755)).unwrap();
    tree
}

/// A kind, what is in it, the files of its own that systemd must list, and the uses that systemd must see.
type Case = (ImageKind, fn() -> Tree, &'static [&'static str], &'static [&'static str]);

const CASES: [Case; 3] = [
    (
        ImageKind::Portable,
        root_tree,
        &["usr/bin/app", "usr/lib/systemd/system/app.service", "usr/lib/os-release"],
        &["usePortableService"],
    ),
    (ImageKind::Root, root_tree, &["usr/bin/app", "usr/lib/os-release"], &["usePortableService"]),
    (ImageKind::Usr, usr_tree, &["bin/app", "lib/os-release"], &[]),
];

fn release(kind: ImageKind) -> ReleaseFields {
    let fields = ReleaseFields::new("test").version_id("1");
    // What makes a root file system one for portable services.
    if kind == ImageKind::Usr { fields } else { fields.field("PORTABLE_PREFIXES", "app") }
}

#[test]
#[ignore = "needs root"]
fn each_kind_is_to_systemd_what_it_was_built_as() {
    for place in Systemd::ALL.map(Place::of) {
        for (kind, tree, files, uses) in CASES {
            let builder = Builder::new(kind, "app").tree(tree()).release(release(kind));
            let built = builder.replace_file().build_file(place.path("app.raw"), Some(place.key())).unwrap();
            let designator = kind.designator().as_str();
            for (policy, accepted) in [("signed", true), ("verity", true), ("encrypted", false)] {
                let policy = format!("--image-policy={designator}={policy}");
                let output = place.attempt(&["systemd-dissect", "--validate", &policy, "app.raw"]);
                assert_eq!(output.status.success(), accepted, "{kind:?}, {policy}: {output:?}");
            }

            let text = place.peer(&["systemd-dissect", "--json=short", "app.raw"]);
            let json: Value = serde_json::from_str(text.trim()).unwrap();
            let seen: Vec<&str> = json
                .as_object()
                .unwrap()
                .iter()
                .filter(|(key, value)| key.starts_with("use") && **value == Value::Bool(true))
                .map(|(key, _)| key.as_str())
                .collect();
            assert_eq!(seen, uses, "{kind:?}: {json}");
            assert!(json["osRelease"].as_array().unwrap().contains(&"ID=test".into()), "{json}");
            let mounts = json["mounts"].as_array().unwrap();
            assert_eq!(mounts.len(), built.partitions.len(), "{json}");
            for (mount, partition) in mounts.iter().zip(&built.partitions) {
                assert_eq!(mount["partition_uuid"], partition.unique_guid.to_string(), "{json}");
                assert_eq!(mount["partition_label"], partition.label, "{json}");
            }
            assert_eq!(
                (&mounts[0]["designator"], &mounts[0]["verity"]),
                (&designator.into(), &"signed".into())
            );

            // Without the hash tree: not every kernel has a device mapper.
            let policy = format!("--image-policy={designator}=unprotected+absent");
            let unchecked =
                ["EMBEDDED", "GUESS", "SIDECAR"].map(|how| format!("SYSTEMD_DISSECT_VERITY_{how}=0"));
            let [embedded, guess, sidecar] = unchecked.each_ref().map(String::as_str);
            let list = ["env", embedded, guess, sidecar, "systemd-dissect", "--list", &policy, "app.raw"];
            let list = place.peer(&list);
            for file in files {
                // It mounts a /usr where it belongs.
                let path = if kind == ImageKind::Usr { format!("usr/{file}") } else { (*file).to_owned() };
                assert!(list.lines().any(|line| line == path), "{kind:?}: {path} is not in {list}");
            }
        }
    }
}
