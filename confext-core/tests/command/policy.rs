//! Policies without an image: shown, checked, combined; and filters, which need one.

use crate::documents::Documented;
use crate::fixture::{Call, Scratch, confext};

fn policy(arguments: &[&str]) -> Call {
    confext(["policy"].iter().chain(arguments))
}

#[test]
fn show() {
    let text = "root=verity+signed+erofs:home=verity:usr=ignore";
    let call = policy(&["show", text]).ok();
    let lines: Vec<&str> = call.text().lines().collect();
    assert_eq!(lines[0], "policy           root=verity+signed+erofs:usr=ignore:home=verity");
    assert_eq!(lines[1], "shortest form    root=verity+signed+erofs:home=verity");
    assert_eq!(lines[2], "root             verity+signed+erofs");
    assert_eq!(lines[4], "home             nothing satisfies its rule");
    assert_eq!((lines.len(), lines[15]), (16, "default          ignore"));
    let document = policy(&["show", "--json", text]).ok().json();
    assert_eq!(document["partitions"][0]["rule"]["uses"], serde_json::json!(["verity", "signed"]));
    assert_eq!(document["partitions"][0]["rule"]["file_systems"], serde_json::json!(["erofs"]));
    assert!(document["partitions"][2]["rule"].is_null());
    Documented::read("policy show").check(&[document]);
    let preset = policy(&["show", "@confext-strict"]).ok();
    assert!(preset.text().starts_with("policy           root=signed+absent\n"), "{}", preset.text());
}

#[test]
fn lint() {
    let call = policy(&["lint", "root=verity+signed+absent+encrypted"]);
    assert_eq!((call.status, call.stderr.as_str()), (1, ""));
    assert!(
        call.text().starts_with(
            "warning[signed-or-verity]: root=verity+signed+encrypted+absent: `+` means or: an image with a hash tree and no \
             signature is admitted\n  hint: write `signed` alone where a signature is required\nnote[encrypted]: "
        ),
        "{}",
        call.text()
    );
    let document = policy(&["lint", "--json", "root=verity+signed+absent+encrypted"]).json();
    assert_eq!(document["findings"][0]["code"], "signed-or-verity");
    assert_eq!(document["findings"][0]["designator"], "root");
    Documented::read("policy lint").check(&[document]);
    let quiet = policy(&["lint", "signed"]).ok();
    assert_eq!(quiet.text(), "nothing found in root=signed+absent:usr=signed+absent\n");
    assert_eq!(policy(&["lint", "root=signed+encrypted"]).status, 0, "a note is no warning");
}

#[test]
fn intersect_and_union() {
    let [a, b, c] = ["root=verity+signed:=absent", "root=unprotected+absent", "*"];
    assert_eq!(policy(&["intersect", a, b, c]).ok().text(), "root=verity+signed:=absent\n");
    assert_eq!(
        policy(&["union", a, b]).ok().text(),
        "root=unprotected+verity+absent\n".replace("unprotected+verity", "verity+unprotected")
    );
    let document = policy(&["intersect", "--json", a, b]).ok().json();
    assert_eq!(document["policies"].as_array().unwrap().len(), 2);
    Documented::read("policy intersect").check(&[document, policy(&["union", "--json", a, b]).ok().json()]);
    let call = policy(&["intersect", "--json", "root=signed", "-"]);
    assert_eq!((call.status, call.json()["error"]["code"].as_str()), (1, Some("policy-disjoint")));
    for wrong in [&["intersect", a][..], &["show", "root=sigend"], &["lint", "@nobody"], &["merge", a], &[]] {
        assert_eq!(policy(wrong).status, 2, "{wrong:?}");
    }
}

#[test]
fn filters_leave_partitions_out() {
    let scratch = Scratch::new();
    let image = scratch.signed("a.raw");
    let [flag, certificate] = scratch.vendor.trust();
    let image = image.to_str().unwrap();
    let verify =
        |filter: &str| confext(["--json", "verify", flag, certificate, "--image-filter", filter, image]);
    assert_eq!(verify("root=root-*:usr=none").ok().json()["evidence"]["kind"], "signed");
    let refused = verify("root=app*");
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (1, Some("image-filter")));
    let wrong = verify("root=[a");
    assert_eq!((wrong.status, wrong.json()["error"]["code"].as_str()), (2, Some("filter-pattern")));
    // A filter that leaves the protection out leaves nothing that the default policy admits.
    assert_eq!(verify("root-verity=x:root-verity-sig=x").json()["error"]["code"], "policy");
    let inspect = ["--json", "inspect", "--image-filter", "root-verity-sig=x", image];
    let document = confext(inspect).ok().json();
    assert_eq!(document["skipped"][0]["because"], "filtered");
}
