use super::super::sample::{START, certify, ec_key, issue, pair};
use super::super::{Embed, KeyPair, Sign as _, SignatureAlgorithm};
use super::*;
use openssl::asn1::{Asn1Object, Asn1OctetString};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use openssl::x509::{X509, X509Extension};
use proptest::prelude::*;
use std::sync::LazyLock;

const NOW: Time = Time::from_unix(START.as_unix() + 3 * 86_400);
const ROOT: RootHash = RootHash::from_bytes([0xa5; 32]);

static VENDOR: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate("vendor", START, 10).unwrap());
static OTHER: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate("other", START, 10).unwrap());

fn trusting(now: Time, pairs: &[&KeyPair]) -> Certificates {
    let mut set = Certificates::new(now);
    for pair in pairs {
        set.add_pem(&pair.certificate_pem().unwrap()).unwrap();
    }
    set
}

/// A message by VENDOR over any content, with any flags.
fn message(content: &[u8], flags: Pkcs7Flags) -> Vec<u8> {
    let key = PKey::private_key_from_pem(&VENDOR.private_key_pem().unwrap()).unwrap();
    let x509 = X509::from_pem(&VENDOR.certificate_pem().unwrap()).unwrap();
    let message = Pkcs7::sign(&x509, &key, &Stack::new().unwrap(), content, flags).unwrap();
    message.to_der().unwrap()
}

#[test]
fn a_signature_names_its_signer() {
    let set = trusting(NOW, &[&OTHER, &VENDOR]);
    for embed in [Embed::Certificate, Embed::Nothing] {
        let pair = VENDOR.clone().embed(embed);
        let signer = set.verify(&ROOT, &pair.sign(&ROOT).unwrap()).unwrap();
        assert_eq!(signer.subject, "CN=vendor");
        assert_eq!(signer.fingerprint, Some(VENDOR.certificate_fingerprint()));
        assert_eq!(signer.not_before, Some(START.as_unix()));
        assert_eq!(signer.not_after, Some(START.as_unix() + 10 * 86_400));
    }
    let embedded = VENDOR.sign(&ROOT).unwrap();
    let certificate = VENDOR.certificate_der().unwrap();
    assert!(embedded.windows(certificate.len()).any(|window| window == certificate));
    assert_eq!(
        VENDOR.certificate_fingerprint().as_bytes(),
        &crate::digest::sha256(&[&VENDOR.certificate_der().unwrap()])
    );
}

#[test]
fn ec_keys_sign_too() {
    for curve in [Nid::X9_62_PRIME256V1, Nid::SECP384R1] {
        let key = ec_key(curve);
        let pair = pair(&key, &certify(&key, "ec", 5, (0, 10))).unwrap();
        let signature = pair.sign(&ROOT).unwrap();
        assert_eq!(trusting(NOW, &[&pair]).verify(&ROOT, &signature).unwrap().subject, "CN=ec");
        // What names itself RSA is not checked as ECDSA.
        let form =
            SignedData { algorithm: SignatureAlgorithm::Rsa, ..SignedData::parse(&signature).unwrap() };
        let error = trusting(NOW, &[&pair]).verify(&ROOT, &form.to_der(&[])).unwrap_err();
        assert_eq!(error.code(), "signature-mismatch");
    }
}

#[test]
fn each_refusal_has_its_code() {
    let set = trusting(NOW, &[&VENDOR]);
    let hex = ROOT.to_hex();
    let form = Pkcs7Flags::BINARY | Pkcs7Flags::DETACHED | Pkcs7Flags::NOATTR;
    let good = message(hex.as_bytes(), form);
    assert!(set.verify(&ROOT, &good).is_ok());
    let other_root = RootHash::from_bytes([0xa6; 32]);
    let table: Vec<(Vec<u8>, &str)> = vec![
        (VENDOR.sign(&other_root).unwrap(), "signature-mismatch"),
        (message(ROOT.as_bytes(), form), "signature-mismatch"),
        (message(hex.to_uppercase().as_bytes(), form), "signature-mismatch"),
        (message(format!("{hex}\n").as_bytes(), form), "signature-mismatch"),
        (message(b"", form), "signature-mismatch"),
        (OTHER.sign(&ROOT).unwrap(), "unknown-signer"),
        (message(hex.as_bytes(), Pkcs7Flags::BINARY | Pkcs7Flags::DETACHED), "signature-attributes"),
        (message(hex.as_bytes(), Pkcs7Flags::BINARY | Pkcs7Flags::NOATTR), "signature-attached"),
        ([&good[..], &[0]].concat(), "signature-trailing"),
        (good[..good.len() - 1].to_vec(), "signature-der"),
        (vec![], "signature-der"),
        (b"junk".to_vec(), "signature-der"),
        (VENDOR.certificate_der().unwrap(), "signature-der"),
        (vec![0x30; SignedData::MAX_BYTES + 1], "signature-size"),
    ];
    for (at, (der, code)) in table.into_iter().enumerate() {
        let Err(error) = set.verify(&ROOT, &der) else { panic!("row {at} was accepted") };
        assert_eq!((error.code(), error.family()), (code, "unverified"), "row {at}: {error}");
    }
    assert_eq!(Certificates::new(NOW).verify(&ROOT, &good).unwrap_err().code(), "no-certificates");
}

