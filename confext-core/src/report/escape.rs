//! Text into HTML and JSON into a script element: whatever a name is made of, it is shown and does nothing.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use crate::text::{Clean, Path};

/// What is shown of a value, with what HTML would read as markup written otherwise. Fit for text and for attributes in
/// double quotes.
pub(super) struct Escaped<T>(T);

/// Text of whatever origin.
pub(super) fn text(text: &str) -> Escaped<Clean<'_>> {
    Escaped(Clean(text))
}

/// A path, which need not be text.
pub(super) fn path(path: &[u8]) -> Escaped<Path<'_>> {
    Escaped(Path(path))
}

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Markup(f), "{}", self.0)
    }
}

struct Markup<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Markup<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                other => self.0.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Takes JSON and writes it so that no end of an element, no comment and no reference can be in it: the three bytes that
/// could begin one stand in JSON only inside of strings.
pub(super) struct InScript<'a>(pub(super) &'a mut dyn Write);

impl Write for InScript<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| b"<>&".contains(byte)) {
            match part.split_last() {
                Some((last, before)) if b"<>&".contains(last) => {
                    self.0.write_all(before)?;
                    write!(self.0, "\\u{last:04x}")?;
                }
                _ => self.0.write_all(part)?,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        let hostile = "</script><b title=\"'&\u{202e}\0";
        assert_eq!(text(hostile).to_string(), "&lt;/script&gt;&lt;b title=&quot;&#39;&amp;\\u{202e}\\u{0}");
        assert_eq!(path(b"a\xff<").to_string(), "a\\xff&lt;");
    }

    #[test]
    fn json_stays_what_it_is_and_ends_no_element() {
        let values = ["</script>", "<!--<script>", "]]>&amp;", "plain", "\u{2028}\"\\"];
        let mut out = Vec::new();
        serde_json::to_writer(InScript(&mut out), &values).unwrap();
        assert!(!out.iter().any(|byte| b"<>&".contains(byte)), "{}", String::from_utf8_lossy(&out));
        assert_eq!(serde_json::from_slice::<Vec<String>>(&out).unwrap(), values);
    }
}
