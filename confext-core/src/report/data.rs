//! The data of a page, for its script: layers, paths in columns, and which objection is about which path.

use std::io::{self, Write};

use serde::Serialize;

use super::Report;
use super::escape::InScript;
use super::files::Kind;
use super::layers::{About, Layer};
use crate::state::Checked;
use crate::text::{Clean, Path};

#[derive(Serialize)]
struct Data<'a> {
    view: crate::trace::View,
    layers: Vec<OfLayer>,
    kinds: Vec<&'a Kind>,
    names: &'a [String],
    depths: &'a [usize],
    of: &'a [usize],
    /// Of each objection that is about a path that is listed.
    marks: &'a [(usize, usize)],
    objections: Vec<Objection<'a>>,
    left_out: u64,
    host_left_out: u64,
}

#[derive(Serialize)]
struct OfLayer {
    name: String,
    class: &'static str,
    /// `signed`, `verity`, `none` or `unknown`.
    evidence: &'static str,
    signer: Option<String>,
    root_hash: Option<String>,
    image: Option<String>,
    version: Option<String>,
}

#[derive(Serialize)]
struct Objection<'a> {
    code: &'static str,
    layer: String,
    found: String,
    expected: &'a str,
    allowed: bool,
}

/// Writes the data as JSON that is fit for a script element.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let files = &report.files;
    let objections = report.vetoes.items.iter().map(|(_, veto)| Objection {
        code: veto.kind.code(),
        layer: clean(&veto.layer),
        found: clean(&veto.found),
        expected: &veto.expected,
        allowed: veto.allowed,
    });
    let data = Data {
        view: report.view,
        layers: report.layers.all().iter().map(OfLayer::new).collect(),
        kinds: files.kinds(),
        names: &files.names,
        depths: &files.depths,
        of: &files.of,
        marks: &files.marks,
        objections: objections.collect(),
        left_out: files.left_out(),
        host_left_out: files.host_left_out(),
    };
    Ok(serde_json::to_writer(InScript(out), &data)?)
}

fn clean(text: &str) -> String {
    Clean(text).to_string()
}

/// The word for what was checked of an extension.
pub(super) fn evidence(about: &About) -> &'static str {
    match about {
        About::Unknown(_) => "unknown",
        About::Known(source) => match &source.checked {
            Checked::None => "none",
            Checked::Verity { .. } => "verity",
            Checked::Signed { .. } => "signed",
        },
    }
}

impl OfLayer {
    fn new(layer: &Layer) -> Self {
        let source = layer.source();
        let signer = source.and_then(|source| match &source.checked {
            Checked::Signed { by, .. } => Some(clean(&by.subject)),
            _ => None,
        });
        Self {
            name: clean(layer.name()),
            class: layer.class.as_str(),
            evidence: evidence(&layer.about),
            signer,
            root_hash: source.and_then(|source| source.root_hash).map(|hash| hash.to_string()),
            image: source.map(|source| Path(source.image.as_bytes()).to_string()),
            version: source.and_then(|source| source.version.as_deref()).map(clean),
        }
    }
}
