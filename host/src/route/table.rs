//! The table itself: pure, built once, then only read.

use std::collections::HashMap;
use std::sync::Arc;

use crate::policy::Pattern;

/// What leads from a key to an entry.
///
/// Exact patterns are one hash map. Prefixes are one hash map for each length that occurs, longest first, so that a lookup hashes the key's
/// beginning once per *length*, however many patterns have it. People write prefixes of a handful of lengths.
#[derive(Debug)]
pub struct Table<T> {
    exact: Entries<T>,
    prefixes: Vec<(usize, Entries<T>)>,
    any: Option<T>,
}

/// Entries by the text of their pattern, with the pattern whole for whoever asks which it was.
type Entries<T> = HashMap<Arc<str>, (Pattern, T)>;

/// What a key was led to.
#[derive(Debug)]
pub struct Match<'a, T> {
    /// The pattern by which.
    pub pattern: &'a Pattern,
    /// The entry.
    pub entry: &'a T,
}

/// A claim that was refused because another entry has the same pattern already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict<T> {
    /// The pattern that both want.
    pub pattern: Pattern,
    /// Who has it.
    pub holder: T,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { exact: HashMap::new(), prefixes: Vec::new(), any: None }
    }
}

impl<T: Clone> Table<T> {
    /// Gives these patterns to an entry: all of them, or, when one of them is taken already, none. The first to claim keeps what it has, so the
    /// order of claims is the order of seniority. A pattern that occurs twice in one claim is one pattern.
    ///
    /// # Errors
    /// The first pattern that is taken, and by whom.
    pub fn claim(&mut self, patterns: &[Pattern], entry: &T) -> Result<(), Conflict<T>> {
        if let Some((pattern, holder)) = patterns.iter().find_map(|pattern| self.holder(pattern).map(|holder| (pattern, holder))) {
            return Err(Conflict { pattern: pattern.clone(), holder: holder.clone() });
        }
        for pattern in patterns {
            match pattern {
                Pattern::Exact(text) => {
                    self.exact.insert(Arc::clone(text), (pattern.clone(), entry.clone()));
                }
                Pattern::Prefix(text) => {
                    let at = match self.prefixes.binary_search_by(|(length, _)| text.len().cmp(length)) {
                        Ok(at) => at,
                        Err(at) => {
                            self.prefixes.insert(at, (text.len(), HashMap::new()));
                            at
                        }
                    };
                    self.prefixes[at].1.insert(Arc::clone(text), (pattern.clone(), entry.clone()));
                }
                Pattern::Any => self.any = Some(entry.clone()),
            }
        }
        Ok(())
    }
}

impl<T> Table<T> {
    /// The entry of the most specific pattern that matches. A record without a key, or with one that is not UTF-8, is `None` here and
    /// matches `*` only.
    pub fn find(&self, key: Option<&str>) -> Option<Match<'_, T>> {
        if let Some(key) = key {
            if let Some((pattern, entry)) = self.exact.get(key) {
                return Some(Match { pattern, entry });
            }
            // A prefix ends where a character ends, so a key that has none ending there does not begin with it.
            let mut beginnings = self.prefixes.iter().filter_map(|(length, entries)| entries.get(key.get(..*length)?));
            if let Some((pattern, entry)) = beginnings.next() {
                return Some(Match { pattern, entry });
            }
        }
        self.any.as_ref().map(|entry| Match { pattern: &Pattern::Any, entry })
    }

    /// Who has exactly this pattern.
    pub fn holder(&self, pattern: &Pattern) -> Option<&T> {
        match pattern {
            Pattern::Exact(text) => self.exact.get(text).map(|(_, entry)| entry),
            Pattern::Prefix(text) => {
                let (_, entries) = self.prefixes.iter().find(|(length, _)| *length == text.len())?;
                entries.get(text).map(|(_, entry)| entry)
            }
            Pattern::Any => self.any.as_ref(),
        }
    }

    /// Every pattern with its entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&Pattern, &T)> {
        let maps = std::iter::once(&self.exact).chain(self.prefixes.iter().map(|(_, entries)| entries));
        let named = maps.flat_map(HashMap::values).map(|(pattern, entry)| (pattern, entry));
        named.chain(self.any.iter().map(|entry| (&Pattern::Any, entry)))
    }

    /// Number of patterns.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether nothing is claimed.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty() && self.any.is_none()
    }
}

#[cfg(test)]
mod tests;
