//! Fuzz target: see `targets::gpt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::gpt(bytes));
