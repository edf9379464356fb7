//! EFI system partitions that are written here: `fsck.vfat` finds no fault in them, mtools copies out what was put in,
//! and partitioning tools and two releases of systemd take them for what they are.

use confext_ddi::build::{Builder, DirectoryOptions, Meta, ReleaseFields, Timestamp, Tree, vfat};
use confext_ddi::fs::{self, FileSystem, FileType};
use confext_ddi::fstype::FsType;
use confext_ddi::read::Window;
use confext_ddi::release::ImageKind;
use confext_ddi::{Limits, gpt};
use confext_tests::peer::{Place, SEED, Systemd};
use confext_tests::tools;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use tempfile::TempDir;

const ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";

fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory")
}

fn at(seconds: i64) -> Meta {
    Meta::new(0o644).mtime(Timestamp::from_seconds(seconds))
}

/// What firmware, a boot loader and an installer put there, and names of all kinds.
fn tree() -> Tree {
    let mut tree = Tree::new();
    tree.add_file("EFI/BOOT/BOOTX64.EFI", vec![7; 100_001], at(1_700_000_000)).unwrap();
    tree.add_file("EFI/systemd/systemd-bootx64.efi", vec![8; 511], at(1_700_000_002)).unwrap();
    tree.add_file("EFI/Linux/linux_6.12-1~amd64+3-0.efi", vec![9; 700_000], at(1_700_000_004)).unwrap();
    tree.add_file("loader/loader.conf", "timeout 3\n", at(1_700_000_006)).unwrap();
    tree.add_file("loader/entries.srel", "type1\n", at(1_700_000_008)).unwrap();
    tree.add_file("loader/empty", "", at(1_700_000_010)).unwrap();
    for name in ["Straße.txt", "ファイル", "αβγ и ещё", "two.dots.here", ".hidden", "lower.txt", "UPPER.TXT"]
    {
        tree.add_file(format!("names/{name}"), name, at(1_700_000_012)).unwrap();
    }
    tree.add_file(format!("names/{}", "n".repeat(255)), "longest", at(1_700_000_014)).unwrap();
    for index in 0..700 {
        tree.add_file(format!("many/file number {index}"), format!("{index}\n"), at(1_600_000_000 + index))
            .unwrap();
    }
    let deep = (0..30).map(|level| format!("Level {level}")).collect::<Vec<_>>().join("/");
    tree.add_file(format!("deep/{deep}/bottom"), "bottom", at(1_700_000_016)).unwrap();
    tree
}

/// Too much for FAT16.
fn large_tree() -> Tree {
    let mut tree = tree();
    tree.add_file("large", vec![5; 40 << 20], at(1_700_000_020)).unwrap();
    tree
}

/// Contents of files by path; directories have none.
fn read(files: &dyn FileSystem) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut limits = Limits::default();
    limits.file_bytes = 64 << 20;
    fs::walk(files, b"", &limits)
        .unwrap()
        .map(|item| {
            let (path, meta) = item.unwrap();
            let is_file = meta.file_type == FileType::Regular;
            let content = is_file.then(|| files.read(&path).unwrap());
            (String::from_utf8(path).unwrap(), content)
        })
        .collect()
}

/// Runs one of mtools; times are UTC.
fn mtool(program: &str, dir: &Path, arguments: &[&str]) -> String {
    let output = tools::tool(program)
        .args(arguments)
        .envs([("TZ", "UTC"), ("LC_ALL", "C.UTF-8"), ("MTOOLSRC", "/dev/null")])
        .current_dir(dir)
        .output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} cannot be run ({error}): run tests/setup.sh tools"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Has `fsck.vfat` look at `volume`: no message but that of what there is.
fn check(dir: &Path, volume: &str) {
    let text = tools::run("fsck.vfat", &["-n", volume], dir);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("fsck.fat") && lines[1].contains(" files, "), "{text}");
}

