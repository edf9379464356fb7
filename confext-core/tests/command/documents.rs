//! Every verb's JSON has the fields that `docs/command.md` lists, and no others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use confext_ddi::Limits;
use confext_ddi::build::{Builder, Device, Meta, ReleaseFields, Tree};
use confext_ddi::lint::Code;
use confext_ddi::manifest::{Dialect, Kind, Manifest};
use confext_ddi::release::Class;
use serde_json::Value;

use crate::fixture::{Scratch, confext};

/// The fields that the document lists for a verb: those that are always there, and those that may be.
pub struct Documented {
    always: BTreeSet<String>,
    sometimes: BTreeSet<String>,
    /// Those whose own fields have a table of their own.
    elsewhere: BTreeSet<String>,
}

impl Documented {
    /// Names like `evidence.by.subject` and `entries[].path`.
    fn collect(&self, prefix: &str, value: &Value, fields: &mut BTreeSet<String>) {
        if self.elsewhere.contains(prefix) || self.elsewhere.contains(prefix.trim_end_matches("[]")) {
            return;
        }
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    fields.insert(name.clone());
                    self.collect(&name, value, fields);
                }
            }
            Value::Array(items) => {
                items.iter().for_each(|item| self.collect(&format!("{prefix}[]"), item, fields));
            }
            _ => {}
        }
    }

    pub fn read(verb: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/command.md");
        let text = std::fs::read_to_string(path).unwrap();
        let start = format!("<!-- fields of {verb} -->\n");
        let (_, rest) = text.split_once(&start).unwrap_or_else(|| panic!("no {start:?}"));
        let (table, _) = rest.split_once("\n<!-- end -->").unwrap();
        let (mut always, mut sometimes, mut elsewhere) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for row in table.lines().filter(|row| row.starts_with("| `")) {
            let name = row.trim_start_matches("| `").split('`').next().unwrap().to_owned();
            if row.contains("; see the table of ") {
                elsewhere.insert(name.clone());
            }
            if row.contains("| may be missing:") {
                sometimes.insert(name)
            } else {
                always.insert(name)
            };
        }
        assert!(!always.is_empty(), "{verb}");
        Self { always, sometimes, elsewhere }
    }

    /// Compares with documents that together show every field.
    pub fn check(&self, documents: &[Value]) {
        let mut seen = BTreeSet::new();
        for document in documents {
            let mut fields = BTreeSet::new();
            self.collect("", document, &mut fields);
            for field in &fields {
                assert!(
                    self.always.contains(field) || self.sometimes.contains(field),
                    "not documented: {field}"
                );
            }
            seen.extend(fields);
        }
        for field in self.always.iter().chain(&self.sometimes) {
            assert!(seen.contains(field), "documented, but not there: {field}");
        }
        for document in documents {
            for field in self.always.iter().filter(|field| !field.contains(['.', '['])) {
                assert!(document.get(field).is_some(), "always there, says the document: {field}");
            }
        }
    }
}

#[test]
fn build() {
    let scratch = Scratch::new();
    let (image, signed) = scratch.build("a.raw", &scratch.vendor.signing(), &["--release", "ID=_any"]);
    let unsigned = ["--unsigned".as_ref()];
    let (_, unsigned) = scratch.build("b.raw", &unsigned, &["--release", "ID=_any"]);
    Documented::read("build").check(&[signed.clone(), unsigned.clone()]);
    assert_eq!(signed["size_bytes"], std::fs::metadata(&image).unwrap().len());
    assert_eq!(signed["image"], image.to_str().unwrap());
    assert_eq!(signed["partitions"].as_array().unwrap().len(), 3);
    assert!(signed["signed"].is_string() && unsigned["signed"].is_null());
    assert_eq!(signed["root_hash"], unsigned["root_hash"]);
}

