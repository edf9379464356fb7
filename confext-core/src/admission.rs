//! [`Gate::admit`]: a candidate is opened once, judged by the policy and matched with the host; only what passes is used.

mod fit;
mod gate;
mod watch;

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use confext_ddi::dps::Designator;
use confext_ddi::fs::FileSystem;
use confext_ddi::limits::Limits;
use confext_ddi::policy::{Admitted, Evidence, KeyRules, Policy};
use confext_ddi::release::{Class, Strictness};
use confext_ddi::settings::Mutability;
use confext_ddi::signature::Verifier;

use crate::attach::{BlockChecks, Mode};
use crate::copies::Place;
use crate::discover::{Candidate, Severity};
use crate::error::{Error, Result};
use crate::host::Host;
pub use crate::host::Layers;
use crate::identity::Seen;
use crate::manager::Reload;
use crate::plan::Allowance;
pub use crate::state::Execution;
use crate::state::{self, Checked, Identity};
use crate::trust;
use crate::units::Request;

pub(crate) use fit::{Matcher, release_of};
pub use gate::Gate;
pub(crate) use gate::Terms;
pub(crate) use watch::Copying;
pub use watch::Watch;

/// Whose signatures count.
///
/// ```
/// use std::{sync::Arc, time::SystemTime};
///
/// use confext_core::{Options, admission::Trust};
/// use confext_ddi::signature::{Certificates, KeyPair};
///
/// let now = SystemTime::now().into();
/// let mut certificates = Certificates::new(now);
/// certificates.add_pem(&KeyPair::generate("vendor", now, 30)?.certificate_pem()?)?;
/// let mut options = Options::default();
/// options.trust = Trust::Verifier(Arc::new(certificates));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Trust {
    /// The certificates in the `verity.d` directories below the root.
    #[default]
    Host,
    /// Those of these sources, as they are when it starts.
    Sources(trust::Sources),
    /// Those this verifier knows.
    Verifier(Arc<dyn Verifier>),
    /// Nobody's: a policy that asks for a signature refuses every image.
    Nobody,
}

impl Trust {
    /// Who says whose signature it is; `None` where nobody does.
    pub(crate) fn open(&self, host: &Host) -> Result<Option<Arc<dyn Verifier>>> {
        let now = std::time::SystemTime::now();
        Ok(match self {
            Self::Nobody => None,
            Self::Verifier(verifier) => Some(Arc::clone(verifier)),
            Self::Sources(sources) => Some(sources.open(host, now)?.shared()),
            Self::Host => {
                let certificates: Arc<dyn Verifier> = Arc::new(trust::Trust::read(host, now)?.certificates);
                Some(certificates)
            }
        })
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Host => "Host",
            Self::Sources(_) => "Sources(…)",
            Self::Verifier(_) => "Verifier(…)",
            Self::Nobody => "Nobody",
        })
    }
}

/// What to do when something is wrong with one of the extensions. What is wrong with one of [`Options::required`] stops
/// everything in any case.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{admission::OnBad, plan};
/// use confext_ddi::release::Class;
///
/// std::fs::write(root.path().join("run/confexts/bad.raw"), "no image")?;
/// assert!(plan(&host, Class::Confext, &options)?.refusal.is_some());
///
/// options.on_bad = OnBad::Skip;
/// let plan = plan(&host, Class::Confext, &options)?;
/// assert_eq!(plan.refusal, None);
/// assert_eq!(plan.refused[0].name.as_deref(), Some("bad"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnBad {
    /// Nothing changes and the first fault is the error.
    #[default]
    RefuseAll,
    /// The others are used; the report names the ones left out.
    Skip,
}

/// Whether an extension must be for this host.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{admission::HostMatch, list};
/// use confext_ddi::release::Class;
///
/// // An extension of another distribution.
/// let release = "run/confexts/site/etc/extension-release.d/extension-release.site";
/// std::fs::write(root.path().join(release), "ID=other\n")?;
/// assert_eq!(list(&host, Class::Confext, &options)?.extensions.len(), 1);
///
/// options.host_match = HostMatch::Ignored;
/// assert_eq!(list(&host, Class::Confext, &options)?.extensions.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HostMatch {
    /// Its release file must match the host's `os-release`, else it is left out.
    #[default]
    Required,
    /// It need not have a release file.
    Ignored,
}

/// When a refresh replaces a stack.
///
/// ```no_run
/// use confext_core::stack::{Change, Outcome};
/// use confext_core::{Host, Options, admission::Replace, refresh};
/// use confext_ddi::release::Class;
///
/// let mut options = Options::default();
/// options.replace = Replace::Always;
/// let report = refresh(&Host::open("/")?, Class::Confext, &options)?;
/// assert_eq!(report.outcome, Outcome::Refreshed { because: vec![Change::Asked] });
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Replace {
    /// When an extension, what was checked of it, or the policy is another than before.
    #[default]
    WhenChanged,
    /// Always.
    Always,
}

