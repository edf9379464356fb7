//! Fuzz target: see `targets::fec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::fec(bytes));
