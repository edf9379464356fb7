//! Every kind of file system that has a name here, made by its own tool: what `blkid` says it is, is what is said here.

use confext_ddi::fstype::{FsType, probe};
use confext_tests::tools;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Runs a command in `dir`, its words apart by blanks.
fn run(dir: &Path, command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let [program, arguments @ ..] = words.as_slice() else { panic!("no program") };
    tools::run(program, arguments, dir);
}

/// What blkid finds in `image`: nothing, one type, or several that it does not choose between.
fn blkid(dir: &Path) -> Option<String> {
    let asked = [
        "--probe",
        "--usages",
        "filesystem,crypto,other",
        "--match-tag",
        "TYPE",
        "--output",
        "value",
        "image",
    ];
    let output = tools::output("blkid", &asked, dir);
    let found = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    match output.status.code() {
        Some(0) => Some(found),
        Some(2) => None,
        Some(8) => Some("several".to_owned()),
        status => panic!("blkid: {status:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// What is found here, by the names that blkid has.
fn ours(dir: &Path) -> Option<String> {
    match probe(&File::open(dir.join("image")).unwrap()) {
        Ok(found) => found.map(|found| found.fs_type.as_str().to_owned()),
        Err(error) => {
            assert_eq!(error.code(), "fs-ambiguous", "{error}");
            Some("several".to_owned())
        }
    }
}

/// One type here is several there.
fn one_name(found: Option<String>) -> Option<String> {
    found.map(|name| if matches!(&*name, "ext2" | "ext3") { "ext4".to_owned() } else { name })
}

#[test]
fn every_type_is_what_blkid_says_it_is() {
    let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("source")).unwrap();
    // blkid looks at nothing of 1024 bytes or less.
    std::fs::write(dir.join("source/file"), confext_tests::source::noise(1, 8192)).unwrap();
    std::fs::write(dir.join("key"), "a pass phrase").unwrap();
    let mut seen = BTreeSet::new();
    for (size_bytes, command) in [
        (0, "mkfs.erofs --quiet image source"),
        (0, "mkfs.erofs --quiet -zlz4hc -C65536 image source"),
        (0, "mksquashfs source image -quiet -no-progress"),
        (0, "mksquashfs source image -quiet -no-progress -comp zstd -nopad"),
        (8 << 20, "mke2fs -q -F -t ext2 image"),
        (8 << 20, "mke2fs -q -F -t ext3 image"),
        (8 << 20, "mke2fs -q -F -t ext4 image"),
        (8 << 20, "mke2fs -q -F -t ext4 -b 4096 -O inline_data,metadata_csum image"),
        (2 << 20, "mkfs.vfat -F 12 image"),
        (20 << 20, "mkfs.vfat -F 16 image"),
        (40 << 20, "mkfs.vfat -F 32 image"),
        (40 << 20, "mkfs.vfat -F 32 -S 4096 image"),
        (320 << 20, "mkfs.xfs -q image"),
        (128 << 20, "mkfs.btrfs -q image"),
        (64 << 20, "mkfs.f2fs -q image"),
        (
            32 << 20,
            "cryptsetup luksFormat --batch-mode --type luks1 --pbkdf-force-iterations 1000 --key-file key image",
        ),
        (
            32 << 20,
            "cryptsetup luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file key image",
        ),
        (1 << 20, "mkswap image"),
        (1 << 20, "mkswap --pagesize 65536 image"),
    ] {
        if size_bytes > 0 {
            File::create_new(dir.join("image")).unwrap().set_len(size_bytes).unwrap();
        }
        run(dir, command);
        let theirs = one_name(blkid(dir));
        assert_eq!(ours(dir), theirs, "{command}");
        seen.insert(theirs.unwrap_or_else(|| panic!("blkid does not know what {command} made")));
        run(dir, "wipefs --quiet --all image");
        assert_eq!((ours(dir), blkid(dir)), (None, None), "{command}, wiped");
        std::fs::remove_file(dir.join("image")).unwrap();
    }
    let all: BTreeSet<String> = FsType::ALL.iter().map(|fs_type| fs_type.as_str().to_owned()).collect();
    assert_eq!(seen, all);
}

/// Two magics at once are for neither of us one file system.
#[test]
fn two_types_in_one_place_are_refused_by_both() {
    let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap();
    let dir = dir.path();
    let image = File::create_new(dir.join("image")).unwrap();
    image.set_len(32 << 20).unwrap();
    run(dir, "mke2fs -q -F -t ext4 image");
    assert_eq!(ours(dir), Some("ext4".to_owned()));
    // The first sector is the boot sector of ext4: free for a FAT.
    let fat = File::create_new(dir.join("fat")).unwrap();
    fat.set_len(32 << 20).unwrap();
    run(dir, "mkfs.vfat -F 16 fat");
    let mut sector = [0; 512];
    fat.read_exact_at(&mut sector, 0).unwrap();
    image.write_all_at(&sector, 0).unwrap();
    assert_eq!((ours(dir), blkid(dir)), (Some("several".to_owned()), Some("several".to_owned())));
}
