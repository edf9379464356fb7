//! [`Certificate`]: one X.509 certificate, and what its key signed.

use super::public_key::PublicKey;
use super::x509::Fields;
use super::{
    CertificateRules, DigestAlgorithm, Embed, Fingerprint, SignatureAlgorithm, SignedData, Signer, Time,
    ToSign, TrustSource, Usage, Validity,
};
use crate::digest::RootHash;
use crate::error::{Corrupt, Error, Result, ResultExt as _, Unsupported, Unverified};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKeyRef};
use openssl::x509::{X509, X509NameRef, X509VerifyResult};

/// The bits an RSA key may have. Below is weak; above, the kernel (4096 bits) does not check signatures.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=4096;
/// Characters of a name that messages show.
const NAME_CHARS: usize = 200;

/// An X.509 certificate of a key that may sign images: RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384.
///
/// It says who a signer is. That the signer is trusted is for [`Certificates`](super::Certificates) to say.
///
/// ```
/// use confext_ddi::signature::{Certificate, KeyPair, Time};
///
/// let now = Time::from(std::time::SystemTime::now());
/// let certificate = Certificate::from_pem(&KeyPair::generate("vendor", now, 30)?.certificate_pem()?)?;
/// println!("{} {}", certificate.subject(), certificate.fingerprint());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(super) x509: X509,
    pub(super) der: Vec<u8>,
    key: PublicKey,
    fields: Fields,
    subject: String,
    fingerprint: Fingerprint,
    not_before: Time,
    not_after: Time,
}

/// A failure of OpenSSL that no input explains.
pub(super) fn internal(error: ErrorStack) -> Error {
    std::io::Error::other(error).into()
}

impl Certificate {
    pub(super) fn new(x509: X509) -> Result<Self> {
        let key = x509.public_key().map_err(|_| Unsupported::KeyType { found: "an unknown kind".into() })?;
        let algorithm = check_key(&key)?;
        let digest = x509.digest(MessageDigest::sha256()).map_err(internal)?;
        let digest = <[u8; 32]>::try_from(&*digest).map_err(|_| Corrupt::CertificateDer)?;
        let der = x509.to_der().map_err(internal)?;
        // OpenSSL takes some from PEM that it refuses once it has written them.
        X509::from_der(&der).map_err(|_| Corrupt::CertificateDer)?;
        Ok(Self {
            key: PublicKey::new(key, algorithm),
            fields: Fields::parse(&der)?,
            der,
            subject: name_text(x509.subject_name()),
            fingerprint: Fingerprint::from_bytes(digest),
            not_before: unix_time(x509.not_before())?,
            not_after: unix_time(x509.not_after())?,
            x509,
        })
    }

    /// Takes the one certificate that a PEM text holds.
    ///
    /// # Errors
    ///
    /// `certificate-pem`, `certificate-count`, `certificate-der`, `certificate-fields`, `certificate-time`, `key-type`.
    pub fn from_pem(pem: &[u8]) -> Result<Self> {
        let mut found = parse_pem(pem)?;
        match (found.pop(), found.len()) {
            (Some(x509), 0) => Self::new(x509),
            (_, others) => Err(Corrupt::CertificateCount { found: others.saturating_add(1) }.into()),
        }
    }

