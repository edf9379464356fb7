//! Complete images and partition tables, against util-linux, gdisk, cryptsetup, openssl and erofs-utils.

use confext_ddi::Limits;
use confext_ddi::build::Built;
use confext_ddi::dps::{Architecture, Designator, PartitionType};
use confext_ddi::gpt::{Source, Table};
use confext_ddi::id::Guid;
use confext_ddi::release::Class;
use confext_ddi::signature::Json;
use confext_tests::namespace::run;
use confext_tests::peer::{self, Place, Protect};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::process::Command;

const CLASSES: [Class; 2] = [Class::Confext, Class::Sysext];

/// Builds an image of every tree, class and protection, and looks at each.
fn each_image(look: impl Fn(&Place, &Built)) {
    let place = Place::create();
    for class in CLASSES {
        let source = format!("{class}-tree");
        place.populate(class, &source);
        for protect in [Protect::Signed, Protect::Verity] {
            let trees = [peer::settings(class), peer::large(class), peer::tree_of(&place.path(&source))];
            for tree in trees {
                look(&place, &place.build(class, protect, tree, "app.raw"));
            }
        }
    }
}

fn bytes_of(built: &Built, index: usize) -> Range<usize> {
    let range = built.partitions[index].range;
    usize::try_from(range.start()).unwrap()..usize::try_from(range.end()).unwrap()
}

/// Copies the partition at `index` of `app.raw` to a file.
fn extract(place: &Place, built: &Built, index: usize, name: &str) -> String {
    let image = std::fs::read(place.path("app.raw")).unwrap();
    std::fs::write(place.path(name), &image[bytes_of(built, index)]).unwrap();
    place.text(name)
}

/// Whether a command succeeds.
fn accepts(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}: run tests/setup.sh tools")).status.success()
}

fn sfdisk(image: &str) -> Value {
    let text = run("sfdisk", &["--json", image]);
    serde_json::from_str::<Value>(&text).unwrap()["partitiontable"].take()
}

/// Compares a table with what sfdisk reads. `unit` is what it counts in.
fn assert_table(table: &Table, theirs: &Value, unit: u64) {
    let upper = |id: String| id.to_uppercase();
    assert_eq!(theirs["label"], "gpt");
    assert_eq!(theirs["id"], upper(table.disk_guid.to_string()));
    assert_eq!(theirs["firstlba"].as_u64().unwrap() * unit, table.usable.start());
    assert_eq!((theirs["lastlba"].as_u64().unwrap() + 1) * unit, table.usable.end());
    let list = theirs["partitions"].as_array().unwrap();
    assert_eq!(list.len(), table.partitions.len());
    for (theirs, ours) in list.iter().zip(&table.partitions) {
        let node = theirs["node"].as_str().unwrap();
        assert!(node.ends_with(&ours.number.value().to_string()), "{node}");
        assert_eq!(theirs["start"].as_u64().unwrap() * unit, ours.range.start(), "{node}");
        assert_eq!(theirs["size"].as_u64().unwrap() * unit, ours.range.len_bytes(), "{node}");
        assert_eq!(theirs["type"], upper(ours.type_guid.to_string()), "{node}");
        assert_eq!(theirs["uuid"], upper(ours.unique_guid.to_string()), "{node}");
        assert_eq!(theirs["name"].as_str().unwrap_or_default(), ours.label, "{node}");
        // "GUID:60,63" and the like; bits with names stand apart from it.
        let words = theirs["attrs"].as_str().unwrap_or_default().replace("GUID:", "");
        let named = [("RequiredPartition", 0), ("NoBlockIOProtocol", 1), ("LegacyBIOSBootable", 2)];
        let bits = words.split([',', ' ']).filter(|word| !word.is_empty()).map(|word| {
            let name = named.iter().find(|(name, _)| *name == word);
            name.map_or_else(|| word.parse().unwrap(), |(_, bit)| *bit)
        });
        assert_eq!(bits.fold(0_u64, |sum, bit: u32| sum | 1 << bit), ours.attributes.bits(), "{node}");
    }
}

