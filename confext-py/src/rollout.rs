//! `rollout`: a version is used by a service, or what was used before is used again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use confext_core::rollout::{
    self as core, Check, Inside, Limit, MainProcess, Refresh, Reload, Rollout, Service, Signal, Times, Unit,
};
use confext_core::{Error, image_file, manager, publish, service};
use confext_ddi::release::Class;
use pyo3::exceptions::{PyException, PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::argument::{Moment, Pems, architecture, certificate_rules, class};
use crate::error::detached;
use crate::host::Host;
use crate::key_rules::KeyRulesArgument;
use crate::logs::told;
use crate::policy::PolicyArgument;
use crate::record::{Tuple, record};
use crate::store::{Pruned, Store, StoredVersion};

record! {
    /// A step of a rollout that failed.
    RolloutFailure {
        /// On which way: `there` or `back`.
        way: &'static str,
        /// Which step.
        step: &'static str,
        /// The stable code.
        code: &'static str,
        /// What was found and what was expected.
        message: String,
        /// What to do about it.
        hint: &'static str,
    }
}

record! {
    /// One step of a rollout begins or ends.
    RolloutEvent {
        /// How long after the rollout began.
        at: Duration,
        /// `there`: to the new version, or `back`.
        way: &'static str,
        /// Which step, like `publish`, `refresh`, `reload` or `check`.
        step: &'static str,
        /// The version it is about.
        version: Option<String>,
        /// `started`, `done` or `failed`.
        state: &'static str,
        /// Why it failed.
        failure: Option<RolloutFailure>,
    }
}

record! {
    /// What came of a rollout.
    RolloutOutcome {
        /// What the service runs now: `new`, `previous`, or `unknown`.
        runs: &'static str,
        /// The version that it runs; none when there was none before, or it is not known.
        version: Option<StoredVersion>,
        /// What was used before.
        previous: Option<StoredVersion>,
        /// Why the new version does not run: the first step that failed.
        failure: Option<RolloutFailure>,
        /// What could not be done after that, or after the new version ran.
        not_done: Tuple<RolloutFailure>,
        /// Versions of earlier rollouts that nobody finished. They are bad now.
        settled: Tuple<String>,
        /// What pruning did, where it was asked for.
        pruned: Option<Pruned>,
        /// Whether the new version runs, and all was done.
        complete: bool,
    }
}

impl From<core::Failure> for RolloutFailure {
    fn from(failure: core::Failure) -> Self {
        Self {
            way: failure.way.as_str(),
            step: failure.step.as_str(),
            code: failure.code,
            message: failure.message,
            hint: failure.hint,
        }
    }
}

impl From<core::Event> for RolloutEvent {
    fn from(event: core::Event) -> Self {
        Self {
            at: event.at,
            way: event.way.as_str(),
            step: event.step.as_str(),
            version: event.version,
            state: event.state.as_str(),
            failure: event.failure.map(RolloutFailure::from),
        }
    }
}

impl From<core::Outcome> for RolloutOutcome {
    fn from(outcome: core::Outcome) -> Self {
        Self {
            complete: outcome.is_complete(),
            runs: outcome.runs.as_str(),
            version: outcome.version.map(StoredVersion::from),
            previous: outcome.previous.map(StoredVersion::from),
            failure: outcome.failure.map(RolloutFailure::from),
            not_done: outcome.not_done.into_iter().collect(),
            settled: outcome.settled.into_iter().collect(),
            pruned: outcome.pruned.map(Pruned::from),
        }
    }
}

/// An interrupt, or an exception that is no failure of a step: it ends the rollout, and is raised at its end.
#[derive(Default)]
struct Raised(Mutex<Option<PyErr>>);

impl Raised {
    fn keep(&self, error: PyErr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn is_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the caller has had enough: also by an interrupt that nobody has looked for yet.
    fn look(&self) -> bool {
        if !self.is_there()
            && let Err(error) = Python::attach(|py| py.check_signals())
        {
            self.keep(error);
        }
        self.is_there()
    }

    /// Asks the caller. What is raised ends the rollout, too.
    fn is_enough(&self, cancelled: &Py<PyAny>) -> bool {
        let says = Python::attach(|py| cancelled.bind(py).call0()?.is_truthy());
        says.unwrap_or_else(|error| {
            self.keep(error);
            true
        })
    }

    /// Calls back. What is raised is a failure of the step; an interrupt ends the rollout.
    fn call(&self, what: &'static str, call: impl FnOnce(Python<'_>) -> PyResult<()>) -> Result<(), Error> {
        Python::attach(|py| {
            let Err(error) = call(py) else { return Ok(()) };
            let found = error.to_string();
            let code = if error.is_instance_of::<PyException>(py) {
                "rollout-callback"
            } else {
                self.keep(error);
                "rollout-cancelled"
            };
            Err(conflict(code, what, found, "a call that returns"))
        })
    }

    /// The same for a check, which may say `False`.
    fn ask(&self, call: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>) -> Result<(), Error> {
        let mut says_no = false;
        self.call("check", |py| {
            says_no = call(py)?.bind(py).is(pyo3::types::PyBool::new(py, false));
            Ok(())
        })?;
        match says_no {
            true => Err(conflict("rollout-check", "check", "False".to_owned(), "anything else")),
            false => Ok(()),
        }
    }
}

fn conflict(code: &'static str, target: &str, found: String, expected: &str) -> Error {
    let hint =
        confext_core::error::all_codes().find(|(known, _)| *known == code).map_or("", |(_, hint)| hint);
    Error::Conflict { code, target: target.to_owned(), found, expected: expected.to_owned(), hint }
}

fn version_of(version: Option<&publish::Version>) -> Option<StoredVersion> {
    version.cloned().map(StoredVersion::from)
}

/// A service that is an object of Python.
struct Object<'a> {
    name: String,
    object: Py<PyAny>,
    raised: &'a Raised,
}

