//! The host a verb is about, and how its extensions are to be used.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use confext_ddi::release::Class;

use super::failure::Failure;
use super::trust;
use crate::admission::{Detect, Exchange, Execution, OnBad, Options, Replace};
use crate::attach::{BlockChecks, Mode};
use crate::dmverity::{Checks, Corruption, ZeroBlocks};
use crate::host::Host;
use crate::plan::{Allowance, VetoKind};
use crate::settings::{Mutability, Settings};

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
    /// Whether what is merged can be written to: no, yes, auto, import, ephemeral or ephemeral-import; see docs/mutable.md.
    /// Default: what sysext.conf or confext.conf says, else no.
    #[arg(long, value_name = "MODE", value_parser = mutability)]
    mutable: Option<Mutability>,
}

/// The argument `--mutable`.
fn mutability(text: &str) -> Result<Mutability, String> {
    Mutability::from_name(text)
        .ok_or_else(|| format!("expected one of {}", Mutability::ALL.map(Mutability::as_str).join(", ")))
}

/// One class of extensions.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct ClassArgument {
    /// Which extensions: confext (/etc) or sysext (/usr and /opt).
    #[arg(long, default_value = "confext", value_parser = super::class())]
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

/// What a merge does about extensions that something is wrong with, or speaks against.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct ChoiceArguments {
    /// What to do when something is wrong with one of the extensions.
    #[arg(long, value_enum, default_value_t = Bad::Refuse)]
    on_bad: Bad,
    /// Merges nothing without this extension, whatever keeps it from being used; `confext:NAME` and `sysext:NAME` where
    /// only one of two classes must have it. Can be given again.
    #[arg(long, value_name = "NAME")]
    require: Vec<String>,
    /// An objection of `plan` that is none, like `type-change`: of all extensions, or as NAME:KIND of one. Can be given
    /// more than once.
    #[arg(long, value_name = "KIND", value_parser = allowance)]
    allow: Vec<Allowance>,
}

/// What a merge of one class would do.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct PreviewArguments {
    #[command(flatten)]
    class: ClassArgument,
    #[command(flatten)]
    stack: StackArguments,
    #[command(flatten)]
    choice: ChoiceArguments,
}

impl PreviewArguments {
    /// The host, the class, and how it would be merged.
    pub(super) fn open(&self) -> Result<(Host, Class, Options), Failure> {
        let class = self.class.class;
        let (host, mut options) = self.stack.open(class)?;
        self.choice.apply(&mut options);
        Ok((host, class, of_class(&options, class)))
    }
}

/// How a stack is put together.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct MergeArguments {
    #[command(flatten)]
    pub(super) stack: StackArguments,
    #[command(flatten)]
    choice: ChoiceArguments,
    /// How images reach the kernel.
    #[arg(long, value_enum, default_value_t = Attach::Auto)]
    attach: Attach,
    #[command(flatten)]
    checks: CheckArguments,
    /// How it is told whether an extension without a hash tree is still the same.
    #[arg(long, value_enum, default_value_t = DetectBy::Identity)]
    detect: DetectBy,
    /// How a stack takes the place of another.
    #[arg(long, value_enum, default_value_t = ExchangeBy::Gapless)]
    exchange: ExchangeBy,
    /// Whether nothing is to be run from what is merged. Default: yes for a confext, no for a sysext.
    #[arg(long, value_name = "BOOL", value_enum)]
    noexec: Option<YesNo>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum YesNo {
    Yes,
    No,
}

/// How long to wait for others.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct WaitArguments {
    /// How many seconds to wait for another program that merges. Default: 30.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    lock_wait: Option<Duration>,
    /// How many seconds to wait for files that are open for writing in a stack that goes. Default: 2.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    busy_wait: Option<Duration>,
}

impl WaitArguments {
    /// Puts the times into the options.
    pub(super) fn apply(&self, options: &mut Options) {
        options.lock_wait = self.lock_wait.unwrap_or(options.lock_wait);
        options.busy_wait = self.busy_wait.unwrap_or(options.busy_wait);
    }
}

