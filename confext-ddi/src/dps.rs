//! Discoverable Partitions: type GUID to designator and architecture, attribute flags.
//!
//! *Spec*: UAPI.2, Discoverable Partitions Specification 1.0.

pub use crate::gpt::Attributes;

use crate::error::{Corrupt, Error, Result};
use crate::id::{Guid, Uuid};
use serde::Serialize;

/// What a partition is for. The order is the one policies and listings follow.
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

const PLAIN_TYPES: [(Designator, u128); 9] = [
    (Designator::Home, 0x933ac7e1_2eb4_4f13_b844_0e14e2aef915),
    (Designator::Srv, 0x3b8f8425_20e0_4f3b_907f_1a25a76f98e8),
    (Designator::Esp, 0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b),
    (Designator::Xbootldr, 0xbc13c2ff_59e6_4262_a352_b275fd6f7172),
    (Designator::Swap, 0x0657fd6d_a4ab_43c4_84e5_0933c84b4f4f),
    (Designator::Tmp, 0x7ec6f557_3bc5_4aca_b293_16ef5df639d1),
    (Designator::Var, 0x4d21b016_b534_45c2_a9fb_5c16e091fd2d),
    (Designator::UserHome, 0x773f91ef_66d4_49b5_bd83_d683bf40ad16),
    (Designator::LinuxGeneric, 0x0fc63daf_8483_4772_8e79_3d69d8477de4),
];

/// The designators of each row of [`ARCHITECTURE_TYPES`].
const ARCHITECTURE_DESIGNATORS: [Designator; 6] = [
    Designator::Root,
    Designator::RootVerity,
    Designator::RootVeritySig,
    Designator::Usr,
    Designator::UsrVerity,
    Designator::UsrVeritySig,
];