#[test]
#[ignore = "needs root"]
fn sfdisk_and_sgdisk_find_no_fault_in_our_tables() {
    each_image(|place, built| {
        let image = place.text("app.raw");
        assert!(run("sfdisk", &["--verify", &image]).contains("No errors detected"));
        assert!(run("sgdisk", &["--verify", &image]).contains("No problems found"));
        assert!(place.peer(&["sfdisk", "--verify", "app.raw"]).contains("No errors detected"));
        assert!(place.peer(&["sgdisk", "--verify", "app.raw"]).contains("No problems found"));
        let bytes = std::fs::read(&image).unwrap();
        let table = Table::read(&bytes, &Limits::default()).unwrap().unwrap();
        assert_eq!(table.partitions, built.partitions);
        assert_table(&table, &sfdisk(&image), 512);

        // The backup is complete too.
        let mut damaged = bytes;
        damaged[512..512 + 92].fill(0);
        std::fs::write(place.path("damaged.raw"), &damaged).unwrap();
        let restored = Table::read(&damaged, &Limits::default()).unwrap().unwrap();
        assert_eq!(restored.source, Source::Backup { reason: "gpt-missing" });
        assert_eq!(restored.partitions, built.partitions);
        assert_table(&restored, &sfdisk(&place.text("damaged.raw")), 512);
    });
}

#[test]
#[ignore = "needs root"]
fn tables_of_sfdisk_and_sgdisk_are_read_as_they_read_them() {
    let place = Place::create();
    let script = "label: gpt\nfirst-lba: 40\n\
        size=16, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=\"root-é-\u{1d11e}\", attrs=\"GUID:60\"\n\
        size=24, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, attrs=\"GUID:63,59 RequiredPartition\"\n\
        start=200, size=8, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, attrs=\"LegacyBIOSBootable\"\n";
    std::fs::write(place.path("script"), script).unwrap();
    for sector_size in [512, 1024, 2048, 4096] {
        let command = format!(
            "truncate -s 4M disk.raw && sfdisk --quiet --sector-size {sector_size} disk.raw <script &&
             sfdisk --sector-size {sector_size} --json disk.raw"
        );
        let json: Value = serde_json::from_str(&place.peer(&["sh", "-c", &command])).unwrap();
        let bytes = std::fs::read(place.path("disk.raw")).unwrap();
        let table = Table::read(&bytes, &Limits::default()).unwrap().unwrap();
        assert_eq!((table.sector_size.bytes(), table.partitions.len()), (sector_size, 3));
        assert_table(&table, &json["partitiontable"], sector_size.into());
        std::fs::remove_file(place.path("disk.raw")).unwrap();
    }

    let image = place.text("disk.raw");
    std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    run("sgdisk", &["--resize-table=256", "--new=1:2048:+1M", "--new=130:0:+1M", &image]);
    run("sgdisk", &["--typecode=130:8304", "--change-name=130:far", "--attributes=130:set:60", &image]);
    let table = Table::read(&std::fs::read(&image).unwrap(), &Limits::default()).unwrap().unwrap();
    let numbers: Vec<u32> = table.partitions.iter().map(|partition| partition.number.value()).collect();
    assert_eq!(numbers, [1, 130]);
    assert_table(&table, &sfdisk(&image), 512);
}

#[test]
#[ignore = "needs root"]
fn veritysetup_verifies_our_hash_trees_and_no_changed_copy() {
    each_image(|place, built| {
        let (root, hash) = (extract(place, built, 0, "root"), extract(place, built, 1, "hash"));
        let root_hash = built.root_hash.to_hex();
        let command = ["verify", &root, &hash, &root_hash];
        run("veritysetup", &command);
        place.peer(&["veritysetup", "verify", "root", "hash", &root_hash]);
        let mut changes = vec![("root", 1024), ("root", bytes_of(built, 0).len() - 1)];
        // One block of data is its own top of the tree: there is nothing after the superblock.
        if bytes_of(built, 1).len() > 4096 {
            changes.push(("hash", 4096));
        }
        for (name, at) in changes {
            let original = std::fs::read(place.path(name)).unwrap();
            let mut bytes = original.clone();
            bytes[at] ^= 1;
            std::fs::write(place.path(name), bytes).unwrap();
            assert!(!accepts("veritysetup", &command), "{name}, byte {at}");
            std::fs::write(place.path(name), original).unwrap();
        }
        assert!(accepts("veritysetup", &command));
    });
}

