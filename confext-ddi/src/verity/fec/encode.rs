//! Working the parity out.

use super::code::Code;
use super::covered::Covered;
use super::{Coverage, Tell};
use crate::error::Result;
use crate::read::ReadAt;
use rayon::prelude::*;

/// About how much is read before it is worked on: enough rounds for all processors, and memory stays small.
const BATCH_BYTES: usize = 8 << 20;

/// Works out the parity over data and hash tree and hands it to `sink`, front to back: bit-identical to what
/// `veritysetup format --fec-device` writes.
///
/// *Shape*: `hash` starts at the first block of the tree, behind the superblock's; `sink` gets
/// [`Coverage::fec_bytes`] bytes in all. Memory is the larger of 8 MiB and one round, at most 16 MiB, and a tenth of
/// that for parity.
///
/// # Errors
///
/// `verity-data-area` and `verity-hash-area` when a source is shorter than what is covered of it; whatever reading and
/// `sink` bring.
pub fn encode<D: ReadAt + ?Sized, H: ReadAt + ?Sized>(
    data: &D,
    hash: &H,
    coverage: &Coverage,
    sink: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<()> {
    encode_told((data, hash), coverage, sink, &mut |_| Ok(()))
}

/// The same, and `tell` hears how many more bytes of data and hash tree are covered.
pub(crate) fn encode_told<D: ReadAt + ?Sized, H: ReadAt + ?Sized>(
    (data, hash): (&D, &H),
    coverage: &Coverage,
    mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
    tell: &mut Tell<'_>,
) -> Result<()> {
    let covered = Covered::new(data, hash, *coverage)?;
    let code = Code::new(coverage.roots());
    let mut first = 0_u64;
    while first < coverage.rounds() {
        let rounds = rounds_at_once(coverage, coverage.rounds().saturating_sub(first));
        let parity = encode_rounds(&covered, &code, first, rounds)?;
        for round in parity {
            sink(&round)?;
        }
        let rounds = u64::try_from(rounds).unwrap_or(u64::MAX);
        first = first.saturating_add(rounds);
        let rows = u64::from(coverage.roots().data_rows());
        let bytes = rounds.saturating_mul(rows).saturating_mul(u64::from(coverage.block_size().bytes()));
        tell(bytes)?;
    }
    Ok(())
}

/// How many rounds are worked on at once: at least one, at most those that are left.
fn rounds_at_once(coverage: &Coverage, left: u64) -> usize {
    let round_bytes = coverage.block_bytes().saturating_mul(usize::from(coverage.roots().data_rows()));
    let fit = BATCH_BYTES.checked_div(round_bytes).unwrap_or(1).max(1);
    usize::try_from(left).unwrap_or(usize::MAX).min(fit)
}

/// The parity of some rounds in a row. Their blocks lie side by side, so that each row is read at once.
fn encode_rounds<D: ReadAt + ?Sized, H: ReadAt + ?Sized>(
    covered: &Covered<'_, D, H>,
    code: &Code,
    first: u64,
    rounds: usize,
) -> Result<Vec<Vec<u8>>> {
    let width = covered.coverage.block_bytes();
    let row_bytes = rounds.saturating_mul(width);
    let mut rows = vec![0; row_bytes.saturating_mul(code.data_rows())];
    for (at, row) in rows.chunks_exact_mut(row_bytes).enumerate() {
        covered.read(covered.coverage.block_in(first, at), row)?;
    }
    let of_round = |round: usize| {
        let start = round.saturating_mul(width);
        let blocks =
            rows.chunks_exact(row_bytes).filter_map(|row| row.get(start..start.saturating_add(width)));
        interleave(&code.encode(blocks, width), width)
    };
    crate::threads::ready();
    Ok((0..rounds).into_par_iter().map(of_round).collect())
}

/// Rows of parity as they are stored: byte by byte, all parity of a codeword together.
pub(super) fn interleave(rows: &[u8], width: usize) -> Vec<u8> {
    let mut stored = Vec::with_capacity(rows.len());
    for column in 0..width {
        stored.extend(rows.iter().skip(column).step_by(width.max(1)));
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::super::Roots;
    use super::*;
    use crate::units::BlockSize;

    fn data(blocks: usize, block_bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..blocks * block_bytes).map(next).collect()
    }

    fn parity(data: &Vec<u8>, hash: &Vec<u8>, coverage: &Coverage) -> Vec<u8> {
        let mut out = Vec::new();
        encode(data, hash, coverage, |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        assert_eq!(out.len() as u64, coverage.fec_bytes());
        out
    }

    /// Each codeword put together byte by byte, as the layout has it.
    fn slow(area: &[u8], coverage: &Coverage) -> Vec<u8> {
        let code = Code::new(coverage.roots());
        let (width, rounds) = (coverage.block_bytes(), coverage.rounds() as usize);
        let mut out = Vec::new();
        for round in 0..rounds {
            for byte in 0..width {
                let at = |row| (row * rounds + round) * width + byte;
                let word: Vec<u8> =
                    (0..code.data_rows()).map(|row| area.get(at(row)).copied().unwrap_or(0)).collect();
                out.extend(code.encode(word.chunks_exact(1), 1));
            }
        }
        out
    }

    #[test]
    fn parity_is_laid_out_codeword_by_codeword() {
        for (roots, block_bytes, data_blocks, hash_blocks) in
            [(2, 512, 1, 0), (3, 512, 300, 7), (24, 1024, 231 * 3, 40), (2, 4096, 600, 6)]
        {
            let roots = Roots::new(roots).unwrap();
            let block_size = BlockSize::new(block_bytes).unwrap();
            let area = data(data_blocks + hash_blocks, block_bytes as usize);
            let (data, hash) = area.split_at(data_blocks * block_bytes as usize);
            let coverage = Coverage::new(block_size, roots, data_blocks as u64, hash_blocks as u64).unwrap();
            assert_eq!(parity(&data.to_vec(), &hash.to_vec(), &coverage), slow(&area, &coverage));
        }
    }

    #[test]
    fn a_failing_sink_ends_it() {
        let coverage = Coverage::new(BlockSize::B4096, Roots::MIN, 3, 0).unwrap();
        let full = |_: &[u8]| Err(std::io::ErrorKind::StorageFull.into());
        assert_eq!(encode(&data(3, 4096), &Vec::new(), &coverage, full).unwrap_err().code(), "io");
    }
}
