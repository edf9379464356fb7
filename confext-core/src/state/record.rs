//! [`Record`]: what is written down of a merged stack: its extensions, what was checked of them, where writes go

use confext_ddi::RootHash;
use confext_ddi::id::Uuid;
use confext_ddi::policy::Evidence;
use confext_ddi::release::Class;
use confext_ddi::settings::Mutability;
use confext_ddi::signature::TrustSource;
use serde::{Deserialize, Serialize};

use crate::attach::Way;
use crate::consumers::Heard;
use crate::discover::Kind;
use crate::sys::MountAttrFlags;

/// What a merged hierarchy is made of.
///
/// ```
/// # let (directory, path) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/record.in"));
/// use confext_core::state::{FORMAT, Record};
///
/// // In a merged stack, /etc/.systemd-confext/provenance.json; everybody can read it.
/// let record: Record = serde_json::from_slice(&std::fs::read(path)?)?;
/// assert_eq!((record.format, record.hierarchy.as_str()), (FORMAT, "etc"));
/// let names: Vec<_> = record.layers.iter().map(|layer| layer.name.as_str()).collect();
/// assert_eq!(names, ["app"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// [`FORMAT`](super::FORMAT).
    pub format: u32,
    /// The class of all layers.
    pub class: Class,
    /// The hierarchy: `usr`, `opt` or `etc`.
    pub hierarchy: String,
    /// When it was merged, seconds since 1970.
    pub merged_at: u64,
    /// The image policy it was merged under.
    pub policy: String,
    /// Whether the mount point was made for the merge.
    pub created: bool,
    /// Major and minor number of the overlay's device: a record of another stack does not have it.
    #[serde(default)]
    pub device: Option<(u32, u32)>,
    /// All extensions of the stack, bottom first; not each has files in this hierarchy.
    pub layers: Vec<Layer>,
    /// The directory below them: major and minor number of its device, and its inode. Only of a service is it written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<(u32, u32, u64)>,
    /// Whether it can be written to; not at all where nothing is said.
    #[serde(default)]
    pub mutable: Mutable,
    /// Whether programs can be run from it; by its class where nothing is said.
    #[serde(default)]
    pub execution: Execution,
    /// Who has to hear when it changes; `None` when nothing is said.
    #[serde(default)]
    pub heard: Option<Heard>,
}

/// Whether programs can be run from what is merged.
///
/// ```
/// use confext_core::{Options, state::Execution};
/// use confext_ddi::release::Class;
///
/// assert!(!Execution::ByClass.is_allowed(Class::Confext));
/// // A confext with scripts in it.
/// let mut options = Options::default();
/// options.execution = Execution::Allowed;
/// assert!(options.execution.is_allowed(Class::Confext));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Execution {
    /// From a sysext, not from a confext.
    #[default]
    ByClass,
    /// Yes, unless the host forbids it for its own directory.
    Allowed,
    /// No.
    Forbidden,
}

impl Execution {
    /// `by-class`, `allowed` or `forbidden`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByClass => "by-class",
            Self::Allowed => "allowed",
            Self::Forbidden => "forbidden",
        }
    }

    /// What it comes to for a class.
    #[must_use]
    pub const fn is_allowed(self, class: Class) -> bool {
        match self {
            Self::ByClass => matches!(class, Class::Sysext),
            Self::Allowed => true,
            Self::Forbidden => false,
        }
    }
}

