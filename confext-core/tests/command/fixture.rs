//! A scratch directory with keys and images, and the command run on it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use confext_ddi::signature::{KeyPair, Time};
use serde_json::Value;

use crate::schema;

/// What a call came to.
#[derive(Debug)]
pub struct Call {
    pub arguments: Vec<String>,
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Call {
    fn new(arguments: Vec<String>, output: Output) -> Self {
        Self {
            arguments,
            status: output.status.code().expect("not killed by a signal"),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).expect("messages are UTF-8"),
        }
    }

    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text is UTF-8")
    }

    /// Standard output as one JSON document, as the schema has it; nothing is on standard error.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.stderr, "", "{self:?}");
        let document =
            serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        schema::check(&self.arguments, &document);
        document
    }

    /// The same call, which must have done what was asked.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{}\n{}", String::from_utf8_lossy(&self.stdout), self.stderr);
        self
    }
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_confext"));
    command.stdin(Stdio::null());
    command
}

pub fn confext<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Call {
    let arguments: Vec<_> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
    let output = command().args(&arguments).output().expect("the command starts");
    Call::new(arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect(), output)
}

/// A pair of key and certificate as files.
pub struct Key {
    pub key: PathBuf,
    pub certificate: PathBuf,
}

/// A scratch directory with the keys of a vendor.
pub struct Scratch {
    dir: tempfile::TempDir,
    pub vendor: Key,
}

const DAY: i64 = 86_400;

impl Scratch {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap();
        let vendor = write_key(dir.path(), "vendor", -1, 30);
        Self { dir, vendor }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A key whose certificate is valid from so many days after now, for so many days.
    pub fn key(&self, name: &str, from_days: i64, days: u32) -> Key {
        write_key(self.dir.path(), name, from_days, days)
    }

    /// Writes a file, with its directories, and returns its path.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A directory that becomes a confext: one file, one link, and one name that is no text.
    pub fn tree(&self, version: u32) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        let root = self.path(&format!("tree-{version}"));
        // Made once: two images of it are of the same files, with the same times.
        if root.join("etc/app/app.conf").exists() {
            return root;
        }
        self.file(&format!("tree-{version}/etc/app/app.conf"), format!("version = {version}\n"));
        std::os::unix::fs::symlink("/etc/app/app.conf", root.join("etc/app/link")).unwrap();
        std::fs::write(root.join("etc/app").join(OsStr::from_bytes(b"b\xffn")), [0xff, 0]).unwrap();
        root
    }

    /// A host with nothing but what extensions are compared with; returns its root directory.
    pub fn host(&self) -> PathBuf {
        self.file("host/etc/os-release", "ID=debian\nVERSION_ID=13\n");
        self.file("host/etc/motd", "of the host\n");
        self.path("host")
    }

    /// Builds an image with the command and returns its path and document.
    pub fn build(&self, name: &str, signing: &[&OsStr], more: &[&str]) -> (PathBuf, Value) {
        let image = self.path(name);
        std::fs::create_dir_all(image.parent().unwrap()).unwrap();
        let tree = self.tree(1);
        let mut arguments: Vec<&OsStr> =
            ["--json", "build", "--replace", "--class", "confext", "--name", "app"].map(OsStr::new).to_vec();
        arguments.extend([
            OsStr::new("--source"),
            tree.as_os_str(),
            OsStr::new("--output"),
            image.as_os_str(),
        ]);
        arguments.extend(signing);
        arguments.extend(more.iter().map(OsStr::new));
        let document = confext(arguments).ok().json();
        (image, document)
    }

    /// An image that the vendor signed, for every host.
    pub fn signed(&self, name: &str) -> PathBuf {
        self.build(name, &self.vendor.signing(), &["--release", "ID=_any"]).0
    }
}

impl Key {
    /// The arguments of `build` that sign with it.
    pub fn signing(&self) -> [&OsStr; 4] {
        [OsStr::new("--key"), self.key.as_os_str(), OsStr::new("--certificate"), self.certificate.as_os_str()]
    }

    /// The argument that trusts it.
    pub fn trust(&self) -> [&str; 2] {
        ["--certificate", self.certificate.to_str().unwrap()]
    }
}

fn write_key(dir: &Path, name: &str, from_days: i64, days: u32) -> Key {
    let now = Time::from(SystemTime::now());
    let pair = KeyPair::generate(name, Time::from_unix(now.as_unix() + from_days * DAY), days).unwrap();
    let key = dir.join(format!("{name}.key"));
    let certificate = dir.join(format!("{name}.crt"));
    std::fs::write(&key, pair.private_key_pem().unwrap()).unwrap();
    std::fs::write(&certificate, pair.certificate_pem().unwrap()).unwrap();
    Key { key, certificate }
}
