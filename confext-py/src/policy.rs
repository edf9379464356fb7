//! `Policy`: which protection the partitions of an image must have.

use std::hash::{Hash as _, Hasher as _};

use confext_ddi::policy::{self, Finding, Preset};
use pyo3::basic::CompareOp;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator};

use crate::argument::{Mapping, choice, designator};
use crate::error::raise;
use crate::record::{Tuple, record};
use crate::rule::{Rule, RuleArgument, compare, protection};

/// Which protection each partition of an image must have.
///
/// `Policy` takes `signed`, `verity`, `unprotected`, `@` and the name of a preset of systemd, or the words of
/// systemd.image-policy(7): `root=signed+absent:=ignore`. Every function with an argument `policy` takes these, too.
///
/// - `policy[designator]` is the rule that holds for a partition, its own or the default; `None` where nothing satisfies
///   it. Keys are the designators that policies can name, whether there is a rule or not.
/// - `first & second` admits what both admit (`RefusedError` where they have nothing in common), `first | second` is the
///   strictest that admits what either admits.
/// - `first <= second`: everything that `first` admits is admitted by `second`, too. Of two policies it can be that neither
///   is as strict as the other, and that each is. Equal are those with the same rules.
#[pyclass(frozen, module = "confext")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Policy(pub(crate) policy::Policy);

#[pymethods]
impl Policy {
    /// The partitions that a rule can be about.
    #[classattr]
    #[pyo3(name = "DESIGNATORS")]
    fn designators() -> Tuple<&'static str> {
        Self::names().collect()
    }

    /// The names that `preset` takes.
    #[classattr]
    #[pyo3(name = "PRESETS")]
    fn presets() -> Tuple<&'static str> {
        Preset::ALL.into_iter().map(Preset::as_str).collect()
    }

    /// Parse a policy, or look one up by its name.
    #[new]
    #[pyo3(signature = (policy, /))]
    fn new(policy: PolicyArgument) -> Self {
        Self(policy.0)
    }

    /// A policy that systemd uses where it is told none, like `sysext` or `confext-strict`.
    #[staticmethod]
    fn preset(name: &str) -> PyResult<Self> {
        let bare = name.strip_prefix('@').unwrap_or(name);
        choice("name", bare, &Preset::ALL.map(|known| (known.as_str(), known)))
            .map(|preset| Self(preset.policy()))
    }

    /// A policy of these rules by designator, and of one that holds for all other partitions.
    #[staticmethod]
    #[pyo3(
        signature = (rules, *, otherwise=RuleArgument(policy::Rule::ignore())),
        text_signature = "(rules, *, otherwise='ignore')"
    )]
    fn of(py: Python<'_>, rules: Mapping<String, RuleArgument>, otherwise: RuleArgument) -> PyResult<Self> {
        let empty = Self(policy::Policy::otherwise(otherwise.0));
        rules.0.into_iter().try_fold(empty, |policy, (name, rule)| policy.with_rule(py, &name, rule))
    }

    /// The same with a rule for this partition, in the place of the one that there was.
    fn with_rule(&self, py: Python<'_>, designator: &str, rule: RuleArgument) -> PyResult<Self> {
        let with = self.0.clone().with(self::designator(designator)?, rule.0);
        with.map(Self).map_err(|error| raise(py, &error.into()))
    }

    /// The rules as they were written, by designator.
    #[getter]
    fn rules<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let rules = PyDict::new(py);
        for (designator, rule) in self.0.rules() {
            rules.set_item(designator.as_str(), Rule(rule))?;
        }
        Ok(rules)
    }

    /// What holds for partitions without a rule.
    #[getter]
    fn default(&self) -> Rule {
        Rule(self.0.default_rule())
    }

    /// Whether a partition with this much protection may be used.
    fn admits(&self, designator: &str, protection: &str) -> PyResult<bool> {
        Ok(self.0.admits(self::designator(designator)?, self::protection(protection)?))
    }

    /// Whether nothing tells the two apart, here or in systemd.
    fn is_equivalent(&self, other: PolicyArgument) -> bool {
        self.0.is_equivalent(&other.0)
    }

    /// The shortest policy that is equivalent: all equivalent ones have the same.
    fn simplified(&self) -> Self {
        Self(self.0.simplify())
    }

    /// What the policy says and its author may not have meant: warnings first.
    fn lint(&self) -> Tuple<PolicyFinding> {
        self.0.lint().into_iter().collect()
    }

    /// The designators that policies can name.
    fn keys(&self) -> Vec<&'static str> {
        Self::names().collect()
    }

    /// The rules that hold for them.
    fn values(&self) -> Vec<Option<Rule>> {
        policy::Policy::DESIGNATORS.into_iter().map(|part| self.0.rule(part).map(Rule)).collect()
    }

    /// Both of them.
    fn items(&self) -> Vec<(&'static str, Option<Rule>)> {
        Self::names().zip(self.values()).collect()
    }

    fn __getitem__(&self, designator: &str) -> PyResult<Option<Rule>> {
        let part = self::designator(designator).map_err(|_| PyKeyError::new_err(designator.to_owned()))?;
        Ok(self.0.rule(part).map(Rule))
    }

    fn __contains__(&self, designator: &Bound<'_, PyAny>) -> bool {
        designator.extract::<&str>().is_ok_and(|name| self::designator(name).is_ok())
    }

    fn __len__(&self) -> usize {
        policy::Policy::DESIGNATORS.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        Self::designators().into_pyobject(py)?.try_iter()
    }

    fn __and__(&self, py: Python<'_>, other: PyRef<'_, Self>) -> PyResult<Self> {
        self.0.intersect(&other.0).map(Self).map_err(|error| raise(py, &error.into()))
    }

    fn __or__(&self, other: PyRef<'_, Self>) -> Self {
        Self(self.0.union(&other.0))
    }

    fn __richcmp__(&self, other: PyRef<'_, Self>, op: CompareOp) -> bool {
        let (own, other) = (&self.0, &other.0);
        compare(own == other, || own.is_as_strict_as(other), || other.is_as_strict_as(own), op)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    /// The words of systemd.image-policy(7).
    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Policy('{}')", self.0)
    }

    /// For `pickle` and `copy`.
    fn __getnewargs__(&self) -> (String,) {
        (self.0.to_string(),)
    }
}

impl Policy {
    fn names() -> impl Iterator<Item = &'static str> {
        policy::Policy::DESIGNATORS.into_iter().map(confext_ddi::dps::Designator::as_str)
    }
}

/// A policy as a caller passes it: the value, its name or its words.
#[derive(Debug, Clone, Default)]
pub(crate) struct PolicyArgument(pub(crate) policy::Policy);

record! {
    /// Something about a policy that its author may not have meant.
    PolicyFinding {
        /// The stable code.
        code: &'static str,
        /// `note` or `warning`.
        level: &'static str,
        /// The partition it is about; `None` for the default or the whole policy.
        designator: Option<&'static str>,
        /// The rule or words it is about.
        found: String,
        /// What is the matter.
        message: &'static str,
        /// The way out.
        hint: &'static str,
    }
}

impl From<Finding> for PolicyFinding {
    fn from(finding: Finding) -> Self {
        let lint = finding.lint;
        Self {
            code: lint.code(),
            level: lint.level().as_str(),
            designator: finding.designator.map(confext_ddi::dps::Designator::as_str),
            found: finding.found,
            message: lint.text(),
            hint: lint.hint(),
        }
    }
}
