//! `inspect`: what an image says of itself.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use confext_ddi::gpt::{BackupState, Source};
use confext_ddi::id::Guid;
use confext_ddi::image::{Claim, Partition, Skipped};
use confext_ddi::read::ReadAt as _;
use confext_ddi::sidecar::Report;
use confext_ddi::units::SectorSize;
use serde::Serialize;

use super::failure::Failure;
use super::open;
use super::output::{Output, View};
use super::table::{Cell, Column, Paper, Table};
use super::text::{Clean, Size};

/// Shows partitions, file system and claim of an image. Nothing of it is checked; see verify.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The image.
    image: PathBuf,
    #[command(flatten)]
    open: open::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let image = arguments.open.open_any(&arguments.image)?;
    output.answer(&Inspection {
        image: arguments.image.display().to_string(),
        size_bytes: image.reader().size_bytes()?,
        table: image.table().map(|table| Partitions {
            sector_size: table.sector_size,
            disk_guid: table.disk_guid,
            source: &table.source,
        }),
        partitions: image.partitions(),
        skipped: image.skipped(),
        claim: image.claim(),
        sidecars: image.sidecars(),
    })
}

#[derive(Serialize)]
struct Inspection<'a> {
    image: String,
    size_bytes: u64,
    table: Option<Partitions<'a>>,
    partitions: &'a [Partition],
    skipped: &'a [Skipped],
    claim: &'a Claim,
    sidecars: &'a Report,
}

#[derive(Serialize)]
struct Partitions<'a> {
    sector_size: SectorSize,
    disk_guid: Guid,
    source: &'a Source,
}

impl View for Inspection<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write(Paper::Pipe, out)
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        self.write(Paper::Screen { columns }, out)
    }
}

impl Inspection<'_> {
    fn write(&self, paper: Paper, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "image        {}, {}", Clean(&self.image), Size(self.size_bytes))?;
        match &self.table {
            Some(table) => {
                let sector_bytes = table.sector_size.bytes();
                writeln!(
                    out,
                    "table        GPT {}, sectors of {sector_bytes} bytes{}",
                    table.disk_guid,
                    state(table.source)
                )?;
            }
            None => writeln!(out, "table        none: a bare file system")?,
        }
        let mut table = Table::new(paper, COLUMNS);
        for partition in self.partitions {
            table.row(row(partition), out)?;
        }
        table.end(out)?;
        for Skipped { number, because, .. } in self.skipped {
            writeln!(out, "partition {number}  not used: {}", because.as_str())?;
        }
        for look in self.sidecars.looked_for.iter().filter(|look| look.found) {
            writeln!(out, "beside it    {}", Clean(&look.name))?;
        }
        for near in &self.sidecars.near_misses {
            writeln!(out, "misnamed     {}, not {}", Clean(&near.found), Clean(&near.expected))?;
        }
        match self.claim {
            Claim::None => writeln!(out, "claims       nothing: its content is not protected"),
            Claim::Verity { root_hash, .. } => {
                writeln!(out, "claims       root hash {root_hash}")?;
                writeln!(out, "             without a signature")
            }
            Claim::Signed { root_hash, fingerprint, additional, .. } => {
                writeln!(out, "claims       root hash {root_hash}")?;
                let additional = additional.iter().map(|other| &other.certificate_fingerprint);
                for fingerprint in [fingerprint].into_iter().chain(additional) {
                    match fingerprint {
                        Some(fingerprint) => {
                            writeln!(out, "             signed by certificate {fingerprint}")?
                        }
                        None => writeln!(out, "             signed, it does not say by which certificate")?,
                    }
                }
                writeln!(out, "             nothing of this was checked: confext verify does it")
            }
        }
    }
}

fn state(source: &Source) -> String {
    match source {
        Source::Primary { backup: BackupState::Same } => String::new(),
        Source::Primary { backup: BackupState::Different } => ", the backup copy differs".to_owned(),
        Source::Primary { backup: BackupState::Missing } => ", no backup copy".to_owned(),
        Source::Primary { backup: BackupState::Damaged } => ", the backup copy is damaged".to_owned(),
        Source::Backup { reason } => format!(", from the backup copy: the primary one has {reason}"),
    }
}

/// Those of partitions.
const COLUMNS: [Column; 7] = [
    Column::new("PARTITION").before("partition ").piped(0, "  "),
    Column::new("DESIGNATOR").piped(16, " "),
    Column::new("FOR").piped(8, " "),
    Column::new("START").before("at ").piped(8, " "),
    Column::new("SIZE").right().piped(12, "  "),
    Column::new("HOLDS").piped(8, " "),
    Column::new("LABEL"),
];

fn row(partition: &Partition) -> [Cell; 7] {
    let number = partition.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let architecture = partition.architecture.map_or("any", |architecture| architecture.as_str());
    let label = partition.label.as_deref().unwrap_or("-");
    [
        number.into(),
        partition.designator.as_str().into(),
        architecture.into(),
        Cell::new(partition.range.start()),
        Cell::new(Size(partition.range.len_bytes())),
        partition.fs.map_or("-", |fs| fs.as_str()).into(),
        Cell::new(Clean(label)),
    ]
}
