//! [`LayerChange`]: which extensions come, go, stay or are others, compared with what is merged now

use std::borrow::Cow;

use serde::Serialize;

use crate::state::Layer;

/// An extension that is merged now, or would be, or both.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::{Fate, LayerChange}};
/// use confext_ddi::release::Class;
///
/// let changes: Vec<LayerChange> = plan(&host, Class::Confext, &options)?.layer_changes;
/// assert!(changes.iter().all(|change| change.fate == Fate::Added));
/// assert_eq!(changes[0].name, "app");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LayerChange {
    /// The extension's name.
    pub name: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// What becomes of an extension.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, plan::Fate};
/// use confext_ddi::release::Class;
///
/// // Whether a refresh would change anything.
/// let changes = plan(&host, Class::Confext, &options)?.layer_changes;
/// let stays = changes.iter().all(|change| matches!(change.fate, Fate::Kept { .. }));
/// assert!(!stays, "nothing is merged yet");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fate {
    /// It is not merged, and would be.
    Added,
    /// It is merged, and would no longer be.
    Removed,
    /// Another one of its name would be merged, says this test.
    Replaced {
        /// `root-hash`, `file`, `directory` or `content`.
        test: &'static str,
    },
    /// It would be merged as it is, but something else was checked of it, or it is elsewhere.
    Rechecked,
    /// It is the same, says this test.
    Kept {
        /// `root-hash`, `file`, `directory` or `content`.
        test: &'static str,
    },
    /// One of its name is merged, by another program that does not say which.
    Unknown,
}

impl Fate {
    /// Of an extension that is merged as `before` and would be merged as `now`.
    pub(crate) fn between(before: &Layer, now: &Layer) -> Self {
        let test = now.identity.test();
        if now.identity != before.identity {
            Self::Replaced { test }
        } else if now.checked != before.checked || without_tries(&now.path) != without_tries(&before.path) {
            Self::Rechecked
        } else {
            Self::Kept { test }
        }
    }
}

/// A path without the attempts in the name of a version, `+LEFT-DONE`: counting them, and calling a version good, renames a file
/// and changes nothing of it.
pub(crate) fn without_tries(path: &str) -> Cow<'_, str> {
    let Some((directory, name)) = path.rsplit_once('/').filter(|(directory, _)| directory.ends_with(".v"))
    else {
        return Cow::Borrowed(path);
    };
    let Some((stem, rest)) = name.rsplit_once('+') else { return Cow::Borrowed(path) };
    let (tries, ending) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
    let (left, done) = tries.split_once('-').unwrap_or((tries, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match is_number(left) && is_number(done) {
        true => Cow::Owned(format!("{directory}/{stem}{ending}")),
        false => Cow::Borrowed(path),
    }
}

/// Those of the stack that would be, in its order, then those that would go. What is merged is known by name only where
/// another program did not say more.
pub(crate) fn compare<'a>(
    merged: &[(&str, Option<&Layer>)],
    wanted: impl IntoIterator<Item = &'a Layer>,
) -> Vec<LayerChange> {
    let change = |name: &str, fate| LayerChange { name: name.to_owned(), fate };
    let mut changes: Vec<_> = wanted
        .into_iter()
        .map(|now| {
            let before = merged.iter().find(|(name, _)| *name == now.name);
            change(
                &now.name,
                match before {
                    None => Fate::Added,
                    Some((_, None)) => Fate::Unknown,
                    Some((_, Some(before))) => Fate::between(before, now),
                },
            )
        })
        .collect();
    let gone: Vec<_> =
        merged.iter().filter(|(name, _)| !changes.iter().any(|stays| stays.name == *name)).collect();
    changes.extend(gone.into_iter().map(|(name, _)| change(name, Fate::Removed)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sample::layer;

    #[test]
    fn attempts_in_a_name_do_not_count() {
        for (path, same) in [
            ("/a.raw.v/a_1+3.raw", "/a.raw.v/a_1.raw"),
            ("/a.raw.v/a_1+2-1.raw", "/a.raw.v/a_1.raw"),
            ("/a.confext.raw.v/a_1_x86-64+2-1.confext.raw", "/a.confext.raw.v/a_1_x86-64.confext.raw"),
            ("/a.v/a_1+3-0", "/a.v/a_1"),
            ("/a.v/a_1+x", "/a.v/a_1+x"),
            ("/a.v/a_1+3-", "/a.v/a_1+3-"),
            ("/a.v/a_1+-3", "/a.v/a_1+-3"),
            ("/a/a_1+3.raw", "/a/a_1+3.raw"),
            ("a", "a"),
        ] {
            assert_eq!(without_tries(path), same, "{path}");
        }
        let at = |path: &str| Layer { path: path.to_owned(), ..layer("a", 1) };
        let (counted, good) = (at("/a.raw.v/a_1+2-1.raw"), at("/a.raw.v/a_1.raw"));
        assert_eq!(Fate::between(&counted, &good), Fate::Kept { test: "root-hash" });
        assert_eq!(Fate::between(&counted, &at("/a.raw.v/a_2.raw")), Fate::Rechecked);
        assert_eq!(Fate::between(&counted, &at("/b/a_1.raw")), Fate::Rechecked);
    }

    #[test]
    fn each_extension_has_one_fate() {
        let before = [layer("same", 1), layer("other", 2), layer("moved", 3), layer("gone", 4)];
        let mut merged: Vec<_> = before.iter().map(|layer| (layer.name.as_str(), Some(layer))).collect();
        merged.push(("foreign", None));
        let moved = Layer { path: "/elsewhere".into(), ..layer("moved", 3) };
        let wanted = [layer("new", 5), layer("same", 1), layer("other", 9), moved, layer("foreign", 6)];
        let test = "root-hash";
        let expected = [
            ("new", Fate::Added),
            ("same", Fate::Kept { test }),
            ("other", Fate::Replaced { test }),
            ("moved", Fate::Rechecked),
            ("foreign", Fate::Unknown),
            ("gone", Fate::Removed),
        ];
        let found = compare(&merged, &wanted);
        let found: Vec<_> = found.iter().map(|change| (change.name.as_str(), change.fate)).collect();
        assert_eq!(found, expected);
        let json = serde_json::to_value(compare(&merged[..1], &wanted[1..2])).unwrap();
        assert_eq!(json, serde_json::json!([{"name": "same", "change": "kept", "test": "root-hash"}]));
    }
}
