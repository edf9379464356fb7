use super::*;
use crate::digest::RootHash;
use crate::dps::Architecture;
use crate::error::Unverified;
use crate::fstype::FsType;
use crate::gpt::Attributes;
use crate::id::Uuid;
use crate::image::sample::{self, Part};
use crate::image::{Claim, Options};
use crate::signature::{Fingerprint, Signer, TrustSource};
use proptest::prelude::*;
use std::sync::LazyLock;

mod beside;
mod properties;
mod text;
#[cfg(all(feature = "openssl", feature = "read-fs"))]
mod with_real_keys;

const NATIVE: Architecture = Architecture::X86_64;

/// Trusts the samples' signature, or nothing.
struct Trust(bool);

impl Verifier for Trust {
    fn verify(&self, root_hash: &RootHash, signature_der: &[u8]) -> Result<Signer> {
        if !self.0 || signature_der != sample::SIGNATURE {
            let found = String::from_utf8_lossy(signature_der).into_owned();
            return Err(Unverified::RootHash { found, expected: root_hash.to_hex() }.into());
        }
        let fingerprint = Fingerprint::from_bytes([4; 32]);
        let source = TrustSource::Caller;
        Ok(Signer {
            subject: "CN=vendor".into(),
            fingerprint: Some(fingerprint),
            not_before: Some(0),
            not_after: Some(1),
            source,
        })
    }
}

fn open(parts: &[Part]) -> Image<Vec<u8>> {
    Image::open(sample::disk(parts), &Options::default().architecture(NATIVE)).unwrap()
}

fn signed() -> Vec<Part> {
    sample::signed(NATIVE)
}

fn bare() -> Image<Vec<u8>> {
    Image::open(sample::erofs(), &Options::default()).unwrap()
}

fn judge(policy: &str, image: Image<Vec<u8>>, trust: Option<&Trust>) -> Result<Admitted<Vec<u8>>> {
    let verifier = trust.map(|trust| -> &dyn Verifier { trust });
    Policy::parse(policy).unwrap().judge(image, verifier)
}

/// `signed`, `verity` or `none` when admitted, else the code.
fn verdict(policy: &str, image: Image<Vec<u8>>, trust: Option<&Trust>) -> &'static str {
    match judge(policy, image, trust) {
        Ok(admitted) => admitted.evidence().protection().as_str(),
        Err(error) => error.code(),
    }
}

#[test]
fn a_signed_image_against_policies_and_trust() {
    let (good, bad) = (Some(&Trust(true)), Some(&Trust(false)));
    for (policy, with_good, with_bad, with_none) in [
        ("root=signed", "signed", "root-hash", "signature-unchecked"),
        ("root=signed+absent", "signed", "root-hash", "signature-unchecked"),
        ("root=signed+verity", "signed", "root-hash", "verity"),
        ("root=signed+verity+unprotected", "signed", "root-hash", "verity"),
        ("*", "signed", "root-hash", "verity"),
        ("root=verity", "verity", "verity", "verity"),
        ("root=unprotected", "verity", "verity", "verity"),
        ("root=encrypted", "policy", "policy", "policy"),
        ("root=unused+absent", "policy", "policy", "policy"),
        ("-", "policy", "policy", "policy"),
        ("~", "policy", "policy", "policy"),
        ("usr=signed", "policy", "policy", "policy"),
    ] {
        assert_eq!(verdict(policy, open(&signed()), good), with_good, "{policy}, trusted");
        assert_eq!(verdict(policy, open(&signed()), bad), with_bad, "{policy}, not trusted");
        assert_eq!(verdict(policy, open(&signed()), None), with_none, "{policy}, no verifier");
    }
}

