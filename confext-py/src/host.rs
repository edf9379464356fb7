//! `Host`: a root directory and the conditions under which its extensions are used.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use confext_core::admission::{Detect, HostMatch, OnBad, Options, Replace, Trust};
use confext_core::attach::Mode;
use confext_core::manager::Reload;
use confext_core::plan::{Allowance, VetoKind};
use confext_core::settings::Mutability;
use confext_core::stack::Verb;
use confext_core::{Error, Host as Root, explain, refresh, stack, state, trace};
use confext_ddi::policy::{KeyRules, Policy};
use confext_ddi::release::Class;
use confext_ddi::signature::{CertificateRules, Time};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::argument::{Pems, Trusted, certificate_rules, choice, class};
use crate::error::detached;
use crate::explain::Explanation;
use crate::key_rules::KeyRulesArgument;
use crate::layer::Listing;
use crate::origin::Origin;
use crate::origins::Origins;
use crate::plan::Plan;
use crate::policy::PolicyArgument;
use crate::record::Tuple;
use crate::report::Report;
use crate::status::Status;

/// A root directory, `/` or that of another system, and the conditions under which its extensions are used.
///
/// The conditions are those of every merge and refresh made with this object, so that a refresh never replaces a stack
/// only because somebody forgot one. Nothing is kept but the open root directory: certificates have to be valid
/// whenever something is done.
///
/// - `policy`: what images must have.
/// - `certificates`: whose signatures count; `None`: those in the `verity.d` directories of the root; `()`: nobody's.
/// - `on_bad`: whether one bad extension stops a merge (`refuse`), or is left out and told of in `refused` (`skip`).
/// - `attach`: how images reach the kernel. `plain` is only for images without a hash tree.
/// - `host_match`: whether an extension must be for this host.
/// - `allow`: objections that do not stop a merge, by the codes of `Veto`; `NAME:CODE` of one extension alone.
/// - `lock_wait`: how many seconds to wait for another program that merges.
/// - `key_rules`: which signer may sign which extensions: `KeyRules`, the path of a file, or its text as `bytes`.
/// - `certificate_rules`: what certificates must be like, besides being trusted: `usage=required,chain=issued`.
/// - `require`: names of extensions without which nothing is merged, whatever `on_bad` says.
/// - `detect`: whether an extension without a hash tree is the same by its `identity` (inode, size and times), or by its
///   `content`, all of which is read then.
/// - `mutable`: whether what is merged can be written to, and where what is written goes.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Host {
    host: Arc<Root>,
    conditions: Conditions,
}

#[derive(Debug, Clone)]
struct Conditions {
    policy: Policy,
    /// `None`: the certificates of the host itself.
    trusted: Option<Trusted>,
    certificate_rules: CertificateRules,
    key_rules: Option<Arc<KeyRules>>,
    on_bad: OnBad,
    attach: Mode,
    host_match: HostMatch,
    allow: Vec<Allowance>,
    lock_wait: Duration,
    required: BTreeSet<String>,
    detect: Detect,
    mutability: Mutability,
}