    /// Takes a certificate in DER form.
    ///
    /// # Errors
    ///
    /// `certificate-der`, `certificate-fields`, `certificate-time`, `key-type`.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let x509 = X509::from_der(der).map_err(|_| Corrupt::CertificateDer)?;
        // OpenSSL ignores what follows a certificate.
        if x509.to_der().map_err(internal)? != der {
            return Err(Corrupt::CertificateDer.into());
        }
        Self::new(x509)
    }

    /// The subject on one line, like `O=Vendor, CN=images`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What signatures its key makes.
    #[must_use]
    pub const fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }

    /// Start and end of its validity.
    #[must_use]
    pub const fn validity(&self) -> (Time, Time) {
        (self.not_before, self.not_after)
    }

    /// The certificate in PEM form.
    ///
    /// # Errors
    ///
    /// `io` when OpenSSL fails.
    pub fn to_pem(&self) -> Result<Vec<u8>> {
        self.x509.to_pem().map_err(internal)
    }

    /// The certificate in DER form, as the kernel's keyrings take it.
    ///
    /// # Errors
    ///
    /// `io` when OpenSSL fails.
    pub fn to_der(&self) -> Result<Vec<u8>> {
        Ok(self.der.clone())
    }

    /// Takes a signature of `root_hash` that was made elsewhere, checks that the key of this certificate made it, and
    /// returns it as the PKCS#7 message (DER) that an image carries.
    ///
    /// `signature` is one of:
    /// - a PKCS#7 message of the form that [`SignedData`] describes; it is returned as it is;
    /// - RSA: the signature, as long as the modulus, PKCS#1 1.5 over the SHA-256, SHA-384 or SHA-512 of
    ///   [`ToSign::content`];
    /// - ECDSA over one of these: r and s as a DER SEQUENCE, or one behind the other in as many bytes as the curve has
    ///   (64 for P-256, 96 for P-384).
    ///
    /// Which digest it was is found by trying. The certificate's validity and usage are not looked at: whoever checks
    /// the image does that.
    ///
    /// # Errors
    ///
    /// `signature-not-of-key` for a raw signature; for a PKCS#7 message `signature-mismatch`, `unknown-signer` when it
    /// names another certificate, and as [`SignedData::parse`] reports.
    pub fn complete(&self, root_hash: &RootHash, signature: &[u8], embed: Embed) -> Result<Vec<u8>> {
        if SignedData::is_message(signature) {
            self.check_message(root_hash, signature).within("signature")?;
            return Ok(signature.to_vec());
        }
        let to_sign = ToSign::new(root_hash);
        let found = signature.len();
        let raw = self.as_der_signature(signature);
        for raw in [Some(signature), raw.as_deref()].into_iter().flatten() {
            for digest in DigestAlgorithm::ALL {
                if self.signed(&to_sign, digest, raw).map_err(internal)? {
                    return self.message(digest, raw, embed);
                }
            }
        }
        let subject = self.subject.clone();
        Err(Unverified::SignatureNotOfKey { found, subject, expected: self.expected_text() })
            .within("signature")
    }

    /// The PKCS#7 message around a signature of its key.
    pub(super) fn message(&self, digest: DigestAlgorithm, raw: &[u8], embed: Embed) -> Result<Vec<u8>> {
        let message = SignedData {
            digest,
            algorithm: self.key.algorithm(),
            issuer_der: &self.fields.issuer_der,
            serial: &self.fields.serial,
            signature: raw,
        };
        Ok(match embed {
            Embed::Certificate => message.to_der(&[&self.to_der()?]),
            Embed::Nothing => message.to_der(&[]),
        })
    }

    fn check_message(&self, root_hash: &RootHash, der: &[u8]) -> Result<()> {
        let form = SignedData::parse(der)?;
        if !self.is_named_by(&form) {
            return Err(unknown_signer(&form, 1));
        }
        if form.algorithm == self.key.algorithm()
            && self.signed(&ToSign::new(root_hash), form.digest, form.signature).map_err(internal)?
        {
            return Ok(());
        }
        Err(Unverified::SignatureMismatch { subject: self.subject.clone() }.into())
    }

    /// Whether it may issue certificates.
    pub(super) const fn is_authority(&self) -> bool {
        self.fields.extensions.authority
    }

    /// Whether it is an authority whose key signed another certificate that names it as its issuer.
    pub(super) fn issued(&self, other: &Self) -> bool {
        self.is_authority()
            && self.x509.issued(&other.x509) == X509VerifyResult::OK
            && self.x509.public_key().is_ok_and(|key| other.x509.verify(&key).unwrap_or(false))
    }

    /// Whether a message claims this certificate's signer: by issuer and serial number.
    #[must_use]
    pub fn is_named_by(&self, form: &SignedData<'_>) -> bool {
        self.fields.issuer_der == form.issuer_der && self.fields.serial == form.serial
    }

    /// Whether its key made a signature.
    pub(super) fn signed(
        &self,
        to_sign: &ToSign,
        digest: DigestAlgorithm,
        raw: &[u8],
    ) -> Result<bool, ErrorStack> {
        self.key.signed(to_sign.content().as_bytes(), digest, raw)
    }

    /// r and s as DER, when they are given one behind the other.
    fn as_der_signature(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let bytes = usize::try_from(self.key.bits().div_ceil(8)).ok()?;
        if self.key.algorithm() != SignatureAlgorithm::Ecdsa || signature.len() != bytes.checked_mul(2)? {
            return None;
        }
        let (r, s) = signature.split_at_checked(bytes)?;
        let number = |bytes| BigNum::from_slice(bytes).ok();
        EcdsaSig::from_private_components(number(r)?, number(s)?).ok()?.to_der().ok()
    }

    fn expected_text(&self) -> String {
        let bits = self.key.bits();
        match self.key.algorithm() {
            SignatureAlgorithm::Rsa => format!("{} bytes of RSA", bits.div_ceil(8)),
            SignatureAlgorithm::Ecdsa => {
                format!("ECDSA on P-{bits} (DER, or {} bytes)", bits.div_ceil(8).saturating_mul(2))
            }
        }
    }

    /// Checks that the rules let the certificate sign at a moment. Nothing is said about its signatures, and
    /// [`CertificateRules::chain`] is not looked at.
    ///
    /// # Errors
    ///
    /// `certificate-expired`, `certificate-not-yet-valid`, `certificate-usage`, `certificate-extension`.
    pub fn check(&self, rules: CertificateRules, now: Time) -> Result<()> {
        self.fault(rules, now).map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Whether its key made a signature that a message carries.
    ///
    /// # Errors
    ///
    /// `io` when OpenSSL fails.
    pub fn made(&self, form: &SignedData<'_>, root_hash: &RootHash) -> Result<bool> {
        Ok(form.algorithm == self.key.algorithm()
            && self.signed(&ToSign::new(root_hash), form.digest, form.signature).map_err(internal)?)
    }

    /// Why the certificate may not have signed at this moment, when that is so.
    pub(super) fn fault(&self, rules: CertificateRules, now: Time) -> Option<Unverified> {
        let usage = match rules.usage {
            Usage::Ignored => None,
            Usage::Compatible | Usage::Required => self.usage_fault(rules.usage),
        };
        usage.or_else(|| match rules.validity {
            Validity::Required => self.validity_fault(now),
            Validity::Ignored => None,
        })
    }

    fn usage_fault(&self, usage: Usage) -> Option<Unverified> {
        let subject = self.subject.clone();
        let extensions = &self.fields.extensions;
        if let Some(found) = extensions.unknown_critical.clone() {
            return Some(Unverified::CertificateExtension { subject, found });
        }
        let expected = "digitalSignature";
        match extensions.digital_signature {
            Some(false) => {
                let found = "key usage without it".into();
                return Some(Unverified::CertificateUsage { subject, found, expected });
            }
            None if usage == Usage::Required => {
                let found = "no key usage".into();
                return Some(Unverified::CertificateUsage { subject, found, expected });
            }
            _ => {}
        }
        let found = match &extensions.purposes {
            Some(purposes) if !purposes.code_signing => format!("extended key usage {}", purposes.text),
            None if usage == Usage::Required => "no extended key usage".into(),
            _ => return None,
        };
        let expected = "codeSigning (1.3.6.1.5.5.7.3.3)";
        Some(Unverified::CertificateUsage { subject, found, expected })
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

    /// Says who its owner is, for a [`Verifier`](super::Verifier) that checked a signature of its key.
    #[must_use]
    pub fn signer(&self, source: TrustSource) -> Signer {
        Signer {
            subject: self.subject.clone(),
            fingerprint: Some(self.fingerprint),
            not_before: Some(self.not_before.as_unix()),
            not_after: Some(self.not_after.as_unix()),
            source,
        }
    }
}

pub(super) fn message_digest(digest: DigestAlgorithm) -> MessageDigest {
    match digest {
        DigestAlgorithm::Sha256 => MessageDigest::sha256(),
        DigestAlgorithm::Sha384 => MessageDigest::sha384(),
        DigestAlgorithm::Sha512 => MessageDigest::sha512(),
    }
}

impl SignedData<'_> {
    /// Who the message says made it, on one line: `issuer CN=vendor, serial number 07`. Nothing of it was checked.
    #[must_use]
    pub fn claims(&self) -> String {
        claims(self)
    }
}

