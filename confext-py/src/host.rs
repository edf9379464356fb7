//! `Host`: a root directory and the conditions under which its extensions are used.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use confext_core::admission::{Detect, Exchange, Execution, HostMatch, OnBad, Options, Replace};
use confext_core::attach::Mode;
use confext_core::settings::Mutability;
use confext_core::stack::Verb;
use confext_core::{Error, Host as Root, explain, refresh, stack, state, trace, trust};
use confext_ddi::release::Class;
use confext_ddi::signature::Time;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::argument::{Pems, certificate_rules, choice, class};
use crate::conditions::{Conditions, Question, allowance, checks, reloading, seconds};
use crate::error::detached;
use crate::explain::Explanation;
use crate::key_rules::KeyRulesArgument;
use crate::layer::Listing;
use crate::logs::told;
use crate::origin::Origin;
use crate::origins::Origins;
use crate::plan::Plan;
use crate::policy::PolicyArgument;
use crate::progress::Progress;
use crate::record::Tuple;
use crate::report::Report;
use crate::settings::Settings;
use crate::status::Status;
use crate::trust::TrustReport;

/// A root directory, `/` or that of another system, and the conditions under which its extensions are used.
///
/// The conditions are those of every merge and refresh made with this object, so that a refresh never replaces a stack
/// only because somebody forgot one. Nothing is kept but the open root directory: certificates have to be valid
/// whenever something is done.
///
/// - `policy`: what images must have.
/// - `certificates`: whose signatures count; `None`: those in the `verity.d` directories of the root; `()`: nobody's.
/// - `on_bad`: whether one bad extension stops a merge (`refuse`), or is left out and told of in `refused` (`skip`).
/// - `attach`: how images reach the kernel: by dm-verity where that is there and copied elsewhere (`auto`), or in one
///   way. `dm-verity` is only for images with a hash tree, `plain` only for those without.
/// - `host_match`: whether an extension must be for this host.
/// - `allow`: objections that do not stop a merge, by the codes of `Veto`; `NAME:CODE` of one extension alone.
/// - `lock_wait`: how many seconds to wait for another program that merges.
/// - `busy_wait`: how many seconds to wait for files that are open for writing in a stack that goes.
/// - `key_rules`: which signer may sign which extensions: `KeyRules`, the path of a file, or its text as `bytes`.
/// - `certificate_rules`: what certificates must be like, besides being trusted: `usage=required,chain=issued`.
/// - `require`: names of extensions without which nothing is merged, whatever `on_bad` says.
/// - `detect`: whether an extension without a hash tree is the same by its `identity` (inode, size and times), or by its
///   `content`, all of which is read then.
/// - `mutable`: whether what is merged can be written to, and where what is written goes.
/// - `exchange`: whether files of both may be missing for a moment when one stack takes the place of another
///   (`gap-allowed`), on kernels before Linux 6.5 that know no other way there.
/// - `noexec`: whether nothing is to be run from what is merged; `None`: nothing of a confext.
/// - `read_settings`: whether `sysext.conf` and `confext.conf` of the host count where `policy` and `mutable` are not
///   given, as they do for the command.
/// - `on_corruption`: what dm-verity does about a block that does not check: reading it fails (`fail`), or the machine is
///   restarted (`restart`) or panics (`panic`).
/// - `check_at_most_once`: dm-verity checks each block only when it is read for the first time.
/// - `ignore_zero_blocks`: dm-verity reads no block that is to be all zeros.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Host {
    host: Arc<Root>,
    conditions: Conditions,
}

