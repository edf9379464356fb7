//! SHA-256 of many messages at once, where the processor has instructions for it that one message does not keep busy.
//!
//! ```text
//!  before ‖ body 0 ─► digest 0      two messages go through the compression function in turn, some rounds each:
//!  before ‖ body 1 ─► digest 1      while one waits for its last round, the other fills the gap
//!  …
//! ```
//!
//! It is for x86-64 with the SHA extensions; [`Prefixed::new`] returns `None` on every other processor, and the caller hashes one
//! message after the other with what it has. Where Intel's processors have AVX-512, sixteen messages go side by side. Kernels are
//! safe functions that are compiled for those instructions; the only unsafe code is the calls of them, behind the question
//! whether the processor has them, and how 64 bytes get into a register and out of it.
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        reason = "tests compute with their own small numbers; a panic there is a failed test"
    )
)]

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "x86_64")]
mod wide;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__cpuid, __m512i, _mm512_loadu_si512, _mm512_storeu_si512};

/// Bytes that the compression function takes at once.
#[cfg(target_arch = "x86_64")]
const BLOCK_BYTES: usize = 64;

/// What messages begin with, hashed as far as that is possible beforehand, on a processor that can hash many.
#[derive(Clone)]
pub struct Prefixed {
    #[cfg(target_arch = "x86_64")]
    start: x86::Start,
    /// Whether sixteen at once are faster than two in turn.
    #[cfg(target_arch = "x86_64")]
    wide: bool,
    #[cfg(not(target_arch = "x86_64"))]
    never: std::convert::Infallible,
}

impl Prefixed {
    /// Makes ready for messages that begin with `before`; `None` when this processor cannot do more than one at a time.
    #[must_use]
    pub fn new(before: &[u8]) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if x86::is_supported() {
            // SAFETY: the processor has the instructions that the function is compiled for: it was just asked.
            let start = unsafe { x86::Start::new(before) };
            return Some(Self { start, wide: wide::is_faster() });
        }
        let _ = before;
        None
    }

    /// Hashes what the messages begin with and each `body_bytes` of `bodies` into each of `digests`.
    ///
    /// *Shape*: as many digests are written as there are both whole bodies and places; a rest of `bodies` is not read.
    pub fn digest_each(&self, bodies: &[u8], body_bytes: usize, digests: &mut [[u8; 32]]) {
        #[cfg(target_arch = "x86_64")]
        let (bodies, digests) = self.digest_sixteens(bodies, body_bytes, digests);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: this value exists, so `new` found that the processor has the instructions.
        unsafe {
            x86::digest_each(&self.start, bodies, body_bytes, digests);
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (bodies, body_bytes, digests);
            match self.never {}
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Prefixed {
    /// Hashes as many as there are sixteen of, where that is faster, and returns the others.
    fn digest_sixteens<'b, 'd>(
        &self,
        mut bodies: &'b [u8],
        body_bytes: usize,
        mut digests: &'d mut [[u8; 32]],
    ) -> (&'b [u8], &'d mut [[u8; 32]]) {
        let group_bytes = body_bytes.saturating_mul(wide::LANES);
        while self.wide && body_bytes > 0 && bodies.len() >= group_bytes && digests.len() >= wide::LANES {
            let (group, others) = bodies.split_at_checked(group_bytes).unwrap_or_default();
            let (now, later) = digests.split_at_mut(wide::LANES);
            let mut group = group.chunks_exact(body_bytes);
            let group = std::array::from_fn(|_| group.next().unwrap_or_default());
            // SAFETY: `wide` says that the processor has the instructions.
            let found = unsafe { wide::digest_group(&self.start, group) };
            now.copy_from_slice(&found);
            (bodies, digests) = (others, later);
        }
        (bodies, digests)
    }
}

/// 64 bytes in a register.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; BLOCK_BYTES]) -> __m512i {
    // SAFETY: the bytes are there to be read; they may stand anywhere.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// The words of a register.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn store(words: __m512i) -> [u32; 16] {
    let mut stored = [0; 16];
    // SAFETY: there is room for all of the register; it may stand anywhere.
    unsafe { _mm512_storeu_si512(stored.as_mut_ptr().cast(), words) }
    stored
}

/// Whether Intel made the processor.
#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe, reason = "later compilers take the call for safe")]
fn is_of_intel() -> bool {
    // SAFETY: every processor of this architecture has the instruction.
    let vendor = unsafe { __cpuid(0) };
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes) == [*b"Genu", *b"ineI", *b"ntel"]
}

impl std::fmt::Debug for Prefixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefixed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::Digest as _;

    fn bytes(len: usize, seed: u8) -> Vec<u8> {
        (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8)).to_le_bytes()[0] ^ seed).collect()
    }

    fn compare(before: &[u8], bodies: &[u8], body_bytes: usize) {
        let Some(prefixed) = Prefixed::new(before) else { return };
        let expected: Vec<[u8; 32]> = bodies
            .chunks_exact(body_bytes)
            .map(|body| sha2::Sha256::new_with_prefix(before).chain_update(body).finalize().into())
            .collect();
        let mut digests = vec![[0xee; 32]; expected.len() + 1];
        prefixed.digest_each(bodies, body_bytes, &mut digests);
        assert_eq!(digests.pop(), Some([0xee; 32]), "a place without a body is left alone");
        assert_eq!(digests, expected);
    }

    /// The messages of FIPS 180-2, appendix B, and RFC 6234, section 8.5, cut in two at every place.
    #[test]
    fn known_answers() {
        const ANSWERS: [(&str, [u8; 4]); 3] = [
            ("abc", [0xba, 0x78, 0x16, 0xbf]),
            ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", [0x24, 0x8d, 0x6a, 0x61]),
            (
                "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno\
                 ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
                [0xcf, 0x5b, 0x16, 0xa7],
            ),
        ];
        for (message, answer) in ANSWERS {
            for at in 0..message.len() {
                let (before, body) = message.as_bytes().split_at(at);
                let Some(prefixed) = Prefixed::new(before) else { return };
                let mut digests = [[0; 32]; 5];
                prefixed.digest_each(&body.repeat(5), body.len(), &mut digests);
                let mut many = vec![[0; 32]; 37];
                prefixed.digest_each(&body.repeat(37), body.len(), &mut many);
                for digest in many.into_iter().chain(digests) {
                    assert_eq!(digest[..4], answer, "{message} cut at {at}");
                }
            }
        }
    }

    /// Every length of a message modulo a block, with every number of bytes in common.
    #[test]
    fn every_way_a_message_ends() {
        for before in 0..=130 {
            for body in 1..=130 {
                compare(&bytes(before, 3), &bytes(body * 21, 7), body);
            }
        }
    }

    #[test]
    fn nothing_to_hash_is_nothing() {
        let Some(prefixed) = Prefixed::new(b"salt") else { return };
        let mut digests = [[7; 32]; 2];
        prefixed.digest_each(b"", 64, &mut digests);
        prefixed.digest_each(b"rest", 64, &mut digests);
        prefixed.digest_each(b"rest", 0, &mut digests);
        assert_eq!(digests, [[7; 32]; 2]);
        prefixed.digest_each(&[0; 640], 64, &mut []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn many_are_each_alone(
            before in proptest::collection::vec(any::<u8>(), 0..=300),
            body_bytes in 1_usize..5000, count in 0_usize..50, rest in 0_usize..100, seed: u8,
        ) {
            compare(&before, &bytes(body_bytes * count + rest % body_bytes, seed), body_bytes);
        }
    }
}