/// Copies everything out of `volume` with mtools and compares it with the tree.
fn compare(dir: &Path, volume: &str, tree: &Tree) {
    let limits = Limits::default();
    let files = tree.files(&limits);
    let expected = read(&files);
    let out = dir.join("out");
    std::fs::create_dir(&out).unwrap();
    mtool("mcopy", dir, &["-i", volume, "-s", "-m", "-n", "::/", "out/"]);
    for (path, content) in &expected {
        let found = out.join(path);
        match content {
            None => assert!(found.is_dir(), "{path}"),
            Some(content) => {
                let copied = std::fs::read(&found).unwrap_or_else(|error| panic!("{path}: {error}"));
                assert!(copied == *content, "{path} differs");
                let time = files.stat(path.as_bytes()).unwrap().mtime_sec;
                assert_eq!(found.metadata().unwrap().mtime(), time & !1, "{path}");
            }
        }
    }
    let listed = mtool("mdir", dir, &["-i", volume, "-b", "-a", "-/", "::/"]);
    assert_eq!(listed.lines().count(), expected.len());
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn fsck_finds_no_fault_and_mtools_copies_the_same_bytes() {
    let dir = scratch();
    for (tree, kind) in [(tree(), "FAT16"), (large_tree(), "FAT32"), (Tree::new(), "FAT16")] {
        let mut options = vfat::Options::default();
        options.uuid = SEED.parse().unwrap();
        let mut volume = File::create(dir.path().join("volume")).unwrap();
        vfat::write(&tree, &options, &mut volume).unwrap();
        check(dir.path(), "volume");
        // mdir calls a root without entries a fault.
        if !tree.is_empty() {
            compare(dir.path(), "volume", &tree);
        }
        let tag = |tag| {
            let asked = ["--probe", "--output", "value", "--match-tag", tag, "volume"];
            tools::run("blkid", &asked, dir.path()).trim().to_owned()
        };
        assert_eq!(
            [tag("TYPE"), tag("VERSION"), tag("LABEL"), tag("UUID")],
            ["vfat", kind, "ESP", "4F68-BCE3"]
        );
        let files =
            fs::open(File::open(dir.path().join("volume")).unwrap(), FsType::Vfat, &Limits::default());
        assert!(read(&*files.unwrap()) == read(&tree.files(&Limits::default())));
    }
}

/// What mtools adds to a volume of ours, or takes from it, is where it should be.
#[test]
fn others_can_write_to_it() {
    let dir = scratch();
    let mut volume = File::create(dir.path().join("volume")).unwrap();
    vfat::write(&tree(), &vfat::Options::default(), &mut volume).unwrap();
    std::fs::write(dir.path().join("new"), vec![1; 70_000]).unwrap();
    mtool("mcopy", dir.path(), &["-i", "volume", "new", "::/EFI/Linux/a new kernel.efi"]);
    mtool(
        "mren",
        dir.path(),
        &["-i", "volume", "::/EFI/Linux/linux_6.12-1~amd64+3-0.efi", "linux_6.12-1~amd64.efi"],
    );
    mtool("mdeltree", dir.path(), &["-i", "volume", "::/many"]);
    check(dir.path(), "volume");
    let files =
        fs::open(File::open(dir.path().join("volume")).unwrap(), FsType::Vfat, &Limits::default()).unwrap();
    let all = read(&*files);
    assert_eq!(all["EFI/Linux/a new kernel.efi"], Some(vec![1; 70_000]));
    assert_eq!(all["EFI/Linux/linux_6.12-1~amd64.efi"], Some(vec![9; 700_000]));
    assert!(!all.contains_key("many") && all.contains_key("names/ファイル"));
}

fn builder() -> Builder {
    let mut root = Tree::new();
    root.add_file("usr/bin/app", "#!/bin/sh\n", Meta::new(0o755)).unwrap();
    Builder::new(ImageKind::Root, "app")
        .tree(root)
        .release(ReleaseFields::new("test"))
        .seed(SEED.parse().unwrap())
        .esp(tree())
}

#[test]
fn partitioning_tools_see_an_esp() {
    let dir = scratch();
    let path = dir.path().join("app.raw");
    let built = builder().unsigned().build_file(&path, None).unwrap();
    let esp = &built.partitions[0];
    let table: Value =
        serde_json::from_str(&tools::run("sfdisk", &["--json", "app.raw"], dir.path())).unwrap();
    let found = &table["partitiontable"]["partitions"][0];
    assert_eq!((&found["type"], &found["name"]), (&ESP.into(), &"esp".into()));
    assert_eq!(found["attrs"], Value::Null);
    assert_eq!(found["uuid"], esp.unique_guid.to_string().to_uppercase());
    let verified = tools::run("sgdisk", &["--verify", "app.raw"], dir.path());
    assert!(verified.contains("No problems found"), "{verified}");

    let volume = Window::new(File::open(&path).unwrap(), esp.range).unwrap();
    assert!(
        read(&*fs::open(volume, FsType::Vfat, &Limits::default()).unwrap())
            == read(&tree().files(&Limits::default()))
    );
    let at = format!("app.raw@@{}", esp.range.start());
    compare(dir.path(), &at, &tree());
    let bytes = std::fs::read(&path).unwrap();
    let range = usize::try_from(esp.range.start()).unwrap()..usize::try_from(esp.range.end()).unwrap();
    std::fs::write(dir.path().join("volume"), &bytes[range]).unwrap();
    check(dir.path(), "volume");
    let again = builder().unsigned().build_file(dir.path().join("again.raw"), None).unwrap();
    assert_eq!(again, built);
    assert!(std::fs::read(dir.path().join("again.raw")).unwrap() == bytes);
}

/// A directory on disk is taken as it is.
#[test]
fn a_directory_becomes_an_esp() {
    let dir = scratch();
    let source = dir.path().join("source");
    std::fs::create_dir_all(source.join("EFI/BOOT")).unwrap();
    std::fs::write(source.join("EFI/BOOT/BOOTX64.EFI"), vec![3; 5000]).unwrap();
    let tree = Tree::from_directory(&source, &DirectoryOptions::default()).unwrap();
    let mut volume = File::create(dir.path().join("volume")).unwrap();
    vfat::write(&tree, &vfat::Options::default(), &mut volume).unwrap();
    assert_eq!(mtool("mtype", dir.path(), &["-i", "volume", "::/efi/boot/bootx64.efi"]).len(), 5000);
}

#[test]
#[ignore = "needs root"]
fn systemd_sees_an_esp() {
    for place in Systemd::ALL.map(Place::of) {
        let built = builder().replace_file().build_file(place.path("app.raw"), Some(place.key())).unwrap();
        for (policy, accepted) in [
            ("root=signed:esp=unprotected", true),
            ("root=signed:esp=unprotected+vfat", place.systemd() == Systemd::Newest),
            ("root=signed:esp=absent", false),
            ("root=signed", true),
        ] {
            let argument = format!("--image-policy={policy}");
            let output = place.attempt(&["systemd-dissect", "--validate", &argument, "app.raw"]);
            assert_eq!(output.status.success(), accepted, "{policy}: {output:?}");
        }
        let json: Value =
            serde_json::from_str(place.peer(&["systemd-dissect", "--json=short", "app.raw"]).trim()).unwrap();
        let mounts = json["mounts"].as_array().unwrap();
        let esp = mounts.iter().find(|mount| mount["designator"] == "esp");
        let esp = esp.unwrap_or_else(|| panic!("no esp in {json}"));
        assert_eq!((&esp["fstype"], &esp["partition_label"]), (&"vfat".into(), &"esp".into()));
        assert_eq!(esp["partition_uuid"], built.partitions[0].unique_guid.to_string());
    }
}

/// systemd-repart gives an EFI system partition the same type, name, identifiers and attributes.
#[test]
#[ignore = "needs root"]
fn repart_gives_the_same_identifiers() {
    for place in Systemd::ALL.map(Place::of) {
        let built = builder().replace_file().build_file(place.path("ours.raw"), Some(place.key())).unwrap();
        std::fs::create_dir(place.path("repart.d")).unwrap();
        let definition = "[Partition]\nType=esp\nFormat=vfat\nSizeMinBytes=64M\n";
        std::fs::write(place.path("repart.d/esp.conf"), definition).unwrap();
        let seed = format!("--seed={SEED}");
        place.peer(&[
            "systemd-repart",
            "--empty=create",
            "--size=auto",
            "--definitions=repart.d",
            "--dry-run=no",
            &seed,
            "theirs.raw",
        ]);
        let theirs = File::open(place.path("theirs.raw")).unwrap();
        let table = gpt::Table::read(&theirs, &Limits::default()).unwrap().unwrap();
        let (ours, found) = (&built.partitions[0], &table.partitions[0]);
        assert_eq!(ours.type_guid, found.type_guid);
        assert_eq!(ours.unique_guid, found.unique_guid);
        assert_eq!((&ours.label, ours.attributes), (&found.label, found.attributes));
        // Identifier and label of the volume: in FAT16 and FAT32 at different places.
        let start = |path: &str, at: u64| {
            let mut file = File::open(place.path(path)).unwrap();
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at)).unwrap();
            let mut bytes = [0; 15];
            file.read_exact(&mut bytes).unwrap();
            bytes
        };
        let (ours, theirs) =
            (start("ours.raw", ours.range.start() + 39), start("theirs.raw", found.range.start() + 67));
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
    }
}
