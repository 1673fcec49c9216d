//! Whose turn it is, of many that wait.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What waits, each with how much more waits behind it. Turns alternate between the one with the most behind it and the one that has waited
/// longest. The first kind ends a backlog soonest, since what stands behind one another must go one by one (longest remaining path first: Hu, "Parallel
/// Sequencing and Assembly Line Problems", 1961); the second kind makes sure that nothing waits for ever.
#[derive(Debug)]
pub struct Turns<T> {
    /// By arrival.
    waiting: BTreeMap<u64, (usize, T)>,
    /// By what is behind, among equals the earliest last.
    by_length: BTreeSet<(usize, Reverse<u64>)>,
    arrivals: u64,
    /// Whether the next turn is that of the one that has waited longest.
    oldest: bool,
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns { waiting: BTreeMap::new(), by_length: BTreeSet::new(), arrivals: 0, oldest: false }
    }
}

impl<T> Turns<T> {
    /// Adds one with so much behind it.
    pub fn push(&mut self, behind: usize, value: T) {
        self.waiting.insert(self.arrivals, (behind, value));
        self.by_length.insert((behind, Reverse(self.arrivals)));
        self.arrivals += 1;
    }

    /// Takes out the one whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let arrival = if self.oldest { *self.waiting.first_key_value()?.0 } else { self.by_length.last()?.1.0 };
        self.oldest = !self.oldest;
        let (behind, value) = self.waiting.remove(&arrival)?;
        self.by_length.remove(&(behind, Reverse(arrival)));
        Some(value)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Drops all that waits.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.by_length.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_alternate_between_the_longest_and_the_oldest() {
        let mut turns = Turns::default();
        for (behind, name) in [(0, "first"), (9, "long"), (0, "second"), (5, "middle"), (9, "later"), (1, "short")] {
            turns.push(behind, name);
        }
        let order: Vec<&str> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, ["long", "first", "later", "second", "middle", "short"]);
        assert!(turns.is_empty() && turns.pop().is_none());
    }

    #[test]
    fn equals_keep_their_order() {
        let mut turns = Turns::default();
        (0..100).for_each(|at| turns.push(0, at));
        assert!(std::iter::from_fn(|| turns.pop()).eq(0..100));
    }

    #[test]
    fn nothing_waits_for_ever_though_longer_ones_keep_coming() {
        let mut turns = Turns::default();
        turns.push(0, "patient");
        let waited = (1..).find(|_| {
            turns.push(100, "pushing");
            turns.pop() == Some("patient")
        });
        assert_eq!(waited, Some(2));
    }
}
