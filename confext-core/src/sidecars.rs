//! [`open`]: an image together with what accompanies it: root hash, signature and hash tree beside it or in its attributes.
//!
//! They are looked for beside the file itself, not beside a link to it, and each is a regular file: what belongs together
//! lies together. A block device has none.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use confext_ddi::Limits;
use confext_ddi::image::{self, Claim, Image};
use confext_ddi::sidecar::{Kind, Sidecars};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::image_file;
use crate::sys::{Mode, OFlags};

/// Opens the image at `path` of this machine.
///
/// # Errors
///
/// As [`image_file::open`]; `sidecar-file` when something beside it is no regular file; `candidate-changed` when the
/// image was replaced meanwhile; what [`Image::open_with`] reports.
pub fn open(path: impl AsRef<Path>, options: &image::Options) -> Result<Image<File>> {
    let path = path.as_ref();
    let failed =
        |operation| move |source: std::io::Error| Error::os(operation, path.display().to_string(), source);
    let file = image_file::open(path)?;
    let real = std::fs::canonicalize(path).map_err(failed("resolve"))?;
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        return Image::open(file, options).map_err(|source| in_image(path, source));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(parent, flags, Mode::empty()).map_err(|errno| failed("open")(errno.into()))?;
    open_in(dir.as_fd(), name.as_bytes(), file, path, options)
}

/// Opens the image at `path` below the root of `host`; `file` is that image.
pub(crate) fn open_below(
    host: &Host,
    path: &Path,
    file: File,
    options: &image::Options,
) -> Result<Image<File>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Image::open(file, options).map_err(|source| in_image(path, source));
    };
    let dir = host.open_path(parent, OFlags::DIRECTORY);
    let dir = dir.map_err(|source| Error::os("open", host.display(parent), source))?;
    open_in(dir.as_fd(), name.as_bytes(), file, path, options)
}

fn open_in(
    dir: BorrowedFd<'_>,
    name: &[u8],
    file: File,
    path: &Path,
    options: &image::Options,
) -> Result<Image<File>> {
    let os = |operation| move |errno: Errno| Error::os(operation, path.display().to_string(), errno);
    let opened = rustix::fs::fstat(&file).map_err(os("stat"))?;
    if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
        return Image::open(file, options).map_err(|source| in_image(path, source));
    }
    let there = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(os("stat"))?;
    if (there.st_dev, there.st_ino) != (opened.st_dev, opened.st_ino) {
        let (found, expected) = ("another file", "the file that was opened");
        return Err(Error::conflict("candidate-changed", path.display().to_string(), found, expected));
    }
    let sidecars = gather(dir, name, &file, path, &options.limits)?;
    let mut image = Image::open_with(file, sidecars, options).map_err(|source| in_image(path, source))?;
    let complete = image.table().is_some() && matches!(image.claim(), Claim::Signed { .. });
    // Who may not list the directory does without: that only makes the refusal of an unprotected image less telling.
    if let (false, Ok(names)) = (complete, directory::names(dir)) {
        image.note_neighbours(&names);
    }
    Ok(image)
}

fn gather(
    dir: BorrowedFd<'_>,
    name: &[u8],
    image: &File,
    path: &Path,
    limits: &Limits,
) -> Result<Sidecars<File>> {
    let mut sidecars = Sidecars::of(name);
    for kind in Kind::ALL {
        let found = match (kind.attribute(), kind.file_name(name)) {
            (Some(attribute), _) => read_attribute(image, attribute, path)?,
            (None, Some(beside)) => {
                let place = path.with_file_name(std::ffi::OsStr::from_bytes(&beside));
                match open_file(dir, &beside, &place)? {
                    Some(file) if kind == Kind::HashTree => {
                        sidecars.add_tree(file);
                        continue;
                    }
                    Some(file) => Some(read_file(&file, kind.most_bytes(limits), &place)?),
                    None => None,
                }
            }
            (None, None) => None,
        };
        match found {
            Some(bytes) => {
                sidecars.add_bytes(kind, &bytes, limits).map_err(|source| in_image(path, source))?
            }
            None => sidecars.add_missing(kind),
        }
    }
    Ok(sidecars)
}

fn open_file(dir: BorrowedFd<'_>, name: &[u8], place: &Path) -> Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let wrong = |found: &str| {
        Err(Error::conflict("sidecar-file", place.display().to_string(), found, "a regular file"))
    };
    let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        // A name that is too long for the file system is not there either.
        Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(None),
        Err(Errno::LOOP) => return wrong("a symbolic link"),
        Err(Errno::NXIO) => return wrong("something that is no file"),
        Err(errno) => return Err(Error::os("open", place.display().to_string(), errno)),
    };
    let stat =
        rustix::fs::fstat(&fd).map_err(|errno| Error::os("stat", place.display().to_string(), errno))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Some(File::from(fd))),
        FileType::Directory => wrong("a directory"),
        _ => wrong("something that is no file"),
    }
}

