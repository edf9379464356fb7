//! Signatures that the kernel checks with keys in keyrings of the test: what is accepted, and each way to be refused
#![allow(missing_docs, reason = "a test program")]

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use confext_core::admission::{Options, Trust};
use confext_core::keyring::{KernelKeyring, Keyring, PrivateKeyring};
use confext_core::stack::Outcome;
use confext_core::state::Checked;
use confext_core::sys::{self, KeyPermissions, KeySerial};
use confext_core::trace::Answer;
use confext_core::trust::{Source, Sources};
use confext_core::{merge, refresh, trace};
use confext_ddi::RootHash;
use confext_ddi::limits::Limits;
use confext_ddi::release::Class;
use confext_ddi::signature::{
    Certificate, Certificates, Embed, KeyPair, Sign as _, SignedData, Signer, Time, TrustSource,
    Verifier as _,
};
use confext_tests::peer::Place;
use confext_tests::root::{Root, key};
use confext_tests::sweep::isolated;
use confext_tests::tools::run;

const ROOT: RootHash = RootHash::from_bytes([7; 32]);
const OTHER_ROOT: RootHash = RootHash::from_bytes([8; 32]);
const BARE: &str = "validity=ignored,usage=ignored";

fn now() -> Time {
    Time::from(SystemTime::now())
}

/// A certificate named `confext-test SUBJECT`, made by openssl with these arguments.
fn made(dir: &Path, name: &str, arguments: &str) -> KeyPair {
    let subject = format!("/CN=confext-test {}", name.split('-').next().unwrap());
    let arguments = format!("req -x509 -nodes -keyout {name}.key -out {name}.crt {arguments} -subj");
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.push(&subject);
    run("openssl", &arguments, dir);
    let read = |ending: &str| fs::read(dir.join(format!("{name}.{ending}"))).unwrap();
    KeyPair::from_pem(&read("key"), &read("crt")).unwrap()
}

const RSA: &str = "-newkey rsa:2048 -days 2 -set_serial 77";

/// A keyring of the thread with the key of a vendor in it, and one who is nobody.
struct Scene {
    dir: tempfile::TempDir,
    vendor: KeyPair,
    other: KeyPair,
    /// Another key under the vendor's issuer and serial number.
    twin: KeyPair,
    private: PrivateKeyring,
    key: KeySerial,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap();
        let [vendor, other, twin] =
            ["vendor", "other", "vendor-twin"].map(|name| made(dir.path(), name, RSA));
        let private = PrivateKeyring::new().unwrap();
        let key = private.keyring().unwrap().add(vendor.certificate()).unwrap();
        Self { dir, vendor, other, twin, private, key }
    }

    fn keyring(&self) -> Keyring {
        self.private.keyring().unwrap()
    }

    fn trust(&self) -> KernelKeyring {
        KernelKeyring::new(now()).keyring(self.keyring())
    }

    fn code(&self, trust: &KernelKeyring, message: &[u8]) -> &'static str {
        let error = trust.verify(&ROOT, message).unwrap_err();
        assert_eq!(error.family(), "unverified", "{error}");
        error.code()
    }
}

fn is_of_keyring(signer: &Signer, keyring: &Keyring) -> bool {
    matches!(&signer.source, TrustSource::Keyring { keyring: name, key }
        if name == keyring.description() && key.starts_with("confext-test"))
}

#[test]
#[ignore = "needs root"]
fn the_kernel_says_whose_signature_it_is() {
    isolated(|| {
        let scene = Scene::new();
        let signed = scene.vendor.sign(&ROOT).unwrap();
        let signer = scene.trust().verify(&ROOT, &signed).unwrap();
        assert_eq!(signer.fingerprint, Some(scene.vendor.certificate_fingerprint()));
        assert_eq!(signer.subject, "CN=confext-test vendor");
        assert!(is_of_keyring(&signer, &scene.keyring()), "{signer:?}");
        for (message, code) in [
            (scene.other.sign(&ROOT).unwrap(), "unknown-signer"),
            (scene.twin.sign(&ROOT).unwrap(), "signature-mismatch"),
            (scene.vendor.sign(&OTHER_ROOT).unwrap(), "signature-mismatch"),
            (signed[..signed.len() - 1].to_vec(), "signature-der"),
        ] {
            assert_eq!(scene.code(&scene.trust(), &message), code);
        }
        // No keyring, nobody.
        assert_eq!(scene.code(&KernelKeyring::new(now()), &signed), "unknown-signer");
    });
}

