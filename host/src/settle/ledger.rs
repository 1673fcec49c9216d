//! The ledger: what is settled of each partition.
//!
//! It keeps what is *undecided*, not what is settled: an offset below the highest one seen that is not in the set is settled, or is a gap
//! (compaction, transactions) and never was a record. So the memory is that of the records in the window, however far a held key lets
//! the others run ahead, and the watermark is simply the lowest undecided offset.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::beyond::{self, Beyond};
use super::{Mark, NextOffset};
use crate::record::{Assignment, AssignmentId, Position};

/// The right to settle one record, once. Dropping it is *not done*: the record stays undecided and the watermark stays below it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped ticket leaves its record undecided for as long as the partition stays"]
pub struct Ticket(Position);

impl Ticket {
    /// Where the record stands.
    pub fn position(&self) -> Position {
        self.0
    }
}

/// What is settled of each partition that this host has.
#[derive(Debug, Default)]
pub struct Ledger {
    partitions: HashMap<AssignmentId, Partition>,
    /// How often nothing was marked since something last was.
    passed_over: usize,
}

/// Undecided records that are walked each time that is asked for marks: some 5 ms. With more, all but every n-th time is passed over, so that
/// a million held records do not keep the loop from its work; after a crash, what settled meanwhile is sent again.
const WALKED_MAX: usize = 100_000;

#[derive(Debug)]
struct Partition {
    assignment: Arc<Assignment>,
    /// Seen and not settled, with the hash of the record's key.
    undecided: BTreeMap<i64, u32>,
    /// One past the highest offset seen; before the first record, the committed offset. None: nothing committed, nothing seen.
    high: Option<i64>,
    /// What an earlier owner had settled at and beyond `high`; shrinks as `high` passes it.
    restored: Beyond,
    /// Whether anything was seen or settled since what was last handed out to be committed, so that an unchanged partition costs no commit.
    moved: bool,
}

/// Whether a record is still to be handled.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is; the ticket settles it.
    Undecided(Ticket),
    /// An earlier owner settled it already.
    Settled,
    /// Its partition's stay has ended.
    Fenced,
}

impl Ledger {
    /// Begins a stay at the group's committed offset, with the metadata of that commit.
    pub fn assign(&mut self, assignment: Arc<Assignment>, committed: Option<i64>, metadata: &str) {
        let restored = match committed {
            Some(offset) => Beyond::decode(metadata, offset).unwrap_or_else(|unreadable| {
                tracing::warn!(topic = %assignment.topic, partition = assignment.partition, "ignored the commit's metadata: {unreadable}");
                Beyond::default()
            }),
            None => Beyond::default(),
        };
        let partition = Partition { assignment, undecided: BTreeMap::new(), high: committed, restored, moved: true };
        self.partitions.insert(partition.assignment.id, partition);
    }

    /// The stay with this id, while it lasts.
    pub fn assignment(&self, id: AssignmentId) -> Option<&Arc<Assignment>> {
        self.partitions.get(&id).map(|partition| &partition.assignment)
    }

    /// The stays that this host has.
    pub fn assignments(&self) -> impl Iterator<Item = &Arc<Assignment>> {
        self.partitions.values().map(|partition| &partition.assignment)
    }

    /// Sees a record with this key. Records of one partition come in offset order; one that comes again is not opened twice.
    pub fn open(&mut self, position: Position, key: Option<&[u8]>) -> Opened {
        let Some(partition) = self.partitions.get_mut(&position.assignment) else { return Opened::Fenced };
        let offset = position.offset;
        if partition.high.is_some_and(|high| offset < high) {
            // Seen before: whoever opened it holds its ticket, or it is settled.
            return Opened::Settled;
        }
        partition.high = Some(offset + 1);
        partition.moved = true;
        let hash = beyond::hash_of(key, offset);
        let settled = partition.restored.contains(offset, hash);
        partition.restored.forget_below(offset + 1);
        if settled {
            return Opened::Settled;
        }
        partition.undecided.insert(offset, hash);
        Opened::Undecided(Ticket(position))
    }

    /// Settles a record. Without effect once the partition's stay has ended: a late finish moves nothing.
    pub fn settle(&mut self, ticket: Ticket) {
        if let Some(partition) = self.partitions.get_mut(&ticket.0.assignment) {
            partition.moved |= partition.undecided.remove(&ticket.0.offset).is_some();
        }
    }

    /// What has changed since the last call, to be committed; empty when nothing has, and more often where very much is undecided.
    pub fn marks(&mut self) -> Vec<Mark> {
        let undecided: usize = self.partitions.values().map(|partition| partition.undecided.len()).sum();
        if self.passed_over < undecided / WALKED_MAX {
            self.passed_over += 1;
            return Vec::new();
        }
        self.passed_over = 0;
        self.partitions.values_mut().filter_map(Partition::changed).collect()
    }

    /// Makes the next [`Ledger::marks`] hand out these partitions again: their last commit failed.
    pub fn unmark(&mut self, ids: &[AssignmentId]) {
        for id in ids {
            if let Some(partition) = self.partitions.get_mut(id) {
                partition.moved = true;
            }
        }
    }

    /// Ends these stays and says what is settled of them. From here on their tickets settle nothing.
    pub fn release(&mut self, ids: &[AssignmentId]) -> Vec<Mark> {
        ids.iter().filter_map(|id| self.partitions.remove(id)).filter_map(|partition| partition.mark()).collect()
    }

    /// Ends all stays; see [`Ledger::release`].
    pub fn release_all(&mut self) -> Vec<Mark> {
        self.partitions.drain().filter_map(|(_, partition)| partition.mark()).collect()
    }

    /// Per partition: the stay, its watermark, one past the highest offset seen, and how many records between them are undecided.
    pub fn progress(&self) -> impl Iterator<Item = (&Arc<Assignment>, Option<i64>, Option<i64>, usize)> {
        self.partitions.values().map(|partition| (&partition.assignment, partition.watermark(), partition.high, partition.undecided.len()))
    }
}

impl Partition {
    fn watermark(&self) -> Option<i64> {
        self.undecided.first_key_value().map(|(offset, _)| *offset).or(self.high)
    }

    fn mark(&self) -> Option<Mark> {
        let next = self.watermark()?;
        let map = Beyond::encode(next, self.high.unwrap_or(next), &self.undecided, &self.restored);
        Some(Mark { assignment: Arc::clone(&self.assignment), next: NextOffset(next), metadata: map.text, exact: map.exact })
    }

    fn changed(&mut self) -> Option<Mark> {
        if !std::mem::take(&mut self.moved) {
            return None;
        }
        self.mark()
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