/// What the mounts of a stack forbid, as systemd has it, whatever the host forbids.
pub(crate) fn mount_flags(class: Class, execution: Execution) -> MountAttrFlags {
    let mut flags = MountAttrFlags::MOUNT_ATTR_NODEV;
    if class == Class::Confext {
        flags |= MountAttrFlags::MOUNT_ATTR_NOSUID;
    }
    if !execution.is_allowed(class) {
        flags |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    flags
}

/// Whether a hierarchy can be written to while it is merged. Paths are inside the root, without a slash at the front.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, state::Writes};
/// use confext_ddi::{release::Class, settings::Mutability};
///
/// options.mutability = Mutability::Ephemeral;
/// let mutable = plan(&host, Class::Confext, &options)?.hierarchies.remove(0).mutable;
/// assert_eq!((mutable.mode, mutable.writes), (Mutability::Ephemeral, Writes::Memory));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mutable {
    /// The mode the stack was merged with.
    pub mode: Mutability,
    /// Where writes go: the layer on top of everything.
    pub writes: Writes,
    /// The directory with what was written before, where it is seen only: the layer directly below the metadata.
    pub imported: Option<String>,
}

/// Where writes to a merged hierarchy go.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{plan, state::Writes};
/// use confext_ddi::{release::Class, settings::Mutability};
///
/// options.mutability = Mutability::Yes;
/// let etc = plan(&host, Class::Confext, &options)?.hierarchies.remove(0);
/// let Writes::Directory { path, .. } = etc.mutable.writes else { panic!("it cannot be written to") };
/// assert_eq!(path, "var/lib/extensions.mutable/etc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "kebab-case")]
pub enum Writes {
    /// Nowhere: it is read-only.
    #[default]
    Nowhere,
    /// A directory of the host, above all extensions.
    Directory {
        /// The directory, links resolved.
        path: String,
        /// The overlay's work directory, beside it.
        work: String,
    },
    /// The host's own directory, which is above all extensions then and not below them.
    Host {
        /// The overlay's work directory, beside it.
        work: String,
    },
    /// Memory: they are gone with the stack.
    Memory,
}

/// One extension of a merged stack.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::{Options, plan, state::Layer};
/// use confext_ddi::release::Class;
///
/// let layer: Layer = plan(&host, Class::Confext, &Options::default())?.layers.remove(0);
/// assert_eq!((layer.name.as_str(), layer.path.as_str()), ("app", "/run/confexts/app.raw"));
/// assert_eq!(layer.hierarchies, ["etc"]);
/// println!("{:?}", layer.checked.root_hash());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Layer {
    /// The extension's name.
    pub name: String,
    /// Where the image or directory is, inside the root.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// The version chosen from a `.v/` directory.
    pub version: Option<String>,
    /// What makes it the same extension at the next refresh.
    pub identity: Identity,
    /// What was checked when it was merged.
    pub checked: Checked,
    /// The partition of the image that is mounted.
    pub partition: Option<Partition>,
    /// The hierarchies it has files in.
    pub hierarchies: Vec<String>,
    /// How its image was attached; `None` for a directory, and before a merge.
    #[serde(default)]
    pub attached: Option<Way>,
}

/// The partition a layer is from.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::{Options, plan, state::Partition};
/// use confext_ddi::release::Class;
///
/// let layer = plan(&host, Class::Confext, &Options::default())?.layers.remove(0);
/// let partition: Partition = layer.partition.ok_or("a directory")?;
/// assert_eq!((partition.designator.as_str(), partition.number), ("root", Some(1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// `root` or `usr`.
    pub designator: String,
    /// Its place in the table, from 1.
    pub number: Option<u32>,
    /// Its identifier.
    pub uuid: Option<Uuid>,
}

