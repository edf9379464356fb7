//! Which extensions are used, and in which order.

use confext_ddi::release::Class;
use confext_ddi::version;

use crate::admission::{Extension, Gate, Matcher, OnBad, Options};
use crate::discover::{Rejection, Severity, discover};
use crate::error::Result;
use crate::host::Host;

/// Extensions that may be used, in the order they are stacked, bottom first; and what is left out.
#[derive(Debug)]
#[non_exhaustive]
pub struct Selection {
    /// Those that passed.
    pub extensions: Vec<Extension>,
    /// Those that did not, and everything that is no extension.
    pub refused: Vec<Rejection>,
    /// For those that can be matched only when they are mounted.
    pub(crate) matcher: Option<Matcher>,
}

/// Finds, opens, judges and orders the extensions of a class. Changes nothing and needs no privilege.
///
/// # Errors
///
/// With [`OnBad::RefuseAll`] the first fault of an extension; else only what keeps all of them from being found.
pub fn select(host: &Host, class: Class, options: &Options) -> Result<Selection> {
    let found = discover(host, class)?;
    let gate = Gate::open(host, class, options)?;
    let mut refused = found.refused;
    if let (OnBad::RefuseAll, Some(bad)) =
        (options.on_bad, refused.iter().find(|rejection| rejection.severity == Severity::Refused))
    {
        return Err(bad.clone().into_error());
    }
    let mut extensions = Vec::new();
    for candidate in found.candidates {
        match gate.admit(candidate.clone()) {
            Ok(extension) => extensions.push(extension),
            Err(out) if out.severity == Severity::Refused && options.on_bad == OnBad::RefuseAll => {
                return Err(out.error);
            }
            Err(out) => refused.push(Rejection::of(&candidate, out.severity, &out.error)),
        }
    }
    extensions.sort_by(|a, b| order(&a.candidate().name, &b.candidate().name));
    Ok(Selection { extensions, refused, matcher: gate.into_matcher() })
}

/// The order of layers, bottom first: by version comparison of the names, equal ones by their bytes.
fn order(a: &str, b: &str) -> std::cmp::Ordering {
    version::compare(a, b).then_with(|| a.cmp(b))
}
