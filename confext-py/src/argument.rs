//! What callers pass: text, paths, bytes and times into the types of the library.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use confext_core::trust::{Source, Sources};
use confext_core::{Error, Host as Root};
use confext_ddi::dps::{Architecture, Designator};
use confext_ddi::filter::Filter;
use confext_ddi::policy::{self, Policy};
use confext_ddi::release::{Class, ImageKind};
use confext_ddi::signature::{CertificateRules, Certificates, Time, Verifier};
use pyo3::PyClass;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyString};

use crate::error::{in_image, raise};
use crate::filter::{FilterArgument, ImageFilter};
use crate::host::Host;
use crate::keyring::{Keyring, Voa};
use crate::policy::PolicyArgument;
use crate::rule::{Rule, RuleArgument};

/// `confext` or `sysext`.
pub(crate) fn class(text: &str) -> PyResult<Class> {
    let known = [Class::Confext, Class::Sysext].map(|class| (class.as_str(), class));
    choice("class_", text, &known)
}

/// What an image is.
pub(crate) fn image_kind(text: &str) -> PyResult<ImageKind> {
    choice("class_", text, &ImageKind::ALL.map(|kind| (kind.as_str(), kind)))
}

/// One of some words.
pub(crate) fn choice<T: Copy>(argument: &str, text: &str, known: &[(&str, T)]) -> PyResult<T> {
    known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = known.iter().map(|(name, _)| format!("'{name}'")).collect();
        PyValueError::new_err(format!("{argument}: found '{text}', expected {}", known.join(" or ")))
    })
}

/// The name of an architecture; without one, that of this machine.
pub(crate) fn architecture(text: Option<&str>) -> PyResult<Option<Architecture>> {
    let Some(text) = text else { return Ok(None) };
    let known: Vec<_> = Architecture::ALL.iter().map(|known| (known.as_str(), *known)).collect();
    choice("architecture", text, &known).map(Some)
}

/// A partition that policies and filters can name.
pub(crate) fn designator(text: &str) -> PyResult<Designator> {
    choice("designator", text, &Policy::DESIGNATORS.map(|known| (known.as_str(), known)))
}

