//! Which partition plays which part.

use super::{Foreign, Options, Partition, Select, Skipped, SkippedBecause, select};
use crate::dps::{Architecture, Attributes, Designator, PartitionType};
use crate::error::{Corrupt, Refused, Result, Unsupported};
use crate::fstype::{self, FsType};
use crate::gpt;
use crate::id::Uuid;
use crate::read::{ReadAt, Window};
use crate::sidecar;
use crate::units::{ByteRange, PartitionNumber};
use std::collections::BTreeMap;

/// The parts of an image.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) partitions: Vec<Partition>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) data: Partition,
    pub(super) tree: Option<TreeParts>,
}

/// The parts that protect the data.
#[derive(Debug, Clone)]
pub(super) struct TreeParts {
    pub(super) hash: Partition,
    pub(super) signature: Option<Partition>,
    /// Data and hash partition by number and identifier; `None` when the tree is a file of its own.
    pub(super) ids: Option<[(PartitionNumber, Uuid); 2]>,
}

/// The layout of an image that is nothing but a file system: all of it is the root or usr partition, and all of the
/// file with the hash tree is the partition that protects it.
pub(super) fn of_bare<R: ReadAt>(
    reader: &R,
    size_bytes: u64,
    sidecars: &sidecar::Parts<R>,
    options: &Options,
) -> Result<Layout> {
    // It has no label, which only some patterns match.
    let designator = sidecars.hash.as_ref().map_or(Designator::Root, |hash| hash.designator);
    if !options.filter.admits(designator, "") {
        return Err(left_out(options, designator, "").into());
    }
    let whole = |designator, range, fs| Partition {
        designator,
        architecture: None,
        number: None,
        uuid: None,
        label: None,
        range,
        read_only: false,
        growfs: false,
        fs,
    };
    let range = ByteRange::with_len(0, size_bytes).ok_or(Corrupt::ImageEmpty)?;
    let fs = probe(reader, range)?;
    let Some(hash) = &sidecars.hash else {
        if let Select::RootHash(root_hash) = options.select {
            return Err(select::nothing_for(root_hash, Designator::Root));
        }
        let data = whole(Designator::Root, range, fs);
        return Ok(Layout { partitions: vec![data.clone()], skipped: Vec::new(), data, tree: None });
    };
    let (Some(file), Some(protects)) = (&sidecars.tree, hash.designator.verity()) else {
        return Err(sidecars.no_tree(hash));
    };
    let tree_range = ByteRange::with_len(0, file.size_bytes()?).ok_or(Corrupt::ImageEmpty)?;
    let data = whole(hash.designator, range, fs);
    let tree = TreeParts { hash: whole(protects, tree_range, None), signature: None, ids: None };
    Ok(Layout { partitions: vec![data.clone()], skipped: Vec::new(), data, tree: Some(tree) })
}

/// The layout a partition table describes.
pub(super) fn of_table<R: ReadAt + ?Sized>(
    reader: &R,
    table: &gpt::Table,
    options: &Options,
) -> Result<Layout> {
    let (mut candidates, mut skipped) = (Vec::new(), Vec::new());
    let mut filtered = None;
    for entry in &table.partitions {
        match classify(entry) {
            Ok(kind) if !options.filter.admits(kind.designator, &entry.label) => {
                skipped.push(Skipped { number: entry.number, because: SkippedBecause::Filtered });
                if kind.designator.verity().is_some() {
                    filtered = Some(left_out(options, kind.designator, &entry.label));
                }
            }
            Ok(kind) => candidates.push(Candidate { entry, kind }),
            Err(because) => skipped.push(Skipped { number: entry.number, because }),
        }
    }
    let architecture = choose_architecture(&candidates, options)?;
    let ours = |candidate: &Candidate<'_>| {
        candidate.kind.architecture.is_none() || candidate.kind.architecture == architecture
    };
    let because = SkippedBecause::ForeignArchitecture;
    let foreign = candidates.iter().filter(|candidate| !ours(candidate));
    skipped.extend(foreign.map(|candidate| Skipped { number: candidate.entry.number, because }));
    candidates.retain(ours);
    skipped.extend(select::select(&mut candidates, reader, options)?);
    skipped.sort_by_key(|skipped| skipped.number);
    let Some(parts) = assign(&candidates)? else {
        if let Some(filtered) = filtered {
            return Err(filtered.into());
        }
        let (partitions, skipped) = (table.partitions.len(), skipped.len());
        return Err(Unsupported::NoDataPartition { partitions, skipped }.into());
    };
    let systems = probe_all(reader, &candidates)?;
    let designate = |candidate: &Candidate<'_>| candidate.designate(&systems);
    let tree = parts.hash.map(|hash| TreeParts {
        hash: designate(hash),
        signature: parts.signature.map(designate),
        ids: Some([parts.data, hash].map(Candidate::id)),
    });
    let partitions = candidates.iter().map(designate).collect();
    Ok(Layout { partitions, skipped, data: designate(parts.data), tree })
}

