//! Which partitions are here now, and under which assignment.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::record::{Assignment, AssignmentId};

/// Ids are unique within the process, also over several sources.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The partitions that are here.
#[derive(Debug, Default)]
pub(super) struct Stays {
    /// By topic; within a topic, by partition number.
    topics: Mutex<HashMap<Arc<str>, Vec<Option<Arc<Assignment>>>>>,
}

impl Stays {
    fn topics(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Option<Arc<Assignment>>>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a stay under a new id.
    pub(super) fn begin(&self, topic: &str, partition: i32) -> Arc<Assignment> {
        let mut topics = self.topics();
        let topic = match topics.get_key_value(topic) {
            Some((topic, _)) => Arc::clone(topic),
            None => Arc::from(topic),
        };
        let id = AssignmentId(NEXT.fetch_add(1, Ordering::Relaxed));
        let assignment = Arc::new(Assignment { id, topic: Arc::clone(&topic), partition });
        let partitions = topics.entry(topic).or_default();
        let place = usize::try_from(partition).unwrap_or(0);
        if partitions.len() <= place {
            partitions.resize(place + 1, None);
        }
        partitions[place] = Some(Arc::clone(&assignment));
        assignment
    }

    /// Ends a stay, if there is one.
    pub(super) fn end(&self, topic: &str, partition: i32) -> Option<Arc<Assignment>> {
        self.topics().get_mut(topic)?.get_mut(usize::try_from(partition).ok()?)?.take()
    }

    /// The stay of a partition.
    pub(super) fn of(&self, topic: &str, partition: i32) -> Option<Arc<Assignment>> {
        self.topics().get(topic)?.get(usize::try_from(partition).ok()?)?.clone()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<AssignmentId> {
        self.topics().values().flatten().flatten().map(|stay| stay.id).collect()
    }

    /// Whether this very stay goes on.
    pub(super) fn has(&self, assignment: &Assignment) -> bool {
        self.of(&assignment.topic, assignment.partition).is_some_and(|now| now.id == assignment.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_comes_back_is_another_stay() {
        let stays = Stays::default();
        let first = stays.begin("orders", 2);
        assert!(stays.has(&first));
        assert_eq!(stays.all(), [first.id]);
        assert_eq!(stays.of("orders", 1), None);
        assert_eq!(stays.end("orders", 2), Some(Arc::clone(&first)));
        assert!(!stays.has(&first));
        let second = stays.begin("orders", 2);
        assert!(second.id > first.id);
        assert!(stays.has(&second) && !stays.has(&first));
        assert_eq!(stays.end("orders", 7), None);
        assert_eq!(stays.end("refunds", 0), None);
    }
}
