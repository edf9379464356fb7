//! PAX records: `LENGTH KEY=VALUE` and a line break, one after the other, each length counting all of its record.

use crate::error::{Corrupt, Result};

/// A key and its value.
pub(super) type Record<'b> = (&'b str, &'b [u8]);

/// Splits the content of a PAX header into its records.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = record(rest);
        rest = record.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(record.map(|(record, _)| record).map_err(Into::into))
    })
}

fn record(bytes: &[u8]) -> Result<(Record<'_>, &[u8]), Corrupt> {
    let shown = || bytes.get(..40).unwrap_or(bytes).escape_ascii().to_string();
    let wrong = |expected| Corrupt::TarRecord { found: shown(), expected };
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, behind) = bytes.split_at(digits);
    let len: Option<usize> = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
    // Written without leading zeros, so that there is one way to write a record.
    let len = len.filter(|_| !number.starts_with(b"0")).ok_or_else(|| wrong("a length in decimal digits"))?;
    let Some((b' ', _)) = behind.split_first() else { return Err(wrong("a space behind the length")) };
    let (record, rest) = bytes.split_at_checked(len).ok_or_else(|| wrong("a length within the header"))?;
    let body = record.get(digits.saturating_add(1)..).and_then(|body| body.strip_suffix(b"\n"));
    let body = body.ok_or_else(|| wrong("a line break where the length says"))?;
    let equals = body.iter().position(|byte| *byte == b'=').ok_or_else(|| wrong("an equals sign"))?;
    let (key, value) = body.split_at(equals);
    let key = std::str::from_utf8(key).ok().filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| wrong("a key in UTF-8"))?;
    Ok(((key, value.get(1..).unwrap_or_default()), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_one_form() {
        let all = |bytes: &'static [u8]| records(bytes).collect::<Result<Vec<_>>>();
        assert_eq!(all(b"").unwrap(), []);
        assert_eq!(
            all(b"6 a=b\n8 cc==d\n6 a=\n\n").unwrap(),
            [("a", &b"b"[..]), ("cc", b"=d"), ("a", b"\n")]
        );
        for bytes in [
            &b"6 a=b"[..],
            b"7 a=b\n",
            b"5 a=b\n",
            b"06 a=b\n",
            b" 6 a=b\n",
            b"+6 a=b\n",
            b"6\ta=b\n",
            b"6  =b\n\n",
            b"5 ab\n",
            b"5 =b\n",
            b"6 \xff=b\n",
            b"0 a=b\n",
            b"1",
            b"2 ",
            b"99999999999999999999999 a=b\n",
            b"6 a=b\nx",
        ] {
            assert_eq!(all(bytes).unwrap_err().code(), "tar-record", "{}", bytes.escape_ascii());
        }
    }
}
