//! Every kind of bad input: one code, one exit status, what was found and what was expected, and advice.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::fixture::{Call, Scratch, confext};

/// Changes one entry of both copies of a partition table, and their checksums.
pub fn edit_entry(image: &mut [u8], index: usize, edit: impl Fn(&mut [u8])) {
    const SECTOR: usize = 512;
    let backup = image.len() - SECTOR;
    for header in [SECTOR, backup] {
        let u32_at = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(&image[header..header + 8], b"EFI PART");
        let entries = u32_at(header + 72) * SECTOR;
        let (count, size) = (u32_at(header + 80), u32_at(header + 84));
        let start = entries + index * size;
        edit(&mut image[start..start + size]);
        let crc = crc32(&image[entries..entries + count * size]);
        image[header + 88..header + 92].copy_from_slice(&crc.to_le_bytes());
        image[header + 16..header + 20].fill(0);
        let crc = crc32(&image[header..header + 92]);
        image[header + 16..header + 20].copy_from_slice(&crc.to_le_bytes());
    }
}

pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A fault: the arguments that meet it, and what has to come of it.
struct Case {
    name: &'static str,
    arguments: Vec<String>,
    code: &'static str,
    status: i32,
    /// What the message has to name.
    says: Vec<&'static str>,
}

fn verify(trust: &[&str], image: &std::path::Path) -> Vec<String> {
    ["verify"].iter().chain(trust).copied().chain([image.to_str().unwrap()]).map(str::to_owned).collect()
}

fn cases(scratch: &Scratch) -> Vec<Case> {
    let vendor = scratch.vendor.trust();
    let any = ["--release", "ID=_any"];
    let (other, expired, early) =
        (scratch.key("other", -1, 30), scratch.key("expired", -9, 7), scratch.key("early", 7, 7));
    let by = |key: &crate::fixture::Key, name: &str| scratch.build(name, &key.signing(), &any).0;
    let (unsigned, _) = scratch.build("unsigned.raw", &["--unsigned".as_ref()], &any);
    let case = |name, arguments, code, status, says: &[&'static str]| Case {
        name,
        arguments,
        code,
        status,
        says: says.to_vec(),
    };
    let mut two_roots = std::fs::read(scratch.signed("good.raw")).unwrap();
    let root_type: Vec<u8> = two_roots[1024..1040].to_vec();
    edit_entry(&mut two_roots, 2, |entry| entry[..16].copy_from_slice(&root_type));
    let mut short = std::fs::read(scratch.signed("good.raw")).unwrap();
    short.truncate(short.len() / 2);
    let file = |name: &str, bytes: &[u8]| -> PathBuf { scratch.file(name, bytes) };
    let tree = scratch.tree(1);
    let build = |more: &[&str]| -> Vec<String> {
        let (source, output) = (tree.to_str().unwrap(), scratch.path("out.raw"));
        let fixed = [
            "build",
            "--class",
            "confext",
            "--name",
            "app",
            "--source",
            source,
            "--output",
            output.to_str().unwrap(),
        ];
        fixed.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
    };
    let (vendor_key, vendor_crt) =
        (scratch.vendor.key.to_str().unwrap(), scratch.vendor.certificate.to_str().unwrap());
    vec![
        case(
            "missing file",
            verify(&vendor, &scratch.path("none.raw")),
            "image-missing",
            3,
            &["found nothing", "none.raw"],
        ),
        case(
            "directory",
            verify(&vendor, &scratch.path("")),
            "image-file-type",
            3,
            &["found a directory", "expected a disk image"],
        ),
        case(
            "empty file",
            verify(&vendor, &file("empty.raw", b"")),
            "image-empty",
            1,
            &["found 0 bytes", "expected"],
        ),
        case(
            "no table",
            verify(&vendor, &file("text.raw", &[b'x'; 9000])),
            "image-unknown",
            1,
            &["found 9000 bytes", "expected a partition table"],
        ),
        case(
            "two root partitions",
            verify(&vendor, &file("two.raw", &two_roots)),
            "partitions-ambiguous",
            1,
            &["root", "1 and 3", "expected one"],
        ),
        case(
            "cut off",
            verify(&vendor, &file("short.raw", &short)),
            "gpt-usable-range",
            1,
            &["found", "expected"],
        ),
        case(
            "wrong key",
            verify(&vendor, &by(&other, "other.raw")),
            "unknown-signer",
            1,
            &["other", "1 trusted certificate"],
        ),
        case(
            "expired",
            verify(&expired.trust(), &by(&expired, "expired.raw")),
            "certificate-expired",
            1,
            &["expired", "found end of validity", "expected"],
        ),
        case(
            "not yet valid",
            verify(&early.trust(), &by(&early, "early.raw")),
            "certificate-not-yet-valid",
            1,
            &["found start of validity", "expected"],
        ),
        case(
            "nobody is trusted",
            verify(&[], &scratch.signed("signed.raw")),
            "no-certificates",
            1,
            &["found no trusted certificate", "expected at least 1"],
        ),
        case(
            "policy refuses",
            verify(&vendor, &unsigned),
            "policy",
            1,
            &["found protection verity", "expected"],
        ),
        case(
            "policy is no policy",
            verify(&["--policy", "root=sigend"], &unsigned),
            "policy-flag",
            2,
            &["--policy", "sigend"],
        ),
        case(
            "certificate is none",
            verify(&["--certificate", vendor_key], &unsigned),
            "certificate-pem",
            2,
            &["--certificate", "found", "expected"],
        ),
        case(
            "certificate is missing",
            verify(&["--certificate", "/none.crt"], &unsigned),
            "os",
            2,
            &["--certificate", "/none.crt"],
        ),
        case(
            "no such file",
            ["cat", vendor[0], vendor[1], scratch.signed("c.raw").to_str().unwrap(), "etc/none"]
                .map(str::to_owned)
                .to_vec(),
            "no-such-file",
            1,
            &["/etc/none"],
        ),
        case(
            "key of somebody else",
            build(&[
                "--key",
                vendor_key,
                "--certificate",
                other.certificate.to_str().unwrap(),
                "--release",
                "ID=_any",
            ]),
            "key-mismatch",
            2,
            &["--key"],
        ),
        case(
            "no release file",
            build(&["--key", vendor_key, "--certificate", vendor_crt]),
            "release-missing",
            1,
            &["found", "expected"],
        ),
        case("neither key nor --unsigned", build(&["--release", "ID=_any"]), "usage", 2, &["--key"]),
        case(
            "release field without value",
            build(&["--unsigned", "--release", "ID"]),
            "usage",
            2,
            &["KEY=VALUE"],
        ),
    ]
}

