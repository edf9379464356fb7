//! Fuzz target: see `targets::erofs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::erofs(bytes));