#[test]
fn pick() {
    let scratch = Scratch::new();
    let place = scratch.path("app.v");
    std::fs::create_dir(&place).unwrap();
    for name in ["app_1.raw", "app_2+3-1.raw", "app_3+0.raw", "app_9", "app_4_arm64.raw"] {
        scratch.file(&format!("app.v/{name}"), "");
    }
    let (dotted, triple) = (place.to_str().unwrap(), scratch.path("app.v/app___.raw"));
    let triple = triple.to_str().unwrap();
    let document = confext(["pick", "--json", triple, scratch.path("").to_str().unwrap()]).ok().json();
    assert_eq!(document["picked"][0]["tries"], serde_json::json!({"left": 3, "done": 1}));
    Documented::read("pick").check(&[document]);
    for (arguments, expected) in [
        (&["pick", dotted][..], "app_9"),
        (&["pick", dotted, "--suffix", ".raw", "--accept", "raw"], "app_2+3-1.raw"),
        (&["pick", triple, "--version", "1"], "app_1.raw"),
        (&["pick", triple, "--architecture", "arm64"], "app_4_arm64.raw"),
    ] {
        assert_eq!(confext(arguments).ok().text(), format!("{dotted}/{expected}\n"));
    }
    let nothing = confext(["pick", "--json", &format!("{triple}/")]);
    assert_eq!((nothing.status, &nothing.json()["error"]["code"]), (1, &"nothing-to-pick".into()));
    let missing = confext(["pick", "--json", scratch.path("no").to_str().unwrap()]);
    assert_eq!((missing.status, &missing.json()["error"]["code"]), (3, &"os".into()));
    assert_eq!(confext(["pick", dotted, "--accept", "x"]).status, 2);
}

/// An image, unsigned, with files of every kind and names that are no text.
fn image_of_all_kinds(scratch: &Scratch) -> PathBuf {
    let mut tree = Tree::new();
    tree.add_file(b"etc/a\xff", "one", Meta::new(0o644)).unwrap();
    tree.add_hardlink("etc/b", b"etc/a\xff").unwrap();
    tree.add_symlink("etc/link", b"to \xff", Meta::new(0o777)).unwrap();
    tree.add_device("etc/null", Device::Character { major: 1, minor: 3 }, Meta::new(0o666)).unwrap();
    tree.set_xattr("etc", b"user.\xff", "value").unwrap();
    let path = scratch.path("kinds.raw");
    let builder = Builder::new(Class::Confext, "kinds").tree(tree).release(ReleaseFields::any()).unsigned();
    let builder = builder.allow([Code::DeviceNode]);
    let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    builder.build(&mut file, None).unwrap();
    path
}

#[test]
fn manifest() {
    let scratch = Scratch::new();
    let image = image_of_all_kinds(&scratch);
    let of = |more: &[&str]| {
        let first = ["manifest", image.to_str().unwrap(), "--policy", "verity"];
        confext(first.into_iter().chain(more.iter().copied())).ok()
    };
    let document = of(&["--json"]);
    Documented::read("manifest").check(&[document.json()]);
    let limits = Limits::default();
    let manifest = Manifest::parse_json(&document.stdout, &limits).unwrap();
    let kind = &manifest.get(b"etc/b").unwrap().kind;
    assert!(matches!(kind, Kind::Regular { size_bytes: 3, sha256: Some(_) }), "{kind:?}");
    let sizes = Manifest::parse_json(&of(&["--json", "--no-digests"]).stdout, &limits).unwrap();
    assert_eq!(sizes.get(b"etc/b").unwrap().kind, Kind::Regular { size_bytes: 3, sha256: None });
    for (more, dialect) in [(&[][..], Dialect::Bsd), (&["--mtree", "systemd"], Dialect::Systemd)] {
        let mut expected = Vec::new();
        manifest.write_mtree(dialect, &mut expected).unwrap();
        assert_eq!(of(more).stdout, expected);
    }
}

