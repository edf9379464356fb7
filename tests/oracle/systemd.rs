//! Two releases of systemd: images that they build are read and checked here; images of ours are accepted by them, file
//! by file.

use confext_ddi::gpt::Table;
use confext_ddi::image::{self, Claim, Image};
use confext_ddi::manifest::{self, Dialect, Manifest};
use confext_ddi::policy::{Admitted, Evidence, Policy};
use confext_ddi::release::{Class, Strictness};
use confext_ddi::signature::Sign as _;
use confext_ddi::verity::Superblock;
use confext_ddi::{Limits, ReadAt as _, Result};
use confext_tests::peer::{self, NAME, Place, Protect, SQUASHFS, Systemd, record_files};
use confext_tests::source::{self, Entry};
use std::collections::BTreeMap;
use std::fs::File;

const CLASSES: [Class; 2] = [Class::Confext, Class::Sysext];

fn open(place: &Place, name: &str) -> Image<File> {
    Image::open(File::open(place.path(name)).unwrap(), &image::Options::default()).unwrap()
}

fn judge(place: &Place, name: &str, policy: &Policy) -> Result<Admitted<File>> {
    policy.judge(open(place, name), Some(&place.certificates()))
}

fn files(admitted: &Admitted<File>) -> BTreeMap<Vec<u8>, Entry> {
    record_files(admitted.file_system(&Limits::default()).unwrap().as_ref())
}

