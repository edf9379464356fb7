//! [`Way`]: how the bytes of an image reach the kernel, and why not otherwise.

use serde::{Deserialize, Serialize};

use super::Mode;
use crate::loopdev::Io;

/// How an image was attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Way {
    /// What the caller asked for.
    pub asked: Mode,
    /// What the kernel reads.
    pub reads: Reads,
    /// How a loop device reads its file, as the kernel says afterwards; `None` without one.
    pub io: Option<Io>,
    /// Why it is this way.
    pub because: Reason,
}

/// What the kernel reads of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// A copy in memory that nobody can change, through a loop device.
    SealedMemory,
    /// The file, through a loop device.
    LoopDevice,
    /// The file itself.
    File,
}

impl Reads {
    /// As it is written: `sealed-memory`, `loop-device` or `file`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SealedMemory => "sealed-memory",
            Self::LoopDevice => "loop-device",
            Self::File => "file",
        }
    }
}

/// Why an image was attached in one way and not in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is what was asked for.
    Asked,
    /// What was checked must not change afterwards, so it was copied.
    HashTree,
    /// Only EROFS can be read without a block device.
    FileSystem,
    /// It is no regular file, or one of an overlay, on which the kernel stacks no second one.
    Place,
    /// The kernel reads no EROFS from files (Linux 6.12 and later do), or not this one.
    Kernel,
}
