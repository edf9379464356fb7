//! Text for terminals: names from an image are shown, never obeyed.

use std::fmt::{self, Display, Write as _};

/// Text that may come from an image: control characters are escaped, so that a terminal does not obey them.
pub(super) struct Clean<'a>(pub(super) &'a str);

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

/// Not control characters, and not those that change the direction of the text around them.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A path of an image: as [`Clean`], and each byte that is not UTF-8 as `\xNN`.
pub(super) struct Path<'a>(pub(super) &'a [u8]);

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

/// A size with its unit, exact below 10 KiB.
pub(super) struct Size(pub(super) u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut value, mut unit) = (self.0, "bytes");
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if value < 10_240 {
                break;
            }
            (value, unit) = (value / 1024, larger);
        }
        write!(f, "{value} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sees_no_control_characters() {
        assert_eq!(Clean("a\x1b[2Jb\nc\u{202e}").to_string(), "a\\u{1b}[2Jb\\nc\\u{202e}");
        assert_eq!(Clean("grün ok").to_string(), "grün ok");
        assert_eq!(Path(b"etc/\xff\x07x").to_string(), "etc/\\xff\\u{7}x");
    }

    #[test]
    fn sizes_are_exact_while_they_are_small() {
        assert_eq!(Size(0).to_string(), "0 bytes");
        assert_eq!(Size(10_239).to_string(), "10239 bytes");
        assert_eq!(Size(49_152).to_string(), "48 KiB");
        assert_eq!(Size(u64::MAX).to_string(), "16777215 TiB");
    }
}
