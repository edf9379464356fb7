//! Fuzz target: see `targets::tar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::tar(bytes));
