//! The letters that no redrive has settled, in the order of their partitions, and what of them is settled.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use indicatif::ProgressBar;

use super::stop::Stop;
use crate::cli::dead_letters::reader::{DeadLetter, NotCommitted, Reader};
use crate::cli::{show_note, show_warning};
use crate::config::Config;
use crate::record::{Assignment, AssignmentId, Position, Record};
use crate::settle::dead_letter::PREFIX;
use crate::settle::{Ledger, Mark, Opened, Ticket};

/// The letters.
pub(super) struct Letters {
    reader: Reader,
    ledger: Ledger,
    stays: HashMap<i32, Arc<Assignment>>,
    /// Offsets up to the end, for the progress bar.
    pub(super) offsets: u64,
    /// Whether the end was reached.
    pub(super) ended: bool,
}

impl Letters {
    /// From where the redrives before have stopped.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) fn open(config: &Config) -> Result<Letters, String> {
        let group = format!("{}.redrive", config.kafka.group);
        let mut reader = Reader::open(&config.kafka, &group)?;
        let (mut ledger, mut stays, mut from) = (Ledger::default(), HashMap::new(), HashMap::new());
        for (id, mut committed) in (0..).zip(reader.committed()?) {
            let (_, end) = reader.bounds(committed.partition)?;
            if committed.offset.is_some_and(|offset| offset > end) {
                show_warning(format!(
                    "partition {} of `{}` ends before what was redriven of it, so the topic was made anew: all its letters are redriven",
                    committed.partition,
                    reader.topic()
                ));
                committed.offset = None;
            }
            let stay = Arc::new(Assignment { id: AssignmentId(id), topic: reader.topic().into(), partition: committed.partition });
            ledger.assign(Arc::clone(&stay), committed.offset, &committed.metadata);
            from.extend(committed.offset.map(|offset| (committed.partition, offset)));
            stays.insert(committed.partition, stay);
        }
        if from.is_empty() {
            show_note(format!(
                "group `{group}` has committed nothing: nothing was redriven yet, or Kafka has forgotten it (`offsets.retention.minutes`, 7 days \
                 unless the broker says otherwise). Every letter that the filter takes is redriven"
            ));
        }
        // Not from `--since`: what lies before it is undecided, and the ledger has to see it.
        let offsets = reader.rewind(None, &from)?;
        Ok(Letters { reader, ledger, stays, offsets, ended: false })
    }

    /// The next one; none at the end, or when the operator wants to stop.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) fn next(&mut self, bar: &ProgressBar, stop: &Stop) -> Result<Option<(DeadLetter, Ticket)>, String> {
        while !stop.is_asked() {
            let Some(found) = self.reader.next_unless(|| stop.is_asked())? else {
                self.ended = !stop.is_asked();
                break;
            };
            bar.inc(1);
            let Some(stay) = self.stays.get(&found.partition) else { continue };
            if let Opened::Undecided(ticket) = self.ledger.open(Position { assignment: stay.id, offset: found.offset }, found.key.as_deref()) {
                return Ok(Some((found, ticket)));
            }
        }
        Ok(None)
    }

    /// Settles a letter.
    pub(super) fn settle(&mut self, ticket: Ticket) {
        self.ledger.settle(ticket);
    }

    /// Commits what has changed; more seldom where very much is left undecided.
    ///
    /// # Errors
    /// It is not known to be committed, in words for the operator. It is tried again with the next commit.
    pub(super) fn commit(&mut self) -> Result<(), String> {
        let marks = self.ledger.marks();
        let committed = self.commit_marks(marks.clone());
        if committed.is_err() {
            self.ledger.unmark(&marks.iter().map(|mark| mark.assignment.id).collect::<Vec<_>>());
        }
        committed
    }

    /// Commits all that is settled, and says what could not be told.
    ///
    /// # Errors
    /// It is not known to be committed, in words for the operator.
    pub(super) fn commit_for_good(&mut self) -> Result<(), String> {
        let marks = self.ledger.every_mark();
        self.commit_marks(marks)?;
        let forgotten = self.ledger.forgotten();
        if forgotten > 0 {
            show_warning(format!(
                "about {forgotten} letters that are done cannot be remembered beside those that were left out, and the next redrive would take them again: \
                 Kafka keeps 4 KiB a partition of it. First redrive what was left out, or begin the next one with `--since`"
            ));
        }
        Ok(())
    }

    fn commit_marks(&mut self, mut marks: Vec<Mark>) -> Result<(), String> {
        loop {
            match self.reader.commit(&marks) {
                Ok(()) => return Ok(()),
                Err(NotCommitted::TooLarge) => {
                    self.ledger.metadata_refused();
                    let partitions: Vec<AssignmentId> = marks.iter().map(|mark| mark.assignment.id).collect();
                    marks = self.ledger.every_mark();
                    marks.retain(|mark| partitions.contains(&mark.assignment.id));
                }
                Err(NotCommitted::Failed(why)) => return Err(why),
            }
        }
    }
}

/// The partitions that the letters' records came from, as they were: a record keeps its coordinates, and with them its idempotency keys.
#[derive(Default)]
pub(super) struct Sources(BTreeMap<(String, i32), Arc<Assignment>>);

impl Sources {
    /// A letter's record; none where its coordinates are missing.
    pub(super) fn record(&mut self, found: &DeadLetter) -> Option<Record> {
        let (topic, partition, offset) = found.letter.source.clone()?;
        let next = AssignmentId(self.0.len() as u64);
        let assignment = self
            .0
            .entry((topic, partition))
            .or_insert_with_key(|(topic, partition)| Arc::new(Assignment { id: next, topic: topic.as_str().into(), partition: *partition }));
        let headers = found.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)).cloned().collect();
        Some(Record {
            assignment: Arc::clone(assignment),
            offset,
            timestamp: found.letter.timestamp,
            key: found.key.clone(),
            headers,
            payload: found.payload.clone(),
        })
    }
}
