//! `Keyring` and `Voa`: keys of the kernel, and certificates of the VOA hierarchy, in place of certificates.

use confext_core::trust::Source;
use pyo3::prelude::*;

/// Keys of the kernel whose signatures count, passed where certificates are.
#[pyclass(frozen, eq, hash, get_all, module = "confext")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Keyring {
    /// The keyring's description or number; `None` for those that the kernel's dm-verity uses.
    name: Option<String>,
}

#[pymethods]
impl Keyring {
    /// The keyring with this description or number; without one, those that the kernel's dm-verity uses.
    #[new]
    #[pyo3(signature = (name=None))]
    fn new(name: Option<String>) -> Self {
        Self { name }
    }

    fn __repr__(&self) -> String {
        match &self.name {
            Some(name) => format!("Keyring({name:?})"),
            None => "Keyring()".to_owned(),
        }
    }

    /// For `pickle` and `copy`.
    fn __getnewargs__(&self) -> (Option<String>,) {
        (self.name.clone(),)
    }
}

impl Keyring {
    pub(crate) fn source(&self) -> Source {
        self.name.clone().map_or(Source::Keyrings, |name| Source::Keyring { name })
    }
}

/// Certificates for images in the VOA hierarchy of a host, passed where certificates are.
#[pyclass(frozen, eq, hash, get_all, module = "confext")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Voa {
    /// The context they are for.
    context: String,
}

#[pymethods]
impl Voa {
    /// Those of this context, on the host that is passed with it, else on the running one.
    #[new]
    #[pyo3(signature = (context="default".to_owned()), text_signature = "(context='default')")]
    fn new(context: String) -> Self {
        Self { context }
    }

    fn __repr__(&self) -> String {
        format!("Voa({:?})", self.context)
    }

    /// For `pickle` and `copy`.
    fn __getnewargs__(&self) -> (String,) {
        (self.context.clone(),)
    }
}

impl Voa {
    pub(crate) fn source(&self) -> Source {
        Source::Voa { context: self.context.clone() }
    }
}
