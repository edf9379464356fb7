//! [`attach`]: the bytes of an admitted image become a block device, and what was checked is what is used.
//!
//! ```text
//!  Admitted ── each block checked by the kernel as it is read ── dm-verity over the file      DmVerity
//!  Admitted ── each block read once, checked, copied ──► memfd ── sealed ──► loop device     SealedMemory
//!  Admitted without verity ────────── a window of the file ────────────────► loop device     Plain
//!  Admitted without verity ────────── EROFS in the file ─────────────────────────────────► InPlace, where the kernel can
//! ```

mod checks;
mod file;
mod sealed;
mod verity;
mod way;

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;

use confext_ddi::fstype::{self, FsType};
use confext_ddi::image::Partition;
use confext_ddi::policy::{Admitted, Evidence, Protection};
use confext_ddi::read::ReadAt;
pub use confext_ddi::verity::Progress;
use serde::{Deserialize, Serialize};

use crate::dmverity::VerityDevice;
use crate::error::{Error, Result};
use crate::loopdev::{DeviceNumber, LoopDevice};
use crate::sys::FsContext;
pub use checks::BlockChecks;
pub use way::{CheckedBy, Mapped, Reads, Reason, Way};

/// How the bytes reach the kernel.
///
/// ```
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let image = Image::open(std::fs::File::open(&path)?, &image::Options::default())?;
/// # let admitted = Policy::verity().judge(image, None)?;
/// use confext_core::attach::{Mode, attach};
///
/// // A loop device on the file itself would throw away what was checked.
/// assert_eq!(attach(admitted, Mode::Plain).unwrap_err().code(), "plain-on-verified");
///
/// // Nobody can change a copy in memory, and it needs no device-mapper.
/// let mut options = confext_core::Options::default();
/// options.attach = Mode::SealedMemory;
/// assert_eq!(options.attach.as_str(), "sealed-memory");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// What was checked as in [`Mode::DmVerity`] where this kernel and this process can do that, and as in
    /// [`Mode::SealedMemory`] where they cannot. What nobody checks is copied, too. [`Way`] says what was done and why.
    #[default]
    Auto,
    /// The kernel checks each block against the root hash when it is read, and the signature against its keyrings when the
    /// device is made. A block of the file that changes afterwards cannot be read any more. Costs no memory; needs a kernel
    /// with device-mapper. Only for images under a hash tree.
    DmVerity,
    /// Copied into memory while they are checked, sealed, then read by a loop device: nobody can change them any more,
    /// and no device-mapper is needed. Costs memory as large as the file system.
    SealedMemory,
    /// A loop device on the file itself, for images admitted without verity. Who can write the file changes the mount.
    Plain,
    /// As little as the evidence allows. What was checked is copied as in [`Mode::SealedMemory`]. Of what nobody checks,
    /// EROFS is read from the file itself, without loop device and copy, where the kernel can do that (Linux 6.12); all else
    /// through a loop device as in [`Mode::Plain`]. Who can write the file changes the mount. [`Way`] says what was done.
    InPlace,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Auto, Self::DmVerity, Self::SealedMemory, Self::Plain, Self::InPlace];

    /// As it is written: `auto`, `dm-verity`, `sealed-memory`, `plain` or `in-place`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::DmVerity => "dm-verity",
            Self::SealedMemory => "sealed-memory",
            Self::Plain => "plain",
            Self::InPlace => "in-place",
        }
    }
}

/// Told how far the copy is; may stop it.
type Report<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// How to attach. A [`Mode`] converts into it.
///
/// ```no_run
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let image = Image::open(std::fs::File::open(&path)?, &image::Options::default())?;
/// # let admitted = Policy::verity().judge(image, None)?;
/// use std::ops::ControlFlow;
///
/// use confext_core::attach::{Mode, Options, Progress, attach};
///
/// let mut last = None;
/// let mut report = |progress: Progress| {
///     last = Some(progress);
///     ControlFlow::Continue(())
/// };
/// attach(admitted, Options::new(Mode::SealedMemory).progress(&mut report))?;
/// assert!(last.is_some_and(|last| last.done_bytes == last.total_bytes));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Options<'a> {
    mode: Mode,
    checks: BlockChecks,
    progress: Option<&'a mut Report<'a>>,
}

