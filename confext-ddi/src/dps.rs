//! Discoverable Partitions: type GUID to designator and architecture, attribute flags.
//!
//! *Spec*: UAPI.2, Discoverable Partitions Specification 1.0.

mod types;

pub use crate::gpt::Attributes;

use crate::error::{Corrupt, Error, Result};
use crate::id::{Guid, Uuid};
use serde::Serialize;
use types::{ARCHITECTURE_DESIGNATORS, ARCHITECTURE_TYPES, PLAIN_TYPES};

/// What a partition is for. The order is the one policies and listings follow.
///
/// ```
/// use confext_ddi::dps::Designator;
///
/// assert_eq!(Designator::from_name("root"), Some(Designator::Root));
/// assert_eq!(Designator::Root.verity().map(Designator::as_str), Some("root-verity"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Designator {
    /// The root file system.
    Root,
    /// The `/usr` file system.
    Usr,
    /// `/home`.
    Home,
    /// `/srv`.
    Srv,
    /// The EFI system partition.
    Esp,
    /// The extended boot loader partition.
    Xbootldr,
    /// Swap space.
    Swap,
    /// The hash tree of the root file system.
    RootVerity,
    /// The hash tree of `/usr`.
    UsrVerity,
    /// The signature of the root file system's root hash.
    RootVeritySig,
    /// The signature of the root hash of `/usr`.
    UsrVeritySig,
    /// `/var/tmp`.
    Tmp,
    /// `/var`.
    Var,
    /// A home directory of one user.
    UserHome,
    /// Some Linux file system, for nothing in particular.
    LinuxGeneric,
}

impl Designator {
    /// All of them, in order.
    pub const ALL: [Self; 15] = [
        Self::Root,
        Self::Usr,
        Self::Home,
        Self::Srv,
        Self::Esp,
        Self::Xbootldr,
        Self::Swap,
        Self::RootVerity,
        Self::UsrVerity,
        Self::RootVeritySig,
        Self::UsrVeritySig,
        Self::Tmp,
        Self::Var,
        Self::UserHome,
        Self::LinuxGeneric,
    ];

    /// Its name, as policies and partition labels spell it: `root-verity-sig`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Usr => "usr",
            Self::Home => "home",
            Self::Srv => "srv",
            Self::Esp => "esp",
            Self::Xbootldr => "xbootldr",
            Self::Swap => "swap",
            Self::RootVerity => "root-verity",
            Self::UsrVerity => "usr-verity",
            Self::RootVeritySig => "root-verity-sig",
            Self::UsrVeritySig => "usr-verity-sig",
            Self::Tmp => "tmp",
            Self::Var => "var",
            Self::UserHome => "user-home",
            Self::LinuxGeneric => "linux-generic",
        }
    }

    /// Looks a designator up by its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|designator| designator.as_str() == name)
    }

    /// The designator of the hash tree that protects this partition: of root and usr only.
    #[must_use]
    pub const fn verity(self) -> Option<Self> {
        match self {
            Self::Root => Some(Self::RootVerity),
            Self::Usr => Some(Self::UsrVerity),
            _ => None,
        }
    }

    /// The designator of the signature that protects this partition: of root and usr only.
    #[must_use]
    pub const fn verity_sig(self) -> Option<Self> {
        match self {
            Self::Root => Some(Self::RootVeritySig),
            Self::Usr => Some(Self::UsrVeritySig),
            _ => None,
        }
    }

    /// The designator of the file system that this hash tree or signature protects.
    #[must_use]
    pub const fn protects(self) -> Option<Self> {
        match self {
            Self::RootVerity | Self::RootVeritySig => Some(Self::Root),
            Self::UsrVerity | Self::UsrVeritySig => Some(Self::Usr),
            _ => None,
        }
    }

    /// Whether its partition types name an architecture.
    #[must_use]
    pub const fn has_architecture(self) -> bool {
        matches!(self, Self::Root | Self::Usr) || self.protects().is_some()
    }
}

