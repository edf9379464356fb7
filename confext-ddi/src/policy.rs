//! Image policy: parse, print, intersect, judge. The one gate.
//!
//! Policies are those of systemd: `root=signed:usr=verity+absent`. A policy says which protection each partition must
//! have; [`Policy::judge`] checks signature and hash tree and hands out an [`Admitted`] image, which nothing else can
//! make. The default policy is [`Policy::signed`].

mod admitted;
mod flags;

pub use admitted::{Admitted, Data, Evidence};
pub use flags::Protection;

use crate::error::{Refused, Result};
use crate::image::Image;
use crate::read::ReadAt;
use crate::signature::Verifier;

/// Which protection each partition of an image must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {}

impl Policy {
    /// Root and usr must be signed: the default.
    #[must_use]
    pub fn signed() -> Self {
        Self {}
    }

    /// Root and usr must be under a hash tree, signed or not.
    #[must_use]
    pub fn verity() -> Self {
        Self {}
    }

    /// Root and usr may be unprotected.
    #[must_use]
    pub fn unprotected() -> Self {
        Self {}
    }

    /// Parses a policy; nothing unknown is accepted.
    ///
    /// # Errors
    ///
    /// See the codes that start with `policy-`.
    pub fn parse(text: &str) -> Result<Self> {
        let _ = text;
        Ok(Self {})
    }

    /// The policy that admits what both admit.
    ///
    /// # Errors
    ///
    /// `policy-disjoint` when nothing satisfies both.
    pub fn intersect(&self, other: &Self) -> Result<Self> {
        let _ = other;
        Ok(Self {})
    }

    /// Checks what the image claims and admits it, or says why not.
    ///
    /// # Errors
    ///
    /// Family `unverified` when signature or hash tree do not check; family `refused` when the policy says no.
    pub fn judge<R: ReadAt>(&self, image: Image<R>, verifier: Option<&dyn Verifier>) -> Result<Admitted<R>> {
        let _ = (image, verifier);
        Err(Refused::Policy { designator: "root", found: "none", expected: String::new() }.into())
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::signed()
    }
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("*")
    }
}
