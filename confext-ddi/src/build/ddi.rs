//! [`Builder`]: a tree, a release file and a key to a complete Discoverable Disk Image.

mod boot;
mod region;
#[cfg(test)]
mod tests;

pub(super) use region::{Region, append, range_after};

use super::content::Content;
use super::format::{MakeFileSystem, Window, check_tree, compare};
use super::hashed::Hashed;
use super::release::ReleaseFields;
use super::tree::{Kind, Meta, NodeId, Timestamp, Tree, show};
use super::{erofs, gpt as table, ids};
use crate::digest::{RootHash, Salt, sha256};
use crate::dps::{Architecture, Designator, PartitionType};
use crate::error::{Corrupt, LimitExceeded, Refused, Result, ResultExt as _, Unsupported};
use crate::fs;
use crate::gpt::{Attributes, Partition};
use crate::id::{Guid, Uuid};
use crate::limits::Limits;
use crate::lint;
use crate::release::{self, ImageKind, Release};
use crate::signature::{Fingerprint, Json, Sign, ToSign};
use crate::units::ByteRange;
use crate::verity;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

/// The largest signature partition systemd reads.
const MAX_SIGNATURE_BYTES: u64 = 4 << 20;

/// Builds an image: an extension, a portable service, or the root or `/usr` of an operating system.
///
/// The same kind, name, tree, release fields, architecture, seed and time give the same bytes: nothing of this
/// machine and no clock goes in. (A signature is the same again if the key's owner makes it so: RSA does, ECDSA not.)
///
/// *Layout*: protective MBR and table · from byte 20480 on boot partitions, if there are any · root or usr (EROFS) · its hash
/// tree · its signature, each a multiple of 4096 bytes · backup table. Types, labels, attributes and identifiers are those systemd-repart gives.
#[derive(Debug, Clone)]
pub struct Builder {
    kind: ImageKind,
    name: String,
    tree: Tree,
    /// Boot partitions, unprotected.
    boot: BTreeMap<Designator, Tree>,
    release: Option<ReleaseFields>,
    architecture: Option<Architecture>,
    seed: Option<Uuid>,
    time: Option<i64>,
    signing: Signing,
    allowed: Vec<lint::Code>,
    format: Option<Arc<dyn MakeFileSystem>>,
    /// Whether a file that is there may be replaced.
    pub(super) replace: bool,
}

/// When an image is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Signing {
    /// While it is built.
    #[default]
    Now,
    /// When the signature is there.
    Later,
    Never,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Built {
    /// What a signature of the image vouches for.
    pub root_hash: RootHash,
    /// The image's size.
    pub size_bytes: u64,
    /// The partitions, in the order of the table.
    pub partitions: Vec<Partition>,
    /// The certificate whose key signed it; `None` for an image with a hash tree only, and for one that waits for its
    /// signature.
    pub signed: Option<Fingerprint>,
}

impl Built {
    /// The exact bytes that a signature of the image is made over.
    #[must_use]
    pub fn to_sign(&self) -> ToSign {
        ToSign::new(&self.root_hash)
    }
}

