//! Signing apart from the build, and rules for which key may sign what.

use std::path::Path;

use confext_ddi::signature::Certificate;
use serde_json::Value;

use crate::documents::Documented;
use crate::fixture::{Call, Key, Scratch, confext};

const ANY: [&str; 2] = ["--release", "ID=_any"];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn later(scratch: &Scratch, name: &str) -> std::path::PathBuf {
    scratch.build(name, &["--sign-later".as_ref()], &ANY).0
}

fn sign(image: &Path, more: &[&str]) -> Call {
    confext(["--json", "sign", text(image)].iter().chain(more))
}

fn by(key: &Key) -> [&str; 4] {
    ["--key", text(&key.key), "--certificate", text(&key.certificate)]
}

fn code(call: &Call) -> String {
    call.json()["error"]["code"].as_str().unwrap().to_owned()
}

fn fingerprint(key: &Key) -> String {
    let pem = std::fs::read(&key.certificate).unwrap();
    Certificate::from_pem(&pem).unwrap().fingerprint().to_string()
}

#[test]
fn documents() {
    let scratch = Scratch::new();
    let image = later(&scratch, "a.raw");
    let content = scratch.path("content");
    let wanted = sign(&image, &["--to-sign", text(&content)]).ok().json();
    assert_eq!(std::fs::read_to_string(&content).unwrap(), wanted["root_hash"].as_str().unwrap());
    let short = scratch.path("digest");
    let digest = sign(&image, &["--to-sign", text(&short), "--digest", "sha384"]).ok().json();
    assert_eq!((std::fs::read(&short).unwrap().len(), &digest["digest"]), (48, &Value::from("sha384")));
    let signed = sign(&image, &by(&scratch.vendor)).ok().json();
    assert_eq!(signed["signatures"], Value::from(vec![fingerprint(&scratch.vendor)]));
    assert_eq!(signed["size_bytes"], std::fs::metadata(&image).unwrap().len());
    Documented::read("sign").check(&[wanted, digest, signed]);
    assert!(std::fs::read(&image).unwrap() == std::fs::read(scratch.signed("b.raw")).unwrap());
}

#[test]
fn signatures_are_exchanged_added_and_shown() {
    let scratch = Scratch::new();
    let (image, other) = (scratch.signed("a.raw"), scratch.key("other", -1, 30));
    let before = std::fs::read(&image).unwrap();
    let both = scratch.path("both.raw");
    let digest = ["--add", "--digest", "sha512", "--output", text(&both)];
    let document = sign(&image, &[&by(&other)[..], &digest].concat()).ok().json();
    assert_eq!(document["signatures"], Value::from(vec![fingerprint(&scratch.vendor), fingerprint(&other)]));
    assert!(std::fs::read(&image).unwrap() == before);
    for key in [&scratch.vendor, &other] {
        let verified = confext(["--json", "verify", text(&both)].iter().chain(&key.trust())).ok().json();
        assert_eq!(verified["evidence"]["by"]["fingerprint"], fingerprint(key));
    }
    let shown = confext(["inspect", text(&both)]).ok();
    for key in [&scratch.vendor, &other] {
        assert!(shown.text().contains(&format!("signed by certificate {}", fingerprint(key))), "{shown:?}");
    }
    let inspected = confext(["--json", "inspect", text(&both)]).ok().json();
    assert_eq!(inspected["claim"]["additional"][0]["fingerprint"], fingerprint(&other));

    sign(&image, &by(&other)).ok();
    let refused = confext(["--json", "verify", text(&image)].iter().chain(&scratch.vendor.trust()));
    assert_eq!((refused.status, code(&refused).as_str()), (1, "unknown-signer"));
}

#[test]
fn what_does_not_check_is_not_put_in() {
    let scratch = Scratch::new();
    let (image, other) = (later(&scratch, "a.raw"), scratch.key("other", -1, 30));
    let before = std::fs::read(&image).unwrap();
    let signature = scratch.file("signature", [7; 256]);
    let certificate = ["--certificate", text(&scratch.vendor.certificate)];
    let attach = [&["--signature", text(&signature)][..], &certificate].concat();
    let refused = sign(&image, &attach);
    assert_eq!((refused.status, code(&refused).as_str()), (1, "signature-not-of-key"));
    let mixed = ["--key", text(&other.key), "--certificate", text(&scratch.vendor.certificate)];
    let refused = sign(&image, &mixed);
    assert_eq!((refused.status, code(&refused).as_str()), (2, "key-mismatch"));
    let verified = confext(["--json", "verify", text(&image)].iter().chain(&scratch.vendor.trust()));
    assert_eq!((verified.status, code(&verified).as_str()), (1, "signature-empty"));
    let mut damaged = before.clone();
    damaged[20_480 + 3000] ^= 1;
    let damaged = scratch.file("damaged.raw", damaged);
    let refused = sign(&damaged, &by(&scratch.vendor));
    assert_eq!((refused.status, code(&refused).as_str()), (1, "root-hash"));
    assert!(std::fs::read(&image).unwrap() == before);
    for wrong in [&[][..], &certificate, &["--to-sign", "x", "--add"], &["--key", "k"]] {
        assert_eq!(sign(&image, wrong).status, 2, "{wrong:?}");
    }
}

#[test]
fn key_rules_hold_for_every_verb() {
    let scratch = Scratch::new();
    let root = scratch.host();
    let image = scratch.signed("host/var/lib/confexts/app.raw");
    scratch.file("host/var/lib/confexts/plain/etc/extension-release.d/extension-release.plain", "ID=_any\n");
    let ask = |verb: &str, rules: &str| {
        let rules = scratch.file("rules", rules);
        let fixed = ["--json", verb, "--root", text(&root), "--key-rules", text(&rules)];
        confext(fixed.iter().chain(&scratch.vendor.trust()).chain(&["--policy", "unprotected"]))
    };
    let refused = |document: &Value, name: &str| {
        let all = document["refused"].as_array().unwrap();
        let one = all.iter().find(|one| one["path"].as_str().unwrap().ends_with(name));
        one.map(|one| one["code"].as_str().unwrap().to_owned())
    };
    let signer = fingerprint(&scratch.vendor);
    for verb in ["list", "plan"] {
        let allowed = ask(verb, &format!("# ours\nsigner={signer} name=a* class=confext\n")).ok().json();
        assert_eq!(refused(&allowed, "app.raw"), None, "{allowed:#}");
        assert_eq!(refused(&allowed, "plain").as_deref(), Some("key-rules-unsigned"));
        let other = ask(verb, &format!("signer={signer} name=other\n")).ok().json();
        assert_eq!(refused(&other, "app.raw").as_deref(), Some("key-rules"));
        let versions = ask(verb, &format!("signer={signer} name=app version=>=1\n")).ok().json();
        assert_eq!(refused(&versions, "app.raw").as_deref(), Some("key-rules-version"));
    }
    let wrong = ask("list", "signer=vendor name=app\n");
    assert_eq!((wrong.status, code(&wrong).as_str()), (2, "key-rule"));
    assert!(image.exists());
}

#[test]
fn certificate_rules_are_an_argument() {
    let scratch = Scratch::new();
    let image = scratch.signed("a.raw");
    let verify = |rules: &str| {
        let fixed = ["--json", "verify", text(&image), "--certificate-rules", rules];
        confext(fixed.iter().chain(&scratch.vendor.trust()))
    };
    verify("validity=ignored").ok();
    let required = verify("usage=required");
    assert_eq!((required.status, code(&required).as_str()), (1, "certificate-usage"));
    assert_eq!(verify("usage=any").status, 2);
}
