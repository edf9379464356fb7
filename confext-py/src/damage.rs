//! `Damage`: the blocks of an image that are not what its root hash promises.

use confext_ddi::verity::{self, Fault};
use pyo3::prelude::*;

use crate::argument::choice;
use crate::record::{Tuple, record};

const AREAS: [(&str, &str); 2] = [("data", "data"), ("hash", "hash")];
const FAULTS: [(&str, &str); 2] = [("changed", "changed"), ("unchecked", "unchecked")];

record! {
    /// Blocks that follow each other and have the same fault.
    DamagedRange {
        /// What they hold: `data` or `hash`.
        area: &'static str,
        /// The level of the hash tree, from 0 at its leaves; `None` for blocks of data.
        level: Option<u32>,
        /// `changed`, or `unchecked`: a hash block above is changed, so that nobody can say.
        fault: &'static str,
        /// The first of them, counted from the start of the data or of the level.
        first_block: u64,
        /// How many there are.
        blocks: u64,
        /// Where the first one starts in the image, in bytes; of a hash tree in a file of its own, in that file.
        offset: u64,
        /// How many bytes they have.
        size: u64,
    }
    {
        /// Only values.
        #[new]
        #[expect(clippy::too_many_arguments, reason = "its fields")]
        fn new(
            area: &str,
            level: Option<u32>,
            fault: &str,
            first_block: u64,
            blocks: u64,
            offset: u64,
            size: u64,
        ) -> PyResult<Self> {
            let (area, fault) = (choice("area", area, &AREAS)?, choice("fault", fault, &FAULTS)?);
            Ok(Self { area, level, fault, first_block, blocks, offset, size })
        }
    }
}

record! {
    /// What a check of every block found.
    Damage {
        /// Blocks that are wrong: the levels of the hash tree from the top down, then the data, each in order.
        ranges: Tuple<DamagedRange>,
        /// How many more such ranges there are than were asked for.
        omitted: u64,
        /// How many blocks of data are changed.
        changed_data_blocks: u64,
        /// How many hash blocks are changed.
        changed_hash_blocks: u64,
        /// How many blocks of both could not be checked.
        unchecked_blocks: u64,
    }
    {
        /// Only values.
        #[new]
        fn new(
            ranges: Vec<PyRef<'_, DamagedRange>>,
            omitted: u64,
            changed_data_blocks: u64,
            changed_hash_blocks: u64,
            unchecked_blocks: u64,
        ) -> Self {
            let ranges = ranges.iter().map(|range| DamagedRange::clone(range)).collect();
            Self { ranges, omitted, changed_data_blocks, changed_hash_blocks, unchecked_blocks }
        }

        /// Whether every block is what the root hash promises.
        #[getter]
        fn whole(&self) -> bool {
            self.changed_data_blocks == 0 && self.changed_hash_blocks == 0
        }
    }
}

impl From<&verity::Report> for Damage {
    fn from(report: &verity::Report) -> Self {
        Self {
            ranges: report.ranges.iter().collect(),
            omitted: report.omitted,
            changed_data_blocks: report.changed_data_blocks,
            changed_hash_blocks: report.changed_hash_blocks,
            unchecked_blocks: report.unchecked_blocks,
        }
    }
}

impl From<&verity::Damage> for DamagedRange {
    fn from(damage: &verity::Damage) -> Self {
        Self {
            area: if damage.level.is_none() { "data" } else { "hash" },
            level: damage.level,
            fault: match damage.fault {
                Fault::Changed => "changed",
                Fault::Unchecked => "unchecked",
            },
            first_block: damage.first_block,
            blocks: damage.blocks,
            offset: damage.range.start(),
            size: damage.range.len_bytes(),
        }
    }
}
