//! [`Tracer`]: where a path in the view of a service comes from, and who signed it
//!
//! Of a stack that was made here, the record in the view of the process says what it is made of, as for a host. Of one that
//! systemd made there is no record: its layers are the items of the unit's settings by their numbers, so that the answer is
//! the settings' word for it ([`KnownFrom::Settings`](crate::trace::KnownFrom)). What was checked was checked now, of the
//! image that the settings lead to now; and a file counts as that image's only when it is seen with the attributes that it
//! has there.

use std::path::PathBuf;
use std::time::Duration;

use confext_ddi::unit::Extensions;

use super::limited::limited;
use super::live::View;
use super::lower;
use super::process::{Process, name};
use super::stack::{self, HIERARCHIES, Selected};
use crate::admission::{self, Extension, HostMatch, OnBad, Trust};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::OFlags;
use crate::trace::{Made, Options, Origin, Overlay, Tracer};

/// What a service would see if it were started or refreshed now. Needs no privilege.
///
/// # Errors
///
/// As [`stack::select`]; what is wrong with single extensions is left out, as in a plan.
pub fn plan<'h>(
    host: &'h Host,
    root: &'h Host,
    extensions: &Extensions,
    admission: &admission::Options,
) -> Result<Tracer<'h>> {
    let selected = stack::select(host, root, extensions, &tolerant(admission))?;
    let extensions = selected.extensions.into_iter().map(|member| member.extension).collect();
    Ok(Tracer::of_extensions(host, root, (extensions, stack::bases(root)?), &options_of(admission)))
}

/// Where paths come from that a process sees: as [`live`], and with a limit for all of it. A file system of the service that does
/// not answer is given up after `wait`.
///
/// # Errors
///
/// As [`live`]; `os` when a path cannot be looked up at all.
///
/// # Needs
///
/// As [`live`].
pub fn answers(
    host: &Host,
    process: &Process,
    (extensions, admission): (&Extensions, &admission::Options),
    paths: &[PathBuf],
    wait: Duration,
) -> Result<Vec<Origin>> {
    let (host, process, paths) = (host.share()?, process.clone(), paths.to_vec());
    let (extensions, admission) = (extensions.clone(), admission.clone());
    limited(name(process.pid()), wait, move |_| {
        let root = process.host()?;
        let tracer = live(&host, (&process, &root), &extensions, &admission)?;
        paths.iter().map(|path| tracer.trace(path)).collect()
    })
}

/// What a process sees; `root` is [its root](Process::host) and `extensions` what its unit says.
///
/// Looking at its view has a limit in time. What the tracer looks up afterwards has none: see [`answers`].
///
/// # Errors
///
/// `process-gone`, `process-changed`, `no-answer`; `os`.
///
/// # Needs
///
/// `CAP_SYS_ADMIN`, and the right to look into the process.
pub fn live<'h>(
    host: &'h Host,
    (process, root): (&Process, &'h Host),
    extensions: &Extensions,
    admission: &admission::Options,
) -> Result<Tracer<'h>> {
    let mut overlays = Vec::new();
    for (hierarchy, class) in HIERARCHIES {
        let view = match View::look(process, class, hierarchy, WAIT) {
            Err(error) if error.code() == "hierarchy-missing" => continue,
            view => view?,
        };
        let Some(mount) = view.seen.own.first() else { continue };
        let of = process.clone();
        let top = limited(name(process.pid()), WAIT, move |_| {
            let root = of.host()?;
            let failed = |error| Error::os("open", root.display(hierarchy.as_ref()), error);
            root.open_path(hierarchy.as_ref(), OFlags::DIRECTORY).map_err(failed)
        })?;
        let made = match view.record {
            Some(record) => Made::Here(Box::new(record)),
            None => made_by_systemd(mount.options.as_deref().unwrap_or_default(), hierarchy, extensions),
        };
        overlays.push(Overlay { class, hierarchy, top, base: view.base, made });
    }
    let foreign = overlays.iter().any(|overlay| matches!(overlay.made, Made::Systemd(_)));
    let members = if foreign { judged(host, extensions, admission)? } else { Vec::new() };
    Tracer::of_process(host, root, (overlays, members), &options_of(admission))
}

