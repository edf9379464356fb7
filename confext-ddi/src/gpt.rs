//! GUID Partition Table: on-disk structs, checked header and entries, choice of primary or backup.
//!
//! ```text
//!  LBA 0          1        2 … n       first usable … last usable    …       last
//!  ┌───────────┬────────┬───────────┬──────────────────────────┬───────────┬────────┐
//!  │ any (MBR) │ header │ entries   │ partitions               │ entries   │ header │
//!  └───────────┴────────┴───────────┴──────────────────────────┴───────────┴────────┘
//!                └─ primary copy ─┘                              └─ backup copy ─┘
//! ```
//!
//! [`Table::read`] finds the sector size by looking for a header, lets the checksums of header and entries decide which
//! copy counts, and refuses what is ambiguous: two tables of different sector sizes, partitions that overlap or have one
//! identifier. It says which copy that was and what the other one is like; [`Table::check_copies`] asks for two that agree.
//!
//! *Spec*: UEFI 2.10, section 5.3.

mod entry;
mod header;
pub(crate) mod raw;
#[cfg(test)]
pub(crate) mod sample;
mod table;

pub use entry::{Attributes, Partition};
pub use table::{BackupState, Source, Table};
