//! The page: everything but the list of files is plain HTML, which needs no script

use std::io::{self, Write};

use confext_ddi::release::Class;

use super::escape::{path, text};
use super::files::{Below, Upper};
use super::{Report, Shown, data, seal};
use crate::discover::Severity;
use crate::plan::{Fate, LayerChange};
use crate::trace::View;

mod rows;

use rows::grouped;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How many pairs of extensions are shown of those that shadow one another.
const OVERLAPS: usize = 200;

/// Writes the page.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let title = format!("{} {}", report.subject.what, report.subject.name);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{} · confext report</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n<body>\n",
        seal::policy(SCRIPT, STYLE),
        text(&title),
    )?;
    head(report, out)?;
    writeln!(out, "<main>")?;
    stopped(report, out)?;
    stacks(report, out)?;
    overlaps(report, out)?;
    left_out(report, out)?;
    objections(report, out)?;
    changes(report, out)?;
    notes(report, out)?;
    files(report, out)?;
    write!(out, "</main>\n<script type=\"application/json\" id=\"data\">")?;
    data::write(report, out)?;
    write!(out, "</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")
}

fn head(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let view = match report.view {
        View::Live => "What is merged",
        View::Planned => "What a merge would give",
    };
    let made = report.options.made_at.map(|time| format!(" · made {time}")).unwrap_or_default();
    writeln!(
        out,
        "<header>\n<p class=\"kicker\">confext report · {}</p>\n<h1>{}</h1>\n<p class=\"sub\">{view}{made} · confext {}</p>\n\
         <dl class=\"figures\">",
        text(&report.subject.what),
        text(&report.subject.name),
        env!("CARGO_PKG_VERSION"),
    )?;
    let layers = report.layers.all();
    let with = |word| count(layers.iter().filter(|layer| data::evidence(&layer.about) == word).count());
    let refused = report.refused.items.iter().filter(|(_, bad)| bad.severity == Severity::Refused).count();
    let counts = report.counts();
    figure(out, ("extensions", ""), count(layers.len()))?;
    figure(out, ("signed", "signed"), with("signed"))?;
    figure(out, ("verity only", "verity"), with("verity"))?;
    figure(out, ("unprotected", "none"), with("none"))?;
    figure(out, ("files of extensions", ""), layers.iter().map(|layer| layer.counts.seen).sum())?;
    figure(out, ("shadow another", ""), counts.shadowing)?;
    for (what, number) in [("taken away", report.files.hidden()), ("written since", report.files.written())] {
        if number > 0 {
            figure(out, (what, "none"), number)?;
        }
    }
    if report.files.unclear() > 0 {
        figure(out, ("cannot be told", "bad"), report.files.unclear())?;
    }
    figure(out, ("refused", "bad"), count(refused))?;
    figure(out, ("objections", "bad"), count(counts.objections))?;
    writeln!(
        out,
        "</dl>\n</header>\n<nav aria-label=\"Sections\"><a href=\"#layers\">Layers</a> <a href=\"#overlaps\">Shadows</a> \
         <a href=\"#unused\">Not used</a> <a href=\"#objections\">Objections</a> <a href=\"#files\">Files</a></nav>"
    )
}