/// All of a file, or one byte more than it may have.
fn read_file(file: &File, most_bytes: u64, place: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = file.take(most_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| Error::os("read", place.display().to_string(), source))?;
    Ok(bytes)
}

/// The kernel's limit for the value of an attribute.
const ATTRIBUTE_BYTES: usize = 65_536;

fn read_attribute(image: &File, attribute: &str, path: &Path) -> Result<Option<Vec<u8>>> {
    let mut value = vec![0; ATTRIBUTE_BYTES];
    match rustix::fs::fgetxattr(image, attribute, &mut value) {
        Ok(len) => {
            value.truncate(len);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(Error::os("read attribute of", path.display().to_string(), errno)),
    }
}

fn in_image(path: &Path, source: confext_ddi::Error) -> Error {
    Error::Image { image: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use confext_ddi::build::{Builder, ReleaseFields, Tree};
    use confext_ddi::policy::{Data, Policy};
    use confext_ddi::release::Class;
    use rustix::fs::XattrFlags;
    use std::os::unix::fs::symlink;

    /// A directory with `app.raw`, a bare file system, and `app.verity`; and the root hash.
    fn bare() -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = std::io::Cursor::new(Vec::new());
        let builder = Builder::new(Class::Confext, "app").tree(Tree::new()).release(ReleaseFields::any());
        let built = builder.unsigned().build(&mut bytes, None).unwrap();
        let bytes = bytes.into_inner();
        for (at, name) in ["app.raw", "app.verity"].into_iter().enumerate() {
            let range = built.partitions[at].range;
            let (start, end) =
                (usize::try_from(range.start()).unwrap(), usize::try_from(range.end()).unwrap());
            std::fs::write(dir.path().join(name), &bytes[start..end]).unwrap();
        }
        (dir, built.root_hash.to_hex())
    }

    fn judge(path: &Path) -> Result<(), String> {
        let image = open(path, &image::Options::default()).map_err(|error| error.code().to_owned())?;
        let admitted = Policy::verity().judge(image, None).map_err(|error| error.code().to_owned())?;
        let Data::Checked(data) = admitted.data() else { return Err("not checked".into()) };
        data.verify().map_err(|error| error.code().to_owned())
    }

    #[test]
    fn a_bare_file_system_is_checked_by_what_lies_beside_it() {
        let (dir, root_hash) = bare();
        let path = |name: &str| dir.path().join(name);
        let refused = |code: &str| Err(code.to_owned());
        assert_eq!(judge(&path("app.raw")), refused("sidecar-incomplete"));
        std::fs::write(path("app.roothash"), &root_hash).unwrap();
        assert_eq!(judge(&path("app.raw")), Ok(()));
        // Beside the file, not beside the link.
        std::fs::create_dir(path("links")).unwrap();
        symlink("../app.raw", path("links/other.raw")).unwrap();
        assert_eq!(judge(&path("links/other.raw")), Ok(()));

        let mut changed = std::fs::read(path("app.raw")).unwrap();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(path("changed.raw"), changed).unwrap();
        std::fs::copy(path("app.verity"), path("changed.verity")).unwrap();
        std::fs::copy(path("app.roothash"), path("changed.roothash")).unwrap();
        // Of a single block, the digest is the root hash.
        assert_eq!(judge(&path("changed.raw")), refused("root-hash"));

        std::fs::rename(path("app.roothash"), path("real")).unwrap();
        symlink("real", path("app.roothash")).unwrap();
        assert_eq!(judge(&path("app.raw")), refused("sidecar-file"));
        std::fs::remove_file(path("app.roothash")).unwrap();
        std::fs::create_dir(path("app.roothash")).unwrap();
        assert_eq!(judge(&path("app.raw")), refused("sidecar-file"));
        std::fs::remove_dir(path("app.roothash")).unwrap();
        std::fs::remove_file(path("app.verity")).unwrap();
        assert_eq!(judge(&path("app.raw")), refused("policy"));
        std::fs::write(path("app.raw.roothash"), &root_hash).unwrap();
        assert_eq!(judge(&path("app.raw")), refused("sidecar-name"));
    }

    #[test]
    fn the_root_hash_may_be_an_attribute_of_the_image() {
        let (dir, root_hash) = bare();
        let path = dir.path().join("app.raw");
        let set = |value: &[u8]| {
            rustix::fs::setxattr(&path, "user.verity.roothash", value, XattrFlags::empty()).unwrap();
        };
        set(root_hash.as_bytes());
        assert_eq!(judge(&path), Ok(()));
        let image = open(&path, &image::Options::default()).unwrap();
        let found: Vec<_> = image.sidecars().looked_for.iter().filter(|look| look.found).collect();
        assert_eq!((found[0].name.as_str(), found[1].name.as_str()), ("user.verity.roothash", "app.verity"));
        std::fs::write(dir.path().join("app.roothash"), "0".repeat(64)).unwrap();
        assert_eq!(judge(&path), Err("sidecar-ambiguous".to_owned()));
        set(&[b'0'; 200]);
        assert_eq!(judge(&path), Err("limit-bytes".to_owned()));
    }
}
