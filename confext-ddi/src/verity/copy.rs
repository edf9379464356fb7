//! Copying all data while it is checked, on all processors.

use super::Reader;
use super::reader::Progress;
use super::tree::{TASK_BYTES, u64_of};
use crate::error::{Error, Refused, Result};
use crate::read::ReadAt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Data that is copied between two calls of `progress`.
const BATCH_BYTES: u64 = 32 << 20;

/// Reads every data block once, checks it and hands it to `sink` with its offset in the data, on all processors of the
/// current `rayon` thread pool and so in no order.
///
/// What the sink gets is the memory that was hashed; nothing is read again. `progress` is called from time to time and may
/// stop the copy. On any error the sink has got only checked bytes, but not all of them. Memory does not grow with the data.
///
/// # Errors
///
/// `data-block`, `hash-block`: the first that does not check; `cancelled` when `progress` said so; an I/O error of `sink`
/// or of reading.
pub fn copy_in_parts<D: ReadAt, H: ReadAt>(
    reader: &Reader<D, H>,
    sink: impl Fn(u64, &[u8]) -> std::io::Result<()> + Sync,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<()> {
    let geometry = reader.geometry();
    let (blocks, total_bytes) = (geometry.superblock().data_blocks, geometry.data_bytes());
    let block_bytes = u64_of(geometry.data_block_bytes()).max(1);
    let per_part = u64_of(TASK_BYTES).checked_div(block_bytes).unwrap_or(0).max(1);
    let batch = BATCH_BYTES.checked_div(block_bytes).unwrap_or(0).max(per_part);
    let part_bytes = usize::try_from(per_part.saturating_mul(block_bytes)).unwrap_or(0);
    let mut first = 0_u64;
    while first < blocks {
        let end = first.saturating_add(batch).min(blocks);
        in_parts(part_bytes, end.saturating_sub(first).div_ceil(per_part), |part, buf| {
            let start = first.saturating_add(part.saturating_mul(per_part));
            let count = per_part.min(end.saturating_sub(start));
            reader.read_checked_here(start, count, buf)?;
            sink(start.saturating_mul(block_bytes), buf).map_err(Error::from)
        })?;
        first = end;
        let done_bytes = first.saturating_mul(block_bytes);
        if progress(Progress { done_bytes, total_bytes }).is_break() {
            return Err(Refused::Cancelled { done: done_bytes, total: total_bytes }.into());
        }
    }
    Ok(())
}

/// Has the threads take one part after the other, each with a buffer of its own. The error is that of the first part that
/// has one: all before it were taken before it.
fn in_parts(
    part_bytes: usize,
    parts: u64,
    work: impl Fn(u64, &mut Vec<u8>) -> Result<()> + Sync,
) -> Result<()> {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(None::<(u64, Error)>));
    let lock = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|part| *part < parts && lock().is_none());
    crate::threads::ready();
    rayon::broadcast(|_| {
        let mut buf = vec![0; part_bytes];
        while let Some(part) = take() {
            if let Err(error) = work(part, &mut buf) {
                let mut failed = lock();
                if failed.as_ref().is_none_or(|(first, _)| part < *first) {
                    *failed = Some((part, error));
                }
            }
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, error)| Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Salt;
    use crate::id::Uuid;
    use crate::limits::Limits;
    use crate::units::BlockSize;
    use crate::verity::{Superblock, Tree, build};
    use std::collections::BTreeMap;

    /// Blocks of 512 bytes, so that there are many parts of a leaf and many leaves of a part.
    fn sample(blocks: u64) -> (Vec<u8>, Tree) {
        let data: Vec<u8> = (0..blocks).flat_map(|block| block.to_le_bytes().repeat(64)).collect();
        let mut superblock = Superblock::new(Uuid::from_bytes([1; 16]), blocks, Salt::new(*b"salt").unwrap());
        superblock.data_block_size = BlockSize::new(512).unwrap();
        superblock.hash_block_size = BlockSize::new(512).unwrap();
        let tree = build(&data, &superblock).unwrap();
        (data, tree)
    }

    fn copied(data: &[u8], tree: &Tree) -> (Result<()>, BTreeMap<u64, Vec<u8>>) {
        let reader = Reader::new(data, &tree.bytes[..], tree.root_hash, &Limits::default()).unwrap();
        let parts = Mutex::new(BTreeMap::new());
        let sink = |offset, bytes: &[u8]| {
            assert!(parts.lock().unwrap().insert(offset, bytes.to_vec()).is_none(), "{offset} twice");
            Ok(())
        };
        let result = copy_in_parts(&reader, sink, |_| ControlFlow::Continue(()));
        (result, parts.into_inner().unwrap())
    }

    #[test]
    fn every_byte_comes_once() {
        for blocks in [1, 2, 511, 512, 513, 3 * 512 + 7] {
            let (data, tree) = sample(blocks);
            let (result, parts) = copied(&data, &tree);
            result.unwrap();
            let mut end = 0;
            for (offset, part) in &parts {
                assert_eq!(*offset, end);
                end += part.len() as u64;
            }
            assert!(parts.into_values().flatten().eq(data), "{blocks}");
        }
    }

    #[test]
    fn the_first_wrong_block_is_told_and_nothing_of_its_part_is_copied() {
        let (mut data, tree) = sample(3 * 512);
        for block in [600, 601, 1400] {
            data[block * 512] ^= 1;
        }
        let (result, parts) = copied(&data, &tree);
        let error = result.unwrap_err();
        assert_eq!((error.code(), error.offset()), ("data-block", Some(600 * 512)));
        assert!(!parts.contains_key(&(512 * 512)));
        let (data, mut tree) = sample(3 * 512);
        let at = tree.bytes.len() - 1024 - 512;
        tree.bytes[at] ^= 1;
        assert_eq!(copied(&data, &tree).0.unwrap_err().code(), "hash-block");
    }

    #[test]
    fn a_copy_can_be_stopped_and_reports_the_sink() {
        let (data, tree) = sample(40);
        let reader = Reader::new(&data, &tree.bytes, tree.root_hash, &Limits::default()).unwrap();
        let stop = |_| ControlFlow::Break(());
        assert_eq!(copy_in_parts(&reader, |_, _| Ok(()), stop).unwrap_err().code(), "cancelled");
        let full = |_, _: &[u8]| Err(std::io::ErrorKind::StorageFull.into());
        let error = copy_in_parts(&reader, full, |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(error.code(), "io");
    }
}
