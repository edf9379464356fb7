//! The loop devices below a device of dm-verity, and what of the image's files they show.

use std::os::fd::{AsFd, BorrowedFd};

use confext_ddi::RootHash;
use confext_ddi::error::{Corrupt, Unsupported};
use confext_ddi::policy::{Admitted, Data};
use confext_ddi::read::ReadAt;
use confext_ddi::units::ByteRange;
use confext_ddi::verity::Geometry;
use confext_ddi::verity::fec::Coverage;

use super::table::{ParityTable, Table};
use super::{Options, Parity, Signature};
use crate::error::{Error, Result};
use crate::loopdev::{self, DeviceNumber, Io, LoopDevice};
use crate::sys::{self, AtFlags, StatxFlags};

/// Part of a file.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) file: BorrowedFd<'a>,
    pub(super) range: ByteRange,
}

/// What there is to be activated: the tree that was checked, and where data and tree lie.
pub(super) struct Wanted<'a> {
    pub(super) geometry: &'a Geometry,
    pub(super) root_hash: RootHash,
    pub(super) data: Part<'a>,
    pub(super) hash: Part<'a>,
    /// The signatures to be shown to the kernel.
    pub(super) signatures: Vec<&'a [u8]>,
    pub(super) target: String,
}

/// The loop devices, which the mapped device keeps once it has a table.
pub(super) struct Loops {
    data: LoopDevice,
    hash: LoopDevice,
    parity: Option<(LoopDevice, ParityTable)>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new<R: ReadAt + AsFd>(admitted: &'a Admitted<R>, options: &Options<'_>) -> Result<Self> {
        let image = admitted.image();
        let target = format!("{} partition", image.data().designator.as_str());
        let (Data::Checked(checked), Some(hash)) = (admitted.data(), image.hash()) else {
            return Err(Error::conflict(
                "dm-verity-unprotected",
                target,
                "an image that was admitted without hash tree",
                "one with a hash tree",
            ));
        };
        let geometry = checked.geometry();
        let inside = |range: ByteRange, bytes| {
            let part = ByteRange::with_len(0, bytes).and_then(|part| range.slice(part).ok());
            part.ok_or(Corrupt::OutOfBounds { end: bytes, size: range.len_bytes() })
        };
        let data = inside(image.data().range, geometry.data_bytes()).map_err(confext_ddi::Error::from)?;
        // All of it in whole sectors: parity covers what follows the tree, too.
        let hash_bytes = hash.range.len_bytes() & !511;
        let hash = inside(hash.range, hash_bytes).map_err(confext_ddi::Error::from)?;
        let signatures = match options.signature {
            Signature::NotPassed => Vec::new(),
            Signature::Kernel => image.claim().signatures().collect(),
        };
        if options.signature == Signature::Kernel && signatures.is_empty() {
            return Err(Error::conflict(
                "kernel-signature-missing",
                target,
                "an image without signature",
                "a signature that the kernel can check",
            ));
        }
        Ok(Self {
            geometry,
            root_hash: *checked.root_hash(),
            data: Part { file: image.reader().as_fd(), range: data },
            hash: Part { file: image.hash_reader().as_fd(), range: hash },
            signatures,
            target,
        })
    }

    /// The table for these loop devices; without the key of a signature.
    pub(super) fn table(&self, options: &Options<'_>, devices: [DeviceNumber; 2]) -> Table {
        let mut table = Table::new(self.geometry, &self.root_hash, devices);
        table.extras.corruption = options.corruption;
        table.extras.zero_blocks = options.zero_blocks;
        table.extras.checks = options.checks;
        table
    }
}

impl Loops {
    pub(super) fn attach(wanted: &Wanted<'_>, options: &Options<'_>) -> Result<Self> {
        let data = attach(wanted.data)?;
        let hash = attach(wanted.hash)?;
        let parity = options.parity.as_ref().map(|parity| attach_parity(wanted, parity)).transpose()?;
        Ok(Self { data, hash, parity })
    }

    /// The table over them.
    pub(super) fn table(&self, wanted: &Wanted<'_>, options: &Options<'_>) -> Table {
        let mut table = wanted.table(options, [self.data.device_number(), self.hash.device_number()]);
        table.extras.parity = self.parity.as_ref().map(|(_, parity)| parity.clone());
        table
    }

    /// A name that no other use of a loop device leads to.
    pub(super) fn name(&self) -> String {
        let path = self.data.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self.data.disk_sequence() {
            Some(sequence) => format!("{path}-{sequence}-verity"),
            None => format!("{path}-verity"),
        }
    }

    pub(super) fn io(&self) -> Io {
        self.data.io()
    }

    /// Makes sure that they still are in the use that they were attached for.
    pub(super) fn check_use(&self) -> Result<()> {
        let parity = self.parity.as_ref().map(|(device, _)| device);
        [Some(&self.data), Some(&self.hash), parity].into_iter().flatten().try_for_each(LoopDevice::check_use)
    }
}

/// Past the page cache where the kernel can: the mapped device has a cache of its own.
fn attach(part: Part<'_>) -> Result<LoopDevice> {
    LoopDevice::attach(part.file, &loopdev::Options::new(part.range).io(Io::Direct))
}

fn attach_parity(wanted: &Wanted<'_>, parity: &Parity<'_>) -> Result<(LoopDevice, ParityTable)> {
    let superblock = wanted.geometry.superblock();
    let (data, hash) = (superblock.data_block_size, superblock.hash_block_size);
    if data != hash {
        let fault = Unsupported::FecBlockSizes { data: data.bytes(), hash: hash.bytes() };
        return Err(confext_ddi::Error::from(fault).into());
    }
    let block_bytes = u64::from(hash.bytes());
    let behind = wanted.hash.range.len_bytes().saturating_sub(wanted.geometry.tree_start());
    let hash_blocks = behind.checked_div(block_bytes).unwrap_or(0);
    let coverage = Coverage::new(data, parity.roots, superblock.data_blocks, hash_blocks)?;
    let file_bytes = sys::statx(parity.file, c"", AtFlags::EMPTY_PATH, StatxFlags::SIZE)
        .map_err(|source| Error::os("stat", "the file of the parity", source))?
        .stx_size;
    let end = parity.offset.checked_add(coverage.fec_bytes()).filter(|end| *end <= file_bytes);
    let window = end.and_then(|end| ByteRange::new(0, end));
    let (Some(window), true) = (window, parity.offset.is_multiple_of(block_bytes)) else {
        return Err(Error::conflict(
            "dm-verity-parity",
            wanted.target.as_str(),
            format!("a file of {file_bytes} bytes, parity from byte {}", parity.offset),
            format!("{} bytes from a multiple of {block_bytes}", coverage.fec_bytes()),
        ));
    };
    let device = attach(Part { file: parity.file, range: window })?;
    let table = ParityTable {
        device: device.device_number(),
        blocks: superblock.data_blocks.saturating_add(hash_blocks),
        start: parity.offset.checked_div(block_bytes).unwrap_or(0),
        roots: parity.roots.get(),
    };
    Ok((device, table))
}
