//! Entries of an image that is built from memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use confext_ddi::build::{Device as DeviceNumber, Meta, Timestamp, Tree};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::argument::{ImagePath, Mapping, choice, text};
use crate::record::record;

type Xattrs = BTreeMap<OsString, Vec<u8>>;

/// Declares an entry: a record with mode, owner, time and extended attributes, which Python makes by naming them.
macro_rules! entry {
    (
        $(#[doc = $doc:literal])*
        $name:ident ( $( $(#[doc = $field_doc:literal])* $field:ident : $type:ty, )* ) mode = $mode:tt
    ) => {
        record! {
            $(#[doc = $doc])*
            $name {
                $( $(#[doc = $field_doc])* $field: $type, )*
                /// Permission, set-id and sticky bits.
                mode: u16,
                /// Owner.
                uid: u32,
                /// Group.
                gid: u32,
                /// Modification time, seconds since 1970; `None`: the time of the build.
                mtime: Option<i64>,
                /// Extended attributes by full name, like `user.comment`.
                xattrs: Xattrs,
            }
            {
                #[new]
                #[pyo3(signature = ($($field,)* *, mode=$mode, uid=0, gid=0, mtime=None, xattrs=None))]
                #[allow(clippy::too_many_arguments, reason = "a constructor with names for all of them")]
                fn new(
                    $($field: $type,)*
                    mode: u16,
                    uid: u32,
                    gid: u32,
                    mtime: Option<i64>,
                    xattrs: Option<Mapping<OsString, Vec<u8>>>,
                ) -> Self {
                    Self { $($field,)* mode, uid, gid, mtime, xattrs: xattrs.map(|xattrs| xattrs.0).unwrap_or_default() }
                }
            }
        }

        impl $name {
            fn meta(&self) -> Meta {
                let meta = Meta::new(self.mode).owner(self.uid, self.gid);
                self.mtime.map_or(meta, |seconds| meta.mtime(Timestamp::from_seconds(seconds)))
            }
        }
    };
}

entry! {
    /// A regular file.
    File(
        /// Its bytes.
        content: Vec<u8>,
    ) mode = 0o644
}

entry! {
    /// A directory. One that is only needed as a parent need not be named.
    Directory() mode = 0o755
}

entry! {
    /// A symbolic link; its mode is always 0o777.
    Symlink(
        /// Where it leads.
        target: OsString,
    ) mode = 0o777
}

entry! {
    /// A device node.
    Device(
        /// `char` or `block`.
        kind: String,
        /// Which driver.
        major: u32,
        /// Which device of the driver.
        minor: u32,
    ) mode = 0o600
}

entry! {
    /// A named pipe.
    Fifo() mode = 0o644
}

record! {
    /// Another name for an entry that is not a directory.
    HardLink {
        /// The path of the entry.
        existing: OsString,
    }
    {
        #[new]
        fn new(existing: OsString) -> Self {
            Self { existing }
        }
    }
}

/// An entry as a caller passes it.
#[derive(FromPyObject)]
enum Entry<'py> {
    File(Bound<'py, File>),
    Directory(Bound<'py, Directory>),
    Symlink(Bound<'py, Symlink>),
    Device(Bound<'py, Device>),
    Fifo(Bound<'py, Fifo>),
    HardLink(Bound<'py, HardLink>),
    Content(pyo3::pybacked::PyBackedBytes),
}

/// Makes a tree of a mapping from path to entry.
///
/// Hard links come last, so that a mapping need not have an order; everything else has none among itself.
pub(crate) fn tree(raise: impl Fn(confext_ddi::Error) -> PyErr, source: &Bound<'_, PyAny>) -> PyResult<Tree> {
    let mut tree = Tree::new();
    let mut links = Vec::new();
    for item in source.call_method0("items")?.try_iter()? {
        let (path, value): (ImagePath, Bound<'_, PyAny>) = item?.extract()?;
        let path = path.0;
        let entry: Entry<'_> = value.extract().map_err(|_| {
            let found = value.get_type();
            PyTypeError::new_err(format!(
                "source: {:?}: found {found}, expected bytes, File, Directory, Symlink, HardLink, Device or Fifo",
                text(&path)
            ))
        })?;
        let added = match &entry {
            Entry::Content(content) => tree.add_file(&path, content.to_vec(), Meta::new(0o644)),
            Entry::File(bound) => {
                let file = bound.get();
                tree.add_file(&path, file.content.clone(), file.meta())
                    .and_then(|()| set_xattrs(&mut tree, &path, &file.xattrs))
            }
            Entry::Directory(bound) => {
                let directory = bound.get();
                tree.add_dir(&path, directory.meta())
                    .and_then(|()| set_xattrs(&mut tree, &path, &directory.xattrs))
            }
            Entry::Symlink(bound) => {
                let link = bound.get();
                tree.add_symlink(&path, link.target.as_bytes(), link.meta())
                    .and_then(|()| set_xattrs(&mut tree, &path, &link.xattrs))
            }
            Entry::Device(bound) => {
                let device = bound.get();
                tree.add_device(&path, device.number()?, device.meta())
                    .and_then(|()| set_xattrs(&mut tree, &path, &device.xattrs))
            }
            Entry::Fifo(bound) => {
                let fifo = bound.get();
                tree.add_fifo(&path, fifo.meta()).and_then(|()| set_xattrs(&mut tree, &path, &fifo.xattrs))
            }
            Entry::HardLink(bound) => {
                links.push((path, bound.get().existing.clone()));
                continue;
            }
        };
        added.map_err(&raise)?;
    }
    for (path, existing) in links {
        tree.add_hardlink(&path, existing.as_bytes()).map_err(&raise)?;
    }
    Ok(tree)
}

fn set_xattrs(tree: &mut Tree, path: &[u8], xattrs: &Xattrs) -> confext_ddi::Result<()> {
    xattrs.iter().try_for_each(|(name, value)| tree.set_xattr(path, name.as_bytes(), value.clone()))
}

impl Device {
    fn number(&self) -> PyResult<DeviceNumber> {
        let (major, minor) = (self.major, self.minor);
        choice("kind", &self.kind, &[("char", true), ("block", false)]).map(|character| match character {
            true => DeviceNumber::Character { major, minor },
            false => DeviceNumber::Block { major, minor },
        })
    }
}
