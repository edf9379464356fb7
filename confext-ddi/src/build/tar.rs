//! Taking a [`Tree`] from a tar archive: ustar, GNU and PAX, as GNU tar, bsdtar and container tools write them.
//!
//! An archive is read once from front to back for its headers; the contents of files stay where they are until the
//! image is written. What different programs read differently is refused, not guessed: see [`Tree::from_tar`].

mod content;
mod extension;
mod header;
mod pax;
mod sparse;
mod write;

use super::source::{Marks, Whiteouts, Xattrs};
use super::tree::{Device, Kind, Meta, Tree, show};
use crate::error::{Corrupt, Error, LimitExceeded, Result, ResultExt as _, Unsupported};
use crate::limits::Limits;
use crate::read::ReadAt;
use content::TarFile;
use extension::Extensions;
use header::{Header, Type};
use std::sync::Arc;

/// What headers are, and contents are padded to.
const BLOCK: u64 = 512;

/// How an archive becomes a tree.
///
/// ```
/// # use confext_ddi::build::{Meta, erofs};
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644).owner(1000, 1000))?;
/// # let mut archive = Vec::new();
/// # tree.write_tar(&erofs::Options::default(), &mut archive)?;
/// use confext_ddi::build::{TarOptions, Tree};
/// use confext_ddi::{Limits, fs::FileSystem as _};
///
/// // Whoever made the archive, root owns what is in the image.
/// let mut options = TarOptions::default();
/// options.owner = Some((0, 0));
/// let tree = Tree::from_tar(archive, &options)?;
/// assert_eq!(tree.files(&Limits::default()).stat(b"etc/app.conf")?.uid, 0);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TarOptions {
    /// Caps: `entries`, `depth`, `xattr_bytes` are looked at.
    pub limits: Limits,
    /// Makes every entry owned by this user and group. Default: the numbers in the archive; names are not looked at.
    pub owner: Option<(u32, u32)>,
    /// Which extended attributes to take.
    pub xattrs: Xattrs,
    /// What marks of deleted files become.
    pub whiteouts: Whiteouts,
}

impl Tree {
    /// Takes every entry of an uncompressed tar archive.
    ///
    /// Names lose a leading `/` or `./`; entries have to come after the directories they are in or without them, never
    /// below a link. A directory may come twice, the later one counts. Memory grows with the number of entries, each
    /// of which takes at least 512 bytes of the archive.
    ///
    /// Refused are, besides what is malformed: `..` in a name, an entry that comes twice, a hard link to what is not
    /// there yet or with contents of its own, numbers that need guessing, an archive without its end, anything but
    /// zeros behind it, and records whose meaning would be lost (global ones, ACLs as text).
    ///
    /// # Errors
    ///
    /// `tar-header`, `tar-checksum`, `tar-truncated`, `tar-trailing`, `tar-record`, `tar-unsupported`, `oci-whiteout`,
    /// `limit-count`, `limit-bytes`; the codes of [`Tree::add_file`] and the other ways to add; whatever reading brings.
    ///
    /// *Spec*: POSIX.1-2017, pax; GNU tar, "Basic Tar Format" and "Storing Sparse Files".
    pub fn from_tar<R: ReadAt + 'static>(archive: R, options: &TarOptions) -> Result<Self> {
        let archive = Arc::new(archive);
        let size = archive.size_bytes().within("tar")?;
        let mut reader = Reader {
            archive,
            size,
            position: 0,
            tree: Self::new(),
            marks: Marks::default(),
            entries: 0,
            options,
        };
        reader.run().within("tar")?;
        Ok(reader.tree)
    }
}

struct Reader<'o, R> {
    archive: Arc<R>,
    size: u64,
    position: u64,
    tree: Tree,
    marks: Marks,
    entries: u64,
    options: &'o TarOptions,
}

