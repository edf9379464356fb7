//! Tests of extraction: what comes out is what was in, nothing leaves the destination, and nothing is left of a failure.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use confext_ddi::build::{self, Device, Meta, Timestamp, Tree};
use confext_ddi::error::{Lookup, Result as DdiResult};
use confext_ddi::fs::{DirEntry, FileType, Metadata, Xattr};
use confext_ddi::fstype::FsType;
use confext_ddi::manifest::{self, Manifest};
use confext_ddi::{diff, fs};

use super::*;
use crate::directory::Directory;

/// On a file system with extended attributes of users.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("confext-test-").tempdir_in("/var/tmp").unwrap()
}

fn image(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    build::erofs::write(tree, &build::erofs::Options::default(), &mut out).unwrap();
    out
}

fn put(tree: &Tree, to: &Path, options: &Options) -> Result<Extracted> {
    let image = image(tree);
    let files = fs::open(image.as_slice(), FsType::Erofs, &Limits::default()).unwrap();
    extract(files.as_ref(), to, options, &Limits::default(), |_| ControlFlow::Continue(()))
}

fn code(result: Result<Extracted>) -> &'static str {
    result.unwrap_err().code()
}

fn replace() -> Options {
    Options { existing: Existing::Replace, ..Options::default() }
}

/// Every path below a directory, with type and content.
fn listing(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let what = if meta.is_dir() {
                open.push(path.clone());
                "directory".to_owned()
            } else if meta.is_symlink() {
                format!("-> {}", std::fs::read_link(&path).unwrap().display())
            } else {
                format!("{:?}", std::fs::read(&path).unwrap())
            };
            found.insert(path, what);
        }
    }
    found
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    let time = Timestamp::new(1_000_000_000, 7).unwrap();
    tree.add_dir("", Meta::new(0o750).mtime(time)).unwrap();
    tree.add_dir("etc", Meta::new(0o555).mtime(time)).unwrap();
    tree.add_file("etc/file", "hello", Meta::new(0o640).mtime(time)).unwrap();
    tree.add_hardlink("etc/same", "etc/file").unwrap();
    tree.add_file("etc/empty", "", Meta::new(0o444).mtime(time)).unwrap();
    tree.add_file(b"etc/\xff", "no text", Meta::new(0o600).mtime(time)).unwrap();
    tree.add_symlink("etc/link", "/etc/passwd", Meta::new(0o777).mtime(time)).unwrap();
    tree.add_fifo("fifo", Meta::new(0o622).mtime(time)).unwrap();
    tree.set_xattr("etc/file", "user.note", "value").unwrap();
    tree.set_xattr("etc", "user.note", "of the directory").unwrap();
    let mut sparse = vec![0; 3 << 20];
    sparse[1 << 20] = 1;
    *sparse.last_mut().unwrap() = 2;
    tree.add_file("sparse", sparse, Meta::new(0o644).mtime(time)).unwrap();
    tree
}

#[test]
fn what_comes_out_is_what_was_in() {
    let dir = scratch();
    let to = dir.path().join("new");
    let extracted = put(&tree(), &to, &Options::default()).unwrap();
    assert_eq!((extracted.directories, extracted.files, extracted.hard_links), (2, 4, 1));
    assert_eq!((extracted.symlinks, extracted.special_files, extracted.bytes), (1, 1, 12 + (3 << 20)));
    let image = image(&tree());
    let files = fs::open(image.as_slice(), FsType::Erofs, &Limits::default()).unwrap();
    let there = Directory::new(std::fs::File::open(&to).unwrap().into(), &Limits::default());
    let mut options = diff::Options::default();
    options.ignore = vec![diff::Attribute::Owner];
    let sides = (diff::Side::Files(files.as_ref()), diff::Side::Files(&there));
    assert_eq!(diff::collect(sides.0, sides.1, &options, &Limits::default()).unwrap(), []);
    let sparse = to.join("sparse").metadata().unwrap();
    assert!(sparse.blocks() * 512 <= 64 << 10, "{} blocks", sparse.blocks());
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["new"]);
}

