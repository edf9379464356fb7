//! `confext.sign` and `confext.to_sign`: images that are there, and keys that are somewhere else.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use confext_core::{Error, image_file};
use confext_ddi::build::{self, Existing, SignOptions, SignedImage};
use confext_ddi::read::ReadAt as _;
use confext_ddi::signature::{Certificate, DigestAlgorithm, Embed, KeyPair, RemoteKey, Sign, ToSign};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::argument::{Pem, choice};
use crate::error::{detached, in_image};
use crate::filter::FilterArgument;
use crate::open::Opening;
use crate::progress::Watcher;
use crate::record::{Tuple, record};

record! {
    /// An image that was signed.
    Signed {
        /// What the signatures vouch for, in hex.
        root_hash: String,
        /// The size of the image in bytes.
        size: u64,
        /// SHA-256 of the certificates of its signatures, in their order, in hex; `None` where one does not say.
        fingerprints: Tuple<Option<String>>,
    }
}

/// Sign an image that is there.
///
/// Exactly one of these says where the signature comes from: `key`, a private key (PEM); `signature`, one that was made
/// elsewhere, as PKCS#7 or raw (RSA PKCS#1 1.5, ECDSA); `signer`, called with the content to sign and the name of the digest,
/// which returns such a signature, and whose exceptions come through. `certificate` is the one that goes with the key;
/// a signature that does not check with it is refused.
///
/// All of the image's data is checked against its hash tree first. The image is replaced by the signed copy when that is on
/// disk; `output`, if it is another path, is a new file (`output-exists`). Signatures that are there go; `add=True` keeps them, and the new one comes last. The other arguments
/// are those of `Image.open`. `progress` is called as by `Admitted.check`; how many bytes there are is about right.
#[pyfunction]
#[pyo3(
    signature = (
        image, *, certificate, key=None, signature=None, signer=None, output=None, add=false, digest="sha256",
        select=None, copies="any", image_filter=FilterArgument::default(), progress=None,
    ),
    text_signature = "(image, *, certificate, key=None, signature=None, signer=None, output=None, add=False, \
        digest='sha256', select=None, copies='any', image_filter='', progress=None)"
)]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn sign(
    py: Python<'_>,
    image: PathBuf,
    certificate: Pem,
    key: Option<Pem>,
    signature: Option<PyBackedBytes>,
    signer: Option<Py<PyAny>>,
    output: Option<PathBuf>,
    add: bool,
    digest: &str,
    select: Option<&str>,
    copies: &str,
    image_filter: FilterArgument,
    progress: Option<Py<PyAny>>,
) -> PyResult<Signed> {
    let digest = self::digest(digest)?;
    let source = match (key, signature, signer) {
        (Some(key), None, None) => Source::Key(key),
        (None, Some(signature), None) => Source::Signature(signature.to_vec()),
        (None, None, Some(signer)) => Source::Signer(signer),
        _ => return Err(PyValueError::new_err("expected exactly one of key, signature and signer")),
    };
    let opening = Opening { select, copies, image_filter }.options(py, None)?;
    let existing = if add { Existing::Keep } else { Existing::Replace };
    let options = SignOptions::default().existing(existing).open(opening);
    let raised: Raised = Arc::default();
    let stash = Arc::clone(&raised);
    let signed = Watcher::watch(py, progress, move |watcher| {
        let signer = source.signer(&certificate, digest, stash)?;
        let output = output.as_ref().unwrap_or(&image);
        let total = image_file::open(&image)?.size_bytes().map_err(in_image(&image))?;
        let mut tell = |done: u64| watcher.ask(done.min(total), total);
        let signed = build::sign_file_watched(&image, output, signer.as_ref(), &options, &mut tell);
        signed.map(Signed::from).map_err(in_image(&image))
    });
    // What the signer raised says more than that it failed.
    match raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(error),
        None => signed,
    }
}

/// The exact bytes that a signature of an image is made over; with `digest`, their digest.
///
/// All of the image's data is checked against its hash tree first.
#[pyfunction]
#[pyo3(
    signature = (image, *, digest=None, select=None, copies="any", image_filter=FilterArgument::default()),
    text_signature = "(image, *, digest=None, select=None, copies='any', image_filter='')"
)]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn to_sign<'py>(
    py: Python<'py>,
    image: PathBuf,
    digest: Option<&str>,
    select: Option<&str>,
    copies: &str,
    image_filter: FilterArgument,
) -> PyResult<Bound<'py, PyBytes>> {
    let digest = digest.map(self::digest).transpose()?;
    let options = SignOptions::default().open(Opening { select, copies, image_filter }.options(py, None)?);
    let bytes = detached(py, move || {
        let file = image_file::open(&image)?;
        let to_sign = build::to_sign(file, &options).map_err(in_image(&image))?;
        Ok(match digest {
            Some(digest) => to_sign.digest(digest),
            None => to_sign.content().as_bytes().to_vec(),
        })
    })?;
    Ok(PyBytes::new(py, &bytes))
}

/// What a signer raised.
type Raised = Arc<Mutex<Option<PyErr>>>;

/// Where a signature comes from.
enum Source {
    Key(Pem),
    Signature(Vec<u8>),
    Signer(Py<PyAny>),
}

impl Source {
    fn signer(
        self,
        certificate: &Pem,
        digest: DigestAlgorithm,
        raised: Raised,
    ) -> Result<Box<dyn Sign>, Error> {
        let certificate = certificate.read()?;
        let parsed = || Certificate::from_pem(&certificate.bytes).map_err(in_image(&certificate.name));
        Ok(match self {
            Self::Key(key) => {
                Box::new(KeyPair::from_pem(&key.read()?.bytes, &certificate.bytes)?.digest(digest))
            }
            Self::Signature(signature) => {
                Box::new(RemoteKey::new(parsed()?, move |_: &ToSign, _| Ok(signature.clone())))
            }
            Self::Signer(signer) => {
                let ask = move |to_sign: &ToSign, digest| call(&signer, to_sign, digest, &raised);
                Box::new(RemoteKey::new(parsed()?, ask).digest(digest).embed(Embed::Certificate))
            }
        })
    }
}

/// Calls a signer with the interpreter's lock.
fn call(
    signer: &Py<PyAny>,
    to_sign: &ToSign,
    digest: DigestAlgorithm,
    raised: &Raised,
) -> confext_ddi::Result<Vec<u8>> {
    Python::attach(|py| {
        let content = PyBytes::new(py, to_sign.content().as_bytes());
        let answer = signer.bind(py).call1((content, digest.name()));
        answer.and_then(|answer| Ok(answer.extract::<PyBackedBytes>()?.to_vec()))
    })
    .map_err(|error| {
        *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        std::io::Error::other("the signer raised an exception").into()
    })
}

fn digest(name: &str) -> PyResult<DigestAlgorithm> {
    choice("digest", name, &DigestAlgorithm::ALL.map(|known| (known.name(), known)))
}

impl From<SignedImage> for Signed {
    fn from(signed: SignedImage) -> Self {
        let text = |fingerprint: &Option<_>| fingerprint.as_ref().map(ToString::to_string);
        let fingerprints = signed.signatures.iter().map(text);
        Self {
            root_hash: signed.root_hash.to_hex(),
            size: signed.size_bytes,
            fingerprints: Tuple(fingerprints.collect()),
        }
    }
}
