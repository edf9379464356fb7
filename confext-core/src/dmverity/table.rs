//! What dm-verity is told, as text for the kernel and back, and when a device that is there is as good as a new one.

use confext_ddi::RootHash;
use confext_ddi::verity::{Geometry, HashType};

use serde::{Deserialize, Serialize};

use crate::loopdev::DeviceNumber;

/// The driver's name.
pub(super) const KIND: &str = "verity";

/// What to do when a block is not what the root hash says.
///
/// ```
/// use confext_core::{Options, attach::BlockChecks, dmverity::Corruption};
///
/// // A merge whose images take the machine down rather than read on: for a watchdog that boots another system then.
/// let mut options = Options::default();
/// options.checks = BlockChecks::default().corruption(Corruption::Panic);
/// assert_eq!(options.checks.corruption.as_str(), "panic");
/// assert_eq!(Corruption::default(), Corruption::Fail);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Corruption {
    /// Reading the block fails.
    #[default]
    Fail,
    /// The machine restarts.
    Restart,
    /// The kernel panics (Linux 5.9).
    Panic,
}

impl Corruption {
    /// As it is written: `fail`, `restart` or `panic`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Restart => "restart",
            Self::Panic => "panic",
        }
    }

    const fn word(self) -> Option<&'static str> {
        match self {
            Self::Fail => None,
            Self::Restart => Some("restart_on_corruption"),
            Self::Panic => Some("panic_on_corruption"),
        }
    }
}

/// What to do about blocks whose digest is that of zeros.
///
/// ```
/// use confext_core::{attach::BlockChecks, dmverity::ZeroBlocks};
///
/// // An image that is mostly empty is read faster.
/// let checks = BlockChecks::default().zero_blocks(ZeroBlocks::Skip);
/// assert_eq!(checks.to_string(), "on corruption fail, checks always, zero blocks skip");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ZeroBlocks {
    /// They are read and checked like all others.
    #[default]
    Check,
    /// Zeros are returned without reading: the root hash says that nothing else could be.
    Skip,
}

impl ZeroBlocks {
    /// As it is written: `check` or `skip`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Skip => "skip",
        }
    }
}

/// How often a data block is checked.
///
/// ```
/// use confext_core::{attach::BlockChecks, dmverity::Checks};
///
/// // Costs less than each time, and is for files that nobody can write to.
/// let checks = BlockChecks::default().checks(Checks::Once);
/// assert_eq!(checks.to_string(), "on corruption fail, checks once, zero blocks check");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Checks {
    /// Each time it is read from the file.
    #[default]
    Always,
    /// The first time only. Who can write the file afterwards changes what is read: for files that nobody can write.
    Once,
}

impl Checks {
    /// As it is written: `always` or `once`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Once => "once",
        }
    }
}

/// Parity as the driver is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ParityTable {
    pub(super) device: DeviceNumber,
    pub(super) blocks: u64,
    pub(super) start: u64,
    pub(super) roots: u8,
}

/// The options behind the fixed words of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extras {
    pub(super) corruption: Corruption,
    pub(super) zero_blocks: ZeroBlocks,
    pub(super) checks: Checks,
    pub(super) parity: Option<ParityTable>,
    /// The description of the key that has the signature. In a table that the kernel has accepted: that it checked one.
    pub(super) signature: Option<String>,
}

/// A line of a table, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) data: DeviceNumber,
    pub(super) hash: DeviceNumber,
    pub(super) extras: Extras,
    tree: Tree,
}

/// What root hash and superblock say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tree {
    hash_type: u32,
    data_block_bytes: u32,
    hash_block_bytes: u32,
    data_blocks: u64,
    hash_start: u64,
    algorithm: String,
    root_hash: String,
    salt: String,
}

impl Table {
    /// The table of a tree that was checked.
    pub(super) fn new(geometry: &Geometry, root_hash: &RootHash, [data, hash]: [DeviceNumber; 2]) -> Self {
        let superblock = geometry.superblock();
        let hash_block_bytes = superblock.hash_block_size.bytes();
        let salt = superblock.salt.as_bytes();
        let tree = Tree {
            hash_type: HashType::value(superblock.hash_type),
            data_block_bytes: superblock.data_block_size.bytes(),
            hash_block_bytes,
            data_blocks: superblock.data_blocks,
            hash_start: geometry.tree_start().checked_div(u64::from(hash_block_bytes)).unwrap_or(0),
            algorithm: superblock.algorithm.name().to_owned(),
            root_hash: root_hash.to_hex(),
            salt: if salt.is_empty() { "-".to_owned() } else { const_hex::encode(salt) },
        };
        Self { data, hash, extras: Extras::default(), tree }
    }

    /// How many sectors of 512 bytes it shows.
    pub(super) fn sectors(&self) -> u64 {
        let sectors_per_block = u64::from(self.tree.data_block_bytes >> 9);
        self.tree.data_blocks.saturating_mul(sectors_per_block)
    }

