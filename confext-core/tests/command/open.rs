//! How images are opened: one of several root partitions, copies of the table, labels; and key rules for single images.

use std::path::PathBuf;

use serde_json::Value;

use crate::faults::crc32;
use crate::fixture::{Call, Key, Scratch, confext};

const SECTOR: usize = 512;
const TABLE: usize = 2 * SECTOR;
const ENTRY: usize = 128;
const ENTRIES: usize = 128;

/// The signed images `app_1` and `app_2`, differing in their identifiers, as one disk whose table has no backup.
struct AB {
    scratch: Scratch,
    disk: PathBuf,
    /// In the order of their versions.
    root_hashes: [String; 2],
}

impl AB {
    fn new() -> Self {
        let scratch = Scratch::new();
        let built = ["1", "2"].map(|version| {
            let seed = format!("0000000{version}-0000-4000-8000-000000000000");
            let more = ["--release", "ID=_any", "--seed", &seed];
            scratch.build(&format!("app_{version}.raw"), &scratch.vendor.signing(), &more)
        });
        let root_hashes = [0, 1].map(|at: usize| built[at].1["root_hash"].as_str().unwrap().to_owned());
        let images = built.map(|(path, _)| std::fs::read(path).unwrap());
        let disk = scratch.file("ab.raw", join(&images));
        Self { scratch, disk, root_hashes }
    }

    fn call(&self, verb: &str, more: &[&str]) -> Call {
        let mut arguments = vec!["--json", verb, self.disk.to_str().unwrap()];
        if verb == "verify" {
            arguments.extend(self.scratch.vendor.trust());
        }
        arguments.extend(more);
        confext(arguments)
    }
}