impl Builder {
    /// Starts an image of `name`: its file name without `.raw`, `.confext.raw` or `.sysext.raw`, and without a version
    /// when it will stand in a `.v/` directory. A host finds the release file of an extension by this name.
    #[must_use]
    pub fn new(kind: impl Into<ImageKind>, name: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
            tree: Tree::new(),
            boot: BTreeMap::new(),
            release: None,
            architecture: Architecture::of_build(),
            seed: None,
            time: None,
            signing: Signing::Now,
            allowed: Vec::new(),
            format: None,
            replace: false,
        }
    }

    /// Lets [`Builder::build_file`] replace a file that is there.
    #[must_use]
    pub fn replace_file(mut self) -> Self {
        self.replace = true;
        self
    }

    /// The entries of the image: those of an extension all below its hierarchies, those of `/usr` without `usr/`.
    #[must_use]
    pub fn tree(mut self, tree: Tree) -> Self {
        self.tree = tree;
        self
    }

    /// What the release file says. Needed unless the tree has its own `extension-release.NAME` or, if it is no
    /// extension, `os-release`.
    #[must_use]
    pub fn release(mut self, fields: ReleaseFields) -> Self {
        self.release = Some(fields);
        self
    }

    /// The architecture of the partition types. Default: the one this program was built for.
    #[must_use]
    pub const fn architecture(mut self, architecture: Architecture) -> Self {
        self.architecture = Some(architecture);
        self
    }

    /// What all identifiers and the salt follow from. Default: derived from kind and name, so that an image is
    /// reproducible unless a random seed is passed.
    #[must_use]
    pub const fn seed(mut self, seed: Uuid) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The build time in seconds since 1970: entries without a time get it, later times are set to it. Default: 0 for
    /// entries without a time, other times kept.
    #[must_use]
    pub const fn source_date_epoch(mut self, seconds: i64) -> Self {
        self.time = Some(seconds);
        self
    }

    /// Leaves the signature out: a host accepts the image only if its policy allows unsigned ones.
    #[must_use]
    pub const fn unsigned(mut self) -> Self {
        self.signing = Signing::Never;
        self
    }

    /// Leaves room for the signature: the key is not at hand. [`Built::to_sign`] says what is to be signed,
    /// [`attach_signature`](super::attach_signature) completes the image. Until then no reader opens it
    /// (`signature-empty`). The complete image is the same, byte for byte, as one that was signed while it was built.
    #[must_use]
    pub const fn sign_later(mut self) -> Self {
        self.signing = Signing::Later;
        self
    }

    /// Which file system holds the entries. Default: EROFS, uncompressed, made here.
    #[must_use]
    pub fn format(mut self, format: impl MakeFileSystem + 'static) -> Self {
        self.format = Some(Arc::new(format));
        self
    }

    /// Accepts what a lint says speaks against the image, by explicit choice.
    #[must_use]
    pub fn allow(mut self, codes: impl IntoIterator<Item = lint::Code>) -> Self {
        self.allowed.extend(codes);
        self
    }

    /// What speaks against the image, its release file included, whatever is allowed. Nothing is built.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`] for the release file; as [`lint::lint`].
    pub fn lint(&mut self, options: &lint::Options<'_>) -> Result<Vec<lint::Finding>> {
        check_name(&self.name)?;
        self.add_release()?;
        lint::lint(&self.tree.files(&options.limits), self.kind, &self.name, options)
    }

    /// Refuses what a lint finds to be an error and nobody allowed.
    fn veto(&self) -> Result<()> {
        let options = lint::Options::default();
        let findings = lint::lint(&self.tree.files(&options.limits), self.kind, &self.name, &options)?;
        let stops = |finding: &&lint::Finding| {
            finding.severity == lint::Severity::Error && !self.allowed.contains(&finding.code)
        };
        findings.iter().find(stops).map_or(Ok(()), |finding| Err(finding.to_error()))
    }

    /// Builds onto `out`, which must be empty, and signs with `signer`, unless [`Builder::unsigned`] or
    /// [`Builder::sign_later`] was called.
    ///
    /// Memory grows with the number of entries, not with file contents.
    ///
    /// # Errors
    ///
    /// `signer-missing`, `signer-unexpected`, `build-name`, `outside-hierarchy`, `hierarchy-kind`,
    /// `forbidden-content`, `lint`, `release-missing`, `release-conflict`, `release-id`, `release-key`, `release-value`,
    /// `architecture-unknown`, `boot-partition`, `output-not-empty`; else as [`vfat::write`](super::vfat::write), [`erofs::write`], [`verity::write`] and the signer.
    pub fn build<W: Read + Write + Seek + Send>(
        mut self,
        out: &mut W,
        signer: Option<&dyn Sign>,
    ) -> Result<Built> {
        let signer = match (signer, self.signing) {
            (Some(signer), Signing::Now) => Some(signer),
            (None, Signing::Later | Signing::Never) => None,
            (None, Signing::Now) => return Err(Refused::SignerMissing.into()),
            (Some(_), Signing::Later | Signing::Never) => return Err(Refused::SignerUnexpected.into()),
        };
        check_name(&self.name)?;
        self.check_boot()?;
        check_entries(&self.tree, self.kind)?;
        self.add_release()?;
        self.veto()?;
        let found = out.seek(SeekFrom::End(0))?;
        if found > 0 {
            return Err(Corrupt::OutputNotEmpty { found }.into());
        }
        self.write(out, signer)
    }

    fn write<W: Read + Write + Seek + Send>(&self, out: &mut W, signer: Option<&dyn Sign>) -> Result<Built> {
        let seed = self.seed.unwrap_or_else(|| default_seed(self.kind, &self.name));
        let place = self.kind.designator();
        let (hash_place, signature_place) = protectors(place)?;

        let uuid = ids::file_system(seed, self.type_guid(place)?);
        let mut options = erofs::Options { uuid, ..erofs::Options::default() };
        options.latest_mtime = self.time.map(Timestamp::from_seconds);
        options.build_time = options.latest_mtime.unwrap_or_default();
        let mut partitions = self.write_boot(seed, out)?;
        let start = partitions.last().map_or(table::FIRST_PARTITION, |last| last.range.end());
        out.seek(SeekFrom::Start(start))?;
        let salt = Salt::new(ids::verity_salt(seed))?;
        let superblock = |size| verity::Superblock::new(ids::verity(seed), size / table::GRAIN, salt);
        let (data, root_hash, hash) = match &self.format {
            None => self.write_erofs(&options, out, start, superblock)?,
            Some(format) => {
                let size = self.make(&**format, &options, out, start).within(place.as_str())?;
                let data = range_after(start, size)?;
                let tree = hash_tree(out, data, &superblock(size)).within(hash_place.as_str())?;
                (data, tree.0, tree.1)
            }
        };

        let (data_uuid, hash_uuid) = ids::of_root_hash(&root_hash);
        self.add_partition(&mut partitions, place, data_uuid, data)?;
        self.add_partition(&mut partitions, hash_place, hash_uuid, hash)?;
        let bytes = match (signer, self.signing) {
            (Some(signer), _) => Some(signature(&root_hash, signer).within(signature_place.as_str())?),
            (None, Signing::Later) => Some(Vec::new()),
            (None, _) => None,
        };
        if let Some(bytes) = bytes {
            let range = append(out, hash.end(), &bytes).within(signature_place.as_str())?;
            let uuid = ids::partition(seed, self.type_guid(signature_place)?);
            self.add_partition(&mut partitions, signature_place, uuid, range)?;
        }
        let size_bytes = table::write(out, ids::disk(seed).to_guid(), &partitions, 0).within("gpt")?;
        out.flush()?;
        let signed = signer.map(|signer| signer.certificate_fingerprint());
        Ok(Built { root_hash, size_bytes, partitions, signed })
    }

    /// Writes our own file system and its hash tree together, and says where they are.
    fn write_erofs<W: Write + Seek + Send>(
        &self,
        options: &erofs::Options,
        out: &mut W,
        start: u64,
        superblock: impl FnOnce(u64) -> verity::Superblock,
    ) -> Result<(ByteRange, RootHash, ByteRange)> {
        let place = self.kind.designator();
        let (hash_place, _) = protectors(place)?;
        let plan = erofs::plan(&self.tree, options).within(place.as_str())?;
        let data = range_after(start, plan.size_bytes())?;
        let geometry = verity::Geometry::new(&superblock(plan.size_bytes()))?;
        let mut hashed = Hashed::start(out, data, &geometry).within(hash_place.as_str())?;
        let written = plan.write(&mut hashed);
        written.map_err(|error| hashed.fault().unwrap_or(error)).within(place.as_str())?;
        let (root_hash, hash) = hashed.finish().within(hash_place.as_str())?;
        Ok((data, root_hash, hash))
    }

    /// Has another file system made, padded to whole grains, and compares it with what was asked for.
    fn make<W: Read + Write + Seek + Send>(
        &self,
        format: &dyn MakeFileSystem,
        options: &erofs::Options,
        out: &mut W,
        start: u64,
    ) -> Result<u64> {
        check_tree(&self.tree, format, options)?;
        let size = format.write(&self.tree, options, &mut Window::new(out, start)?)?;
        let range = range_after(start, size.max(1).next_multiple_of(table::GRAIN))?;
        let padding = range.len_bytes().saturating_sub(size);
        out.seek(SeekFrom::Start(start.saturating_add(size)))?;
        std::io::copy(&mut std::io::repeat(0).take(padding), out)?;
        let made = fs::open(Region::new(out, range), format.fs_type(), &Limits::default())?;
        compare(&self.tree, made.as_ref(), format.keeps(), options)?;
        Ok(range.len_bytes())
    }

    fn type_guid(&self, designator: Designator) -> Result<Guid> {
        let guid = PartitionType { designator, architecture: self.architecture }.to_guid();
        guid.ok_or_else(|| Unsupported::ArchitectureUnknown.into())
    }

    /// Adds a partition of the data or what protects it.
    fn add_partition(
        &self,
        partitions: &mut Vec<Partition>,
        designator: Designator,
        uuid: Uuid,
        range: ByteRange,
    ) -> Result<()> {
        let architecture = self.architecture.map_or("", Architecture::as_str);
        let base = self.kind.designator().as_str();
        let suffix = designator.as_str().strip_prefix(base).unwrap_or_default();
        partitions.push(Partition {
            number: boot::next_number(partitions)?,
            type_guid: self.type_guid(designator)?,
            unique_guid: uuid.to_guid(),
            range,
            attributes: Attributes::READ_ONLY,
            label: format!("{base}-{architecture}{suffix}"),
        });
        Ok(())
    }

    /// Adds the release file, or checks that the tree has the one that is asked for.
    fn add_release(&mut self) -> Result<()> {
        let (path, existing) = self.find_release()?;
        match (existing, &self.release) {
            (None, Some(fields)) => self.tree.add_file(path, fields.text(self.kind)?, Meta::new(0o644)),
            (Some(Kind::File(content)), fields) => {
                let found = release_bytes(&*content).within(path.clone())?;
                match fields {
                    Some(fields) if found != fields.text(self.kind)?.as_bytes() => {
                        Err(Refused::ReleaseConflict { path }.into())
                    }
                    _ => check_release(&found).within(path),
                }
            }
            // A link inside the image may be the file; whether it is, the host decides.
            (Some(Kind::Symlink(_)), None) => Ok(()),
            (Some(_), Some(_)) => Err(Refused::ReleaseConflict { path }.into()),
            (Some(_), None) | (None, None) => {
                let found = "neither the file nor its fields".to_owned();
                Err(Corrupt::ReleaseMissing { expected: path, found }.into())
            }
        }
    }

    /// Where the release file is and what stands there, a regular file first; where it goes if there is none.
    fn find_release(&self) -> Result<(String, Option<Kind>)> {
        let mut best: Option<(String, Option<Kind>)> = None;
        for path in self.kind.release_paths(&self.name) {
            let kind = self.tree.find(path.as_bytes())?.map(|node| self.tree.node(node).kind.clone());
            if matches!(kind, Some(Kind::File(_))) {
                return Ok((path, kind));
            }
            // Without any, the last place is where the file belongs.
            if kind.is_some() || best.as_ref().is_none_or(|(_, found)| found.is_none()) {
                best = Some((path, kind));
            }
        }
        best.ok_or_else(|| Corrupt::ReleaseMissing { expected: String::new(), found: String::new() }.into())
    }
}

