//! Fuzz target: see `targets::pkcs7`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::pkcs7(bytes));
