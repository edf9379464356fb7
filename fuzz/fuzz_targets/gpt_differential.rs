//! Fuzz target: see `targets::gpt_differential`. Checksums are made right after most changes.
#![no_main]

use confext_fuzz::{reseal, targets};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| targets::gpt_differential(bytes));

fuzz_mutator!(|bytes: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(bytes, size, max_size);
    if !seed.is_multiple_of(8) {
        reseal::reseal(&mut bytes[..size]);
    }
    size
});
