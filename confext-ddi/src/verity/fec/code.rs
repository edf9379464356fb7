//! The Reed–Solomon code: codewords of 255 bytes, of which the last 2 to 24 are parity.
//!
//! A codeword is a polynomial, its first byte the coefficient of x²⁵⁴, that is zero at 1, 2, 4, … 2^(roots-1). Rows of
//! bytes are worked on together: byte b of each row belongs to codeword b.

use super::Roots;
use super::field::{ORDER, add_multiple, inverse, power, times};

/// A byte of a codeword that was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fix {
    /// Which byte of the codeword.
    pub(super) position: usize,
    /// What to add to it.
    pub(super) value: u8,
}

/// What came of the codewords of some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Corrected {
    /// Codewords that were wrong and are right now.
    pub(super) mended: usize,
    /// Codewords with more wrong than the code can mend; they are as they were.
    pub(super) left: usize,
}

/// The code of one number of roots.
#[derive(Debug, Clone)]
pub(super) struct Code {
    roots: usize,
    /// For each byte of data, what it adds to each byte of parity when it is 1.
    parity: Vec<Vec<u8>>,
    /// For each byte of a codeword, what it adds to each syndrome when it is 1.
    syndromes: Vec<Vec<u8>>,
}

impl Code {
    pub(super) fn new(roots: Roots) -> Self {
        let roots = usize::from(roots.get());
        let syndromes = (0..ORDER).map(|at| (0..roots).map(|root| at_root(at, root)).collect()).collect();
        // (x - 1)(x - 2)(x - 4)…, lowest coefficient first; its highest is 1.
        let generator =
            (0..roots).fold(vec![1], |product, root| times_linear(&product, power(root), Side::High));
        // The remainders of x^roots, x^(roots+1), … modulo the generator, highest coefficient first.
        let mut remainder: Vec<u8> = generator.iter().rev().skip(1).copied().collect();
        let mut parity = Vec::new();
        for _ in 0..ORDER.saturating_sub(roots) {
            parity.push(remainder.clone());
            let carry = remainder.first().copied().unwrap_or(0);
            remainder.rotate_left(1);
            if let Some(last) = remainder.last_mut() {
                *last = 0;
            }
            for (to, from) in remainder.iter_mut().zip(generator.iter().rev().skip(1)) {
                *to ^= times(carry, *from);
            }
        }
        parity.reverse();
        Self { roots, parity, syndromes }
    }

    /// How many bytes of a codeword are data.
    pub(super) fn data_rows(&self) -> usize {
        self.parity.len()
    }

