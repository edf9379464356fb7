//! The file format of `os-release`.

use crate::Limits;
use crate::error::{Corrupt, LimitExceeded, Result};
use serde::Serialize;
use std::collections::BTreeMap;

/// The assignments of an `os-release` or `extension-release` file.
///
/// ```
/// use confext_ddi::{Limits, release::Release};
///
/// let release = Release::parse(b"ID=debian\nVERSION_ID=\"13\"\n", &Limits::default())?;
/// assert_eq!(release.get("VERSION_ID"), Some("13"));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Release {
    fields: BTreeMap<String, String>,
}

impl Release {
    /// Reads the file's text.
    ///
    /// Quotes, backslashes and comments are as in a shell script and as systemd reads them: `#` and `;` start a comment
    /// line, quoted pieces that follow each other are joined, `\` before a newline continues the line, the later of two
    /// assignments wins. Stricter than systemd, so that a slip is not read as "no restriction": a line that is neither
    /// assignment nor comment, and a quote that is never closed, are errors.
    ///
    /// # Errors
    ///
    /// `release-text`, `release-line`, `release-quote`, each with its line; `limit-bytes` above
    /// [`Limits::release_bytes`].
    ///
    /// *Spec:* os-release(5).
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found > limits.release_bytes {
            return Err(
                LimitExceeded::Bytes { what: "release file", found, most: limits.release_bytes }.into()
            );
        }
        let mut parser = Parser { text: check_text(bytes)?.chars().peekable(), line: 1 };
        let mut fields = BTreeMap::new();
        while let Some((key, value)) = parser.assignment()? {
            fields.insert(key, value);
        }
        Ok(Self { fields })
    }

    /// The value of a field; `None` when the file does not have it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    /// The value of a field; `None` also when it is empty.
    #[must_use]
    pub fn get_filled(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// All fields, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Release {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        Self { fields: fields.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }
}

fn check_text(bytes: &[u8]) -> Result<&str> {
    let (good, text) = match std::str::from_utf8(bytes) {
        Ok(text) => (bytes.iter().position(|&byte| byte == 0), Some(text)),
        Err(error) => (Some(error.valid_up_to()), None),
    };
    match (good, text) {
        (None, Some(text)) => Ok(text),
        (good, _) => {
            let before = bytes.iter().take(good.unwrap_or_default());
            let newlines = before.filter(|&&byte| byte == b'\n').count();
            let line = u64::try_from(newlines).unwrap_or(u64::MAX).saturating_add(1);
            Err(Corrupt::ReleaseText { line }.into())
        }
    }
}

struct Parser<'a> {
    text: std::iter::Peekable<std::str::Chars<'a>>,
    line: u64,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.text.next();
        if next == Some('\n') {
            self.line = self.line.saturating_add(1);
        }
        next
    }

    /// The next assignment, or `None` at the end.
    fn assignment(&mut self) -> Result<Option<(String, String)>> {
        loop {
            match self.text.peek() {
                None => return Ok(None),
                Some('#' | ';') => while self.next().is_some_and(|next| !is_newline(next)) {},
                Some(next) if is_space(*next) => drop(self.next()),
                Some(_) => return Ok(Some((self.key()?, self.value()?))),
            }
        }
    }

    fn key(&mut self) -> Result<String> {
        let line = self.line;
        let mut key = String::new();
        let closed = loop {
            match self.next() {
                Some('=') => break true,
                None => break false,
                Some(next) if is_newline(next) => break false,
                Some(next) => key.push(next),
            }
        };
        key.truncate(key.trim_end_matches(is_space).len());
        let valid = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && key.bytes().next().is_some_and(|first| !first.is_ascii_digit());
        if closed && valid { Ok(key) } else { Err(Corrupt::ReleaseLine { line, found: key }.into()) }
    }

    /// The value up to the end of its line: pieces with and without quotes, joined.
    fn value(&mut self) -> Result<String> {
        let mut value = String::new();
        loop {
            match self.next() {
                None => return Ok(value),
                Some(next) if is_newline(next) => return Ok(value),
                Some(next) if is_space(next) => {}
                Some(quote @ ('\'' | '"')) => self.quoted(quote, &mut value)?,
                Some(first) => {
                    self.plain(first, &mut value);
                    return Ok(value);
                }
            }
        }
    }

    /// An unquoted rest of line; white space at its end does not count, unless escaped.
    fn plain(&mut self, first: char, value: &mut String) {
        let mut keep = value.len();
        let mut next = Some(first);
        while let Some(character) = next.filter(|&character| !is_newline(character)) {
            if character == '\\' {
                if let Some(escaped) = self.next().filter(|&escaped| !is_newline(escaped)) {
                    value.push(escaped);
                }
                keep = value.len();
            } else {
                value.push(character);
                if !is_space(character) {
                    keep = value.len();
                }
            }
            next = self.next();
        }
        value.truncate(keep);
    }

    fn quoted(&mut self, quote: char, value: &mut String) -> Result<()> {
        let line = self.line;
        let unclosed = Corrupt::ReleaseQuote { line, quote };
        loop {
            match self.next().ok_or_else(|| unclosed.clone())? {
                next if next == quote => return Ok(()),
                '\\' if quote == '"' => match self.next().ok_or_else(|| unclosed.clone())? {
                    escaped @ ('"' | '\\' | '`' | '$') => value.push(escaped),
                    escaped if is_newline(escaped) => {}
                    other => value.extend(['\\', other]),
                },
                next => value.push(next),
            }
        }
    }
}