#[test]
fn an_unknown_signer_is_only_claimed() {
    let error = trusting(NOW, &[&VENDOR]).verify(&ROOT, &OTHER.sign(&ROOT).unwrap()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("claims issuer CN=other, serial number"), "{text}");
    assert!(text.contains("none of 1 trusted certificates"), "{text}");
}

/// Whoever copies issuer and serial number of a trusted certificate still lacks its key.
#[test]
fn a_certificate_of_the_same_name_does_not_help() {
    let (ours, theirs) = (ec_key(Nid::X9_62_PRIME256V1), ec_key(Nid::X9_62_PRIME256V1));
    let ours = pair(&ours, &certify(&ours, "vendor", 7, (0, 10))).unwrap();
    let theirs = pair(&theirs, &certify(&theirs, "vendor", 7, (0, 10))).unwrap();
    let forged = theirs.sign(&ROOT).unwrap();
    let error = trusting(NOW, &[&ours]).verify(&ROOT, &forged).unwrap_err();
    assert_eq!(error.code(), "signature-mismatch");
    // With both in the set, the one whose key signed is found, whatever the order.
    for pairs in [[&ours, &theirs], [&theirs, &ours]] {
        let signer = trusting(NOW, &pairs).verify(&ROOT, &forged).unwrap();
        assert_eq!(signer.fingerprint, Some(theirs.certificate_fingerprint()));
    }
}

#[test]
fn validity_is_checked_at_the_moment_given() {
    let signature = VENDOR.sign(&ROOT).unwrap();
    let at = |seconds: i64| {
        let now = Time::from_unix(START.as_unix() + seconds);
        trusting(now, &[&VENDOR]).verify(&ROOT, &signature).map(|signer| signer.subject)
    };
    let end = 10 * 86_400;
    assert!(at(0).is_ok() && at(end).is_ok());
    assert_eq!(at(-1).unwrap_err().code(), "certificate-not-yet-valid");
    let error = at(end + 1).unwrap_err();
    assert_eq!(error.code(), "certificate-expired");
    assert_eq!(
        error.to_string(),
        "signature: certificate CN=vendor has expired: found end of validity 2023-11-24T22:13:20Z, \
         expected 2023-11-24T22:13:21Z or later"
    );
    // A signature that does not check is never excused by a date.
    let late = Time::from_unix(START.as_unix() + end + 1);
    let wrong = VENDOR.sign(&RootHash::from_bytes([0; 32])).unwrap();
    assert_eq!(trusting(late, &[&VENDOR]).verify(&ROOT, &wrong).unwrap_err().code(), "signature-mismatch");
}

#[test]
fn a_renewed_certificate_of_the_same_name_counts() {
    let key = ec_key(Nid::X9_62_PRIME256V1);
    let old = pair(&key, &certify(&key, "vendor", 7, (-10, -1))).unwrap();
    let new = pair(&key, &certify(&key, "vendor", 7, (0, 10))).unwrap();
    for pairs in [[&old, &new], [&new, &old]] {
        let signer = trusting(NOW, &pairs).verify(&ROOT, &old.sign(&ROOT).unwrap()).unwrap();
        assert_eq!(signer.fingerprint, Some(new.certificate_fingerprint()));
    }
    let error = trusting(NOW, &[&old]).verify(&ROOT, &old.sign(&ROOT).unwrap()).unwrap_err();
    assert_eq!(error.code(), "certificate-expired");
}

fn usage(name: &str) -> X509Extension {
    let mut usage = KeyUsage::new();
    match name {
        "digital signature" => usage.digital_signature(),
        "certificates" => usage.key_cert_sign(),
        _ => usage.key_encipherment(),
    };
    usage.critical().build().unwrap()
}

fn purpose(name: &str) -> X509Extension {
    ExtendedKeyUsage::new().other(name).build().unwrap()
}

