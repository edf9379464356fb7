//! `Rule`: what a policy allows of one partition.

use std::hash::{Hash as _, Hasher as _};

use confext_ddi::fstype::FsType;
use confext_ddi::policy::{self, Attribute, Protection};
use pyo3::basic::CompareOp;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::argument::choice;
use crate::error::raise;
use crate::record::Tuple;

/// What a policy allows of one partition: some uses, attributes and file systems. Of each one must fit.
///
/// `Rule` takes the words that a policy has behind the equals sign, joined with `+`: `signed+absent`. `first <= second`
/// says that everything `first` lets in is let in by `second`, too: the first one is as strict.
#[pyclass(frozen, module = "confext")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rule(pub(crate) policy::Rule);

#[pymethods]
impl Rule {
    /// Parse a rule.
    #[new]
    #[pyo3(signature = (rule, /))]
    fn new(rule: RuleArgument) -> Self {
        Self(rule.0)
    }

    /// A rule that allows these uses and no others.
    ///
    /// `read_only` and `growfs` say whether the partition has to have the attribute (`True`), must not have it (`False`),
    /// or may (`None`); `file_systems` are those that are allowed, `None` for all.
    #[staticmethod]
    #[pyo3(signature = (*uses, read_only=None, growfs=None, file_systems=None))]
    fn of(
        py: Python<'_>,
        uses: Vec<String>,
        read_only: Option<bool>,
        growfs: Option<bool>,
        file_systems: Option<Vec<String>>,
    ) -> PyResult<Self> {
        let uses = uses.iter().map(|word| use_of(word)).collect::<PyResult<Vec<_>>>()?;
        let Some((first, others)) = uses.split_first() else {
            return Err(PyValueError::new_err("uses: found none, expected at least one"));
        };
        let rule = others.iter().fold(policy::Rule::only_use(*first), |rule, word| rule.or(*word));
        restricted(py, rule, read_only, growfs, file_systems)
    }

    /// A rule that allows this much protection or more, `none`, `verity` or `signed`, and the uses in `also`.
    ///
    /// A signature that is there must check. The other arguments are those of `of`.
    #[staticmethod]
    #[pyo3(signature = (protection, /, *also, read_only=None, growfs=None, file_systems=None))]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn least(
        py: Python<'_>,
        protection: &str,
        also: Vec<String>,
        read_only: Option<bool>,
        growfs: Option<bool>,
        file_systems: Option<Vec<String>>,
    ) -> PyResult<Self> {
        let also = also.iter().map(|word| use_of(word)).collect::<PyResult<Vec<_>>>()?;
        let least = policy::Rule::least(self::protection(protection)?);
        let rule = also.into_iter().fold(least, policy::Rule::or);
        restricted(py, rule, read_only, growfs, file_systems)
    }

    /// The uses it allows, weakest first: at least one.
    #[getter]
    fn uses(&self) -> Tuple<Use> {
        self.0.uses().collect()
    }

    /// Whether the attribute `read-only` must be set (`True`), must not be (`False`), or may be (`None`).
    #[getter]
    fn read_only(&self) -> Option<bool> {
        asked(self.0.asks_read_only())
    }

    /// Whether the attribute `growfs` must be set (`True`), must not be (`False`), or may be (`None`).
    #[getter]
    fn growfs(&self) -> Option<bool> {
        asked(self.0.asks_growfs())
    }

    /// The file systems it allows; `None` when it allows every one.
    #[getter]
    fn file_systems(&self) -> Option<Tuple<&'static str>> {
        self.0.file_systems().map(|allowed| allowed.into_iter().map(FsType::as_str).collect())
    }

    /// Whether it allows this use by its word.
    fn __contains__(&self, word: &str) -> PyResult<bool> {
        Ok(self.0.allows(use_of(word)?))
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

    /// Its words, as a policy has them.
    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Rule('{}')", self.0)
    }

    /// For `pickle` and `copy`.
    fn __getnewargs__(&self) -> (String,) {
        (self.0.to_string(),)
    }
}

/// An order that is not total, as the comparisons of Python: `<` is `<=` and not `>=`.
pub(crate) fn compare(
    equal: bool,
    as_strict: impl Fn() -> bool,
    as_lax: impl Fn() -> bool,
    op: CompareOp,
) -> bool {
    match op {
        CompareOp::Eq => equal,
        CompareOp::Ne => !equal,
        CompareOp::Le => as_strict(),
        CompareOp::Ge => as_lax(),
        CompareOp::Lt => as_strict() && !as_lax(),
        CompareOp::Gt => as_lax() && !as_strict(),
    }
}

fn restricted(
    py: Python<'_>,
    rule: policy::Rule,
    read_only: Option<bool>,
    growfs: Option<bool>,
    file_systems: Option<Vec<String>>,
) -> PyResult<Rule> {
    let rule = rule.read_only(attribute(read_only)).growfs(attribute(growfs));
    let Some(names) = file_systems else { return Ok(Rule(rule)) };
    if names.is_empty() {
        return Err(PyValueError::new_err(
            "file_systems: found none, expected at least one, or None for all",
        ));
    }
    let nameable = FsType::ALL.into_iter().filter(|known| rule.only([*known]).is_ok());
    let known: Vec<_> = nameable.map(|known| (known.as_str(), known)).collect();
    let names: Vec<_> =
        names.iter().map(|name| choice("file_systems", name, &known)).collect::<PyResult<_>>()?;
    rule.only(names).map(Rule).map_err(|error| raise(py, &error.into()))
}

const fn attribute(wanted: Option<bool>) -> Attribute {
    match wanted {
        None => Attribute::Any,
        Some(true) => Attribute::On,
        Some(false) => Attribute::Off,
    }
}

const fn asked(attribute: Attribute) -> Option<bool> {
    match attribute {
        Attribute::Any => None,
        Attribute::On => Some(true),
        Attribute::Off => Some(false),
    }
}

/// A use by its word.
fn use_of(word: &str) -> PyResult<policy::Use> {
    choice("uses", word, &policy::Use::ALL.map(|known| (known.as_str(), known)))
}

/// How a partition is protected, by its word.
pub(crate) fn protection(word: &str) -> PyResult<Protection> {
    let known = [Protection::None, Protection::Verity, Protection::Signed];
    choice("protection", word, &known.map(|known| (known.as_str(), known)))
}

/// A use, which Python has as a member of the enumeration `confext.Use`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Use(policy::Use);

impl From<policy::Use> for Use {
    fn from(word: policy::Use) -> Self {
        Self(word)
    }
}

impl<'py> IntoPyObject<'py> for Use {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        py.import("confext._policy")?.getattr("Use")?.call1((self.0.as_str(),))
    }
}

/// A rule as a caller passes it: the value or its words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RuleArgument(pub(crate) policy::Rule);
