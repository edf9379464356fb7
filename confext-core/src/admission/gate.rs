//! [`Gate`]: what every extension of a run is compared with

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use confext_ddi::dps::Designator;
use confext_ddi::error::Refused;
use confext_ddi::fs::FileSystem as _;
use confext_ddi::image::{self, Image};
use confext_ddi::policy::{Admitted, Evidence, Policy, Protection};
use confext_ddi::release::{self, Class, Strictness};
use confext_ddi::signature::Verifier;

use super::fit::{Fit, Matcher, Wanted};
use super::{Body, Detect, Extension, LeftOut, Matched, Named, Options, in_image};
use crate::copies::{Copies, Place};
use crate::directory;
use crate::discover::{self, Candidate, Kind, Severity};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::identity::{self, Seen};
use crate::sidecars;
use crate::state::Identity;
use crate::sys::Statx;

/// The code of an extension that was replaced while it was looked at.
const CHANGED: &str = "candidate-changed";
/// How often an image is opened that is replaced each time.
const ATTEMPTS: u32 = 5;

/// What every extension of a run is compared with.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{admission::Gate, discover::discover};
/// use confext_ddi::release::Class;
///
/// let gate = Gate::open(&host, Class::Confext, &options)?;
/// let found = discover(&host, Class::Confext)?.candidates;
/// let admitted = found.into_iter().filter_map(|candidate| gate.admit(candidate).ok());
/// let names: Vec<_> = admitted.map(|extension| extension.candidate().name.clone()).collect();
/// assert_eq!(names, ["app", "site"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Gate<'a> {
    host: &'a Host,
    options: &'a Options,
    verifier: Option<Arc<dyn Verifier>>,
    matcher: Matcher,
    copies: Copies,
}

impl std::fmt::Debug for Gate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("host", &self.host).finish_non_exhaustive()
    }
}

/// How one extension is admitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// The protection it must have.
    pub(crate) policy: &'a Policy,
    /// The name of the file, by which its release file is looked up.
    pub(crate) image_name: &'a str,
    /// How the release file's name must fit it.
    pub(crate) strictness: Strictness,
}

impl Terms<'_> {
    fn named(&self) -> Named {
        Named { image_name: self.image_name.to_owned(), strictness: self.strictness }
    }
}

impl<'a> Gate<'a> {
    /// Reads the host's `os-release` and certificates, as far as the options ask for them.
    ///
    /// # Errors
    ///
    /// `os` and `host-id-missing` when extensions must match a host that does not say what it is.
    pub fn open(host: &'a Host, class: Class, options: &'a Options) -> Result<Self> {
        let copies = Copies::new(class, &options.limits);
        let matcher = Matcher::new(host, Wanted::Class(class), options)?;
        Ok(Self { host, options, verifier: options.trust.open(host)?, matcher, copies })
    }

    /// For the extensions of a service, which are on the host and must be for the root that the service has. Each is used as
    /// what it says it is.
    ///
    /// # Errors
    ///
    /// As [`Gate::open`].
    pub(crate) fn of_service(
        host: &'a Host,
        root: Option<release::Host>,
        options: &'a Options,
    ) -> Result<Self> {
        let copies = Copies::new(Class::Sysext, &options.limits);
        let matcher = Matcher::of(root, Wanted::Any, options);
        Ok(Self { host, options, verifier: options.trust.open(host)?, matcher, copies })
    }

    /// Opens a candidate, judges it and matches it with the host.
    ///
    /// # Errors
    ///
    /// With [`Severity::Ignored`] when it is a sound extension for another host, or an empty directory, which masks its name;
    /// with [`Severity::Refused`] for everything else, with the code of the fault.
    pub fn admit(&self, candidate: Candidate) -> Result<Extension, LeftOut> {
        let name = candidate.name.clone();
        let Options { policy, strictness, .. } = self.options;
        self.admit_on(candidate, Terms { policy, image_name: &name, strictness: *strictness })
    }

