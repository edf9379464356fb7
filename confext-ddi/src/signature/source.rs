//! [`TrustSource`]: where it is said that a signer's signatures count.

use serde::{Deserialize, Serialize};

/// Where it is said that a signer's signatures count.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// use confext_ddi::signature::{Certificate, Certificates, TrustSource};
///
/// let path = "/etc/verity.d/vendor.crt".to_owned();
/// let certificate = Certificate::from_pem(&key.certificate_pem()?)?;
/// let fingerprint = certificate.fingerprint();
/// let mut trusted = Certificates::new(now);
/// trusted.add_from(certificate, TrustSource::File { path });
/// // Why does this signer count?
/// let source = trusted.source(&fingerprint).map(ToString::to_string);
/// assert_eq!(source.as_deref(), Some("file /etc/verity.d/vendor.crt"));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TrustSource {
    /// The caller passed the certificate.
    Caller,
    /// A file of the host has the certificate.
    File {
        /// Its path, inside the root.
        path: String,
    },
    /// A keyring of the kernel has the key, and the kernel checked the signature with it.
    Keyring {
        /// The keyring's description, like `.secondary_trusted_keys`.
        keyring: String,
        /// The key's description, like `vendor: 3fd5a234…`.
        key: String,
    },
}

impl std::fmt::Display for TrustSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller => f.write_str("the caller"),
            Self::File { path } => write!(f, "file {path}"),
            Self::Keyring { keyring, key } => write!(f, "key {key} in keyring {keyring}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_as_they_were_written() {
        let text = |source: &TrustSource| serde_json::to_string(source).unwrap();
        let (keyring, key) = (".dm-verity".to_owned(), "vendor: 3f".to_owned());
        for (source, json, shown) in [
            (TrustSource::Caller, r#"{"kind":"caller"}"#, "the caller"),
            (
                TrustSource::File { path: "/etc/verity.d/a.crt".into() },
                r#"{"kind":"file","path":"/etc/verity.d/a.crt"}"#,
                "file /etc/verity.d/a.crt",
            ),
            (
                TrustSource::Keyring { keyring, key },
                r#"{"kind":"keyring","keyring":".dm-verity","key":"vendor: 3f"}"#,
                "key vendor: 3f in keyring .dm-verity",
            ),
        ] {
            assert_eq!((text(&source).as_str(), source.to_string().as_str()), (json, shown));
            assert_eq!(serde_json::from_str::<TrustSource>(json).unwrap(), source);
        }
    }
}
