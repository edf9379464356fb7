//! [`Tree`]: the entries of an image before it is written. Every path, name and number is checked when it is added.

use super::content::Content;
use crate::error::{Corrupt, Result, Unsupported};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A point in time: seconds since 1970-01-01 UTC (negative before) and nanoseconds after that second.
///
/// ```
/// use confext_ddi::build::Timestamp;
///
/// // Half a second before 1970.
/// let time = Timestamp::new(-1, 500_000_000);
/// assert!(time < Some(Timestamp::from_seconds(0)));
/// // A second or more belongs to the seconds.
/// assert_eq!(Timestamp::new(0, 1_000_000_000), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Timestamp {
    /// A whole second.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// Returns the time, or `None` when `nanoseconds` is a second or more.
    #[must_use]
    pub fn new(seconds: i64, nanoseconds: u32) -> Option<Self> {
        (nanoseconds < 1_000_000_000).then_some(Self { seconds, nanoseconds })
    }

    /// Seconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after [`Timestamp::seconds`], below 1,000,000,000.
    #[must_use]
    pub const fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

/// Mode, owner and modification time of an entry.
///
/// ```
/// use confext_ddi::build::{Meta, Timestamp, Tree};
/// use confext_ddi::{Limits, fs::FileSystem as _};
///
/// let meta = Meta::new(0o640).owner(0, 33).mtime(Timestamp::from_seconds(1_700_000_000));
/// let mut tree = Tree::new();
/// tree.add_file("etc/app/secret", "", meta)?;
/// let found = tree.files(&Limits::default()).stat(b"etc/app/secret")?;
/// assert_eq!((found.mode, found.gid, found.mtime_sec), (0o640, 33, 1_700_000_000));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// Permission, set-id and sticky bits: the low 12 bits of `st_mode`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time; `None` = the image's build time, which costs no space.
    pub mtime: Option<Timestamp>,
}

impl Meta {
    /// Owned by root, modified at the image's build time.
    #[must_use]
    pub const fn new(mode: u16) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: None }
    }

    /// The same with another owner and group.
    #[must_use]
    pub const fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.uid = uid;
        self.gid = gid;
        self
    }

    /// The same with a modification time of its own.
    #[must_use]
    pub const fn mtime(mut self, mtime: Timestamp) -> Self {
        self.mtime = Some(mtime);
        self
    }
}

/// A device node's kind and number.
///
/// ```
/// use confext_ddi::build::{Device, Meta, Tree};
///
/// let mut tree = Tree::new();
/// let null = Device::Character { major: 1, minor: 3 };
/// tree.add_device("dev/null", null, Meta::new(0o666))?;
/// // Linux has 12 bits for the driver.
/// let none = Device::Block { major: 4096, minor: 0 };
/// assert_eq!(tree.add_device("dev/x", none, Meta::new(0o600)).unwrap_err().code(), "device-number");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// A character device.
    Character {
        /// Which driver, at most 4095.
        major: u32,
        /// Which device of the driver, at most 1,048,575.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Which driver, at most 4095.
        major: u32,
        /// Which device of the driver, at most 1,048,575.
        minor: u32,
    },
}

impl Device {
    const MAX_MAJOR: u32 = 0xfff;
    const MAX_MINOR: u32 = 0xf_ffff;

    pub(super) const fn number(self) -> (u32, u32) {
        match self {
            Self::Character { major, minor } | Self::Block { major, minor } => (major, minor),
        }
    }

    pub(super) fn checked(self, path: &[u8]) -> Result<Self> {
        let (major, minor) = self.number();
        if major > Self::MAX_MAJOR || minor > Self::MAX_MINOR {
            return Err(Unsupported::DeviceNumber { path: show(path), major, minor }.into());
        }
        Ok(self)
    }
}

/// What an entry is, with what only that kind has.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Directory(BTreeMap<Vec<u8>, NodeId>),
    File(Arc<dyn Content>),
    Symlink(Vec<u8>),
    Device(Device),
    Fifo,
    Socket,
}

impl Kind {
    const fn name(&self) -> &'static str {
        match self {
            Self::Directory(_) => "a directory",
            Self::File(_) => "a regular file",
            Self::Symlink(_) => "a symbolic link",
            Self::Device(_) => "a device node",
            Self::Fifo => "a fifo",
            Self::Socket => "a socket",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) meta: Meta,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) kind: Kind,
    /// A directory that was made because an entry below it was added: adding it by itself is no duplicate.
    implied: bool,
}

