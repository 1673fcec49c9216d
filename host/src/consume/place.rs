//! Where the reading of a partition begins, goes on, and jumps.
//!
//! A gap between two records says nothing by itself: compaction and transactions make them. It means something at the beginning of a stay, and where librdkafka found
//! that the log holds nothing any more at the offset that it was to read next.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientConfig;

use crate::record::AssignmentId;

/// Where a partition begins of which the group has committed nothing, by the operator's `auto.offset.reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// With the oldest record.
    Earliest,
    /// With the next one that is written.
    Latest,
    /// Nowhere: it is an error.
    Nowhere,
}

impl First {
    /// Takes the operator's word, and leaves librdkafka without it. It would obey it as well when retention has passed the offset that is to be read
    /// next, and with `latest` pass over all that the log still holds.
    pub(super) fn take(config: &mut ClientConfig) -> First {
        let first = match config.get("auto.offset.reset") {
            Some("latest" | "largest" | "end") => First::Latest,
            Some("error") => First::Nowhere,
            Some("earliest" | "smallest" | "beginning") | None => First::Earliest,
            // Librdkafka refuses it, with its name.
            Some(_) => return First::Earliest,
        };
        config.set("auto.offset.reset", "earliest");
        first
    }
}

/// Where each stay's next record is expected; of a stay without a committed offset, from its first record on.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<AssignmentId, Expected>>);

/// Where a stay's next record is expected.
#[derive(Debug)]
struct Expected {
    next: i64,
    /// Whether a record has come yet.
    begun: bool,
    /// Where reading had come to when the log held nothing there any more, and it went on elsewhere.
    jumped_from: Option<i64>,
}

/// How a record comes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// After the one before it, be it with a gap: compaction and transactions make those.
    InOrder,
    /// Beyond the offset at which reading should have gone on, which is this: as the first one beyond the committed offset, or after a jump.
    Beyond(i64),
    /// Before the offset that was expected, which is this: the log was cut back, or the topic was made anew.
    Before(i64),
}

impl Places {
    fn expected(&self) -> MutexGuard<'_, HashMap<AssignmentId, Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stay begins at this committed offset.
    pub(super) fn begin(&self, id: AssignmentId, next: i64) {
        self.expected().insert(id, Expected { next, begun: false, jumped_from: None });
    }

    /// A stay has ended.
    pub(super) fn end(&self, id: AssignmentId) {
        self.expected().remove(&id);
    }

    /// How a record comes that has been read.
    pub(super) fn came(&self, id: AssignmentId, offset: i64) -> Came {
        let mut expected = self.expected();
        let before = expected.remove(&id);
        // What was fetched before the jump comes first, and its gaps mean nothing.
        let (jumped_from, to_come) = match before.as_ref().and_then(|before| before.jumped_from) {
            Some(from) if from <= offset => (Some(from), None),
            to_come => (None, to_come),
        };
        expected.insert(id, Expected { next: offset + 1, begun: true, jumped_from: to_come });
        match (before, jumped_from) {
            (Some(Expected { next, .. }), _) if offset < next => Came::Before(next),
            (Some(Expected { next, begun: false, .. }), _) if offset > next => Came::Beyond(next),
            (Some(Expected { next, .. }), Some(from)) => Came::Beyond(next.max(from)),
            _ => Came::InOrder,
        }
    }

    /// The log holds nothing any more at the offset that was to be read next, and reading goes on elsewhere.
    pub(super) fn jumped(&self, id: AssignmentId, from: i64) {
        if let Some(expected) = self.expected().get_mut(&id) {
            // The first jump counts: nothing was read between two of them.
            expected.jumped_from.get_or_insert(from);
        }
    }
}

/// Topic, partition and offset of librdkafka's line about an offset that is out of range (`rd_kafka_offset_reset`):
/// `[thrd:main]: TOPIC [PARTITION]: offset reset (at offset OFFSET (leader epoch …), broker …) to …`
pub(super) fn offset_reset(line: &str) -> Option<(&str, i32, i64)> {
    let (place, rest) = line.split_once("]: offset reset (at offset ")?;
    let (topic, partition) = place.rsplit_once(" [")?;
    let topic = topic.rsplit_once(' ').map_or(topic, |(_, topic)| topic);
    let (offset, _) = rest.split_once([' ', ')', ','])?;
    Some((topic, partition.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_means_something_at_the_beginning_and_after_a_jump_alone() {
        let (places, stay) = (Places::default(), AssignmentId(1));
        places.begin(stay, 10);
        assert_eq!(places.came(stay, 12), Came::Beyond(10));
        assert_eq!(places.came(stay, 15), Came::InOrder);
        places.jumped(stay, 20);
        places.jumped(stay, 30);
        // Fetched before the jump.
        assert_eq!(places.came(stay, 18), Came::InOrder);
        assert_eq!(places.came(stay, 40), Came::Beyond(20));
        assert_eq!(places.came(stay, 50), Came::InOrder);
        assert_eq!(places.came(stay, 50), Came::Before(51));
        places.end(stay);
        places.jumped(stay, 60);
        assert_eq!(places.came(stay, 70), Came::InOrder, "nothing was committed of this one");
    }

    #[test]
    fn a_jump_is_read_from_the_line_that_tells_of_it() {
        let line = "[thrd:main]: orders.eu [12]: offset reset (at offset 4711 (leader epoch 0), broker 1) to offset BEGINNING (leader epoch -1): \
                    fetch failed due to requested offset not available on the broker: Broker: Offset out of range";
        assert_eq!(offset_reset(line), Some(("orders.eu", 12, 4711)));
        assert_eq!(offset_reset("orders [0]: offset reset (at offset BEGINNING (leader epoch -1), broker 1) to END"), None);
        assert_eq!(offset_reset("[thrd:main]: orders [0]: something else (at offset 1)"), None);
    }

    #[test]
    fn the_operators_word_on_where_to_begin_is_for_partitions_without_an_offset_alone() {
        for (word, first, left) in [
            (None, First::Earliest, "earliest"),
            (Some("smallest"), First::Earliest, "earliest"),
            (Some("latest"), First::Latest, "earliest"),
            (Some("end"), First::Latest, "earliest"),
            (Some("error"), First::Nowhere, "earliest"),
            (Some("latst"), First::Earliest, "latst"),
        ] {
            let mut config = ClientConfig::new();
            word.map(|word| config.set("auto.offset.reset", word));
            assert_eq!((First::take(&mut config), config.get("auto.offset.reset")), (first, Some(left)), "{word:?}");
        }
    }
}