/// The kernel does not hand out certificates: without one nobody knows until when it is valid.
#[test]
#[ignore = "needs root"]
fn a_certificate_that_nobody_has_is_not_made_up() {
    isolated(|| {
        let scene = Scene::new();
        let bare = scene.vendor.clone().embed(Embed::Nothing).sign(&ROOT).unwrap();
        assert_eq!(scene.code(&scene.trust(), &bare), "certificate-unknown");
        let signer = scene.trust().rules(BARE.parse().unwrap()).verify(&ROOT, &bare).unwrap();
        assert_eq!((signer.fingerprint, signer.not_before, signer.not_after), (None, None, None));
        assert_eq!(signer.subject, "issuer CN=confext-test vendor, serial number 4d");
        let mut known = Certificates::new(now());
        known.add(scene.vendor.certificate().clone());
        let signer = scene.trust().known(&known).verify(&ROOT, &bare).unwrap();
        assert_eq!(signer.fingerprint, Some(scene.vendor.certificate_fingerprint()));
        assert!(is_of_keyring(&signer, &scene.keyring()), "not the caller: {signer:?}");
        // What is known is not trusted.
        known.add(scene.other.certificate().clone());
        let by_other = scene.other.sign(&ROOT).unwrap();
        assert_eq!(scene.code(&scene.trust().known(&known), &by_other), "unknown-signer");
    });
}

/// The vendor's signature, with a certificate that says the same name and another key, another validity.
#[test]
#[ignore = "needs root"]
fn a_certificate_of_another_key_is_told() {
    isolated(|| {
        let scene = Scene::new();
        let signed = scene.vendor.sign(&ROOT).unwrap();
        let form = SignedData::parse(&signed).unwrap();
        let swapped = form.to_der(&[&scene.twin.certificate().to_der().unwrap()]);
        assert_eq!(scene.code(&scene.trust(), &swapped), "certificate-not-of-key");
        let lenient = scene.trust().rules(BARE.parse().unwrap());
        assert_eq!(scene.code(&lenient, &swapped), "certificate-not-of-key", "whatever the rules");
    });
}

#[test]
#[ignore = "needs root"]
fn a_key_that_does_not_count_any_more_says_why() {
    isolated(|| {
        let scene = Scene::new();
        let signed = scene.vendor.sign(&ROOT).unwrap();
        // A second keyring that has it, too: revoked is revoked.
        let second = PrivateKeyring::new().unwrap();
        second.keyring().unwrap().add(scene.vendor.certificate()).unwrap();
        let both = scene.trust().keyring(second.keyring().unwrap());
        assert!(both.verify(&ROOT, &signed).is_ok());
        sys::key_revoke(scene.key).unwrap();
        assert_eq!(scene.code(&scene.trust(), &signed), "key-revoked");
        assert_eq!(scene.code(&both, &signed), "key-revoked");

        let third = PrivateKeyring::new().unwrap();
        let key = third.keyring().unwrap().add(scene.vendor.certificate()).unwrap();
        sys::key_set_timeout(key, 1).unwrap();
        let trust = KernelKeyring::new(now()).keyring(third.keyring().unwrap());
        // Until the kernel's clock says so.
        while trust.verify(&ROOT, &signed).is_ok() {
            std::thread::yield_now();
        }
        assert_eq!(scene.code(&trust, &signed), "key-expired");
        sys::key_unlink(key, third.serial()).unwrap();
        assert_eq!(scene.code(&trust, &signed), "unknown-signer");
    });
}

/// The kernel checks no validity. Whoever trusts a key still wants a certificate that is valid.
#[test]
#[ignore = "needs root"]
fn the_validity_and_usage_of_the_certificate_count() {
    isolated(|| {
        let scene = Scene::new();
        let old = KeyPair::generate("confext-test old", Time::from_unix(1_577_836_800), 1).unwrap();
        let server = made(
            scene.dir.path(),
            "server",
            "-newkey rsa:2048 -days 2 -set_serial 2 -addext extendedKeyUsage=serverAuth",
        );
        for (pair, code) in [(&old, "certificate-expired"), (&server, "certificate-usage")] {
            scene.keyring().add(pair.certificate()).unwrap();
            let signed = pair.sign(&ROOT).unwrap();
            assert_eq!(scene.code(&scene.trust(), &signed), code);
            assert!(scene.trust().rules(BARE.parse().unwrap()).verify(&ROOT, &signed).is_ok());
        }
    });
}

