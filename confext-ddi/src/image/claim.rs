//! What an image says of its own protection.

use super::{Layout, Options, SignaturePartition};
use crate::digest::RootHash;
use crate::dps::Designator;
use crate::error::{Corrupt, Error, LimitExceeded, Result, ResultExt as _};
use crate::id::Uuid;
use crate::limits::Limits;
use crate::read::{ReadAt, read_vec};
use crate::sidecar;
use crate::signature::{self, AdditionalSignature, Fingerprint};
use crate::units::ByteRange;
use serde::Serialize;

/// What an image says of its own protection. Nothing in it was checked.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::image::{Claim, Image, Options};
///
/// // Nobody signed this image; its two identifiers make up a root hash, which nobody checked so far.
/// let image = Image::open(bytes, &Options::default())?;
/// assert!(matches!(image.claim(), Claim::Verity { .. }));
/// assert_eq!(image.claim().signatures().count(), 0);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Claim {
    /// No hash tree.
    None,
    /// A hash tree, but no signature of its root hash.
    #[non_exhaustive]
    Verity {
        /// Put together from the identifiers of the two partitions.
        root_hash: RootHash,
    },
    /// A hash tree and a signature of its root hash.
    #[non_exhaustive]
    Signed {
        /// As the signature partition names it.
        root_hash: RootHash,
        /// PKCS#7 in DER form.
        #[serde(skip)]
        signature_der: Vec<u8>,
        /// Of the certificate, as the signature partition names it.
        fingerprint: Option<Fingerprint>,
        /// Signatures of the same root hash by other keys.
        additional: Vec<AdditionalSignature>,
    },
}

impl Claim {
    /// The signatures (DER), the first one first.
    pub fn signatures(&self) -> impl Iterator<Item = &[u8]> {
        let (first, additional) = match self {
            Self::Signed { signature_der, additional, .. } => (Some(signature_der), additional.as_slice()),
            Self::None | Self::Verity { .. } => (None, &[][..]),
        };
        let additional = additional.iter().map(|other| other.signature_der.as_slice());
        first.into_iter().map(Vec::as_slice).chain(additional)
    }

    /// The root hash that is claimed.
    #[must_use]
    pub const fn root_hash(&self) -> Option<&RootHash> {
        match self {
            Self::None => None,
            Self::Verity { root_hash } | Self::Signed { root_hash, .. } => Some(root_hash),
        }
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Verity { root_hash } => f.debug_struct("Verity").field("root_hash", root_hash).finish(),
            // The signature's bytes would bury the rest.
            Self::Signed { root_hash, signature_der, fingerprint, additional } => f
                .debug_struct("Signed")
                .field("root_hash", root_hash)
                .field("signature_bytes", &signature_der.len())
                .field("fingerprint", fingerprint)
                .field("additional", &additional.len())
                .finish(),
        }
    }
}

/// Reads what the partitions say of the root hash: their identifiers and the signature partition. What a sidecar says
/// counts before that: partitions were chosen by it.
pub(super) fn read<R: ReadAt>(
    reader: &R,
    layout: &Layout,
    sidecars: &sidecar::Parts<R>,
    options: &Options,
) -> Result<Claim> {
    let Some(tree) = &layout.tree else { return Ok(Claim::None) };
    for (number, uuid) in tree.ids.into_iter().flatten() {
        if uuid.to_guid().is_zero() {
            return Err(Corrupt::VerityUuidZero { number }.into());
        }
    }
    if let (Some(hash), Some(signature_der)) = (&sidecars.hash, &sidecars.signature_der) {
        let signature_der = signature_der.clone();
        return Ok(Claim::Signed {
            root_hash: hash.root_hash,
            signature_der,
            fingerprint: None,
            additional: Vec::new(),
        });
    }
    let signature = tree.signature.as_ref().filter(|_| options.signature == SignaturePartition::Read);
    let (ids, partition) = match (tree.ids, signature, &sidecars.hash) {
        (Some(ids), Some(partition), _) => (ids, partition),
        (_, None, Some(hash)) => return Ok(Claim::Verity { root_hash: hash.root_hash }),
        (Some(ids), None, None) => {
            return Ok(Claim::Verity { root_hash: join(ids.map(|(_, uuid)| uuid)) });
        }
        (None, _, _) => return Ok(Claim::None),
    };
    let place = partition.designator.as_str();
    let json = read_signature(reader, partition.designator, partition.range, &options.limits)?;
    for ((number, found), expected) in ids.into_iter().zip(split(&json.root_hash)) {
        if found != expected {
            return Err(Corrupt::RootHashUuid { number, found, expected }).within(place);
        }
    }
    Ok(Claim::Signed {
        root_hash: json.root_hash,
        signature_der: json.signature_der,
        fingerprint: json.certificate_fingerprint,
        additional: json.additional,
    })
}

/// The root hash whose first half is the UUID of the data partition, whose second is that of the hash partition.
fn join([data, hash]: [Uuid; 2]) -> RootHash {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(data.to_bytes().into_iter().chain(hash.to_bytes())) {
        *to = from;
    }
    RootHash::from_bytes(bytes)
}

/// The UUIDs of data and hash partition: the first and the last 16 bytes of the root hash, however long it is.
pub(super) fn split(root_hash: &RootHash) -> [Uuid; 2] {
    let bytes = root_hash.as_bytes();
    // Root hashes have 20 bytes at least.
    let halves = [bytes.first_chunk(), bytes.last_chunk()];
    halves.map(|half| Uuid::from_bytes(half.copied().unwrap_or_default()))
}

/// Reads a signature partition; an error says where in the image it is.
pub(super) fn read_signature<R: ReadAt + ?Sized>(
    reader: &R,
    designator: Designator,
    range: ByteRange,
    limits: &Limits,
) -> Result<signature::Json> {
    let (found, most) = (range.len_bytes(), limits.signature_bytes);
    let read = |len| signature::Json::parse(&read_vec(reader, range.start(), len)?, limits);
    let len = usize::try_from(found).ok().filter(|_| found <= most);
    len.ok_or_else(|| LimitExceeded::Bytes { what: "signature partition", found, most }.into())
        .and_then(read)
        .map_err(|error: Error| error.shifted(range.start()).within(designator.as_str()))
}
