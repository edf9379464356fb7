//! [`Labels`]: SELinux labels by path, from a list in the form of a policy's `file_contexts`.

use super::tree::{Device, Kind};
use crate::error::{Corrupt, LimitExceeded, Result};
use regex::bytes::{Regex, RegexBuilder};

/// The most lines of one list; that of a full policy has some 7,000.
const MAX_LINES: usize = 100_000;
/// The most memory one expression may take when it is compiled.
const MAX_EXPRESSION_BYTES: usize = 1 << 20;
/// What makes an expression more than a text.
const META: &[char] = &['.', '^', '$', '?', '*', '+', '|', '[', '(', '{', '\\'];

/// A list of labels: each line an expression over absolute paths, a type of file or none, and a label.
///
/// ```text
/// /etc(/.*)?              system_u:object_r:etc_t:s0
/// /etc/shadow        --   system_u:object_r:shadow_t:s0
/// /run(/.*)?              <<none>>
/// ```
///
/// An expression stands for the whole path. Types are `--` regular file, `-d` directory, `-l` symbolic link, `-c`
/// and `-b` device, `-p` fifo, `-s` socket. The last line that fits counts, and those without special characters before
/// all others. `<<none>>` leaves the entry as it is.
///
/// *Spec*: file_contexts(5). Expressions are those of the crate `regex`, over bytes: no back references and no looking
/// around, which no policy uses; what cannot be read is refused with its line.
#[derive(Debug, Clone)]
pub struct Labels {
    /// Expressions in their order, then plain paths: the last that fits counts.
    lines: Vec<Line>,
}

#[derive(Debug, Clone)]
struct Line {
    /// What every path that fits starts with.
    start: Vec<u8>,
    /// `None` for a plain path, which is `start`.
    expression: Option<Regex>,
    kind: Option<char>,
    label: Option<String>,
}

impl Labels {
    /// Parses a list.
    ///
    /// # Errors
    ///
    /// `label-line` with the line's number; `limit-count` above 100,000 lines.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut expressions, mut paths) = (Vec::new(), Vec::new());
        for (at, text) in text.lines().enumerate() {
            let number = at.saturating_add(1);
            if number > MAX_LINES {
                let (found, most) = (u64::try_from(number).unwrap_or(u64::MAX), 100_000);
                return Err(LimitExceeded::Count { what: "lines of labels", found, most }.into());
            }
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let line = Line::parse(text).map_err(|expected| Corrupt::LabelLine {
                line: number,
                found: text.chars().take(200).collect(),
                expected,
            })?;
            if line.expression.is_some() { expressions.push(line) } else { paths.push(line) }
        }
        expressions.append(&mut paths);
        Ok(Self { lines: expressions })
    }

    /// The label of an entry by its absolute path.
    pub(super) fn of(&self, path: &[u8], kind: &Kind) -> Option<&str> {
        let kind = letter(kind);
        self.lines.iter().rev().find(|line| line.fits(path, kind))?.label.as_deref()
    }
}

impl Line {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (expression, kind, label) = match fields.as_slice() {
            [expression, label] => (*expression, None, *label),
            [expression, kind, label] => (*expression, Some(parse_kind(kind)?), *label),
            _ => return Err("an expression, perhaps a type, and a label".to_owned()),
        };
        if !expression.starts_with(['/', '(', '[', '.']) {
            return Err("an expression over absolute paths".to_owned());
        }
        let label = match label {
            "<<none>>" => None,
            label if is_label(label) => Some(label.to_owned()),
            _ => return Err("<<none>>, or user:role:type with or without a level".to_owned()),
        };
        let start = literal_start(expression);
        let plain = !expression.contains(META);
        let compiled = RegexBuilder::new(&format!("^(?:{expression})$"))
            .unicode(false)
            .size_limit(MAX_EXPRESSION_BYTES)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { start, expression: (!plain).then_some(compiled), kind, label })
    }

    fn fits(&self, path: &[u8], kind: char) -> bool {
        self.kind.is_none_or(|own| own == kind)
            && path.starts_with(&self.start)
            && match &self.expression {
                Some(expression) => expression.is_match(path),
                None => path.len() == self.start.len(),
            }
    }
}

fn parse_kind(text: &str) -> std::result::Result<char, String> {
    match text.as_bytes() {
        [b'-', kind @ (b'-' | b'd' | b'l' | b'c' | b'b' | b'p' | b's')] => Ok(char::from(*kind)),
        _ => Err("a type: --, -d, -l, -c, -b, -p or -s".to_owned()),
    }
}

const fn letter(kind: &Kind) -> char {
    match kind {
        Kind::File(_) => '-',
        Kind::Directory(_) => 'd',
        Kind::Symlink(_) => 'l',
        Kind::Device(Device::Character { .. }) => 'c',
        Kind::Device(Device::Block { .. }) => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    }
}

/// User, role and type, and perhaps a level, which may have colons of its own.
fn is_label(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    parts.len() >= 3
        && parts.iter().all(|part| !part.is_empty())
        && text.chars().all(|character| character.is_ascii_graphic())
}

