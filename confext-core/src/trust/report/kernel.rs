//! [`Kernel`]: what the running kernel has to check images with, looked up and never loaded

use std::fs;
use std::path::Path;

use serde::Serialize;

/// What the running kernel has.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trust::{Kernel, Sources, report};
///
/// let kernel: Kernel = report(&host, &Sources::default(), None, std::time::SystemTime::now())?.kernel;
/// assert!(kernel.release.is_some());
/// println!("dm-verity: {:?}", kernel.verity);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Kernel {
    /// Its release, like `6.12.1`.
    pub release: Option<String>,
    /// Whether device-mapper is there.
    pub device_mapper: Presence,
    /// Whether device-mapper has the target verity.
    pub verity: Presence,
    /// The parameters of dm-verity, and what the kernel's command line says about images.
    pub parameters: Vec<Parameter>,
}

/// Whether something is there now. What is a module may be loaded later; nothing is loaded to find out.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trust::{Presence, Sources, report};
///
/// let kernel = report(&host, &Sources::default(), None, std::time::SystemTime::now())?.kernel;
/// if std::path::Path::new("/sys/module/dm_verity").exists() {
///     assert_eq!(kernel.verity, Presence::Present);
/// } else {
///     assert_ne!(kernel.verity, Presence::Present);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// It is.
    Present,
    /// It is not, or not yet.
    Absent,
    /// It cannot be seen.
    Unknown,
}

impl Presence {
    fn new(there: bool) -> Self {
        if there { Self::Present } else { Self::Absent }
    }
}

/// A parameter of the kernel.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trust::{Parameter, Sources, report};
///
/// let kernel = report(&host, &Sources::default(), None, std::time::SystemTime::now())?.kernel;
/// let Parameter { name, value, .. } = &kernel.parameters[0];
/// assert_eq!(name, "dm_verity.require_signatures");
/// println!("only what is signed is activated: {}", value.as_deref() == Some("Y"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Parameter {
    /// Its name, as it is written on the kernel's command line.
    pub name: String,
    /// What is in force: `None` when the kernel has no such parameter, or not yet.
    pub value: Option<String>,
    /// What the command line asks for; it counts when the module is loaded.
    pub command_line: Option<String>,
}

/// The parameters that matter here; the last one is a word for systemd.
const PARAMETERS: [&str; 3] =
    ["dm_verity.require_signatures", "dm_verity.keyring_unsealed", "systemd.allow_userspace_verity"];

impl Kernel {
    /// Looks into `proc` and `sys` below a directory.
    pub(super) fn read(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let release = text("proc/sys/kernel/osrelease").map(|text| text.trim().to_owned());
        let (misc, devices) = (text("proc/misc"), text("proc/devices"));
        let module = |name: &str| root.join("sys/module").join(name).is_dir();
        let lists = misc.is_some() || devices.is_some();
        let listed = [misc, devices].into_iter().flatten().any(|text| has_device_mapper(&text));
        let sys = root.join("sys/module").is_dir();
        let presence = |there: bool, seen: bool| {
            if there || seen { Presence::new(there) } else { Presence::Unknown }
        };
        let line = text("proc/cmdline").unwrap_or_default();
        let parameter = |name: &str| {
            let (module, short) = name.split_once('.').unwrap_or(("", name));
            let value = text(&format!("sys/module/{module}/parameters/{short}"));
            Parameter {
                name: name.to_owned(),
                value: value.map(|value| value.trim().to_owned()),
                command_line: of_command_line(&line, name),
            }
        };
        Self {
            release,
            device_mapper: presence(listed || module("dm_mod"), lists || sys),
            verity: presence(module("dm_verity"), sys),
            parameters: PARAMETERS.map(parameter).to_vec(),
        }
    }

    /// Whether the kernel activates only what is signed.
    pub(super) fn requires_signatures(&self) -> bool {
        let required = |parameter: &&Parameter| parameter.name == "dm_verity.require_signatures";
        let value = self.parameters.iter().find(required).and_then(|parameter| parameter.value.as_deref());
        matches!(value, Some("Y" | "y" | "1"))
    }
}

/// A line `NUMBER device-mapper`, in the list of devices or of those without a number of their own.
fn has_device_mapper(list: &str) -> bool {
    let named = |line: &str| line.split_whitespace().nth(1) == Some("device-mapper");
    list.lines().any(named)
}

/// The last one of its name counts. Dashes and underscores are the same to the kernel.
fn of_command_line(line: &str, name: &str) -> Option<String> {
    let word = |word: &str| {
        let (key, value) = word.split_once('=').unwrap_or((word, "1"));
        (key.replace('-', "_") == name).then(|| value.trim_matches('"').to_owned())
    };
    line.split_whitespace().rev().find_map(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(files: &[(&str, &str)]) -> Kernel {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Kernel::read(root.path())
    }

    fn parameter(kernel: &Kernel, at: usize) -> (Option<&str>, Option<&str>) {
        let found = &kernel.parameters[at];
        (found.value.as_deref(), found.command_line.as_deref())
    }

    #[test]
    fn device_mapper_is_found_in_each_place_and_not_by_half_its_name() {
        for (path, text, found) in [
            ("proc/misc", "236 device-mapper\n237 loop-control\n", Presence::Present),
            ("proc/devices", "Block devices:\n  7 loop\n254 device-mapper\n", Presence::Present),
            ("sys/module/dm_mod/version", "1", Presence::Present),
            ("proc/misc", "236 device-mapper-like\n237 x\n", Presence::Absent),
            ("proc/misc", "device-mapper\n", Presence::Absent),
            ("proc/version", "", Presence::Unknown),
        ] {
            assert_eq!(below(&[(path, text)]).device_mapper, found, "{path} {text}");
        }
    }

    #[test]
    fn parameters_are_what_is_in_force_and_what_was_asked_for() {
        let kernel = below(&[
            ("sys/module/dm_verity/parameters/require_signatures", "Y\n"),
            ("proc/cmdline", "quiet dm-verity.keyring_unsealed=0 dm_verity.keyring_unsealed=1 dm_verity.x=2"),
            ("proc/sys/kernel/osrelease", "7.0.1\n"),
        ]);
        assert_eq!((kernel.release.as_deref(), kernel.verity), (Some("7.0.1"), Presence::Present));
        assert_eq!(parameter(&kernel, 0), (Some("Y"), None));
        assert_eq!(parameter(&kernel, 1), (None, Some("1")));
        assert!(kernel.requires_signatures());
        assert!(
            !below(&[("sys/module/dm_verity/parameters/require_signatures", "N\n")]).requires_signatures()
        );
        assert_eq!(below(&[]).verity, Presence::Unknown);
    }
}
