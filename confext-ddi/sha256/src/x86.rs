//! SHA-256 by the instructions `sha256rnds2`, `sha256msg1` and `sha256msg2`, with several messages in turn.
//!
//! Two rounds need the result of the two before, for which `sha256rnds2` takes four cycles or more, but the unit can start
//! another after two: one message leaves half of it idle.
//!
//! *Spec*: FIPS 180-4, section 6.2. A register has the words A, B, E, F or C, D, G, H, the first in the highest lane; the
//! message schedule stands in order, the first word in the lowest lane.

use crate::BLOCK_BYTES;
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

pub(crate) type Block = [u8; BLOCK_BYTES];

const ZEROS: Block = [0; BLOCK_BYTES];
/// Messages hashed in turn. Two fill the unit, and their words fit into the sixteen registers; those of three do not.
const STREAMS: usize = 2;
/// The bytes behind a message: one with its highest bit set, and its length.
const END_BYTES: usize = 9;

/// Whether the processor has all that the functions of this file are compiled for.
pub(crate) fn is_supported() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1")
}

/// The words between two blocks.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// A message after the bytes that all have in common.
#[derive(Clone)]
pub(crate) struct Start {
    /// After all whole blocks of them.
    state: State,
    /// The same as words, A to H.
    pub(crate) words: [u32; 8],
    /// What is behind the whole blocks, with zeros behind it.
    open: Block,
    /// How many bytes of `open` are in use: less than a block.
    held: usize,
    /// How many bytes are common.
    len_bytes: usize,
}

impl Start {
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub(crate) fn new(before: &[u8]) -> Self {
        let (blocks, rest) = before.as_chunks();
        let mut states = [initial()];
        for block in blocks {
            compress(&mut states, &[block]);
        }
        let [state] = states;
        let mut open = ZEROS;
        put(&mut open, 0, rest);
        Self { state, words: words(state), open, held: rest.len(), len_bytes: before.len() }
    }
}

/// Hashes each `body_bytes` of `bodies` behind `start`.
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(crate) fn digest_each(start: &Start, bodies: &[u8], body_bytes: usize, digests: &mut [[u8; 32]]) {
    let mut bodies = bodies.chunks_exact(body_bytes.max(1));
    let count = if body_bytes == 0 { 0 } else { bodies.len().min(digests.len()) };
    let (groups, rest) = digests.get_mut(..count).unwrap_or_default().as_chunks_mut::<STREAMS>();
    // There are as many bodies as digests: none of them is an empty one.
    for group in groups {
        *group = digest_group(start, std::array::from_fn(|_| bodies.next().unwrap_or_default()));
    }
    for digest in rest {
        [*digest] = digest_group(start, [bodies.next().unwrap_or_default()]);
    }
}

/// The digests of messages that go on with `bodies`, which are of one length.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn digest_group<const N: usize>(start: &Start, bodies: [&[u8]; N]) -> [[u8; 32]; N] {
    let mut states = [start.state; N];
    drive(start, bodies, |blocks| compress(&mut states, blocks));
    let mut digests = [[0; 32]; N];
    for (to, state) in digests.iter_mut().zip(states) {
        for (bytes, word) in to.as_chunks_mut().0.iter_mut().zip(words(state)) {
            *bytes = word.to_be_bytes();
        }
    }
    digests
}

/// Has every block of messages compressed that go on with `bodies`, which are of one length: the next of each at a time.
// Always a part of its caller, so that it is compiled for the caller's instructions.
#[inline(always)]
pub(crate) fn drive<const N: usize>(
    start: &Start,
    mut bodies: [&[u8]; N],
    mut compress: impl FnMut(&[&Block; N]),
) {
    let body_bytes = bodies.first().map_or(0, |body| body.len());
    let mut open = [start.open; N];
    let mut held = start.held;
    let missing = BLOCK_BYTES.saturating_sub(held);
    if held > 0 && body_bytes >= missing {
        for (block, body) in open.iter_mut().zip(&mut bodies) {
            let (filling, rest) = body.split_at_checked(missing).unwrap_or_default();
            put(block, held, filling);
            *body = rest;
        }
        compress(&open.each_ref());
        (open, held) = ([ZEROS; N], 0);
    }
    if held == 0 {
        let mut whole = bodies.map(|body| body.as_chunks().0.iter());
        for _ in 0..whole.first().map_or(0, ExactSizeIterator::len) {
            compress(&whole.each_mut().map(|blocks| blocks.next().unwrap_or(&ZEROS)));
        }
        bodies = bodies.map(|body| body.as_chunks::<BLOCK_BYTES>().1);
    }
    // Less than a block is left: it ends with one bit, zeros, and the length of the message in bits.
    let used = held.saturating_add(bodies.first().map_or(0, |body| body.len()));
    for (block, body) in open.iter_mut().zip(&bodies) {
        put(block, held, body);
        put(block, used, &[0x80]);
    }
    if used.saturating_add(END_BYTES) > BLOCK_BYTES {
        compress(&open.each_ref());
        open = [ZEROS; N];
    }
    let bytes = u64::try_from(start.len_bytes.saturating_add(body_bytes)).unwrap_or(u64::MAX);
    let bits = bytes.wrapping_mul(8).to_be_bytes();
    for block in &mut open {
        put(block, BLOCK_BYTES.saturating_sub(bits.len()), &bits);
    }
    compress(&open.each_ref());
}

