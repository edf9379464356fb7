//! How an image reached the kernel.

use confext_core::attach::{Mapped, Way};
use confext_core::dmverity::{Checks, ZeroBlocks};
use confext_core::loopdev::Io;

use crate::record::record;

record! {
    /// A dm-verity device.
    VerityDevice {
        /// Its name, as `dmsetup` lists it.
        name: String,
        /// Who checked the signature of the root hash: `kernel`, `library` or `nobody`.
        signature: &'static str,
        /// What happens when a block does not check: `fail`, `restart` or `panic`.
        corruption: &'static str,
        /// Whether a block is checked only when it is read for the first time.
        check_at_most_once: bool,
        /// Whether blocks that are to be all zeros are not read.
        ignore_zero_blocks: bool,
    }
}

record! {
    /// How an image reached the kernel, and why not otherwise.
    Attached {
        /// What was asked for: `auto`, `dm-verity`, `sealed-memory`, `plain` or `in-place`.
        asked: &'static str,
        /// What the kernel reads: `dm-verity`, `sealed-memory`, `loop-device` or `file`.
        reads: &'static str,
        /// How a loop device reads its file: `direct` or `buffered`; `None` without one.
        io: Option<&'static str>,
        /// Why it is this way: `asked`, `hash-tree`, `no-hash-tree`, `no-dm-verity`, `file-system`, `place` or `kernel`.
        because: &'static str,
        /// What the kernel said against more than this; `None` when nothing was tried in vain.
        detail: Option<String>,
        /// The dm-verity device, if it is one.
        verity: Option<VerityDevice>,
    }
}

impl From<&Mapped> for VerityDevice {
    fn from(mapped: &Mapped) -> Self {
        Self {
            name: mapped.name.clone(),
            signature: mapped.signature.as_str(),
            corruption: mapped.checks.corruption.as_str(),
            check_at_most_once: mapped.checks.checks == Checks::Once,
            ignore_zero_blocks: mapped.checks.zero_blocks == ZeroBlocks::Skip,
        }
    }
}

impl From<&Way> for Attached {
    fn from(way: &Way) -> Self {
        Self {
            asked: way.asked.as_str(),
            reads: way.reads.as_str(),
            io: way.io.map(|io| match io {
                Io::Buffered => "buffered",
                Io::Direct => "direct",
            }),
            because: way.because.as_str(),
            detail: way.detail.clone(),
            verity: way.verity.as_ref().map(VerityDevice::from),
        }
    }
}
