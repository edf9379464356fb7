use super::*;
use crate::build::erofs;
use crate::fs::{FileSystem as _, FileType};

/// A header with its checksum: of ustar, owned by 1000:100, modified at 2^30.
fn header(name: &str, kind: u8, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000640\0");
    put(108, b"0001750\0");
    put(116, b"0000144\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"10000000000\0");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    sealed(block)
}

fn sealed(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A header with bytes of it changed, and a checksum that is right again.
fn changed(block: [u8; 512], at: usize, bytes: &[u8]) -> [u8; 512] {
    let mut block = block;
    block[at..at + bytes.len()].copy_from_slice(bytes);
    sealed(block)
}

/// An entry with its content, padded.
fn entry(header: [u8; 512], content: &[u8]) -> Vec<u8> {
    let mut out = [&header[..], content].concat();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn file(name: &str, content: &str) -> Vec<u8> {
    entry(header(name, b'0', content.len() as u64), content.as_bytes())
}

fn link(name: &str, kind: u8, target: &str) -> Vec<u8> {
    changed(header(name, kind, 0), 157, target.as_bytes()).to_vec()
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in records {
        let body = format!(" {key}={value}\n");
        let len = (1..).find(|len: &usize| len.to_string().len() + body.len() == *len).unwrap();
        text.push_str(&format!("{len}{body}"));
    }
    entry(header("PaxHeaders/x", b'x', text.len() as u64), text.as_bytes())
}

fn read(entries: &[Vec<u8>], options: &TarOptions) -> Result<Tree> {
    let archive = [entries.concat(), vec![0; 1024]].concat();
    Tree::from_tar(archive, options)
}

fn code(entries: &[Vec<u8>]) -> &'static str {
    match read(entries, &TarOptions::default()) {
        Ok(_) => "",
        Err(error) => error.code(),
    }
}

fn content(tree: &Tree, path: &str) -> Vec<u8> {
    tree.files(&Limits::default()).read(path.as_bytes()).unwrap()
}

#[test]
fn entries_of_every_kind_come_with_what_they_have() {
    let tree = read(
        &[
            header("./", b'5', 0).to_vec(),
            header("./etc/", b'5', 0).to_vec(),
            file("./etc/a", "content"),
            link("etc/l", b'2', "../elsewhere"),
            link("/etc/h", b'1', "./etc/a"),
            changed(header("etc/null", b'3', 0), 329, b"0000001\x000000003\0").to_vec(),
            header("etc/fifo", b'6', 0).to_vec(),
            entry(changed(header("etc/old", 0, 3), 257, &[0; 8]), b"old"),
            changed(header("f", b'0', 0), 345, b"prefix/of/it").to_vec(),
        ],
        &TarOptions::default(),
    )
    .unwrap();
    let files = tree.files(&Limits::default());
    let stat = |path: &str| files.stat(path.as_bytes()).unwrap();
    assert_eq!(content(&tree, "etc/a"), b"content");
    assert_eq!((stat("etc/a").nlink, stat("etc/h").ino), (2, stat("etc/a").ino));
    assert_eq!(files.read_link(b"etc/l").unwrap(), b"../elsewhere");
    assert_eq!(stat("etc/null").rdev, Some((1, 3)));
    assert_eq!(stat("etc/fifo").file_type, FileType::Fifo);
    assert_eq!(content(&tree, "etc/old"), b"old");
    assert_eq!(stat("prefix/of/it/f").size_bytes, 0);
    let meta = stat("etc");
    assert_eq!((meta.mode, meta.uid, meta.gid, meta.mtime_sec), (0o640, 1000, 100, 1 << 30));
    assert_eq!(stat("").uid, 1000);
    assert_eq!(stat("prefix").uid, 0);
}

#[test]
fn records_and_long_names_are_about_the_next_entry() {
    let long = "n".repeat(200);
    let path = format!("etc/{long}");
    let records = [
        ("path", path.as_str()),
        ("uid", "70000"),
        ("mtime", "1.5"),
        ("SCHILY.xattr.user.a", "1=\n2"),
        ("LIBARCHIVE.xattr.user.a", "MT0KMg"),
        ("RHT.security.selinux", "system_u:object_r:etc_t:s0"),
        ("comment", "nothing"),
    ];
    let global = |records: &[(&str, &str)]| {
        let mut bytes = pax(records);
        bytes[156] = b'g';
        let block = sealed(bytes[..512].try_into().unwrap());
        bytes[..512].copy_from_slice(&block);
        bytes
    };
    let name = [path.as_bytes(), b"2\0"].concat();
    let target = [b"t".repeat(150), b"\0".to_vec()].concat();
    let tree = read(
        &[
            global(&[("comment", "0123456789abcdef")]),
            pax(&records),
            file("short", "x"),
            entry(header("././@LongLink", b'L', name.len() as u64), &name),
            entry(header("././@LongLink", b'K', target.len() as u64), &target),
            link("short", b'2', "short"),
            file("next", ""),
        ],
        &TarOptions::default(),
    )
    .unwrap();
    let files = tree.files(&Limits::default());
    let meta = files.stat(path.as_bytes()).unwrap();
    assert_eq!((meta.uid, meta.gid, meta.mtime_sec, meta.mtime_nsec), (70_000, 100, 1, 500_000_000));
    let xattrs = files.xattrs(path.as_bytes()).unwrap();
    let selinux = (b"security.selinux".to_vec(), b"system_u:object_r:etc_t:s0\0".to_vec());
    assert_eq!(xattrs, [selinux, (b"user.a".to_vec(), b"1=\n2".to_vec())]);
    assert_eq!(files.read_link(format!("{path}2").as_bytes()).unwrap(), b"t".repeat(150));
    assert_eq!(files.stat(b"next").unwrap().uid, 1000);

    for (records, expected) in [
        (&[("path", "a"), ("path", "b")][..], "tar-record"),
        (&[("size", "-1")], "tar-record"),
        (&[("uid", "4294967296")], "tar-record"),
        (&[("mtime", "now")], "tar-record"),
        (&[("path", "a/../b")], "entry-path"),
        (&[("path", "")], "tar-header"),
        (&[("path", "a\0b")], "entry-path"),
        (&[("SCHILY.acl.access", "user::rwx")], "tar-unsupported"),
        (&[("LIBARCHIVE.xattr.user.b", "MQ")], "tar-unsupported"),
        (&[("hdrcharset", "UTF-7")], "tar-unsupported"),
        (&[("SCHILY.xattr.system.nfs4", "x")], "xattr-name"),
        (
            &[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "1")],
            "tar-unsupported",
        ),
        (&[("GNU.sparse.map", "0,1")], "tar-record"),
        (&[("unknown.of.somebody", "x")], ""),
    ] {
        assert_eq!(code(&[pax(records), file("f", "x")]), expected, "{records:?}");
    }
    assert_eq!(code(&[global(&[("path", "a")]), file("f", "x")]), "tar-unsupported");
    assert_eq!(code(&[pax(&[]), pax(&[]), file("f", "")]), "tar-header");
    assert_eq!(code(&[pax(&[("path", "a")])]), "tar-header");
    assert_eq!(
        code(&[pax(&[("path", "a")]), entry(header("x", b'L', 2), b"b\0"), file("f", "")]),
        "tar-unsupported"
    );
}

#[test]
fn sparse_files_keep_their_holes() {
    // GNU's own format: 4 + 21 ranges in two blocks.
    let ranges: Vec<(u64, u64)> = (0..20).map(|at| (at * 8192 + 512, 512)).collect();
    let stored: Vec<u8> = (0..20_u8).flat_map(|at| vec![at + 1; 512]).collect();
    let text = |value: u64| format!("{value:011o}\0").into_bytes();
    let pairs = |ranges: &[(u64, u64)]| -> Vec<u8> {
        ranges.iter().flat_map(|(offset, len)| [text(*offset), text(*len)].concat()).collect()
    };
    let size = 20 * 8192;
    let gnu = |ranges: &[(u64, u64)], size: u64| {
        let mut block = changed(header("etc/s", b'S', stored.len() as u64), 257, b"ustar  \0");
        block = changed(block, 386, &pairs(&ranges[..4]));
        block = changed(block, 482, &[&[1_u8][..], &text(size)].concat());
        let mut more = pairs(&ranges[4..]);
        more.resize(512, 0);
        [block.to_vec(), more, stored.clone()].concat()
    };
    let mut expected = vec![0; size as usize];
    for (at, (offset, _)) in ranges.iter().enumerate() {
        expected[*offset as usize..][..512].fill(at as u8 + 1);
    }
    // PAX 0.1 and 1.0.
    let map: Vec<String> = ranges.iter().map(|(offset, len)| format!("{offset},{len}")).collect();
    let size_text = size.to_string();
    let in_records = [
        pax(&[
            ("GNU.sparse.size", &size_text),
            ("GNU.sparse.map", &map.join(",")),
            ("GNU.sparse.name", "etc/s"),
        ]),
        entry(header("GNUSparseFile.0/s", b'0', stored.len() as u64), &stored),
    ];
    let mut lines = format!("{}\n{}\n", ranges.len(), map.join("\n").replace(',', "\n")).into_bytes();
    lines.resize(lines.len().next_multiple_of(512), 0);
    let in_content = |lines: &[u8]| {
        let body = [lines, &stored].concat();
        [
            pax(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.name", "etc/s"),
                ("GNU.sparse.realsize", &size_text),
            ]),
            entry(header("GNUSparseFile.0/s", b'0', body.len() as u64), &body),
        ]
        .concat()
    };
    for archive in [gnu(&ranges, size), in_records.concat(), in_content(&lines)] {
        let tree = read(&[archive, file("after", "x")], &TarOptions::default()).unwrap();
        assert!(content(&tree, "etc/s") == expected);
        assert_eq!(content(&tree, "after"), b"x");
        let mut image = Vec::new();
        erofs::write(&tree, &erofs::Options::default(), &mut image).unwrap();
        assert!(image.len() < size as usize, "holes are not stored: {}", image.len());
        let image = crate::fs::open(image, crate::fstype::FsType::Erofs, &Limits::default()).unwrap();
        assert!(image.read(b"etc/s").unwrap() == expected);
    }
    let mut back = ranges.clone();
    back.swap(0, 1);
    assert_eq!(code(&[gnu(&back, size)]), "tar-header");
    assert_eq!(code(&[gnu(&ranges, size - 8192)]), "tar-header");
    let mut long = ranges.clone();
    long[19].1 = 1024;
    assert_eq!(code(&[gnu(&long, size)]), "tar-header");
    for (from, to) in [("20\n", "99\n"), ("20\n", "x0\n"), ("20\n", "19\n"), ("512\n", "\n512")] {
        let text = String::from_utf8(lines.clone()).unwrap().replacen(from, to, 1);
        assert!(code(&[in_content(text.as_bytes())]).starts_with("tar-"), "{from:?} {to:?}");
    }
}

