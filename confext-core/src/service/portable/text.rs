//! The files of an attached service: units as they are in the images, and drop-ins that bind them to these images

use std::path::{Path, PathBuf};

use confext_ddi::Limits;
use confext_ddi::policy::Policy;
use confext_ddi::release::{Class, Release};
use confext_ddi::unit::{self, Entry, Extensions, Root, Service, Specifiers};

use super::base::Base;
use super::units::Unit;
use super::{Content, Opened, Written, attached};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::service::Lifetime;

/// The drop-in that says of which images a unit is: to systemd-portabled, too.
pub(super) const DROP_IN: &str = "20-portable.conf";
/// The drop-in that is a profile of the host.
pub(super) const PROFILE: &str = "10-profile.conf";
/// Where profiles are, the most important first.
const PROFILES: [&str; 4] = [
    "/etc/systemd/portable/profile",
    "/run/systemd/portable/profile",
    "/usr/local/lib/systemd/portable/profile",
    "/usr/lib/systemd/portable/profile",
];
const BEFORE: &str = "# Drop-in created for image '";
const BEHIND: &str = "', do not edit.";

/// What drop-ins say.
pub(super) struct Told<'a> {
    pub(super) base: (&'a Base, Option<&'a Policy>),
    pub(super) extensions: &'a Extensions,
    pub(super) opened: &'a [Opened<'a>],
    /// Extensions as they were named.
    pub(super) order: &'a [String],
    pub(super) profile: Option<PathBuf>,
    pub(super) marker: String,
}

/// The first line of a drop-in: it names the base and the extensions.
pub(super) fn marker<'a>(paths: impl Iterator<Item = &'a String>) -> String {
    let paths: Vec<&str> = paths.map(String::as_str).collect();
    format!("{BEFORE}{}{BEHIND}", paths.join(":"))
}

/// The paths that a first line names.
pub(super) fn marked(text: &str) -> Option<Vec<String>> {
    let line = text.lines().next()?.strip_prefix(BEFORE)?.strip_suffix(BEHIND)?;
    Some(line.split(':').map(str::to_owned).collect())
}

/// Paths are written into one line, between colons.
pub(super) fn check_paths<'a>(paths: impl Iterator<Item = &'a String>) -> Result<()> {
    for path in paths {
        let plain = path.starts_with('/')
            && path.trim() == path
            && !path.contains([':', '\'', '"', '\\'])
            && !path.chars().any(char::is_control)
            && !path.split('/').any(|part| part == "..");
        if !plain {
            let expected = "an absolute path without colons, quotes, backslashes and control characters";
            return Err(Error::conflict("portable-path", path.clone(), "this path", expected));
        }
    }
    Ok(())
}

/// The drop-in of a profile.
pub(super) fn profile(host: &Host, name: Option<&str>) -> Result<Option<PathBuf>> {
    let Some(name) = name else { return Ok(None) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let fault = || Error::conflict("portable-profile", name.to_owned(), "no such profile", "one of the host");
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(fault());
    }
    let paths = PROFILES.map(|directory| Path::new(directory).join(name).join("service.conf"));
    paths.into_iter().find(|path| host.open_file(path).is_ok()).map(Some).ok_or_else(fault)
}

/// All files, the drop-ins of each unit before the unit.
pub(super) fn files(units: &[Unit], told: &Told<'_>, lifetime: Lifetime) -> Result<Vec<Written>> {
    let directory = Path::new(attached::directory(lifetime));
    let mut files = Vec::new();
    for unit in units {
        let beside = directory.join(format!("{}.d", unit.name));
        let text =
            if unit.name.kind() == "service" { service(unit, told)? } else { format!("{}\n", told.marker) };
        files.push(Written { path: beside.join(DROP_IN), content: Content::Text(text) });
        if let (Some(profile), "service") = (&told.profile, unit.name.kind()) {
            files.push(Written { path: beside.join(PROFILE), content: Content::LinkTo(profile.clone()) });
        }
        files.push(Written {
            path: directory.join(unit.name.as_str()),
            content: Content::Text(unit.text.clone()),
        });
    }
    Ok(files)
}