/// An index into [`Tree::nodes`]; made by [`Tree::push`] only, and nodes are never removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(usize);

impl NodeId {
    pub(super) const ROOT: Self = Self(0);

    pub(super) const fn index(self) -> usize {
        self.0
    }
}

/// One name of a tree, as a walk comes to it.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) path: Vec<u8>,
    pub(super) node: NodeId,
    pub(super) parent: NodeId,
}

/// The entries of an image: directories, files, links, device nodes, with owner, mode, times and extended attributes.
///
/// Paths are bytes, relative to the image's root, components separated by `/`; one leading `/` is allowed. Parents
/// that were not added are made: owned by root, mode 0755.
///
/// File contents are held in memory only when they were given as bytes; those of a directory of this machine stay
/// on disk until they are written.
///
/// ```
/// use confext_ddi::build::{Meta, Tree};
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// assert!(tree.add_file("../outside", "", Meta::new(0o644)).is_err());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// The longest name of an entry, in bytes.
    pub const MAX_NAME_BYTES: usize = 255;
    /// The longest target of a symbolic link, in bytes.
    pub const MAX_TARGET_BYTES: usize = 4095;
    /// The longest value of an extended attribute, in bytes.
    pub const MAX_XATTR_BYTES: usize = 65_535;

    /// A tree with nothing but its root directory: owned by root, mode 0755.
    #[must_use]
    pub fn new() -> Self {
        let kind = Kind::Directory(BTreeMap::new());
        let root = Node { meta: Meta::new(0o755), xattrs: BTreeMap::new(), kind, implied: true };
        Self { nodes: vec![root] }
    }

    /// Adds a regular file with these bytes.
    ///
    /// # Errors
    ///
    /// `entry-path`, `entry-name-length`, `entry-exists`, `entry-parent`, `entry-mode`.
    pub fn add_file(&mut self, path: impl AsRef<[u8]>, bytes: impl Into<Vec<u8>>, meta: Meta) -> Result<()> {
        self.add_content(path, Arc::new(bytes.into()), meta)
    }

    /// Adds a regular file whose bytes are fetched when the image is written.
    ///
    /// # Errors
    ///
    /// As [`Tree::add_file`].
    pub fn add_content(
        &mut self,
        path: impl AsRef<[u8]>,
        content: Arc<dyn Content>,
        meta: Meta,
    ) -> Result<()> {
        self.add(path.as_ref(), Kind::File(content), meta).map(drop)
    }

    /// Adds a directory, or sets the metadata of one that was made as a parent. The empty path is the root.
    ///
    /// # Errors
    ///
    /// As [`Tree::add_file`].
    pub fn add_dir(&mut self, path: impl AsRef<[u8]>, meta: Meta) -> Result<()> {
        self.add(path.as_ref(), Kind::Directory(BTreeMap::new()), meta).map(drop)
    }

    /// Adds a directory, or sets the metadata of one that is there.
    pub(super) fn put_dir(&mut self, path: &[u8], meta: Meta) -> Result<()> {
        match self.find(path)?.map(|node| (node, matches!(self.node(node).kind, Kind::Directory(_)))) {
            Some((node, true)) => {
                let node = self.node_mut(node);
                (node.meta, node.implied) = (meta, false);
                node.xattrs.clear();
                Ok(())
            }
            Some((_, false)) | None => self.add_dir(path, meta),
        }
    }

    /// Adds a symbolic link. Its permission bits are always 0777.
    ///
    /// # Errors
    ///
    /// `link-target` when the target is empty, holds a NUL or is longer than 4095 bytes; else as [`Tree::add_file`].
    pub fn add_symlink(
        &mut self,
        path: impl AsRef<[u8]>,
        target: impl AsRef<[u8]>,
        meta: Meta,
    ) -> Result<()> {
        let target = target.as_ref();
        if target.is_empty() || target.len() > Self::MAX_TARGET_BYTES || target.contains(&0) {
            let found = target.len();
            return Err(Corrupt::LinkTarget {
                path: show(path.as_ref()),
                found,
                most: Self::MAX_TARGET_BYTES,
            }
            .into());
        }
        let meta = Meta { mode: 0o777, ..meta };
        self.add(path.as_ref(), Kind::Symlink(target.to_vec()), meta).map(drop)
    }

    /// Adds another name for an entry that is not a directory.
    ///
    /// # Errors
    ///
    /// `entry-missing` when there is no `existing`, `entry-kind` when it is a directory; else as [`Tree::add_file`].
    pub fn add_hardlink(&mut self, path: impl AsRef<[u8]>, existing: impl AsRef<[u8]>) -> Result<()> {
        let target = self.require(existing.as_ref())?;
        if matches!(self.node(target).kind, Kind::Directory(_)) {
            let path = show(existing.as_ref());
            let (found, expected) = ("a directory", "anything else, for a hard link");
            return Err(Corrupt::EntryKind { path, found, expected }.into());
        }
        self.link(path.as_ref(), target)
    }

    /// Adds a device node.
    ///
    /// # Errors
    ///
    /// `device-number` when the number does not fit Linux's 12 + 20 bits; else as [`Tree::add_file`].
    pub fn add_device(&mut self, path: impl AsRef<[u8]>, device: Device, meta: Meta) -> Result<()> {
        let device = device.checked(path.as_ref())?;
        self.add(path.as_ref(), Kind::Device(device), meta).map(drop)
    }

    /// Adds a fifo.
    ///
    /// # Errors
    ///
    /// As [`Tree::add_file`].
    pub fn add_fifo(&mut self, path: impl AsRef<[u8]>, meta: Meta) -> Result<()> {
        self.add(path.as_ref(), Kind::Fifo, meta).map(drop)
    }

    /// Adds a socket's name. Nothing can listen on it; it is here so that any directory can be represented.
    ///
    /// # Errors
    ///
    /// As [`Tree::add_file`].
    pub fn add_socket(&mut self, path: impl AsRef<[u8]>, meta: Meta) -> Result<()> {
        self.add(path.as_ref(), Kind::Socket, meta).map(drop)
    }

    /// Sets an extended attribute, by its full name: `user.*`, `trusted.*`, `security.*` or one of the two POSIX ACLs.
    ///
    /// # Errors
    ///
    /// `entry-missing` when there is no such entry, `xattr-name` when the name is in another namespace, empty, or too
    /// long, `xattr-size` when the value is longer than 65,535 bytes.
    pub fn set_xattr(
        &mut self,
        path: impl AsRef<[u8]>,
        name: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
    ) -> Result<()> {
        let node = self.require(path.as_ref())?;
        self.set_node_xattr(node, path.as_ref(), name.as_ref(), value.into())
    }

    /// Whether there is an entry of this path.
    #[must_use]
    pub fn contains(&self, path: impl AsRef<[u8]>) -> bool {
        matches!(self.find(path.as_ref()), Ok(Some(_)))
    }

    /// How many names the tree has, without its root; an entry with two hard links counts twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.visits().count().saturating_sub(1)
    }

    /// Whether there is nothing but the root directory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.node(NodeId::ROOT).kind, Kind::Directory(children) if children.is_empty())
    }

    #[expect(clippy::indexing_slicing, reason = "ids are made by push and nodes are never removed")]
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    #[expect(clippy::indexing_slicing, reason = "ids are made by push and nodes are never removed")]
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }

    pub(super) const fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Every name once, parents first, siblings in byte order.
    pub(super) fn visits(&self) -> impl Iterator<Item = Visit> {
        let mut waiting = vec![Visit { path: Vec::new(), node: NodeId::ROOT, parent: NodeId::ROOT }];
        std::iter::from_fn(move || {
            let visit = waiting.pop()?;
            if let Kind::Directory(children) = &self.node(visit.node).kind {
                waiting.extend(children.iter().rev().map(|(name, child)| Visit {
                    path: join(&visit.path, name),
                    node: *child,
                    parent: visit.node,
                }));
            }
            Some(visit)
        })
    }

    pub(super) fn find(&self, path: &[u8]) -> Result<Option<NodeId>> {
        let mut at = NodeId::ROOT;
        for name in components(path)? {
            let Kind::Directory(children) = &self.node(at).kind else { return Ok(None) };
            match children.get(name) {
                Some(child) => at = *child,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn require(&self, path: &[u8]) -> Result<NodeId> {
        self.find(path)?.ok_or_else(|| Corrupt::EntryMissing { path: show(path) }.into())
    }

    pub(super) fn set_node_xattr(
        &mut self,
        node: NodeId,
        path: &[u8],
        name: &[u8],
        value: Vec<u8>,
    ) -> Result<()> {
        if super::erofs::xattr_index(name).is_none() || name.contains(&0) || name.len() > Self::MAX_NAME_BYTES
        {
            return Err(Unsupported::XattrName { path: show(path), name: show(name) }.into());
        }
        if value.len() > Self::MAX_XATTR_BYTES {
            let (found, most) = (value.len(), Self::MAX_XATTR_BYTES);
            return Err(Unsupported::XattrSize { path: show(path), found, most }.into());
        }
        self.node_mut(node).xattrs.insert(name.to_vec(), value);
        Ok(())
    }

    pub(super) fn add(&mut self, path: &[u8], kind: Kind, meta: Meta) -> Result<NodeId> {
        if meta.mode > 0o7777 {
            return Err(Corrupt::EntryMode { path: show(path), found: meta.mode }.into());
        }
        if let Some(existing) = self.find(path)? {
            let node = self.node_mut(existing);
            if !node.implied || !matches!(kind, Kind::Directory(_)) {
                return Err(Corrupt::EntryExists { path: show(path), found: node.kind.name() }.into());
            }
            node.meta = meta;
            node.implied = false;
            return Ok(existing);
        }
        let id = self.push(Node { meta, xattrs: BTreeMap::new(), kind, implied: false });
        // A refused path leaves the new node without a name, and so outside every image; drop it.
        self.link(path, id).inspect_err(|_| drop(self.nodes.pop()))?;
        Ok(id)
    }

    fn push(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(node);
        id
    }

    /// Gives `id` the name `path`, making the parents that are missing once nothing can fail any more.
    pub(super) fn link(&mut self, path: &[u8], id: NodeId) -> Result<()> {
        let names = components(path)?;
        let Some((last, parents)) = names.split_last() else {
            return Err(Corrupt::EntryExists { path: show(path), found: "the root directory" }.into());
        };
        let mut at = NodeId::ROOT;
        let mut missing: &[&[u8]] = &[];
        for (depth, name) in parents.iter().enumerate() {
            match self.children(at, path)?.get(*name) {
                Some(child) => at = *child,
                None => {
                    missing = parents.get(depth..).unwrap_or_default();
                    break;
                }
            }
        }
        if missing.is_empty()
            && let Some(existing) = self.children(at, path)?.get(*last)
        {
            let found = self.node(*existing).kind.name();
            return Err(Corrupt::EntryExists { path: show(path), found }.into());
        }
        self.children(at, path)?;
        // Made from the innermost outwards, so that each is complete when it gets its name.
        let mut child = (last.to_vec(), id);
        for name in missing.iter().rev() {
            let kind = Kind::Directory(BTreeMap::from([child]));
            let parent =
                self.push(Node { meta: Meta::new(0o755), xattrs: BTreeMap::new(), kind, implied: true });
            child = (name.to_vec(), parent);
        }
        if let Kind::Directory(children) = &mut self.node_mut(at).kind {
            children.insert(child.0, child.1);
        }
        Ok(())
    }

    fn children(&self, id: NodeId, path: &[u8]) -> Result<&BTreeMap<Vec<u8>, NodeId>> {
        match &self.node(id).kind {
            Kind::Directory(children) => Ok(children),
            other => Err(Corrupt::EntryParent { path: show(path), found: other.name() }.into()),
        }
    }
}

/// `parent` and `name` with a `/` between, or `name` alone below the root.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = parent.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A path for a message: what is not printable ASCII is escaped.
pub(super) fn show(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

/// Splits a path into its names: none for the root.
pub(super) fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    if relative.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = |found| Corrupt::EntryPath { path: show(path), found };
    relative
        .split(|byte| *byte == b'/')
        .map(|name| match name {
            b"" => Err(wrong("an empty component").into()),
            b"." | b".." => Err(wrong("a component \".\" or \"..\"").into()),
            name if name.contains(&0) => Err(wrong("a NUL byte").into()),
            name if name.len() > Tree::MAX_NAME_BYTES => {
                let (found, most) = (name.len(), Tree::MAX_NAME_BYTES);
                Err(Corrupt::EntryNameLength { path: show(path), found, most }.into())
            }
            name => Ok(name),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<()>) -> &'static str {
        result.unwrap_err().code()
    }

    #[test]
    fn wrong_paths_are_refused_and_leave_no_trace() {
        let mut tree = Tree::new();
        let file = Meta::new(0o644);
        for path in ["..", "a/../b", ".", "a/./b", "a//b", "a/", "//a", "a\0b", "/.."] {
            assert_eq!(code(tree.add_file(path, "", file)), "entry-path", "{path:?}");
        }
        assert_eq!(code(tree.add_file([b'x'; 256], "", file)), "entry-name-length");
        assert_eq!(code(tree.add_file("", "", file)), "entry-exists");
        assert_eq!(code(tree.add_file("a", "", Meta::new(0o10000))), "entry-mode");
        assert!(tree.is_empty());
        assert_eq!(tree.node_count(), 1);
        tree.add_file([b'x'; 255], "", file).unwrap();
        tree.add_file("/etc/one", "1", file).unwrap();
        assert!(tree.contains("etc/one") && tree.contains("/etc") && !tree.contains("etc/two"));
        assert_eq!(code(tree.add_file("etc/one/below", "", file)), "entry-parent");
        assert_eq!(code(tree.add_file("etc/one", "", file)), "entry-exists");
        assert_eq!(tree.len(), 3);
    }

    #[test]
    fn a_parent_made_on_the_way_may_be_added_once() {
        let mut tree = Tree::new();
        tree.add_file("a/b/c", "", Meta::new(0o644)).unwrap();
        tree.add_dir("a", Meta::new(0o700)).unwrap();
        assert_eq!(tree.node(tree.find(b"a").unwrap().unwrap()).meta.mode, 0o700);
        assert!(tree.contains("a/b/c"));
        assert_eq!(code(tree.add_dir("a", Meta::new(0o755))), "entry-exists");
        assert_eq!(code(tree.add_symlink("a", "x", Meta::new(0))), "entry-exists");
        tree.add_dir("", Meta::new(0o750)).unwrap();
        assert_eq!(code(tree.add_dir("/", Meta::new(0o750))), "entry-exists");
    }

    #[test]
    fn links_devices_and_attributes_are_checked() {
        let mut tree = Tree::new();
        tree.add_dir("d", Meta::new(0o755)).unwrap();
        assert_eq!(code(tree.add_hardlink("x", "missing")), "entry-missing");
        assert_eq!(code(tree.add_hardlink("x", "d")), "entry-kind");
        tree.add_fifo("f", Meta::new(0o600)).unwrap();
        assert_eq!(code(tree.add_hardlink("f", "f")), "entry-exists");
        tree.add_hardlink("d/g", "f").unwrap();
        assert_eq!(tree.find(b"f").unwrap(), tree.find(b"d/g").unwrap());
        let link = |target: &[u8]| Tree::new().add_symlink("l", target, Meta::new(0o777));
        assert_eq!(code(link(b"")), "link-target");
        assert_eq!(code(link(b"a\0")), "link-target");
        assert_eq!(code(link(&[b'x'; 4096])), "link-target");
        link(&[b'x'; 4095]).unwrap();
        for device in [
            Device::Character { major: 4096, minor: 0 },
            Device::Block { major: 0, minor: 1 << 20 },
            Device::Block { major: u32::MAX, minor: u32::MAX },
        ] {
            assert_eq!(code(tree.add_device("dev", device, Meta::new(0o600))), "device-number");
        }
        for name in ["", "user.", "user", "system.nfs4_acl", "system.posix_acl_accessx", "user.\0"] {
            assert_eq!(code(tree.set_xattr("d", name, "")), "xattr-name", "{name:?}");
        }
        assert_eq!(code(tree.set_xattr("d", [&b"user."[..], &[b'x'; 251]].concat(), "")), "xattr-name");
        assert_eq!(code(tree.set_xattr("d", "user.a", vec![0; 65_536])), "xattr-size");
        assert_eq!(code(tree.set_xattr("e", "user.a", "")), "entry-missing");
        tree.set_xattr("d", "system.posix_acl_default", vec![2, 0, 0, 0]).unwrap();
        tree.set_xattr("", "security.selinux", vec![0; 65_535]).unwrap();
    }

    #[test]
    fn paths_come_parents_first_in_byte_order() {
        let mut tree = Tree::new();
        for path in ["b/z", "b/a", "a", "b-"] {
            tree.add_file(path, "", Meta::new(0o644)).unwrap();
        }
        let paths: Vec<_> = tree.visits().map(|visit| String::from_utf8(visit.path).unwrap()).collect();
        assert_eq!(paths, ["", "a", "b", "b/a", "b/z", "b-"]);
    }
}
