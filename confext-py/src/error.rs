//! Work outside the interpreter's lock, and its errors as Python exceptions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use confext_core::Error;
use confext_ddi::error::Fault;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::logs::raised;

/// Does `work` without the interpreter's lock; other threads run meanwhile.
///
/// A panic is a fault of this library, and still only an exception: `confext.InternalError`.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> PyResult<T> {
    match py.detach(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(raise(py, &error)),
        Err(panic) => Err(internal(py, panic.as_ref())),
    }
}

/// A fault of an image that has a name.
pub(crate) fn in_image(image: &std::path::Path) -> impl Fn(confext_ddi::Error) -> Error {
    move |source| Error::Image { image: image.display().to_string(), source }
}

/// The exception for an error.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    raised(py, exception(py, error).unwrap_or_else(|failure| failure))
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let fields = PyDict::new(py);
    fields.set_item("code", error.code())?;
    fields.set_item("hint", error.hint())?;
    if let Error::Image { image, .. } = error {
        fields.set_item("image", image)?;
    }
    if let Error::Image { source, .. } | Error::Ddi(source) = error {
        fields.set_item("path", source.path())?;
        fields.set_item("offset", source.offset())?;
    }
    let name = match error {
        Error::Image { source, .. } | Error::Ddi(source) => match source.fault() {
            Fault::Io(cause) => {
                let place = source.path();
                let file = match error {
                    Error::Image { image, .. } => Some(image.as_str()),
                    _ => Some(place.as_str()).filter(|place| !place.is_empty()),
                };
                return io_error(py, error, cause, file, &fields);
            }
            Fault::Corrupt(_) => "CorruptError",
            Fault::Unsupported(_) => "UnsupportedError",
            Fault::Unverified(_) => "UnverifiedError",
            Fault::Refused(_) => "RefusedError",
            Fault::Limit(_) => "LimitError",
            Fault::Lookup(_) => "FileLookupError",
            _ => "Error",
        },
        Error::Os { target, source, .. } => return io_error(py, error, source, Some(target), &fields),
        Error::Context(context) => {
            return io_error(py, error, &context.source, Some(&context.subject), &fields);
        }
        Error::Conflict { code: "image-missing", target, .. } => {
            let missing = std::io::Error::from_raw_os_error(ENOENT);
            return io_error(py, error, &missing, Some(target), &fields);
        }
        Error::Missing { .. } => "CapabilityError",
        Error::Conflict { .. } => "ConflictError",
        _ => "HostError",
    };
    let class = py.import("confext._errors")?.getattr(name)?;
    Ok(PyErr::from_value(class.call((error.explain(),), Some(&fields))?))
}

/// "No such file or directory", on every architecture of Linux.
const ENOENT: i32 = 2;

/// An exception that is an `OSError` too, of the class that goes with its number.
fn io_error(
    py: Python<'_>,
    error: &Error,
    cause: &std::io::Error,
    file: Option<&str>,
    fields: &Bound<'_, PyDict>,
) -> PyResult<PyErr> {
    fields.set_item("message", error.explain())?;
    let make = py.import("confext._errors")?.getattr("io_error")?;
    Ok(PyErr::from_value(make.call((cause.raw_os_error(), cause.to_string(), file), Some(fields))?))
}

fn internal(py: Python<'_>, panic: &(dyn std::any::Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let message = format!("confext panicked: {text}");
    let class = py.import("confext._errors").and_then(|module| module.getattr("InternalError"));
    match class.and_then(|class| class.call1((message.as_str(),))) {
        Ok(exception) => PyErr::from_value(exception),
        Err(_) => PyRuntimeError::new_err(message),
    }
}
