//! Values that are kept: taken apart for `pickle` and `copy`, and put together from their fields again.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::record::Tuple;

/// A function and its arguments: the class, and its fields.
pub(crate) type Reduced<'py> = (Bound<'py, PyAny>, (Bound<'py, PyType>, Bound<'py, PyTuple>));

/// How to make an object again that is nothing but these attributes.
pub(crate) fn reduce<'py>(object: &Bound<'py, PyAny>, names: &[&str]) -> PyResult<Reduced<'py>> {
    let fields = names.iter().map(|name| object.getattr(*name)).collect::<PyResult<Vec<_>>>()?;
    let restore = object.py().import("confext._values")?.getattr("restore")?;
    Ok((restore, (object.get_type(), PyTuple::new(object.py(), fields)?)))
}

/// The fields of a value that is put together again, one after the other.
pub(crate) struct Fields<'a, 'py> {
    values: pyo3::types::iter::BoundTupleIterator<'py>,
    names: std::slice::Iter<'a, &'static str>,
    class: &'static str,
}

impl<'a, 'py> Fields<'a, 'py> {
    pub(crate) fn new(
        fields: &Bound<'py, PyTuple>,
        class: &'static str,
        names: &'a [&'static str],
    ) -> PyResult<Self> {
        if fields.len() != names.len() {
            let (found, expected) = (fields.len(), names.len());
            return Err(PyTypeError::new_err(format!("{class}: found {found} fields, expected {expected}")));
        }
        Ok(Self { values: fields.iter(), names: names.iter(), class })
    }

    pub(crate) fn next<T: FromPython>(&mut self) -> PyResult<T> {
        let name = self.names.next().copied().unwrap_or_default();
        let wrong = |text: String| PyTypeError::new_err(format!("{}.{name}: {text}", self.class));
        let value = self.values.next().ok_or_else(|| wrong("found nothing".to_owned()))?;
        T::from_python(&value).map_err(|error| wrong(error.to_string()))
    }
}

/// What a field can be made from.
pub(crate) trait FromPython: Sized {
    fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self>;
}

macro_rules! plain {
    ($($type:ty),*) => { $(
        impl FromPython for $type {
            fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
                object.extract()
            }
        }
    )* };
}
plain!(bool, u8, u16, u32, u64, usize, i32, i64, String, OsString, Vec<u8>, Duration);

/// A stable word, like a code. There is one copy of each for as long as the process lives.
impl FromPython for &'static str {
    fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let word: String = object.extract()?;
        let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
        let words = words.get_or_insert_with(HashSet::new);
        if let Some(known) = words.get(word.as_str()) {
            return Ok(known);
        }
        // The library's own are fewer and shorter. Whoever makes up others must not fill the memory with them.
        if words.len() >= MOST_WORDS || word.len() > MOST_BYTES {
            return Err(PyValueError::new_err("found a word that is none of this library"));
        }
        let kept: &'static str = Box::leak(word.into_boxed_str());
        words.insert(kept);
        Ok(kept)
    }
}

static WORDS: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
const MOST_WORDS: usize = 1 << 13;
const MOST_BYTES: usize = 1 << 10;

impl<T: FromPython> FromPython for Option<T> {
    fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if object.is_none() { Ok(None) } else { T::from_python(object).map(Some) }
    }
}

impl<T: FromPython> FromPython for Tuple<T> {
    fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let items = object.cast::<PyTuple>()?.iter();
        Ok(Self(items.map(|item| T::from_python(&item)).collect::<PyResult<_>>()?))
    }
}

impl<K: FromPython + Ord, V: FromPython> FromPython for BTreeMap<K, V> {
    fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let items = object.cast::<PyDict>()?.iter();
        items.map(|(key, value)| Ok((K::from_python(&key)?, V::from_python(&value)?))).collect()
    }
}

impl<A: FromPython, B: FromPython> FromPython for (A, B) {
    fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (first, second): (Bound<'_, PyAny>, Bound<'_, PyAny>) = object.extract()?;
        Ok((A::from_python(&first)?, B::from_python(&second)?))
    }
}