/// The refusal for a file system that the filter leaves out.
fn left_out(options: &Options, designator: Designator, label: &str) -> Refused {
    let expected = options.filter.pattern(designator).unwrap_or_default().to_owned();
    Refused::ImageFilter { designator: designator.as_str(), found: label.to_owned(), expected }
}

/// The file systems that the partitions seem to hold, by number.
type Systems = BTreeMap<PartitionNumber, FsType>;

fn probe_all<R: ReadAt + ?Sized>(reader: &R, candidates: &[Candidate<'_>]) -> Result<Systems> {
    let mut systems = Systems::new();
    for Candidate { entry, kind } in candidates {
        if kind.designator.protects().is_none() {
            let found = probe(reader, entry.range)
                .map_err(|error| error.shifted(entry.range.start()).within(kind.designator.as_str()))?;
            systems.extend(found.map(|fs_type| (entry.number, fs_type)));
        }
    }
    Ok(systems)
}

/// A partition that may play a part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) entry: &'a gpt::Partition,
    pub(super) kind: PartitionType,
}

impl Candidate<'_> {
    fn id(&self) -> (PartitionNumber, Uuid) {
        (self.entry.number, self.entry.unique_guid.to_uuid())
    }

    fn designate(&self, systems: &Systems) -> Partition {
        let Self { entry, kind: PartitionType { designator, architecture } } = *self;
        Partition {
            designator,
            architecture,
            number: Some(entry.number),
            uuid: Some(entry.unique_guid.to_uuid()),
            label: Some(entry.label.clone()),
            range: entry.range,
            read_only: entry.attributes.contains(Attributes::READ_ONLY),
            growfs: entry.attributes.contains(Attributes::GROWFS),
            fs: systems.get(&entry.number).copied(),
        }
    }
}

fn classify(entry: &gpt::Partition) -> Result<PartitionType, SkippedBecause> {
    let kind = PartitionType::from_guid(entry.type_guid).ok_or(SkippedBecause::UnknownType)?;
    if entry.label == "_empty" {
        return Err(SkippedBecause::Empty);
    }
    if entry.label.starts_with("PRT#") || entry.label.starts_with("PND#") {
        return Err(SkippedBecause::Unfinished);
    }
    // UAPI.2 does not give the EFI system partition this bit; UEFI gives it one that says the same.
    match kind.designator {
        Designator::Esp if entry.attributes.contains(Attributes::NO_BLOCK_IO) => {
            Err(SkippedBecause::NoBlockIo)
        }
        Designator::Esp => Ok(kind),
        _ if entry.attributes.contains(Attributes::NO_AUTO) => Err(SkippedBecause::NoAuto),
        _ => Ok(kind),
    }
}

/// How far an architecture is from the wanted one: the same, its secondary, any other.
fn distance(architecture: Architecture, wanted: Option<Architecture>) -> u8 {
    if Some(architecture) == wanted {
        0
    } else if Some(architecture) == wanted.and_then(Architecture::secondary) {
        1
    } else {
        2
    }
}