const fn is_newline(character: char) -> bool {
    matches!(character, '\n' | '\r')
}

const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Release {
        Release::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    #[test]
    fn values_are_read_as_in_a_shell() {
        for (text, expected) in [
            ("A=b", "b"),
            ("A=b\n", "b"),
            ("  A = b c \t\n", "b c"),
            ("A=", ""),
            ("A=\n", ""),
            ("A=\"b c\"", "b c"),
            ("A='b c'  \n", "b c"),
            ("A=\"b \"\n", "b "),
            ("A='b'\"c\"d", "bcd"),
            ("A=\"b\\\"\\\\\\$\\`\\n\"", "b\"\\$`\\n"),
            ("A='b\\n'", "b\\n"),
            ("A=b\\ c\\ ", "b c "),
            ("A=b\\\nc", "bc"),
            ("A=\"b\\\nc\"", "bc"),
            ("A=\"b\nc\"", "b\nc"),
            ("A=b#c", "b#c"),
            ("A=b\"c\"", "b\"c\""),
            ("A=b=c", "b=c"),
            ("A=1\nA=2\n", "2"),
            ("A=1\r\nB=2\r\n", "1"),
            ("# A=1\n ; A=2\nA=3", "3"),
            ("#\\\nA=3", "3"),
            ("A=\u{e9}", "\u{e9}"),
            ("A=b\\", "b"),
        ] {
            assert_eq!(parse(text).get("A"), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn absent_and_empty_differ() {
        let release = parse("A=\nB=x\n");
        assert_eq!((release.get("A"), release.get_filled("A")), (Some(""), None));
        assert_eq!((release.get("C"), release.get_filled("B")), (None, Some("x")));
        assert_eq!(release.iter().collect::<Vec<_>>(), [("A", ""), ("B", "x")]);
    }

    #[test]
    fn faults_name_their_line() {
        for (text, code, line) in [
            (&b"A=1\n\xff=2"[..], "release-text", "line 2"),
            (b"A=1\nB=\0", "release-text", "line 2"),
            (b"A=1\n\nfoo\n", "release-line", "line 3"),
            (b"foo", "release-line", "line 1"),
            (b"=1", "release-line", "line 1"),
            (b"1A=1", "release-line", "line 1"),
            (b"export A=1", "release-line", "line 1"),
            (b"ID=\"", "release-quote", "line 1"),
            (b"A=\"\n\nB='x\n", "release-quote", "line 1"),
            (b"A=1\nB=\"x\\", "release-quote", "line 2"),
        ] {
            let error = Release::parse(text, &Limits::default()).unwrap_err();
            assert_eq!(error.code(), code, "{text:?}");
            assert!(error.to_string().contains(line), "{text:?}: {error}");
        }
        let limits = Limits { release_bytes: 3, ..Limits::default() };
        assert_eq!(Release::parse(b"A=12", &limits).unwrap_err().code(), "limit-bytes");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Release::parse(&bytes, &Limits::default());
        }

        #[test]
        fn a_quoted_value_comes_back(value in "[^\0\r]{0,40}") {
            let escaped: String = value
                .chars()
                .flat_map(|c| if "\"\\`$".contains(c) { vec!['\\', c] } else { vec![c] })
                .collect();
            let release = parse(&format!("A=\"{escaped}\"\n"));
            prop_assert_eq!(release.get("A"), Some(value.as_str()));
        }
    }
}
