//! Fuzz target: see `targets::squashfs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::squashfs(bytes));
