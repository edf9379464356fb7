//! `Image`: an opened image file, nothing of it checked, and the way from there to `Admitted`.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use confext_core::Error;
use confext_ddi::dps::Designator;
use confext_ddi::gpt::{self, BackupState};
use confext_ddi::image::{self, Foreign};
use confext_ddi::policy;
use confext_ddi::read::ReadAt as _;
use confext_ddi::release::{Class, Strictness, base_name};
use confext_ddi::signature::{CertificateRules, Time};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::admitted::{Admitted, AdmittedPartition};
use crate::argument::{Moment, Pems, certificate_rules, choice, class};
use crate::error::{detached, in_image};
use crate::evidence::Claim;
use crate::filter::FilterArgument;
use crate::key_rules::KeyRulesArgument;
use crate::open::{self, Opening, Sidecars};
use crate::policy::PolicyArgument;
use crate::record::{Tuple, record};

record! {
    /// The partition table.
    Table {
        /// The unit of all block addresses in it, in bytes.
        sector_size: u32,
        /// Which disk it is.
        disk_guid: String,
        /// Which copy was used: `primary` or `backup`.
        source: &'static str,
        /// The other copy, when the primary one was used: `same`, `different`, `missing` or `damaged`.
        backup: Option<&'static str>,
        /// The code of what is wrong with the primary copy, when the backup was used.
        reason: Option<&'static str>,
    }
}

record! {
    /// A partition with a designator; of an image without a partition table, all of it as `root`.
    Partition {
        /// What it is for, like `root` or `root-verity`.
        designator: &'static str,
        /// For which architecture.
        architecture: Option<&'static str>,
        /// Its place in the table, from 1.
        number: Option<u32>,
        /// Its identifier.
        uuid: Option<String>,
        /// Its name.
        label: Option<String>,
        /// Where it starts, in bytes.
        offset: u64,
        /// How long it is, in bytes.
        size: u64,
        /// Whether the table marks it read-only.
        read_only: bool,
        /// Whether the table asks to grow its file system.
        growfs: bool,
        /// The file system it seems to hold.
        fs: Option<&'static str>,
    }
}

record! {
    /// A partition that does not count.
    Skipped {
        /// Its place in the table, from 1.
        number: u32,
        /// Why it does not count, in words.
        because: &'static str,
    }
}

/// An opened image. Nothing of it is checked: `verify` does that.
#[pyclass(frozen, module = "confext")]
pub(crate) struct Image {
    path: PathBuf,
    size: u64,
    table: Option<Table>,
    partitions: Tuple<Partition>,
    skipped: Tuple<Skipped>,
    data: Partition,
    hash: Option<Partition>,
    claim: Claim,
    sidecars: Sidecars,
    /// `None` when it was closed.
    image: Mutex<Option<image::Image<File>>>,
}