    /// The same, on terms of its own.
    pub(crate) fn admit_on(&self, candidate: Candidate, terms: Terms<'_>) -> Result<Extension, LeftOut> {
        let extension = match candidate.kind {
            Kind::Directory => self.admit_directory(candidate, terms)?,
            Kind::Raw | Kind::Block => {
                let (image, seen, stat) = self.open_image(&candidate)?;
                self.admit_image(candidate, image, (seen, &stat), terms)?
            }
        };
        if let Body::Directory(place) = &extension.body {
            place.directory.rest();
        }
        Ok(extension)
    }

    fn open_candidate(&self, candidate: &Candidate) -> Result<(OwnedFd, Seen, Statx)> {
        let os = |operation, error| Error::os(operation, self.host.display(&candidate.path), error);
        let fd = self.host.open_file(&candidate.path).map_err(|error| os("open", error))?;
        let (seen, stat) = Seen::of(fd.as_fd(), candidate.kind).map_err(|error| os("stat", error))?;
        let found = rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode));
        let expected = match candidate.kind {
            Kind::Directory => rustix::fs::FileType::Directory,
            Kind::Raw => rustix::fs::FileType::RegularFile,
            Kind::Block => rustix::fs::FileType::BlockDevice,
        };
        if found != expected {
            let target = self.host.display(&candidate.path);
            let (found, expected) = (format!("{found:?}"), format!("{expected:?}, as at discovery"));
            return Err(Error::conflict(CHANGED, target, found, expected));
        }
        Ok((fd, seen, stat))
    }

    /// An image that is replaced while it is opened is opened again: its sidecars may be those of the new one.
    fn open_image(&self, candidate: &Candidate) -> Result<(Image<File>, Seen, Statx)> {
        let mut opened = self.open_candidate(candidate)?;
        let mut options = image::Options::default().limits(self.options.limits.clone());
        options.architecture = self.host.architecture();
        let mut attempt: u32 = 1;
        loop {
            let (fd, seen, stat) = opened;
            match sidecars::open_below(self.host, &candidate.path, fd.into(), &options) {
                Err(error) if error.code() == CHANGED && attempt < ATTEMPTS => {}
                image => return Ok((image?, seen, stat)),
            }
            opened = self.open_candidate(candidate)?;
            attempt = attempt.saturating_add(1);
        }
    }

    /// Nobody can sign a directory.
    fn objection_to_directories(&self, policy: &Policy) -> Option<Refused> {
        let found = "none: it is a directory";
        if !policy.admits(Designator::Root, Protection::None) {
            return Some(Refused::Policy { designator: "root", found, expected: policy.to_string() });
        }
        self.options.key_rules.is_some().then_some(Refused::KeyRulesUnsigned { found })
    }

    /// The directory of a candidate, without the mounts below it.
    fn open_directory(&self, candidate: &Candidate) -> Result<(Place, Seen, Statx)> {
        if let Some(found) = self.copies.find(self.host, &candidate.path) {
            return Ok(found);
        }
        let (fd, seen, stat) = self.open_candidate(candidate)?;
        let place = self.copies.without_mounts(self.host, &candidate.path, (fd, &stat));
        Ok((place, seen, stat))
    }

    fn admit_directory(&self, candidate: Candidate, terms: Terms<'_>) -> Result<Extension, LeftOut> {
        let (mut place, seen, stat) = self.open_directory(&candidate)?;
        // It masks its name, whatever is asked of extensions. A service has no names to mask.
        let is_mask = |is_empty| is_empty && matches!(self.matcher.wanted(), Wanted::Class(_));
        let masked = || {
            let error = discover::masked(&candidate.entry).into_error();
            LeftOut { severity: Severity::Ignored, error }
        };
        if let Some(fault) = self.objection_to_directories(terms.policy) {
            let is_empty = directory::is_empty(place.directory.fd()).unwrap_or_default();
            return Err(if is_mask(is_empty) { masked() } else { in_image(&candidate, fault.into()).into() });
        }
        let tree = place.directory.look_at_all(&stat).map_err(|error| in_image(&candidate, error))?;
        if is_mask(tree.len() == 0) {
            return Err(masked());
        }
        let identity = match self.options.detect {
            Detect::Identity => identity::of_directory(&stat, tree),
            Detect::Content => identity::of_directory_content(&place.directory, &self.options.limits)
                .map_err(|error| in_image(&candidate, error))?,
        };
        let fit = self.matcher.fit(&candidate, &place.directory, &terms.named())?;
        Ok(Extension {
            candidate,
            identity,
            evidence: Evidence::None,
            matched: Matched::Yes,
            classes: fit.classes,
            named: terms.named(),
            request: fit.request,
            body: Body::Directory(Box::new(place)),
            seen,
        })
    }

    fn admit_image(
        &self,
        candidate: Candidate,
        image: Image<File>,
        (seen, stat): (Seen, &Statx),
        terms: Terms<'_>,
    ) -> Result<Extension, LeftOut> {
        let in_image = |error| in_image(&candidate, error);
        let admitted = terms.policy.judge(image, self.verifier.as_deref()).map_err(in_image)?;
        let (admitted, matched, fit) = self.fit_image(&candidate, admitted, terms)?;
        let evidence = admitted.evidence().clone();
        let identity = match evidence.root_hash() {
            Some(root_hash) => Identity::RootHash { root_hash: *root_hash },
            None if self.options.detect == Detect::Content => {
                identity::of_image_content(admitted.data()).map_err(in_image)?
            }
            None => identity::of_file(stat),
        };
        Ok(Extension {
            candidate,
            identity,
            evidence,
            matched,
            classes: fit.classes,
            named: terms.named(),
            request: fit.request,
            body: Body::Image(Box::new(admitted)),
            seen,
        })
    }

    /// Asks the rules about keys, once it is known which class they are asked about, and matches the image.
    fn fit_image(
        &self,
        candidate: &Candidate,
        admitted: Admitted<File>,
        terms: Terms<'_>,
    ) -> Result<(Admitted<File>, Matched, Fit), LeftOut> {
        let in_image = |error| in_image(candidate, error);
        let by_rules = |mut admitted: Admitted<File>, classes: &[Class]| {
            for class in classes {
                if let Some(rules) = &self.options.key_rules {
                    admitted = rules.admit(admitted, &candidate.name, *class, terms.strictness)?;
                }
            }
            confext_ddi::Result::Ok(admitted)
        };
        let admitted = match self.matcher.wanted() {
            Wanted::Class(class) => by_rules(admitted, &[class]).map_err(in_image)?,
            Wanted::Any => admitted,
        };
        let files = admitted.file_system(&self.options.limits);
        let looked = files.map(|files| self.matcher.fit(candidate, files.as_ref(), &terms.named()));
        let fit = match (looked, self.matcher.wanted()) {
            (Ok(fit), _) => fit?,
            (Err(error), wanted) if error.code() == "file-system-unsupported" => {
                // Which rules count is not known before it is mounted.
                return if wanted == Wanted::Any && self.options.key_rules.is_some() {
                    Err(in_image(error).into())
                } else {
                    Ok((admitted, Matched::WhenMounted, wanted.fit_before_it_is_known()))
                };
            }
            (Err(_), wanted @ Wanted::Class(_)) if !self.matcher.asks() => wanted.fit_before_it_is_known(),
            (Err(error), _) => return Err(in_image(error).into()),
        };
        let admitted = match self.matcher.wanted() {
            Wanted::Class(_) => admitted,
            Wanted::Any => by_rules(admitted, &fit.classes).map_err(in_image)?,
        };
        Ok((admitted, Matched::Yes, fit))
    }

    /// What extensions are matched with.
    pub(crate) fn into_matcher(self) -> Matcher {
        self.matcher
    }
}
