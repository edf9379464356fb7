//! SHA-256 of many messages at once, where the processor can do that.
//!
//! The code that does it is young, so it is asked for digests that are known before it is used, and `sha2` takes its place
//! when it is wrong or has nothing faster to offer.

#[cfg(feature = "simd")]
use std::sync::OnceLock;

/// Whether [`sha256`] may be called and is faster than one message after the other. Found out once.
#[cfg(feature = "simd")]
pub(super) fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| !tape_sha256::backend().starts_with("portable") && knows_answers(sha256))
}

/// The same without the feature: no.
#[cfg(not(feature = "simd"))]
pub(super) const fn is_usable() -> bool {
    false
}

/// Hashes `before` and each of `bodies` into each of `digests`, of which there are as many.
#[cfg(feature = "simd")]
pub(super) fn sha256(before: &[u8], bodies: &[&[u8]], digests: &mut [[u8; 32]]) {
    let count = bodies.len().min(digests.len());
    if let (Some(bodies), Some(digests)) = (bodies.get(..count), digests.get_mut(..count)) {
        tape_sha256::hash_many_prefixed(before, bodies, digests);
    }
}

/// Is never called: [`is_usable`] says so.
#[cfg(not(feature = "simd"))]
pub(super) const fn sha256(_: &[u8], _: &[&[u8]], _: &mut [[u8; 32]]) {}

#[cfg(any(feature = "simd", test))]
type Sha256Many = fn(&[u8], &[&[u8]], &mut [[u8; 32]]);

/// Asks for digests that are known: of messages whose padding takes one block or two, in batches that fill the lanes of
/// every implementation, and in some that do not.
#[cfg(any(feature = "simd", test))]
fn knows_answers(sha256: Sha256Many) -> bool {
    const BATCHES: [usize; 6] = [1, 3, 4, 17, 33, 64];
    BATCHES.iter().all(|count| {
        ANSWERS.iter().all(|(before, body, expected)| {
            let bodies = vec![body.as_bytes(); *count];
            let mut digests = vec![[0; 32]; *count];
            sha256(before.as_bytes(), &bodies, &mut digests);
            digests.iter().all(|digest| const_hex::encode(digest) == *expected)
        }) && matches_reference(sha256, *count)
    })
}

/// Messages that differ from lane to lane, of the sizes that trees have, compared with `sha2`.
#[cfg(any(feature = "simd", test))]
fn matches_reference(sha256: Sha256Many, count: usize) -> bool {
    let salt = [0x5a; 32];
    let bytes: Vec<u8> = (0_u8..=250).cycle().take(4096_usize.saturating_add(count)).collect();
    let bodies: Vec<&[u8]> = bytes.windows(4096).take(count).collect();
    let mut digests = vec![[0; 32]; bodies.len()];
    sha256(&salt, &bodies, &mut digests);
    bodies.iter().zip(&digests).all(|(body, digest)| *digest == crate::digest::sha256(&[&salt, body]))
}

/// Prefix, message and digest; the messages are those of FIPS 180-2, appendix B, and RFC 6234, section 8.5.
#[cfg(any(feature = "simd", test))]
const ANSWERS: [(&str, &str, &str); 4] = [
    ("", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
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

    fn one_by_one(before: &[u8], bodies: &[&[u8]], digests: &mut [[u8; 32]]) {
        for (body, digest) in bodies.iter().zip(digests) {
            *digest = crate::digest::sha256(&[before, body]);
        }
    }

    #[test]
    fn answers_are_right() {
        assert!(knows_answers(one_by_one));
        #[cfg(feature = "simd")]
        assert!(knows_answers(sha256), "{}", tape_sha256::backend());
    }

    #[test]
    fn what_is_wrong_is_not_used() {
        assert!(!knows_answers(|_, _, _| ()));
        assert!(!knows_answers(|_, bodies, digests| one_by_one(b"", bodies, digests)));
        assert!(!knows_answers(|before, bodies, digests| {
            one_by_one(before, bodies, digests);
            // One lane of many.
            if let Some(digest) = digests.get_mut(16) {
                digest[31] ^= 1;
            }
        }));
        assert!(!knows_answers(|before, bodies, digests| {
            one_by_one(before, bodies, digests);
            // Lanes changed places.
            if digests.len() > 1 {
                digests.swap(0, 1);
            }
        }));
    }
}
