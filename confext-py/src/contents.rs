//! `Files`: the files of what a policy admitted.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use confext_core::Error;
use confext_core::extract::extract;
use confext_ddi::Limits;
use confext_ddi::diff::{self, Side};
use confext_ddi::error::{LimitExceeded, Refused};
use confext_ddi::fs::{self, FileSystem, FileType, Metadata, Watched};
use confext_ddi::manifest;
use confext_ddi::policy::{Admitted, AdmittedPartition};
use confext_ddi::read::ReadAt as _;
use pyo3::prelude::*;

use crate::argument::{ImagePath, text};
use crate::error::{detached, in_image};
use crate::files::{Difference, Extracted, Manifest, Other, Owner, Wishes, ignored};
use crate::progress::{Progress, Watcher};
use crate::record::record;

record! {
    /// What `stat` tells of a file of an image.
    Stat {
        /// `regular`, `directory`, `symlink`, `char-device`, `block-device`, `fifo` or `socket`.
        kind: &'static str,
        /// Permission, set-id and sticky bits.
        mode: u16,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Size in bytes; of a symbolic link, the length of its target.
        size: u64,
        /// Modification time, seconds since 1970.
        mtime: i64,
        /// Nanoseconds of the modification time.
        mtime_nsec: u32,
        /// How many names it has.
        nlink: u32,
        /// Major and minor number of a device node.
        rdev: Option<(u32, u32)>,
        /// Inode number: two entries with the same one are the same file.
        ino: u64,
    }
}

/// What a policy admitted: an image, or one more of its partitions.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Image(Arc<Admitted<File>>),
    Partition(Arc<AdmittedPartition<File>>),
}

impl Source {
    fn file_system(&self, limits: &Limits) -> confext_ddi::Result<Box<dyn FileSystem>> {
        match self {
            Self::Image(admitted) => admitted.shared_file_system(limits),
            Self::Partition(partition) => partition.shared_file_system(limits),
        }
    }

    /// The size of what holds the files.
    fn size_bytes(&self) -> confext_ddi::Result<u64> {
        match self {
            Self::Image(admitted) => admitted.data().size_bytes(),
            Self::Partition(partition) => partition.data().size_bytes(),
        }
    }
}

/// The files of what a policy admitted: of an image (`Admitted`) or of one more of its partitions (`AdmittedPartition`).
///
/// Paths are `str`, `bytes` or path-like, from the root of the file system; symbolic links are followed inside it.
#[pyclass(subclass, frozen, module = "confext")]
pub(crate) struct Files {
    path: PathBuf,
    source: Source,
    limits: Limits,
    files: OnceLock<Box<dyn FileSystem>>,
}

#[pymethods]
impl Files {
    /// The path of the image.
    #[getter]
    fn path(&self) -> OsString {
        self.path.as_os_str().to_owned()
    }

    /// The names in a directory, sorted by their bytes.
    #[pyo3(signature = (path=ImagePath(Vec::new())), text_signature = "($self, path='/')")]
    fn listdir(&self, py: Python<'_>, path: ImagePath) -> PyResult<Vec<OsString>> {
        self.with_files(py, |files| {
            let entries = files.read_dir(&self.follow(files, &path)?)?;
            Ok(entries.iter().map(|entry| text(&entry.name)).collect())
        })
    }

    /// Everything below a directory with its `Stat`: a directory before what is in it, names sorted by their bytes.
    #[pyo3(signature = (path=ImagePath(Vec::new())), text_signature = "($self, path='/')")]
    fn walk(&self, py: Python<'_>, path: ImagePath) -> PyResult<Vec<(OsString, Stat)>> {
        self.with_files(py, |files| {
            let root = self.follow(files, &path)?;
            let entry = |item: confext_ddi::Result<(Vec<u8>, Metadata)>| {
                item.map(|(path, metadata)| (text(&[b"/", path.as_slice()].concat()), Stat::from(&metadata)))
            };
            fs::walk(files, &root, &self.limits)?.map(entry).collect()
        })
    }

    /// What a file is.
    #[pyo3(signature = (path, *, follow_symlinks=true))]
    fn stat(&self, py: Python<'_>, path: ImagePath, follow_symlinks: bool) -> PyResult<Stat> {
        self.with_files(py, |files| {
            let path = if follow_symlinks { self.follow(files, &path)? } else { self.parent(files, &path)? };
            Ok(Stat::from(&files.stat(&path)?))
        })
    }

