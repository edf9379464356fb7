//! [`Rules`]: what is changed of entries on their way into an image, wherever they come from.

use super::labels::Labels;
use super::owners::Owners;
use super::patterns::Patterns;
use super::tree::{Kind, NodeId, Tree, join, show};
use crate::error::{Result, ResultExt as _};
use crate::release::ImageKind;
use std::collections::HashSet;

/// Changes to the entries of a tree, in this order: what is left out, whose they are, which attributes stay, which
/// label they get.
///
/// ```
/// use confext_ddi::build::{Meta, Owners, Patterns, Rules, Tree};
/// use confext_ddi::release::ImageKind;
///
/// let mut tree = Tree::new();
/// tree.add_file("usr/lib/app/main.py", "", Meta::new(0o644).owner(1000, 1000))?;
/// tree.add_file("usr/lib/app/main.pyc", "", Meta::new(0o644).owner(1000, 1000))?;
///
/// let mut rules = Rules::default();
/// rules.exclude = Patterns::new(["*.pyc"])?;
/// rules.owners = Owners::all(0, 0);
/// tree.apply(&rules, ImageKind::Sysext)?;
/// assert!(tree.contains("usr/lib/app/main.py") && !tree.contains("usr/lib/app/main.pyc"));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Rules {
    /// Entries that are left out, directories with all that is in them.
    pub exclude: Patterns,
    /// Whose entries are. Default: as they are.
    pub owners: Owners,
    /// Extended attributes that are left out, by full name. Default: none.
    pub drop_xattrs: Vec<XattrPattern>,
    /// SELinux labels by path. Default: those that entries have.
    pub labels: Option<Labels>,
}

/// The full name of an extended attribute, or the beginning of one followed by `*`: `user.*`.
///
/// ```
/// use confext_ddi::build::{Meta, Rules, Tree, XattrPattern};
/// use confext_ddi::{Limits, fs::FileSystem as _, release::ImageKind};
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// tree.set_xattr("etc/app.conf", "user.origin", "a desktop")?;
///
/// let mut rules = Rules::default();
/// rules.drop_xattrs.push(XattrPattern::new("user.*"));
/// tree.apply(&rules, ImageKind::Confext)?;
/// assert!(tree.files(&Limits::default()).xattrs(b"etc/app.conf")?.is_empty());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XattrPattern(String);

impl XattrPattern {
    /// Takes a name, or the beginning of one and a `*`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => name.starts_with(start.as_bytes()),
            None => name == self.0.as_bytes(),
        }
    }
}

/// What rules came to.
///
/// ```
/// use confext_ddi::build::{Labels, Meta, Rules, Tree};
/// use confext_ddi::release::ImageKind;
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
///
/// let mut rules = Rules::default();
/// rules.labels = Some(Labels::parse("/etc(/.*)?  system_u:object_r:etc_t:s0\n")?);
/// let applied = tree.apply(&rules, ImageKind::Confext)?;
/// // `etc` and the file; no line is about the root.
/// assert_eq!((applied.labelled, applied.unlabelled), (2, 1));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Applied {
    /// Names left out, those in directories that were left out included.
    pub excluded: usize,
    /// Entries that got a label.
    pub labelled: usize,
    /// Entries no label was for.
    pub unlabelled: usize,
}

const LABEL: &[u8] = b"security.selinux";

impl Tree {
    /// Changes the entries by rules. Labels are looked up by the paths that entries have on a host: those of a `usr`
    /// image below `/usr`.
    ///
    /// # Errors
    ///
    /// `owner-unmapped` when there is no new owner for an entry and none stays.
    pub fn apply(&mut self, rules: &Rules, kind: ImageKind) -> Result<Applied> {
        let before = self.len();
        if !rules.exclude.is_empty() {
            self.exclude(&rules.exclude);
        }
        let mut applied = Applied { excluded: before.saturating_sub(self.len()), ..Applied::default() };
        let visits: Vec<(Vec<u8>, NodeId)> = self.visits().map(|visit| (visit.path, visit.node)).collect();
        // An entry with several names is changed once, by the first of them.
        let mut seen = HashSet::new();
        for (path, id) in visits {
            if !seen.insert(id) {
                continue;
            }
            let node = self.node_mut(id);
            let owner = rules.owners.map(node.meta.uid, node.meta.gid);
            (node.meta.uid, node.meta.gid) = owner.within(show(&path))?;
            if !rules.drop_xattrs.is_empty() {
                node.xattrs.retain(|name, _| !rules.drop_xattrs.iter().any(|pattern| pattern.matches(name)));
            }
            if let Some(labels) = &rules.labels {
                let at = join(kind.mount_point().as_bytes(), &path);
                let at = if path.is_empty() { kind.mount_point().as_bytes().to_vec() } else { at };
                match labels.of(&[b"/", at.as_slice()].concat(), &node.kind) {
                    Some(label) => {
                        // The kernel keeps labels with their NUL.
                        node.xattrs.insert(LABEL.to_vec(), [label.as_bytes(), b"\0"].concat());
                        applied.labelled = applied.labelled.saturating_add(1);
                    }
                    None => applied.unlabelled = applied.unlabelled.saturating_add(1),
                }
            }
        }
        Ok(applied)
    }

