//! Signing an image that is there: signatures are put in, exchanged and added, and nothing else of it changes.

use super::ddi::{Region, append, signature_bytes};
use super::{gpt as table, ids};
use crate::digest::RootHash;
use crate::dps::{Attributes, Designator, PartitionType};
use crate::error::{Corrupt, LimitExceeded, Lookup, Result, ResultExt as _, Unsupported};
use crate::gpt::Partition;
use crate::image::{self, Foreign, Image};
use crate::limits::Limits;
use crate::policy::{Data, Policy};
use crate::read::{ReadAt, Window, read_vec};
use crate::sidecar::{Kind, Sidecars};
use crate::signature::{AdditionalSignature, Fingerprint, Json, Sign, ToSign};
use crate::units::{ByteRange, PartitionNumber};
use crate::verity::computed_root_hash;
use serde::Serialize;
use std::io::{Read, Seek, SeekFrom, Write};

/// What becomes of the signatures that an image has.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.build(&mut image, Some(&key))?;
/// #     image.into_inner()
/// # };
/// # let operator = confext_ddi::signature::KeyPair::generate("operator", now, 30)?;
/// use confext_ddi::build::{Existing, SignOptions, sign_image};
/// use std::io::Cursor;
///
/// // The vendor signed the image; the operator signs it, too.
/// let options = SignOptions::default().existing(Existing::Keep);
/// let signed = sign_image(&mut Cursor::new(bytes), &operator, &options)?;
/// let fingerprints = [&key, &operator].map(|key| Some(key.certificate().fingerprint()));
/// assert_eq!(signed.signatures, fingerprints);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Existing {
    /// They go: the new one is the only one.
    #[default]
    Replace,
    /// They stay, in their order: the new one comes last, or in place of one with the same certificate. What reads one
    /// signature only, as systemd does, reads the first.
    Keep,
}

/// How to sign an image that is there.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.build(&mut image, Some(&key))?;
/// #     image.into_inner()
/// # };
/// # let new_key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// use confext_ddi::build::{SignOptions, sign_image};
/// use confext_ddi::image::{self, Copies};
/// use std::io::Cursor;
///
/// // A new key takes the place of the old one, if both copies of the partition table agree.
/// let options = SignOptions::default().open(image::Options::default().copies(Copies::Both));
/// let signed = sign_image(&mut Cursor::new(bytes), &new_key, &options)?;
/// assert_eq!(signed.signatures, [Some(new_key.certificate().fingerprint())]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SignOptions {
    /// What becomes of the signatures that are there. Default: they are replaced.
    pub existing: Existing,
    /// Which of the image's partitions count, which copies of its table must be there, and caps on what is read and
    /// allocated. An image for any architecture is signed.
    pub open: image::Options,
}

impl SignOptions {
    /// Says what becomes of the signatures that are there.
    #[must_use]
    pub const fn existing(mut self, existing: Existing) -> Self {
        self.existing = existing;
        self
    }

    /// Says how the image is opened: of several root or usr partitions those that are chosen are signed.
    #[must_use]
    pub fn open(mut self, open: image::Options) -> Self {
        self.open = open;
        self
    }
}

/// An image that was signed.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::build::{SignOptions, sign_image};
/// use std::io::Cursor;
///
/// // An image without signature has two partitions: data and hash tree.
/// let mut image = Cursor::new(bytes);
/// let signed = sign_image(&mut image, &key, &SignOptions::default())?;
/// assert_eq!(signed.partition.value(), 3);
/// assert_eq!(signed.size_bytes, image.get_ref().len() as u64);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SignedImage {
    /// What the signatures vouch for.
    pub root_hash: RootHash,
    /// The image's size.
    pub size_bytes: u64,
    /// The partition that holds the signatures.
    pub partition: PartitionNumber,
    /// The certificates of the signatures, in their order; `None` for one that does not name its certificate.
    pub signatures: Vec<Option<Fingerprint>>,
}

/// The exact bytes that a signature of an image is made over.
///
/// All of the image's data is read and checked against its hash tree first, and whatever signature it has does not
/// matter.
///
/// # Errors
///
/// As [`sign_image`].
pub fn to_sign<R: ReadAt>(image: R, options: &SignOptions) -> Result<ToSign> {
    look(image, &options.open).map(|found| ToSign::new(&found.root_hash))
}