/// How it is told whether an extension that no hash tree identifies is still the same.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{admission::Detect, plan};
/// use confext_ddi::release::Class;
///
/// assert_eq!(plan(&host, Class::Confext, &options)?.layers[0].identity.test(), "directory");
/// // Copied files are still the same.
/// options.detect = Detect::Content;
/// assert_eq!(plan(&host, Class::Confext, &options)?.layers[0].identity.test(), "content");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Detect {
    /// By what the file system says of it: of an image the file, of a directory everything in it. Nothing is read.
    #[default]
    Identity,
    /// By what it contains: it may be touched or copied, and an edit that puts the times back is seen. All of it is read.
    Content,
}

/// How a refresh puts one stack in the place of another.
///
/// ```no_run
/// use confext_core::{Host, Options, admission::Exchange, refresh};
/// use confext_ddi::release::Class;
///
/// let mut options = Options::default();
/// options.exchange = Exchange::GapAllowed;
/// let report = refresh(&Host::open("/")?, Class::Confext, &options)?;
/// println!("for a moment, files were missing in: {}", report.gaps.join(", "));
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Exchange {
    /// So that a file of both is never missing, or not at all.
    #[default]
    Gapless,
    /// The same, in the way that kernels before Linux 6.5 need.
    Propagated,
    /// Where there is no way without a gap, the old stack is taken away before the new one is put in place. That is so only
    /// before Linux 6.5, of a hierarchy that is itself a mount point.
    GapAllowed,
}

/// How to merge.
///
/// ```
/// use confext_core::Options;
/// use confext_core::admission::OnBad;
/// use confext_ddi::policy::Policy;
///
/// // Signed EROFS images only; a bad one is left out, but never "base".
/// let mut options = Options::default();
/// options.policy = Policy::parse("root=signed+absent+erofs")?;
/// options.on_bad = OnBad::Skip;
/// options.required.insert("base".to_owned());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Which protection images must have. Default: [`Policy::signed`].
    pub policy: Policy,
    /// Whose signatures count. Default: those of the host's certificates.
    pub trust: Trust,
    /// Which signer may sign which extensions. Default: every trusted signer every extension. With rules nothing is used
    /// whose signature was not checked, directories included.
    pub key_rules: Option<Arc<KeyRules>>,
    /// What to do about a bad extension. Default: refuse all.
    pub on_bad: OnBad,
    /// Whether extensions must be for this host. Default: they must.
    pub host_match: HostMatch,
    /// How a release file's name must fit the image's. Default: strictly.
    pub strictness: Strictness,
    /// How images reach the kernel. Default: [`Mode::Auto`].
    pub attach: Mode,
    /// What dm-verity checks, and what it does about blocks that do not check. Default: every block at each read, which
    /// fails.
    pub checks: BlockChecks,
    /// When a refresh replaces a stack. Default: when something changed.
    pub replace: Replace,
    /// Caps for everything that is read. Default: [`Limits::default`].
    pub limits: Limits,
    /// Objections that do not stop a merge, of all extensions or of one. Default: none.
    pub allow: Vec<Allowance>,
    /// How long to wait for another program that merges. Default: 30 seconds.
    pub lock_wait: Duration,
    /// How long to wait for files to be closed that are open for writing in a stack that goes. Who is just writing a file is
    /// done soon; who keeps one open for long does not close it because somebody waits. Default: 2 seconds.
    pub busy_wait: Duration,
    /// Whether the merged hierarchies can be written to. Default: no.
    pub mutability: Mutability,
    /// Extensions without which nothing is merged, by name: one of them that is missing, bad, for another host, masked
    /// or objected to is an error, whatever [`Options::on_bad`] says. Default: none.
    pub required: BTreeSet<String>,
    /// Whether the service manager is told what extensions ask of it. Default: no.
    pub reload: Reload,
    /// How a refresh tells whether an extension is still the same. Default: by its identity.
    pub detect: Detect,
    /// How layers get to the kernel. Default: as it can take them.
    pub layers: Layers,
    /// How a stack takes the place of another. Default: without a gap.
    pub exchange: Exchange,
    /// Whether programs can be run from what is merged. Default: from a sysext, not from a confext.
    pub execution: Execution,
    /// Who hears how far the images are that are copied, and may end that. Default: nobody.
    pub watch: Watch,
}

impl Options {
    /// Whether an extension that is left out leaves all others out.
    pub(crate) fn is_fatal(&self, name: Option<&str>, severity: Severity) -> bool {
        let required = name.is_some_and(|name| self.required.contains(name));
        required || (severity == Severity::Refused && self.on_bad == OnBad::RefuseAll)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            trust: Trust::default(),
            key_rules: None,
            on_bad: OnBad::default(),
            host_match: HostMatch::default(),
            strictness: Strictness::default(),
            attach: Mode::default(),
            checks: BlockChecks::default(),
            replace: Replace::default(),
            limits: Limits::default(),
            allow: Vec::new(),
            lock_wait: Duration::from_secs(30),
            busy_wait: Duration::from_secs(2),
            mutability: Mutability::default(),
            required: BTreeSet::new(),
            reload: Reload::default(),
            detect: Detect::default(),
            layers: Layers::default(),
            exchange: Exchange::default(),
            execution: Execution::default(),
            watch: Watch::default(),
        }
    }
}

