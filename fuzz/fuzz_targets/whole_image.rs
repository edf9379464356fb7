//! Fuzz target: see `targets::whole_image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::whole_image(bytes));
