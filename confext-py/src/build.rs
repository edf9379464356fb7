//! `confext.build`: a directory or entries in memory become an image.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use confext_core::Error;
use confext_core::mkfs::MkfsErofs;
use confext_ddi::Limits;
use confext_ddi::build::{Builder, Compression, DirectoryOptions, ReleaseFields, Squashfs, Tree, Xattrs};
use confext_ddi::fs::FileSystem;
use confext_ddi::id::Uuid;
use confext_ddi::lint as linting;
use confext_ddi::release::ImageKind;
use confext_ddi::signature::{KeyPair, Sign};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::admitted::Admitted;
use crate::argument::{Mapping, Pem, architecture, choice, image_kind};
use crate::error::{detached, raise};
use crate::logs::told;
use crate::progress::Watcher;
use crate::record::{Tuple, record};
use crate::source::{OwnerMap, Owners, RulesOf, Source, Taking};

record! {
    /// What was built.
    Built {
        /// What a signature of the image vouches for, in hex.
        root_hash: String,
        /// The size of the image in bytes.
        size: u64,
        /// SHA-256 of the certificate whose key signed it, in hex; `None` for an image with a hash tree only.
        fingerprint: Option<String>,
        /// What speaks against it and did not stop the build.
        findings: Tuple<Finding>,
    }
}