/// The one architecture whose root and usr partitions count; `None` when there are no such partitions at all.
fn choose_architecture(candidates: &[Candidate<'_>], options: &Options) -> Result<Option<Architecture>> {
    let of_data = |candidate: &Candidate<'_>| {
        let architecture = candidate.kind.architecture?;
        let is_data = candidate.kind.designator.verity().is_some();
        is_data.then_some((
            distance(architecture, options.architecture),
            architecture,
            candidate.entry.number,
        ))
    };
    let data = || candidates.iter().filter_map(of_data);
    let Some((least, architecture, first)) = data().min_by_key(|(far, ..)| *far) else { return Ok(None) };
    if least > 0 && options.foreign == Foreign::Refuse {
        let expected = options.architecture.map_or("one that UAPI.2 knows", Architecture::as_str);
        return Err(Unsupported::ForeignArchitecture { found: architecture.as_str(), expected }.into());
    }
    match data().find(|(far, other, _)| *far == least && *other != architecture) {
        Some((_, _, second)) => {
            Err(Corrupt::PartitionsAmbiguous { designator: "foreign root or usr", first, second }.into())
        }
        None => Ok(Some(architecture)),
    }
}

/// Who plays which part.
struct Parts<'a> {
    data: &'a Candidate<'a>,
    hash: Option<&'a Candidate<'a>>,
    signature: Option<&'a Candidate<'a>>,
}

/// Picks the file system the image is for, with its hash tree and signature; refuses what has two of them.
fn assign<'a>(candidates: &'a [Candidate<'a>]) -> Result<Option<Parts<'a>>> {
    let mut roles: BTreeMap<Designator, &Candidate<'_>> = BTreeMap::new();
    let many = [Designator::Swap, Designator::LinuxGeneric, Designator::UserHome];
    for candidate in candidates.iter().filter(|candidate| !many.contains(&candidate.kind.designator)) {
        let designator = candidate.kind.designator;
        if let Some(other) = roles.insert(designator, candidate) {
            let (first, second) = (other.entry.number, candidate.entry.number);
            let designator = designator.as_str();
            return Err(Corrupt::PartitionsAmbiguous { designator, first, second }.into());
        }
    }
    let role = |designator: Designator| roles.get(&designator).copied();
    let data = match (role(Designator::Root), role(Designator::Usr)) {
        (Some(root), Some(usr)) => {
            let (root, usr) = (root.entry.number, usr.entry.number);
            return Err(Unsupported::RootAndUsr { root, usr }.into());
        }
        (Some(data), None) | (None, Some(data)) => data,
        (None, None) => return Ok(None),
    };
    for (designator, candidate) in &roles {
        let Some(protects) = designator.protects() else { continue };
        let (number, found) = (candidate.entry.number, designator.as_str());
        if protects != data.kind.designator {
            return Err(Corrupt::VerityWithoutData { number, found, expected: protects.as_str() }.into());
        }
        if let Some(expected) = protects.verity().filter(|hash| role(*hash).is_none()) {
            let expected = expected.as_str();
            return Err(Corrupt::SignatureWithoutVerity { number, found, expected }.into());
        }
    }
    let designator = data.kind.designator;
    let (hash, signature) = (designator.verity().and_then(role), designator.verity_sig().and_then(role));
    Ok(Some(Parts { data, hash, signature }))
}

/// The file system at `range`, which must fit in there.
fn probe<R: ReadAt + ?Sized>(reader: &R, range: ByteRange) -> Result<Option<FsType>> {
    let found = fstype::probe(&Window::new(reader, range)?)?;
    let most = range.len_bytes();
    match found.and_then(|found| Some((found.fs_type, found.size_bytes?))) {
        Some((fs_type, found)) if found > most => {
            Err(Corrupt::FileSystemSize { file_system: fs_type.as_str(), found, most }.into())
        }
        _ => Ok(found.map(|found| found.fs_type)),
    }
}