impl Service for Object<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&mut self, _: &Limit<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn refresh(&mut self, _: &Limit<'_>) -> Result<(), Error> {
        self.raised.call("refresh", |py| self.object.call_method0(py, "refresh").map(drop))
    }

    fn reload(&mut self, _: &Limit<'_>) -> Result<(), Error> {
        self.raised.call("reload", |py| self.object.call_method0(py, "reload").map(drop))
    }

    fn check(&mut self, version: Option<&publish::Version>, _: &Limit<'_>) -> Result<(), Error> {
        self.raised.ask(|py| self.object.call_method1(py, "check", (version_of(version),)))
    }
}

/// What is rolled out to: the name of a unit, or an object with the methods of a service.
#[derive(FromPyObject)]
pub(crate) enum Target {
    Unit(String),
    Object(Py<PyAny>),
}

#[derive(FromPyObject)]
pub(crate) enum How {
    Name(String),
    Call(Py<PyAny>),
}

#[derive(FromPyObject)]
pub(crate) enum Checks {
    #[pyo3(transparent)]
    Command(Vec<String>),
    #[pyo3(transparent)]
    Call(Py<PyAny>),
}

/// How a unit is told and checked, as Python said it.
struct Steps {
    refresh: Option<Py<PyAny>>,
    reload: How,
    check: Option<Checks>,
    check_inside: bool,
    any_main_process: bool,
    settle: Duration,
}

impl Steps {
    fn unit<'a>(self, name: &str, raised: &'a Raised) -> Unit<'a> {
        let mut unit = Unit::new(name);
        if let Some(call) = self.refresh {
            unit.refresh =
                Refresh::Call(Box::new(move |_| raised.call("refresh", |py| call.call0(py).map(drop))));
        }
        unit.reload = match self.reload {
            How::Name(name) => named(&name).unwrap_or(Reload::Job),
            How::Call(call) => {
                Reload::Call(Box::new(move |_| raised.call("reload", |py| call.call0(py).map(drop))))
            }
        };
        let inside = if self.check_inside { Inside::Service } else { Inside::Host };
        unit.checks.extend(self.check.map(|check| match check {
            Checks::Command(words) => {
                let mut words = words.into_iter();
                let mut command = Command::new(words.next().unwrap_or_default());
                command.args(words);
                Check::Command(command, inside)
            }
            Checks::Call(call) => Check::Call(Box::new(move |_, version, _| {
                raised.ask(|py| call.call1(py, (version_of(version),)))
            })),
        }));
        unit.main = if self.any_main_process { MainProcess::AnyOther } else { MainProcess::Same };
        unit.settle = self.settle;
        unit
    }
}