/// Build an image from a directory, a tar archive (not compressed), or a mapping of path to entry.
///
/// An archive is a path, or anything with `read`, like `gzip.open("layer.tar.gz")`.
///
/// `class_` says what it is: an extension (`confext`, `sysext`), a `portable` service, or the `root` or `usr` of an
/// operating system. `name` is the image's file name without version and ending: a host looks for the release file of an
/// extension by this name. Without `release` the entries must have that file; `{"ID": "_any"}` fits every host.
/// Signing needs `key` and `certificate`; without them, `unsigned=True` says that this is meant, and `sign_later=True` leaves
/// room for a signature that `sign` puts in: until then nobody uses the image.
///
/// The same input, seed and time give the same bytes. The file appears at once when it is complete; one that is there
/// is refused (`output-exists`), or replaced with `replace=True`.
///
/// `esp` and `xbootldr`, given as `source` is, become boot partitions of an operating system: vfat that nothing protects.
///
/// What `lint` finds to be an error is refused unless `allow` names its code, with `strict=True` a warning, too; `base` is
/// that of `lint`. `file_system` is `erofs`, `squashfs` or `mkfs.erofs`; the latter two are compressed by `compression`.
///
/// `owner`, `exclude` (patterns as in `.gitignore`), `xattrs=False`, `drop_xattrs` (names, or beginnings of names and `*`) and
/// `file_contexts` (a list of SELinux labels) change the entries. `map_uid` and `map_gid` say what owners become:
/// `{range(1000, 2000): 100000, 5: 0}`; the first that fits counts, others stay, unless they are refused by
/// `mapped_only=True`. `whiteouts` says what the marks of an OCI layer for deleted files become, `overlay` or an error.
///
/// `progress` is called as by `Admitted.check`; how many bytes there are is about right. What it raises, and an interrupt, ends
/// the build, and nothing is left.
#[pyfunction]
#[pyo3(signature = (
    name, *, class_="confext", source, output, release=None, key=None, certificate=None, unsigned=false,
    sign_later=false, architecture=None, seed=None, source_date_epoch=None, file_system="erofs", compression=None, allow=None,
    owner=None, exclude=None, drop_xattrs=None, file_contexts=None, whiteouts=None, map_uid=None, map_gid=None,
    mapped_only=false, xattrs=true, strict=false, base=None, esp=None, xbootldr=None, replace=false, progress=None,
))]
#[expect(
    clippy::too_many_arguments,
    clippy::fn_params_excessive_bools,
    reason = "Python calls it with names"
)]
pub(crate) fn build(
    py: Python<'_>,
    name: &str,
    class_: &str,
    source: &Bound<'_, PyAny>,
    output: PathBuf,
    release: Option<Mapping<String, String>>,
    key: Option<Pem>,
    certificate: Option<Pem>,
    unsigned: bool,
    sign_later: bool,
    architecture: Option<&str>,
    seed: Option<&Bound<'_, PyAny>>,
    source_date_epoch: Option<i64>,
    file_system: &str,
    compression: Option<String>,
    allow: Option<Vec<String>>,
    owner: Option<(u32, u32)>,
    exclude: Option<Vec<String>>,
    drop_xattrs: Option<Vec<String>>,
    file_contexts: Option<PathBuf>,
    whiteouts: Option<&str>,
    map_uid: Option<OwnerMap>,
    map_gid: Option<OwnerMap>,
    mapped_only: bool,
    xattrs: bool,
    strict: bool,
    base: Option<PathBuf>,
    esp: Option<&Bound<'_, PyAny>>,
    xbootldr: Option<&Bound<'_, PyAny>>,
    replace: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<Built> {
    let kind = image_kind(class_)?;
    let allowed = codes(&allow.unwrap_or_default())?;
    let mut builder = Builder::new(kind, name).allow(allowed.iter().copied());
    builder = format(builder, file_system, compression, &output)?;
    let owners = Owners::new(owner, [map_uid, map_gid], mapped_only)?;
    let rules = RulesOf { exclude, drop_xattrs, file_contexts, owners, xattrs };
    if let Some(architecture) = self::architecture(architecture)? {
        builder = builder.architecture(architecture);
    }
    if let Some(seed) = seed {
        // A `uuid.UUID` prints as one.
        let seed = Uuid::parse(&seed.str()?.to_cow()?).map_err(|error| raise(py, &error.into()))?;
        builder = builder.seed(seed);
    }
    if let Some(seconds) = source_date_epoch {
        builder = builder.source_date_epoch(seconds);
    }
    if let Some(fields) = release {
        builder = builder.release(release_fields(kind, fields.0));
    }
    if unsigned && sign_later {
        return Err(PyValueError::new_err("unsigned and sign_later exclude each other: found both"));
    }
    if unsigned {
        builder = builder.unsigned();
    }
    if replace {
        builder = builder.replace_file();
    }
    if sign_later {
        builder = builder.sign_later();
    }
    if key.is_some() != certificate.is_some() {
        return Err(PyValueError::new_err("key and certificate go together: found one of them"));
    }
    let xattrs = if xattrs { Xattrs::All } else { Xattrs::Leave };
    let source = Source::new(py, source, &output, Taking::new(owner, whiteouts, xattrs)?)?;
    let boot = |source: Option<&Bound<'_, PyAny>>| {
        source.map(|source| Source::new(py, source, &output, Taking::new(None, None, xattrs)?)).transpose()
    };
    let (esp, xbootldr) = (boot(esp)?, boot(xbootldr)?);
    Watcher::watch(py, progress, move |watcher| {
        let signer = match (key, certificate) {
            (Some(key), Some(certificate)) => Some(signer(&key, &certificate)?),
            _ => None,
        };
        let signer = signer.as_ref().map(|signer| -> &dyn Sign { signer });
        let tree = rules.apply(source.tree()?, kind)?;
        let total = content_bytes(&tree)?;
        let mut builder = builder.tree(tree);
        if let Some(files) = esp {
            builder = builder.esp(files.tree()?);
        }
        if let Some(files) = xbootldr {
            builder = builder.xbootldr(files.tree()?);
        }
        let with_host = base.is_some();
        let stops = |severity| strict || with_host && severity == linting::Severity::Error;
        let findings = judged(with_base(base, |options| builder.lint(options))?, &allowed, stops)?;
        let mut tell = |done: u64| watcher.ask(done.min(total), total);
        let built = builder.build_file_watched(output, signer, &mut tell)?;
        Ok(Built {
            findings: findings.iter().collect(),
            root_hash: built.root_hash.to_hex(),
            size: built.size_bytes,
            fingerprint: built.signed.map(|fingerprint| fingerprint.to_string()),
        })
    })
    .and_then(|result| told(py, result))
}

/// How many bytes the files of a tree have.
fn content_bytes(tree: &Tree) -> confext_ddi::Result<u64> {
    let limits = Limits::default();
    let files = tree.files(&limits);
    let mut sizes = confext_ddi::fs::walk(&files, b"", &limits)?;
    sizes.try_fold(0_u64, |sum, item| Ok(sum.saturating_add(item?.1.size_bytes)))
}

/// What is not allowed of what speaks against an image; an error when one of those that stop is among it.
///
/// What the builder refuses without this is left to it: its error says more.
fn judged(
    mut findings: Vec<linting::Finding>,
    allowed: &[linting::Code],
    stops: impl Fn(linting::Severity) -> bool,
) -> confext_ddi::Result<Vec<linting::Finding>> {
    findings.retain(|finding| !allowed.contains(&finding.code));
    match findings.iter().find(|finding| stops(finding.severity)) {
        Some(finding) => Err(finding.to_error()),
        None => Ok(findings),
    }
}

