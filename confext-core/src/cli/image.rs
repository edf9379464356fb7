//! The image a verb is about: opened, judged, its files.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use confext_ddi::Limits;
use confext_ddi::dps::{Architecture, Designator};
use confext_ddi::fs::FileSystem;
use confext_ddi::policy::{Admitted, AdmittedPartition, Evidence};
use confext_ddi::read::ReadAt as _;
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

/// The files of an image, or of one more of its partitions.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Selected {
    #[command(flatten)]
    pub(super) image: Arguments,
    /// The files of this partition instead: esp, xbootldr, home, … Nothing protects it, so that the policy has to let it be
    /// used: --policy root=signed:esp=unprotected.
    #[arg(long, value_name = "DESIGNATOR", value_parser = designator)]
    partition: Option<Designator>,
}

/// Files that the policy admits.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each call")]
pub(super) enum Opened {
    Image(Admitted<File>),
    Partition(AdmittedPartition<File>),
}

impl Selected {
    /// Opens the image and has the policy judge what is used of it.
    pub(super) fn admit(&self) -> Result<Opened, Failure> {
        let Arguments { image, gate, role } = &self.image;
        Ok(match gate.judge(image, (&role.name_of(image), role.class), self.partition)? {
            (_, Some(partition)) => Opened::Partition(partition),
            (admitted, None) => Opened::Image(admitted),
        })
    }

    /// What an error of the image's bytes is to the caller.
    pub(super) fn fault(&self, source: confext_ddi::Error) -> Failure {
        self.image.fault(source)
    }
}

impl Opened {
    /// The files.
    pub(super) fn file_system(&self, limits: &Limits) -> confext_ddi::Result<Box<dyn FileSystem + '_>> {
        match self {
            Self::Image(admitted) => admitted.file_system(limits),
            Self::Partition(partition) => partition.file_system(limits),
        }
    }

    /// What was checked of them.
    pub(super) fn evidence(&self) -> &Evidence {
        match self {
            Self::Image(admitted) => admitted.evidence(),
            Self::Partition(_) => &Evidence::None,
        }
    }

    /// The size of what holds them.
    pub(super) fn size_bytes(&self) -> confext_ddi::Result<u64> {
        match self {
            Self::Image(admitted) => admitted.data().size_bytes(),
            Self::Partition(partition) => partition.data().size_bytes(),
        }
    }
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
    #[arg(long, value_name = "CLASS", default_value = "confext", requires = "key_rules", value_parser = super::class())]
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
        gate.admit(path, &self.name_of(path), self.class)
    }

    fn name_of(&self, path: &Path) -> String {
        self.name.clone().unwrap_or_else(|| name(path))
    }
}

impl Gate {
    /// Whether there are rules for signers.
    pub(super) fn has_key_rules(&self) -> bool {
        self.trust.has_key_rules()
    }

    /// Opens an image that is to be used as the extension `name`, and has the policy and the key rules judge it.
    pub(super) fn admit(&self, path: &Path, name: &str, class: Class) -> Result<Admitted<File>, Failure> {
        self.judge(path, (name, class), None).map(|(admitted, _)| admitted)
    }

    /// The same for an image of which one more partition may be used.
    fn judge(
        &self,
        path: &Path,
        (name, class): (&str, Class),
        used: Option<Designator>,
    ) -> Result<(Admitted<File>, Option<AdmittedPartition<File>>), Failure> {
        let policy = self.trust.policy()?;
        let verifier = self.trust.verifier(&Host::open(&self.root)?, &policy)?;
        let verifier = verifier.as_deref();
        let mut options = self.open.options()?;
        let rules = self.trust.key_rules(&options.limits)?;
        if let Some(architecture) = self.architecture {
            options = options.architecture(architecture);
        }
        let image = sidecars::open(path, &options)?;
        let admitted = match used {
            None => policy.judge(image, verifier).map(|admitted| (admitted, None)),
            Some(designator) => policy
                .judge_partition(image, designator, verifier)
                .map(|(admitted, partition)| (admitted, Some(partition))),
        };
        let admitted = admitted.and_then(|(admitted, partition)| match rules {
            Some(rules) => Ok((rules.admit(admitted, name, class, Strictness::default())?, partition)),
            None => Ok((admitted, partition)),
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

/// The argument `--partition`.
fn designator(text: &str) -> Result<Designator, String> {
    let others = || Designator::ALL.into_iter().filter(|known| !known.has_architecture());
    others().find(|known| known.as_str() == text).ok_or_else(|| {
        let known: Vec<&str> = others().map(Designator::as_str).collect();
        format!("expected one of {}; the files of root and usr are those without it", known.join(", "))
    })
}
