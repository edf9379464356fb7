//! Fuzz target: see `targets::key_rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::key_rules(bytes));
