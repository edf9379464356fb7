//! What the service manager answers of a unit, and what it means

use std::collections::HashMap;
use std::time::Duration;

use confext_ddi::Limits;
use confext_ddi::dps::Designator;
use confext_ddi::policy::{Policy, Preset};
use confext_ddi::unit::{Assignment, Entry, Extensions, Name, RefreshOnReload, Root, Service, Specifiers};
use zbus::OwnedVariant;

use crate::error::{Error, Result};
use crate::manager::Patience;
use crate::manager::ask::{self, Answer};
use crate::service::find::masked;
use crate::service::{Running, Unit};

type Properties = HashMap<String, OwnedVariant>;

pub(super) fn live(name: &str, wait: Duration) -> Result<Unit> {
    let name = Name::parse(name)?;
    let asked = name.clone();
    let answer = ask::ask(Patience::of(wait), async move |connection| {
        let general = ask::properties(&connection, asked.as_str(), "Unit").await?;
        let own = match section(&asked) {
            Some(section) => ask::properties(&connection, asked.as_str(), section).await?,
            None => HashMap::new(),
        };
        Ok((general, own))
    })?;
    match answer {
        Answer::Said(Ok((general, own))) => understand(&name, general, own),
        Answer::Said(Err(error)) => Err(unknown(&name, &error.to_string())),
        Answer::Late | Answer::Stopped => Err(Error::conflict(
            "manager-unreachable",
            name.as_str(),
            "no answer in time",
            "one of the manager",
        )),
    }
}

fn section(name: &Name) -> Option<&'static str> {
    match name.kind() {
        "service" => Some("Service"),
        "socket" => Some("Socket"),
        "mount" => Some("Mount"),
        "swap" => Some("Swap"),
        _ => None,
    }
}

fn unknown(name: &Name, found: &str) -> Error {
    Error::conflict("manager-unit", name.as_str(), found, "a unit that is loaded")
}

fn understand(asked: &Name, mut general: Properties, mut own: Properties) -> Result<Unit> {
    match text(&mut general, "LoadState").as_str() {
        "loaded" => {}
        "masked" => return Err(masked(asked)),
        other => return Err(unknown(asked, &format!("a unit that is {other}"))),
    }
    let name = Name::parse(&text(&mut general, "Id"))?;
    let mut aliases = Vec::new();
    for other in list(&mut general, "Names") {
        let other = Name::parse(&other)?;
        if other != name {
            aliases.push(other);
        }
    }
    aliases.sort();
    let mut files = vec![text(&mut general, "FragmentPath")];
    files.extend(list(&mut general, "DropInPaths"));
    files.retain(|file| !file.is_empty());
    let running = Running {
        main_pid: own.remove("MainPID").and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
        active: text(&mut general, "ActiveState"),
        sub: text(&mut general, "SubState"),
        can_reload: flag(&mut general, "CanReload"),
        is_outdated: flag(&mut general, "NeedDaemonReload"),
    };
    let service = service(&name, own)?;
    Ok(Unit { name, aliases, service, files, settings: Vec::new(), running: Some(running) })
}

fn service(name: &Name, mut own: Properties) -> Result<Service> {
    let mut service = Service::default();
    service.extensions = extensions(&mut own)?;
    service.root = match (text(&mut own, "RootDirectory"), text(&mut own, "RootImage")) {
        (directory, _) if !directory.is_empty() && directory != "/" => Root::Directory(directory),
        (_, image) if !image.is_empty() => Root::Image(image),
        _ => Root::Host,
    };
    service.root_policy = policy(&mut own, "RootImagePolicy")?;
    service.reload.kind = text(&mut own, "Type");
    service.reload.signal = own
        .remove("ReloadSignal")
        .and_then(|signal| i32::try_from(signal).ok())
        .map_or_else(String::new, |signal| signal.to_string());
    service.reload.is_started = !commands(&mut own, "ExecStart").is_empty();
    service.reload.commands = commands(&mut own, "ExecReload");
    cover(&mut service, name, &mut own)?;
    Ok(service)
}

/// Mounts at hierarchies are noted as they are when files say them.
fn cover(service: &mut Service, name: &Name, own: &mut Properties) -> Result<()> {
    let mut targets = Vec::new();
    for key in ["BindPaths", "BindReadOnlyPaths"] {
        let all: Vec<(String, String, bool, u64)> = array(own, key)?;
        targets.extend(all.into_iter().map(|(_, target, _, _)| (key, target)));
    }
    let all: Vec<(String, String)> = array(own, "TemporaryFileSystem")?;
    targets.extend(all.into_iter().map(|(target, _)| ("TemporaryFileSystem", target)));
    for (key, target) in targets {
        if ["/etc", "/usr", "/opt"].contains(&target.trim_end_matches('/')) {
            let value = if key == "TemporaryFileSystem" { target } else { format!("/:{target}") };
            let from = Assignment::new(section(name).unwrap_or_default(), key, &value);
            service.assign(&from, name, &Specifiers::new(name), &Limits::default())?;
        }
    }
    Ok(())
}