    /// Takes names out; what has no name left is in no image.
    fn exclude(&mut self, patterns: &Patterns) {
        let mut waiting = vec![(Vec::new(), NodeId::ROOT)];
        while let Some((path, id)) = waiting.pop() {
            let Kind::Directory(children) = &self.node(id).kind else { continue };
            let mut gone = Vec::new();
            for (name, child) in children {
                let path = join(&path, name);
                let directory = matches!(self.node(*child).kind, Kind::Directory(_));
                if patterns.matches(&path, directory) {
                    gone.push(name.clone());
                } else if directory {
                    waiting.push((path, *child));
                }
            }
            if let Kind::Directory(children) = &mut self.node_mut(id).kind {
                children.retain(|name, _| !gone.contains(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::build::Meta;
    use crate::fs::FileSystem as _;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        for path in ["etc/app.conf", "etc/app.conf~", "etc/cache/a", "etc/d/cache", "usr/share/cache/b"] {
            tree.add_file(path, path, Meta::new(0o644).owner(1000, 1001)).unwrap();
        }
        tree.add_hardlink("etc/other", "etc/app.conf~").unwrap();
        tree.set_xattr("etc/app.conf", "user.a", "1").unwrap();
        tree.set_xattr("etc/app.conf", "security.selinux", "old\0").unwrap();
        tree.set_xattr("etc/app.conf", "trusted.b", "2").unwrap();
        tree
    }

    fn names(tree: &Tree) -> Vec<String> {
        tree.visits().map(|visit| String::from_utf8(visit.path).unwrap()).skip(1).collect()
    }

    #[test]
    fn what_is_excluded_is_gone_and_other_names_of_it_stay() {
        let mut tree = tree();
        let exclude = Patterns::new(["*~", "cache/", "/usr/share"]).unwrap();
        let rules = Rules { exclude, ..Rules::default() };
        let applied = tree.apply(&rules, ImageKind::Root).unwrap();
        assert_eq!(names(&tree), ["etc", "etc/app.conf", "etc/d", "etc/d/cache", "etc/other", "usr"]);
        assert_eq!((applied.excluded, tree.len()), (6, 6));
        let files = tree.files(&Limits::default());
        assert_eq!(files.read(b"etc/other").unwrap(), b"etc/app.conf~");
        let mut image = Vec::new();
        crate::build::erofs::write(&tree, &crate::build::erofs::Options::default(), &mut image).unwrap();
        let image = crate::fs::open(image, crate::fstype::FsType::Erofs, &Limits::default()).unwrap();
        assert_eq!(image.stat(b"etc/other").unwrap().nlink, 1);
    }

    #[test]
    fn owners_attributes_and_labels_are_changed() {
        let mut tree = tree();
        let labels =
            Labels::parse("/.* -- u:r:file:s0\n/etc(/.*)? u:r:etc:s0\n/etc/other <<none>>\n").unwrap();
        let rules = Rules {
            owners: Owners::all(0, 5),
            drop_xattrs: vec![XattrPattern::new("user.*"), XattrPattern::new("trusted.c")],
            labels: Some(labels),
            ..Rules::default()
        };
        let applied = tree.apply(&rules, ImageKind::Root).unwrap();
        let files = tree.files(&Limits::default());
        let meta = files.stat(b"etc/app.conf").unwrap();
        assert_eq!((meta.uid, meta.gid), (0, 5));
        assert_eq!(files.stat(b"").unwrap().gid, 5);
        let label = |label: &str| (b"security.selinux".to_vec(), format!("{label}\0").into_bytes());
        let expected = [label("u:r:etc:s0"), (b"trusted.b".to_vec(), b"2".to_vec())];
        assert_eq!(files.xattrs(b"etc/app.conf").unwrap(), expected);
        assert_eq!(files.xattrs(b"usr/share/cache/b").unwrap(), [label("u:r:file:s0")]);
        assert_eq!(files.xattrs(b"usr").unwrap(), []);
        // The first of two names counts.
        assert_eq!(files.xattrs(b"etc/other").unwrap(), [label("u:r:etc:s0")]);
        assert_eq!((applied.labelled, applied.unlabelled), (8, 4));
    }

    #[test]
    fn the_content_of_usr_has_its_labels_below_usr() {
        let mut tree = Tree::new();
        tree.add_file("bin/tool", "", Meta::new(0o755)).unwrap();
        let labels = Labels::parse("/usr -d u:r:usr:s0\n/usr/bin/.* u:r:bin:s0\n").unwrap();
        let rules = Rules { labels: Some(labels), ..Rules::default() };
        tree.apply(&rules, ImageKind::Usr).unwrap();
        let files = tree.files(&Limits::default());
        assert_eq!(files.xattrs(b"").unwrap()[0].1, b"u:r:usr:s0\0");
        assert_eq!(files.xattrs(b"bin/tool").unwrap()[0].1, b"u:r:bin:s0\0");
        assert_eq!(files.xattrs(b"bin").unwrap(), []);
    }
}
