//! The arguments that say whose signatures count and what an image must have.

mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use confext_ddi::dps::Designator;
use confext_ddi::limits::Limits;
use confext_ddi::policy::{KeyRules, Policy, Protection};
use confext_ddi::signature::{CertificateRules, Certificates, Time, Verifier};

use super::failure::Failure;
use crate::admission::{self, Options};
use crate::error::Error;
use crate::host::Host;
use crate::trust::{Source, Sources};

pub(super) use report::{Arguments as ReportArguments, run};

/// Whose signatures count.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct SourceArguments {
    /// Accepts signatures of this certificate (PEM), besides those of the sources. Can be given again.
    #[arg(long, value_name = "FILE")]
    certificate: Vec<PathBuf>,
    /// What certificates must be like, besides being trusted, like usage=required,chain=issued; see docs/signatures.md.
    #[arg(long, value_name = "RULES", default_value_t, hide_default_value = true)]
    certificate_rules: CertificateRules,
    /// Whose signatures count: those of the certificates in verity.d of the system, of those for images in its VOA hierarchy, of
    /// the keys in the keyrings that the kernel's dm-verity uses, or of several, in this order. See docs/trust.md.
    #[arg(long, value_name = "SOURCES", value_delimiter = ',', default_value = "certificates")]
    trust: Vec<Named>,
    /// With --trust voa: the context of the certificates.
    #[arg(long, value_name = "CONTEXT", default_value = "default")]
    voa_context: String,
    /// Accepts signatures of the keys in this keyring of the kernel, by its name or number, too. Can be given again.
    #[arg(long, value_name = "KEYRING")]
    trust_keyring: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Named {
    Certificates,
    Voa,
    Keyrings,
}

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    sources: SourceArguments,
    /// What an image must have: signed, verity, unprotected, a preset of systemd like @sysext, or an image policy like
    /// root=signed+absent:usr=signed+absent. Default: signed; for the extensions of a host what sysext.conf or confext.conf
    /// says, else signed.
    #[arg(long)]
    policy: Option<String>,
    /// Rules for which signer may sign which extensions; see docs/signatures.md.
    #[arg(long, value_name = "FILE")]
    key_rules: Option<PathBuf>,
}

impl SourceArguments {
    /// The sources in their order, and the certificates that were named.
    fn sources(&self) -> Result<Sources, Failure> {
        let mut passed = Certificates::new(Time::from(SystemTime::now()));
        for path in &self.certificate {
            let target = path.display().to_string();
            let failed = |error| Failure::Argument { name: "--certificate", error };
            let pem = std::fs::read(path).map_err(|source| failed(Error::os("read", &target, source)))?;
            passed.add_pem_bundle(&pem).map_err(|source| failed(Error::Image { image: target, source }))?;
        }
        let named = self.trust.iter().map(|named| match named {
            Named::Certificates => Source::Certificates,
            Named::Voa => Source::Voa { context: self.voa_context.clone() },
            Named::Keyrings => Source::Keyrings,
        });
        let keyrings = self.trust_keyring.iter().map(|name| Source::Keyring { name: name.clone() });
        Ok(Sources::new(named.chain(keyrings)).passed(&passed).rules(self.certificate_rules))
    }
}

impl Arguments {
    /// The policy, which is never weaker than what was asked for.
    pub(super) fn policy(&self) -> Result<Policy, Failure> {
        let Some(policy) = &self.policy else { return Ok(Policy::default()) };
        Policy::named(policy)
            .map_or_else(|| Policy::parse(policy), Ok)
            .map_err(|error| Failure::Argument { name: "--policy", error: error.into() })
    }

    /// Who checks signatures now. Nobody, when no source has anything and the policy is content with less than a signature.
    pub(super) fn verifier(
        &self,
        host: &Host,
        policy: &Policy,
    ) -> Result<Option<Arc<dyn Verifier>>, Failure> {
        let opened = self.sources.sources()?.open(host, SystemTime::now())?;
        let content =
            [Designator::Root, Designator::Usr].iter().any(|part| policy.admits(*part, Protection::Verity));
        Ok((!opened.is_empty() || !content).then(|| opened.shared()))
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
        let policy = self.policy()?;
        let policy = configured.filter(|_| self.policy.is_none()).unwrap_or(policy);
        let trust = match self.verifier(host, &policy)? {
            Some(verifier) => admission::Trust::Verifier(verifier),
            None => admission::Trust::Nobody,
        };
        let mut options = Options { policy, trust, ..Options::default() };
        options.key_rules = self.key_rules(&options.limits)?.map(Arc::new);
        Ok(options)
    }
}
