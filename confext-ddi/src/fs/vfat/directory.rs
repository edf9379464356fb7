//! Directories: entries of 32 bytes, some of which are parts of the name of the one behind them.

use super::entry::{Inode, Start, file_type, first_cluster, id_at};
use super::name::{self, Long};
use super::raw::attribute;
use super::volume::Root;
use super::{Vfat, raw, wrong};
use crate::ReadAt;
use crate::error::{LimitExceeded, Result};
use crate::fs::FileType;
use crate::fs::node::Child;
use crate::read::read_struct;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Entries of the largest directory: 2 MiB. A chain that leads back to itself has more.
const MOST_ENTRIES: u64 = 65536;
const ENTRY_BYTES: usize = size_of::<raw::Entry>();

/// All entries but labels, deleted ones, `.` and `..`.
pub(super) fn list<R: ReadAt>(fs: &Vfat<R>, directory: &Inode) -> Result<Vec<Child>> {
    let mut listing = Listing::new(fs, directory);
    match (directory.start, fs.volume.root) {
        (Start::Root, Root::Area(area)) => listing.read(area.start(), area.len_bytes())?,
        (Start::Cluster(first), _) | (Start::Root, Root::Cluster(first)) => {
            let mut table = fs.table();
            let mut next = Some(first);
            while let Some(cluster) = next {
                listing.read(fs.volume.offset_of(cluster)?, fs.volume.cluster_bytes.get())?;
                next = table.next(cluster)?;
            }
        }
        (Start::Nothing, _) => return Err(wrong("cluster of a directory", 0_u32, "2 or more")),
    }
    listing.finish()
}

/// A name by which a file is found: that of two files is the same when it differs in case only.
struct Key {
    folded: String,
    id: u64,
}

struct Listing<'a, R> {
    fs: &'a Vfat<R>,
    /// The first cluster of the directory; 0 for the root, as `..` says it.
    own: u32,
    is_root: bool,
    long: Option<Long>,
    /// Entries so far.
    count: u64,
    has_ended: bool,
    children: Vec<Child>,
    keys: Vec<Key>,
    /// The first clusters of directories in this one.
    directories: Vec<u32>,
}

impl<'a, R: ReadAt> Listing<'a, R> {
    fn new(fs: &'a Vfat<R>, directory: &Inode) -> Self {
        let own = if let Start::Cluster(first) = directory.start { first } else { 0 };
        Self {
            fs,
            own,
            is_root: matches!(directory.start, Start::Root),
            long: None,
            count: 0,
            has_ended: false,
            children: Vec::new(),
            keys: Vec::new(),
            directories: Vec::new(),
        }
    }

    /// Takes the entries in a part of the directory, sector by sector.
    fn read(&mut self, start: u64, len_bytes: u64) -> Result<()> {
        let sector = self.fs.volume.sector_bytes;
        let mut buf = vec![0; usize::try_from(sector.get()).unwrap_or_default()];
        for index in 0..len_bytes / sector {
            let sector_start = start.saturating_add(index.saturating_mul(sector.get()));
            self.fs.reader.read_exact_at(sector_start, &mut buf)?;
            let mut offset = sector_start;
            for bytes in buf.as_chunks::<ENTRY_BYTES>().0 {
                let entry = raw::Entry::read_from_bytes(bytes)
                    .map_err(|_| wrong("directory entry", bytes.len(), "32 bytes"))?;
                self.add(&entry, id_at(offset))?;
                offset = offset.saturating_add(32);
            }
        }
        Ok(())
    }