#[pymethods]
impl Image {
    /// Open an image: a file or a block device, with root hash, signature and hash tree that lie beside it.
    ///
    /// An image for another architecture than `architecture` (that of this machine) is refused, unless `foreign` says that
    /// it may be looked at. Of several root or usr partitions, `select` takes the highest version by label (`newest`) or
    /// those that a root hash names; without it such an image is refused. `copies="both"` asks for both copies of the
    /// partition table. `image_filter` says which partitions are considered, by their labels.
    #[staticmethod]
    #[pyo3(
        signature = (
            path, *, architecture=None, foreign=false, select=None, copies="any",
            image_filter=FilterArgument::default(),
        ),
        text_signature = "(path, *, architecture=None, foreign=False, select=None, copies='any', image_filter='')"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        architecture: Option<&str>,
        foreign: bool,
        select: Option<&str>,
        copies: &str,
        image_filter: FilterArgument,
    ) -> PyResult<Self> {
        let mut options = Opening { select, copies, image_filter }.options(py, architecture)?;
        if foreign {
            options = options.foreign(Foreign::Accept);
        }
        detached(py, move || Self::new(path, &options))
    }

    /// The path it was opened by.
    #[getter]
    fn path(&self) -> OsString {
        self.path.as_os_str().to_owned()
    }

    /// The size of the file or device, in bytes.
    #[getter]
    fn size(&self) -> u64 {
        self.size
    }

    /// The partition table; `None` for a bare file system.
    #[getter]
    fn table(&self) -> Option<Table> {
        self.table.clone()
    }

    /// The partitions that mean something, in the order of their numbers.
    #[getter]
    fn partitions(&self) -> Tuple<Partition> {
        self.partitions.clone()
    }

    /// The partitions that do not count, and why.
    #[getter]
    fn skipped(&self) -> Tuple<Skipped> {
        self.skipped.clone()
    }

    /// What the image says of its own protection. Nobody checked it.
    #[getter]
    fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// The root or usr partition: what the image is for.
    #[getter]
    fn data(&self) -> Partition {
        self.data.clone()
    }

    /// The partition with the hash tree over `data`; for a bare file system, all of the file that holds it.
    #[getter]
    fn hash(&self) -> Option<Partition> {
        self.hash.clone()
    }

    /// What was looked for beside the image, what was found, and what was nearly found.
    #[getter]
    fn sidecars(&self) -> Sidecars {
        self.sidecars.clone()
    }

    /// Whether the image was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.lock().is_none()
    }

    /// Check signature and hash tree as the policy asks for, and admit the image.
    ///
    /// Blocks are checked as they are read: what the result returns is what was signed.
    ///
    /// With `key_rules` the signer must be allowed to sign what the image is to be used as: the extension `name` of the
    /// class `class_`. Without `name` that is the name of the file without version and ending.
    #[pyo3(
        signature = (
            *, certificates, policy=PolicyArgument::default(), now=None, certificate_rules="", key_rules=None,
            class_="confext", name=None,
        ),
        text_signature = "($self, *, certificates, policy='signed', now=None, certificate_rules='', key_rules=None, \
            class_='confext', name=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn verify(
        &self,
        py: Python<'_>,
        certificates: Pems,
        policy: PolicyArgument,
        now: Option<Moment>,
        certificate_rules: &str,
        key_rules: Option<KeyRulesArgument>,
        class_: &str,
        name: Option<String>,
    ) -> PyResult<Py<Admitted>> {
        let Some(image) = self.lock().clone() else {
            return Err(PyValueError::new_err("operation on closed image"));
        };
        let judgement = Judgement {
            certificates,
            policy: policy.0,
            now: Moment::or_now(now.as_ref()),
            certificate_rules: self::certificate_rules(py, certificate_rules)?,
            role: Role::new(key_rules, class_, name)?,
        };
        let (admitted, _) = detached(py, move || judgement.judge(image, &self.path, None))?;
        Admitted::new(py, admitted, self.path.clone())
    }

    /// Check the image as `verify` does, and let one more of its partitions be used, like `esp`: its files are in the result.
    ///
    /// Nothing protects such a partition, so that the policy has to let it be used: `root=signed:esp=unprotected`.
    #[pyo3(
        signature = (
            designator, /, *, certificates, policy=PolicyArgument::default(), now=None, certificate_rules="",
            key_rules=None, class_="confext", name=None,
        ),
        text_signature = "($self, designator, /, *, certificates, policy='signed', now=None, certificate_rules='', \
            key_rules=None, class_='confext', name=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
    fn verify_partition(
        &self,
        py: Python<'_>,
        designator: &str,
        certificates: Pems,
        policy: PolicyArgument,
        now: Option<Moment>,
        certificate_rules: &str,
        key_rules: Option<KeyRulesArgument>,
        class_: &str,
        name: Option<String>,
    ) -> PyResult<Py<AdmittedPartition>> {
        let Some(image) = self.lock().clone() else {
            return Err(PyValueError::new_err("operation on closed image"));
        };
        let used = other_partition(designator)?;
        let judgement = Judgement {
            certificates,
            policy: policy.0,
            now: Moment::or_now(now.as_ref()),
            certificate_rules: self::certificate_rules(py, certificate_rules)?,
            role: Role::new(key_rules, class_, name)?,
        };
        let (_, partition) = detached(py, move || judgement.judge(image, &self.path, Some(used)))?;
        // Only without a designator there is none.
        let partition = partition.ok_or_else(|| PyValueError::new_err("designator: found none"))?;
        AdmittedPartition::new(py, partition, self.path.clone())
    }

    /// Close the file. What was admitted keeps it open for itself.
    fn close(&self, py: Python<'_>) {
        let image = self.lock().take();
        py.detach(|| drop(image));
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        self.close(py);
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let path = self.path.as_os_str().into_pyobject(py)?.repr()?;
        Ok(format!("<confext.Image {path} {}>", if self.closed() { "closed" } else { "open" }))
    }
}

