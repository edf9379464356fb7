//! A partition besides root and usr, judged with the image it is in.

use super::admitted::within_data;
use super::judge::{check_attributes, check_file_system};
use super::{Admitted, Policy};
use crate::dps::Designator;
use crate::error::{Corrupt, Lookup, Result, ResultExt as _, Unsupported};
use crate::fs::{self, FileSystem};
use crate::fstype::{self, FsType};
use crate::image::{Image, Partition};
use crate::limits::Limits;
use crate::read::{ReadAt, Window};
use std::sync::Arc;

/// A partition that a policy lets be used although nothing protects it. Only
/// [`Policy::judge_partition`](super::Policy::judge_partition) makes one. It is no [`Admitted`] image: nothing of it was
/// checked, and nothing merges it.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::ImageKind};
/// #     let (mut tree, mut esp) = (Tree::new(), Tree::new());
/// #     tree.add_dir("usr", Meta::new(0o755))?;
/// #     esp.add_file("loader/loader.conf", "timeout 3\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(ImageKind::Root, "os").tree(tree).esp(esp);
/// #     let builder = builder.allow(confext_ddi::lint::Code::ALL.iter().copied());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.release(ReleaseFields::new("debian")).unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::{Limits, dps::Designator, image::{self, Image}, policy::Policy};
///
/// // Nothing protects a boot partition: a policy has to say that this is known.
/// let policy = Policy::parse("root=verity:esp=unprotected:=ignore")?;
/// let image = Image::open(bytes, &image::Options::default())?;
/// let (_root, esp) = policy.judge_partition(image, Designator::Esp, None)?;
/// let files = esp.file_system(&Limits::default())?;
/// assert_eq!(files.read(b"loader/loader.conf")?, b"timeout 3\n");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug)]
pub struct AdmittedPartition<R: ReadAt> {
    partition: Partition,
    data: Window<Arc<R>>,
}

impl<R: ReadAt> AdmittedPartition<R> {
    /// Which one it is.
    #[must_use]
    pub const fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Its bytes, as they are.
    #[must_use]
    pub const fn data(&self) -> &Window<Arc<R>> {
        &self.data
    }

    /// Its files.
    ///
    /// # Errors
    ///
    /// As [`Admitted::file_system`].
    pub fn file_system(&self, limits: &Limits) -> Result<Box<dyn FileSystem + '_>> {
        let open = || {
            let found = fstype::probe(&self.data)?;
            let found = found.ok_or(Unsupported::FileSystem { found: "no known magic" })?;
            fs::open(&self.data, found.fs_type, limits)
        };
        open().map_err(|error| within_data(error, self.partition.designator))
    }
}

impl<R: ReadAt + 'static> AdmittedPartition<R> {
    /// As [`AdmittedPartition::file_system`], for who keeps the files longer than a borrow lasts.
    ///
    /// # Errors
    ///
    /// As [`Admitted::file_system`].
    pub fn shared_file_system(&self, limits: &Limits) -> Result<Box<dyn FileSystem>> {
        let open = || {
            let found = fstype::probe(&self.data)?;
            let found = found.ok_or(Unsupported::FileSystem { found: "no known magic" })?;
            fs::open(self.data.clone(), found.fs_type, limits)
        };
        open().map_err(|error| within_data(error, self.partition.designator))
    }
}

/// Admits a partition of an image that was judged as one of which it is used.
pub(super) fn admit<R: ReadAt>(
    policy: &Policy,
    image: &Admitted<R>,
    partition: Partition,
) -> Result<AdmittedPartition<R>> {
    let (designator, rule) = (partition.designator, policy.judged(partition.designator));
    check_attributes(&partition, rule)?;
    let data = Window::new(image.image().shared_reader(), partition.range).within(designator.as_str())?;
    check_file_system(&data, designator, rule)?;
    Ok(AdmittedPartition { partition, data })
}