/// Puts a signature of `signer` into an image, which nobody else may read or write meanwhile.
///
/// All of the image's data is read and checked against its hash tree before anything is signed. The signature partition
/// is made, filled, or made larger where it is too small; then it is put behind all others, the image grows, and both
/// copies of the partition table are written again. Data and hash tree stay where they are. A process that dies
/// meanwhile leaves an image that is not usable: write to a copy, as [`sign_file`](super::sign_file) does.
///
/// # Errors
///
/// `not-protected` for an image without hash tree; `gpt-no-room` when the table has to be written again and is not of the
/// usual form; with [`Existing::Keep`] as [`Json::parse`] reports, `root-hash-uuid` and `limit-count`; else as
/// [`Image::open`], [`Policy::judge`] and the signer.
pub fn sign_image<W: Read + Write + Seek + Send>(
    image: &mut W,
    signer: &dyn Sign,
    options: &SignOptions,
) -> Result<SignedImage> {
    let size = image.seek(SeekFrom::End(0))?;
    let whole = ByteRange::with_len(0, size).ok_or(Corrupt::ImageEmpty)?;
    let limits = &options.open.limits;
    let found = look(Region::new(image, whole), &options.open)?;
    let place = found.designator.as_str();
    let kept = match (options.existing, &found.signature) {
        (Existing::Keep, Some(partition)) => {
            kept(&Region::new(image, whole), partition, &found.root_hash, limits).within(place)?
        }
        (Existing::Keep, None) | (Existing::Replace, _) => None,
    };
    let new = AdditionalSignature {
        certificate_fingerprint: Some(signer.certificate_fingerprint()),
        signature_der: signer.sign(&found.root_hash).within(place)?,
    };
    let json = join(kept, found.root_hash, new, limits).within(place)?;
    let bytes = signature_bytes(&json).within(place)?;
    let root_hash = found.root_hash;
    let (partition, size_bytes) = found.write(image, size, &bytes)?;
    image.flush()?;
    let first = [json.certificate_fingerprint].into_iter();
    let signatures = first.chain(json.additional.iter().map(|other| other.certificate_fingerprint)).collect();
    Ok(SignedImage { root_hash, size_bytes, partition, signatures })
}

/// Completes an image with a signature that was made elsewhere: raw, or a PKCS#7 message. Its key must be that of
/// `certificate`.
///
/// # Errors
///
/// As [`sign_image`] and [`Certificate::complete`](crate::signature::Certificate::complete).
#[cfg(feature = "openssl")]
pub fn attach_signature<W: Read + Write + Seek + Send>(
    image: &mut W,
    certificate: &crate::signature::Certificate,
    signature: &[u8],
    options: &SignOptions,
) -> Result<SignedImage> {
    let made = crate::signature::RemoteKey::new(certificate.clone(), |_, _| Ok(signature.to_vec()));
    sign_image(image, &made, options)
}

/// An image as far as signing is concerned.
struct Found {
    root_hash: RootHash,
    designator: Designator,
    kind: PartitionType,
    signature: Option<Partition>,
    hash_label: String,
    table: crate::gpt::Table,
}

/// Opens an image, whatever its signature partition says, and checks all of its data.
fn look<R: ReadAt>(reader: R, open: &image::Options) -> Result<Found> {
    let mut open = open.clone().foreign(Foreign::Accept);
    open.signature = image::SignaturePartition::Ignored;
    let mut image = Image::open(&reader, &open)?;
    if let Some(root_hash) = hidden_root_hash(&image, &open.limits)? {
        let mut sidecars = Sidecars::none();
        let usr = image.data().designator == Designator::Usr;
        let kind = if usr { Kind::UsrHash } else { Kind::RootHash };
        sidecars.add_bytes(kind, root_hash.to_hex().as_bytes(), &open.limits)?;
        image = Image::open_with(&reader, sidecars, &open)?;
    }
    let data = image.data();
    let designator = data.designator.verity_sig().unwrap_or(data.designator);
    let kind = PartitionType { designator, architecture: data.architecture };
    let number = image.partitions().iter().find(|found| found.designator == designator);
    let number = number.and_then(|found| found.number);
    let (Some(table), Some(hash)) = (image.table().cloned(), image.hash()) else {
        return Err(Lookup::NotProtected.into());
    };
    let hash_label = hash.label.clone().unwrap_or_default();
    let signature = table.partitions.iter().find(|partition| Some(partition.number) == number).cloned();
    let admitted = Policy::verity().judge(image, None)?;
    let (Data::Checked(checked), Some(root_hash)) = (admitted.data(), admitted.root_hash()) else {
        return Err(Lookup::NotProtected.into());
    };
    checked.verify()?;
    Ok(Found { root_hash: *root_hash, designator, kind, signature, hash_label, table })
}

/// The root hash, where the identifiers of two partitions do not have all of it: they hold 32 bytes. It is worked out from
/// the hash tree, and the identifiers must be its first and last 16 bytes.
fn hidden_root_hash<R: ReadAt>(image: &Image<R>, limits: &Limits) -> Result<Option<RootHash>> {
    let (Some(_), Some(hash)) = (image.table(), image.hash()) else { return Ok(None) };
    let window = |range| Window::new(image.shared_reader(), range);
    let found = computed_root_hash(window(image.data().range)?, window(hash.range)?, limits)
        .map_err(|error| error.shifted(hash.range.start()).within(hash.designator.as_str()))?;
    Ok(Some(found).filter(|found| found.as_bytes().len() != 32))
}

