//! Names that vfat can hold, and the short ones that go with them.

use super::entry::UNITS;
use super::layout::refused;
use crate::build::tree::NodeId;
use crate::error::Result;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The longest name, in units of UTF-16.
const MOST_UNITS: usize = 255;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) short: [u8; 11],
    /// The name in UTF-16; empty where the short one says it all.
    pub(super) long: Vec<u16>,
}

impl Name {
    /// How many entries it takes.
    pub(super) fn entries(&self) -> u64 {
        u64::try_from(self.long.len().div_ceil(UNITS)).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// The names of a directory in the order of their bytes. The same names get the same short ones each time.
pub(super) fn of_directory(
    children: &BTreeMap<Vec<u8>, NodeId>,
    path_of: impl Fn(&[u8]) -> Vec<u8>,
) -> Result<Vec<(Name, NodeId)>> {
    let mut folded = HashSet::new();
    let mut texts = Vec::new();
    for (name, node) in children {
        let text = checked(name).map_err(|what| refused(&path_of(name), what))?;
        // Firmware and Linux fold case by different tables: what any of them may take for the same name is refused.
        if !folded.insert(text.to_uppercase().to_lowercase()) {
            return Err(refused(&path_of(name), "the name of another entry in another case"));
        }
        texts.push((text, *node));
    }
    // Names that are short ones themselves come first: no other may take them.
    let mut taken: HashSet<[u8; 11]> = texts.iter().filter_map(|(text, _)| fitting(text)).collect();
    let mut numbers: HashMap<(Vec<u8>, Vec<u8>), u32> = HashMap::new();
    let mut names = Vec::new();
    for (text, node) in texts {
        let (short, is_short) = match fitting(text) {
            Some(short) => (short, !text.bytes().any(|byte| byte.is_ascii_lowercase())),
            None => (numbered(text, &mut taken, &mut numbers), false),
        };
        let long = if is_short { Vec::new() } else { text.encode_utf16().collect() };
        names.push((Name { short, long }, node));
    }
    Ok(names)
}

/// The name as text, or what is wrong with it.
fn checked(name: &[u8]) -> std::result::Result<&str, &'static str> {
    let text = std::str::from_utf8(name).map_err(|_| "a name that is not UTF-8")?;
    if text.chars().any(|letter| letter.is_ascii_control() || r#""*/:<>?\|"#.contains(letter)) {
        return Err("a name with one of \" * / : < > ? \\ | or a control character");
    }
    if text.ends_with(['.', ' ']) {
        return Err("a name that ends in a dot or a space");
    }
    if text.encode_utf16().count() > MOST_UNITS {
        return Err("a name of more than 255 units of UTF-16");
    }
    Ok(text)
}

/// What may stand in a short name.
fn is_short_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'()-@^_`{}~".contains(&byte)
}

/// Base and extension at their places, in upper case.
fn placed(base: &[u8], extension: &[u8]) -> [u8; 11] {
    let base = base.iter().chain(std::iter::repeat(&b' ')).take(8);
    let mut bytes = base.chain(extension.iter().chain(std::iter::repeat(&b' ')).take(3));
    std::array::from_fn(|_| bytes.next().unwrap_or(&b' ').to_ascii_uppercase())
}

/// The short name that is this name but for the case of its letters.
fn fitting(text: &str) -> Option<[u8; 11]> {
    let (base, extension) = text.split_once('.').unwrap_or((text, ""));
    let is_part = |part: &str| part.bytes().all(is_short_letter);
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3 && is_part(base) && is_part(extension);
    fits.then(|| placed(base.as_bytes(), extension.as_bytes()))
}

/// A short name with a number at its end, that no other entry has.
fn numbered(
    text: &str,
    taken: &mut HashSet<[u8; 11]>,
    numbers: &mut HashMap<(Vec<u8>, Vec<u8>), u32>,
) -> [u8; 11] {
    let part = |text: &str, most: usize| -> Vec<u8> {
        let letters = text.chars().filter(|letter| !matches!(letter, ' ' | '.'));
        let letter = |letter: char| match u8::try_from(letter) {
            Ok(byte) if is_short_letter(byte) => byte.to_ascii_uppercase(),
            _ => b'_',
        };
        letters.map(letter).take(most).collect()
    };
    let (base, extension) = match text.trim_start_matches(['.', ' ']).rsplit_once('.') {
        Some((base, extension)) => (part(base, 6), part(extension, 3)),
        None => (part(text, 6), Vec::new()),
    };
    let next = numbers.entry((base.clone(), extension.clone())).or_insert(0);
    loop {
        *next = next.saturating_add(1);
        let tail = format!("~{next}");
        let keep = base.len().min(8_usize.saturating_sub(tail.len()));
        let whole = [base.get(..keep).unwrap_or_default(), tail.as_bytes()].concat();
        let short = placed(&whole, &extension);
        if taken.insert(short) {
            return short;
        }
    }
}
