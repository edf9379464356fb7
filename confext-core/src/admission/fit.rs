//! [`Matcher`]: what an extension is used as, and whether it is for the host

use confext_ddi::fs::FileSystem;
use confext_ddi::limits::Limits;
use confext_ddi::release::{self, Class};

use super::{HostMatch, LeftOut, Named, Options, in_image};
use crate::discover::{Candidate, Severity};
use crate::error::Result;
use crate::host::Host;
use crate::units::Request;

/// What extensions may be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One class.
    Class(Class),
    /// Whatever they say they are.
    Any,
}

impl Wanted {
    pub(super) fn fit_before_it_is_known(self) -> Fit {
        let classes = match self {
            Self::Class(class) => vec![class],
            Self::Any => Vec::new(),
        };
        Fit { classes, request: Request::default() }
    }
}

/// What an extension is used as, and what it asks of the service manager.
#[derive(Debug)]
pub(crate) struct Fit {
    pub(crate) classes: Vec<Class>,
    pub(crate) request: Request,
}

/// The host as extensions are matched with it.
#[derive(Debug)]
pub(crate) struct Matcher {
    wanted: Wanted,
    /// `None` when nobody asks whether they are for it.
    host: Option<release::Host>,
    limits: Limits,
}

/// What extensions are compared with, where they are.
pub(crate) fn release_of(root: &Host, options: &Options) -> Result<Option<release::Host>> {
    match options.host_match {
        HostMatch::Required => root.release(&options.limits).map(Some),
        HostMatch::Ignored => Ok(None),
    }
}

impl Matcher {
    pub(super) fn new(root: &Host, wanted: Wanted, options: &Options) -> Result<Self> {
        Ok(Self::of(release_of(root, options)?, wanted, options))
    }

    /// With what is known of the host.
    pub(super) fn of(host: Option<release::Host>, wanted: Wanted, options: &Options) -> Self {
        let host = host.map(|mut host| {
            if wanted == Wanted::Any {
                host.scope = release::Scope::Service;
            }
            host
        });
        Self { wanted, host, limits: options.limits.clone() }
    }

    pub(super) const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Whether anybody asks whether an extension is for the host.
    pub(super) const fn asks(&self) -> bool {
        self.host.is_some()
    }

    /// Looks the release file up, compares it with the host, and reads what it asks of the service manager.
    pub(crate) fn fit(
        &self,
        candidate: &Candidate,
        files: &dyn FileSystem,
        named: &Named,
    ) -> Result<Fit, LeftOut> {
        let Named { image_name, strictness } = named;
        let find = |class| release::find(files, class, image_name, *strictness, &self.limits);
        match (self.wanted, &self.host) {
            (Wanted::Class(class), None) => {
                // Nobody asks whether it has a release file: then nothing is asked of the manager either.
                let request = find(class).map(|found| Request::of(&found.release)).unwrap_or_default();
                Ok(Fit { classes: vec![class], request })
            }
            (Wanted::Class(class), Some(_)) => {
                let found = find(class).map_err(|error| in_image(candidate, error))?;
                self.compare(candidate, class, &found.release)?;
                Ok(Fit { classes: vec![class], request: Request::of(&found.release) })
            }
            (Wanted::Any, _) => self.fit_any(candidate, files, find),
        }
    }

    /// An extension can be of both classes: it must be for the host as either.
    fn fit_any(
        &self,
        candidate: &Candidate,
        files: &dyn FileSystem,
        find: impl Fn(Class) -> confext_ddi::Result<release::Found>,
    ) -> Result<Fit, LeftOut> {
        let (mut classes, mut request, mut missing) = (Vec::new(), None, None);
        for class in [Class::Sysext, Class::Confext] {
            match find(class) {
                Ok(found) => {
                    self.compare(candidate, class, &found.release)?;
                    classes.push(class);
                    request.get_or_insert(Request::of(&found.release));
                }
                Err(error) if self.host.is_none() || error.code() == "release-missing" => {
                    missing = Some(error);
                }
                Err(error) => return Err(in_image(candidate, error).into()),
            }
        }
        if classes.is_empty() && self.host.is_none() {
            // By what it has: there is nothing else to go by.
            for class in [Class::Sysext, Class::Confext] {
                let has = |hierarchy: &&str| files.stat(hierarchy.as_bytes()).is_ok();
                if class.hierarchies().iter().any(has) {
                    classes.push(class);
                }
            }
        }
        match missing {
            Some(error) if classes.is_empty() => Err(in_image(candidate, error).into()),
            _ => Ok(Fit { classes, request: request.unwrap_or_default() }),
        }
    }

    fn compare(&self, candidate: &Candidate, class: Class, found: &release::Release) -> Result<(), LeftOut> {
        let Some(host) = &self.host else { return Ok(()) };
        release::matches(found, host, class).map_err(|error| {
            // A sound extension for somebody else is nobody's fault.
            let severity = if error.family() == "refused" { Severity::Ignored } else { Severity::Refused };
            LeftOut { severity, error: in_image(candidate, error) }
        })
    }
}
