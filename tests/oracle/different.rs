//! What docs/systemd-compat.md says that systemd does otherwise, and what is done here instead: each with the same image,
//! asked of two releases.

use confext_core::sidecars;
use confext_ddi::build::erofs;
use confext_ddi::build::{Meta, Tree};
use confext_ddi::digest::Salt;
use confext_ddi::dps::{Architecture, Designator};
use confext_ddi::id::Uuid;
use confext_ddi::image::{self, Image};
use confext_ddi::policy::Policy;
use confext_ddi::verity::{Superblock, build};
use confext_tests::peer::{Place, Systemd};
use confext_tests::tools;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Cursor;
use std::os::unix::fs::FileExt as _;

const ROOT: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const ROOT_ARM64: &str = "b921b045-1df0-41c3-af44-4c6f280d3fae";
const HOME: &str = "933ac7e1-2eb4-4f13-b844-0e14e2aef915";
const MIB: u64 = 1 << 20;

/// The smallest file system of an operating system.
fn file_system() -> Vec<u8> {
    let mut tree = Tree::new();
    tree.add_file("usr/lib/os-release", "ID=test\n", Meta::new(0o644)).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    erofs::write(&tree, &erofs::Options::default(), &mut bytes).unwrap();
    bytes.into_inner()
}

/// Writes an image whose partitions are 1 MiB each, with the same file system in all of them. A partition is its type and
/// what else sfdisk is told of it.
fn write_image(place: &Place, name: &str, partitions: &[(&str, &str)]) {
    let mut script = "label: gpt\n".to_owned();
    for (at, (kind, rest)) in (1_u64..).zip(partitions) {
        script += &format!("start={}, size=2048, type={kind}, {rest}\n", at * MIB / 512);
    }
    std::fs::write(place.path("script"), script).unwrap();
    let file = File::create(place.path(name)).unwrap();
    file.set_len(8 * MIB).unwrap();
    for at in (1_u64..).take(partitions.len()) {
        file.write_all_at(&file_system(), at * MIB).unwrap();
    }
    tools::run("sh", &["-c", &format!("sfdisk --quiet {name} <script")], place.dir());
}

/// The designators and labels of the partitions that systemd uses of an image.
fn used(place: &Place, name: &str) -> Vec<(String, String)> {
    let text = place.peer(&["systemd-dissect", "--json=short", name]);
    let json: Value = serde_json::from_str(text.trim()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mounts = json["mounts"].as_array().unwrap().iter();
    mounts.map(|mount| (text(&mount["designator"]), text(&mount["partition_label"]))).collect()
}

/// The code of the error that opening the image is here.
fn refused(place: &Place, name: &str) -> &'static str {
    let opened = Image::open(File::open(place.path(name)).unwrap(), &image::Options::default());
    opened.map(|image| format!("{:?}", image.claim())).unwrap_err().code()
}

/// Partitions; those of them that systemd uses; the code here.
type Case = (&'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)], &'static str);

