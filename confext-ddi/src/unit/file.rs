//! Files of units: sections and the settings in them, with their places.

use serde::Serialize;

use crate::error::{Corrupt, LimitExceeded, Result};
use crate::limits::Limits;
use crate::settings::{self, WHITE_SPACE};

/// One setting of a file.
///
/// ```
/// use confext_ddi::{Limits, unit};
///
/// let text = b"[Service]\nExtensionImages=/a.raw \\\n  /b.raw\n";
/// let read = unit::parse(text, "/etc/systemd/system/app.service", &Limits::default())?;
/// assert_eq!((read[0].section.as_str(), read[0].key.as_str()), ("Service", "ExtensionImages"));
/// // A line that goes on is one value.
/// assert_eq!(read[0].value.split_whitespace().collect::<Vec<_>>(), ["/a.raw", "/b.raw"]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Assignment {
    /// The section that it is in: `Service`.
    pub section: String,
    /// What is set.
    pub key: String,
    /// To what; empty often takes back what was set before.
    pub value: String,
    /// Where.
    pub place: Place,
}

impl Assignment {
    /// A setting in no file.
    #[must_use]
    pub fn new(section: &str, key: &str, value: &str) -> Self {
        let place = Place { file: "-".to_owned(), line: 0 };
        let [section, key, value] = [section, key, value].map(str::to_owned);
        Self { section, key, value, place }
    }
}

/// A line of a file.
///
/// ```
/// use confext_ddi::{Limits, unit};
///
/// let read = unit::parse(b"[Service]\n\nType=notify\n", "app.service", &Limits::default())?;
/// assert_eq!(read[0].place.to_string(), "app.service:3");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file's path.
    pub file: String,
    /// Its first line, from 1.
    pub line: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Reads a file of a unit, or a drop-in of one; `file` is its name, for messages and places.
///
/// All sections and keys are handed out; which of them mean something is for the caller. Lines that systemd would skip with
/// a warning are refused: text before the first section, a line without `=`, a key without a name, bytes that are no UTF-8.
///
/// # Errors
///
/// `unit-text`, `unit-line`, `limit-bytes`.
///
/// *Spec*: systemd.syntax(7).
pub fn parse(text: &[u8], file: &str, limits: &Limits) -> Result<Vec<Assignment>> {
    let (found, most) = (u64::try_from(text.len()).unwrap_or(u64::MAX), limits.unit_bytes);
    if found > most {
        return Err(LimitExceeded::Bytes { what: "unit file", found, most }.into());
    }
    let text = settings::text(text).map_err(|found| Corrupt::UnitText { place: file.to_owned(), found })?;
    let mut all = Vec::new();
    let mut section: Option<String> = None;
    for (line, text) in settings::logical_lines(text) {
        let text = text.trim_matches(WHITE_SPACE);
        if text.is_empty() {
            continue;
        }
        let place = Place { file: file.to_owned(), line };
        let malformed = || Corrupt::UnitLine { place: place.to_string(), found: settings::excerpt(text) };
        if let Some(name) = text.strip_prefix('[') {
            section = Some(name.strip_suffix(']').ok_or_else(malformed)?.to_owned());
            continue;
        }
        let (key, value) = text.split_once('=').ok_or_else(malformed)?;
        let [key, value] = [key, value].map(|part| part.trim_matches(WHITE_SPACE).to_owned());
        let section = section.clone().filter(|_| !key.is_empty()).ok_or_else(malformed)?;
        all.push(Assignment { section, key, value, place });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Assignment>> {
        parse(text.as_bytes(), "/f", &Limits::default())
    }

    #[test]
    fn files_are_read_as_systemd_reads_them() {
        let value = |text: &str| read(text).unwrap().pop().map(|last| last.value);
        for (text, expected) in [
            ("[Service]\nA=x", "x"),
            (" [Service] \n A = x ", "x"),
            ("[Service]\r\nA=x\r\n", "x"),
            ("[Service]\nA=x \\\n  y \\\n# c\n; c\nz", "x    y  z"),
            ("[Service]\nA=x\\\r\ny", "x y"),
            ("[Service]\nA=x\\", "x"),
            ("[Service]\nA=x\\\\\nB=y", "y"),
            ("[Service]\nA=x \\\n\ny=1", "1"),
            ("\u{feff}[Service]\nA=a=b ; c", "a=b ; c"),
            ("[Service]\nA=", ""),
        ] {
            assert_eq!(value(text).as_deref(), Some(expected), "{text}");
        }
        let all = read("# c\n[Unit]\nA=1\n\n[Service]\nA=2 \\\n3\n[X-Y]\nB=\n").unwrap();
        let told = all.iter().map(|one| format!("{} {} {} {}", one.section, one.key, one.value, one.place));
        assert_eq!(told.collect::<Vec<_>>(), ["Unit A 1 /f:3", "Service A 2  3 /f:6", "X-Y B  /f:9"]);
    }

    #[test]
    fn one_line_changed_is_one_code() {
        for (text, code) in [
            ("A=1", "unit-line"),
            ("[Service]\nA", "unit-line"),
            ("[Service]\n=1", "unit-line"),
            ("[Service\nA=1", "unit-line"),
            ("[Service] x\nA=1", "unit-line"),
            ("[Service]\nA=\0", "unit-text"),
            ("[Service]\nA=1\rB=2", "unit-text"),
        ] {
            assert_eq!(read(text).unwrap_err().code(), code, "{text:?}");
        }
        assert_eq!(parse(b"[S]\nA=\xff", "/f", &Limits::default()).unwrap_err().code(), "unit-text");
        let limits = Limits { unit_bytes: 3, ..Limits::default() };
        assert!(parse(b"[S]", "/f", &limits).is_ok());
        assert_eq!(parse(b"[S]\n", "/f", &limits).unwrap_err().code(), "limit-bytes");
    }
}
