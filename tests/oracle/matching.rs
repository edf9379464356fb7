//! Which extensions are for a host: the whole matrix of release fields, and the ways to find and to write a release file,
//! each decided by what `systemd-sysext merge` and `systemd-confext merge` use.

use confext_core::admission::Options;
use confext_core::{Host, list};
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_tests::peer::{Place, Systemd};
use rustix::fs::XattrFlags;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const CLASSES: [Class; 2] = [Class::Sysext, Class::Confext];

/// The `os-release` of a host, and whether it is an initrd.
const HOSTS: [(&str, bool); 12] = [
    ("ID=deb\nVERSION_ID=1\n", false),
    ("ID=deb\nVERSION_ID=1\nSYSEXT_LEVEL=3\nCONFEXT_LEVEL=3\n", false),
    ("ID=deb\nVERSION_ID=1\nSYSEXT_LEVEL=3\n", false),
    ("ID=deb\nSYSEXT_LEVEL=3\nCONFEXT_LEVEL=3\n", false),
    ("ID=deb\n", false),
    ("ID=deb\nVERSION_ID=\n", false),
    ("ID=deb\nVERSION_ID=1\nID_LIKE=\"foo bar\"\n", false),
    ("ID=foo\nVERSION_ID=1\nID_LIKE=\"  deb\tbar \"\n", false),
    ("ID=deb\nVERSION_ID=1\n", true),
    ("# ID=no\nID='deb'\nVERSION_ID=\"1\"\n", true),
    ("VERSION_ID=1\n", false),
    ("ID=\nVERSION_ID=1\n", false),
];

fn level(class: Class) -> &'static str {
    match class {
        Class::Sysext => "SYSEXT",
        Class::Confext => "CONFEXT",
    }
}

fn other(class: Class) -> &'static str {
    match class {
        Class::Sysext => "CONFEXT",
        Class::Confext => "SYSEXT",
    }
}

/// Every combination of the fields that are compared, then one field more.
fn fields(class: Class) -> Vec<String> {
    let line =
        |key: &str, value: &Option<&str>| value.map(|value| format!("{key}={value}\n")).unwrap_or_default();
    let level_key = format!("{}_LEVEL", level(class));
    let mut all = Vec::new();
    for id in [None, Some(""), Some("deb"), Some("bar"), Some("other"), Some("_any")] {
        for version in [None, Some(""), Some("1"), Some("2")] {
            for level in [None, Some(""), Some("3"), Some("4")] {
                let text = line("ID", &id) + &line("VERSION_ID", &version) + &line(&level_key, &level);
                // Of nobody's and anybody's extensions a few will do.
                let few = matches!(id, None | Some("" | "other" | "_any"));
                if !few || version.is_none() || level == Some("4") {
                    all.push(text);
                }
            }
        }
    }
    for architecture in ["x86-64", "arm64", "native", "_any", "", "x86", "x86-64 arm64", "X86-64"] {
        all.push(format!("ID=_any\nARCHITECTURE=\"{architecture}\"\n"));
    }
    let own = format!("{}_SCOPE", level(class));
    for scope in
        ["portable", "initrd system", "", "system", "initrd", "system,portable", " system ", "SYSTEM"]
    {
        all.push(format!("ID=_any\n{own}=\"{scope}\"\n"));
    }
    all.push(format!("ID=_any\n{}_SCOPE=portable\n", other(class)));
    all.push(format!("ID=deb\nVERSION_ID=1\n{}_LEVEL=4\n", other(class)));
    all
}

/// Ways to write `ID=deb` and `VERSION_ID=1`, and ways that are none.
const TEXTS: [&str; 30] = [
    "ID=deb\nVERSION_ID=1",
    "ID=\"deb\"\nVERSION_ID='1'\n",
    "ID=de\"b\"\nVERSION_ID=1\n",
    "ID=d\\eb\nVERSION_ID=1\n",
    "ID=\"d\\eb\"\nVERSION_ID=1\n",
    "ID='d\\eb'\nVERSION_ID=1\n",
    "ID=other\nID=deb\nVERSION_ID=1\n",
    "ID=deb\nID=other\nVERSION_ID=1\n",
    "# ID=other\n; ID=other\nID=deb\nVERSION_ID=1\n",
    "\n\n  ID=deb\n\tVERSION_ID=1\n",
    "ID=deb   \nVERSION_ID=1\t\n",
    "ID= deb\nVERSION_ID= 1\n",
    "ID =deb\nVERSION_ID=1\n",
    "export ID=deb\nVERSION_ID=1\n",
    "ID=deb # no comment\nVERSION_ID=1\n",
    "ID=deb#\nVERSION_ID=1\n",
    "ID=\"deb\" \nVERSION_ID=1\n",
    "ID=deb\r\nVERSION_ID=1\r\n",
    "ID=d\\\neb\nVERSION_ID=1\n",
    "ID=\"d\\\neb\"\nVERSION_ID=1\n",
    "ID=\"deb\nVERSION_ID=1\n",
    "ID='deb\nVERSION_ID=1\n",
    "ID=deb\nVERSION_ID=1\nnonsense\n",
    "ID=deb\nVERSION_ID=1\n=x\n",
    "ID=deb\nVERSION_ID=1\n1X=y\n",
    "ID=deb\nVERSION_ID=1\nX=$HOME `x`\n",
    "ID=deb\nVERSION_ID=1\nX=\u{e4}\n",
    "id=deb\nVERSION_ID=1\n",
    "",
    "\u{feff}ID=deb\nVERSION_ID=1\n",
];

