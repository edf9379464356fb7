//! The key of a certificate, ready to check signatures: OpenSSL looks its algorithms up once, and not for each signature.

use super::{DigestAlgorithm, SignatureAlgorithm};
use openssl::error::ErrorStack;
use openssl::md::{Md, MdRef};
use openssl::pkey::{PKey, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use sha2::Digest as _;
use std::sync::{Arc, Mutex, PoisonError};

/// How many contexts are kept: one for each thread that checks signatures of one certificate at the same time.
const MOST_READY: usize = 16;

/// A context that checks signatures over such digests.
type Ready = (DigestAlgorithm, PkeyCtx<Public>);

/// A public key of RSA or ECDSA.
#[derive(Clone)]
pub(super) struct PublicKey {
    key: PKey<Public>,
    algorithm: SignatureAlgorithm,
    /// Contexts that checked a signature before. Looking algorithms up takes OpenSSL 3 several times as long as the check.
    ready: Arc<Mutex<Vec<Ready>>>,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey").field("algorithm", &self.algorithm).field("bits", &self.bits()).finish()
    }
}

impl PublicKey {
    pub(super) fn new(key: PKey<Public>, algorithm: SignatureAlgorithm) -> Self {
        Self { key, algorithm, ready: Arc::default() }
    }

    pub(super) const fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    pub(super) fn bits(&self) -> u32 {
        self.key.bits()
    }

    /// Whether this key signed `content`: RSA by PKCS#1 1.5, ECDSA with r and s as DER.
    pub(super) fn signed(
        &self,
        content: &[u8],
        digest: DigestAlgorithm,
        raw: &[u8],
    ) -> Result<bool, ErrorStack> {
        let mut context = match self.take(digest) {
            Some(context) => context,
            None => self.prepare(digest)?,
        };
        let hashed = match digest {
            DigestAlgorithm::Sha256 => sha2::Sha256::digest(content).to_vec(),
            DigestAlgorithm::Sha384 => sha2::Sha384::digest(content).to_vec(),
            DigestAlgorithm::Sha512 => sha2::Sha512::digest(content).to_vec(),
        };
        // A signature that cannot even be read is an error to OpenSSL, and to us one that does not check.
        let checked = context.verify(&hashed, raw).unwrap_or(false);
        // What a failure leaves in a context, nobody has to know.
        if checked {
            self.keep(digest, context);
        }
        Ok(checked)
    }

    fn prepare(&self, digest: DigestAlgorithm) -> Result<PkeyCtx<Public>, ErrorStack> {
        let mut context = PkeyCtx::new(&self.key)?;
        context.verify_init()?;
        if self.algorithm == SignatureAlgorithm::Rsa {
            context.set_rsa_padding(Padding::PKCS1)?;
        }
        context.set_signature_md(md(digest))?;
        Ok(context)
    }

    fn take(&self, digest: DigestAlgorithm) -> Option<PkeyCtx<Public>> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ready.iter().position(|(known, _)| *known == digest)?;
        Some(ready.swap_remove(at).1)
    }

    fn keep(&self, digest: DigestAlgorithm, context: PkeyCtx<Public>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() < MOST_READY {
            ready.push((digest, context));
        }
    }
}

fn md(digest: DigestAlgorithm) -> &'static MdRef {
    match digest {
        DigestAlgorithm::Sha256 => Md::sha256(),
        DigestAlgorithm::Sha384 => Md::sha384(),
        DigestAlgorithm::Sha512 => Md::sha512(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::pkey::Private;
    use openssl::sign::Signer;

    fn raw(key: &PKey<Private>, content: &[u8]) -> Vec<u8> {
        Signer::new(openssl::hash::MessageDigest::sha256(), key)
            .unwrap()
            .sign_oneshot_to_vec(content)
            .unwrap()
    }

    fn key_of(key: &PKey<Private>) -> PublicKey {
        let public = PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap();
        PublicKey::new(public, super::super::certificate::check_key(key).unwrap())
    }

    /// A context that is used again says the same as a new one, whatever it saw before.
    #[test]
    fn no_check_depends_on_another() {
        let rsa = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
        let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
        let ec = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
        for key in [rsa, ec] {
            let public = key_of(&key);
            let (first, second) = (raw(&key, b"first"), raw(&key, b"second"));
            let mut cut = first.clone();
            cut.pop();
            for _ in 0..3 {
                for (content, signature, right) in [
                    (&b"first"[..], &first[..], true),
                    (b"first", &second, false),
                    (b"second", &second, true),
                    (b"first", &cut, false),
                    (b"first", b"", false),
                ] {
                    let signed = public.signed(content, DigestAlgorithm::Sha256, signature).unwrap();
                    assert_eq!(signed, right, "{public:?} {content:?}");
                    assert!(!public.signed(content, DigestAlgorithm::Sha512, signature).unwrap());
                }
            }
        }
    }

    #[test]
    fn threads_do_not_wait_for_each_other() {
        let key = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
        let (public, signature) = (key_of(&key), raw(&key, b"content"));
        std::thread::scope(|scope| {
            for _ in 0..2 * MOST_READY {
                scope.spawn(|| {
                    for _ in 0..20 {
                        assert!(public.signed(b"content", DigestAlgorithm::Sha256, &signature).unwrap());
                    }
                });
            }
        });
        assert!((1..=MOST_READY).contains(&public.ready.lock().unwrap().len()));
    }
}
