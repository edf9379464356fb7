//! A directory shared with a release of systemd: a trusted key, source trees, and images that it builds and that we build.

use crate::source::{self, Entry, noise};
use confext_ddi::build::{Builder, Built, DirectoryOptions, ReleaseFields, Tree};
use confext_ddi::fs::{self, FileSystem, FileType};
use confext_ddi::release::Class;
use confext_ddi::signature::{Certificates, KeyPair, Time};
use confext_ddi::{Limits, RootHash};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, utimensat};
use rustix::mount::MountFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the identifiers of images follow from.
pub const SEED: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
/// The name of the images: their release file is `extension-release.app`.
pub const NAME: &str = "app";
/// The content of [`settings`].
pub const SETTINGS: &str = "answer = 42\n";
const EPOCH: i64 = 1_700_000_000;

/// Makes systemd-repart write squashfs: an environment variable for [`Place::repart`].
pub const SQUASHFS: &str = "SYSTEMD_REPART_OVERRIDE_FSTYPE=squashfs";

/// How an image is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protect {
    /// A hash tree and a signature.
    Signed,
    /// A hash tree.
    Verity,
}

/// A release of systemd to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Systemd {
    /// 262 or later, of Debian unstable.
    Newest,
    /// 257, of Debian 13.
    Stable,
}

impl Systemd {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Newest, Self::Stable];

    /// Runs a command of this release in the directory `dir`; `arguments` come before `dir`.
    fn command(self, arguments: &[&OsStr], dir: &Path) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer.sh");
        let mut command = Command::new(script);
        if self == Self::Stable {
            command.arg("--stable");
        }
        command.args(arguments).arg(dir);
        command
    }
}

/// The directory. `signer.key` and `signer.pem` are the trusted key, everything else is the test's.
pub struct Place {
    dir: tempfile::TempDir,
    key: KeyPair,
    systemd: Systemd,
}

impl Place {
    /// Makes the directory and the key; commands are of the newest systemd.
    pub fn create() -> Self {
        Self::of(Systemd::Newest)
    }

