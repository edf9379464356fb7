//! `KeyRules`: which signer may sign which images.

use std::path::Path;

use confext_core::Error;
use confext_ddi::Limits;
use confext_ddi::policy::{self, Comparison};
use confext_ddi::release::Class;
use confext_ddi::signature::Fingerprint;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::argument::{Pem, class};
use crate::error::{detached, in_image, raise};
use crate::record::{Tuple, repr};

/// What one signer may sign: images of these names, classes and versions.
///
/// `signer` is the SHA-256 of the signer's certificate, in hex. In `names`, `*` stands for any characters and `?` for one;
/// one of them must match. `class_` is the only class that is allowed. `versions` are demands on the version that the image
/// says of itself, like `>=1.2`: all must hold.
#[pyclass(frozen, eq, hash, module = "confext")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct KeyRule(policy::KeyRule);

#[pymethods]
impl KeyRule {
    #[classattr]
    fn __match_args__() -> Tuple<&'static str> {
        Tuple(FIELDS.to_vec())
    }

    /// Put a rule together.
    #[new]
    #[pyo3(
        signature = (signer, /, *names, class_=None, versions=Vec::new()),
        text_signature = "(signer, /, *names, class_=None, versions=())"
    )]
    fn new(
        py: Python<'_>,
        signer: &str,
        names: Vec<String>,
        class_: Option<&str>,
        versions: Vec<String>,
    ) -> PyResult<Self> {
        let wrong = |text: String| PyValueError::new_err(text);
        let fingerprint = Fingerprint::parse(signer)
            .ok_or_else(|| wrong(format!("signer: found '{signer}', expected 64 lower-case hex digits")))?;
        let (first, others) = names
            .split_first()
            .ok_or_else(|| wrong("names: found none, expected at least one".to_owned()))?;
        let demand = |text: &String| {
            let split = Comparison::split(text).map(|(comparison, version)| (comparison, version.to_owned()));
            split.ok_or_else(|| {
                wrong(format!("versions: found '{text}', expected <, <=, =, >= or > and a version"))
            })
        };
        let demands = versions.iter().map(demand).collect::<PyResult<Vec<_>>>()?;
        let class = class_.map(class).transpose()?;
        let rule = policy::KeyRule::new(fingerprint, first);
        let rule = others.iter().fold(rule, |rule, name| rule?.name(name));
        let rule =
            demands.iter().fold(rule, |rule, (comparison, version)| rule?.version(*comparison, version));
        let rule = rule.map_err(|error| raise(py, &error.into()))?;
        Ok(Self(class.into_iter().fold(rule, policy::KeyRule::class)))
    }

    /// SHA-256 of the signer's certificate, in hex.
    #[getter]
    fn signer(&self) -> String {
        self.0.signer().to_string()
    }

    /// The patterns of names.
    #[getter]
    fn names(&self) -> Tuple<String> {
        self.0.names().iter().cloned().collect()
    }

    /// The only class that is allowed; `None`: both.
    #[getter]
    fn class_(&self) -> Option<&'static str> {
        self.0.only_class().map(Class::as_str)
    }

    /// What is demanded of the version.
    #[getter]
    fn versions(&self) -> Tuple<String> {
        let demand =
            |(comparison, version): &(Comparison, String)| format!("{}{version}", comparison.as_str());
        Tuple(self.0.versions().iter().map(demand).collect())
    }

    /// As a line of a file with rules.
    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf.as_any(), "KeyRule", &FIELDS)
    }

    /// For `pickle` and `copy`.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let positional: Vec<_> = [self.signer()].into_iter().chain(self.names().0).collect();
        let named = PyDict::new(py);
        named.set_item("class_", self.class_())?;
        named.set_item("versions", self.versions())?;
        Ok((PyTuple::new(py, positional)?, named))
    }
}

const FIELDS: [&str; 4] = ["signer", "names", "class_", "versions"];

/// Which signer may sign which images: what no rule allows is refused.
///
/// Every function with an argument `key_rules` takes these, the path of a file with rules, or its text as `bytes`.
#[pyclass(frozen, eq, hash, module = "confext")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct KeyRules(policy::KeyRules);

#[pymethods]
impl KeyRules {
    /// Put rules together. Without any, nobody may sign anything.
    #[new]
    #[pyo3(signature = (*rules))]
    fn new(rules: Vec<PyRef<'_, KeyRule>>) -> Self {
        let rules = rules.iter().map(|rule| rule.0.clone());
        Self(rules.fold(policy::KeyRules::new(), policy::KeyRules::rule))
    }

    /// Parse the text of a file with rules.
    #[staticmethod]
    fn parse(py: Python<'_>, text: Vec<u8>) -> PyResult<Self> {
        detached(py, || Ok(Self(policy::KeyRules::parse(&text, &Limits::default())?)))
    }

    /// The rules: an image is allowed when one of them allows it.
    #[getter]
    fn rules(&self) -> Tuple<KeyRule> {
        Tuple(self.0.rules().iter().cloned().map(KeyRule).collect())
    }

    /// One rule a line, as `parse` reads them.
    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let rules = slf.getattr("rules")?.try_iter()?;
        let rules = rules.map(|rule| Ok(rule?.repr()?.to_string())).collect::<PyResult<Vec<_>>>()?;
        Ok(format!("KeyRules({})", rules.join(", ")))
    }

    /// For `pickle` and `copy`.
    fn __getnewargs__(&self) -> Tuple<KeyRule> {
        self.rules()
    }
}

/// Rules as a caller passes them: the value, the path of a file, or its text.
pub(crate) enum KeyRulesArgument {
    Value(policy::KeyRules),
    Text(Pem),
}

impl<'a, 'py> FromPyObject<'a, 'py> for KeyRulesArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<KeyRules>() {
            Ok(rules) => Ok(Self::Value(rules.get().0.clone())),
            Err(_) => object.extract().map(Self::Text),
        }
    }
}

impl KeyRulesArgument {
    /// The rules; a file is read now.
    pub(crate) fn read(&self) -> Result<policy::KeyRules, Error> {
        let text = match self {
            Self::Value(rules) => return Ok(rules.clone()),
            Self::Text(text) => text,
        };
        let name = match text {
            Pem::Text(_) => Path::new("key rules"),
            Pem::File(path) => path,
        };
        policy::KeyRules::parse(&text.read()?.bytes, &Limits::default()).map_err(in_image(name))
    }
}