    /// The bytes of a file, or `size` of them from `offset`: fewer only at its end.
    #[pyo3(signature = (path, *, offset=0, size=None))]
    fn read(&self, py: Python<'_>, path: ImagePath, offset: u64, size: Option<u64>) -> PyResult<Vec<u8>> {
        self.with_files(py, |files| {
            let path = self.follow(files, &path)?;
            if (offset, size) == (0, None) {
                return files.read(&path);
            }
            let rest = files.stat(&path)?.size_bytes.saturating_sub(offset);
            let (found, most) = (size.map_or(rest, |size| size.min(rest)), self.limits.file_bytes);
            let len = usize::try_from(found).ok().filter(|_| found <= most);
            let mut content = vec![0; len.ok_or(LimitExceeded::Bytes { what: "file", found, most })?];
            let count = files.read_at(&path, offset, &mut content)?;
            content.truncate(count);
            Ok(content)
        })
    }

    /// Open a file for reading, as `open(path, "rb")` does with files that are not in an image.
    fn open<'py>(slf: &Bound<'py, Self>, path: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("confext._files")?.getattr("open_file")?.call1((slf, path))
    }

    /// Where a symbolic link leads.
    fn readlink(&self, py: Python<'_>, path: ImagePath) -> PyResult<OsString> {
        self.with_files(py, |files| Ok(text(&files.read_link(&self.parent(files, &path)?)?)))
    }

    /// The extended attributes of a file, by full name.
    #[pyo3(signature = (path, *, follow_symlinks=true))]
    fn xattrs(
        &self,
        py: Python<'_>,
        path: ImagePath,
        follow_symlinks: bool,
    ) -> PyResult<BTreeMap<OsString, Vec<u8>>> {
        self.with_files(py, |files| {
            let path = if follow_symlinks { self.follow(files, &path)? } else { self.parent(files, &path)? };
            Ok(files.xattrs(&path)?.into_iter().map(|(name, value)| (text(&name), value)).collect())
        })
    }

    /// Every file with its attributes and, unless `digests` is false, the SHA-256 of its content.
    ///
    /// `progress` is called as by `Admitted.check`; how many bytes there are is about right.
    #[pyo3(signature = (*, digests=true, progress=None))]
    fn manifest(&self, py: Python<'_>, digests: bool, progress: Option<Py<PyAny>>) -> PyResult<Manifest> {
        let mut options = manifest::Options::default();
        if !digests {
            options.contents = manifest::Contents::Sizes;
        }
        self.watch(py, progress, |watcher| {
            self.watched(watcher, |files| {
                manifest::Manifest::of(files, &options, &self.limits, |_| {}).map(Manifest)
            })
        })
    }

    /// What `other` has different: another image, or a manifest, which then counts as what was before.
    ///
    /// `ignore` names attributes that may differ: `mode`, `owner`, `mtime`, `content`, `xattrs`, `hard-links`. `progress` is
    /// called as by `Admitted.check`, with the bytes of this image; how many there are is about right.
    #[pyo3(
        signature = (other, *, ignore=Vec::new(), progress=None),
        text_signature = "($self, other, *, ignore=(), progress=None)"
    )]
    fn diff(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyAny>,
        ignore: Vec<String>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Difference>> {
        let (options, other) = (ignored(&ignore)?, Other::new(other)?);
        let found = match &other {
            Other::Image(other) => {
                let other = other.get();
                Watcher::watch(py, progress, |watcher| {
                    let after = other.files().map_err(in_image(&other.path))?;
                    let found = self.watched(watcher, |files| {
                        diff::collect(Side::Files(files), Side::Files(after), &options, &self.limits)
                    });
                    found.map_err(|error| match error.path().starts_with("before") {
                        true => in_image(&self.path)(error),
                        false => in_image(&other.path)(error),
                    })
                })
            }
            Other::Manifest(manifest) => {
                let before = &manifest.get().0;
                self.watch(py, progress, |watcher| {
                    self.watched(watcher, |files| {
                        diff::collect(Side::Manifest(before), Side::Files(files), &options, &self.limits)
                    })
                })
            }
        }?;
        Ok(found.iter().map(Difference::from).collect())
    }

    /// Extract all files to a directory. One that is not there appears when it is complete; on failure nothing stays.
    ///
    /// Neither names nor links lead out of it, whether they are in the image or in the directory. What is in the way is
    /// refused, unless `existing` is `replace`; device nodes are refused, unless `devices` is `leave-out` or `make`.
    /// Files belong to who extracts, unless `owner` is `image`, a user and a group, or a `range` of what the owners 0, 1, …
    /// of the image become. Set-id bits are cleared, unless `set_id` is `keep`. Of extended attributes those are set whose
    /// names begin as one of `xattrs`. With `sync="now"` all is on disk afterwards. `progress` is called as by
    /// `Admitted.check`; how many bytes there are is about right.
    #[pyo3(
        signature = (
            destination, *, existing="refuse", owner=Owner::Word("caller".to_owned()), devices="refuse",
            set_id="clear", xattrs=vec!["user.".to_owned()], sync="later", progress=None,
        ),
        text_signature = "($self, destination, *, existing='refuse', owner='caller', devices='refuse', \
            set_id='clear', xattrs=['user.'], sync='later', progress=None)"
    )]
    #[allow(clippy::too_many_arguments, reason = "a call with names for all of them")]
    fn extract(
        &self,
        py: Python<'_>,
        destination: PathBuf,
        existing: &str,
        owner: Owner<'_>,
        devices: &str,
        set_id: &str,
        xattrs: Vec<String>,
        sync: &str,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Extracted> {
        let options = Wishes { existing, owner: &owner, devices, set_id, xattrs, sync }.options()?;
        Progress::watch(py, progress, |progress| {
            let files = self.files().map_err(in_image(&self.path))?;
            // About: holes and compression make contents larger than what holds them.
            let total = self.source.size_bytes().map_err(in_image(&self.path))?;
            let tell = |done: u64| progress.tell(done.min(total), total);
            let extracted = extract(files, &destination, &options, &self.limits, tell);
            extracted.map(Extracted::from).map_err(|error| match error {
                Error::Ddi(source) => in_image(&self.path)(source),
                other => other,
            })
        })
    }
}

