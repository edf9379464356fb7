//! The form of a detached PKCS#7 signature, checked before anything is done with it.

use super::der::{
    CONTEXT_0, CONTEXT_1, Element, Elements, INTEGER, NULL, OCTET_STRING, OID, SEQUENCE, SET, encode,
    malformed, oid_text,
};
use crate::error::{Error, Result, ResultExt as _, Unverified};

const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// rsaEncryption: the digest is named elsewhere.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// The subject key identifier, instead of issuer and serial number.
const KEY_IDENTIFIER: u8 = 0x80;

/// A digest algorithm that signatures may use.
///
/// ```
/// use confext_ddi::signature::{DigestAlgorithm, ToSign};
///
/// // What a service that signs digests gets.
/// let to_sign = ToSign::new(&"a5".repeat(32).parse()?);
/// for (algorithm, bytes) in DigestAlgorithm::ALL.into_iter().zip([32, 48, 64]) {
///     assert_eq!(to_sign.digest(algorithm).len(), bytes);
/// }
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DigestAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl DigestAlgorithm {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The kernel's name for it, like `sha256`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    const fn oid(self) -> &'static [u8] {
        match self {
            Self::Sha256 => &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1],
            Self::Sha384 => &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2],
            Self::Sha512 => &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3],
        }
    }

    /// ecdsa-with-SHAn.
    const fn with_ecdsa_oid(self) -> &'static [u8] {
        match self {
            Self::Sha256 => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
            Self::Sha384 => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3],
            Self::Sha512 => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4],
        }
    }
}

/// The algorithm of a signature: what kind of key makes it, and how.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// use confext_ddi::signature::SignatureAlgorithm;
///
/// // Keys that are made here are of RSA, so that the same image is signed with the same bytes again.
/// assert_eq!(key.certificate().algorithm(), SignatureAlgorithm::Rsa);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5: as many bytes as the key's modulus.
    Rsa,
    /// ECDSA: a DER SEQUENCE of the INTEGERs r and s.
    Ecdsa,
}

/// A detached PKCS#7 signature of the one form that images carry, its cryptography not checked.
///
/// The form: SignedData version 1 in strict DER · one digest algorithm of the allow-list · content type `data`,
/// content absent · any certificates (they count for nothing) · no revocation lists · exactly one signer, named by
/// issuer and serial number, with the same digest, without signed and unsigned attributes, RSA or ECDSA · nothing
/// behind it.
///
/// *Spec*: RFC 2315 section 9; RFC 5652 section 5.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// use confext_ddi::signature::{DigestAlgorithm, Sign as _, SignatureAlgorithm, SignedData};
///
/// let message = key.sign(&"a5".repeat(32).parse()?)?;
/// let form = SignedData::parse(&message)?;
/// assert_eq!((form.digest, form.algorithm), (DigestAlgorithm::Sha256, SignatureAlgorithm::Rsa));
/// // Whose signature it claims to be; nobody checked that.
/// assert!(key.certificate().is_named_by(&form));
/// assert_eq!(SignedData::parse(b"no signature").unwrap_err().family(), "unverified");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedData<'a> {
    /// What the content is digested with.
    pub digest: DigestAlgorithm,
    /// What signs the digest.
    pub algorithm: SignatureAlgorithm,
    /// Name of the issuer of the certificate the signer claims (DER).
    pub issuer_der: &'a [u8],
    /// Serial number of the certificate the signer claims (content of a DER INTEGER).
    pub serial: &'a [u8],
    /// The signature itself.
    pub signature: &'a [u8],
}

impl<'a> SignedData<'a> {
    /// The largest signature that is looked at: 1 MiB.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Checks the form.
    ///
    /// # Errors
    ///
    /// `signature-size`, `signature-der`, `signature-trailing`, `signature-type`, `signature-attached`,
    /// `signature-signers`, `signature-signer-id`, `signature-attributes`, `signature-extra`, `signature-digest`,
    /// `signature-algorithm`.
    pub fn parse(der: &'a [u8]) -> Result<Self> {
        Ok(Self::parse_message(der).within("pkcs7")?.0)
    }

