//! [`report`]: whose signatures count on this host, what the kernel can check, and which source would accept an image

use std::path::Path;

use confext_ddi::RootHash;
use confext_ddi::image::{self, Claim};
use confext_ddi::signature::{SignedData, Signer, Time, Verifier};
use serde::Serialize;

use super::sources::{Asked, Sources};
use super::{Trust, TrustFile, TrustState};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::keyring::{DM_VERITY, Key, KeyState, Keyring, Sealing, TRUSTED};
use crate::sidecars;

mod kernel;

pub use kernel::{Kernel, Parameter, Presence};

/// Whose signatures count, and why.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::trust::{Report, Sources, TrustState, report};
///
/// let report: Report = report(&host, &Sources::default(), None, std::time::SystemTime::now())?;
/// assert_eq!(report.files[0].state, TrustState::Used);
/// println!("next: {}", report.next_step);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What the running kernel has.
    pub kernel: Kernel,
    /// Its keyrings, and those that were named.
    pub keyrings: Vec<KeyringReport>,
    /// The files in the `verity.d` directories of the host, and in the VOA hierarchy where it was named.
    pub files: Vec<TrustFile>,
    /// What would become of an image, where one was asked about.
    pub image: Option<ImageReport>,
    /// What to do next; one thing.
    pub next_step: String,
}

/// A keyring.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trust::{KeyringReport, Sources, report};
///
/// let report = report(&host, &Sources::default(), None, std::time::SystemTime::now())?;
/// let names: Vec<_> = report.keyrings.iter().map(|one: &KeyringReport| one.name.as_str()).collect();
/// assert!(names.contains(&".dm-verity"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyringReport {
    /// The name it was looked for by.
    pub name: String,
    /// What came of it.
    #[serde(flatten)]
    pub state: KeyringState,
}

/// What came of looking for a keyring.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trust::{KeyringState, Source, Sources, report};
///
/// let sources = Sources::new([Source::Keyring { name: "no-such-keyring".to_owned() }]);
/// let mut report = report(&host, &sources, None, std::time::SystemTime::now())?;
/// let keyring = report.keyrings.pop().ok_or("it was named")?;
/// assert!(!matches!(keyring.state, KeyringState::Seen { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum KeyringState {
    /// It is there.
    Seen {
        /// Whether it takes further keys.
        sealing: Sealing,
        /// What is in it.
        keys: Vec<Key>,
    },
    /// This kernel has none of the name.
    Missing,
    /// Only root would see it.
    Hidden,
    /// It cannot be used.
    Refused {
        /// The stable code.
        code: &'static str,
        /// What was found and what was expected.
        message: String,
    },
}

/// An image, and who would accept it.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::trust::{Sources, report};
///
/// let path = root.path().join("run/confexts/app.raw");
/// let report = report(&host, &Sources::default(), Some(&path), std::time::SystemTime::now())?;
/// let image = report.image.ok_or("one was asked about")?;
/// assert_eq!(image.signatures.len(), 1);
/// assert!(image.root_hash.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImageReport {
    /// The top of the hash tree that it claims; nothing of the image was checked.
    pub root_hash: Option<RootHash>,
    /// Its signatures, in their order; none, when it is not signed.
    pub signatures: Vec<SignatureReport>,
}

/// A signature, and who would accept it.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::trust::{Sources, Verdict, report};
///
/// let path = root.path().join("run/confexts/app.raw");
/// let report = report(&host, &Sources::default(), Some(&path), std::time::SystemTime::now())?;
/// let image = report.image.ok_or("one was asked about")?;
/// let accepts = image.signatures[0].answers.iter().filter(|one| matches!(one.verdict, Verdict::Accepted { .. }));
/// assert_eq!(accepts.map(|answer| answer.source.as_str()).collect::<Vec<_>>(), ["certificates"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SignatureReport {
    /// Whose it claims to be; `None` when it cannot be read.
    pub claims: Option<String>,
    /// What each source says.
    pub answers: Vec<Answer>,
}

