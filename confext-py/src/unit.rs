//! What a unit says of its extensions, a drop-in that says it, and how the directories of its service stand

use std::path::PathBuf;

use confext_core::manager;
use confext_core::service::{self, DropIn as Writer, Lifetime, Process, Unit, generator};
use confext_ddi::Limits;
use confext_ddi::release::Strictness;
use confext_ddi::unit::{
    Assignment, Covered, Entry, EntryKind, Extensions, IfMissing, Name, RefreshOnReload, Root, Specifiers,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::argument::{choice, designator};
use crate::conditions::seconds;
use crate::error::detached;
use crate::host::Host;
use crate::layer::Layer;
use crate::logs::told;
use crate::policy::PolicyArgument;
use crate::record::{Tuple, record};

const KINDS: [(&str, EntryKind); 2] = [("image", EntryKind::Image), ("directory", EntryKind::Directory)];

record! {
    /// One extension of a service, as its unit lists it.
    UnitEntry {
        /// Its absolute path on the host; it can end in `.v` or have a part in a `.v` directory.
        path: String,
        /// `image` or `directory`.
        kind: &'static str,
        /// Whether the service starts without it where it is missing.
        may_miss: bool,
        /// Mount options of an image, by partition, in the order they are written.
        options: Tuple<(&'static str, String)>,
        /// Whether a release file of another name is taken.
        relaxed: bool,
    }
    {
        /// Name an extension.
        #[new]
        #[pyo3(signature = (path, kind="image", *, may_miss=false, options=Vec::new(), relaxed=false),
            text_signature = "(path, kind='image', *, may_miss=False, options=(), relaxed=False)")]
        fn new(
            path: String,
            kind: &str,
            may_miss: bool,
            options: Vec<(String, String)>,
            relaxed: bool,
        ) -> PyResult<Self> {
            let kind = choice("kind", kind, &KINDS.map(|(word, _)| (word, word)))?;
            let option = |(part, text): (String, String)| Ok((designator(&part)?.as_str(), text));
            let options = options.into_iter().map(option).collect::<PyResult<_>>()?;
            Ok(Self { path, kind, may_miss, options: Tuple(options), relaxed })
        }
    }
}

record! {
    /// A line of a unit's file that is about its extensions.
    UnitSetting {
        /// The section it is in.
        section: String,
        /// Its name, like `ExtensionImages`.
        key: String,
        /// Its value as written.
        value: String,
        /// The file, inside the root.
        file: String,
        /// The line in it, from 1.
        line: u64,
    }
}

record! {
    /// Something that a unit mounts at a directory of its extensions, or below.
    CoveredDirectory {
        /// The directory.
        hierarchy: &'static str,
        /// Where it is mounted: there, where systemd uses that or the extensions, or below.
        path: String,
        /// The setting that does, like `BindPaths`.
        key: String,
        /// The file and line of the setting.
        place: String,
    }
}

record! {
    /// What a reload of a service is.
    ServiceReload {
        /// `Type=` as written; empty where it is not set.
        kind: String,
        /// `ExecReload=` as written.
        commands: Tuple<String>,
        /// `ReloadSignal=`; empty where it is not set.
        signal: String,
    }
}

record! {
    /// A unit in the running service manager.
    UnitProcess {
        /// Its main process.
        main_pid: Option<u32>,
        /// `active`, `reloading`, `refreshing`, `inactive`, `failed`, …
        active: String,
        /// What that is more exactly, like `running`.
        sub: String,
        /// Whether it can be reloaded now.
        can_reload: bool,
        /// Whether files changed since the manager read them.
        outdated: bool,
    }
}

