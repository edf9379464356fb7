//! The gate: what an image claims against what a policy asks for, each thing looked at once.

use super::admitted::{Checked, within_data};
use super::flags::Flags;
use super::text::{DESIGNATORS, print_flags};
use super::{Admitted, Data, Evidence, Policy, Protection};
use crate::digest::RootHash;
use crate::dps::Designator;
use crate::error::{Error, Refused, Result, ResultExt as _, Unsupported, Unverified};
use crate::fstype::{self, FsType};
use crate::image::{Claim, Image, Partition};
use crate::read::{ReadAt, Window};
use crate::signature::{Signer, Verifier};

/// Judges an image of which besides the data one more partition may be `used`.
pub(super) fn judge<R: ReadAt>(
    policy: &Policy,
    image: Image<R>,
    verifier: Option<&dyn Verifier>,
    used: Option<Designator>,
) -> Result<Admitted<R>> {
    let partition = image.data();
    let designator = partition.designator;
    if partition.fs == Some(FsType::Luks) {
        return Err(Unsupported::Encrypted { designator: designator.as_str() }.into());
    }
    let rule = policy.judged(designator);
    check_attributes(partition, rule)?;
    check_others(policy, &image, used)?;
    check_neighbours(&image, designator, rule)?;
    let (evidence, signers) = weigh(image.claim(), designator, rule, verifier)?;
    check_needed(policy, &image, rule)?;
    check_beside(policy, &image, rule)?;
    let data = open_data(&image, evidence.root_hash())?;
    check_file_system(&data, designator, rule)?;
    Ok(Admitted::new(image, evidence, signers, data))
}

/// Finds the strongest evidence there is and says whether it is enough. Checks the signatures where the rule names them.
fn weigh(
    claim: &Claim,
    designator: Designator,
    rule: Flags,
    verifier: Option<&dyn Verifier>,
) -> Result<(Evidence, Vec<Signer>)> {
    let allows = |protection: Protection| rule.intersects(protection.satisfies());
    let refuse = |found: Protection| {
        let (designator, found) = (designator.as_str(), found.as_str());
        Refused::Policy { designator, found, expected: words_of_uses(rule) }.into()
    };
    let unsigned = |evidence| Ok((evidence, Vec::new()));
    match claim {
        Claim::None if allows(Protection::None) => unsigned(Evidence::None),
        Claim::None => Err(refuse(Protection::None)),
        Claim::Signed { root_hash, .. } if rule.contains(Flags::SIGNED) => match verifier {
            // Without a signature that checks it ends here, also where the rule would do with less.
            Some(verifier) => {
                let place = designator.verity_sig().unwrap_or(designator).as_str();
                let (by, signers) = check_signatures(claim, root_hash, verifier).within(place)?;
                Ok((Evidence::Signed { root_hash: *root_hash, by }, signers))
            }
            None if allows(Protection::Verity) => unsigned(Evidence::Verity { root_hash: *root_hash }),
            None => Err(Unverified::SignatureUnchecked { designator: designator.as_str() }.into()),
        },
        Claim::Verity { root_hash } | Claim::Signed { root_hash, .. } if allows(Protection::Verity) => {
            unsigned(Evidence::Verity { root_hash: *root_hash })
        }
        Claim::Verity { .. } => Err(refuse(Protection::Verity)),
        Claim::Signed { .. } => Err(refuse(Protection::Signed)),
    }
}

fn words_of_uses(rule: Flags) -> String {
    match rule & Flags::OPEN {
        none if none.is_empty() => "a use that no such partition can have".to_owned(),
        uses => print_flags(uses),
    }
}

