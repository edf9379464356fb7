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

#[cfg(test)]
mod tests {
    use super::*;
    use confext_ddi::RootHash;
    use confext_ddi::signature::Signer;

    fn signed(source: TrustSource) -> Evidence {
        let (subject, fingerprint) = ("CN=vendor".to_owned(), None);
        let by = Signer { subject, fingerprint, not_before: None, not_after: None, source };
        Evidence::Signed { root_hash: RootHash::from_bytes([7; 32]), by }
    }

    #[test]
    fn a_refusal_is_final_unless_somebody_else_vouches_for_the_signer() {
        let keyring =
            |keyring: &str| signed(TrustSource::Keyring { keyring: keyring.into(), key: "k".into() });
        let file = signed(TrustSource::File { path: "/etc/verity.d/a.crt".into() });
        let root_hash = RootHash::from_bytes([7; 32]);
        let refused = |code| Error::conflict(code, "app", "a", "b");
        let cannot = Error::Missing { what: "dm-verity that checks signatures", why: String::new() };
        let absent = Error::Missing { what: "the device mapper", why: String::new() };
        for (evidence, [unknown, rejected, cannot_check]) in [
            (keyring(".dm-verity"), [false, false, true]),
            (keyring(".secondary_trusted_keys"), [false, false, true]),
            (keyring("of the caller"), [true, true, true]),
            (file, [true, true, true]),
            (signed(TrustSource::Caller), [true, true, true]),
            (Evidence::Verity { root_hash }, [false, false, false]),
            (Evidence::None, [false, false, false]),
        ] {
            let counts = |error: &Error| counts_without_the_kernel(&evidence, error);
            assert_eq!(counts(&refused("kernel-signer-unknown")), unknown, "{evidence:?}");
            assert_eq!(counts(&refused("kernel-signature-rejected")), rejected, "{evidence:?}");
            assert_eq!(counts(&cannot), cannot_check, "{evidence:?}");
            // What is no refusal of a signature is not gone around.
            for other in [&absent, &refused("dm-verity-first-read"), &refused("loop-contended")] {
                assert!(!counts(other), "{evidence:?}");
            }
        }
    }
}
