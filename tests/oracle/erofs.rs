//! EROFS images of ours, read back by programs we did not write: erofs-utils and erofs-rs.

use confext_ddi::build::{Device, DirectoryOptions, Meta, Timestamp, Tree, erofs};
use confext_tests::namespace::{in_mount_namespace, run};
use confext_tests::source::{self, Entry};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn image_of(dir: &Path) -> Vec<u8> {
    let tree = Tree::from_directory(dir, &DirectoryOptions::default()).unwrap();
    let mut image = Vec::new();
    erofs::write(&tree, &erofs::Options::default(), &mut image).unwrap();
    image
}

/// Records an image through erofs-rs, as [`source::record`] records a directory.
fn record(image: &[u8]) -> BTreeMap<Vec<u8>, Entry> {
    let fs = erofs_rs::EroFS::new(erofs_rs::backend::SliceImage::new(image)).unwrap();
    let mut inodes = BTreeMap::from([(Vec::new(), fs.get_inode(fs.super_block().root_inode_id()).unwrap())]);
    for entry in fs.walk_dir("/").unwrap() {
        let entry = entry.unwrap();
        let path = entry.dir_entry.path();
        let path = path.as_bytes().strip_prefix(b"/").unwrap_or(path.as_bytes());
        inodes.insert(path.to_vec(), entry.inode);
    }
    let mut first_names = BTreeMap::new();
    let mut out = BTreeMap::new();
    for (path, inode) in inodes {
        let content = if inode.is_symlink() {
            fs.read_link_inode(inode).unwrap().into_vec()
        } else if inode.is_file() {
            let file = fs.open_inode_file(inode).unwrap();
            source::digest(inode.data_size(), |offset, buf| {
                let mut done = 0;
                while done < buf.len() {
                    let read = file.read_at(&mut buf[done..], offset + done as u64).unwrap();
                    assert_ne!(read, 0, "{}", path.escape_ascii());
                    done += read;
                }
            })
        } else {
            Vec::new()
        };
        let entry = Entry {
            mode: inode.file_type().as_raw_mode() | inode.permissions().mode(),
            owner: (inode.uid(), inode.gid()),
            mtime: inode.modified_unix(),
            size: if inode.is_dir() { 0 } else { inode.data_size() },
            nlink: u64::from(inode.nlink()),
            device: inode.device(),
            xattrs: fs.xattrs_inode(inode).unwrap(),
            content,
            first_name: first_names.entry(inode.id()).or_insert_with(|| path.clone()).clone(),
        };
        out.insert(path, entry);
    }
    out
}

#[test]
#[ignore = "needs root"]
fn erofs_rs_reads_every_entry_back() {
    in_mount_namespace(|dir| {
        source::populate_as_root(dir);
        let expected = source::record(dir);
        source::assert_same(&record(&image_of(dir)), &expected);
    });
}

#[test]
#[ignore = "needs root"]
fn fsck_erofs_accepts_and_extracts_what_the_source_directory_has() {
    in_mount_namespace(|dir| {
        let source = dir.join("source");
        std::fs::create_dir(&source).unwrap();
        source::populate_as_root(&source);
        let image = dir.join("image");
        let check = |arguments: &[&str]| run("fsck.erofs", &[arguments, &[image.to_str().unwrap()]].concat());
        std::fs::write(&image, image_of(&source)).unwrap();
        check(&[]);
        // Old versions write the holes of the large file out, and cut a file that ends in a hole.
        std::fs::remove_file(source.join("sparse")).unwrap();
        std::fs::remove_file(source.join("hole")).unwrap();
        std::fs::write(&image, image_of(&source)).unwrap();
        let extracted = dir.join("extracted");
        check(&["--preserve", &format!("--extract={}", extracted.display())]);
        // Not every version extracts attributes and hard links, or keeps set-id bits when it sets the owner.
        let comparable = |dir: &Path| -> BTreeMap<Vec<u8>, Entry> {
            let plain = |entry: Entry| Entry {
                mode: entry.mode & !0o6000,
                xattrs: BTreeMap::new(),
                nlink: 0,
                first_name: Vec::new(),
                ..entry
            };
            source::record(dir).into_iter().map(|(path, entry)| (path, plain(entry))).collect()
        };
        source::assert_same(&comparable(&extracted), &comparable(&source));
    });
}

#[test]
fn dump_erofs_prints_the_superblock_we_wrote() {
    let mut tree = Tree::new();
    tree.add_file("etc/a", source::noise(1, 5000), Meta::new(0o644)).unwrap();
    tree.add_device("dev/zero", Device::Character { major: 1, minor: 5 }, Meta::new(0o666)).unwrap();
    let mut options = erofs::Options::default();
    options.uuid = "12345678-9abc-4def-8012-3456789abcde".parse().unwrap();
    options.build_time = Timestamp::from_seconds(1_700_000_000);
    let image = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(erofs::write(&tree, &options, &mut image.as_file()).unwrap(), 8192);
    let path = image.path().to_str().unwrap();
    let printed = run("dump.erofs", &["-s", path]);
    for (field, value) in [
        ("magic number", "0xE0F5E1E2"),
        ("blocks", "2"),
        ("inode count", "5"),
        ("root nid", "36"),
        ("features", "sb_csum mtime"),
        ("UUID", "12345678-9abc-4def-8012-3456789abcde"),
    ] {
        let line = printed.lines().find(|line| line.contains(field)).unwrap_or_default();
        assert_eq!(line.split_once(':').unwrap_or_default().1.trim(), value, "{printed}");
    }
    let file = run("dump.erofs", &["--path=/etc/a", path]);
    assert!(file.contains("Size: 5000"), "{file}");
    run("fsck.erofs", &[path]);
}

#[test]
fn two_directories_of_the_same_entries_give_the_same_bytes() {
    let build = |reverse: bool| {
        let dir = tempfile::tempdir().unwrap();
        let mut names: Vec<String> = (0..300).map(|at| format!("d{}/file-{at}", at % 3)).collect();
        if reverse {
            names.reverse();
        }
        for name in &names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, source::noise(name.len() as u64, name.len() * 97)).unwrap();
        }
        std::fs::hard_link(dir.path().join("d0/file-0"), dir.path().join("linked")).unwrap();
        let tree = Tree::from_directory(dir.path(), &DirectoryOptions::default()).unwrap();
        let mut options = erofs::Options::default();
        options.latest_mtime = Some(Timestamp::from_seconds(1_600_000_000));
        let mut image = Vec::new();
        erofs::write(&tree, &options, &mut image).unwrap();
        image
    };
    let first = build(false);
    assert!(first == build(true));
    assert!(first.len() > 100_000);
}
