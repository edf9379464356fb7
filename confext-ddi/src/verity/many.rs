//! SHA-256 of many blocks at once, where the crate is built with it and the processor can do it.
//!
//! The code that does it is asked for digests that are known before its first use. One block after the other is hashed
//! by `sha2` where it does not know them.

#[cfg(feature = "simd")]
pub(super) use confext_sha256::Prefixed;

/// Nothing: without the feature there is none.
#[cfg(not(feature = "simd"))]
#[derive(Debug, Clone)]
pub(super) enum Prefixed {}

#[cfg(not(feature = "simd"))]
impl Prefixed {
    pub(super) const fn digest_each(&self, _: &[u8], _: usize, _: &mut [[u8; 32]]) {
        match *self {}
    }
}

/// Makes ready for blocks behind `before`; `None` when they are to be hashed one after the other.
#[cfg(feature = "simd")]
pub(super) fn prefixed(before: &[u8]) -> Option<Prefixed> {
    static KNOWS_ANSWERS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let hash = |before: &[u8], bodies: &[u8], body_bytes, digests: &mut [[u8; 32]]| {
        if let Some(prefixed) = Prefixed::new(before) {
            prefixed.digest_each(bodies, body_bytes, digests);
        }
    };
    KNOWS_ANSWERS.get_or_init(|| knows_answers(&hash)).then(|| Prefixed::new(before)).flatten()
}

/// The same without the feature: nothing.
#[cfg(not(feature = "simd"))]
pub(super) const fn prefixed(_: &[u8]) -> Option<Prefixed> {
    None
}

/// What hashes bytes that all messages begin with and each body of a size into a digest.
#[cfg(any(feature = "simd", test))]
type HashMany<'a> = &'a dyn Fn(&[u8], &[u8], usize, &mut [[u8; 32]]);

/// Asks for digests that are known: of messages whose padding takes one block or two, in numbers that fill all streams
/// and in some that do not; then of blocks as trees have them, which differ, compared with `sha2`.
#[cfg(any(feature = "simd", test))]
fn knows_answers(hash: HashMany<'_>) -> bool {
    let known = ANSWERS.iter().all(|(before, body, expected)| {
        (1..=5).chain([16, 33]).all(|count| {
            let mut digests = vec![[0; 32]; count];
            hash(before.as_bytes(), body.repeat(count).as_bytes(), body.len(), &mut digests);
            digests.iter().all(|digest| const_hex::encode(digest) == *expected)
        })
    });
    // Sixteen and three: enough for each kernel that there is.
    let (salt, block_bytes) = ([0x5a; 32], 1024_usize);
    let blocks: Vec<u8> = (0_u8..=250).cycle().take(19 * 1024).collect();
    let mut digests = [[0; 32]; 19];
    hash(&salt, &blocks, block_bytes, &mut digests);
    let mut pairs = blocks.chunks(block_bytes).zip(digests);
    known && pairs.all(|(block, digest)| digest == crate::digest::sha256(&[&salt, block]))
}

/// What comes first, the rest, and the digest; the messages are those of FIPS 180-2, appendix B, and RFC 6234, section
/// 8.5.
#[cfg(any(feature = "simd", test))]
const ANSWERS: [(&str, &str, &str); 3] = [
    ("a", "bc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        "abcdbcdecdefdefgefghfghigh",
        "ijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
    (
        "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn",
        "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn one_by_one(before: &[u8], bodies: &[u8], body_bytes: usize, digests: &mut [[u8; 32]]) {
        for (body, digest) in bodies.chunks(body_bytes).zip(digests) {
            *digest = crate::digest::sha256(&[before, body]);
        }
    }

    #[test]
    fn answers_are_right() {
        assert!(knows_answers(&one_by_one));
    }

    #[cfg(feature = "simd")]
    #[test]
    fn it_is_used_where_the_processor_can() {
        assert_eq!(prefixed(b"salt").is_some(), Prefixed::new(b"salt").is_some());
    }

    #[test]
    fn what_is_wrong_is_not_used() {
        assert!(!knows_answers(&|_, _, _, _| ()));
        assert!(!knows_answers(&|_, bodies, body_bytes, digests| one_by_one(
            b"", bodies, body_bytes, digests
        )));
        // One stream of several.
        assert!(!knows_answers(&|before, bodies, body_bytes, digests| {
            one_by_one(before, bodies, body_bytes, digests);
            if let Some(digest) = digests.get_mut(1) {
                digest[31] ^= 1;
            }
        }));
        // Streams that change places, which messages that are the same do not show.
        assert!(!knows_answers(&|before, bodies, body_bytes, digests| {
            one_by_one(before, bodies, body_bytes, digests);
            if digests.len() > 1 {
                digests.swap(0, 1);
            }
        }));
    }
}