#[test]
#[ignore = "needs root"]
fn blkid_and_fsck_know_what_the_partitions_are() {
    each_image(|place, built| {
        let (root, hash) = (extract(place, built, 0, "root"), extract(place, built, 1, "hash"));
        run("fsck.erofs", &[&root]);
        let value = |file: &str, tag: &str| {
            run("blkid", &["--probe", "--match-tag", tag, "--output", "value", file]).trim().to_owned()
        };
        assert_eq!(
            (value(&root, "TYPE").as_str(), value(&hash, "TYPE").as_str()),
            ("erofs", "DM_verity_hash")
        );
        let whole = place.text("app.raw");
        assert_eq!(value(&whole, "PTTYPE"), "gpt");
        let table = Table::read(&std::fs::read(&whole).unwrap(), &Limits::default()).unwrap().unwrap();
        assert_eq!(value(&whole, "PTUUID"), table.disk_guid.to_string());
    });
}

#[test]
#[ignore = "needs root"]
fn openssl_verifies_the_signature_in_the_partition() {
    each_image(|place, built| {
        if built.signed.is_none() {
            return;
        }
        let partition = std::fs::read(extract(place, built, 2, "sig")).unwrap();
        let json = Json::parse(&partition, &Limits::default()).unwrap();
        assert_eq!((json.root_hash, json.certificate_fingerprint), (built.root_hash, built.signed));
        std::fs::write(place.path("sig.der"), &json.signature_der).unwrap();
        std::fs::write(place.path("hash.hex"), built.root_hash.to_hex()).unwrap();
        let names = ["sig.der", "hash.hex", "signer.pem"].map(|name| place.text(name));
        let [signature, content, certificate] = names.each_ref().map(String::as_str);
        let command = [
            &["cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any", "-out", "/dev/null"][..],
            &["-in", signature, "-content", content, "-CAfile", certificate],
        ]
        .concat();
        run("openssl", &command);
        std::fs::write(place.path("hash.hex"), format!("{}\n", built.root_hash)).unwrap();
        assert!(!accepts("openssl", &command), "the signature is of the digits alone");
    });
}

#[test]
#[ignore = "needs root"]
fn systemd_knows_the_same_partition_types() {
    let place = Place::create();
    let text = place.peer(&["systemd-id128", "show", "--json=short"]);
    let listed: Vec<Value> = serde_json::from_str(&text).unwrap();
    let field = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let types: BTreeMap<String, Guid> =
        listed.iter().map(|entry| (field(entry, "name"), field(entry, "id").parse().unwrap())).collect();
    let mut ours = BTreeSet::new();
    for designator in Designator::ALL {
        let architectures: Vec<Option<Architecture>> = match designator.has_architecture() {
            true => Architecture::ALL.into_iter().map(Some).collect(),
            false => vec![None],
        };
        for architecture in architectures {
            let guid = PartitionType { designator, architecture }.to_guid().unwrap();
            let name = match (architecture, designator.protects()) {
                (None, _) => designator.to_string(),
                (Some(of), None) => format!("{designator}-{of}"),
                // root-verity-sig is root-ARCHITECTURE-verity-sig there.
                (Some(of), Some(data)) => {
                    format!("{data}-{of}{}", designator.as_str().strip_prefix(data.as_str()).unwrap())
                }
            };
            assert_eq!(types.get(&name), Some(&guid), "{name}");
            ours.insert(guid);
        }
    }
    let unknown: Vec<_> = types.iter().filter(|(_, guid)| !ours.contains(guid)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
