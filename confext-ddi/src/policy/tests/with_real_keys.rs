//! An EROFS with a release file, under a hash tree that a new key signs.

use super::*;
use crate::build::{Meta, Tree, erofs};
use crate::release::{Class, Strictness};
use crate::signature::{Certificates, KeyPair, Sign as _, Time};

const NOW: Time = Time::from_unix(1_800_000_000);

fn data() -> Vec<u8> {
    let mut tree = Tree::new();
    tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644)).unwrap();
    let release = "etc/extension-release.d/extension-release.app";
    tree.add_file(release, "ID=_any\n", Meta::new(0o644)).unwrap();
    let mut bytes = Vec::new();
    erofs::write(&tree, &erofs::Options::default(), &mut bytes).unwrap();
    bytes
}

fn key() -> KeyPair {
    KeyPair::generate("vendor", NOW, 30).unwrap()
}

fn trusting(key: &KeyPair, now: Time) -> Certificates {
    let mut certificates = Certificates::new(now);
    certificates.add_pem(&key.certificate_pem().unwrap()).unwrap();
    certificates
}

#[test]
fn from_signature_to_a_file() {
    let key = key();
    let parts = sample::protected(NATIVE, data(), |root_hash| key.sign(root_hash).unwrap());
    let admitted = Policy::default().judge(open(&parts), Some(&trusting(&key, NOW))).unwrap();
    let signer = admitted.evidence().signer().unwrap();
    assert_eq!(signer.fingerprint, Some(key.certificate_fingerprint()));
    let files = admitted.file_system(admitted.image().limits()).unwrap();
    assert_eq!(files.read(b"etc/app.conf").unwrap(), b"answer = 42\n");
    let found = admitted.release(Class::Confext, "app", Strictness::Strict).unwrap();
    assert_eq!(found.release.get("ID"), Some("_any"));
    let missing = admitted.release(Class::Confext, "other", Strictness::Strict).unwrap_err();
    assert_eq!(missing.code(), "release-name");
}

#[test]
fn files_can_be_kept_longer_than_a_borrow() {
    let key = key();
    let parts = sample::protected(NATIVE, data(), |root_hash| key.sign(root_hash).unwrap());
    let image = open(&parts);
    let admitted = Policy::default().judge(image.clone(), Some(&trusting(&key, NOW))).unwrap();
    assert_eq!(admitted.image().claim(), image.claim());
    let files = std::sync::Arc::new(admitted).shared_file_system(image.limits()).unwrap();
    drop(image);
    assert_eq!(files.read(b"etc/app.conf").unwrap(), b"answer = 42\n");
}

#[test]
fn unknown_keys_expired_certificates_and_other_builds() {
    let (key, other) = (key(), key());
    let parts = sample::protected(NATIVE, data(), |root_hash| key.sign(root_hash).unwrap());
    let later = NOW.after_days(31).unwrap();
    let mut of_another_build = parts.clone();
    of_another_build[2] =
        sample::protected(NATIVE, sample::erofs(), |hash| key.sign(hash).unwrap()).remove(2);
    assert_eq!(
        Image::open(sample::disk(&of_another_build), &Options::default().architecture(NATIVE))
            .unwrap_err()
            .code(),
        "root-hash-uuid"
    );
    for (certificates, what) in [
        (trusting(&other, NOW), "another key"),
        (trusting(&key, later), "expired"),
        (Certificates::new(NOW), "no certificates"),
    ] {
        for policy in [Policy::signed(), Policy::verity(), Policy::unprotected()] {
            let error = policy.judge(open(&parts), Some(&certificates)).unwrap_err();
            assert_eq!(error.family(), "unverified", "{what}: {error}");
            assert_eq!(error.path(), "root-verity-sig/signature");
        }
    }
}

#[test]
fn a_usr_image_has_its_files_below_usr() {
    let mut tree = Tree::new();
    tree.add_file("lib/extension-release.d/extension-release.app", "ID=_any\n", Meta::new(0o644)).unwrap();
    let mut bytes = Vec::new();
    erofs::write(&tree, &erofs::Options::default(), &mut bytes).unwrap();
    let parts = [Part::new(Designator::Usr, Some(NATIVE), bytes)];
    let admitted = Policy::unprotected().judge(open(&parts), None).unwrap();
    let found = admitted.release(Class::Sysext, "app", Strictness::Strict).unwrap();
    assert_eq!(found.path, b"usr/lib/extension-release.d/extension-release.app");
}

#[test]
fn a_partition_without_a_file_system() {
    let parts = [Part::new(Designator::Root, Some(NATIVE), vec![1; 4096])];
    let admitted = Policy::unprotected().judge(open(&parts), None).unwrap();
    let error = admitted.file_system(admitted.image().limits()).map(|_| ()).unwrap_err();
    assert_eq!((error.code(), error.path().as_str()), ("file-system-unsupported", "root"));
    assert_eq!(verdict("root=unprotected+erofs", open(&parts), None), "policy-file-system");
}