#[pymethods]
impl Host {
    /// Open a root directory.
    #[new]
    #[pyo3(
        signature = (
            root=PathBuf::from("/"), *, policy=PolicyArgument::default(), certificates=None, on_bad="refuse",
            attach="sealed-memory", host_match=true, allow=None, lock_wait=30.0, key_rules=None,
            certificate_rules="", require=None, detect="identity", mutable="no",
        ),
        text_signature = "(root='/', *, policy='signed', certificates=None, on_bad='refuse', \
            attach='sealed-memory', host_match=True, allow=None, lock_wait=30.0, key_rules=None, \
            certificate_rules='', require=None, detect='identity', mutable='no')",
    )]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn new(
        py: Python<'_>,
        root: PathBuf,
        policy: PolicyArgument,
        certificates: Option<Pems>,
        on_bad: &str,
        attach: &str,
        host_match: bool,
        allow: Option<Vec<String>>,
        lock_wait: f64,
        key_rules: Option<KeyRulesArgument>,
        certificate_rules: &str,
        require: Option<Vec<String>>,
        detect: &str,
        mutable: &str,
    ) -> PyResult<Self> {
        let on_bad = choice("on_bad", on_bad, &[("refuse", OnBad::RefuseAll), ("skip", OnBad::Skip)])?;
        let modes =
            [("sealed-memory", Mode::SealedMemory), ("plain", Mode::Plain), ("in-place", Mode::InPlace)];
        let attach = choice("attach", attach, &modes)?;
        let detect =
            choice("detect", detect, &[("identity", Detect::Identity), ("content", Detect::Content)])?;
        let modes = Mutability::ALL.map(|mode| (mode.as_str(), mode));
        let mutability = choice("mutable", mutable, &modes)?;
        let host_match = if host_match { HostMatch::Required } else { HostMatch::Ignored };
        let allow = allow.unwrap_or_default().iter().map(|text| allowance(text)).collect::<PyResult<_>>()?;
        let certificate_rules = self::certificate_rules(py, certificate_rules)?;
        let lock_wait = Duration::try_from_secs_f64(lock_wait)
            .map_err(|error| PyValueError::new_err(format!("lock_wait: {error}")))?;
        detached(py, move || {
            let policy = policy.0;
            let trusted = certificates.map(|certificates| certificates.read()).transpose()?;
            let key_rules = key_rules.map(|rules| rules.read().map(Arc::new)).transpose()?;
            let conditions = Conditions {
                policy,
                trusted,
                certificate_rules,
                key_rules,
                on_bad,
                attach,
                host_match,
                allow,
                lock_wait,
                required: require.unwrap_or_default().into_iter().collect(),
                detect,
                mutability,
            };
            let host = Arc::new(Root::open(root)?);
            // What cannot be parsed is reported here, and not when it is needed.
            conditions.options(&host, Replace::default())?;
            Ok(Self { host, conditions })
        })
    }

    /// Where the root directory is.
    #[getter]
    fn root(&self) -> OsString {
        self.host.path().as_os_str().to_owned()
    }

    /// What images must have.
    #[getter]
    fn policy(&self) -> crate::policy::Policy {
        crate::policy::Policy(self.conditions.policy.clone())
    }

    /// The extensions that could be merged, whether they are, and what is left out.
    #[pyo3(signature = (class_="confext"))]
    fn list(&self, py: Python<'_>, class_: &str) -> PyResult<Listing> {
        self.with(py, class_, |host, class, options| Ok(Listing::from(&stack::list(host, class, options)?)))
    }

    /// What becomes of every entry that has a name, in all search directories: used, and where in the stack, or why not.
    #[pyo3(signature = (name, class_="confext"))]
    fn explain(&self, py: Python<'_>, name: &str, class_: &str) -> PyResult<Explanation> {
        self.with(py, class_, |host, class, options| {
            Ok(Explanation::from(&explain(host, class, name, options)?))
        })
    }

    /// What a merge or refresh would do, path by path. Changes nothing.
    #[pyo3(signature = (class_="confext"))]
    fn plan(&self, py: Python<'_>, class_: &str) -> PyResult<Plan> {
        self.with(py, class_, |host, class, options| Ok(Plan::from(&stack::plan(host, class, options)?)))
    }

    /// Merge the extensions of a class over the directories of the host.
    #[pyo3(signature = (class_="confext", *, reload=false))]
    fn merge(&self, py: Python<'_>, class_: &str, reload: bool) -> PyResult<Report> {
        self.with(py, class_, |host, class, options| {
            Ok(Report::from(&stack::merge(host, class, &reloading(options.clone(), reload))?))
        })
    }

    /// Make what is merged what should be merged; readers never miss a file that is in both.
    #[pyo3(signature = (class_="confext", *, force=false, reload=false))]
    fn refresh(&self, py: Python<'_>, class_: &str, force: bool, reload: bool) -> PyResult<Report> {
        let replace = if force { Replace::Always } else { Replace::WhenChanged };
        let class = class(class_)?;
        detached(py, || {
            let options = reloading(self.conditions.options(&self.host, replace)?, reload);
            Ok(Report::from(&refresh(&self.host, class, &options)?))
        })
    }

    /// Take the stack of a class away. Nothing merged is no error.
    #[pyo3(signature = (class_="confext", *, reload=false))]
    fn unmerge(&self, py: Python<'_>, class_: &str, reload: bool) -> PyResult<Report> {
        self.with(py, class_, |host, class, options| {
            Ok(Report::from(&stack::unmerge(host, class, &reloading(options.clone(), reload))?))
        })
    }

    /// Do it to several classes in one go: all of it is done, or nothing. One report for each class.
    #[pyo3(
        signature = (verb, classes=None, *, force=false, reload=false),
        text_signature = "($self, verb, classes=('sysext', 'confext'), *, force=False, reload=False)",
    )]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn apply(
        &self,
        py: Python<'_>,
        verb: &str,
        classes: Option<Vec<String>>,
        force: bool,
        reload: bool,
    ) -> PyResult<Tuple<Report>> {
        let verbs = [("merge", Verb::Merge), ("refresh", Verb::Refresh), ("unmerge", Verb::Unmerge)];
        let verb = choice("verb", verb, &verbs)?;
        let replace = if force { Replace::Always } else { Replace::WhenChanged };
        let classes = match classes {
            Some(classes) => classes.iter().map(|name| class(name)).collect::<PyResult<Vec<_>>>()?,
            None => vec![Class::Sysext, Class::Confext],
        };
        detached(py, || {
            let options = reloading(self.conditions.options(&self.host, replace)?, reload);
            let wanted: Vec<_> = classes.iter().map(|class| (*class, &options)).collect();
            Ok(stack::apply(&self.host, verb, &wanted)?.iter().collect())
        })
    }

    /// How the hierarchies of a class stand.
    #[pyo3(signature = (class_="confext"))]
    fn status(&self, py: Python<'_>, class_: &str) -> PyResult<Tuple<Status>> {
        let class = class(class_)?;
        detached(py, || Ok(state::status(&self.host, class)?.iter().collect()))
    }

    /// Where a path inside the root comes from, or would come from after a merge of the class.
    ///
    /// `follow` also says where that comes from which a symbolic link leads to; `content` compares the content of a file
    /// that is seen with that of the image, and not only its attributes.
    #[pyo3(signature = (path, *, planned=false, class_="confext", follow=false, content=false))]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn trace(
        &self,
        py: Python<'_>,
        path: PathBuf,
        planned: bool,
        class_: &str,
        follow: bool,
        content: bool,
    ) -> PyResult<Origin> {
        let question = Question::new(planned, class_, content)?;
        detached(py, || {
            let links = if follow { trace::Links::Follow } else { trace::Links::Stay };
            question
                .with(&self.host, &self.conditions, links, |tracer| Ok(Origin::from(&tracer.trace(path)?)))
        })
    }

    /// All paths of every stack, one after the other, or those that are wanted.
    ///
    /// - `image`: those of one image, by the extension's name or the path of the image.
    /// - `signer`: those of one signer, by the fingerprint of the certificate or its subject.
    /// - `unverified`: those that nothing vouches for.
    #[pyo3(signature = (
        *, planned=false, class_="confext", content=false, image=None, signer=None, unverified=false
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn trace_all(
        &self,
        planned: bool,
        class_: &str,
        content: bool,
        image: Option<String>,
        signer: Option<String>,
        unverified: bool,
    ) -> PyResult<Origins> {
        let question = Question::new(planned, class_, content)?;
        let filter = match (image, signer, unverified) {
            (None, None, false) => trace::Filter::All,
            (Some(image), None, false) => trace::Filter::Image(image),
            (None, Some(signer), false) => trace::Filter::Signer(signer),
            (None, None, true) => trace::Filter::Unverified,
            _ => return Err(PyValueError::new_err("image, signer and unverified: one of them at most")),
        };
        let (host, conditions) = (Arc::clone(&self.host), self.conditions.clone());
        Ok(Origins::start(move |send| {
            question.with(&host, &conditions, trace::Links::Stay, |tracer| {
                for origin in tracer.tree() {
                    let wanted = origin.as_ref().map_or(true, |origin| filter.wants(origin));
                    // Nobody wants the rest when nobody receives it.
                    if wanted && send(origin.map(|origin| Origin::from(&origin))).is_break() {
                        break;
                    }
                }
                Ok(())
            })
        }))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let root = self.root().into_pyobject(py)?.repr()?;
        Ok(format!("confext.Host({root}, policy='{}')", self.conditions.policy))
    }
}

