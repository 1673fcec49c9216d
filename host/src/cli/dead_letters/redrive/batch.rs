//! Some letters at once: different keys at the same time, one key's in the order in which they were given up on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::deliver::{self, Deliver};
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

/// What is handled in order: the letters of one key. A letter without a key is alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Of a key.
    Key(Bytes),
    /// Of one letter, by its place.
    Letter(i32, i64),
}

impl Lane {
    /// Of a letter with this key, at this place.
    pub(super) fn of(key: Option<&Bytes>, at: (i32, i64)) -> Lane {
        key.map_or(Lane::Letter(at.0, at.1), |key| Lane::Key(key.clone()))
    }
}

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
    /// What it is in order with.
    pub(super) lane: Lane,
    /// How its record ended this time.
    pub(super) outcome: Outcome,
    /// To be settled; none when the letter stays.
    pub(super) ticket: Option<Ticket>,
}

/// Lets letters go at an even pace.
pub(super) struct Pace(Option<deliver::Pace>);

impl Pace {
    /// So many a second; none for as fast as it goes.
    pub(super) fn new(rate: Option<u32>) -> Pace {
        Pace(rate.and_then(|requests| deliver::Pace::new(config::Rate { requests, per: Duration::from_secs(1) })))
    }

    async fn turn(&self) {
        if let Some(pace) = &self.0 {
            pace.ready().await;
        }
    }
}

/// Letters that are handled together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    lanes: HashMap<Lane, VecDeque<Waiting>>,
    letters: usize,
    bytes: usize,
}

impl Batch {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.letters += 1;
        self.bytes += waiting.record.weight();
        self.lanes.entry(Lane::of(waiting.record.key.as_ref(), waiting.at)).or_default().push_back(waiting);
    }

    pub(super) fn len(&self) -> usize {
        self.letters
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all of them through the pipeline, and tells of each when it is done. A lane in which one is held is left there: the rest of it comes after. Once
    /// `stop` is cancelled no further letter begins, and those in progress are waited for, unless the stream is dropped.
    pub(super) fn handle<'a, T: Transform, D: Deliver, S: Settle>(
        self,
        pipeline: &'a Pipeline<T, D, S>,
        pace: &'a Pace,
        stop: &'a CancellationToken,
    ) -> impl Stream<Item = Done> + 'a {
        let mut lanes: Vec<(Lane, VecDeque<Waiting>)> = self.lanes.into_iter().collect();
        // In the order of the topic, as far as lanes have one, so that what is printed can be followed.
        lanes.sort_by_key(|(_, letters)| letters.front().map(|waiting| waiting.at));
        let in_order = move |(lane, letters)| {
            let next = move |mut letters: VecDeque<Waiting>| {
                let lane: Lane = Lane::clone(&lane);
                async move {
                    let waiting = letters.pop_front()?;
                    stop.run_until_cancelled(pace.turn()).await?;
                    let done = handle(lane, waiting, pipeline).await;
                    if done.ticket.is_none() {
                        letters.clear();
                    }
                    Some((done, letters))
                }
            };
            Box::pin(stream::unfold(letters, next))
        };
        stream::iter(lanes).map(in_order).flatten_unordered(KEYS)
    }
}

/// How far a letter's record had come. The same version makes the same requests, so those that were delivered are not sent again. Another version's are
/// not comparable: it sends all of its own, under the same idempotency keys.
pub(super) fn progress(letter: &Letter) -> Option<Box<Progress>> {
    let version = Version(Arc::from(letter.plugin_version.as_deref()?));
    Some(Box::new(Progress { version, delivered: letter.delivered, conversation: None }))
}