impl Files {
    pub(crate) fn new(source: Source, path: PathBuf) -> Self {
        Self { path, source, limits: Limits::default(), files: OnceLock::new() }
    }

    /// Does something with the files; the reader of their file system is opened by the first call.
    pub(crate) fn with_files<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&dyn FileSystem) -> confext_ddi::Result<T> + Send,
    ) -> PyResult<T> {
        detached(py, || self.files().and_then(work).map_err(in_image(&self.path)))
    }

    /// Does something long with the files.
    pub(crate) fn watch<T: Send>(
        &self,
        py: Python<'_>,
        progress: Option<Py<PyAny>>,
        work: impl FnOnce(&Watcher) -> confext_ddi::Result<T> + Send,
    ) -> PyResult<T> {
        Watcher::watch(py, progress, |watcher| work(watcher).map_err(in_image(&self.path)))
    }

    /// Does something with the files, and somebody hears how much of them is read.
    pub(crate) fn watched<T>(
        &self,
        watcher: &Watcher,
        work: impl FnOnce(&dyn FileSystem) -> confext_ddi::Result<T>,
    ) -> confext_ddi::Result<T> {
        let (files, total, done) = (self.files()?, self.source.size_bytes()?, AtomicU64::new(0));
        work(&Watched::new(files, &|bytes| {
            let before = done.fetch_add(bytes, Ordering::Relaxed);
            let done = before.saturating_add(bytes).min(total);
            match watcher.tell(done, total) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Refused::Cancelled { done, total }.into()),
            }
        }))
    }

    fn files(&self) -> confext_ddi::Result<&dyn FileSystem> {
        if let Some(files) = self.files.get() {
            return Ok(files.as_ref());
        }
        let files = self.source.file_system(&self.limits)?;
        Ok(self.files.get_or_init(|| files).as_ref())
    }

    fn follow(&self, files: &dyn FileSystem, path: &ImagePath) -> confext_ddi::Result<Vec<u8>> {
        fs::resolve(files, &path.0, &self.limits)
    }

    /// The path with the links before its last component followed.
    fn parent(&self, files: &dyn FileSystem, path: &ImagePath) -> confext_ddi::Result<Vec<u8>> {
        let path = path.0.strip_suffix(b"/").unwrap_or(&path.0);
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => path.split_at(at),
            None => return Ok(path.to_vec()),
        };
        let mut resolved = fs::resolve(files, parent, &self.limits)?;
        resolved.extend_from_slice(name);
        Ok(resolved)
    }
}

impl From<&Metadata> for Stat {
    fn from(metadata: &Metadata) -> Self {
        Self {
            kind: kind(metadata.file_type),
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            size: metadata.size_bytes,
            mtime: metadata.mtime_sec,
            mtime_nsec: metadata.mtime_nsec,
            nlink: metadata.nlink,
            rdev: metadata.rdev,
            ino: metadata.ino,
        }
    }
}

pub(crate) const fn kind(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Regular => "regular",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharDevice => "char-device",
        FileType::BlockDevice => "block-device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}
