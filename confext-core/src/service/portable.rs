//! [`Portable`]: units that images bring along are put beside the host's own, bound to these images and to what was checked
//!
//! ```text
//!  base, extensions ─► find, judge, match ─► units ─► pin ─► Attachment ─► attach ─► systemd reads its units again
//!                      as for a service      topmost  policies              all files, or none
//! ```
//!
//! What is written is what `portablectl attach` writes, and each of the two programs lists and detaches what the other
//! attached. docs/service.md says what is different.

mod attached;
mod base;
mod pin;
mod text;
mod units;

use std::path::PathBuf;

use confext_ddi::fs::FileSystem;
use confext_ddi::policy::Policy;
use confext_ddi::release::{self, Class, Release, Scope, base_name};
use confext_ddi::unit::{EntryKind, Extensions};
use serde::Serialize;

use super::Lifetime;
use super::stack::{self, Member};
use crate::admission::{self, OnBad};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::state::Checked;
use base::Base;

pub use attached::{Attached, attached, detach};

/// A portable service, before it is attached.
///
/// ```no_run
/// use confext_core::service::portable::{Portable};
/// use confext_core::{Host, Options};
///
/// let host = Host::open("/")?;
/// let attachment = Portable::new("/srv/app.raw").plan(&host, &Options::default())?;
/// attachment.attach(&host)?;
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Portable {
    /// The image or directory that its units have as their root, on the host; it can end in `.v`.
    pub base: String,
    /// Extensions of it, images and directories, the last of each on top; directories are over images.
    pub extensions: Vec<String>,
    /// Which units. Default: those of the name of the base.
    pub which: Which,
    /// The profile of its services, like `default` or `trusted`: a drop-in of the host that says what they may do. Default:
    /// `default`.
    pub profile: Option<String>,
    /// How long it counts. Default: until it is detached.
    pub lifetime: Lifetime,
}

/// Which units of the images are attached.
///
/// ```no_run
/// use confext_core::service::portable::{Portable, Which};
///
/// let mut wanted = Portable::new("/srv/app.raw");
/// wanted.which = Which::Named(vec!["app-worker".to_owned()]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Which {
    /// Those that begin with the name of the base, without its version.
    #[default]
    OfBase,
    /// Those that have one of these names, or begin with one and a dash, a dot or an at sign.
    Named(Vec<String>),
    /// All.
    All,
}

/// A portable service, ready to be attached: everything was found, checked and matched.
///
/// ```no_run
/// use confext_core::service::portable::{Attachment, Portable};
/// use confext_core::{Host, Options};
///
/// let host = Host::open("/")?;
/// let attachment: Attachment = Portable::new("/srv/app.raw").plan(&host, &Options::default())?;
/// println!("{:?}", attachment.root_policy);
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Attachment {
    /// What its units have as their root.
    pub base: Part,
    /// Its extensions, the last on top.
    pub extensions: Vec<Part>,
    /// Names that units begin with; none stands for all.
    pub matches: Vec<String>,
    /// What the base must be from now on, `RootImagePolicy=`; `None` for a directory.
    pub root_policy: Option<Policy>,
    /// What the images of extensions must be from now on, `ExtensionImagePolicy=`; `None` when there is no image.
    pub extension_policy: Option<Policy>,
    /// Its units by name.
    pub units: Vec<Found>,
    /// All that is put below the root of the host.
    pub files: Vec<Written>,
    #[serde(skip)]
    lifetime: Lifetime,
}

/// An image or a directory.
///
/// ```no_run
/// use confext_core::service::portable::{Part, Portable};
/// use confext_core::{Host, Options};
///
/// let host = Host::open("/")?;
/// let attachment = Portable::new("/srv/app.raw").plan(&host, &Options::default())?;
/// let base: &Part = &attachment.base;
/// println!("{}: {:?}", base.path, base.checked);
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Part {
    /// As it was named, and is in settings.
    pub path: String,
    /// The file that this stands for now.
    pub leads_to: PathBuf,
    /// From which setting it is.
    pub kind: EntryKind,
    /// What was checked of it.
    pub checked: Checked,
}

