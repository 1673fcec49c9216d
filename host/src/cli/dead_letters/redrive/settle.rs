//! Where a redrive settles: new letters are written like a host's, with one more redrive on the loop guard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::outcome::Reply;
use crate::record::{Position, Record};
use crate::settle::dead_letter::REDRIVES;
use crate::settle::{DeadLetter, KafkaSettle, Mark, Offsets, Settle};

/// A redrive consumes no topic.
#[derive(Debug)]
pub(super) struct NoOffsets;

impl Offsets for NoOffsets {
    fn commit(&self, _marks: Vec<Mark>) -> Result<(), String> {
        Err("a redrive commits for its own group only".into())
    }
}

/// How often records were redriven. The plugin must not see it, so it does not travel in the record.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(Arc<Mutex<HashMap<Position, u32>>>);

impl Counts {
    /// From here on, these.
    pub(super) fn replace(&self, counts: HashMap<Position, u32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    fn of(&self, record: Position) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&record).copied().unwrap_or(1)
    }
}

/// Writes letters with the loop guard.
#[derive(Debug)]
pub(super) struct Redriven {
    kafka: KafkaSettle<NoOffsets>,
    counts: Counts,
}

impl Redriven {
    pub(super) fn new(kafka: KafkaSettle<NoOffsets>, counts: Counts) -> Redriven {
        Redriven { kafka, counts }
    }
}

impl Settle for Redriven {
    fn commit(&self, marks: Vec<Mark>) -> Result<(), String> {
        self.kafka.commit(marks)
    }

    async fn dead_letter(&self, letter: DeadLetter<'_>) -> Result<(), String> {
        let mut record = letter.record.clone();
        record.headers.push((REDRIVES.to_owned(), self.counts.of(record.position()).to_string().into()));
        self.kafka.dead_letter(DeadLetter { record: &record, ..letter }).await
    }

    async fn reply(&self, record: &Record, index: u32, destination: &str, reply: &Reply) -> Result<(), String> {
        self.kafka.reply(record, index, destination, reply).await
    }
}