#[test]
fn less_protected_images() {
    let trust = Some(&Trust(true));
    for (policy, on_verity, on_root, on_bare) in [
        ("root=signed", "policy", "policy", "policy"),
        ("root=verity", "verity", "policy", "policy"),
        ("root=verity+signed", "policy-protection", "policy", "policy"),
        ("root=verity+signed+absent", "verity", "policy", "policy"),
        ("root=unprotected", "verity", "none", "none"),
        ("root=signed+unprotected", "policy-protection", "policy-protection", "policy-protection"),
        ("root=verity+unprotected", "verity", "policy-protection", "policy-protection"),
        ("root=signed+unprotected+absent", "verity", "none", "none"),
        ("*", "verity", "none", "none"),
        ("root=encrypted+encryptedwithintegrity", "policy", "policy", "policy"),
        ("root=signed+verity+encrypted+unused+absent", "verity", "policy", "policy"),
        ("root=unprotected+read-only-on", "verity", "none", "policy-attribute"),
        ("root=unprotected+read-only-off", "policy-attribute", "policy-attribute", "none"),
        ("root=unprotected+growfs-on", "policy-attribute", "policy-attribute", "policy-attribute"),
        ("root=unprotected+growfs-off", "verity", "none", "none"),
        ("root=unprotected+erofs", "verity", "none", "none"),
        ("root=unprotected+erofs+vfat", "verity", "none", "none"),
        ("root=unprotected+ext4+vfat", "policy-file-system", "policy-file-system", "policy-file-system"),
        ("root=open:=absent", "verity", "none", "none"),
        ("root=open:usr=signed", "policy", "policy", "policy"),
        ("root=open:root-verity=absent", "policy", "none", "none"),
        ("root=open:root-verity=unprotected", "verity", "policy", "policy"),
        ("root=open:root-verity=unused+absent", "policy", "none", "none"),
        ("root=open:root-verity=open+read-only-off", "policy-attribute", "none", "none"),
        ("root=open:root-verity-sig=unprotected", "policy", "policy", "policy"),
    ] {
        assert_eq!(verdict(policy, open(&signed()[..2]), trust), on_verity, "{policy}, verity");
        assert_eq!(verdict(policy, open(&signed()[..1]), trust), on_root, "{policy}, root only");
        assert_eq!(verdict(policy, bare(), trust), on_bare, "{policy}, bare");
    }
}