/// Checks every signature and says whose check: the first of them, and all. One is enough.
///
/// When none does, the error is that of the first signature by a signer who is known, else of the first signature.
fn check_signatures(
    claim: &Claim,
    root_hash: &RootHash,
    verifier: &dyn Verifier,
) -> Result<(Signer, Vec<Signer>)> {
    let (mut signers, mut refused): (Vec<Signer>, Option<Error>) = (Vec::new(), None);
    for signature in claim.signatures() {
        match verifier.verify(root_hash, signature) {
            Ok(signer) => signers.push(signer),
            Err(error) => {
                let unknown = |error: &Error| error.code() == "unknown-signer";
                if refused.as_ref().is_none_or(|known| unknown(known) && !unknown(&error)) {
                    refused = Some(error);
                }
            }
        }
    }
    match (signers.first().cloned(), refused) {
        (Some(first), _) => Ok((first, signers)),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Unverified::SignatureSigners { found: 0 }.into()),
    }
}

/// The data partition: under its hash tree, when there is a root hash to check it against.
fn open_data<R: ReadAt>(image: &Image<R>, root_hash: Option<&RootHash>) -> Result<Data<R>> {
    match (root_hash, image.hash()) {
        (Some(root_hash), Some(hash)) => Ok(Data::Checked(Checked::open(image, hash, *root_hash)?)),
        // An image that claims a root hash has a hash partition. Were it otherwise, nothing would be checked.
        (Some(_), None) => {
            let (designator, found) = (image.data().designator.as_str(), Protection::None.as_str());
            Err(Refused::Policy { designator, found, expected: Protection::Verity.as_str().to_owned() }
                .into())
        }
        (None, _) => Ok(Data::Unchecked(Window::new(image.shared_reader(), image.data().range)?)),
    }
}

/// A root hash or hash tree under a wrong name must not pass for none. A signed image of partitions needs no other files.
fn check_neighbours<R: ReadAt>(image: &Image<R>, designator: Designator, rule: Flags) -> Result<()> {
    let complete = image.table().is_some() && matches!(image.claim(), Claim::Signed { .. });
    let needs_verity = !rule.uses_of(designator).intersects(Protection::None.satisfies());
    match image.sidecars().near_misses.first() {
        Some(near) if needs_verity && !complete => {
            let (found, expected) = (near.found.clone(), near.expected.clone());
            Err(Refused::SidecarName { found, expected }.into())
        }
        _ => Ok(()),
    }
}

/// Judged on the bytes that will be used, not on those that were looked at when the image was opened.
pub(super) fn check_file_system(data: &impl ReadAt, designator: Designator, rule: Flags) -> Result<()> {
    if rule.contains(Flags::FILE_SYSTEMS) {
        return Ok(());
    }
    let fs_type =
        fstype::probe(data).map_err(|error| within_data(error, designator))?.map(|found| found.fs_type);
    if fs_type.is_some_and(|fs_type| rule.intersects(Flags::of_file_system(fs_type))) {
        return Ok(());
    }
    let found = fs_type.map_or("none", FsType::as_str);
    let expected = (rule & Flags::FILE_SYSTEMS).words();
    Err(Refused::PolicyFileSystem { designator: designator.as_str(), found, expected }.into())
}

pub(super) fn check_attributes(partition: &Partition, rule: Flags) -> Result<()> {
    let read_only = match partition.read_only {
        true => (Flags::READ_ONLY_ON, "read-only-on"),
        false => (Flags::READ_ONLY_OFF, "read-only-off"),
    };
    let growfs = match partition.growfs {
        true => (Flags::GROWFS_ON, "growfs-on"),
        false => (Flags::GROWFS_OFF, "growfs-off"),
    };
    for (group, (flag, found)) in [(Flags::READ_ONLY, read_only), (Flags::GROWFS, growfs)] {
        if !rule.contains(flag) {
            let (designator, expected) = (partition.designator.as_str(), (rule & group).words());
            return Err(Refused::PolicyAttribute { designator, found, expected }.into());
        }
    }
    Ok(())
}

