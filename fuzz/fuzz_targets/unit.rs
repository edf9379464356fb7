//! Fuzz target: see `targets::unit`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::unit(bytes));
