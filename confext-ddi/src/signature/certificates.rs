//! Checking signatures against a set of certificates.

use super::{Fingerprint, SignedData, Signer, Time, Verifier};
use crate::digest::RootHash;
use crate::error::{Corrupt, Error, Result, ResultExt as _, Unsupported, Unverified};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkcs7::{Pkcs7, Pkcs7Flags};
use openssl::pkey::{HasPublic, Id, PKeyRef};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Name, X509NameRef};

/// The fewest bits an RSA key may have.
const RSA_BITS: u32 = 2048;
/// The fewest bits an EC key may have.
const EC_BITS: u32 = 256;
/// Characters of a name that messages show.
const NAME_CHARS: usize = 200;

/// A set of certificates whose signatures count.
///
/// A signature checks when the certificate it names, by issuer and serial number, is in this set, its key made the
/// signature, and its validity holds at the moment given. Nothing else counts: no certificate that the signature
/// itself carries, no chain to an authority, no key usage. Each certificate here is trusted for itself.
///
/// Where several certificates of the set have the issuer and serial number that the signature names, each is tried.
#[derive(Debug, Clone)]
pub struct Certificates {
    now: Time,
    set: Vec<Certificate>,
}

/// A certificate and what was read from it.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub(super) x509: X509,
    pub(super) subject: String,
    pub(super) fingerprint: Fingerprint,
    not_before: Time,
    not_after: Time,
}

/// A failure of OpenSSL that no input explains.
pub(super) fn internal(error: ErrorStack) -> Error {
    std::io::Error::other(error).into()
}

impl Certificates {
    /// The empty set, which accepts nothing. `now` is the moment at which certificates have to be valid.
    #[must_use]
    pub const fn new(now: Time) -> Self {
        Self { now, set: Vec::new() }
    }

    /// Adds the one certificate that a PEM text holds.
    ///
    /// A file with more than one is refused: whether the others are to be trusted, too, is not for us to guess. See
    /// [`Certificates::add_pem_bundle`].
    ///
    /// # Errors
    ///
    /// `certificate-pem`, `certificate-count`, `certificate-time`, `key-type`.
    pub fn add_pem(&mut self, pem: &[u8]) -> Result<()> {
        self.add(Certificate::from_pem(pem)?);
        Ok(())
    }

    /// Adds every certificate that a PEM text holds, and says how many there were.
    ///
    /// # Errors
    ///
    /// `certificate-pem`, `certificate-time`, `key-type`; then none was added.
    pub fn add_pem_bundle(&mut self, pem: &[u8]) -> Result<usize> {
        let found = parse_pem(pem)?.into_iter().map(Certificate::new).collect::<Result<Vec<_>>>()?;
        let count = found.len();
        found.into_iter().for_each(|certificate| self.add(certificate));
        Ok(count)
    }

    /// Adds a certificate in DER form.
    ///
    /// # Errors
    ///
    /// `certificate-der`, `certificate-time`, `key-type`.
    pub fn add_der(&mut self, der: &[u8]) -> Result<()> {
        let x509 = X509::from_der(der).map_err(|_| Corrupt::CertificateDer)?;
        // OpenSSL ignores what follows a certificate.
        if x509.to_der().map_err(internal)? != der {
            return Err(Corrupt::CertificateDer.into());
        }
        self.add(Certificate::new(x509)?);
        Ok(())
    }

    fn add(&mut self, certificate: Certificate) {
        if self.set.iter().all(|known| known.fingerprint != certificate.fingerprint) {
            self.set.push(certificate);
        }
    }

    /// How many different certificates there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    fn check(&self, root_hash: &RootHash, der: &[u8]) -> Result<Signer> {
        let form = SignedData::parse(der)?;
        if self.set.is_empty() {
            return Err(Unverified::NoCertificates.into());
        }
        let unreadable =
            |_| Unverified::SignatureDer { reason: "a certificate or name in it cannot be read" };
        let message = Pkcs7::from_der(der).map_err(unreadable)?;
        let mut refused: Option<Error> = None;
        for certificate in &self.set {
            // OpenSSL finds a certificate by issuer and serial number, but would let the issuer's letters change case.
            let alone = certificate.alone().map_err(internal)?;
            let issuer_der = certificate.x509.issuer_name().to_der().map_err(internal)?;
            if issuer_der != form.issuer_der || message.signers(&alone, Pkcs7Flags::NOINTERN).is_err() {
                continue;
            }
            let checked = signed_by(&message, &alone, root_hash).map_err(internal)?;
            let fault = match certificate.validity_fault(self.now) {
                _ if !checked => Unverified::SignatureMismatch { subject: certificate.subject.clone() },
                Some(fault) => fault,
                None => return Ok(certificate.signer()),
            };
            // Of two certificates with the same name, the one whose key made the signature says more.
            if checked || refused.is_none() {
                refused = Some(fault.into());
            }
        }
        Err(refused.unwrap_or_else(|| self.unknown_signer(&form)))
    }

    fn unknown_signer(&self, form: &SignedData<'_>) -> Error {
        let issuer = X509Name::from_der(form.issuer_der).map(|name| name_text(&name));
        let issuer = issuer.unwrap_or_else(|_| "unreadable".into());
        let serial = form.serial.iter().take(20).map(|byte| format!("{byte:02x}")).collect::<String>();
        let claims = format!("issuer {issuer}, serial number {serial}");
        Unverified::UnknownSigner { claims, trusted: self.set.len() }.into()
    }
}