/// What protects the partition of an image.
fn protectors(place: Designator) -> Result<(Designator, Designator)> {
    // Of root and usr, and an image has no other.
    place.verity().zip(place.verity_sig()).ok_or_else(|| Unsupported::ArchitectureUnknown.into())
}

/// Refuses a release file that no host would accept.
fn check_release(bytes: &[u8]) -> Result<()> {
    match Release::parse(bytes, &Limits::default())?.get_filled("ID") {
        Some(_) => Ok(()),
        None => Err(Corrupt::ReleaseId.into()),
    }
}

/// Reads a release file among the entries.
fn release_bytes(content: &dyn Content) -> Result<Vec<u8>> {
    let (found, most) = (content.size_bytes(), Limits::default().release_bytes);
    if found > most {
        return Err(LimitExceeded::Bytes { what: "release file", found, most }.into());
    }
    let mut bytes = Vec::new();
    content.copy(&[ByteRange::with_len(0, found).unwrap_or(ByteRange::EMPTY)], &mut bytes)?;
    Ok(bytes)
}

/// A seed that is the same for all images of a name, and different for another name.
fn default_seed(kind: ImageKind, name: &str) -> Uuid {
    let digest = sha256(&[b"confext-seed\0", kind.as_str().as_bytes(), b"\0", name.as_bytes()]);
    ids::of_root_hash(&RootHash::from_bytes(digest)).0.into_v4()
}