/// The text every match starts with: what comes before the first special character, less a last one that may be missing.
fn literal_start(expression: &str) -> Vec<u8> {
    let end = expression.find(META).unwrap_or(expression.len());
    let (start, rest) = expression.split_at(end);
    let optional = rest.starts_with(['?', '*', '{']);
    let keep = if optional { start.char_indices().next_back().map_or(0, |(at, _)| at) } else { start.len() };
    // With alternatives outside of all groups nothing is common.
    if has_bare_alternative(rest) {
        Vec::new()
    } else {
        start.as_bytes().get(..keep).unwrap_or_default().to_vec()
    }
}

fn has_bare_alternative(rest: &str) -> bool {
    let (mut depth, mut class) = (0_usize, false);
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '[' => class = true,
            ']' => class = false,
            '(' if !class => depth = depth.saturating_add(1),
            ')' if !class => depth = depth.saturating_sub(1),
            '|' if !class && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn of<'l>(labels: &'l Labels, path: &str, kind: char) -> &'l str {
        let kind = match kind {
            'd' => Kind::Directory(BTreeMap::new()),
            'l' => Kind::Symlink(Vec::new()),
            'p' => Kind::Fifo,
            's' => Kind::Socket,
            'c' => Kind::Device(Device::Character { major: 0, minor: 0 }),
            'b' => Kind::Device(Device::Block { major: 0, minor: 0 }),
            _ => Kind::File(Arc::new(Vec::new())),
        };
        labels.of(path.as_bytes(), &kind).map_or("", |label| label.strip_prefix("u:r:").unwrap_or(label))
    }

    #[test]
    fn the_last_line_that_fits_counts_and_plain_paths_before_all() {
        let labels = Labels::parse(
            "# a comment\n\
             /etc/passwd  --  u:r:plain:s0\n\
             /.*              u:r:default:s0\n\
             /etc(/.*)?       u:r:etc:s0\n\
             /etc/.*\\.d  -d  u:r:dropin:s0:c0.c3\n\
             /run(/.*)?       <<none>>\n\
             /opt/?           u:r:opt:s0\n\
             /a|/b            u:r:either:s0\n\
             /usr/(lib|lib64)/.*  -l u:r:lib\n",
        )
        .unwrap();
        for (path, kind, expected) in [
            ("/etc/passwd", '-', "plain:s0"),
            ("/etc/passwd", 'd', "etc:s0"),
            ("/etc", 'd', "etc:s0"),
            ("/etcetera", '-', "default:s0"),
            ("/etc/x.d", 'd', "dropin:s0:c0.c3"),
            ("/etc/x.d", '-', "etc:s0"),
            ("/etc/xxd", 'd', "etc:s0"),
            ("/run/x", 'p', ""),
            ("/opt", 'd', "opt:s0"),
            ("/b", 's', "either:s0"),
            ("/a", 'c', "either:s0"),
            ("/usr/lib64/x", 'l', "lib"),
            ("/usr/lib64/x", 'b', "default:s0"),
            ("/", 'd', "default:s0"),
        ] {
            assert_eq!(of(&labels, path, kind), expected, "{path} {kind}");
        }
        assert_eq!(of(&labels, "/etc/\u{e9}", '-'), "etc:s0");
        let kind = Kind::Fifo;
        assert_eq!(labels.of(b"/etc/\xff", &kind), Some("u:r:etc:s0"));
    }

    #[test]
    fn each_wrong_line_is_told() {
        for line in [
            "/etc",
            "/etc u:r:t:s0 more and",
            "/etc -x u:r:t:s0",
            "/etc - u:r:t:s0",
            "etc u:r:t:s0",
            "/etc u:r",
            "/etc u::t",
            "/etc <<nothing>>",
            "/etc( u:r:t:s0",
            "/(?=a) u:r:t:s0",
            "/a\\1 u:r:t:s0",
            "/a{1,100000000} u:r:t:s0",
        ] {
            let text = format!("/fine u:r:t:s0\n\n{line}\n");
            let error = Labels::parse(&text).unwrap_err();
            assert_eq!(error.code(), "label-line", "{line}");
            assert!(error.to_string().contains('3'), "{error}");
        }
        assert_eq!(Labels::parse(&"#\n".repeat(MAX_LINES + 1)).unwrap_err().code(), "limit-count");
    }

    #[test]
    fn what_paths_start_with_is_found() {
        for (expression, expected) in [
            ("/etc/a", "/etc/a"),
            ("/etc/a.*", "/etc/a"),
            ("/etc/a?", "/etc/"),
            ("/etc/a+", "/etc/a"),
            ("/etc/a{0,1}", "/etc/"),
            ("/etc(/.*)?", "/etc"),
            ("/a|/b", ""),
            ("/a(b|c)", "/a"),
            ("/a(b)|c", ""),
            ("/a[|]b", "/a"),
            ("/a\\|b", "/a"),
        ] {
            assert_eq!(literal_start(expression), expected.as_bytes(), "{expression}");
        }
    }
}
