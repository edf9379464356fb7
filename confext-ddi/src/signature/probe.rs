//! [`Probe`]: a question that only the holder of the same public key answers as expected.

use super::certificate::internal;
use super::{Certificate, DigestAlgorithm};
use crate::error::{Corrupt, Error, Result};
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::ec::{EcGroupRef, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::pkey::Public;
use openssl::rsa::{Padding, Rsa};

/// A question about a public key that cannot be read: whether it is that of a certificate.
///
/// That both check the same signature does not say so. For a signature that is there, another key can be made that checks it,
/// with a certificate that says whatever its maker likes.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// use confext_ddi::signature::Probe;
///
/// // Whoever has the public key gets `output` out of `input`; a key that only signed the same image does not.
/// let Probe::Rsa { input, output } = key.certificate().probe()? else { panic!("the key is of RSA") };
/// assert_eq!(output.len(), 256);
/// assert_ne!(input, output);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Probe {
    /// RSA: raw encryption of `input`, a random number below the modulus, gives `output`.
    Rsa {
        /// What is to be encrypted.
        input: Vec<u8>,
        /// What comes out, as long as the modulus.
        output: Vec<u8>,
    },
    /// ECDSA: `signature` of `digest` checks. It is a random one that was made without the private key, as can be done for
    /// a digest that nothing hashes to.
    Ecdsa {
        /// The digest that a signature checks with.
        algorithm: DigestAlgorithm,
        /// As many bytes as it has.
        digest: Vec<u8>,
        /// r and s as DER.
        signature: Vec<u8>,
    },
}

impl Certificate {
    /// Asks whether somebody has the public key of this certificate; another question each time.
    ///
    /// # Errors
    ///
    /// `io` when OpenSSL fails.
    pub fn probe(&self) -> Result<Probe> {
        let key = self.x509.public_key().map_err(internal)?;
        match (key.rsa(), key.ec_key()) {
            (Ok(rsa), _) => ask_rsa(&rsa).map_err(internal),
            (_, Ok(ec)) => ask_ec(&ec),
            _ => Err(Corrupt::CertificateDer.into()),
        }
    }
}

fn ask_rsa(rsa: &Rsa<Public>) -> Result<Probe, ErrorStack> {
    let mut number = BigNum::new()?;
    rsa.n().rand_range(&mut number)?;
    let size = i32::try_from(rsa.size()).unwrap_or(i32::MAX);
    let input = number.to_vec_padded(size)?;
    let mut output = vec![0; input.len()];
    rsa.public_encrypt(&input, &mut output, Padding::NONE)?;
    Ok(Probe::Rsa { input, output })
}

fn ask_ec(key: &EcKey<Public>) -> Result<Probe> {
    let group = key.group();
    let algorithm = if group.degree() > 256 { DigestAlgorithm::Sha384 } else { DigestAlgorithm::Sha256 };
    // A digest of such numbers may be too long by a little, or s be 0: both happen once in 2^32 and less.
    for _ in 0..8 {
        if let Some((digest, signature)) = forge(group, key).map_err(internal)? {
            return Ok(Probe::Ecdsa { algorithm, digest, signature });
        }
    }
    Err(Error::from(std::io::Error::other("no random signature could be made")))
}

/// A digest and a signature of it.
type Forged = (Vec<u8>, Vec<u8>);

/// For random u and v, with R = u·G + v·Q: r = R.x, s = r/v, digest = u·s.
fn forge(group: &EcGroupRef, key: &EcKey<Public>) -> Result<Option<Forged>, ErrorStack> {
    let mut context = BigNumContext::new()?;
    let mut order = BigNum::new()?;
    group.order(&mut order, &mut context)?;
    let (u, v) = (below(&order)?, below(&order)?);
    let mut point = EcPoint::new(group)?;
    point.mul_full(group, &u, key.public_key(), &v, &mut context)?;
    let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
    point.affine_coordinates(group, &mut x, &mut y, &mut context)?;
    let (mut r, mut inverse, mut s, mut digest) =
        (BigNum::new()?, BigNum::new()?, BigNum::new()?, BigNum::new()?);
    r.nnmod(&x, &order, &mut context)?;
    inverse.mod_inverse(&v, &order, &mut context)?;
    s.mod_mul(&r, &inverse, &order, &mut context)?;
    digest.mod_mul(&u, &s, &order, &mut context)?;
    if r.num_bits() == 0 || s.num_bits() == 0 {
        return Ok(None);
    }
    let digest = digest.to_vec_padded(order.num_bytes())?;
    Ok(Some((digest, EcdsaSig::from_private_components(r, s)?.to_der()?)))
}

/// A random number from 1 up to, and without, `order`.
fn below(order: &BigNumRef) -> Result<BigNum, ErrorStack> {
    let mut number = BigNum::new()?;
    loop {
        order.rand_range(&mut number)?;
        if number.num_bits() > 0 {
            return Ok(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{certify, ec_key, pair};
    use super::super::{KeyPair, Sign as _, Time};
    use super::*;
    use openssl::nid::Nid;

    fn of_curve(curve: Nid) -> KeyPair {
        let key = ec_key(curve);
        pair(&key, &certify(&key, "ec", 1, (0, 1))).unwrap()
    }

    fn answers(probe: &Probe, certificate: &Certificate) -> bool {
        let key = certificate.x509.public_key().unwrap();
        match probe {
            Probe::Rsa { input, output } => {
                let Ok(rsa) = key.rsa() else { return false };
                let mut found = vec![0; input.len()];
                rsa.public_encrypt(input, &mut found, Padding::NONE).is_ok() && found == *output
            }
            Probe::Ecdsa { digest, signature, .. } => {
                let Ok(ec) = key.ec_key() else { return false };
                EcdsaSig::from_der(signature).unwrap().verify(digest, &ec).unwrap()
            }
        }
    }

    #[test]
    fn only_the_same_key_answers() {
        let keys = [
            KeyPair::generate("a", Time::from_unix(0), 1).unwrap(),
            KeyPair::generate("b", Time::from_unix(0), 1).unwrap(),
            of_curve(Nid::X9_62_PRIME256V1),
            of_curve(Nid::X9_62_PRIME256V1),
            of_curve(Nid::SECP384R1),
            of_curve(Nid::SECP384R1),
        ];
        for asked in &keys {
            for _ in 0..3 {
                let probe = asked.certificate().probe().unwrap();
                assert_ne!(probe, asked.certificate().probe().unwrap(), "another question each time");
                for key in &keys {
                    let same = key.certificate_fingerprint() == asked.certificate_fingerprint();
                    assert_eq!(answers(&probe, key.certificate()), same);
                }
            }
        }
    }

    #[test]
    fn a_digest_is_as_long_as_its_algorithm_says() {
        for (curve, name, bytes) in [(Nid::X9_62_PRIME256V1, "sha256", 32), (Nid::SECP384R1, "sha384", 48)] {
            let Probe::Ecdsa { algorithm, digest, .. } = of_curve(curve).certificate().probe().unwrap()
            else {
                panic!("no ECDSA")
            };
            assert_eq!((algorithm.name(), digest.len()), (name, bytes));
        }
    }
}