/// What tells whether an extension is still the same.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::{Options, plan, state::Identity};
/// use confext_ddi::release::Class;
///
/// let layer = plan(&host, Class::Confext, &Options::default())?.layers.remove(0);
/// // Whatever file it is in, this is the same extension as long as its content is.
/// let Identity::RootHash { root_hash } = layer.identity else { panic!("it has no hash tree") };
/// assert_eq!(Some(&root_hash), layer.checked.root_hash());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "test", rename_all = "kebab-case")]
pub enum Identity {
    /// The root hash: the content is the same wherever it is.
    RootHash {
        /// The top of the hash tree.
        root_hash: RootHash,
    },
    /// An image without a hash tree: the file it is in.
    File {
        /// Major and minor number of the file system's device.
        device: (u32, u32),
        /// Inode number.
        inode: u64,
        /// Size in bytes.
        size_bytes: u64,
        /// When its content was changed last: seconds since 1970, and nanoseconds.
        modified: (i64, u32),
        /// When anything about it was changed last: seconds since 1970, and nanoseconds.
        changed: (i64, u32),
    },
    /// A directory: itself, and the names, types, owners, modes, sizes and times of everything in it.
    Directory {
        /// Major and minor number of the file system's device.
        device: (u32, u32),
        /// Inode number.
        inode: u64,
        /// SHA-256 over all that, in hex.
        listing: String,
    },
    /// What the extension contains, wherever it is: of an image every byte of its file system, of a directory every
    /// file with its content and attributes, without times.
    Content {
        /// A digest of all that, in hex.
        sha256: String,
    },
}

impl Identity {
    /// The name of the test: `root-hash`, `file`, `directory` or `content`.
    #[must_use]
    pub const fn test(&self) -> &'static str {
        match self {
            Self::RootHash { .. } => "root-hash",
            Self::File { .. } => "file",
            Self::Directory { .. } => "directory",
            Self::Content { .. } => "content",
        }
    }
}

/// What was checked when a layer was merged: [`Evidence`] as it is written down.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::{Options, plan, state::Checked};
/// use confext_ddi::release::Class;
///
/// let layer = plan(&host, Class::Confext, &Options::default())?.layers.remove(0);
/// let Checked::Signed { root_hash, by } = layer.checked else { panic!("the policy asks for a signature") };
/// println!("{root_hash} is signed by {}", by.subject);
/// assert_eq!(by.subject, "CN=vendor");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Checked {
    /// Nothing.
    None,
    /// Every block against this root hash.
    Verity {
        /// The top of the hash tree.
        root_hash: RootHash,
    },
    /// The same, and the root hash's signature.
    Signed {
        /// The top of the hash tree.
        root_hash: RootHash,
        /// Whose signature it was.
        by: SignedBy,
    },
}

/// Whose signature was checked.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::{Options, plan, state::{Checked, SignedBy}};
/// use confext_ddi::{release::Class, signature::TrustSource};
///
/// let layer = plan(&host, Class::Confext, &Options::default())?.layers.remove(0);
/// let Checked::Signed { by, .. } = layer.checked else { panic!("the policy asks for a signature") };
/// let SignedBy { fingerprint, source, .. } = by;
/// assert_eq!(source, TrustSource::File { path: "/etc/verity.d/vendor.crt".to_owned() });
/// assert_eq!(fingerprint.map(|hex| hex.len()), Some(64));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBy {
    /// The certificate's subject.
    pub subject: String,
    /// SHA-256 of the certificate, in hex; `None` where nobody has the certificate of a kernel's key.
    pub fingerprint: Option<String>,
    /// Start of the certificate's validity, seconds since 1970; `None` as above.
    pub not_before: Option<i64>,
    /// End of the certificate's validity, seconds since 1970; `None` as above.
    pub not_after: Option<i64>,
    /// Where it is said that this signer counts.
    pub source: TrustSource,
}

impl Checked {
    /// The root hash that was checked.
    #[must_use]
    pub const fn root_hash(&self) -> Option<&RootHash> {
        match self {
            Self::None => None,
            Self::Verity { root_hash } | Self::Signed { root_hash, .. } => Some(root_hash),
        }
    }
}

impl From<&Evidence> for Checked {
    fn from(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::None => Self::None,
            Evidence::Verity { root_hash } => Self::Verity { root_hash: *root_hash },
            Evidence::Signed { root_hash, by } => Self::Signed {
                root_hash: *root_hash,
                by: SignedBy {
                    subject: by.subject.clone(),
                    fingerprint: by.fingerprint.map(|known| known.to_string()),
                    not_before: by.not_before,
                    not_after: by.not_after,
                    source: by.source.clone(),
                },
            },
        }
    }
}
