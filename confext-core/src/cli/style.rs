//! Colours of text for people. Output takes them out again where they are not wanted

/// It is as it should be, or new.
pub(super) const GOOD: &str = "\x1b[32m";
/// It is not, or gone.
pub(super) const BAD: &str = "\x1b[31m";
/// Somebody should look at it, or it has changed.
pub(super) const DOUBT: &str = "\x1b[33m";
/// What the lines below are about.
pub(super) const NAME: &str = "\x1b[1m";
/// As text was before.
pub(super) const END: &str = "\x1b[0m";
