//! Policies that ask of images for good what was found when they were attached

use std::collections::BTreeMap;

use confext_ddi::dps::Designator;
use confext_ddi::policy::{Policy, Protection, Rule, Use};

use crate::admission::Extension;
use crate::error::{Error, Result};
use crate::service::ground::RootImage;

/// What is asked of images, the strictest first. Which of them the images have can be seen only by asking for it: a signature
/// that nobody here could check is there as well.
pub(super) type Choices = Vec<Policy>;

/// What a base must be.
pub(super) fn image(image: &RootImage) -> Result<Choices> {
    choices(&[(image.designator(), image.evidence().protection())])
}

/// What all extensions must be that are images; nothing when there is none. There is one policy for all of them: were it to let
/// in the one that is protected least, anybody could exchange the others for such a one.
pub(super) fn extensions<'a>(all: impl Iterator<Item = &'a Extension>) -> Result<Choices> {
    let mut found: Vec<(&Extension, Designator, Protection)> = Vec::new();
    for extension in all {
        if let Some(designator) = extension.designator() {
            found.push((extension, designator, extension.evidence().protection()));
        }
    }
    let Some((first, _, protection)) = found.first() else { return Ok(Vec::new()) };
    if let Some((other, _, weaker)) = found.iter().find(|(.., other)| other != protection) {
        let path = |extension: &Extension| extension.candidate().path.display().to_string();
        let told =
            format!("{} for {}, {} for {}", word(*protection), path(first), word(*weaker), path(other));
        return Err(Error::conflict(
            "portable-mixed",
            "the images of extensions",
            told,
            "one protection for all",
        ));
    }
    let found: Vec<_> =
        found.into_iter().map(|(_, designator, protection)| (designator, protection)).collect();
    choices(&found)
}

/// Each partition that is used must be there in each image that it was in, with this protection or more; nothing else may be.
///
/// Which file systems they have is not said: a systemd before 262 does not know the words, and takes a rule with a word that it
/// does not know for one without conditions.
fn choices(found: &[(Designator, Protection)]) -> Result<Choices> {
    let exactly = |protection| match protection {
        Protection::None => Rule::only_use(Use::Unprotected),
        Protection::Verity => Rule::only_use(Use::Verity),
        Protection::Signed => Rule::signed(),
    };
    // Of what is not asked for, all may be missing.
    let at_least = |protection| Rule::least(protection).or(Use::Absent);
    Ok(vec![policy(found, exactly)?, policy(found, at_least)?])
}

fn policy(found: &[(Designator, Protection)], rule: impl Fn(Protection) -> Rule) -> Result<Policy> {
    let mut counts: BTreeMap<&str, (Designator, Protection, usize)> = BTreeMap::new();
    for &(designator, protection) in found {
        let (.., count) = counts.entry(designator.as_str()).or_insert((designator, protection, 0));
        *count = count.saturating_add(1);
    }
    let mut policy = Policy::otherwise(Rule::absent());
    for (designator, protection, count) in counts.into_values() {
        let rule = rule(protection);
        policy = policy.with(designator, if count == found.len() { rule } else { rule.or(Use::Absent) })?;
    }
    Ok(policy)
}

/// The first that lets in what is there now.
pub(super) fn choose<T>(
    choices: Choices,
    mut ask: impl FnMut(&Policy) -> Result<T>,
) -> Result<(Option<Policy>, Option<T>)> {
    let mut refused = None;
    for policy in choices {
        match ask(&policy) {
            Ok(found) => return Ok((Some(policy), Some(found))),
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok((None, None)), Err)
}

const fn word(protection: Protection) -> &'static str {
    match protection {
        Protection::None => "no protection",
        Protection::Verity => "a hash tree",
        Protection::Signed => "a signature",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_asked_for_and_nothing_less() {
        let (root, usr) = (Designator::Root, Designator::Usr);
        let (none, verity, signed) = (Protection::None, Protection::Verity, Protection::Signed);
        for (found, expected) in [
            (vec![(root, signed)], ["root=signed:=absent", "root=signed+absent:=absent"]),
            (vec![(root, verity); 2], ["root=verity:=absent", "root=verity+signed+absent:=absent"]),
            (vec![(usr, none)], ["usr=unprotected:=absent", "usr=verity+signed+unprotected+absent:=absent"]),
            (
                vec![(root, signed), (usr, signed)],
                [
                    "root=signed+absent:usr=signed+absent:=absent",
                    "root=signed+absent:usr=signed+absent:=absent",
                ],
            ),
        ] {
            let choices: Vec<_> = choices(&found).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(choices, expected);
        }
    }
}