    /// The same with commands of a chosen release.
    pub fn of(systemd: Systemd) -> Self {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap();
        let key = make_key("confext-test vendor");
        std::fs::write(dir.path().join("signer.key"), key.private_key_pem().unwrap()).unwrap();
        std::fs::write(dir.path().join("signer.pem"), key.certificate_pem().unwrap()).unwrap();
        Self { dir, key, systemd }
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as an argument for a program.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The release that the commands are of.
    pub fn systemd(&self) -> Systemd {
        self.systemd
    }

    /// The trusted key.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The set of trusted certificates: the one of [`Place::key`].
    pub fn certificates(&self) -> Certificates {
        trust(&self.key)
    }

    /// Runs `test` in the mount namespace of the peer, after a command there that has to succeed.
    pub fn during(&self, command: &str, test: impl FnOnce()) {
        // Until the other end of the pipe is closed.
        let script = format!("{command} >&2 && echo done && cat");
        let mut peer = self
            .systemd
            .command(&[], self.dir())
            .args(["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(peer.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
        let theirs = File::open(format!("/proc/{}/ns/mnt", peer.id())).unwrap();
        let ours = File::open("/proc/thread-self/ns/mnt").unwrap();
        let enter = |namespace: &File| {
            // Threads that were started from here, a pool for example, share root and working directory with this one.
            // SAFETY: no descriptor table is unshared.
            unsafe { unshare_unsafe(UnshareFlags::FS) }.unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount)).unwrap();
        };
        enter(&theirs);
        // Theirs shows the processes of the peer only.
        rustix::mount::mount("proc", "/proc", "proc", MountFlags::empty(), None).unwrap();
        test();
        enter(&ours);
        drop(peer.stdin.take());
        assert!(peer.wait().unwrap().success());
    }

    /// Runs a command of systemd in this directory, with our certificate trusted; it has to succeed.
    pub fn peer(&self, command: &[&str]) -> String {
        let output = self.attempt(command);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}, {command:?}: {}: {error}", self.systemd, output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same for a command that may fail.
    pub fn attempt(&self, command: &[&str]) -> Output {
        let certificate = self.path("signer.pem");
        let trust = ["--trust".as_ref(), certificate.as_os_str()];
        let mut peer = self.systemd.command(&trust, self.dir.path());
        peer.args(command).output().unwrap_or_else(|error| panic!("peer.sh: {error}"))
    }

    /// Has systemd-repart build `image` from the directory `source`, and returns the root hash that it reports.
    /// `settings` are environment variables.
    pub fn repart(
        &self,
        class: Class,
        protect: Protect,
        (source, image): (&str, &str),
        settings: &[&str],
    ) -> RootHash {
        let epoch = format!("SOURCE_DATE_EPOCH={EPOCH}");
        let (kind, seed) = (format!("--make-ddi={class}"), format!("--seed={SEED}"));
        let copy = format!("--copy-source={}", self.text(source));
        let protect: &[&str] = match protect {
            Protect::Signed => &["--private-key=signer.key", "--certificate=signer.pem"],
            Protect::Verity => &["--exclude-partitions=root-verity-sig"],
        };
        // It makes new files only.
        std::fs::remove_file(self.path(image)).or_else(missing).unwrap();
        let command = [&["env", &epoch], settings, &["systemd-repart", "--json=short", &kind, &seed, &copy]];
        let report = self.peer(&[&command.concat(), protect, &[image]].concat());
        let report: serde_json::Value = serde_json::from_str(report.trim()).unwrap();
        let hash = report[0]["roothash"].as_str().unwrap_or_else(|| panic!("{report}"));
        RootHash::parse(hash).unwrap()
    }

    /// Builds `image` from a tree, with the seed and time that [`Place::repart`] uses.
    pub fn build(&self, class: Class, protect: Protect, tree: Tree, image: &str) -> Built {
        let builder = Builder::new(class, NAME).tree(tree).seed(SEED.parse().unwrap());
        let builder = builder.release(ReleaseFields::any()).source_date_epoch(EPOCH);
        // One of everything has a set-id file.
        let builder = builder.allow([confext_ddi::lint::Code::SetId]).replace_file();
        match protect {
            Protect::Signed => builder.build_file(self.path(image), Some(&self.key)),
            Protect::Verity => builder.unsigned().build_file(self.path(image), None),
        }
        .unwrap()
    }

    /// Fills the new directory `name` with an extension of one of everything that an extension may have: all kinds of
    /// files, owners, modes, names and attributes, and a release file.
    pub fn populate(&self, class: Class, name: &str) {
        let root = self.path(name);
        for hierarchy in class.hierarchies() {
            populate(&root.join(hierarchy));
        }
        let release = root.join(class.release_directory());
        std::fs::create_dir_all(&release).unwrap();
        let release = release.join(format!("extension-release.{NAME}"));
        std::fs::write(release, ReleaseFields::any().text(class).unwrap()).unwrap();
        date(&root);
    }
}

/// A key with a certificate that is valid now.
pub fn make_key(subject: &str) -> KeyPair {
    KeyPair::generate(subject, Time::from_unix(now() - 60), 2).unwrap()
}

/// The set of the one certificate of `key`.
pub fn trust(key: &KeyPair) -> Certificates {
    let mut set = Certificates::new(Time::from_unix(now()));
    set.add_pem(&key.certificate_pem().unwrap()).unwrap();
    set
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Where the extension of a class has the one file of [`settings`].
pub fn settings_path(class: Class) -> &'static str {
    match class {
        Class::Confext => "etc/app.conf",
        Class::Sysext => "usr/share/app.conf",
    }
}

/// A tree of one small file.
pub fn settings(class: Class) -> Tree {
    let mut tree = Tree::new();
    tree.add_file(settings_path(class), SETTINGS, confext_ddi::build::Meta::new(0o644)).unwrap();
    tree
}

/// One small file and one that needs a hash tree of two levels.
pub fn large(class: Class) -> Tree {
    let mut tree = settings(class);
    let path = format!("{}.large", settings_path(class));
    tree.add_file(path, noise(1, 3 << 20), confext_ddi::build::Meta::new(0o600)).unwrap();
    tree
}

/// The tree of a directory.
pub fn tree_of(directory: &Path) -> Tree {
    Tree::from_directory(directory, &DirectoryOptions::default()).unwrap()
}

fn populate(dir: &Path) {
    std::fs::create_dir_all(dir.join("app.d/deep/er")).unwrap();
    std::fs::create_dir(dir.join("empty")).unwrap();
    for size in [0, 1, 4095, 4096, 4097, 70_000, 700_000] {
        std::fs::write(dir.join(format!("size-{size}")), noise(size as u64, size)).unwrap();
    }
    std::fs::write(dir.join("zeros"), vec![0; 50_000]).unwrap();
    for at in 0..300 {
        std::fs::write(dir.join(format!("app.d/entry-{at}")), at.to_string()).unwrap();
    }
    std::fs::write(dir.join("a".repeat(200)), "a long name").unwrap();
    std::fs::write(dir.join(OsStr::from_bytes(b"not-\xff\xfe-utf8")), "a name of bytes").unwrap();
    std::fs::write(dir.join("with space"), "a name with a space").unwrap();
    symlink("size-1", dir.join("link")).unwrap();
    symlink("/nowhere/at all", dir.join("dangling")).unwrap();
    symlink("l/".repeat(300), dir.join("long-link")).unwrap();
    std::fs::hard_link(dir.join("size-4097"), dir.join("app.d/deep/again")).unwrap();
    rustix::fs::mkfifoat(CWD, dir.join("fifo"), 0o640.into()).unwrap();
    for (name, mode) in [("size-1", 0o4755), ("size-4095", 0o600), ("empty", 0o1777), ("app.d", 0o2750)] {
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::lchown(dir.join("size-4095"), Some(1234), Some(70_000)).unwrap();
    std::os::unix::fs::lchown(dir.join("link"), Some(1), Some(2)).unwrap();
    let xattr = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::setxattr(dir.join(name), key, value, XattrFlags::empty()).unwrap();
    };
    xattr("size-4096", "user.comment", b"a comment");
    xattr("size-4096", "user.bytes", b"\0\xff");
    xattr("size-4096", "security.selinux", b"system_u:object_r:etc_t:s0\0");
    xattr("app.d", "user.comment", b"of a directory");
    xattr("app.d", "trusted.note", &noise(3, 900));
}

/// Gives everything below `dir` a time of its own, before the time of the build.
fn date(dir: &Path) {
    for (at, name) in (0..).zip(source::record(dir).into_keys()) {
        let time = Timespec { tv_sec: EPOCH - 1_000_000 + at, tv_nsec: 500_000_000 };
        let times = Timestamps { last_access: time, last_modification: time };
        let path = dir.join(OsStr::from_bytes(&name));
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Records everything that a file system of an image has, as [`source::record`] records a directory.
pub fn record_files(files: &dyn FileSystem) -> BTreeMap<Vec<u8>, Entry> {
    let root = (Vec::new(), files.stat(b"").unwrap());
    let below = fs::walk(files, b"", &Limits::default()).unwrap().map(Result::unwrap);
    let mut all: Vec<_> = std::iter::once(root).chain(below).collect();
    all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut first_names = BTreeMap::new();
    let mut out = BTreeMap::new();
    for (path, meta) in all {
        let (kind, content) = match meta.file_type {
            FileType::Directory => (rustix::fs::FileType::Directory, Vec::new()),
            FileType::Symlink => (rustix::fs::FileType::Symlink, files.read_link(&path).unwrap()),
            FileType::CharDevice => (rustix::fs::FileType::CharacterDevice, Vec::new()),
            FileType::BlockDevice => (rustix::fs::FileType::BlockDevice, Vec::new()),
            FileType::Fifo => (rustix::fs::FileType::Fifo, Vec::new()),
            FileType::Socket => (rustix::fs::FileType::Socket, Vec::new()),
            FileType::Regular => {
                let read = |offset, buf: &mut [u8]| {
                    assert_eq!(files.read_at(&path, offset, buf).unwrap(), buf.len());
                };
                (rustix::fs::FileType::RegularFile, source::digest(meta.size_bytes, read))
            }
        };
        let entry = Entry {
            mode: kind.as_raw_mode() | u32::from(meta.mode),
            owner: (meta.uid, meta.gid),
            mtime: (meta.mtime_sec, meta.mtime_nsec),
            size: if meta.file_type == FileType::Directory { 0 } else { meta.size_bytes },
            nlink: u64::from(meta.nlink),
            device: meta.rdev,
            xattrs: files.xattrs(&path).unwrap().into_iter().collect(),
            content,
            first_name: first_names.entry(meta.ino).or_insert_with(|| path.clone()).clone(),
        };
        out.insert(path, entry);
    }
    out
}
