//! One row for each extension, which opens to all that is known of it

use std::io::{self, Write};

use confext_ddi::signature::Time;

use super::super::escape::{path, text};
use super::super::layers::{About, Layer};
use super::super::{Report, data};
use crate::discover::Kind;
use crate::state::{Checked, SignedBy};
use crate::trace::{KnownFrom, Source};

/// How many digits of a root hash are shown at first.
const DIGITS: usize = 16;

const OBJECTED: &str = " <span class=\"tag bad\">objection</span>";

/// The extensions of a class, topmost first.
pub(super) fn layers(layers: &[(usize, &Layer)], report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let most = layers.iter().map(|(_, layer)| layer.counts.seen).max().unwrap_or(0).max(1);
    writeln!(
        out,
        "<div class=\"stack\"><div class=\"row titles\" aria-hidden=\"true\"><span class=\"num\">#</span><span>Extension</span>\
         <span>Evidence</span><span>Signer</span><span>Root hash</span><span class=\"num\">Files</span><span></span>\
         <span class=\"num\">Shadows</span><span class=\"num\">Shadowed</span></div>"
    )?;
    for (place, (number, layer)) in layers.iter().enumerate() {
        let position = layers.len().saturating_sub(place);
        let objected =
            report.vetoes.items.iter().any(|(_, veto)| !veto.allowed && veto.layer == layer.name());
        writeln!(
            out,
            "<details class=\"layer\" id=\"layer-{number}\" data-layer=\"{number}\"><summary class=\"row\">"
        )?;
        summary(layer, (position, objected), most, out)?;
        writeln!(out, "</summary>")?;
        match &layer.about {
            About::Known(source) => known(source, layer, out)?,
            About::Unknown(unknown) => {
                writeln!(
                    out,
                    "<dl><dt>Not opened</dt><dd><code>{}</code> {}</dd></dl>",
                    text(unknown.code),
                    text(&unknown.reason)
                )?;
            }
        }
        writeln!(out, "</details>")?;
    }
    writeln!(out, "</div>")
}

fn summary(
    layer: &Layer,
    (position, objected): (usize, bool),
    most: u64,
    out: &mut dyn Write,
) -> io::Result<()> {
    let evidence = data::evidence(&layer.about);
    let word = match evidence {
        "none" => "unprotected",
        "unknown" => "not opened",
        word => word,
    };
    let source = layer.source();
    let signer = source.and_then(|source| match &source.checked {
        Checked::Signed { by, .. } => Some(by.subject.as_str()),
        _ => None,
    });
    let version = source.and_then(|source| source.version.as_deref());
    let version = version.map(|version| format!(" <span class=\"quiet\">{}</span>", text(version)));
    let hash = source.and_then(|source| source.root_hash).map(|hash| hash.to_string()).unwrap_or_default();
    let short: String = hash.chars().take(DIGITS).collect();
    let counts = layer.counts;
    writeln!(
        out,
        "<span class=\"num quiet\">{position}</span><span class=\"name\"><b>{}</b>{}</span>\
         <span class=\"evidence {evidence}\">{word}</span><span class=\"signer\">{}</span>\
         <code class=\"hash\">{short}</code><span class=\"num\"><span class=\"said\">files </span>{}</span>{}\
         <span class=\"num\"><span class=\"said\">shadow others </span>{}</span>\
         <span class=\"num\"><span class=\"said\">hidden by others </span>{}</span>",
        text(layer.name()),
        [version, objected.then_some(OBJECTED).map(str::to_owned)].into_iter().flatten().collect::<String>(),
        text(signer.unwrap_or_default()),
        grouped(counts.seen),
        bar(counts.seen, most),
        or_dash(counts.over.saturating_add(counts.removes)),
        or_dash(counts.under),
    )
}

fn or_dash(count: u64) -> String {
    if count == 0 { "<span class=\"quiet\">–</span>".to_owned() } else { grouped(count) }
}

fn known(source: &Source, layer: &Layer, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<dl>")?;
    let kind = match source.kind {
        Kind::Directory => "directory",
        Kind::Raw => "image",
        Kind::Block => "block device",
    };
    writeln!(
        out,
        "<dt>From</dt><dd><code>{}</code> <span class=\"quiet\">{kind}</span></dd>",
        path(source.image.as_bytes())
    )?;
    if let Some(partition) = &source.partition {
        let number = partition.number.map(|number| format!("{number}, ")).unwrap_or_default();
        writeln!(out, "<dt>Partition</dt><dd>{number}{}</dd>", text(&partition.designator))?;
    }
    if let Some(hash) = source.root_hash {
        writeln!(out, "<dt>Root hash</dt><dd><code>{hash}</code></dd>")?;
    }
    match &source.checked {
        Checked::None => writeln!(out, "<dt>Evidence</dt><dd>nothing was checked</dd>")?,
        Checked::Verity { .. } => {
            writeln!(out, "<dt>Evidence</dt><dd>every block against the root hash; no signature</dd>")?;
        }
        Checked::Signed { by, .. } => signer(by, out)?,
    }
    if let Some(way) = &source.attached {
        writeln!(out, "<dt>Read from</dt><dd>{}</dd>", way.reads.phrase())?;
    }
    let confirmed = match source.known_from {
        KnownFrom::Record => format!("by its {}; checked when it was merged", source.confirmed_by),
        KnownFrom::Origin => {
            format!("by its {}, on the word of who merged it; checked for this report", source.confirmed_by)
        }
        KnownFrom::Plan => "checked for this report; a merge checks again".to_owned(),
        KnownFrom::Settings => "by the unit's settings only; checked for this report".to_owned(),
    };
    writeln!(out, "<dt>Confirmed</dt><dd>{}</dd>", text(&confirmed))?;
    writeln!(out, "<dt>Hierarchies</dt><dd>{}</dd>", text(&layer.hierarchies.join(", ")))?;
    if layer.counts.removes > 0 {
        writeln!(out, "<dt>Takes away</dt><dd>{} paths</dd>", grouped(layer.counts.removes))?;
    }
    writeln!(out, "</dl>")
}

fn signer(by: &SignedBy, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<dt>Signed by</dt><dd>{}</dd>", text(&by.subject))?;
    if let Some(fingerprint) = &by.fingerprint {
        writeln!(out, "<dt>Certificate</dt><dd><code>{}</code></dd>", text(fingerprint))?;
    }
    if let (Some(from), Some(to)) = (by.not_before, by.not_after) {
        writeln!(out, "<dt>Valid</dt><dd>{} to {}</dd>", Time::from_unix(from), Time::from_unix(to))?;
    }
    writeln!(out, "<dt>Trusted by</dt><dd>{}</dd>", text(&by.source.to_string()))
}

/// An extension's name that leads to its row.
pub(super) fn link(report: &Report, number: usize) -> String {
    let name = report.layers.all().get(number).map(Layer::name).unwrap_or_default();
    format!("<a href=\"#layer-{number}\">{}</a>", text(name))
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digits.len().saturating_sub(place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A length among others. A picture, because a style of one element would need a policy that allows all of them.
pub(super) fn bar(count: u64, most: u64) -> String {
    let width = count.saturating_mul(1_000).checked_div(most).unwrap_or(0).min(1_000);
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"track\" width=\"1000\" height=\"10\"/><rect width=\"{width}\" height=\"10\"/></svg>"
    )
}
