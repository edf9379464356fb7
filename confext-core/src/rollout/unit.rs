//! [`Unit`]: a service of the service manager, and how it refreshes, reloads and is checked

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use confext_ddi::unit::{Extensions, Name};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use super::check::{self, Inside};
use super::{Limit, Service, cancelled};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::manager::{self, Patience, UnitState};
use crate::publish::{self, Version};
use crate::service;

/// How often the state of a unit is asked for.
const PAUSE: Duration = Duration::from_millis(50);

type Call<'a> = Box<dyn FnMut(&Limit<'_>) -> Result<()> + 'a>;
type CheckCall<'a> = Box<dyn FnMut(&UnitState, Option<&Version>, &Limit<'_>) -> Result<()> + 'a>;

/// Who refreshes the stack of a unit.
///
/// ```
/// # use std::time::Duration;
/// use confext_core::rollout::{Limit, Refresh, Reload, Service as _, Signal, Unit};
///
/// # let limit = Limit::new(Duration::from_secs(5), &|| false);
/// let mut nginx = Unit::new("nginx");
/// // With a signal, the service manager has no part in the reload: it cannot refresh then, and somebody else has to.
/// nginx.reload = Reload::Signal(Signal::Hup);
/// assert_eq!(nginx.look(&limit).unwrap_err().code(), "rollout-refresh");
/// nginx.refresh = Refresh::Call(Box::new(|limit| {
///     println!("{} s for it", limit.left.as_secs());
///     Ok(())
/// }));
/// nginx.refresh(&limit)?;
/// # Ok::<(), confext_core::Error>(())
/// ```
#[non_exhaustive]
pub enum Refresh<'a> {
    /// The service manager, when it reloads the unit.
    ByManager,
    /// This library, in the mount namespace of the main process: see [`service::refresh`].
    Direct(Box<Direct<'a>>),
    /// The caller.
    Call(Call<'a>),
}

/// What a unit is to see, and on which conditions.
///
/// ```no_run
/// # use std::{fs::File, process::Command, time::Duration};
/// # use confext_core::publish::{Options, Store};
/// # use confext_ddi::release::Class;
/// # let store = Store::open("/var/lib/confexts/nginx.raw.v", Class::Confext)?;
/// # let image = File::open("nginx_2.raw")?;
/// # let mut options = Options::new("2");
/// # options.policy = confext_ddi::policy::Policy::verity();
/// use confext_core::rollout::{Check, Inside, Rollout, Runs, Unit, rollout};
///
/// use confext_core::rollout::{Direct, Refresh, Reload, Signal};
/// use confext_core::{Host, service};
///
/// let (host, wait) = (Host::open("/")?, Duration::from_secs(5));
/// let extensions = service::Unit::live("nginx", wait)?.service.extensions;
/// let view = service::Options::new(confext_core::Options::default());
/// let mut nginx = Unit::new("nginx");
/// nginx.refresh = Refresh::Direct(Box::new(Direct { host: &host, extensions, options: view }));
/// nginx.reload = Reload::Signal(Signal::Hup);
/// let outcome = rollout(&Rollout::new(&store, &image, options), &mut nginx, &mut |_| {})?;
/// assert_eq!(outcome.runs, Runs::New);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Direct<'a> {
    /// Where its images are.
    pub host: &'a Host,
    /// All its extensions, as its settings have them: those that are not among them are taken off.
    pub extensions: Extensions,
    /// Whose images count, and the rest.
    pub options: service::Options,
}

/// How a unit is told to read its configuration.
///
/// ```
/// # use std::time::Duration;
/// use std::cell::Cell;
///
/// use confext_core::rollout::{Limit, Reload, Service as _, Unit};
///
/// # let limit = Limit::new(Duration::from_secs(5), &|| false);
/// let told = Cell::new(false);
/// let mut nginx = Unit::new("nginx");
/// nginx.reload = Reload::Call(Box::new(|_limit| {
///     // `nginx -s reload`, a request to its port, …
///     told.set(true);
///     Ok(())
/// }));
/// nginx.reload(&limit)?;
/// assert!(told.get());
/// # Ok::<(), confext_core::Error>(())
/// ```
#[non_exhaustive]
pub enum Reload<'a> {
    /// By a job of the service manager.
    Job,
    /// By a signal to its main process.
    Signal(Signal),
    /// It is not told: it sees changes by itself.
    Nothing,
    /// The caller does it.
    Call(Call<'a>),
}