#[test]
fn lint() {
    let scratch = Scratch::new();
    let lint = |more: &[&str]| {
        let arguments = ["--json", "lint", "--class", "confext", "--name", "app"];
        confext(arguments.iter().chain(more))
    };
    let image = scratch.signed("a.raw");
    let [flag, certificate] = scratch.vendor.trust();
    let nothing = lint(&[flag, certificate, image.to_str().unwrap()]).ok().json();
    assert_eq!(nothing["findings"].as_array().unwrap().len(), 0);
    assert_eq!(lint(&[image.to_str().unwrap(), "--root", scratch.path("").to_str().unwrap()]).status, 1);

    let tree = scratch.tree(1);
    scratch.file("tree-1/etc/os-release", "ID=x\n");
    std::os::unix::fs::symlink("elsewhere", tree.join("etc/motd")).unwrap();
    std::fs::create_dir_all(scratch.host().join("etc/app.d")).unwrap();
    std::fs::write(tree.join("etc/app.d"), "").unwrap();
    let tree = tree.to_str().unwrap();
    let found = lint(&[tree, "--base", scratch.host().to_str().unwrap(), "--allow", "release-missing"]);
    let document = found.json();
    let codes: Vec<_> =
        document["findings"].as_array().unwrap().iter().map(|finding| &finding["code"]).collect();
    assert_eq!(codes, ["type-change", "replaces-os-release"], "{document}");
    assert_eq!(found.status, 1);
    Documented::read("lint").check(&[nothing, document]);
    let allow = ["--allow", "release-missing", "--allow", "replaces-os-release"];
    assert_eq!(lint(&[&[tree][..], &allow].concat()).ok().status, 0);
    assert_eq!(lint(&[tree, "--allow", "unknown"]).status, 2);
}

#[test]
fn a_build_is_stopped_by_what_lint_finds() {
    let scratch = Scratch::new();
    let tree = scratch.tree(1);
    let build = |more: &[&str]| {
        let arguments = ["--json", "build", "--class", "confext", "--name", "app", "--unsigned", "--source"];
        let output = scratch.path("out.raw");
        let places = [tree.to_str().unwrap(), "--output", output.to_str().unwrap(), "--replace"];
        (confext(arguments.iter().chain(&places).chain(more)), output.exists())
    };
    let (warned, there) = build(&["--release", "ID=debian", "--lint"]);
    assert_eq!((warned.status, there), (1, false));
    assert_eq!(warned.json()["error"]["code"], "lint");
    let (built, _) = build(&["--release", "ID=debian"]);
    assert_eq!(built.ok().json()["findings"][0]["code"], "release-version");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(tree.join("etc/app/app.conf"), mode).unwrap();
    let (refused, _) = build(&["--release", "ID=_any"]);
    assert_eq!(refused.json()["error"]["code"], "lint");
    build(&["--release", "ID=_any", "--allow", "set-id"]).0.ok();
}

#[test]
fn an_archive_on_standard_input_builds_what_its_directory_does() {
    use std::process::{Command, Stdio};
    let scratch = Scratch::new();
    let unsigned = ["--unsigned".as_ref()];
    let (expected, _) = scratch.build("a.raw", &unsigned, &["--release", "ID=_any"]);
    let mut tar = Command::new("tar")
        .args(["--format=posix", "-c", "."])
        .current_dir(scratch.tree(1))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = scratch.path("b.raw");
    let arguments = ["build", "--class", "confext", "--name", "app", "--release", "ID=_any", "--unsigned"];
    let status = crate::fixture::command()
        .args(arguments)
        .args(["--quiet", "--tar", "-", "--output", output.to_str().unwrap()])
        .stdin(tar.stdout.take().unwrap())
        .status()
        .unwrap();
    assert!(status.success() && tar.wait().unwrap().success());
    assert!(std::fs::read(expected).unwrap() == std::fs::read(output).unwrap());
    assert!(
        std::fs::read_dir(scratch.path(""))
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_str().unwrap().starts_with('.') })
    );
    let both = ["--source", "/", "--tar", "-", "--output", "x"];
    assert_eq!(confext(arguments.iter().chain(&both)).status, 2);
}