impl Host {
    /// Does something with the host under its conditions as they are now.
    pub(crate) fn with<T: Send>(
        &self,
        py: Python<'_>,
        class_: &str,
        work: impl FnOnce(&Root, Class, &Options) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let class = class(class_)?;
        detached(py, || work(&self.host, class, &self.conditions.options(&self.host, Replace::default())?))
    }

    pub(crate) fn host(&self) -> Arc<Root> {
        Arc::clone(&self.host)
    }
}

/// What is asked of all stacks, or of a plan.
struct Question {
    planned: Option<Class>,
    compare: trace::Compare,
}

impl Question {
    fn new(planned: bool, class_: &str, content: bool) -> PyResult<Self> {
        let compare = if content { trace::Compare::Content } else { trace::Compare::Attributes };
        let class = class(class_)?;
        Ok(Self { planned: planned.then_some(class), compare })
    }

    fn with<T>(
        &self,
        host: &Root,
        conditions: &Conditions,
        links: trace::Links,
        ask: impl FnOnce(&trace::Tracer<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let admission = conditions.options(host, Replace::default())?;
        let mut options = trace::Options::default();
        options.limits = admission.limits.clone();
        options.trust = admission.trust.clone();
        (options.compare, options.links) = (self.compare, links);
        let tracer = match self.planned {
            Some(class) => trace::Tracer::planned(host, &[class], &admission, &options)?,
            None => trace::Tracer::live(host, &options)?,
        };
        ask(&tracer)
    }
}

impl Conditions {
    fn options(&self, host: &Root, replace: Replace) -> Result<Options, Error> {
        let (now, rules) = (SystemTime::now(), self.certificate_rules);
        let trust = match &self.trusted {
            None if rules == CertificateRules::default() => Trust::Host,
            None => {
                let certificates = confext_core::trust::Trust::read(host, now)?.certificates;
                Trust::Verifier(Arc::new(certificates.rules(rules)))
            }
            Some(trusted) => match trusted.certificates(Time::from(now), rules)? {
                Some(certificates) => Trust::Verifier(Arc::new(certificates)),
                None => Trust::Nobody,
            },
        };
        let mut options = Options::default();
        options.policy = self.policy.clone();
        options.trust = trust;
        options.key_rules = self.key_rules.clone();
        options.on_bad = self.on_bad;
        options.attach = self.attach;
        options.host_match = self.host_match;
        options.replace = replace;
        options.allow = self.allow.clone();
        options.lock_wait = self.lock_wait;
        options.required.clone_from(&self.required);
        options.detect = self.detect;
        options.mutability = self.mutability;
        Ok(options)
    }
}

/// The options, with the service manager told or not.
fn reloading(mut options: Options, reload: bool) -> Options {
    if reload {
        options.reload = Reload::AsAsked { wait: Duration::from_secs(90) };
    }
    options
}

/// An objection by its code, of all extensions or, as `NAME:CODE`, of one.
fn allowance(text: &str) -> PyResult<Allowance> {
    Allowance::parse(text).ok_or_else(|| {
        let known = VetoKind::ALLOWABLE.map(VetoKind::code).join(", ");
        PyValueError::new_err(format!(
            "allow: found {text:?}, expected one of {known}, or NAME: and one of them"
        ))
    })
}
