//! Rules of a build: whose entries are, what is left out, which label entries get.

use super::limits;
use confext_ddi::build::{Device, Labels, Meta, OwnerRange, Patterns, Rules, Tree, XattrPattern};
use confext_ddi::fs;
use confext_ddi::release::ImageKind;

/// The first line has ranges of users and groups, the second patterns over paths, the third attributes, with spaces between
/// them; the rest is a list of labels. What is left out is gone with all below it, an entry has a new owner only by a
/// range, and no label that is not in the list.
pub fn build_rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (owners, patterns, attributes, labels) = (line(), line(), line(), line());
    let mut rules = Rules::default();
    for range in owners.split_whitespace().take(100) {
        let Ok(range) = OwnerRange::parse(range) else { continue };
        rules.owners.users.push(range);
        rules.owners.groups.push(range);
    }
    if let Ok(exclude) = Patterns::new(patterns.split_whitespace().take(100)) {
        rules.exclude = exclude;
    }
    rules.drop_xattrs = attributes.split_whitespace().take(100).map(XattrPattern::new).collect();
    rules.labels = Labels::parse(labels).ok();
    let before = tree();
    let mut after = before.clone();
    if after.apply(&rules, ImageKind::Confext).is_err() {
        return;
    }
    let (before, after) = (before.files(&limits()), after.files(&limits()));
    for entry in fs::walk(&after, b"", &limits()).expect("the root is a directory") {
        let (path, meta) = entry.expect("it is in memory");
        assert!(!rules.exclude.matches(&path, meta.file_type == fs::FileType::Directory));
        let old = fs::FileSystem::stat(&before, &path).expect("nothing is added");
        assert_eq!(rules.owners.map(old.uid, old.gid).ok(), Some((meta.uid, meta.gid)));
        for (name, value) in fs::FileSystem::xattrs(&after, &path).expect("it is in memory") {
            let label = String::from_utf8_lossy(&value);
            let label = label.trim_end_matches('\0');
            assert!(
                name != b"security.selinux" || label == "u:r:old:s0" || labels.contains(label),
                "{label}"
            );
        }
    }
}

/// One of everything, with owners and attributes.
fn tree() -> Tree {
    let mut tree = Tree::new();
    let owned = |uid| Meta::new(0o644).owner(uid, uid);
    let added = [
        tree.add_dir("etc/app.d", owned(1000)),
        tree.add_file("etc/app.d/a.conf", "a", owned(1001)),
        tree.add_file("etc/shadow", "b", owned(0)),
        tree.add_symlink("etc/link", "app.d", owned(u32::MAX - 1)),
        tree.add_fifo("etc/fifo", owned(65534)),
        tree.add_device("etc/null", Device::Character { major: 1, minor: 3 }, owned(5)),
        tree.set_xattr("etc/shadow", "security.selinux", "u:r:old:s0"),
        tree.set_xattr("etc/app.d/a.conf", "user.note", "a note"),
    ];
    assert!(added.iter().all(Result::is_ok));
    tree
}
