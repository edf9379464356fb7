//! Small texts and magics: what is read from them prints to something that is read the same.

use super::limits;
use confext_ddi::RootHash;
use confext_ddi::digest::HashAlgorithm;
use confext_ddi::dps::{Architecture, Designator, PartitionType};
use confext_ddi::fstype::{self, FsType};
use confext_ddi::id::{Guid, Uuid};
use confext_ddi::lint;
use confext_ddi::manifest::Manifest;
use confext_ddi::policy::{Policy, Rule, Use};
use confext_ddi::release::ImageKind;
use confext_ddi::settings::Mutability;
use confext_ddi::signature::{Certificate, CertificateRules, Certificates, Fingerprint, KeyPair, Time};
use confext_ddi::unit::Name;
use confext_ddi::vpick::{Accept, Pattern};
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// Root hashes, identifiers, rules, names of all kinds: what is accepted prints to a text that means the same, and a name
/// of one thing is no name of another.
pub fn text(bytes: &[u8]) {
    // Paths need not be text.
    for (suffix, accept) in [(&b".raw"[..], Accept::Raw), (b"", Accept::Any), (b"", Accept::Directory)] {
        if let Ok(Pattern::Versioned { directory, base, .. }) = Pattern::parse(bytes, suffix, accept) {
            assert!(bytes.starts_with(&directory) && base.len() < bytes.len());
        }
    }
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
    prints::<Rule>(text);
    names(text);
    if let Ok(guid) = text.parse::<Guid>()
        && let Some(kind) = PartitionType::from_guid(guid)
    {
        assert_eq!(kind.to_guid(), Some(guid), "a type has one identifier");
    }
}

/// What is looked up in a list of names is in it under that name. `--partition` takes some of the designators.
fn names(text: &str) {
    let names = [
        Designator::from_name(text).map(Designator::as_str),
        FsType::from_name(text).map(FsType::as_str),
        Use::from_name(text).map(Use::as_str),
        ImageKind::from_name(text).map(ImageKind::as_str),
        lint::Code::from_text(text).map(lint::Code::as_str),
    ];
    assert!(names.into_iter().flatten().all(|name| name == text));
    if let Some(fingerprint) = Fingerprint::parse(text) {
        assert_eq!(fingerprint.to_string(), text);
    }
    if let Some(mutability) = Mutability::from_name(text) {
        assert_eq!(Mutability::from_name(mutability.as_str()), Some(mutability));
    }
    if let Some(policy) = Policy::named(text) {
        assert_eq!(Policy::parse(&policy.to_string()).ok(), Some(policy));
    }
    if let Ok(name) = Name::parse(text) {
        assert_eq!(Name::parse(name.as_str()).ok().as_ref(), Some(&name));
        assert_eq!(format!("{}.{}", name.stem(), name.kind()), name.as_str());
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

/// Certificates as PEM, one or many, and as DER; a private key with the certificate behind it.
pub fn certificate(bytes: &[u8]) {
    if let Ok(key) = KeyPair::from_pem(bytes, bytes) {
        let written = key.certificate_pem().expect("what was read can be written");
        assert!(Certificate::from_pem(&written).is_ok());
    }
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