impl<R: ReadAt + 'static> Reader<'_, R> {
    fn run(&mut self) -> Result<()> {
        let mut extensions = Extensions::default();
        loop {
            let at = self.position;
            let block = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                if !extensions.is_empty() {
                    let (what, expected) = ("end of the archive behind a record", "the entry it is about");
                    return Err(self.fault(at, Corrupt::TarHeader { what, found: String::new(), expected }));
                }
                break;
            }
            self.entry(&block, &mut extensions).map_err(|error| error.at_offset(at))?;
        }
        self.check_rest()?;
        std::mem::take(&mut self.marks).apply(&mut self.tree)
    }

    fn entry(&mut self, block: &[u8; 512], extensions: &mut Extensions) -> Result<()> {
        let header = Header::parse(block)?;
        match header.kind {
            Type::Pax | Type::PaxGlobal | Type::LongName | Type::LongTarget => {
                let bytes = self.extension_bytes(header.size)?;
                return extensions.add(header.kind, bytes, &self.options.limits);
            }
            _ => {}
        }
        self.entries = self.entries.saturating_add(1);
        if self.entries > self.options.limits.entries {
            let (found, most) = (self.entries, self.options.limits.entries);
            return Err(LimitExceeded::Count { what: "entries", found, most }.into());
        }
        let extensions = std::mem::take(extensions);
        let (name, is_directory_name) = normalized(extensions.path.as_deref().unwrap_or(&header.name))?;
        self.add(&header, &extensions, &name, is_directory_name).within(show(&name))
    }

    fn add(
        &mut self,
        header: &Header,
        extensions: &Extensions,
        name: &[u8],
        is_directory: bool,
    ) -> Result<()> {
        let kind = if header.kind == Type::Regular && is_directory { Type::Directory } else { header.kind };
        let stored = extensions.size.unwrap_or(header.size);
        if stored > 0 && !matches!(kind, Type::Regular | Type::GnuSparse) {
            let (found, expected) = (stored.to_string(), "0 for what has no content");
            return Err(Corrupt::TarHeader { what: "size", found, expected }.into());
        }
        if self.marks.take(name, self.options.whiteouts)? {
            return self.skip(stored);
        }
        let meta = self.meta(header, extensions)?;
        let device = |major, minor| match kind {
            Type::Character => Device::Character { major, minor },
            _ => Device::Block { major, minor },
        };
        let target = extensions.target.as_deref().unwrap_or(&header.target);
        match kind {
            Type::Directory => self.tree.put_dir(name, meta)?,
            Type::Symlink => self.tree.add_symlink(name, target, meta)?,
            Type::Character | Type::Block => {
                let (major, minor) = header.device.clone()?;
                self.tree.add_device(name, device(major, minor), meta)?;
            }
            Type::Fifo => self.tree.add_fifo(name, meta)?,
            // Another name of an entry: what it is was said with the first one.
            Type::HardLink => return self.tree.add_hardlink(name, normalized(target)?.0),
            Type::Regular | Type::GnuSparse => {
                let content = self.content(header, extensions, stored)?;
                self.tree.add(name, Kind::File(Arc::new(content)), meta)?;
            }
            Type::Pax | Type::PaxGlobal | Type::LongName | Type::LongTarget => {}
        }
        if self.options.xattrs == Xattrs::All {
            let node = self.tree.find(name)?.unwrap_or(super::tree::NodeId::ROOT);
            for (key, value) in &extensions.xattrs {
                self.tree.set_node_xattr(node, name, key, value.clone())?;
            }
        }
        Ok(())
    }

    fn meta(&self, header: &Header, extensions: &Extensions) -> Result<Meta> {
        let number = |own: Option<u32>, field: &Result<u32, Corrupt>| match own {
            Some(own) => Ok(own),
            None => field.clone().map_err(Error::from),
        };
        let (uid, gid) = match self.options.owner {
            Some(owner) => owner,
            None => (number(extensions.uid, &header.uid)?, number(extensions.gid, &header.gid)?),
        };
        let meta = Meta::new(header.mode).owner(uid, gid);
        Ok(meta.mtime(match extensions.mtime {
            Some(mtime) => mtime,
            None => header.mtime.clone()?,
        }))
    }

    /// The content of a file, and the position behind it.
    fn content(&mut self, header: &Header, extensions: &Extensions, stored: u64) -> Result<TarFile<R>> {
        let sparse = match header.kind {
            Type::GnuSparse => Some(self.gnu_sparse(header, stored)?),
            _ => match &extensions.sparse {
                Some(wanted) => Some(sparse::of_records(self, wanted, stored)?),
                None => None,
            },
        };
        let (map, start, stored) = match sparse {
            Some(found) => (Some(found.map), found.start, found.stored),
            None => (None, self.position, stored),
        };
        self.position = start;
        self.skip(stored)?;
        TarFile::new(Arc::clone(&self.archive), start, stored, map)
    }

    /// The map of a sparse file in GNU's own format: in the header and in blocks behind it.
    fn gnu_sparse(&mut self, header: &Header, stored: u64) -> Result<sparse::Found> {
        let mut map = sparse::Map::new(header.real_size.clone()?);
        let mut more = map.push_gnu(&header.sparse, header.sparse_continues)?;
        while more {
            let block = self.block()?;
            let (ranges, continues) = header::sparse_block(&block);
            more = map.push_gnu(&ranges, continues)?;
        }
        Ok(sparse::Found { map, start: self.position, stored })
    }

    /// Reads the next block.
    fn block(&mut self) -> Result<[u8; 512]> {
        let mut block = [0; 512];
        let end = self.position.saturating_add(BLOCK);
        if end > self.size {
            return Err(self.fault(self.position, Corrupt::TarTruncated { end, size: self.size }));
        }
        self.archive.read_exact_at(self.position, &mut block)?;
        self.position = end;
        Ok(block)
    }

    /// Reads the content of an extension header.
    fn extension_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        // Names of some KiB, and attributes as far as they are accepted anyway.
        let most = self.options.limits.xattr_bytes.saturating_add(1 << 16);
        if len > most {
            return Err(LimitExceeded::Bytes { what: "records of an entry", found: len, most }.into());
        }
        let start = self.position;
        self.skip(len)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        crate::read::read_vec(&*self.archive, start, len)
    }

    /// Goes on behind content of this length and its padding, all of which has to be there.
    fn skip(&mut self, len: u64) -> Result<()> {
        let padded = len.checked_next_multiple_of(BLOCK);
        let end = padded.and_then(|len| self.position.checked_add(len)).unwrap_or(u64::MAX);
        if end > self.size {
            return Err(self.fault(self.position, Corrupt::TarTruncated { end, size: self.size }));
        }
        self.position = end;
        Ok(())
    }

    /// Behind the end there may be zeros only: other programs would go on reading there.
    fn check_rest(&mut self) -> Result<()> {
        let mut buf = vec![0; 1 << 16];
        while self.position < self.size {
            let rest = self.size.saturating_sub(self.position);
            let len = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
            let part = buf.get_mut(..len).unwrap_or_default();
            self.archive.read_exact_at(self.position, part)?;
            if let Some(at) = part.iter().position(|byte| *byte != 0) {
                let offset = self.position.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
                return Err(self.fault(offset, Corrupt::TarTrailing));
            }
            self.position = self.position.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    fn fault(&self, at: u64, fault: Corrupt) -> Error {
        Error::from(fault).at_offset(at)
    }
}

/// A name without leading `/`, empty and `.` components, and whether it ends in a slash.
///
/// `..` stays, and is refused when the entry is added.
fn normalized(name: &[u8]) -> Result<(Vec<u8>, bool)> {
    if name.is_empty() {
        let (found, expected) = (String::new(), "at least one byte");
        return Err(Corrupt::TarHeader { what: "name", found, expected }.into());
    }
    let parts: Vec<&[u8]> =
        name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    Ok((parts.join(&b'/'), name.ends_with(b"/")))
}

/// A kind of entry or record whose meaning would be lost.
fn unsupported(found: impl Into<String>) -> Error {
    Unsupported::Tar { found: found.into() }.into()
}

#[cfg(test)]
mod tests;
