//! Text from an image for people: names are shown, never obeyed.

use std::fmt::{self, Display, Write as _};

/// Text that may come from an image: characters that do something, or cannot be seen, are escaped.
pub(crate) struct Clean<'a>(pub(crate) &'a str);

impl Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_harmless(character) {
                f.write_char(character)?;
            } else {
                write!(f, "{}", character.escape_default())?;
            }
        }
        Ok(())
    }
}

/// Not control characters, not those that change the direction of the text around them or end a line, and not those without
/// a width: two names that differ would look the same.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// A path of an image: as [`Clean`], and each byte that is not UTF-8 as `\xNN`.
pub(crate) struct Path<'a>(pub(crate) &'a [u8]);

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            Clean(chunk.valid()).fmt(f)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_obeyed_and_nothing_is_invisible() {
        assert_eq!(Clean("a\x1b[2Jb\nc\u{202e}").to_string(), "a\\u{1b}[2Jb\\nc\\u{202e}");
        assert_eq!(Clean("a\u{200b}b\u{2028}c\u{feff}").to_string(), "a\\u{200b}b\\u{2028}c\\u{feff}");
        assert_eq!(Clean("grün ok").to_string(), "grün ok");
        assert_eq!(Path(b"etc/\xff\x07x").to_string(), "etc/\\xff\\u{7}x");
    }
}