/// An extension that may be used: what was looked at is what is held open here.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{discover::discover, admission::{Extension, Gate}};
/// use confext_ddi::{Limits, release::Class};
///
/// let gate = Gate::open(&host, Class::Confext, &options)?;
/// let candidate = discover(&host, Class::Confext)?.candidates.remove(0);
/// let extension: Extension = gate.admit(candidate).map_err(|left_out| left_out.error)?;
/// assert_eq!(extension.candidate().name, "app");
/// assert_eq!(extension.files(&Limits::default())?.read(b"etc/app.conf")?, b"answer = 42\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Extension {
    candidate: Candidate,
    identity: Identity,
    evidence: Evidence,
    matched: Matched,
    classes: Vec<Class>,
    named: Named,
    request: Request,
    body: Body,
    seen: Seen,
}

/// Whether an extension is known to be for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matched {
    /// It is, or nobody asked.
    Yes,
    /// Only the kernel can read its file system: it is matched when it is mounted, before it is used.
    WhenMounted,
}

/// How its release file is found.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// After this file name.
    pub(crate) image_name: String,
    /// As strictly as this.
    pub(crate) strictness: Strictness,
}

/// Where an extension's files are.
#[derive(Debug)]
pub(crate) enum Body {
    /// In an image that the policy admitted.
    Image(Box<Admitted<File>>),
    /// In a directory, which the policy allows.
    Directory(Box<Place>),
}

impl Extension {
    /// Where it was found.
    #[must_use]
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// What tells it from another one of the same name.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What was checked of it.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What it is used as; none is known yet when only the kernel can read its file system.
    #[must_use]
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// What its release file asks of the service manager; nothing when only the kernel can read it.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Its files, as they would be mounted at the root.
    ///
    /// # Errors
    ///
    /// `file-system-unsupported` when only the kernel can read its file system.
    pub fn files(&self, limits: &Limits) -> Result<Box<dyn FileSystem + '_>> {
        match &self.body {
            Body::Image(admitted) => {
                admitted.file_system(limits).map_err(|error| in_image(&self.candidate, error))
            }
            Body::Directory(place) => Ok(Box::new(&place.directory)),
        }
    }

    /// What is written down about it; which hierarchies it has files in is not known yet.
    #[must_use]
    pub fn record(&self) -> state::Layer {
        let partition = match &self.body {
            Body::Image(admitted) => {
                let data = admitted.image().data();
                Some(state::Partition {
                    designator: data.designator.as_str().to_owned(),
                    number: data.number.map(confext_ddi::units::PartitionNumber::value),
                    uuid: data.uuid,
                })
            }
            Body::Directory(_) => None,
        };
        state::Layer {
            name: self.candidate.name.clone(),
            path: self.candidate.path.to_string_lossy().into_owned(),
            kind: self.candidate.kind,
            version: self.candidate.version.clone(),
            identity: self.identity.clone(),
            checked: Checked::from(&self.evidence),
            partition,
            hierarchies: Vec::new(),
            attached: None,
        }
    }

    /// The partition of an image that its files are in.
    pub(crate) fn designator(&self) -> Option<Designator> {
        match &self.body {
            Body::Image(admitted) => Some(admitted.image().data().designator),
            Body::Directory(_) => None,
        }
    }

    pub(crate) fn matched(&self) -> Matched {
        self.matched
    }

    /// How its release file is found.
    pub(crate) fn named(&self) -> &Named {
        &self.named
    }

    /// What systemd would write down of it.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    pub(crate) fn into_parts(self) -> Parts {
        let Self { candidate, matched, classes, named, request, body, seen, .. } = self;
        Parts { candidate, matched, classes, named, request, body, seen }
    }
}

/// What is left of an extension when its record is made: see [`Extension`].
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) candidate: Candidate,
    pub(crate) matched: Matched,
    pub(crate) classes: Vec<Class>,
    pub(crate) named: Named,
    pub(crate) request: Request,
    pub(crate) body: Body,
    pub(crate) seen: Seen,
}

/// Why an extension is left out.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{Options, admission::Gate, discover::{Severity, discover}};
/// use confext_ddi::release::Class;
///
/// // Nobody can sign a directory, and that is what the default policy asks for.
/// let options = Options::default();
/// let gate = Gate::open(&host, Class::Confext, &options)?;
/// let candidate = discover(&host, Class::Confext)?.candidates.remove(0);
/// let left_out = gate.admit(candidate).unwrap_err();
/// assert_eq!((left_out.severity, left_out.error.code()), (Severity::Refused, "policy"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LeftOut {
    /// How bad that is.
    pub severity: Severity,
    /// The fault.
    pub error: Error,
}

impl From<Error> for LeftOut {
    fn from(error: Error) -> Self {
        Self { severity: Severity::Refused, error }
    }
}

fn in_image(candidate: &Candidate, source: confext_ddi::Error) -> Error {
    Error::Image { image: candidate.path.display().to_string(), source }
}