/// A hash tree or signature that is not there, where the rule for the data says that it has to be. As in systemd:
/// `verity+signed` needs a signature partition, `verity+signed+absent` does not.
fn check_needed<R: ReadAt>(policy: &Policy, image: &Image<R>, rule: Flags) -> Result<()> {
    let protected = image.data().designator;
    let needed = |designator: &Designator| {
        is_free(policy, image, *designator) && !policy.judged(*designator).contains(Flags::ABSENT)
    };
    match [protected.verity(), protected.verity_sig()].into_iter().flatten().find(needed) {
        Some(designator) => {
            let (designator, protected, expected) =
                (designator.as_str(), protected.as_str(), words_of_uses(rule));
            Err(Refused::PolicyProtection { designator, protected, expected }.into())
        }
        None => Ok(()),
    }
}

/// Why a signature that is there is refused although its rule lets it be there: what systemd cannot make sense of.
fn check_signature(policy: &Policy, signature: Designator) -> Result<()> {
    if !policy.contradicts(signature) {
        return Ok(());
    }
    let designator = signature.as_str();
    let (found, expected) = match policy.effective(signature).contains(Flags::UNPROTECTED) {
        true => ("that is to be used", "a rule for the hash tree that says the same"),
        false => ("that is not to be used", "the contrary, for the data needs it"),
    };
    Err(Refused::PolicySignature { designator, found, expected }.into())
}

/// What lies beside an image is there to be used: a bare file system must be allowed under just what protects it, and
/// the hash tree of a root hash may not be one to leave alone. Elsewhere a rule names the least that will do; here
/// systemd takes it by the word, and nothing is admitted that it refuses.
fn check_beside<R: ReadAt>(policy: &Policy, image: &Image<R>, rule: Flags) -> Result<()> {
    if !image.sidecars().has_root_hash() {
        return Ok(());
    }
    let data = image.data().designator;
    let refuse = |designator: Designator, found, rule| {
        let (designator, expected) = (designator.as_str(), words_of_uses(rule));
        Err(Refused::PolicySidecar { designator, found, expected }.into())
    };
    match (image.table(), image.claim(), data.verity()) {
        (None, Claim::Verity { .. }, _) if !rule.contains(Flags::VERITY) => refuse(data, "verity", rule),
        (None, Claim::Signed { .. }, _) if !rule.contains(Flags::SIGNED) => refuse(data, "signed", rule),
        (Some(_), _, Some(tree)) if !policy.effective(tree).contains(Flags::UNPROTECTED) => {
            refuse(tree, "a hash tree in use", policy.effective(tree))
        }
        _ => Ok(()),
    }
}

/// Whether it could protect the data, is not there, and has no rule of its own.
fn is_free<R: ReadAt>(policy: &Policy, image: &Image<R>, designator: Designator) -> bool {
    designator.protects() == Some(image.data().designator)
        && !image.has(designator)
        && !policy.rules.contains_key(&designator)
}

/// The partitions besides the data: its hash tree is in use, one more may be, others are present and not used, or absent.
fn check_others<R: ReadAt>(policy: &Policy, image: &Image<R>, used: Option<Designator>) -> Result<()> {
    let hash = image.hash().map(|hash| hash.designator);
    let sig = image.data().designator.verity_sig();
    let others = DESIGNATORS.into_iter().filter(|designator| *designator != image.data().designator);
    for designator in others.filter(|designator| !is_free(policy, image, *designator)) {
        let (found, offers) = if !image.has(designator) {
            ("absent", Flags::ABSENT)
        } else if Some(designator) == hash || Some(designator) == used {
            ("unprotected", Flags::UNPROTECTED)
        } else if Some(designator) == sig {
            // It counts as used or not, whether the rule for the data needs it or not.
            ("unprotected", Flags::UNPROTECTED | Flags::UNUSED)
        } else {
            ("unused", Flags::UNUSED)
        };
        let rule = policy.judged(designator);
        if !rule.intersects(offers) {
            if image.has(designator) {
                check_signature(policy, designator)?;
            }
            let (designator, expected) = (designator.as_str(), words_of_uses(rule));
            return Err(Refused::Policy { designator, found, expected }.into());
        }
    }
    let protects_data = |found: &&Partition| found.designator.protects() == Some(image.data().designator);
    image
        .partitions()
        .iter()
        .filter(protects_data)
        .try_for_each(|found| check_attributes(found, policy.judged(found.designator)))
}