    /// Works the parity out, `roots` rows of it one after the other, from [`Code::data_rows`] rows of `width` bytes.
    pub(super) fn encode<'r>(&self, data: impl Iterator<Item = &'r [u8]>, width: usize) -> Vec<u8> {
        weigh(data, width, &self.parity, self.roots)
    }

    /// Mends the codewords of 255 rows of `width` bytes, data first and then parity.
    ///
    /// `erased` are rows that are known to be wrong. A codeword is mended when the number of erased rows and twice the
    /// number of other wrong bytes in it are together at most the number of roots. Too many erased rows mend nothing.
    pub(super) fn correct(&self, rows: &mut [u8], width: usize, erased: &[usize]) -> Corrected {
        let syndromes = weigh(rows.chunks_exact(width.max(1)), width, &self.syndromes, self.roots);
        let mut corrected = Corrected::default();
        for column in 0..width {
            let here: Vec<u8> =
                syndromes.chunks_exact(width).filter_map(|row| row.get(column).copied()).collect();
            if here.iter().all(|byte| *byte == 0) {
                continue;
            }
            let Some(fixes) = self.solve(&here, erased) else {
                corrected.left = corrected.left.saturating_add(1);
                continue;
            };
            for fix in fixes {
                let row = rows.chunks_exact_mut(width).nth(fix.position);
                if let Some(byte) = row.and_then(|row| row.get_mut(column)) {
                    *byte ^= fix.value;
                }
            }
            corrected.mended = corrected.mended.saturating_add(1);
        }
        corrected
    }

    /// Finds what is wrong with one codeword: the fewest changes that explain its syndromes, or nothing.
    ///
    /// Berlekamp–Massey started from the erased places, then Chien's search, then Forney's formula.
    pub(super) fn solve(&self, syndromes: &[u8], erased: &[usize]) -> Option<Vec<Fix>> {
        let erasures = erased.len();
        if erasures > self.roots {
            return None;
        }
        let from_erased =
            erased.iter().fold(vec![1], |product, at| times_linear(&product, self.place(*at), Side::Low));
        let locator = self.locator(syndromes, from_erased, erasures)?;
        let degree = locator.len().checked_sub(1)?;
        if degree.checked_mul(2)? > self.roots.checked_add(erasures)? {
            return None;
        }
        let positions = if degree == erasures { erased.to_vec() } else { self.zeros(&locator) };
        if positions.len() != degree {
            return None;
        }
        let evaluator: Vec<u8> = (0..self.roots)
            .map(|at| {
                let below = syndromes.iter().take(at.saturating_add(1)).rev();
                locator.iter().zip(below).fold(0, |sum, (a, b)| sum ^ times(*a, *b))
            })
            .collect();
        let derivative: Vec<u8> = locator
            .iter()
            .enumerate()
            .skip(1)
            .map(|(at, value)| if at % 2 == 1 { *value } else { 0 })
            .collect();
        let mut fixes = Vec::with_capacity(degree);
        for position in positions {
            let place = self.place(position);
            let at = inverse(place)?;
            let value = times(place, times(value_at(&evaluator, at), inverse(value_at(&derivative, at))?));
            fixes.push(Fix { position, value });
        }
        self.explains(&fixes, syndromes).then_some(fixes)
    }

    /// The polynomial whose zeros are the inverses of the places of what is wrong, lowest coefficient first.
    fn locator(&self, syndromes: &[u8], from_erased: Vec<u8>, erasures: usize) -> Option<Vec<u8>> {
        let mut length = erasures;
        let mut before = from_erased.clone();
        let mut locator = from_erased;
        for at in erasures..self.roots {
            let seen = syndromes.get(..=at)?.iter().rev();
            let discrepancy = locator.iter().zip(seen).fold(0, |sum, (a, b)| sum ^ times(*a, *b));
            before.insert(0, 0);
            if discrepancy == 0 {
                continue;
            }
            let mut next = locator.clone();
            next.resize(next.len().max(before.len()), 0);
            add_multiple(&mut next, discrepancy, &before);
            let seen = at.checked_add(erasures)?;
            if length.checked_mul(2)? <= seen {
                length = seen.checked_add(1)?.checked_sub(length)?;
                let factor = inverse(discrepancy)?;
                before = locator.iter().map(|value| times(*value, factor)).collect();
            }
            locator = next;
        }
        while locator.last() == Some(&0) {
            locator.pop();
        }
        Some(locator)
    }

    /// The positions at whose places a locator is zero.
    fn zeros(&self, locator: &[u8]) -> Vec<usize> {
        let is_zero = |at: &usize| inverse_place(*at).is_some_and(|place| value_at(locator, place) == 0);
        (0..ORDER).filter(is_zero).collect()
    }

    /// Whether these changes, and no others, give these syndromes.
    fn explains(&self, fixes: &[Fix], syndromes: &[u8]) -> bool {
        syndromes.iter().enumerate().all(|(root, expected)| {
            let sum = fixes.iter().fold(0, |sum, fix| sum ^ times(fix.value, at_root(fix.position, root)));
            sum == *expected
        })
    }

    /// The value of x^(254 - position) at 2: it stands for the position.
    fn place(&self, position: usize) -> u8 {
        at_root(position, 1)
    }
}

/// Which coefficient of a linear factor is 1.
#[derive(Clone, Copy)]
enum Side {
    /// 1 - root·x.
    Low,
    /// x - root.
    High,
}

/// The product of a polynomial, lowest coefficient first, and a linear factor. Adding and subtracting are the same.
fn times_linear(polynomial: &[u8], root: u8, one: Side) -> Vec<u8> {
    let same = polynomial.iter().copied().chain([0]);
    let shifted = [0].into_iter().chain(polynomial.iter().copied());
    same.zip(shifted)
        .map(|(same, shifted)| match one {
            Side::Low => same ^ times(root, shifted),
            Side::High => times(root, same) ^ shifted,
        })
        .collect()
}

/// What byte `position` of a codeword adds to the value at the root 2^`root`.
fn at_root(position: usize, root: usize) -> u8 {
    power(ORDER.saturating_sub(1).saturating_sub(position).saturating_mul(root))
}

/// 1 / 2^(254 - position).
fn inverse_place(position: usize) -> Option<u8> {
    Some(power(position.checked_add(1)?))
}

/// The value of a polynomial, lowest coefficient first.
fn value_at(polynomial: &[u8], at: u8) -> u8 {
    polynomial.iter().rev().fold(0, |sum, coefficient| times(sum, at) ^ coefficient)
}

