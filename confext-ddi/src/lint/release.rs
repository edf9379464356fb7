//! The release file of an image: there, readable, and with fields that some host matches.

use super::{Code, Finding};
use crate::Limits;
use crate::dps::Architecture;
use crate::error::Result;
use crate::fs::{self, FileSystem};
use crate::release::{self, Class, ImageKind, Release, Strictness};

pub(super) fn look(
    files: &dyn FileSystem,
    kind: ImageKind,
    name: &str,
    limits: &Limits,
    findings: &mut Vec<Finding>,
) {
    let expected = kind.release_paths(name).join(" or ");
    match find(files, kind, name, limits) {
        Ok((path, release)) => fields(kind, &path, &release, findings),
        Err(error) => {
            let missing = ["release-missing", "release-name", "release-not-unique", "no-such-file"];
            let code =
                if missing.contains(&error.code()) { Code::ReleaseMissing } else { Code::ReleaseSyntax };
            findings.push(Finding::new(code, expected.as_bytes(), error.to_string(), "one release file"));
        }
    }
}

fn find(files: &dyn FileSystem, kind: ImageKind, name: &str, limits: &Limits) -> Result<(Vec<u8>, Release)> {
    if let Some(class) = kind.class() {
        let found = release::find(files, class, name, Strictness::Strict, limits)?;
        return Ok((found.path, found.release));
    }
    let mut resolved = fs::resolve(files, b"", limits);
    for path in kind.release_paths(name) {
        resolved = fs::resolve(files, path.as_bytes(), limits);
        if resolved.is_ok() {
            break;
        }
    }
    let path = resolved?;
    let release = release::read(files, &path, limits)?;
    Ok((path, release))
}

fn fields(kind: ImageKind, path: &[u8], release: &Release, findings: &mut Vec<Finding>) {
    let mut object = |code, found: String, expected: String| {
        findings.push(Finding::new(code, path, found, expected));
    };
    let id = release.get_filled("ID");
    if id.is_none() {
        object(Code::ReleaseField, "no ID".to_owned(), "ID=, lower case".to_owned());
    }
    let Some(class) = kind.class() else {
        if id == Some("_any") {
            object(Code::ReleaseField, "ID=_any".to_owned(), "the name of an operating system".to_owned());
        }
        return;
    };
    if let Some(found) = release.get_filled("ARCHITECTURE")
        && found != "_any"
        && found.parse::<Architecture>().is_err()
    {
        let expected = "_any, or a name like x86-64 or arm64".to_owned();
        object(Code::ReleaseField, format!("ARCHITECTURE={found}"), expected);
    }
    if let Some(scope) = release.get(class.scope_key()) {
        const WORDS: [&str; 3] = ["system", "initrd", "portable"];
        let known = scope.split_ascii_whitespace().filter(|word| WORDS.contains(word)).count();
        if known == 0 || known != scope.split_ascii_whitespace().count() {
            let expected = format!("words out of {}", WORDS.join(", "));
            object(Code::ReleaseField, format!("{}={scope}", class.scope_key()), expected);
        }
    }
    if let Some((found, expected)) = other_class(class, release) {
        object(Code::ReleaseField, found, expected);
    }
    let tied = release.get_filled("VERSION_ID").or_else(|| release.get_filled(class.level_key()));
    if id.is_some_and(|id| id != "_any") && tied.is_none() {
        let expected = format!("VERSION_ID or {}", class.level_key());
        object(Code::ReleaseVersion, "neither".to_owned(), expected);
    }
}

/// Keys of the other class mean nothing here, and whoever wrote them meant something.
fn other_class(class: Class, release: &Release) -> Option<(String, String)> {
    let other = match class {
        Class::Sysext => Class::Confext,
        Class::Confext => Class::Sysext,
    };
    let pairs = [(other.level_key(), class.level_key()), (other.scope_key(), class.scope_key())];
    pairs
        .into_iter()
        .find(|(wrong, right)| release.get(wrong).is_some() && release.get(right).is_none())
        .map(|(wrong, right)| (wrong.to_owned(), right.to_owned()))
}
