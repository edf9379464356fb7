//! Settings, aliases and drop-ins of generated units, asked of systemd where it is process 1: the same as is read here

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use confext_core::Host;
use confext_core::service::Unit;
use confext_ddi::policy::{Policy, Preset};
use confext_ddi::release::Strictness;
use confext_ddi::unit::{Entry, EntryKind, IfMissing, RefreshOnReload};

const DIRECTORIES: [&str; 3] =
    ["etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system"];

/// What is said to a service by itself, line by line.
const SETTINGS: [&str; 62] = [
    "ExtensionImages=/a.raw",
    "ExtensionImages=-/a.raw",
    "ExtensionImages=/a.raw -/b.v /c.v/d___.raw",
    "ExtensionImages=\"/a b.raw\"",
    "ExtensionImages='/a b' /c",
    r"ExtensionImages=/a\x20b.raw",
    r"ExtensionImages=/a\sb.raw",
    r"ExtensionImages=/a\:b.raw",
    r"ExtensionImages=/a\\b.raw",
    r"ExtensionImages=/a\303\251 /\u00e9 /\xc3\xa9",
    "ExtensionImages=/a:noexec,ro",
    "ExtensionImages=/a:root:noexec:home:ro",
    "ExtensionImages=/a:usr-verity:x",
    "ExtensionImages=/a:x-systemd.relax-extension-release-check",
    r"ExtensionImages=/a:x\:y",
    "ExtensionImages=/a//b/./c/",
    "ExtensionImages=/devx /run/x /",
    "ExtensionImages=/100%% /%n/%N/%p /%i",
    "ExtensionImages=/%t%S%C%L%E%T%V /%u%U%h /%d",
    "ExtensionImages=/%j/%J/%P/%f",
    "ExtensionImages=/a:%n",
    "ExtensionImages=/a\" b\"c",
    "ExtensionImages=/a /b /a",
    "ExtensionImages=/a;b",
    "ExtensionImages=/a\nExtensionImages=/b",
    "ExtensionImages=/a\nExtensionImages=\nExtensionImages=/b",
    "ExtensionImages=/a \\\n  /b \\\n# c\n/c",
    "ExtensionImages=/a\\\n/b",
    " ExtensionImages = /a ",
    "ExtensionImages=/a\r\nExtensionImages=/b\r",
    "[Unit]\nDescription=x\n[Service]\nExtensionImages=/a",
    "[X-Mine]\nExtensionImages=/b\n[Service]\nExtensionImages=/a",
    "ExtensionDirectories=/a",
    "ExtensionDirectories=-/a /b",
    "ExtensionDirectories=+/a -+/b",
    "ExtensionDirectories=\"/a b\"",
    r"ExtensionDirectories=/a\x20b",
    r"ExtensionDirectories=/a\ b",
    "ExtensionDirectories=/a:b",
    r"ExtensionDirectories=/a\:b",
    r"ExtensionDirectories=/a\\b",
    "ExtensionDirectories=/proc/x",
    "ExtensionDirectories=/%n/%%",
    "ExtensionDirectories=/a\nExtensionImages=/b",
    "ExtensionImagePolicy=root=signed",
    "ExtensionImagePolicy=root=unprotected:usr=verity+signed",
    "ExtensionImagePolicy=root=signed\nExtensionImagePolicy=",
    "ExtensionImagePolicy=*",
    "ExtensionImagePolicy=~",
    "RefreshOnReload=yes",
    "RefreshOnReload=no",
    "RefreshOnReload=extensions",
    "RefreshOnReload=credentials extensions",
    "RefreshOnReload=~extensions",
    "RefreshOnReload=~credentials",
    "RefreshOnReload=~",
    "RefreshOnReload=\nExtensionImages=/a.v",
    "RefreshOnReload=yes\nRefreshOnReload=",
    "RefreshOnReload=extensions\nRefreshOnReload=credentials",
    "RefreshOnReload=yes\nRefreshOnReload=~credentials\nExtensionDirectories=/a.v",
    "RefreshOnReload=no\nRefreshOnReload=extensions",
    "RefreshOnReload=On",
];

