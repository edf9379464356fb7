//! Fuzz target: see `targets::release`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::release(bytes));
