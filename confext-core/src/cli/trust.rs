//! The arguments that say whose signatures count and what an image must have.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use confext_ddi::dps::Designator;
use confext_ddi::limits::Limits;
use confext_ddi::policy::{KeyRules, Policy, Protection};
use confext_ddi::signature::{CertificateRules, Certificates, Verifier};

use super::failure::Failure;
use crate::admission::{self, Options};
use crate::error::Error;
use crate::host::Host;
use crate::trust::Trust;

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Accepts signatures of this certificate (PEM), besides those in verity.d of the system. Can be given again.
    #[arg(long, value_name = "FILE")]
    certificate: Vec<PathBuf>,
    /// What certificates must be like, besides being trusted, like usage=required,chain=issued; see docs/signatures.md.
    #[arg(long, value_name = "RULES", default_value_t, hide_default_value = true)]
    certificate_rules: CertificateRules,
    /// What an image must have: signed, verity, unprotected, a preset of systemd like @sysext, or an image policy like
    /// root=signed+absent:usr=signed+absent. Default: signed; for the extensions of a host what sysext.conf or confext.conf
    /// says, else signed.
    #[arg(long)]
    policy: Option<String>,
    /// Rules for which signer may sign which extensions; see docs/signatures.md.
    #[arg(long, value_name = "FILE")]
    key_rules: Option<PathBuf>,
}

impl Arguments {
    /// The policy, which is never weaker than what was asked for.
    pub(super) fn policy(&self) -> Result<Policy, Failure> {
        let Some(policy) = &self.policy else { return Ok(Policy::default()) };
        Policy::named(policy)
            .map_or_else(|| Policy::parse(policy), Ok)
            .map_err(|error| Failure::Argument { name: "--policy", error: error.into() })
    }

    /// The certificates whose signatures count now: those of the host, and those that were named.
    pub(super) fn certificates(&self, host: &Host) -> Result<Certificates, Failure> {
        let certificates = Trust::read(host, SystemTime::now())?.certificates;
        let mut certificates = certificates.rules(self.certificate_rules);
        for path in &self.certificate {
            let target = path.display().to_string();
            let failed = |error| Failure::Argument { name: "--certificate", error };
            let pem = std::fs::read(path).map_err(|source| failed(Error::os("read", &target, source)))?;
            certificates
                .add_pem_bundle(&pem)
                .map_err(|source| failed(Error::Image { image: target, source }))?;
        }
        Ok(certificates)
    }

    /// Whether there are rules for signers.
    pub(super) const fn has_key_rules(&self) -> bool {
        self.key_rules.is_some()
    }

    /// The rules for signers, if there are any.
    pub(super) fn key_rules(&self, limits: &Limits) -> Result<Option<KeyRules>, Failure> {
        let Some(path) = &self.key_rules else { return Ok(None) };
        let failed = |error| Failure::Argument { name: "--key-rules", error };
        let target = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| failed(Error::os("read", &target, source)))?;
        let rules = KeyRules::parse(&text, limits);
        rules.map(Some).map_err(|source| failed(Error::Image { image: target, source }))
    }

    /// Policy, trust and rules of a merge. The policy of the configuration is for where no other was asked for.
    pub(super) fn options(&self, host: &Host, configured: Option<Policy>) -> Result<Options, Failure> {
        let (policy, certificates) = (self.policy()?, self.certificates(host)?);
        let policy = configured.filter(|_| self.policy.is_none()).unwrap_or(policy);
        let trust = match verifier(&policy, &certificates) {
            Some(_) => admission::Trust::Verifier(Arc::new(certificates)),
            None => admission::Trust::Nobody,
        };
        let mut options = Options { policy, trust, ..Options::default() };
        options.key_rules = self.key_rules(&options.limits)?.map(Arc::new);
        Ok(options)
    }
}

/// Who checks signatures. Nobody, when there is no certificate and the policy is content with less than a signature.
pub(super) fn verifier<'a>(policy: &Policy, certificates: &'a Certificates) -> Option<&'a dyn Verifier> {
    let content =
        [Designator::Root, Designator::Usr].iter().any(|part| policy.admits(*part, Protection::Verity));
    (!certificates.is_empty() || !content).then_some(certificates)
}