/// As in the keyrings that the kernel makes: another thread's keyring may be searched, but its key is not held here.
#[test]
#[ignore = "needs root"]
fn a_key_that_only_the_kernel_may_use_vouches_for_its_certificate() {
    isolated(|| {
        let scene = Scene::new();
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|threads| {
            let certificate = scene.vendor.certificate().clone();
            threads.spawn(move || {
                let theirs = PrivateKeyring::new().unwrap();
                theirs.keyring().unwrap().add(&certificate).unwrap();
                sys::key_set_permissions(theirs.serial(), KeyPermissions::from_bits_retain(0x3f0b_0000))
                    .unwrap();
                tell.send(theirs.serial()).unwrap();
                let _ = ended.recv();
                drop(theirs);
            });
            let keyring = Keyring::with_serial(told.recv().unwrap()).unwrap();
            check_vouched(&scene, &keyring);
            drop(end);
        });
    });
}

fn check_vouched(scene: &Scene, keyring: &Keyring) {
    let trust = KernelKeyring::new(now()).keyring(keyring.clone());
    let signed = scene.vendor.sign(&ROOT).unwrap();
    let signer = trust.verify(&ROOT, &signed).unwrap();
    assert_eq!(signer.fingerprint, Some(scene.vendor.certificate_fingerprint()));
    assert!(is_of_keyring(&signer, keyring), "{signer:?}");
    let bare = scene.vendor.clone().embed(Embed::Nothing).sign(&ROOT).unwrap();
    assert_eq!(scene.code(&trust, &bare), "key-not-usable");
    // Its own key did not sign that certificate.
    let form = SignedData::parse(&signed).unwrap();
    let swapped = form.to_der(&[&scene.twin.certificate().to_der().unwrap()]);
    for (message, code) in [
        (swapped, "key-not-usable"),
        (scene.twin.sign(&ROOT).unwrap(), "key-not-usable"),
        (scene.other.sign(&ROOT).unwrap(), "unknown-signer"),
        (scene.vendor.sign(&OTHER_ROOT).unwrap(), "signature-mismatch"),
    ] {
        assert_eq!(scene.code(&trust, &message), code);
    }
}

/// Another user's keyring, or one that may not be searched, is no reason to say that there is no such key.
#[test]
#[ignore = "needs root"]
fn a_keyring_that_may_not_be_searched_is_told_from_one_without_the_key() {
    isolated(|| {
        let scene = Scene::new();
        let trust = scene.trust();
        sys::key_set_permissions(
            scene.private.serial(),
            KeyPermissions::HOLDER_VIEW | KeyPermissions::HOLDER_SETATTR,
        )
        .unwrap();
        assert_eq!(scene.code(&trust, &scene.vendor.sign(&ROOT).unwrap()), "key-not-usable");
    });
}

/// RSA with every digest, and ECDSA where the kernel has it.
#[test]
#[ignore = "needs root"]
fn every_algorithm_of_the_kernel_is_checked_by_it() {
    isolated(|| {
        let scene = Scene::new();
        for digest in ["sha256", "sha384", "sha512"] {
            let message = by_openssl(&scene, "vendor", digest);
            assert!(scene.trust().verify(&ROOT, &message).is_ok(), "{digest}");
            assert_eq!(scene.trust().verify(&OTHER_ROOT, &message).unwrap_err().code(), "signature-mismatch");
        }
        for (name, curve, digest) in [("p256", "P-256", "sha256"), ("p384", "P-384", "sha384")] {
            let ec = made(
                scene.dir.path(),
                name,
                &format!("-newkey ec -pkeyopt ec_paramgen_curve:{curve} -days 2 -set_serial 3"),
            );
            match scene.keyring().add(ec.certificate()) {
                Ok(_) => {
                    let signer = scene.trust().verify(&ROOT, &by_openssl(&scene, name, digest)).unwrap();
                    assert_eq!(signer.fingerprint, Some(ec.certificate_fingerprint()));
                }
                Err(error) => {
                    assert_eq!(error.code(), "keyring-certificate", "{error}");
                    let known = fs::read_to_string("/proc/crypto").unwrap();
                    assert!(!known.contains("ecdsa-nist-p256"), "the kernel has it: {error}");
                }
            }
        }
    });
}

