use super::*;
use crate::trust::Source;
use confext_ddi::build::{Builder, Tree};
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, KeyPair};
use std::path::PathBuf;
use std::time::SystemTime;

struct Scene {
    root: tempfile::TempDir,
    vendor: KeyPair,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/verity.d")).unwrap();
        Self { root, vendor: KeyPair::generate("vendor", Time::from(SystemTime::now()), 1).unwrap() }
    }

    fn certificate(&self, name: &str, pem: &[u8]) {
        std::fs::write(self.root.path().join("etc/verity.d").join(name), pem).unwrap();
    }

    fn report(&self, sources: &Sources, image: Option<&Path>) -> Report {
        report(&Host::open(self.root.path()).unwrap(), sources, image, SystemTime::now()).unwrap()
    }
}

impl Scene {
    fn image(&self, name: &str, signer: Option<&KeyPair>) -> PathBuf {
        let mut tree = Tree::new();
        tree.add_file("etc/a", &b"a"[..], confext_ddi::build::Meta::new(0o644)).unwrap();
        let builder =
            Builder::new(Class::Confext, "app").tree(tree).release(confext_ddi::build::ReleaseFields::any());
        let builder = if signer.is_none() { builder.unsigned() } else { builder };
        let path = self.root.path().join(name);
        builder
            .build_file(&path, signer.map(|signer| -> &dyn confext_ddi::signature::Sign { signer }))
            .unwrap();
        path
    }
}

fn of<'a>(report: &'a Report, source: &str) -> &'a Answer {
    let [signature] = &report.image.as_ref().unwrap().signatures[..] else { panic!("one signature") };
    signature.answers.iter().find(|answer| answer.source == source).unwrap()
}

fn code(answer: &Answer) -> &'static str {
    match answer.verdict {
        Verdict::Accepted { .. } => "accepted",
        Verdict::Refused { code, .. } => code,
    }
}

#[test]
fn each_source_says_what_it_would_do_and_one_step_is_next() {
    let scene = Scene::new();
    let image = scene.image("a.raw", Some(&scene.vendor));
    let first = scene.report(&Sources::default(), Some(&image));
    assert_eq!(code(of(&first, "certificates")), "no-certificates");
    assert_eq!(first.next_step, "name the certificates whose signatures count");
    let claims = first.image.as_ref().unwrap().signatures[0].claims.clone().unwrap();
    assert!(claims.starts_with("issuer CN=vendor, serial number "), "{claims}");
    assert_ne!(code(of(&first, "keyring .builtin_trusted_keys")), "accepted");

    let other = KeyPair::generate("other", Time::from(SystemTime::now()), 1).unwrap();
    scene.certificate("other.crt", &other.certificate_pem().unwrap());
    let second = scene.report(&Sources::default(), Some(&image));
    assert_eq!(code(of(&second, "certificates")), "unknown-signer");

    scene.certificate("vendor.crt", &scene.vendor.certificate_pem().unwrap());
    let third = scene.report(&Sources::default(), Some(&image));
    assert!(of(&third, "certificates").chosen);
    assert_eq!(code(of(&third, "certificates")), "accepted");
    assert_eq!(third.next_step, "nothing: the image is accepted on the word of certificates");
    let not_chosen = scene.report(&Sources::new([]), Some(&image));
    assert!(!of(&not_chosen, "certificates").chosen);
    assert!(not_chosen.next_step.starts_with("choose the source certificates "), "{}", not_chosen.next_step);
}

#[test]
fn a_keyring_that_was_named_and_a_certificate_that_was_passed_are_asked() {
    let scene = Scene::new();
    let image = scene.image("a.raw", Some(&scene.vendor));
    let private = crate::keyring::PrivateKeyring::new().unwrap();
    let name = private.keyring().unwrap().description().to_owned();
    let sources = Sources::new([Source::Keyring { name: name.clone() }]);
    let before = scene.report(&sources, Some(&image));
    assert_eq!(code(of(&before, &format!("keyring {name}"))), "unknown-signer");
    private.keyring().unwrap().add(scene.vendor.certificate()).unwrap();
    let after = scene.report(&sources, Some(&image));
    assert_eq!(code(of(&after, &format!("keyring {name}"))), "accepted");
    assert_eq!(after.next_step, format!("nothing: the image is accepted on the word of keyring {name}"));
    let listed = after.keyrings.iter().find(|keyring| keyring.name == name).unwrap();
    let KeyringState::Seen { sealing: Sealing::Open, keys } = &listed.state else { panic!("{listed:?}") };
    assert_eq!(keys.len(), 1);

    let mut passed = Certificates::new(Time::from_unix(0));
    passed.add(scene.vendor.certificate().clone());
    let passed = scene.report(&Sources::new([]).passed(&passed), Some(&image));
    assert_eq!(code(of(&passed, "the caller")), "accepted");
    let missing = Sources::new([Source::Keyring { name: ".none".into() }]);
    let missing = scene.report(&missing, Some(&image));
    assert_eq!(code(of(&missing, "keyring .none")), "keyring-missing");
}

#[test]
fn what_is_not_signed_is_to_be_signed() {
    let scene = Scene::new();
    let image = scene.image("a.raw", None);
    let report = scene.report(&Sources::default(), Some(&image));
    assert_eq!(report.image.as_ref().unwrap().signatures, []);
    assert!(report.next_step.starts_with("sign the image"), "{}", report.next_step);
    std::fs::write(scene.root.path().join("junk.raw"), [1; 4096]).unwrap();
    let host = Host::open(scene.root.path()).unwrap();
    let junk = scene.root.path().join("junk.raw");
    super::report(&host, &Sources::default(), Some(&junk), SystemTime::now()).unwrap_err();
}

fn kernel(value: &str) -> Kernel {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("sys/module/dm_verity/parameters");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("require_signatures"), value).unwrap();
    Kernel::read(root.path())
}

#[test]
fn without_an_image_the_first_thing_that_is_missing_is_next() {
    let file = |state| TrustFile { path: "/etc/verity.d/a.crt".into(), state };
    let refused = TrustState::Refused { code: "certificate-pem", message: String::new() };
    let key = |state| Key {
        serial: crate::sys::KeySerial::new(5).unwrap(),
        kind: Some("asymmetric".into()),
        description: None,
        subject: None,
        key_id: None,
        algorithm: None,
        state,
    };
    let keyring = |name: &str, sealing, state| {
        let state = KeyringState::Seen { sealing, keys: vec![key(state)] };
        vec![KeyringReport { name: name.to_owned(), state }]
    };
    let (open, sealed) = (Sealing::Open, Sealing::Sealed);
    for (kernel, keyrings, files, expected) in [
        (kernel("N"), vec![], vec![], "put the certificate of whoever"),
        (
            kernel("N"),
            vec![],
            vec![file(refused)],
            "put one certificate in PEM form into /etc/verity.d/a.crt",
        ),
        (kernel("N"), vec![], vec![file(TrustState::Used)], "nothing: "),
        (kernel("Y"), vec![], vec![file(TrustState::Used)], "load a certificate into a trusted keyring"),
        (kernel("Y"), keyring(DM_VERITY, open, KeyState::Valid), vec![], "seal the keyring .dm-verity"),
        (kernel("Y"), keyring(DM_VERITY, sealed, KeyState::Valid), vec![], "choose the kernel's keyrings"),
        (
            kernel("N"),
            keyring(DM_VERITY, sealed, KeyState::Revoked),
            vec![],
            "put the certificate of whoever",
        ),
    ] {
        let found = next_step(&kernel, &keyrings, &files, None);
        assert!(found.starts_with(expected), "{found}");
    }
}
