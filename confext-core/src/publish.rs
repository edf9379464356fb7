//! [`Store`]: the versions of one image in its `.v/` directory: put there whole and checked, counted, called good or bad

mod place;
mod used;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use confext_ddi::dps::Architecture;
use confext_ddi::image::{self, Image};
use confext_ddi::limits::Limits;
use confext_ddi::policy::{Evidence, KeyRules, Policy};
use confext_ddi::release::{self, Class, Strictness};
use confext_ddi::signature::Verifier;
pub use confext_ddi::verity::Progress;
use confext_ddi::version;
use confext_ddi::vpick::{self, Accept, ArchitectureRule, Choice, Filter, Pick, Tries, VersionedImage};
use rustix::fs::AtFlags;
use serde::Serialize;

use crate::directory;
use crate::error::{Error, Result};
use crate::pick::listed_kind;
use crate::sys::{Mode, OFlags};
use place::{Lock, Partial};
pub use used::{attached, in_use};

/// The `.v/` directory of one image, to be written to.
///
/// A version is there whole or not at all, whenever a process or the machine ends. One writer at a time: the directory
/// itself is locked. Readers need no lock.
///
/// *Spec:* UAPI.11 (`.v/` directories), with the counters of UAPI.1.
///
/// ```
/// use std::{fs, ops::ControlFlow};
///
/// use confext_core::publish::{Options, Store};
/// use confext_ddi::{policy::Policy, release::Class};
/// # use confext_ddi::build::*;
///
/// let root = tempfile::tempdir()?;
/// let versions = root.path().join("app.raw.v");
/// fs::create_dir(&versions)?;
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let image = root.path().join("app.raw");
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&image, None)?;
/// let store = Store::open(&versions, Class::Confext)?;
/// let mut options = Options::new("1");
/// options.policy = Policy::verity();
/// options.tries = Some(3);
/// store.publish(&fs::File::open(&image)?, &options, &mut |_| ControlFlow::Continue(()))?;
/// // It is used, and works:
/// store.good("1")?;
/// assert_eq!(store.used()?.path, versions.join("app_1.raw"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Store {
    directory: OwnedFd,
    path: PathBuf,
    class: Class,
    wanted: VersionedImage,
    wait: Duration,
}

/// What is published, and what it must have.
///
/// ```
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let store = dir.path().join("app.raw.v");
/// # std::fs::create_dir(&store)?;
/// use std::{fs::File, ops::ControlFlow};
///
/// use confext_core::publish::{Options, Store};
///
/// let store = Store::open(&store, Class::Confext)?;
/// let mut options = Options::new("2");
/// let image = File::open(&path)?;
/// // Nobody has signed this image.
/// let mut go_on = |_| ControlFlow::Continue(());
/// assert_eq!(store.publish(&image, &options, &mut go_on).unwrap_err().code(), "policy");
/// options.policy = Policy::verity();
/// options.tries = Some(3);
/// assert!(store.publish(&image, &options, &mut go_on)?.version.path.ends_with("app_2+3-0.raw"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
pub struct Options {
    /// The version, as it is written into the name.
    pub version: String,
    /// The architecture that is written into the name. Default: none.
    pub architecture: Option<Architecture>,
    /// How often it may be tried before others are preferred. Default: it is not counted.
    pub tries: Option<u32>,
    /// Which protection it must have. Default: [`Policy::signed`].
    pub policy: Policy,
    /// Whose signatures count. Default: nobody's.
    pub verifier: Option<Arc<dyn Verifier>>,
    /// Which signer may sign which extensions. Default: every trusted signer every extension.
    pub key_rules: Option<Arc<KeyRules>>,
    /// The host it must be for. Default: any.
    pub host: Option<release::Host>,
    /// Caps for everything that is read.
    pub limits: Limits,
}

impl Options {
    /// A version that has to be signed.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            architecture: None,
            tries: None,
            policy: Policy::default(),
            verifier: None,
            key_rules: None,
            host: None,
            limits: Limits::default(),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, architecture, tries, policy, .. } = self;
        f.debug_struct("Options")
            .field("version", version)
            .field("architecture", architecture)
            .field("tries", tries)
            .field("policy", policy)
            .finish_non_exhaustive()
    }
}

