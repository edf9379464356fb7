//! [`Sources`]: where it is looked up whose signatures count, and in which order

use std::sync::Arc;

use confext_ddi::RootHash;
use confext_ddi::error::Unverified;
use confext_ddi::signature::{CertificateRules, Certificates, SignedData, Signer, Time, Verifier};
use serde::Serialize;

use super::Trust;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::keyring::{DM_VERITY, KernelKeyring, Keyring, Sealing, TRUSTED};

/// The keyrings that the kernel's dm-verity uses wherever it has them. `.machine` is in the first one where it counts;
/// `.platform` is the firmware's, and counts for those who name it.
const OF_KERNEL: [&str; 3] = [".secondary_trusted_keys", ".builtin_trusted_keys", DM_VERITY];

/// Refusals that hold whatever another source says.
const FINAL: [&str; 2] = ["key-revoked", "key-blacklisted"];

/// A place where it is looked up whose signatures count.
///
/// ```
/// use confext_core::trust::{Source, Sources};
///
/// let sources = Sources::new([Source::Certificates]).source(Source::Keyring { name: ".platform".to_owned() });
/// assert_eq!(sources.keyrings().collect::<Vec<_>>(), [".platform"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Source {
    /// The certificates in the `verity.d` directories below the root.
    Certificates,
    /// The certificates for images in the VOA hierarchy below the root: see [`Trust::read_voa`].
    Voa {
        /// Of which context: `default` where none in particular is meant.
        context: String,
    },
    /// The keyrings of the running kernel that its dm-verity uses: `.secondary_trusted_keys`, `.builtin_trusted_keys`, and
    /// `.dm-verity` when it is sealed.
    Keyrings,
    /// A keyring of the running kernel.
    Keyring {
        /// Its description, or its number.
        name: String,
    },
}

/// Whose signatures count: certificates that are passed, and sources, in the order in which they are asked.
///
/// One that accepts a signature is enough. What a source refuses another one may accept, except that a key that was revoked or
/// is in the kernel's `.blacklist` is refused whatever the others say.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::admission::Trust;
/// use confext_core::trust::{Source, Sources};
/// use confext_core::{Options, plan};
/// use confext_ddi::release::Class;
///
/// let mut options = Options::default();
/// options.trust = Trust::Sources(Sources::new([Source::Certificates]));
/// assert_eq!(plan(&host, Class::Confext, &options)?.layers.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sources {
    passed: Certificates,
    sources: Vec<Source>,
    rules: CertificateRules,
}

impl Default for Sources {
    fn default() -> Self {
        Self::new([Source::Certificates])
    }
}

impl Sources {
    /// These sources. Each counts once, where it is named first.
    #[must_use]
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Self {
        let passed = Certificates::new(Time::from_unix(0));
        let none = Self { passed, sources: Vec::new(), rules: CertificateRules::default() };
        sources.into_iter().fold(none, Self::source)
    }

