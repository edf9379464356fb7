use super::*;
use crate::directory::Directory;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// A base and extensions, each a temporary directory.
struct Trees {
    hierarchy: &'static str,
    base: tempfile::TempDir,
    layers: Vec<(&'static str, tempfile::TempDir)>,
}

fn file(dir: &Path, path: &str) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, b"x").unwrap();
}

impl Trees {
    fn new(hierarchy: &'static str, layers: &[&'static str]) -> Self {
        let dir = || tempfile::tempdir_in("/var/tmp").unwrap();
        Self { hierarchy, base: dir(), layers: layers.iter().map(|name| (*name, dir())).collect() }
    }

    fn layer(&self, at: usize) -> &Path {
        self.layers[at].1.path()
    }

    fn plan(&self) -> Plan {
        let open = |dir: &tempfile::TempDir| {
            Directory::new(std::fs::File::open(dir.path()).unwrap().into(), &Limits::default())
        };
        let base = open(&self.base);
        let layers: Vec<_> = self.layers.iter().map(|(name, dir)| (*name, open(dir))).collect();
        let layers = layers.iter().map(|(name, files)| LayerFiles::new(name, files, b"")).collect();
        let input = Input { hierarchy: self.hierarchy, layers, base: Some(&base) };
        Plan::new(Class::Confext, &[input], &Limits::default()).unwrap()
    }

    fn changes(&self) -> Vec<(String, Effect, Vec<Option<String>>)> {
        let changes = self.plan().hierarchies.remove(0).changes;
        changes
            .into_iter()
            .map(|c| {
                let shadows = c.shadows.into_iter().map(|s| s.layer).collect();
                (format!("{}: {}", c.layer, String::from_utf8(c.path).unwrap()), c.effect, shadows)
            })
            .collect()
    }

    fn codes(&self) -> Vec<(String, &'static str)> {
        let vetoes = self.plan().vetoes;
        vetoes.into_iter().map(|v| (String::from_utf8(v.path).unwrap(), v.kind.code())).collect()
    }
}

#[test]
fn each_path_says_what_happens_to_it() {
    let trees = Trees::new("etc", &["a", "b"]);
    file(trees.base.path(), "same");
    file(trees.base.path(), "dir/kept");
    file(trees.base.path(), "file");
    for layer in [trees.layer(0), trees.layer(1)] {
        file(layer, "same");
        file(layer, "dir/new");
    }
    file(trees.layer(0), "only/here");
    symlink("same", trees.layer(1).join("file")).unwrap();
    let base = None;
    let a = Some("a".to_owned());
    assert_eq!(
        trees.changes(),
        [
            ("b: dir/new".to_owned(), Effect::Shadowed, vec![a.clone()]),
            ("b: file".to_owned(), Effect::TypeChanged { found: FileType::Regular }, vec![base.clone()]),
            ("a: only".to_owned(), Effect::Added, vec![]),
            ("a: only/here".to_owned(), Effect::Added, vec![]),
            ("b: same".to_owned(), Effect::Shadowed, vec![a, base]),
        ]
    );
    assert_eq!(trees.codes(), []);
}

