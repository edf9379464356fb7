//! [`KernelKeyring`]: a signature counts when the kernel checks it with a key of one of these keyrings

use std::ffi::CString;

use confext_ddi::RootHash;
use confext_ddi::error::{Error, Result, ResultExt as _, Unverified};
use confext_ddi::signature::{
    Certificate, CertificateRules, Certificates, Probe, SignatureAlgorithm, SignedData, Signer, Time, ToSign,
    TrustSource, Usage, Validity, Verifier,
};

use super::{BLACKLIST, Found, KeyName, Keyring, PrivateKeyring};
use crate::sys::{self, KeySerial};

/// Keyrings of the kernel whose keys' signatures count.
///
/// A signature checks when one of the keyrings has the key that it names, by issuer and serial number, and the kernel says that
/// this key made it. The kernel is asked through `KEYCTL_PKEY_VERIFY`; device-mapper need not be there.
///
/// The kernel does not know of the validity and the usage that a certificate states, and does not hand a certificate out. Both
/// are demanded here as of every other certificate ([`CertificateRules`]), so that the certificate has to come from somewhere:
/// the signature carries it, or it is among those passed to [`KernelKeyring::known`]. That it is the key's own is not believed
/// but asked of the kernel ([`Probe`]). Rules that demand neither do without.
///
/// A key of which the kernel says only that it is there, because its permissions keep this process from using it, is
/// replaced by that of the signature's certificate, after the kernel has found the certificate signed by a key of the keyring.
///
/// A key counts for itself: what it issued is not trusted, whatever [`CertificateRules::chain`] says, for whether it may issue
/// certificates the kernel does not tell.
///
/// ```
/// # use std::time::SystemTime;
/// # use confext_ddi::{build::*, image::{self, Image}, release::Class, signature::KeyPair};
/// # let now = SystemTime::now();
/// # let vendor = KeyPair::generate("vendor", now.into(), 30)?;
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let mut bytes = std::io::Cursor::new(Vec::new());
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).build(&mut bytes, Some(&vendor))?;
/// # let image = Image::open(bytes.get_ref().as_slice(), &image::Options::default())?;
/// use confext_core::keyring::{KernelKeyring, PrivateKeyring};
/// use confext_ddi::policy::Policy;
///
/// let private = PrivateKeyring::new()?;
/// private.keyring()?.add(vendor.certificate())?;
/// // A verifier as any other; the kernel does the arithmetic.
/// let mut known = confext_ddi::signature::Certificates::new(now.into());
/// known.add_pem(&vendor.certificate_pem()?)?;
/// let keys = KernelKeyring::new(now.into()).keyring(private.keyring()?).known(&known);
/// let admitted = Policy::signed().judge(image, Some(&keys))?;
/// assert_eq!(admitted.evidence().signer().map(|signer| signer.subject.as_str()), Some("CN=vendor"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct KernelKeyring {
    keyrings: Vec<Keyring>,
    known: Certificates,
    rules: CertificateRules,
    now: Time,
}

/// A signature, and what goes with it.
struct Question<'a> {
    root_hash: &'a RootHash,
    form: SignedData<'a>,
    name: KeyName,
    /// The signer's certificate, as somebody says.
    certificate: Option<Certificate>,
}