#[test]
fn each_wrong_header_has_its_code() {
    let good = header("etc/f", b'0', 0);
    for (at, bytes, expected) in [
        (0, &b"\0"[..], "tar-header"),
        (0, b"../x\0", "entry-path"),
        (100, b"0200000\0", "tar-header"),
        (100, b"rw-r--r-", "tar-header"),
        (108, b"-1      ", "tar-header"),
        (124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "tar-header"),
        (124, b"77777777777\0", "tar-truncated"),
        (136, b"yesterday   ", "tar-header"),
        (156, b"V", "tar-unsupported"),
        (156, b"S", "tar-header"),
        (156, b"1", "entry-path"),
        (257, b"ustar\x0001", "tar-header"),
    ] {
        let found = code(&[changed(good, at, bytes).to_vec()]);
        let expected = if bytes == b"1" { "tar-header" } else { expected };
        assert_eq!(found, expected, "{at}: {}", bytes.escape_ascii());
    }
    let mut damaged = good;
    damaged[1] = b'X';
    assert_eq!(code(&[damaged.to_vec()]), "tar-checksum");
    for kind in *b"123456" {
        assert_eq!(code(&[entry(header("x", kind, 1), b"y")]), "tar-header", "{kind}");
    }
}

#[test]
fn an_archive_ends_with_zeros_and_nothing_else() {
    let archive = |bytes: Vec<u8>| match Tree::from_tar(bytes, &TarOptions::default()) {
        Ok(tree) => tree.len().to_string(),
        Err(error) => error.code().to_owned(),
    };
    let one = file("a", "content");
    assert_eq!(archive(Vec::new()), "tar-truncated");
    assert_eq!(archive(vec![0; 1024]), "0");
    assert_eq!(archive(one.clone()), "tar-truncated");
    assert_eq!(archive([one.clone(), vec![0; 512]].concat()), "1");
    assert_eq!(archive([one.clone(), vec![0; 10_240 - 1024]].concat()), "1");
    assert_eq!(archive([one.clone(), vec![0; 1024], one.clone(), vec![0; 1024]].concat()), "tar-trailing");
    assert_eq!(archive([one.clone(), vec![0; 100_000], vec![1]].concat()), "tar-trailing");
    let whole = [one, vec![0; 512]].concat();
    for len in 0..whole.len() {
        assert_eq!(archive(whole[..len].to_vec()), "tar-truncated", "{len}");
    }
}

