//! SHA-256 of sixteen messages side by side: a register of AVX-512 has one word of each of them.
//!
//! On Intel's processors the unit for SHA has one message in turn with another go little faster than alone, and adding,
//! rotating and choosing sixteen words at once is faster than both.
//!
//! *Spec*: FIPS 180-4, section 6.2.

use crate::x86::{Block, K, Start, drive};
use crate::{load, store};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_ror_epi32, _mm512_set_epi64, _mm512_set1_epi32, _mm512_shuffle_epi8,
    _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::sync::OnceLock;

/// Messages side by side.
pub(crate) const LANES: usize = 16;

/// The eight words between two blocks, of all messages.
type State = [__m512i; 8];
/// Sixteen words of the message schedule, of all messages.
type Words = [__m512i; 16];

/// Whether the processor has what the functions of this file are compiled for, and is one that they are faster on.
pub(crate) fn is_faster() -> bool {
    // Asked once: in a virtual machine the host answers, which takes as long as opening an image.
    static IS_OF_INTEL: OnceLock<bool> = OnceLock::new();
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && *IS_OF_INTEL.get_or_init(crate::is_of_intel)
}

/// The digests of messages that go on with `bodies`, which are of one length.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn digest_group(start: &Start, bodies: [&[u8]; LANES]) -> [[u8; 32]; LANES] {
    let mut state = start.words.map(|word| _mm512_set1_epi32(word.cast_signed()));
    drive(start, bodies, |blocks| compress(&mut state, blocks));
    let mut digests = [[0; 32]; LANES];
    for (at, words) in state.into_iter().enumerate() {
        for (digest, word) in digests.iter_mut().zip(store(words)) {
            if let Some(bytes) = digest.as_chunks_mut().0.get_mut(at) {
                *bytes = word.to_be_bytes();
            }
        }
    }
    digests
}

/// Takes one block of each message through the 64 rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn compress(state: &mut State, blocks: &[&Block; LANES]) {
    let before = *state;
    // Written out: what an array's `map` calls is not made a part of this function.
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15] = *blocks;
    let mut words = transpose([
        swap(load(b0)),
        swap(load(b1)),
        swap(load(b2)),
        swap(load(b3)),
        swap(load(b4)),
        swap(load(b5)),
        swap(load(b6)),
        swap(load(b7)),
        swap(load(b8)),
        swap(load(b9)),
        swap(load(b10)),
        swap(load(b11)),
        swap(load(b12)),
        swap(load(b13)),
        swap(load(b14)),
        swap(load(b15)),
    ]);
    let [first, later @ ..] = &K;
    *state = sixteen_rounds(*state, &words, first);
    for k in later {
        words = advance(words);
        *state = sixteen_rounds(*state, &words, k);
    }
    for (word, before) in state.iter_mut().zip(before) {
        *word = _mm512_add_epi32(*word, before);
    }
}

/// The sixteen words of the message schedule behind `w`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn advance(mut w: Words) -> Words {
    macro_rules! next {
        ($($at:literal $second:literal $tenth:literal $fifteenth:literal),*) => {$(
            w[$at] = add4(w[$at], sigma_0(w[$second]), w[$tenth], sigma_1(w[$fifteenth]));
        )*};
    }
    next!(
        0 1 9 14, 1 2 10 15, 2 3 11 0, 3 4 12 1,
        4 5 13 2, 5 6 14 3, 6 7 15 4, 7 8 0 5,
        8 9 1 6, 9 10 2 7, 10 11 3 8, 11 12 4 9,
        12 13 5 10, 13 14 6 11, 14 15 7 12, 15 0 8 13
    );
    w
}