fn authority() -> X509Extension {
    BasicConstraints::new().critical().ca().build().unwrap()
}

#[test]
fn what_a_certificate_is_for_counts() {
    let key = ec_key(Nid::X9_62_PRIME256V1);
    let judge = |extensions: &[X509Extension], rules: &str| {
        let x509 = issue(&key, "vendor", (3, (0, 10)), None, extensions);
        let pair = pair(&key, &x509.to_pem().unwrap()).unwrap();
        let set = trusting(NOW, &[&pair]).rules(rules.parse().unwrap());
        set.verify(&ROOT, &pair.sign(&ROOT).unwrap()).map_or_else(|error| error.code(), |_| "accepted")
    };
    // Extensions · by default · usage=required
    let unknown = || {
        let value = Asn1OctetString::new_from_bytes(b"x").unwrap();
        X509Extension::new_from_der(&Asn1Object::from_str("1.2.3.4").unwrap(), true, &value).unwrap()
    };
    let table = [
        (vec![], "accepted", "certificate-usage"),
        (vec![authority()], "accepted", "certificate-usage"),
        (vec![usage("digital signature")], "accepted", "certificate-usage"),
        (vec![purpose("codeSigning")], "accepted", "certificate-usage"),
        (vec![usage("digital signature"), purpose("codeSigning")], "accepted", "accepted"),
        (vec![usage("digital signature"), purpose("anyExtendedKeyUsage")], "accepted", "accepted"),
        (vec![usage("other")], "certificate-usage", "certificate-usage"),
        (vec![usage("certificates"), authority()], "certificate-usage", "certificate-usage"),
        (vec![purpose("serverAuth")], "certificate-usage", "certificate-usage"),
        (vec![usage("other"), purpose("codeSigning")], "certificate-usage", "certificate-usage"),
        (vec![unknown()], "certificate-extension", "certificate-extension"),
    ];
    for (at, (extensions, by_default, required)) in table.into_iter().enumerate() {
        assert_eq!(judge(&extensions, ""), by_default, "row {at}");
        assert_eq!(judge(&extensions, "usage=required"), required, "row {at}");
        assert_eq!(judge(&extensions, "usage=ignored"), "accepted", "row {at}");
    }
}

#[test]
fn d21_validity_counts_unless_said_otherwise() {
    let end = START.after_days(11).unwrap();
    let signature = VENDOR.sign(&ROOT).unwrap();
    let judge =
        |rules: &str| trusting(end, &[&VENDOR]).rules(rules.parse().unwrap()).verify(&ROOT, &signature);
    assert_eq!(judge("").unwrap_err().code(), "certificate-expired");
    assert_eq!(judge("validity=ignored").unwrap().subject, "CN=vendor");
}

/// An authority, a signer it issued, and what becomes of that signer's signature.
struct Issued {
    authority: X509,
    authority_key: PKey<Private>,
    key: PKey<Private>,
}

impl Issued {
    fn new(days: (i64, i64), extensions: &[X509Extension]) -> Self {
        let authority_key = ec_key(Nid::SECP384R1);
        let authority = issue(&authority_key, "authority", (1, days), None, extensions);
        Self { authority, authority_key, key: ec_key(Nid::X9_62_PRIME256V1) }
    }

    fn usual() -> Self {
        Self::new((0, 10), &[authority(), usage("certificates")])
    }

    fn leaf(&self, days: (i64, i64), extensions: &[X509Extension]) -> KeyPair {
        let x509 =
            issue(&self.key, "signer", (2, days), Some((&self.authority, &self.authority_key)), extensions);
        pair(&self.key, &x509.to_pem().unwrap()).unwrap()
    }

    fn judge(&self, signer: &KeyPair, rules: &str) -> Result<Signer> {
        let mut set = Certificates::new(NOW).rules(rules.parse().unwrap());
        set.add(OTHER.certificate().clone());
        set.add_from(Certificate::new(self.authority.clone()).unwrap(), file("authority"));
        set.verify(&ROOT, &signer.sign(&ROOT).unwrap())
    }

    fn code(&self, signer: &KeyPair, rules: &str) -> &'static str {
        let error = self.judge(signer, rules).unwrap_err();
        assert_eq!(error.family(), "unverified", "{error}");
        error.code()
    }
}

fn file(path: &str) -> TrustSource {
    TrustSource::File { path: path.to_owned() }
}