    /// Adds a source behind the others.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        if !self.sources.contains(&source) {
            self.sources.push(source);
        }
        self
    }

    /// Passes certificates. They are asked before every source, with the rules and the moment of the others.
    #[must_use]
    pub fn passed(mut self, certificates: &Certificates) -> Self {
        self.passed.add_all(certificates);
        self
    }

    /// Sets what certificates must be like.
    #[must_use]
    pub const fn rules(mut self, rules: CertificateRules) -> Self {
        self.rules = rules;
        self
    }

    /// Reads the certificates and finds the keyrings. `now` is the moment at which certificates have to be valid.
    ///
    /// # Errors
    ///
    /// As [`Trust::read`] and [`Keyring::find`]; `keyring-missing` when the kernel's keyrings are asked for and none can be
    /// seen.
    pub fn open(&self, host: &Host, now: impl Into<Time>) -> Result<Opened> {
        let now = now.into();
        let mut passed = Certificates::new(now).rules(self.rules);
        passed.add_all(&self.passed);
        let read = || Ok::<_, Error>(Trust::read(host, now)?.certificates.rules(self.rules));
        // What they say of keys in keyrings is good to know, also where nobody trusts them.
        let known = if self.asks_keyrings() { read().ok() } else { None };
        let keyring = |keyrings: Vec<Keyring>| {
            let kernel = KernelKeyring::new(now).rules(self.rules).known(&passed);
            let kernel = known.iter().fold(kernel, KernelKeyring::known);
            Member::Keyrings(keyrings.into_iter().fold(kernel, KernelKeyring::keyring))
        };
        let mut members = Vec::new();
        for source in &self.sources {
            members.push(match source {
                Source::Certificates => Member::Certificates(read()?),
                Source::Voa { context } => {
                    let found = Trust::read_voa(host, context, now)?;
                    Member::Certificates(found.certificates.rules(self.rules))
                }
                Source::Keyrings => keyring(of_kernel()?),
                Source::Keyring { name } => keyring(vec![Keyring::find(name)?]),
            });
        }
        members.insert(0, Member::Certificates(passed));
        members.retain(|member| !member.is_empty());
        Ok(Opened { members })
    }

    /// The keyrings that were named, in their order.
    pub fn keyrings(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| match source {
            Source::Keyring { name } => Some(name.as_str()),
            _ => None,
        })
    }

    /// The contexts of the VOA hierarchy that were named, in their order.
    pub(super) fn voa_contexts(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| match source {
            Source::Voa { context } => Some(context.as_str()),
            _ => None,
        })
    }

    /// Every source by itself, also those that were not chosen: what each would say.
    pub(super) fn asked(&self, host: &Host, now: Time) -> Result<Vec<Asked>> {
        let mut asked = Vec::new();
        if !self.passed.is_empty() {
            let passed = Self { sources: Vec::new(), ..self.clone() }.open(host, now)?;
            asked.push(Asked { name: "the caller".into(), chosen: true, verifier: Ok(passed) });
        }
        let alone = |source: Source| {
            let verifier = Self::new([source]).rules(self.rules).open(host, now)?;
            if verifier.is_empty() {
                Err(confext_ddi::Error::from(Unverified::NoCertificates).into())
            } else {
                Ok(verifier)
            }
        };
        let chosen = self.sources.contains(&Source::Certificates);
        asked.push(Asked { name: "certificates".into(), chosen, verifier: alone(Source::Certificates) });
        for context in self.voa_contexts() {
            let source = Source::Voa { context: context.to_owned() };
            asked.push(Asked { name: format!("voa {context}"), chosen: true, verifier: alone(source) });
        }
        let others = self.keyrings().filter(|name| !TRUSTED.contains(name));
        for name in TRUSTED.into_iter().chain(others) {
            let source = Source::Keyring { name: name.to_owned() };
            let of_kernel = OF_KERNEL.contains(&name) && self.sources.contains(&Source::Keyrings);
            let chosen = of_kernel || self.sources.contains(&source);
            asked.push(Asked { name: format!("keyring {name}"), chosen, verifier: alone(source) });
        }
        Ok(asked)
    }

    fn asks_keyrings(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, Source::Keyrings | Source::Keyring { .. }))
    }
}

/// One source by itself.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) name: String,
    /// Whether it is among the sources.
    pub(super) chosen: bool,
    /// It, or why it cannot be asked.
    pub(super) verifier: Result<Opened>,
}

/// Those of the kernel's keyrings that can be seen, and that the kernel uses.
fn of_kernel() -> Result<Vec<Keyring>> {
    let mut found = Vec::new();
    for name in OF_KERNEL {
        match Keyring::named(name) {
            Ok(keyring) if name == DM_VERITY && keyring.sealing()? != Sealing::Sealed => {}
            Ok(keyring) => found.push(keyring),
            Err(error) if error.code() == "keyring-missing" => {}
            Err(error) => return Err(error),
        }
    }
    if found.is_empty() {
        let target = OF_KERNEL.join(", ");
        return Err(Error::conflict("keyring-missing", target, "none that can be seen", "at least one"));
    }
    Ok(found)
}