impl<'a> Options<'a> {
    /// Attaches in this mode.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, checks: BlockChecks::default(), progress: None }
    }

    /// Sets what dm-verity checks, and what it does about blocks that do not check.
    #[must_use]
    pub fn checks(mut self, checks: BlockChecks) -> Self {
        self.checks = checks;
        self
    }

    /// Calls `report` now and then while bytes are copied; it may stop that.
    #[must_use]
    pub fn progress(mut self, report: &'a mut dyn FnMut(Progress) -> ControlFlow<()>) -> Self {
        self.progress = Some(report);
        self
    }
}

impl From<Mode> for Options<'_> {
    fn from(mode: Mode) -> Self {
        Self::new(mode)
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("mode", &self.mode)
            .field("checks", &self.checks)
            .finish_non_exhaustive()
    }
}

/// What an attached image is, for people and programs that ask later.
///
/// ```no_run
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let image = Image::open(std::fs::File::open(&path)?, &image::Options::default())?;
/// # let admitted = Policy::verity().judge(image, None)?;
/// use confext_core::attach::{Mode, Reads, attach};
/// use confext_ddi::{fstype::FsType, policy::Protection};
///
/// let attached = attach(admitted, Mode::SealedMemory)?;
/// let origin = attached.origin();
/// assert_eq!(origin.evidence.protection(), Protection::Verity);
/// assert_eq!((origin.fs_type, origin.way.reads), (FsType::Erofs, Reads::SealedMemory));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Origin {
    /// How its bytes reach the kernel, and why.
    pub way: Way,
    /// What was checked about them.
    pub evidence: Evidence,
    /// The partition they are from.
    pub partition: Partition,
    /// The file system, by the magic in the bytes that are used.
    pub fs_type: FsType,
    /// How many bytes the kernel was shown.
    pub len_bytes: u64,
}

/// An admitted image as the kernel can mount it. Dropped, a device goes with its last user.
///
/// ```no_run
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let image = Image::open(std::fs::File::open(&path)?, &image::Options::default())?;
/// # let admitted = Policy::verity().judge(image, None)?;
/// use confext_core::attach::{Mode, attach};
///
/// // Only what a policy has admitted gets here.
/// let attached = attach(admitted, Mode::Auto)?;
/// let device = attached.device().ok_or("verity is checked behind a device")?;
/// assert!(device.path().exists());
/// println!("{} is {}", device.device_number(), device.path().display());
/// attached.detach()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Attached {
    backing: Backing,
    origin: Origin,
}

/// What a file system is mounted from.
#[derive(Debug)]
pub(crate) enum Backing {
    Loop(LoopDevice),
    Verity(VerityDevice),
    /// A superblock on the file.
    File(FsContext),
}

/// The block device of an attached image.
///
/// ```no_run
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let image = Image::open(std::fs::File::open(&path)?, &image::Options::default())?;
/// # let admitted = Policy::verity().judge(image, None)?;
/// use confext_core::attach::{Device, Mode, attach};
/// use confext_core::loopdev::Io;
///
/// let attached = attach(admitted, Mode::Auto)?;
/// match attached.device() {
///     Some(Device::Verity(device)) => assert!(device.status()?.intact),
///     // Of memory there is only the page cache.
///     Some(Device::Loop(device)) => assert_eq!(device.io(), Io::Buffered),
///     _ => println!("the kernel reads the file"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Device<'a> {
    /// A window of the file, or of sealed memory.
    Loop(&'a LoopDevice),
    /// A window of the file, checked by the kernel.
    Verity(&'a VerityDevice),
}

impl<'a> Device<'a> {
    /// Its node.
    #[must_use]
    pub fn path(self) -> &'a Path {
        match self {
            Self::Loop(device) => device.path(),
            Self::Verity(device) => device.path(),
        }
    }

    /// Its device number, which a file system mounted from it has as `st_dev`.
    #[must_use]
    pub const fn device_number(self) -> DeviceNumber {
        match self {
            Self::Loop(device) => device.device_number(),
            Self::Verity(device) => device.device_number(),
        }
    }

    /// Makes sure that the device still is in the use that it was made for.
    pub(crate) fn check_use(self) -> Result<()> {
        match self {
            Self::Loop(device) => device.check_use(),
            Self::Verity(device) => device.check_use(),
        }
    }
}

impl Backing {
    pub(crate) const fn device(&self) -> Option<Device<'_>> {
        match self {
            Self::Loop(device) => Some(Device::Loop(device)),
            Self::Verity(device) => Some(Device::Verity(device)),
            Self::File(_) => None,
        }
    }
}

