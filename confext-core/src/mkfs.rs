//! [`MkfsErofs`]: compressed EROFS, made by the program `mkfs.erofs` where the caller chooses it.
//!
//! The program gets the entries as a tar archive, so that owners, device nodes and labels need no privilege. What it made is
//! read back and compared with the entries by the builder, like that of any other maker.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use confext_ddi::build::{Keeps, MakeFileSystem, Target, Tree, erofs};
use confext_ddi::fstype::FsType;

use crate::error::Error;

/// The most that is kept of what the program says.
const MAX_MESSAGE_BYTES: u64 = 4096;

/// EROFS as `mkfs.erofs` of erofs-utils 1.7 or later makes it.
///
/// *Needs*: the program, and room for the archive and the file system in a directory.
///
/// ```no_run
/// use confext_core::mkfs::MkfsErofs;
/// use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
/// use confext_ddi::release::Class;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.raw");
/// let mut tree = Tree::new();
/// tree.add_file("usr/share/app/words", "answer ".repeat(1 << 20), Meta::new(0o644))?;
/// let maker = MkfsErofs::new(std::env::temp_dir()).compression("lz4");
/// let builder = Builder::new(Class::Sysext, "app").tree(tree).release(ReleaseFields::any()).format(maker);
/// let built = builder.unsigned().build_file(&path, None)?;
/// assert!(built.size_bytes < 7 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct MkfsErofs {
    program: PathBuf,
    place: PathBuf,
    compression: Option<String>,
}

impl MkfsErofs {
    /// Works in the directory `place`; finds the program as a shell would.
    #[must_use]
    pub fn new(place: impl Into<PathBuf>) -> Self {
        Self { program: PathBuf::from("mkfs.erofs"), place: place.into(), compression: None }
    }

    /// The program itself.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// How it is compressed, in the words of its option `-z`: `zstd`, `lz4hc,12`, `deflate`. Default: not at all.
    #[must_use]
    pub fn compression(mut self, compression: impl Into<String>) -> Self {
        self.compression = Some(compression.into());
        self
    }

    fn make(&self, tree: &Tree, options: &erofs::Options, out: &mut dyn Target) -> Result<u64, Error> {
        let scratch = Scratch::create(&self.place)?;
        let (archive, image) = (scratch.0.join("tree.tar"), scratch.0.join("image"));
        let failed = |operation, path: &Path| {
            let target = path.display().to_string();
            move |source| Error::os(operation, target, source)
        };
        let mut file = io::BufWriter::with_capacity(
            1 << 18,
            File::create_new(&archive).map_err(failed("create", &archive))?,
        );
        tree.write_tar(options, &mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error).map_err(failed("write", &archive))?;

        let mut command = Command::new(&self.program);
        // Nothing of this process but where programs are.
        command.env_clear().env("PATH", path()).env("LC_ALL", "C").current_dir(&scratch.0);
        command.args(["--quiet", "--tar=f", "-b4096"]).arg("-U").arg(options.uuid.to_string());
        command.arg(format!("-T{}", options.build_time.seconds())).arg("--mkfs-time");
        if let Some(compression) = &self.compression {
            // One argument: what is in it is no option of its own.
            command.arg(format!("-z{compression}"));
        }
        command.arg(&image).arg(&archive);
        run(command, &self.program)?;

        let mut made = File::open(&image).map_err(failed("open", &image))?;
        io::copy(&mut made, out).map_err(failed("copy", &image))
    }
}

impl MakeFileSystem for MkfsErofs {
    fn fs_type(&self) -> FsType {
        FsType::Erofs
    }

    fn keeps(&self) -> Keeps {
        Keeps::ALL
    }

    fn write(&self, tree: &Tree, options: &erofs::Options, out: &mut dyn Target) -> confext_ddi::Result<u64> {
        self.make(tree, options, out).map_err(|error| match error {
            Error::Ddi(error) => error,
            other => io::Error::other(other).into(),
        })
    }
}

/// Runs a program and waits; what it says is the error when it fails.
fn run(mut command: Command, program: &Path) -> Result<(), Error> {
    let name = program.display().to_string();
    let failed = |operation| {
        let name = name.clone();
        move |source| Error::os(operation, name, source)
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed("run"))?;
    let mut said = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        let kept = stderr.by_ref().take(MAX_MESSAGE_BYTES).read_to_end(&mut said);
        // The rest has to be taken, or the program waits for somebody to read it.
        kept.and_then(|_| io::copy(&mut stderr, &mut io::sink())).map_err(failed("read from"))?;
    }
    let status = child.wait().map_err(failed("wait for"))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(failed("run")(io::Error::other(format!("{status}: {said}"))))
}

/// Where programs are looked for: where this process looks, else where distributions have them.
fn path() -> std::ffi::OsString {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let mut path = own.clone();
    if !own.is_empty() {
        path.push(":");
    }
    path.push("/usr/sbin:/usr/bin:/sbin:/bin");
    path
}

/// A directory nobody else can enter, which goes away with all that is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn create(place: &Path) -> Result<Self, Error> {
        for at in 0..1000 {
            let path = place.join(format!(".#confext-mkfs.{}.{at}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Error::os("create a directory in", place.display().to_string(), error));
                }
            }
        }
        Err(Error::os(
            "create a directory in",
            place.display().to_string(),
            io::Error::from(io::ErrorKind::AlreadyExists),
        ))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody is left to report to; its name says what it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