/// Sources as they were at one moment: they say whose signature it is, and which of them says so.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::trust::Sources;
/// use confext_ddi::{image::{self, Image}, policy::Policy};
///
/// let opened = Sources::default().open(&host, std::time::SystemTime::now())?;
/// let file = std::fs::File::open(root.path().join("run/confexts/app.raw"))?;
/// let image = Image::open(file, &image::Options::default())?;
/// let admitted = Policy::signed().judge(image, Some(&opened))?;
/// assert_eq!(admitted.signers()[0].subject, "CN=vendor");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Opened {
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
enum Member {
    Certificates(Certificates),
    Keyrings(KernelKeyring),
}

impl Member {
    fn is_empty(&self) -> bool {
        match self {
            Self::Certificates(certificates) => certificates.is_empty(),
            Self::Keyrings(_) => false,
        }
    }

    fn verify(&self, root_hash: &RootHash, signature_der: &[u8]) -> confext_ddi::Result<Signer> {
        match self {
            Self::Certificates(certificates) => certificates.verify(root_hash, signature_der),
            Self::Keyrings(keyrings) => keyrings.verify(root_hash, signature_der),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Certificates(certificates) => format!("{} trusted certificates", certificates.len()),
            Self::Keyrings(kernel) => {
                let names: Vec<_> = kernel.keyrings().iter().map(Keyring::description).collect();
                format!("the keys in keyrings {}", names.join(", "))
            }
        }
    }
}

impl Opened {
    /// Whether there is nothing that could accept a signature: no certificate, and no keyring was named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The same behind a pointer, as [`admission::Trust::Verifier`](crate::admission::Trust::Verifier) takes it.
    #[must_use]
    pub fn shared(self) -> Arc<dyn Verifier> {
        Arc::new(self)
    }
}

impl Verifier for Opened {
    fn verify(&self, root_hash: &RootHash, signature_der: &[u8]) -> confext_ddi::Result<Signer> {
        let (mut accepted, mut refused): (Option<Signer>, Option<confext_ddi::Error>) = (None, None);
        // All are asked: a later one may have the key and say that it was revoked.
        for member in &self.members {
            match member.verify(root_hash, signature_der) {
                Ok(signer) => {
                    accepted.get_or_insert(signer);
                }
                Err(error) if FINAL.contains(&error.code()) => return Err(error),
                Err(error) => {
                    let unknown = |error: &confext_ddi::Error| error.code() == "unknown-signer";
                    if refused.as_ref().is_none_or(|known| unknown(known) && !unknown(&error)) {
                        refused = Some(error);
                    }
                }
            }
        }
        match (accepted, refused) {
            (Some(signer), _) => Ok(signer),
            (None, Some(error)) if self.members.len() == 1 || error.code() != "unknown-signer" => Err(error),
            (None, Some(_)) => {
                let names: Vec<_> = self.members.iter().map(Member::name).collect();
                let claims = SignedData::parse(signature_der)?.claims();
                Err(Unverified::UnknownSigner { claims, trusted: names.join(" and of ") }.into())
            }
            (None, None) => Err(Unverified::NoCertificates.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::PrivateKeyring;
    use crate::sys;
    use confext_ddi::signature::{KeyPair, Sign as _, TrustSource};
    use std::time::SystemTime;

    const ROOT: RootHash = RootHash::from_bytes([7; 32]);

    struct Scene {
        root: tempfile::TempDir,
        pairs: [KeyPair; 4],
        private: PrivateKeyring,
        key: sys::KeySerial,
    }

    impl Scene {
        /// One signer is passed, one has a file, one a key in a keyring, one is nobody.
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let now = Time::from(SystemTime::now());
            let pairs =
                ["passed", "file", "keyring", "nobody"].map(|name| KeyPair::generate(name, now, 1).unwrap());
            let directory = root.path().join("etc/verity.d");
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("a.crt"), pairs[1].certificate_pem().unwrap()).unwrap();
            let private = PrivateKeyring::new().unwrap();
            let key = private.keyring().unwrap().add(pairs[2].certificate()).unwrap();
            Self { root, pairs, private, key }
        }

        fn sources(&self, list: &[Source]) -> Sources {
            let mut passed = Certificates::new(Time::from_unix(0));
            passed.add(self.pairs[0].certificate().clone());
            Sources::new(list.iter().cloned()).passed(&passed)
        }

        fn open(&self, sources: &Sources) -> Opened {
            sources.open(&Host::open(self.root.path()).unwrap(), SystemTime::now()).unwrap()
        }

        fn ask(&self, sources: &Sources, pair: usize) -> Result<TrustSource, &'static str> {
            let signed = self.pairs[pair].sign(&ROOT).unwrap();
            let answer = self.open(sources).verify(&ROOT, &signed);
            answer.map(|signer| signer.source).map_err(|error| error.code())
        }

        fn mine(&self) -> Source {
            Source::Keyring { name: self.private.serial().to_string() }
        }
    }

