//! Archives: one of everything, and records before an entry.

/// An archive of one of everything, with names and attributes in records; `tar` has its headers in one of two forms.
pub(crate) fn archive(header: fn() -> tar::Header) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, target: Option<&str>, content: &[u8]| {
        let mut header = header();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(0);
        header.set_gid(70_000);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len().try_into().unwrap());
        if matches!(kind, tar::EntryType::Char) {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        match target {
            Some(target) => archive.append_link(&mut header, name, target).unwrap(),
            None => archive.append_data(&mut header, name, content).unwrap(),
        }
    };
    use tar::EntryType;
    add("etc/", EntryType::Directory, None, b"");
    add("etc/app.conf", EntryType::Regular, None, b"answer = 42\n");
    add("etc/again", EntryType::Link, Some("etc/app.conf"), b"");
    add("etc/link", EntryType::Symlink, Some("../usr/share/app"), b"");
    add("etc/null", EntryType::Char, None, b"");
    add("etc/fifo", EntryType::Fifo, None, b"");
    add("etc/.wh.gone", EntryType::Regular, None, b"");
    archive.into_inner().unwrap()
}

/// Records of PAX before an entry: a name, an attribute, a time, and the map of a sparse file.
pub(crate) fn records() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_pax_extensions([
            ("SCHILY.xattr.user.note", &b"a note"[..]),
            ("mtime", b"1700000000.5"),
            ("GNU.sparse.name", b"etc/sparse"),
            ("GNU.sparse.size", b"9000"),
            ("GNU.sparse.map", b"0,4,8192,4"),
        ])
        .unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(8);
    header.set_mode(0o644);
    archive.append_data(&mut header, "GNUSparseFile.0/sparse", &b"head\0\0\0\0"[..]).unwrap();
    archive.into_inner().unwrap()
}