/// Sixteen rounds with as many words of the message schedule. Names change places instead of words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sixteen_rounds(state: State, words: &Words, k: &[[u32; 4]; 4]) -> State {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    macro_rules! round {
        ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $at:literal) => {
            let constant = _mm512_set1_epi32(k[$at / 4][$at % 4].cast_signed());
            let with_word = _mm512_add_epi32(words[$at], constant);
            let first = add4($h, big_sigma_1($e), choose($e, $f, $g), with_word);
            $d = _mm512_add_epi32($d, first);
            $h = _mm512_add_epi32(first, _mm512_add_epi32(big_sigma_0($a), majority($a, $b, $c)));
        };
    }
    round!(a b c d e f g h, 0);
    round!(h a b c d e f g, 1);
    round!(g h a b c d e f, 2);
    round!(f g h a b c d e, 3);
    round!(e f g h a b c d, 4);
    round!(d e f g h a b c, 5);
    round!(c d e f g h a b, 6);
    round!(b c d e f g h a, 7);
    round!(a b c d e f g h, 8);
    round!(h a b c d e f g, 9);
    round!(g h a b c d e f, 10);
    round!(f g h a b c d e, 11);
    round!(e f g h a b c d, 12);
    round!(d e f g h a b c, 13);
    round!(c d e f g h a b, 14);
    round!(b c d e f g h a, 15);
    [a, b, c, d, e, f, g, h]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add4(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d))
}

/// The exclusive or of three; the constant is the table of its values.
#[inline]
#[target_feature(enable = "avx512f")]
fn xor(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

/// Bits of `b` where `a` has ones, else of `c`.
#[inline]
#[target_feature(enable = "avx512f")]
fn choose(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xca>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn majority(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xe8>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn big_sigma_0(x: __m512i) -> __m512i {
    xor(_mm512_ror_epi32::<2>(x), _mm512_ror_epi32::<13>(x), _mm512_ror_epi32::<22>(x))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn big_sigma_1(x: __m512i) -> __m512i {
    xor(_mm512_ror_epi32::<6>(x), _mm512_ror_epi32::<11>(x), _mm512_ror_epi32::<25>(x))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sigma_0(x: __m512i) -> __m512i {
    xor(_mm512_ror_epi32::<7>(x), _mm512_ror_epi32::<18>(x), _mm512_srli_epi32::<3>(x))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sigma_1(x: __m512i) -> __m512i {
    xor(_mm512_ror_epi32::<17>(x), _mm512_ror_epi32::<19>(x), _mm512_srli_epi32::<10>(x))
}

/// Words that are big-endian.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn swap(words: __m512i) -> __m512i {
    const HIGH: i64 = 0x0c0d_0e0f_0809_0a0b;
    const LOW: i64 = 0x0405_0607_0001_0203;
    _mm512_shuffle_epi8(words, _mm512_set_epi64(HIGH, LOW, HIGH, LOW, HIGH, LOW, HIGH, LOW))
}

/// From sixteen words of each message to one word of all messages.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: Words) -> Words {
    // Of four messages, the words that are in one place of each quarter of a register.
    let [m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15] = rows;
    let (a, b) = (four(m0, m1, m2, m3), four(m4, m5, m6, m7));
    let (c, d) = (four(m8, m9, m10, m11), four(m12, m13, m14, m15));
    let [w0, w4, w8, w12] = quarters(a[0], b[0], c[0], d[0]);
    let [w1, w5, w9, w13] = quarters(a[1], b[1], c[1], d[1]);
    let [w2, w6, w10, w14] = quarters(a[2], b[2], c[2], d[2]);
    let [w3, w7, w11, w15] = quarters(a[3], b[3], c[3], d[3]);
    [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn four(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let (low_ab, high_ab) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (low_cd, high_cd) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(low_ab, low_cd),
        _mm512_unpackhi_epi64(low_ab, low_cd),
        _mm512_unpacklo_epi64(high_ab, high_cd),
        _mm512_unpackhi_epi64(high_ab, high_cd),
    ]
}

/// The first quarters of all, the second ones, the third and the fourth.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let (even_ab, odd_ab) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
    let (even_cd, odd_cd) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
    [
        _mm512_shuffle_i32x4::<0x88>(even_ab, even_cd),
        _mm512_shuffle_i32x4::<0x88>(odd_ab, odd_cd),
        _mm512_shuffle_i32x4::<0xdd>(even_ab, even_cd),
        _mm512_shuffle_i32x4::<0xdd>(odd_ab, odd_cd),
    ]
}