/// The fault of a message whose signer is none of `trusted` certificates.
pub(super) fn unknown_signer(form: &SignedData<'_>, trusted: usize) -> Error {
    let trusted = format!("{trusted} trusted certificates");
    Unverified::UnknownSigner { claims: claims(form), trusted }.into()
}

fn claims(form: &SignedData<'_>) -> String {
    let issuer = openssl::x509::X509Name::from_der(form.issuer_der).map(|name| name_text(&name));
    let issuer = issuer.unwrap_or_else(|_| "unreadable".into());
    let serial = form.serial.iter().take(20).map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("issuer {issuer}, serial number {serial}")
}

pub(super) fn parse_pem(pem: &[u8]) -> Result<Vec<X509>> {
    let found = X509::stack_from_pem(pem).map_err(|_| Corrupt::CertificatePem)?;
    if found.is_empty() { Err(Corrupt::CertificatePem.into()) } else { Ok(found) }
}

/// Refuses keys that cannot make signatures of our form, weak ones, and those that the kernel cannot check.
pub(super) fn check_key<T: HasPublic>(key: &PKeyRef<T>) -> Result<SignatureAlgorithm> {
    let curve = || key.ec_key().ok().and_then(|key| key.group().curve_name());
    let found = match key.id() {
        Id::RSA if RSA_BITS.contains(&key.bits()) => return Ok(SignatureAlgorithm::Rsa),
        Id::RSA => format!("RSA of {} bits", key.bits()),
        Id::EC => match curve() {
            Some(Nid::X9_62_PRIME256V1 | Nid::SECP384R1) => return Ok(SignatureAlgorithm::Ecdsa),
            Some(other) => format!("EC on {}", other.short_name().unwrap_or("an unknown curve")),
            None => "EC on a curve without a name".into(),
        },
        Id::RSA_PSS => "RSA for PSS only".into(),
        Id::ED25519 => "Ed25519".into(),
        Id::ED448 => "Ed448".into(),
        Id::DSA => "DSA".into(),
        other => format!("OpenSSL's kind {}", other.as_raw()),
    };
    Err(Unsupported::KeyType { found }.into())
}

/// A moment as C has it: its width depends on the machine.
pub(super) fn time_t<T: TryFrom<i64>>(time: Time) -> Option<T> {
    T::try_from(time.as_unix()).ok()
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
mod tests;
