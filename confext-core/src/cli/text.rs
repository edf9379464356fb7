//! Text for terminals: names from an image are shown, never obeyed.

use std::fmt::{self, Display};

pub(super) use crate::text::{Clean, Path};

/// A size with its unit, exact below 10 KiB.
pub(super) struct Size(pub(super) u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut value, mut unit) = (self.0, "bytes");
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if value < 10_240 {
                break;
            }
            (value, unit) = (value / 1024, larger);
        }
        write!(f, "{value} {unit}")
    }
}

/// How many there are of something: `1 block`, `2 blocks`.
pub(super) struct Count<N>(pub(super) N, pub(super) &'static str);

impl<N: Display + PartialEq + From<u8>> Display for Count<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == N::from(1) { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let count = |number: usize| Count(number, "block").to_string();
        assert_eq!([0, 1, 2, 11].map(count), ["0 blocks", "1 block", "2 blocks", "11 blocks"]);
    }

    #[test]
    fn sizes_are_exact_while_they_are_small() {
        assert_eq!(Size(0).to_string(), "0 bytes");
        assert_eq!(Size(10_239).to_string(), "10239 bytes");
        assert_eq!(Size(49_152).to_string(), "48 KiB");
        assert_eq!(Size(u64::MAX).to_string(), "16777215 TiB");
    }
}
