use super::*;
use confext_ddi::signature::{KeyPair, Time};
use std::time::SystemTime;

fn private() -> (PrivateKeyring, Keyring) {
    let private = PrivateKeyring::new().unwrap();
    let keyring = private.keyring().unwrap();
    (private, keyring)
}

fn pair(subject: &str) -> KeyPair {
    KeyPair::generate(subject, Time::from(SystemTime::now()), 1).unwrap()
}

#[test]
fn keyrings_are_found_by_number_and_by_description() {
    let (_private, keyring) = private();
    assert_eq!(Keyring::find(&keyring.serial().to_string()).unwrap(), keyring);
    assert_eq!(Keyring::find(&format!("0x{:x}", keyring.serial().value())).unwrap(), keyring);
    assert_eq!(Keyring::find(keyring.description()).unwrap(), keyring);
    assert_eq!(Keyring::find(&format!("%:{}", keyring.description())).unwrap(), keyring);
    for missing in ["no such keyring", "%:.no-such-keyring", ""] {
        assert_eq!(Keyring::find(missing).unwrap_err().code(), "keyring-missing", "{missing:?}");
    }
    let key = sys::add_key(c"user", c"confext-test-kind", b"x", keyring.serial()).unwrap();
    assert_eq!(Keyring::find(&key.to_string()).unwrap_err().code(), "keyring-missing");
}

#[test]
fn a_keyring_of_others_or_one_of_two_is_not_used() {
    let (first, keyring) = private();
    let set =
        |serial, bits| sys::key_set_permissions(serial, KeyPermissions::from_bits_retain(bits)).unwrap();
    for others in [KeyPermissions::OTHER_WRITE, KeyPermissions::OTHER_SETATTR] {
        set(keyring.serial(), 0x3f01_0000 | others.bits());
        for name in [keyring.description().to_owned(), keyring.serial().to_string()] {
            assert_eq!(Keyring::find(&name).unwrap_err().code(), "keyring-owner");
        }
    }
    set(keyring.serial(), 0x3f01_0000);
    assert!(Keyring::find(keyring.description()).is_ok());
    let (second, _) = private();
    let description = CString::new(keyring.description()).unwrap();
    sys::add_key(c"keyring", &description, b"", second.serial()).unwrap();
    assert_eq!(Keyring::find(keyring.description()).unwrap_err().code(), "keyring-ambiguous");
    drop(first);
}

/// Needs no root: the keyrings are those of this thread.
#[test]
fn certificates_are_loaded_listed_and_found() {
    let (_private, keyring) = private();
    let vendor = pair("vendor");
    let key = keyring.add(vendor.certificate()).unwrap();
    let [listed] = &keyring.keys().unwrap()[..] else { panic!("one key") };
    assert_eq!(
        (listed.serial, listed.kind.as_deref(), listed.state),
        (key, Some("asymmetric"), KeyState::Valid)
    );
    assert_eq!((listed.subject.as_deref(), listed.algorithm.as_deref()), (Some("vendor"), Some("rsa")));
    assert!(listed.key_id.is_some());
    let signature =
        confext_ddi::signature::Sign::sign(&vendor, &confext_ddi::RootHash::from_bytes([1; 32])).unwrap();
    let form = confext_ddi::signature::SignedData::parse(&signature).unwrap();
    let name = KeyName::IssuerAndSerial(form.key_id());
    assert_eq!(keyring.key(&name).unwrap(), Some(key));
    let mut other = form.key_id();
    other.push(0);
    assert_eq!(keyring.key(&KeyName::IssuerAndSerial(other)).unwrap(), None);
    // The end of an identifier is not the identifier.
    assert_eq!(keyring.key(&KeyName::IssuerAndSerial(form.key_id()[1..].to_vec())).unwrap(), None);
    for wrong in [vec![], vec![1; 4096]] {
        assert_eq!(keyring.key(&KeyName::KeyIdentifier(wrong)).unwrap_err().code(), "os");
    }
    sys::key_revoke(key).unwrap();
    assert_eq!(keyring.keys().unwrap()[0].state, KeyState::Revoked);
    assert_eq!(keyring.search(&name).unwrap(), Found::Revoked);
}

#[test]
fn what_a_keyring_takes_can_be_told_without_putting_anything_in() {
    let (_first, open) = private();
    assert_eq!(open.sealing().unwrap(), Sealing::Open);
    assert_eq!(open.keys().unwrap(), []);
    let (_second, restricted) = private();
    restricted.restrict_by(&open).unwrap();
    assert_eq!(restricted.sealing().unwrap(), Sealing::Restricted);
    let (_third, sealed) = private();
    sealed.seal().unwrap();
    assert_eq!(sealed.sealing().unwrap(), Sealing::Sealed);
    for keyring in [&restricted, &sealed] {
        assert_eq!(keyring.seal().unwrap_err().code(), "keyring-restricted");
        assert_eq!(keyring.restrict_by(&open).unwrap_err().code(), "keyring-restricted");
        assert_eq!(keyring.add(pair("late").certificate()).unwrap_err().code(), "keyring-restricted");
    }
    sys::key_set_permissions(open.serial(), KeyPermissions::HOLDER_SEARCH | KeyPermissions::HOLDER_READ)
        .unwrap();
    assert_eq!(open.sealing().unwrap(), Sealing::Unknown);
}

#[test]
fn a_restricted_keyring_takes_what_its_keys_signed() {
    let (_first, trusted) = private();
    let (vendor, other) = (pair("vendor"), pair("other"));
    trusted.add(vendor.certificate()).unwrap();
    let (_second, restricted) = private();
    restricted.restrict_by(&trusted).unwrap();
    restricted.add(vendor.certificate()).unwrap();
    let error = restricted.add(other.certificate()).unwrap_err();
    assert_eq!(error.code(), "keyring-restricted", "{error}");
}
