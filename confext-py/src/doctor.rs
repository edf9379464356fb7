//! What this machine can do and what it cannot, and why.

use std::path::PathBuf;
use std::time::SystemTime;

use confext_core::doctor as library;
use pyo3::prelude::*;

use crate::error::detached;
use crate::record::{Tuple, record};

record! {
    /// What a machine can do.
    DoctorReport {
        /// The release of the running kernel.
        kernel: Option<String>,
        /// Each thing that was looked at, always all of them, in a fixed order.
        items: Tuple<DoctorItem>,
    }
    {
        /// The item of a name.
        fn __getitem__(&self, id: &str) -> PyResult<DoctorItem> {
            let found = self.items.0.iter().find(|item| item.id == id);
            found.cloned().ok_or_else(|| pyo3::exceptions::PyKeyError::new_err(id.to_owned()))
        }
    }
}

record! {
    /// One thing that something depends on.
    DoctorItem {
        /// Its name, stable.
        id: &'static str,
        /// `yes`, `no`, `not-permitted`, `on-demand` or `unknown`.
        state: &'static str,
        /// How that was found out.
        why: String,
        /// What to do about it, where there is something to do.
        advice: Option<String>,
        /// What depends on it.
        needed_for: Tuple<&'static str>,
    }
    {
        /// Whether it may be relied on: `yes` or `on-demand`.
        #[getter]
        fn usable(&self) -> bool {
            matches!(self.state, "yes" | "on-demand")
        }
    }
}

/// Look at everything; nothing is changed, and no module of the kernel is loaded.
#[pyfunction]
#[pyo3(signature = (root = PathBuf::from("/")), text_signature = "(root='/')")]
pub(crate) fn doctor(py: Python<'_>, root: PathBuf) -> PyResult<DoctorReport> {
    let look = || Ok(library::report(&confext_core::Host::open(&root)?, SystemTime::now()));
    Ok(DoctorReport::from(&detached(py, look)?))
}

impl From<&library::Report> for DoctorReport {
    fn from(report: &library::Report) -> Self {
        Self { kernel: report.kernel.clone(), items: report.items.iter().collect() }
    }
}

impl From<&library::Item> for DoctorItem {
    fn from(item: &library::Item) -> Self {
        Self {
            id: item.id,
            state: item.state.as_str(),
            why: item.why.clone(),
            advice: item.advice.as_deref().map(str::to_owned),
            needed_for: item.needed_for.iter().copied().collect(),
        }
    }
}