#[test]
fn diff() {
    let scratch = Scratch::new();
    let image = |name: &str, tree: Tree| {
        let path = scratch.path(name);
        let builder = Builder::new(Class::Confext, "a").tree(tree).release(ReleaseFields::any()).unsigned();
        let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        builder.build(&mut file, None).unwrap();
        path
    };
    let (mut old, mut new) = (Tree::new(), Tree::new());
    old.add_file(b"etc/\xff", "x", Meta::new(0o644)).unwrap();
    for (tree, target, value) in [(&mut old, b"\xff", "1"), (&mut new, b"\xfe", "2")] {
        tree.add_symlink("etc/link", target, Meta::new(0o777)).unwrap();
        tree.add_file("etc/file", value, Meta::new(0o644)).unwrap();
        tree.set_xattr("etc/file", b"user.\xff", value).unwrap();
    }
    let (old, new) = (image("old.raw", old), image("new.raw", new));
    let policy = ["--policy".as_ref(), "verity".as_ref()];
    let of = |before: &Path, after: &Path, more: &[&str]| {
        let first = ["diff".as_ref(), before.as_os_str(), after.as_os_str()];
        confext(first.into_iter().chain(policy).chain(more.iter().map(AsRef::as_ref)))
    };
    let found = of(&old, &new, &["--json"]);
    assert_eq!(found.status, 1);
    Documented::read("diff").check(&[found.json()]);
    let text = of(&old, &new, &[]);
    assert_eq!((text.status, text.stderr.as_str()), (1, ""));
    let lines: Vec<&str> = text.text().lines().collect();
    assert_eq!(lines[0], "~ /etc/file");
    assert!(
        lines[1].starts_with("    sha256: 6b86b273ff34") || lines[2].starts_with("    sha256: 6b86b273ff34")
    );
    assert_eq!(lines[lines.len() - 1], "- /etc/\\xff  regular file");
    for same in [of(&old, &old, &[]), of(&old, &old, &["--quiet"])] {
        assert_eq!((same.status, same.text()), (0, ""));
    }
    let ignored = of(&old, &new, &["--ignore", "content,xattrs"]);
    assert_eq!(ignored.text().lines().count(), 3, "{ignored:?}");

    // The same against a manifest.
    let listed =
        confext(["--json".as_ref(), "manifest".as_ref(), old.as_os_str()].into_iter().chain(policy)).ok();
    let listed = scratch.file("old.manifest", listed.stdout);
    let check = |image: &Path, more: &[&str]| {
        let first = ["manifest".as_ref(), image.as_os_str(), "--check".as_ref(), listed.as_os_str()];
        confext(first.into_iter().chain(policy).chain(more.iter().map(AsRef::as_ref)))
    };
    assert_eq!((check(&old, &[]).ok().text(), check(&new, &[]).status), ("", 1));
    assert_eq!(check(&new, &[]).text(), text.text());
    let (mut ours, theirs) = (check(&new, &["--json"]).json(), found.json());
    assert_eq!(ours["before"], listed.to_str().unwrap());
    ours["before"] = theirs["before"].clone();
    // Where something is removed, a manifest knows its digest.
    ours["differences"][2]["entry"].as_object_mut().unwrap().remove("sha256");
    assert_eq!(ours, theirs);
    std::fs::write(&listed, "{}").unwrap();
    assert_eq!(check(&new, &[]).status, 2);
}

#[test]
fn extract() {
    let scratch = Scratch::new();
    let image = scratch.signed("a.raw");
    let [flag, certificate] = scratch.vendor.trust();
    let to = scratch.path("to");
    let first = ["extract", image.to_str().unwrap(), to.to_str().unwrap(), flag, certificate];
    let extract = |more: &[&str]| confext(first.into_iter().chain(more.iter().copied()));
    let document = extract(&["--json"]).ok().json();
    assert_eq!((&document["files"], &document["symlinks"]), (&3.into(), &1.into()));
    assert_eq!(std::fs::read(to.join("etc/app/app.conf")).unwrap(), b"version = 1\n");
    Documented::read("extract").check(&[document]);
    let refused = extract(&["--json"]);
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (3, &"extract-exists".into()));
    let text = extract(&["--replace", "--sync", "--owner", "caller", "--xattr", ""]).ok();
    assert!(text.text().contains("  4 replaced\n"), "{text:?}");
    assert_eq!(extract(&["--owner", "x"]).status, 2);
    let unknown = confext(["extract", image.to_str().unwrap(), scratch.path("no").to_str().unwrap()]);
    assert_eq!((unknown.status, scratch.path("no").exists()), (1, false), "not without a certificate");
}