/// The part of a record that an image of a class is about: below its hierarchies.
fn inside(class: Class, mut record: BTreeMap<Vec<u8>, Entry>) -> BTreeMap<Vec<u8>, Entry> {
    let of = |path: &[u8]| path.split(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
    record.retain(|path, _| class.hierarchies().iter().any(|name| name.as_bytes() == of(path)));
    record
}

#[test]
#[ignore = "needs root"]
fn signed_images_of_systemd_are_verified_and_read_like_their_source() {
    for place in Systemd::ALL.map(Place::of) {
        for class in CLASSES {
            let source = format!("{class}-tree");
            place.populate(class, &source);
            let expected = inside(class, source::record(&place.path(&source)));
            for settings in [&[][..], &[SQUASHFS]] {
                let image = format!("{class}-{}.raw", settings.len());
                let root_hash = place.repart(class, Protect::Signed, (&source, &image), settings);

                let opened = open(&place, &image);
                let Claim::Signed { root_hash: claimed, fingerprint, .. } = opened.claim() else {
                    panic!("{:?}", opened.claim())
                };
                assert_eq!(
                    (*claimed, *fingerprint),
                    (root_hash, Some(place.key().certificate_fingerprint()))
                );
                let ids: Vec<String> = [opened.data(), opened.hash().unwrap()]
                    .map(|partition| partition.uuid.unwrap().to_string().replace('-', ""))
                    .into();
                assert_eq!(ids.concat(), root_hash.to_hex());

                let admitted = judge(&place, &image, &Policy::signed()).unwrap();
                let Evidence::Signed { root_hash: checked, by } = admitted.evidence() else {
                    panic!("{:?}", admitted.evidence())
                };
                assert_eq!(
                    (*checked, by.fingerprint),
                    (root_hash, Some(place.key().certificate_fingerprint()))
                );
                assert!(by.subject.contains("confext-test vendor"), "{}", by.subject);
                let confext_ddi::policy::Data::Checked(reader) = admitted.data() else {
                    panic!("not checked")
                };
                reader.verify().unwrap();

                let release = admitted.release(class, NAME, Strictness::Strict).unwrap();
                assert_eq!(release.release.get("ID"), Some("_any"));
                let mut found = inside(class, files(&admitted));
                let mut expected = expected.clone();
                if settings.contains(&SQUASHFS) {
                    found.values_mut().chain(expected.values_mut()).for_each(as_squashfs_keeps_it);
                }
                source::assert_same(&found, &expected);
            }
        }
    }
}

/// Squashfs has no fractions of seconds.
fn as_squashfs_keeps_it(entry: &mut Entry) {
    entry.mtime.1 = 0;
}

#[test]
#[ignore = "needs root"]
fn unsigned_images_of_systemd_are_for_those_who_ask_for_less() {
    for place in Systemd::ALL.map(Place::of) {
        for class in CLASSES {
            let source = format!("{class}-tree");
            place.populate(class, &source);
            let image = format!("{class}.raw");
            let root_hash = place.repart(class, Protect::Verity, (&source, &image), &[]);
            assert!(
                matches!(open(&place, &image).claim(), Claim::Verity { root_hash: claimed, .. } if *claimed == root_hash)
            );
            assert_eq!(judge(&place, &image, &Policy::signed()).unwrap_err().code(), "policy");
            let admitted = judge(&place, &image, &Policy::verity()).unwrap();
            assert_eq!(admitted.evidence(), &Evidence::Verity { root_hash });
            let expected = inside(class, source::record(&place.path(&source)));
            source::assert_same(&inside(class, files(&admitted)), &expected);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_signed_image_of_systemd_is_refused_when_anything_is_wrong() {
    for place in Systemd::ALL.map(Place::of) {
        place.populate(Class::Confext, "tree");
        place.repart(Class::Confext, Protect::Signed, ("tree", "app.raw"), &[]);
        let stranger = peer::trust(&peer::make_key("confext-test stranger"));
        let refused = Policy::signed().judge(open(&place, "app.raw"), Some(&stranger)).unwrap_err();
        assert_eq!(refused.code(), "unknown-signer");

        let data = open(&place, "app.raw").data().range;
        let original = std::fs::read(place.path("app.raw")).unwrap();
        for at in [data.start() + 1024, data.start() + 5 * 4096 + 17] {
            let mut bytes = original.clone();
            bytes[usize::try_from(at).unwrap()] ^= 1;
            std::fs::write(place.path("changed.raw"), bytes).unwrap();
            let admitted =
                Image::open(File::open(place.path("changed.raw")).unwrap(), &image::Options::default())
                    .and_then(|image| Policy::signed().judge(image, Some(&place.certificates())));
            // Where the change is in the first block, the file system is not recognised and the gate already says so.
            let error = match admitted {
                Err(error) => error,
                Ok(admitted) => {
                    let confext_ddi::policy::Data::Checked(reader) = admitted.data() else {
                        panic!("not checked")
                    };
                    reader.verify().unwrap_err()
                }
            };
            assert_eq!(error.code(), "data-block", "byte {at}: {error}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn images_of_ours_are_what_systemd_says_they_are() {
    for place in Systemd::ALL.map(Place::of) {
        for class in CLASSES {
            let source = format!("{class}-tree");
            place.populate(class, &source);
            for (tree, protect) in [
                (peer::settings(class), Protect::Signed),
                (peer::large(class), Protect::Signed),
                (peer::tree_of(&place.path(&source)), Protect::Signed),
                (peer::large(class), Protect::Verity),
            ] {
                let built = place.build(class, protect, tree, "app.raw");
                let validate = |policy| {
                    let output = place.attempt(&["systemd-dissect", "--validate", policy, "app.raw"]);
                    output.status.success() && output.stdout == b"OK\n"
                };
                assert_eq!(validate("--image-policy=root=signed"), protect == Protect::Signed);
                assert!(validate("--image-policy=root=verity"));
                assert!(!validate("--image-policy=root=encrypted"));

                let text = place.peer(&["systemd-dissect", "--json=short", "app.raw"]);
                let json: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
                assert_eq!(json["sectorSize"], 512, "{json}");
                match place.systemd() {
                    Systemd::Newest => assert_eq!(json["size"], built.size_bytes, "{json}"),
                    Systemd::Stable => assert_eq!(json["size"], serde_json::Value::Null, "{json}"),
                }
                assert_eq!(json["useConfigurationExtension"], class == Class::Confext, "{json}");
                assert_eq!(json["useSystemExtension"], class == Class::Sysext, "{json}");
                assert_eq!(json[format!("{class}Release")][0], "ID=_any", "{json}");
                let mounts = json["mounts"].as_array().unwrap();
                assert_eq!(mounts.len(), built.partitions.len(), "{json}");
                for (mount, partition) in mounts.iter().zip(&built.partitions) {
                    assert_eq!(mount["partition_uuid"], partition.unique_guid.to_string(), "{json}");
                    assert_eq!(mount["partition_label"], partition.label, "{json}");
                    assert_eq!(mount["rw"], "ro", "{json}");
                }
                // 257 takes the root hash from the partitions' identifiers only where there is a signature.
                let verity = match (place.systemd(), protect) {
                    (_, Protect::Signed) => "signed",
                    (Systemd::Newest, Protect::Verity) => "yes",
                    (Systemd::Stable, Protect::Verity) => "no",
                };
                let root = &mounts[0];
                assert_eq!(root["designator"], "root", "{json}");
                assert_eq!((&root["fstype"], &root["verity"]), (&"erofs".into(), &verity.into()), "{json}");
            }
        }
    }
}

/// What systemd lists of an image's files.
fn manifest(place: &Place, image: &str) -> String {
    place.peer(&[
        "env",
        "SYSTEMD_DISSECT_VERITY_EMBEDDED=0",
        "SYSTEMD_DISSECT_VERITY_GUESS=0",
        "SYSTEMD_DISSECT_VERITY_SIDECAR=0",
        "systemd-dissect",
        "--mtree",
        "--image-policy=root=unprotected+absent",
        image,
    ])
}

/// The same list, from what is read here.
fn our_manifest(admitted: &Admitted<File>) -> String {
    let limits = Limits::default();
    let files = admitted.file_system(&limits).unwrap();
    let manifest = Manifest::of(files.as_ref(), &manifest::Options::default(), &limits, |_| {}).unwrap();
    let mut text = Vec::new();
    manifest.write_mtree(Dialect::Systemd, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
#[ignore = "needs root"]
fn systemd_lists_the_files_of_our_images_as_we_do() {
    for place in Systemd::ALL.map(Place::of) {
        for class in CLASSES {
            let source = format!("{class}-tree");
            place.populate(class, &source);
            for tree in [peer::large(class), peer::tree_of(&place.path(&source))] {
                place.build(class, Protect::Signed, tree, "app.raw");
                let ours = our_manifest(&judge(&place, "app.raw", &Policy::signed()).unwrap());
                let theirs = manifest(&place, "app.raw");
                // Line by line, in the same order.
                for (ours, theirs) in ours.lines().zip(theirs.lines()) {
                    assert_eq!(ours, theirs);
                }
                assert_eq!(ours.len(), theirs.len());
            }
        }
    }
}

/// What follows from seed, class and architecture, whatever is in the image.
#[derive(Debug, PartialEq)]
struct Derived {
    disk: String,
    /// Of each partition: type, label, attributes.
    kinds: Vec<String>,
    /// Of the signature partition.
    signature: Option<String>,
    salt: String,
    superblock: String,
    file_system: Vec<u8>,
    first_partition: u64,
}

fn derived(place: &Place, name: &str) -> Derived {
    let image = std::fs::read(place.path(name)).unwrap();
    let limits = Limits::default();
    let table = Table::read(&image, &limits).unwrap().unwrap();
    let [data, hash, rest @ ..] = table.partitions.as_slice() else { panic!("{table:?}") };
    let mut superblock = vec![0; Superblock::BYTES];
    image.read_exact_at(hash.range.start(), &mut superblock).unwrap();
    let superblock = Superblock::parse(&superblock, &limits).unwrap();
    let mut file_system = vec![0; 16];
    image.read_exact_at(data.range.start() + 1024 + 48, &mut file_system).unwrap();
    Derived {
        disk: table.disk_guid.to_string(),
        kinds: table
            .partitions
            .iter()
            .map(|partition| {
                format!("{} {} {:?}", partition.type_guid, partition.label, partition.attributes)
            })
            .collect(),
        signature: rest.first().map(|partition| partition.unique_guid.to_string()),
        salt: hex(superblock.salt.as_bytes()),
        superblock: superblock.uuid.to_string(),
        file_system,
        first_partition: data.range.start(),
    }
}

#[test]
#[ignore = "needs root"]
fn from_one_source_and_seed_systemd_and_we_make_the_same_but_for_the_packing() {
    for place in Systemd::ALL.map(Place::of) {
        for class in CLASSES {
            let source = format!("{class}-tree");
            place.populate(class, &source);
            for protect in [Protect::Signed, Protect::Verity] {
                place.repart(class, protect, (&source, "theirs.raw"), &[]);
                place.build(class, protect, peer::tree_of(&place.path(&source)), "ours.raw");
                let mut theirs = derived(&place, "theirs.raw");
                if let (Systemd::Stable, [_, _, signature]) = (place.systemd(), &mut theirs.kinds[..]) {
                    // It marks a signature partition writable; 262 does not.
                    *signature = signature.replace("(0x0)", "(READ_ONLY)");
                }
                assert_eq!(derived(&place, "ours.raw"), theirs);
                let record = |name| files(&judge(&place, name, &Policy::verity()).unwrap());
                source::assert_same(&inside(class, record("ours.raw")), &inside(class, record("theirs.raw")));
                let size = |name| std::fs::metadata(place.path(name)).unwrap().len();
                assert!(size("ours.raw") < size("theirs.raw"));
            }
        }
    }
}

/// Takes `signed.raw` apart: its file system becomes `app.raw`, the rest lies beside it.
fn take_apart(place: &Place) {
    let opened = open(place, "signed.raw");
    let Claim::Signed { root_hash, signature_der, .. } = opened.claim() else {
        panic!("{:?}", opened.claim())
    };
    for (name, range) in [("app.raw", opened.data().range), ("app.verity", opened.hash().unwrap().range)] {
        let mut bytes = vec![0; usize::try_from(range.len_bytes()).unwrap()];
        opened.reader().read_exact_at(range.start(), &mut bytes).unwrap();
        std::fs::write(place.path(name), bytes).unwrap();
    }
    std::fs::write(place.path("app.roothash"), format!("{root_hash}\n")).unwrap();
    std::fs::write(place.path("app.roothash.p7s"), signature_der).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_bare_file_system_and_what_lies_beside_it_are_to_systemd_what_they_are_here() {
    let place = Place::create();
    place.build(Class::Confext, Protect::Signed, peer::settings(Class::Confext), "signed.raw");
    take_apart(&place);
    let ours = |policy: &Policy| {
        let image = confext_core::sidecars::open(place.path("app.raw"), &image::Options::default());
        let judged = image.map_err(|error| error.code()).and_then(|image| {
            let judged = policy.judge(image, Some(&place.certificates()));
            judged.map_err(|error| error.code())
        });
        judged.map(|admitted| {
            let confext_ddi::policy::Data::Checked(reader) = admitted.data() else { panic!("not checked") };
            reader.verify().unwrap();
            let release = admitted.release(Class::Confext, NAME, Strictness::Strict).unwrap();
            assert_eq!(release.release.get("ID"), Some("_any"));
            admitted.evidence().protection().to_string()
        })
    };
    let theirs = |policy: &str| {
        let policy = format!("--image-policy={policy}");
        place.attempt(&["systemd-dissect", "--validate", &policy, "app.raw"]).status.success()
    };
    assert_eq!(ours(&Policy::signed()), Ok("signed".to_owned()));
    // To systemd a policy of verity alone does not do for a signed one.
    assert!(theirs("root=signed") && !theirs("root=unprotected"));
    let text = place.peer(&["systemd-dissect", "--json=short", "app.raw"]);
    let json: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(json["mounts"][0]["verity"], "external", "{json}");
    let root_hash = std::fs::read_to_string(place.path("app.roothash")).unwrap();
    place.peer(&["veritysetup", "verify", "app.raw", "app.verity", root_hash.trim()]);

    std::fs::remove_file(place.path("app.roothash.p7s")).unwrap();
    assert_eq!(ours(&Policy::verity()), Ok("verity".to_owned()));
    assert_eq!(ours(&Policy::signed()), Err("policy"));
    assert!(theirs("root=verity"));

    // A misnamed root hash passes for none in systemd; here nothing passes for less than it is.
    std::fs::rename(place.path("app.roothash"), place.path("app.raw.roothash")).unwrap();
    assert!(!theirs("root=verity") && theirs("root=unprotected"));
    assert_eq!(ours(&Policy::verity()), Err("sidecar-incomplete"));
    std::fs::remove_file(place.path("app.verity")).unwrap();
    assert_eq!(ours(&Policy::verity()), Err("sidecar-name"));
    std::fs::remove_file(place.path("app.raw.roothash")).unwrap();
    assert_eq!(ours(&Policy::verity()), Err("policy"));
}