#[test]
fn rights_are_only_given_when_asked_for() {
    let dir = scratch();
    let mut tree = Tree::new();
    tree.add_file("set-id", "x", Meta::new(0o6755)).unwrap();
    tree.add_dir("sticky", Meta::new(0o1777)).unwrap();
    tree.set_xattr("set-id", "trusted.a", "x").unwrap();
    tree.set_xattr("set-id", "user.a", "x").unwrap();
    let extracted = put(&tree, &dir.path().join("a"), &Options::default()).unwrap();
    assert_eq!((extracted.set_id_cleared, extracted.xattrs_left_out), (1, 1));
    let mode = |path: &str| dir.path().join(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("a/set-id"), mode("a/sticky")), (0o755, 0o1777));
    let keep = Options { set_id: SetId::Keep, xattrs: Vec::new(), ..Options::default() };
    let extracted = put(&tree, &dir.path().join("b"), &keep).unwrap();
    assert_eq!((extracted.set_id_cleared, extracted.xattrs_left_out), (0, 2));
    assert_eq!(mode("b/set-id"), 0o6755);
}

#[test]
fn devices_are_refused_or_left_out() {
    let dir = scratch();
    let mut tree = Tree::new();
    tree.add_file("a", "x", Meta::new(0o644)).unwrap();
    tree.add_device("null", Device::Character { major: 1, minor: 3 }, Meta::new(0o666)).unwrap();
    assert_eq!(code(put(&tree, &dir.path().join("a"), &Options::default())), "extract-device");
    assert!(listing(dir.path()).is_empty());
    let options = Options { devices: Devices::LeaveOut, ..Options::default() };
    assert_eq!(put(&tree, &dir.path().join("a"), &options).unwrap().devices_left_out, 1);
    assert_eq!(listing(dir.path()).len(), 2);
}