fn service(unit: &Unit, told: &Told<'_>) -> Result<String> {
    let (base, policy) = told.base;
    let part = base.part();
    let mut text = format!("{}\n\n[Service]\n", told.marker);
    let mut line = |key: &str, value: &str| text.push_str(&format!("{key}={value}\n"));
    let root = base.root();
    match &root {
        Root::Image(path) => line("RootImage", &literal(path)),
        Root::Directory(path) => line("RootDirectory", &literal(path)),
        Root::Host => {}
    }
    if let Some(policy) = policy {
        line("RootImagePolicy", &policy.to_string());
    }
    // Without extensions there is one image, and nothing to tell apart.
    let alone = told.order.is_empty();
    let named = [("PORTABLE", &unit.found.from), ("PORTABLE_ROOT", &part.path)];
    for (variable, path) in named.into_iter().take(if alone { 1 } else { 2 }) {
        if let Some(name) = field(file_name(path)) {
            line("Environment", &format!("{variable}={name}"));
            line("LogExtraFields", &format!("{variable}={name}"));
        }
    }
    if let Some(version) = name_and_version(base.os_release(), None) {
        let variable = if alone { "PORTABLE_NAME_AND_VERSION" } else { "PORTABLE_ROOT_NAME_AND_VERSION" };
        line("LogExtraFields", &format!("{variable}={version}"));
    }
    for path in told.order {
        let of_path = |one: &&Opened<'_>| one.member.listed.path == *path;
        let Some(one) = told.opened.iter().find(of_path) else { continue };
        if let Some(name) = field(file_name(path)) {
            line("LogExtraFields", &format!("PORTABLE_EXTENSION={name}"));
        }
        let versions = one.releases.iter().zip(&one.classes);
        for version in versions.filter_map(|(release, class)| name_and_version(release, Some(*class))) {
            line("LogExtraFields", &format!("PORTABLE_EXTENSION_NAME_AND_VERSION={version}"));
        }
    }
    for setting in told.extensions.lines()? {
        text.push_str(&setting);
        text.push('\n');
    }
    check(unit, &text, (&root, policy, told.extensions))?;
    Ok(text)
}

/// The unit with the drop-in has to be of these images and no others, whatever the unit itself says.
fn check(
    unit: &Unit,
    drop_in: &str,
    (root, policy, extensions): (&Root, Option<&Policy>, &Extensions),
) -> Result<()> {
    let limits = Limits::default();
    let (name, specifiers) = (&unit.name, Specifiers::new(&unit.name));
    let mut service = Service::default();
    for (text, file) in [(unit.text.as_str(), unit.found.path.as_str()), (drop_in, DROP_IN)] {
        for setting in unit::parse(text.as_bytes(), file, &limits)? {
            service.assign(&setting, name, &specifiers, &limits)?;
        }
    }
    let paths = |entries: &[Entry]| entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>();
    let same = service.root == *root
        && service.root_policy.as_ref() == policy
        && service.extensions.policy == extensions.policy
        && paths(&service.extensions.images) == paths(&extensions.images)
        && paths(&service.extensions.directories) == paths(&extensions.directories);
    if same {
        return Ok(());
    }
    let target = format!("{} in {}", unit.found.path, unit.found.from);
    let found = "settings of its own about its root or its extensions";
    Err(Error::conflict("portable-unit", target, found, "a unit that leaves them to whoever attaches it"))
}

fn literal(path: &str) -> String {
    path.replace('%', "%%")
}

fn file_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// A value that means the same with and without quotes and specifiers; others are left out of logs.
fn field(value: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+~^,=@".contains(&byte);
    (!value.is_empty() && value.len() <= 255 && value.bytes().all(plain)).then_some(value)
}

/// `NAME_VERSION`, as far as a release file says it.
fn name_and_version(release: &Release, class: Option<Class>) -> Option<String> {
    let prefix = match class {
        None => "",
        Some(Class::Sysext) => "SYSEXT_",
        Some(Class::Confext) => "CONFEXT_",
    };
    let first = |keys: &[&str]| keys.iter().find_map(|key| release.get_filled(&format!("{prefix}{key}")));
    let name = first(&["IMAGE_ID", "ID"]);
    let version = first(&["IMAGE_VERSION", "VERSION_ID", "BUILD_ID"]);
    let both: Vec<&str> = name.into_iter().chain(version).collect();
    field(&both.join("_")).map(str::to_owned)
}
