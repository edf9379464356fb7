//! Fuzz target: see `targets::hash_tree`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::hash_tree(bytes));