/// A number of seconds, which need not be whole.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExchangeBy {
    /// So that a file of both is never missing, or not at all.
    Gapless,
    /// With a gap, on kernels that know no other way there.
    GapAllowed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DetectBy {
    /// By what the file system says of it: inode, size and times.
    Identity,
    /// By what it contains; all of it is read.
    Content,
    /// Not at all: a refresh always replaces the stack.
    Always,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bad {
    /// Change nothing; the first fault is the error.
    Refuse,
    /// Leave it out and use the others.
    Skip,
}

/// What dm-verity checks.
#[derive(Debug, Args)]
#[group(skip)]
struct CheckArguments {
    /// What dm-verity does about a block that does not check.
    #[arg(long, value_enum, default_value_t = OnCorruption::Fail)]
    on_corruption: OnCorruption,
    /// Has dm-verity check each block only when it is read for the first time: faster, and blind to later changes.
    #[arg(long)]
    check_at_most_once: bool,
    /// Has dm-verity read no block that is to be all zeros: what is there instead is never seen.
    #[arg(long)]
    ignore_zero_blocks: bool,
}

impl CheckArguments {
    fn checks(&self) -> BlockChecks {
        let corruption = match self.on_corruption {
            OnCorruption::Fail => Corruption::Fail,
            OnCorruption::Restart => Corruption::Restart,
            OnCorruption::Panic => Corruption::Panic,
        };
        let checks = if self.check_at_most_once { Checks::Once } else { Checks::Always };
        let zero_blocks = if self.ignore_zero_blocks { ZeroBlocks::Skip } else { ZeroBlocks::Check };
        BlockChecks::default().corruption(corruption).checks(checks).zero_blocks(zero_blocks)
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnCorruption {
    /// Reading it fails.
    Fail,
    /// The machine restarts.
    Restart,
    /// The kernel panics.
    Panic,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Attach {
    /// As dm-verity where the kernel has it, as sealed-memory elsewhere.
    Auto,
    /// Checked by the kernel's dm-verity as they are read; only for images with a hash tree.
    DmVerity,
    /// Checked while they are copied into memory that nobody can change.
    SealedMemory,
    /// As they are in their files; only for images without a hash tree.
    Plain,
    /// As sealed-memory what has a hash tree, all else as it is in its file, without a loop device where that can be.
    InPlace,
}

impl StackArguments {
    /// The host, and the conditions that the arguments say.
    pub(super) fn plain(&self) -> Result<(Host, Options), Failure> {
        let host = self.host.open()?;
        let options = self.trust.options(&host, None)?;
        Ok((host, options))
    }

    /// The host, and the conditions for its extensions of a class: what its configuration says counts where the arguments
    /// say nothing.
    pub(super) fn open(&self, class: Class) -> Result<(Host, Options), Failure> {
        let host = self.host.open()?;
        let settings = Settings::read(&host, class)?;
        let mut options = self.trust.options(&host, settings.policy.map(|setting| setting.value))?;
        let configured = settings.mutability.map(|setting| setting.value);
        options.mutability = self.mutable.or(configured).unwrap_or_default();
        Ok((host, options))
    }
}

impl ChoiceArguments {
    /// Puts the choices into the options.
    pub(super) fn apply(&self, options: &mut Options) {
        options.on_bad = match self.on_bad {
            Bad::Refuse => OnBad::RefuseAll,
            Bad::Skip => OnBad::Skip,
        };
        options.required = self.require.iter().cloned().collect();
        options.allow.clone_from(&self.allow);
    }
}

/// The options for one class: of the required extensions, those that it must have.
pub(super) fn of_class(options: &Options, class: Class) -> Options {
    let name = |text: &String| match text.split_once(':') {
        Some(("confext" | "sysext", name)) => text.starts_with(class.as_str()).then(|| name.to_owned()),
        _ => Some(text.clone()),
    };
    Options { required: options.required.iter().filter_map(name).collect(), ..options.clone() }
}

/// The argument `--allow`.
fn allowance(text: &str) -> Result<Allowance, String> {
    Allowance::parse(text).ok_or_else(|| {
        let known = VetoKind::ALLOWABLE.map(VetoKind::code).join(", ");
        format!("expected one of {known}, or NAME: and one of them")
    })
}

impl MergeArguments {
    /// The host, and how to merge a class over it.
    pub(super) fn open(&self, class: Class) -> Result<(Host, Options), Failure> {
        let (host, mut options) = self.stack.open(class)?;
        self.choice.apply(&mut options);
        options.attach = match self.attach {
            Attach::Auto => Mode::Auto,
            Attach::DmVerity => Mode::DmVerity,
            Attach::SealedMemory => Mode::SealedMemory,
            Attach::Plain => Mode::Plain,
            Attach::InPlace => Mode::InPlace,
        };
        options.checks = self.checks.checks();
        options.exchange = match self.exchange {
            ExchangeBy::Gapless => Exchange::Gapless,
            ExchangeBy::GapAllowed => Exchange::GapAllowed,
        };
        options.execution = match self.noexec {
            None => Execution::ByClass,
            Some(YesNo::Yes) => Execution::Forbidden,
            Some(YesNo::No) => Execution::Allowed,
        };
        match self.detect {
            DetectBy::Identity => {}
            DetectBy::Content => options.detect = Detect::Content,
            DetectBy::Always => options.replace = Replace::Always,
        }
        Ok((host, of_class(&options, class)))
    }
}
