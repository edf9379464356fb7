//! Where the entries of an image come from: a directory, a tar archive, or memory; and what changes them.

use std::fs::File;
use std::path::{Path, PathBuf};

use confext_core::Error;
use confext_ddi::build::{
    self, DirectoryOptions, Labels, Otherwise, OwnerRange, Patterns, Rules, TarOptions, Tree, Whiteouts,
    XattrPattern, Xattrs,
};
use confext_ddi::error::ResultExt as _;
use confext_ddi::release::ImageKind;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyRange;

use crate::argument::choice;
use crate::entry;
use crate::error::raise;

/// Changes to the entries, as they were passed.
pub(crate) struct RulesOf {
    pub(crate) exclude: Option<Vec<String>>,
    pub(crate) drop_xattrs: Option<Vec<String>>,
    pub(crate) file_contexts: Option<PathBuf>,
    pub(crate) owners: Owners,
    pub(crate) xattrs: bool,
}

/// Whose the entries are.
pub(crate) struct Owners(build::Owners);

impl Owners {
    /// All of one user and group, or mapped by rules for users and for groups.
    pub(crate) fn new(
        all: Option<(u32, u32)>,
        maps: [Option<OwnerMap>; 2],
        mapped_only: bool,
    ) -> PyResult<Self> {
        let [OwnerMap(users), OwnerMap(groups)] = maps.map(Option::unwrap_or_default);
        if let Some((uid, gid)) = all {
            if mapped_only || !users.is_empty() || !groups.is_empty() {
                let text = "owner and map_uid, map_gid, mapped_only exclude each other: found both";
                return Err(PyValueError::new_err(text));
            }
            return Ok(Self(build::Owners::all(uid, gid)));
        }
        let mut owners = build::Owners::default();
        (owners.users, owners.groups) = (users, groups);
        if mapped_only {
            owners.otherwise = Otherwise::Refuse;
        }
        Ok(Self(owners))
    }
}

/// What owners become: numbers or ranges of them by what the first becomes, in the order of the mapping.
#[derive(Debug, Default)]
pub(crate) struct OwnerMap(Vec<OwnerRange>);

impl<'a, 'py> FromPyObject<'a, 'py> for OwnerMap {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let items = object
            .call_method0("items")
            .map_err(|_| PyTypeError::new_err(format!("found {}, expected a mapping", object.get_type())))?;
        let items = items.try_iter()?;
        let range = |item: PyResult<Bound<'py, PyAny>>| {
            let (owners, becomes): (Bound<'py, PyAny>, u32) = item?.extract()?;
            let (first, last) = bounds(&owners)?;
            let range = OwnerRange::parse(&format!("{first}-{last}={becomes}"));
            range.map_err(|error| raise(object.py(), &error.into()))
        };
        items.map(range).collect::<PyResult<_>>().map(Self)
    }
}

/// The first and last of a number or a `range`.
pub(crate) fn bounds(owners: &Bound<'_, PyAny>) -> PyResult<(i64, i64)> {
    let Ok(range) = owners.cast::<PyRange>() else {
        let one = owners.extract()?;
        return Ok((one, one));
    };
    let field = |name| range.getattr(name)?.extract::<i64>();
    let (start, stop, step) = (field("start")?, field("stop")?, field("step")?);
    if step != 1 || start >= stop {
        let found = range.repr()?;
        return Err(PyValueError::new_err(format!(
            "found {found}, expected a range that is not empty, in steps of 1"
        )));
    }
    Ok((start, stop.saturating_sub(1)))
}

impl RulesOf {
    pub(crate) fn apply(self, mut tree: Tree, kind: ImageKind) -> Result<Tree, Error> {
        let mut rules = Rules::default();
        rules.exclude = Patterns::new(self.exclude.unwrap_or_default())?;
        rules.owners = self.owners.0;
        let dropped = self.drop_xattrs.into_iter().flatten().chain((!self.xattrs).then(|| "*".to_owned()));
        rules.drop_xattrs = dropped.map(XattrPattern::new).collect();
        if let Some(path) = self.file_contexts {
            let text = std::fs::read_to_string(&path).within(path.display().to_string())?;
            rules.labels = Some(Labels::parse(&text)?);
        }
        tree.apply(&rules, kind)?;
        Ok(tree)
    }
}

/// Where the entries are from.
pub(crate) enum Source {
    Memory(Tree),
    /// A directory, or a tar archive.
    Path(PathBuf, Taking),
    /// A tar archive.
    Archive(File, Taking),
}

/// How entries are taken.
pub(crate) struct Taking {
    owner: Option<(u32, u32)>,
    whiteouts: Option<Whiteouts>,
    xattrs: Xattrs,
}

impl Taking {
    pub(crate) fn new(owner: Option<(u32, u32)>, whiteouts: Option<&str>, xattrs: Xattrs) -> PyResult<Self> {
        let known = [("refuse", Whiteouts::Refuse), ("overlay", Whiteouts::Overlay)];
        let whiteouts = whiteouts.map(|text| choice("whiteouts", text, &known)).transpose()?;
        Ok(Self { owner, whiteouts, xattrs })
    }

    fn archive(&self) -> TarOptions {
        let mut options = TarOptions::default();
        (options.owner, options.xattrs) = (self.owner, self.xattrs);
        options.whiteouts = self.whiteouts.unwrap_or_default();
        options
    }
}

impl Source {
    pub(crate) fn new(
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        output: &Path,
        taking: Taking,
    ) -> PyResult<Self> {
        if source.hasattr("items")? {
            let raise = |error: confext_ddi::Error| raise(py, &error.into());
            return entry::tree(raise, source).map(Self::Memory);
        }
        if source.hasattr("read")? {
            let kept = py.import("confext._files")?.getattr("kept")?.call1((source, output.parent()))?;
            let fd: i32 = kept.call_method0("fileno")?.extract()?;
            // The same file, opened once more: that of Python is closed.
            let archive = File::open(format!("/proc/self/fd/{fd}"))?;
            return Ok(Self::Archive(archive, taking));
        }
        source.extract().map(|path| Self::Path(path, taking)).map_err(|_| {
            let found = source.get_type();
            PyTypeError::new_err(format!("source: found {found}, expected a path, a file or a mapping"))
        })
    }

    pub(crate) fn tree(self) -> confext_ddi::Result<Tree> {
        match self {
            Self::Memory(tree) => Ok(tree),
            Self::Archive(archive, taking) => Tree::from_tar(archive, &taking.archive()),
            Self::Path(path, taking) if path.is_file() => {
                let archive = File::open(&path).within(path.display().to_string())?;
                Tree::from_tar(archive, &taking.archive())
            }
            Self::Path(path, taking) => {
                let mut options = DirectoryOptions::default();
                (options.owner, options.whiteouts) = (taking.owner, taking.whiteouts);
                options.xattrs = taking.xattrs;
                Tree::from_directory(path, &options)
            }
        }
    }
}
