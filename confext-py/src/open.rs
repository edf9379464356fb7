//! How an image is opened: which of its partitions count, and what lies beside it.

use std::fs::File;
use std::path::Path;

use confext_core::{Error, sidecars};
use confext_ddi::RootHash;
use confext_ddi::image::{self, Copies, Foreign, Image, Select};
use confext_ddi::sidecar::{self, Kind};
use pyo3::prelude::*;

use crate::argument::{architecture, choice};
use crate::error::raise;
use crate::filter::FilterArgument;
use crate::record::{Tuple, record};

/// What a caller says about opening an image.
pub(crate) struct Opening<'a> {
    pub(crate) select: Option<&'a str>,
    pub(crate) copies: &'a str,
    pub(crate) image_filter: FilterArgument,
}

impl Opening<'_> {
    /// The options of the library.
    pub(crate) fn options(self, py: Python<'_>, architecture: Option<&str>) -> PyResult<image::Options> {
        let select = match self.select {
            None => Select::default(),
            Some("newest") => Select::Newest,
            Some(hash) => Select::RootHash(RootHash::parse(hash).map_err(|error| raise(py, &error.into()))?),
        };
        let copies = choice("copies", self.copies, &[("any", Copies::Any), ("both", Copies::Both)])?;
        let options = image::Options::default().select(select).copies(copies).filter(self.image_filter.0);
        Ok(match self::architecture(architecture)? {
            Some(architecture) => options.architecture(architecture),
            None => options,
        })
    }

    /// The options for a look at an image, whatever architecture it is for.
    pub(crate) fn any(self, py: Python<'_>) -> PyResult<image::Options> {
        Ok(self.options(py, None)?.foreign(Foreign::Accept))
    }
}

/// Opens an image with what lies beside it.
pub(crate) fn open(path: &Path, options: &image::Options) -> Result<Image<File>, Error> {
    sidecars::open(path, options)
}

record! {
    /// Something that belongs beside an image, or in its attributes.
    Sidecar {
        /// `root-hash`, `root-hash-signature`, `usr-hash`, `usr-hash-signature`, `hash-tree`; as an attribute of the
        /// image, `root-hash-attribute` or `usr-hash-attribute`.
        kind: &'static str,
        /// The name of the file beside the image, or of the attribute.
        name: String,
        /// Whether it was there.
        found: bool,
    }
}

record! {
    /// A file beside an image whose name is nearly that of a sidecar, and which does not count.
    NearMiss {
        /// Its name.
        found: String,
        /// The name that would count.
        expected: String,
    }
}

record! {
    /// What was looked for beside an image.
    Sidecars {
        /// Everything that was looked for, in this order; empty when nothing was.
        looked_for: Tuple<Sidecar>,
        /// What was nearly found. Looked for only where the image is not signed, or has no partition table.
        near_misses: Tuple<NearMiss>,
    }
    {
        /// What was found.
        #[getter]
        fn found(&self) -> Tuple<Sidecar> {
            self.looked_for.0.iter().filter(|look| look.found).cloned().collect()
        }
    }
}

impl From<&sidecar::Report> for Sidecars {
    fn from(report: &sidecar::Report) -> Self {
        Self {
            looked_for: report.looked_for.iter().collect(),
            near_misses: report.near_misses.iter().collect(),
        }
    }
}

impl From<&sidecar::Look> for Sidecar {
    fn from(look: &sidecar::Look) -> Self {
        let kind = match look.kind {
            Kind::RootHashAttribute => "root-hash-attribute",
            Kind::RootHash => "root-hash",
            Kind::RootHashSignature => "root-hash-signature",
            Kind::UsrHashAttribute => "usr-hash-attribute",
            Kind::UsrHash => "usr-hash",
            Kind::UsrHashSignature => "usr-hash-signature",
            Kind::HashTree => "hash-tree",
            _ => "other",
        };
        Self { kind, name: look.name.clone(), found: look.found }
    }
}

impl From<&sidecar::NearMiss> for NearMiss {
    fn from(near: &sidecar::NearMiss) -> Self {
        Self { found: near.found.clone(), expected: near.expected.clone() }
    }
}
