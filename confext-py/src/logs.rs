//! Results on their way to `confext.logs`, where that is wanted.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;

static WANTED: AtomicBool = AtomicBool::new(false);

/// Whether results are handed to `confext.logs`.
#[pyfunction]
pub(crate) fn _log_results(wanted: bool) {
    WANTED.store(wanted, Ordering::Relaxed);
}

/// Hands a result on. Where nobody wants that, one look at a flag is all it takes.
pub(crate) fn told<'py, T: IntoPyObject<'py> + Clone>(py: Python<'py>, result: T) -> PyResult<T> {
    if WANTED.load(Ordering::Relaxed) {
        tell(py, result.clone().into_bound_py_any(py)?)?;
    }
    Ok(result)
}

/// The same for an exception, which is raised whatever comes of it.
pub(crate) fn raised(py: Python<'_>, error: PyErr) -> PyErr {
    if WANTED.load(Ordering::Relaxed) {
        return tell(py, error.value(py)).err().unwrap_or(error);
    }
    error
}

fn tell<'py>(py: Python<'py>, object: impl IntoPyObject<'py>) -> PyResult<()> {
    py.import("confext.logs")?.getattr("_tell")?.call1((object,)).map(drop)
}