impl KernelKeyring {
    /// The keys of no keyring. `now` is the moment at which certificates have to be valid.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self { keyrings: Vec::new(), known: Certificates::new(now), rules: CertificateRules::default(), now }
    }

    /// Adds a keyring. They are asked in this order.
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        if self.keyrings.iter().all(|known| known.serial() != keyring.serial()) {
            self.keyrings.push(keyring);
        }
        self
    }

    /// Sets what the certificates must be like.
    #[must_use]
    pub const fn rules(mut self, rules: CertificateRules) -> Self {
        self.rules = rules;
        self
    }

    /// Passes certificates, so that what they say of keys in the keyrings is known. They are not trusted for that.
    #[must_use]
    pub fn known(mut self, certificates: &Certificates) -> Self {
        self.known.add_all(certificates);
        self
    }

    /// The keyrings, in the order in which they are asked.
    #[must_use]
    pub fn keyrings(&self) -> &[Keyring] {
        &self.keyrings
    }

    fn check(&self, root_hash: &RootHash, der: &[u8]) -> Result<Signer> {
        let (form, carried) = SignedData::parse_with_certificates(der)?;
        let carried = carried.into_iter().filter_map(|der| Certificate::from_der(der).ok());
        let certificate =
            self.known.iter().cloned().chain(carried).find(|certificate| certificate.is_named_by(&form));
        let name = KeyName::IssuerAndSerial(form.key_id());
        let question = Question { root_hash, form, name, certificate };
        refuse_blacklisted(&question)?;
        let mut refused: Option<Error> = None;
        for keyring in &self.keyrings {
            match self.ask(&question, keyring) {
                Ok(signer) => return Ok(signer),
                // Revoked in one keyring is revoked.
                Err(error) if error.code() == "key-revoked" => return Err(error),
                Err(error) => {
                    let unknown = |error: &Error| error.code() == "unknown-signer";
                    if refused.as_ref().is_none_or(|known| unknown(known) && !unknown(&error)) {
                        refused = Some(error);
                    }
                }
            }
        }
        match refused {
            Some(error) if error.code() != "unknown-signer" => Err(error),
            _ => {
                let names: Vec<_> = self.keyrings.iter().map(Keyring::description).collect();
                let trusted = format!("the keys in keyrings {}", names.join(", "));
                Err(Unverified::UnknownSigner { claims: question.form.claims(), trusted }.into())
            }
        }
    }

    fn ask(&self, question: &Question<'_>, keyring: &Keyring) -> Result<Signer> {
        let claims = || question.form.claims();
        let name = || keyring.description().to_owned();
        let found = keyring.search(&question.name);
        match found.map_err(|error| question.not_usable(keyring, &error.explain()))? {
            Found::Nothing => {
                let trusted = format!("the keys in keyring {}", name());
                Err(Unverified::UnknownSigner { claims: claims(), trusted }.into())
            }
            Found::Revoked => Err(Unverified::KeyRevoked { claims: claims(), keyring: name() }.into()),
            Found::Expired => Err(Unverified::KeyExpired { claims: claims(), keyring: name() }.into()),
            Found::Key(key) => {
                question.check_with(key, keyring)?;
                // A number is used again when its key is gone. It is still that of the key that was found.
                if !matches!(keyring.search(&question.name), Ok(Found::Key(again)) if again == key) {
                    return Err(question.not_usable(keyring, "it was exchanged in the meantime"));
                }
                self.conclude(question, keyring, key)
            }
            Found::Forbidden => self.ask_in_private(question, keyring),
        }
    }

    /// Uses a key that is there and may only be used by the kernel: that of a certificate that it vouches for.
    fn ask_in_private(&self, question: &Question<'_>, keyring: &Keyring) -> Result<Signer> {
        let not_usable = |reason: &str| question.not_usable(keyring, reason);
        let Some(certificate) = &question.certificate else {
            return Err(not_usable(
                "its permissions do not let anybody use it, and nobody has its certificate",
            ));
        };
        let failed = |error: crate::error::Error| not_usable(&error.explain());
        let private = PrivateKeyring::new().map_err(failed)?;
        let inner = private.keyring().map_err(failed)?;
        inner.restrict_by(keyring).map_err(failed)?;
        let key = inner.add(certificate).map_err(|error| match error.code() {
            "keyring-restricted" => not_usable(
                "its permissions do not let anybody use it, and no key there signed the certificate that names it",
            ),
            _ => failed(error),
        })?;
        question.check_with(key, keyring)?;
        self.conclude(question, keyring, key)
    }

    /// The kernel's key made the signature. What is left is what the kernel does not look at.
    fn conclude(&self, question: &Question<'_>, keyring: &Keyring, key: KeySerial) -> Result<Signer> {
        let source = TrustSource::Keyring {
            keyring: keyring.description().to_owned(),
            key: sys::key_describe(key)
                .ok()
                .and_then(|text| super::listing::parse_description(&text))
                .map_or_else(|| const_hex::encode(question.form.key_id()), |described| described.description),
        };
        let Some(certificate) = &question.certificate else {
            if self.rules.validity == Validity::Required || self.rules.usage != Usage::Ignored {
                let (claims, keyring) = (question.form.claims(), keyring.description().to_owned());
                return Err(Unverified::CertificateUnknown { claims, keyring }.into());
            }
            let subject = question.form.claims();
            return Ok(Signer { subject, fingerprint: None, not_before: None, not_after: None, source });
        };
        if !question
            .is_of(key, certificate)
            .map_err(|error| question.not_usable(keyring, &error.to_string()))?
        {
            let (subject, keyring) = (certificate.subject().to_owned(), keyring.description().to_owned());
            return Err(Unverified::CertificateNotOfKey { subject, keyring }.into());
        }
        certificate.check(self.rules, self.now)?;
        Ok(certificate.signer(source))
    }
}

