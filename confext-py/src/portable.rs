//! Portable services: units that images bring along, attached to a host.

use std::ffi::OsString;
use std::path::PathBuf;

use confext_core::service::Lifetime;
use confext_core::service::portable::{self, Attached, Content, Found, Part, Portable, Which, Written};
use confext_ddi::unit::EntryKind;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::detached;
use crate::evidence::Evidence;
use crate::host::Host;
use crate::logs::told;
use crate::record::{Tuple, record};

record! {
    /// The image or directory that the units of a portable service have as their root, or an extension of it.
    PortablePart {
        /// As it was named, and is in settings.
        path: String,
        /// The file that this stands for now, inside the root.
        leads_to: OsString,
        /// `image` or `directory`.
        kind: &'static str,
        /// What was checked of it.
        evidence: Evidence,
    }
}

record! {
    /// A unit that an image brings along.
    PortableUnit {
        /// Its name.
        name: String,
        /// The image or directory, as it was named.
        image: String,
        /// The file in there.
        path: String,
    }
}

record! {
    /// A file that attaching puts below the root of the host.
    PortableFile {
        /// Where.
        path: OsString,
        /// What it says; `None` for a link.
        text: Option<String>,
        /// What it leads to; `None` for text.
        link_to: Option<OsString>,
    }
}

record! {
    /// A portable service: what was found and checked, and what is written.
    PortableAttachment {
        /// Whether it was attached; else nothing was written.
        attached: bool,
        /// What its units have as their root.
        base: PortablePart,
        /// Its extensions, the last on top.
        extensions: Tuple<PortablePart>,
        /// What names of units begin with; none stands for all.
        matches: Tuple<String>,
        /// What the base must be from now on; `None` for a directory.
        root_policy: Option<String>,
        /// What the images of extensions must be from now on; `None` when there is no image.
        extension_policy: Option<String>,
        /// Its units by name.
        units: Tuple<PortableUnit>,
        /// All files that are put below the root of the host.
        files: Tuple<PortableFile>,
    }
}

record! {
    /// A portable service that is attached, by this library or by `portablectl`.
    PortableService {
        /// The image or directory that is the root of its units.
        base: String,
        /// Its extensions, in the order in which they were named.
        extensions: Tuple<String>,
        /// Whether it counts only until the machine stops.
        runtime: bool,
        /// Its units.
        units: Tuple<String>,
        /// Units of which there are only drop-ins: whoever attached or detached it did not come to the end.
        incomplete: Tuple<String>,
    }
}

impl From<&Part> for PortablePart {
    fn from(part: &Part) -> Self {
        Self {
            path: part.path.clone(),
            leads_to: part.leads_to.as_os_str().to_owned(),
            kind: match part.kind {
                EntryKind::Image => "image",
                EntryKind::Directory => "directory",
            },
            evidence: Evidence::from(&part.checked),
        }
    }
}

impl From<&Found> for PortableUnit {
    fn from(unit: &Found) -> Self {
        Self { name: unit.name.clone(), image: unit.from.clone(), path: unit.path.clone() }
    }
}

impl From<&Written> for PortableFile {
    fn from(file: &Written) -> Self {
        let (text, link_to) = match &file.content {
            Content::Text(text) => (Some(text.clone()), None),
            Content::LinkTo(path) => (None, Some(path.as_os_str().to_owned())),
        };
        Self { path: file.path.as_os_str().to_owned(), text, link_to }
    }
}

impl From<Attached> for PortableService {
    fn from(attached: Attached) -> Self {
        Self {
            base: attached.base,
            extensions: Tuple(attached.extensions),
            runtime: attached.lifetime == Lifetime::Runtime,
            units: Tuple(attached.units),
            incomplete: Tuple(attached.incomplete),
        }
    }
}

/// Attach a portable service: its units are taken from an image or directory and its extensions, and bound to them and to the
/// protection that was checked. They count from the next `systemctl daemon-reload` on.
///
/// - `names`: units, or what they begin with, before a dash, a dot or an at sign; `None`: the name of the image.
/// - `extensions`: images and directories, the last one on top.
/// - `all_units`: all units of the images.
/// - `profile`: what the services may do: the name of a profile of the host, or `None`.
/// - `runtime`: until the machine stops, not until it is detached.
/// - `dry_run`: says what would be written, and writes nothing.
#[pyfunction]
#[pyo3(
    signature = (
        host, image, *, names=None, extensions=Vec::new(), all_units=false, profile=Some("default".to_owned()),
        runtime=false, dry_run=false,
    ),
    text_signature = "(host, image, *, names=None, extensions=(), all_units=False, profile='default', \
        runtime=False, dry_run=False)"
)]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn service_attach(
    py: Python<'_>,
    host: &Host,
    image: PathBuf,
    names: Option<Vec<String>>,
    extensions: Vec<PathBuf>,
    all_units: bool,
    profile: Option<String>,
    runtime: bool,
    dry_run: bool,
) -> PyResult<PortableAttachment> {
    let which = match (all_units, names) {
        (true, None) => Which::All,
        (false, None) => Which::OfBase,
        (false, Some(names)) if !names.is_empty() => Which::Named(names),
        (false, Some(_)) => return Err(PyValueError::new_err("names: found none, expected at least one")),
        (true, Some(_)) => return Err(PyValueError::new_err("either names or all_units")),
    };
    let mut wanted = Portable::new(text(image)?);
    wanted.extensions = extensions.into_iter().map(text).collect::<PyResult<_>>()?;
    wanted.which = which;
    wanted.profile = profile;
    wanted.lifetime = if runtime { Lifetime::Runtime } else { Lifetime::Persistent };
    host.with_any(py, |host, options| {
        let attachment = wanted.plan(host, options)?;
        if !dry_run {
            attachment.attach(host)?;
        }
        Ok(PortableAttachment {
            attached: !dry_run,
            base: PortablePart::from(&attachment.base),
            extensions: attachment.extensions.iter().collect(),
            root_policy: attachment.root_policy.as_ref().map(ToString::to_string),
            extension_policy: attachment.extension_policy.as_ref().map(ToString::to_string),
            units: attachment.units.iter().collect(),
            files: attachment.files.iter().collect(),
            matches: Tuple(attachment.matches),
        })
    })
    .and_then(|result| told(py, result))
}

/// Detach a portable service: its units and their drop-ins are removed. Units that run have to be stopped before.
///
/// `image` is the path that it was attached by, or its name.
#[pyfunction]
pub(crate) fn service_detach(py: Python<'_>, host: &Host, image: PathBuf) -> PyResult<PortableService> {
    let base = text(image)?;
    detached(py, || portable::detach(&host.host(), &base).map(PortableService::from))
        .and_then(|result| told(py, result))
}

/// The portable services that are attached to a host, by whichever program.
#[pyfunction]
pub(crate) fn service_attached(py: Python<'_>, host: &Host) -> PyResult<Tuple<PortableService>> {
    detached(py, || Ok(portable::attached(&host.host())?.into_iter().collect()))
        .and_then(|result| told(py, result))
}

/// Settings of units are text.
fn text(path: PathBuf) -> PyResult<String> {
    let wrong = |path: OsString| PyValueError::new_err(format!("no unit can name {}", path.display()));
    path.into_os_string().into_string().map_err(wrong)
}