/// How long the view of a process may take to be looked at.
const WAIT: Duration = Duration::from_secs(10);

fn options_of(admission: &admission::Options) -> Options {
    Options { limits: admission.limits.clone(), trust: admission.trust.clone(), ..Options::default() }
}

fn tolerant(admission: &admission::Options) -> admission::Options {
    let mut tolerant = admission::Options { on_bad: OnBad::Skip, ..admission.clone() };
    tolerant.required.clear();
    tolerant
}

/// What the settings lead to now, with the strongest that is true of each: it is there whatever the policy says.
///
/// Nothing is compared with the root.
fn judged(
    host: &Host,
    extensions: &Extensions,
    admission: &admission::Options,
) -> Result<Vec<(usize, Extension)>> {
    let mut listed = extensions.clone();
    listed.policy = None;
    let lenient = admission::Options {
        policy: confext_ddi::policy::Policy::unprotected(),
        key_rules: None,
        host_match: HostMatch::Ignored,
        ..tolerant(admission)
    };
    let Selected { extensions: members, .. } = stack::select_for(host, None, &listed, &lenient)?;
    let mut found: Vec<_> = members.into_iter().map(|member| (member.index, member.extension)).collect();
    // Signed by somebody who does not count, it is still under a hash tree.
    let unsigned = admission::Options { trust: Trust::Nobody, ..lenient };
    for member in stack::select_for(host, None, &listed, &unsigned)?.extensions {
        if found.iter().all(|(index, _)| *index != member.index) {
            found.push((member.index, member.extension));
        }
    }
    Ok(found)
}

/// Reads which items of the settings the layers of an overlay are.
///
/// At a start they are in directories that have their numbers. After a reload of systemd they are descriptors: then they are
/// all there, the first listed on top.
fn made_by_systemd(options: &[u8], hierarchy: &str, extensions: &Extensions) -> Made {
    const UNCLEAR: &str = "the overlay is not like one that systemd makes from the settings";
    let Some(mut layers) = lower::layers(options) else { return Made::Unclear(UNCLEAR) };
    // The lowest is the root's own directory.
    if layers.pop().is_none() || layers.is_empty() {
        return Made::Unclear(UNCLEAR);
    }
    let numbered: Option<Vec<_>> = layers.iter().map(|layer| lower::number(layer, hierarchy)).collect();
    match numbered {
        Some(places) => Made::Systemd(places.into_iter().rev().collect()),
        None if layers.len() == extensions.bottom_first().count() => {
            Made::Systemd((0..layers.len()).rev().collect())
        }
        None => {
            Made::Unclear("systemd has refreshed the stack, and does not say with which of the extensions")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use confext_ddi::unit::Entry;

    #[test]
    fn the_layers_of_systemd_are_the_items_of_the_settings() {
        let mut extensions = Extensions::default();
        extensions.images = vec![Entry::image("/a.raw"), Entry::image("/b.raw")];
        extensions.directories = vec![Entry::directory("/c")];
        let places =
            |options: &str, hierarchy| match made_by_systemd(options.as_bytes(), hierarchy, &extensions) {
                Made::Systemd(places) => Some(places),
                _ => None,
            };
        let unit = "/run/systemd/unit-extensions";
        for (options, hierarchy, expected) in [
            (
                format!("ro,lowerdir={unit}/2/etc:{unit}/0/etc:/run/systemd/mount-rootfs/etc"),
                "etc",
                Some(vec![0, 2]),
            ),
            (format!("ro,lowerdir+={unit}/1/usr,lowerdir+=/usr"), "usr", Some(vec![1])),
            (
                "ro,lowerdir=/proc/self/fd/5:/proc/self/fd/6:/proc/self/fd/7:/proc/self/fd/8".into(),
                "etc",
                Some(vec![2, 1, 0]),
            ),
            ("ro,lowerdir=/proc/self/fd/5:/proc/self/fd/6".into(), "etc", None),
            (format!("ro,lowerdir={unit}/1/usr:/etc"), "etc", None),
            (format!("ro,lowerdir={unit}/x/etc:/etc"), "etc", None),
            ("ro,lowerdir=/etc".into(), "etc", None),
            ("ro".into(), "etc", None),
        ] {
            assert_eq!(places(&options, hierarchy), expected, "{options}");
        }
    }
}
