//! `confext.report`: the stacks of a host as one HTML page.

use confext_core::report::{self as library, Choice};
use confext_core::trace;
use confext_ddi::release::Class;
use pyo3::prelude::*;

use crate::argument::{Moment, class};
use crate::host::Host;
use crate::progress::Watcher;

/// One HTML page about a host that loads nothing: layers and who signed them, where each file is from, what shadows what,
/// what is not used and why.
///
/// It is about what is merged; where nothing is, or with `planned`, about what a merge would give. `time` is when it says
/// that it was made, else now: the same host and time give the same page. `files` and `host_files` are how many paths are
/// listed at most, the latter of those that only the host has; the others are counted. `progress` is called with how much of all is
/// done; what it raises ends the work.
#[pyfunction]
#[pyo3(
    signature = (
        host, classes=None, *, planned=false, time=None, files=200_000, host_files=20_000, progress=None,
    ),
    text_signature = "(host, classes=('sysext', 'confext'), *, planned=False, time=None, files=200000, host_files=20000, \
        progress=None)"
)]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn report(
    py: Python<'_>,
    host: &Bound<'_, Host>,
    classes: Option<Vec<String>>,
    planned: bool,
    time: Option<Moment>,
    files: usize,
    host_files: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let classes = match classes {
        Some(classes) => classes.iter().map(|name| class(name)).collect::<PyResult<Vec<_>>>()?,
        None => vec![Class::Sysext, Class::Confext],
    };
    let host = host.get();
    Watcher::watch(py, progress, |watcher| {
        let each = host.conditions_of(&classes)?;
        let each: Vec<_> = each.iter().map(|(class, options)| (*class, options)).collect();
        let mut options = library::Options::default();
        if let Some((_, first)) = each.first() {
            options.trace = trace::Options::default();
            options.trace.limits = first.limits.clone();
            options.trace.trust = first.trust.clone();
        }
        options.view = if planned { Choice::Planned } else { Choice::Auto };
        options.made_at = Some(Moment::or_now(time.as_ref()));
        (options.files, options.host_files) = (files, host_files);
        let mut page = Vec::new();
        let tell = |at: trace::Progress| watcher.tell(at.done, at.total);
        let report = library::report_watched(&host.host(), &each, &options, tell)?;
        // Memory takes everything, and a page is text.
        _ = report.write_html(&mut page);
        Ok(String::from_utf8_lossy(&page).into_owned())
    })
}