    /// The same, and the certificates that the message carries, each in DER form. They count for nothing by themselves, and
    /// need not be readable.
    ///
    /// # Errors
    ///
    /// As [`SignedData::parse`].
    pub fn parse_with_certificates(der: &'a [u8]) -> Result<(Self, Vec<&'a [u8]>)> {
        Self::parse_message(der).within("pkcs7")
    }

    /// Whether the bytes are meant to be such a message: one element that starts with the type `signedData`. Raw
    /// signatures are not: RSA's are numbers, and those of ECDSA start with a number.
    #[must_use]
    pub fn is_message(bytes: &[u8]) -> bool {
        let mut outside = Elements::new(bytes);
        let message = outside.take(SEQUENCE).ok().flatten();
        let kind = message.and_then(|message| message.elements().take(OID).ok().flatten());
        kind.is_some_and(|kind| kind.content == SIGNED_DATA)
    }

    /// By what the kernel finds the key of the signer: its serial number, and behind it the content of the issuer's name.
    #[must_use]
    pub fn key_id(&self) -> Vec<u8> {
        let name = Elements::new(self.issuer_der).take(SEQUENCE).ok().flatten();
        [self.serial, name.map_or(self.issuer_der, |name| name.content)].concat()
    }

    /// The message in DER form, with these certificates (DER) in it: the bytes that
    /// `openssl smime -sign -binary -noattr -outform der` writes for the same signature; without a certificate, those
    /// that it writes with `-nocerts`.
    #[must_use]
    pub fn to_der(&self, certificates: &[&[u8]]) -> Vec<u8> {
        let null = [NULL, 0];
        let digest = encode(SEQUENCE, &[&encode(OID, &[self.digest.oid()]), &null]);
        let algorithm = match self.algorithm {
            SignatureAlgorithm::Rsa => encode(SEQUENCE, &[&encode(OID, &[RSA]), &null]),
            // RFC 5754: the parameters of ECDSA are absent.
            SignatureAlgorithm::Ecdsa => encode(SEQUENCE, &[&encode(OID, &[self.digest.with_ecdsa_oid()])]),
        };
        let version = [INTEGER, 1, 1];
        let id = encode(SEQUENCE, &[self.issuer_der, &encode(INTEGER, &[self.serial])]);
        let signature = encode(OCTET_STRING, &[self.signature]);
        let signer = encode(SEQUENCE, &[&version, &id, &digest, &algorithm, &signature]);
        let certificates = match certificates {
            [] => Vec::new(),
            some => encode(CONTEXT_0, some),
        };
        let signed_data = encode(
            SEQUENCE,
            &[
                &version,
                &encode(SET, &[&digest]),
                &encode(SEQUENCE, &[&encode(OID, &[DATA])]),
                &certificates,
                &encode(SET, &[&signer]),
            ],
        );
        encode(SEQUENCE, &[&encode(OID, &[SIGNED_DATA]), &encode(CONTEXT_0, &[&signed_data])])
    }

    fn parse_message(der: &'a [u8]) -> Result<(Self, Vec<&'a [u8]>)> {
        if der.len() > Self::MAX_BYTES {
            return Err(Unverified::SignatureSize { found: der.len(), most: Self::MAX_BYTES }.into());
        }
        let mut outside = Elements::new(der);
        let mut message = outside.expect(SEQUENCE, "no message")?.elements();
        if !outside.rest().is_empty() {
            let fault = Unverified::SignatureTrailing { found: outside.rest().len() };
            return Err(Error::from(fault).at_offset(outside.offset()));
        }
        check_type(message.expect(OID, "no content type")?, SIGNED_DATA, "signedData")?;
        let mut explicit = message.expect(CONTEXT_0, "no content")?.elements();
        message.end("data after the content")?;
        let signed_data = explicit.expect(SEQUENCE, "no signedData")?;
        explicit.end("data after signedData")?;
        parse_signed_data(signed_data.elements())
    }
}