impl Image {
    fn new(path: PathBuf, options: &image::Options) -> Result<Self, Error> {
        let image = open::open(&path, options)?;
        Ok(Self {
            size: image.reader().size_bytes().map_err(in_image(&path))?,
            table: image.table().map(Table::from),
            partitions: image.partitions().iter().collect(),
            skipped: image.skipped().iter().collect(),
            data: image.data().into(),
            hash: image.hash().map(Partition::from),
            claim: image.claim().into(),
            sidecars: image.sidecars().into(),
            image: Mutex::new(Some(image)),
            path,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<image::Image<File>>> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Verify an image: open it, check signature and hash tree, and read every block once.
///
/// What `Image.verify` returns is checked block by block as it is read; here all of it has been read already. The arguments
/// are those of `Image.open`, `Image.verify` and `Admitted.check`.
#[pyfunction]
#[pyo3(
    signature = (
        path, *, certificates, policy=PolicyArgument::default(), now=None, architecture=None, select=None, copies="any",
        image_filter=FilterArgument::default(), certificate_rules="", key_rules=None, class_="confext", name=None,
        progress=None,
    ),
    text_signature = "(path, *, certificates, policy='signed', now=None, architecture=None, select=None, copies='any', \
        image_filter='', certificate_rules='', key_rules=None, class_='confext', name=None, progress=None)"
)]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn verify(
    py: Python<'_>,
    path: PathBuf,
    certificates: Pems,
    policy: PolicyArgument,
    now: Option<Moment>,
    architecture: Option<&str>,
    select: Option<&str>,
    copies: &str,
    image_filter: FilterArgument,
    certificate_rules: &str,
    key_rules: Option<KeyRulesArgument>,
    class_: &str,
    name: Option<String>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Py<Admitted>> {
    let options = Opening { select, copies, image_filter }.options(py, architecture)?;
    let judgement = Judgement {
        certificates,
        policy: policy.0,
        now: Moment::or_now(now.as_ref()),
        certificate_rules: self::certificate_rules(py, certificate_rules)?,
        role: Role::new(key_rules, class_, name)?,
    };
    let judge = || judgement.judge(open::open(&path, &options)?, &path, None);
    let (admitted, _) = detached(py, judge)?;
    let admitted = Admitted::new(py, admitted, path)?;
    admitted.get().check(py, progress)?;
    Ok(admitted)
}

/// What an image has to be.
struct Judgement {
    certificates: Pems,
    policy: policy::Policy,
    now: Time,
    certificate_rules: CertificateRules,
    role: Option<Role>,
}

/// As what an image is to be used, and by whom it may be signed then.
struct Role {
    rules: KeyRulesArgument,
    class: Class,
    name: Option<String>,
}

impl Role {
    fn new(rules: Option<KeyRulesArgument>, class_: &str, name: Option<String>) -> PyResult<Option<Self>> {
        let class = class(class_)?;
        match (rules, &name) {
            (None, Some(_)) => Err(PyValueError::new_err("name goes with key_rules: found it alone")),
            (rules, _) => Ok(rules.map(|rules| Self { rules, class, name })),
        }
    }

    /// The name of the extension; that of a file is its own without version and ending.
    fn name(&self, path: &Path) -> String {
        let of_file = || base_name(&path.file_name().unwrap_or_default().to_string_lossy()).to_owned();
        self.name.clone().unwrap_or_else(of_file)
    }
}

impl Judgement {
    /// Has the image judged, and the use of one more of its partitions.
    fn judge(
        &self,
        image: image::Image<File>,
        path: &Path,
        used: Option<Designator>,
    ) -> Result<(policy::Admitted<File>, Option<policy::AdmittedPartition<File>>), Error> {
        let rules = self.role.as_ref().map(|role| Ok::<_, Error>((role, role.rules.read()?)));
        let rules = rules.transpose()?;
        let verifier = self.certificates.read()?.verifier(self.now, self.certificate_rules)?;
        let verifier = verifier.as_deref();
        let admitted = match used {
            None => self.policy.judge(image, verifier).map(|admitted| (admitted, None)),
            Some(designator) => self
                .policy
                .judge_partition(image, designator, verifier)
                .map(|(admitted, partition)| (admitted, Some(partition))),
        };
        let admitted = admitted.and_then(|(admitted, partition)| match rules {
            Some((role, rules)) => {
                let name = role.name(path);
                Ok((rules.admit(admitted, &name, role.class, Strictness::default())?, partition))
            }
            None => Ok((admitted, partition)),
        });
        admitted.map_err(in_image(path))
    }
}

/// A partition that is neither root nor usr nor there to protect them.
fn other_partition(text: &str) -> PyResult<Designator> {
    let others = Designator::ALL.into_iter().filter(|known| !known.has_architecture());
    choice("designator", text, &others.map(|known| (known.as_str(), known)).collect::<Vec<_>>())
}

impl From<&gpt::Table> for Table {
    fn from(table: &gpt::Table) -> Self {
        let (source, backup, reason) = match table.source {
            gpt::Source::Primary { backup } => ("primary", Some(backup_state(backup)), None),
            gpt::Source::Backup { reason } => ("backup", None, Some(reason)),
        };
        let (sector_size, disk_guid) = (table.sector_size.bytes(), table.disk_guid.to_string());
        Self { sector_size, disk_guid, source, backup, reason }
    }
}

const fn backup_state(state: BackupState) -> &'static str {
    match state {
        BackupState::Same => "same",
        BackupState::Different => "different",
        BackupState::Missing => "missing",
        BackupState::Damaged => "damaged",
    }
}

impl From<&image::Partition> for Partition {
    fn from(partition: &image::Partition) -> Self {
        Self {
            designator: partition.designator.as_str(),
            architecture: partition.architecture.map(|architecture| architecture.as_str()),
            number: partition.number.map(|number| number.value()),
            uuid: partition.uuid.map(|uuid| uuid.to_string()),
            label: partition.label.clone(),
            offset: partition.range.start(),
            size: partition.range.len_bytes(),
            read_only: partition.read_only,
            growfs: partition.growfs,
            fs: partition.fs.map(|fs| fs.as_str()),
        }
    }
}

impl From<&image::Skipped> for Skipped {
    fn from(skipped: &image::Skipped) -> Self {
        Self { number: skipped.number.value(), because: skipped.because.as_str() }
    }
}