/// A value of a class of this module, or the words for it.
fn value_or_words<C, T>(
    object: Borrowed<'_, '_, PyAny>,
    value: impl Fn(&C) -> T,
    parse: impl Fn(&str) -> confext_ddi::Result<T>,
) -> PyResult<T>
where
    C: PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync,
{
    if let Ok(known) = object.cast::<C>() {
        return Ok(value(known.get()));
    }
    match object.cast::<PyString>() {
        Ok(words) => parse(&words.to_cow()?).map_err(|error| raise(object.py(), &error.into())),
        Err(_) => {
            let (found, expected) = (object.get_type(), object.py().get_type::<C>());
            Err(PyTypeError::new_err(format!("found {found}, expected str or {expected}")))
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for PolicyArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let parse = |text: &str| Policy::named(text).map_or_else(|| Policy::parse(text), Ok);
        value_or_words(object, |known: &crate::policy::Policy| known.0.clone(), parse).map(Self)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for RuleArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        value_or_words(object, |known: &Rule| known.0, policy::Rule::parse).map(Self)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for FilterArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        value_or_words(object, |known: &ImageFilter| known.0.clone(), Filter::parse).map(Self)
    }
}

/// A key or certificate: the PEM text as bytes, or the path of a file that has it.
#[derive(FromPyObject)]
pub(crate) enum Pem {
    #[pyo3(transparent, annotation = "bytes")]
    Text(PyBackedBytes),
    #[pyo3(transparent, annotation = "path")]
    File(PathBuf),
}

impl Pem {
    pub(crate) fn read(&self) -> Result<PemText, Error> {
        let (name, bytes) = match self {
            Self::Text(bytes) => (PathBuf::from("PEM text"), bytes.to_vec()),
            Self::File(path) => (path.clone(), std::fs::read(path).map_err(|source| reading(path, source))?),
        };
        Ok(PemText { name, bytes })
    }
}

fn reading(path: &Path, source: std::io::Error) -> Error {
    Error::Os { operation: "read", target: path.display().to_string(), source }
}

/// A PEM text, and where it is from.
#[derive(Debug, Clone)]
pub(crate) struct PemText {
    pub(crate) name: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// Certificates that a caller names: one, or any number of them; a host stands for those in its `verity.d` directories, and a
/// keyring for the keys in it.
pub(crate) struct Pems {
    pems: Vec<Pem>,
    host: Option<Arc<Root>>,
    sources: Vec<Source>,
}

/// One of them.
enum Named {
    Pem(Pem),
    Host(Arc<Root>),
    Source(Source),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Named {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(host) = object.cast::<Host>() {
            return Ok(Self::Host(host.get().host()));
        }
        if let Ok(keyring) = object.cast::<Keyring>() {
            return Ok(Self::Source(keyring.get().source()));
        }
        if let Ok(voa) = object.cast::<Voa>() {
            return Ok(Self::Source(voa.get().source()));
        }
        object.extract().map(Self::Pem)
    }
}

impl Pems {
    fn new(items: Vec<Named>) -> PyResult<Self> {
        let mut all = Self { pems: Vec::new(), host: None, sources: Vec::new() };
        for item in items {
            match item {
                Named::Pem(pem) => all.pems.push(pem),
                Named::Source(source) => all.sources.push(source),
                Named::Host(host) => {
                    if all.host.replace(host).is_some() {
                        return Err(PyValueError::new_err("certificates: found several hosts, expected one"));
                    }
                    all.sources.push(Source::Certificates);
                }
            }
        }
        Ok(all)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Pems {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        // First, because text and bytes are iterable too.
        match object.extract::<Named>() {
            Ok(one) => Self::new(vec![one]),
            Err(error) => match object.try_iter() {
                Ok(items) => Self::new(items.map(|item| item?.extract()).collect::<PyResult<_>>()?),
                Err(_) => Err(error),
            },
        }
    }
}

/// Certificates that a caller named, read.
#[derive(Debug, Clone)]
pub(crate) struct Trusted {
    pems: Vec<PemText>,
    host: Option<Arc<Root>>,
    sources: Vec<Source>,
}

impl Pems {
    pub(crate) fn read(&self) -> Result<Trusted, Error> {
        let pems = self.pems.iter().map(Pem::read).collect::<Result<_, _>>()?;
        Ok(Trusted { pems, host: self.host.clone(), sources: self.sources.clone() })
    }
}

impl Trusted {
    /// Where it is looked up whose signatures count, by certificates that have to be like this.
    pub(crate) fn sources(&self, now: Time, rules: CertificateRules) -> Result<Sources, Error> {
        let mut passed = Certificates::new(now);
        for pem in &self.pems {
            passed.add_pem_bundle(&pem.bytes).map_err(in_image(&pem.name))?;
        }
        Ok(Sources::new(self.sources.iter().cloned()).passed(&passed).rules(rules))
    }

    /// Who says now whose signature it is; `None` when nothing could say so.
    pub(crate) fn verifier(
        &self,
        now: Time,
        rules: CertificateRules,
    ) -> Result<Option<Arc<dyn Verifier>>, Error> {
        self.verifier_on(&Root::open("/")?, now, rules)
    }

    /// The same, where this host is meant if none was named.
    pub(crate) fn verifier_on(
        &self,
        host: &Root,
        now: Time,
        rules: CertificateRules,
    ) -> Result<Option<Arc<dyn Verifier>>, Error> {
        let opened = self.sources(now, rules)?.open(self.host.as_deref().unwrap_or(host), now)?;
        Ok((!opened.is_empty()).then(|| opened.shared()))
    }
}

/// What certificates must be like, besides being trusted.
pub(crate) fn certificate_rules(py: Python<'_>, text: &str) -> PyResult<CertificateRules> {
    CertificateRules::parse(text).map_err(|error| raise(py, &error.into()))
}

/// A moment: seconds since 1970, or a `datetime` with a time zone.
#[derive(FromPyObject)]
pub(crate) enum Moment {
    #[pyo3(transparent, annotation = "int")]
    Seconds(i64),
    #[pyo3(transparent, annotation = "datetime")]
    Time(SystemTime),
}

impl Moment {
    /// The moment that is passed, else now.
    pub(crate) fn or_now(passed: Option<&Self>) -> Time {
        match passed {
            Some(Self::Seconds(seconds)) => Time::from_unix(*seconds),
            Some(Self::Time(time)) => Time::from(*time),
            None => Time::from(SystemTime::now()),
        }
    }
}

/// Any mapping, not only a `dict`.
pub(crate) struct Mapping<K, V>(pub(crate) BTreeMap<K, V>);

impl<'a, 'py, K, V> FromPyObject<'a, 'py> for Mapping<K, V>
where
    K: FromPyObjectOwned<'py> + Ord,
    V: FromPyObjectOwned<'py>,
{
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let items = object
            .call_method0("items")
            .map_err(|_| PyTypeError::new_err(format!("found {}, expected a mapping", object.get_type())))?;
        let items = items.try_iter()?;
        items.map(|item| item?.extract()).collect::<PyResult<_>>().map(Self)
    }
}

/// A path or name inside an image: `str`, `bytes` or path-like, as bytes.
pub(crate) struct ImagePath(pub(crate) Vec<u8>);

impl<'a, 'py> FromPyObject<'a, 'py> for ImagePath {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let encoded = object.py().import("os")?.getattr("fsencode")?.call1((object,))?;
        Ok(Self(encoded.cast::<PyBytes>()?.as_bytes().to_vec()))
    }
}

/// Bytes of an image as `str`, the way `os.fsdecode` does it.
pub(crate) fn text(bytes: &[u8]) -> OsString {
    std::ffi::OsStr::from_bytes(bytes).to_owned()
}
