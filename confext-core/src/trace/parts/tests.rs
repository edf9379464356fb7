use super::*;
use confext_ddi::error::{Lookup, Result};
use confext_ddi::fs::{DirEntry, Xattr};
use confext_ddi::fstype::FsType;

/// Files by path: `d` a directory, `o` one that is opaque, `f` a file, `w` a whiteout, `!` what cannot be read.
struct Fake(BTreeMap<&'static str, char>);

impl Fake {
    fn new(files: &[(&'static str, char)]) -> Self {
        let mut all: BTreeMap<_, _> = files.iter().copied().collect();
        all.insert("etc", 'd');
        Self(all)
    }

    fn find(&self, path: &[u8]) -> Result<char> {
        let path = String::from_utf8(path.to_vec()).unwrap();
        match self.0.get(path.as_str()) {
            Some('!') => Err(std::io::Error::from(std::io::ErrorKind::InvalidData).into()),
            Some(kind) => Ok(*kind),
            None => Err(Lookup::NoSuchFile { path }.into()),
        }
    }
}

fn metadata(kind: char) -> Metadata {
    let file_type = match kind {
        'd' | 'o' => FileType::Directory,
        'w' => FileType::CharDevice,
        _ => FileType::Regular,
    };
    let rdev = (kind == 'w').then_some((0, 0));
    let (mode, uid, gid, size_bytes, mtime_sec, mtime_nsec) = (0o644, 0, 0, 0, 0, 0);
    Metadata { file_type, mode, uid, gid, size_bytes, mtime_sec, mtime_nsec, nlink: 1, rdev, ino: 1 }
}

impl FileSystem for Fake {
    fn fs_type(&self) -> FsType {
        FsType::Directory
    }

    fn stat(&self, path: &[u8]) -> Result<Metadata> {
        self.find(path).map(metadata)
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        self.find(path)?;
        let prefix = format!("{}/", String::from_utf8(path.to_vec()).unwrap());
        let below = self.0.iter().filter_map(|(path, kind)| Some((path.strip_prefix(&prefix)?, kind)));
        let direct = below.filter(|(name, _)| !name.contains('/'));
        let entry = |(name, kind): (&str, &char)| DirEntry {
            name: name.into(),
            file_type: metadata(*kind).file_type,
        };
        Ok(direct.map(entry).collect())
    }

    fn read_at(&self, _: &[u8], _: u64, _: &mut [u8]) -> Result<usize> {
        unreachable!()
    }

    fn read(&self, _: &[u8]) -> Result<Vec<u8>> {
        unreachable!()
    }

    fn read_link(&self, _: &[u8]) -> Result<Vec<u8>> {
        unreachable!()
    }

    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        let opaque = (b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
        Ok(if self.find(path)? == 'o' { vec![opaque] } else { Vec::new() })
    }
}

/// Three parts, topmost first.
fn with(parts: [&[(&'static str, char)]; 3], test: impl FnOnce(&Parts<'_>)) {
    let files = parts.map(Fake::new);
    let names = ["0", "1", "2"];
    let part = |(name, files)| Part { files: Ok(files as &dyn FileSystem), name, root: "etc" };
    test(&Parts(names.into_iter().zip(&files).map(part).collect()));
}

/// Who is seen at a path, whose directories are merged there, and who is hidden.
fn ask(parts: &Parts<'_>, path: &str) -> (Option<usize>, Vec<usize>, Vec<usize>) {
    let node = parts.node(path.as_bytes());
    let numbers = |found: &mut dyn Iterator<Item = &Found>| found.map(|found| found.part).collect();
    let (merged, hidden) = (numbers(&mut node.directories()), numbers(&mut node.hidden()));
    (node.top().map(|top| top.part), merged, hidden)
}

#[test]
fn the_topmost_file_is_seen_and_directories_are_merged() {
    let [a, b, c] = [
        &[("etc/d", 'd'), ("etc/f", 'f')][..],
        &[("etc/d", 'd'), ("etc/d/x", 'f')],
        &[("etc/d", 'd'), ("etc/d/x", 'f'), ("etc/f", 'f')],
    ];
    with([a, b, c], |parts| {
        assert_eq!(ask(parts, ""), (Some(0), vec![0, 1, 2], vec![1, 2]));
        assert_eq!(ask(parts, "d"), (Some(0), vec![0, 1, 2], vec![1, 2]));
        assert_eq!(ask(parts, "d/x"), (Some(1), vec![], vec![2]));
        assert_eq!(ask(parts, "f"), (Some(0), vec![], vec![2]));
        assert_eq!(ask(parts, "none"), (None, vec![], vec![]));
        assert_eq!(ask(parts, "f/below"), (None, vec![], vec![]));
    });
}

#[test]
fn what_is_below_something_else_is_not_merged() {
    // A file, a whiteout and an opaque directory in the middle, each over a directory.
    for middle in ['f', 'w', 'o'] {
        let [a, c] = [&[("etc/d", 'd')][..], &[("etc/d", 'd'), ("etc/d/x", 'f')]];
        with([a, &[("etc/d", middle)], c], |parts| {
            let merged = if middle == 'o' { vec![0, 1] } else { vec![0] };
            assert_eq!(ask(parts, "d").1, merged, "{middle}");
            assert_eq!(ask(parts, "d/x"), (None, vec![], vec![2]), "{middle}");
        });
    }
}

#[test]
fn a_whiteout_hides_and_shadows_nothing_itself() {
    let [a, b, c] = [&[("etc/f", 'w')][..], &[("etc/f", 'w')], &[("etc/f", 'f')]];
    with([a, b, c], |parts| {
        assert_eq!(ask(parts, "f"), (Some(0), vec![], vec![2]));
    });
}

#[test]
fn names_come_with_those_who_list_them() {
    let [a, b, c] = [&[("etc/x", 'f')][..], &[("etc/y", 'f')], &[("etc/x", 'f')]];
    with([a, b, c], |parts| {
        let listed = parts.names(&parts.enter(&parts.root()));
        let found: Vec<_> =
            listed.names.iter().map(|(name, members)| (name.as_slice(), members.len())).collect();
        assert_eq!(found, [(&b"x"[..], 2), (b"y", 1)]);
        assert!(listed.failed.is_empty());
    });
}

#[test]
fn what_cannot_be_read_is_not_taken_for_absent() {
    let [a, b, c] =
        [&[("etc/d", 'd')][..], &[("etc/d", 'd'), ("etc/d/x", '!')], &[("etc/d", 'd'), ("etc/d/x", 'f')]];
    with([a, b, c], |parts| {
        let node = parts.node(b"d/x");
        assert_eq!(node.top().map(|top| top.part), Some(2));
        let unknown: Vec<_> =
            node.unknown.iter().map(|(part, unknown)| (*part, unknown.layer.as_str())).collect();
        assert_eq!(unknown, [(1, "1")]);
    });
    let closed = Unknown { layer: "gone".into(), code: "os", reason: String::new() };
    let files = Fake::new(&[("etc/f", 'f')]);
    let parts = Parts(vec![
        Part { files: Err(&closed), name: "gone", root: "etc" },
        Part { files: Ok(&files), name: "there", root: "etc" },
    ]);
    let node = parts.node(b"f");
    assert_eq!((node.top().map(|top| top.part), node.unknown.len()), (Some(1), 1));
}