/// Numbers that look random and are the same in each run.
fn next(state: &mut u64, most: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap() % most
}

struct Machine {
    _scratch: tempfile::TempDir,
    work: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let work = scratch.path().canonicalize().unwrap().join("work");
        fs::create_dir_all(work.join("root")).unwrap();
        Self { _scratch: scratch, work }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.work.join("root").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.work.join("root").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// What systemd shows of each unit, by property.
    fn show(&self, units: &[String]) -> BTreeMap<String, BTreeMap<String, String>> {
        let properties =
            "Id,LoadState,ExtensionImages,ExtensionDirectories,ExtensionImagePolicy,RefreshOnReload";
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("manager.sh"))
            .arg(&self.work)
            .args(["systemctl", "show", "-p", properties])
            .args(units)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let all = text.split("\n\n").map(|block| {
            block
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        });
        let all: Vec<BTreeMap<String, String>> = all.collect();
        assert_eq!(all.len(), units.len());
        units.iter().cloned().zip(all).collect()
    }

    fn host(&self) -> Host {
        Host::open(self.work.join("root")).unwrap()
    }
}

/// An image as `systemctl show` writes it.
fn image(entry: &Entry) -> String {
    let mut text = String::from(if entry.if_missing == IfMissing::Skip { "-" } else { "" }) + &entry.path;
    if entry.strictness == Strictness::Relaxed {
        text.push_str(":root:x-systemd.relax-extension-release-check");
    }
    for (designator, options) in &entry.options {
        text.push_str(&format!(":{designator}:{options}"));
    }
    text
}