/// A version that is there.
///
/// ```
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let store = dir.path().join("app.raw.v");
/// # std::fs::create_dir(&store)?;
/// # for version in ["1", "2+3-0"] {
/// #     std::fs::copy(&path, store.join(format!("app_{version}.raw")))?;
/// # }
/// use confext_core::publish::Store;
///
/// let store = Store::open(&store, Class::Confext)?;
/// let versions = store.versions()?;
/// let names: Vec<_> = versions.iter().map(|version| version.version.as_str()).collect();
/// assert_eq!(names, ["2", "1"]);
/// // The first one is used. Three attempts are left to prove that it works.
/// assert_eq!(versions[0].tries.map(|tries| tries.left), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Version {
    /// Its file.
    #[serde(serialize_with = "crate::discover::lossy")]
    pub path: PathBuf,
    /// The version in its name.
    pub version: String,
    /// The architecture in its name.
    pub architecture: Option<&'static str>,
    /// The counters in its name.
    pub tries: Option<Tries>,
}

/// A version that was published.
///
/// ```
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let store = dir.path().join("app.raw.v");
/// # std::fs::create_dir(&store)?;
/// use std::{fs::File, ops::ControlFlow};
///
/// use confext_core::publish::{Options, Store};
/// use confext_ddi::policy::Protection;
///
/// let (store, image) = (Store::open(&store, Class::Confext)?, File::open(&path)?);
/// let mut options = Options::new("1");
/// options.policy = Policy::verity();
/// let published = store.publish(&image, &options, &mut |_| ControlFlow::Continue(()))?;
/// assert_eq!(published.evidence.protection(), Protection::Verity);
/// // The same bytes again are no error.
/// assert!(store.publish(&image, &options, &mut |_| ControlFlow::Continue(()))?.was_there);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Published {
    /// The version.
    #[serde(flatten)]
    pub version: Version,
    /// What was checked of the file that is there now.
    pub evidence: Evidence,
    /// Whether it was there before, byte for byte.
    pub was_there: bool,
}

/// What pruning did.
///
/// ```
/// # use confext_ddi::{build::*, policy::Policy, release::Class};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).unsigned().build_file(&path, None)?;
/// # let path_of = dir.path().join("app.raw.v");
/// # std::fs::create_dir(&path_of)?;
/// # for version in ["1", "2", "3"] {
/// #     std::fs::copy(&path, path_of.join(format!("app_{version}.raw")))?;
/// # }
/// # use std::os::unix::fs::MetadataExt as _;
/// use std::{collections::BTreeSet, num::NonZeroUsize};
///
/// use confext_core::publish::Store;
///
/// let store = Store::open(&path_of, Class::Confext)?;
/// // As `publish::in_use` lists them.
/// let oldest = std::fs::metadata(path_of.join("app_1.raw"))?;
/// let in_use = BTreeSet::from([(oldest.dev(), oldest.ino())]);
/// let pruned = store.prune(NonZeroUsize::MIN, &in_use)?;
/// assert_eq!((pruned.removed[0].version.as_str(), pruned.in_use[0].version.as_str()), ("2", "1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// The versions that are gone.
    pub removed: Vec<Version>,
    /// Those that would be, were they not in use.
    pub in_use: Vec<Version>,
}

type Report<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

impl Store {
    /// Opens a directory `NAME.raw.v` or `NAME.CLASS.raw.v`.
    ///
    /// # Errors
    ///
    /// `store-name` when it is called otherwise; `os` when it is not there, or no directory.
    pub fn open(path: impl AsRef<Path>, class: Class) -> Result<Self> {
        let path = path.as_ref();
        let name = path.file_name().unwrap_or_default().as_bytes();
        let native = Architecture::of_build();
        let rule = native.map_or(ArchitectureRule::Unused, |native| ArchitectureRule::Host {
            native,
            secondary: native.secondary(),
        });
        let wanted = VersionedImage::parse(name, class, rule).filter(|it| it.filter.accept == Accept::Raw);
        let Some(wanted) = wanted else {
            let found = format!("{:?}", String::from_utf8_lossy(name));
            let expected = format!("NAME.raw.v or NAME.{class}.raw.v");
            return Err(Error::conflict("store-name", path.display().to_string(), found, expected));
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::os("open", path.display().to_string(), errno))?;
        Ok(Self { directory, path: path.to_owned(), class, wanted, wait: Duration::from_secs(30) })
    }