/// Copies `bytes` into a block; what does not fit is left out.
fn put(block: &mut Block, at: usize, bytes: &[u8]) {
    for (to, from) in block.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// Takes one block of each message through the 64 rounds.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress<const N: usize>(states: &mut [State; N], blocks: &[&Block; N]) {
    let before = *states;
    let mut schedules = [[_mm_setzero_si128(); 4]; N];
    for (schedule, block) in schedules.iter_mut().zip(blocks) {
        *schedule = load(block);
    }
    let [first @ .., last] = &K;
    for sixteen in first {
        for k in sixteen {
            for (state, schedule) in states.iter_mut().zip(&mut schedules) {
                let [now, ..] = *schedule;
                *state = four_rounds(*state, now, k);
                *schedule = advance(*schedule);
            }
        }
    }
    for (at, k) in last.iter().enumerate() {
        for (state, schedule) in states.iter_mut().zip(&schedules) {
            if let Some(now) = schedule.get(at) {
                *state = four_rounds(*state, *now, k);
            }
        }
    }
    for (state, before) in states.iter_mut().zip(&before) {
        state.abef = _mm_add_epi32(state.abef, before.abef);
        state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
    }
}

/// Four rounds with four words of the message schedule.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn four_rounds(state: State, words: __m128i, k: &[u32; 4]) -> State {
    let [k0, k1, k2, k3] = k.map(u32::cast_signed);
    let words = _mm_add_epi32(words, _mm_set_epi32(k3, k2, k1, k0));
    // What was A, B, E, F two rounds ago is C, D, G, H.
    let middle = _mm_sha256rnds2_epu32(state.cdgh, state.abef, words);
    let end = _mm_sha256rnds2_epu32(state.abef, middle, _mm_shuffle_epi32::<0x0e>(words));
    State { abef: end, cdgh: middle }
}

/// Takes the first four words of a message schedule away and adds the next four.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn advance([w0, w4, w8, w12]: [__m128i; 4]) -> [__m128i; 4] {
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w4), _mm_alignr_epi8::<4>(w12, w8));
    [w4, w8, w12, _mm_sha256msg2_epu32(sum, w12)]
}

/// The sixteen words of a block, which are big-endian.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn load(block: &Block) -> [__m128i; 4] {
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let mut words = [_mm_setzero_si128(); 4];
    for (words, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
        if let [low, high] = bytes.as_chunks().0 {
            let loaded = _mm_set_epi64x(i64::from_le_bytes(*high), i64::from_le_bytes(*low));
            *words = _mm_shuffle_epi8(loaded, order);
        }
    }
    words
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn initial() -> State {
    let [a, b, c, d, e, f, g, h] = H.map(u32::cast_signed);
    State { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn words(State { abef, cdgh }: State) -> [u32; 8] {
    let words = [
        _mm_extract_epi32::<3>(abef),
        _mm_extract_epi32::<2>(abef),
        _mm_extract_epi32::<3>(cdgh),
        _mm_extract_epi32::<2>(cdgh),
        _mm_extract_epi32::<1>(abef),
        _mm_extract_epi32::<0>(abef),
        _mm_extract_epi32::<1>(cdgh),
        _mm_extract_epi32::<0>(cdgh),
    ];
    words.map(i32::cast_unsigned)
}

/// The words before the first block: FIPS 180-4, section 5.3.3.
const H: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// One word for each round, four and four together: FIPS 180-4, section 4.2.2.
pub(crate) const K: [[[u32; 4]; 4]; 4] = [
    [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    ],
    [
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    ],
    [
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    ],
    [
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ],
];