#[test]
fn each_fault_has_its_code_and_says_what_to_do() {
    let scratch = Scratch::new();
    let mut seen = BTreeSet::new();
    for case in cases(&scratch) {
        check(&case, &mut seen);
    }
    assert!(!scratch.path("out.raw").exists(), "a failed build leaves nothing behind");
}

fn check(case: &Case, seen: &mut BTreeSet<&'static str>) {
    let json = confext(["--json".to_owned()].into_iter().chain(case.arguments.iter().cloned()));
    assert_eq!(json.status, case.status, "{}: {json:?}", case.name);
    let error = &json.json()["error"];
    assert_eq!(error["code"], case.code, "{}: {error}", case.name);
    let message = error["message"].as_str().unwrap();
    for words in &case.says {
        assert!(message.contains(words), "{}: {message:?} says nothing of {words:?}", case.name);
    }
    assert!(!error["hint"].as_str().unwrap().is_empty(), "{}", case.name);
    assert!(case.code == "usage" || seen.insert(case.code), "{}: {} was seen before", case.name, case.code);
    if case.code != "usage" {
        check_text(case, &confext(&case.arguments), message);
    }
}

/// The same for people: code, message and advice on standard error, nothing on standard output.
fn check_text(case: &Case, text: &Call, message: &str) {
    assert_eq!(text.status, case.status);
    assert_eq!(text.text(), "", "{}", case.name);
    let mut lines = text.stderr.lines();
    // What is expected of a certificate is the time now, which goes on between two calls.
    let (found, _) = message.split_once(", expected").unwrap_or((message, ""));
    let first = lines.next().unwrap();
    assert!(first.starts_with(&format!("error[{}]: {found}", case.code)), "{first:?}: {message:?}");
    assert!(lines.any(|line| line.starts_with("  hint: ")), "{}", text.stderr);
}