/// Those of them that have a line which is no assignment: systemd passes over it, here the file is refused.
const NONSENSE: [&str; 3] = ["t22", "t23", "t24"];

/// Extension name; the endings of its release files, and the attribute on each.
type Files = (&'static str, &'static [(&'static str, Option<&'static str>)]);

/// Ways to name a release file.
const FILES: [Files; 28] = [
    ("f00", &[]),
    ("f01", &[("other", None)]),
    ("f02", &[("other", Some("0"))]),
    ("f03", &[("other", Some("no"))]),
    ("f04", &[("other", Some("n"))]),
    ("f05", &[("other", Some("f"))]),
    ("f06", &[("other", Some("false"))]),
    ("f07", &[("other", Some("off"))]),
    ("f08", &[("other", Some("1"))]),
    ("f09", &[("other", Some("true"))]),
    ("f10", &[("other", Some("junk"))]),
    ("f11", &[("other", Some(""))]),
    ("f12", &[("other", Some("FALSE"))]),
    ("f13", &[("other", Some("0")), ("another", Some("0"))]),
    ("f14", &[("other", Some("0")), ("another", None)]),
    ("f15", &[("f15", None), ("another", Some("0"))]),
    ("f16_1.2", &[("f16", None)]),
    ("f17+3", &[("f17", None)]),
    ("f18_1.2", &[("f18_1.2", None)]),
    ("f19_1.2", &[("f19_1.2", None), ("f19", None)]),
    ("f20_1_2", &[("f20_1", None)]),
    ("f21_1+2", &[("f21", None)]),
    ("f22+1_2", &[("f22", None)]),
    ("f23.raw", &[("f23", None)]),
    ("f24", &[("f24_1", None)]),
    ("f25_1", &[("f25_2", None)]),
    ("f26", &[("other", Some("0 "))]),
    ("f27", &[("other", Some("0\n"))]),
];

fn write(root: &Path, class: Class, name: &str, ending: &str, text: &str) -> std::path::PathBuf {
    let place = match class {
        Class::Sysext => "var/lib/extensions",
        Class::Confext => "var/lib/confexts",
    };
    let directory = root.join(place).join(name).join(class.release_directory());
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(format!("extension-release.{ending}"));
    fs::write(&path, text).unwrap();
    path
}

fn root(root: &Path, os_release: &str, initrd: bool) {
    for directory in ["etc", "usr/lib", "opt", "run"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("usr/lib/os-release"), os_release).unwrap();
    if initrd {
        fs::write(root.join("etc/initrd-release"), os_release).unwrap();
    }
}

/// Makes a root for each host with all fields, and two for the release files; returns how many.
fn make(place: &Place) -> usize {
    let at = |number: usize| place.path(&format!("roots/{number}"));
    for (number, (os_release, initrd)) in HOSTS.iter().enumerate() {
        root(&at(number), os_release, *initrd);
        for class in CLASSES {
            for (number_of_fields, text) in fields(class).iter().enumerate() {
                let name = format!("m{number_of_fields}");
                write(&at(number), class, &name, &name, text);
            }
        }
    }
    let (texts, files) = (HOSTS.len(), HOSTS.len() + 1);
    for number in [texts, files] {
        root(&at(number), "ID=deb\nVERSION_ID=1\n", false);
    }
    for class in CLASSES {
        for (number, text) in TEXTS.iter().enumerate() {
            write(&at(texts), class, &format!("t{number}"), &format!("t{number}"), text);
        }
        let bytes = write(&at(texts), class, "bytes", "bytes", "");
        fs::write(bytes, b"ID=deb\nVERSION_ID=1\nX=\xff\n").unwrap();
        let nul = write(&at(texts), class, "nul", "nul", "");
        fs::write(nul, b"ID=deb\nVERSION_ID=1\nX=\0\n").unwrap();
        for (name, endings) in FILES {
            // Something to find the place by, where there is no release file.
            fs::remove_file(write(&at(files), class, name, "x", "")).unwrap();
            fs::write(at(files).join(place_of(class, name)).join("content"), b"x").unwrap();
            for (ending, strict) in endings {
                let path = write(&at(files), class, name, ending, "ID=_any\n");
                if let Some(strict) = strict {
                    let key = "user.extension-release.strict";
                    rustix::fs::setxattr(&path, key, strict.as_bytes(), XattrFlags::empty()).unwrap();
                }
            }
        }
        links(&at(files), class);
    }
    HOSTS.len() + 2
}