    #[test]
    fn each_source_accepts_its_own_signers_and_says_that_it_was_it() {
        let scene = Scene::new();
        let all = scene.sources(&[scene.mine(), Source::Certificates]);
        assert_eq!(scene.ask(&all, 0), Ok(TrustSource::Caller));
        assert_eq!(scene.ask(&all, 1), Ok(TrustSource::File { path: "/etc/verity.d/a.crt".into() }));
        assert!(
            matches!(scene.ask(&all, 2), Ok(TrustSource::Keyring { key, .. }) if key.starts_with("keyring: "))
        );
        assert_eq!(scene.ask(&all, 3), Err("unknown-signer"));
        let signed = scene.pairs[3].sign(&ROOT).unwrap();
        let text = scene.open(&all).verify(&ROOT, &signed).unwrap_err().to_string();
        assert!(text.contains("1 trusted certificates and of the keys in keyrings confext-"), "{text}");
        // What was not named does not count.
        let files = scene.sources(&[Source::Certificates]);
        assert_eq!(scene.ask(&files, 2), Err("unknown-signer"));
        let keys = scene.sources(&[scene.mine()]);
        assert_eq!(scene.ask(&keys, 1), Err("unknown-signer"));
        assert_eq!(scene.ask(&Sources::new([]), 0), Err("no-certificates"));
        assert!(scene.open(&Sources::new([])).is_empty());
    }

    #[test]
    fn the_first_source_that_accepts_is_named_and_a_revoked_key_is_refused_whatever_others_say() {
        let scene = Scene::new();
        let mut passed = Certificates::new(Time::from_unix(0));
        passed.add(scene.pairs[2].certificate().clone());
        let both = Sources::new([scene.mine()]).passed(&passed);
        assert_eq!(scene.ask(&both, 2), Ok(TrustSource::Caller));
        sys::key_revoke(scene.key).unwrap();
        assert_eq!(scene.ask(&both, 2), Err("key-revoked"));
        assert_eq!(scene.ask(&Sources::new([]).passed(&passed), 2), Ok(TrustSource::Caller));
    }

    #[test]
    fn a_source_that_is_not_there_is_an_error_and_not_none() {
        let scene = Scene::new();
        let host = Host::open(scene.root.path()).unwrap();
        let missing = scene.sources(&[Source::Keyring { name: ".no-such-keyring".into() }]);
        let error = missing.open(&host, SystemTime::now()).unwrap_err();
        assert_eq!(error.code(), "keyring-missing");
    }
}
