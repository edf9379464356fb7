//! Fuzz target: see `targets::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::manifest(bytes));
