//! Exit statuses, in one place: what verbs return, what the help says, and what `docs/command.md` says

/// Done.
pub(super) const DONE: u8 = 0;
/// An image is at fault, or has not what was asked for.
pub(super) const IMAGE: u8 = 1;
/// The command line is wrong.
pub(super) const USAGE: u8 = 2;
/// The host, a file or the kernel stands against it.
pub(super) const HOST: u8 = 3;
/// It is done, but not all that belongs to it: who had to hear of it did not do what it was told.
pub(super) const NOT_ALL: u8 = 4;
/// `rollout`: what was used before runs again.
pub(super) const BACK: u8 = 5;
/// `rollout`: it is not known what runs.
pub(super) const UNKNOWN: u8 = 6;
/// `run`: confext itself fails. This and the next two as env(1) and shells have them.
pub(super) const RUN_FAILED: u8 = 125;
/// `run`: the command cannot be started.
pub(super) const RUN_NOT_STARTED: u8 = 126;
/// `run`: there is no such command.
pub(super) const RUN_NOT_FOUND: u8 = 127;

/// Every status with its meaning, as the pages have it.
pub(super) const TABLE: &[(u8, &str)] = &[
    (DONE, "done"),
    (
        IMAGE,
        "an image is corrupt, unverified or refused, or has not what was asked for; `lint` found an error, `diff` a \
         difference; `explain`: it would not be used",
    ),
    (USAGE, "the command line is wrong"),
    (HOST, "the host, a file or the kernel stands against it; `doctor`: something required is not there"),
    (
        NOT_ALL,
        "it was merged, refreshed or unmerged, but the service manager does not do what `--reload` tells it; it was \
         rolled out, but not all was done that belongs to it",
    ),
    (BACK, "it was not rolled out: what was used before runs again"),
    (UNKNOWN, "it was not rolled out, and it is not known what runs"),
    (RUN_FAILED, "`run`: confext itself fails; else `run` exits with the status of its command"),
    (RUN_NOT_STARTED, "`run`: the command cannot be started"),
    (RUN_NOT_FOUND, "`run`: there is no such command"),
];

/// The table for the help text.
pub(super) fn text() -> String {
    let rows = TABLE.iter().map(|(status, meaning)| format!("  {status:<3}  {}\n", meaning.replace('`', "")));
    rows.collect()
}