/// What a source says of a signature.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::trust::{Answer, Sources, report};
///
/// let path = root.path().join("run/confexts/app.raw");
/// // What the certificates would say is in the answer, also where they do not count.
/// let report = report(&host, &Sources::new([]), Some(&path), std::time::SystemTime::now())?;
/// let answer: &Answer = &report.image.ok_or("one was asked about")?.signatures[0].answers[0];
/// assert_eq!((answer.source.as_str(), answer.chosen), ("certificates", false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The source.
    pub source: String,
    /// Whether it is among those that were chosen, so that its yes counts.
    pub chosen: bool,
    /// What it says.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Yes or no.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::trust::{Sources, Verdict, report};
///
/// let path = root.path().join("run/confexts/app.raw");
/// let report = report(&host, &Sources::default(), Some(&path), std::time::SystemTime::now())?;
/// let image = report.image.ok_or("one was asked about")?;
/// let Verdict::Accepted { signer } = &image.signatures[0].answers[0].verdict else { panic!("{image:?}") };
/// assert_eq!(signer.subject, "CN=vendor");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The signature counts.
    Accepted {
        /// Whose it is.
        signer: Signer,
    },
    /// It does not.
    Refused {
        /// The stable code.
        code: &'static str,
        /// What was found and what was expected.
        message: String,
        /// What to do about it.
        hint: &'static str,
    },
}

/// Says whose signatures count on a host, and what would become of an image. Nothing is changed, and no module is loaded.
///
/// Root sees more: what could not be seen is said.
///
/// # Errors
///
/// As [`Trust::read`]; as [`sidecars::open`] for an image that cannot be read. What is wrong with keyrings is in the report.
pub fn report(host: &Host, sources: &Sources, image: Option<&Path>, now: impl Into<Time>) -> Result<Report> {
    let now = now.into();
    let mut files = Trust::read(host, now)?.files;
    for context in sources.voa_contexts() {
        files.extend(Trust::read_voa(host, context, now)?.files);
    }
    let keyrings = keyrings(sources)?;
    let image = match image {
        Some(path) => Some(look_at(path, &sources.asked(host, now)?)?),
        None => None,
    };
    let kernel = Kernel::read(Path::new("/"));
    let next_step = next_step(&kernel, &keyrings, &files, image.as_ref());
    Ok(Report { kernel, keyrings, files, image, next_step })
}

fn keyrings(sources: &Sources) -> Result<Vec<KeyringReport>> {
    let mut names: Vec<String> = TRUSTED.iter().map(|name| (*name).to_owned()).collect();
    names.extend(sources.keyrings().filter(|name| !TRUSTED.contains(name)).map(str::to_owned));
    names.into_iter().map(|name| Ok(KeyringReport { state: state(&name)?, name })).collect()
}

fn state(name: &str) -> Result<KeyringState> {
    let looked = || {
        let keyring = Keyring::find(name)?;
        Ok::<_, Error>(KeyringState::Seen { sealing: keyring.sealing()?, keys: keyring.keys()? })
    };
    Ok(match looked() {
        Ok(seen) => seen,
        Err(error) if error.code() == "keyring-missing" && !rustix::process::geteuid().is_root() => {
            KeyringState::Hidden
        }
        Err(error) if error.code() == "keyring-missing" => KeyringState::Missing,
        Err(error) => KeyringState::Refused { code: error.code(), message: error.explain() },
    })
}

fn look_at(path: &Path, asked: &[Asked]) -> Result<ImageReport> {
    let image = sidecars::open(path, &image::Options::default())?;
    let claim: &Claim = image.claim();
    let root_hash = claim.root_hash().copied();
    let signature = |root_hash: &RootHash, der: &[u8]| SignatureReport {
        claims: SignedData::parse(der).ok().map(|form| form.claims()),
        answers: asked.iter().map(|source| answer(source, root_hash, der)).collect(),
    };
    let signatures = match &root_hash {
        Some(root_hash) => claim.signatures().map(|der| signature(root_hash, der)).collect(),
        None => Vec::new(),
    };
    Ok(ImageReport { root_hash, signatures })
}

