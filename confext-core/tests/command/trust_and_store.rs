//! `trust` and `store`: their documents, and what they say of sources and versions.

use serde_json::Value;

use crate::documents::Documented;
use crate::fixture::{Scratch, confext};

#[test]
fn trust() {
    let scratch = Scratch::new();
    let (image, _) = scratch.build("a.raw", &scratch.vendor.signing(), &["--release", "ID=_any"]);
    let (host, image) = (scratch.host(), image.to_str().unwrap());
    let root = host.to_str().unwrap();
    let ask = |more: &[&str]| {
        let arguments = [&["trust", "--json", "--root", root], more].concat();
        confext(arguments).ok().json()
    };
    let (without, unknown) = (ask(&[]), ask(&[image]));
    Documented::read("trust").check(&[without.clone(), unknown.clone()]);
    assert!(without["image"].is_null() && without["files"].as_array().unwrap().is_empty());
    let answers = &unknown["image"]["signatures"][0]["answers"];
    assert_eq!(
        (&answers[0]["source"], &answers[0]["code"]),
        (&"certificates".into(), &"no-certificates".into())
    );
    let certificate = scratch.vendor.certificate.to_str().unwrap();
    let passed = ask(&[image, "--certificate", certificate]);
    assert_eq!(passed["image"]["signatures"][0]["answers"][0]["signer"]["source"]["kind"], "caller");
    assert_eq!(passed["next_step"], "nothing: the image is accepted on the word of the caller");
    let text = confext(["trust", "--root", root, image, "--certificate", certificate]).ok();
    assert!(text.text().contains("  accepted     by the caller: CN=vendor\n"), "{}", text.text());
    // A keyring that is not there is no keyring without keys.
    let none =
        ["verify", "--json", image, "--certificate", certificate, "--trust-keyring", ".no-such-keyring"];
    let failed = confext(none);
    assert_eq!((failed.status, &failed.json()["error"]["code"]), (3, &"keyring-missing".into()));
    assert_eq!(confext(["verify", image, "--trust", "somebody"]).status, 2);
}

#[test]
fn store() {
    let scratch = Scratch::new();
    let (image, _) = scratch.build("app.raw", &scratch.vendor.signing(), &["--release", "ID=_any"]);
    let (image, host) = (image.to_str().unwrap().to_owned(), scratch.host());
    let place = scratch.path("app.raw.v");
    std::fs::create_dir(&place).unwrap();
    let (place, root) = (place.to_str().unwrap(), host.to_str().unwrap());
    let [flag, certificate] = scratch.vendor.trust();
    let publish = |version: &str, more: &[&str]| {
        let arguments = ["store", "publish", "--json", &image, place, "--version", version];
        let trust = ["--root", root, flag, certificate];
        confext(arguments.into_iter().chain(trust).chain(more.iter().copied()))
    };
    let (first, second) = (publish("1", &[]).ok().json(), publish("2", &["--tries", "2"]).ok().json());
    Documented::read("store publish").check(&[first.clone(), second.clone()]);
    assert_eq!((&first["was_there"], &second["tries"]["left"]), (&false.into(), &2.into()));
    assert_eq!(publish("1", &[]).ok().json()["was_there"], true);
    let (status, code) = (publish("1+2", &[]).status, publish("1+2", &[]).json()["error"]["code"].clone());
    assert_eq!((status, code), (3, "version-name".into()));
    let ask =
        |verb: &[&str]| confext(["store", verb[0], "--json", place].iter().chain(&verb[1..])).ok().json();
    let lists: Vec<Value> = ["list", "begin", "bad", "good"].into_iter().map(|verb| ask(&[verb])).collect();
    Documented::read("store").check(&lists);
    let used = |list: &Value| list["versions"][0]["version"].as_str().unwrap().to_owned();
    assert_eq!(lists.iter().map(used).collect::<Vec<_>>(), ["2", "2", "1", "1"]);
    let pruned = ask(&["prune", "--keep", "1", "--root", root]);
    Documented::read("store prune").check(&[pruned.clone(), ask(&["prune", "--root", root])]);
    assert_eq!(pruned["removed"][0]["version"], "2");
    let untrusted = confext(["store", "publish", &image, place, "--version", "3", "--root", root]);
    assert_eq!(untrusted.status, 1);
    assert_eq!(confext(["store", "list", root]).status, 3);
}
