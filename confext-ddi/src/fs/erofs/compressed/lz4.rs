//! The start of an LZ4 block: libraries unpack whole ones only.
//!
//! A cluster that several files share may hold more than one of them has of it, and clusters of before 2019 do not say
//! where their stream ends.
//!
//! *Spec:* "LZ4 Block Format Description" of the LZ4 project.

/// Unpacks until `out` is full or the block ends, and returns how many bytes that gave.
pub(super) fn unpack_start(packed: &[u8], out: &mut [u8]) -> Result<usize, String> {
    let mut input = packed.iter();
    let mut len = 0_usize;
    while len < out.len() {
        let Some(&token) = input.next() else { break };
        let literals = length(token >> 4, &mut input)?;
        let source = input.as_slice();
        let wanted = literals.min(out.len().saturating_sub(len));
        let bytes = source.get(..wanted).ok_or("literals that end after the block")?;
        let end = len.saturating_add(wanted);
        out.get_mut(len..end).ok_or("literals out of range")?.copy_from_slice(bytes);
        len = end;
        if len == out.len() {
            break;
        }
        input = source.get(literals.min(source.len())..).unwrap_or_default().iter();
        // The last sequence has no match.
        let (Some(&low), Some(&high)) = (input.next(), input.next()) else { break };
        let distance = usize::from(u16::from_le_bytes([low, high]));
        let matched = length(token & 0xf, &mut input)?.saturating_add(4);
        let from = len.checked_sub(distance).filter(|_| distance > 0).ok_or("a match before the start")?;
        len = repeat(out, from, len, matched).ok_or("a match out of range")?;
    }
    Ok(len)
}

/// A length of four bits, and the bytes that add to it when all of those are set.
fn length(nibble: u8, input: &mut std::slice::Iter<'_, u8>) -> Result<usize, String> {
    let mut length = usize::from(nibble);
    if nibble == 0xf {
        loop {
            let &byte = input.next().ok_or("a length that ends after the block")?;
            length = length.saturating_add(byte.into());
            if byte != 0xff {
                break;
            }
        }
    }
    Ok(length)
}

/// Copies `count` bytes from `from` to `to`, as far as there is room; they may overlap, and then repeat.
fn repeat(out: &mut [u8], from: usize, to: usize, count: usize) -> Option<usize> {
    let end = to.saturating_add(count).min(out.len());
    let mut at = to;
    while at < end {
        // What is there already, twice as much each time.
        let step = at.checked_sub(from)?.min(end.checked_sub(at)?);
        out.copy_within(from..from.checked_add(step)?, at);
        at = at.checked_add(step)?;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_start_is_what_the_whole_starts_with() {
        let bytes: Vec<u8> = (0..5000_u32)
            .map(|index| if index % 900 < 300 { b'x' } else { ((index * index) >> 7) as u8 })
            .collect();
        let packed = lz4_flex::block::compress(&bytes);
        for len in 0..=bytes.len() {
            let mut out = vec![0; len];
            assert_eq!(unpack_start(&packed, &mut out), Ok(len));
            assert!(out == bytes[..len], "{len}");
        }
        let mut out = vec![0; bytes.len() + 1];
        assert_eq!(unpack_start(&packed, &mut out), Ok(bytes.len()));
    }

    #[test]
    fn damaged_blocks_are_refused_or_cut() {
        let mut out = [0; 32];
        for packed in [
            &[0xf0][..],
            &[0xf0, 0xff],
            &[0x40, b'a'],
            &[0x10, b'a', 0, 0],
            &[0x10, b'a', 2, 0],
            &[0x1f, b'a', 1, 0],
        ] {
            assert!(unpack_start(packed, &mut out).is_err(), "{packed:?}");
        }
        assert_eq!(unpack_start(&[], &mut out), Ok(0));
        assert_eq!(unpack_start(&[0x14, b'a', 1, 0], &mut out), Ok(9));
        assert_eq!(out[..10], *b"aaaaaaaaa\0");
    }
}
