//! The host a verb is about, and how its extensions are to be used.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use confext_ddi::release::Class;

use super::failure::Failure;
use super::trust;
use crate::admission::{OnBad, Options};
use crate::attach::Mode;
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
    #[command(flatten)]
    pub(super) host: Arguments,
    #[command(flatten)]
    trust: trust::Arguments,
}

/// One class of extensions.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct ClassArgument {
    /// Which extensions: confext (/etc) or sysext (/usr and /opt).
    #[arg(long, default_value = "confext", value_parser = super::class)]
    pub(super) class: Class,
}

/// One class of extensions, or both.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct ClassesArgument {
    /// Which extensions: confext (/etc), sysext (/usr and /opt), or both in one go.
    #[arg(long, value_enum, default_value_t = Classes::Confext)]
    pub(super) class: Classes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Classes {
    Confext,
    Sysext,
    Both,
}

impl Classes {
    pub(super) const fn list(self) -> &'static [Class] {
        match self {
            Self::Confext => &[Class::Confext],
            Self::Sysext => &[Class::Sysext],
            Self::Both => &[Class::Sysext, Class::Confext],
        }
    }
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
        let options = self.trust.options(&host)?;
        Ok((host, options))
    }
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
