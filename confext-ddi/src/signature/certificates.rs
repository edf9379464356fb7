//! Checking signatures against a set of certificates.

use super::certificate::{internal, parse_pem, time_t, unknown_signer};
use super::{
    Certificate, CertificateRules, Chain, Fingerprint, SignedData, Signer, Time, ToSign, TrustSource,
    Validity, Verifier,
};
use crate::digest::RootHash;
use crate::error::{Error, Result, ResultExt as _, Unverified};
use openssl::error::ErrorStack;
use openssl::pkcs7::{Pkcs7, Pkcs7Flags};
use openssl::stack::Stack;
use openssl::x509::X509StoreContext;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};

/// A certificate, and where it is from.
#[derive(Debug, Clone)]
struct Trusted {
    certificate: Certificate,
    source: TrustSource,
}

/// A set of certificates whose signatures count.
///
/// A signature checks when the certificate it names, by issuer and serial number, is in this set, its key made the
/// signature, and the [`CertificateRules`] hold: by default, validity at the moment given, and no usage for something
/// else. Nothing else counts: no certificate that the signature itself carries, no chain to an authority, unless
/// [`Chain::Issued`] says so. Each certificate here is trusted for itself.
///
/// Where several certificates of the set have the issuer and serial number that the signature names, each is tried.
///
/// ```
/// use confext_ddi::signature::{Certificates, KeyPair, Time};
///
/// let now = Time::from(std::time::SystemTime::now());
/// let mut trusted = Certificates::new(now);
/// trusted.add_pem(&KeyPair::generate("vendor", now, 30)?.certificate_pem()?)?;
/// assert_eq!(trusted.len(), 1);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Certificates {
    now: Time,
    rules: CertificateRules,
    set: Vec<Trusted>,
}

