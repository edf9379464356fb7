use super::super::sample::{START, certify, ec_key, pair};
use super::super::{Certificates, KeyPair, RemoteKey, Sign as _, Verifier as _};
use super::*;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer as RawSigner;
use openssl::x509::X509Name;
use std::sync::LazyLock;

const ROOT: RootHash = RootHash::from_bytes([0xa5; 32]);
const OTHER_ROOT: RootHash = RootHash::from_bytes([0xa6; 32]);

static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate("vendor", START, 10).unwrap());

/// The private key and the certificate of a pair.
fn parts(pair: &KeyPair) -> (PKey<Private>, Certificate) {
    let key = PKey::private_key_from_pem(&pair.private_key_pem().unwrap()).unwrap();
    (key, pair.certificate().clone())
}

fn ec(curve: Nid) -> KeyPair {
    let key = ec_key(curve);
    pair(&key, &certify(&key, "ec", 5, (0, 10))).unwrap()
}

fn raw(key: &PKey<Private>, digest: DigestAlgorithm, root_hash: &RootHash) -> Vec<u8> {
    let mut signer = RawSigner::new(message_digest(digest), key).unwrap();
    signer.sign_oneshot_to_vec(root_hash.to_hex().as_bytes()).unwrap()
}

/// r and s one behind the other.
fn side_by_side(der: &[u8], bytes: i32) -> Vec<u8> {
    let signature = EcdsaSig::from_der(der).unwrap();
    [signature.r().to_vec_padded(bytes).unwrap(), signature.s().to_vec_padded(bytes).unwrap()].concat()
}

#[test]
fn raw_signatures_become_messages() {
    for (pair, bytes) in
        [(RSA.clone(), None), (ec(Nid::X9_62_PRIME256V1), Some(32)), (ec(Nid::SECP384R1), Some(48))]
    {
        let (key, certificate) = parts(&pair);
        let mut trusted = Certificates::new(START);
        trusted.add(certificate.clone());
        for digest in DigestAlgorithm::ALL {
            let signature = raw(&key, digest, &ROOT);
            let plain = bytes.map(|bytes| side_by_side(&signature, bytes));
            for raw in [Some(signature.clone()), plain].into_iter().flatten() {
                for embed in [Embed::Certificate, Embed::Nothing] {
                    let message = certificate.complete(&ROOT, &raw, embed).unwrap();
                    let form = SignedData::parse(&message).unwrap();
                    assert_eq!((form.digest, form.algorithm), (digest, certificate.algorithm()));
                    assert_eq!(form.signature, signature);
                    assert_eq!(
                        trusted.verify(&ROOT, &message).unwrap(),
                        certificate.signer(TrustSource::Caller)
                    );
                    assert_eq!(certificate.complete(&ROOT, &message, Embed::Nothing).unwrap(), message);
                }
            }
        }
    }
}

#[test]
fn signatures_that_do_not_check_are_refused() {
    let (key, certificate) = parts(&RSA);
    let code = |signature: &[u8]| {
        let error = certificate.complete(&ROOT, signature, Embed::Nothing).unwrap_err();
        assert_eq!(
            (error.family(), error.path().split('/').next()),
            ("unverified", Some("signature")),
            "{error}"
        );
        error.code()
    };
    let good = raw(&key, DigestAlgorithm::Sha256, &ROOT);
    assert_eq!(code(&raw(&key, DigestAlgorithm::Sha256, &OTHER_ROOT)), "signature-not-of-key");
    assert_eq!(code(&good[1..]), "signature-not-of-key");
    assert_eq!(code(&[&good[..], &[0]].concat()), "signature-not-of-key");
    assert_eq!(code(&[]), "signature-not-of-key");
    // Over the root hash's bytes, over the text with a line break, with another digest, with another padding.
    let mut signer = RawSigner::new(MessageDigest::sha256(), &key).unwrap();
    assert_eq!(code(&signer.sign_oneshot_to_vec(ROOT.as_bytes()).unwrap()), "signature-not-of-key");
    let mut signer = RawSigner::new(MessageDigest::sha256(), &key).unwrap();
    let line = format!("{ROOT}\n");
    assert_eq!(code(&signer.sign_oneshot_to_vec(line.as_bytes()).unwrap()), "signature-not-of-key");
    let mut signer = RawSigner::new(MessageDigest::sha1(), &key).unwrap();
    assert_eq!(code(&signer.sign_oneshot_to_vec(ROOT.to_hex().as_bytes()).unwrap()), "signature-not-of-key");
    let mut signer = RawSigner::new(MessageDigest::sha256(), &key).unwrap();
    signer.set_rsa_padding(openssl::rsa::Padding::PKCS1_PSS).unwrap();
    assert_eq!(code(&signer.sign_oneshot_to_vec(ROOT.to_hex().as_bytes()).unwrap()), "signature-not-of-key");

    assert_eq!(code(&RSA.sign(&OTHER_ROOT).unwrap()), "signature-mismatch");
    assert_eq!(code(&ec(Nid::X9_62_PRIME256V1).sign(&ROOT).unwrap()), "unknown-signer");
    let message = RSA.sign(&ROOT).unwrap();
    assert_eq!(code(&[&message[..], &[0]].concat()), "signature-trailing");

    // Of an EC key: zeros, and r and s the wrong way round.
    let pair = ec(Nid::X9_62_PRIME256V1);
    let (key, certificate) = parts(&pair);
    let mut swapped = side_by_side(&raw(&key, DigestAlgorithm::Sha256, &ROOT), 32);
    swapped.rotate_left(32);
    for wrong in [swapped, vec![0; 64], vec![0xff; 64], good] {
        let error = certificate.complete(&ROOT, &wrong, Embed::Nothing).unwrap_err();
        assert_eq!(error.code(), "signature-not-of-key");
        assert!(error.to_string().contains("expected ECDSA on P-256 (DER, or 64 bytes)"), "{error}");
    }
}

