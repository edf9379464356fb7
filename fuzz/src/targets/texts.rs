//! Small texts and magics: what is read from them prints to something that is read the same.

use super::limits;
use confext_ddi::RootHash;
use confext_ddi::digest::HashAlgorithm;
use confext_ddi::dps::{Architecture, PartitionType};
use confext_ddi::fstype;
use confext_ddi::id::{Guid, Uuid};
use confext_ddi::manifest::Manifest;
use confext_ddi::signature::{Certificate, CertificateRules, Certificates, Time};
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// Root hashes, identifiers, architectures, algorithms, rules: what is accepted prints to a text that means the same.
pub fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    prints::<RootHash>(text);
    prints::<Uuid>(text);
    prints::<Guid>(text);
    if let Ok(architecture) = text.parse::<Architecture>() {
        assert_eq!(architecture.as_str(), text);
    }
    if let Ok(algorithm) = HashAlgorithm::parse(text) {
        assert_eq!(algorithm.name(), text);
    }
    if let Ok(rules) = CertificateRules::parse(text) {
        assert_eq!(CertificateRules::parse(text).ok(), Some(rules));
    }
    if let Ok(guid) = text.parse::<Guid>()
        && let Some(kind) = PartitionType::from_guid(guid)
    {
        assert_eq!(kind.to_guid(), Some(guid), "a type has one identifier");
    }
}

fn prints<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        assert_eq!(printed.parse::<T>().ok().as_ref(), Some(&value), "{printed} reads differently");
    }
}

/// The magic of a file system: its size is told the same whatever follows what is looked at.
pub fn fstype(bytes: &[u8]) {
    let Ok(found) = fstype::probe(bytes) else { return };
    let mut longer = bytes.to_vec();
    // What is looked at ends after 68 KiB; zeros there are no magic.
    longer.resize(bytes.len().max(65536 + 4096) + 512, 0);
    if let (Some(found), Ok(again)) = (found, fstype::probe(&longer[..])) {
        assert_eq!(again.map(|again| again.fs_type), Some(found.fs_type));
    }
}

/// Certificates as PEM, one or many, and as DER.
pub fn certificate(bytes: &[u8]) {
    let mut set = Certificates::new(Time::from_unix(1_700_000_000));
    if let Ok(count) = set.add_pem_bundle(bytes) {
        // The same certificate twice is in the set once.
        assert!(count >= usize::from(!set.is_empty()));
    }
    if let Ok(one) = Certificate::from_pem(bytes).or_else(|_| Certificate::from_der(bytes)) {
        let written = one.to_pem().expect("what was read can be written");
        let again = Certificate::from_pem(&written).expect("what is written parses");
        assert_eq!(again.to_der().ok(), one.to_der().ok());
    }
}

/// A manifest: what is written of it is read the same, and written the same again.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse_json(bytes, &limits()) else { return };
    let mut written = Vec::new();
    manifest.write_json(&mut written).expect("memory takes it");
    let again = Manifest::parse_json(&written, &limits()).expect("what is written parses");
    assert!(again == manifest, "a manifest is read differently");
    let mut rewritten = Vec::new();
    again.write_json(&mut rewritten).expect("memory takes it");
    assert!(rewritten == written);
}
