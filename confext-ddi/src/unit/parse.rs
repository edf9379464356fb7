//! Settings as text: items of `ExtensionImages=` and the others become values, and values become items.

use super::word::{self, Backslash, Fault};
use super::{Assignment, Entry, EntryKind, Extensions, IfMissing, RefreshOnReload, Specifiers, specifier};
use crate::dps::Designator;
use crate::error::{Corrupt, Error, LimitExceeded, Refused, Result, ResultExt as _};
use crate::limits::Limits;
use crate::policy::Policy;
use crate::release::Strictness;
use crate::settings::excerpt;

pub(super) const IMAGES: &str = "ExtensionImages";
pub(super) const DIRECTORIES: &str = "ExtensionDirectories";
pub(super) const POLICY: &str = "ExtensionImagePolicy";
pub(super) const REFRESH: &str = "RefreshOnReload";

/// The mount option that is about release files.
const RELAXED: &str = "x-systemd.relax-extension-release-check";

impl Extensions {
    /// The settings that this is about.
    pub const KEYS: [&'static str; 4] = [IMAGES, DIRECTORIES, POLICY, REFRESH];

    /// Takes a setting over what the ones before it said, and says whether it is one of [`Extensions::KEYS`]. Lists are
    /// appended to; an empty value takes back what was there.
    ///
    /// # Errors
    ///
    /// `unit-setting`, `unit-specifier`, `unit-specifier-unknown`, `limit-count`; those of [`Policy::parse`]. What is in here
    /// is then not to be used.
    pub fn assign(&mut self, from: &Assignment, specifiers: &Specifiers, limits: &Limits) -> Result<bool> {
        let context = Context { from, specifiers };
        match from.key.as_str() {
            IMAGES => list(&mut self.images, &context.images()?, from),
            DIRECTORIES => list(&mut self.directories, &context.directories()?, from),
            POLICY if from.value.is_empty() => self.policy = None,
            POLICY => self.policy = Some(Policy::parse(&from.value).within(from.place.to_string())?),
            REFRESH => self.refresh_on_reload = context.refresh(self.refresh_on_reload)?,
            _ => return Ok(false),
        }
        let count = self.images.len().saturating_add(self.directories.len());
        let (found, most) = (u64::try_from(count).unwrap_or(u64::MAX), limits.unit_extensions);
        if found > most {
            return Err(LimitExceeded::Count { what: "extensions of a unit", found, most }.into());
        }
        Ok(true)
    }

    /// The lines that say the same in a unit: `KEY=VALUE` each, the lists one item a line, in order. Reading them after
    /// nothing gives what is in here.
    ///
    /// # Errors
    ///
    /// `unit-entry` for a path or an option that no unit can name.
    pub fn lines(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for (key, entries) in [(IMAGES, &self.images), (DIRECTORIES, &self.directories)] {
            for entry in entries {
                lines.push(format!("{key}={}", entry.item()?));
            }
        }
        if let Some(policy) = &self.policy {
            lines.push(format!("{POLICY}={policy}"));
        }
        if self.refresh_on_reload != RefreshOnReload::Default {
            lines.push(format!("{REFRESH}={}", self.refresh_on_reload));
        }
        Ok(lines)
    }
}

fn list(to: &mut Vec<Entry>, items: &[Entry], from: &Assignment) {
    if from.value.is_empty() {
        to.clear();
    }
    to.extend_from_slice(items);
}

impl Entry {
    /// The item of a list that names it.
    ///
    /// # Errors
    ///
    /// `unit-entry` for what no unit can name.
    pub fn item(&self) -> Result<String> {
        let refuse = |because| Error::from(Refused::UnitEntry { found: excerpt(&self.path), because });
        if simplified(&self.path, self.kind).ok().as_deref() != Some(self.path.as_str()) {
            return Err(refuse(
                "its path is not absolute and plain, or leads where no unit may have extensions",
            ));
        }
        let path = specifier::literal(&self.path);
        let mut item = String::from(match self.if_missing {
            IfMissing::Refuse => "",
            IfMissing::Skip => "-",
        });
        if self.kind == EntryKind::Directory {
            if !self.options.is_empty() || self.strictness != Strictness::Strict {
                return Err(refuse("it is a directory, which has no options"));
            }
            let quoted = word::quoted(&format!("{item}{path}"));
            return quoted.ok_or_else(|| refuse("its path has more than one line"));
        }
        item.push_str(&word::escaped(&path));
        let mut options = self.options.clone();
        if self.strictness == Strictness::Relaxed {
            match options.iter_mut().find(|(designator, _)| *designator == Designator::Root) {
                Some((_, text)) => text.push_str(&format!(",{RELAXED}")),
                None => options.push((Designator::Root, RELAXED.to_owned())),
            }
        }
        let mut seen = Vec::new();
        for (designator, text) in &options {
            if !Policy::DESIGNATORS.contains(designator) || seen.contains(designator) {
                return Err(refuse(
                    "its options are twice for one partition, or for one that no unit can name",
                ));
            }
            seen.push(*designator);
            if text.is_empty() || text.contains('\0') {
                return Err(refuse("it has options that are empty, or contain a zero byte"));
            }
            item.push_str(&format!(":{designator}:{}", word::escaped(&specifier::literal(text))));
        }
        Ok(item)
    }
}

/// A setting while it is read.
struct Context<'a> {
    from: &'a Assignment,
    specifiers: &'a Specifiers,
}