#[test]
fn entries_stay_inside_and_come_once() {
    let dir = |name: &str| header(name, b'5', 0).to_vec();
    assert_eq!(code(&[file("a", "1"), file("a", "2")]), "entry-exists");
    assert_eq!(code(&[file("a", "1"), file("./a", "2")]), "entry-exists");
    assert_eq!(code(&[link("a", b'2', "/"), file("a/passwd", "x")]), "entry-parent");
    assert_eq!(code(&[link("a", b'2', "b"), dir("a")]), "entry-exists");
    assert_eq!(code(&[link("a", b'1', "../b")]), "entry-path");
    assert_eq!(code(&[link("a", b'1', "b")]), "entry-missing");
    assert_eq!(code(&[dir("b"), link("a", b'1', "b")]), "entry-kind");
    assert_eq!(code(&[dir("b"), file("b/c", ""), dir("b/")]), "");
    assert_eq!(code(&[file(".", "")]), "entry-exists");
    let mut options = TarOptions::default();
    options.limits.entries = 2;
    let three: Vec<_> = ["a", "b", "c"].map(|name| file(name, "")).into();
    assert_eq!(read(&three, &options).unwrap_err().code(), "limit-count");
    options.limits.entries = 3;
    options.owner = Some((0, 0));
    options.xattrs = Xattrs::Leave;
    let with_xattr = [vec![pax(&[("SCHILY.xattr.user.a", "1")])], three].concat();
    let tree = read(&with_xattr, &options).unwrap();
    let files = tree.files(&Limits::default());
    assert_eq!((files.stat(b"a").unwrap().uid, files.xattrs(b"a").unwrap()), (0, Vec::new()));
    options.limits.xattr_bytes = 9;
    let large = [pax(&[("SCHILY.xattr.user.a", "1234")]), file("a", "")];
    assert_eq!(read(&large, &options).unwrap_err().code(), "limit-bytes");
}

