//! [`Settings::read`]: what `sysext.conf` and `confext.conf` of a host say, with the drop-ins beside them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
pub use confext_ddi::settings::{Mutability, Setting};
use serde::Serialize;

use crate::admission::Options;
use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::OFlags;
use crate::trust::masks;

/// Where configuration is looked for, inside the root, the most important first.
pub const DIRECTORIES: [&str; 4] =
    ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];

/// Two keys and their comments.
const MOST_BYTES: u64 = 1 << 20;

/// What the configuration of a host says about a class, and where it says so.
///
/// *Layout*: the first `systemd/sysext.conf` or `confext.conf` below `/etc`, `/run`, `/usr/local/lib` and `/usr/lib`; then
/// the `*.conf` files in `sysext.conf.d` or `confext.conf.d` of these directories in the order of their names. Of several
/// files of one name the first one counts, also when it is empty or a link to `/dev/null`. What is read later counts.
///
/// *Spec*: sysext.conf(5), "Configuration directories and precedence".
///
/// ```
/// # let root = tempfile::tempdir()?;
/// # std::fs::create_dir_all(root.path().join("etc/systemd"))?;
/// use confext_core::{Host, Options, settings::{Mutability, Settings}};
/// use confext_ddi::release::Class;
///
/// std::fs::write(root.path().join("etc/systemd/confext.conf"), "[ConfExt]\nMutable=ephemeral\n")?;
/// let settings = Settings::read(&Host::open(root.path())?, Class::Confext)?;
/// let mutability = settings.mutability.as_ref().ok_or("it is set")?;
/// assert_eq!(mutability.place, "/etc/systemd/confext.conf:2");
/// let mut options = Options::default();
/// settings.apply(&mut options);
/// assert_eq!(options.mutability, Mutability::Ephemeral);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Settings {
    /// Whether merged hierarchies can be written to.
    pub mutability: Option<Setting<Mutability>>,
    /// Which protection images must have.
    #[serde(serialize_with = "as_text")]
    pub policy: Option<Setting<Policy>>,
    /// The files that were read, in this order.
    pub files: Vec<String>,
}

fn as_text<S: serde::Serializer>(
    policy: &Option<Setting<Policy>>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let text = |setting: &Setting<Policy>| Setting {
        value: setting.value.to_string(),
        place: setting.place.clone(),
    };
    policy.as_ref().map(text).serialize(serializer)
}

impl Settings {
    /// Reads the configuration of a host. None at all is no error.
    ///
    /// # Errors
    ///
    /// The `settings-` and `policy-` codes for anything that is not known; `os` for a file that cannot be read. There is no
    /// part of a configuration that counts without the rest.
    pub fn read(host: &Host, class: Class) -> Result<Self> {
        let mut read = confext_ddi::settings::Settings::default();
        let mut files = Vec::new();
        for path in find(host, class)? {
            if masks(host, &path) {
                continue;
            }
            let text = host.read(&path, "configuration file", MOST_BYTES)?;
            let name = path.display().to_string();
            read.read(&text, class, &name)?;
            files.push(name);
        }
        Ok(Self { mutability: read.mutability, policy: read.policy, files })
    }

    /// Puts what the configuration says into `options`, in place of what is there.
    pub fn apply(&self, options: &mut Options) {
        if let Some(mutability) = &self.mutability {
            options.mutability = mutability.value;
        }
        if let Some(policy) = &self.policy {
            options.policy = policy.value.clone();
        }
    }
}

impl Options {
    /// The defaults, with what the configuration of a host says of a class.
    ///
    /// # Errors
    ///
    /// As [`Settings::read`].
    pub fn for_host(host: &Host, class: Class) -> Result<Self> {
        let mut options = Self::default();
        Settings::read(host, class)?.apply(&mut options);
        Ok(options)
    }
}

