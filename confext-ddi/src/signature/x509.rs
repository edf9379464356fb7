//! The fields of a certificate that OpenSSL's interface does not hand out, read as strict DER.

use super::der::{
    BIT_STRING, BOOLEAN, CONTEXT_0, CONTEXT_1, CONTEXT_2, CONTEXT_3, Element, Elements, INTEGER,
    OCTET_STRING, OID, SEQUENCE, malformed, oid_text,
};
use crate::error::{Corrupt, Fault, Result, Unverified};

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// Extensions that may be critical and do not change what a signature of the key is worth here: the subject's and the
/// issuer's identifiers and other names, and certificate policies.
const HARMLESS: [&[u8]; 5] =
    [&[0x55, 0x1d, 0x0e], &[0x55, 0x1d, 0x11], &[0x55, 0x1d, 0x12], &[0x55, 0x1d, 0x20], &[0x55, 0x1d, 0x23]];
/// codeSigning.
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
/// anyExtendedKeyUsage.
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 0x25, 0];

/// What a certificate says besides its key, its names and its validity.
///
/// *Spec*: RFC 5280 section 4.1 and 4.2.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    /// Name of the issuer (DER).
    pub(super) issuer_der: Vec<u8>,
    /// Serial number (content of the INTEGER).
    pub(super) serial: Vec<u8>,
    pub(super) extensions: Extensions,
}

/// The extensions that rules look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// Whether key usage names digital signatures; `None` without the extension.
    pub(super) digital_signature: Option<bool>,
    /// Extended key usage; `None` without the extension.
    pub(super) purposes: Option<Purposes>,
    /// Whether it may issue certificates.
    pub(super) authority: bool,
    /// An extension that must be understood and is not.
    pub(super) unknown_critical: Option<String>,
}

/// What extended key usage says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Purposes {
    /// Whether code signing, or any purpose, is among them.
    pub(super) code_signing: bool,
    /// All of them, dotted, for messages.
    pub(super) text: String,
}

impl Fields {
    /// Reads them from a certificate in DER form.
    pub(super) fn parse(der: &[u8]) -> Result<Self> {
        // The reader's faults are those of signatures.
        parse(der).map_err(|error| match error.fault() {
            Fault::Unverified(Unverified::SignatureDer { reason }) => {
                Corrupt::CertificateFields { reason }.into()
            }
            _ => error,
        })
    }
}

fn parse(der: &[u8]) -> Result<Fields> {
    let mut outside = Elements::new(der);
    let mut certificate = outside.expect(SEQUENCE, "no certificate")?.elements();
    outside.end("data after the certificate")?;
    let mut fields = certificate.expect(SEQUENCE, "no certificate to be signed")?.elements();
    fields.take(CONTEXT_0)?;
    let serial = fields.expect(INTEGER, "no serial number")?.content.to_vec();
    fields.expect(SEQUENCE, "no signature algorithm")?;
    let issuer_der = fields.expect(SEQUENCE, "no issuer")?.whole.to_vec();
    fields.expect(SEQUENCE, "no validity")?;
    fields.expect(SEQUENCE, "no subject")?;
    fields.expect(SEQUENCE, "no public key")?;
    // Unique identifiers: [1] and [2] IMPLICIT BIT STRING.
    for tag in [CONTEXT_1, CONTEXT_2] {
        fields.take(tag & !0x20)?;
    }
    let extensions = match fields.take(CONTEXT_3)? {
        Some(extensions) => parse_extensions(extensions)?,
        None => Extensions::default(),
    };
    fields.end("data after the extensions")?;
    Ok(Fields { issuer_der, serial, extensions })
}

