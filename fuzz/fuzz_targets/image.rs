//! Fuzz target: see `targets::image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::image(bytes));