impl Attached {
    /// The device; `None` when the kernel reads the file itself.
    #[must_use]
    pub const fn device(&self) -> Option<Device<'_>> {
        self.backing.device()
    }

    /// What it is.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Lets go of the device.
    ///
    /// # Errors
    ///
    /// As [`LoopDevice::detach`] and [`VerityDevice::detach`].
    pub fn detach(self) -> Result<()> {
        match self.backing {
            Backing::Loop(device) => device.detach(),
            Backing::Verity(device) => device.detach(),
            Backing::File(_) => Ok(()),
        }
    }

    pub(crate) fn into_parts(self) -> (Backing, Origin) {
        (self.backing, self.origin)
    }
}

/// Makes the data partition of an admitted image something that the kernel can mount.
///
/// # Errors
///
/// `limit-bytes` when the file system is larger than [`Limits::image_bytes`](confext_ddi::Limits::image_bytes) (sealed
/// memory only); family `unverified` when a block does not check; `cancelled` when the progress callback said so;
/// `plain-on-verified` when [`Mode::Plain`] would throw away the check; `layer-file-system` when it holds no file system a layer can be; else as [`LoopDevice::attach`]
/// and [`VerityDevice::activate`].
pub fn attach<'a, R: ReadAt + AsFd>(
    admitted: Admitted<R>,
    options: impl Into<Options<'a>>,
) -> Result<Attached> {
    let Options { mode, checks, progress } = options.into();
    let evidence = admitted.evidence().clone();
    let partition = admitted.image().data().clone();
    let report: &mut Report<'_> = match progress {
        Some(report) => report,
        None => &mut |_| ControlFlow::Continue(()),
    };
    let mut sealed =
        |because| -> Result<_> { Ok((sealed::attach_sealed(&admitted, &partition, report)?, because)) };
    let unprotected = evidence.protection() == Protection::None;
    let mut detail = None;
    let mut verified = |(shown, refusal)| {
        detail = refusal;
        (shown, Reason::Asked)
    };
    let (shown, because) = match mode {
        Mode::InPlace if unprotected => file::attach_in_place(admitted.image().reader(), &partition)?,
        Mode::InPlace => sealed(Reason::HashTree)?,
        Mode::SealedMemory => sealed(Reason::Asked)?,
        Mode::Plain => (file::attach_plain(admitted.image().reader(), &evidence, &partition)?, Reason::Asked),
        Mode::Auto if unprotected => sealed(Reason::NoHashTree)?,
        Mode::DmVerity => verified(verity::attach_verity(&admitted, &partition, checks)?),
        Mode::Auto => match verity::attach_verity(&admitted, &partition, checks) {
            Ok(found) => verified(found),
            // What the kernel refuses is refused; what it cannot do is done here.
            Err(error @ Error::Missing { .. }) => {
                detail = Some(error.explain());
                sealed(Reason::NoDmVerity)?
            }
            Err(error) => return Err(error),
        },
    };
    let Shown { backing, fs_type, len_bytes, reads, .. } = shown;
    let io = match &backing {
        Backing::Loop(device) => Some(device.io()),
        Backing::Verity(device) => device.io(),
        Backing::File(_) => None,
    };
    let way = Way { asked: mode, reads, io, because, detail, verity: shown.mapped };
    Ok(Attached { backing, origin: Origin { way, evidence, partition, fs_type, len_bytes } })
}

/// What is shown to the kernel.
struct Shown {
    backing: Backing,
    fs_type: FsType,
    len_bytes: u64,
    reads: Reads,
    mapped: Option<Mapped>,
}

/// The file systems a layer can be: read-only mounts of these need no repair and have one superblock a device.
fn layer_file_system(data: &impl ReadAt, partition: &Partition) -> Result<FsType> {
    let found = fstype::probe(data)?.map(|superblock| superblock.fs_type);
    match found {
        Some(fs_type @ (FsType::Erofs | FsType::Squashfs | FsType::Ext4)) => Ok(fs_type),
        other => Err(Error::conflict(
            "layer-file-system",
            place(partition),
            other.map_or("no known file system", FsType::as_str),
            "erofs, squashfs or ext4",
        )),
    }
}

fn place(partition: &Partition) -> String {
    format!("{} partition", partition.designator.as_str())
}
