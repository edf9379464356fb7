//! Fuzz target: see `targets::build_rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::build_rules(bytes));