record! {
    /// A unit, as far as it matters to its extensions.
    ServiceUnit {
        /// Its name: where it was asked for by an alias, the name behind that.
        name: String,
        /// Other names it has.
        aliases: Tuple<String>,
        /// The files that say it, in the order in which they are read.
        files: Tuple<String>,
        /// `ExtensionImages=`, as listed: the last one is on top.
        images: Tuple<UnitEntry>,
        /// `ExtensionDirectories=`, as listed: they are over the images.
        directories: Tuple<UnitEntry>,
        /// `ExtensionImagePolicy=`.
        policy: Option<String>,
        /// `RefreshOnReload=`.
        refresh_on_reload: Option<String>,
        /// What the service sees as `/`: `host`, `directory` or `image`.
        root: &'static str,
        /// The path of that directory or image.
        root_path: Option<String>,
        /// What else the unit mounts at `/etc`, `/usr` or `/opt`, or below.
        covered: Tuple<CoveredDirectory>,
        /// What a reload is.
        reload: ServiceReload,
        /// The lines that say it, in the order in which they count.
        settings: Tuple<UnitSetting>,
        /// What the running manager says of it; `None` where files were read.
        running: Option<UnitProcess>,
    }
}

record! {
    /// What a process sees over one of its directories.
    ServiceMount {
        /// `etc`, `usr` or `opt`.
        hierarchy: &'static str,
        /// Who put extensions over it: `nothing`, `own` (this library), `systemd`, or `interrupted` in the middle.
        found: &'static str,
        /// When, seconds since 1970; `None` when another program did.
        since: Option<i64>,
        /// The policy of images; `None` when another program did.
        policy: Option<String>,
        /// What it is made of, bottom first; `None` when another program did.
        layers: Option<Tuple<Layer>>,
        /// The mounts on it.
        mounts: Tuple<String>,
        /// What the mount forbids, like `nosuid`.
        attributes: Tuple<&'static str>,
        /// Whether what it is over is what it was; `None` where that is not written down.
        below_unchanged: Option<bool>,
    }
}

record! {
    /// A drop-in that was written.
    DropIn {
        /// The unit.
        unit: String,
        /// Its file, inside the root.
        path: String,
        /// `new`, `changed` or `same`.
        done: &'static str,
    }
}

impl From<&Entry> for UnitEntry {
    fn from(entry: &Entry) -> Self {
        let kind = match entry.kind {
            EntryKind::Image => "image",
            EntryKind::Directory => "directory",
        };
        let options = entry.options.iter().map(|(part, text)| (part.as_str(), text.clone()));
        Self {
            path: entry.path.clone(),
            kind,
            may_miss: entry.if_missing == IfMissing::Skip,
            options: Tuple(options.collect()),
            relaxed: entry.strictness == Strictness::Relaxed,
        }
    }
}

impl From<&Assignment> for UnitSetting {
    fn from(from: &Assignment) -> Self {
        Self {
            section: from.section.clone(),
            key: from.key.clone(),
            value: from.value.clone(),
            file: from.place.file.clone(),
            line: from.place.line,
        }
    }
}

impl From<&Covered> for CoveredDirectory {
    fn from(covered: &Covered) -> Self {
        Self {
            hierarchy: covered.hierarchy,
            path: covered.path.clone(),
            key: covered.key.clone(),
            place: covered.place.to_string(),
        }
    }
}

impl From<&Unit> for ServiceUnit {
    fn from(unit: &Unit) -> Self {
        let service = &unit.service;
        let (root, root_path) = match &service.root {
            Root::Host => ("host", None),
            Root::Directory(path) => ("directory", Some(path.clone())),
            Root::Image(path) => ("image", Some(path.clone())),
        };
        let refresh = service.extensions.refresh_on_reload;
        Self {
            name: unit.name.to_string(),
            aliases: unit.aliases.iter().map(ToString::to_string).collect(),
            files: unit.files.iter().cloned().collect(),
            images: service.extensions.images.iter().collect(),
            directories: service.extensions.directories.iter().collect(),
            policy: service.extensions.policy.as_ref().map(ToString::to_string),
            refresh_on_reload: (refresh != RefreshOnReload::Default).then(|| refresh.to_string()),
            root,
            root_path,
            covered: service.covered.iter().collect(),
            reload: ServiceReload {
                kind: service.reload.kind.clone(),
                commands: service.reload.commands.iter().cloned().collect(),
                signal: service.reload.signal.clone(),
            },
            settings: unit.settings.iter().collect(),
            running: unit.running.as_ref().map(|running| UnitProcess {
                main_pid: running.main_pid,
                active: running.active.clone(),
                sub: running.sub.clone(),
                can_reload: running.can_reload,
                outdated: running.is_outdated,
            }),
        }
    }
}

