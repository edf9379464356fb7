//! What a tree that stands by itself needs: places to mount at, and for a portable service its units.

use super::{Code, Finding};
use crate::Limits;
use crate::fs::{self, FileSystem, FileType};
use crate::release::{ImageKind, Release};

/// Where the manager mounts something over a read-only tree.
const DIRECTORIES: [&str; 6] = ["proc", "sys", "dev", "run", "tmp", "var/tmp"];
/// Files a portable service gets from the host.
const FILES: [&str; 2] = ["etc/resolv.conf", "etc/machine-id"];
/// Where units are looked for.
const UNITS: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
/// What a unit's name ends with when a portable service may bring it.
const UNIT_ENDS: [&str; 5] = [".service", ".socket", ".target", ".timer", ".path"];

pub(super) fn look(
    files: &dyn FileSystem,
    kind: ImageKind,
    name: &str,
    limits: &Limits,
    findings: &mut Vec<Finding>,
) {
    let is = |path: &str, wanted: FileType| {
        let found = fs::resolve(files, path.as_bytes(), limits).and_then(|path| files.stat(&path));
        found.is_ok_and(|metadata| metadata.file_type == wanted)
    };
    let mut need = |path: &str, wanted: FileType| {
        if !is(path, wanted) {
            findings.push(Finding::new(Code::MountPoint, path.as_bytes(), "none", wanted.as_str()));
        }
    };
    match kind {
        ImageKind::Portable => {
            DIRECTORIES.iter().for_each(|path| need(path, FileType::Directory));
            FILES.iter().for_each(|path| need(path, FileType::Regular));
            units(files, name, limits, findings);
        }
        ImageKind::Root => {
            DIRECTORIES
                .iter()
                .take(4)
                .chain(&["usr", "etc", "var"])
                .for_each(|path| need(path, FileType::Directory));
        }
        ImageKind::Sysext | ImageKind::Confext | ImageKind::Usr => {}
    }
}

/// A portable service brings units that start with the image's name, or with one of `PORTABLE_PREFIXES`.
fn units(files: &dyn FileSystem, name: &str, limits: &Limits, findings: &mut Vec<Finding>) {
    let prefixes = prefixes(files, name, limits);
    let has = UNITS.iter().any(|directory| {
        let resolved = fs::resolve(files, directory.as_bytes(), limits);
        let entries = resolved.and_then(|directory| files.read_dir(&directory)).unwrap_or_default();
        entries.iter().any(|entry| {
            let Ok(unit) = std::str::from_utf8(&entry.name) else { return false };
            UNIT_ENDS.iter().any(|end| unit.ends_with(end))
                && prefixes.iter().any(|prefix| starts_with_prefix(unit, prefix))
        })
    });
    if !has {
        let expected = format!("a unit named {}, or {0}-… or {0}@…", prefixes.join(" or "));
        findings.push(Finding::new(Code::NoUnits, b"usr/lib/systemd/system", "none", expected));
    }
}

fn prefixes(files: &dyn FileSystem, name: &str, limits: &Limits) -> Vec<String> {
    let release = ImageKind::Portable.release_paths(name).into_iter().find_map(|path| {
        let path = fs::resolve(files, path.as_bytes(), limits).ok()?;
        Release::parse(&files.read(&path).ok()?, limits).ok()
    });
    let listed = release.as_ref().and_then(|release| release.get_filled("PORTABLE_PREFIXES"));
    match listed {
        Some(listed) => listed.split_ascii_whitespace().map(str::to_owned).collect(),
        None => vec![crate::release::base_name(name).to_owned()],
    }
}

/// Whether a unit's name is the prefix, or goes on behind it with one of the characters that separate.
fn starts_with_prefix(unit: &str, prefix: &str) -> bool {
    let rest = unit.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.starts_with(['.', '-', '@']))
}
