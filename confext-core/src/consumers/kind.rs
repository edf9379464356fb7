//! The programs that read files which extensions bring, where they look for them, and what makes them look again

use serde::{Deserialize, Serialize};

/// A program that reads files which extensions bring.
///
/// ```
/// use confext_core::consumers::Consumer;
///
/// assert_eq!(Consumer::of(b"usr/lib/systemd/system/app.service"), Some(Consumer::Units));
/// assert_eq!(Consumer::of(b"usr/lib/x86_64-linux-gnu/libapp.so.1"), Some(Consumer::LdSo));
/// assert_eq!(Consumer::of(b"usr/bin/app"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Consumer {
    /// The service manager: units, generators and presets.
    Units,
    /// The service managers of users.
    UserUnits,
    /// The message bus: services and policies.
    Dbus,
    /// Users and groups to be made.
    Sysusers,
    /// Files to be made.
    Tmpfiles,
    /// Rules for devices.
    UdevRules,
    /// The data base of devices.
    Hwdb,
    /// Shared libraries and where they are looked for.
    LdSo,
    /// SELinux policy and labels.
    Selinux,
    /// AppArmor profiles.
    Apparmor,
    /// Binary formats and their interpreters.
    Binfmt,
    /// Kernel modules to be loaded.
    ModulesLoad,
    /// Kernel parameters.
    Sysctl,
    /// Authorisation.
    Polkit,
    /// Network configuration of `systemd-networkd`.
    Network,
    /// Message catalogues of the journal.
    Catalog,
}

/// What makes a program notice.
///
/// ```
/// use confext_core::consumers::{Action, Consumer};
///
/// let command = vec!["systemd-sysusers".to_owned()];
/// assert_eq!(Consumer::Sysusers.action(), Action::Command { command });
/// assert_eq!(Consumer::Polkit.action(), Action::Watches);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Action {
    /// A command.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// Nothing: it watches its directories.
    Watches,
}

/// Directories and files, relative to the root; a slash at the end stands for everything below.
const PLACES: &[(Consumer, &[&str])] = &[
    (
        Consumer::Units,
        &[
            "usr/lib/systemd/system/",
            "usr/local/lib/systemd/system/",
            "etc/systemd/system/",
            "etc/systemd/system.control/",
            "usr/lib/systemd/system-generators/",
            "usr/local/lib/systemd/system-generators/",
            "etc/systemd/system-generators/",
            "usr/lib/systemd/system-preset/",
            "etc/systemd/system-preset/",
        ],
    ),
    (
        Consumer::UserUnits,
        &[
            "usr/lib/systemd/user/",
            "usr/local/lib/systemd/user/",
            "usr/share/systemd/user/",
            "etc/systemd/user/",
            "usr/lib/systemd/user-generators/",
            "etc/systemd/user-generators/",
        ],
    ),
    (Consumer::Dbus, &["usr/share/dbus-1/", "usr/local/share/dbus-1/", "etc/dbus-1/"]),
    (Consumer::Sysusers, &["usr/lib/sysusers.d/", "usr/local/lib/sysusers.d/", "etc/sysusers.d/"]),
    (Consumer::Tmpfiles, &["usr/lib/tmpfiles.d/", "usr/local/lib/tmpfiles.d/", "etc/tmpfiles.d/"]),
    (Consumer::UdevRules, &["usr/lib/udev/rules.d/", "usr/local/lib/udev/rules.d/", "etc/udev/rules.d/"]),
    (Consumer::Hwdb, &["usr/lib/udev/hwdb.d/", "usr/local/lib/udev/hwdb.d/", "etc/udev/hwdb.d/"]),
    (Consumer::LdSo, &["etc/ld.so.conf", "etc/ld.so.conf.d/"]),
    (Consumer::Selinux, &["etc/selinux/", "usr/share/selinux/"]),
    (Consumer::Apparmor, &["etc/apparmor.d/"]),
    (Consumer::Binfmt, &["usr/lib/binfmt.d/", "usr/local/lib/binfmt.d/", "etc/binfmt.d/"]),
    (
        Consumer::ModulesLoad,
        &["usr/lib/modules-load.d/", "usr/local/lib/modules-load.d/", "etc/modules-load.d/"],
    ),
    (Consumer::Sysctl, &["usr/lib/sysctl.d/", "usr/local/lib/sysctl.d/", "etc/sysctl.d/", "etc/sysctl.conf"]),
    (Consumer::Polkit, &["usr/share/polkit-1/", "usr/local/share/polkit-1/", "etc/polkit-1/"]),
    (
        Consumer::Network,
        &["usr/lib/systemd/network/", "usr/local/lib/systemd/network/", "etc/systemd/network/"],
    ),
    (Consumer::Catalog, &["usr/lib/systemd/catalog/"]),
];

/// Directories of libraries, also one level of architecture below them.
const LIBRARIES: [&[u8]; 5] = [b"usr/lib/", b"usr/lib64/", b"usr/lib32/", b"usr/libx32/", b"usr/local/lib/"];

