//! Fuzz target: see `targets::verity_reader`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::verity_reader(bytes));
