//! [`VerityDevice`]: an admitted image under the kernel's own check of every block, as a block device.
//!
//! ```text
//!  Admitted ─┬─ data ──► loop device ─┐
//!            ├─ tree ──► loop device ─┼─► table ─► dm-N     each block is checked when it is read, whoever changes
//!            └─ signature ─► key ─────┘                     the file
//! ```
//!
//! The table comes from what was read and checked when the image was admitted; nothing is read again. The device goes with
//! its last user: dropped, or with the process, or with the file system that is mounted from it.

mod activate;
mod share;
mod table;
mod verdict;
mod windows;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use confext_ddi::policy::{Admitted, Evidence};
use confext_ddi::read::ReadAt;
use confext_ddi::verity::fec::Roots;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::loopdev::{DeviceNumber, Io};
use crate::mapper::Control;
use crate::sys::{self, DmFlags, DmQuery, DmRemoval, DmWhich};
pub use table::{Checks, Corruption, ZeroBlocks};
use table::{KIND, Table};
pub(crate) use verdict::checks_none;
pub use verdict::is_refusal;

/// Who checks the signature of the root hash.
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
/// use confext_core::dmverity::Signature;
///
/// // What was not checked here need not be checked by the kernel; a signature that was is shown to it, too.
/// assert_eq!(Signature::for_evidence(admitted.evidence()), Signature::NotPassed);
/// assert_eq!(Signature::default(), Signature::Kernel);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Signature {
    /// The kernel, with its own keyrings, too: one of the signatures of the image has to pass.
    #[default]
    Kernel,
    /// The kernel is given none: what the policy checked is all there is. A kernel that asks for one
    /// (`dm_verity.require_signatures`) refuses.
    NotPassed,
}

impl Signature {
    /// The least that keeps what was checked from being lost: a signature that was checked is shown to the kernel, too.
    #[must_use]
    pub const fn for_evidence(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::Signed { .. } => Self::Kernel,
            Evidence::None | Evidence::Verity { .. } => Self::NotPassed,
        }
    }
}

/// Whether a device is for one user or for all users of the same image.
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
/// use confext_core::dmverity::{Made, Options, Sharing, Signature, VerityDevice};
///
/// let options = Options::default().signature(Signature::NotPassed).sharing(Sharing::Shared);
/// let first = VerityDevice::activate(&admitted, &options)?;
/// let second = VerityDevice::activate(&admitted, &options)?;
/// assert_eq!((second.name(), second.made()), (first.name(), &Made::Reused));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Sharing {
    /// A device of its own: `loopN-SEQUENCE-verity`.
    #[default]
    Private,
    /// One device by the name `ROOTHASH-verity` for all who ask for it. One that is there already is used when it is at
    /// least what is asked for; when it is not, the device is private. A file system on it has one superblock.
    Shared,
}

/// Parity from which the kernel repairs blocks of data and tree as they are read.
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
/// # let parity = dir.path().join("app.fec");
/// use std::{fs::File, os::fd::AsFd as _};
///
/// use confext_core::dmverity::{Options, Parity, Signature, VerityDevice};
/// use confext_ddi::verity::fec::Roots;
///
/// // As `confext fec` or `veritysetup` wrote it.
/// let parity = File::open(parity)?;
/// let options = Options::default().parity(Parity::new(parity.as_fd(), Roots::MIN));
/// let device = VerityDevice::activate(&admitted, &options.signature(Signature::NotPassed))?;
/// assert!(device.status()?.table.contains("fec_roots 2"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Parity<'a> {
    /// The file it is in.
    pub file: BorrowedFd<'a>,
    /// How many bytes of each codeword are parity.
    pub roots: Roots,
    /// Where in the file it starts, in bytes: a whole number of blocks.
    pub offset: u64,
}

impl<'a> Parity<'a> {
    /// Parity that makes up the whole file.
    #[must_use]
    pub const fn new(file: BorrowedFd<'a>, roots: Roots) -> Self {
        Self { file, roots, offset: 0 }
    }

    /// Sets where it starts.
    #[must_use]
    pub const fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }
}

/// How to activate.
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
/// use confext_core::dmverity::{Corruption, Options, Signature, VerityDevice};
///
/// // Only a signed image can be shown to the kernel's keyrings.
/// let options = Options::default().signature(Signature::NotPassed).corruption(Corruption::Restart);
/// let device = VerityDevice::activate(&admitted, &options)?;
/// assert!(device.status()?.table.ends_with("restart_on_corruption"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options<'a> {
    /// Who checks the signature. Default: the kernel.
    pub signature: Signature,
    /// What to do about changed blocks. Default: reading them fails.
    pub corruption: Corruption,
    /// What to do about blocks of zeros. Default: check them.
    pub zero_blocks: ZeroBlocks,
    /// How often a block is checked. Default: each time it is read.
    pub checks: Checks,
    /// Who may use the device. Default: it is private.
    pub sharing: Sharing,
    /// Parity to repair from. Default: none.
    pub parity: Option<Parity<'a>>,
}