/// A number, in colour unless it is none.
fn figure(out: &mut dyn Write, (label, mark): (&str, &str), value: u64) -> io::Result<()> {
    let class = match (value, mark) {
        (_, "") => "",
        (0, _) => "quiet",
        (_, mark) => mark,
    };
    writeln!(out, "<div class=\"{class}\"><dt>{label}</dt><dd>{}</dd></div>", grouped(value))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Why a merge would change nothing.
fn stopped(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for (class, refusal) in &report.refusals {
        let what = match report.view {
            View::Live => "refresh",
            View::Planned => "merge",
        };
        let name = refusal.name.as_deref().map(|name| format!(" <b>{}</b>:", text(name))).unwrap_or_default();
        writeln!(
            out,
            "<div class=\"stopped\" role=\"note\"><p>A {what} of the {class} class ends with an error and changes nothing.\
             </p><p>{name} <code>{}</code> {}</p><p class=\"hint\">{}</p></div>",
            refusal.code,
            text(&refusal.message),
            text(refusal.hint),
        )?;
    }
    Ok(())
}

fn section(out: &mut dyn Write, (id, heading): (&str, &str), number: usize) -> io::Result<()> {
    writeln!(
        out,
        "<section id=\"{id}\" aria-labelledby=\"{id}-head\">\n<h2 id=\"{id}-head\">{heading} <span class=\"count\">{}</span></h2>",
        grouped(count(number))
    )
}

fn stacks(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    section(out, ("layers", "Layers"), report.layers.all().len())?;
    if report.layers.all().is_empty() {
        writeln!(out, "<p class=\"empty\">No extension is part of a stack.</p>")?;
    }
    for class in [Class::Sysext, Class::Confext] {
        let shown: Vec<&Shown> = report.stacks.iter().filter(|stack| stack.class == class).collect();
        let layers: Vec<_> = report.layers.stack(class).collect();
        if shown.is_empty() && layers.is_empty() {
            continue;
        }
        let over: Vec<_> = shown.iter().map(|stack| format!("<code>{}</code>", text(&stack.path))).collect();
        writeln!(
            out,
            "<h3>{class} <span class=\"quiet\">over {}, topmost first</span></h3>",
            over.join(" and ")
        )?;
        for stack in shown {
            trouble(stack, out)?;
        }
        rows::layers(&layers, report, out)?;
    }
    writeln!(out, "</section>")
}

fn trouble(stack: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let Some(because) = stack.because else { return Ok(()) };
    writeln!(
        out,
        "<div class=\"stopped\" role=\"note\"><p>Nothing can be told of <code>{}</code>: {because}.</p>",
        text(&stack.path)
    )?;
    for doubt in &stack.doubts {
        writeln!(out, "<p class=\"hint\">{}</p>", text(doubt))?;
    }
    writeln!(out, "</div>")
}

fn overlaps(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let all = report.files.overlaps();
    section(out, ("overlaps", "What shadows what"), all.len())?;
    if all.is_empty() {
        writeln!(out, "<p class=\"empty\">No file hides another one.</p>\n</section>")?;
        return Ok(());
    }
    let most = all.first().map_or(1, |(_, _, count)| *count).max(1);
    writeln!(
        out,
        "<table class=\"pairs\"><thead><tr><th scope=\"col\">Seen</th><th scope=\"col\">not seen because of it</th>\
         <th scope=\"col\" class=\"num\">Files</th><th aria-hidden=\"true\"></th></tr></thead><tbody>"
    )?;
    for (upper, below, files) in all.iter().take(OVERLAPS) {
        let (number, upper) = match upper {
            Upper::Layer(layer) => (Some(*layer), rows::link(report, *layer)),
            Upper::Written => (None, "written after the merge".to_owned()),
        };
        let below = match below {
            Below::Layer(layer) => rows::link(report, *layer),
            Below::Other(word) => format!("the {}", text(word.trim_start_matches("the "))),
            Below::Unknown(why) => text(why).to_string(),
        };
        let from = number.map(|number| format!(" data-from=\"{number}\"")).unwrap_or_default();
        writeln!(
            out,
            "<tr{from}><td>{upper}</td><td>{below}</td><td class=\"num\">{}</td><td>{}</td></tr>",
            grouped(*files),
            rows::bar(*files, most)
        )?;
    }
    writeln!(out, "</tbody></table>")?;
    more(out, count(all.len().saturating_sub(OVERLAPS)), "pairs")?;
    writeln!(out, "</section>")
}

/// What is not shown for its number.
fn more(out: &mut dyn Write, left_out: u64, what: &str) -> io::Result<()> {
    if left_out == 0 {
        return Ok(());
    }
    writeln!(out, "<p class=\"more\">{} more {what} are not listed.</p>", grouped(left_out))
}

fn left_out(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    section(out, ("unused", "Not used"), report.refused.len())?;
    if report.refused.items.is_empty() {
        writeln!(out, "<p class=\"empty\">Everything that was found is used.</p>")?;
    } else {
        writeln!(out, "<ul class=\"cards\">")?;
        let (bad, ignored): (Vec<_>, Vec<_>) =
            report.refused.items.iter().partition(|(_, bad)| bad.severity == Severity::Refused);
        for (class, bad) in bad.into_iter().chain(ignored) {
            let (word, mark) = match bad.severity {
                Severity::Refused => ("refused", "bad"),
                Severity::Ignored => ("ignored", "quiet"),
            };
            let name = bad.name.as_deref().unwrap_or("without a name");
            // Messages begin with the path, which stands here anyway.
            let place = bad.path.to_string_lossy();
            let message = bad.message.strip_prefix(&*place).and_then(|rest| rest.strip_prefix(": "));
            writeln!(
                out,
                "<li><p><span class=\"tag {mark}\">{word}</span> <b>{}</b> <span class=\"quiet\">{class}</span> \
                 <code class=\"path\">{}</code></p><p><code>{}</code> {}</p><p class=\"hint\">{}</p></li>",
                text(name),
                path(std::os::unix::ffi::OsStrExt::as_bytes(bad.path.as_os_str())),
                bad.code,
                text(message.unwrap_or(&bad.message)),
                text(bad.hint),
            )?;
        }
        writeln!(out, "</ul>")?;
    }
    more(out, report.refused.left_out, "entries")?;
    writeln!(out, "</section>")
}

fn objections(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    section(out, ("objections", "Objections"), report.vetoes.len())?;
    if report.vetoes.items.is_empty() {
        writeln!(out, "<p class=\"empty\">Nothing speaks against any of the extensions.</p>")?;
    } else {
        writeln!(out, "<ul class=\"cards\">")?;
        for (class, veto) in &report.vetoes.items {
            let (word, mark) = if veto.allowed { ("allowed", "quiet") } else { ("objection", "bad") };
            writeln!(
                out,
                "<li><p><span class=\"tag {mark}\">{word}</span> <b>{}</b> <span class=\"quiet\">{class}</span> \
                 <code class=\"path\">/{}/{}</code></p><p><code>{}</code> found {}, expected {}</p></li>",
                text(&veto.layer),
                text(veto.hierarchy),
                path(&veto.path),
                veto.kind.code(),
                text(&veto.found),
                text(&veto.expected),
            )?;
        }
        writeln!(out, "</ul>")?;
    }
    more(out, report.vetoes.left_out, "objections")?;
    writeln!(out, "</section>")
}

/// What a refresh would change; of a plan over nothing everything is new, which goes without saying.
fn changes(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.view != View::Live || report.changes.items.is_empty() {
        return Ok(());
    }
    section(out, ("changes", "What a refresh would change"), report.changes.len())?;
    writeln!(out, "<ul class=\"plain\">")?;
    for (class, change) in &report.changes.items {
        let (name, fate) = (text(&change.name), fate(change));
        writeln!(out, "<li><b>{name}</b> <span class=\"quiet\">{class}</span> {fate}</li>")?;
    }
    writeln!(out, "</ul>")?;
    more(out, report.changes.left_out, "extensions")?;
    writeln!(out, "</section>")
}

fn fate(change: &LayerChange) -> String {
    match change.fate {
        Fate::Added => "would come".to_owned(),
        Fate::Removed => "would go".to_owned(),
        Fate::Replaced { test } => format!("would be another one: its {test} differs"),
        Fate::Rechecked => "would be checked otherwise, or be from elsewhere".to_owned(),
        Fate::Kept { test } => format!("would stay: same {test}"),
        Fate::Unknown => "merged by another program, which does not say which one".to_owned(),
    }
}

fn notes(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.notes.items.is_empty() {
        return Ok(());
    }
    section(out, ("notes", "What could not be looked at"), report.notes.len())?;
    writeln!(out, "<ul class=\"plain\">")?;
    for (_, note) in &report.notes.items {
        writeln!(out, "<li>{}</li>", text(note))?;
    }
    writeln!(out, "</ul>")?;
    more(out, report.notes.left_out, "notes")?;
    writeln!(out, "</section>")
}

fn files(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    section(out, ("files", "Files"), report.files.len())?;
    for (count, whose) in [
        (report.files.left_out(), "of extensions, or written after the merge,"),
        (report.files.host_left_out(), "that only the host has"),
    ] {
        if count > 0 {
            let count = grouped(count);
            writeln!(out, "<p class=\"more\">{count} more paths {whose} are counted and not listed.</p>")?;
        }
    }
    writeln!(
        out,
        "<noscript><p class=\"empty\">The list of files needs JavaScript, which this browser does not run. \
         <code>confext trace --all</code> prints the same.</p></noscript>\n<div id=\"browser\" hidden></div>\n</section>"
    )
}
