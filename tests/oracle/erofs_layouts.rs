//! Every layout that `mkfs.erofs` 1.9 writes: images are read here, by its own `fsck.erofs` and by this kernel, and all
//! see what the source directory has.

use confext_ddi::fs::{self, FileSystem};
use confext_ddi::fstype::FsType;
use confext_ddi::{Limits, ReadAt, Result};
use confext_tests::namespace::{in_mount_namespace, run, unmount};
use confext_tests::peer::{Place, record_files};
use confext_tests::source::{self, noise};
use rustix::fs::{
    AtFlags, CWD, FileType, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat, utimensat,
};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One image for each line. Not among them is `--MZ=d`: of what mkfs.erofs 1.9.4 writes then, neither its own fsck nor the
/// kernel finds the inodes. `BLOB` becomes the name of a file for the data of chunks.
const LAYOUTS: &[&str] = &[
    "",
    "-b512",
    "-b1024",
    "-b2048 -Enoinline_data",
    "-x1 --xattr-prefix=user.org.example.",
    "-Exattr-name-filter,force-inode-extended",
    "--chunksize=4096",
    "--chunksize=65536 -Eforce-chunk-indexes",
    "--chunksize=4096 --blobdev=BLOB",
    "-zlz4",
    "-zlz4 -b1024",
    "-zlz4hc,12 -b512 -C4096",
    "-zlz4 -Elegacy-compress",
    "-zlz4 -Elegacy-compress,ztailpacking",
    "-zlz4hc,12 -C65536",
    "-zlz4 -C1048576",
    "-zlz4 --max-extent-bytes=65536 -C32768",
    "-zlzma,9 -C16384",
    "-zlzma,106,lc=0,lp=2 -C65536 -Eztailpacking",
    "-zdeflate,9 -C16384",
    "-zlibdeflate -C65536 -Efragments",
    "-zzstd,9 -C131072",
    "-zzstd -Eztailpacking",
    "-zlz4hc -Eztailpacking",
    "-zlz4hc -Efragments",
    "-zlz4hc -Eall-fragments",
    "-zlz4hc -Ededupe",
    "-zlz4hc -Ededupe -C65536",
    "-zlz4hc -Efragments,dedupe,ztailpacking -C65536",
    "-zzstd -Eall-fragments,dedupe -C65536",
    "-zdeflate -Efragments,fragdedupe=full -C32768",
    "-zlzma,3 -Efragments,fragdedupe=inode,ztailpacking -C32768",
    "-zlz4 -Efragments --xattr-prefix=user.org.example.",
    "-E48bit",
    "-E48bit --chunksize=4096",
    "-E48bit --chunksize=4096 --blobdev=BLOB",
    "-E48bit -zlz4",
    "-E48bit -zlz4hc -C65536",
    "-E48bit,ztailpacking -zlz4",
    "-E48bit,fragments -zzstd -C65536",
    "-E48bit,dedupe,fragments -zdeflate -C65536",
    "-E48bit,all-fragments -zlzma,3",
    "-E48bit -zlz4 --max-extent-bytes=65536",
    "-m4096 -zlz4",
    "-m4096:zstd -zlz4 -C65536",
    "-m65536:lzma -zzstd -C65536 -Efragments",
    "--MZ=i -m4096 -zlz4",
    "--MZ=i -m65536:zstd -zlz4hc -Ededupe,fragments -C65536",
    "--zD -zlz4",
    "--zD -zzstd -Eztailpacking -C65536",
    "--zD -zdeflate -Efragments -C65536",
];

/// Text that compresses, with few words.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let words = noise(7, 1200);
    let choices = noise(seed, len / 3 + 1);
    let mut text: Vec<u8> = choices
        .iter()
        .flat_map(|&choice| {
            let start = usize::from(choice) * 4;
            words[start..start + 3 + usize::from(choice % 5)].iter().map(|byte| b'a' + byte % 16)
        })
        .collect();
    text.truncate(len);
    assert_eq!(text.len(), len);
    text
}

