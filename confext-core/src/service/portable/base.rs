//! What a portable service has as its root: an image that was judged, or a directory that the policy allows

use std::path::{Path, PathBuf};

use confext_ddi::Limits;
use confext_ddi::dps::Designator;
use confext_ddi::error::Refused;
use confext_ddi::fs::FileSystem;
use confext_ddi::policy::{Evidence, Protection};
use confext_ddi::release::Release;
use confext_ddi::unit::{Entry, EntryKind, Root};

use super::{Part, name_of, pin};
use crate::admission::Options;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::service::ground::{Ground, RootImage};
use crate::service::stack;
use crate::state::Checked;
use crate::sys::OFlags;

pub(super) struct Base {
    path: String,
    leads_to: PathBuf,
    release: Release,
    kind: Kind,
}

enum Kind {
    Image(Box<RootImage>),
    Directory(Box<(Host, Directory)>),
}

/// An image or a directory, by what is there.
pub(super) fn entry_of(host: &Host, path: &str) -> Result<Entry> {
    let image = Entry::image(path);
    let Err(first) = stack::place_of(host, &image) else { return Ok(image) };
    let directory = Entry::directory(path);
    match stack::place_of(host, &directory) {
        Ok(_) => Ok(directory),
        Err(_) => Err(first),
    }
}

impl Base {
    pub(super) fn open(host: &Host, path: &str, options: &Options) -> Result<Self> {
        let entry = entry_of(host, path)?;
        let leads_to = stack::place_of(host, &entry)?.path;
        let path = path.to_owned();
        match entry.kind {
            EntryKind::Image => {
                let image = RootImage::admit(host, &leads_to, &options.policy, options)?;
                let release = image.os_release(&options.limits)?;
                Ok(Self { path, leads_to, release, kind: Kind::Image(Box::new(image)) })
            }
            EntryKind::Directory => {
                refuse_unless_allowed(&leads_to, options)?;
                let failed = |error| Error::os("open", host.display(&leads_to), error);
                let open = || host.open_path(&leads_to, OFlags::DIRECTORY).map_err(failed);
                let files = Directory::new(open()?, &options.limits);
                let root = Host::of_root(open()?, host.display(&leads_to))?;
                let release = root.os_release(&options.limits)?;
                Ok(Self { path, leads_to, release, kind: Kind::Directory(Box::new((root, files))) })
            }
        }
    }

    pub(super) fn ground(&self) -> &dyn Ground {
        match &self.kind {
            Kind::Image(image) => image.as_ref(),
            Kind::Directory(directory) => &directory.0,
        }
    }

    pub(super) fn files(&self, limits: &Limits) -> Result<Box<dyn FileSystem + '_>> {
        match &self.kind {
            Kind::Image(image) => image.files(limits),
            Kind::Directory(directory) => Ok(Box::new(&directory.1)),
        }
    }

    /// What it must be from now on; nothing can be asked of a directory.
    pub(super) fn choices(&self) -> Result<pin::Choices> {
        match &self.kind {
            Kind::Image(image) => pin::image(image),
            Kind::Directory(_) => Ok(Vec::new()),
        }
    }

    pub(super) const fn os_release(&self) -> &Release {
        &self.release
    }

    /// The setting that names it.
    pub(super) fn root(&self) -> Root {
        match &self.kind {
            Kind::Image(_) => Root::Image(self.path.clone()),
            Kind::Directory(_) => Root::Directory(self.path.clone()),
        }
    }

    /// What its units begin with, where nobody says otherwise.
    pub(super) fn name(&self) -> Result<String> {
        let name = name_of(&self.path);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            let expected = "letters, digits, dashes and dots, or a name that is said";
            return Err(Error::conflict("portable-prefix", self.path.clone(), name.to_owned(), expected));
        }
        Ok(name.to_owned())
    }

    pub(super) fn part(&self) -> Part {
        let (kind, evidence) = match &self.kind {
            Kind::Image(image) => (EntryKind::Image, image.evidence()),
            Kind::Directory(_) => (EntryKind::Directory, &Evidence::None),
        };
        let (path, leads_to) = (self.path.clone(), self.leads_to.clone());
        Part { path, leads_to, kind, checked: Checked::from(evidence) }
    }
}

/// Directories cannot be signed.
fn refuse_unless_allowed(path: &Path, options: &Options) -> Result<()> {
    let fault = if !options.policy.admits(Designator::Root, Protection::None) {
        let found = "none: it is a directory";
        Refused::Policy { designator: "root", found, expected: options.policy.to_string() }
    } else if options.key_rules.is_some() {
        Refused::KeyRulesUnsigned { found: "none: it is a directory" }
    } else {
        return Ok(());
    };
    Err(Error::Image { image: path.display().to_string(), source: fault.into() })
}