impl Verifier for Certificates {
    fn verify(&self, root_hash: &RootHash, signature_der: &[u8]) -> Result<Signer> {
        self.check(root_hash, signature_der).within("signature")
    }
}

/// Whether the key of the one certificate in `alone` signed the root hash.
fn signed_by(
    message: &Pkcs7,
    alone: &Stack<X509>,
    root_hash: &RootHash,
) -> std::result::Result<bool, ErrorStack> {
    // The store stays empty: no chain is looked at (NOVERIFY), and the message's own certificates are not used
    // (NOINTERN).
    let store = X509StoreBuilder::new()?.build();
    let flags = Pkcs7Flags::BINARY | Pkcs7Flags::NOINTERN | Pkcs7Flags::NOVERIFY;
    Ok(message.verify(alone, &store, Some(root_hash.to_hex().as_bytes()), None, flags).is_ok())
}

impl Certificate {
    pub(super) fn new(x509: X509) -> Result<Self> {
        let key = x509.public_key().map_err(|_| Unsupported::KeyType { found: "an unknown kind".into() })?;
        check_key(&key)?;
        let digest = x509.digest(MessageDigest::sha256()).map_err(internal)?;
        let digest = <[u8; 32]>::try_from(&*digest).map_err(|_| Corrupt::CertificateDer)?;
        Ok(Self {
            subject: name_text(x509.subject_name()),
            fingerprint: Fingerprint::from_bytes(digest),
            not_before: unix_time(x509.not_before())?,
            not_after: unix_time(x509.not_after())?,
            x509,
        })
    }

    /// The one certificate that a PEM text holds.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self> {
        let mut found = parse_pem(pem)?;
        match (found.pop(), found.len()) {
            (Some(x509), 0) => Self::new(x509),
            (_, others) => Err(Corrupt::CertificateCount { found: others.saturating_add(1) }.into()),
        }
    }

    fn alone(&self) -> std::result::Result<Stack<X509>, ErrorStack> {
        let mut stack = Stack::new()?;
        stack.push(self.x509.clone())?;
        Ok(stack)
    }

    fn validity_fault(&self, now: Time) -> Option<Unverified> {
        let subject = || self.subject.clone();
        let expected = now.to_string();
        if now < self.not_before {
            let found = self.not_before.to_string();
            return Some(Unverified::CertificateNotYetValid { subject: subject(), found, expected });
        }
        let found = self.not_after.to_string();
        (now > self.not_after).then(|| Unverified::CertificateExpired { subject: subject(), found, expected })
    }

    fn signer(&self) -> Signer {
        Signer {
            subject: self.subject.clone(),
            fingerprint: self.fingerprint,
            not_before: self.not_before.as_unix(),
            not_after: self.not_after.as_unix(),
        }
    }
}

fn parse_pem(pem: &[u8]) -> Result<Vec<X509>> {
    let found = X509::stack_from_pem(pem).map_err(|_| Corrupt::CertificatePem)?;
    if found.is_empty() { Err(Corrupt::CertificatePem.into()) } else { Ok(found) }
}

/// Refuses keys that cannot make signatures of our form, and weak ones.
pub(super) fn check_key<T: HasPublic>(key: &PKeyRef<T>) -> Result<()> {
    let found = match key.id() {
        Id::EC if key.bits() >= EC_BITS => return Ok(()),
        Id::EC => format!("EC of {} bits", key.bits()),
        Id::RSA if key.bits() >= RSA_BITS => return Ok(()),
        Id::RSA => format!("RSA of {} bits", key.bits()),
        Id::ED25519 => "Ed25519".into(),
        Id::ED448 => "Ed448".into(),
        Id::DSA => "DSA".into(),
        other => format!("OpenSSL's kind {}", other.as_raw()),
    };
    Err(Unsupported::KeyType { found }.into())
}

fn unix_time(time: &Asn1TimeRef) -> Result<Time> {
    let since =
        Asn1Time::from_unix(0).and_then(|epoch| epoch.diff(time)).map_err(|_| Corrupt::CertificateTime)?;
    let days = i64::from(since.days).checked_mul(86_400);
    let seconds = days.and_then(|seconds| seconds.checked_add(i64::from(since.secs)));
    Ok(Time::from_unix(seconds.ok_or(Corrupt::CertificateTime)?))
}

