//! [`open`]: the file of an image, opened as what it is.

use std::fs::File;
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::sys::{Mode, OFlags};

/// Opens an image for reading: a regular file or a block device, and nothing else.
///
/// A named pipe is not waited for, and a terminal does not become the controlling one.
///
/// # Errors
///
/// `image-missing`, `image-file-type`; `os` when it cannot be opened.
pub fn open(path: impl AsRef<Path>) -> Result<File> {
    let path = path.as_ref();
    let target = || path.display().to_string();
    let failed = |operation| move |errno: Errno| Error::os(operation, target(), errno);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(conflict("image-missing", target(), "nothing")),
        // What a socket or a device without a driver says.
        Err(Errno::NXIO) => return Err(conflict("image-file-type", target(), "something that is no file")),
        Err(errno) => return Err(failed("open")(errno)),
    };
    let stat = rustix::fs::fstat(&fd).map_err(failed("stat"))?;
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::BlockDevice => return Ok(File::from(fd)),
        FileType::Directory => "a directory",
        FileType::Fifo => "a named pipe",
        FileType::CharacterDevice => "a character device",
        _ => "something that is no file",
    };
    Err(conflict("image-file-type", target(), found))
}

fn conflict(code: &'static str, target: String, found: &str) -> Error {
    Error::conflict(code, target, found, "a disk image")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_and_block_devices_are_images() {
        let dir = tempfile::tempdir().unwrap();
        let (file, fifo) = (dir.path().join("file"), dir.path().join("fifo"));
        std::fs::write(&file, b"x").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(open(&file).unwrap().metadata().unwrap().len(), 1);
        for (path, code, found) in [
            (dir.path().join("none"), "image-missing", "nothing"),
            (file.join("below"), "image-missing", "nothing"),
            (dir.path().to_path_buf(), "image-file-type", "a directory"),
            (fifo, "image-file-type", "a named pipe"),
            (socket, "image-file-type", "something that is no file"),
            ("/dev/null".into(), "image-file-type", "a character device"),
        ] {
            let error = open(&path).unwrap_err();
            assert_eq!(error.code(), code, "{}", path.display());
            let text = error.to_string();
            assert!(text.contains(found) && text.contains(path.to_str().unwrap()), "{text}");
        }
    }
}
