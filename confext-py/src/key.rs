//! Keys for tests and first steps.

use confext_core::Error;
use confext_ddi::signature::{self, Sign as _};
use pyo3::prelude::*;

use crate::argument::Moment;
use crate::error::detached;
use crate::kept::{Reduced, reduce};

/// A private key and its certificate, both in PEM form.
#[pyclass(frozen, eq, hash, module = "confext")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct KeyPair {
    key: Vec<u8>,
    certificate: Vec<u8>,
    fingerprint: String,
}

#[pymethods]
impl KeyPair {
    /// The private key, not encrypted. Whoever has it signs as you.
    #[getter]
    fn key(&self) -> &[u8] {
        &self.key
    }

    /// The certificate: what machines trust.
    #[getter]
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// SHA-256 of the certificate, in hex.
    #[getter]
    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Without the key: what is shown ends up in logs.
    fn __repr__(&self) -> String {
        format!("<confext.KeyPair fingerprint='{}'>", self.fingerprint)
    }

    /// For `pickle` and `copy`: with the private key.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        reduce(slf.as_any(), &["key", "certificate", "fingerprint"])
    }

    /// For `pickle` and `copy`.
    #[staticmethod]
    fn _restore(fields: (Vec<u8>, Vec<u8>, String)) -> Self {
        let (key, certificate, fingerprint) = fields;
        Self { key, certificate, fingerprint }
    }
}

/// Make a new key (RSA, 2048 bits) and a certificate that it signs itself.
///
/// For tests and first steps: nobody vouches for such a certificate, and nobody can revoke it.
#[pyfunction]
#[pyo3(signature = (subject, *, days=30, not_before=None))]
pub(crate) fn generate_key(
    py: Python<'_>,
    subject: &str,
    days: u32,
    not_before: Option<Moment>,
) -> PyResult<KeyPair> {
    detached(py, move || {
        let pair = signature::KeyPair::generate(subject, Moment::or_now(not_before.as_ref()), days)?;
        Ok::<_, Error>(KeyPair {
            key: pair.private_key_pem()?,
            certificate: pair.certificate_pem()?,
            fingerprint: pair.certificate_fingerprint().to_string(),
        })
    })
}
