//! Fuzz target: see `targets::sidecar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| confext_fuzz::targets::sidecar(bytes));
