//! Consume: Kafka records in, rebalances told apart.
//!
//! Owns the consumer and its thread. Promises that a partition's records come in offset order, that each stay of a partition is a new
//! [`Assignment`], and that a revocation waits for the loop's answer (with a deadline) before the partition goes. Refuses to know what a
//! key means or when an offset is settled.

mod commit_log;
mod copy;
mod kafka;
mod place;
mod queue;
mod rebalance;
mod refetch;
mod stays;
mod thread;

pub use kafka::{Kafka, KafkaOffsets};

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::record::{Assignment, AssignmentId, Record};
use crate::settle::Mark;

/// What the loop hears from Kafka.
#[derive(Debug)]
pub enum Event {
    /// These partitions are this host's now. Their records follow.
    Assigned(Vec<Assigned>),
    /// Records, of any of the assigned partitions, each partition's in offset order.
    Records(Vec<Record>),
    /// These partitions go away; the source waits for [`Revoked::release`].
    Revoked(Revoked),
    /// Records that were asked for with [`Source::refetch`].
    Refetched {
        /// Those that were found.
        records: Vec<Record>,
        /// Those that are no longer in the log: deleted by retention or compaction.
        gone: Vec<(AssignmentId, i64)>,
    },
    /// Retention deleted what stood at these offsets before it could be read: nothing of it comes.
    Deleted {
        /// The stay.
        assignment: AssignmentId,
        /// From the first that was to be read to where the log begins now. An earlier owner may have settled some of them.
        offsets: Range<i64>,
    },
    /// Kafka did not take a commit of some of these partitions; what it covered is to be committed again.
    CommitFailed {
        /// The stays.
        stays: Vec<AssignmentId>,
        /// Whether the broker takes less metadata than it was given.
        too_large: bool,
    },
    /// The source ended: an unrecoverable error, in words for the operator.
    Failed(String),
}

/// A partition that begins its stay.
#[derive(Debug)]
pub struct Assigned {
    /// The stay.
    pub assignment: Arc<Assignment>,
    /// The group's committed offset (the next one to handle), if there is one.
    pub committed: Option<i64>,
    /// The commit's metadata, as written by an earlier owner; empty when there is none.
    pub metadata: String,
}

/// Partitions that end their stay.
#[derive(Debug)]
pub struct Revoked {
    /// The stays that end.
    pub assignments: Vec<AssignmentId>,
    /// Whether the partitions are lost already, so that nothing may be committed for them.
    pub lost: bool,
    /// Where the loop answers, with what is settled; the source commits it unless the partitions are lost, and lets them go.
    /// Dropping it answers that nothing is.
    pub release: oneshot::Sender<Vec<Mark>>,
}

/// Where records come from.
pub trait Source {
    /// The next event. Cancel-safe: an event is never lost when the future is dropped.
    ///
    /// Without `room`, every event but [`Event::Records`]: rebalances and refetched records must get through a full window, since they
    /// are what empties it. An assignment is heard before its records, and records of a stay that has ended may still follow its end.
    fn next(&mut self, room: bool) -> impl Future<Output = Event> + Send;

    /// Asks for single records again by offset; they come as [`Event::Refetched`]. Offsets are sorted and without repeats.
    fn refetch(&mut self, wanted: Vec<(Arc<Assignment>, Vec<i64>)>);

    /// Stops intake for good and leaves the group, after committing these marks synchronously.
    fn close(self, marks: Vec<Mark>) -> impl Future<Output = Result<(), String>> + Send;
}