/// The form, and the certificates.
fn parse_signed_data(mut fields: Elements<'_>) -> Result<(SignedData<'_>, Vec<&[u8]>)> {
    let version = fields.expect(INTEGER, "no version of signedData")?;
    let mut digests = fields.expect(SET, "no digest algorithms")?.elements();
    let digest = parse_digest(digests.expect(SEQUENCE, "no digest algorithm")?)?;
    if !digests.rest().is_empty() {
        return Err(extra("more than one digest algorithm", digests.offset()));
    }
    let mut content = fields.expect(SEQUENCE, "no encapsulated content")?.elements();
    check_type(content.expect(OID, "no type of encapsulated content")?, DATA, "data")?;
    if let Some(attached) = content.take(CONTEXT_0)? {
        return Err(Error::from(Unverified::SignatureAttached).at_offset(attached.offset()));
    }
    content.end("data after the encapsulated content's type")?;
    let mut certificates = Vec::new();
    if let Some(set) = fields.take(CONTEXT_0)? {
        let mut set = set.elements();
        while !set.rest().is_empty() {
            certificates.push(set.expect(SEQUENCE, "no certificate among the certificates")?.whole);
        }
    }
    if let Some(lists) = fields.take(CONTEXT_1)? {
        return Err(extra("revocation lists", lists.offset()));
    }
    let signers = fields.expect(SET, "no signers")?;
    fields.end("data after the signers")?;
    let parsed = parse_signer(one_signer(signers)?, digest)?;
    check_version(version, "version of signedData is not 1")?;
    Ok((parsed, certificates))
}

