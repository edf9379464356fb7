//! The image a verb is about: opened, judged, its files.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use confext_ddi::dps::Architecture;
use confext_ddi::filter::Filter;
use confext_ddi::image::{self, Foreign, Image};
use confext_ddi::policy::Admitted;

use super::failure::Failure;
use super::trust;
use crate::error::Error;
use crate::host::Host;
use crate::sidecars;

/// An image whose files are of interest: it has to be admitted first.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The image.
    pub(super) image: PathBuf,
    #[command(flatten)]
    gate: Gate,
}

/// What an image has to be for its files to be of interest.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Gate {
    /// The architecture the image is for; without it, that of this program.
    #[arg(long, value_parser = architecture)]
    architecture: Option<Architecture>,
    /// The root directory of the system whose certificates in verity.d count.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    filter: FilterArgument,
    #[command(flatten)]
    trust: trust::Arguments,
}

/// The argument that says which partitions are considered.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct FilterArgument {
    /// Considers only partitions whose labels match, like root=app_*; an image filter in systemd's notation.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    image_filter: String,
}

impl FilterArgument {
    /// As [`open_any`], with the partitions that the argument leaves.
    pub(super) fn open_any(&self, path: &Path) -> Result<Image<File>, Failure> {
        open(path, &image::Options::default().foreign(Foreign::Accept).filter(self.parse()?))
    }

    fn parse(&self) -> Result<Filter, Failure> {
        Filter::parse(&self.image_filter)
            .map_err(|error| Failure::Argument { name: "--image-filter", error: error.into() })
    }
}

impl Arguments {
    /// Opens the image and has the policy judge it.
    pub(super) fn admit(&self) -> Result<Admitted<File>, Failure> {
        self.gate.admit(&self.image)
    }

    /// What an error of the image's bytes is to the caller.
    pub(super) fn fault(&self, source: confext_ddi::Error) -> Failure {
        fault(&self.image, source)
    }
}

impl Gate {
    /// Opens an image and has the policy judge it.
    pub(super) fn admit(&self, path: &Path) -> Result<Admitted<File>, Failure> {
        let policy = self.trust.policy()?;
        let certificates = self.trust.certificates(&Host::open(&self.root)?)?;
        let mut options = image::Options::default().filter(self.filter.parse()?);
        if let Some(architecture) = self.architecture {
            options = options.architecture(architecture);
        }
        let image = open(path, &options)?;
        let verifier = trust::verifier(&policy, &certificates);
        policy.judge(image, verifier).map_err(|source| fault(path, source))
    }
}

/// Opens an image for a look at it, whatever architecture it is for.
pub(super) fn open_any(path: &Path) -> Result<Image<File>, Failure> {
    open(path, &image::Options::default().foreign(Foreign::Accept))
}

fn open(path: &Path, options: &image::Options) -> Result<Image<File>, Failure> {
    Ok(sidecars::open(path, options)?)
}

/// What an error of an image's bytes is to the caller.
pub(super) fn fault(path: &Path, source: confext_ddi::Error) -> Failure {
    Error::Image { image: path.display().to_string(), source }.into()
}

/// The argument `--architecture`.
pub(super) fn architecture(text: &str) -> Result<Architecture, String> {
    Architecture::ALL.into_iter().find(|known| known.as_str() == text).ok_or_else(|| {
        let known: Vec<&str> = Architecture::ALL.iter().map(|known| known.as_str()).collect();
        format!("expected one of {}", known.join(", "))
    })
}
