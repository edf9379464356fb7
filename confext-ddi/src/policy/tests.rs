use super::*;
use crate::digest::RootHash;
use crate::dps::Architecture;
use crate::error::Unverified;
use crate::fstype::FsType;
use crate::gpt::Attributes;
use crate::id::Uuid;
use crate::image::sample::{self, Part};
use crate::image::{Claim, Options};
use crate::signature::{Fingerprint, Signer};
use proptest::prelude::*;
use std::sync::LazyLock;

mod beside;

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
        Ok(Signer { subject: "CN=vendor".into(), fingerprint, not_before: 0, not_after: 1 })
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
fn policies_are_parsed_and_printed() {
    for (text, printed) in [
        ("*", "*"),
        ("", "-"),
        (" - ", "-"),
        ("~", "~"),
        ("=open", "*"),
        ("=ignore", "-"),
        ("=absent", "~"),
        ("=", "*"),
        ("=-", "*"),
        ("root=", "root=open"),
        ("root=-", "root=open"),
        ("root=signed", "root=signed"),
        (" root = signed + verity : usr = absent ", "root=verity+signed:usr=absent"),
        ("usr=signed:root=unused+absent", "root=ignore:usr=signed"),
        ("root=ignore+signed", "root=signed+unused+absent"),
        ("root=signed:=absent", "root=signed:=absent"),
        ("root=signed:=ignore", "root=signed"),
        ("root=verity+read-only-on+growfs-off", "root=verity+read-only-on+growfs-off"),
        ("root=verity+read-only-on+read-only-off", "root=verity"),
        ("root=read-only-on", "root=open+read-only-on"),
        ("root=ignore+erofs+xfs", "root=ignore+erofs+xfs"),
        ("root=signed+xfs+vfat+squashfs+f2fs+ext4+erofs+btrfs", "root=signed"),
        (
            "root-verity-sig=unprotected:var=encryptedwithintegrity",
            "root-verity-sig=unprotected:var=encryptedwithintegrity",
        ),
        ("root=verity+verity", "root=verity"),
    ] {
        let policy = Policy::parse(text).unwrap();
        assert_eq!(policy.to_string(), printed, "{text:?}");
        assert_eq!(printed.parse::<Policy>().unwrap(), policy, "{text:?}");
    }
    assert_eq!(Policy::default(), Policy::signed());
    assert_eq!(Policy::signed().to_string(), "root=signed+absent:usr=signed+absent");
    assert_eq!(Policy::verity().to_string(), "root=verity+signed+absent:usr=verity+signed+absent");
    let open = "root=verity+signed+unprotected+absent:usr=verity+signed+unprotected+absent";
    assert_eq!(Policy::unprotected().to_string(), open);
}