/// A signal that services take as a request to read their configuration.
///
/// ```no_run
/// # use std::{fs::File, process::Command, time::Duration};
/// # use confext_core::publish::{Options, Store};
/// # use confext_ddi::release::Class;
/// # let store = Store::open("/var/lib/confexts/nginx.raw.v", Class::Confext)?;
/// # let image = File::open("nginx_2.raw")?;
/// # let mut options = Options::new("2");
/// # options.policy = confext_ddi::policy::Policy::verity();
/// use confext_core::rollout::{Check, Inside, Rollout, Runs, Unit, rollout};
///
/// use confext_core::rollout::{Refresh, Reload, Signal};
///
/// let mut nginx = Unit::new("nginx");
/// // The service sees the directory of the host, so that there is nothing to refresh.
/// nginx.refresh = Refresh::Call(Box::new(|_limit| Ok(())));
/// nginx.reload = Reload::Signal(Signal::Hup);
/// // What a signal does shows only after a while.
/// nginx.settle = Duration::from_secs(2);
/// let outcome = rollout(&Rollout::new(&store, &image, options), &mut nginx, &mut |_| {})?;
/// assert_eq!(outcome.runs, Runs::New);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `SIGHUP`
    Hup,
    /// `SIGUSR1`
    Usr1,
    /// `SIGUSR2`
    Usr2,
}

/// How it is found out whether a unit works, beyond being active.
///
/// ```no_run
/// # use std::{fs::File, process::Command, time::Duration};
/// # use confext_core::publish::{Options, Store};
/// # use confext_ddi::release::Class;
/// # let store = Store::open("/var/lib/confexts/nginx.raw.v", Class::Confext)?;
/// # let image = File::open("nginx_2.raw")?;
/// # let mut options = Options::new("2");
/// # options.policy = confext_ddi::policy::Policy::verity();
/// use confext_core::rollout::{Check, Inside, Rollout, Runs, Unit, rollout};
///
/// # use confext_core::Error;
/// # fn asks_for(_: &str, _: Duration) -> bool { true }
/// let mut nginx = Unit::new("nginx");
/// nginx.checks.push(Check::Call(Box::new(|_state, version, limit| {
///     let expected = version.map_or("none", |version| version.version.as_str());
///     let missing = || Error::Missing { what: "its answer", why: format!("it does not say {expected}") };
///     asks_for(expected, limit.left).then_some(()).ok_or_else(missing)
/// })));
/// let outcome = rollout(&Rollout::new(&store, &image, options), &mut nginx, &mut |_| {})?;
/// assert_eq!(outcome.runs, Runs::New);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
pub enum Check<'a> {
    /// A command that exits with status 0. It finds the unit, its main process and the version in the variables `CONFEXT_UNIT`,
    /// `CONFEXT_MAIN_PID` and `CONFEXT_VERSION`.
    Command(Command, Inside),
    /// The caller looks. It gets the unit as it is, the version, and how long it may take.
    Call(CheckCall<'a>),
}

/// Whether a unit may have another main process afterwards.
///
/// ```no_run
/// # use std::{fs::File, process::Command, time::Duration};
/// # use confext_core::publish::{Options, Store};
/// # use confext_ddi::release::Class;
/// # let store = Store::open("/var/lib/confexts/nginx.raw.v", Class::Confext)?;
/// # let image = File::open("nginx_2.raw")?;
/// # let mut options = Options::new("2");
/// # options.policy = confext_ddi::policy::Policy::verity();
/// use confext_core::rollout::{Check, Inside, Rollout, Runs, Unit, rollout};
///
/// use confext_core::{Error, rollout::{MainProcess, Refresh, Reload}};
///
/// let mut app = Unit::new("app");
/// // It knows no reload: it is started again, and sees the version from its start on.
/// app.refresh = Refresh::Call(Box::new(|_limit| Ok(())));
/// app.reload = Reload::Call(Box::new(|_limit| {
///     let failed = |source| Error::Os { operation: "run", target: "systemctl".to_owned(), source };
///     Command::new("systemctl").args(["restart", "app"]).status().map(drop).map_err(failed)
/// }));
/// app.main = MainProcess::AnyOther;
/// let outcome = rollout(&Rollout::new(&store, &image, options), &mut app, &mut |_| {})?;
/// assert_eq!(outcome.runs, Runs::New);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MainProcess {
    /// It has to be the same: a reload is no restart.
    #[default]
    Same,
    /// It may be another one.
    AnyOther,
}

