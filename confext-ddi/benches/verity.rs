//! Hash trees over memory: how many bytes a second are hashed into one, and checked against one.
//!
//! `limit` is the same number of bytes hashed without reading, tree and comparison: what is left to gain.
#![allow(missing_docs, reason = "criterion's macros make functions that nobody calls by name")]
#![allow(clippy::unwrap_used, reason = "what fails here ends the measurement")]

use confext_ddi::Limits;
use confext_ddi::digest::Salt;
use confext_ddi::id::Uuid;
use confext_ddi::verity::{Reader, Superblock, build, verify};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const BYTES: usize = 64 << 20;
const BLOCK_BYTES: usize = 4096;
const SALT: [u8; 32] = [0x5a; 32];

fn benches(criterion: &mut Criterion) {
    let data: Vec<u8> = (0_u32..).flat_map(u32::to_le_bytes).take(BYTES).collect();
    let blocks = u64::try_from(BYTES / BLOCK_BYTES).unwrap();
    let superblock = Superblock::new(Uuid::from_bytes([0x5a; 16]), blocks, Salt::new(SALT).unwrap());
    let tree = build(&data, &superblock).unwrap();
    for threads in [1, rayon::current_num_threads()] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut group = criterion.benchmark_group(format!("{threads} threads"));
        group.sample_size(20).throughput(Throughput::Bytes(u64::try_from(BYTES).unwrap()));
        group.bench_function("build", |bencher| {
            bencher.iter(|| pool.install(|| build(&data, &superblock).unwrap()));
        });
        group.bench_function("verify", |bencher| {
            let open =
                || Reader::new(data.clone(), tree.bytes.clone(), tree.root_hash, &Limits::default()).unwrap();
            bencher.iter_batched(
                open,
                |reader| pool.install(|| verify(&reader).unwrap()),
                criterion::BatchSize::PerIteration,
            );
        });
        #[cfg(feature = "simd")]
        if let Some(many) = confext_sha256::Prefixed::new(&SALT) {
            use rayon::prelude::*;
            group.bench_function("limit", |bencher| {
                bencher.iter(|| {
                    pool.install(|| {
                        data.par_chunks(256 << 10).for_each_init(
                            || vec![[0; 32]; (256 << 10) / BLOCK_BYTES],
                            |digests, part| {
                                many.digest_each(part, BLOCK_BYTES, std::hint::black_box(digests))
                            },
                        );
                    });
                });
            });
        }
        group.finish();
    }
}

criterion_group!(verity, benches);
criterion_main!(verity);