impl Consumer {
    /// The program that reads a file, by its path below the root.
    #[must_use]
    pub fn of(path: &[u8]) -> Option<Self> {
        let is_at = |place: &&str| match place.strip_suffix('/') {
            Some(_) => path.len() > place.len() && path.starts_with(place.as_bytes()),
            None => path == place.as_bytes(),
        };
        let found = PLACES.iter().find(|(_, places)| places.iter().any(is_at));
        found.map(|(consumer, _)| *consumer).or_else(|| is_library(path).then_some(Self::LdSo))
    }

    /// What makes it notice that files are different.
    #[must_use]
    pub fn action(self) -> Action {
        let command: &[&str] = match self {
            Self::Units => &["systemctl", "daemon-reload"],
            Self::UserUnits => &["systemctl", "reload", "user@*.service"],
            Self::Dbus => &["systemctl", "reload", "dbus.service"],
            Self::Sysusers => &["systemd-sysusers"],
            Self::Tmpfiles => &["systemd-tmpfiles", "--create"],
            Self::UdevRules => &["udevadm", "control", "--reload"],
            Self::Hwdb => &["systemd-hwdb", "update"],
            Self::LdSo => &["ldconfig"],
            Self::Selinux => &["load_policy"],
            Self::Apparmor => &["systemctl", "reload", "apparmor.service"],
            Self::Binfmt => &["systemctl", "restart", "systemd-binfmt.service"],
            Self::ModulesLoad => &["systemctl", "restart", "systemd-modules-load.service"],
            Self::Sysctl => &["systemctl", "restart", "systemd-sysctl.service"],
            Self::Network => &["networkctl", "reload"],
            Self::Catalog => &["journalctl", "--update-catalog"],
            Self::Polkit => return Action::Watches,
        };
        Action::Command { command: command.iter().map(|&word| word.to_owned()).collect() }
    }

    /// The name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Units => "units",
            Self::UserUnits => "user-units",
            Self::Dbus => "dbus",
            Self::Sysusers => "sysusers",
            Self::Tmpfiles => "tmpfiles",
            Self::UdevRules => "udev-rules",
            Self::Hwdb => "hwdb",
            Self::LdSo => "ld-so",
            Self::Selinux => "selinux",
            Self::Apparmor => "apparmor",
            Self::Binfmt => "binfmt",
            Self::ModulesLoad => "modules-load",
            Self::Sysctl => "sysctl",
            Self::Polkit => "polkit",
            Self::Network => "network",
            Self::Catalog => "catalog",
        }
    }
}

/// Whether the dynamic linker looks for libraries there and would take this for one: `libX.so` and `libX.so.N`.
fn is_library(path: &[u8]) -> bool {
    let Some(below) = LIBRARIES.iter().find_map(|directory| path.strip_prefix(*directory)) else {
        return false;
    };
    let mut parts = below.rsplit(|byte| *byte == b'/');
    let name = parts.next().unwrap_or_default();
    let has_ending = |ending: &[u8]| name.windows(ending.len()).any(|part| part == ending);
    parts.count() <= 1 && name.starts_with(b"lib") && (name.ends_with(b".so") || has_ending(b".so."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_by_the_paths_it_reads() {
        for (path, expected) in [
            ("usr/lib/systemd/system/a.service", "units"),
            ("usr/lib/systemd/system/a.service.d/x.conf", "units"),
            ("etc/systemd/system/multi-user.target.wants/a.service", "units"),
            ("usr/lib/systemd/user/a.service", "user-units"),
            ("usr/share/dbus-1/system-services/org.x.service", "dbus"),
            ("etc/dbus-1/system.d/x.conf", "dbus"),
            ("usr/lib/sysusers.d/a.conf", "sysusers"),
            ("etc/tmpfiles.d/a.conf", "tmpfiles"),
            ("usr/lib/udev/rules.d/99-a.rules", "udev-rules"),
            ("usr/lib/udev/hwdb.d/a.hwdb", "hwdb"),
            ("usr/lib/x86_64-linux-gnu/liba.so.1", "ld-so"),
            ("usr/lib64/liba.so", "ld-so"),
            ("etc/ld.so.conf", "ld-so"),
            ("etc/selinux/targeted/policy/policy.33", "selinux"),
            ("etc/apparmor.d/a", "apparmor"),
            ("usr/lib/binfmt.d/a.conf", "binfmt"),
            ("etc/modules-load.d/a.conf", "modules-load"),
            ("etc/sysctl.conf", "sysctl"),
            ("usr/share/polkit-1/rules.d/a.rules", "polkit"),
            ("etc/systemd/network/a.network", "network"),
            ("usr/lib/systemd/catalog/a.catalog", "catalog"),
        ] {
            assert_eq!(Consumer::of(path.as_bytes()).map(Consumer::as_str), Some(expected), "{path}");
        }
        for path in [
            "usr/bin/a",
            "etc/sysctl.conf.bak",
            "usr/lib/systemd/system",
            "usr/lib/a/b/libx.so",
            "usr/lib/x.so",
        ] {
            assert_eq!(Consumer::of(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn names_are_those_of_documents() {
        for (consumer, _) in PLACES {
            assert_eq!(serde_json::to_value(consumer).unwrap(), consumer.as_str());
            let action = serde_json::to_value(consumer.action()).unwrap();
            assert!(action["kind"] == "watches" || action["command"].is_array(), "{action}");
        }
    }
}