    fn add(&mut self, entry: &raw::Entry, id: u64) -> Result<()> {
        let index = self.count;
        self.count = index.saturating_add(1);
        if index >= MOST_ENTRIES {
            return Err(wrong("number of entries of a directory", self.count, "at most 65536"));
        }
        if !self.is_root && index < 2 {
            return self.check_dots(entry, index);
        }
        let [first, ..] = entry.name;
        if first == 0 || first == raw::DELETED {
            self.has_ended |= first == 0;
            return self.no_long_name();
        }
        // Linux looks behind the end, others do not: nothing may be there that only some of them see.
        if self.has_ended {
            return Err(wrong("directory entry", first, "nothing behind the end of its directory"));
        }
        if entry.attributes & !attribute::KNOWN != 0 {
            return Err(wrong("attributes of a file", entry.attributes, "at most 0x3f"));
        }
        if entry.attributes == attribute::LONG_NAME {
            let part = raw::LongName::read_from_bytes(entry.as_bytes())
                .map_err(|_| wrong("directory entry", id, "32 bytes"))?;
            self.long = Some(Long::add(self.long.take(), &part)?);
            return Ok(());
        }
        if entry.attributes & attribute::LABEL != 0 {
            return self.no_long_name();
        }
        self.add_child(entry, id)
    }

    /// Parts of a long name come right before its short one.
    fn no_long_name(&self) -> Result<()> {
        match &self.long {
            None => Ok(()),
            Some(_) => Err(wrong("long name", self.count, "a short name right behind it")),
        }
    }

    /// Each directory but the root starts with itself and its parent.
    fn check_dots(&self, entry: &raw::Entry, index: u64) -> Result<()> {
        let name = if index == 0 { name::DOT } else { name::DOT_DOT };
        if entry.name != name
            || file_type(entry) != FileType::Directory
            || entry.attributes & !attribute::KNOWN != 0
        {
            return Err(wrong("directory entry", index, ". and .. at the start"));
        }
        let found = first_cluster(self.fs, entry);
        if index == 0 && found != self.own {
            return Err(wrong("cluster of .", found, "that of the directory"));
        }
        Ok(())
    }

    fn add_child(&mut self, entry: &raw::Entry, id: u64) -> Result<()> {
        if matches!(entry.name, name::DOT | name::DOT_DOT) {
            return Err(wrong("directory entry", self.count, ". and .. at the start only"));
        }
        let file_type = file_type(entry);
        let short = name::short(entry)?;
        let mut key = |name: &str| self.keys.push(Key { folded: name.to_ascii_uppercase(), id });
        key(&short);
        let name = match self.long.take() {
            None => short,
            Some(long) => long.finish(&entry.name)?,
        };
        key(&name);
        if file_type == FileType::Directory {
            let first = first_cluster(self.fs, entry);
            self.check_parent(first)?;
            self.directories.push(first);
        }
        self.children.push(Child { name: name.into_bytes(), file_type, id });
        let found = u64::try_from(self.children.len()).unwrap_or(u64::MAX);
        let most = self.fs.limits.entries;
        if found > most {
            return Err(LimitExceeded::Count { what: "entries of a directory", found, most }.into());
        }
        Ok(())
    }

    /// A directory is in one place only: the one its `..` names. So none contains itself.
    fn check_parent(&self, child: u32) -> Result<()> {
        let offset = self.fs.volume.offset_of(child)?.saturating_add(32);
        let entry: raw::Entry = read_struct(&self.fs.reader, offset)?;
        let parent = first_cluster(self.fs, &entry);
        let also = match self.fs.volume.root {
            Root::Cluster(root) if self.is_root => root,
            _ => self.own,
        };
        if entry.name != name::DOT_DOT || (parent != self.own && parent != also) {
            return Err(wrong("cluster of ..", parent, "that of the directory it is in"));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Child>> {
        self.no_long_name()?;
        self.keys.sort_unstable_by(|a, b| a.folded.cmp(&b.folded));
        if self.keys.windows(2).any(|pair| matches!(pair, [a, b] if a.folded == b.folded && a.id != b.id)) {
            return Err(wrong("directory", self.own, "each name once, whatever its case"));
        }
        self.directories.sort_unstable();
        if self.directories.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(wrong("directory", self.own, "each directory once"));
        }
        self.children.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(self.children)
    }
}
