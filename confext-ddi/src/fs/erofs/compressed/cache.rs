//! What was found out last of compressed files, so that reading one in small pieces takes no longer than reading it whole.

use super::map::Map;
use super::{Cluster, Extent};
use crate::fs::erofs::meta::Block;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The first bytes of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Unpacked {
    pub(super) cluster: Cluster,
    pub(super) bytes: Arc<Vec<u8>>,
}

/// Bounded; in the order of use, the one used last at the end.
#[derive(Debug, Default)]
pub(in crate::fs::erofs) struct Cache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    maps: Vec<(u64, Arc<Map>)>,
    extents: Vec<(u64, Extent)>,
    indexes: Vec<(u64, Block)>,
    unpacked: Vec<Unpacked>,
    bytes: usize,
}

impl Cache {
    const MOST_MAPS: usize = 64;
    const MOST_EXTENTS: usize = 64;
    /// Of 4 KiB each.
    const MOST_INDEXES: usize = 16;
    const MOST_CLUSTERS: usize = 64;
    /// More than the largest cluster has, and all of many small ones.
    const MOST_BYTES: usize = 16 << 20;

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change is complete by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn map(&self, inode: u64) -> Option<Arc<Map>> {
        let mut kept = self.kept();
        find(&mut kept.maps, |(id, _)| *id == inode).map(|(_, map)| Arc::clone(map))
    }

    pub(super) fn keep_map(&self, inode: u64, map: Map) -> Arc<Map> {
        let map = Arc::new(map);
        let mut kept = self.kept();
        kept.maps.push((inode, Arc::clone(&map)));
        drop_oldest(&mut kept.maps, Self::MOST_MAPS);
        map
    }

    /// The extent of a file that an offset is in.
    pub(super) fn extent(&self, inode: u64, at: u64) -> Option<Extent> {
        let mut kept = self.kept();
        find(&mut kept.extents, |(id, extent)| *id == inode && extent.contains(at)).map(|(_, extent)| *extent)
    }

    pub(super) fn keep_extent(&self, inode: u64, extent: Extent) {
        let mut kept = self.kept();
        kept.extents.push((inode, extent));
        drop_oldest(&mut kept.extents, Self::MOST_EXTENTS);
    }

    /// The block of a file's index that was read last, or nothing.
    pub(super) fn take_index(&self, inode: u64) -> Block {
        let mut kept = self.kept();
        let index = kept.indexes.iter().rposition(|(id, _)| *id == inode);
        index.map(|index| kept.indexes.remove(index).1).unwrap_or_default()
    }

    pub(super) fn keep_index(&self, inode: u64, block: Block) {
        let mut kept = self.kept();
        kept.indexes.push((inode, block));
        drop_oldest(&mut kept.indexes, Self::MOST_INDEXES);
    }

    /// At least `len` bytes of a cluster.
    pub(super) fn unpacked(&self, cluster: &Cluster, len: usize) -> Option<Arc<Vec<u8>>> {
        let mut kept = self.kept();
        let found = find(&mut kept.unpacked, |found| found.cluster == *cluster && found.bytes.len() >= len);
        found.map(|found| Arc::clone(&found.bytes))
    }

    pub(super) fn keep_unpacked(&self, unpacked: Unpacked) -> Arc<Vec<u8>> {
        let bytes = Arc::clone(&unpacked.bytes);
        let mut kept = self.kept();
        kept.bytes = kept.bytes.saturating_add(bytes.len());
        kept.unpacked.push(unpacked);
        while kept.unpacked.len() > Self::MOST_CLUSTERS
            || kept.bytes > Self::MOST_BYTES && kept.unpacked.len() > 1
        {
            let oldest = kept.unpacked.remove(0);
            kept.bytes = kept.bytes.saturating_sub(oldest.bytes.len());
        }
        bytes
    }
}

/// Looks from the end, and moves what is found there.
fn find<T>(all: &mut [T], is_it: impl FnMut(&T) -> bool) -> Option<&T> {
    let index = all.iter().rposition(is_it)?;
    if let Some(from) = all.get_mut(index..) {
        from.rotate_left(1);
    }
    all.last()
}

fn drop_oldest<T>(all: &mut Vec<T>, most: usize) {
    if all.len() > most {
        all.remove(0);
    }
}