#[test]
fn a_key_elsewhere_signs_like_one_at_hand() {
    let (key, certificate) = parts(&RSA);
    for digest in DigestAlgorithm::ALL {
        let remote = RemoteKey::new(certificate.clone(), |to_sign: &ToSign, digest| {
            assert_eq!(to_sign.content(), ROOT.to_hex());
            Ok(raw(&key, digest, &ROOT))
        });
        let here = RSA.clone().digest(digest);
        assert_eq!(remote.clone().digest(digest).sign(&ROOT).unwrap(), here.sign(&ROOT).unwrap());
        assert_eq!(
            remote.digest(digest).embed(Embed::Nothing).sign(&ROOT).unwrap(),
            here.embed(Embed::Nothing).sign(&ROOT).unwrap()
        );
    }
    let wrong = RemoteKey::new(certificate.clone(), |_: &ToSign, _| Ok(vec![1; 256]));
    assert_eq!(wrong.sign(&ROOT).unwrap_err().code(), "signature-not-of-key");
    let failing =
        RemoteKey::new(certificate, |_: &ToSign, _| Err(std::io::Error::other("the token is gone").into()));
    let error = failing.sign(&ROOT).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the token is gone");
}

#[test]
fn other_keys_are_refused() {
    let short = Rsa::generate(1024).and_then(PKey::from_rsa).unwrap();
    let found = |key: &PKey<Private>| {
        let certificate = certify(key, "weak", 1, (0, 10));
        assert_eq!(pair(key, &certificate).unwrap_err().code(), "key-type");
        let error = Certificate::from_pem(&certificate).unwrap_err();
        assert_eq!(error.code(), "key-type");
        error.to_string()
    };
    assert!(found(&short).contains("RSA of 1024 bits"));
    assert!(found(&PKey::generate_ed25519().unwrap()).contains("Ed25519"));
    assert!(found(&ec_key(Nid::SECP224R1)).contains("EC on secp224r1"));
    assert!(found(&ec_key(Nid::SECP521R1)).contains("EC on secp521r1"));
    assert!(found(&ec_key(Nid::SECP256K1)).contains("EC on secp256k1"));

    let rsa = |bits: usize| {
        let mut modulus = vec![0xff; bits / 8];
        modulus[0] = 0x80;
        let (n, e) = (BigNum::from_slice(&modulus).unwrap(), BigNum::from_u32(65_537).unwrap());
        let key = Rsa::from_public_components(n, e).and_then(PKey::from_rsa).unwrap();
        check_key(&key).map_err(|error| error.code())
    };
    for bits in [2048, 3072, 4096] {
        assert_eq!(rsa(bits), Ok(SignatureAlgorithm::Rsa), "{bits}");
    }
    for bits in [1024, 2040, 4104, 8192] {
        assert_eq!(rsa(bits), Err("key-type"), "{bits}");
    }
}

#[test]
fn a_certificate_says_who_it_is() {
    let certificate = RSA.certificate();
    assert_eq!(certificate.subject(), "CN=vendor");
    assert_eq!(certificate.validity(), (START, START.after_days(10).unwrap()));
    let again = Certificate::from_der(&certificate.to_der().unwrap()).unwrap();
    assert_eq!(again.fingerprint(), certificate.fingerprint());
    let again = Certificate::from_pem(&certificate.to_pem().unwrap()).unwrap();
    assert_eq!(again.signer(TrustSource::Caller), certificate.signer(TrustSource::Caller));
}

#[test]
fn names_cannot_confuse_their_reader() {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::ORGANIZATIONNAME, "a, CN=b\n\u{202e}é").unwrap();
    name.append_entry_by_text("CN", &"x".repeat(64)).unwrap();
    let text = name_text(&name.build());
    assert_eq!(text, format!("O=a\\, CN\\=b\\u{{a}}\\u{{202e}}é, CN={}", "x".repeat(64)));
    let mut long = X509Name::builder().unwrap();
    for _ in 0..10 {
        long.append_entry_by_nid(Nid::COMMONNAME, &"y".repeat(64)).unwrap();
    }
    assert_eq!(name_text(&long.build()).chars().count(), NAME_CHARS + 1);
}