fn parse_extensions(field: Element<'_>) -> Result<Extensions> {
    let mut explicit = field.elements();
    let mut list = explicit.expect(SEQUENCE, "no extensions")?.elements();
    explicit.end("data after the list of extensions")?;
    let mut found = Extensions::default();
    let mut seen: Vec<&[u8]> = Vec::new();
    while !list.rest().is_empty() {
        let mut extension = list.expect(SEQUENCE, "no extension")?.elements();
        let id = extension.expect(OID, "no extension identifier")?;
        let critical = boolean(&mut extension)?;
        let value = extension.expect(OCTET_STRING, "no value of an extension")?;
        extension.end("data after an extension")?;
        if seen.contains(&id.content) {
            return Err(malformed("an extension is there twice", id.offset()));
        }
        seen.push(id.content);
        match id.content {
            BASIC_CONSTRAINTS => found.authority = basic_constraints(value)?,
            KEY_USAGE => found.digital_signature = Some(key_usage(value)?),
            EXTENDED_KEY_USAGE => found.purposes = Some(extended_key_usage(value)?),
            other if critical && !HARMLESS.contains(&other) => {
                found.unknown_critical.get_or_insert(oid_text(other));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// A BOOLEAN that is false when absent. Many write the default down, against DER; it means the same.
fn boolean(fields: &mut Elements<'_>) -> Result<bool> {
    match fields.take(BOOLEAN)? {
        None => Ok(false),
        Some(element) => match element.content {
            [0] => Ok(false),
            [0xff] => Ok(true),
            _ => Err(malformed("neither true nor false", element.offset())),
        },
    }
}

fn basic_constraints(value: Element<'_>) -> Result<bool> {
    let mut inside = value.elements();
    let mut fields = inside.expect(SEQUENCE, "no basic constraints")?.elements();
    inside.end("data after the basic constraints")?;
    let authority = boolean(&mut fields)?;
    fields.take(INTEGER)?;
    fields.end("data after the path length")?;
    Ok(authority)
}

/// digitalSignature is the first bit.
fn key_usage(value: Element<'_>) -> Result<bool> {
    let mut inside = value.elements();
    let bits = inside.expect(BIT_STRING, "no key usage")?;
    inside.end("data after the key usage")?;
    match bits.content {
        [0..=7, first, ..] => Ok(first & 0x80 != 0),
        [0] => Ok(false),
        _ => Err(malformed("key usage is no string of bits", bits.offset())),
    }
}

fn extended_key_usage(value: Element<'_>) -> Result<Purposes> {
    let mut inside = value.elements();
    let mut list = inside.expect(SEQUENCE, "no extended key usage")?.elements();
    inside.end("data after the extended key usage")?;
    let (mut code_signing, mut names) = (false, Vec::new());
    while !list.rest().is_empty() {
        let purpose = list.expect(OID, "no purpose")?.content;
        code_signing |= [CODE_SIGNING, ANY_PURPOSE].contains(&purpose);
        names.push(oid_text(purpose));
    }
    let mut text = names.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 8 {
        text.push_str(", …");
    }
    Ok(Purposes { code_signing, text })
}

#[cfg(test)]
mod tests {
    use super::super::der::{NULL, SET, encode};
    use super::*;
    use proptest::prelude::*;

    const NAME: [u8; 4] = [SEQUENCE, 2, SET, 0];

    fn extension(id: &[u8], critical: &[u8], value: &[u8]) -> Vec<u8> {
        encode(SEQUENCE, &[&encode(OID, &[id]), critical, &encode(OCTET_STRING, &[value])])
    }

    const CRITICAL: &[u8] = &[BOOLEAN, 1, 0xff];

    /// A certificate with these extensions; nothing else of it means anything.
    fn certificate(extensions: &[&[u8]]) -> Vec<u8> {
        let empty = [SEQUENCE, 0];
        let list = encode(CONTEXT_3, &[&encode(SEQUENCE, extensions)]);
        let version = [CONTEXT_0, 3, INTEGER, 1, 2];
        let fields: [&[u8]; 8] =
            [&version, &[INTEGER, 2, 0, 0x99], &empty, &NAME, &empty, &NAME, &empty, &list];
        encode(SEQUENCE, &[&encode(SEQUENCE, &fields), &empty, &[BIT_STRING, 1, 0]])
    }

    fn parsed(extensions: &[&[u8]]) -> Result<Extensions> {
        Fields::parse(&certificate(extensions)).map(|fields| fields.extensions)
    }

    #[test]
    fn the_fields_are_read() {
        let fields = Fields::parse(&certificate(&[])).unwrap();
        assert_eq!((fields.issuer_der, fields.serial), (NAME.to_vec(), vec![0, 0x99]));
        assert_eq!(fields.extensions, Extensions::default());
    }

    #[test]
    fn each_extension_says_what_it_says() {
        let usage = |bits: &[u8]| {
            let value = encode(BIT_STRING, &[bits]);
            parsed(&[&extension(KEY_USAGE, CRITICAL, &value)]).map(|found| found.digital_signature)
        };
        assert_eq!(usage(&[7, 0x80]).unwrap(), Some(true));
        assert_eq!(usage(&[0, 0xa0, 0]).unwrap(), Some(true));
        assert_eq!(usage(&[1, 0x06]).unwrap(), Some(false));
        assert_eq!(usage(&[0]).unwrap(), Some(false));
        for wrong in [&[][..], &[8, 0x80], &[1]] {
            assert_eq!(usage(wrong).unwrap_err().code(), "certificate-fields", "{wrong:x?}");
        }

        let purposes = |ids: &[&[u8]]| {
            let ids: Vec<_> = ids.iter().map(|id| encode(OID, &[id])).collect();
            let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
            let value = encode(SEQUENCE, &ids);
            parsed(&[&extension(EXTENDED_KEY_USAGE, &[], &value)]).unwrap().purposes.unwrap()
        };
        let server = [0x2b, 6, 1, 5, 5, 7, 3, 1];
        assert!(purposes(&[&server, CODE_SIGNING]).code_signing);
        assert!(purposes(&[ANY_PURPOSE]).code_signing);
        let only = purposes(&[&server]);
        assert_eq!((only.code_signing, only.text.as_str()), (false, "1.3.6.1.5.5.7.3.1"));
        assert_eq!(purposes(&[&server[..]; 9]).text.matches("1.3.6").count(), 8);
        assert!(!purposes(&[]).code_signing);

        let constraints = |parts: &[&[u8]]| {
            parsed(&[&extension(BASIC_CONSTRAINTS, CRITICAL, &encode(SEQUENCE, parts))])
                .map(|found| found.authority)
        };
        assert!(!constraints(&[]).unwrap() && !constraints(&[&[BOOLEAN, 1, 0]]).unwrap());
        assert!(constraints(&[CRITICAL, &[INTEGER, 1, 0]]).unwrap());
        assert_eq!(constraints(&[&[BOOLEAN, 1, 1]]).unwrap_err().code(), "certificate-fields");
        assert_eq!(constraints(&[&[NULL, 0]]).unwrap_err().code(), "certificate-fields");
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_named() {
        let name_constraints = extension(&[0x55, 0x1d, 0x1e], CRITICAL, b"x");
        let found = parsed(&[&extension(&[0x2a, 3], &[], b"x"), &name_constraints]).unwrap();
        assert_eq!(found.unknown_critical.as_deref(), Some("2.5.29.30"));
        for harmless in HARMLESS {
            assert_eq!(parsed(&[&extension(harmless, CRITICAL, b"x")]).unwrap(), Extensions::default());
        }
        let twice = extension(&[0x2a, 3], &[], b"x");
        assert_eq!(parsed(&[&twice, &twice]).unwrap_err().code(), "certificate-fields");
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let usage = extension(KEY_USAGE, CRITICAL, &encode(BIT_STRING, &[&[7, 0x80]]));
            let mut der = certificate(&[&usage]);
            for (at, byte) in changes {
                let at = at.index(der.len());
                der[at] = byte;
            }
            if let Err(error) = Fields::parse(&der) {
                prop_assert_eq!(error.code(), "certificate-fields");
            }
        }
    }
}