const ARCHITECTURE_TYPES: [(Architecture, [u128; 6]); 21] = [
    (
        Architecture::Alpha,
        [
            0x6523f8ae_3eb1_4e2a_a05a_18b695ae656f,
            0xfc56d9e9_e6e5_4c06_be32_e74407ce09a5,
            0xd46495b7_a053_414f_80f7_700c99921ef8,
            0xe18cf08c_33ec_4c0d_8246_c6c6fb3da024,
            0x8cce0d25_c0d0_4a44_bd87_46331bf1df67,
            0x5c6e1c76_076a_457a_a0fe_f3b4cd21ce6e,
        ],
    ),
    (
        Architecture::Arc,
        [
            0xd27f46ed_2919_4cb8_bd25_9531f3c16534,
            0x24b2d975_0f97_4521_afa1_cd531e421b8d,
            0x143a70ba_cbd3_4f06_919f_6c05683a78bc,
            0x7978a683_6316_4922_bbee_38bff5a2fecc,
            0xfca0598c_d880_4591_8c16_4eda05c7347c,
            0x94f9a9a1_9971_427a_a400_50cb297f0f35,
        ],
    ),
    (
        Architecture::Arm,
        [
            0x69dad710_2ce4_4e3c_b16c_21a1d49abed3,
            0x7386cdf2_203c_47a9_a498_f2ecce45a2d6,
            0x42b0455f_eb11_491d_98d3_56145ba9d037,
            0x7d0359a3_02b3_4f0a_865c_654403e70625,
            0xc215d751_7bcd_4649_be90_6627490a4c05,
            0xd7ff812f_37d1_4902_a810_d76ba57b975a,
        ],
    ),
    (
        Architecture::Arm64,
        [
            0xb921b045_1df0_41c3_af44_4c6f280d3fae,
            0xdf3300ce_d69f_4c92_978c_9bfb0f38d820,
            0x6db69de6_29f4_4758_a7a5_962190f00ce3,
            0xb0e01050_ee5f_4390_949a_9101b17104e9,
            0x6e11a4e7_fbca_4ded_b9e9_e1a512bb664e,
            0xc23ce4ff_44bd_4b00_b2d4_b41b3419e02a,
        ],
    ),
    (
        Architecture::Ia64,
        [
            0x993d8d3d_f80e_4225_855a_9daf8ed7ea97,
            0x86ed10d5_b607_45bb_8957_d350f23d0571,
            0xe98b36ee_32ba_4882_9b12_0ce14655f46a,
            0x4301d2a6_4e3b_4b2a_bb94_9e0b2c4225ea,
            0x6a491e03_3be7_4545_8e38_83320e0ea880,
            0x8de58bc2_2a43_460d_b14e_a76e4a17b47f,
        ],
    ),
    (
        Architecture::LoongArch64,
        [
            0x77055800_792c_4f94_b39a_98c91b762bb6,
            0xf3393b22_e9af_4613_a948_9d3bfbd0c535,
            0x5afb67eb_ecc8_4f85_ae8e_ac1e7c50e7d0,
            0xe611c702_575c_4cbe_9a46_434fa0bf7e3f,
            0xf46b2c26_59ae_48f0_9106_c50ed47f673d,
            0xb024f315_d330_444c_8461_44bbde524e99,
        ],
    ),
    (
        Architecture::Mips,
        [
            0xe9434544_6e2c_47cc_bae2_12d6deafb44c,
            0x7a430799_f711_4c7e_8e5b_1d685bd48607,
            0xbba210a2_9c5d_45ee_9e87_ff2ccbd002d0,
            0x773b2abc_2a99_4398_8bf5_03baac40d02b,
            0x6e5a1bc8_d223_49b7_bca8_37a5fcceb996,
            0x97ae158d_f216_497b_8057_f7f905770f54,
        ],
    ),
    (
        Architecture::MipsLe,
        [
            0x37c58c8a_d913_4156_a25f_48b1b64e07f0,
            0xd7d150d2_2a04_4a33_8f12_16651205ff7b,
            0xc919cc1f_4456_4eff_918c_f75e94525ca5,
            0x0f4868e9_9952_4706_979f_3ed3a473e947,
            0x46b98d8d_b55c_4e8f_aab3_37fca7f80752,
            0x3e23ca0b_a4bc_4b4e_8087_5ab6a26aa8a9,
        ],
    ),
    (
        Architecture::Mips64,
        [
            0xd113af76_80ef_41b4_bdb6_0cff4d3d4a25,
            0x579536f8_6a33_4055_a95a_df2d5e2c42a8,
            0x43ce94d4_0f3d_4999_8250_b9deafd98e6e,
            0x57e13958_7331_4365_8e6e_35eeee17c61b,
            0x81cf9d90_7458_4df4_8dcf_c8a3a404f09b,
            0x05816ce2_dd40_4ac6_a61d_37d32dc1ba7d,
        ],
    ),
    (
        Architecture::Mips64Le,
        [
            0x700bda43_7a34_4507_b179_eeb93d7a7ca3,
            0x16b417f8_3e06_4f57_8dd2_9b5232f41aa6,
            0x904e58ef_5c65_4a31_9c57_6af5fc7c5de7,
            0xc97c1f32_ba06_40b4_9f22_236061b08aa8,
            0x3c3d61fe_b5f3_414d_bb71_8739a694a4ef,
            0xf2c2c7ee_adcc_4351_b5c6_ee9816b66e16,
        ],
    ),
    (
        Architecture::Parisc,
        [
            0x1aacdb3b_5444_4138_bd9e_e5c2239b2346,
            0xd212a430_fbc5_49f9_a983_a7feef2b8d0e,
            0x15de6170_65d3_431c_916e_b0dcd8393f25,
            0xdc4a4480_6917_4262_a4ec_db9384949f25,
            0x5843d618_ec37_48d7_9f12_cea8e08768b2,
            0x450dd7d1_3224_45ec_9cf2_a43a346d71ee,
        ],
    ),
    (
        Architecture::Ppc,
        [
            0x1de3f1ef_fa98_47b5_8dcd_4a860a654d78,
            0x98cfe649_1588_46dc_b2f0_add147424925,
            0x1b31b5aa_add9_463a_b2ed_bd467fc857e7,
            0x7d14fec5_cc71_415d_9d6c_06bf0b3c3eaf,
            0xdf765d00_270e_49e5_bc75_f47bb2118b09,
            0x7007891d_d371_4a80_86a4_5cb875b9302e,
        ],
    ),
    (
        Architecture::Ppc64,
        [
            0x912ade1d_a839_4913_8964_a10eee08fbd2,
            0x9225a9a3_3c19_4d89_b4f6_eeff88f17631,
            0xf5e2c20c_45b2_4ffa_bce9_2a60737e1aaf,
            0x2c9739e2_f068_46b3_9fd0_01c5a9afbcca,
            0xbdb528a5_a259_475f_a87d_da53fa736a07,
            0x0b888863_d7f8_4d9e_9766_239fce4d58af,
        ],
    ),
    (
        Architecture::Ppc64Le,
        [
            0xc31c45e6_3f39_412e_80fb_4809c4980599,
            0x906bd944_4589_4aae_a4e4_dd983917446a,
            0xd4a236e7_e873_4c07_bf1d_bf6cf7f1c3c6,
            0x15bb03af_77e7_4d4a_b12b_c0d084f7491c,
            0xee2b9983_21e8_4153_86d9_b6901a54d1ce,
            0xc8bfbd1e_268e_4521_8bba_bf314c399557,
        ],
    ),
    (
        Architecture::Riscv32,
        [
            0x60d5a7fe_8e7d_435c_b714_3dd8162144e1,
            0xae0253be_1167_4007_ac68_43926c14c5de,
            0x3a112a75_8729_4380_b4cf_764d79934448,
            0xb933fb22_5c3f_4f91_af90_e2bb0fa50702,
            0xcb1ee4e3_8cd0_4136_a0a4_aa61a32e8730,
            0xc3836a13_3137_45ba_b583_b16c50fe5eb4,
        ],
    ),
    (
        Architecture::Riscv64,
        [
            0x72ec70a6_cf74_40e6_bd49_4bda08e8f224,
            0xb6ed5582_440b_4209_b8da_5ff7c419ea3d,
            0xefe0f087_ea8d_4469_821a_4c2a96a8386a,
            0xbeaec34b_8442_439b_a40b_984381ed097d,
            0x8f1056be_9b05_47c4_81d6_be53128e5b54,
            0xd2f9000a_7a18_453f_b5cd_4d32f77a7b32,
        ],
    ),
    (
        Architecture::S390,
        [
            0x08a7acea_624c_4a20_91e8_6e0fa67d23f9,
            0x7ac63b47_b25c_463b_8df8_b4a94e6c90e1,
            0x3482388e_4254_435a_a241_766a065f9960,
            0xcd0f869b_d0fb_4ca0_b141_9ea87cc78d66,
            0xb663c618_e7bc_4d6d_90aa_11b756bb1797,
            0x17440e4f_a8d0_467f_a46e_3912ae6ef2c5,
        ],
    ),
    (
        Architecture::S390x,
        [
            0x5eead9a9_fe09_4a1e_a1d7_520d00531306,
            0xb325bfbe_c7be_4ab8_8357_139e652d2f6b,
            0xc80187a5_73a3_491a_901a_017c3fa953e9,
            0x8a4f5770_50aa_4ed3_874a_99b710db6fea,
            0x31741cc4_1a2a_4111_a581_e00b447d2d06,
            0x3f324816_667b_46ae_86ee_9b0c0c6c11b4,
        ],
    ),
    (
        Architecture::TileGx,
        [
            0xc50cdd70_3862_4cc3_90e1_809a8c93ee2c,
            0x966061ec_28e4_4b2e_b4a5_1f0a825a1d84,
            0xb3671439_97b0_4a53_90f7_2d5a8f3ad47b,
            0x55497029_c7c1_44cc_aa39_815ed1558630,
            0x2fb4bf56_07fa_42da_8132_6b139f2026ae,
            0x4ede75e2_6ccc_4cc8_b9c7_70334b087510,
        ],
    ),
    (
        Architecture::X86,
        [
            0x44479540_f297_41b2_9af7_d131d5f0458a,
            0xd13c5d3b_b5d1_422a_b29f_9454fdc89d76,
            0x5996fc05_109c_48de_808b_23fa0830b676,
            0x75250d76_8cc6_458e_bd66_bd47cc81a812,
            0x8f461b0d_14ee_4e81_9aa9_049b6fb97abd,
            0x974a71c0_de41_43c3_be5d_5c5ccd1ad2c0,
        ],
    ),
    (
        Architecture::X86_64,
        [
            0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709,
            0x2c7357ed_ebd2_46d9_aec1_23d437ec2bf5,
            0x41092b05_9fc8_4523_994f_2def0408b176,
            0x8484680c_9521_48c6_9c11_b0720656f69e,
            0x77ff5f63_e7b6_4633_acf4_1565b864c0e6,
            0xe7bb33fb_06cf_4e81_8273_e543b413e2e2,
        ],
    ),
];

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
