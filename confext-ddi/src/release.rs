//! `os-release` and `extension-release`: parse, look up, match against a host.
