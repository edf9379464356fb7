//! Fuzz target: see `targets::vfat`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::vfat(bytes));