fn extensions(own: &mut Properties) -> Result<Extensions> {
    type Image = (String, bool, Vec<(String, String)>);
    let mut extensions = Extensions::default();
    let images: Vec<Image> = array(own, "ExtensionImages")?;
    for (path, may_miss, listed) in images {
        let mut options = Vec::new();
        for (designator, text) in listed {
            let known = Designator::from_name(&designator).ok_or_else(|| {
                unreadable("ExtensionImages", &format!("a partition called {designator:?}"))
            })?;
            options.push((known, text));
        }
        let entry = Entry::image(path).with_options(options);
        extensions.images.push(if may_miss { entry.or_skipped() } else { entry });
    }
    for item in list(own, "ExtensionDirectories") {
        let (may_miss, path) = item.strip_prefix('-').map_or((false, item.as_str()), |path| (true, path));
        let entry = Entry::directory(path.strip_prefix('+').unwrap_or(path));
        extensions.directories.push(if may_miss { entry.or_skipped() } else { entry });
    }
    extensions.policy = policy(own, "ExtensionImagePolicy")?;
    let refreshed = list(own, "RefreshOnReload");
    let has = |word: &str| refreshed.iter().any(|other| other == word);
    extensions.refresh_on_reload =
        RefreshOnReload::Explicit { extensions: has("extensions"), credentials: has("credentials") };
    Ok(extensions)
}

/// The default of systemd 257, which does not know of encryption with integrity.
const BEFORE_INTEGRITY: &str = "root=verity+signed+encrypted+unprotected+absent:\
    usr=verity+signed+encrypted+unprotected+absent:home=encrypted+unprotected+absent:\
    srv=encrypted+unprotected+absent:tmp=encrypted+unprotected+absent:var=encrypted+unprotected+absent";

/// What is not set is shown as the default, and that is no explicit choice.
fn policy(own: &mut Properties, key: &str) -> Result<Option<Policy>> {
    let text = text(own, key);
    if text.is_empty() {
        return Ok(None);
    }
    let policy = Policy::parse(&text)?;
    let is_default = policy.is_equivalent(&Preset::Service.policy())
        || policy.is_equivalent(&Policy::parse(BEFORE_INTEGRITY)?);
    Ok(if is_default { None } else { Some(policy) })
}

fn unreadable(key: &str, found: &str) -> Error {
    Error::conflict("manager-unit", key, found, "an answer like that of systemd 262")
}

fn text(properties: &mut Properties, key: &str) -> String {
    properties.remove(key).and_then(|value| String::try_from(value).ok()).unwrap_or_default()
}

fn flag(properties: &mut Properties, key: &str) -> bool {
    properties.remove(key).and_then(|value| bool::try_from(value).ok()).unwrap_or(false)
}

fn list(properties: &mut Properties, key: &str) -> Vec<String> {
    properties.remove(key).and_then(|value| Vec::try_from(value).ok()).unwrap_or_default()
}

/// Each command with its arguments.
fn commands(properties: &mut Properties, key: &str) -> Vec<String> {
    type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);
    let all: Vec<Command> =
        properties.remove(key).and_then(|value| Vec::try_from(value).ok()).unwrap_or_default();
    all.into_iter().map(|command| command.1.join(" ")).collect()
}

/// A list that is empty where the manager has no such property, and never empty because it could not be read.
fn array<T>(properties: &mut Properties, key: &str) -> Result<Vec<T>>
where
    T: TryFrom<zbus::Variant<'static>>,
    T::Error: Into<zbus::Error>,
{
    let Some(value) = properties.remove(key) else { return Ok(Vec::new()) };
    Vec::try_from(value).map_err(|error: zbus::Error| unreadable(key, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_no_choice() {
        let now = Preset::Service.policy().to_string();
        for (shown, chosen) in [
            (now.as_str(), false),
            (BEFORE_INTEGRITY, false),
            ("", false),
            ("root=signed", true),
            ("*", true),
        ] {
            let shown_as = OwnedVariant::try_from(zbus::Variant::from(shown)).unwrap();
            let mut properties = Properties::from([("ExtensionImagePolicy".to_owned(), shown_as)]);
            assert_eq!(policy(&mut properties, "ExtensionImagePolicy").unwrap().is_some(), chosen, "{shown}");
        }
    }
}
