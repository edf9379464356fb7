//! Signatures that the kernel checks: whom it knows, what it refuses, and what it asks for.

use std::fs;
use std::path::Path;

use confext_core::Error;
use confext_core::dmverity::{self, Made, Options, Sharing};
use confext_core::host::{Ability, Host};
use confext_ddi::image::{self, Image};
use confext_ddi::policy::Policy;
use confext_ddi::signature::KeyPair;

use crate::Case;
use crate::scene::{self, Bad, How, activate, refused, run, unsigned};

/// The cases that need a keyring that is not sealed yet, and after it those of signers that are in it.
pub fn before<'a>(image: &'a str, certificates: &'a [&'a str]) -> Vec<Case<'a>> {
    let key = || {
        let read = |name| fs::read(name).unwrap();
        KeyPair::from_pem(&read("ec.key"), &read("ec.pem")).unwrap()
    };
    vec![
        ("unknown signer", Box::new(unknown_signer)),
        ("keyring", Box::new(move || fill(certificates))),
        ("RSA", Box::new(|| accepted_key(&rsa()))),
        ("ECDSA", Box::new(move || accepted_key(&key()))),
        ("systemd-repart", Box::new(move || accepted(&fs::canonicalize(image).unwrap()))),
        ("tampered signature", Box::new(|| bad(&rsa(), How::LastByte))),
        ("tampered signature, ECDSA", Box::new(move || bad(&key(), How::LastByte))),
        ("signature of another root hash", Box::new(|| bad(&rsa(), How::OtherHash))),
        ("tampered root hash", Box::new(tampered_root_hash)),
        ("weaker device, unsigned", Box::new(unsigned_device)),
    ]
}

/// The cases that load the module again, without keys.
pub fn last() -> Vec<Case<'static>> {
    vec![("module not loaded", Box::new(not_loaded)), ("signatures required", Box::new(required))]
}

/// Made before the cases, because its certificate has to be in the keyring.
pub fn rsa() -> KeyPair {
    let read = |name| fs::read(name).unwrap();
    KeyPair::from_pem(&read("rsa.key"), &read("rsa.pem")).unwrap()
}

fn unknown_signer() {
    let (path, _) = scene::build("stranger.raw", Some(&scene::key("stranger")));
    refused(&path, "kernel-signer-unknown");
    // With certificates of one's own the image may do all the same.
    activate(&path, &unsigned()).unwrap().detach().unwrap();
}

/// The kernel ignores the keyring until it is sealed.
fn fill(certificates: &[&str]) {
    let rsa = scene::key("rsa");
    fs::write("rsa.key", rsa.private_key_pem().unwrap()).unwrap();
    fs::write("rsa.pem", rsa.certificate_pem().unwrap()).unwrap();
    for name in certificates.iter().chain(&["rsa.pem"]) {
        run(&["openssl", "x509", "-in", name, "-outform", "DER", "-out", "signer.der"]);
        run(&["sh", "-c", "keyctl padd asymmetric '' %:.dm-verity <signer.der"]);
    }
    run(&["keyctl", "restrict_keyring", "%:.dm-verity"]);
    let (path, _) = scene::build("stranger.raw", Some(&scene::key("stranger")));
    refused(&path, "kernel-signer-unknown");
}

fn accepted_key(key: &KeyPair) {
    accepted(&scene::build("trusted.raw", Some(key)).0);
}

fn accepted(path: &Path) {
    let device = activate(path, &Options::default()).unwrap();
    let status = device.status().unwrap();
    assert!(status.intact && status.kernel_checked_signature && status.goes_with_last_user, "{status:?}");
    assert_eq!(device.accepted_signature(), Some(0));
    let table = run(&["dmsetup", "table", device.name()]);
    assert!(table.contains(" root_hash_sig_key_desc confext-"), "{table}");
    let state = run(&["dmsetup", "status", device.name()]);
    assert!(state.contains(" verity V"), "{state}");
    let state = run(&["veritysetup", "status", device.name()]);
    assert!(state.contains("verified (with signature)"), "{state}");
    assert!(scene::read(&device).unwrap().len() > 4096);
    device.detach().unwrap();
}

fn bad(key: &KeyPair, how: How) {
    let (path, _) = scene::build("bad.raw", Some(&Bad { key, how }));
    refused(&path, "kernel-signature-rejected");
}

/// Claimed by the identifiers of the partitions and by the signature partition, and found out before the kernel is asked.
fn tampered_root_hash() {
    let (path, built) = scene::build("trusted.raw", Some(&rsa()));
    let hash = built.root_hash.to_hex();
    let (first, rest) = hash.split_at(1);
    let other = format!("{}{rest}", if first == "0" { "1" } else { "0" });
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(hash.len()).position(|part| part == hash.as_bytes()).unwrap();
    bytes[at..at + hash.len()].copy_from_slice(other.as_bytes());
    fs::write(&path, bytes).unwrap();
    let image = Image::open(fs::File::open(&path).unwrap(), &image::Options::default());
    let error = image.and_then(|image| Policy::verity().judge(image, None)).unwrap_err();
    assert_eq!(error.code(), "root-hash-uuid");
}

/// Who asks for a signature does not get the device of somebody who did not.
fn unsigned_device() {
    let (path, _) = scene::build("trusted.raw", Some(&rsa()));
    let weak = activate(&path, &unsigned().sharing(Sharing::Shared)).unwrap();
    assert_eq!(weak.made(), &Made::New);
    let own = activate(&path, &Options::default().sharing(Sharing::Shared)).unwrap();
    assert!(matches!(own.made(), Made::Beside { what, .. } if what == "signature"), "{:?}", own.made());
    assert!(own.status().unwrap().kernel_checked_signature);
    assert_ne!(own.device_number(), weak.device_number());
    weak.detach().unwrap();
    own.detach().unwrap();
    // The other way round: more than was asked for.
    let strong = activate(&path, &Options::default().sharing(Sharing::Shared)).unwrap();
    let user = activate(&path, &unsigned().sharing(Sharing::Shared)).unwrap();
    assert_eq!((strong.made(), user.made()), (&Made::New, &Made::Reused));
    strong.detach().unwrap();
    user.detach().unwrap();
}

fn ability() -> Ability {
    Host::open("/").unwrap().capabilities().dm_verity
}

/// Nothing loads it in this machine, so it is as if there were none.
fn not_loaded() {
    assert_eq!(ability(), Ability::Present);
    run(&["rmmod", "dm_verity"]);
    assert_eq!(ability(), Ability::OnDemand);
    let (path, _) = scene::build("trusted.raw", Some(&rsa()));
    for options in [unsigned(), Options::default()] {
        match activate(&path, &options).unwrap_err() {
            Error::Missing { what: "the device mapper's verity target", .. } => {}
            other => panic!("{}", other.explain()),
        }
    }
}

fn required() {
    run(&["insmod", "/modules/dm-verity.ko", "require_signatures=1"]);
    assert_eq!(Host::open("/").unwrap().capabilities().dm_verity_signatures, Ability::Present);
    let (path, _) = scene::build("plain.raw", None);
    let error = activate(&path, &unsigned()).unwrap_err();
    assert_eq!(error.code(), "kernel-signature-required", "{}", error.explain());
    assert!(dmverity::is_refusal(&error));
    // The keyring is a new one, and empty.
    let (path, _) = scene::build("trusted.raw", Some(&rsa()));
    refused(&path, "kernel-signer-unknown");
}