#[test]
fn the_source_of_the_certificate_is_the_signers_and_the_first_one_counts() {
    let mut set = Certificates::new(NOW);
    set.add_from(VENDOR.certificate().clone(), file("first"));
    set.add(VENDOR.certificate().clone());
    set.add(OTHER.certificate().clone());
    let mut all = Certificates::new(NOW);
    all.add_from(OTHER.certificate().clone(), file("other"));
    all.add_all(&set);
    for (set, vendor, other) in
        [(&set, file("first"), TrustSource::Caller), (&all, file("first"), file("other"))]
    {
        assert_eq!(set.len(), 2);
        assert_eq!(set.verify(&ROOT, &VENDOR.sign(&ROOT).unwrap()).unwrap().source, vendor);
        assert_eq!(set.verify(&ROOT, &OTHER.sign(&ROOT).unwrap()).unwrap().source, other);
        assert_eq!(set.source(&VENDOR.certificate_fingerprint()), Some(&vendor));
    }
}

#[test]
fn an_authority_vouches_only_where_the_rules_say_so() {
    let chain = Issued::usual();
    let signer = chain.leaf((0, 10), &[]);
    assert_eq!(chain.code(&signer, ""), "unknown-signer");
    let found = chain.judge(&signer, "chain=issued").unwrap();
    assert_eq!(
        (found.subject.as_str(), found.fingerprint),
        ("CN=signer", Some(signer.certificate_fingerprint()))
    );
    assert_eq!(found.source, file("authority"), "who vouches is where the trust is from");
    // Without the certificate in the signature nobody knows who it is.
    assert_eq!(chain.code(&signer.clone().embed(Embed::Nothing), "chain=issued"), "unknown-signer");
    // What is pinned counts as before.
    let mut set = Certificates::new(NOW).rules("chain=issued".parse().unwrap());
    set.add(VENDOR.certificate().clone());
    assert!(set.verify(&ROOT, &VENDOR.sign(&ROOT).unwrap()).is_ok());
    assert_eq!(set.verify(&ROOT, &OTHER.sign(&ROOT).unwrap()).unwrap_err().code(), "certificate-chain");
    // One that looks the same and is by another key.
    let stranger = Issued::usual().leaf((0, 10), &[]);
    assert_eq!(chain.code(&stranger, "chain=issued"), "certificate-chain");
    let mut forged = chain.leaf((0, 10), &[]).sign(&RootHash::from_bytes([0; 32])).unwrap();
    let mut set = Certificates::new(NOW).rules("chain=issued".parse().unwrap());
    set.add_pem(&chain.authority.to_pem().unwrap()).unwrap();
    assert_eq!(set.verify(&ROOT, &forged).unwrap_err().code(), "signature-mismatch");
    forged.truncate(10);
    assert_eq!(set.verify(&ROOT, &forged).unwrap_err().code(), "signature-der");
}

#[test]
fn a_chain_has_two_links_and_both_hold() {
    let chain = Issued::usual();
    assert_eq!(chain.code(&chain.leaf((0, 2), &[]), "chain=issued"), "certificate-expired");
    assert!(chain.judge(&chain.leaf((0, 2), &[]), "chain=issued,validity=ignored").is_ok());
    assert_eq!(
        chain.code(&chain.leaf((0, 10), &[purpose("serverAuth")]), "chain=issued"),
        "certificate-usage"
    );
    assert_eq!(chain.code(&chain.leaf((0, 10), &[authority()]), "chain=issued"), "certificate-chain");

    for (days, extensions) in [
        ((0, 10), vec![]),
        ((0, 10), vec![usage("certificates")]),
        ((0, 10), vec![authority(), usage("digital signature")]),
        ((0, 2), vec![authority(), usage("certificates")]),
    ] {
        let chain = Issued::new(days, &extensions);
        assert_eq!(chain.code(&chain.leaf((0, 10), &[]), "chain=issued"), "certificate-chain", "{days:?}");
    }
    // An authority that itself was issued is trusted for itself; whom it issued an authority for is not.
    let middle_key = ec_key(Nid::X9_62_PRIME256V1);
    let issuer = Some((&chain.authority, &chain.authority_key));
    let middle = issue(&middle_key, "middle", (4, (0, 10)), issuer, &[authority()]);
    let below = Issued { authority: middle, authority_key: middle_key, key: ec_key(Nid::X9_62_PRIME256V1) };
    let signer = below.leaf((0, 10), &[]);
    assert!(below.judge(&signer, "chain=issued").is_ok());
    assert_eq!(chain.code(&signer, "chain=issued"), "certificate-chain");
}

