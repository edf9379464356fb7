//! [`Owners`]: whose the entries of an image are, by rules over the numbers they come with.

use crate::error::{Corrupt, Refused, Result};

/// What happens to a number no rule is for.
///
/// ```
/// use confext_ddi::build::{Otherwise, OwnerRange, Owners};
///
/// let mut owners = Owners::default();
/// owners.users.push(OwnerRange::parse("1000=0")?);
/// owners.groups.push(OwnerRange::parse("1000=0")?);
/// assert_eq!(owners.map(1001, 1000)?, (1001, 0));
/// owners.otherwise = Otherwise::Refuse;
/// assert_eq!(owners.map(1001, 1000).unwrap_err().code(), "owner-unmapped");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Otherwise {
    /// It stays.
    #[default]
    Keep,
    /// It is an error, so that no owner of the build machine gets into an image by accident.
    Refuse,
}

/// Numbers from `first` to `last` become those from `becomes` on.
///
/// ```
/// use confext_ddi::build::{OwnerRange, Owners};
///
/// // The owners of a container's root directory become those that the container has inside.
/// let range = OwnerRange::parse("100000-165535=0")?;
/// assert_eq!(OwnerRange::new(100_000, 165_535, 0), Some(range));
/// let mut owners = Owners::default();
/// owners.users.push(range);
/// assert_eq!(owners.map(100_033, 0)?, (33, 0));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerRange {
    first: u32,
    last: u32,
    becomes: u32,
}

impl OwnerRange {
    /// Returns the range, or `None` when it is empty or what it becomes is not below 2^32 - 1, which is no owner.
    #[must_use]
    pub fn new(first: u32, last: u32, becomes: u32) -> Option<Self> {
        let end = last.checked_sub(first)?.checked_add(becomes)?;
        (end < u32::MAX).then_some(Self { first, last, becomes })
    }

    /// Parses `1000=0` or `1000-1999=100000`.
    ///
    /// # Errors
    ///
    /// `owner-range`.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = text.split_once('=').and_then(|(from, to)| {
            let (first, last) = from.split_once('-').unwrap_or((from, from));
            Self::new(number(first)?, number(last)?, number(to)?)
        });
        parsed.ok_or_else(|| Corrupt::OwnerRange { found: text.chars().take(60).collect() }.into())
    }

    fn map(self, id: u32) -> Option<u32> {
        (self.first..=self.last)
            .contains(&id)
            .then(|| id.saturating_sub(self.first).saturating_add(self.becomes))
    }
}

/// Digits only: no sign, no spaces.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whose entries are: the first rule that a number is in counts.
///
/// ```
/// use confext_ddi::build::{OwnerRange, Owners};
///
/// // Everything belongs to root.
/// assert_eq!(Owners::all(0, 0).map(1000, 1000)?, (0, 0));
/// // What user 1000 has becomes user 33's, what others have moves up.
/// let mut owners = Owners::default();
/// owners.users.push(OwnerRange::parse("1000=33")?);
/// owners.users.push(OwnerRange::parse("1000-1999=101000")?);
/// assert_eq!([owners.map(1000, 0)?, owners.map(1001, 0)?], [(33, 0), (101_001, 0)]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owners {
    /// Rules over users.
    pub users: Vec<OwnerRange>,
    /// Rules over groups.
    pub groups: Vec<OwnerRange>,
    /// What happens to the others.
    pub otherwise: Otherwise,
    all: Option<(u32, u32)>,
}

impl Owners {
    /// Every entry belongs to one user and group. Rules that are added then do not count.
    #[must_use]
    pub fn all(uid: u32, gid: u32) -> Self {
        Self { all: Some((uid, gid)), ..Self::default() }
    }

    /// The owner and group that an entry of this owner and group gets.
    ///
    /// # Errors
    ///
    /// `owner-unmapped` when no rule is for a number and [`Otherwise::Refuse`] says so.
    pub fn map(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        if let Some(all) = self.all {
            return Ok(all);
        }
        Ok((self.one("user", &self.users, uid)?, self.one("group", &self.groups, gid)?))
    }

    fn one(&self, which: &'static str, rules: &[OwnerRange], id: u32) -> Result<u32> {
        match (rules.iter().find_map(|rule| rule.map(id)), self.otherwise) {
            (Some(mapped), _) => Ok(mapped),
            (None, Otherwise::Keep) => Ok(id),
            (None, Otherwise::Refuse) => Err(Refused::OwnerUnmapped { which, found: id }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_mapped_and_the_first_counts() {
        let rules = ["1000=0", "1000-1999=100000", "5-5=6"].map(|text| OwnerRange::parse(text).unwrap());
        let mut owners = Owners { users: rules.to_vec(), ..Owners::default() };
        let map =
            |owners: &Owners, uid| owners.map(uid, 1000).map(|(uid, _)| uid).map_err(|error| error.code());
        for (from, to) in [(1000, 0), (1001, 100_001), (1999, 100_999), (2000, 2000), (5, 6), (0, 0)] {
            assert_eq!(map(&owners, from), Ok(to), "{from}");
        }
        assert_eq!(owners.map(7, 1000).unwrap(), (7, 1000));
        owners.otherwise = Otherwise::Refuse;
        assert_eq!(map(&owners, 1001), Err("owner-unmapped"));
        owners.groups = vec![OwnerRange::new(0, u32::MAX - 1, 0).unwrap()];
        assert_eq!(map(&owners, 1001), Ok(100_001));
        assert_eq!(map(&owners, 7), Err("owner-unmapped"));
        assert_eq!(Owners::all(1, 2).map(7, 8).unwrap(), (1, 2));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "1000",
            "=",
            "1=",
            "=1",
            "2-1=0",
            "1-2-3=0",
            "+1=0",
            " 1=0",
            "1=-1",
            "4294967296=0",
            "0-1=4294967294",
        ] {
            assert_eq!(OwnerRange::parse(text).unwrap_err().code(), "owner-range", "{text:?}");
        }
    }
}