#[test]
fn the_same_call_builds_the_same_bytes() {
    let scratch = Scratch::new();
    let more = ["--release", "ID=_any", "--source-date-epoch", "1000", "--seed"];
    let build = |name: &str, seed: &str| {
        let more: Vec<&str> = more.into_iter().chain([seed]).collect();
        let (image, _) = scratch.build(name, &scratch.vendor.signing(), &more);
        std::fs::read(image).unwrap()
    };
    let (one, two) = ("11111111-2222-4333-8444-555555555555", "11111111-2222-4333-8444-555555555556");
    let first = build("a.raw", one);
    assert!(first == build("b.raw", one));
    assert!(first == build("a.raw", one), "an image that is there is replaced");
    assert!(first != build("c.raw", two));
    let left: Vec<_> =
        std::fs::read_dir(scratch.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with('.')), "{left:?}");
}

#[test]
fn inspect() {
    let scratch = Scratch::new();
    let signed =
        confext(["--json".as_ref(), "inspect".as_ref(), scratch.signed("a.raw").as_os_str()]).ok().json();
    let (unsigned, _) = scratch.build("b.raw", &["--unsigned".as_ref()], &["--release", "ID=_any"]);
    let bare = bare_file_system(&scratch, &unsigned);
    let unsigned = confext(["inspect".as_ref(), unsigned.as_os_str(), "--json".as_ref()]).ok().json();
    let bare = confext(["inspect".as_ref(), bare.as_os_str(), "--json".as_ref()]).ok().json();
    let skipped =
        confext(["inspect".as_ref(), with_unused_partition(&scratch).as_os_str(), "--json".as_ref()])
            .ok()
            .json();
    let misnamed = scratch.file("bare.raw.roothash", b"");
    let near =
        confext(["inspect".as_ref(), scratch.path("bare.raw").as_os_str(), "--json".as_ref()]).ok().json();
    std::fs::remove_file(misnamed).unwrap();
    assert_eq!(near["sidecars"]["near_misses"][0]["expected"], "bare.roothash");
    assert_eq!(signed["claim"]["kind"], "signed");
    assert_eq!(unsigned["claim"]["kind"], "verity");
    assert_eq!(bare["claim"]["kind"], "none");
    assert!(bare["table"].is_null());
    assert_eq!(signed["partitions"][0]["designator"], "root");
    assert_eq!(signed["partitions"][0]["fs"], "erofs");
    assert_eq!(skipped["skipped"][0]["because"], "no-auto");
    let other = scratch.key("other", -1, 30);
    let both = scratch.signed("c.raw");
    confext(["sign".as_ref(), both.as_os_str(), "--add".as_ref()].into_iter().chain(other.signing())).ok();
    let both = confext(["inspect".as_ref(), both.as_os_str(), "--json".as_ref()]).ok().json();
    Documented::read("inspect").check(&[signed, unsigned, bare, skipped, both, near]);
}

/// The file system of an image without the table around it.
fn bare_file_system(scratch: &Scratch, image: &Path) -> PathBuf {
    let document = confext(["--json".as_ref(), "inspect".as_ref(), image.as_os_str()]).ok().json();
    let range = &document["partitions"][0]["range"];
    let (start, end) = (range["start"].as_u64().unwrap() as usize, range["end"].as_u64().unwrap() as usize);
    scratch.file("bare.raw", &std::fs::read(image).unwrap()[start..end])
}