impl Certificates {
    /// The empty set, which accepts nothing. `now` is the moment at which certificates have to be valid.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self { now, rules: CertificateRules::default(), set: Vec::new() }
    }

    /// Sets what the certificates must be like, besides being in the set.
    #[must_use]
    pub const fn rules(mut self, rules: CertificateRules) -> Self {
        self.rules = rules;
        self
    }

    /// Adds the one certificate that a PEM text holds.
    ///
    /// A file with more than one is refused: whether the others are to be trusted, too, is not for us to guess. See
    /// [`Certificates::add_pem_bundle`].
    ///
    /// # Errors
    ///
    /// As [`Certificate::from_pem`].
    pub fn add_pem(&mut self, pem: &[u8]) -> Result<()> {
        self.add(Certificate::from_pem(pem)?);
        Ok(())
    }

    /// Adds every certificate that a PEM text holds, and says how many there were.
    ///
    /// # Errors
    ///
    /// `certificate-pem`, `certificate-fields`, `certificate-time`, `key-type`; then none was added.
    pub fn add_pem_bundle(&mut self, pem: &[u8]) -> Result<usize> {
        let found = parse_pem(pem)?.into_iter().map(Certificate::new).collect::<Result<Vec<_>>>()?;
        let count = found.len();
        found.into_iter().for_each(|certificate| self.add(certificate));
        Ok(count)
    }

    /// Adds a certificate in DER form.
    ///
    /// # Errors
    ///
    /// As [`Certificate::from_der`].
    pub fn add_der(&mut self, der: &[u8]) -> Result<()> {
        self.add(Certificate::from_der(der)?);
        Ok(())
    }

    /// Adds a certificate that the caller trusts.
    pub fn add(&mut self, certificate: Certificate) {
        self.add_from(certificate, TrustSource::Caller);
    }

    /// Adds a certificate and says where it is from. Of one that is added again the first source is kept.
    pub fn add_from(&mut self, certificate: Certificate, source: TrustSource) {
        if self.iter().all(|known| known.fingerprint() != certificate.fingerprint()) {
            self.set.push(Trusted { certificate, source });
        }
    }

    /// Adds what is in another set, each certificate with its source. The moment and the rules stay those of this set.
    pub fn add_all(&mut self, other: &Self) {
        for Trusted { certificate, source } in &other.set {
            self.add_from(certificate.clone(), source.clone());
        }
    }

    /// The certificates, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Certificate> {
        self.set.iter().map(|trusted| &trusted.certificate)
    }

    /// Where a certificate of the set is from.
    #[must_use]
    pub fn source(&self, fingerprint: &Fingerprint) -> Option<&TrustSource> {
        let found = self.set.iter().find(|trusted| trusted.certificate.fingerprint() == *fingerprint);
        found.map(|trusted| &trusted.source)
    }

    /// How many different certificates there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    fn check(&self, root_hash: &RootHash, der: &[u8]) -> Result<Signer> {
        let (form, carried) = SignedData::parse_with_certificates(der)?;
        if self.set.is_empty() {
            return Err(Unverified::NoCertificates.into());
        }
        // What OpenSSL, and with it systemd, would not read is no signature either. It reads every message of this form,
        // and the certificates of the set; only others can be unreadable to it. Not asking saves most of the time.
        let known = |der: &&[u8]| self.iter().any(|certificate| certificate.der == *der);
        let message = if carried.iter().all(known) { None } else { Some(read_message(der)?) };
        let to_sign = ToSign::new(root_hash);
        let mut refused: Option<Error> = None;
        for Trusted { certificate, source } in
            self.set.iter().filter(|trusted| trusted.certificate.is_named_by(&form))
        {
            let checked = form.algorithm == certificate.algorithm()
                && certificate.signed(&to_sign, form.digest, form.signature).map_err(internal)?;
            let fault = match certificate.fault(self.rules, self.now) {
                _ if !checked => Unverified::SignatureMismatch { subject: certificate.subject().to_owned() },
                Some(fault) => fault,
                None => return Ok(certificate.signer(source.clone())),
            };
            // Of two certificates with the same name, the one whose key made the signature says more.
            if checked || refused.is_none() {
                refused = Some(fault.into());
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        match message {
            Some(message) if self.rules.chain == Chain::Issued => match carried_by(&message, &form)? {
                Some(certificate) => self.check_issued(&certificate, &form, &to_sign),
                None => Err(unknown_signer(&form, self.set.len())),
            },
            _ => Err(unknown_signer(&form, self.set.len())),
        }
    }

    /// Checks a signature by the key of a certificate that the signature itself carries.
    fn check_issued(
        &self,
        certificate: &Certificate,
        form: &SignedData<'_>,
        to_sign: &ToSign,
    ) -> Result<Signer> {
        let subject = || certificate.subject().to_owned();
        if form.algorithm != certificate.algorithm()
            || !certificate.signed(to_sign, form.digest, form.signature).map_err(internal)?
        {
            return Err(Unverified::SignatureMismatch { subject: subject() }.into());
        }
        if certificate.is_authority() {
            let reason = "it is an authority's own".into();
            return Err(Unverified::CertificateChain { subject: subject(), reason }.into());
        }
        // Its own validity is told by a code of its own.
        if let Some(fault) = certificate.fault(self.rules, self.now) {
            return Err(fault.into());
        }
        let fault = self.chain_fault(certificate).map_err(internal)?;
        let authority = self.set.iter().find(|trusted| trusted.certificate.issued(certificate));
        let reason = match (fault, authority) {
            (None, Some(authority)) => return Ok(certificate.signer(authority.source.clone())),
            (Some(reason), _) => reason,
            (None, None) => "no authority's key signed it".into(),
        };
        Err(Unverified::CertificateChain { subject: subject(), reason }.into())
    }

    /// Why no authority of the set issued a certificate; `None` when one did.
    fn chain_fault(&self, certificate: &Certificate) -> std::result::Result<Option<String>, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for authority in self.iter().filter(|certificate| certificate.is_authority()) {
            store.add_cert(authority.x509.clone())?;
        }
        let mut param = X509VerifyParam::new()?;
        // An authority of the set is trusted for itself, whoever issued it.
        let mut flags = X509VerifyFlags::PARTIAL_CHAIN;
        match (self.rules.validity, time_t(self.now)) {
            (Validity::Required, Some(now)) => param.set_time(now),
            (Validity::Required, None) => return Ok(Some("the moment cannot be told to OpenSSL".into())),
            (Validity::Ignored, _) => flags |= X509VerifyFlags::NO_CHECK_TIME,
        }
        param.set_flags(flags)?;
        param.set_depth(0);
        // 112 bits of security: no SHA-1.
        param.set_auth_level(2);
        store.set_param(&param)?;
        let mut context = X509StoreContext::new()?;
        let checked = context.init(&store.build(), &certificate.x509, &*Stack::new()?, |context| {
            Ok(if context.verify_cert()? { None } else { Some(context.error().error_string().to_owned()) })
        });
        // OpenSSL also fails on certificates that it cannot make sense of.
        Ok(checked.unwrap_or_else(|error| Some(error.to_string())))
    }
}

fn read_message(der: &[u8]) -> Result<Pkcs7> {
    let unreadable = |_| Unverified::SignatureDer { reason: "a certificate or name in it cannot be read" };
    Ok(Pkcs7::from_der(der).map_err(unreadable)?)
}

/// The certificate of its signer that a message carries.
fn carried_by(message: &Pkcs7, form: &SignedData<'_>) -> Result<Option<Certificate>> {
    let none = Stack::new().map_err(internal)?;
    let Ok(found) = message.signers(&none, Pkcs7Flags::empty()) else { return Ok(None) };
    let Some(x509) = found.iter().next() else { return Ok(None) };
    match Certificate::new(x509.to_owned()) {
        Ok(certificate) => Ok(Some(certificate).filter(|certificate| certificate.is_named_by(form))),
        // Nobody has to trust it for it to be there.
        Err(_) => Ok(None),
    }
}

impl Verifier for Certificates {
    fn verify(&self, root_hash: &RootHash, signature_der: &[u8]) -> Result<Signer> {
        self.check(root_hash, signature_der).within("signature")
    }
}

#[cfg(test)]
mod tests;
