//! Fuzz target: see `targets::vpick`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::vpick(bytes));
