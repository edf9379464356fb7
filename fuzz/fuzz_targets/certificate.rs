//! Fuzz target: see `targets::certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::certificate(bytes));
