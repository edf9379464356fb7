//! Fuzz target: see `targets::image_filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::image_filter(bytes));