impl Context<'_> {
    fn fault(&self, found: &str, expected: Fault) -> Error {
        let place = self.from.place.to_string();
        Corrupt::UnitSetting { place, key: self.from.key.clone(), found: excerpt(found), expected }.into()
    }

    fn expand(&self, text: &str) -> Result<String> {
        self.specifiers.expand(text, &self.from.place.to_string())
    }

    fn words(&self, backslash: Backslash) -> Result<Vec<String>> {
        word::split(&self.from.value, backslash).map_err(|expected| self.fault(&self.from.value, expected))
    }

    fn images(&self) -> Result<Vec<Entry>> {
        let words = self.words(Backslash::Stays)?;
        words.iter().map(|word| self.image(word)).collect()
    }

    fn image(&self, word: &str) -> Result<Entry> {
        let fields = word::fields(word).map_err(|expected| self.fault(word, expected))?;
        let (path, options) = fields.split_first().ok_or_else(|| self.fault(word, "a path"))?;
        let mut entry = self.entry(path, EntryKind::Image, word)?;
        // systemd takes two colons for one, and what is left over for options of root.
        if options.iter().any(String::is_empty) {
            return Err(self.fault(word, "no empty field"));
        }
        let pairs: Vec<_> = match options {
            [only] => vec![(Designator::Root, only)],
            _ => options.chunks(2).map(|pair| self.pair(pair, word)).collect::<Result<_>>()?,
        };
        for (designator, text) in pairs {
            if entry.options.iter().any(|(other, _)| *other == designator) {
                return Err(self.fault(word, "each partition once"));
            }
            let text = self.expand(text)?;
            if text.contains('\0') || text.is_empty() {
                return Err(self.fault(word, "options that are not empty, without zero bytes"));
            }
            entry.options.push((designator, text));
        }
        relax(&mut entry);
        Ok(entry)
    }

    fn pair<'p>(&self, pair: &'p [String], word: &str) -> Result<(Designator, &'p String)> {
        const EXPECTED: Fault = "a partition like root or usr-verity before each of several options";
        let [designator, options] = pair else { return Err(self.fault(word, EXPECTED)) };
        let known = Designator::from_name(designator).filter(|known| Policy::DESIGNATORS.contains(known));
        known.map(|known| (known, options)).ok_or_else(|| self.fault(word, EXPECTED))
    }

    fn directories(&self) -> Result<Vec<Entry>> {
        let words = self.words(Backslash::Quotes)?;
        words.iter().map(|word| self.entry(word, EntryKind::Directory, word)).collect()
    }

    fn entry(&self, text: &str, kind: EntryKind, word: &str) -> Result<Entry> {
        let (if_missing, path) = match text.strip_prefix('-') {
            Some(path) => (IfMissing::Skip, path),
            None => (IfMissing::Refuse, text),
        };
        // It asks for the service's own root, which systemd has no meaning for here.
        let path = match kind {
            EntryKind::Image => path,
            EntryKind::Directory => path.strip_prefix('+').unwrap_or(path),
        };
        let path = simplified(&self.expand(path)?, kind).map_err(|expected| self.fault(word, expected))?;
        Ok(Entry { if_missing, ..Entry::new(path, kind) })
    }

    fn refresh(&self, before: RefreshOnReload) -> Result<RefreshOnReload> {
        const YES: [&str; 6] = ["1", "yes", "y", "true", "t", "on"];
        const NO: [&str; 6] = ["0", "no", "n", "false", "f", "off"];
        let value = self.from.value.as_str();
        let is_one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(value));
        if value.is_empty() {
            return Ok(RefreshOnReload::Default);
        }
        if is_one_of(&YES) {
            return Ok(RefreshOnReload::Explicit { extensions: true, credentials: true });
        }
        if is_one_of(&NO) {
            return Ok(RefreshOnReload::Explicit { extensions: false, credentials: false });
        }
        let (set, list) = value.strip_prefix('~').map_or((true, value), |list| (false, list));
        let (mut extensions, mut credentials) = match before {
            RefreshOnReload::Explicit { extensions, credentials } => (extensions, credentials),
            RefreshOnReload::Default => (!set, false),
        };
        for word in list.split_ascii_whitespace() {
            match word {
                "extensions" => extensions = set,
                "credentials" => credentials = set,
                _ => {
                    return Err(
                        self.fault(word, "a boolean, or extensions, credentials or both, or ~ before these")
                    );
                }
            }
        }
        Ok(RefreshOnReload::Explicit { extensions, credentials })
    }
}

/// Takes the option about release files out of the others.
pub(super) fn relax(entry: &mut Entry) {
    for (designator, text) in &mut entry.options {
        if !matches!(designator, Designator::Root | Designator::Usr)
            || !text.split(',').any(|word| word == RELAXED)
        {
            continue;
        }
        entry.strictness = Strictness::Relaxed;
        *text = text.split(',').filter(|word| *word != RELAXED).collect::<Vec<_>>().join(",");
    }
    entry.options.retain(|(_, text)| !text.is_empty());
}

/// The path without needless slashes and dots.
fn simplified(path: &str, kind: EntryKind) -> Result<String, Fault> {
    if !path.starts_with('/') {
        return Err("an absolute path");
    }
    let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err("a path without ..");
    }
    if path.contains('\0') || path.len() > 4095 || parts.iter().any(|part| part.len() > 255) {
        return Err("a path of at most 4095 bytes, with parts of at most 255, without zero bytes");
    }
    if kind == EntryKind::Image && matches!(parts.first(), Some(&("proc" | "sys" | "dev"))) {
        return Err("a path that is not below /proc, /sys or /dev");
    }
    Ok(format!("/{}", parts.join("/")))
}

impl std::fmt::Display for RefreshOnReload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Default => "",
            Self::Explicit { extensions: true, credentials: true } => "yes",
            Self::Explicit { extensions: true, credentials: false } => "extensions",
            Self::Explicit { extensions: false, credentials: true } => "credentials",
            Self::Explicit { extensions: false, credentials: false } => "no",
        })
    }
}

#[cfg(test)]
mod tests;