impl std::fmt::Display for Designator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A processor architecture that has partition types.
///
/// ```
/// use confext_ddi::dps::Architecture;
///
/// let architecture: Architecture = "x86-64".parse()?;
/// assert_eq!(architecture.secondary(), Some(Architecture::X86));
/// // The kernel's name for it is another one.
/// assert_eq!("x86_64".parse::<Architecture>().unwrap_err().code(), "architecture-name");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// DEC Alpha.
    Alpha,
    /// ARC.
    Arc,
    /// 32-bit Arm, little-endian.
    Arm,
    /// 64-bit Arm, little-endian.
    Arm64,
    /// Itanium.
    Ia64,
    /// 64-bit LoongArch.
    LoongArch64,
    /// 32-bit MIPS, big-endian.
    Mips,
    /// 32-bit MIPS, little-endian.
    MipsLe,
    /// 64-bit MIPS, big-endian.
    Mips64,
    /// 64-bit MIPS, little-endian.
    Mips64Le,
    /// HPPA.
    Parisc,
    /// 32-bit PowerPC.
    Ppc,
    /// 64-bit PowerPC, big-endian.
    Ppc64,
    /// 64-bit PowerPC, little-endian.
    Ppc64Le,
    /// 32-bit RISC-V.
    Riscv32,
    /// 64-bit RISC-V.
    Riscv64,
    /// 31-bit IBM Z.
    S390,
    /// 64-bit IBM Z.
    S390x,
    /// TILE-Gx.
    TileGx,
    /// 32-bit x86.
    X86,
    /// 64-bit x86.
    X86_64,
}

impl Architecture {
    /// All of them, by name.
    pub const ALL: [Self; 21] = [
        Self::Alpha,
        Self::Arc,
        Self::Arm,
        Self::Arm64,
        Self::Ia64,
        Self::LoongArch64,
        Self::Mips,
        Self::MipsLe,
        Self::Mips64,
        Self::Mips64Le,
        Self::Parisc,
        Self::Ppc,
        Self::Ppc64,
        Self::Ppc64Le,
        Self::Riscv32,
        Self::Riscv64,
        Self::S390,
        Self::S390x,
        Self::TileGx,
        Self::X86,
        Self::X86_64,
    ];

    /// Its name, as release files and partition labels spell it: `x86-64`, `arm64`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alpha => "alpha",
            Self::Arc => "arc",
            Self::Arm => "arm",
            Self::Arm64 => "arm64",
            Self::Ia64 => "ia64",
            Self::LoongArch64 => "loongarch64",
            Self::Mips => "mips",
            Self::MipsLe => "mips-le",
            Self::Mips64 => "mips64",
            Self::Mips64Le => "mips64-le",
            Self::Parisc => "parisc",
            Self::Ppc => "ppc",
            Self::Ppc64 => "ppc64",
            Self::Ppc64Le => "ppc64-le",
            Self::Riscv32 => "riscv32",
            Self::Riscv64 => "riscv64",
            Self::S390 => "s390",
            Self::S390x => "s390x",
            Self::TileGx => "tilegx",
            Self::X86 => "x86",
            Self::X86_64 => "x86-64",
        }
    }

    /// The architecture this program was built for, if it has partition types.
    #[must_use]
    pub const fn of_build() -> Option<Self> {
        let little = cfg!(target_endian = "little");
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "x86") {
            Some(Self::X86)
        } else if cfg!(target_arch = "aarch64") && little {
            Some(Self::Arm64)
        } else if cfg!(target_arch = "arm") && little {
            Some(Self::Arm)
        } else if cfg!(target_arch = "riscv64") {
            Some(Self::Riscv64)
        } else if cfg!(target_arch = "riscv32") {
            Some(Self::Riscv32)
        } else if cfg!(target_arch = "loongarch64") {
            Some(Self::LoongArch64)
        } else if cfg!(target_arch = "s390x") {
            Some(Self::S390x)
        } else if cfg!(target_arch = "powerpc64") {
            Some(if little { Self::Ppc64Le } else { Self::Ppc64 })
        } else if cfg!(target_arch = "powerpc") && !little {
            Some(Self::Ppc)
        } else if cfg!(any(target_arch = "mips64", target_arch = "mips64r6")) {
            Some(if little { Self::Mips64Le } else { Self::Mips64 })
        } else if cfg!(any(target_arch = "mips", target_arch = "mips32r6")) {
            Some(if little { Self::MipsLe } else { Self::Mips })
        } else {
            None
        }
    }

    /// The architecture whose programs a kernel of this one usually runs too: x86 under x86-64, arm under arm64.
    #[must_use]
    pub const fn secondary(self) -> Option<Self> {
        match self {
            Self::X86_64 => Some(Self::X86),
            Self::Arm64 => Some(Self::Arm),
            Self::S390x => Some(Self::S390),
            Self::Ppc64 => Some(Self::Ppc),
            Self::Mips64 => Some(Self::Mips),
            Self::Mips64Le => Some(Self::MipsLe),
            _ => None,
        }
    }
}

