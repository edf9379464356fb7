//! Policies as text.

use super::Policy;
use super::flags::{Flags, GROUPS, WORDS};
use crate::dps::Designator;
use crate::error::{Corrupt, Result};
use std::collections::BTreeMap;

/// The partitions a rule can be about, in the order rules are printed.
pub(super) const DESIGNATORS: [Designator; 13] = [
    Designator::Root,
    Designator::Usr,
    Designator::Home,
    Designator::Srv,
    Designator::Esp,
    Designator::Xbootldr,
    Designator::Swap,
    Designator::RootVerity,
    Designator::UsrVerity,
    Designator::RootVeritySig,
    Designator::UsrVeritySig,
    Designator::Tmp,
    Designator::Var,
];

pub(super) fn parse(text: &str) -> Result<Policy> {
    let whole = |flags: Flags| Policy { rules: BTreeMap::new(), default: flags.extended() };
    match text.trim_ascii() {
        "*" => return Ok(whole(Flags::OPEN)),
        "" | "-" => return Ok(whole(Flags::IGNORE)),
        "~" => return Ok(whole(Flags::ABSENT)),
        _ => {}
    }
    let (mut rules, mut default) = (BTreeMap::new(), None);
    for rule in text.split(':') {
        let wrong = || Corrupt::PolicyRule { found: excerpt(rule) };
        let (name, flags) = rule.split_once('=').ok_or_else(wrong)?;
        let (name, flags) = (name.trim_ascii(), parse_flags(flags)?.extended());
        let earlier = match name {
            "" => default.replace(flags),
            _ => rules.insert(parse_designator(name)?, flags),
        };
        if earlier.is_some() {
            return Err(Corrupt::PolicyRuleTwice { found: name.to_owned() }.into());
        }
    }
    Ok(Policy { rules, default: default.unwrap_or(Flags::IGNORE.extended()) })
}

fn parse_designator(name: &str) -> Result<Designator> {
    let found = DESIGNATORS.into_iter().find(|designator| designator.as_str() == name);
    found.ok_or_else(|| Corrupt::PolicyDesignator { found: excerpt(name) }.into())
}

pub(super) fn parse_flags(text: &str) -> Result<Flags> {
    let text = text.trim_ascii();
    if matches!(text, "" | "-") {
        return Ok(Flags::empty());
    }
    let mut flags = Flags::empty();
    for word in text.split('+').map(str::trim_ascii) {
        flags |= match word {
            "open" => Flags::OPEN,
            "ignore" => Flags::IGNORE,
            _ => {
                let found = WORDS.into_iter().find(|(name, _)| *name == word);
                found.ok_or_else(|| Corrupt::PolicyFlag { found: excerpt(word) })?.1
            }
        };
    }
    Ok(flags)
}

fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The words of a rule: a group that is allowed as a whole is left out, but for the uses.
pub(super) fn print_flags(flags: Flags) -> String {
    let mut shown = flags;
    for group in GROUPS.into_iter().skip(1).filter(|group| flags.contains(*group)) {
        shown.remove(group);
    }
    let short = match flags & Flags::OPEN {
        uses @ Flags::OPEN => Some(("open", uses)),
        uses @ Flags::IGNORE => Some(("ignore", uses)),
        _ => None,
    };
    match short {
        Some((word, uses)) if shown == uses => word.to_owned(),
        Some((word, uses)) => format!("{word}+{}", shown.difference(uses).words()),
        None => shown.words(),
    }
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ignore = Flags::IGNORE.extended();
        if self.rules.is_empty() {
            let whole = [("*", Flags::OPEN.extended()), ("-", ignore), ("~", Flags::ABSENT.extended())];
            if let Some((symbol, _)) = whole.into_iter().find(|(_, flags)| *flags == self.default) {
                return f.write_str(symbol);
            }
        }
        let rules = self.rules.iter().map(|(name, flags)| format!("{name}={}", print_flags(*flags)));
        let default = (self.default != ignore).then(|| format!("={}", print_flags(self.default)));
        f.write_str(&rules.chain(default).collect::<Vec<_>>().join(":"))
    }
}
