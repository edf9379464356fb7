//! The kernel's own keyring for signers of images, filled and sealed: `vm-guest keyring`.

use confext_core::Host;
use confext_core::keyring::{DM_VERITY, Keyring, Sealing};
use confext_core::trust::{KeyringState, Presence, Report, Source, Sources, report};
use confext_ddi::RootHash;
use confext_ddi::signature::{Embed, KeyPair, Sign as _, Signer, Time, TrustSource, Verifier as _};
use confext_tests::root::key;
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Name};

const ROOT: RootHash = RootHash::from_bytes([7; 32]);

/// A key on P-256 and its self-signed certificate.
fn ec() -> KeyPair {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = EcKey::generate(&group).and_then(PKey::from_ec_key).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, "ec").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(5).and_then(|number| Asn1Integer::from_bn(&number)).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let (key, certificate) = (key.private_key_to_pem_pkcs8().unwrap(), builder.build().to_pem().unwrap());
    KeyPair::from_pem(&key, &certificate).unwrap()
}

fn ask(signer: &KeyPair) -> Result<Signer, &'static str> {
    let opened = Sources::new([Source::Keyrings]).open(&Host::open("/").unwrap(), now()).unwrap();
    opened.verify(&ROOT, &signer.sign(&ROOT).unwrap()).map_err(|error| error.code())
}

fn now() -> Time {
    Time::from(std::time::SystemTime::now())
}

fn reported() -> Report {
    report(&Host::open("/").unwrap(), &Sources::default(), None, now()).unwrap()
}

/// What is in the keyring counts once it is sealed, for RSA and ECDSA; then nothing can be put into it.
pub fn the_keyring_of_dm_verity_counts_when_it_is_sealed() {
    let keyring = Keyring::named(DM_VERITY).unwrap();
    let (vendor, late, ec) = (key("vendor"), key("late"), ec());
    for signer in [&vendor, &ec] {
        keyring.add(signer.certificate()).unwrap();
    }
    assert_eq!(keyring.sealing().unwrap(), Sealing::Open);
    assert_eq!(keyring.keys().unwrap().len(), 2, "nothing was put in to find that out");
    assert_eq!(ask(&vendor).unwrap_err(), "unknown-signer");
    assert_eq!(reported().next_step, "seal the keyring .dm-verity: the kernel ignores its keys until then");

    keyring.seal().unwrap();
    assert_eq!(keyring.sealing().unwrap(), Sealing::Sealed);
    assert_eq!(keyring.add(late.certificate()).unwrap_err().code(), "keyring-restricted");
    for signer in [&vendor, &ec] {
        let found = ask(signer).unwrap();
        assert_eq!(found.fingerprint, Some(signer.certificate_fingerprint()));
        assert!(
            matches!(&found.source, TrustSource::Keyring { keyring, .. } if keyring == DM_VERITY),
            "{found:?}"
        );
    }
    assert_eq!(ask(&late).unwrap_err(), "unknown-signer");
    // Nobody holds the kernel's keys: without the certificate they cannot be used.
    assert_eq!(ask(&vendor.embed(Embed::Nothing)).unwrap_err(), "key-not-usable");

    let report = reported();
    assert_eq!((report.kernel.device_mapper, report.kernel.verity), (Presence::Present, Presence::Present));
    let value = |name: &str| {
        let found = report.kernel.parameters.iter().find(|parameter| parameter.name == name);
        found.and_then(|parameter| parameter.value.clone())
    };
    assert_eq!(value("dm_verity.keyring_unsealed").as_deref(), Some("Y"));
    assert_eq!(value("dm_verity.require_signatures").as_deref(), Some("N"));
    let found = report.keyrings.iter().find(|keyring| keyring.name == DM_VERITY).unwrap();
    let KeyringState::Seen { sealing: Sealing::Sealed, keys } = &found.state else { panic!("{found:?}") };
    let algorithms: Vec<_> = keys.iter().filter_map(|key| key.algorithm.as_deref()).collect();
    assert!(algorithms.contains(&"rsa") && algorithms.contains(&"ecdsa-nist-p256"), "{keys:?}");
}
