//! Values as Python has them: frozen, comparable, hashable, with a telling `repr`.

use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Declares a Python class whose instances are nothing but their fields.
///
/// Methods in braces after the fields join the class; `#[new]` among them lets Python make instances.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $( $(#[doc = $field_doc:literal])* $field:ident : $type:ty, )* }
        $( { $($methods:tt)* } )?
    ) => {
        $(#[doc = $doc])*
        #[pyo3::pyclass(frozen, eq, hash, get_all, module = "confext")]
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub(crate) struct $name {
            $( $(#[doc = $field_doc])* pub(crate) $field: $type, )*
        }

        #[pyo3::pymethods]
        impl $name {
            #[classattr]
            fn __match_args__() -> $crate::record::Tuple<&'static str> {
                $crate::record::Tuple(vec![$( stringify!($field) ),*])
            }

            fn __repr__(slf: &pyo3::Bound<'_, Self>) -> pyo3::PyResult<String> {
                $crate::record::repr(slf.as_any(), stringify!($name), &[$( stringify!($field) ),*])
            }

            /// For `pickle` and `copy`.
            fn __reduce__<'py>(slf: &pyo3::Bound<'py, Self>) -> pyo3::PyResult<$crate::kept::Reduced<'py>> {
                $crate::kept::reduce(slf.as_any(), &[$( stringify!($field) ),*])
            }

            /// For `pickle` and `copy`: the value with these fields.
            #[staticmethod]
            fn _restore(fields: &pyo3::Bound<'_, pyo3::types::PyTuple>) -> pyo3::PyResult<Self> {
                #[allow(unused_mut, unused_variables, reason = "there are records without fields")]
                let mut fields = $crate::kept::Fields::new(fields, stringify!($name), &[$( stringify!($field) ),*])?;
                Ok(Self { $( $field: fields.next()?, )* })
            }

            $( $($methods)* )?
        }

        impl $crate::kept::FromPython for $name {
            fn from_python(object: &pyo3::Bound<'_, pyo3::PyAny>) -> pyo3::PyResult<Self> {
                Ok(object.cast::<Self>()?.get().clone())
            }
        }
    };
}
pub(crate) use record;

/// `Name(field=value, …)`, the values as Python shows them.
pub(crate) fn repr(object: &Bound<'_, PyAny>, name: &str, fields: &[&str]) -> PyResult<String> {
    let mut parts = Vec::new();
    for field in fields {
        parts.push(format!("{field}={}", object.getattr(*field)?.repr()?));
    }
    Ok(format!("{name}({})", parts.join(", ")))
}

/// A sequence that cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tuple<T>(pub(crate) Vec<T>);

impl<T, U: Into<T>> FromIterator<U> for Tuple<T> {
    fn from_iter<I: IntoIterator<Item = U>>(items: I) -> Self {
        Self(items.into_iter().map(Into::into).collect())
    }
}

impl<'py, T: IntoPyObject<'py>> IntoPyObject<'py> for Tuple<T> {
    type Target = PyTuple;
    type Output = Bound<'py, PyTuple>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let items =
            self.0.into_iter().map(|item| item.into_bound_py_any(py)).collect::<PyResult<Vec<_>>>()?;
        PyTuple::new(py, items)
    }
}
