//! The ledger: what is settled of each partition.
//!
//! It keeps what is *undecided*, not what is settled: an offset below the highest one seen that is not in the set is settled, or is a gap
//! (compaction, transactions) and never was a record. So the memory is that of the records in the window, however far a held key lets
//! the others run ahead, and the watermark is simply the lowest undecided offset.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::beyond::{self, Beyond, Encoded};
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
    /// Bytes that the broker takes with a commit; none for what brokers take by default.
    metadata_max: Option<usize>,
    /// Bytes of the longest that was handed out last.
    longest: usize,
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

    /// How many of these offsets, none of which was seen, are not known to be settled. Offsets that never were a record are among them, where nobody has seen
    /// what was there; of those that are known by key (see [`Beyond`]), each key counts once.
    pub fn unsettled(&self, id: AssignmentId, offsets: &Range<i64>) -> u64 {
        let Some(partition) = self.partitions.get(&id) else { return 0 };
        let from = offsets.start.max(partition.high.unwrap_or(offsets.start));
        partition.restored.unsettled(from, offsets.end).unsigned_abs()
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
        let max = self.metadata_max();
        let marks: Vec<Mark> = self.partitions.values_mut().filter_map(|partition| partition.changed(max)).collect();
        if let Some(longest) = marks.iter().map(|mark| mark.metadata.len()).max() {
            self.longest = longest;
        }
        marks
    }

    /// What is settled of every partition, changed or not.
    pub fn every_mark(&mut self) -> Vec<Mark> {
        let max = self.metadata_max();
        let marks: Vec<Mark> = self.partitions.values().filter_map(|partition| partition.mark(max)).collect();
        self.longest = marks.iter().map(|mark| mark.metadata.len()).max().unwrap_or(0);
        marks
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
        let max = self.metadata_max();
        ids.iter().filter_map(|id| self.partitions.remove(id)).filter_map(|partition| partition.mark(max)).collect()
    }

    /// Ends all stays; see [`Ledger::release`].
    pub fn release_all(&mut self) -> Vec<Mark> {
        let max = self.metadata_max();
        self.partitions.drain().filter_map(|(_, partition)| partition.mark(max)).collect()
    }

    /// The broker refused metadata of the length that was handed out last: from here on, at most half of that. What does not fit is left out and sent again
    /// after a crash.
    pub fn metadata_refused(&mut self) {
        let (bytes, max) = (self.longest, self.longest / 2);
        if max < self.metadata_max() {
            tracing::warn!(
                bytes,
                max,
                "the broker takes less metadata with a commit (`offset.metadata.max.bytes`); what is settled beyond the watermark is told less exactly"
            );
            self.metadata_max = Some(max);
        }
    }

    fn metadata_max(&self) -> usize {
        self.metadata_max.unwrap_or(beyond::METADATA_MAX)
    }

    /// About how many records are settled of which a commit could not tell now: they would be taken for unsettled by whoever comes after.
    pub fn forgotten(&self) -> u64 {
        let max = self.metadata_max();
        self.partitions.values().filter_map(|partition| partition.map(max)).map(|(_, map)| map.left_out.unsigned_abs()).sum()
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

    fn mark(&self, metadata_max: usize) -> Option<Mark> {
        let (next, map) = self.map(metadata_max)?;
        Some(Mark { assignment: Arc::clone(&self.assignment), next: NextOffset(next), metadata: map.text, exact: map.exact })
    }

    fn map(&self, metadata_max: usize) -> Option<(i64, Encoded)> {
        let next = self.watermark()?;
        Some((next, Beyond::encode(next, self.high.unwrap_or(next), &self.undecided, &self.restored, metadata_max)))
    }

    fn changed(&mut self, metadata_max: usize) -> Option<Mark> {
        if !std::mem::take(&mut self.moved) {
            return None;
        }
        self.mark(metadata_max)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