/// What speaks against an image, or against what is to become one.
///
/// `source` is what `build` takes, or an `Admitted`. `base` is the root directory of a host: what would become another type
/// there is found, too.
#[pyfunction]
#[pyo3(signature = (name, *, class_="confext", source, base=None))]
pub(crate) fn lint(
    py: Python<'_>,
    name: &str,
    class_: &str,
    source: &Bound<'_, PyAny>,
    base: Option<PathBuf>,
) -> PyResult<Tuple<Finding>> {
    let kind = image_kind(class_)?;
    let look = move |files: &dyn FileSystem| -> confext_ddi::Result<Tuple<Finding>> {
        Ok(with_base(base, |options| linting::lint(files, kind, name, options))?.iter().collect())
    };
    if let Ok(admitted) = source.cast::<Admitted>() {
        return admitted.as_super().get().with_files(py, look).and_then(|result| told(py, result));
    }
    let source = Source::new(py, source, Path::new(""), Taking::new(None, None, Xattrs::All)?)?;
    let found = detached(py, move || Ok(look(&source.tree()?.files(&Limits::default()))?));
    found.and_then(|result| told(py, result))
}

/// Looks for what speaks against an image, with the files of the host in this directory.
fn with_base<T>(
    base: Option<PathBuf>,
    look: impl FnOnce(&linting::Options<'_>) -> confext_ddi::Result<T>,
) -> confext_ddi::Result<T> {
    let limits = Limits::default();
    let base = base.map(|path| Tree::from_directory(path, &DirectoryOptions::default())).transpose()?;
    let base = base.as_ref().map(|base| base.files(&limits));
    let mut options = linting::Options::default();
    options.base = base.as_ref().map(|base| -> &dyn FileSystem { base });
    look(&options)
}

record! {
    /// Something that speaks against an image; an error stops a build unless `allow` names its code.
    Finding {
        /// The stable code.
        code: &'static str,
        /// `error` or `warning`.
        severity: &'static str,
        /// From the root of the image.
        path: OsString,
        /// What is there.
        found: String,
        /// What would be no objection.
        expected: String,
        /// What to do about it.
        hint: &'static str,
    }
}

impl From<&linting::Finding> for Finding {
    fn from(finding: &linting::Finding) -> Self {
        Self {
            code: finding.code.as_str(),
            severity: match finding.severity {
                linting::Severity::Error => "error",
                linting::Severity::Warning => "warning",
            },
            path: OsString::from_vec(finding.path.clone()),
            found: finding.found.clone(),
            expected: finding.expected.clone(),
            hint: finding.code.hint(),
        }
    }
}

fn codes(texts: &[String]) -> PyResult<Vec<linting::Code>> {
    let known: Vec<_> = linting::Code::ALL.iter().map(|code| (code.as_str(), *code)).collect();
    texts.iter().map(|text| choice("allow", text, &known)).collect()
}

fn format(
    builder: Builder,
    file_system: &str,
    compression: Option<String>,
    output: &Path,
) -> PyResult<Builder> {
    let known = ["erofs", "squashfs", "mkfs.erofs"].map(|name| (name, name));
    match (choice("file_system", file_system, &known)?, compression) {
        ("squashfs", how) => {
            let known = [("zstd", Compression::Zstd), ("xz", Compression::Xz), ("gzip", Compression::Gzip)];
            Ok(builder.format(Squashfs::new(choice(
                "compression",
                how.as_deref().unwrap_or("zstd"),
                &known,
            )?)))
        }
        ("mkfs.erofs", how) => {
            let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
            let maker = MkfsErofs::new(parent.unwrap_or(Path::new(".")));
            Ok(builder.format(match how {
                Some(how) => maker.compression(how),
                None => maker,
            }))
        }
        (_, None) => Ok(builder),
        (_, Some(how)) => Err(PyValueError::new_err(format!(
            "compression: found '{how}', expected None: erofs is not compressed"
        ))),
    }
}

fn signer(key: &Pem, certificate: &Pem) -> Result<KeyPair, Error> {
    Ok(KeyPair::from_pem(&key.read()?.bytes, &certificate.read()?.bytes)?)
}

/// The fields with a setter of their own, and all others.
fn release_fields(kind: ImageKind, mut fields: BTreeMap<String, String>) -> ReleaseFields {
    let mut release = ReleaseFields::new(fields.remove("ID").unwrap_or_default());
    if let Some(class) = kind.class() {
        if let Some(level) = fields.remove(class.level_key()) {
            release = release.level(level);
        }
        if let Some(scope) = fields.remove(class.scope_key()) {
            release = release.scope(scope);
        }
    }
    fields.into_iter().fold(release, |release, (key, value)| release.field(key, value))
}