fn check_name(name: &str) -> Result<()> {
    let most = Tree::MAX_NAME_BYTES.saturating_sub("extension-release.".len());
    if !release::is_valid_image_name(name) || name.len() > most {
        return Err(Corrupt::ImageName { found: name.chars().take(300).collect(), most }.into());
    }
    Ok(())
}

/// Refuses what a host would never merge, or what would change which hosts match.
fn check_entries(tree: &Tree, kind: ImageKind) -> Result<()> {
    let Some(class) = kind.class() else { return Ok(()) };
    if let Kind::Directory(children) = &tree.node(NodeId::ROOT).kind {
        for (name, child) in children {
            let inside = class.hierarchies().iter().any(|hierarchy| hierarchy.as_bytes() == name);
            if !inside {
                let expected = class.hierarchies().join("/ or ");
                let path = show(name);
                return Err(Refused::OutsideHierarchy { path, class: class.as_str(), expected }.into());
            }
            if !matches!(tree.node(*child).kind, Kind::Directory(_)) {
                return Err(Refused::HierarchyKind { path: show(name) }.into());
            }
        }
    }
    for path in ["usr/lib/os-release", "etc/os-release"] {
        if tree.contains(path) {
            return Err(Refused::ForbiddenContent { path }.into());
        }
    }
    Ok(())
}