fn populate(dir: &Path) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    let large = text(1, 700_001);
    write("large", &large);
    write("noise", &noise(2, 200_000));
    write("zeros", &[0; 300_000]);
    let halves: Vec<u8> =
        (0..20).flat_map(|seed| [text(seed, 9000 + seed as usize), noise(seed, 7000)].concat()).collect();
    write("halves", &halves);
    // What deduplication finds: whole files, moved content, common ends.
    let twin = text(3, 200_000);
    write("twin", &twin);
    write("twin-too", &twin);
    write("moved", &[&[b'x'; 1000][..], &twin].concat());
    write("end", &[&noise(4, 5000)[..], &twin[130_000..]].concat());
    for size in [0, 1, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 8193, 12_289] {
        write(&format!("size-{size}"), &text(size as u64, size));
    }
    std::fs::create_dir(dir.join("many")).unwrap();
    for at in 0..600 {
        write(
            &format!("many/a-rather-long-name-of-a-file-{at}"),
            format!("value={at}\n").repeat(at % 7).as_bytes(),
        );
    }
    std::fs::create_dir_all(dir.join("deep/er")).unwrap();
    let sparse = File::create(dir.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 1 << 20).unwrap();
    symlink("l/".repeat(2000), dir.join("long-link")).unwrap();
    symlink("size-1", dir.join("link")).unwrap();
    std::fs::hard_link(dir.join("large"), dir.join("deep/er/large-too")).unwrap();
    mknodat(CWD, dir.join("null"), FileType::CharacterDevice, 0o600.into(), makedev(1, 3)).unwrap();
    std::os::unix::fs::lchown(dir.join("size-4097"), Some(1234), Some(70_000)).unwrap();
    let set = |name: &str, key: &str, value: &[u8]| {
        lsetxattr(dir.join(name), key, value, XattrFlags::empty()).unwrap();
    };
    for at in 0..60 {
        let name = format!("many/a-rather-long-name-of-a-file-{at}");
        set(&name, "user.shared", b"the same everywhere");
        set(&name, &format!("user.org.example.note-{}", at % 3), at.to_string().as_bytes());
    }
    set("size-4096", "user.large", &text(5, 2000));
    set("deep", "trusted.note", b"trusted");
    set("link", "security.selinux", b"system_u:object_r:etc_t:s0\0");
    // Small inodes, which `-E48bit` makes of all that fit, have whole seconds. Last, because making entries changes times.
    for (at, name) in (0..).zip(source::record(dir).into_keys()) {
        let time = Timespec { tv_sec: 1_700_000_000 + at, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, dir.join(OsStr::from_bytes(&name)), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Makes all images, and asks `fsck.erofs` about each. One command, for each start of the peer
/// takes longer than an image.
fn make_images(place: &Place) {
    let mut script = String::from("set -eu\n");
    for (number, options) in LAYOUTS.iter().enumerate() {
        let blob = format!("blob-{number}");
        let mut check = format!("fsck.erofs image-{number}");
        if options.contains("BLOB") {
            script += &format!(": >{blob}\n");
            check = format!("fsck.erofs --device={blob} image-{number}");
        }
        script +=
            &format!("mkfs.erofs --quiet {} image-{number} source >&2\n", options.replace("BLOB", &blob));
        script += &format!("{check} >&2\n");
    }
    place.peer(&["sh", "-c", &script]);
}

fn open(place: &Place, number: usize) -> Box<dyn FileSystem> {
    let image = File::open(place.path(&format!("image-{number}"))).unwrap();
    let mut devices = Vec::new();
    if LAYOUTS[number].contains("BLOB") {
        devices.push(File::open(place.path(&format!("blob-{number}"))).unwrap());
    }
    fs::open_with_devices(image, devices, FsType::Erofs, &Limits::default()).unwrap()
}

#[test]
#[ignore = "needs root"]
fn every_layout_is_read_as_its_source() {
    in_mount_namespace(|dir| {
        let place = Place::create();
        let source = place.path("source");
        std::fs::create_dir(&source).unwrap();
        populate(&source);
        let expected = source::record(&source);
        make_images(&place);
        let mounted = dir.join("mounted");
        std::fs::create_dir(&mounted).unwrap();
        let at = mounted.to_str().unwrap();
        for (number, options) in LAYOUTS.iter().enumerate() {
            eprintln!("mkfs.erofs {options}");
            let files = open(&place, number);
            source::assert_same(&record_files(&*files), &expected);
            in_pieces(&*files, &source);
            // A blob is a second device, which a mount takes as a block device only.
            if !options.contains("BLOB") {
                run("mount", &["-t", "erofs", "-o", "loop,ro", &place.text(&format!("image-{number}")), at]);
                source::assert_same(&source::record(&mounted), &expected);
                unmount(&mounted);
            }
        }
    });
}

/// Offsets and lengths that no extent starts or ends at.
fn in_pieces(files: &dyn FileSystem, source: &Path) {
    for name in ["large", "halves", "moved", "end", "size-4097"] {
        let expected = std::fs::read(source.join(name)).unwrap();
        for at in (0..expected.len()).rev().step_by(77_777) {
            let mut piece = vec![0; 5003.min(expected.len() - at)];
            assert_eq!(files.read_at(name.as_bytes(), at as u64, &mut piece).unwrap(), piece.len());
            assert!(piece == expected[at..at + piece.len()], "{name} at {at}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn devices_are_all_passed_or_none_that_the_image_holds() {
    let place = Place::create();
    std::fs::create_dir(place.path("source")).unwrap();
    std::fs::write(place.path("source/file"), text(1, 50_000)).unwrap();
    place.peer(&[
        "sh",
        "-c",
        ": >blob && mkfs.erofs --quiet --chunksize=4096 --blobdev=blob image source >&2",
    ]);
    let (image, blob) =
        (std::fs::read(place.path("image")).unwrap(), std::fs::read(place.path("blob")).unwrap());
    let open = |image: &[u8], blobs: &[&[u8]]| {
        let devices = blobs.iter().map(|blob| blob.to_vec()).collect();
        let files = fs::open_with_devices(image.to_vec(), devices, FsType::Erofs, &Limits::default());
        files.and_then(|files| files.read(b"file")).map_err(|error| error.code())
    };
    assert!(open(&image, &[&blob]) == Ok(text(1, 50_000)));
    assert_eq!(open(&image, &[]), Err("file-system-devices"));
    assert_eq!(open(&image, &[&blob, &blob]), Err("file-system-devices"));
    assert_eq!(open(&image, &[&blob[..blob.len() / 2]]), Err("out-of-bounds"));
    let ext4 = fs::open_with_devices(vec![0; 4096], vec![Vec::new()], FsType::Ext4, &Limits::default());
    assert_eq!(ext4.map(|_| ()).unwrap_err().code(), "file-system-devices");

    // The device table is where the superblock says; its third word is the block that the blob begins at.
    let mut flat = image.clone();
    let table = usize::from(u16::from_le_bytes([flat[1024 + 88], flat[1024 + 89]])) * 128;
    let block = 4096;
    flat.resize(flat.len().next_multiple_of(block), 0);
    let first = u32::try_from(flat.len() / block).unwrap();
    flat[table + 68..table + 72].copy_from_slice(&first.to_le_bytes());
    flat[1024 + 8] &= !1;
    flat.extend_from_slice(&blob);
    assert!(open(&flat, &[]) == Ok(text(1, 50_000)), "the image holds the blob");
}

/// Counts bytes that are read.
struct Counted {
    bytes: Arc<Vec<u8>>,
    read: Arc<AtomicU64>,
}

impl ReadAt for Counted {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.bytes.read_exact_at(offset, buf)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.bytes.size_bytes()
    }
}

/// Reading a file in small pieces reads no more of the image than reading it whole, and no more than a few times its
/// packed size: the work grows with the file and not with its square.
#[test]
#[ignore = "needs root"]
fn reading_in_small_pieces_is_linear() {
    let place = Place::create();
    std::fs::create_dir(place.path("source")).unwrap();
    std::fs::write(place.path("source/file"), text(1, 6 << 20)).unwrap();
    let layouts = [
        "-zlz4",
        "-zlz4 -b512",
        "-zlz4 -Elegacy-compress",
        "-zlz4hc -C1048576",
        "-E48bit -zlz4",
        "-zlz4 -m4096",
    ];
    let make: String = layouts
        .iter()
        .enumerate()
        .map(|(number, options)| format!("mkfs.erofs --quiet {options} image-{number} source >&2 && "))
        .collect();
    place.peer(&["sh", "-c", &format!("{make} true")]);
    for (number, options) in layouts.iter().enumerate() {
        let bytes = Arc::new(std::fs::read(place.path(&format!("image-{number}"))).unwrap());
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted { bytes: Arc::clone(&bytes), read: Arc::clone(&read) };
        let files = fs::open(counted, FsType::Erofs, &Limits::default()).unwrap();
        let mut piece = vec![0; 1000];
        let mut at = 0;
        while files.read_at(b"file", at, &mut piece).unwrap() > 0 {
            at += 1000;
        }
        let (found, size) = (read.load(Ordering::Relaxed), bytes.len() as u64);
        // An inode is looked up for each piece, and a block of the index is read again for each extent.
        let lookups = 6 * (1 << 20) / 1000 * 200;
        assert!(found < 3 * size + lookups, "{options}: {found} bytes of {size}");
    }
}