#[test]
fn nothing_unknown_is_accepted() {
    for (text, code) in [
        ("root", "policy-rule"),
        ("root=signed:", "policy-rule"),
        (":root=signed", "policy-rule"),
        ("root=signed::usr=signed", "policy-rule"),
        ("root=signed usr=signed", "policy-flag"),
        ("**", "policy-rule"),
        ("roott=signed", "policy-designator"),
        ("Root=signed", "policy-designator"),
        ("linux-generic=open", "policy-designator"),
        ("user-home=open", "policy-designator"),
        ("root=sigend", "policy-flag"),
        ("root=SIGNED", "policy-flag"),
        ("root=signed+", "policy-flag"),
        ("root=+signed", "policy-flag"),
        ("root=signed++verity", "policy-flag"),
        ("root=-+signed", "policy-flag"),
        ("root=signed=verity", "policy-flag"),
        ("root=ntfs", "policy-flag"),
        ("root=signed\0", "policy-flag"),
        ("root=signed:root=absent", "policy-rule-twice"),
        ("=absent:=open", "policy-rule-twice"),
    ] {
        assert_eq!(Policy::parse(text).unwrap_err().code(), code, "{text:?}");
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
fn rules_are_put_together_from_typed_parts() {
    let rule =
        Rule::least(Protection::Verity).or(Use::Absent).read_only(Attribute::On).growfs(Attribute::Off);
    let rule = rule.only([FsType::Squashfs, FsType::Erofs]).unwrap();
    let policy = Policy::otherwise(Rule::absent()).with(Designator::Usr, rule).unwrap();
    let text = "usr=verity+signed+absent+read-only-on+growfs-off+erofs+squashfs:=absent";
    assert_eq!(policy, Policy::parse(text).unwrap());
    assert_eq!(policy.to_string(), text);
    assert_eq!(rule.uses().collect::<Vec<_>>(), [Use::Verity, Use::Signed, Use::Absent]);
    assert!(rule.allows(Use::Signed) && !rule.allows(Use::Unprotected));
    assert_eq!((rule.asks_read_only(), rule.asks_growfs()), (Attribute::On, Attribute::Off));
    assert_eq!(rule.file_systems(), Some(vec![FsType::Erofs, FsType::Squashfs]));
    let rule = rule.read_only(Attribute::Any).growfs(Attribute::On).only([]).unwrap();
    assert_eq!((rule.asks_read_only(), rule.asks_growfs()), (Attribute::Any, Attribute::On));
    assert_eq!(rule.file_systems(), None);
    assert_eq!(
        policy.rules().collect::<Vec<_>>(),
        [(Designator::Usr, policy.rule(Designator::Usr).unwrap())]
    );
    assert_eq!(policy.default_rule(), Rule::absent());
    assert_eq!(Rule::open().to_string(), "open");
    for word in Use::ALL {
        assert_eq!(Use::from_name(word.as_str()), Some(word));
        assert_eq!(Policy::otherwise(Rule::only_use(word)), Policy::parse(&format!("={word}")).unwrap());
    }
    for none in [FsType::Luks, FsType::Swap] {
        assert_eq!(Rule::open().only([none]).unwrap_err().code(), "policy-flag");
    }
    for none in [Designator::UserHome, Designator::LinuxGeneric] {
        assert_eq!(Policy::signed().with(none, Rule::open()).unwrap_err().code(), "policy-designator");
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

#[test]
fn intersections() {
    for (first, second, common) in [
        ("*", "root=signed", "root=signed"),
        ("root=signed+verity", "root=verity+unprotected", "root=verity+signed"),
        ("root=verity", "root=unprotected", "root=verity"),
        ("root=verity", "root=verity", "root=verity"),
        ("*", "*", "*"),
        ("~", "*", "~"),
        ("~", "-", "~"),
        ("root=signed+absent", "-", "root=absent"),
        ("root=open+read-only-on", "root=open+read-only-off", "root-verity=ignore:root-verity-sig=absent"),
        ("root=signed+absent+erofs", "root=signed+absent+ext4", "root=absent"),
        ("root=signed+erofs+ext4", "root=signed+ext4+xfs", "root=signed+ext4"),
        ("home=unused+unprotected+growfs-on", "home=unused+unprotected+growfs-off", "home=unused"),
        ("root-verity-sig=open+growfs-on", "root-verity-sig=open+growfs-off", "root-verity-sig=absent"),
    ] {
        let [first, second] = [first, second].map(|text| Policy::parse(text).unwrap());
        let both = first.intersect(&second).unwrap();
        assert_eq!(both.to_string(), common);
        assert_eq!(both, second.intersect(&first).unwrap());
    }
    for (first, second) in [
        ("root=signed", "root=absent"),
        ("root=signed", "-"),
        ("root=signed+erofs", "root=signed+ext4"),
        ("root=signed+growfs-on", "root=signed+growfs-off"),
        ("=unprotected", "=absent"),
        ("root-verity-sig=unprotected+unused+growfs-on", "root-verity-sig=unprotected+growfs-off"),
    ] {
        let [first, second] = [first, second].map(|text| Policy::parse(text).unwrap());
        assert_eq!(first.intersect(&second).unwrap_err().code(), "policy-disjoint");
    }
}

/// An EROFS with a release file, under a hash tree that a new key signs.
#[cfg(all(feature = "openssl", feature = "read-fs"))]
mod with_real_keys {
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
        assert_eq!(signer.fingerprint, key.certificate_fingerprint());
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
        tree.add_file("lib/extension-release.d/extension-release.app", "ID=_any\n", Meta::new(0o644))
            .unwrap();
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
}

/// Random policies, mostly about what the samples have.
fn policies() -> impl Strategy<Value = String> {
    let words = prop::sample::subsequence(
        vec![
            "verity",
            "signed",
            "unprotected",
            "absent",
            "unused",
            "encrypted",
            "erofs",
            "ext4",
            "read-only-on",
            "read-only-off",
            "growfs-off",
        ],
        1..8,
    );
    let name =
        prop::sample::select(vec!["root", "root", "usr", "home", "root-verity", "root-verity-sig", ""]);
    prop::collection::btree_map(name, words, 0..4).prop_map(|rules| {
        let rules = rules.into_iter().map(|(name, words)| format!("{name}={}", words.join("+")));
        rules.collect::<Vec<_>>().join(":")
    })
}

/// Images of every kind of protection, with and without a partition that is not used.
static IMAGES: LazyLock<Vec<Image<Vec<u8>>>> = LazyLock::new(|| {
    let home = Part::new(Designator::Home, None, sample::erofs());
    let writable = Part { attributes: Attributes::GROWFS, ..signed()[0].clone() };
    let with_home = [signed(), vec![home]].concat();
    vec![
        bare(),
        open(&[writable]),
        open(&signed()[..1]),
        open(&signed()[..2]),
        open(&signed()),
        open(&with_home),
    ]
});

/// What a policy says to each of [`IMAGES`].
fn verdicts(policy: &Policy, trust: Option<&Trust>) -> Vec<&'static str> {
    let verifier = trust.map(|trust| -> &dyn Verifier { trust });
    let judged = IMAGES.iter().map(|image| policy.judge(image.clone(), verifier));
    judged
        .map(|judged| judged.map_or_else(|error| error.code(), |yes| yes.evidence().protection().as_str()))
        .collect()
}

/// Which of [`IMAGES`] a policy admits.
fn admitted(policy: &Policy, trust: Option<&Trust>) -> Vec<bool> {
    let admitted = |verdict| ["none", "verity", "signed"].contains(&verdict);
    verdicts(policy, trust).into_iter().map(admitted).collect()
}

fn trusts() -> [Option<Trust>; 3] {
    [None, Some(Trust(true)), Some(Trust(false))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_printed_is_parsed_to_the_same(text in policies()) {
        let policy = Policy::parse(&text).unwrap();
        prop_assert_eq!(&Policy::parse(&policy.to_string()).unwrap(), &policy);
        if let Ok(both) = policy.intersect(&policy) {
            prop_assert_eq!(&Policy::parse(&both.to_string()).unwrap(), &both);
        }
    }

    #[test]
    fn any_text_parses_or_is_refused(text in "[a-z=:+*~ -]{0,40}|.{0,40}") {
        match Policy::parse(&text) {
            Ok(policy) => prop_assert_eq!(&Policy::parse(&policy.to_string()).unwrap(), &policy),
            Err(error) => prop_assert!(error.code().starts_with("policy-")),
        }
    }

    #[test]
    fn acceptance_is_monotone_in_protection(text in policies()) {
        let policy = Policy::parse(&text).unwrap();
        for designator in [Designator::Root, Designator::Usr, Designator::Home] {
            let admits = [Protection::None, Protection::Verity, Protection::Signed]
                .map(|protection| policy.admits(designator, protection));
            prop_assert!(admits.is_sorted(), "{} {:?}", text, admits);
        }
    }

    #[test]
    fn an_intersection_admits_what_both_admit_and_a_union_what_either_does(first in policies(), second in policies()) {
        let [one, other] = [&first, &second].map(|text| Policy::parse(text).unwrap());
        let (both, either) = (one.intersect(&other), one.union(&other));
        for trust in trusts() {
            let of = |policy: &Policy| admitted(policy, trust.as_ref());
            let (by_one, by_other, by_either) = (of(&one), of(&other), of(&either));
            let by_both = both.as_ref().map_or_else(|_| vec![false; IMAGES.len()], of);
            for at in 0..IMAGES.len() {
                prop_assert_eq!(by_both[at], by_one[at] && by_other[at], "{} and {}, image {}", first, second, at);
                prop_assert!(by_either[at] || !by_one[at] && !by_other[at], "{} or {}, image {}", first, second, at);
            }
            if one.is_as_strict_as(&other) {
                prop_assert!(by_one.iter().zip(&by_other).all(|(one, other)| *other || !one), "{} < {}", first, second);
            }
        }
    }

    #[test]
    fn the_shortest_form_has_the_same_verdicts(text in policies()) {
        let policy = Policy::parse(&text).unwrap();
        let short = policy.simplify();
        for trust in trusts() {
            prop_assert_eq!(verdicts(&policy, trust.as_ref()), verdicts(&short, trust.as_ref()), "{}: {}", policy, short);
        }
    }

    #[test]
    fn nothing_unprotected_without_the_word(text in policies()) {
        let policy = Policy::parse(&text).unwrap();
        for image in IMAGES.iter().cloned() {
            let designator = image.data().designator;
            if let Ok(admitted) = policy.judge(image, Some(&Trust(true)))
                && admitted.evidence().protection() == Protection::None
            {
                prop_assert!(policy.judged(designator).contains(Flags::UNPROTECTED), "{}", text);
            }
        }
    }
}