/// Hashes the data that was written and writes its hash tree behind it, part by part.
fn hash_tree<W: Read + Write + Seek + Send>(
    out: &mut W,
    data: ByteRange,
    superblock: &verity::Superblock,
) -> Result<(RootHash, ByteRange)> {
    let geometry = verity::Geometry::new(superblock)?;
    let range = range_after(data.end(), geometry.hash_area_bytes())?;
    let region = Region::new(out, data);
    let root_hash = verity::write(&region, &geometry, |offset, part| {
        region.write_outside(range.start().saturating_add(offset), part)
    })?;
    Ok((root_hash, range))
}

fn signature(root_hash: &RootHash, signer: &dyn Sign) -> Result<Vec<u8>> {
    let signature_der = signer.sign(root_hash)?;
    let certificate_fingerprint = Some(signer.certificate_fingerprint());
    let json = Json { root_hash: *root_hash, certificate_fingerprint, signature_der, additional: Vec::new() };
    signature_bytes(&json)
}

/// The content of a signature partition.
pub(super) fn signature_bytes(json: &Json) -> Result<Vec<u8>> {
    let bytes = json.to_bytes();
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if found > MAX_SIGNATURE_BYTES {
        let (what, most) = ("signature", MAX_SIGNATURE_BYTES);
        return Err(LimitExceeded::Bytes { what, found, most }.into());
    }
    Ok(bytes)
}
