//! Which extensions a host has: hundreds of generated roots, asked of `systemd-sysext list` and `systemd-confext list`.

use confext_core::Host;
use confext_core::discover::{Discovery, Kind, discover};
use confext_ddi::release::Class;
use confext_tests::peer::Place;
use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const ROOTS: u64 = 300;
const CLASSES: [Class; 2] = [Class::Sysext, Class::Confext];
const PLACES: [&str; 12] = [
    "etc/extensions",
    "run/extensions",
    "var/lib/extensions",
    "usr/lib/extensions",
    ".extra/sysext",
    ".extra/global_sysext",
    "run/confexts",
    "var/lib/confexts",
    "usr/local/lib/confexts",
    "usr/lib/confexts",
    ".extra/confext",
    ".extra/global_confext",
];
/// Names, most of them sound, so that many directories have the same ones.
const NAMES: [&[u8]; 18] = [
    b"a",
    b"a",
    b"b",
    b"b",
    b"app",
    b"app_1.2",
    b"app+3",
    b"back~",
    b".hidden",
    b"with space",
    "n\u{e4}me".as_bytes(),
    b"a.confext",
    b"b.sysext",
    b"#x",
    b".#lock",
    b"con\x01trol",
    b"by\xfftes",
    b"-",
];
const LONG: [usize; 2] = [240, 251];

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % most
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(u64::try_from(from.len()).unwrap())).unwrap()]
    }

    fn name(&mut self) -> Vec<u8> {
        if self.one_in(20) { vec![b'n'; *self.pick(&LONG)] } else { self.pick(&NAMES).to_vec() }
    }

    fn suffix(&mut self) -> &'static str {
        const ALL: [&str; 4] = ["", "", ".sysext", ".confext"];
        self.pick::<&'static str>(&ALL)
    }
}

fn named(directory: &Path, parts: &[&[u8]]) -> PathBuf {
    directory.join(OsStr::from_bytes(&parts.concat()))
}

/// A directory that is no mask.
fn tree(path: &Path) {
    // Names that are too long, and entries that are there already, are part of the game.
    if fs::create_dir_all(path).is_ok() {
        let _ = fs::write(path.join("file"), b"");
    }
}

fn versions(random: &mut Random, directory: &Path, name: &[u8]) {
    let suffix = random.suffix();
    let raw = random.one_in(2);
    let ending = if raw { ".raw" } else { "" };
    let place = named(directory, &[name, suffix.as_bytes(), ending.as_bytes(), b".v"]);
    if fs::create_dir_all(&place).is_err() {
        return;
    }
    for _ in 0..random.below(4) {
        let version = random.pick(&["1", "2", "10", "1~rc1", "3_x86-64", "9_arm64", "1+2", "1+0-3"]);
        let parts = [name, b"_", version.as_bytes(), suffix.as_bytes(), ending.as_bytes()];
        let path = named(&place, &parts);
        if raw {
            let _ = fs::write(path, b"x");
        } else {
            tree(&path);
        }
    }
}

fn entry(random: &mut Random, directory: &Path) {
    let name = random.name();
    let suffix = random.suffix().as_bytes();
    let at = |ending: &[u8]| named(directory, &[&name, suffix, ending]);
    let target = random.pick(&["/srv/tree", "/srv/image.raw", "/srv/file", "/srv/empty", "/srv/versions.v"]);
    let up = format!("../../../..{target}");
    match random.below(17) {
        0..=2 => tree(&at(b"")),
        3 => drop(fs::create_dir_all(at(b""))),
        4..=6 => drop(fs::write(at(b".raw"), b"x")),
        7 => drop(fs::write(at(b""), b"x")),
        8 => tree(&at(b".raw")),
        9 => drop(symlink(target, at(b""))),
        10 => drop(symlink(target, at(b".raw"))),
        11 => drop(symlink(up, at(random.pick(&[".raw", ""]).as_bytes()))),
        12 => drop(symlink("/nowhere", at(b".raw"))),
        13 => drop(symlink("/dev/null", at(random.pick(&[".raw", ""]).as_bytes()))),
        14 => drop(rustix::fs::mknodat(CWD, at(b""), FileType::Fifo, Mode::RUSR, 0)),
        15 => drop(fs::write(named(directory, &[b".sysupdate.", &name, b".raw"]), b"x")),
        _ => versions(random, directory, &name),
    }
}

/// A root directory; whether the listing of each class is to fail.
fn root(random: &mut Random, root: &Path) {
    for directory in ["etc", "usr/lib", "srv/tree", "srv/empty", "dev", "var/lib", "run", ".extra"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("srv/tree/file"), b"").unwrap();
    tree(&root.join("srv/versions.v/a_7"));
    tree(&root.join("srv/versions.v/versions_8"));
    fs::write(root.join("srv/image.raw"), b"x").unwrap();
    fs::write(root.join("srv/file"), b"x").unwrap();
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, root.join("dev/null"), FileType::CharacterDevice, Mode::RUSR, null).unwrap();
    if random.one_in(3) {
        fs::write(root.join("etc/initrd-release"), b"ID=x\n").unwrap();
    }
    for place in PLACES {
        if random.one_in(4) {
            continue;
        }
        let path = root.join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if random.one_in(12) {
            // A search directory elsewhere.
            let elsewhere = format!("/srv/of/{place}");
            symlink(&elsewhere, &path).unwrap();
            fs::create_dir_all(root.join(&elsewhere[1..])).unwrap();
            entry(random, &root.join(&elsewhere[1..]));
            continue;
        }
        if random.one_in(120) {
            fs::write(&path, b"no directory").unwrap();
            continue;
        }
        fs::create_dir(&path).unwrap();
        for _ in 0..random.below(5) {
            entry(random, &path);
        }
        if random.one_in(60) {
            symlink("loop.raw", path.join("loop.raw")).unwrap();
        }
    }
}

