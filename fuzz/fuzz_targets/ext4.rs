//! Fuzz target: see `targets::ext4`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::ext4(bytes));