fn answer(asked: &Asked, root_hash: &RootHash, der: &[u8]) -> Answer {
    let refused = |code, message, hint| Verdict::Refused { code, message, hint };
    let verdict = match &asked.verifier {
        Ok(verifier) => match verifier.verify(root_hash, der) {
            Ok(signer) => Verdict::Accepted { signer },
            Err(error) => refused(error.code(), error.to_string(), error.hint()),
        },
        Err(error) => refused(error.code(), error.explain(), error.hint()),
    };
    Answer { source: asked.name.clone(), chosen: asked.chosen, verdict }
}

/// The one thing that helps most.
fn next_step(
    kernel: &Kernel,
    keyrings: &[KeyringReport],
    files: &[TrustFile],
    image: Option<&ImageReport>,
) -> String {
    if let Some(image) = image {
        return next_step_for(image);
    }
    let refused = files.iter().find(|file| matches!(file.state, TrustState::Refused { .. }));
    if let Some(file) = refused {
        return format!("put one certificate in PEM form into {}, or remove the file", file.path.display());
    }
    let keys = |wanted: &str| {
        keyrings.iter().filter(|keyring| wanted.is_empty() || keyring.name == wanted).find_map(|keyring| {
            match &keyring.state {
                KeyringState::Seen { sealing, keys }
                    if keys.iter().any(|key| key.state == KeyState::Valid) =>
                {
                    Some(*sealing)
                }
                _ => None,
            }
        })
    };
    if keys(DM_VERITY) == Some(Sealing::Open) {
        return format!("seal the keyring {DM_VERITY}: the kernel ignores its keys until then");
    }
    let used = files.iter().any(|file| file.state == TrustState::Used);
    match (used, keys("").is_some()) {
        (_, false) if kernel.requires_signatures() => {
            "load a certificate into a trusted keyring: this kernel activates no image without one".to_owned()
        }
        (true, _) => {
            "nothing: certificates of verity.d count; name an image to see whether it is accepted".to_owned()
        }
        (false, true) => {
            "choose the kernel's keyrings (--trust keyrings): no certificate of verity.d counts".to_owned()
        }
        (false, false) => {
            "put the certificate of whoever signs your images into /etc/verity.d, as NAME.crt".to_owned()
        }
    }
}

fn next_step_for(image: &ImageReport) -> String {
    let answers = || image.signatures.iter().flat_map(|signature| &signature.answers);
    let accepted = |answer: &&Answer| matches!(answer.verdict, Verdict::Accepted { .. });
    if let Some(answer) = answers().filter(accepted).find(|answer| answer.chosen) {
        return format!("nothing: the image is accepted on the word of {}", answer.source);
    }
    if let Some(answer) = answers().find(accepted) {
        return format!(
            "choose the source {} (--trust, --trust-keyring): it would accept the image",
            answer.source
        );
    }
    let hints = |unknown: bool| {
        answers().find_map(|answer| match &answer.verdict {
            Verdict::Refused { code, hint, .. } if (*code == "unknown-signer") == unknown => Some(*hint),
            _ => None,
        })
    };
    match (image.signatures.first(), image.root_hash) {
        (Some(_), _) => {
            hints(false).or_else(|| hints(true)).unwrap_or("pass the signer's certificate").to_owned()
        }
        (None, Some(_)) => "sign the image (confext sign): it has a hash tree, but no signature".to_owned(),
        (None, None) => {
            "build the image with a hash tree and sign it (confext build): nothing protects it".to_owned()
        }
    }
}

#[cfg(test)]
mod tests;