/// A unit in one of the images.
///
/// ```no_run
/// use confext_core::service::portable::{Found, Portable};
/// use confext_core::{Host, Options};
///
/// let host = Host::open("/")?;
/// let attachment = Portable::new("/srv/app.raw").plan(&host, &Options::default())?;
/// let names = attachment.units.iter().map(|unit: &Found| &unit.name);
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Found {
    /// Its name.
    pub name: String,
    /// The image or directory, as it was named.
    pub from: String,
    /// The file in there.
    pub path: String,
}

/// A file that is put below the root of the host.
///
/// ```no_run
/// use confext_core::service::portable::{Portable, Written};
/// use confext_core::{Host, Options};
///
/// let host = Host::open("/")?;
/// let attachment = Portable::new("/srv/app.raw").plan(&host, &Options::default())?;
/// let paths = attachment.files.iter().map(|file: &Written| &file.path);
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// What.
    #[serde(flatten)]
    pub content: Content,
}

/// What a file is.
///
/// ```no_run
/// use confext_core::service::portable::{Content, Portable};
/// use confext_core::{Host, Options};
///
/// let host = Host::open("/")?;
/// let attachment = Portable::new("/srv/app.raw").plan(&host, &Options::default())?;
/// let texts = attachment.files.iter().filter(|file| matches!(file.content, Content::Text(_)));
/// println!("{} texts", texts.count());
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Text.
    Text(String),
    /// A link to this path.
    LinkTo(PathBuf),
}

impl Portable {
    /// A portable service of this image or directory, with nothing else said.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            extensions: Vec::new(),
            which: Which::default(),
            profile: Some("default".to_owned()),
            lifetime: Lifetime::default(),
        }
    }

    /// Finds, checks and matches everything, and says what attaching it writes. Nothing is changed, and no privilege is needed.
    ///
    /// Images must have what [`Options::policy`](admission::Options) asks for. What they have is then asked of them for good:
    /// the policies that are written demand the protection that was checked, or more.
    ///
    /// # Errors
    ///
    /// As [`stack::select`] and [`RootImage::admit`](super::RootImage::admit). An extension that does not name the scope `portable`:
    /// `host-scope`. `portable-units` when no unit is found, `portable-prefix` when the images do not let units of that name
    /// be attached, `portable-mixed` when some images are protected better than others, `portable-path`, `portable-profile`,
    /// `portable-unit` for a unit that cannot be attached, `portable-exists` when the host has a unit of that name.
    pub fn plan(&self, host: &Host, options: &admission::Options) -> Result<Attachment> {
        let strict = admission::Options { on_bad: OnBad::RefuseAll, ..options.clone() };
        text::check_paths(std::iter::once(&self.base).chain(&self.extensions))?;
        let base = Base::open(host, &self.base, &strict)?;
        let mut extensions = Extensions::default();
        for path in &self.extensions {
            let entry = base::entry_of(host, path)?;
            match entry.kind {
                EntryKind::Image => extensions.images.push(entry),
                EntryKind::Directory => extensions.directories.push(entry),
            }
        }
        let selected = stack::select(host, base.ground(), &extensions, &strict)?;
        let opened = selected.extensions.iter().map(|member| Opened::new(member, &base, &strict));
        let opened = opened.collect::<Result<Vec<_>>>()?;

        let root_policy = self.pin_base(host, &base, &strict)?;
        let choices = pin::extensions(selected.extensions.iter().map(|member| &member.extension))?;
        let (policy, _) = pin::choose(choices, |policy| {
            let mut pinned = extensions.clone();
            pinned.policy = Some(policy.clone());
            stack::select(host, base.ground(), &pinned, &strict)
        })?;
        extensions.policy = policy;

        let matches = self.matches(&base, &opened)?;
        let base_files = base.files(&strict.limits)?;
        let parts =
            std::iter::once(units::Part { path: &self.base, files: base_files.as_ref(), classes: None });
        let above = opened.iter().map(|one| units::Part {
            path: &one.member.listed.path,
            files: one.files.as_ref(),
            classes: Some(one.member.extension.classes()),
        });
        let parts: Vec<_> = parts.chain(above).collect();
        let units = units::find(&parts, &matches, &strict.limits)?;
        attached::check_absent(host, units.iter().map(|unit| unit.found.name.as_str()))?;
        let marker = text::marker(std::iter::once(&self.base).chain(&self.extensions));
        let told = text::Told {
            base: (&base, root_policy.as_ref()),
            extensions: &extensions,
            opened: &opened,
            order: &self.extensions,
            profile: text::profile(host, self.profile.as_deref())?,
            marker,
        };
        let files = text::files(&units, &told, self.lifetime)?;
        Ok(Attachment {
            base: base.part(),
            extensions: opened.iter().map(Opened::part).collect(),
            matches,
            root_policy,
            extension_policy: extensions.policy.clone(),
            units: units.into_iter().map(|unit| unit.found).collect(),
            files,
            lifetime: self.lifetime,
        })
    }

    /// What is asked of the base for good: it was opened once more to see that it has that.
    fn pin_base(&self, host: &Host, base: &Base, options: &admission::Options) -> Result<Option<Policy>> {
        let (policy, again) = pin::choose(base.choices()?, |policy| {
            let options = admission::Options { policy: policy.clone(), ..options.clone() };
            Base::open(host, &self.base, &options)
        })?;
        match again {
            Some(again) if again.part() != base.part() => Err(changed(&self.base)),
            _ => Ok(policy),
        }
    }

    /// What units begin with; the images can say which they allow.
    fn matches(&self, base: &Base, extensions: &[Opened<'_>]) -> Result<Vec<String>> {
        let matches = match &self.which {
            Which::All => Vec::new(),
            Which::OfBase => vec![base.name()?],
            Which::Named(names) => names.clone(),
        };
        let releases =
            std::iter::once(base.os_release()).chain(extensions.iter().flat_map(|one| &one.releases));
        let allowed: Vec<&str> = releases
            .filter_map(|release| release.get("PORTABLE_PREFIXES"))
            .flat_map(str::split_ascii_whitespace)
            .collect();
        let fits = |name: &&String| allowed.iter().any(|prefix| units::begins(name, prefix));
        match matches.iter().find(|name| !allowed.is_empty() && !fits(name)) {
            Some(name) => {
                let expected = format!("one that begins with {}", allowed.join(", "));
                Err(Error::conflict(
                    "portable-prefix",
                    name.clone(),
                    "a name that the images do not allow",
                    expected,
                ))
            }
            None => Ok(matches),
        }
    }
}

