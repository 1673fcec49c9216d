//! Settle: what is done, what may be committed, what is given up on.
//!
//! Owns tickets, the ledger, commits and dead letters. Promises that the committed watermark never passes an undecided record, and that
//! dropping a ticket never counts as settling. Refuses to know why a record ended as it did.

mod beyond;
pub mod dead_letter;
#[cfg(fuzzing)]
pub mod fuzz;
mod kafka;
mod kafka_offsets;
mod ledger;

use std::sync::Arc;

pub use kafka::KafkaSettle;
pub use kafka_offsets::{Offsets, offsets};
pub use ledger::{Ledger, Opened, Ticket};

use crate::outcome::{Failure, Reply};
use crate::plugin::{PluginName, Version};
use crate::record::{Assignment, Record};

/// What is settled of one partition, ready to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The stay that it was settled in.
    pub assignment: Arc<Assignment>,
    /// The watermark: the lowest offset not yet settled, which is what Kafka calls the committed offset.
    pub next: NextOffset,
    /// What is settled beyond it, encoded; below the broker's limit on commit metadata.
    pub metadata: String,
    /// Whether it says exactly what is settled. If not, some of it is sent again after a crash.
    pub exact: bool,
}

/// The offset of the next record to handle. Kafka commits this, not the offset of the last record handled; the type keeps the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextOffset(pub i64);

/// A record that is given up on.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    /// The record, whole.
    pub record: &'a Record,
    /// Why.
    pub failure: &'a Failure,
    /// The plugin that handled it, if one did.
    pub plugin: Option<(&'a PluginName, &'a Version)>,
}

/// Where settled work goes.
pub trait Settle: Send + Sync + 'static {
    /// Commits these marks. Returns when the request is on its way; how it ended is heard from the source
    /// ([`Event::CommitFailed`](crate::consume::Event::CommitFailed)).
    ///
    /// # Errors
    /// It did not get on its way, in words for the operator.
    fn commit(&self, marks: Vec<Mark>) -> Result<(), String>;

    /// Writes a dead letter, and returns when Kafka has acknowledged it.
    ///
    /// # Errors
    /// Kafka did not take it, in words for the operator. The record stays undecided.
    fn dead_letter(&self, letter: DeadLetter<'_>) -> impl Future<Output = Result<(), String>> + Send;

    /// Writes a reply to the reply topic, if there is one, and returns when Kafka has acknowledged it.
    ///
    /// # Errors
    /// Kafka did not take it, in words for the operator. The record stays undecided.
    fn reply(&self, record: &Record, index: u32, destination: &str, reply: &Reply) -> impl Future<Output = Result<(), String>> + Send;
}
