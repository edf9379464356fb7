//! The content security policy of a page: what it consists of is named by its digest, and nothing else is allowed.

use std::fmt::Write as _;

use confext_ddi::digest;

/// The policy of a page with one script and one style sheet.
///
/// *Spec*: Content Security Policy Level 3, `script-src` and `style-src` with `sha256-` of the text of the element. A picture
/// for the tab is allowed where it is written into the page, so that no browser asks a server for one.
pub(super) fn policy(script: &str, style: &str) -> String {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; base-uri 'none'; form-action 'none'",
        source(script),
        source(style)
    )
}

fn source(text: &str) -> String {
    format!("sha256-{}", base64(&digest::sha256(&[text.as_bytes()])))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// *Spec*: RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let index = usize::try_from((group >> shift) & 63).unwrap_or(0);
            let letter = ALPHABET.get(index).copied().unwrap_or(b'A');
            _ = text.write_char(if place > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_text() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
    }

    #[test]
    fn the_policy_names_digests_as_browsers_compute_them() {
        // Of the example in the specification, section 2.3.1: `<script>alert('Hello, world.');</script>`.
        let policy = policy("alert('Hello, world.');", "");
        assert!(
            policy.contains("script-src 'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"),
            "{policy}"
        );
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"));
    }
}
