//! Writing a [`Tree`] as a tar archive: ustar headers, and PAX records for what they cannot hold.

use super::header::{Fields, write as write_header};
use crate::build::erofs;
use crate::build::format::effective;
use crate::build::tree::{Device, Kind, NodeId, Timestamp, Tree, Visit, show};
use crate::error::{Corrupt, Result, ResultExt as _, Unsupported};
use crate::units::ByteRange;
use std::collections::HashMap;
use std::io::Write;

impl Tree {
    /// Writes the entries as a tar archive, with times as an image would have them. Holes of files become zeros.
    ///
    /// What [`Tree::from_tar`] makes of the archive is the same tree, but for holes.
    ///
    /// # Errors
    ///
    /// `tar-unsupported` for a socket and for an attribute with `=` in its name, which archives cannot hold;
    /// `source-changed`; else an I/O error.
    pub fn write_tar(&self, options: &erofs::Options, out: &mut dyn Write) -> Result<()> {
        let mut first_names: HashMap<NodeId, Vec<u8>> = HashMap::new();
        for visit in self.visits() {
            let node = self.node(visit.node);
            let other = first_names.get(&visit.node);
            self.write_entry(&visit, other, options, out).within(show(&visit.path))?;
            if other.is_none() && !matches!(node.kind, Kind::Directory(_)) {
                first_names.insert(visit.node, visit.path);
            }
        }
        // Two blocks of zeros end an archive.
        Ok(out.write_all(&[0; 1024])?)
    }

    fn write_entry(
        &self,
        visit: &Visit,
        other_name: Option<&Vec<u8>>,
        options: &erofs::Options,
        out: &mut dyn Write,
    ) -> Result<()> {
        let (node, path) = (self.node(visit.node), visit.path.as_slice());
        let (kind, target, size) = match (&node.kind, other_name) {
            (_, Some(name)) => (b'1', name.as_slice(), 0),
            (Kind::Directory(_), None) => (b'5', &[][..], 0),
            (Kind::File(content), None) => (b'0', &[][..], content.size_bytes()),
            (Kind::Symlink(target), None) => (b'2', target.as_slice(), 0),
            (Kind::Device(Device::Character { .. }), None) => (b'3', &[][..], 0),
            (Kind::Device(Device::Block { .. }), None) => (b'4', &[][..], 0),
            (Kind::Fifo, None) => (b'6', &[][..], 0),
            (Kind::Socket, None) => return Err(Unsupported::Tar { found: "a socket".to_owned() }.into()),
        };
        let mut name = [b"./", path].concat();
        if kind == b'5' && !path.is_empty() {
            name.push(b'/');
        }
        let device = match node.kind {
            Kind::Device(device) => device.number(),
            _ => (0, 0),
        };
        let mtime = effective(node.meta.mtime, options);
        let (meta, uid, gid) = (node.meta, node.meta.uid, node.meta.gid);
        let fields = Fields { kind, name: &name, target, mode: meta.mode, uid, gid, size, mtime, device };
        let mut records = records(&fields);
        if other_name.is_none() {
            for (name, value) in &node.xattrs {
                let key = std::str::from_utf8(name).ok().filter(|name| !name.contains('='));
                let key =
                    key.ok_or_else(|| Unsupported::Tar { found: format!("attribute \"{}\"", show(name)) })?;
                record(&format!("SCHILY.xattr.{key}"), value, &mut records);
            }
        }
        if !records.is_empty() {
            let size = u64::try_from(records.len()).unwrap_or(u64::MAX);
            let about =
                Fields { kind: b'x', name: b"PaxHeaders/x", target: &[], size, mode: 0o644, ..fields };
            out.write_all(&write_header(&Fields {
                uid: 0,
                gid: 0,
                mtime: Timestamp::default(),
                device: (0, 0),
                ..about
            }))?;
            padded(&records, out)?;
        }
        out.write_all(&write_header(&fields))?;
        match (&node.kind, other_name) {
            (Kind::File(content), None) if size > 0 => {
                let mut counted = Counted { out, written: 0 };
                content.copy(&[ByteRange::with_len(0, size).unwrap_or(ByteRange::EMPTY)], &mut counted)?;
                if counted.written != size {
                    return Err(Corrupt::SourceChanged { path: show(path), what: "size" }.into());
                }
                pad(size, out)
            }
            _ => Ok(()),
        }
    }
}

/// The records of what a header has no room or no digits for.
fn records(fields: &Fields<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if fields.name.len() > 100 {
        record("path", fields.name, &mut out);
    }
    if fields.target.len() > 100 {
        record("linkpath", fields.target, &mut out);
    }
    for (key, value, most) in [
        ("size", fields.size, Fields::MOST_12),
        ("uid", u64::from(fields.uid), Fields::MOST_8),
        ("gid", u64::from(fields.gid), Fields::MOST_8),
    ] {
        if value > most {
            record(key, value.to_string().as_bytes(), &mut out);
        }
    }
    let in_header = u64::try_from(fields.mtime.seconds()).is_ok_and(|seconds| seconds <= Fields::MOST_12);
    if !in_header || fields.mtime.nanoseconds() > 0 {
        record("mtime", decimal(fields.mtime).as_bytes(), &mut out);
    }
    out
}