/// A unit of the service manager of this machine.
///
/// ```no_run
/// # use std::{fs::File, process::Command, time::Duration};
/// # use confext_core::publish::{Options, Store};
/// # use confext_ddi::release::Class;
/// # let store = Store::open("/var/lib/confexts/nginx.raw.v", Class::Confext)?;
/// # let image = File::open("nginx_2.raw")?;
/// # let mut options = Options::new("2");
/// # options.policy = confext_ddi::policy::Policy::verity();
/// use confext_core::rollout::{Check, Inside, Rollout, Runs, Unit, rollout};
///
/// let mut nginx = Unit::new("nginx");
/// let mut test = Command::new("nginx");
/// test.args(["-t", "-q"]);
/// nginx.checks.push(Check::Command(test, Inside::Service));
/// nginx.settle = Duration::from_secs(2);
/// let outcome = rollout(&Rollout::new(&store, &image, options), &mut nginx, &mut |event| {
///     eprintln!("{} {}", event.step.as_str(), event.state.as_str());
/// })?;
/// assert_eq!(outcome.runs, Runs::New, "{:?}", outcome.failure);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
pub struct Unit<'a> {
    name: String,
    /// Who refreshes its stack. Default: the service manager.
    pub refresh: Refresh<'a>,
    /// How it is told. Default: by a job.
    pub reload: Reload<'a>,
    /// What is checked beside its state, in order. Default: nothing.
    pub checks: Vec<Check<'a>>,
    /// Its main process. Default: the same.
    pub main: MainProcess,
    /// How long it has to stay active before the other checks. Default: not at all.
    pub settle: Duration,
    before: Option<UnitState>,
}

impl<'a> Unit<'a> {
    /// A unit; a name without an ending is that of a service.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: Name::whole(name),
            refresh: Refresh::ByManager,
            reload: Reload::Job,
            checks: Vec::new(),
            main: MainProcess::Same,
            settle: Duration::ZERO,
            before: None,
        }
    }

    fn state(&self, limit: &Limit<'_>) -> Result<UnitState> {
        manager::state(&self.name, patience(limit))
    }

    /// Waits until it is active, and looks whether it is still the same.
    fn active(&self, limit: &Limit<'_>) -> Result<UnitState> {
        let started = Instant::now();
        loop {
            let state = self.state(limit)?;
            let passing = matches!(state.active.as_str(), "reloading" | "refreshing" | "activating");
            if !passing || started.elapsed() >= limit.left {
                self.compare(&state)?;
                return Ok(state);
            }
            pause(limit)?;
        }
    }

    fn compare(&self, state: &UnitState) -> Result<()> {
        let differs = |found: String, expected: String| {
            Err(Error::conflict("rollout-service", self.name.as_str(), found, expected))
        };
        if state.active != "active" {
            let UnitState { active, sub, result, .. } = state;
            return differs(format!("{active} ({sub}, result {result})"), "active".to_owned());
        }
        let Some(before) = self.before.as_ref().filter(|_| self.main == MainProcess::Same) else {
            return Ok(());
        };
        if (state.main_pid, state.started) != (before.main_pid, before.started) {
            return differs(process(state), format!("{}, as before", process(before)));
        }
        Ok(())
    }

    fn namespace(&self, inside: Inside, state: &UnitState) -> Result<Option<u32>> {
        match (inside, state.main_pid) {
            (Inside::Host, _) => Ok(None),
            (Inside::Service, Some(pid)) => Ok(Some(pid)),
            (Inside::Service, None) => Err(self.without_main(state)),
        }
    }

    fn without_main(&self, state: &UnitState) -> Error {
        Error::conflict("rollout-service", self.name.as_str(), process(state), "a main process")
    }

    fn send(&self, signal: Signal, limit: &Limit<'_>) -> Result<()> {
        let failed = |operation| {
            let target = format!("the main process of {}", self.name);
            move |errno: rustix::io::Errno| Error::os(operation, target, errno)
        };
        let state = self.active(limit)?;
        let pid = state.main_pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Err(self.without_main(&state));
        };
        let main = pidfd_open(pid, PidfdFlags::empty()).map_err(failed("open"))?;
        // The number may have become that of another process before it was opened; from now on it cannot.
        let again = self.state(limit)?;
        if (again.main_pid, again.started) != (state.main_pid, state.started) {
            return Err(Error::conflict(
                "rollout-service",
                self.name.as_str(),
                process(&again),
                process(&state),
            ));
        }
        let signal = match signal {
            Signal::Hup => rustix::process::Signal::HUP,
            Signal::Usr1 => rustix::process::Signal::USR1,
            Signal::Usr2 => rustix::process::Signal::USR2,
        };
        pidfd_send_signal(main.as_fd(), signal).map_err(failed("signal"))
    }
}