/// Damage of one block is repaired, damage of three is told.
#[test]
fn fec_and_repair() {
    let scratch = Scratch::new();
    scratch.file("tree-1/etc/app/large", (0..80_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    let (image, new) = (scratch.signed("a.raw"), scratch.path("new.raw"));
    let (fec, damaged) = (scratch.path("a.fec"), scratch.path("damaged.raw"));
    let run = |arguments: &[&str]| {
        let paths = [&image, &damaged, &fec, &new].map(|path| path.to_str().unwrap());
        let path = |&word: &&str| ["IMAGE", "DAMAGED", "FEC", "NEW"].iter().position(|name| *name == word);
        let word = |word| path(&word).map_or(word, |at| paths[at]);
        confext(["--json"].into_iter().chain(arguments.iter().map(|argument| word(argument))))
    };
    let parity = run(&["fec", "IMAGE", "--output", "FEC"]).ok().json();
    assert_eq!(parity["fec_bytes"], std::fs::metadata(&fec).unwrap().len());
    assert_eq!((&parity["roots"], &parity["rounds"]), (&2.into(), &1.into()));
    Documented::read("fec").check(&[parity]);

    let whole = std::fs::read(&image).unwrap();
    let inspected = run(&["inspect", "IMAGE"]).ok().json();
    let start = inspected["partitions"][0]["range"]["start"].as_u64().unwrap();
    let damage = |blocks: std::ops::Range<usize>| {
        let mut bytes = whole.clone();
        bytes[usize::try_from(start).unwrap()..][blocks.start * 4096..blocks.end * 4096].fill(0xa5);
        std::fs::write(&damaged, &bytes).unwrap();
    };
    damage(7..10);
    let told = run(&["repair", "DAMAGED", "--fec", "FEC", "--output", "NEW"]);
    assert_eq!((told.status, new.exists()), (1, false));
    let told = told.json();
    assert_eq!(told["unrepairable"][2]["offset"], start + 9 * 4096);
    assert!(told["output"].is_null());
    damage(7..8);
    let repaired = run(&["repair", "DAMAGED", "--fec", "FEC", "--output", "NEW"]).ok().json();
    assert_eq!(repaired["repaired"][0]["offset"], start + 7 * 4096);
    assert_eq!(
        (&repaired["repaired"][0]["area"], &repaired["output"]),
        (&"data".into(), &new.to_str().unwrap().into())
    );
    assert!(std::fs::read(&new).unwrap() == whole);
    Documented::read("repair").check(&[told, repaired]);

    let again = run(&["repair", "DAMAGED", "--fec", "FEC", "--output", "NEW"]);
    assert_eq!((again.status, &again.json()["error"]["code"]), (1, &"output-exists".into()));
    let wrong = run(&["repair", "DAMAGED", "--fec", "FEC", "--output", "OTHER", "--fec-roots", "3"]);
    assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (1, &"fec-area".into()));
    assert_eq!(run(&["fec", "IMAGE", "--output", "FEC", "--fec-roots", "25"]).status, 2);
    assert_eq!(run(&["fec", "DAMAGED", "--output", "OTHER"]).json()["error"]["code"], "data-block");
}

/// An unsigned image whose third partition is marked as not to be used.
fn with_unused_partition(scratch: &Scratch) -> PathBuf {
    let mut bytes = std::fs::read(scratch.signed("unused.raw")).unwrap();
    crate::faults::edit_entry(&mut bytes, 2, |entry| entry[55] |= 0x80);
    scratch.file("unused.raw", bytes)
}

#[test]
fn verify() {
    let scratch = Scratch::new();
    let signed = scratch.signed("a.raw");
    let [flag, certificate] = scratch.vendor.trust();
    let verify = |more: &[&str], image: &Path| {
        let arguments = ["--json", "verify"].iter().chain(more).copied().chain([image.to_str().unwrap()]);
        confext(arguments).ok().json()
    };
    let (unsigned, _) = scratch.build("b.raw", &["--unsigned".as_ref()], &["--release", "ID=_any"]);
    let bare = bare_file_system(&scratch, &unsigned);
    let documents = [
        verify(&[flag, certificate], &signed),
        verify(&["--policy", "verity"], &unsigned),
        verify(&["--policy", "unprotected"], &bare),
    ];
    assert_eq!(documents[0]["evidence"]["kind"], "signed");
    assert!(documents[0]["evidence"]["by"]["subject"].as_str().unwrap().contains("vendor"));
    assert_eq!(documents[1]["evidence"]["kind"], "verity");
    assert_eq!(documents[2]["evidence"]["kind"], "none");
    assert!(documents[0]["checked_bytes"].as_u64().unwrap() > 0);
    Documented::read("verify").check(&documents);
}

#[test]
fn ls() {
    let scratch = Scratch::new();
    let image = scratch.signed("a.raw");
    let [flag, certificate] = scratch.vendor.trust();
    let image = image.to_str().unwrap();
    let document = confext(["--json", "ls", flag, certificate, image, "/etc/app"]).ok().json();
    Documented::read("ls").check(std::slice::from_ref(&document));
    let entries = document["entries"].as_array().unwrap();
    let paths: Vec<&str> = entries.iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/etc/app/app.conf", "/etc/app/b\u{fffd}n", "/etc/app/link"]);
    assert_eq!(entries[1]["path_base64"], "ZXRjL2FwcC9i/24=");
    assert_eq!(entries[2]["target"], "/etc/app/app.conf");
    let recursive = confext(["--json", "ls", "-R", flag, certificate, image]).ok().json();
    let paths: Vec<String> =
        recursive["entries"].as_array().unwrap().iter().map(|entry| entry["path"].to_string()).collect();
    assert!(paths.contains(&"\"/etc/extension-release.d/extension-release.app\"".to_owned()), "{paths:?}");
}

#[test]
fn cat() {
    use std::os::unix::ffi::OsStrExt as _;
    let scratch = Scratch::new();
    let image = scratch.signed("a.raw");
    let [flag, certificate] = scratch.vendor.trust();
    let image = image.to_str().unwrap();
    let text = confext(["--json", "cat", flag, certificate, image, "etc/app/link"]).ok().json();
    assert_eq!((&text["path"], &text["text"]), (&"/etc/app/app.conf".into(), &"version = 1\n".into()));
    let odd = std::ffi::OsStr::from_bytes(b"etc/app/b\xffn");
    let arguments = ["--json", "cat", flag, certificate, image].map(std::ffi::OsStr::new);
    let binary = confext(arguments.into_iter().chain([odd])).ok().json();
    assert_eq!(binary["base64"], "/wA=");
    Documented::read("cat").check(&[text, binary]);
    let raw =
        confext(["cat", flag, certificate, image].map(std::ffi::OsStr::new).into_iter().chain([odd])).ok();
    assert_eq!(raw.stdout, [0xff, 0]);
}

#[test]
fn errors() {
    let scratch = Scratch::new();
    let missing = confext(["--json".as_ref(), "verify".as_ref(), scratch.path("none.raw").as_os_str()]);
    // More than one block, or the one there is would be compared with the root hash itself.
    scratch.file("tree-1/etc/app/large", vec![b'x'; 100_000]);
    let mut bytes = std::fs::read(scratch.signed("a.raw")).unwrap();
    let at = bytes.windows(11).position(|window| window == b"version = 1").unwrap();
    bytes[at] = b'V';
    let [flag, certificate] = scratch.vendor.trust();
    let bad = scratch.file("bad.raw", bytes);
    let damaged = confext(["--json", "verify", flag, certificate, bad.to_str().unwrap()]);
    let usage = confext(["verify", "--no-such-option", "--json"]);
    assert_eq!((missing.status, damaged.status, usage.status), (3, 1, 2));
    let documents = [missing.json(), damaged.json(), usage.json()];
    assert_eq!(documents[2]["error"]["code"], "usage");
    assert_eq!(documents[1]["error"]["code"], "data-block");
    assert_eq!(documents[1]["error"]["image"], bad.to_str().unwrap());
    assert_eq!(documents[1]["error"]["path"], "root/data");
    assert_eq!(documents[1]["error"]["offset"], at / 4096 * 4096, "in bytes of the image");
    let damage = &documents[1]["error"]["damage"];
    assert_eq!((&damage["changed_data_blocks"], &damage["omitted"]), (&1.into(), &0.into()));
    assert_eq!(damage["ranges"][0]["range"]["start"], at / 4096 * 4096);
    assert_eq!(damage["ranges"][0]["level"], Value::Null);
    Documented::read("error").check(&documents);
}