/// Name to kind and path inside the root.
type List = BTreeMap<String, (String, String)>;

/// What systemd lists, or nothing when it fails.
fn theirs(place: &Place, number: u64, class: Class) -> Option<List> {
    let text = fs::read_to_string(place.path(&format!("out/{number}.{class}"))).unwrap();
    let (json, status) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
    if status != "0" {
        return None;
    }
    let root = place.text(&format!("roots/{number}"));
    let json: Value = serde_json::from_str(json).unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let one = |row: &Value| {
        let path = text(row, "path");
        (text(row, "name"), (text(row, "type"), path.strip_prefix(&root).unwrap().to_owned()))
    };
    Some(json.as_array().unwrap().iter().map(one).collect())
}

/// What we find, as systemd shows it: what takes a name is listed, whether it can be used or not.
fn ours(found: &Discovery) -> List {
    let mut list = List::new();
    for candidate in &found.candidates {
        let kind = match candidate.kind {
            Kind::Directory => "directory",
            Kind::Raw => "raw",
            Kind::Block => "block",
        };
        let path = candidate.path.to_str().unwrap().to_owned();
        list.insert(candidate.name.clone(), (kind.to_owned(), path));
    }
    list
}

/// The paths of entries that lost to another one of the same name in the same directory.
fn same_directory(found: &Discovery, name: &str) -> bool {
    let winner = found.candidates.iter().find(|candidate| candidate.name == name);
    let masked = found
        .refused
        .iter()
        .find(|rejection| rejection.code == "masked" && rejection.name.as_deref() == Some(name));
    let entry = winner.map(|winner| &winner.entry).or(masked.map(|masked| &masked.path));
    found.refused.iter().any(|rejection| {
        rejection.code == "shadowed"
            && rejection.name.as_deref() == Some(name)
            && rejection.path.parent() == entry.and_then(|entry| entry.parent())
    })
}

fn make(place: &Place) {
    let mut random = Random(0x00c0_ffee);
    for number in 0..ROOTS {
        root(&mut random, &place.path(&format!("roots/{number}")));
    }
    fs::create_dir(place.path("out")).unwrap();
    let script = format!(
        "for n in $(seq 0 {}); do for class in sysext confext; do \
         {{ systemd-$class --root=$PWD/roots/$n --json=short list 2>/dev/null; echo; echo $?; }} >out/$n.$class; \
         done; done",
        ROOTS - 1
    );
    let script = script.replace("2>/dev/null; echo; echo $?;", "2>/dev/null; status=$?; echo; echo $status;");
    place.peer(&["sh", "-c", &script]);
}

/// What is different in one root and is not meant to be; `seen` says what is meant to be.
fn compare(place: &Place, number: u64, class: Class, seen: &mut BTreeSet<&'static str>) -> Vec<String> {
    let theirs = theirs(place, number, class);
    let host = Host::open(place.path(&format!("roots/{number}"))).unwrap();
    let found = match discover(&host, class) {
        Ok(found) => found,
        Err(error) => {
            // A search directory that is none: what it would hide is not known.
            assert_eq!((error.code(), theirs), ("os", None), "root {number}, {class}: {error}");
            seen.insert("no search directory");
            return Vec::new();
        }
    };
    let at = |rejection: &str| format!("root {number}, {class}: {rejection}");
    let Some(theirs) = theirs else {
        // One loop of links, and systemd lists nothing.
        let loops = found.refused.iter().any(|rejection| rejection.path.ends_with("loop.raw"));
        assert!(loops, "{}", at(&format!("systemd fails, and here {found:?}")));
        seen.insert("loop");
        return Vec::new();
    };
    let mut ours = ours(&found);
    for masked in found.refused.iter().filter(|rejection| rejection.code == "masked") {
        let path = masked.path.to_str().unwrap();
        let name = masked.name.clone().unwrap();
        // The mask itself is listed by systemd, where a link led to it.
        let real = theirs.get(&name).map_or(path.to_owned(), |(_, path)| path.clone());
        ours.insert(name, ("directory".to_owned(), real));
        seen.insert("mask");
    }
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut wrong = Vec::new();
    for name in names {
        let (our, their) = (ours.get(name), theirs.get(name));
        if our == their {
            seen.insert("same");
            continue;
        }
        if our.is_some() && their.is_some() && same_directory(&found, name) {
            // Which of two systemd takes is up to the order of the directory.
            seen.insert("two of one name");
            continue;
        }
        let about = found.refused.iter().filter(|rejection| rejection.name.as_deref() == Some(name.as_str()));
        let about: Vec<_> = about.map(|rejection| (rejection.code, rejection.path.display())).collect();
        wrong.push(at(&format!("{name}: {our:?} here, {their:?} there; {about:?}")));
    }
    wrong
}

#[test]
#[ignore = "needs root"]
fn generated_roots_have_the_extensions_that_systemd_lists() {
    let place = Place::create();
    make(&place);
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for number in 0..ROOTS {
        for class in CLASSES {
            wrong.extend(compare(&place, number, class, &mut seen));
        }
    }
    assert!(wrong.is_empty(), "{} differences: {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
    let all = ["loop", "mask", "no search directory", "same", "two of one name"];
    assert_eq!(seen, BTreeSet::from(all), "not everything was tried");
}