impl std::fmt::Debug for Unit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, main, settle, .. } = self;
        f.debug_struct("Unit")
            .field("name", name)
            .field("main", main)
            .field("settle", settle)
            .finish_non_exhaustive()
    }
}

fn process(state: &UnitState) -> String {
    state.main_pid.map_or_else(|| "no main process".to_owned(), |pid| format!("main process {pid}"))
}

fn patience<'a>(limit: &'a Limit<'_>) -> Patience<'a> {
    Patience { wait: limit.left, stopped: limit.cancelled }
}

fn pause(limit: &Limit<'_>) -> Result<()> {
    if limit.is_cancelled() {
        return Err(cancelled());
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

impl Service for Unit<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&mut self, limit: &Limit<'_>) -> Result<()> {
        if matches!(self.refresh, Refresh::ByManager) && !matches!(self.reload, Reload::Job) {
            let expected = "a job, or a caller who refreshes";
            let found = "a reload that the service manager has no part in";
            return Err(Error::conflict("rollout-refresh", self.name.as_str(), found, expected));
        }
        self.before = None;
        let state = self.active(limit)?;
        if matches!(self.reload, Reload::Job) && !state.can_reload {
            let expected = "ExecReload=, Type=notify-reload or RefreshOnReload=";
            return Err(Error::conflict(
                "rollout-refresh",
                self.name.as_str(),
                "a unit without reload",
                expected,
            ));
        }
        self.before = Some(state);
        Ok(())
    }

    fn refresh(&mut self, limit: &Limit<'_>) -> Result<()> {
        match &mut self.refresh {
            Refresh::ByManager => Ok(()),
            Refresh::Direct(direct) => {
                let process = service::main_process(&self.name, limit.left)?;
                let mut options = direct.options.clone();
                options.wait = options.wait.min(limit.left);
                service::refresh(direct.host, &process, &direct.extensions, &options).map(drop)
            }
            Refresh::Call(call) => call(limit),
        }
    }

    fn reload(&mut self, limit: &Limit<'_>) -> Result<()> {
        match &mut self.reload {
            Reload::Job => manager::reload(&self.name, patience(limit)),
            Reload::Nothing => Ok(()),
            Reload::Call(call) => call(limit),
            Reload::Signal(signal) => {
                let signal = *signal;
                self.send(signal, limit)
            }
        }
    }

    fn check(&mut self, version: Option<&Version>, limit: &Limit<'_>) -> Result<()> {
        let started = Instant::now();
        let left = || Limit { left: limit.left.saturating_sub(started.elapsed()), ..*limit };
        let mut state = self.active(&left())?;
        while started.elapsed() < self.settle.min(limit.left) {
            pause(limit)?;
            state = self.active(&left())?;
        }
        let mut checks = std::mem::take(&mut self.checks);
        let checked = checks.iter_mut().try_for_each(|check| match check {
            Check::Call(call) => call(&state, version, &left()),
            Check::Command(command, inside) => {
                let pid = state.main_pid.map(|pid| pid.to_string()).unwrap_or_default();
                let version = version.map_or("", |version| version.version.as_str());
                let values = [
                    ("CONFEXT_UNIT", &self.name[..]),
                    ("CONFEXT_MAIN_PID", &pid),
                    ("CONFEXT_VERSION", version),
                ];
                command.envs(values);
                check::run(command, self.namespace(*inside, &state)?, &left())
            }
        });
        self.checks = checks;
        checked?;
        // One that ended while it was looked at does not work.
        self.active(&left()).map(drop)
    }

    fn in_use(&mut self) -> Result<BTreeSet<(u64, u64)>> {
        publish::attached()
    }
}