impl From<service::Status> for ServiceMount {
    fn from(status: service::Status) -> Self {
        let record = status.record.as_ref();
        Self {
            hierarchy: status.hierarchy,
            found: status.found.as_str(),
            since: record.map(|record| i64::try_from(record.merged_at).unwrap_or(i64::MAX)),
            policy: record.map(|record| record.policy.clone()),
            layers: record.map(|record| record.layers.iter().collect()),
            mounts: status.mounts.iter().map(|path| path.display().to_string()).collect(),
            attributes: status.attributes.iter().copied().collect(),
            below_unchanged: status.below_unchanged,
        }
    }
}

/// An extension as a caller names it: a path, or the entry of a unit.
#[derive(FromPyObject)]
pub(crate) enum Item<'py> {
    #[pyo3(transparent, annotation = "UnitEntry")]
    Entry(Bound<'py, UnitEntry>),
    #[pyo3(transparent, annotation = "path")]
    Path(PathBuf),
}

impl Item<'_> {
    /// Settings of units are text.
    fn entry(self, wanted: EntryKind) -> PyResult<Entry> {
        let of = |path: String| match wanted {
            EntryKind::Image => Entry::image(path),
            EntryKind::Directory => Entry::directory(path),
        };
        let known = match self {
            Self::Path(path) => {
                let text = path.into_os_string().into_string();
                let wrong = |path: std::ffi::OsString| format!("no unit can name {}", path.display());
                return text.map(of).map_err(|path| PyValueError::new_err(wrong(path)));
            }
            Self::Entry(known) => known.get().clone(),
        };
        if choice("kind", known.kind, &KINDS)? != wanted {
            return Err(PyValueError::new_err(format!(
                "{}: found a {} among the others",
                known.path, known.kind
            )));
        }
        let option = |(part, text): &(&str, String)| Ok((designator(part)?, text.clone()));
        let mut entry = of(known.path.clone());
        if !known.options.0.is_empty() {
            entry = entry.with_options(known.options.0.iter().map(option).collect::<PyResult<_>>()?);
        }
        if known.may_miss {
            entry = entry.or_skipped();
        }
        if known.relaxed {
            entry.strictness = Strictness::Relaxed;
        }
        Ok(entry)
    }
}

/// These images and directories.
pub(crate) fn extensions(
    images: Option<Vec<Item<'_>>>,
    directories: Option<Vec<Item<'_>>>,
) -> PyResult<Extensions> {
    let all = |items: Option<Vec<Item<'_>>>, kind| {
        items.unwrap_or_default().into_iter().map(|item| item.entry(kind)).collect::<PyResult<Vec<_>>>()
    };
    Ok(Extensions::of(all(images, EntryKind::Image)?, all(directories, EntryKind::Directory)?))
}

/// What a unit says of its extensions: by its files and drop-ins below the host's root, or with `live` as the running service
/// manager has it, which is waited for at most `timeout` seconds.
#[pyfunction]
#[pyo3(signature = (host, unit, *, live=false, timeout=10.0))]
pub(crate) fn service_show(
    py: Python<'_>,
    host: &Host,
    unit: &str,
    live: bool,
    timeout: f64,
) -> PyResult<ServiceUnit> {
    let timeout = seconds("timeout", timeout)?;
    detached(py, || {
        let found = match live {
            true => Unit::live(&manager::unit_name(unit), timeout)?,
            false => Unit::read(&host.host(), unit)?,
        };
        Ok(ServiceUnit::from(&found))
    })
}

