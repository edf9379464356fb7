//! `Keyring`: keys of the kernel, in place of certificates.

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
}

impl Keyring {
    pub(crate) fn source(&self) -> Source {
        self.name.clone().map_or(Source::Keyrings, |name| Source::Keyring { name })
    }
}