#[pymethods]
impl Host {
    /// Open a root directory.
    #[new]
    #[pyo3(
        signature = (
            root=PathBuf::from("/"), *, policy=None, certificates=None, on_bad="refuse",
            attach="auto", host_match=true, allow=None, lock_wait=30.0, key_rules=None,
            certificate_rules="", require=None, detect="identity", mutable=None, busy_wait=2.0,
            exchange="gapless", noexec=None, read_settings=false, on_corruption="fail",
            check_at_most_once=false, ignore_zero_blocks=false,
        ),
        text_signature = "(root='/', *, policy=None, certificates=None, on_bad='refuse', \
            attach='auto', host_match=True, allow=None, lock_wait=30.0, key_rules=None, \
            certificate_rules='', require=None, detect='identity', mutable=None, busy_wait=2.0, \
            exchange='gapless', noexec=None, read_settings=False, on_corruption='fail', \
            check_at_most_once=False, ignore_zero_blocks=False)",
    )]
    #[expect(
        clippy::too_many_arguments,
        clippy::fn_params_excessive_bools,
        reason = "Python calls it with names"
    )]
    fn new(
        py: Python<'_>,
        root: PathBuf,
        policy: Option<PolicyArgument>,
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
        mutable: Option<&str>,
        busy_wait: f64,
        exchange: &str,
        noexec: Option<bool>,
        read_settings: bool,
        on_corruption: &str,
        check_at_most_once: bool,
        ignore_zero_blocks: bool,
    ) -> PyResult<Self> {
        let on_bad = choice("on_bad", on_bad, &[("refuse", OnBad::RefuseAll), ("skip", OnBad::Skip)])?;
        let attach = choice("attach", attach, &Mode::ALL.map(|mode| (mode.as_str(), mode)))?;
        let checks = checks(on_corruption, check_at_most_once, ignore_zero_blocks)?;
        let detect =
            choice("detect", detect, &[("identity", Detect::Identity), ("content", Detect::Content)])?;
        let modes = Mutability::ALL.map(|mode| (mode.as_str(), mode));
        let mutability = mutable.map(|mode| choice("mutable", mode, &modes)).transpose()?;
        let ways = [("gapless", Exchange::Gapless), ("gap-allowed", Exchange::GapAllowed)];
        let exchange = choice("exchange", exchange, &ways)?;
        let execution = match noexec {
            None => Execution::ByClass,
            Some(true) => Execution::Forbidden,
            Some(false) => Execution::Allowed,
        };
        let host_match = if host_match { HostMatch::Required } else { HostMatch::Ignored };
        let allow = allow.unwrap_or_default().iter().map(|text| allowance(text)).collect::<PyResult<_>>()?;
        let certificate_rules = self::certificate_rules(py, certificate_rules)?;
        let (lock_wait, busy_wait) = (seconds("lock_wait", lock_wait)?, seconds("busy_wait", busy_wait)?);
        detached(py, move || {
            let policy = policy.map(|policy| policy.0);
            let trusted = certificates.map(|certificates| certificates.read()).transpose()?;
            let key_rules = key_rules.map(|rules| rules.read().map(Arc::new)).transpose()?;
            let conditions = Conditions {
                policy,
                trusted,
                certificate_rules,
                key_rules,
                on_bad,
                attach,
                checks,
                host_match,
                allow,
                lock_wait,
                required: require.unwrap_or_default().into_iter().collect(),
                detect,
                mutability,
                busy_wait,
                exchange,
                execution,
                read_settings,
            };
            let host = Arc::new(Root::open(root)?);
            // What cannot be parsed is reported here, and not when it is needed.
            conditions.options(&host, None, Replace::default())?;
            Ok(Self { host, conditions })
        })
    }

    /// Where the root directory is.
    #[getter]
    fn root(&self) -> OsString {
        self.host.path().as_os_str().to_owned()
    }

    /// What images must have, unless the configuration is read and says something else.
    #[getter]
    fn policy(&self) -> crate::policy::Policy {
        crate::policy::Policy(self.conditions.policy.clone().unwrap_or_default())
    }

    /// What the configuration files of the host say of a class, whether or not that counts.
    #[pyo3(signature = (class_="confext"))]
    fn settings(&self, py: Python<'_>, class_: &str) -> PyResult<Settings> {
        let class = class(class_)?;
        detached(py, || Ok(Settings::new(class, &confext_core::settings::Settings::read(&self.host, class)?)))
    }

    /// The extensions that could be merged, whether they are, and what is left out.
    #[pyo3(signature = (class_="confext"))]
    fn list(&self, py: Python<'_>, class_: &str) -> PyResult<Listing> {
        self.with(py, class_, |host, class, options| Ok(Listing::from(&stack::list(host, class, options)?)))
            .and_then(|result| told(py, result))
    }

    /// Whose signatures count here, what the kernel can check, who would accept an image, and what to do next.
    ///
    /// Changes nothing; root sees more.
    #[pyo3(signature = (image=None))]
    fn trust_report(&self, py: Python<'_>, image: Option<PathBuf>) -> PyResult<TrustReport> {
        detached(py, || {
            let (now, rules) = (SystemTime::now(), self.conditions.certificate_rules);
            let sources = match &self.conditions.trusted {
                Some(trusted) => trusted.sources(Time::from(now), rules)?,
                None => trust::Sources::default().rules(rules),
            };
            let report = trust::report(&self.host, &sources, image.as_deref(), now)?;
            Ok::<_, Error>(TrustReport::from(&report))
        })
    }

    /// What becomes of every entry that has a name, in all search directories: used, and where in the stack, or why not.
    #[pyo3(signature = (name, class_="confext"))]
    fn explain(&self, py: Python<'_>, name: &str, class_: &str) -> PyResult<Explanation> {
        self.with(py, class_, |host, class, options| {
            Ok(Explanation::from(&explain(host, class, name, options)?))
        })
        .and_then(|result| told(py, result))
    }

    /// What a merge or refresh would do, path by path. Changes nothing.
    #[pyo3(signature = (class_="confext"))]
    fn plan(&self, py: Python<'_>, class_: &str) -> PyResult<Plan> {
        self.with(py, class_, |host, class, options| Ok(Plan::from(&stack::plan(host, class, options)?)))
            .and_then(|result| told(py, result))
    }

    /// Merge the extensions of a class over the directories of the host.
    ///
    /// `progress` is called while images are copied into memory, with how many bytes of all are done and how many there are.
    #[pyo3(signature = (class_="confext", *, reload=false, progress=None))]
    fn merge(
        &self,
        py: Python<'_>,
        class_: &str,
        reload: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Report> {
        let class = class(class_)?;
        self.watched(py, progress, Some(class), |host, options| {
            Ok(Report::from(&stack::merge(host, class, &reloading(options, reload))?))
        })
        .and_then(|result| told(py, result))
    }

    /// Make what is merged what should be merged; readers never miss a file that is in both. `progress` is as for `merge`.
    #[pyo3(signature = (class_="confext", *, force=false, reload=false, progress=None))]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn refresh(
        &self,
        py: Python<'_>,
        class_: &str,
        force: bool,
        reload: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Report> {
        let class = class(class_)?;
        self.watched(py, progress, Some(class), |host, mut options| {
            options.replace = if force { Replace::Always } else { Replace::WhenChanged };
            Ok(Report::from(&refresh(host, class, &reloading(options, reload))?))
        })
        .and_then(|result| told(py, result))
    }

    /// Take the stack of a class away. Nothing merged is no error.
    #[pyo3(signature = (class_="confext", *, reload=false))]
    fn unmerge(&self, py: Python<'_>, class_: &str, reload: bool) -> PyResult<Report> {
        let class = class(class_)?;
        detached(py, || {
            // What is wrong with the configuration does not keep anybody from being rid of a stack.
            let options = reloading(self.conditions.options(&self.host, None, Replace::default())?, reload);
            Ok(Report::from(&stack::unmerge(&self.host, class, &options)?))
        })
        .and_then(|result| told(py, result))
    }

    /// Do it to several classes in one go: all of it is done, or nothing. One report for each class. `progress` is as for
    /// `merge`, and begins anew with the second class.
    #[pyo3(
        signature = (verb, classes=None, *, force=false, reload=false, progress=None),
        text_signature = "($self, verb, classes=('sysext', 'confext'), *, force=False, reload=False, progress=None)",
    )]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn apply(
        &self,
        py: Python<'_>,
        verb: &str,
        classes: Option<Vec<String>>,
        force: bool,
        reload: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Tuple<Report>> {
        let verbs = [("merge", Verb::Merge), ("refresh", Verb::Refresh), ("unmerge", Verb::Unmerge)];
        let verb = choice("verb", verb, &verbs)?;
        let replace = if force { Replace::Always } else { Replace::WhenChanged };
        let classes = match classes {
            Some(classes) => classes.iter().map(|name| class(name)).collect::<PyResult<Vec<_>>>()?,
            None => vec![Class::Sysext, Class::Confext],
        };
        Progress::watch_images(py, progress, |watch| {
            let each = classes.iter().map(|class| {
                let configured = (verb != Verb::Unmerge).then_some(*class);
                let mut options = self.conditions.options(&self.host, configured, replace)?;
                options.watch = watch.clone();
                Ok((*class, reloading(options, reload)))
            });
            let each = each.collect::<Result<Vec<_>, Error>>()?;
            let wanted: Vec<_> = each.iter().map(|(class, options)| (*class, options)).collect();
            Ok(stack::apply(&self.host, verb, &wanted)?.iter().collect())
        })
        .and_then(|result| told(py, result))
    }

    /// How the hierarchies of a class stand.
    #[pyo3(signature = (class_="confext"))]
    fn status(&self, py: Python<'_>, class_: &str) -> PyResult<Tuple<Status>> {
        let class = class(class_)?;
        detached(py, || Ok(state::status(&self.host, class)?.iter().collect()))
            .and_then(|result| told(py, result))
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
        .and_then(|result| told(py, result))
    }

    /// All paths of every stack, one after the other, or those that are wanted.
    ///
    /// - `image`: those of one image, by the extension's name or the path of the image.
    /// - `signer`: those of one signer, by the fingerprint of the certificate or its subject.
    /// - `unverified`: those that nothing vouches for.
    ///
    /// `progress` is called, while the next one is asked for, with how much of all is done.
    #[pyo3(signature = (
        *, planned=false, class_="confext", content=false, image=None, signer=None, unverified=false, progress=None
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
        progress: Option<Py<PyAny>>,
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
        Ok(Origins::start(progress, move |sender| {
            question.with(&host, &conditions, trace::Links::Stay, |tracer| {
                let mut tree = tracer.tree();
                while let Some(origin) = tree.next() {
                    // Nobody wants the rest when nobody receives it.
                    if sender.tell(tree.progress()).is_break() {
                        return Ok(());
                    }
                    let wanted = origin.as_ref().map_or(true, |origin| filter.wants(origin));
                    if wanted && sender.answer(origin.map(|origin| Origin::from(&origin))).is_break() {
                        return Ok(());
                    }
                }
                _ = sender.tell(tree.progress());
                Ok(())
            })
        }))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let root = self.root().into_pyobject(py)?.repr()?;
        Ok(format!("confext.Host({root}, policy='{}')", self.policy().0))
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
        detached(py, || {
            let options = self.conditions.options(&self.host, Some(class), Replace::default())?;
            work(&self.host, class, &options)
        })
    }

    /// The same, and `progress` hears how far the images are that are copied.
    pub(crate) fn watched<T: Send>(
        &self,
        py: Python<'_>,
        progress: Option<Py<PyAny>>,
        class: Option<Class>,
        work: impl FnOnce(&Root, Options) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        Progress::watch_images(py, progress, |watch| {
            let mut options = self.conditions.options(&self.host, class, Replace::default())?;
            options.watch = watch;
            work(&self.host, options)
        })
    }

    /// The conditions of each of these classes, as they are now.
    pub(crate) fn conditions_of(&self, classes: &[Class]) -> Result<Vec<(Class, Options)>, Error> {
        let of = |class: &Class| {
            Ok((*class, self.conditions.options(&self.host, Some(*class), Replace::default())?))
        };
        classes.iter().map(of).collect()
    }

    /// The same for what is of no class: nothing is read of the configuration.
    pub(crate) fn with_any<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Root, &Options) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        detached(py, || {
            let options = self.conditions.options(&self.host, None, Replace::default())?;
            work(&self.host, &options)
        })
    }

    pub(crate) fn host(&self) -> Arc<Root> {
        Arc::clone(&self.host)
    }
}
