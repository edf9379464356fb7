//! dm-verity over the file: what the policy checked of an image, the kernel checks again, and goes on checking.

use std::os::fd::AsFd;

use confext_ddi::image::Partition;
use confext_ddi::policy::{Admitted, Evidence};
use confext_ddi::read::ReadAt;
use confext_ddi::signature::TrustSource;

use super::{Backing, BlockChecks, CheckedBy, Mapped, Reads, Shown, layer_file_system};
use crate::dmverity::{Signature, VerityDevice, checks_none, is_refusal};
use crate::error::{Error, Result};

/// The device, and what the kernel said against a signature that counts all the same.
pub(super) fn attach_verity<R: ReadAt + AsFd>(
    admitted: &Admitted<R>,
    partition: &Partition,
    checks: BlockChecks,
) -> Result<(Shown, Option<String>)> {
    let evidence = admitted.evidence();
    let options = checks.options().signature(Signature::for_evidence(evidence));
    let (device, signature, detail) = match VerityDevice::activate(admitted, &options) {
        Ok(device) if options.signature == Signature::Kernel => (device, CheckedBy::Kernel, None),
        Ok(device) => (device, CheckedBy::Nobody, None),
        Err(error) if counts_without_the_kernel(evidence, &error) => {
            // A kernel that takes no table without a signature has the last word here.
            let device = VerityDevice::activate(admitted, &options.signature(Signature::NotPassed))?;
            (device, CheckedBy::Library, Some(error.explain()))
        }
        Err(error) => return Err(error),
    };
    // Read through the hash tree as the kernel will.
    let fs_type = layer_file_system(admitted.data(), partition)?;
    let len_bytes = admitted.data().size_bytes()?;
    let mapped = Some(Mapped { name: device.name().to_owned(), signature, checks });
    let shown =
        Shown { backing: Backing::Verity(device), fs_type, len_bytes, reads: Reads::DmVerity, mapped };
    Ok((shown, detail))
}

/// Whether the signature was checked on the word of somebody the kernel need not know: a certificate, or a keyring of the
/// caller's, which dm-verity does not look into. What one of the kernel's own keyrings vouched for, and the kernel then
/// refuses, is refused. A kernel that checks no signatures has not refused any.
fn counts_without_the_kernel(evidence: &Evidence, error: &Error) -> bool {
    match evidence.signer().map(|signer| &signer.source) {
        None => false,
        // Only the kernel makes keyrings with such names.
        Some(TrustSource::Keyring { keyring, .. }) if keyring.starts_with('.') => checks_none(error),
        Some(_) => is_refusal(error) || checks_none(error),
    }
}