/// The files that count, in the order in which they are read.
fn find(host: &Host, class: Class) -> Result<Vec<PathBuf>> {
    let main = format!("{class}.conf");
    let mut files = Vec::new();
    for directory in DIRECTORIES {
        let path = Path::new(directory).join(&main);
        // A link counts by its own name, whatever it leads to.
        match host.open_path(&path, OFlags::NOFOLLOW) {
            Ok(_) => {
                files.push(path);
                break;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::os("open", host.display(&path), error)),
        }
    }
    let mut additions: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
    for directory in DIRECTORIES {
        let directory = Path::new(directory).join(format!("{main}.d"));
        let failed = |error| Error::os("list", host.display(&directory), error);
        let place = match host.open_path(&directory, OFlags::DIRECTORY) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            place => place.map_err(failed)?,
        };
        let names = directory::names(place.as_fd()).map_err(|errno| failed(errno.into()))?;
        for name in names.into_iter().filter(|name| name.ends_with(b".conf") && !name.starts_with(b".")) {
            let path = directory.join(OsString::from_vec(name.clone()));
            additions.entry(name).or_insert(path);
        }
    }
    files.extend(additions.into_values());
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with files of a class `confext`.
    fn mode(files: &[(&str, &str)]) -> Option<(Mutability, String)> {
        let (_root, host) = Host::of_files(files);
        let setting = Settings::read(&host, Class::Confext).unwrap().mutability;
        setting.map(|setting| (setting.value, setting.place))
    }

    const AUTO: &str = "[ConfExt]\nMutable=auto\n";
    const IMPORT: &str = "[ConfExt]\nMutable=import\n";

    #[test]
    fn the_first_main_file_counts_and_additions_come_after_it() {
        let (etc, run) = ("etc/systemd/confext.conf", "run/systemd/confext.conf");
        let found = |mode, place: &str| Some((mode, place.to_owned()));
        assert_eq!(mode(&[]), None);
        assert_eq!(
            mode(&[("usr/lib/systemd/confext.conf", AUTO)]),
            found(Mutability::Auto, "/usr/lib/systemd/confext.conf:2")
        );
        assert_eq!(
            mode(&[(etc, IMPORT), (run, AUTO)]),
            found(Mutability::Import, "/etc/systemd/confext.conf:2")
        );
        assert_eq!(mode(&[(etc, ""), (run, AUTO)]), None);
        assert_eq!(mode(&[(etc, "-> /dev/null"), (run, AUTO)]), None);
        assert_eq!(mode(&[("etc/systemd/sysext.conf", "nonsense")]), None);
        // The name decides, not the directory.
        let additions = [
            (etc, AUTO),
            ("usr/lib/systemd/confext.conf.d/20-b.conf", IMPORT),
            ("etc/systemd/confext.conf.d/10-a.conf", "[ConfExt]\nMutable=yes\n"),
            ("etc/systemd/confext.conf.d/30-c.conf.off", "nonsense"),
            ("etc/systemd/confext.conf.d/.40-d.conf", "nonsense"),
        ];
        assert_eq!(
            mode(&additions),
            found(Mutability::Import, "/usr/lib/systemd/confext.conf.d/20-b.conf:2")
        );
        for mask in ["", "-> /dev/null", "# nothing\n"] {
            let masked = [additions[0], additions[1], ("run/systemd/confext.conf.d/20-b.conf", mask)];
            assert_eq!(mode(&masked), found(Mutability::Auto, "/etc/systemd/confext.conf:2"), "{mask}");
        }
        let link = [("etc/systemd/confext.conf.d/a.conf", "-> /opt/real"), ("opt/real", IMPORT)];
        assert_eq!(mode(&link), found(Mutability::Import, "/etc/systemd/confext.conf.d/a.conf:2"));
    }

    #[test]
    fn whatever_is_wrong_refuses_all_of_it() {
        for (path, text, code) in [
            ("etc/systemd/confext.conf", "[ConfExt]\nMutable=enabled\n", "settings-mutable"),
            ("run/systemd/confext.conf.d/a.conf", "[Confext]\n", "settings-section"),
            ("usr/lib/systemd/confext.conf.d/a.conf", "[ConfExt]\nImagePolicy=root=singed\n", "policy-flag"),
            ("etc/systemd/confext.conf.d/a.conf", "-> /missing", "os"),
            ("etc/systemd/confext.conf.d/a.conf/directory", "", "os"),
        ] {
            let (_root, host) = Host::of_files(&[(path, text)]);
            assert_eq!(Settings::read(&host, Class::Confext).unwrap_err().code(), code, "{path}");
            assert_eq!(Options::for_host(&host, Class::Confext).unwrap_err().code(), code, "{path}");
            Settings::read(&host, Class::Sysext).unwrap();
        }
    }

    #[test]
    fn options_take_what_is_said_and_nothing_else() {
        let text = "[SysExt]\nMutable=ephemeral\nImagePolicy=root=verity+signed\n";
        let (_root, host) = Host::of_files(&[("etc/systemd/sysext.conf", text)]);
        let options = Options::for_host(&host, Class::Sysext).unwrap();
        assert_eq!(options.mutability, Mutability::Ephemeral);
        assert_eq!(options.policy, Policy::parse("root=verity+signed").unwrap());
        let options = Options::for_host(&host, Class::Confext).unwrap();
        assert_eq!((options.mutability, options.policy), (Mutability::No, Policy::signed()));
    }
}
