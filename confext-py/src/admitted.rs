//! `Admitted` and `AdmittedPartition`: what a policy admitted.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use confext_ddi::policy::{self, Data};
use confext_ddi::verity;
use pyo3::prelude::*;
use pyo3::pyclass_init::PyClassInitializer;

use crate::contents::{Files, Source};
use crate::damage::Damage;
use crate::error::{in_image, raise};
use crate::evidence::{Evidence, Signer};
use crate::image::Partition;
use crate::progress::Progress;
use crate::record::Tuple;

/// An image that a policy admitted. Only `Image.verify` and `confext.verify` make one.
///
/// Every method that reads does so through the hash tree, when the evidence says that there is one: it returns what
/// the root hash promises, or raises `UnverifiedError`.
#[pyclass(extends = Files, frozen, module = "confext")]
pub(crate) struct Admitted {
    path: PathBuf,
    admitted: Arc<policy::Admitted<File>>,
}

#[pymethods]
impl Admitted {
    /// What was checked.
    #[getter]
    fn evidence(&self) -> Evidence {
        self.admitted.evidence().into()
    }

    /// The root hash that was checked, in hex; `None` when nothing was checked.
    #[getter]
    fn root_hash(&self) -> Option<String> {
        self.admitted.root_hash().map(|hash| hash.to_hex())
    }

    /// Whose signature was checked; `None` when none was.
    #[getter]
    fn signer(&self) -> Option<Signer> {
        self.admitted.evidence().signer().map(Signer::from)
    }

    /// Everyone whose signature was checked and counts, in the order of the image.
    #[getter]
    fn signers(&self) -> Tuple<Signer> {
        self.admitted.signers().iter().collect()
    }

    /// Read and check every block once. What is damaged is the attribute `damage` of the exception.
    ///
    /// `progress` is called with how many bytes are done and how many there are; what it raises ends the check.
    #[pyo3(signature = (*, progress=None))]
    pub(crate) fn check(&self, py: Python<'_>, progress: Option<Py<PyAny>>) -> PyResult<()> {
        let found = Progress::watch(py, progress, |progress| {
            let Data::Checked(data) = self.admitted.data() else { return Ok(None) };
            let tell = |at: verity::Progress| progress.tell(at.done_bytes, at.total_bytes);
            let report = data.check(LISTED, tell).map_err(in_image(&self.path))?;
            let fault = data.fault(&report).map(in_image(&self.path));
            Ok(fault.map(|error| (Damage::from(&report), error)))
        })?;
        let Some((damage, error)) = found else { return Ok(()) };
        let raised = raise(py, &error);
        raised.value(py).setattr("damage", damage)?;
        Err(raised)
    }

    /// Read and check every block once, and return what is damaged; `None` when there is no hash tree to check by.
    ///
    /// Of the ranges of blocks that are wrong, `most` are listed. `progress` is as for `check`.
    #[pyo3(
        signature = (*, most=LISTED, progress=None),
        text_signature = "($self, *, most=1000, progress=None)"
    )]
    fn damage(&self, py: Python<'_>, most: usize, progress: Option<Py<PyAny>>) -> PyResult<Option<Damage>> {
        Progress::watch(py, progress, |progress| match self.admitted.data() {
            Data::Checked(data) => {
                let tell = |at: verity::Progress| progress.tell(at.done_bytes, at.total_bytes);
                let report = data.check(most, tell).map_err(in_image(&self.path))?;
                Ok(Some(Damage::from(&report)))
            }
            Data::Unchecked(_) => Ok(None),
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let path = self.path.as_os_str().into_pyobject(py)?.repr()?;
        let evidence = self.evidence().into_pyobject(py)?.repr()?;
        Ok(format!("<confext.Admitted {path} {evidence}>"))
    }
}

impl Admitted {
    pub(crate) fn new(py: Python<'_>, admitted: policy::Admitted<File>, path: PathBuf) -> PyResult<Py<Self>> {
        let admitted = Arc::new(admitted);
        let files = Files::new(Source::Image(Arc::clone(&admitted)), path.clone());
        Py::new(py, PyClassInitializer::from(files).add_subclass(Self { path, admitted }))
    }
}

/// How many ranges of damaged blocks are listed.
const LISTED: usize = 1000;

/// A partition besides root and usr that a policy lets be used. Only `Image.verify_partition` makes one.
///
/// Nothing protects it: its files are as they are.
#[pyclass(extends = Files, frozen, module = "confext")]
pub(crate) struct AdmittedPartition {
    partition: Partition,
}

#[pymethods]
impl AdmittedPartition {
    /// Which one it is.
    #[getter]
    fn partition(&self) -> Partition {
        self.partition.clone()
    }

    fn __repr__(&self) -> String {
        format!("<confext.AdmittedPartition {}>", self.partition.designator)
    }
}

impl AdmittedPartition {
    pub(crate) fn new(
        py: Python<'_>,
        partition: policy::AdmittedPartition<File>,
        path: PathBuf,
    ) -> PyResult<Py<Self>> {
        let own = Self { partition: partition.partition().into() };
        let files = Files::new(Source::Partition(Arc::new(partition)), path);
        Py::new(py, PyClassInitializer::from(files).add_subclass(own))
    }
}
