//! Fuzz target: see `targets::policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::policy(bytes));
