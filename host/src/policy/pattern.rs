//! Patterns of keys and of names: exact, prefix, or all.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A pattern: `order.created` (this one), `order:*` (all that begin so) or `*` (all).
///
/// There is no other form: with these three, which of two patterns is the more specific is never in doubt, and a lookup never has to
/// try patterns one by one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// This text and no other.
    Exact(Arc<str>),
    /// Every text that begins so; never empty.
    Prefix(Arc<str>),
    /// Every text, and what has no text: a missing key, a key that is not UTF-8.
    Any,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing to match.
    #[error("an empty pattern matches nothing")]
    Empty,
    /// A `*` before the end.
    #[error("`*` stands before the end of `{0}`; it is accepted at the end only (`order:*`) or alone (`*`)")]
    StarWithin(String),
}

impl Pattern {
    /// Whether the pattern matches this text.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Exact(exact) => **exact == *text,
            Pattern::Prefix(prefix) => text.starts_with(&**prefix),
            Pattern::Any => true,
        }
    }

    /// Whether this pattern matches all that the other matches, so that a grant of this one allows a claim of the other.
    pub fn covers(&self, other: &Pattern) -> bool {
        match (self, other) {
            (Pattern::Any, _) => true,
            (_, Pattern::Any) | (Pattern::Exact(_), Pattern::Prefix(_)) => false,
            (_, Pattern::Exact(text)) => self.matches(text),
            (Pattern::Prefix(mine), Pattern::Prefix(theirs)) => theirs.starts_with(&**mine),
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        let (stem, open) = text.strip_suffix('*').map_or((text, false), |stem| (stem, true));
        match (stem, open) {
            ("", false) => Err(PatternError::Empty),
            (stem, _) if stem.contains('*') => Err(PatternError::StarWithin(text.to_owned())),
            ("", true) => Ok(Pattern::Any),
            (stem, true) => Ok(Pattern::Prefix(stem.into())),
            (stem, false) => Ok(Pattern::Exact(stem.into())),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Exact(text) => f.write_str(text),
            Pattern::Prefix(text) => write!(f, "{text}*"),
            Pattern::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn reads_the_three_forms_and_no_other() {
        assert_eq!(pattern("order.created"), Pattern::Exact("order.created".into()));
        assert_eq!(pattern("order:*"), Pattern::Prefix("order:".into()));
        assert_eq!(pattern("*"), Pattern::Any);
        assert_eq!("".parse::<Pattern>(), Err(PatternError::Empty));
        for text in ["a*b", "**", "a**", "*a"] {
            assert_eq!(text.parse::<Pattern>(), Err(PatternError::StarWithin(text.into())));
        }
        for text in ["order.created", "order:*", "*"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn a_grant_covers_what_it_matches_and_nothing_wider() {
        for (grant, claim, covered) in [
            ("*", "*", true),
            ("*", "order:*", true),
            ("order:*", "order:eu:*", true),
            ("order:*", "order:*", true),
            ("order:*", "order:1", true),
            ("order:1", "order:1", true),
            ("order:*", "*", false),
            ("order:*", "ord*", false),
            ("order:*", "refund:1", false),
            ("order:1", "order:1*", false),
            ("order:1", "order:12", false),
        ] {
            assert_eq!(pattern(grant).covers(&pattern(claim)), covered, "{grant} over {claim}");
        }
    }
}