#[test]
fn marks_of_deleted_files_are_refused_or_mapped() {
    for name in [".wh.a", "etc/.wh.a", "etc/.wh..wh..opq", "etc/.wh..wh.plnk", "etc/.wh."] {
        assert_eq!(code(&[file(name, "")]), "oci-whiteout", "{name}");
    }
    let options = TarOptions { whiteouts: Whiteouts::Overlay, ..TarOptions::default() };
    for name in ["etc/.wh..wh.plnk", "etc/.wh.", "etc/.wh...", "etc/.wh.."] {
        assert_eq!(read(&[file(name, "")], &options).unwrap_err().code(), "oci-whiteout", "{name}");
    }
    let entries = [
        file("etc/.wh.gone", ""),
        file("etc/.wh.replaced", ""),
        file("etc/replaced", "new"),
        file("etc/d/x", ""),
        file("etc/.wh.d", ""),
        file("usr/.wh..wh..opq", ""),
    ];
    let tree = read(&entries, &options).unwrap();
    let files = tree.files(&Limits::default());
    assert_eq!(files.stat(b"etc/gone").unwrap().rdev, Some((0, 0)));
    assert_eq!(content(&tree, "etc/replaced"), b"new");
    let opaque = [(b"trusted.overlay.opaque".to_vec(), b"y".to_vec())];
    assert_eq!(files.xattrs(b"etc/d").unwrap(), opaque);
    assert_eq!(files.xattrs(b"usr").unwrap(), opaque);
    assert_eq!(tree.len(), 6);
}
