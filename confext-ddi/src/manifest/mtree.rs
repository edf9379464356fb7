//! Manifests as text in the form of mtree.

use super::{Entry, Kind, Manifest};
use std::io::{self, Write};

/// Whose mtree it is.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, manifest::{self, Dialect, Manifest}};
///
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// let limits = Limits::default();
/// let manifest = Manifest::of(&tree.files(&limits), &manifest::Options::default(), &limits, |_| {})?;
/// let mut text = Vec::new();
/// manifest.write_mtree(Dialect::Systemd, &mut text)?;
/// assert!(String::from_utf8_lossy(&text).contains("sha256sum="));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// mtree(5) as NetBSD and libarchive read it: full mode, modification time, `sha256digest`, octal escapes.
    #[default]
    Bsd,
    /// What `systemd-dissect --mtree` prints, byte by byte: permission bits only, no time, `sha256sum`, hexadecimal
    /// escapes, no digest of an empty file.
    Systemd,
}

impl Manifest {
    /// Writes one line for each entry. mtree has no place for extended attributes, nor for which files are the same.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_mtree(&self, dialect: Dialect, out: &mut dyn Write) -> io::Result<()> {
        if dialect == Dialect::Bsd {
            out.write_all(b"#mtree\n")?;
        }
        self.entries().iter().try_for_each(|entry| write_line(entry, dialect, out))
    }
}

fn write_line(entry: &Entry, dialect: Dialect, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b".")?;
    if !entry.path.is_empty() {
        out.write_all(b"/")?;
        escape(&entry.path, dialect, out)?;
    }
    let file_type = match &entry.kind {
        Kind::Directory => "dir",
        Kind::Regular { .. } => "file",
        Kind::Symlink { .. } => "link",
        Kind::CharDevice { .. } => "char",
        Kind::BlockDevice { .. } => "block",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
    };
    let slash = if dialect == Dialect::Systemd && entry.kind == Kind::Directory { "/" } else { "" };
    write!(out, "{slash} type={file_type}")?;
    // The mode of a link means nothing on Linux, and cannot be set.
    if !matches!(entry.kind, Kind::Symlink { .. }) {
        let mode = if dialect == Dialect::Systemd { entry.mode & 0o777 } else { entry.mode };
        write!(out, " mode={mode:04o}")?;
    }
    write!(out, " uid={} gid={}", entry.uid, entry.gid)?;
    if dialect == Dialect::Bsd {
        write!(out, " time={}.{:09}", entry.mtime_sec, entry.mtime_nsec)?;
    }
    match &entry.kind {
        Kind::Regular { size_bytes, sha256 } => {
            write!(out, " size={size_bytes}")?;
            match (dialect, sha256) {
                (Dialect::Bsd, Some(digest)) => write!(out, " sha256digest={digest}")?,
                (Dialect::Systemd, Some(digest)) if *size_bytes > 0 => write!(out, " sha256sum={digest}")?,
                _ => {}
            }
        }
        Kind::Symlink { target } => {
            out.write_all(b" link=")?;
            escape(target, dialect, out)?;
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            // As those programs know it, the format "linux" has 8 bits for each number; "native" has what Linux has.
            let fits = dialect == Dialect::Systemd || (*major <= 0xff && *minor <= 0xff);
            write!(out, " device={},{major},{minor}", if fits { "linux" } else { "native" })?;
        }
        Kind::Directory | Kind::Fifo | Kind::Socket => {}
    }
    out.write_all(b"\n")
}

/// Escapes what separates words, what begins a comment or a pattern, and what is not printable ASCII.
fn escape(bytes: &[u8], dialect: Dialect, out: &mut dyn Write) -> io::Result<()> {
    for &byte in bytes {
        match (byte, dialect) {
            (0x21..=0x7e, _) if !b"#;*?[\\".contains(&byte) => out.write_all(&[byte])?,
            (_, Dialect::Bsd) => write!(out, "\\{byte:03o}")?,
            (_, Dialect::Systemd) => write!(out, "\\x{byte:02x}")?,
        }
    }
    Ok(())
}