impl<'a> Options<'a> {
    /// Sets who checks the signature.
    #[must_use]
    pub const fn signature(mut self, signature: Signature) -> Self {
        self.signature = signature;
        self
    }

    /// Sets what to do about changed blocks.
    #[must_use]
    pub const fn corruption(mut self, corruption: Corruption) -> Self {
        self.corruption = corruption;
        self
    }

    /// Sets what to do about blocks of zeros.
    #[must_use]
    pub const fn zero_blocks(mut self, zero_blocks: ZeroBlocks) -> Self {
        self.zero_blocks = zero_blocks;
        self
    }

    /// Sets how often a block is checked.
    #[must_use]
    pub const fn checks(mut self, checks: Checks) -> Self {
        self.checks = checks;
        self
    }

    /// Sets who may use the device.
    #[must_use]
    pub const fn sharing(mut self, sharing: Sharing) -> Self {
        self.sharing = sharing;
        self
    }

    /// Sets parity to repair from.
    #[must_use]
    pub const fn parity(mut self, parity: Parity<'a>) -> Self {
        self.parity = Some(parity);
        self
    }
}

/// Where a device comes from.
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
/// use confext_core::dmverity::{Made, Options, Sharing, Signature, VerityDevice};
///
/// let options = Options::default().signature(Signature::NotPassed).sharing(Sharing::Shared);
/// let device = VerityDevice::activate(&admitted, &options)?;
/// match device.made() {
///     Made::New => assert_eq!(device.name(), format!("{}-verity", admitted.evidence().root_hash().ok_or("")?)),
///     Made::Beside { what, found, expected } => println!("{what}: found {found}, asked for {expected}"),
///     other => println!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Made {
    /// It was made for this call, under the name that was asked for.
    New,
    /// It was there, and is at least what was asked for.
    Reused,
    /// One was there that is not what was asked for, so this one was made under another name.
    Beside {
        /// What of the other one was not right.
        what: String,
        /// What was found there.
        found: String,
        /// What was asked for.
        expected: String,
    },
}

/// What a device says of itself.
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
/// use confext_core::dmverity::{Options, Signature, VerityDevice};
///
/// let options = Options::default().signature(Signature::NotPassed);
/// let device = VerityDevice::activate(&admitted, &options)?;
/// let status = device.status()?;
/// assert!(status.intact, "a block of {} has changed", device.name());
/// assert!(status.goes_with_last_user && !status.kernel_checked_signature);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Whether all blocks that were read so far were what the root hash says.
    pub intact: bool,
    /// Whether the kernel checked a signature when the device was made.
    pub kernel_checked_signature: bool,
    /// How often it is open.
    pub open_count: u32,
    /// Whether it goes with its last user.
    pub goes_with_last_user: bool,
    /// The table, as `dmsetup table` shows it.
    pub table: String,
}

/// A device of dm-verity, open. Dropped, it goes as soon as nobody else uses it.
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
/// use confext_core::dmverity::{Options, Signature, VerityDevice};
///
/// let options = Options::default().signature(Signature::NotPassed);
/// let device = VerityDevice::activate(&admitted, &options)?;
/// // From here on each block is checked when it is read, whoever changes the file.
/// println!("mount -o ro {}", device.path().display());
/// assert!(device.status()?.intact);
/// device.detach()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct VerityDevice {
    device: File,
    path: PathBuf,
    name: String,
    device_number: DeviceNumber,
    /// What only this device is called; `None` of somebody else's.
    uuid: Option<String>,
    /// As the kernel shows it.
    table: String,
    made: Made,
    accepted: Option<usize>,
    io: Option<Io>,
}

impl VerityDevice {
    /// Has the kernel check the blocks of an admitted image.
    ///
    /// The first block is read through the device before it is handed out. A killed process leaves nothing behind, but for
    /// the moment between two calls in which the device has a table and nobody has it open yet.
    ///
    /// # Errors
    ///
    /// `dm-verity-unprotected` when the image was admitted without hash tree; `kernel-signature-missing`,
    /// `kernel-signature-required`, `kernel-signer-unknown`, `kernel-signature-rejected`, `kernel-signature-algorithm` and
    /// `kernel-key-unusable` when the kernel does not vouch for it ([`is_refusal`]); `dm-verity-first-read` when the file
    /// was changed since it was admitted; `dm-verity-table` and `dm-verity-device` when the kernel makes no such device;
    /// `dm-verity-contended`; `fec-block-sizes`, `fec-area`; `missing-capability`, naming what is missing; as
    /// [`LoopDevice::attach`](crate::loopdev::LoopDevice::attach).
    ///
    /// # Needs
    ///
    /// Root; device-mapper 4.27 (Linux 3.13); for signatures Linux 5.4, built to check them.
    pub fn activate<R: ReadAt + AsFd>(admitted: &Admitted<R>, options: &Options<'_>) -> Result<Self> {
        activate::activate(admitted, options)
    }

