//! Attach, stack, refresh and trace extension images on Linux.
#![cfg(target_os = "linux")]
#![deny(unsafe_code)]
