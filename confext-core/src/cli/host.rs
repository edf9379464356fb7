//! The host a verb is about, and how its extensions are to be used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use confext_ddi::limits::Limits;
use confext_ddi::policy::KeyRules;
use confext_ddi::release::Class;

use super::failure::Failure;
use super::trust;
use crate::admission::{OnBad, Options};
use crate::attach::Mode;
use crate::error::Error;
use crate::host::Host;

/// Which host.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The root directory of the host.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(super) root: PathBuf,
}

impl Arguments {
    pub(super) fn open(&self) -> Result<Host, Failure> {
        Ok(Host::open(&self.root)?)
    }
}

/// Which extensions of a host, and on which conditions.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct StackArguments {
    /// Which extensions: confext (/etc) or sysext (/usr and /opt).
    #[arg(long, default_value = "confext", value_parser = super::class)]
    pub(super) class: Class,
    #[command(flatten)]
    pub(super) host: Arguments,
    #[command(flatten)]
    trust: trust::Arguments,
    /// Rules for which signer may sign which extensions; see docs/signatures.md.
    #[arg(long, value_name = "FILE")]
    key_rules: Option<PathBuf>,
}

/// How a stack is put together.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct MergeArguments {
    #[command(flatten)]
    pub(super) stack: StackArguments,
    /// What to do when something is wrong with one of the extensions.
    #[arg(long, value_enum, default_value_t = Bad::Refuse)]
    on_bad: Bad,
    /// How images reach the kernel.
    #[arg(long, value_enum, default_value_t = Attach::SealedMemory)]
    attach: Attach,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bad {
    /// Change nothing; the first fault is the error.
    Refuse,
    /// Leave it out and use the others.
    Skip,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Attach {
    /// Checked while they are copied into memory that nobody can change.
    SealedMemory,
    /// As they are in their files; only for images without a hash tree.
    Plain,
}

impl StackArguments {
    /// The host, and the conditions for its extensions.
    pub(super) fn open(&self) -> Result<(Host, Options), Failure> {
        let host = self.host.open()?;
        let mut options = self.trust.options(&host)?;
        options.key_rules =
            self.key_rules.as_deref().map(|path| key_rules(path, &options.limits)).transpose()?;
        Ok((host, options))
    }
}

fn key_rules(path: &Path, limits: &Limits) -> Result<Arc<KeyRules>, Failure> {
    let failed = |error| Failure::Argument { name: "--key-rules", error };
    let target = path.display().to_string();
    let text = std::fs::read(path).map_err(|source| failed(Error::os("read", &target, source)))?;
    let rules = KeyRules::parse(&text, limits);
    rules.map(Arc::new).map_err(|source| failed(Error::Image { image: target, source }))
}

impl MergeArguments {
    /// The host, and how to merge over it.
    pub(super) fn open(&self) -> Result<(Host, Options), Failure> {
        let (host, mut options) = self.stack.open()?;
        options.on_bad = match self.on_bad {
            Bad::Refuse => OnBad::RefuseAll,
            Bad::Skip => OnBad::Skip,
        };
        options.attach = match self.attach {
            Attach::SealedMemory => Mode::SealedMemory,
            Attach::Plain => Mode::Plain,
        };
        Ok((host, options))
    }
}