/// The message that openssl makes, with the certificate in it.
fn by_openssl(scene: &Scene, name: &str, digest: &str) -> Vec<u8> {
    let dir = scene.dir.path();
    fs::write(dir.join("content"), confext_ddi::signature::ToSign::new(&ROOT).content()).unwrap();
    let arguments = format!(
        "smime -sign -binary -noattr -md {digest} -in content -signer {name}.crt -inkey {name}.key -outform der -out signed"
    );
    run("openssl", &arguments.split(' ').collect::<Vec<_>>(), dir);
    fs::read(dir.join("signed")).unwrap()
}

/// What `keyctl` says of the same key, digest and signature.
#[test]
#[ignore = "needs root"]
fn keyctl_says_the_same() {
    isolated(|| {
        let place = Place::create();
        let scene = Scene::new();
        let mine = KeyPermissions::from_bits_retain(0x3f3f_0000);
        sys::key_set_permissions(scene.key, mine).unwrap();
        for (signing, root, fits) in
            [(&scene.vendor, &ROOT, true), (&scene.vendor, &OTHER_ROOT, false), (&scene.twin, &ROOT, false)]
        {
            let message = signing.sign(root).unwrap();
            let form = SignedData::parse(&message).unwrap();
            let digest = confext_ddi::signature::ToSign::new(&ROOT).digest(form.digest);
            fs::write(place.path("digest"), digest).unwrap();
            fs::write(place.path("signature"), form.signature).unwrap();
            let key = scene.key.to_string();
            let arguments =
                ["keyctl", "pkey_verify", &key, "0", "digest", "signature", "enc=pkcs1", "hash=sha256"];
            let theirs = place.attempt(&arguments);
            assert_eq!(theirs.status.success(), fits, "{theirs:?}");
            assert_eq!(scene.trust().verify(&ROOT, &message).is_ok(), fits);
            // The certificate as openssl has it comes to the same.
            let mut certificates = Certificates::new(now());
            certificates.add(Certificate::from_pem(&scene.vendor.certificate_pem().unwrap()).unwrap());
            assert_eq!(certificates.verify(&ROOT, &message).is_ok(), fits);
        }
    });
}

/// A stack on the word of a keyring: recorded, traced, and not refreshed once the key is revoked.
#[test]
#[ignore = "needs root"]
fn a_stack_says_which_keyring_it_is_trusted_by() {
    isolated(|| {
        let (root, vendor) = (Root::new(), key("confext-test vendor"));
        root.image(Class::Confext, "run/confexts/a.raw", &[("etc/a", "a")], Some(&vendor));
        let private = PrivateKeyring::new().unwrap();
        let in_keyring = private.keyring().unwrap().add(vendor.certificate()).unwrap();
        let source = Source::Keyring { name: private.serial().to_string() };
        let mut options = Options::default();
        assert_eq!(
            merge(&root.host(), Class::Confext, &options).unwrap_err().code(),
            "no-certificates",
            "nobody is trusted"
        );
        options.trust = Trust::Sources(Sources::new([source]));
        merge(&root.host(), Class::Confext, &options).unwrap();
        let origin = trace(&root.host(), "/etc/a", &Limits::default()).unwrap();
        let Answer::Layer { source, .. } = origin.answer else { panic!("{origin:?}") };
        let Checked::Signed { by, .. } = &source.checked else { panic!("{source:?}") };
        let name = private.keyring().unwrap().description().to_owned();
        assert!(matches!(&by.source, TrustSource::Keyring { keyring, .. } if *keyring == name), "{by:?}");
        let again = || refresh(&root.host(), Class::Confext, &options);
        assert!(matches!(again().unwrap().outcome, Outcome::Unchanged { .. }));
        sys::key_revoke(in_keyring).unwrap();
        assert_eq!(again().unwrap_err().code(), "key-revoked");
        assert_eq!(root.read("etc/a").as_deref(), Some("a"), "what is merged stays");
        root.unmerge(Class::Confext);
    });
}