    /// Takes apart what the kernel says; `None` when there is anything in it that is not known here.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let hash_type = words.next()?.parse().ok()?;
        let (data, hash) = (parse_number(words.next()?)?, parse_number(words.next()?)?);
        let tree = Tree {
            hash_type,
            data_block_bytes: words.next()?.parse().ok()?,
            hash_block_bytes: words.next()?.parse().ok()?,
            data_blocks: words.next()?.parse().ok()?,
            hash_start: words.next()?.parse().ok()?,
            algorithm: words.next()?.to_owned(),
            root_hash: words.next()?.to_owned(),
            salt: words.next()?.to_owned(),
        };
        let extras = match words.next() {
            None => Extras::default(),
            Some(count) => {
                let words: Vec<&str> = words.collect();
                Extras::parse(&words).filter(|_| count.parse() == Ok(words.len()))?
            }
        };
        Some(Self { data, hash, extras, tree })
    }

    /// What `self`, which is there, lacks of what is asked for; `None` when it will do. Devices are not compared: what is
    /// behind them is.
    pub(super) fn lacks(&self, asked: &Self) -> Option<Lack> {
        let (found, wanted) = (&self.extras, &asked.extras);
        if self.tree != asked.tree {
            return Some(Lack::new("hash tree", self.tree.to_string(), asked.tree.to_string()));
        }
        if found.corruption != wanted.corruption || found.zero_blocks != wanted.zero_blocks {
            let text = |extras: &Extras| format!("{:?}, zeros {:?}", extras.corruption, extras.zero_blocks);
            return Some(Lack::new("corruption mode", text(found), text(wanted)));
        }
        if found.checks == Checks::Once && wanted.checks == Checks::Always {
            return Some(Lack::new("checks", "each block once", "each block each time"));
        }
        if found.signature.is_none() && wanted.signature.is_some() {
            return Some(Lack::new("signature", "not checked by the kernel", "checked by the kernel"));
        }
        // Whose parity it is would have to be found out first.
        if found.parity.is_some() || wanted.parity.is_some() {
            let text = |extras: &Extras| if extras.parity.is_some() { "with parity" } else { "without" };
            return Some(Lack::new("parity", text(found), text(wanted)));
        }
        None
    }
}

/// What a device lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) what: &'static str,
    pub(super) found: String,
    pub(super) expected: String,
}

impl Lack {
    pub(super) fn new(what: &'static str, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { what, found: found.into(), expected: expected.into() }
    }
}

impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { data_block_bytes, hash_block_bytes, data_blocks, hash_start, algorithm, .. } = self;
        write!(f, "{data_block_bytes} {hash_block_bytes} {data_blocks} {hash_start} {algorithm} ")?;
        write!(f, "{} {}", self.root_hash, self.salt)
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} {}", self.tree.hash_type, self.data, self.hash, self.tree)?;
        let words = self.extras.words();
        if words.is_empty() {
            return Ok(());
        }
        write!(f, " {} {}", words.len(), words.join(" "))
    }
}

impl Extras {
    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.corruption.word().map(str::to_owned).into_iter().collect();
        if self.zero_blocks == ZeroBlocks::Skip {
            words.push("ignore_zero_blocks".to_owned());
        }
        if self.checks == Checks::Once {
            words.push("check_at_most_once".to_owned());
        }
        if let Some(ParityTable { device, blocks, start, roots }) = &self.parity {
            words.extend(["use_fec_from_device".to_owned(), device.to_string()]);
            words.extend(["fec_blocks".to_owned(), blocks.to_string()]);
            words.extend(["fec_start".to_owned(), start.to_string()]);
            words.extend(["fec_roots".to_owned(), roots.to_string()]);
        }
        if let Some(description) = &self.signature {
            words.extend(["root_hash_sig_key_desc".to_owned(), description.clone()]);
        }
        words
    }

    /// `None` for an option that is not known here, that comes twice, or that makes a device worth nothing.
    fn parse(words: &[&str]) -> Option<Self> {
        let (mut extras, mut rest, mut seen) = (Self::default(), words, Vec::new());
        let (mut device, mut blocks, mut start, mut roots) = (None, None, None, None);
        while let [option, more @ ..] = rest {
            if seen.contains(option) {
                return None;
            }
            seen.push(*option);
            rest = match (*option, more) {
                ("restart_on_corruption", _) if extras.corruption == Corruption::Fail => {
                    extras.corruption = Corruption::Restart;
                    more
                }
                ("panic_on_corruption", _) if extras.corruption == Corruption::Fail => {
                    extras.corruption = Corruption::Panic;
                    more
                }
                ("ignore_zero_blocks", _) => {
                    extras.zero_blocks = ZeroBlocks::Skip;
                    more
                }
                ("check_at_most_once", _) => {
                    extras.checks = Checks::Once;
                    more
                }
                ("root_hash_sig_key_desc", [value, more @ ..]) => {
                    extras.signature = Some((*value).to_owned());
                    more
                }
                ("use_fec_from_device", [value, more @ ..]) => {
                    device = Some(parse_number(value)?);
                    more
                }
                ("fec_blocks", [value, more @ ..]) => {
                    blocks = Some(value.parse().ok()?);
                    more
                }
                ("fec_start", [value, more @ ..]) => {
                    start = Some(value.parse().ok()?);
                    more
                }
                ("fec_roots", [value, more @ ..]) => {
                    roots = Some(value.parse().ok()?);
                    more
                }
                _ => return None,
            };
        }
        extras.parity = match (device, blocks, start, roots) {
            (None, None, None, None) => None,
            (Some(device), Some(blocks), Some(start), Some(roots)) => {
                Some(ParityTable { device, blocks, start, roots })
            }
            _ => return None,
        };
        Some(extras)
    }
}

