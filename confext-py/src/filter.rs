//! `ImageFilter`: which partitions of an image are considered, by their labels.

use confext_ddi::filter::Filter;
use confext_ddi::policy::Policy;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::argument::designator;

/// Which partitions of an image are considered, by their labels.
///
/// `ImageFilter` takes the words of systemd.image-filter(7): `root=app_*:usr=app_[0-9]`; the empty text leaves out nothing.
/// Every function with an argument `image_filter` takes these, too.
#[pyclass(frozen, eq, hash, module = "confext")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ImageFilter(pub(crate) Filter);

#[pymethods]
impl ImageFilter {
    /// Parse a filter.
    #[new]
    #[pyo3(signature = (image_filter, /))]
    fn new(image_filter: FilterArgument) -> Self {
        Self(image_filter.0)
    }

    /// The patterns by designator. Partitions without one all count.
    #[getter]
    fn patterns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let patterns = PyDict::new(py);
        for designator in Policy::DESIGNATORS {
            if let Some(pattern) = self.0.pattern(designator) {
                patterns.set_item(designator.as_str(), pattern)?;
            }
        }
        Ok(patterns)
    }

    /// Whether a partition with this label counts.
    fn admits(&self, designator: &str, label: &str) -> PyResult<bool> {
        Ok(self.0.admits(self::designator(designator)?, label))
    }

    /// The words of systemd.image-filter(7).
    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("ImageFilter({})", self.0.to_string().into_pyobject(py)?.repr()?))
    }

    /// For `pickle` and `copy`.
    fn __getnewargs__(&self) -> (String,) {
        (self.0.to_string(),)
    }
}

/// A filter as a caller passes it: the value or its words.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilterArgument(pub(crate) Filter);