/// A directory as `systemctl show` writes it, without the plus sign that means nothing.
fn directory(entry: &Entry) -> String {
    let text = String::from(if entry.if_missing == IfMissing::Skip { "-" } else { "" }) + &entry.path;
    if !text.contains([' ', '\\', '"']) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn compare(unit: &Unit, shown: &BTreeMap<String, String>, context: &str) {
    let extensions = &unit.service.extensions;
    assert_eq!(shown["LoadState"], "loaded", "{context}");
    assert_eq!(shown["Id"], unit.name.as_str(), "{context}");
    let join = |entries: &[Entry], print: fn(&Entry) -> String| {
        entries.iter().map(print).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown["ExtensionImages"], join(&extensions.images, image), "{context}");
    assert_eq!(
        shown["ExtensionDirectories"].replace('+', ""),
        join(&extensions.directories, directory),
        "{context}"
    );
    let policy = Policy::parse(&shown["ExtensionImagePolicy"]).unwrap();
    let ours = extensions.policy.clone().unwrap_or_else(|| Preset::Service.policy());
    assert!(policy.is_equivalent(&ours), "{context}: {policy}");
    let refreshed = match extensions.refresh_on_reload {
        RefreshOnReload::Default if extensions.is_refreshed_on_reload() => "extensions".to_owned(),
        RefreshOnReload::Default => String::new(),
        RefreshOnReload::Explicit { extensions, credentials } => {
            let words = [(extensions, "extensions"), (credentials, "credentials")];
            words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect::<Vec<_>>().join(" ")
        }
    };
    assert_eq!(shown["RefreshOnReload"], refreshed, "{context}");
    assert!(
        extensions.bottom_first().all(|entry| matches!(entry.kind, EntryKind::Image | EntryKind::Directory))
    );
}

#[test]
#[ignore = "needs root"]
fn settings_say_the_same_to_systemd() {
    let machine = Machine::new();
    let mut units = Vec::new();
    for (number, setting) in SETTINGS.iter().enumerate() {
        let name = format!("a-b\\x2dc{number}@x-y.service");
        machine.write(
            &format!("etc/systemd/system/{name}"),
            &format!("[Service]\nExecStart=/bin/true\n{setting}\n"),
        );
        units.push(name);
    }
    // What is printed of each is the same to systemd, too.
    let host = machine.host();
    let printed = |name: &str| format!("printed-{name}");
    for (name, setting) in units.iter().zip(SETTINGS) {
        let unit = Unit::read(&host, name).unwrap_or_else(|error| panic!("{setting}: {}", error.explain()));
        let lines = unit.service.extensions.lines().unwrap().join("\n");
        let path = format!("etc/systemd/system/{}", printed(name));
        machine.write(&path, &format!("[Service]\nExecStart=/bin/true\n{lines}\n"));
    }
    let all: Vec<_> = units.iter().cloned().chain(units.iter().map(|name| printed(name))).collect();
    let shown = machine.show(&all);
    for (name, setting) in units.iter().zip(SETTINGS) {
        compare(&Unit::read(&host, name).unwrap(), &shown[name], setting);
        compare(&Unit::read(&host, &printed(name)).unwrap(), &shown[&printed(name)], setting);
        for key in ["ExtensionImages", "ExtensionDirectories"] {
            // The plus sign is not printed.
            assert_eq!(shown[&printed(name)][key], shown[name][key].replace('+', ""), "{setting}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn drop_ins_count_in_the_same_order() {
    let machine = Machine::new();
    let mut state = 1;
    let mut units = Vec::new();
    for number in 0..40 {
        let stem = format!("n{number}");
        let fragment = |name: &str| format!("[Service]\nExecStart=/bin/true\nExtensionDirectories=/{name}\n");
        let plain =
            [format!("{stem}-b-c.service"), format!("{stem}-b@.service"), format!("{stem}--d.service")];
        for name in &plain {
            let place = DIRECTORIES[next(&mut state, 3)];
            machine.write(&format!("{place}/{name}"), &fragment(name));
            machine.write(&format!("usr/lib/systemd/system/{name}"), &fragment("lowest"));
        }
        machine.link(&format!("etc/systemd/system/{stem}-alias.service"), &format!("{stem}-b-c.service"));
        machine.link(
            &format!("usr/lib/systemd/system/{stem}-u@.service"),
            &format!("/usr/lib/systemd/system/{stem}-b@.service"),
        );
        let directories = [
            format!("{stem}-b-c.service"),
            format!("{stem}-b-.service"),
            format!("{stem}-.service"),
            format!("{stem}-b@.service"),
            format!("{stem}-b@i.service"),
            format!("{stem}-@.service"),
            format!("{stem}-@i.service"),
            format!("{stem}-alias.service"),
            format!("{stem}-u@i.service"),
            format!("{stem}--.service"),
        ];
        for _ in 0..14 {
            let (place, owner) =
                (DIRECTORIES[next(&mut state, 3)], &directories[next(&mut state, directories.len())]);
            let file = format!("{place}/{owner}.d/{}0-{stem}.conf", next(&mut state, 6));
            if machine.work.join("root").join(&file).symlink_metadata().is_ok() {
                continue;
            }
            match next(&mut state, 8) {
                0 => machine.link(&file, "/dev/null"),
                1 => machine.write(&file, ""),
                2 => machine.write(
                    &file,
                    &format!(
                        "[Service]\nExtensionDirectories=\nExtensionDirectories=/{place}/{owner}/reset\n"
                    ),
                ),
                _ => machine.write(&file, &format!("[Service]\nExtensionDirectories=/{file}\n")),
            }
        }
        for place in DIRECTORIES {
            // Units of the machine itself have to start with it.
            let file = format!("{place}/service.d/{}0-{stem}.conf", next(&mut state, 6));
            machine.write(&file, &format!("[Service]\nExtensionDirectories=-/{file}\n"));
        }
        units.extend([
            format!("{stem}-b-c.service"),
            format!("{stem}-alias.service"),
            format!("{stem}-b@i.service"),
            format!("{stem}-u@i.service"),
            format!("{stem}--d.service"),
        ]);
    }
    let shown = machine.show(&units);
    let host = machine.host();
    for name in &units {
        let unit = Unit::read(&host, name).unwrap_or_else(|error| panic!("{name}: {}", error.explain()));
        compare(&unit, &shown[name], name);
    }
}
