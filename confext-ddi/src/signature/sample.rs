//! Keys and certificates for tests, made by OpenSSL alone.

use super::{KeyPair, Time};
use crate::error::Result;
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::{X509, X509Extension, X509Name};

/// When the certificates here were made.
pub(super) const START: Time = Time::from_unix(1_700_000_000);

/// A self-signed certificate of any key, without extensions, in PEM form.
pub(super) fn certify(key: &PKey<Private>, subject: &str, serial: u32, days: (i64, i64)) -> Vec<u8> {
    issue(key, subject, (serial, days), None, &[]).to_pem().unwrap()
}

/// Who issues a certificate.
pub(super) type Issuer<'a> = Option<(&'a X509, &'a PKey<Private>)>;

/// A certificate of any key, by `issuer` or itself.
pub(super) fn issue(
    key: &PKey<Private>,
    subject: &str,
    (serial, days): (u32, (i64, i64)),
    issuer: Issuer<'_>,
    extensions: &[X509Extension],
) -> X509 {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, subject).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(serial).and_then(|serial| Asn1Integer::from_bn(&serial)).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(issuer.map_or(&name, |(issuer, _)| issuer.subject_name())).unwrap();
    let day = |day: i64| Asn1Time::from_unix(START.as_unix() + day * 86_400).unwrap();
    builder.set_not_before(&day(days.0)).unwrap();
    builder.set_not_after(&day(days.1)).unwrap();
    builder.set_pubkey(key).unwrap();
    for extension in extensions {
        builder.append_extension2(extension).unwrap();
    }
    let signing = issuer.map_or(key, |(_, key)| key);
    let digest =
        if matches!(signing.id(), Id::ED25519) { MessageDigest::null() } else { MessageDigest::sha256() };
    builder.sign(signing, digest).unwrap();
    builder.build()
}

pub(super) fn pair(key: &PKey<Private>, certificate_pem: &[u8]) -> Result<KeyPair> {
    KeyPair::from_pem(&key.private_key_to_pem_pkcs8().unwrap(), certificate_pem)
}

pub(super) fn ec_key(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    EcKey::generate(&group).and_then(PKey::from_ec_key).unwrap()
}