/// What a running service, or any process with a mount namespace of its own, sees over its directories. Takes root.
#[pyfunction]
#[pyo3(signature = (unit=None, *, pid=None, timeout=10.0))]
pub(crate) fn service_status(
    py: Python<'_>,
    unit: Option<&str>,
    pid: Option<u32>,
    timeout: f64,
) -> PyResult<Tuple<ServiceMount>> {
    let timeout = seconds("timeout", timeout)?;
    if unit.is_some() == pid.is_some() {
        return Err(PyTypeError::new_err("either unit or pid"));
    }
    detached(py, || {
        let process = match (unit, pid) {
            (Some(unit), _) => service::main_process(&manager::unit_name(unit), timeout)?,
            (None, pid) => Process::open(pid.unwrap_or_default())?,
        };
        Ok(service::status(&process, timeout)?.into_iter().collect())
    })
}

fn drop_in(unit: &str, name: &str, runtime: bool) -> Result<(Name, Writer), confext_core::Error> {
    let lifetime = if runtime { Lifetime::Runtime } else { Lifetime::Persistent };
    let unit = Name::parse(unit)?;
    let writer = Writer::new(&unit, name, lifetime)?;
    Ok((unit, writer))
}

/// Write a drop-in with the extensions of a unit, in place of one of this name: it says all of it. It counts from the next
/// `systemctl daemon-reload` on; with `runtime` until the machine stops.
///
/// Images and directories are paths, or entries as `show` returns them.
#[pyfunction]
#[pyo3(
    signature = (
        host, unit, *, images=None, directories=None, policy=None, refresh_on_reload=None, name="50-confext.conf",
        runtime=false,
    ),
    text_signature = "(host, unit, *, images=(), directories=(), policy=None, refresh_on_reload=None, \
        name='50-confext.conf', runtime=False)"
)]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn service_drop_in(
    py: Python<'_>,
    host: &Host,
    unit: &str,
    images: Option<Vec<Item<'_>>>,
    directories: Option<Vec<Item<'_>>>,
    policy: Option<PolicyArgument>,
    refresh_on_reload: Option<&str>,
    name: &str,
    runtime: bool,
) -> PyResult<DropIn> {
    let mut extensions = extensions(images, directories)?;
    extensions.policy = policy.map(|policy| policy.0);
    detached(py, || {
        let (unit, writer) = drop_in(unit, name, runtime)?;
        if let Some(words) = refresh_on_reload {
            let mut from = Assignment::new("Service", "RefreshOnReload", words);
            "refresh_on_reload".clone_into(&mut from.place.file);
            extensions.assign(&from, &Specifiers::new(&unit), &Limits::default())?;
        }
        let done = writer.write(&host.host(), &extensions)?.as_str();
        Ok(DropIn { unit: unit.to_string(), path: writer.path().display().to_string(), done })
    })
    .and_then(|result| told(py, result))
}

/// Remove a drop-in, and say whether it was there. It counts from the next `systemctl daemon-reload` on.
#[pyfunction]
#[pyo3(
    signature = (host, unit, *, name="50-confext.conf", runtime=false),
    text_signature = "(host, unit, *, name='50-confext.conf', runtime=False)"
)]
pub(crate) fn service_remove_drop_in(
    py: Python<'_>,
    host: &Host,
    unit: &str,
    name: &str,
    runtime: bool,
) -> PyResult<bool> {
    detached(py, || drop_in(unit, name, runtime)?.1.remove(&host.host()))
}

/// Install the generator by which systemd learns of directories `NAME.confext.d` beside units: `new`, `changed` or `same`.
///
/// `program` is the path of the command `confext` inside the root. It counts from the next `systemctl daemon-reload` on.
#[pyfunction]
pub(crate) fn service_install_generator(
    py: Python<'_>,
    host: &Host,
    program: PathBuf,
) -> PyResult<&'static str> {
    detached(py, || Ok(generator::install(&host.host(), &program)?.as_str()))
}

/// Take the generator away, and say whether it was there.
#[pyfunction]
pub(crate) fn service_uninstall_generator(py: Python<'_>, host: &Host) -> PyResult<bool> {
    detached(py, || generator::uninstall(&host.host()))
}
