//! What the kernel's refusals mean: each has its own code.

use std::io;

use super::table::{Extras, KIND};
use crate::error::{Error, Result};
use crate::mapper::{self, Control};

/// The codes of a kernel that refuses a signature, or the lack of one.
const REFUSALS: [&str; 6] = [
    "kernel-signature-missing",
    "kernel-signature-required",
    "kernel-signer-unknown",
    "kernel-signature-rejected",
    "kernel-signature-algorithm",
    "kernel-key-unusable",
];

/// What a kernel lacks that was built without checks of signatures.
const SIGNATURES: &str = "dm-verity that checks signatures";

/// Whether an error says that the kernel's dm-verity checks no signatures at all.
pub(crate) fn checks_none(error: &Error) -> bool {
    matches!(error, Error::Missing { what, .. } if *what == SIGNATURES)
}

/// Whether an error says that the kernel does not vouch for an image: it refused its signature, or asks for one.
///
/// That is final unless the caller trusts certificates of its own that the image was checked with: then the image may be
/// attached with [`Signature::NotPassed`](super::Signature::NotPassed), where the kernel allows that.
#[must_use]
pub fn is_refusal(error: &Error) -> bool {
    REFUSALS.contains(&error.code())
}

/// Whether the kernel takes the same table without a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Understood {
    Yes,
    No,
}

impl Understood {
    /// By what came of such a table. A kernel that asks for a signature says so last.
    pub(super) fn of(loaded: &io::Result<()>) -> Self {
        match loaded {
            Ok(()) => Self::Yes,
            Err(error) if error.raw_os_error() == Some(libc::ENOKEY) => Self::Yes,
            Err(_) => Self::No,
        }
    }
}

/// The error of a table that the kernel did not take.
pub(super) fn of_load(
    control: &Control,
    target: &str,
    extras: &Extras,
    (source, understood): (io::Error, Understood),
) -> Error {
    let Some(errno) = source.raw_os_error() else { return Error::os("load the table of", target, source) };
    let refused = |code, found: String, expected| Error::conflict(code, target, found, expected);
    match (errno, extras.signature.is_some()) {
        (libc::ENOKEY, false) if mapper::requires_signatures() => refused(
            "kernel-signature-required",
            "no signature passed".to_owned(),
            "a signature (dm_verity.require_signatures is on)",
        ),
        (libc::ENOKEY, true) => refused(
            "kernel-signer-unknown",
            "a signer whose certificate is in none of the kernel's keyrings".to_owned(),
            "a signer whom the kernel knows",
        ),
        (libc::EKEYREJECTED | libc::EBADMSG, true) => refused(
            "kernel-signature-rejected",
            format!("a signature that is not right ({source})"),
            "one that the signer made over this root hash",
        ),
        (libc::ENOPKG, true) => refused(
            "kernel-signature-algorithm",
            "a signature of a kind that this kernel cannot check".to_owned(),
            "one that it can check",
        ),
        (libc::EKEYEXPIRED | libc::EKEYREVOKED, true) => refused(
            "kernel-key-unusable",
            format!("the signer's key in the kernel: {source}"),
            "a key that may be used",
        ),
        // Of RSA, what does not look like a signature once it is decrypted.
        (libc::EINVAL, true) if understood == Understood::Yes => refused(
            "kernel-signature-rejected",
            format!("a signature that is not right ({source})"),
            "one that the signer made over this root hash",
        ),
        (libc::EINVAL, signed) => missing(control, target, signed).unwrap_or_else(|error| error),
        _ => Error::os("load the table of", target, source),
    }
}

/// What may be missing when the kernel does not understand a table.
fn missing(control: &Control, target: &str, signed: bool) -> Result<Error> {
    let version =
        control.target(KIND).map_err(|source| Error::os("list the targets of", "device-mapper", source))?;
    let lacks = |what, why: &str| Ok(Error::Missing { what, why: why.to_owned() });
    if version.is_none() {
        return lacks(
            "the device mapper's verity target",
            "the kernel has not loaded it when it was used: it is not built in, and there is no module dm-verity",
        );
    }
    if signed && !mapper::checks_signatures() {
        return lacks(SIGNATURES, "the kernel was built without CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG");
    }
    let [major, minor, patch] = version.unwrap_or_default();
    Ok(Error::conflict(
        "dm-verity-table",
        target,
        format!("a table that dm-verity {major}.{minor}.{patch} of this kernel does not take"),
        "one that it takes",
    ))
}

/// The error of the first block that was read through a new device.
pub(super) fn of_first_read(target: &str, source: io::Error) -> Error {
    if source.raw_os_error() != Some(libc::EIO) {
        return Error::os("read from", target, source);
    }
    Error::conflict(
        "dm-verity-first-read",
        target,
        "a first block that is not what the root hash says, or cannot be read",
        "the bytes that were checked when the image was admitted",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CONFLICTS;

    #[test]
    fn refusals_are_codes() {
        for code in REFUSALS {
            assert!(CONFLICTS.iter().any(|(known, _)| *known == code), "{code}");
            assert!(is_refusal(&Error::conflict(code, "dm-0", "", "")));
        }
        assert!(!is_refusal(&of_first_read("dm-0", io::Error::from_raw_os_error(libc::EIO))));
    }
}
