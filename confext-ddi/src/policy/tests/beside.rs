//! What protects the data: root hash, signature and hash tree beside an image, and rules of their own for them.

use super::*;
use crate::Limits;
use crate::sidecar::{Kind, Sidecars};

/// What of [`signed`] lies beside an image.
fn beside(kinds: &[Kind]) -> Sidecars<Vec<u8>> {
    let parts = signed();
    let hash = *open(&parts).claim().root_hash().unwrap();
    let mut sidecars = Sidecars::of(b"app.raw");
    for kind in kinds {
        match kind {
            Kind::HashTree => sidecars.add_tree(parts[1].bytes.clone()),
            Kind::RootHashSignature => {
                sidecars.add_bytes(*kind, sample::SIGNATURE, &Limits::default()).unwrap();
            }
            _ => {
                sidecars.add_bytes(*kind, hash.to_hex().as_bytes(), &Limits::default()).unwrap();
            }
        }
    }
    sidecars
}

fn with(image: Vec<u8>, kinds: &[Kind]) -> Image<Vec<u8>> {
    Image::open_with(image, beside(kinds), &Options::default().architecture(NATIVE)).unwrap()
}

#[test]
fn a_bare_file_system_is_taken_by_the_word_that_names_its_protection() {
    let trust = Some(&Trust(true));
    let hash = || with(sample::erofs(), &[Kind::RootHash, Kind::HashTree]);
    let all = || with(sample::erofs(), &[Kind::RootHash, Kind::RootHashSignature, Kind::HashTree]);
    for (policy, on_hash, on_signed) in [
        ("root=signed", "policy", "signed"),
        ("root=verity", "verity", "policy-sidecar"),
        ("root=verity+signed", "policy-protection", "signed"),
        ("root=verity+signed+absent", "verity", "signed"),
        ("root=unprotected", "policy-sidecar", "policy-sidecar"),
        ("root=unprotected+signed+absent", "policy-sidecar", "signed"),
        ("root=unprotected+verity", "verity", "policy-sidecar"),
        ("root=unprotected+verity+signed+absent", "verity", "signed"),
        ("*", "verity", "signed"),
        ("root=encrypted", "policy", "policy"),
        ("-", "policy", "policy"),
    ] {
        assert_eq!(verdict(policy, hash(), trust), on_hash, "{policy}, root hash");
        assert_eq!(verdict(policy, all(), trust), on_signed, "{policy}, signed");
        let untrusted = verdict(policy, all(), Some(&Trust(false)));
        assert!(untrusted == on_signed || untrusted == "root-hash", "{policy}: {untrusted}");
        assert_ne!(
            untrusted, "verity",
            "{policy}: a signature that does not check is no reason to ask for less"
        );
    }
    let error = judge("root=unprotected", hash(), None).unwrap_err();
    let expected =
        "policy refuses the root partition: found verity by a file beside the image, expected unprotected";
    assert_eq!(error.to_string(), expected);
}

/// The root hash of an image with a table says that its hash tree is to be used.
#[test]
fn a_root_hash_beside_an_image_with_a_hash_tree() {
    let image = || with(sample::disk(&signed()[..2]), &[Kind::RootHash]);
    for (policy, expected) in [
        ("root=verity", "verity"),
        ("root=verity+signed+absent", "verity"),
        ("root=unprotected", "policy-sidecar"),
        ("root=unprotected:root-verity=unprotected", "verity"),
        ("root=unprotected:=open", "verity"),
        ("root=unprotected+verity", "verity"),
        ("root=verity:root-verity=unused", "policy"),
    ] {
        assert_eq!(verdict(policy, image(), Some(&Trust(true))), expected, "{policy}");
        assert_eq!(verdict("root=unprotected", open(&signed()[..2]), None), "verity", "without the file");
    }
}

/// Rules for hash tree and signature that contradict the rule for the data, or each other.
#[test]
fn rules_of_their_own_for_hash_tree_and_signature() {
    let trust = Some(&Trust(true));
    for (policy, on_signed, on_verity) in [
        ("root=signed:root-verity-sig=unprotected", "signed", "policy"),
        ("root=signed:root-verity-sig=unused", "policy-signature", "policy"),
        ("root=signed+absent:root-verity-sig=unused+absent", "policy-signature", "policy"),
        ("root=signed:root-verity=open:root-verity-sig=unused", "policy-signature", "policy"),
        ("root=verity:root-verity-sig=unused", "verity", "policy"),
        ("root=verity:root-verity-sig=unused+absent", "verity", "verity"),
        ("root=verity+signed:root-verity-sig=unused", "signed", "policy"),
        ("root=verity+signed:root-verity-sig=open", "signed", "verity"),
        ("root=unprotected:root-verity-sig=unprotected", "policy-signature", "policy"),
        ("root=unprotected:root-verity-sig=open", "policy-signature", "verity"),
        ("root=unprotected:root-verity-sig=unused", "verity", "policy"),
        ("root=unprotected:root-verity=unprotected:root-verity-sig=unprotected", "verity", "policy"),
        ("root=unprotected:root-verity-sig=absent", "policy", "verity"),
        ("root=signed:root-verity=absent", "policy", "policy"),
        // Attributes are asked of what protects the data, too.
        ("root=signed+read-only-on", "signed", "policy"),
        ("root=signed:root-verity-sig=unprotected+read-only-off", "policy-attribute", "policy"),
        ("=verity", "policy", "policy"),
    ] {
        assert_eq!(verdict(policy, open(&signed()), trust), on_signed, "{policy}, signed");
        assert_eq!(verdict(policy, open(&signed()[..2]), trust), on_verity, "{policy}, verity");
    }
    let writable = |at: usize| {
        let mut parts = signed();
        parts[at].attributes = Attributes::empty();
        open(&parts)
    };
    for at in 0..3 {
        assert_eq!(verdict("root=signed+read-only-on", writable(at), trust), "policy-attribute", "{at}");
        assert_eq!(verdict("root=signed", writable(at), trust), "signed", "{at}");
    }
    let error = judge("root=verity+signed", open(&signed()[..2]), trust).unwrap_err();
    let expected =
        "policy refuses the root partition: found no root-verity-sig, expected it for the rule verity+signed";
    assert_eq!(error.to_string(), expected);
}
