//! Policies by name: those of systemd, and the three that most callers want.

use super::{Policy, Protection, Rule, Use};
use crate::dps::Designator;
use serde::Serialize;

/// A policy that systemd uses where it is told none. Each but the strict ones lets unprotected file systems in.
///
/// ```
/// use confext_ddi::policy::Policy;
///
/// let sysext = Policy::named("@sysext").ok_or("a preset of systemd")?;
/// println!("{sysext}");
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Preset {
    /// System extensions: root and usr.
    Sysext,
    /// System extensions from an untrusted place: root and usr, signed.
    SysextStrict,
    /// Configuration extensions: root only.
    Confext,
    /// Configuration extensions from an untrusted place: root only, signed.
    ConfextStrict,
    /// Services with `RootImage=`: root, usr, home, srv, tmp and var.
    Service,
    /// Portable services. systemd reads their images by the policy for services.
    Portable,
    /// Containers: as services, with the boot partitions.
    Container,
    /// The host's own disk: as containers, with swap.
    Host,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Sysext,
        Self::SysextStrict,
        Self::Confext,
        Self::ConfextStrict,
        Self::Service,
        Self::Portable,
        Self::Container,
        Self::Host,
    ];

    /// Its name, as `systemd-analyze image-policy @NAME` takes it (which has none for portable services).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sysext => "sysext",
            Self::SysextStrict => "sysext-strict",
            Self::Confext => "confext",
            Self::ConfextStrict => "confext-strict",
            Self::Service => "service",
            Self::Portable => "portable",
            Self::Container => "container",
            Self::Host => "host",
        }
    }

    /// Its policy.
    #[must_use]
    pub fn policy(self) -> Policy {
        use Designator::{Esp, Home, Root, Srv, Swap, Tmp, Usr, Var, Xbootldr};
        let plain = Rule::only_use(Use::Unprotected).or(Use::Absent);
        let encrypted = plain.or(Use::Encrypted).or(Use::EncryptedWithIntegrity);
        let any = encrypted.or(Use::Verity).or(Use::Signed);
        let signed = Rule::signed().or(Use::Absent);
        let (rule, data, others, boot): (_, &[_], &[_], &[_]) = match self {
            Self::Sysext => (any, &[Root, Usr], &[], &[]),
            Self::SysextStrict => (signed, &[Root, Usr], &[], &[]),
            Self::Confext => (any, &[Root], &[], &[]),
            Self::ConfextStrict => (signed, &[Root], &[], &[]),
            Self::Service | Self::Portable => (any, &[Root, Usr], &[Home, Srv, Tmp, Var], &[]),
            Self::Container => (any, &[Root, Usr], &[Home, Srv, Tmp, Var], &[Esp, Xbootldr]),
            Self::Host => (any, &[Root, Usr], &[Home, Srv, Tmp, Var, Swap], &[Esp, Xbootldr]),
        };
        let all = [(data, rule), (others, encrypted), (boot, plain)];
        let rules = all.into_iter().flat_map(|(parts, rule)| parts.iter().map(move |part| (*part, rule.0)));
        Policy { rules: rules.collect(), default: Rule::ignore().0 }
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Policy {
    /// Root and usr must be signed by a trusted key: the default.
    #[must_use]
    pub fn signed() -> Self {
        Self::of_data(Protection::Signed)
    }

    /// Root and usr must be under a hash tree; where they are signed and a verifier is passed, by a trusted key.
    #[must_use]
    pub fn verity() -> Self {
        Self::of_data(Protection::Verity)
    }

    /// Root and usr may be unprotected; where they are protected, the protection must check.
    #[must_use]
    pub fn unprotected() -> Self {
        Self::of_data(Protection::None)
    }

    fn of_data(least: Protection) -> Self {
        let Rule(flags) = Rule::least(least).or(Use::Absent);
        let rules = [(Designator::Root, flags), (Designator::Usr, flags)];
        Self { rules: rules.into(), default: Rule::ignore().0 }
    }

    /// A policy by name: `signed`, `verity`, `unprotected`, or `@` and the name of a [`Preset`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "signed" => Some(Self::signed()),
            "verity" => Some(Self::verity()),
            "unprotected" => Some(Self::unprotected()),
            _ => {
                let name = name.strip_prefix('@')?;
                Preset::ALL.into_iter().find(|preset| preset.as_str() == name).map(Preset::policy)
            }
        }
    }
}