fn one_signer(signers: Element<'_>) -> Result<Elements<'_>> {
    let mut elements = signers.elements();
    let mut first = None;
    let mut found = 0_usize;
    while !elements.rest().is_empty() {
        let signer = elements.expect(SEQUENCE, "no signer among the signers")?;
        first.get_or_insert(signer);
        found = found.saturating_add(1);
    }
    match first {
        Some(signer) if found == 1 => Ok(signer.elements()),
        _ => Err(Error::from(Unverified::SignatureSigners { found }).at_offset(signers.offset())),
    }
}

fn parse_signer(mut fields: Elements<'_>, expected: DigestAlgorithm) -> Result<SignedData<'_>> {
    let version = fields.expect(INTEGER, "no version of the signer")?;
    // A signer named this way has another version, too: say the cause first.
    if let Some(identifier) = fields.take(KEY_IDENTIFIER)? {
        return Err(Error::from(Unverified::SignatureSignerId).at_offset(identifier.offset()));
    }
    check_version(version, "version of the signer is not 1")?;
    let mut id = fields.expect(SEQUENCE, "no issuer and serial number")?.elements();
    let issuer_der = id.expect(SEQUENCE, "no issuer")?.whole;
    let serial = id.expect(INTEGER, "no serial number")?.content;
    id.end("data after the serial number")?;
    let digest_field = fields.expect(SEQUENCE, "no digest algorithm of the signer")?;
    let digest = parse_digest(digest_field)?;
    if digest != expected {
        return Err(malformed("signer's digest algorithm is not the message's", digest_field.offset()));
    }
    if let Some(attributes) = fields.take(CONTEXT_0)? {
        return Err(Error::from(Unverified::SignatureAttributes).at_offset(attributes.offset()));
    }
    let algorithm = parse_algorithm_of(fields.expect(SEQUENCE, "no signature algorithm")?, digest)?;
    let signature = fields.expect(OCTET_STRING, "no signature")?;
    if signature.content.is_empty() {
        return Err(malformed("signature is empty", signature.offset()));
    }
    if let Some(attributes) = fields.take(CONTEXT_1)? {
        return Err(extra("unsigned attributes", attributes.offset()));
    }
    fields.end("data after the signature")?;
    Ok(SignedData { digest, algorithm, issuer_der, serial, signature: signature.content })
}

fn extra(what: &'static str, offset: u64) -> Error {
    Error::from(Unverified::SignatureExtra { what }).at_offset(offset)
}

fn check_version(version: Element<'_>, reason: &'static str) -> Result<()> {
    if version.content == [1] { Ok(()) } else { Err(malformed(reason, version.offset())) }
}

fn check_type(found: Element<'_>, expected: &[u8], name: &'static str) -> Result<()> {
    if found.content == expected {
        return Ok(());
    }
    let fault = Unverified::SignatureType { found: oid_text(found.content), expected: name };
    Err(Error::from(fault).at_offset(found.offset()))
}

/// An algorithm's identifier, and its parameters.
fn parse_algorithm(field: Element<'_>) -> Result<(Element<'_>, Elements<'_>)> {
    let mut fields = field.elements();
    let identifier = fields.expect(OID, "no algorithm identifier")?;
    Ok((identifier, fields))
}

/// Parameters have to be absent or NULL.
fn check_parameters(mut parameters: Elements<'_>) -> Result<()> {
    let null = parameters.take(NULL)?;
    if null.is_some_and(|null| !null.content.is_empty()) {
        return Err(malformed("NULL with content", parameters.offset()));
    }
    parameters.end("algorithm with parameters")
}

fn parse_digest(field: Element<'_>) -> Result<DigestAlgorithm> {
    let (identifier, parameters) = parse_algorithm(field)?;
    let known = DigestAlgorithm::ALL.into_iter().find(|digest| digest.oid() == identifier.content);
    let Some(digest) = known else {
        let found = match identifier.content {
            [0x2b, 0x0e, 3, 2, 0x1a] => "sha1".into(),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 5] => "md5".into(),
            other => oid_text(other),
        };
        return Err(Error::from(Unverified::SignatureDigest { found }).at_offset(identifier.offset()));
    };
    check_parameters(parameters)?;
    Ok(digest)
}

fn parse_algorithm_of(field: Element<'_>, digest: DigestAlgorithm) -> Result<SignatureAlgorithm> {
    let (identifier, parameters) = parse_algorithm(field)?;
    // Not shaNWithRSAEncryption: it would mean the same, but the kernel does not take it in a signer's place, and a
    // signature has one form.
    let algorithm = match identifier.content {
        RSA => SignatureAlgorithm::Rsa,
        other if other == digest.with_ecdsa_oid() => SignatureAlgorithm::Ecdsa,
        other => {
            let fault = Unverified::SignatureAlgorithm { found: oid_text(other) };
            return Err(Error::from(fault).at_offset(identifier.offset()));
        }
    };
    check_parameters(parameters)?;
    Ok(algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
    const MD5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 5];
    const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
    const PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        encode(tag, parts)
    }

    fn algorithm(oid: &[u8]) -> Vec<u8> {
        tlv(SEQUENCE, &[&tlv(OID, &[oid]), &[NULL, 0]])
    }

    /// The parts of a message, each as it is encoded; a test changes one.
    #[derive(Clone)]
    struct Parts {
        message_type: Vec<u8>,
        version: Vec<u8>,
        digests: Vec<u8>,
        content: Vec<u8>,
        certificates: Vec<u8>,
        lists: Vec<u8>,
        signers: usize,
        signer_version: Vec<u8>,
        id: Vec<u8>,
        digest: Vec<u8>,
        attributes: Vec<u8>,
        algorithm: Vec<u8>,
        signature: Vec<u8>,
        unsigned: Vec<u8>,
        after_signers: Vec<u8>,
    }

    impl Parts {
        fn new() -> Self {
            let name = tlv(SEQUENCE, &[&tlv(SET, &[])]);
            let sha256 = DigestAlgorithm::Sha256.oid();
            Self {
                message_type: tlv(OID, &[SIGNED_DATA]),
                version: vec![INTEGER, 1, 1],
                digests: tlv(SET, &[&algorithm(sha256)]),
                content: tlv(SEQUENCE, &[&tlv(OID, &[DATA])]),
                certificates: tlv(CONTEXT_0, &[&tlv(SEQUENCE, &[&[0; 300]])]),
                lists: vec![],
                signers: 1,
                signer_version: vec![INTEGER, 1, 1],
                id: tlv(SEQUENCE, &[&name, &[INTEGER, 2, 7, 7]]),
                digest: algorithm(sha256),
                attributes: vec![],
                algorithm: algorithm(RSA),
                signature: tlv(OCTET_STRING, &[&[9; 256]]),
                unsigned: vec![],
                after_signers: vec![],
            }
        }

        fn der(&self) -> Vec<u8> {
            let signer = tlv(
                SEQUENCE,
                &[
                    &self.signer_version,
                    &self.id,
                    &self.digest,
                    &self.attributes,
                    &self.algorithm,
                    &self.signature,
                    &self.unsigned,
                ],
            );
            let signers = tlv(SET, &[&signer.repeat(self.signers)]);
            let signed_data = tlv(
                SEQUENCE,
                &[
                    &self.version,
                    &self.digests,
                    &self.content,
                    &self.certificates,
                    &self.lists,
                    &signers,
                    &self.after_signers,
                ],
            );
            tlv(SEQUENCE, &[&self.message_type, &tlv(CONTEXT_0, &[&signed_data])])
        }
    }

    #[test]
    fn the_form_is_read() {
        let der = Parts::new().der();
        let parsed = SignedData::parse(&der).unwrap();
        assert_eq!(
            (parsed.digest, parsed.serial, parsed.signature),
            (DigestAlgorithm::Sha256, &[7, 7][..], &[9; 256][..])
        );
        assert_eq!(parsed.issuer_der, [SEQUENCE, 2, SET, 0]);
        let bare = Parts { certificates: vec![], ..Parts::new() };
        assert!(SignedData::parse(&bare.der()).is_ok());
        for digest in DigestAlgorithm::ALL {
            for (expected, oid) in
                [(SignatureAlgorithm::Rsa, RSA), (SignatureAlgorithm::Ecdsa, digest.with_ecdsa_oid())]
            {
                let parts = Parts {
                    digests: tlv(SET, &[&algorithm(digest.oid())]),
                    digest: tlv(SEQUENCE, &[&tlv(OID, &[digest.oid()])]),
                    algorithm: algorithm(oid),
                    ..Parts::new()
                };
                let der = parts.der();
                let parsed = SignedData::parse(&der).unwrap();
                assert_eq!((parsed.digest, parsed.algorithm), (digest, expected));
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let der = Parts::new().der();
        let parsed = SignedData::parse(&der).unwrap();
        let certificate = tlv(SEQUENCE, &[&[0; 300]]);
        assert_eq!(parsed.to_der(&[&certificate]), der, "the same form");
        let bare = parsed.to_der(&[]);
        assert_eq!(SignedData::parse(&bare).unwrap(), parsed);
        for digest in DigestAlgorithm::ALL {
            for algorithm in [SignatureAlgorithm::Rsa, SignatureAlgorithm::Ecdsa] {
                let other = SignedData { digest, algorithm, ..parsed };
                assert_eq!(SignedData::parse(&other.to_der(&[])).unwrap(), other);
            }
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn each_part_has_its_code() {
        let good = Parts::new();
        let sha1 = tlv(SET, &[&algorithm(SHA1)]);
        let sha384 = algorithm(DigestAlgorithm::Sha384.oid());
        let two_digests = tlv(SET, &[&good.digest, &sha384]);
        let key_id = tlv(KEY_IDENTIFIER, &[&[1; 20]]);
        let table: Vec<(Parts, &str)> = vec![
            (Parts { message_type: tlv(OID, &[DATA]), ..good.clone() }, "signature-type"),
            (Parts { message_type: vec![], ..good.clone() }, "signature-der"),
            (Parts { version: vec![INTEGER, 1, 3], ..good.clone() }, "signature-der"),
            (Parts { version: vec![INTEGER, 2, 0, 1], ..good.clone() }, "signature-der"),
            (Parts { digests: sha1, ..good.clone() }, "signature-digest"),
            (Parts { digests: tlv(SET, &[&algorithm(MD5)]), ..good.clone() }, "signature-digest"),
            (Parts { digests: tlv(SET, &[]), ..good.clone() }, "signature-der"),
            (Parts { digests: two_digests, ..good.clone() }, "signature-extra"),
            (Parts { digests: tlv(SET, &[&sha384]), ..good.clone() }, "signature-der"),
            (
                Parts { content: tlv(SEQUENCE, &[&tlv(OID, &[SIGNED_DATA])]), ..good.clone() },
                "signature-type",
            ),
            (
                Parts { content: tlv(SEQUENCE, &[&tlv(OID, &[DATA]), &tlv(CONTEXT_0, &[])]), ..good.clone() },
                "signature-attached",
            ),
            (
                Parts { content: tlv(SEQUENCE, &[&tlv(OID, &[DATA]), &[NULL, 0]]), ..good.clone() },
                "signature-der",
            ),
            (Parts { certificates: tlv(CONTEXT_0, &[&[INTEGER, 0]]), ..good.clone() }, "signature-der"),
            (Parts { lists: tlv(CONTEXT_1, &[]), ..good.clone() }, "signature-extra"),
            (Parts { signers: 0, ..good.clone() }, "signature-signers"),
            (Parts { signers: 2, ..good.clone() }, "signature-signers"),
            (Parts { signer_version: vec![INTEGER, 1, 3], ..good.clone() }, "signature-der"),
            (Parts { id: key_id.clone(), ..good.clone() }, "signature-signer-id"),
            (
                Parts {
                    id: key_id,
                    version: vec![INTEGER, 1, 3],
                    signer_version: vec![INTEGER, 1, 3],
                    ..good.clone()
                },
                "signature-signer-id",
            ),
            (Parts { id: tlv(SEQUENCE, &[&tlv(SEQUENCE, &[])]), ..good.clone() }, "signature-der"),
            (Parts { digest: algorithm(SHA1), ..good.clone() }, "signature-digest"),
            (Parts { digest: sha384, ..good.clone() }, "signature-der"),
            (Parts { attributes: tlv(CONTEXT_0, &[]), ..good.clone() }, "signature-attributes"),
            (Parts { algorithm: algorithm(PSS), ..good.clone() }, "signature-algorithm"),
            (Parts { algorithm: algorithm(SHA256_WITH_RSA), ..good.clone() }, "signature-algorithm"),
            (
                Parts { algorithm: algorithm(DigestAlgorithm::Sha512.with_ecdsa_oid()), ..good.clone() },
                "signature-algorithm",
            ),
            (
                Parts { algorithm: tlv(SEQUENCE, &[&tlv(OID, &[RSA]), &[INTEGER, 1, 1]]), ..good.clone() },
                "signature-der",
            ),
            (
                Parts { algorithm: tlv(SEQUENCE, &[&tlv(OID, &[RSA]), &[NULL, 1, 1]]), ..good.clone() },
                "signature-der",
            ),
            (Parts { signature: vec![], ..good.clone() }, "signature-der"),
            (Parts { signature: vec![OCTET_STRING, 0], ..good.clone() }, "signature-der"),
            (Parts { unsigned: tlv(CONTEXT_1, &[]), ..good.clone() }, "signature-extra"),
            (Parts { unsigned: vec![NULL, 0], ..good.clone() }, "signature-der"),
            (Parts { after_signers: vec![NULL, 0], ..good.clone() }, "signature-der"),
        ];
        for (at, (parts, code)) in table.into_iter().enumerate() {
            let der = parts.der();
            let error = SignedData::parse(&der).unwrap_err();
            assert_eq!(error.code(), code, "row {at}: {error}");
            assert_eq!((error.family(), error.path().as_str()), ("unverified", "pkcs7"));
        }
    }

    #[test]
    fn what_is_around_the_message_has_its_code() {
        let der = Parts::new().der();
        let error = SignedData::parse(&[&der[..], &[0]].concat()).unwrap_err();
        assert_eq!((error.code(), error.offset()), ("signature-trailing", Some(der.len() as u64)));
        assert_eq!(SignedData::parse(&[]).unwrap_err().code(), "signature-der");
        assert_eq!(SignedData::parse(b"junk that is no DER").unwrap_err().code(), "signature-der");
        assert_eq!(
            SignedData::parse(&vec![0x30; SignedData::MAX_BYTES + 1]).unwrap_err().code(),
            "signature-size"
        );
        for len in 0..der.len() {
            assert_eq!(SignedData::parse(&der[..len]).unwrap_err().code(), "signature-der", "{len}");
        }
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut der = Parts::new().der();
            for (at, byte) in changes {
                let at = at.index(der.len());
                der[at] = byte;
            }
            if let Err(error) = SignedData::parse(&der) {
                prop_assert_eq!(error.family(), "unverified");
            }
        }

        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(SignedData::parse(&bytes).is_err());
        }
    }
}
