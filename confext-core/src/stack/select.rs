//! Which extensions are used, and in which order.

use confext_ddi::release::Class;
use confext_ddi::version;

use std::collections::BTreeSet;
use std::path::Path;

use crate::admission::{Extension, Gate, Matcher, Options};
use crate::discover::{self, Discovery, Rejection, Searched, discover_to_open, search_directories};
use crate::error::Result;
use crate::host::Host;
use crate::parallel;

/// Extensions that may be used, in the order they are stacked, bottom first; and what is left out.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// # std::fs::create_dir_all(root.path().join("etc"))?;
/// # std::fs::create_dir_all(root.path().join("run/confexts/app/etc/extension-release.d"))?;
/// # std::fs::write(root.path().join("etc/os-release"), "ID=demo\n")?;
/// # std::fs::write(root.path().join("run/confexts/app/etc/extension-release.d/extension-release.app"), "ID=demo\n")?;
/// # std::fs::write(root.path().join("run/confexts/app/etc/app.conf"), "answer = 42\n")?;
/// use confext_core::{Host, Options, stack};
/// use confext_ddi::{policy::Policy, release::Class};
///
/// let mut options = Options::default();
/// options.policy = Policy::unprotected();
/// let selection = stack::select(&Host::open(root.path())?, Class::Confext, &options)?;
/// assert_eq!(selection.extensions[0].candidate().name, "app");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Selection {
    /// Those that passed.
    pub extensions: Vec<Extension>,
    /// Those that did not, and everything that is no extension.
    pub refused: Vec<Rejection>,
    /// The directories that were looked into, in order of precedence.
    pub searched: Vec<Searched>,
    /// For those that can be matched only when they are mounted.
    pub(crate) matcher: Matcher,
}

impl Selection {
    /// Of extensions that were chosen otherwise.
    pub(crate) const fn of_extensions(
        extensions: Vec<Extension>,
        refused: Vec<Rejection>,
        matcher: Matcher,
    ) -> Self {
        Self { extensions, refused, searched: Vec::new(), matcher }
    }
}

/// Finds, opens, judges and orders the extensions of a class. Changes nothing and needs no privilege.
///
/// # Errors
///
/// With [`OnBad::RefuseAll`](crate::admission::OnBad) the first fault of an extension; what keeps a required one from
/// being used, `required-missing` when there is none of its name; what keeps all of them from being found.
pub fn select(host: &Host, class: Class, options: &Options) -> Result<Selection> {
    let found = discover_to_open(host, class)?;
    let gate = Gate::open(host, class, options)?;
    let names = found.candidates.iter().map(|candidate| candidate.name.as_str());
    let missing = missing(host, class, options, names.chain(taken(&found.refused)));
    let Discovery { mut candidates, mut refused, searched } = found;
    refused.extend(missing);
    let fatal =
        |bad: &&Rejection| bad.is_for_its_name() && options.is_fatal(bad.name.as_deref(), bad.severity);
    if let Some(bad) = refused.iter().find(fatal) {
        return Err(bad.clone().into_error());
    }
    candidates.sort_by(|a, b| order(&a.name, &b.name));
    let mut extensions = Vec::with_capacity(candidates.len());
    let admitted = parallel::map(candidates, |candidate| (candidate.clone(), gate.admit(candidate)));
    for (candidate, admitted) in admitted {
        match admitted {
            Ok(extension) => extensions.push(extension),
            Err(out) if options.is_fatal(Some(&candidate.name), out.severity) => return Err(out.error),
            // As it is told by who only looks for candidates.
            Err(out) if out.error.code() == "masked" => {
                refused.push(discover::masked(&candidate.entry).named(&candidate.name));
            }
            Err(out) => refused.push(Rejection::of(&candidate, out.severity, &out.error)),
        }
    }
    Ok(Selection { extensions, refused, searched, matcher: gate.into_matcher() })
}

/// The required names that nothing has: no candidate, and nothing that would have become one.
pub(super) fn missing<'a>(
    host: &Host,
    class: Class,
    options: &Options,
    names: impl Iterator<Item = &'a str>,
) -> Vec<Rejection> {
    let place = search_directories(class, host.scope()).first().map_or(Path::new("/"), Path::new);
    let names: BTreeSet<&str> = names.collect();
    let missing = options.required.iter().filter(|name| !names.contains(name.as_str()));
    missing.map(|name| Rejection::missing(name, place)).collect()
}

/// The names that something has which is not used.
pub(super) fn taken(refused: &[Rejection]) -> impl Iterator<Item = &str> {
    refused.iter().filter(|bad| bad.is_for_its_name()).filter_map(|bad| bad.name.as_deref())
}

/// The order of layers, bottom first: by version comparison of the names, equal ones by their bytes.
fn order(a: &str, b: &str) -> std::cmp::Ordering {
    version::compare(a, b).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::OnBad;
    use crate::discover::discover;
    use confext_ddi::policy::Policy;

    #[test]
    fn an_empty_directory_masks_its_name_whatever_is_asked_of_extensions() {
        let root = tempfile::tempdir().unwrap();
        let release = "etc/extension-release.d/extension-release.off";
        for (path, text) in [
            ("etc/os-release", "ID=demo\n"),
            (&*format!("usr/lib/confexts/off/{release}"), "ID=demo\n"),
            ("usr/lib/confexts/off/etc/app.conf", "answer = 42\n"),
        ] {
            std::fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(root.path().join(path), text).unwrap();
        }
        std::fs::create_dir_all(root.path().join("run/confexts/off")).unwrap();
        let host = Host::open(root.path()).unwrap();
        let found = discover(&host, Class::Confext).unwrap();
        assert!(found.candidates.is_empty());
        for policy in [Policy::default(), Policy::unprotected()] {
            let options = Options { policy, on_bad: OnBad::RefuseAll, ..Options::default() };
            let Selection { extensions, mut refused, .. } = select(&host, Class::Confext, &options).unwrap();
            assert!(extensions.is_empty());
            let by_path = |one: &Rejection, other: &Rejection| one.path.cmp(&other.path);
            refused.sort_by(by_path);
            let mut expected = found.refused.clone();
            expected.sort_by(by_path);
            assert_eq!(refused, expected);
            assert_eq!(expected.iter().map(|bad| bad.code).collect::<Vec<_>>(), ["masked", "shadowed"]);
        }
    }
}
