//! How much work went into compiled code.

use std::fmt;
use std::str::FromStr;

/// How much work went into compiled code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Made in about half the time: without optimization, with registers allocated
    /// in one pass. Larger and slower, and meant to be replaced.
    First,
    /// What the code of a component is for good.
    Optimized,
}

impl Tier {
    /// Its name on command lines and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Optimized => "optimized",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No tier has this name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a tier; expected `first` or `optimized`")]
pub struct TierError(String);

impl FromStr for Tier {
    type Err = TierError;

    fn from_str(text: &str) -> Result<Self, TierError> {
        let tiers = [Self::First, Self::Optimized];
        let found = tiers.into_iter().find(|tier| tier.as_str() == text);
        found.ok_or_else(|| TierError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_read_by_its_name_and_by_nothing_else() {
        for tier in [Tier::First, Tier::Optimized] {
            assert_eq!(tier.to_string().parse::<Tier>().unwrap(), tier);
        }
        for text in ["", "First", "fast"] {
            let error = text.parse::<Tier>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