    /// A path by which this process can hand it to the kernel, while this value is there: `/dev/dm-N`, or where `/dev`
    /// has no such node, a path below `/proc/self/fd`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, as `dmsetup` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its device number, which a file system mounted from it has as `st_dev`. No other device gets it while it is open or
    /// mounted.
    #[must_use]
    pub const fn device_number(&self) -> DeviceNumber {
        self.device_number
    }

    /// Where it comes from.
    #[must_use]
    pub const fn made(&self) -> &Made {
        &self.made
    }

    /// Which of the image's signatures the kernel accepted, counted from 0; `None` when it was shown none, or when a device
    /// that was there already is used.
    #[must_use]
    pub const fn accepted_signature(&self) -> Option<usize> {
        self.accepted
    }

    /// How the loop devices below it read the image; `None` when they were there already.
    #[must_use]
    pub const fn io(&self) -> Option<Io> {
        self.io
    }

    /// Makes sure that the device still is what it was when it was activated: another table may have been put in its place.
    ///
    /// # Errors
    ///
    /// `dm-verity-device`; `os` when the kernel cannot be asked.
    pub fn check_use(&self) -> Result<()> {
        let found = self.status()?.table;
        if found == self.table {
            return Ok(());
        }
        Err(Error::conflict("dm-verity-device", self.name.as_str(), found, self.table.as_str()))
    }

    /// What the kernel says of it now.
    ///
    /// # Errors
    ///
    /// `os` when the kernel cannot be asked; `dm-verity-device` when it is no device of dm-verity any more.
    pub fn status(&self) -> Result<Status> {
        let control = Control::open()?;
        let ask = |query| {
            sys::dm_table_status(control.as_fd(), self.which(), query)
                .map_err(|source| Error::os("read the status of", self.name.as_str(), source))
        };
        let (device, tables) = ask(DmQuery::Table)?;
        let (_, states) = ask(DmQuery::Status)?;
        let ([table], [state]) = (tables.as_slice(), states.as_slice()) else {
            return Err(self.no_verity(format!("{} targets", tables.len())));
        };
        if table.kind != KIND {
            return Err(self.no_verity(format!("target {}", table.kind)));
        }
        let signature = Table::parse(&table.text).and_then(|table| table.extras.signature);
        Ok(Status {
            intact: state.text.split(' ').next() == Some("V"),
            kernel_checked_signature: signature.is_some(),
            open_count: device.open_count,
            goes_with_last_user: device.flags.contains(DmFlags::DEFERRED_REMOVE),
            table: table.text.clone(),
        })
    }

    /// Lets go of the device: it is gone then, but for other users. With a file system mounted from it, it goes when that
    /// is unmounted.
    ///
    /// # Errors
    ///
    /// `os` when the kernel refuses.
    pub fn detach(self) -> Result<()> {
        let Self { device, name, uuid, .. } = self;
        drop(device);
        // Somebody else's stays with them.
        let Some(uuid) = uuid else { return Ok(()) };
        // It is marked to go with its last user, so the kernel may have been faster. Nothing else ever has this uuid.
        match sys::dm_remove(Control::open()?.as_fd(), DmWhich::Uuid(&uuid), DmRemoval::WithLastUser) {
            Err(error) if error.raw_os_error() != Some(libc::ENXIO) => Err(Error::os("remove", name, error)),
            _ => Ok(()),
        }
    }

    fn which(&self) -> DmWhich<'static> {
        number(self.device_number)
    }

    fn no_verity(&self, found: String) -> Error {
        Error::conflict("dm-verity-device", self.name.as_str(), found, "one target verity")
    }
}

impl AsFd for VerityDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

fn number(device: DeviceNumber) -> DmWhich<'static> {
    DmWhich::Number { major: device.major, minor: device.minor }
}

const fn pair(device: DeviceNumber) -> (u32, u32) {
    (device.major, device.minor)
}

/// The pause before another attempt grows with their number.
fn pause(attempt: u32) {
    const LONGEST: Duration = Duration::from_millis(20);
    std::thread::sleep(Duration::from_micros(250).saturating_mul(attempt).min(LONGEST));
}
