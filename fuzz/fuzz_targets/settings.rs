//! Fuzz target: see `targets::settings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::settings(bytes));
