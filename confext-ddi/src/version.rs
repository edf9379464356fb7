//! UAPI.10 version comparison.
