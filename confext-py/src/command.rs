//! The command `confext`, for the script that the wheel installs.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Run the command with these arguments, the program's name first, and return its exit status.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| confext_core::cli::exit_status(arguments))
}
