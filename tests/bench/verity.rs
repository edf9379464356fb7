//! Makes and checks bare hash trees, and hashes as fast as this machine can: what `compare.sh` runs beside veritysetup.
//!
//! ```text
//! bench-verity format DATA HASH              writes superblock and tree, and prints the root hash
//! bench-verity verify DATA HASH ROOT-HASH    reads and checks every block
//! bench-verity ceiling MIB                   hashes as many bytes of memory in the cache, in all threads, several blocks at once
//! bench-verity single MIB                    the same by sha2, one block after the other
//! bench-verity stream DATA                   reads every byte once and hashes it like `ceiling`: no tree, nothing compared
//! ```
//!
//! `RAYON_NUM_THREADS` says how many threads.

use confext_ddi::digest::Salt;
use confext_ddi::id::Uuid;
use confext_ddi::verity::{Geometry, Reader, Superblock, verify, write};
use confext_ddi::write::WriteAt as _;
use confext_ddi::{Limits, RootHash};
use confext_sha256::Prefixed;
use rayon::prelude::*;
use sha2::Digest as _;
use std::error::Error;
use std::fs::File;
use std::hint::black_box;

/// What is hashed at a time: a part of it that is in the cache, in blocks.
const PART_BYTES: usize = 256 << 10;
const BLOCK_BYTES: usize = 4096;
const SALT: [u8; 32] = [0x5a; 32];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["format", data, hash] => format(data, hash),
        ["verify", data, hash, root_hash] => {
            let root_hash: RootHash = root_hash.parse()?;
            let reader = Reader::new(File::open(data)?, File::open(hash)?, root_hash, &Limits::default())?;
            Ok(verify(&reader)?)
        }
        ["ceiling", mib] => {
            let many = Prefixed::new(&SALT).ok_or("this processor does not hash several blocks at once")?;
            hash_memory(mib.parse()?, |part, digests| many.digest_each(part, BLOCK_BYTES, digests));
            Ok(())
        }
        ["single", mib] => {
            let salted = sha2::Sha256::new_with_prefix(SALT);
            hash_memory(mib.parse()?, |part, digests| {
                for (block, digest) in part.chunks_exact(BLOCK_BYTES).zip(digests) {
                    *digest = salted.clone().chain_update(block).finalize().into();
                }
            });
            Ok(())
        }
        ["stream", data] => stream(data),
        _ => Err(
            "usage: bench-verity format DATA HASH | verify DATA HASH ROOT-HASH | ceiling MIB | single MIB | \
                  stream DATA"
                .into(),
        ),
    }
}

fn format(data: &str, hash: &str) -> Result<(), Box<dyn Error>> {
    let data = File::open(data)?;
    let block_bytes = u64::try_from(BLOCK_BYTES)?;
    let blocks = data.metadata()?.len() / block_bytes;
    let geometry = Geometry::new(&Superblock::new(Uuid::from_bytes([0x5a; 16]), blocks, Salt::new(SALT)?))?;
    // What is there is written over, as veritysetup does.
    let hash = File::options().read(true).write(true).create(true).truncate(false).open(hash)?;
    hash.set_len(geometry.hash_area_bytes())?;
    let root_hash = write(&data, &geometry, |offset, part| hash.write_all_at(offset, part))?;
    println!("{root_hash}");
    Ok(())
}

/// What no program that reads a file can be faster than on this machine.
fn stream(data: &str) -> Result<(), Box<dyn Error>> {
    let many = Prefixed::new(&SALT).ok_or("this processor does not hash several blocks at once")?;
    let data = File::open(data)?;
    let part_bytes = u64::try_from(PART_BYTES)?;
    let place = || (vec![0; PART_BYTES], vec![[0; 32]; PART_BYTES / BLOCK_BYTES]);
    let parts = data.metadata()?.len() / part_bytes;
    Ok((0..parts).into_par_iter().try_for_each_init(place, |(part, digests), at| {
        std::os::unix::fs::FileExt::read_exact_at(&data, part, at * part_bytes)?;
        many.digest_each(part, BLOCK_BYTES, digests);
        black_box(digests);
        std::io::Result::Ok(())
    })?)
}

/// Has the same part of memory hashed again and again, in each thread one of its own.
fn hash_memory(mib: usize, hash: impl Fn(&[u8], &mut [[u8; 32]]) + Sync) {
    let place = || (vec![0x5a; PART_BYTES], vec![[0; 32]; PART_BYTES / BLOCK_BYTES]);
    (0..(mib << 20) / PART_BYTES).into_par_iter().for_each_init(place, |(part, digests), _| {
        hash(black_box(part), digests);
        black_box(digests);
    });
}