impl Question<'_> {
    /// Has the kernel check the signature with a key.
    fn check_with(&self, key: KeySerial, keyring: &Keyring) -> Result<()> {
        let digest = ToSign::new(self.root_hash).digest(self.form.digest);
        let information = information(self.form.algorithm, self.form.digest.name());
        // Whether it could: a failure of the check itself says it of a signature that is none, too.
        let checked = sys::key_query(key, &information).map_err(|error| (error, false)).and_then(|_| {
            sys::key_verify(key, &information, &digest, self.form.signature).map_err(|error| (error, true))
        });
        let Err((error, able)) = checked else { return Ok(()) };
        let name = || keyring.description().to_owned();
        let claims = self.form.claims();
        Err(match error.raw_os_error() {
            Some(libc::EKEYREJECTED | libc::EBADMSG | libc::EINVAL | libc::EOVERFLOW) if able => {
                Unverified::SignatureMismatch { subject: format!("{claims} in keyring {}", name()) }.into()
            }
            Some(libc::EKEYREVOKED) => Unverified::KeyRevoked { claims, keyring: name() }.into(),
            Some(libc::EKEYEXPIRED) => Unverified::KeyExpired { claims, keyring: name() }.into(),
            _ => self.not_usable(keyring, &format!("the kernel cannot check the signature with it: {error}")),
        })
    }

    /// Whether a certificate is that of a key.
    fn is_of(&self, key: KeySerial, certificate: &Certificate) -> Result<bool> {
        let different = |error: &std::io::Error| {
            matches!(error.raw_os_error(), Some(libc::EKEYREJECTED | libc::EINVAL | libc::EOVERFLOW))
        };
        let asked = match certificate.probe()? {
            Probe::Rsa { input, output } => {
                sys::key_encrypt(key, c"enc=raw", &input, output.len()).map(|found| found == output)
            }
            Probe::Ecdsa { algorithm, digest, signature } => {
                let information = information(SignatureAlgorithm::Ecdsa, algorithm.name());
                sys::key_verify(key, &information, &digest, &signature).map(|()| true)
            }
            _ => Ok(false),
        };
        asked.or_else(|error| if different(&error) { Ok(false) } else { Err(error.into()) })
    }

    fn not_usable(&self, keyring: &Keyring, reason: &str) -> Error {
        let (claims, keyring) = (self.form.claims(), keyring.description().to_owned());
        Unverified::KeyNotUsable { claims, keyring, reason: reason.to_owned() }.into()
    }
}

/// How the kernel is told what kind of signature it is.
fn information(algorithm: SignatureAlgorithm, digest: &str) -> CString {
    let encoding = match algorithm {
        SignatureAlgorithm::Ecdsa => "x962",
        _ => "pkcs1",
    };
    CString::new(format!("enc={encoding} hash={digest}")).unwrap_or_default()
}

/// What the kernel refuses wherever the key is. Only root sees that keyring; for others the kernel's keyrings do not count
/// either.
fn refuse_blacklisted(question: &Question<'_>) -> Result<()> {
    let Ok(blacklist) = Keyring::named(BLACKLIST) else { return Ok(()) };
    match blacklist.search(&question.name) {
        Ok(Found::Nothing) => Ok(()),
        Ok(_) => {
            let (claims, keyring) = (question.form.claims(), BLACKLIST.to_owned());
            Err(Unverified::KeyBlacklisted { claims, keyring }.into())
        }
        Err(error) => Err(question.not_usable(&blacklist, &error.explain())),
    }
}

impl Verifier for KernelKeyring {
    fn verify(&self, root_hash: &RootHash, signature_der: &[u8]) -> Result<Signer> {
        self.check(root_hash, signature_der).within("signature")
    }
}
