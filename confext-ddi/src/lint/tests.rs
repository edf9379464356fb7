use super::*;
use crate::build::{Device, Meta, Tree};

const RELEASE: &str = "etc/extension-release.d/extension-release.app";

fn confext() -> Tree {
    let mut tree = Tree::new();
    tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644)).unwrap();
    tree.add_file(RELEASE, "ID=_any\n", Meta::new(0o644)).unwrap();
    tree
}

fn sysext() -> Tree {
    let mut tree = Tree::new();
    let path = "usr/lib/extension-release.d/extension-release.app";
    tree.add_file(path, "ID=_any\n", Meta::new(0o644)).unwrap();
    tree
}

fn codes_of(tree: &Tree, kind: ImageKind, base: Option<&Tree>) -> Vec<(&'static str, String)> {
    let limits = Limits::default();
    let base = base.map(|base| base.files(&limits));
    let base = base.as_ref().map(|base| -> &dyn FileSystem { base });
    let options = Options { base, limits: limits.clone() };
    let findings = lint(&tree.files(&limits), kind, "app", &options).unwrap();
    findings
        .into_iter()
        .map(|finding| (finding.code.as_str(), String::from_utf8(finding.path).unwrap()))
        .collect()
}

/// Adds one thing to a good tree: exactly one finding of one code.
fn one(kind: ImageKind, change: impl FnOnce(&mut Tree), path: &str, code: &str) {
    let mut tree = if kind == ImageKind::Sysext { sysext() } else { confext() };
    assert_eq!(codes_of(&tree, kind, None), []);
    change(&mut tree);
    assert_eq!(codes_of(&tree, kind, None), [(Code::from_text(code).unwrap().as_str(), path.to_owned())]);
}

#[test]
fn each_rule_finds_what_it_is_for_and_nothing_else() {
    use ImageKind::{Confext, Sysext};
    let file = Meta::new(0o644);
    for (kind, path, code) in [
        (Confext, "etc/os-release", "replaces-os-release"),
        (Confext, "etc/initrd-release", "replaces-os-release"),
        (Sysext, "usr/lib/os-release", "replaces-os-release"),
        (Confext, "etc/extensions/x.raw", "nested-extensions"),
        (Sysext, "usr/lib/confexts/x.raw", "nested-extensions"),
        (Confext, "etc/verity.d/x.crt", "brings-certificates"),
        (Sysext, "usr/local/lib/verity.d/x.crt", "brings-certificates"),
        (Confext, "etc/.wh.app", "oci-whiteout"),
        (Sysext, "usr/bin", "type-change"),
        (Sysext, "usr/sbin", "layout-dependent"),
        (Confext, "etc/systemd", "type-change"),
    ] {
        one(kind, |tree| tree.add_file(path, "x", file).unwrap(), path, code);
    }
    let root = |path: &str| path.split('/').next().unwrap().to_owned();
    for path in ["srv/x", "stray", "usr/bin/x"] {
        one(Confext, |tree| tree.add_file(path, "x", file).unwrap(), &root(path), "outside-hierarchy");
    }
    one(Sysext, |tree| tree.add_symlink("opt", "usr", file).unwrap(), "opt", "hierarchy-kind");
    let metadata = "usr/.systemd-sysext";
    one(Sysext, |tree| tree.add_dir(metadata, Meta::new(0o755)).unwrap(), metadata, "metadata-directory");
    let null = Device::Character { major: 1, minor: 3 };
    let whiteout = Device::Character { major: 0, minor: 0 };
    let disk = Device::Block { major: 0, minor: 0 };
    for (kind, device, code) in [
        (Confext, null, "device-node"),
        (Confext, disk, "device-node"),
        (Sysext, null, "inert-device"),
        (Confext, whiteout, "whiteout"),
        (Sysext, whiteout, "whiteout"),
    ] {
        let path = if kind == Sysext { "usr/node" } else { "etc/node" };
        one(kind, |tree| tree.add_device(path, device, Meta::new(0o600)).unwrap(), path, code);
    }
    for mode in [0o4755, 0o2755, 0o6000] {
        one(Confext, |tree| tree.add_file("etc/x", "", Meta::new(mode)).unwrap(), "etc/x", "set-id");
    }
    for (name, code) in [
        ("trusted.overlay.opaque", "overlay-attribute"),
        ("trusted.overlay.redirect", "overlay-attribute"),
        ("trusted.overlay.metacopy", "overlay-attribute"),
        ("security.capability", "set-id"),
    ] {
        one(Confext, |tree| tree.set_xattr("etc/app.conf", name, "y").unwrap(), "etc/app.conf", code);
    }
}

#[test]
fn what_is_usual_is_not_found() {
    let mut tree = sysext();
    tree.add_file("usr/bin/tool", "", Meta::new(0o4755)).unwrap();
    tree.add_dir("usr/lib/confexts", Meta::new(0o755)).unwrap();
    tree.add_dir("usr/lib/verity.d", Meta::new(0o755)).unwrap();
    tree.add_file("opt/app/tool", "", Meta::new(0o755)).unwrap();
    tree.add_file("usr/lib/os-release.d", "", Meta::new(0o644)).unwrap();
    assert_eq!(codes_of(&tree, ImageKind::Sysext, None), []);
    let mut tree = confext();
    tree.add_dir("etc/shared", Meta::new(0o2775)).unwrap();
    tree.set_xattr("etc/app.conf", "security.selinux", "x\0").unwrap();
    assert_eq!(codes_of(&tree, ImageKind::Confext, None), []);
}

