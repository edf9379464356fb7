//! Fuzz target: see `targets::version`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::version(bytes));