fn parse_number(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use confext_ddi::digest::Salt;
    use confext_ddi::id::Uuid;
    use confext_ddi::verity::Superblock;

    fn number(minor: u32) -> DeviceNumber {
        DeviceNumber { major: 7, minor }
    }

    fn table() -> Table {
        let superblock = Superblock::new(Uuid::from_bytes([0; 16]), 300, Salt::new([0xab, 1]).unwrap());
        let geometry = Geometry::new(&superblock).unwrap();
        Table::new(&geometry, &RootHash::from_bytes([0x5a; 32]), [number(0), number(1)])
    }

    fn all_options() -> Table {
        let mut table = table();
        let parity = Some(ParityTable { device: number(2), blocks: 304, start: 0, roots: 2 });
        table.extras = Extras {
            corruption: Corruption::Restart,
            zero_blocks: ZeroBlocks::Skip,
            checks: Checks::Once,
            parity,
            signature: Some("confext-1".into()),
        };
        table
    }

    #[test]
    fn a_table_is_what_the_kernel_documents() {
        let hash = "5a".repeat(32);
        assert_eq!(table().to_string(), format!("1 7:0 7:1 4096 4096 300 1 sha256 {hash} ab01"));
        assert_eq!(table().sectors(), 2400);
        let text = all_options().to_string();
        // One word for each of three options, eight of the parity, two of the signature.
        let options = "13 restart_on_corruption ignore_zero_blocks check_at_most_once use_fec_from_device 7:2 \
                       fec_blocks 304 fec_start 0 fec_roots 2 root_hash_sig_key_desc confext-1";
        assert!(text.ends_with(options), "{text}");
        let mut unsalted = table();
        unsalted.tree.salt = "-".into();
        for table in [table(), all_options(), unsalted] {
            assert_eq!(Table::parse(&table.to_string()).unwrap(), table);
        }
    }

    #[test]
    fn what_is_not_known_is_no_table() {
        let text = table().to_string();
        for more in [
            "1 ignore_corruption",
            "2 restart_on_corruption panic_on_corruption",
            "1 try_verify_in_tasklet",
            "1 restart_on_error",
            "2 ignore_zero_blocks ignore_zero_blocks",
            "2 ignore_zero_blocks",
            "0 ignore_zero_blocks",
            "x",
            "1 root_hash_sig_key_desc",
            "2 use_fec_from_device 7:2",
            "2 fec_roots x",
        ] {
            assert_eq!(Table::parse(&format!("{text} {more}")), None, "{more}");
        }
        let words: Vec<&str> = text.split(' ').collect();
        for count in 0..words.len() {
            assert_eq!(Table::parse(&words[..count].join(" ")), None, "{count}");
        }
        for (index, bad) in [(0, "x"), (1, "/dev/sda"), (2, "7"), (3, "-1"), (5, "99999999999999999999")] {
            let mut words = words.clone();
            words[index] = bad;
            assert_eq!(Table::parse(&words.join(" ")), None, "{bad}");
        }
    }

    #[test]
    fn a_weaker_table_will_not_do() {
        let asked = table();
        assert_eq!(asked.lacks(&asked), None);
        let changed = |change: fn(&mut Table)| {
            let mut found = table();
            change(&mut found);
            found
        };
        for (what, found) in [
            ("hash tree", changed(|found| found.tree.root_hash.push('0'))),
            ("hash tree", changed(|found| found.tree.salt.push('0'))),
            ("hash tree", changed(|found| found.tree.data_blocks = 299)),
            ("hash tree", changed(|found| found.tree.hash_start = 2)),
            ("hash tree", changed(|found| found.tree.algorithm = "sha512".into())),
            ("corruption mode", changed(|found| found.extras.corruption = Corruption::Panic)),
            ("corruption mode", changed(|found| found.extras.zero_blocks = ZeroBlocks::Skip)),
            ("checks", changed(|found| found.extras.checks = Checks::Once)),
            ("parity", changed(|found| found.extras.parity = all_options().extras.parity)),
        ] {
            assert_eq!(found.lacks(&asked).unwrap().what, what);
        }
        let mut signed = table();
        signed.extras.signature = Some("key".into());
        assert_eq!(asked.lacks(&signed).unwrap().what, "signature");
        assert_eq!(signed.lacks(&asked), None, "more than asked for");
        let mut once = table();
        once.extras.checks = Checks::Once;
        assert_eq!(asked.lacks(&once), None, "more than asked for");
    }
}