/// An extension with its files and what it says of itself.
struct Opened<'a> {
    member: &'a Member,
    files: Box<dyn FileSystem + 'a>,
    releases: Vec<Release>,
    /// Of which class each of these is.
    classes: Vec<Class>,
}

impl<'a> Opened<'a> {
    fn new(member: &'a Member, base: &Base, options: &admission::Options) -> Result<Self> {
        let extension = &member.extension;
        let files = extension.files(&options.limits)?;
        let named = extension.named();
        let candidate = extension.candidate();
        let in_image = |source| Error::Image { image: candidate.path.display().to_string(), source };
        let mut host = base.ground().release(&options.limits)?;
        host.scope = Scope::Portable;
        let mut releases = Vec::new();
        for &class in extension.classes() {
            let found =
                release::find(files.as_ref(), class, &named.image_name, named.strictness, &options.limits);
            let found = found.map_err(in_image)?;
            release::matches(&found.release, &host, class).map_err(in_image)?;
            releases.push(found.release);
        }
        Ok(Self { member, files, releases, classes: extension.classes().to_vec() })
    }

    fn part(&self) -> Part {
        let extension = &self.member.extension;
        Part {
            path: self.member.listed.path.clone(),
            leads_to: extension.candidate().path.clone(),
            kind: self.member.listed.kind,
            checked: Checked::from(extension.evidence()),
        }
    }
}

fn changed(path: &str) -> Error {
    Error::conflict("candidate-changed", path, "another image", "the one that was opened before")
}

/// The name of an image or directory by its path, without ending and version.
fn name_of(path: &str) -> &str {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    let name = name.strip_suffix(".v").unwrap_or(name);
    base_name(name.strip_suffix(".raw").unwrap_or(name))
}

impl Attachment {
    /// Puts it in place: all files or none. The service manager does not look until it reloads.
    ///
    /// The drop-ins of each unit are there before the unit is, so that whoever reads units meanwhile finds none that is not
    /// bound to its images. Whoever is killed leaves drop-ins without units at most beside whole ones; [`detach`] takes both.
    ///
    /// # Errors
    ///
    /// `portable-exists` when the host got a unit of that name meanwhile, `portable-busy`, `os`. Then nothing is left.
    pub fn attach(&self, host: &Host) -> Result<()> {
        attached::put(host, self)
    }
}

#[cfg(test)]
mod tests;