#[test]
#[ignore = "needs root"]
fn partitions_that_systemd_chooses_among_are_refused_here() {
    let cases: [Case; 5] = [
        // The highest label.
        (
            &[(ROOT, "name=app_9"), (ROOT, "name=app_10"), (ROOT, "name=app_2")],
            &[("root", "app_10")],
            "partitions-ambiguous",
        ),
        // The first one.
        (
            &[(ROOT, "name=root"), (HOME, "name=first"), (HOME, "name=second")],
            &[("root", "root"), ("home", "first")],
            "partitions-ambiguous",
        ),
        (
            &[
                (ROOT, "name=root, uuid=11111111-2222-4333-8444-555555555555"),
                (HOME, "name=home, uuid=11111111-2222-4333-8444-555555555555"),
            ],
            &[("root", "root"), ("home", "home")],
            "gpt-duplicate",
        ),
        // An update in progress.
        (&[(ROOT, r#"name="PRT#root""#)], &[("root", "PRT#root")], "no-data-partition"),
        (&[(ROOT, r#"name="PND#root""#)], &[("root", "PND#root")], "no-data-partition"),
    ];
    for place in Systemd::ALL.map(Place::of) {
        for (at, (partitions, expected, code)) in cases.iter().enumerate() {
            let name = format!("case-{at}.raw");
            write_image(&place, &name, partitions);
            let expected: Vec<_> =
                expected.iter().map(|(kind, label)| ((*kind).to_owned(), (*label).to_owned())).collect();
            assert_eq!(used(&place, &name), expected, "{partitions:?}");
            assert_eq!(refused(&place, &name), *code, "{partitions:?}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn d23_another_architecture_is_used_by_systemd_and_by_nobody_who_did_not_ask_here() {
    for place in Systemd::ALL.map(Place::of) {
        write_image(&place, "app.raw", &[(ROOT_ARM64, "name=root")]);
        assert_eq!(used(&place, "app.raw"), [("root".to_owned(), "root".to_owned())]);
        let open = |architecture| {
            let options = image::Options::default().architecture(architecture);
            Image::open(File::open(place.path("app.raw")).unwrap(), &options)
        };
        assert_eq!(open(Architecture::X86_64).unwrap_err().code(), "foreign-architecture");
        assert!(open(Architecture::Arm64).is_ok());
    }
}

#[test]
#[ignore = "needs root"]
fn copies_of_a_table_that_disagree_are_told_here_alone() {
    for place in Systemd::ALL.map(Place::of) {
        write_image(&place, "app.raw", &[(ROOT, "name=root")]);
        let file = OpenOptions::new().write(true).open(place.path("app.raw")).unwrap();
        // In the identifier of the disk.
        file.write_all_at(b"!", 8 * MIB - 512 + 60).unwrap();
        let output = place.attempt(&["systemd-dissect", "--json=short", "app.raw"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let options = image::Options::default().copies(image::Copies::Both);
        let opened = Image::open(File::open(place.path("app.raw")).unwrap(), &options);
        assert_eq!(opened.map(|_| ()).unwrap_err().code(), "gpt-copies");
    }
}

#[test]
#[ignore = "needs root"]
fn a_hash_tree_that_systemd_leaves_unused_is_used_or_refused_here() {
    let data = file_system();
    let blocks = u64::try_from(data.len() / 4096).unwrap();
    let superblock = Superblock::new(Uuid::from_bytes([1; 16]), blocks, Salt::new([2; 32]).unwrap());
    let tree = build(&data, &superblock).unwrap();
    for place in Systemd::ALL.map(Place::of) {
        std::fs::write(place.path("app.raw"), &data).unwrap();
        let open = || sidecars::open(place.path("app.raw"), &image::Options::default());
        // With the tree systemd would need a device mapper, which this kernel may not have; then nothing is listed.
        let unprotected = || {
            let policy = "--image-policy=root=unprotected";
            let output = place.attempt(&["systemd-dissect", "--list", policy, "app.raw"]);
            output.status.success() && output.stdout.ends_with(b"usr/lib/os-release\n")
        };
        // A name that is nearly right.
        std::fs::write(place.path("App.roothash"), tree.root_hash.to_hex()).unwrap();
        assert!(unprotected());
        let judged = Policy::verity().judge(open().unwrap(), None);
        assert_eq!(judged.map(|_| ()).unwrap_err().code(), "sidecar-name");
        std::fs::remove_file(place.path("App.roothash")).unwrap();

        // A tree without a root hash.
        std::fs::write(place.path("app.verity"), &tree.bytes).unwrap();
        assert!(unprotected());
        assert_eq!(open().map(|_| ()).unwrap_err().code(), "sidecar-incomplete");

        // The root hash of a /usr: to systemd it is a root without a tree.
        std::fs::write(place.path("app.usrhash"), tree.root_hash.to_hex()).unwrap();
        assert!(unprotected());
        let image = open().unwrap();
        assert_eq!(image.claim().root_hash(), Some(&tree.root_hash));
        assert_eq!(image.data().designator, Designator::Usr);
        std::fs::remove_file(place.path("app.usrhash")).unwrap();
    }
}