#[test]
fn a_directory_with_other_rights_is_a_change() {
    let trees = Trees::new("etc", &["a"]);
    for (dir, mode) in [(trees.base.path(), 0o700), (trees.layer(0), 0o755)] {
        file(dir, "private/x");
        std::fs::set_permissions(dir.join("private"), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let changes = trees.changes();
    let Effect::AttributesChanged { found, becomes } = changes[0].1 else { panic!("{changes:?}") };
    assert_eq!((changes[0].0.as_str(), found.mode, becomes.mode), ("a: private", 0o700, 0o755));
}

#[test]
fn directories_and_links_of_the_host_keep_their_type() {
    let trees = Trees::new("usr", &["a"]);
    file(trees.base.path(), "bin/tool");
    symlink("bin", trees.base.path().join("sbin")).unwrap();
    file(trees.base.path(), "lib/file");
    file(trees.layer(0), "sbin/daemon");
    file(trees.layer(0), "bin");
    symlink("elsewhere", trees.layer(0).join("lib")).unwrap();
    let expected = [("bin", "type-change"), ("lib", "type-change"), ("sbin", "type-change")];
    assert_eq!(trees.codes(), expected.map(|(path, code)| (path.to_owned(), code)));
    let plan = trees.plan();
    let error = plan.objection(&[]).unwrap().to_error();
    assert_eq!(error.code(), "type-change");
    assert_eq!(error.to_string(), "a: usr/bin: found regular file, expected directory");
    assert!(plan.objection(&[VetoKind::TypeChange.into()]).is_none());
}

#[test]
fn what_an_extension_must_not_bring() {
    let cases: [(&str, &[&str], &str); 9] = [
        ("etc", &["os-release"], "replaces-os-release"),
        ("etc", &["initrd-release"], "replaces-os-release"),
        ("usr", &["lib/os-release"], "replaces-os-release"),
        ("etc", &["extensions/x.raw"], "nested-extensions"),
        ("usr", &["lib/confexts/x.raw"], "nested-extensions"),
        ("etc", &["verity.d/x.crt"], "brings-certificates"),
        ("usr", &["local/lib/verity.d/x.crt"], "brings-certificates"),
        ("etc", &[".systemd-confext", ".systemd-confext/dev"], "metadata-directory"),
        ("etc", &[".confext", ".confext/provenance.json"], "metadata-directory"),
    ];
    for (hierarchy, paths, code) in cases {
        let trees = Trees::new(hierarchy, &["a"]);
        file(trees.layer(0), paths.last().unwrap());
        let expected: Vec<_> = paths.iter().map(|path| ((*path).to_owned(), code)).collect();
        assert_eq!(trees.codes(), expected, "{paths:?}");
    }
    for harmless in ["os-release.d/x", "verity.dx/y", "sub/verity.d/x.crt", "lib/os-release"] {
        let trees = Trees::new("etc", &["a"]);
        file(trees.layer(0), harmless);
        std::fs::create_dir(trees.layer(0).join("verity.d")).unwrap();
        assert_eq!(trees.codes(), [], "{harmless}");
    }
}

#[test]
fn the_base_is_not_needed() {
    let trees = Trees::new("etc", &["a"]);
    file(trees.layer(0), "x/etc/y");
    let files = Directory::new(std::fs::File::open(trees.layer(0)).unwrap().into(), &Limits::default());
    let layers = vec![LayerFiles::new("a", &files, b"x/etc")];
    let input = Input { hierarchy: "etc", layers, base: None };
    let plan = Plan::new(Class::Confext, &[input], &Limits::default()).unwrap();
    assert_eq!(plan.hierarchies[0].changes[0].path, b"y");
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["hierarchies"][0]["changes"][0]["effect"], "added");
}

#[test]
fn a_tree_that_cannot_be_read_is_an_objection_nobody_can_allow() {
    let trees = Trees::new("etc", &["a"]);
    let files = Directory::new(std::fs::File::open(trees.layer(0)).unwrap().into(), &Limits::default());
    let layers = vec![LayerFiles::new("a", &files, b"missing")];
    let input = Input { hierarchy: "etc", layers, base: None };
    let plan = Plan::new(Class::Confext, &[input], &Limits::default()).unwrap();
    assert_eq!(plan.objection(&[VetoKind::Unreadable.into()]).unwrap().kind, VetoKind::Unreadable);
}

/// The image of a tree made of directories, files and devices 0:0, each path below `etc`.
fn image(files: &[&str], opaque: &[&str], whiteouts: &[&str]) -> Vec<u8> {
    use confext_ddi::build::{Device, Meta, Tree, erofs};
    let mut tree = Tree::new();
    for path in files {
        tree.add_file(format!("etc/{path}"), "x", Meta::new(0o644)).unwrap();
    }
    for path in whiteouts {
        let device = Device::Character { major: 0, minor: 0 };
        tree.add_device(format!("etc/{path}"), device, Meta::new(0)).unwrap();
    }
    for path in opaque {
        tree.set_xattr(format!("etc/{path}"), "trusted.overlay.opaque", "y").unwrap();
    }
    let mut bytes = Vec::new();
    erofs::write(&tree, &erofs::Options::default(), &mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_above_hides_what_is_below() {
    let base = tempfile::tempdir_in("/var/tmp").unwrap();
    for path in ["opaque/host", "both/host", "gone", "link-to/host"] {
        file(base.path(), path);
    }
    let below = image(&["opaque/below", "both/below", "file/inside", "gone"], &[], &[]);
    let above = image(&["opaque/above", "both/above", "file"], &["opaque"], &["gone"]);
    let open = |bytes: &'static [u8]| {
        confext_ddi::fs::open(bytes, confext_ddi::fstype::FsType::Erofs, &Limits::default()).unwrap()
    };
    let (below, above) = (open(below.leak()), open(above.leak()));
    let layer = |name, files: &'static dyn FileSystem| LayerFiles::new(name, files, b"etc");
    let layers = vec![layer("below", Box::leak(below)), layer("above", Box::leak(above))];
    let base = Directory::new(std::fs::File::open(base.path()).unwrap().into(), &Limits::default());
    let input = Input { hierarchy: "etc", layers, base: Some(&base) };
    let plan = Plan::new(Class::Confext, &[input], &Limits::default()).unwrap();
    let changes: Vec<_> = plan.hierarchies[0]
        .changes
        .iter()
        .map(|change| {
            let effect = serde_json::to_value(change).unwrap()["effect"].as_str().unwrap().to_owned();
            (std::str::from_utf8(&change.path).unwrap(), change.layer.as_str(), effect)
        })
        .collect();
    let expected = [
        ("both/above", "above", "added"),
        ("both/below", "below", "added"),
        ("file", "above", "type-changed"),
        ("gone", "above", "hidden"),
        ("opaque", "above", "opaque"),
        ("opaque/above", "above", "added"),
    ];
    assert_eq!(changes, expected.map(|(path, layer, effect)| (path, layer, effect.to_owned())));
    let merged: Vec<_> =
        plan.hierarchies[0].merged.iter().map(|one| (one.path.as_slice(), &one.layers)).collect();
    let all = [Some("above".to_owned()), Some("below".to_owned()), None];
    assert_eq!(merged, [(&b"both"[..], &all.to_vec())]);
    assert_eq!(plan.vetoes.iter().filter(|veto| veto.kind == VetoKind::OverlayAttribute).count(), 1);
}

#[test]
fn entries_of_all_extensions_together_are_bounded() {
    let trees = Trees::new("etc", &["a", "b"]);
    for layer in [trees.layer(0), trees.layer(1)] {
        file(layer, "one");
        file(layer, "two");
    }
    let mut limits = Limits::default();
    limits.entries = 3;
    let open = |at: usize| Directory::new(std::fs::File::open(trees.layer(at)).unwrap().into(), &limits);
    let files = [open(0), open(1)];
    let layer = |name, files| LayerFiles::new(name, files, b"");
    let input =
        Input { hierarchy: "etc", layers: vec![layer("a", &files[0]), layer("b", &files[1])], base: None };
    let plan = Plan::new(Class::Confext, &[input], &limits).unwrap();
    let veto = plan.objection(&[VetoKind::Unreadable.into()]).unwrap();
    assert_eq!((veto.kind, veto.layer.as_str()), (VetoKind::Unreadable, "a"));
}