async fn handle<T: Transform, D: Deliver, S: Settle>(lane: Lane, waiting: Waiting, pipeline: &Pipeline<T, D, S>) -> Done {
    let Waiting { at, record, progress, ticket } = waiting;
    let mut job = Job { record: Box::new(record), ticket, arrived: Instant::now(), progress, behind: 0 };
    let outcome = pipeline.handle(&mut job).await;
    let held = matches!(outcome, Outcome::Held(_));
    Done { at, lane, outcome, ticket: (!held).then_some(job.ticket) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::fakes::{self, Broker, Destinations, Mood};
    use crate::record::{AssignmentId, Position};
    use crate::settle::{Ledger, Opened};

    /// Letters with these keys, at offsets from 0.
    fn batch(keys: &[Option<&str>]) -> Batch {
        let mut ledger = Ledger::default();
        ledger.assign(Broker::stay(1), None, "");
        let mut batch = Batch::default();
        for (offset, key) in (0..).zip(keys) {
            let record = Record { key: key.map(|key| key.to_owned().into()), ..fakes::record(9, offset, "") };
            let Opened::Undecided(ticket) = ledger.open(Position { assignment: AssignmentId(1), offset }, None) else { panic!("it is new") };
            batch.push(Waiting { at: (0, offset), record, progress: None, ticket });
        }
        batch
    }

    /// Every record to the destination `a`, with its key in the path.
    fn to_a(record: &Record) -> Result<crate::outcome::Verdict, crate::outcome::Failure> {
        Ok(crate::outcome::Verdict::Send(vec![fakes::request("a", &format!("/{}", record.offset))]))
    }

    #[tokio::test(start_paused = true)]
    async fn letters_without_a_key_wait_for_nobody_and_those_of_a_key_for_each_other() {
        let destinations: Arc<Destinations> = Arc::default();
        destinations.mood("a", Mood::Answers(200, Duration::from_secs(1)));
        let pipeline = fakes::pipeline(&Broker::default(), Arc::clone(&destinations), to_a);
        let (pace, stop) = (Pace::new(None), CancellationToken::new());
        let time = async |keys: &[Option<&str>]| {
            let begun = Instant::now();
            let done: Vec<Done> = batch(keys).handle(&pipeline, &pace, &stop).collect().await;
            assert_eq!(done.len(), keys.len());
            begun.elapsed().as_secs()
        };
        assert_eq!(time(&[None; KEYS]).await, 1);
        assert_eq!(time(&[Some("k"); 10]).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_held_keeps_its_key_and_no_letter_without_one() {
        let destinations: Arc<Destinations> = Arc::default();
        destinations.mood("a", Mood::Down);
        let pipeline = fakes::pipeline(&Broker::default(), Arc::clone(&destinations), to_a);
        let (pace, stop) = (Pace::new(None), CancellationToken::new());
        let keys = [None, Some("k"), None, Some("k"), None];
        let done: Vec<Done> = batch(&keys).handle(&pipeline, &pace, &stop).collect().await;
        let mut held: Vec<i64> = done.iter().filter(|done| done.ticket.is_none()).map(|done| done.at.1).collect();
        held.sort_unstable();
        assert_eq!(held, [0, 1, 2, 4], "the second of the key has not begun");
        assert_ne!(done[0].lane, done[2].lane);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_that_which_was_asked_for_whatever_the_timers_grain() {
        for rate in [3, 700, 3_000, 50_000] {
            let pace = Pace::new(Some(rate));
            let end = Instant::now() + Duration::from_secs(10);
            let mut turns = 0_u32;
            while Instant::now() < end {
                pace.turn().await;
                turns += 1;
            }
            assert!(turns.abs_diff(rate * 10) <= rate / 10 + 1, "{turns} in 10 s at {rate} a second");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_wish_to_stop_no_letter_begins_and_those_in_progress_are_told_of() {
        let destinations: Arc<Destinations> = Arc::default();
        destinations.mood("a", Mood::Answers(200, Duration::from_secs(1)));
        let pipeline = fakes::pipeline(&Broker::default(), Arc::clone(&destinations), to_a);
        let (pace, stop) = (Pace::new(Some(10)), CancellationToken::new());
        let stopping = async {
            sleep(Duration::from_millis(450)).await;
            stop.cancel();
        };
        let (done, ()) = tokio::join!(batch(&[None; 20]).handle(&pipeline, &pace, &stop).collect::<Vec<Done>>(), stopping);
        let mut at: Vec<i64> = done.iter().map(|done| done.at.1).collect();
        at.sort_unstable();
        assert_eq!(at, [0, 1, 2, 3, 4], "one at once and then every 100 ms");
        assert_eq!(destinations.sent.lock().unwrap().len(), 5);
    }

    #[test]
    fn what_is_not_sent_again_is_what_was_delivered_and_not_what_comes_before_the_failed_request() {
        let letter = Letter { plugin_version: Some("1".to_owned()), request: Some(2), delivered: 0, ..Letter::default() };
        assert_eq!(progress(&letter).unwrap().delivered, 0);
        assert_eq!(progress(&Letter { delivered: 2, ..letter.clone() }).unwrap().delivered, 2);
        assert!(progress(&Letter { plugin_version: None, ..letter }).is_none());
    }
}