fn named(name: &str) -> Option<Reload<'static>> {
    Some(match name {
        "job" => Reload::Job,
        "none" => Reload::Nothing,
        "SIGHUP" => Reload::Signal(Signal::Hup),
        "SIGUSR1" => Reload::Signal(Signal::Usr1),
        "SIGUSR2" => Reload::Signal(Signal::Usr2),
        _ => return None,
    })
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err(format!("{name}: found {value}, expected seconds from 0")))
}

/// The directory of versions that a unit lists for an image, as the service manager has loaded it.
fn store_of(unit: &str, image: &Path, class: Class, wait: Duration) -> Result<publish::Store, Error> {
    let unit = manager::unit_name(unit);
    let listed = service::Unit::live(&unit, wait)?.service.extensions;
    publish::Store::open(&core::store_of(&unit, &listed, image)?, class)
}

/// Roll a version out to a service: published, refreshed, reloaded, checked and good; or everything as before.
///
/// `service` is the name of a unit of systemd, or an object with a `name` and the methods `refresh()`, `reload()` and
/// `check(version)`. `events` is called with a `RolloutEvent` for each step when it begins and when it ends;
/// `progress`, with how many bytes of the image are done and how many there are, while it is published.
///
/// Without `store` the versions are those in the directory that the unit lists for images called as this one is, and their class is
/// `class_`; without `version` it is what the name of the image says, as in `NAME_VERSION.raw`.
///
/// `cancelled` is asked now and then, also while a step is waited for: what is true leads back, as far as that is possible.
///
/// A callback that raises an exception, and a check that returns `False`, are failures of their steps. An interrupt, and an
/// exception of `events` or `progress`, leads back, and is raised when that is done.
#[pyfunction]
#[pyo3(
    signature = (
        service, image, /, *, store=None, version=None, certificates, policy=PolicyArgument::default(), now=None,
        certificate_rules="", key_rules=None, architecture=None, tries=3, keep=None, host=None, refresh=None,
        reload=How::Name("job".to_owned()), check=None, check_inside=false, any_main_process=false, settle=0.0,
        check_timeout=30.0, timeout=90.0, wait=60.0, locks=None, events=None, progress=None,
        cancelled=None, class_="confext",
    ),
    text_signature = "(service, image, /, *, store=None, version=None, certificates, policy='signed', now=None, \
        certificate_rules='', key_rules=None, architecture=None, tries=3, keep=None, host=None, refresh=None, \
        reload='job', check=None, check_inside=False, any_main_process=False, settle=0.0, check_timeout=30.0, \
        timeout=90.0, wait=60.0, locks=None, events=None, progress=None, cancelled=None, class_='confext')"
)]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn rollout(
    py: Python<'_>,
    service: Target,
    image: PathBuf,
    store: Option<Py<Store>>,
    version: Option<String>,
    certificates: Pems,
    policy: PolicyArgument,
    now: Option<Moment>,
    certificate_rules: &str,
    key_rules: Option<KeyRulesArgument>,
    architecture: Option<&str>,
    tries: u32,
    keep: Option<usize>,
    host: Option<Py<Host>>,
    refresh: Option<Py<PyAny>>,
    reload: How,
    check: Option<Checks>,
    check_inside: bool,
    any_main_process: bool,
    settle: f64,
    check_timeout: f64,
    timeout: f64,
    wait: f64,
    locks: Option<PathBuf>,
    events: Option<Py<PyAny>>,
    progress: Option<Py<PyAny>>,
    cancelled: Option<Py<PyAny>>,
    class_: &str,
) -> PyResult<RolloutOutcome> {
    if let How::Name(name) = &reload
        && named(name).is_none()
    {
        let expected = "'job', 'none', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', or a function";
        return Err(PyValueError::new_err(format!("reload: found {name:?}, expected {expected}")));
    }
    if store.is_none() && matches!(service, Target::Object(_)) {
        return Err(PyTypeError::new_err(
            "store: found none, expected one for an object; a unit says which it has",
        ));
    }
    if matches!(&check, Some(Checks::Command(words)) if words.is_empty()) {
        return Err(PyValueError::new_err("check: found no word, expected a program and its arguments"));
    }
    let keep = keep
        .map(|keep| keep.try_into().map_err(|_| PyValueError::new_err("keep: found 0, expected at least 1")));
    let keep = keep.transpose()?;
    let settle = seconds("settle", settle)?;
    let times = Times {
        lock: seconds("wait", wait)?,
        refresh: seconds("timeout", timeout)?,
        reload: seconds("timeout", timeout)?,
        check: seconds("check_timeout", check_timeout)?.max(settle),
    };
    let rules = self::certificate_rules(py, certificate_rules)?;
    let now = Moment::or_now(now.as_ref());
    let host = host.map(|host| host.get().host());
    let class = class(class_)?;
    let unnamed = version.is_none();
    let mut options = publish::Options::new(version.unwrap_or_default());
    options.policy = policy.0;
    options.architecture = self::architecture(architecture)?;
    options.tries = Some(tries);
    let name = match &service {
        Target::Unit(name) => name.clone(),
        Target::Object(object) => object.getattr(py, "name")?.extract(py)?,
    };
    let steps = Steps { refresh, reload, check, check_inside, any_main_process, settle };
    let raised = Raised::default();
    let done = detached(py, || {
        options.verifier = certificates.read()?.verifier(now, rules)?;
        options.key_rules = key_rules.map(|rules| rules.read()).transpose()?.map(Arc::new);
        let listed;
        let store = match &store {
            Some(store) => store.get().store(),
            None => {
                listed = store_of(&name, &image, class, times.lock)?;
                &listed
            }
        };
        if unnamed {
            options.version = core::version_of(store.name(), &image)?;
        }
        let source = image_file::open(&image)?;
        let cancelled =
            || raised.look() || cancelled.as_ref().is_some_and(|cancelled| raised.is_enough(cancelled));
        let progress = |at: publish::Progress| {
            if let Some(progress) = &progress
                && let Err(error) = Python::attach(|py| progress.call1(py, (at.done_bytes, at.total_bytes)))
            {
                raised.keep(error);
            }
        };
        let mut wanted = Rollout::new(store, &source, options);
        wanted.times = times;
        wanted.keep = keep;
        wanted.cancelled = &cancelled;
        wanted.progress = &progress;
        if let Some(host) = host.filter(|_| keep.is_some()) {
            wanted.in_use = publish::in_use(&host)?;
        }
        if let Some(locks) = locks {
            wanted.locks = locks;
        }
        let mut tell = |event: core::Event| {
            Python::attach(|py| {
                let heard = told(py, RolloutEvent::from(event)).and_then(|event| match &events {
                    Some(events) => events.call1(py, (event,)).map(drop),
                    None => Ok(()),
                });
                if let Err(error) = heard {
                    raised.keep(error);
                }
            });
        };
        let outcome = match service {
            Target::Unit(_) => core::rollout(&wanted, &mut steps.unit(&name, &raised), &mut tell),
            Target::Object(object) => {
                let mut service = Object { name, object, raised: &raised };
                core::rollout(&wanted, &mut service, &mut tell)
            }
        };
        outcome.map(RolloutOutcome::from)
    });
    match raised.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => done.and_then(|outcome| told(py, outcome)),
    }
}
