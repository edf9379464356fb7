//! Contents of files: hashed, and compared.

use super::Digest;
use crate::error::{Corrupt, Result};
use crate::fs::{self, FileSystem};
use sha2::Digest as _;
use std::sync::mpsc;

/// How much of a file is read at a time.
const CHUNK_BYTES: u64 = 1 << 20;
/// Files from this size on are hashed on another thread than they are read on.
const LARGE_BYTES: u64 = 4 << 20;
/// Chunks of a large file that are read or hashed at a time.
const CHUNKS: usize = 3;

/// SHA-256 of the first `size_bytes` of a file, which is all of it.
///
/// Reading checks the blocks of an image, which is as much work as hashing what is in them: a large file is hashed on a
/// thread of its own. Memory is 1 MiB, and 3 MiB for a large file.
pub(crate) fn sha256(files: &dyn FileSystem, path: &[u8], size_bytes: u64) -> Result<Digest> {
    let mut hash = sha2::Sha256::new();
    if size_bytes < LARGE_BYTES {
        let mut chunk = Vec::new();
        let mut offset = 0;
        while offset < size_bytes {
            offset = read(files, path, offset, size_bytes, &mut chunk)?;
            hash.update(&chunk);
        }
        return Ok(Digest::from_bytes(hash.finalize().into()));
    }
    std::thread::scope(|scope| {
        let (give, take) = mpsc::channel::<Vec<u8>>();
        let (give_back, empty) = mpsc::channel();
        for _ in 0..CHUNKS {
            // Its other end is here.
            let _ = give_back.send(Vec::new());
        }
        let hasher = scope.spawn(move || {
            for chunk in take {
                hash.update(&chunk);
                // Nobody takes the last ones back.
                let _ = give_back.send(chunk);
            }
            hash.finalize()
        });
        let read_all = || {
            let mut offset = 0;
            while offset < size_bytes {
                let mut chunk = empty.recv().unwrap_or_default();
                offset = read(files, path, offset, size_bytes, &mut chunk)?;
                // It ends only when this end is dropped.
                let _ = give.send(chunk);
            }
            Ok(())
        };
        let all_read = read_all();
        drop(give);
        let digest = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        all_read.map(|()| Digest::from_bytes(digest.into()))
    })
}

/// Fills `chunk` from `offset`, and returns where it ends.
pub(crate) fn read(
    files: &dyn FileSystem,
    path: &[u8],
    offset: u64,
    size_bytes: u64,
    chunk: &mut Vec<u8>,
) -> Result<u64> {
    let len = size_bytes.saturating_sub(offset).min(CHUNK_BYTES);
    chunk.resize(usize::try_from(len).unwrap_or(0), 0);
    let mut done = 0;
    while let Some(rest) = chunk.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        match files.read_at(path, at, rest)? {
            // Not in an image; a directory of a running system may be written to.
            0 => return Err(Corrupt::SourceChanged { path: fs::display(path), what: "size" }.into()),
            count => done = done.saturating_add(count),
        }
    }
    Ok(offset.saturating_add(len))
}
