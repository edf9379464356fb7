//! [`Error`]: the operation, the object and the errno; faults of an image come through unchanged.

use std::io;

use confext_ddi::error::{Fault, Refused};

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong on the host side.
///
/// ```
/// use confext_core::Host;
///
/// let error = Host::open("/nowhere").unwrap_err();
/// println!("[{}] {error}; {}", error.code(), error.hint());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A fault of an image, with the image it was found in.
    #[error("{image}: {source}")]
    Image {
        /// The image's path, or its name where it has none.
        image: String,
        /// What is wrong with it.
        #[source]
        source: confext_ddi::Error,
    },
    /// A fault found by `confext-ddi` that belongs to no image.
    #[error(transparent)]
    Ddi(#[from] confext_ddi::Error),
    /// The kernel or the file system refused an operation.
    #[error("{operation} {target}: failed")]
    Os {
        /// What was tried, like `open` or `move_mount`.
        operation: &'static str,
        /// On what: a path, a device, a mount.
        target: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// This kernel or this process cannot do what was asked.
    #[error("{what} is not available: {why}")]
    Missing {
        /// The capability.
        what: &'static str,
        /// How that was found out.
        why: String,
    },
    /// What is there stands against what was asked.
    #[error("{target}: found {found}, expected {expected}")]
    Conflict {
        /// The stable code, one of [`CONFLICTS`].
        code: &'static str,
        /// On what: a path, a device, a mount.
        target: String,
        /// What is there.
        found: String,
        /// What was expected.
        expected: String,
        /// What to do about it, one sentence.
        hint: &'static str,
    },
    /// A call on a file-system context failed; the kernel's own messages are in it.
    #[error(transparent)]
    Context(#[from] crate::sys::ContextError),
}

impl Error {
    /// The stable code: kebab-case, listed in `docs/errors.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Image { source, .. } | Self::Ddi(source) => source.code(),
            Self::Os { .. } => "os",
            Self::Missing { .. } => "missing-capability",
            Self::Conflict { code, .. } => code,
            Self::Context(_) => "file-system-context",
        }
    }

    /// What to do about it, one sentence.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Image { source, .. } | Self::Ddi(source) => source.hint(),
            Self::Os { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "check that the path exists",
                io::ErrorKind::PermissionDenied => "run as root, or in a user namespace that may do this",
                _ => "see the cause; the state from before is unchanged",
            },
            Self::Missing { .. } => "use a kernel or a privilege that has it, or choose another mode",
            Self::Conflict { hint, .. } => hint,
            Self::Context(error) => match error.source.raw_os_error() {
                Some(libc::ENODEV) => "load the kernel's module for this file system",
                Some(libc::EPERM) => "run as root, or in a user namespace that may do this",
                _ if error.log.is_empty() => "look for the reason in the kernel's log (dmesg)",
                _ => "see the kernel's message; the state from before is unchanged",
            },
        }
    }

    /// The message with the causes behind it, in one line.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = match self {
            // Its own text has the fault already.
            Self::Image { source, .. } => std::error::Error::source(source),
            _ => std::error::Error::source(self),
        };
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// What was found and what was expected, where the message says both.
    pub(crate) fn difference(&self) -> Option<(String, String)> {
        let fault = match self {
            Self::Conflict { found, expected, .. } => return Some((found.clone(), expected.clone())),
            Self::Image { source, .. } | Self::Ddi(source) => source.fault().to_string(),
            _ => return None,
        };
        // All messages are built like this; what they quote is quoted.
        let (_, rest) = fault.split_once("found ")?;
        let (found, expected) = rest.rsplit_once(", expected ")?;
        Some((found.to_owned(), expected.to_owned()))
    }

    /// The field of a release file that says that the extension is for another host.
    pub(crate) fn host_field(&self) -> Option<&'static str> {
        let (Self::Image { source, .. } | Self::Ddi(source)) = self else { return None };
        let Fault::Refused(refused) = source.fault() else { return None };
        match refused {
            Refused::HostScope { field, .. } | Refused::HostLevel { field, .. } => Some(field),
            Refused::HostArchitecture { .. } => Some("ARCHITECTURE"),
            Refused::HostOs { .. } => Some("ID"),
            Refused::HostVersion { .. } => Some("VERSION_ID"),
            _ => None,
        }
    }

    /// What is there stands against what was asked; `code` is one of [`CONFLICTS`].
    pub(crate) fn conflict(
        code: &'static str,
        target: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Conflict {
            code,
            target: target.into(),
            found: found.into(),
            expected: expected.into(),
            hint: hint_of(code),
        }
    }

    /// Wraps a failed call.
    pub(crate) fn os(
        operation: &'static str,
        target: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Os { operation, target: target.into(), source: source.into() }
    }
}