/// One disk with the partitions of both, the second behind the first; there is only a primary table.
fn join(images: &[Vec<u8>; 2]) -> Vec<u8> {
    let mut disk = images[0].clone();
    let moved = u64::try_from(disk.len() / SECTOR).unwrap();
    disk.extend_from_slice(&images[1]);
    // What was the backup of one and the table of the other are no partitions; the last one must not be a backup.
    let end = disk.len();
    disk[end - SECTOR..].fill(0);
    let all: Vec<Vec<u8>> = [(1, &images[0], 0), (2, &images[1], moved)]
        .into_iter()
        .flat_map(|(version, image, by)| (0..3).map(move |index| entry(image, index, by, version)))
        .collect();
    disk[TABLE..TABLE + all.len() * ENTRY].copy_from_slice(&all.concat());
    let entries_crc = crc32(&disk[TABLE..TABLE + ENTRIES * ENTRY]);
    let last = u64::try_from(end / SECTOR).unwrap() - 1;
    let header = &mut disk[SECTOR..SECTOR + 92];
    header[32..40].copy_from_slice(&last.to_le_bytes());
    header[48..56].copy_from_slice(&(last - 33).to_le_bytes());
    header[88..92].copy_from_slice(&entries_crc.to_le_bytes());
    header[16..20].fill(0);
    let crc = crc32(header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    disk
}

/// An entry of an image, moved by so many sectors, with a label that says the version.
fn entry(image: &[u8], index: usize, by: u64, version: u32) -> Vec<u8> {
    let start = TABLE + index * ENTRY;
    let mut entry = image[start..start + ENTRY].to_vec();
    for at in [32, 40] {
        let lba = u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
        entry[at..at + 8].copy_from_slice(&(lba + by).to_le_bytes());
    }
    entry[56..].fill(0);
    for (place, unit) in entry[56..].chunks_exact_mut(2).zip(format!("app_{version}").encode_utf16()) {
        place.copy_from_slice(&unit.to_le_bytes());
    }
    entry
}

fn code(call: &Call) -> String {
    call.json()["error"]["code"].as_str().unwrap().to_owned()
}

fn root_hash(document: &Value) -> &str {
    document["evidence"]["root_hash"].as_str().unwrap()
}

#[test]
fn one_of_several_roots_is_selected() {
    let ab = AB::new();
    let [first, second] = &ab.root_hashes;
    assert_ne!(first, second);
    assert_eq!(code(&ab.call("verify", &[])), "partitions-ambiguous");
    let newest = ab.call("verify", &["--select", "newest"]).ok().json();
    assert_eq!(root_hash(&newest), second);
    for hash in [first, second] {
        assert_eq!(root_hash(&ab.call("verify", &["--select", hash]).ok().json()), hash);
    }
    let none = ab.call("verify", &["--select", &"07".repeat(32)]);
    assert_eq!((none.status, code(&none).as_str()), (1, "root-hash-partition"));
    let filtered = ab.call("verify", &["--image-filter", "root=*_1:root-verity=*_1:root-verity-sig=*_1"]);
    assert_eq!(root_hash(&filtered.ok().json()), first);
    let shown = ab.call("inspect", &["--select", "newest"]).ok().json();
    let because: Vec<_> = shown["skipped"].as_array().unwrap().iter().map(|one| &one["because"]).collect();
    assert_eq!(because, ["older-version"; 3]);
    for wrong in ["oldest", "07"] {
        assert_eq!(ab.call("inspect", &["--select", wrong]).status, 2);
    }
}

#[test]
fn parity_is_made_of_the_selected_one_and_repairs_it() {
    let ab = AB::new();
    let (parity, output) = (ab.scratch.path("ab.fec"), ab.scratch.path("repaired.raw"));
    let [parity, output] = [&parity, &output].map(|path| path.to_str().unwrap());
    assert_eq!(code(&ab.call("fec", &["--output", parity])), "partitions-ambiguous");
    ab.call("fec", &["--output", parity, "--select", &ab.root_hashes[0]]).ok();
    let arguments = ["--fec", parity, "--output", output, "--select", &ab.root_hashes[0]];
    let repaired = ab.call("repair", &arguments).ok().json();
    assert_eq!(repaired["root_hash"], ab.root_hashes[0]);
}

#[test]
fn both_copies_of_the_table_can_be_required() {
    let ab = AB::new();
    let select = ["--select", "newest", "--copies"];
    ab.call("verify", &[select[0], select[1], select[2], "any"]).ok();
    for verb in ["verify", "inspect"] {
        let refused = ab.call(verb, &[select[0], select[1], select[2], "both"]);
        assert_eq!((refused.status, code(&refused).as_str()), (1, "gpt-copies"), "{verb}");
    }
    let whole = ab.scratch.path("app_1.raw");
    confext(["inspect", whole.to_str().unwrap(), "--copies", "both"]).ok();
    assert_eq!(ab.call("inspect", &["--copies", "one"]).status, 2);
}

#[test]
fn key_rules_hold_for_every_verb_that_judges_an_image() {
    let scratch = Scratch::new();
    let (image, built) = scratch.build("app_2.raw", &scratch.vendor.signing(), &["--release", "ID=_any"]);
    let image = image.to_str().unwrap();
    let signer = built["signed"].as_str().unwrap();
    let rules = scratch.file("rules", format!("signer={signer} name=app class=confext\n"));
    let rules = rules.to_str().unwrap();
    let out = scratch.path("out");
    let verbs: [(&str, Vec<&str>); 7] = [
        ("verify", vec![image]),
        ("ls", vec![image]),
        ("cat", vec![image, "/etc/app/app.conf"]),
        ("manifest", vec![image]),
        ("diff", vec![image, image]),
        ("extract", vec![image, out.to_str().unwrap()]),
        ("lint", vec![image, "--class", "confext"]),
    ];
    for (verb, arguments) in verbs {
        let call = |more: &[&str]| {
            let fixed = ["--json", verb, "--key-rules", rules];
            confext(fixed.iter().chain(&arguments).chain(&scratch.vendor.trust()).chain(more))
        };
        let other = call(&["--name", "other"]);
        assert_eq!((other.status, code(&other).as_str()), (1, "key-rules"), "{verb}");
        if verb != "lint" {
            assert_eq!(code(&call(&["--class", "sysext"])), "key-rules", "{verb}");
        }
        let allowed = call(&[]).json();
        assert_eq!(allowed["error"], Value::Null, "{verb}: {allowed:#}");
    }
    let portable = ["--json", "lint", image, "--class", "portable", "--key-rules", rules];
    let portable = confext(portable.iter().chain(&scratch.vendor.trust()));
    assert_eq!((portable.status, code(&portable).as_str()), (2, "key-rule"));
    let alone = confext(["--json", "verify", image, "--name", "app"]);
    assert_eq!((alone.status, code(&alone).as_str()), (2, "usage"));
}

/// Of two images on one disk the chosen one gets a signature, and the other keeps its own.
#[test]
fn the_selected_one_is_signed() {
    let ab = AB::new();
    let stranger = ab.scratch.key("stranger", -1, 30);
    let [first, second] = &ab.root_hashes;
    let (output, text) = (ab.scratch.path("signed.raw"), ab.scratch.path("to-sign"));
    let [output, text] = [&output, &text].map(|path| path.to_str().unwrap());
    let sign = |more: &[&str]| {
        let mut arguments: Vec<&str> =
            stranger.signing().into_iter().map(|argument| argument.to_str().unwrap()).collect();
        arguments.extend(["--output", output]);
        arguments.extend(more);
        ab.call("sign", &arguments)
    };
    assert_eq!(code(&sign(&[])), "partitions-ambiguous");
    assert_eq!(code(&sign(&["--select", "newest", "--copies", "both"])), "gpt-copies");
    let signed = sign(&["--select", first]).ok().json();
    assert_eq!(signed["root_hash"], *first);
    // The new file is not written over.
    let again = sign(&["--select", second]);
    assert_eq!((again.status, code(&again).as_str()), (1, "output-exists"));
    let verify = |select: &str, by: &Key| {
        let arguments = ["--json", "verify", output, "--select", select];
        confext(arguments.into_iter().chain(by.trust()))
    };
    verify(first, &stranger).ok();
    verify(second, &ab.scratch.vendor).ok();
    assert_eq!(code(&verify(first, &ab.scratch.vendor)), "unknown-signer");

    assert_eq!(code(&ab.call("sign", &["--to-sign", text])), "partitions-ambiguous");
    ab.call("sign", &["--to-sign", text, "--select", "newest"]).ok();
    assert_eq!(std::fs::read_to_string(text).unwrap(), *second);
    assert_eq!(code(&ab.call("sign", &["--to-sign", text, "--select", first])), "output-exists");
    assert_eq!(std::fs::read_to_string(text).unwrap(), *second);
}