/// A name on one line, like `O=Vendor, CN=images`, with whatever could confuse its reader escaped.
pub(super) fn name_text(name: &X509NameRef) -> String {
    let mut text = String::new();
    for entry in name.entries() {
        if !text.is_empty() {
            text.push_str(", ");
        }
        let kind = entry.object().nid();
        match kind.short_name() {
            Ok(kind) if kind != "UNDEF" => text.push_str(kind),
            _ => text.push_str(&entry.object().to_string()),
        }
        text.push('=');
        let value = entry.data().to_string().unwrap_or_else(|_| const_hex::encode(entry.data().as_slice()));
        for character in value.chars() {
            match character {
                ',' | '+' | '=' | '"' | '\\' | '<' | '>' | ';' => text.extend(['\\', character]),
                _ if character.is_control() || is_bidi(character) => text.extend(character.escape_unicode()),
                _ => text.push(character),
            }
        }
    }
    if text.chars().nth(NAME_CHARS).is_some() {
        text = text.chars().take(NAME_CHARS).chain(['…']).collect();
    }
    text
}

/// Characters that make a terminal show text in another order than it is written.
const fn is_bidi(character: char) -> bool {
    matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::super::{Embed, KeyPair, Sign as _};
    use super::*;
    use openssl::asn1::Asn1Integer;
    use openssl::bn::BigNum;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::Rsa;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    const START: Time = Time::from_unix(1_700_000_000);
    const NOW: Time = Time::from_unix(1_700_000_000 + 3 * 86_400);
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

    /// A self-signed certificate of any key, by OpenSSL alone.
    fn certify(key: &PKey<Private>, subject: &str, serial: u32, days: (i64, i64)) -> Vec<u8> {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, subject).unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(serial).and_then(|serial| Asn1Integer::from_bn(&serial)).unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        let day = |day: i64| Asn1Time::from_unix(START.as_unix() + day * 86_400).unwrap();
        builder.set_not_before(&day(days.0)).unwrap();
        builder.set_not_after(&day(days.1)).unwrap();
        builder.set_pubkey(key).unwrap();
        let digest =
            if matches!(key.id(), Id::ED25519) { MessageDigest::null() } else { MessageDigest::sha256() };
        builder.sign(key, digest).unwrap();
        builder.build().to_pem().unwrap()
    }

    fn pair(key: &PKey<Private>, certificate_pem: &[u8]) -> Result<KeyPair> {
        KeyPair::from_pem(&key.private_key_to_pem_pkcs8().unwrap(), certificate_pem)
    }

    fn ec_key(curve: Nid) -> PKey<Private> {
        let group = EcGroup::from_curve_name(curve).unwrap();
        EcKey::generate(&group).and_then(PKey::from_ec_key).unwrap()
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
            assert_eq!(signer.fingerprint, VENDOR.certificate_fingerprint());
            assert_eq!(signer.not_before, START.as_unix());
            assert_eq!(signer.not_after, START.as_unix() + 10 * 86_400);
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
        for curve in [Nid::X9_62_PRIME256V1, Nid::SECP384R1, Nid::SECP521R1] {
            let key = ec_key(curve);
            let pair = pair(&key, &certify(&key, "ec", 5, (0, 10))).unwrap();
            let signature = pair.sign(&ROOT).unwrap();
            assert_eq!(trusting(NOW, &[&pair]).verify(&ROOT, &signature).unwrap().subject, "CN=ec");
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
            assert_eq!(signer.fingerprint, theirs.certificate_fingerprint());
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
        assert_eq!(
            trusting(late, &[&VENDOR]).verify(&ROOT, &wrong).unwrap_err().code(),
            "signature-mismatch"
        );
    }

    #[test]
    fn a_renewed_certificate_of_the_same_name_counts() {
        let key = ec_key(Nid::X9_62_PRIME256V1);
        let old = pair(&key, &certify(&key, "vendor", 7, (-10, -1))).unwrap();
        let new = pair(&key, &certify(&key, "vendor", 7, (0, 10))).unwrap();
        for pairs in [[&old, &new], [&new, &old]] {
            let signer = trusting(NOW, &pairs).verify(&ROOT, &old.sign(&ROOT).unwrap()).unwrap();
            assert_eq!(signer.fingerprint, new.certificate_fingerprint());
        }
        let error = trusting(NOW, &[&old]).verify(&ROOT, &old.sign(&ROOT).unwrap()).unwrap_err();
        assert_eq!(error.code(), "certificate-expired");
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
    fn keys_that_cannot_sign_images_are_refused() {
        let short = Rsa::generate(1024).and_then(PKey::from_rsa).unwrap();
        for key in [short, PKey::generate_ed25519().unwrap(), ec_key(Nid::SECP224R1)] {
            let certificate = certify(&key, "weak", 1, (0, 10));
            assert_eq!(pair(&key, &certificate).unwrap_err().code(), "key-type");
            assert_eq!(Certificates::new(NOW).add_pem(&certificate).unwrap_err().code(), "key-type");
        }
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
                    prop_assert_eq!(signer.fingerprint, VENDOR.certificate_fingerprint());
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
}
