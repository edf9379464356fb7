//! Fuzz target: see `targets::fstype`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::fstype(bytes));