#[test]
fn attributes_of_an_overlay_must_be_named() {
    use super::attributes::is_allowed;
    let allowed = |name: &str, beginnings: &[&str]| {
        is_allowed(name.as_bytes(), &beginnings.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    };
    assert!(allowed("user.a", &["user."]) && allowed("trusted.a", &["user.", "trusted."]));
    assert!(!allowed("trusted.a", &["user."]) && !allowed("security.capability", &["user."]));
    assert!(!allowed("trusted.overlay.opaque", &["trusted.", "", "trusted.over"]));
    assert!(allowed("trusted.overlay.opaque", &["trusted.overlay."]));
    assert!(!allowed("user.a", &[]));
}

#[test]
fn into_a_dirty_directory_nothing_that_is_there_is_followed() {
    let outside = scratch();
    std::fs::write(outside.path().join("file"), "outside").unwrap();
    let mut tree = Tree::new();
    tree.add_file("a/file", "inside", Meta::new(0o644)).unwrap();
    tree.add_file("b", "inside", Meta::new(0o644)).unwrap();
    let dir = scratch();
    // A link to a directory where a directory is to be, and a link to a file where a file is to be.
    symlink(outside.path(), dir.path().join("a")).unwrap();
    symlink(outside.path().join("file"), dir.path().join("b")).unwrap();
    let before = listing(dir.path());
    assert_eq!(code(put(&tree, dir.path(), &Options::default())), "extract-exists");
    assert_eq!(listing(dir.path()), before);
    let extracted = put(&tree, dir.path(), &replace()).unwrap();
    assert_eq!((extracted.replaced, extracted.directories, extracted.files), (2, 1, 2));
    let found: Vec<String> = listing(dir.path()).into_values().collect();
    let inside = format!("{:?}", b"inside");
    assert_eq!(found, ["directory", &inside, &inside]);
    assert_eq!(listing(outside.path()).into_values().collect::<Vec<_>>(), [format!("{:?}", b"outside")]);
}

#[test]
fn a_directory_that_is_there_is_kept_and_never_replaced_by_a_file() {
    let dir = scratch();
    std::fs::create_dir_all(dir.path().join("etc/mine")).unwrap();
    std::fs::set_permissions(dir.path().join("etc"), std::fs::Permissions::from_mode(0o711)).unwrap();
    let mut tree = Tree::new();
    tree.add_dir("etc", Meta::new(0o755)).unwrap();
    tree.add_file("etc/file", "x", Meta::new(0o644)).unwrap();
    put(&tree, dir.path(), &Options::default()).unwrap();
    let etc = dir.path().join("etc").metadata().unwrap();
    assert_eq!(etc.permissions().mode() & 0o7777, 0o711);
    tree.add_file("etc/mine", "x", Meta::new(0o644)).unwrap();
    let before = listing(dir.path());
    assert_eq!(code(put(&tree, dir.path(), &replace())), "extract-exists");
    assert_eq!(listing(dir.path()), before, "what was replaced is back");
}

#[test]
fn a_destination_is_a_directory_or_nothing() {
    let dir = scratch();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    symlink("/", dir.path().join("link")).unwrap();
    for name in ["file", "link"] {
        assert_eq!(code(put(&tree(), &dir.path().join(name), &replace())), "extract-destination", "{name}");
    }
    assert_eq!(code(put(&tree(), &dir.path().join("none/new"), &replace())), "os");
    assert_eq!(code(put(&tree(), Path::new("/nowhere/.."), &replace())), "extract-destination");
}

#[test]
fn nothing_is_left_of_a_failure() {
    let image = image(&tree());
    let files = fs::open(image.as_slice(), FsType::Erofs, &Limits::default()).unwrap();
    let dir = scratch();
    let old = dir.path().join("old");
    std::fs::create_dir_all(old.join("etc")).unwrap();
    std::fs::write(old.join("etc/file"), "of mine").unwrap();
    let before = listing(dir.path());
    let limits = Limits::default();
    let mut few = limits.clone();
    few.content_bytes = 1 << 20;
    let mut flat = limits.clone();
    flat.depth = 1;
    let mut short = limits.clone();
    short.manifest_bytes = 20;
    for (limits, stop, code) in [
        (&few, false, "limit-bytes"),
        (&flat, false, "limit-count"),
        (&short, false, "limit-bytes"),
        (&limits, true, "cancelled"),
    ] {
        for to in ["old", "new"] {
            let progress = |_| if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let found = extract(files.as_ref(), &dir.path().join(to), &replace(), limits, progress);
            assert_eq!(found.unwrap_err().code(), code, "{to}");
            assert_eq!(listing(dir.path()), before, "{code} {to}");
        }
    }
}

/// A file system that says what it is told to: entries by directory, all else made up.
struct Hostile {
    entries: BTreeMap<Vec<u8>, Vec<(Vec<u8>, FileType)>>,
}

impl Hostile {
    fn new(entries: &[(&str, &str, FileType)]) -> Self {
        let mut found: BTreeMap<Vec<u8>, Vec<(Vec<u8>, FileType)>> = BTreeMap::new();
        for (directory, name, file_type) in entries {
            found
                .entry(directory.as_bytes().to_vec())
                .or_default()
                .push((name.as_bytes().to_vec(), *file_type));
        }
        Self { entries: found }
    }
}

impl FileSystem for Hostile {
    fn fs_type(&self) -> FsType {
        FsType::Erofs
    }

    fn stat(&self, path: &[u8]) -> DdiResult<Metadata> {
        let all = self.entries.iter().flat_map(|(directory, entries)| {
            entries.iter().map(move |(name, kind)| (crate::directory::join(directory, name), *kind))
        });
        let root = (Vec::new(), FileType::Directory);
        let at = std::iter::once(root).chain(all).enumerate().find(|(_, (known, _))| known == path);
        let (ino, (_, file_type)) =
            at.ok_or_else(|| Lookup::NoSuchFile { path: String::from_utf8_lossy(path).into_owned() })?;
        Ok(Metadata {
            file_type,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size_bytes: 1,
            mtime_sec: 0,
            mtime_nsec: 0,
            nlink: 1,
            rdev: None,
            ino: ino as u64,
        })
    }

    fn read_dir(&self, path: &[u8]) -> DdiResult<Vec<DirEntry>> {
        let entries = self.entries.get(path).cloned().unwrap_or_default();
        Ok(entries.into_iter().map(|(name, file_type)| DirEntry { name, file_type }).collect())
    }

    fn read_at(&self, _: &[u8], _: u64, buf: &mut [u8]) -> DdiResult<usize> {
        buf.fill(b'!');
        Ok(buf.len())
    }

    fn read(&self, _: &[u8]) -> DdiResult<Vec<u8>> {
        Ok(b"!".to_vec())
    }

    fn read_link(&self, _: &[u8]) -> DdiResult<Vec<u8>> {
        Ok(b"../outside".to_vec())
    }

    fn xattrs(&self, _: &[u8]) -> DdiResult<Vec<Xattr>> {
        Ok(Vec::new())
    }
}

#[test]
fn names_of_a_hostile_file_system_lead_nowhere() {
    use FileType::{Directory, Regular, Symlink};
    let dir = scratch();
    std::fs::create_dir(dir.path().join("outside")).unwrap();
    std::fs::create_dir(dir.path().join("there")).unwrap();
    let before = listing(dir.path());
    let long = "n".repeat(256);
    for (entries, code) in [
        (&[("", "..", Directory), ("..", "x", Regular)][..], "extract-name"),
        (&[("", "..", Regular)], "extract-name"),
        (&[("", ".", Regular)], "extract-name"),
        // The root itself, once more.
        (&[("", "", Regular)], "directory-loop"),
        (&[("", "../outside/x", Regular)], "extract-name"),
        (&[("", "/outside/x", Regular)], "extract-name"),
        // Behind a directory that was left, a name with a slash cannot pass for a path.
        (&[("", "a", Directory), ("", "b", Regular), ("", "a/x", Regular)], "extract-name"),
        (&[("", "a\0b", Regular)], "extract-name"),
        (&[("", &long, Regular)], "extract-name"),
        // A link, and then a directory or file behind it.
        (&[("", "a", Symlink), ("", "a", Directory), ("a", "x", Regular)], "extract-exists"),
        (&[("", "a", Regular), ("", "a", Regular)], "extract-exists"),
    ] {
        for to in ["new", "there"] {
            let files = Hostile::new(entries);
            let found =
                extract(&files, &dir.path().join(to), &Options::default(), &Limits::default(), |_| {
                    ControlFlow::Continue(())
                });
            assert_eq!(found.map_err(|error| error.code()), Err(code), "{entries:?} to {to}");
            assert_eq!(listing(dir.path()), before, "{entries:?} to {to}");
        }
    }
    // Replacing does not go through a link either: the link is replaced.
    let files = Hostile::new(&[("", "a", Symlink), ("", "a", Directory), ("a", "x", Regular)]);
    // Both entries have the inode of the first; the second is taken for what it says to be.
    let _ = extract(&files, &dir.path().join("there"), &replace(), &Limits::default(), |_| {
        ControlFlow::Continue(())
    });
    assert!(listing(&dir.path().join("outside")).is_empty());
}

#[test]
fn a_directory_that_is_exchanged_with_a_link_leads_nowhere() {
    let outside = scratch();
    let mut tree = Tree::new();
    for index in 0..40 {
        tree.add_file(format!("a/b/{index}"), "x", Meta::new(0o644)).unwrap();
    }
    let image = image(&tree);
    let files = fs::open(image.as_slice(), FsType::Erofs, &Limits::default()).unwrap();
    let dir = scratch();
    std::fs::create_dir_all(dir.path().join("to/a/b")).unwrap();
    symlink(outside.path(), dir.path().join("link")).unwrap();
    let stop = AtomicBool::new(false);
    let (mut failed, mut done) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (dir.path().join("to/a/b"), dir.path().join("link"));
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, flags);
            }
        });
        for _ in 0..60 {
            let to = dir.path().join("to");
            match extract(files.as_ref(), &to, &replace(), &Limits::default(), |_| ControlFlow::Continue(()))
            {
                Ok(_) => done += 1,
                Err(_) => failed += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(listing(outside.path()).is_empty(), "{done} done, {failed} failed");
    assert_eq!(done + failed, 60);
}

#[test]
fn another_name_is_only_made_of_what_was_extracted() {
    let dir = scratch();
    let to = dir.path().join("to");
    std::fs::create_dir(&to).unwrap();
    let mut tree = Tree::new();
    tree.add_file("a", "first", Meta::new(0o644)).unwrap();
    tree.add_file("b", vec![1; 2 << 20], Meta::new(0o644)).unwrap();
    tree.add_hardlink("c", "a").unwrap();
    let image = image(&tree);
    let files = fs::open(image.as_slice(), FsType::Erofs, &Limits::default()).unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    let progress = |bytes| {
        // After "a", something else gets its name.
        if bytes > 5 && to.join("a").metadata().is_ok_and(|meta| meta.len() == 5) {
            std::fs::rename(dir.path().join("secret"), to.join("a")).unwrap();
        }
        ControlFlow::Continue(())
    };
    let error = extract(files.as_ref(), &to, &Options::default(), &Limits::default(), progress).unwrap_err();
    assert_eq!(error.code(), "extract-changed");
    assert!(!to.join("c").exists());
}

#[test]
#[ignore = "needs root"]
fn owners_devices_and_labels_are_as_asked_for() {
    let dir = scratch();
    let mut tree = Tree::new();
    tree.add_file("file", "x", Meta::new(0o4755).owner(5, 6)).unwrap();
    tree.add_symlink("link", "file", Meta::new(0o777).owner(7, 8)).unwrap();
    tree.add_device("null", Device::Character { major: 1, minor: 3 }, Meta::new(0o640)).unwrap();
    tree.set_xattr("file", "trusted.a", "x").unwrap();
    tree.set_xattr("link", "trusted.a", "x").unwrap();
    let mut options = Options { devices: Devices::Make, set_id: SetId::Keep, ..Options::default() };
    options.xattrs = vec!["trusted.".to_owned()];
    options.sync = Sync::Now;
    let owner = |name: &str| {
        let meta = dir.path().join(name).symlink_metadata().unwrap();
        (meta.uid(), meta.gid())
    };
    for (name, ownership, expected) in [
        ("as-is", Ownership::AsIs, [(5, 6), (7, 8)]),
        ("fixed", Ownership::Fixed { uid: 9, gid: 10 }, [(9, 10), (9, 10)]),
        ("shifted", Ownership::Shifted { first: 100, count: 9 }, [(105, 106), (107, 108)]),
    ] {
        options.ownership = ownership;
        put(&tree, &dir.path().join(name), &options).unwrap();
        assert_eq!([owner(&format!("{name}/file")), owner(&format!("{name}/link"))], expected);
        let null = dir.path().join(name).join("null").metadata().unwrap();
        assert_eq!((null.rdev(), null.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o640));
        assert_eq!(dir.path().join(name).join("file").metadata().unwrap().mode() & 0o7777, 0o4755);
        let there = std::fs::File::open(dir.path().join(name)).unwrap();
        let there = Directory::new(there.into(), &Limits::default());
        for file in ["file", "link"] {
            assert_eq!(
                there.xattrs(file.as_bytes()).unwrap(),
                [(b"trusted.a".to_vec(), b"x".to_vec())],
                "{file}"
            );
        }
    }
    options.ownership = Ownership::Shifted { first: 100, count: 8 };
    assert_eq!(code(put(&tree, &dir.path().join("few"), &options)), "extract-owner");
    assert!(!dir.path().join("few").exists());
}

#[test]
fn a_manifest_of_the_image_is_one_of_what_was_extracted() {
    let dir = scratch();
    let image = image(&tree());
    let files = fs::open(image.as_slice(), FsType::Erofs, &Limits::default()).unwrap();
    let limits = Limits::default();
    let listed = Manifest::of(files.as_ref(), &manifest::Options::default(), &limits, |_| {}).unwrap();
    let to = dir.path().join("to");
    put(&tree(), &to, &Options::default()).unwrap();
    let there = Directory::new(std::fs::File::open(&to).unwrap().into(), &limits);
    let mut options = diff::Options::default();
    options.ignore = vec![diff::Attribute::Owner];
    let sides = (diff::Side::Manifest(&listed), diff::Side::Files(&there));
    assert_eq!(diff::collect(sides.0, sides.1, &options, &limits).unwrap(), []);
    std::fs::write(to.join("etc/file"), "hullo").unwrap();
    options.ignore.push(diff::Attribute::Mtime);
    assert_eq!(diff::collect(sides.0, sides.1, &options, &limits).unwrap().len(), 1);
}
