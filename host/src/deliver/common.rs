//! What all destinations of a host have in common: the room for requests inside their gates, and the bell that tells of a recovery.
//!
//! Promises that destinations that hang, however many, leave room to each of the others. Decides by counts, and waits for nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::policy::IN_PROGRESS_MAX;

/// Requests inside the gates of all destinations. Each holds the place of a record in progress, of which a quarter is left to those that are at no
/// destination: being transformed, skipped, or written as a dead letter.
const PLACES: usize = IN_PROGRESS_MAX / 4 * 3;

/// Bytes of their bodies. Somewhat more than a third of the lanes' default budget, so that destinations that hang cannot take it all.
const BYTES: usize = 24 << 20;

/// What a destination may have of the room that is nobody's own, in parts of what is left of it: one alone has two thirds (dynamic thresholds:
/// Choudhury and Hahne, 1998).
const TIMES_LEFT: usize = 2;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Common {
    /// Something about recovery has changed.
    pub(super) recovery: Notify,
    pub(super) places: Room,
    pub(super) bytes: Room,
}

impl Common {
    /// For so many destinations.
    pub(super) fn new(destinations: usize) -> Common {
        Common { recovery: Notify::new(), places: Room::new(PLACES, destinations), bytes: Room::new(BYTES, destinations) }
    }
}

/// Room of one kind. Half of it is divided among the destinations, so that each has a part that nobody else can take; the other half goes to those that
/// need more. With the parts alone, of a hundred destinations the two that are busy would have a fiftieth between them.
///
/// Two gates that ask at the same moment may both be let in: it bounds a crowd, not the last one of it.
#[derive(Debug)]
pub(super) struct Room {
    part: usize,
    shared: usize,
    /// What is taken of `shared`.
    taken: AtomicUsize,
}

impl Room {
    fn new(most: usize, destinations: usize) -> Room {
        Room { part: most / 2 / destinations.max(1), shared: most / 2, taken: AtomicUsize::new(0) }
    }

    /// How much more a destination with so much may take.
    pub(super) fn left(&self, has: usize) -> usize {
        let left = self.shared.saturating_sub(self.taken.load(Ordering::Relaxed));
        // The largest `more` with `beyond + more <= TIMES_LEFT * (left - more)`.
        self.part.saturating_sub(has) + (TIMES_LEFT * left).saturating_sub(self.beyond(has)) / (TIMES_LEFT + 1)
    }

    /// A destination with so much takes more.
    pub(super) fn take(&self, has: usize, more: usize) {
        self.taken.fetch_add(self.beyond(has + more) - self.beyond(has), Ordering::Relaxed);
    }

    /// It gives some back, and then has so much.
    pub(super) fn give(&self, has: usize, less: usize) {
        self.taken.fetch_sub(self.beyond(has + less) - self.beyond(has), Ordering::Relaxed);
    }

    /// What of it goes beyond a destination's own part.
    fn beyond(&self, has: usize) -> usize {
        has.saturating_sub(self.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::CONCURRENCY_MAX;

    /// Takes all that a destination gets, one by one.
    fn fill(room: &Room) -> usize {
        let mut has = 0;
        while room.left(has) > 0 {
            room.take(has, 1);
            has += 1;
        }
        has
    }

    #[test]
    fn those_that_take_all_they_get_leave_each_other_one_its_part() {
        for destinations in [1, 2, 3, 10, 100] {
            let room = Common::new(destinations).places;
            let taken: Vec<usize> = (0..destinations).map(|_| fill(&room)).collect();
            assert!(taken.iter().all(|taken| *taken >= PLACES / 2 / destinations), "{taken:?}");
            assert!(taken.iter().sum::<usize>() <= PLACES, "{taken:?}");
        }
    }

    #[test]
    fn what_may_be_in_flight_has_room_if_the_others_are_quiet() {
        for destinations in [1, 2, 3, 10, 100] {
            assert_eq!(fill(&Common::new(destinations).places), CONCURRENCY_MAX + PLACES / 2 / destinations);
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let bytes = Common::new(2).bytes;
        let most = bytes.left(0);
        assert_eq!(most, (6 << 20) + (8 << 20));
        bytes.take(0, most);
        assert_eq!((bytes.left(most), bytes.left(0)), (0, (6 << 20) + (8 << 20) / 3));
        bytes.give(1 << 20, most - (1 << 20));
        bytes.give(0, 1 << 20);
        assert_eq!((bytes.left(0), bytes.taken.into_inner()), (most, 0));
    }
}
