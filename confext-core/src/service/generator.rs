//! [`run`]: the generator by which systemd learns of directories `NAME.confext.d`, and how it is installed

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::unit::Name;
use serde::Serialize;

use super::confext_d::{self, Found, LeftOut};
use super::dropin;
use super::place::{self, Wrote};
use crate::error::{Error, Result};
use crate::host::Host;

/// Where the generator is installed, inside the root.
pub const PATH: &str = "/etc/systemd/system-generators/confext-generator";
/// The line by which it is known.
const MARK: &str = "# Installed by confext.";

/// What the generator did.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// use std::path::Path;
///
/// use confext_core::{Host, service::generator};
///
/// std::fs::create_dir_all(root.path().join("etc/systemd/system/app.service.confext.d/site.raw.v"))?;
/// let host = Host::open(root.path())?;
/// // As systemd calls generators when it starts and when it reads its units again.
/// let generated = generator::run(&host, &host, Path::new("/run/systemd/generator"))?;
/// let (unit, drop_in) = &generated.written[0];
/// assert_eq!(unit.as_str(), "app.service");
/// assert!(std::fs::read_to_string(host.path().join(drop_in.strip_prefix("/")?))?.contains("site.raw.v"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Generated {
    /// The drop-ins it wrote, with the units they are for.
    pub written: Vec<(Name, PathBuf)>,
    /// What does not count, and why.
    pub left_out: Vec<LeftOut>,
    /// Units for which it could do nothing, and why.
    #[serde(skip)]
    pub failed: Vec<(Name, Error)>,
}

/// Writes a drop-in for each unit that has a directory `NAME.confext.d`, below the first of the three directories that systemd
/// calls generators with. `output` is the host that directory is in: the running one, if systemd calls.
///
/// What fails for one unit is in the answer, and the others are done.
///
/// # Errors
///
/// `os` when the directories of units cannot be read.
///
/// *Spec*: systemd.generator(7).
pub fn run(host: &Host, output: &Host, normal: &Path) -> Result<Generated> {
    let mut generated = Generated::default();
    for unit in confext_d::units(host)? {
        match one(host, output, normal, &unit) {
            Ok((path, left_out)) => {
                generated.left_out.extend(left_out);
                generated.written.extend(path.map(|path| (unit, path)));
            }
            Err(error) => generated.failed.push((unit, error)),
        }
    }
    Ok(generated)
}

fn one(host: &Host, output: &Host, normal: &Path, unit: &Name) -> Result<(Option<PathBuf>, Vec<LeftOut>)> {
    let Found { extensions, left_out } = Found::of(host, unit)?;
    if extensions.is_empty() {
        return Ok((None, left_out));
    }
    let path = normal.join(format!("{unit}.d")).join(confext_d::DROP_IN);
    place::write(output, &path, dropin::drop_in_text(unit, &extensions)?.as_bytes(), place::PLAIN)?;
    Ok((Some(path), left_out))
}

/// Installs the generator: a script that runs `program`, the path of `confext` inside the root. It counts from the next
/// `systemctl daemon-reload` on.
///
/// # Errors
///
/// `generator-path` for a program whose path is not absolute and plain, or below `/tmp`, which generators do not see; or where something else is at [`PATH`]; `os`.
pub fn install(host: &Host, program: &Path) -> Result<Wrote> {
    let text = program.as_os_str().as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.+".contains(byte);
    if !program.is_absolute() || !text.iter().all(plain) {
        let found = program.display().to_string();
        return Err(Error::conflict(
            "generator-path",
            found,
            "this path",
            "an absolute one without special characters",
        ));
    }
    // Generators see an empty one.
    if program.starts_with("/tmp") {
        let found = program.display().to_string();
        return Err(Error::conflict("generator-path", found, "a path below /tmp", "one that generators see"));
    }
    is_ours(host)?;
    let script = format!(
        "#!/bin/sh\n{MARK}\n# Directories NAME.confext.d beside units become drop-ins of these units.\n\
         exec {} generator \"$@\"\n",
        program.display()
    );
    place::write(host, Path::new(PATH), script.as_bytes(), place::PROGRAM)
}

/// Takes the generator away, and says whether it was there. What it wrote goes at the next `systemctl daemon-reload`.
///
/// # Errors
///
/// `generator-path` where something else is at [`PATH`]; `os`.
pub fn uninstall(host: &Host) -> Result<bool> {
    if is_ours(host)? { place::remove(host, Path::new(PATH)) } else { Ok(false) }
}

/// Whether the generator is there.
fn is_ours(host: &Host) -> Result<bool> {
    match host.read(Path::new(PATH), "generator", 1 << 16) {
        Ok(text) if text.split(|byte| *byte == b'\n').any(|line| line == MARK.as_bytes()) => Ok(true),
        Ok(_) => {
            let found = "a file that was not installed by confext";
            Err(Error::conflict(
                "generator-path",
                host.display(Path::new(PATH)),
                found,
                "none, or one that was",
            ))
        }
        Err(Error::Os { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_has_a_drop_in_and_the_rest_is_told() {
        let root = tempfile::tempdir().unwrap();
        let units = root.path().join("etc/systemd/system");
        for directory in
            ["app.service.confext.d/b.raw.v", "app.service.confext.d/tree", "t@.service.confext.d/x.v"]
        {
            std::fs::create_dir_all(units.join(directory)).unwrap();
        }
        std::fs::create_dir_all(units.join("empty.service.confext.d")).unwrap();
        std::fs::create_dir_all(units.join("no unit.confext.d")).unwrap();
        for file in ["app.service.confext.d/a.raw", "app.service.confext.d/notes.txt"] {
            std::fs::write(units.join(file), "").unwrap();
        }
        let host = Host::open(root.path()).unwrap();
        let done = run(&host, &host, Path::new("/run/systemd/generator")).unwrap();
        let names: Vec<_> = done.written.iter().map(|(unit, _)| unit.as_str()).collect();
        assert_eq!(names, ["app.service", "t@.service"]);
        assert_eq!((done.left_out.len(), done.failed.len()), (1, 0));
        let written = root.path().join("run/systemd/generator/app.service.d/99-confext.d.conf");
        assert_eq!(
            std::fs::read_to_string(written).unwrap(),
            "# Written by confext.\n[Service]\n\
             ExtensionImages=-/etc/systemd/system/app.service.confext.d/a.raw\n\
             ExtensionImages=-/etc/systemd/system/app.service.confext.d/b.raw.v\n\
             ExtensionDirectories=-/etc/systemd/system/app.service.confext.d/tree\n\
             RefreshOnReload=extensions\n"
        );
    }

    #[test]
    fn only_what_was_installed_is_replaced_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::open(root.path()).unwrap();
        assert!(!uninstall(&host).unwrap());
        assert_eq!(install(&host, Path::new("/usr/bin/confext")).unwrap(), Wrote::New);
        assert_eq!(install(&host, Path::new("/usr/bin/confext")).unwrap(), Wrote::Same);
        assert_eq!(install(&host, Path::new("/opt/confext")).unwrap(), Wrote::Changed);
        assert!(uninstall(&host).unwrap() && !uninstall(&host).unwrap());
        for program in ["confext", "/a b", "/a;b", "/a\nb", "/tmp/confext"] {
            assert_eq!(install(&host, Path::new(program)).unwrap_err().code(), "generator-path");
        }
        let path = root.path().join(&PATH[1..]);
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert_eq!(install(&host, Path::new("/usr/bin/confext")).unwrap_err().code(), "generator-path");
        assert_eq!(uninstall(&host).unwrap_err().code(), "generator-path");
    }
}