/// The signatures that are there; `None` in a partition that waits for its first.
fn kept<R: ReadAt>(
    image: &R,
    partition: &Partition,
    root_hash: &RootHash,
    limits: &Limits,
) -> Result<Option<Json>> {
    let (found, most) = (partition.range.len_bytes(), limits.signature_bytes);
    let len = usize::try_from(found).ok().filter(|_| found <= most);
    let len = len.ok_or(LimitExceeded::Bytes { what: "signature partition", found, most })?;
    let bytes = read_vec(image, partition.range.start(), len)?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let json = Json::parse(&bytes, limits).map_err(|error| error.shifted(partition.range.start()))?;
    if json.root_hash != *root_hash {
        let (found, expected) = (json.root_hash.to_hex(), root_hash.to_hex());
        return Err(Corrupt::SignatureRootHash { found, expected }.into());
    }
    Ok(Some(json))
}

fn join(kept: Option<Json>, root_hash: RootHash, new: AdditionalSignature, limits: &Limits) -> Result<Json> {
    let Some(mut json) = kept else {
        let AdditionalSignature { certificate_fingerprint, signature_der } = new;
        return Ok(Json { root_hash, certificate_fingerprint, signature_der, additional: Vec::new() });
    };
    let same = |fingerprint: &Option<Fingerprint>| *fingerprint == new.certificate_fingerprint;
    if same(&json.certificate_fingerprint) {
        json.signature_der = new.signature_der;
        return Ok(json);
    }
    match json.additional.iter_mut().find(|other| same(&other.certificate_fingerprint)) {
        Some(other) => *other = new,
        None => json.additional.push(new),
    }
    let (found, most) = (json.additional.len().saturating_add(1), limits.signatures);
    if found > most {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        return Err(
            LimitExceeded::Count { what: "signatures", found: count(found), most: count(most) }.into()
        );
    }
    Ok(json)
}

impl Found {
    /// Writes the content of the signature partition and returns its number, and the image's size.
    fn write<W: Write + Seek>(
        self,
        image: &mut W,
        size: u64,
        bytes: &[u8],
    ) -> Result<(PartitionNumber, u64)> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match &self.signature {
            Some(partition) if len <= partition.range.len_bytes() => {
                fill(image, partition.range, bytes)?;
                Ok((partition.number, size))
            }
            _ => self.enlarge(image, size, bytes),
        }
    }

    /// Puts the content behind all partitions and writes the table again.
    fn enlarge<W: Write + Seek>(
        mut self,
        image: &mut W,
        size: u64,
        bytes: &[u8],
    ) -> Result<(PartitionNumber, u64)> {
        table::check_room(&self.table).within("gpt")?;
        let old = self.signature.take();
        let number = match &old {
            Some(partition) => partition.number,
            None => table::free_number(&self.table.partitions)
                .ok_or(Unsupported::GptNoRoom { reason: "no entry is free" })
                .within("gpt")?,
        };
        self.table.partitions.retain(|partition| partition.number != number);
        let end =
            self.table.partitions.iter().map(|partition| partition.range.end()).max().unwrap_or_default();
        if let Some(old) = &old {
            fill(image, old.range, &[])?;
        }
        // The old backup copy would be in the way, or be left lying about.
        if let Some(backup) = ByteRange::new(size.saturating_sub(table::BACKUP_BYTES).max(end), size) {
            fill(image, backup, &[])?;
        }
        // What stood behind all others stays where it is.
        let start = old.as_ref().map(|old| old.range.start()).filter(|start| *start >= end);
        let start = start.unwrap_or_else(|| end.next_multiple_of(table::GRAIN));
        let range = append(image, start, bytes).within(self.designator.as_str())?;
        self.table.partitions.push(match old {
            Some(old) => Partition { range, ..old },
            None => self.new_partition(number, range)?,
        });
        let size = table::write(image, self.table.disk_guid, &self.table.partitions, size).within("gpt")?;
        Ok((number, size))
    }

    fn new_partition(&self, number: PartitionNumber, range: ByteRange) -> Result<Partition> {
        let type_guid = self.kind.to_guid().ok_or(Unsupported::ArchitectureUnknown)?;
        let label = match self.hash_label.strip_suffix("-verity") {
            Some(_) => format!("{}-sig", self.hash_label),
            None => self.designator.as_str().to_owned(),
        };
        let unique_guid = ids::partition(self.table.disk_guid.to_uuid(), type_guid).to_guid();
        let attributes = Attributes::READ_ONLY;
        Ok(Partition { number, type_guid, unique_guid, range, attributes, label })
    }
}

/// Writes `bytes` at the start of a range, and zeros behind them.
fn fill<W: Write + Seek>(image: &mut W, range: ByteRange, bytes: &[u8]) -> Result<()> {
    image.seek(SeekFrom::Start(range.start()))?;
    image.write_all(bytes)?;
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    std::io::copy(&mut std::io::repeat(0).take(range.len_bytes().saturating_sub(len)), image)?;
    Ok(())
}

#[cfg(test)]
mod tests;
