//! One Kafka record, and where it stands.
//!
//! Owns the data that every stage may see. All of it is owned bytes: a slice borrowed from librdkafka would pin the whole fetch buffer
//! that it lies in for as long as the record waits (librdkafka#1382).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One stay of one partition with this host: from the rebalance that assigned it to the one that takes it away.
///
/// A partition that leaves and comes back is a new assignment with a new id. That makes the id the fence: whatever finishes
/// late for an earlier stay finds no ledger under its id, and can move no offset.
#[derive(Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Unique within this process, growing.
    pub id: AssignmentId,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

/// Identifies one [`Assignment`]; never used twice in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssignmentId(pub u64);

/// Where a record stands in Kafka, as far as this host is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The stay of the partition during which the record was read.
    pub assignment: AssignmentId,
    /// The record's own offset, from 0.
    pub offset: i64,
}

/// One Kafka record.
#[derive(Debug, Clone)]
pub struct Record {
    /// The partition's stay during which the record was read.
    pub assignment: Arc<Assignment>,
    /// The record's own offset, from 0; offsets have gaps.
    pub offset: i64,
    /// Milliseconds since the epoch; none when the record carries no timestamp.
    pub timestamp: Option<i64>,
    /// The key's bytes; none when the record has no key.
    pub key: Option<Bytes>,
    /// The headers in their order; a header without a value has an empty one.
    pub headers: Vec<(String, Bytes)>,
    /// The value's bytes; none for a tombstone.
    pub payload: Option<Bytes>,
}

/// What a record costs besides its bytes: the structs, the lane's and the ledger's entries. Estimated, rounded up.
const OVERHEAD: usize = 256;

impl Record {
    /// Where the record stands.
    pub fn position(&self) -> Position {
        Position { assignment: self.assignment.id, offset: self.offset }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.assignment.topic
    }

    /// The partition's number, from 0.
    pub fn partition(&self) -> i32 {
        self.assignment.partition
    }

    /// The key as text; none when there is none or it is not UTF-8.
    pub fn key_text(&self) -> Option<&str> {
        self.key.as_deref().and_then(|key| std::str::from_utf8(key).ok())
    }

    /// Bytes that the record is counted with against the lanes' budget.
    pub fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        OVERHEAD + headers + self.key.as_ref().map_or(0, Bytes::len) + self.payload.as_ref().map_or(0, Bytes::len)
    }
}

/// `topic/partition@offset`, the form that logs and errors use.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic(), self.partition(), self.offset)
    }
}
