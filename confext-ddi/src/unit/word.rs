//! The words of a setting: quotes, escapes, and the fields of a word between colons; and back.

/// What a backslash in a word does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backslash {
    /// It stays, for whoever reads the fields of the word.
    Stays,
    /// It takes the next character as it is.
    Quotes,
}

/// What is wrong with a text, as what had been expected.
pub(super) type Fault = &'static str;

const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The words of a value: white space parts them, `"` and `'` keep it in one.
pub(super) fn split(text: &str, backslash: Backslash) -> Result<Vec<String>, Fault> {
    let mut words = Vec::new();
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) if backslash == Backslash::Quotes => {
                let next = characters.next().ok_or("a character after the last backslash")?;
                word.get_or_insert_default().push(next);
            }
            (_, Some(open)) if character == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, None) if WHITE_SPACE.contains(&character) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("quotes in pairs") } else { Ok(words) }
}

/// The fields of a word, which colons part; escapes of C and `\:` are resolved in each.
pub(super) fn fields(word: &str) -> Result<Vec<String>, Fault> {
    let mut fields = Vec::new();
    let mut field = Vec::new();
    let mut rest = word;
    while let Some(character) = rest.chars().next() {
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
        match character {
            ':' => fields.push(text(std::mem::take(&mut field))?),
            '\\' => rest = unescape(rest, &mut field)?,
            _ => push(&mut field, character),
        }
    }
    fields.push(text(field)?);
    Ok(fields)
}

fn text(bytes: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(bytes).map_err(|_| "escapes that give UTF-8")
}

fn push(to: &mut Vec<u8>, character: char) {
    to.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Resolves what is behind a backslash, and returns what is behind that.
fn unescape<'a>(text: &'a str, to: &mut Vec<u8>) -> Result<&'a str, Fault> {
    const EXPECTED: Fault = "escapes like \\x20, \\t, \\\\ or \\:";
    let character = text.chars().next().ok_or(EXPECTED)?;
    let behind = text.get(character.len_utf8()..).unwrap_or_default();
    let plain = match character {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        's' => b' ',
        '\\' => b'\\',
        '"' => b'"',
        '\'' => b'\'',
        ':' => b':',
        'x' | 'u' | 'U' | '0'..='7' => return numeric(character, text, to).ok_or(EXPECTED),
        _ => return Err(EXPECTED),
    };
    to.push(plain);
    Ok(behind)
}

/// `xHH` and `OOO` are a byte, `uHHHH` and `UHHHHHHHH` a character; none is zero.
fn numeric<'a>(kind: char, text: &'a str, to: &mut Vec<u8>) -> Option<&'a str> {
    let (start, digits, radix) = match kind {
        'x' => (1_usize, 2_usize, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        _ => (0, 3, 8),
    };
    let end = start.checked_add(digits)?;
    let digits = text.get(start..end)?;
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = u32::from_str_radix(digits, radix).ok().filter(|number| *number != 0)?;
    if matches!(kind, 'u' | 'U') {
        push(to, char::from_u32(number)?);
    } else {
        to.push(u8::try_from(number).ok()?);
    }
    text.get(end..)
}

/// A field of a word, so that [`split`] and [`fields`] give it back.
pub(super) fn escaped(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    for character in field.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            ':' => text.push_str("\\:"),
            // Not `\"`: to whoever looks for words, a backslash before a quote means nothing.
            '"' | '\'' | ' ' | '\0'..='\x1f' | '\x7f' => {
                text.push_str(&format!("\\x{:02x}", u32::from(character)));
            }
            _ => text.push(character),
        }
    }
    text
}

/// A word in which backslashes quote, so that [`split`] gives it back; `None` where a line cannot hold it.
pub(super) fn quoted(word: &str) -> Option<String> {
    if word.contains(['\n', '\r', '\0']) {
        return None;
    }
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
    let needs_quotes = word.is_empty() || word.contains([' ', '\t', '"', '\'']);
    Some(if needs_quotes { format!("\"{escaped}\"") } else { escaped })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_parted_as_systemd_parts_them() {
        let kept = |text| split(text, Backslash::Stays);
        let quoting = |text| split(text, Backslash::Quotes);
        assert_eq!(kept("  a\tb  ").unwrap(), ["a", "b"]);
        assert_eq!(kept(r#"a" b"c 'd e'"#).unwrap(), ["a bc", "d e"]);
        assert_eq!(kept(r#""" '"'"#).unwrap(), ["", "\""]);
        assert_eq!(kept(r"a\ b").unwrap(), [r"a\", "b"]);
        assert_eq!(quoting(r"a\ b\\ \x20").unwrap(), ["a b\\", "x20"]);
        assert_eq!(quoting(r#""a\"b" 'c\'d'"#).unwrap(), ["a\"b", "c'd"]);
        assert!(kept("\"a").is_err() && kept("a'").is_err() && quoting("a\\").is_err());
        assert!(kept(r#"a\""#).is_err());
    }

    #[test]
    fn fields_are_unescaped_as_systemd_unescapes_them() {
        for (word, expected) in [
            ("a:b", ["a", "b"]),
            (r"\:\\:\s\x41\101", [":\\", " AA"]),
            (r"\u00e9:\xc3\xa9\303\251", ["é", "éé"]),
            (r"\a\b\f\n\r\t\v:\'\U0001f600", ["\x07\x08\x0c\n\r\t\x0b", "'😀"]),
        ] {
            assert_eq!(fields(word).unwrap(), expected, "{word}");
        }
        for word in [
            r"\", r"\q", r"\ ", r"\x4", r"\x00", r"\0b", r"\400", r"\u12", r"\ud800", r"\xff", r"\,", r"\x+4",
        ] {
            assert!(fields(word).is_err(), "{word}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(all in proptest::collection::vec("\\PC*|[ \t\n\r\"'\\\\:%\u{7f}\u{1}-]*", 1..4)) {
            let word: Vec<_> = all.iter().map(|field| escaped(field)).collect();
            let word = word.join(":");
            prop_assume!(!word.is_empty());
            let words = split(&format!(" {word} {word}"), Backslash::Stays).unwrap();
            // White space beyond that of ASCII is none.
            prop_assert_eq!(words.len(), 2);
            prop_assert_eq!(fields(&words[0]).unwrap(), all.clone());
            for word in all {
                match quoted(&word) {
                    Some(text) => prop_assert_eq!(split(&text, Backslash::Quotes).unwrap(), [word]),
                    None => prop_assert!(word.contains(['\n', '\r', '\0'])),
                }
            }
        }
    }
}