/// Adds up rows of `width` bytes, each as often as `weights` says, into `sums` rows.
fn weigh<'r>(
    rows: impl Iterator<Item = &'r [u8]>,
    width: usize,
    weights: &[Vec<u8>],
    sums: usize,
) -> Vec<u8> {
    let mut result = vec![0; sums.saturating_mul(width)];
    for (row, weights) in rows.zip(weights) {
        for (sum, weight) in result.chunks_exact_mut(width.max(1)).zip(weights) {
            add_multiple(sum, *weight, row);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(code: &Code, rows: &[u8], width: usize) -> Vec<u8> {
        code.encode(rows.chunks_exact(width), width)
    }

    fn code(roots: u8) -> Code {
        Code::new(Roots::new(roots).unwrap())
    }

    /// A codeword whose data is `data`, repeated.
    fn codeword(code: &Code, data: &[u8]) -> Vec<u8> {
        let mut word: Vec<u8> = data.iter().copied().cycle().take(code.data_rows()).collect();
        word.extend(encode(code, &word, 1));
        assert_eq!(word.len(), 255);
        word
    }

    #[test]
    fn codewords_are_zero_at_every_root() {
        for roots in 2..=24 {
            let code = code(roots);
            let word = codeword(&code, &[1, 0, 77, 0xff, 3]);
            let polynomial: Vec<u8> = word.iter().rev().copied().collect();
            for root in 0..usize::from(roots) {
                assert_eq!(value_at(&polynomial, power(root)), 0, "{roots} {root}");
            }
            assert!(encode(&code, &vec![0; code.data_rows()], 1).iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn columns_do_not_touch_each_other() {
        let code = code(4);
        let words: Vec<Vec<u8>> = (0..7).map(|at| codeword(&code, &[at, 9, at ^ 3])).collect();
        let rows: Vec<u8> = (0..255).flat_map(|row| words.iter().map(move |word| word[row])).collect();
        assert_eq!(encode(&code, &rows[..251 * 7], 7), rows[251 * 7..]);
        let mut damaged = rows.clone();
        damaged[20 * 7 + 3] ^= 1;
        damaged[100 * 7 + 3] ^= 0x80;
        damaged[254 * 7 + 6] ^= 0x80;
        assert_eq!(code.correct(&mut damaged, 7, &[]), Corrected { mended: 2, left: 0 });
        assert_eq!(damaged, rows);
    }

    #[test]
    fn too_much_damage_is_left_alone() {
        let code = code(2);
        let right = codeword(&code, b"abc");
        let mut wrong = right.clone();
        wrong[3] ^= 1;
        wrong[4] ^= 1;
        wrong[5] ^= 1;
        let before = wrong.clone();
        assert_eq!(code.correct(&mut wrong, 1, &[3, 4, 5]), Corrected { mended: 0, left: 1 });
        assert_eq!(wrong, before);
    }

    proptest! {
        /// Every pattern within the bound is mended, whatever part of it is known beforehand.
        #[test]
        fn damage_within_the_bound_is_mended(
            roots in 2_u8..=24,
            data in proptest::collection::vec(any::<u8>(), 1..255),
            places in proptest::sample::subsequence((0..255_usize).collect::<Vec<_>>(), 24),
            values in proptest::collection::vec(1_u8.., 24),
            known in 0_usize..=24,
        ) {
            let code = code(roots);
            let right = codeword(&code, &data);
            let known = known.min(usize::from(roots));
            let unknown = (usize::from(roots) - known) / 2;
            let mut wrong = right.clone();
            for (at, value) in places.iter().zip(&values).take(known + unknown) {
                wrong[*at] ^= value;
            }
            let corrected = code.correct(&mut wrong, 1, &places[..known]);
            prop_assert_eq!(corrected.left, 0);
            prop_assert_eq!(wrong, right);
        }

        /// Beyond the bound nothing is promised but this: what counts as mended is a codeword, what does not is
        /// untouched.
        #[test]
        fn anything_ends_as_a_codeword_or_as_it_was(
            roots in 2_u8..=24,
            word in proptest::collection::vec(any::<u8>(), 255),
            erased in proptest::sample::subsequence((0..255_usize).collect::<Vec<_>>(), 0..30),
        ) {
            let code = code(roots);
            let mut mended = word.clone();
            let corrected = code.correct(&mut mended, 1, &erased);
            if corrected.left == 1 {
                prop_assert_eq!(mended, word);
            } else {
                prop_assert_eq!(encode(&code, &mended[..code.data_rows()], 1), &mended[code.data_rows()..]);
            }
        }
    }
}