/// The one partition of this kind that is neither the data of an image nor there to protect it.
pub(super) fn find<R: ReadAt>(image: &Image<R>, designator: Designator) -> Result<Partition> {
    let others = || image.partitions().iter().filter(|other| !other.designator.has_architecture());
    let mut wanted = others().filter(|other| other.designator == designator);
    match (wanted.next(), wanted.next()) {
        (Some(partition), None) if partition.fs == Some(FsType::Luks) => {
            Err(Unsupported::Encrypted { designator: designator.as_str() }.into())
        }
        (Some(partition), None) => Ok(partition.clone()),
        (Some(first), Some(second)) => {
            let (Some(first), Some(second)) = (first.number, second.number) else {
                return Err(Corrupt::ImageEmpty.into());
            };
            let designator = designator.as_str();
            Err(Corrupt::PartitionsAmbiguous { designator, first, second }.into())
        }
        (None, _) => {
            let found: Vec<&str> = others().map(|other| other.designator.as_str()).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            Err(Lookup::NoSuchPartition { expected: designator.as_str(), found }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Meta, Tree, vfat};
    use crate::digest::RootHash;
    use crate::dps::Architecture;
    use crate::error::Unverified;
    use crate::gpt::Attributes;
    use crate::image::Options;
    use crate::image::sample::{self, Part};
    use crate::signature::{Fingerprint, Signer, TrustSource, Verifier};

    const NATIVE: Architecture = Architecture::X86_64;

    struct Trust(bool);

    impl Verifier for Trust {
        fn verify(&self, root_hash: &RootHash, _: &[u8]) -> Result<Signer> {
            if !self.0 {
                return Err(
                    Unverified::RootHash { found: String::new(), expected: root_hash.to_hex() }.into()
                );
            }
            let (fingerprint, subject) = (Fingerprint::from_bytes([4; 32]), "CN=vendor".to_owned());
            let (fingerprint, source) = (Some(fingerprint), TrustSource::Caller);
            Ok(Signer { subject, fingerprint, not_before: Some(0), not_after: Some(1), source })
        }
    }

    fn esp() -> Part {
        let mut tree = Tree::new();
        tree.add_file("EFI/BOOT/BOOTX64.EFI", "code", Meta::new(0o644)).unwrap();
        let mut bytes = Vec::new();
        vfat::write(&tree, &vfat::Options::default(), &mut bytes).unwrap();
        Part { attributes: Attributes::empty(), ..Part::new(Designator::Esp, None, bytes) }
    }

    fn judge(
        policy: &str,
        parts: &[Part],
        designator: Designator,
        trust: bool,
    ) -> Result<AdmittedPartition<Vec<u8>>> {
        let image = Image::open(sample::disk(parts), &Options::default().architecture(NATIVE)).unwrap();
        let policy = Policy::parse(policy).unwrap();
        policy.judge_partition(image, designator, Some(&Trust(trust))).map(|(_, partition)| partition)
    }

    fn code(policy: &str, parts: &[Part], designator: Designator, trust: bool) -> &'static str {
        judge(policy, parts, designator, trust).map_or_else(|error| error.code(), |_| "admitted")
    }

    #[test]
    fn the_policy_has_to_let_it_be_used() {
        let parts = [sample::signed(NATIVE), vec![esp()]].concat();
        for (policy, expected) in [
            ("root=signed:esp=unprotected", "admitted"),
            ("root=signed:esp=unprotected+vfat", "admitted"),
            ("root=signed:esp=unprotected+absent+read-only-off", "admitted"),
            ("=open", "admitted"),
            ("root=signed", "policy"),
            ("root=signed:esp=unused", "policy"),
            ("root=signed:esp=signed+verity+absent", "policy"),
            ("esp=unprotected", "policy"),
            ("root=unused:esp=unprotected", "policy"),
            ("root=signed:esp=unprotected:root-verity=absent", "policy"),
            ("root=signed:esp=unprotected+erofs", "policy-file-system"),
            ("root=signed:esp=unprotected+read-only-on", "policy-attribute"),
        ] {
            assert_eq!(code(policy, &parts, Designator::Esp, true), expected, "{policy}");
        }
        // What is wrong with the image is wrong, too.
        assert_eq!(code("root=signed:esp=unprotected", &parts, Designator::Esp, false), "root-hash");
        for policy in [Policy::signed(), Policy::verity(), Policy::unprotected()] {
            assert_eq!(code(&policy.to_string(), &parts, Designator::Esp, true), "policy");
        }
    }

    #[test]
    fn only_one_that_nothing_protects_is_asked_for() {
        let mut parts = [sample::signed(NATIVE), vec![esp()]].concat();
        for designator in [Designator::Home, Designator::Root, Designator::RootVerity, Designator::Usr] {
            assert_eq!(code("=open", &parts, designator, true), "no-such-partition");
        }
        let generic = || Part::new(Designator::LinuxGeneric, None, vec![1; 4096]);
        parts.push(generic());
        assert_eq!(code("=open", &parts, Designator::LinuxGeneric, true), "admitted");
        parts.push(generic());
        assert_eq!(code("=open", &parts, Designator::LinuxGeneric, true), "partitions-ambiguous");
        let image = Image::open(sample::erofs(), &Options::default()).unwrap();
        let error = Policy::unprotected().judge_partition(image, Designator::Esp, None).unwrap_err();
        assert_eq!(error.code(), "no-such-partition");
        let luks = [&b"LUKS\xba\xbe\0\x02"[..], &[0; 4088]].concat();
        let parts = [sample::signed(NATIVE), vec![Part::new(Designator::Home, None, luks)]].concat();
        assert_eq!(code("=open", &parts, Designator::Home, true), "encrypted");
    }

    #[test]
    #[cfg(feature = "read-fs")]
    fn its_files_are_read() {
        let parts = [sample::signed(NATIVE), vec![esp()]].concat();
        let partition = judge("=open", &parts, Designator::Esp, true).unwrap();
        assert_eq!(partition.partition().designator, Designator::Esp);
        let limits = Limits::default();
        assert_eq!(
            partition.shared_file_system(&limits).unwrap().read(b"efi/boot/BOOTX64.efi").unwrap(),
            b"code"
        );
        assert_eq!(partition.file_system(&limits).unwrap().read(b"efi/boot/BOOTX64.efi").unwrap(), b"code");
        let unknown = Part { bytes: vec![1; 4096], ..esp() };
        let parts = [sample::signed(NATIVE), vec![unknown]].concat();
        let partition = judge("=open", &parts, Designator::Esp, true).unwrap();
        let error = partition.file_system(&limits).map(drop).unwrap_err();
        assert_eq!((error.code(), error.path().as_str()), ("file-system-unsupported", "esp"));
    }
}
