//! The conditions that a `Host` has, and what is made of them for each call.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use confext_core::admission::{Detect, Exchange, Execution, HostMatch, OnBad, Options, Replace, Trust};
use confext_core::attach::{BlockChecks, Mode};
use confext_core::dmverity::{Checks, Corruption, ZeroBlocks};
use confext_core::manager::Reload;
use confext_core::plan::{Allowance, VetoKind};
use confext_core::settings::Mutability;
use confext_core::{Error, Host as Root, trace, trust};
use confext_ddi::policy::{KeyRules, Policy};
use confext_ddi::release::Class;
use confext_ddi::signature::{CertificateRules, Time};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::argument::{Trusted, choice, class};

/// What every merge and refresh of a `Host` is made with.
#[derive(Debug, Clone)]
pub(crate) struct Conditions {
    /// `None`: what the configuration says, where it is read.
    pub(crate) policy: Option<Policy>,
    /// `None`: the certificates of the host itself.
    pub(crate) trusted: Option<Trusted>,
    pub(crate) certificate_rules: CertificateRules,
    pub(crate) key_rules: Option<Arc<KeyRules>>,
    pub(crate) on_bad: OnBad,
    pub(crate) attach: Mode,
    pub(crate) checks: BlockChecks,
    pub(crate) host_match: HostMatch,
    pub(crate) allow: Vec<Allowance>,
    pub(crate) lock_wait: Duration,
    pub(crate) required: BTreeSet<String>,
    pub(crate) detect: Detect,
    /// `None`: what the configuration says, where it is read.
    pub(crate) mutability: Option<Mutability>,
    pub(crate) busy_wait: Duration,
    pub(crate) exchange: Exchange,
    pub(crate) execution: Execution,
    pub(crate) read_settings: bool,
}

impl Conditions {
    /// The conditions for a class; without one nothing is read of the configuration.
    pub(crate) fn options(
        &self,
        host: &Root,
        class: Option<Class>,
        replace: Replace,
    ) -> Result<Options, Error> {
        let (now, rules) = (SystemTime::now(), self.certificate_rules);
        let trust = match &self.trusted {
            None if rules == CertificateRules::default() => Trust::Host,
            None => {
                let certificates = trust::Trust::read(host, now)?.certificates;
                Trust::Verifier(Arc::new(certificates.rules(rules)))
            }
            Some(trusted) => {
                let verifier = trusted.verifier_on(host, Time::from(now), rules)?;
                verifier.map_or(Trust::Nobody, Trust::Verifier)
            }
        };
        let mut options = match class {
            Some(class) if self.read_settings => Options::for_host(host, class)?,
            _ => Options::default(),
        };
        if let Some(policy) = &self.policy {
            options.policy = policy.clone();
        }
        options.trust = trust;
        options.key_rules = self.key_rules.clone();
        options.on_bad = self.on_bad;
        options.attach = self.attach;
        options.checks = self.checks;
        options.host_match = self.host_match;
        options.replace = replace;
        options.allow = self.allow.clone();
        options.lock_wait = self.lock_wait;
        options.required.clone_from(&self.required);
        options.detect = self.detect;
        options.mutability = self.mutability.unwrap_or(options.mutability);
        options.busy_wait = self.busy_wait;
        options.exchange = self.exchange;
        options.execution = self.execution;
        Ok(options)
    }
}

/// What is asked of all stacks, or of a plan.
pub(crate) struct Question {
    planned: Option<Class>,
    compare: trace::Compare,
}

impl Question {
    pub(crate) fn new(planned: bool, class_: &str, content: bool) -> PyResult<Self> {
        let compare = if content { trace::Compare::Content } else { trace::Compare::Attributes };
        let class = class(class_)?;
        Ok(Self { planned: planned.then_some(class), compare })
    }

    pub(crate) fn with<T>(
        &self,
        host: &Root,
        conditions: &Conditions,
        links: trace::Links,
        ask: impl FnOnce(&trace::Tracer<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let admission = conditions.options(host, self.planned, Replace::default())?;
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

pub(crate) fn seconds(argument: &str, number: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(number).map_err(|error| PyValueError::new_err(format!("{argument}: {error}")))
}

/// What dm-verity checks.
pub(crate) fn checks(
    on_corruption: &str,
    at_most_once: bool,
    ignore_zero_blocks: bool,
) -> PyResult<BlockChecks> {
    let all = [Corruption::Fail, Corruption::Restart, Corruption::Panic].map(|mode| (mode.as_str(), mode));
    let corruption = choice("on_corruption", on_corruption, &all)?;
    let checks = if at_most_once { Checks::Once } else { Checks::Always };
    let zero_blocks = if ignore_zero_blocks { ZeroBlocks::Skip } else { ZeroBlocks::Check };
    Ok(BlockChecks::default().corruption(corruption).checks(checks).zero_blocks(zero_blocks))
}

/// The options, with the service manager told or not.
pub(crate) fn reloading(mut options: Options, reload: bool) -> Options {
    if reload {
        options.reload = Reload::AsAsked { wait: Duration::from_secs(90) };
    }
    options
}

/// An objection by its code, of all extensions or, as `NAME:CODE`, of one.
pub(crate) fn allowance(text: &str) -> PyResult<Allowance> {
    Allowance::parse(text).ok_or_else(|| {
        let known = VetoKind::ALLOWABLE.map(VetoKind::code).join(", ");
        PyValueError::new_err(format!(
            "allow: found {text:?}, expected one of {known}, or NAME: and one of them"
        ))
    })
}