#[test]
fn a_host_tells_which_types_change() {
    let mut host = Tree::new();
    host.add_dir("usr/bin", Meta::new(0o755)).unwrap();
    host.add_symlink("usr/sbin", "bin", Meta::new(0)).unwrap();
    host.add_file("usr/share/x", "", Meta::new(0o644)).unwrap();
    let with = |add: &dyn Fn(&mut Tree)| {
        let mut tree = sysext();
        add(&mut tree);
        codes_of(&tree, ImageKind::Sysext, Some(&host))
    };
    let sbin = with(&|tree| tree.add_file("usr/sbin/tool", "", Meta::new(0o755)).unwrap());
    assert_eq!(sbin, [("type-change", "usr/sbin".to_owned())]);
    let bin = with(&|tree| tree.add_symlink("usr/bin", "sbin", Meta::new(0)).unwrap());
    assert_eq!(bin, [("type-change", "usr/bin".to_owned())]);
    assert_eq!(with(&|tree| tree.add_file("usr/bin/tool", "", Meta::new(0o755)).unwrap()), []);
    assert_eq!(with(&|tree| tree.add_file("usr/share/x/below", "", Meta::new(0o755)).unwrap()), []);
    assert_eq!(with(&|tree| tree.add_symlink("usr/sbin", "elsewhere", Meta::new(0)).unwrap()), []);
}

#[test]
fn release_files_are_looked_up_and_read() {
    for (text, expected) in [
        ("ID=_any\nARCHITECTURE=x86-64\nCONFEXT_SCOPE=\"system initrd\"\n", ""),
        ("ID=debian\nVERSION_ID=13\n", ""),
        ("ID=debian\nCONFEXT_LEVEL=1\n", ""),
        ("ID=debian\n", "release-version"),
        ("ID=debian\nSYSEXT_LEVEL=1\nVERSION_ID=1\n", "release-field"),
        ("VERSION_ID=13\n", "release-field"),
        ("ID=\n", "release-field"),
        ("ID=_any\nARCHITECTURE=amd64\n", "release-field"),
        ("ID=_any\nARCHITECTURE=_any\n", ""),
        ("ID=_any\nCONFEXT_SCOPE=\n", "release-field"),
        ("ID=_any\nCONFEXT_SCOPE=\"system host\"\n", "release-field"),
        ("ID=\"open\n", "release-syntax"),
    ] {
        let mut tree = Tree::new();
        tree.add_file(RELEASE, text, Meta::new(0o644)).unwrap();
        let found = codes_of(&tree, ImageKind::Confext, None);
        let expected: Vec<_> = [expected].into_iter().filter(|code| !code.is_empty()).collect();
        assert_eq!(found.iter().map(|(code, _)| *code).collect::<Vec<_>>(), expected, "{text:?}");
    }
    let mut tree = Tree::new();
    tree.add_file("etc/x", "", Meta::new(0o644)).unwrap();
    assert_eq!(codes_of(&tree, ImageKind::Confext, None), [("release-missing", RELEASE.to_owned())]);
    tree.add_file("etc/extension-release.d/extension-release.other", "ID=_any\n", Meta::new(0o644)).unwrap();
    assert_eq!(codes_of(&tree, ImageKind::Confext, None), [("release-missing", RELEASE.to_owned())]);
}

#[test]
fn a_tree_that_stands_by_itself_needs_its_places() {
    let mut tree = Tree::new();
    tree.add_file("usr/lib/os-release", "ID=_any\n", Meta::new(0o644)).unwrap();
    let found = codes_of(&tree, ImageKind::Portable, None);
    let count = |code: &str| found.iter().filter(|(found, _)| *found == code).count();
    assert_eq!((count("release-field"), count("mount-point"), count("no-units"), found.len()), (1, 8, 1, 10));

    let mut tree = Tree::new();
    tree.add_file("usr/lib/os-release", "ID=app\n", Meta::new(0o644)).unwrap();
    for path in ["proc", "sys", "dev", "run", "tmp", "var/tmp"] {
        tree.add_dir(path, Meta::new(0o755)).unwrap();
    }
    for path in ["etc/resolv.conf", "etc/machine-id", "usr/lib/systemd/system/app-worker@.service"] {
        tree.add_file(path, "", Meta::new(0o644)).unwrap();
    }
    tree.add_device("dev/null", Device::Character { major: 1, minor: 3 }, Meta::new(0o666)).unwrap();
    assert_eq!(codes_of(&tree, ImageKind::Portable, None), []);
    assert_eq!(codes_of(&tree, ImageKind::Root, None), []);
    let options = Options::default();
    let other = lint(&tree.files(&Limits::default()), ImageKind::Portable, "ap", &options).unwrap();
    assert_eq!(other.iter().map(|finding| finding.code).collect::<Vec<_>>(), [Code::NoUnits]);
    let mut usr = Tree::new();
    usr.add_file("lib/os-release", "ID=app\n", Meta::new(0o644)).unwrap();
    assert_eq!(codes_of(&usr, ImageKind::Usr, None), []);
}

#[test]
fn codes_are_told_apart_and_read_back() {
    for code in Code::ALL {
        assert_eq!(Code::from_text(code.as_str()), Some(*code));
        assert!(!code.hint().is_empty());
    }
    assert_eq!(Code::from_text("nothing"), None);
}
