//! [`Ground`]: what a service has as `/` below its extensions: a directory, or the files of an image that nobody has mounted

use std::fs::File;
use std::path::{Path, PathBuf};

use confext_ddi::Limits;
use confext_ddi::dps::Architecture;
use confext_ddi::error::Refused;
use confext_ddi::fs::{self, DirEntry, FileSystem, FileType, Metadata, Xattr};
use confext_ddi::fstype::FsType;
use confext_ddi::image;
use confext_ddi::policy::{Admitted, Evidence, Policy};
use confext_ddi::release::{self, Release, Scope};

use crate::admission::Options;
use crate::directory::{Directory, join};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sidecars;
use crate::sys::OFlags;

/// What a service has as `/` below its extensions, as far as it matters for them: a [`Host`], or a [`RootImage`].
///
/// ```no_run
/// use confext_core::service::{Ground, Unit, ground_of, stack};
/// use confext_core::{Host, Options};
///
/// let (host, options) = (Host::open("/")?, Options::default());
/// let unit = Unit::read(&host, "app.service")?.service;
/// let ground: Box<dyn Ground> = ground_of(&host, &unit, &options)?;
/// let planned = stack::plan(&host, ground.as_ref(), &unit.extensions, &options)?;
/// # Ok::<(), confext_core::Error>(())
/// ```
pub trait Ground: Send + Sync {
    /// What extensions must be for.
    ///
    /// # Errors
    ///
    /// When it does not say what it is.
    fn release(&self, limits: &Limits) -> Result<release::Host>;

    /// The directory that extensions are merged over, links followed; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be looked at.
    fn hierarchy(&self, hierarchy: &str, limits: &Limits) -> Result<Option<Box<dyn FileSystem + '_>>>;
}

impl Ground for Host {
    fn release(&self, limits: &Limits) -> Result<release::Host> {
        Self::release(self, limits)
    }

    fn hierarchy(&self, hierarchy: &str, limits: &Limits) -> Result<Option<Box<dyn FileSystem + '_>>> {
        match self.open_path(Path::new(hierarchy), OFlags::DIRECTORY) {
            Ok(directory) => Ok(Some(Box::new(Directory::new(directory, limits)))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::os("open", self.display(Path::new(hierarchy)), error)),
        }
    }
}

/// The image that a service has as its root: opened, judged by a policy, its files read through what was checked.
///
/// ```no_run
/// use std::path::Path;
///
/// use confext_core::service::RootImage;
/// use confext_core::{Host, Options};
/// use confext_ddi::Limits;
///
/// let (host, options) = (Host::open("/")?, Options::default());
/// let image = RootImage::admit(&host, Path::new("/srv/app.raw"), &options.policy, &options)?;
/// println!("{:?}", image.os_release(&Limits::default())?.get("ID"));
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RootImage {
    path: PathBuf,
    admitted: Admitted<File>,
    architecture: Option<Architecture>,
}

impl RootImage {
    /// Opens the image at a path below the root of `host`, which no link may be at the end of, and has it judged.
    ///
    /// # Errors
    ///
    /// `os`; what is wrong with the image, or speaks against it. With rules about keys, which are about extensions, an image
    /// whose signature was not checked is refused.
    pub fn admit(host: &Host, path: &Path, policy: &Policy, options: &Options) -> Result<Self> {
        let in_image = |source| Error::Image { image: path.display().to_string(), source };
        let failed = |error| Error::os("open", host.display(path), error);
        let file = File::from(host.open_file(path).map_err(failed)?);
        let mut how = image::Options::default().limits(options.limits.clone());
        how.architecture = host.architecture();
        let image = sidecars::open_below(host, path, file, &how)?;
        let verifier = options.trust.open(host)?;
        let admitted = policy.judge(image, verifier.as_deref()).map_err(in_image)?;
        if options.key_rules.is_some() && admitted.evidence().signer().is_none() {
            let found = "none: its signature was not checked";
            return Err(in_image(Refused::KeyRulesUnsigned { found }.into()));
        }
        Ok(Self { path: path.to_owned(), admitted, architecture: host.architecture() })
    }

    /// Where it is on the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was checked of it.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        self.admitted.evidence()
    }

    /// The partition that its files are in.
    pub(crate) fn designator(&self) -> confext_ddi::dps::Designator {
        self.admitted.image().data().designator
    }

    /// Its files.
    ///
    /// # Errors
    ///
    /// `file-system-unsupported` when only the kernel can read its file system.
    pub fn files(&self, limits: &Limits) -> Result<Box<dyn FileSystem + '_>> {
        self.admitted.file_system(limits).map_err(|error| self.fault(error))
    }

    /// What it says of itself.
    ///
    /// # Errors
    ///
    /// `no-such-file` when it has no `os-release`; the `release-` codes.
    pub fn os_release(&self, limits: &Limits) -> Result<Release> {
        release::os_release(self.files(limits)?.as_ref(), limits).map_err(|error| self.fault(error))
    }

    pub(crate) fn fault(&self, source: confext_ddi::Error) -> Error {
        Error::Image { image: self.path.display().to_string(), source }
    }
}

impl Ground for RootImage {
    fn release(&self, limits: &Limits) -> Result<release::Host> {
        let Some(architecture) = self.architecture else {
            let why = "no partition types are defined for it".to_owned();
            return Err(Error::Missing { what: "extensions for this architecture", why });
        };
        let host = release::Host::new(self.os_release(limits)?, architecture, Scope::System);
        host.map_err(|error| self.fault(error.within("os-release")))
    }

    fn hierarchy(&self, hierarchy: &str, limits: &Limits) -> Result<Option<Box<dyn FileSystem + '_>>> {
        let files = self.files(limits)?;
        let place = match fs::resolve(files.as_ref(), hierarchy.as_bytes(), limits) {
            Err(error) if matches!(error.code(), "no-such-file" | "not-a-directory") => return Ok(None),
            place => place.map_err(|error| self.fault(error))?,
        };
        let is_directory =
            files.stat(&place).map_err(|error| self.fault(error))?.file_type == FileType::Directory;
        Ok(is_directory.then(|| -> Box<dyn FileSystem + '_> { Box::new(Subtree { files, place }) }))
    }
}

/// The files of one directory, as if it were the root.
struct Subtree<'a> {
    files: Box<dyn FileSystem + 'a>,
    place: Vec<u8>,
}

impl Subtree<'_> {
    fn at(&self, path: &[u8]) -> Vec<u8> {
        // Paths have no slash at the front here, and are never made of what an image says.
        if path.is_empty() { self.place.clone() } else { join(&self.place, path) }
    }
}

impl FileSystem for Subtree<'_> {
    fn fs_type(&self) -> FsType {
        self.files.fs_type()
    }

    fn stat(&self, path: &[u8]) -> confext_ddi::Result<Metadata> {
        self.files.stat(&self.at(path))
    }

    fn read_dir(&self, path: &[u8]) -> confext_ddi::Result<Vec<DirEntry>> {
        self.files.read_dir(&self.at(path))
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> confext_ddi::Result<usize> {
        self.files.read_at(&self.at(path), offset, buf)
    }

    fn read(&self, path: &[u8]) -> confext_ddi::Result<Vec<u8>> {
        self.files.read(&self.at(path))
    }

    fn read_link(&self, path: &[u8]) -> confext_ddi::Result<Vec<u8>> {
        self.files.read_link(&self.at(path))
    }

    fn xattrs(&self, path: &[u8]) -> confext_ddi::Result<Vec<Xattr>> {
        self.files.xattrs(&self.at(path))
    }
}