fn place_of(class: Class, name: &str) -> String {
    match class {
        Class::Sysext => format!("var/lib/extensions/{name}/usr"),
        Class::Confext => format!("var/lib/confexts/{name}/etc"),
    }
}

/// Release files that are links, and directories.
fn links(root: &Path, class: Class) {
    let link = |name: &str, ending: &str, target: &str| {
        let path = write(root, class, name, ending, "");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(target, &path).unwrap();
        fs::write(path.with_file_name("file"), "ID=_any\n").unwrap();
    };
    link("l0", "l0", "file");
    link("l1", "l1", &format!("/{}/file", class.release_directory()));
    link("l2", "l2", "../../../../../../../../../usr/lib/os-release");
    link("l3", "l3", "nowhere");
    // The scan takes no links.
    link("l4_1", "l4", "file");
    let path = write(root, class, "l5", "l5", "");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
}

/// The extensions that systemd merges over each root; nothing where it fails.
fn theirs(place: &Place, roots: usize) -> Vec<Vec<Option<BTreeSet<String>>>> {
    let script = format!(
        "for n in $(seq 0 {}); do for c in sysext confext; do r=--root=$PWD/roots/$n; \
         if systemd-$c $r --no-reload merge >/dev/null 2>out; then systemd-$c $r --json=short status; \
         systemd-$c $r --no-reload unmerge >/dev/null 2>&1; else echo failed; fi; done; done",
        roots - 1
    );
    let text = place.peer(&["sh", "-c", &script]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), roots * CLASSES.len(), "{text}");
    let one = |line: &&str| {
        let json: Value = serde_json::from_str(line).ok()?;
        let rows = json.as_array().unwrap().iter();
        // 257 writes a word where there are none.
        let of = |row: &Value| match &row["extensions"] {
            Value::String(none) if none == "none" => Vec::new(),
            names => names.as_array().unwrap().clone(),
        };
        let names: Vec<Value> = rows.flat_map(of).collect();
        Some(names.iter().map(|name| name.as_str().unwrap().to_owned()).collect())
    };
    lines.chunks(CLASSES.len()).map(|chunk| chunk.iter().map(one).collect()).collect()
}

/// The extensions that we would merge; nothing where we fail.
fn ours(root: &Path, class: Class) -> Option<BTreeSet<String>> {
    let mut options = Options::default();
    options.policy = Policy::unprotected();
    match list(&Host::open(root).unwrap(), class, &options) {
        Ok(listing) => Some(listing.extensions.into_iter().map(|listed| listed.layer.name).collect()),
        Err(error) => {
            assert_eq!(error.code(), "host-id-missing");
            None
        }
    }
}

#[test]
#[ignore = "needs root"]
fn an_extension_is_for_a_host_when_systemd_merges_it() {
    for systemd in Systemd::ALL {
        let place = Place::of(systemd);
        let roots = make(&place);
        let theirs = theirs(&place, roots);
        let (mut used, mut failed) = (0, 0);
        let mut wrong = Vec::new();
        for (number, per_class) in theirs.iter().enumerate() {
            // 257 does not look for an initrd below `--root`.
            if systemd == Systemd::Stable && HOSTS.get(number).is_some_and(|(_, is_initrd)| *is_initrd) {
                continue;
            }
            for (class, theirs) in CLASSES.iter().zip(per_class) {
                let ours = ours(&place.path(&format!("roots/{number}")), *class);
                let only = |a: &Option<BTreeSet<String>>, b: &Option<BTreeSet<String>>| {
                    let (a, b) = (a.clone().unwrap_or_default(), b.clone().unwrap_or_default());
                    a.difference(&b).cloned().collect::<Vec<_>>()
                };
                let (here, there) = (only(&ours, theirs), only(theirs, &ours));
                let says = format!("{systemd:?}, root {number}, {class}");
                assert_eq!(ours.is_some(), theirs.is_some(), "{says}");
                let meant = number == HOSTS.len() && there == NONSENSE;
                if !here.is_empty() || !(there.is_empty() || meant) {
                    wrong.push(format!("{says}: only here {here:?}, only there {there:?}"));
                }
                used += ours.as_ref().map_or(0, BTreeSet::len);
                failed += usize::from(ours.is_none());
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(used > 300 && failed == 4, "{used} used, {failed} hosts without a name");
    }
}
