//! Some letters at once: different keys at the same time, one key's in the order in which they were given up on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Mutex;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::deliver::Deliver;
use crate::lanes::{Job, Progress};
use crate::outcome::Outcome;
use crate::pipeline::Pipeline;
use crate::plugin::Version;
use crate::record::Record;
use crate::settle::dead_letter::Letter;
use crate::settle::{Settle, Ticket};
use crate::transform::Transform;

/// Keys in progress at once. The destinations have their own limits; this keeps a redrive from being slowed by one key.
const KEYS: usize = 64;

/// A letter that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Partition and offset in the dead-letter topic.
    pub(super) at: (i32, i64),
    /// Its record, with its own coordinates.
    pub(super) record: Record,
    /// How far its record had come.
    pub(super) progress: Option<Box<Progress>>,
    /// Settles the letter, not the record.
    pub(super) ticket: Ticket,
}

/// What became of a letter.
#[derive(Debug)]
pub(super) struct Done {
    /// Partition and offset in the dead-letter topic.
    pub(super) at: (i32, i64),
    /// The record's key.
    pub(super) key: Option<Bytes>,
    /// How its record ended this time.
    pub(super) outcome: Outcome,
    /// To be settled; none when the letter stays.
    pub(super) ticket: Option<Ticket>,
}

/// Lets letters go at an even pace.
#[derive(Debug)]
pub(super) struct Pace(Option<Mutex<Interval>>);

impl Pace {
    /// So many a second; none for as fast as it goes.
    pub(super) fn new(rate: Option<u32>) -> Pace {
        Pace(rate.map(|rate| {
            let mut interval = interval(Duration::from_secs(1) / rate);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Mutex::new(interval)
        }))
    }

    async fn turn(&self) {
        if let Some(interval) = &self.0 {
            interval.lock().await.tick().await;
        }
    }
}

/// Letters that are handled together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    keys: HashMap<Option<Bytes>, Vec<Waiting>>,
    letters: usize,
    bytes: usize,
}

impl Batch {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.letters += 1;
        self.bytes += waiting.record.weight();
        self.keys.entry(waiting.record.key.clone()).or_default().push(waiting);
    }

    pub(super) fn len(&self) -> usize {
        self.letters
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all of them through the pipeline. A key at which one is held is left there: the rest of it comes after. Once `stop` is cancelled
    /// no further letter begins, and those in progress are waited for.
    pub(super) async fn handle<T: Transform, D: Deliver, S: Settle>(
        self,
        pipeline: &Pipeline<T, D, S>,
        pace: &Pace,
        stop: &CancellationToken,
    ) -> Vec<Done> {
        let mut keys: Vec<Vec<Waiting>> = self.keys.into_values().collect();
        // In the order of the topic, as far as keys have one, so that what is printed can be followed.
        keys.sort_by_key(|letters| letters.first().map(|waiting| waiting.at));
        let handled = stream::iter(keys).map(|letters| key(letters, pipeline, pace, stop)).buffer_unordered(KEYS);
        handled.collect::<Vec<Vec<Done>>>().await.into_iter().flatten().collect()
    }
}

/// How far a letter's record had come. The same version makes the same requests, so those that were delivered are not sent again. Another version's are
/// not comparable: it sends all of its own, under the same idempotency keys.
pub(super) fn progress(letter: &Letter) -> Option<Box<Progress>> {
    let version = Version(Arc::from(letter.plugin_version.as_deref()?));
    Some(Box::new(Progress { version, delivered: letter.delivered, conversation: None }))
}

async fn key<T: Transform, D: Deliver, S: Settle>(
    letters: Vec<Waiting>,
    pipeline: &Pipeline<T, D, S>,
    pace: &Pace,
    stop: &CancellationToken,
) -> Vec<Done> {
    let mut all = Vec::with_capacity(letters.len());
    for Waiting { at, record, progress, ticket } in letters {
        if stop.run_until_cancelled(pace.turn()).await.is_none() {
            break;
        }
        let mut job = Job { record: Box::new(record), ticket, arrived: Instant::now(), progress, behind: 0 };
        let outcome = pipeline.handle(&mut job).await;
        let held = matches!(outcome, Outcome::Held(_));
        all.push(Done { at, key: job.record.key.clone(), outcome, ticket: (!held).then_some(job.ticket) });
        if held {
            break;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_sent_again_is_what_was_delivered_and_not_what_comes_before_the_failed_request() {
        let letter = Letter { plugin_version: Some("1".to_owned()), request: Some(2), delivered: 0, ..Letter::default() };
        assert_eq!(progress(&letter).unwrap().delivered, 0);
        assert_eq!(progress(&Letter { delivered: 2, ..letter.clone() }).unwrap().delivered, 2);
        assert!(progress(&Letter { plugin_version: None, ..letter }).is_none());
    }
}
