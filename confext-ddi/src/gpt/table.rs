//! The choice of sector size and copy.

use super::Partition;
use super::entry::parse_all;
use super::header::{Attempt, Site, TableCopy};
use crate::error::{Corrupt, Error, Result, ResultExt as _};
use crate::id::Guid;
use crate::limits::Limits;
use crate::read::ReadAt;
use crate::units::{ByteRange, Lba, SectorSize};
use serde::Serialize;

/// What the other copy of a table is like when the primary one is used.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::{Limits, gpt::{BackupState, Source, Table}};
///
/// // The last sector holds the header of the backup copy.
/// let mut bytes = bytes;
/// if let Some(sector) = bytes.last_chunk_mut::<512>() {
///     sector[16] ^= 1;
/// }
/// let table = Table::read(&bytes, &Limits::default())?.ok_or("the primary copy is there")?;
/// assert_eq!(table.source, Source::Primary { backup: BackupState::Damaged });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupState {
    /// It says the same.
    Same,
    /// It is valid and says something else; the primary one counts.
    Different,
    /// There is none.
    Missing,
    /// It does not check.
    Damaged,
}

/// Which copy of the table was used.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::{Limits, gpt::{Source, Table}};
///
/// // The start of the disk was overwritten.
/// let mut bytes = bytes;
/// bytes[..4096].fill(0);
/// let table = Table::read(&bytes, &Limits::default())?.ok_or("the backup copy is there")?;
/// assert_eq!(table.source, Source::Backup { reason: "gpt-missing" });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The one at LBA 1.
    Primary {
        /// What the other one is like.
        backup: BackupState,
    },
    /// The one at the end, because the primary one does not check.
    Backup {
        /// The code of what is wrong with the primary one; `gpt-missing` when it is not there at all.
        reason: &'static str,
    },
}

/// A checked partition table.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::{Limits, gpt::Table, units::SectorSize};
///
/// let table = Table::read(&bytes, &Limits::default())?.ok_or("an image built here has a table")?;
/// assert_eq!((table.sector_size, table.partitions.len()), (SectorSize::S512, 2));
/// table.check_copies()?;
/// assert_eq!(Table::read(&[0; 4096][..], &Limits::default())?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// The unit of all block addresses in the table.
    pub sector_size: SectorSize,
    /// Which disk it is.
    pub disk_guid: Guid,
    /// Where partitions may lie, in bytes.
    pub usable: ByteRange,
    /// Which copy was used.
    pub source: Source,
    /// The used entries, in the order of their numbers.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// Finds, checks and reads the partition table; `None` when there is no trace of one.
    ///
    /// A protective MBR is not asked for: an image is no boot disk.
    ///
    /// # Errors
    ///
    /// When no copy checks, what is wrong with the first one found: `gpt-header-size`, `gpt-header-crc`,
    /// `gpt-header-place`, `gpt-revision`, `gpt-entry-size`, `gpt-usable-range`, `gpt-entries-place`, `limit-bytes`,
    /// `gpt-entries-crc`. When there are valid ones for two sector sizes, `gpt-ambiguous`. When an entry is wrong,
    /// `gpt-partition-range`, `gpt-partition-outside`, `gpt-overlap`, `gpt-duplicate`, `gpt-label`: checksums that match leave no
    /// reason to look at the other copy.
    pub fn read<R: ReadAt + ?Sized>(reader: &R, limits: &Limits) -> Result<Option<Self>> {
        Self::find(reader, limits).within("gpt")
    }

    /// Whether there is a primary and a backup copy, pointing at each other and saying the same.
    ///
    /// # Errors
    ///
    /// `gpt-copies`.
    pub fn check_copies(&self) -> Result<()> {
        let found = match &self.source {
            Source::Primary { backup: BackupState::Same } => return Ok(()),
            Source::Primary { backup: BackupState::Different } => "a backup copy that says something else",
            Source::Primary { backup: BackupState::Missing } => "no backup copy",
            Source::Primary { backup: BackupState::Damaged } => "a damaged backup copy",
            Source::Backup { .. } => "no primary copy that checks",
        };
        Err(Corrupt::GptCopies { found }).within("gpt")
    }

    fn find<R: ReadAt + ?Sized>(reader: &R, limits: &Limits) -> Result<Option<Self>> {
        let image_bytes = reader.size_bytes()?;
        let (mut found, mut fault): (Option<(TableCopy, Source)>, Option<Error>) = (None, None);
        for sector_size in SectorSize::ALL {
            match choose(reader, limits, Site { image_bytes, sector_size, lba: Lba(1) })? {
                Choice::Nothing => {}
                Choice::Fault(error) => {
                    fault.get_or_insert(error);
                }
                Choice::Copy(copy, source) => {
                    if let Some((other, _)) = &found {
                        let (first, second) = (other.sector_size.bytes(), sector_size.bytes());
                        return Err(Corrupt::GptAmbiguous { first, second }.into());
                    }
                    found = Some((copy, source));
                }
            }
        }
        match (found, fault) {
            (Some((copy, source)), _) => Ok(Some(Self {
                sector_size: copy.sector_size,
                disk_guid: copy.disk_guid,
                usable: copy.usable_bytes,
                source,
                partitions: parse_all(&copy)?,
            })),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }
}

/// What one sector size offers.
enum Choice {
    Nothing,
    Fault(Error),
    Copy(TableCopy, Source),
}

/// Lets the checksums choose between the copy at LBA 1 and the one at the end.
fn choose<R: ReadAt + ?Sized>(reader: &R, limits: &Limits, primary: Site) -> Result<Choice> {
    let last = Lba(primary.sectors().saturating_sub(1));
    match primary.look(reader, limits)? {
        Attempt::Good(copy) => {
            let backup = match look_for_backup(reader, limits, primary, [copy.alternate, last])? {
                Attempt::Absent => BackupState::Missing,
                Attempt::Bad { .. } => BackupState::Damaged,
                Attempt::Good(other) if copy.says_the_same(&other) => BackupState::Same,
                Attempt::Good(_) => BackupState::Different,
            };
            Ok(Choice::Copy(copy, Source::Primary { backup }))
        }
        Attempt::Bad { error, alternate } => {
            Ok(match look_for_backup(reader, limits, primary, [last, alternate])? {
                Attempt::Good(copy) => Choice::Copy(copy, Source::Backup { reason: error.code() }),
                Attempt::Bad { .. } | Attempt::Absent => Choice::Fault(error),
            })
        }
        Attempt::Absent => Ok(match look_for_backup(reader, limits, primary, [last, last])? {
            Attempt::Good(copy) => Choice::Copy(copy, Source::Backup { reason: "gpt-missing" }),
            Attempt::Bad { error, .. } => Choice::Fault(error),
            Attempt::Absent => Choice::Nothing,
        }),
    }
}

/// The first copy that checks at `places`; else the first that is there at all.
fn look_for_backup<R: ReadAt + ?Sized>(
    reader: &R,
    limits: &Limits,
    primary: Site,
    places: [Lba; 2],
) -> Result<Attempt> {
    let [one, other] = places;
    let look = |lba: Lba| match lba > primary.lba {
        true => Site { lba, ..primary }.look(reader, limits),
        false => Ok(Attempt::Absent),
    };
    let first = look(one)?;
    if one == other || matches!(first, Attempt::Good(_)) {
        return Ok(first);
    }
    match (first, look(other)?) {
        (_, good @ Attempt::Good(_)) => Ok(good),
        (Attempt::Absent, second) => Ok(second),
        (first, _) => Ok(first),
    }
}

#[cfg(test)]
mod tests;
