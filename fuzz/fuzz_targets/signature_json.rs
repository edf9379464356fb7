//! Fuzz target: see `targets::signature_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::signature_json(bytes));
