//! Complete images of ours, judged by the tools of others: systemd, cryptsetup, util-linux, gdisk.

use confext_ddi::Limits;
use confext_ddi::build::{Builder, Built, Meta, ReleaseFields, Tree};
use confext_ddi::dps::Architecture;
use confext_ddi::gpt::Table;
use confext_ddi::release::Class;
use confext_ddi::signature::{KeyPair, Time};
use confext_ddi::verity::Superblock;
use confext_tests::namespace::run;
use confext_tests::source::noise;
use std::path::{Path, PathBuf};

const SEED: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";

/// A directory with a key, its certificate, and images.
struct Place {
    dir: tempfile::TempDir,
    key: KeyPair,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let not_before = Time::from_unix(i64::try_from(now.as_secs()).unwrap() - 60);
        let key = KeyPair::generate("confext-test vendor", not_before, 2).unwrap();
        std::fs::write(dir.path().join("key.pem"), key.private_key_pem().unwrap()).unwrap();
        std::fs::write(dir.path().join("cert.pem"), key.certificate_pem().unwrap()).unwrap();
        Self { dir, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn build(&self, tree: Tree, name: &str) -> Built {
        let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
        let builder = builder.seed(SEED.parse().unwrap()).source_date_epoch(1_700_000_000);
        builder.build_file(self.path(name), Some(&self.key)).unwrap()
    }

    /// Runs a command of the newest systemd in this directory, with our certificate trusted.
    fn peer(&self, command: &[&str]) -> String {
        let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer.sh");
        let certificate = self.path("cert.pem");
        let fixed = ["--trust", certificate.to_str().unwrap(), self.dir.path().to_str().unwrap()];
        run(peer.to_str().unwrap(), &[&fixed[..], command].concat())
    }
}

fn small() -> Tree {
    let mut tree = Tree::new();
    tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644)).unwrap();
    tree
}

/// Enough data for a hash tree of two levels.
fn large() -> Tree {
    let mut tree = small();
    tree.add_file("etc/large", noise(1, 3 << 20), Meta::new(0o644)).unwrap();
    tree
}

#[test]
#[ignore = "needs root"]
fn table_hash_tree_and_file_system_are_accepted() {
    let place = Place::new();
    for tree in [small(), large()] {
        let built = place.build(tree, "app.confext.raw");
        let image = place.path("app.confext.raw");
        let image = image.to_str().unwrap();
        assert!(run("sfdisk", &["--verify", image]).contains("No errors detected"));
        assert!(run("sgdisk", &["--verify", image]).contains("No problems found"));
        let [data, hash, ..] = built.partitions.as_slice() else { panic!("{built:?}") };
        // veritysetup takes an offset for the hash tree only.
        let bytes = std::fs::read(image).unwrap();
        let root = &bytes[data.range.start() as usize..data.range.end() as usize];
        std::fs::write(place.path("root"), root).unwrap();
        let offset = format!("--hash-offset={}", hash.range.start());
        let root = place.path("root");
        let root = root.to_str().unwrap();
        run("veritysetup", &["verify", root, image, &built.root_hash.to_hex(), &offset]);
        run("fsck.erofs", &[root]);
    }
}

#[test]
#[ignore = "needs root"]
fn systemd_dissect_validates_the_image_as_signed() {
    let place = Place::new();
    for tree in [small(), large()] {
        let built = place.build(tree, "app.confext.raw");
        place.peer(&["systemd-dissect", "--validate", "--image-policy=root=signed", "app.confext.raw"]);
        let text = place.peer(&["systemd-dissect", "--json=short", "app.confext.raw"]);
        let json: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(json["useConfigurationExtension"], true, "{json}");
        assert_eq!(json["confextRelease"][0], "ID=_any", "{json}");
        let root =
            json["mounts"].as_array().unwrap().iter().find(|mount| mount["designator"] == "root").unwrap();
        assert_eq!((&root["fstype"], &root["verity"]), (&"erofs".into(), &"signed".into()), "{json}");
        assert_eq!(root["partition_uuid"], built.partitions[0].unique_guid.to_string(), "{json}");
    }
}

#[test]
#[ignore = "needs root"]
fn identifiers_are_those_systemd_repart_derives_from_the_same_seed() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("tree/etc")).unwrap();
    std::fs::write(place.path("tree/etc/app.conf"), "answer = 42\n").unwrap();
    let seed = format!("--seed={SEED}");
    let keys = ["--private-key=key.pem", "--certificate=cert.pem"];
    let command = ["systemd-repart", "--make-ddi=confext", &seed, "--copy-source=tree", "theirs.raw"];
    place.peer(&[&command[..], &keys].concat());
    place.build(small(), "ours.raw");

    let facts = |name: &str| {
        let image = std::fs::read(place.path(name)).unwrap();
        let table = Table::read(&image, &Limits::default()).unwrap().unwrap();
        let [data, hash, signature] = table.partitions.as_slice() else { panic!("{table:?}") };
        let superblock =
            Superblock::parse(&image[hash.range.start() as usize..], &Limits::default()).unwrap();
        let file_system = &image[data.range.start() as usize + 1024 + 48..][..16];
        let kinds: Vec<_> = table
            .partitions
            .iter()
            .map(|partition| (partition.type_guid, partition.label.clone(), partition.attributes))
            .collect();
        let derived = (table.disk_guid, signature.unique_guid, superblock.uuid, superblock.salt);
        (derived, file_system.to_vec(), kinds, data.range.start(), table.usable.start())
    };
    assert!(Architecture::of_build().is_some());
    assert_eq!(facts("ours.raw"), facts("theirs.raw"));
    let size = |name: &str| std::fs::metadata(place.path(name)).unwrap().len();
    assert!(size("ours.raw") <= 65_536 && size("theirs.raw") > 1 << 20);
}