    /// Sets how long to wait for another writer. Default: 30 seconds.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// The image's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.wanted.name
    }

    /// What is there: the version that is used, the others that fit, best first, and every other entry with the reason.
    ///
    /// # Errors
    ///
    /// `os`.
    pub fn choice(&self) -> Result<Choice> {
        self.choose(&self.wanted.filter)
    }

    fn choose(&self, filter: &Filter) -> Result<Choice> {
        let listed = directory::listing(self.directory.as_fd())
            .map_err(|errno| Error::os("list", self.path.display().to_string(), errno))?;
        let entries = listed.into_iter().filter_map(|(name, listed)| {
            let text = CString::new(name.as_slice()).ok()?;
            Some(vpick::Entry { kind: listed_kind(self.directory.as_fd(), &text, listed), name })
        });
        Ok(vpick::choose(entries, std::slice::from_ref(filter)))
    }

    /// All versions that fit, best first: the first one is used.
    ///
    /// # Errors
    ///
    /// As [`Store::choice`].
    pub fn versions(&self) -> Result<Vec<Version>> {
        let Choice { chosen, outranked, .. } = self.choice()?;
        Ok(chosen.iter().chain(&outranked).map(|pick| self.version_of(pick)).collect())
    }

    /// The version that is used.
    ///
    /// # Errors
    ///
    /// `version-missing` when there is none; `os`.
    pub fn used(&self) -> Result<Version> {
        self.versions()?.into_iter().next().ok_or_else(|| self.missing("at all"))
    }

    /// Puts a version there: copied, checked to its last byte, on disk, and then by one step under its name.
    ///
    /// What is checked is the copy that is published, so that nobody can exchange the bytes in between. What lies beside the
    /// source (hash tree, signature) is not taken along: the image must have all it needs in itself. A version that is
    /// there already, with the same bytes, is no error.
    ///
    /// # Errors
    ///
    /// `version-name`; `version-exists` with other bytes; `locked`; `cancelled` when `progress` said so; `os`; and whatever is
    /// wrong with the image: as [`Policy::judge`], [`KeyRules::admit`], [`release::find`], [`release::matches`], and family
    /// `unverified` for a block that is not what the root hash says. Then nothing has changed.
    pub fn publish(
        &self,
        source: &File,
        options: &Options,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Published> {
        let name = self.entry_name(&options.version, options.architecture, options.tries)?;
        let path = self.path.join(&name);
        let _lock = Lock::take(&self.directory, &self.path, self.wait)?;
        place::clean_up(&self.directory, &self.path)?;
        let partial = Partial::copy(&self.directory, &path, source)?;
        let evidence = self.check(&path, partial.file(), options, progress)?;
        let there = self.of_version(&options.version, options.architecture)?;
        if let Some(there) = there {
            let version = self.version_of(&there);
            return match self.same_bytes(&there.name, partial.file())? {
                true => Ok(Published { version, evidence, was_there: true }),
                false => {
                    let found = format!("{} with other bytes", String::from_utf8_lossy(&there.name));
                    let target = self.path.display().to_string();
                    Err(Error::conflict("version-exists", target, found, "a version that is not there yet"))
                }
            };
        }
        partial.publish()?;
        let architecture = options.architecture.map(Architecture::as_str);
        let tries = options.tries.map(|left| Tries { left, done: 0 });
        let version = Version { path, version: options.version.clone(), architecture, tries };
        Ok(Published { version, evidence, was_there: false })
    }

    /// Counts an attempt to use a version, before it is made: one less is left. A version that is not counted stays as it is.
    ///
    /// # Errors
    ///
    /// `version-missing`; `version-tries` when none is left; `locked`; `os`.
    pub fn begin(&self, version: &str) -> Result<Version> {
        self.rename(version, |tries| match tries {
            None => Ok(None),
            Some(Tries { left: 0, done }) => Err(done),
            Some(Tries { left, done }) => {
                Ok(Some(Tries { left: left.saturating_sub(1), done: done.saturating_add(1) }))
            }
        })
    }

    /// Calls a version good: it is not counted any more.
    ///
    /// # Errors
    ///
    /// As [`Store::begin`].
    pub fn good(&self, version: &str) -> Result<Version> {
        self.rename(version, |_| Ok(None))
    }

    /// Calls a version bad: with no attempts left it is used only when nothing else is there. Returns what is used now.
    ///
    /// # Errors
    ///
    /// As [`Store::begin`].
    pub fn bad(&self, version: &str) -> Result<Version> {
        self.rename(version, |tries| Ok(Some(Tries { left: 0, done: tries.map_or(1, |tries| tries.done) })))?;
        self.used()
    }

    /// Removes all but the best versions. Files that are in `used`, by device and inode number, stay in any case: see
    /// [`in_use`].
    ///
    /// # Errors
    ///
    /// `locked`; `os`: then those that were not removed yet are still there.
    pub fn prune(&self, keep: NonZeroUsize, used: &BTreeSet<(u64, u64)>) -> Result<Pruned> {
        let _lock = Lock::take(&self.directory, &self.path, self.wait)?;
        place::clean_up(&self.directory, &self.path)?;
        let mut pruned = Pruned { removed: Vec::new(), in_use: Vec::new() };
        let Choice { chosen, outranked, .. } = self.choice()?;
        for pick in chosen.iter().chain(&outranked).skip(keep.get()) {
            let failed = |operation| {
                let target = self.path_of(pick).display().to_string();
                move |errno| Error::os(operation, target, errno)
            };
            let stat = rustix::fs::statat(&self.directory, &pick.name[..], AtFlags::empty());
            let stat = stat.map_err(failed("stat"))?;
            if used.contains(&(stat.st_dev, stat.st_ino)) {
                pruned.in_use.push(self.version_of(pick));
                continue;
            }
            rustix::fs::unlinkat(&self.directory, &pick.name[..], AtFlags::empty())
                .map_err(failed("remove"))?;
            pruned.removed.push(self.version_of(pick));
        }
        place::sync(&self.directory, &self.path)?;
        Ok(pruned)
    }

    /// Removes one version, whatever it is.
    ///
    /// # Errors
    ///
    /// `version-missing`; `locked`; `os`.
    pub fn withdraw(&self, version: &str) -> Result<Version> {
        let _lock = Lock::take(&self.directory, &self.path, self.wait)?;
        let there = self.of_version(version, None)?.ok_or_else(|| self.missing(version))?;
        rustix::fs::unlinkat(&self.directory, &there.name[..], AtFlags::empty())
            .map_err(|errno| Error::os("remove", self.path_of(&there).display().to_string(), errno))?;
        place::sync(&self.directory, &self.path)?;
        Ok(self.version_of(&there))
    }

    /// The directory, by device and inode number.
    pub(crate) fn identity(&self) -> Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.directory)
            .map_err(|errno| Error::os("stat", self.path.display().to_string(), errno))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Judges a copy, reads all of it, and looks whether it is the image of this name.
    fn check(
        &self,
        path: &Path,
        file: &File,
        options: &Options,
        progress: &mut Report<'_>,
    ) -> Result<Evidence> {
        let in_image = |source| Error::Image { image: path.display().to_string(), source };
        let mut open = image::Options::default().limits(options.limits.clone());
        open.architecture = options.architecture.or_else(Architecture::of_build);
        let copy = file.try_clone().map_err(|error| Error::os("open", path.display().to_string(), error))?;
        let image = Image::open(copy, &open).map_err(in_image)?;
        let admitted = options.policy.judge(image, options.verifier.as_deref()).map_err(in_image)?;
        let admitted = match &options.key_rules {
            Some(rules) => rules
                .admit(admitted, &self.wanted.name, self.class, Strictness::default())
                .map_err(in_image)?,
            None => admitted,
        };
        admitted.data().read_whole(&mut *progress).map_err(in_image)?;
        let files = admitted.file_system(&options.limits).map_err(in_image)?;
        let found = release::find(
            files.as_ref(),
            self.class,
            &self.wanted.name,
            Strictness::default(),
            &options.limits,
        )
        .map_err(in_image)?;
        if let Some(host) = &options.host {
            release::matches(&found.release, host, self.class).map_err(in_image)?;
        }
        drop(files);
        Ok(admitted.evidence().clone())
    }

    fn rename(
        &self,
        version: &str,
        counters: impl FnOnce(Option<Tries>) -> std::result::Result<Option<Tries>, u32>,
    ) -> Result<Version> {
        let _lock = Lock::take(&self.directory, &self.path, self.wait)?;
        let there = self.of_version(version, None)?.ok_or_else(|| self.missing(version))?;
        let tries = counters(there.tries).map_err(|done| {
            let (target, found) = (self.path_of(&there), format!("none left after {done}"));
            Error::conflict("version-tries", target.display().to_string(), found, "an attempt that is left")
        })?;
        let mut changed = there.clone();
        changed.tries = tries;
        changed.name = self.name_of(&there.version, there.architecture, tries).into_bytes();
        if changed.name != there.name {
            place::rename(&self.directory, &self.path, &there.name, &changed.name)?;
        }
        Ok(self.version_of(&changed))
    }

    /// The best entry of a version; with an architecture, only of that.
    fn of_version(&self, version: &str, architecture: Option<Architecture>) -> Result<Option<Pick>> {
        // One for another machine is there as well.
        let filter = match architecture {
            Some(architecture) => {
                self.wanted.filter.clone().architecture(ArchitectureRule::Only(architecture))
            }
            None => self.wanted.filter.clone(),
        };
        Ok(self.choose(&filter.version(version))?.chosen)
    }

    fn same_bytes(&self, name: &[u8], copy: &File) -> Result<bool> {
        let target = self.path.join(std::ffi::OsStr::from_bytes(name)).display().to_string();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let there = rustix::fs::openat(&self.directory, name, flags, Mode::empty())
            .map_err(|errno| Error::os("open", target.as_str(), errno))?;
        place::same_bytes(&File::from(there), copy).map_err(|error| Error::os("read", target, error))
    }

    fn entry_name(
        &self,
        version: &str,
        architecture: Option<Architecture>,
        tries: Option<u32>,
    ) -> Result<String> {
        if !version::is_valid(version) {
            let expected = "ASCII letters, digits and . - ~ ^";
            let target = self.path.display().to_string();
            return Err(Error::conflict("version-name", target, format!("{version:?}"), expected));
        }
        Ok(self.name_of(version, architecture, tries.map(|left| Tries { left, done: 0 })))
    }

    fn name_of(&self, version: &str, architecture: Option<Architecture>, tries: Option<Tries>) -> String {
        let base = &self.wanted.name;
        let architecture = architecture.map_or(String::new(), |known| format!("_{}", known.as_str()));
        let tries = tries.map_or(String::new(), |tries| tries.to_string());
        let suffix = String::from_utf8_lossy(&self.wanted.filter.suffix);
        format!("{base}_{version}{architecture}{tries}{suffix}")
    }

    fn path_of(&self, pick: &Pick) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(&pick.name))
    }

    fn version_of(&self, pick: &Pick) -> Version {
        Version {
            path: self.path_of(pick),
            version: pick.version.clone(),
            architecture: pick.architecture.map(Architecture::as_str),
            tries: pick.tries,
        }
    }

    fn missing(&self, version: &str) -> Error {
        let found = format!("no version {version}");
        Error::conflict("version-missing", self.path.display().to_string(), found, "a version that is there")
    }
}

#[cfg(test)]
mod tests;