#[test]
fn partitions_that_are_not_used() {
    let with_home = || {
        let mut parts = signed();
        parts.push(Part::new(Designator::Home, None, sample::erofs()));
        open(&parts)
    };
    for (policy, expected) in [
        ("root=signed", "signed"),
        ("root=signed:home=unused", "signed"),
        ("root=signed:home=absent", "policy"),
        ("root=signed:home=unprotected", "policy"),
        ("root=signed:home=verity", "policy"),
        ("root=signed:=absent", "policy"),
        ("root=signed:home=open+read-only-off", "signed"),
    ] {
        assert_eq!(verdict(policy, with_home(), Some(&Trust(true))), expected, "{policy}");
    }
    let error = judge("root=signed:home=absent", with_home(), Some(&Trust(true))).unwrap_err();
    let expected = "policy refuses the home partition: found protection unused, expected absent";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_usr_image_under_the_presets() {
    let mut parts = signed();
    for (part, designator) in
        parts.iter_mut().zip([Designator::Usr, Designator::UsrVerity, Designator::UsrVeritySig])
    {
        part.kind = Part::new(designator, Some(NATIVE), vec![]).kind;
    }
    let trust: &dyn Verifier = &Trust(true);
    let admitted = Policy::default().judge(open(&parts), Some(trust)).unwrap();
    assert_eq!(admitted.evidence().protection(), Protection::Signed);
    assert_eq!(verdict("root=signed", open(&parts), Some(&Trust(true))), "policy");
}

#[test]
fn presets() {
    let trust: &dyn Verifier = &Trust(true);
    let verdict = |policy: Policy, image, verifier| match policy.judge(image, verifier) {
        Ok(admitted) => admitted.evidence().protection().as_str(),
        Err(error) => error.code(),
    };
    assert_eq!(verdict(Policy::signed(), open(&signed()), Some(trust)), "signed");
    assert_eq!(verdict(Policy::signed(), open(&signed()[..2]), Some(trust)), "policy");
    assert_eq!(verdict(Policy::signed(), bare(), None), "policy");
    assert_eq!(verdict(Policy::verity(), open(&signed()), Some(trust)), "signed");
    assert_eq!(verdict(Policy::verity(), open(&signed()), Some(&Trust(false))), "root-hash");
    assert_eq!(verdict(Policy::verity(), open(&signed()), None), "verity");
    assert_eq!(verdict(Policy::verity(), bare(), None), "policy");
    assert_eq!(verdict(Policy::unprotected(), bare(), None), "none");
    assert_eq!(verdict(Policy::unprotected(), open(&signed()), Some(trust)), "signed");
}

#[test]
fn presets_of_systemd() {
    for (preset, root, usr, home, esp, swap) in [
        (Preset::Sysext, "all", "all", "ignore", "ignore", "ignore"),
        (Preset::SysextStrict, "signed+absent", "signed+absent", "ignore", "ignore", "ignore"),
        (Preset::Confext, "all", "ignore", "ignore", "ignore", "ignore"),
        (Preset::ConfextStrict, "signed+absent", "ignore", "ignore", "ignore", "ignore"),
        (Preset::Service, "all", "all", "any", "ignore", "ignore"),
        (Preset::Portable, "all", "all", "any", "ignore", "ignore"),
        (Preset::Container, "all", "all", "any", "unprotected+absent", "ignore"),
        (Preset::Host, "all", "all", "any", "unprotected+absent", "any"),
    ] {
        let policy = preset.policy();
        let any = "encrypted+encryptedwithintegrity+unprotected+absent";
        let all = &format!("verity+signed+{any}");
        for (designator, expected) in [
            (Designator::Root, root),
            (Designator::Usr, usr),
            (Designator::Home, home),
            (Designator::Srv, home),
            (Designator::Tmp, home),
            (Designator::Var, home),
            (Designator::Esp, esp),
            (Designator::Xbootldr, esp),
            (Designator::Swap, swap),
        ] {
            let expected = match expected {
                "any" => any,
                "all" => all,
                words => words,
            };
            assert_eq!(policy.rule(designator).unwrap().to_string(), expected, "{preset} {designator}");
        }
        assert_eq!(Policy::named(&format!("@{preset}")), Some(policy));
    }
    assert_eq!(Policy::named("signed"), Some(Policy::signed()));
    for unknown in ["sysext", "@", "@Sysext", "root=signed", "*", ""] {
        assert_eq!(Policy::named(unknown), None);
    }
}

#[test]
fn a_rule_that_nothing_satisfies_says_so() {
    let mut parts = signed();
    parts.push(Part::new(Designator::Home, None, sample::erofs()));
    let error = judge("root=signed:home=verity", open(&parts), Some(&Trust(true))).unwrap_err();
    let expected = "policy refuses the home partition: found protection unused, expected a use that no such partition can have";
    assert_eq!(error.to_string(), expected);
    assert_eq!(Policy::parse("home=verity").unwrap().rule(Designator::Home), None);
}

#[test]
fn attributes_of_what_protects_are_judged_where_a_rule_is_about_them() {
    for (policy, expected) in [
        ("root=signed:root-verity-sig=unprotected+read-only-on", "signed"),
        ("root=signed:root-verity-sig=unprotected+read-only-off", "policy-attribute"),
        ("root=signed:root-verity=unprotected+growfs-on", "policy-attribute"),
        ("root=signed:root-verity=unprotected+erofs", "signed"),
    ] {
        assert_eq!(verdict(policy, open(&signed()), Some(&Trust(true))), expected, "{policy}");
    }
}

#[test]
fn evidence_and_data_of_an_admitted_image() {
    let image = open(&signed());
    let root_hash = *image.claim().root_hash().unwrap();
    let admitted = Policy::signed().judge(image, Some(&Trust(true))).unwrap();
    assert_eq!(admitted.root_hash(), Some(&root_hash));
    assert_eq!(admitted.evidence().signer().unwrap().subject, "CN=vendor");
    assert!(matches!(admitted.image().claim(), Claim::Signed { .. }));
    assert!(matches!(admitted.data(), Data::Checked(_)));
    let bytes = crate::read::read_vec(admitted.data(), 0, 8 * 4096).unwrap();
    assert_eq!(bytes, sample::erofs());

    let admitted = Policy::unprotected().judge(bare(), None).unwrap();
    assert_eq!((admitted.evidence(), admitted.root_hash()), (&Evidence::None, None));
    assert!(matches!(admitted.data(), Data::Unchecked(_)));
    assert_eq!(admitted.data().size_bytes().unwrap(), 8 * 4096);
}

#[test]
fn changed_data_never_comes_out_of_an_admitted_image() {
    let mut parts = signed();
    parts[0].bytes[5 * 4096] ^= 1;
    let admitted = Policy::signed().judge(open(&parts), Some(&Trust(true))).unwrap();
    let mut block = [0; 4096];
    admitted.data().read_exact_at(4 * 4096, &mut block).unwrap();
    let error = admitted.data().read_exact_at(5 * 4096 - 1, &mut block).unwrap_err();
    assert_eq!((error.family(), error.code()), ("unverified", "data-block"));
    let start = admitted.image().data().range.start();
    assert_eq!(
        (error.path().as_str(), error.offset()),
        ("root/data", Some(start + 5 * 4096)),
        "in the image"
    );
    let Data::Checked(data) = admitted.data() else { panic!("not under its hash tree") };
    let error = data.verify().unwrap_err();
    assert_eq!((error.code(), error.path().as_str()), ("data-block", "root/data"));
    assert_eq!(error.offset(), Some(start + 5 * 4096));
}

#[test]
fn a_changed_tree_is_refused_at_the_gate() {
    let in_image = open(&signed()).hash().unwrap().range.start();
    type Edit = fn(&mut [Part]);
    let cases: &[(Edit, &str, u64)] = &[
        (|p| p[1].bytes[4096] ^= 1, "root-hash", in_image + 4096),
        (|p| p[1].bytes[0] ^= 1, "verity-magic", in_image),
        (|p| p[1].bytes[88] ^= 1, "root-hash", in_image + 4096),
    ];
    for (edit, code, offset) in cases {
        let mut parts = signed();
        edit(&mut parts);
        for policy in ["root=signed", "root=signed+verity", "root=verity", "*"] {
            let error = judge(policy, open(&parts), Some(&Trust(true))).unwrap_err();
            assert_eq!(error.code(), *code, "{policy}");
            assert!(error.path().starts_with("root-verity"), "{error}");
            assert_eq!(error.offset(), Some(*offset), "{error}");
        }
    }
}

#[test]
fn a_root_hash_that_is_not_that_of_the_data() {
    let mut parts = signed();
    parts.truncate(2);
    parts[0].id = Uuid::from_bytes([1; 16]).to_guid();
    assert_eq!(verdict("root=verity", open(&parts), None), "root-hash");
    assert_eq!(verdict("root=unprotected", open(&parts), None), "root-hash", "never less than what is there");
}

#[test]
fn encrypted_file_systems_are_not_for_us() {
    let mut luks = vec![0; 8192];
    luks[..8].copy_from_slice(b"LUKS\xba\xbe\0\x02");
    let image = || Image::open(luks.clone(), &Options::default()).unwrap();
    for policy in ["*", "root=encrypted", "root=signed"] {
        assert_eq!(verdict(policy, image(), None), "encrypted");
    }
}