#[test]
fn certificates_are_taken_one_by_one_or_as_a_bundle() {
    let (vendor, other) = (VENDOR.certificate_pem().unwrap(), OTHER.certificate_pem().unwrap());
    let both = [&vendor[..], b"# the other one\n", &other].concat();
    let mut set = Certificates::new(NOW);
    assert!(set.is_empty());
    assert_eq!(set.add_pem(&both).unwrap_err().code(), "certificate-count");
    assert_eq!(set.add_pem(b"").unwrap_err().code(), "certificate-pem");
    assert_eq!(set.add_pem(&VENDOR.private_key_pem().unwrap()).unwrap_err().code(), "certificate-pem");
    assert_eq!(set.add_pem(&vendor[..200]).unwrap_err().code(), "certificate-pem");
    assert_eq!(set.add_pem_bundle(b"none").unwrap_err().code(), "certificate-pem");
    assert!(set.is_empty());
    assert_eq!(set.add_pem_bundle(&both).unwrap(), 2);
    let der = VENDOR.certificate_der().unwrap();
    set.add_der(&der).unwrap();
    assert_eq!(set.len(), 2);
    assert_eq!(set.add_der(&[&der[..], &[0]].concat()).unwrap_err().code(), "certificate-der");
    assert_eq!(set.add_der(&der[1..]).unwrap_err().code(), "certificate-der");
}

#[test]
fn a_key_goes_with_its_certificate() {
    let (key, certificate) = (VENDOR.private_key_pem().unwrap(), VENDOR.certificate_pem().unwrap());
    let code = |key: &[u8], certificate: &[u8]| KeyPair::from_pem(key, certificate).unwrap_err().code();
    assert!(KeyPair::from_pem(&key, &certificate).is_ok());
    assert_eq!(code(&key, &OTHER.certificate_pem().unwrap()), "key-mismatch");
    assert_eq!(code(&certificate, &certificate), "key-pem");
    assert_eq!(code(b"", &certificate), "key-pem");
    assert_eq!(code(&key, &key), "certificate-pem");
    assert_eq!(code(&key, &[&certificate[..], &certificate].concat()), "certificate-count");
    let cipher = openssl::symm::Cipher::aes_128_cbc();
    let plain = PKey::private_key_from_pem(&key).unwrap();
    let encrypted = plain.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap();
    assert_eq!(code(&encrypted, &certificate), "key-encrypted");
    let traditional = plain.rsa().unwrap().private_key_to_pem_passphrase(cipher, b"secret").unwrap();
    assert_eq!(code(&traditional, &certificate), "key-encrypted");
}

#[test]
fn generated_pairs_are_checked() {
    let code = |subject: &str, start| KeyPair::generate(subject, start, 1).unwrap_err().code();
    assert_eq!(code("", START), "certificate-subject");
    assert_eq!(code(&"x".repeat(65), START), "certificate-subject");
    assert_eq!(code("x", Time::from_unix(i64::MAX)), "certificate-time");
    let debug = format!("{:?}", *VENDOR);
    assert!(debug.contains("CN=vendor") && !debug.contains("PRIVATE"), "{debug}");
}

#[test]
fn every_flipped_bit_of_a_bare_signature_is_refused() {
    let set = trusting(NOW, &[&VENDOR]);
    let der = VENDOR.clone().embed(Embed::Nothing).sign(&ROOT).unwrap();
    for at in 0..der.len() {
        for bit in 0..8 {
            let mut wrong = der.clone();
            wrong[at] ^= 1 << bit;
            let Err(error) = set.verify(&ROOT, &wrong) else { panic!("bit {bit} of byte {at} is free") };
            assert_eq!(error.family(), "unverified", "{at}: {error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The certificate that a signature carries counts for nothing: only there may a change go unnoticed.
    #[test]
    fn changed_signatures_never_panic_or_change_the_signer(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let set = trusting(NOW, &[&VENDOR]);
        let mut der = VENDOR.sign(&ROOT).unwrap();
        let certificate = VENDOR.certificate_der().unwrap();
        let start = der.windows(certificate.len()).position(|window| window == certificate).unwrap();
        let mut outside = false;
        for (at, byte) in changes {
            let at = at.index(der.len());
            outside |= der[at] != byte && !(start..start + certificate.len()).contains(&at);
            der[at] = byte;
        }
        match set.verify(&ROOT, &der) {
            Ok(signer) => {
                prop_assert!(!outside);
                prop_assert_eq!(signer.fingerprint, Some(VENDOR.certificate_fingerprint()));
            }
            Err(error) => prop_assert_eq!(error.family(), "unverified"),
        }
    }

    #[test]
    fn any_certificate_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut set = Certificates::new(NOW);
        prop_assert!(set.add_pem(&bytes).is_err() && set.add_der(&bytes).is_err());
    }
}