impl std::str::FromStr for Architecture {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|architecture| architecture.as_str() == name);
        found.ok_or_else(|| Corrupt::ArchitectureName { found: name.chars().take(32).collect() }.into())
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Architecture {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a partition type GUID stands for.
///
/// ```
/// use confext_ddi::dps::{Architecture, Designator, PartitionType};
///
/// let kind = PartitionType::from_guid("4f68bce3-e8cd-4db1-96e7-fbcaf984b709".parse()?);
/// let root = PartitionType { designator: Designator::Root, architecture: Some(Architecture::X86_64) };
/// assert_eq!(kind, Some(root));
/// // There is no root partition for every architecture.
/// assert_eq!(PartitionType { architecture: None, ..root }.to_guid(), None);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PartitionType {
    /// What the partition is for.
    pub designator: Designator,
    /// For which architecture; `None` for designators that have none.
    pub architecture: Option<Architecture>,
}

impl PartitionType {
    /// Looks a type GUID up; `None` when UAPI.2 does not know it.
    #[must_use]
    pub fn from_guid(guid: Guid) -> Option<Self> {
        let wanted = u128::from_be_bytes(guid.to_uuid().to_bytes());
        for (designator, type_uuid) in PLAIN_TYPES {
            if type_uuid == wanted {
                return Some(Self { designator, architecture: None });
            }
        }
        for (architecture, types) in &ARCHITECTURE_TYPES {
            for (designator, type_uuid) in ARCHITECTURE_DESIGNATORS.into_iter().zip(types) {
                if *type_uuid == wanted {
                    return Some(Self { designator, architecture: Some(*architecture) });
                }
            }
        }
        None
    }

    /// The type GUID; `None` when the designator needs an architecture and there is none, or the other way round.
    #[must_use]
    pub fn to_guid(self) -> Option<Guid> {
        let found = match self.architecture {
            None => PLAIN_TYPES.into_iter().find(|(designator, _)| *designator == self.designator)?.1,
            Some(wanted) => {
                let (_, types) =
                    ARCHITECTURE_TYPES.iter().find(|(architecture, _)| *architecture == wanted)?;
                let mut pairs = ARCHITECTURE_DESIGNATORS.into_iter().zip(types);
                *pairs.find(|(designator, _)| *designator == self.designator)?.1
            }
        };
        Some(Uuid::from_bytes(found.to_be_bytes()).to_guid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_maps_to_a_guid_and_back() {
        let mut seen = std::collections::BTreeSet::new();
        for designator in Designator::ALL {
            let architectures: Vec<Option<Architecture>> = match designator.has_architecture() {
                true => Architecture::ALL.into_iter().map(Some).collect(),
                false => vec![None],
            };
            for architecture in architectures {
                let of = PartitionType { designator, architecture };
                let guid = of.to_guid().unwrap();
                assert!(seen.insert(guid), "{guid} stands for two types");
                assert_eq!(PartitionType::from_guid(guid), Some(of));
            }
            let wrong = (!designator.has_architecture()).then_some(Architecture::Arm);
            assert_eq!(PartitionType { designator, architecture: wrong }.to_guid(), None);
            assert_eq!(Designator::from_name(designator.as_str()), Some(designator));
        }
        assert_eq!(seen.len(), 21 * 6 + 9);
        assert_eq!(PartitionType::from_guid(Guid::ZERO), None);
    }

    #[test]
    fn known_answers() {
        for (text, designator, architecture) in [
            ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", Designator::Root, Some(Architecture::X86_64)),
            ("c23ce4ff-44bd-4b00-b2d4-b41b3419e02a", Designator::UsrVeritySig, Some(Architecture::Arm64)),
            ("f3393b22-e9af-4613-a948-9d3bfbd0c535", Designator::RootVerity, Some(Architecture::LoongArch64)),
            ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", Designator::Esp, None),
            ("7ec6f557-3bc5-4aca-b293-16ef5df639d1", Designator::Tmp, None),
        ] {
            let guid: Guid = text.parse().unwrap();
            assert_eq!(PartitionType::from_guid(guid), Some(PartitionType { designator, architecture }));
        }
    }

    #[test]
    fn names_of_architectures() {
        for architecture in Architecture::ALL {
            assert_eq!(architecture.as_str().parse::<Architecture>().unwrap(), architecture);
        }
        assert_eq!("X86-64".parse::<Architecture>().unwrap_err().code(), "architecture-name");
    }

    #[test]
    fn protection_is_looked_up_both_ways() {
        for data in [Designator::Root, Designator::Usr] {
            assert_eq!(data.verity().unwrap().protects(), Some(data));
            assert_eq!(data.verity_sig().unwrap().protects(), Some(data));
        }
        assert_eq!((Designator::Home.verity(), Designator::Home.protects()), (None, None));
    }
}
