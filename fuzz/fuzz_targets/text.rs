//! Fuzz target: see `targets::text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::text(bytes));
