//! The image a verb is about: opened, judged, its files.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use confext_ddi::dps::Architecture;
use confext_ddi::policy::Admitted;
use confext_ddi::release::{Class, Strictness, base_name};

use super::failure::Failure;
use super::{open, trust};
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
    #[command(flatten)]
    role: Role,
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
    open: open::Arguments,
    #[command(flatten)]
    trust: trust::Arguments,
}

/// As what an image is to be used: key rules are about that.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Role {
    /// With --key-rules: as which extension the image is to be used, confext or sysext.
    #[arg(long, value_name = "CLASS", default_value = "confext", requires = "key_rules", value_parser = super::class)]
    class: Class,
    /// With --key-rules: the extension's name; without it, that of the file without version and ending.
    #[arg(long, value_name = "NAME", requires = "key_rules")]
    name: Option<String>,
}

impl Arguments {
    /// Opens the image and has the policy judge it.
    pub(super) fn admit(&self) -> Result<Admitted<File>, Failure> {
        self.role.admit(&self.gate, &self.image)
    }

    /// What an error of the image's bytes is to the caller.
    pub(super) fn fault(&self, source: confext_ddi::Error) -> Failure {
        fault(&self.image, source)
    }
}

impl Role {
    /// Opens an image and has the policy and the key rules judge it.
    pub(super) fn admit(&self, gate: &Gate, path: &Path) -> Result<Admitted<File>, Failure> {
        gate.admit(path, &self.name.clone().unwrap_or_else(|| name(path)), self.class)
    }
}

impl Gate {
    /// Whether there are rules for signers.
    pub(super) fn has_key_rules(&self) -> bool {
        self.trust.has_key_rules()
    }

    /// Opens an image that is to be used as the extension `name`, and has the policy and the key rules judge it.
    pub(super) fn admit(&self, path: &Path, name: &str, class: Class) -> Result<Admitted<File>, Failure> {
        let policy = self.trust.policy()?;
        let certificates = self.trust.certificates(&Host::open(&self.root)?)?;
        let mut options = self.open.options()?;
        let rules = self.trust.key_rules(&options.limits)?;
        if let Some(architecture) = self.architecture {
            options = options.architecture(architecture);
        }
        let image = sidecars::open(path, &options)?;
        let verifier = trust::verifier(&policy, &certificates);
        let admitted = policy.judge(image, verifier);
        let admitted = admitted.and_then(|admitted| match rules {
            Some(rules) => rules.admit(admitted, name, class, Strictness::default()),
            None => Ok(admitted),
        });
        admitted.map_err(|source| fault(path, source))
    }
}

/// The name of the extension in a file: that of the file without version and ending.
pub(super) fn name(path: &Path) -> String {
    base_name(&path.file_name().unwrap_or_default().to_string_lossy()).to_owned()
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
