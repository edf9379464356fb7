//! vfat: FAT12, FAT16 and FAT32 with long names, what an EFI system partition is.
//!
//! Readers of FAT differ in what they forgive, so that one image can be two lists of files. Little is forgiven here: a
//! chain is as long as its file needs, a directory says who its parent is, and long names belong to their short ones.
//!
//! FAT has neither owners nor modes: files are `0644`, directories `0755`, and all of them root's. Its times are local
//! ones of an unknown place, and are taken for UTC. Names compare without the case of ASCII letters, as Linux does
//! it; that a file with a long name has a short one as well is not shown.
//!
//! *Spec:* Microsoft, "FAT: General Overview of On-Disk Format", 1.03; UEFI 2.10, section 13.3.

mod chain;
mod directory;
mod entry;
mod name;
mod raw;
#[cfg(test)]
mod tests;
mod volume;

use super::node::{Child, Inodes};
use super::{Metadata, Xattr};
use crate::error::{Corrupt, Error, Result, ResultExt as _};
use crate::fstype::FsType;
use crate::{Limits, ReadAt};
use chain::{Chain, Table};
use entry::{Inode, Start};
use std::sync::{Arc, Mutex, PoisonError};
use volume::Volume;

/// A vfat file system.
pub(super) struct Vfat<R> {
    reader: R,
    volume: Volume,
    limits: Limits,
    chains: Mutex<Vec<Known>>,
}

/// The chain of a file that was read lately.
struct Known {
    first: u32,
    clusters: u64,
    chain: Arc<Chain>,
}

/// Chains that are kept, so that a file that is read in pieces is followed once.
const MOST_CHAINS: usize = 16;

impl<R: ReadAt> Vfat<R> {
    pub(super) fn open(reader: R, limits: &Limits) -> Result<Self> {
        let volume = Volume::read(&reader).within("boot-sector").within("vfat")?;
        Ok(Self { reader, volume, limits: limits.clone(), chains: Mutex::default() })
    }

    fn table(&self) -> Table<'_, R> {
        Table::new(&self.reader, &self.volume)
    }

    fn chain(&self, first: u32, clusters: u64) -> Result<Arc<Chain>> {
        // What is kept is whole at any time, also when a reader panicked.
        let lock = || self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().iter().find(|known| (known.first, known.clusters) == (first, clusters)) {
            return Ok(Arc::clone(&known.chain));
        }
        let chain = Arc::new(Chain::of_file(&mut self.table(), first, clusters)?);
        let mut chains = lock();
        if chains.len() >= MOST_CHAINS {
            chains.remove(0);
        }
        chains.push(Known { first, clusters, chain: Arc::clone(&chain) });
        Ok(chain)
    }

    fn read_file(&self, first: u32, size: u64, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.volume.cluster_bytes;
        let chain = self.chain(first, size.div_ceil(bytes.get()))?;
        let mut table = self.table();
        let (mut index, mut within) = (offset / bytes, offset % bytes);
        let mut cluster = chain.seek(&mut table, index)?;
        let mut rest = buf;
        loop {
            // As far as clusters lie one behind the other, they are read at once.
            let start = self.volume.offset_of(cluster)?.saturating_add(within);
            let wanted = u64::try_from(rest.len()).unwrap_or(u64::MAX);
            let mut run = bytes.get().saturating_sub(within);
            let mut next = None;
            while run < wanted {
                index = index.saturating_add(1);
                let following = chain.next(&mut table, cluster, index)?;
                let adjacent = cluster.checked_add(1) == Some(following);
                cluster = following;
                if !adjacent {
                    next = Some(following);
                    break;
                }
                run = run.saturating_add(bytes.get());
            }
            let len = usize::try_from(run).unwrap_or(usize::MAX).min(rest.len());
            let (part, after) = rest.split_at_mut_checked(len).unwrap_or((&mut [], &mut []));
            self.reader.read_exact_at(start, part)?;
            if next.is_none() {
                return Ok(());
            }
            (rest, within) = (after, 0);
        }
    }
}

fn wrong(what: &'static str, found: impl TryInto<u64>, expected: &'static str) -> Error {
    Corrupt::FileSystem { what, found: found.try_into().unwrap_or(u64::MAX), expected }.into()
}

impl<R: ReadAt> Inodes for Vfat<R> {
    type Inode = Inode;

    fn fs_type(&self) -> FsType {
        FsType::Vfat
    }

    fn root(&self) -> u64 {
        entry::ROOT
    }

    fn ignores_case(&self) -> bool {
        true
    }

    fn inode(&self, id: u64) -> Result<Inode> {
        Inode::read(self, id)
    }

    fn metadata(&self, inode: &Inode) -> Metadata {
        inode.meta.clone()
    }

    fn list(&self, directory: &Inode) -> Result<Vec<Child>> {
        directory::list(self, directory)
    }

    fn read(&self, file: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        match file.start {
            Start::Cluster(first) => self.read_file(first, file.meta.size_bytes, offset, buf),
            // A file without clusters is empty, and the root is no file.
            Start::Nothing | Start::Root => Err(wrong("file size", file.meta.size_bytes, "0")),
        }
    }

    fn target(&self, link: &Inode) -> Result<Vec<u8>> {
        // There are no links, so that nobody asks.
        Err(wrong("link", link.meta.size_bytes, "none"))
    }

    fn xattrs(&self, _: &Inode) -> Result<Vec<Xattr>> {
        Ok(Vec::new())
    }
}