/// Codes of this crate with their advice; those of `confext-ddi` come through unchanged.
pub fn all_codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        ("os", "read the cause: operation, object and errno; the state from before is unchanged"),
        ("file-system-context", "read the kernel's message, or its log (dmesg) where there is none"),
        ("missing-capability", "use a kernel or a privilege that has it, or choose another mode"),
    ]
    .into_iter()
    .chain(CONFLICTS.iter().copied())
}

/// Every code an [`Error::Conflict`] carries, with its advice.
pub const CONFLICTS: &[(&str, &str)] = &[
    // the command
    ("no-schema", "name a verb, like verify or store publish; confext schema without one prints all"),
    // discover
    ("not-an-image", "move it out of the extension directory if it does not belong there"),
    ("unfinished-download", "wait for the download to finish, or remove its remains"),
    ("image-name", "rename it to valid UTF-8 without control characters, not starting with .#"),
    ("dangling-link", "remove the link or put its target in place"),
    ("link-loop", "remove the link, or point it to an image below the root directory"),
    ("shadowed", "remove one of the two if that is not what you want"),
    ("masked", "remove the empty directory to use the extension again"),
    ("stack-image", "use a disk image or a directory tree"),
    ("no-version", "name entries NAME_VERSION and the ending the directory's name asks for"),
    ("version-rejected", "rename the entry if it should count"),
    ("version-outranked", "nothing: the highest version is used"),
    // keyring
    (
        "keyring-missing",
        "check the name in /proc/keys, as root: others do not see the keyrings of the kernel",
    ),
    ("keyring-ambiguous", "name the keyring by its number"),
    ("keyring-owner", "use a keyring of root, or your own, that nobody else can write to"),
    (
        "keyring-restricted",
        "load the certificate before the keyring is sealed, or one that a key in it signed",
    ),
    ("keyring-certificate", "use an RSA key, or a kernel that has the algorithm (CONFIG_CRYPTO_ECDSA)"),
    // trust
    ("voa-context", "name a context as its directory is named, or leave it out"),
    ("voa-link", "put the certificate itself there, or a link to one of its name in the hierarchy"),
    // loopdev
    (
        "loop-window",
        "check that nobody changes the image; attach it in sealed memory, or pad it to whole blocks",
    ),
    ("loop-contended", "try again when fewer programs attach loop devices"),
    // dmverity
    ("dm-verity-unprotected", "attach it in place: there is no hash tree that the kernel could check it by"),
    ("dm-verity-parity", "pass the parity of this image, with the roots and the offset it was made with"),
    ("dm-verity-table", "see the kernel's log (dmesg) for what it does not take; leave that option out"),
    ("dm-verity-first-read", "do not use the image: it was changed after it was checked, or its disk fails"),
    ("dm-verity-device", "look for who changes mapped devices (dmsetup table), then try again"),
    ("dm-verity-contended", "try again when fewer programs make mapped devices"),
    ("kernel-signature-missing", "sign the image, or trust a root hash and pass no signature to the kernel"),
    ("kernel-signature-required", "have the kernel check the image's signature, or sign the image"),
    (
        "kernel-signer-unknown",
        "put the signer's certificate into a keyring that dm-verity looks into, or trust it by a certificate directory",
    ),
    (
        "kernel-signature-rejected",
        "do not use the image: its root hash or its signature was changed; get it again",
    ),
    ("kernel-signature-algorithm", "sign with RSA and SHA-256, or use a kernel with that algorithm"),
    ("kernel-key-unusable", "put a valid certificate of the signer into the kernel's keyring"),
    // attach
    ("plain-on-verified", "attach it in sealed memory: a loop device on the file would throw away the check"),
    ("layer-file-system", "build the image with one of these file systems"),
    // layer
    ("mount-source", "check who changes the device nodes in /dev, or exchanges the files of loop devices"),
    ("layer-type", "build the extension with the expected kind of file there"),
    // exec
    ("root-changed", "try again; something replaced the directory in between"),
    ("not-running", "start it again, with the new stack"),
    // image_file
    ("image-missing", "check the path; list shows the images that are found"),
    ("image-file-type", "pass the file of a disk image, or its block device"),
    // sidecars
    ("sidecar-file", "put the file itself beside the image"),
    // select
    (
        "required-missing",
        "put the extension into one of the directories that are searched, or do not require it",
    ),
    // admission
    ("candidate-changed", "try again; something replaced the extension after it was found"),
    // extract
    ("extract-destination", "pass the path of a directory, or of one that is not there yet in one that is"),
    ("extract-exists", "extract to a new directory, or replace files by explicit choice"),
    ("extract-name", "do not use the image: no file system has such a name unless somebody made it up"),
    ("extract-owner", "shift by more users, or extract without owners"),
    ("extract-device", "leave device nodes out, or make them by explicit choice as root"),
    ("extract-changed", "extract to a directory that nobody else writes to"),
    ("extract-leftover", "remove these paths; what stopped the extraction is in the message"),
    // publish
    ("store-name", "pass the directory that extensions are looked for in, like /var/lib/confexts/NAME.raw.v"),
    ("version-name", "choose a version of these characters, without spaces, plus signs and underscores"),
    ("version-exists", "publish it under a higher version"),
    ("version-missing", "see which versions are there; each is named as in its file's name"),
    ("version-tries", "call it good or bad, or publish a newer version"),
    // plan
    ("type-change", "build the extension with the host's layout, or allow it by explicit choice"),
    ("replaces-os-release", "take the file out of the extension, or allow it by explicit choice"),
    ("nested-extensions", "ship the inner extensions by themselves, or allow it by explicit choice"),
    ("brings-certificates", "install certificates by other means, or allow it by explicit choice"),
    ("metadata-directory", "take the directory out of the extension"),
    ("whiteout", "take the device 0:0 out of the extension, or allow it by explicit choice"),
    ("overlay-attribute", "build the extension from a tree that is no overlay's upper directory"),
    ("layer-unreadable", "build the extension again"),
    // stack
    ("already-merged", "refresh instead, or unmerge first"),
    ("class-twice", "name each class once"),
    ("stack-covered", "unmount what is mounted over the stack, then try again"),
    ("locked", "wait for the other program that merges, or pass a longer wait"),
    (
        "stack-metadata",
        "refresh or unmerge the stack: it was merged by another version, or its record is damaged",
    ),
    ("no-extensions", "put an extension for this host into one of the directories that are searched"),
    ("memory-short", "use smaller images, or run as root: then nothing is written to memory"),
    ("hierarchy-missing", "make the directory in the root first"),
    ("too-many-layers", "merge fewer extensions; build small ones into one image"),
    ("submount-point", "unmount what is mounted there first, or remove the extension that is in its way"),
    (
        "mutable-directory",
        "put a directory in that place, or a link to one that is neither below nor above a hierarchy",
    ),
    (
        "mutable-loop",
        "take the link away, or use the mode auto, in which the host's own directory is written to",
    ),
    ("mutable-mode", "give the directory the mode and the owner of the hierarchy it is for"),
    ("mutable-read-only", "mount the file system writable, or use the mode ephemeral or import"),
    ("mutable-in-use", "unmerge the other stack first, or give each hierarchy a directory of its own"),
    ("mutable-private", "use the mode ephemeral or import, or merge on the host"),
    ("work-directory", "look at the directory, and remove it if nothing uses it"),
    ("stack-busy", "end the programs that have files below the hierarchy open for writing, then try again"),
    ("rollback", "look at the mounts of the hierarchy, then unmerge and merge again"),
    // manager
    ("manager-unreachable", "run it where systemd is process 1, or tell the service manager by other means"),
    (
        "manager-action",
        "look at the unit (systemctl status); the stack is merged, and nothing of it is undone",
    ),
    ("manager-unit", "check the unit's name (systemctl status), and that it is loaded"),
    ("unit-reload", "look at the unit (systemctl status); it goes on with what it had read before"),
    // service
    ("process-gone", "start the service; a process that ends meanwhile needs no refresh"),
    ("process-namespace", "give the service a mount namespace of its own, or merge on the host"),
    (
        "process-users",
        "refresh it from the user namespace that its own is inside of, as who may change mounts there",
    ),
    (
        "mounts-locked",
        "have the container make its mounts below the hierarchy itself, or refresh it before they are made",
    ),
    ("process-shared", "make the mounts of the service private or slave, so that the host keeps its own"),
    ("process-changed", "try again; the process went to another namespace or root meanwhile"),
    ("stack-changed", "try again; something else changed the mounts of the service meanwhile"),
    ("no-answer", "look for a file system of the service that hangs, or pass a longer wait"),
    // unit
    ("unit-missing", "check the name (systemctl status), and whose root is looked into"),
    ("unit-masked", "unmask the unit, or ask for another one"),
    ("drop-in-name", "choose a name of letters, digits and dashes that ends in .conf"),
    ("drop-in-text", "report it with the settings; nothing was written"),
    ("portable-units", "check the names, and that the units are services, sockets, targets, timers or paths"),
    (
        "portable-prefix",
        "say a name that the image allows, or ask for another PORTABLE_PREFIXES= in its os-release",
    ),
    ("portable-mixed", "have all of them signed, or attach only those that are"),
    ("portable-path", "move or link the image to another path"),
    ("portable-profile", "see what is in /usr/lib/systemd/portable/profile, or choose none"),
    ("portable-unit", "have the unit changed in the image, or attach others by their names"),
    ("portable-exists", "detach what is attached, or rename the unit"),
    ("portable-missing", "see what is attached: confext service attached"),
    ("portable-several", "name it by its path, and take away what is attached twice by hand"),
    ("portable-active", "stop the unit first"),
    ("portable-busy", "try again when the other program has ended"),
    ("generator-path", "see what is at the path; it is neither replaced nor removed"),
    // rollout
    ("rollout-store", "name the directory of versions with --store"),
    ("rollout-outranked", "publish it under a higher version, or call the one that is used bad"),
    ("rollout-service", "look at the service (systemctl status), and start it first if it does not run"),
    ("rollout-refresh", "give the unit a way to reload, or choose another way to refresh or reload it"),
    ("rollout-check", "see what the check says; the version is not used any more"),
    ("rollout-callback", "see what the function raised"),
    ("rollout-time", "see why the step takes so long, or allow more time for it"),
    ("rollout-cancelled", "start the rollout again if it was not meant"),
    // service/stack
    ("extension-missing", "put it in place, or write a minus sign before its path in the unit"),
    ("extension-kind", "list images in ExtensionImages= and directories in ExtensionDirectories="),
    ("duplicate-extension", "list it once"),
    ("class-hierarchy", "put /etc into a confext, /usr and /opt into a sysext"),
    ("mount-option", "leave the option out: layers are mounted read-only, by options of their own"),
    // trace
    ("nothing-traced", "ask for one of those that were found, or for all paths"),
    ("layer-changed", "refresh the stack, or put the image back that was merged"),
];

/// The advice that goes with a code of this crate.
pub(crate) fn hint_of(code: &str) -> &'static str {
    all_codes().find(|(known, _)| *known == code).map_or("see the message", |(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_an_image_is_explained_once() {
        let fault: confext_ddi::Error = confext_ddi::error::Corrupt::ImageEmpty.into();
        let text = fault.to_string();
        let error = Error::Image { image: "a.raw".to_owned(), source: fault };
        assert_eq!(error.explain(), format!("a.raw: {text}"));
        let cause = io::Error::from_raw_os_error(libc::ENOENT);
        let error = Error::Image { image: "a.raw".to_owned(), source: cause.into() };
        assert_eq!(error.explain(), "a.raw: input/output failed: No such file or directory (os error 2)");
    }
}