/// Seconds with their fraction: nanoseconds count forward, also before 1970.
fn decimal(time: Timestamp) -> String {
    match (time.seconds(), time.nanoseconds()) {
        (seconds, 0) => seconds.to_string(),
        (seconds, nanoseconds) if seconds >= 0 => format!("{seconds}.{nanoseconds:09}"),
        (seconds, nanoseconds) => {
            let whole = seconds.saturating_add(1).unsigned_abs();
            format!("-{whole}.{:09}", 1_000_000_000_u32.saturating_sub(nanoseconds))
        }
    }
}

/// Appends a record. Its length counts its own digits.
fn record(key: &str, value: &[u8], out: &mut Vec<u8>) {
    // Space, equals sign and line break.
    let rest = key.len().saturating_add(value.len()).saturating_add(3);
    let mut len = rest;
    loop {
        let with_digits = rest.saturating_add(len.to_string().len());
        if with_digits == len {
            break;
        }
        len = with_digits;
    }
    out.extend_from_slice(format!("{len} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn padded(bytes: &[u8], out: &mut dyn Write) -> Result<()> {
    out.write_all(bytes)?;
    pad(u64::try_from(bytes.len()).unwrap_or(u64::MAX), out)
}

/// Writes the zeros behind content of this length.
fn pad(len: u64, out: &mut dyn Write) -> Result<()> {
    let missing = len.next_multiple_of(512).saturating_sub(len);
    let zeros = [0; 512];
    let missing = usize::try_from(missing).unwrap_or(0);
    Ok(out.write_all(zeros.get(..missing).unwrap_or_default())?)
}

struct Counted<'w> {
    out: &'w mut dyn Write,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written = self.written.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::build::{Meta, TarOptions};
    use crate::fs::{FileSystem as _, FileType};
    use proptest::prelude::*;

    fn image(tree: &Tree) -> Vec<u8> {
        let mut out = Vec::new();
        erofs::write(tree, &erofs::Options::default(), &mut out).unwrap();
        out
    }

    fn there_and_back(tree: &Tree) -> Tree {
        let mut archive = Vec::new();
        tree.write_tar(&erofs::Options::default(), &mut archive).unwrap();
        Tree::from_tar(archive, &TarOptions::default()).unwrap()
    }

    #[derive(Debug, Clone)]
    enum Thing {
        Directory,
        File(Vec<u8>),
        Symlink(String),
        Device(u32, u32),
        Fifo,
        Link(prop::sample::Index),
    }

    fn thing() -> impl Strategy<Value = Thing> {
        prop_oneof![
            Just(Thing::Directory),
            prop::collection::vec(any::<u8>(), 0..2000).prop_map(Thing::File),
            "[a-z/.]{1,150}".prop_map(Thing::Symlink),
            (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| Thing::Device(major, minor)),
            Just(Thing::Fifo),
            any::<prop::sample::Index>().prop_map(Thing::Link),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_tree_comes_back_as_it_was(
            entries in prop::collection::vec(
                ("[a-c]{1,2}(/[a-c]{1,120}){0,3}", thing(), 0..0o10000_u16, any::<u32>(), any::<i64>(), 0..1_000_000_000_u32),
                0..20,
            ),
            xattr in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut tree = Tree::new();
            let mut files: Vec<String> = Vec::new();
            for (path, thing, mode, id, seconds, nanoseconds) in entries {
                let time = Timestamp::new(seconds / 1024, nanoseconds).unwrap();
                let meta = Meta::new(mode).owner(id, id / 2).mtime(time);
                let added = match thing {
                    Thing::Directory => tree.add_dir(&path, meta),
                    Thing::File(content) => tree.add_file(&path, content, meta),
                    Thing::Symlink(target) => tree.add_symlink(&path, target, meta),
                    Thing::Device(major, minor) => tree.add_device(&path, Device::Block { major, minor }, meta),
                    Thing::Fifo => tree.add_fifo(&path, meta),
                    Thing::Link(index) if !files.is_empty() => tree.add_hardlink(&path, index.get(&files)),
                    Thing::Link(_) => continue,
                };
                if added.is_ok() {
                    tree.set_xattr(&path, "user.note", xattr.clone()).unwrap();
                    let kind = tree.files(&Limits::default()).stat(path.as_bytes()).unwrap().file_type;
                    if kind != FileType::Directory {
                        files.push(path);
                    }
                }
            }
            prop_assert!(image(&there_and_back(&tree)) == image(&tree));
        }
    }

    #[test]
    fn what_archives_cannot_hold_is_refused() {
        let code =
            |tree: &Tree| tree.write_tar(&erofs::Options::default(), &mut Vec::new()).unwrap_err().code();
        let mut tree = Tree::new();
        tree.add_socket("s", Meta::new(0)).unwrap();
        assert_eq!(code(&tree), "tar-unsupported");
        let mut tree = Tree::new();
        tree.set_xattr("", "user.a=b", "").unwrap();
        assert_eq!(code(&tree), "tar-unsupported");
    }

    #[test]
    fn lengths_count_themselves() {
        for len in [1, 90, 91, 92, 93, 94, 95, 990, 991, 992, 993, 9990] {
            let mut out = Vec::new();
            record("k", &vec![b'x'; len], &mut out);
            let written: usize =
                std::str::from_utf8(&out).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(written, out.len());
        }
    }
}
