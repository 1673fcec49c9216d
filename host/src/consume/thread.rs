//! The consumer's thread: polls, copies, hands over, and waits when there is no room.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;

use super::Event;
use super::copy;
use super::place::Came;
use super::queue::{BATCH_BYTES, BATCH_RECORDS, Refused};
use super::rebalance::{Context, Uncommitted};
use crate::cluster::Identity;
use crate::record::{Assignment, Record};
use crate::settle::Mark;

/// Longest poll when nothing comes: how late a request to end is heard.
const POLL: Duration = Duration::from_millis(100);

/// How long a full queue is waited for before intake is paused. Pausing throws away what librdkafka has fetched ahead (librdkafka#5343), so it
/// is for long pressure only; not polling for a second harms nothing, since heartbeats have a thread of their own.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks for room while intake is paused, between polls that serve rebalances.
const PAUSED_POLL: Duration = Duration::from_millis(20);

/// Tries of the last commit while the group is rebalanced, each after a poll: five seconds and more, which a group whose members answer needs only
/// when one of them drains slowly.
const REBALANCE_LOOKS: u32 = 50;

/// Looks at the group after the wish to leave. Each takes some milliseconds; the first nearly always suffices.
const LEAVE_LOOKS: u32 = 50;

/// Longest wait for a partition's bounds, asked only when its first record is not the expected one.
const BOUNDS: Duration = Duration::from_secs(5);

/// Everything that the thread works with.
pub(super) struct Reader {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    /// Group and client id of a static member, to see that it has left; none for a dynamic one.
    pub(super) member: Option<(String, String)>,
    /// Who this host is; given up last, when the group has forgotten it.
    pub(super) identity: Identity,
}

/// The source is to end.
struct End;

impl Reader {
    /// Reads until the source is closed or broken, then leaves the group.
    pub(super) fn run(self) {
        let mut batch = Batch::default();
        while !self.closing() {
            let wait = if batch.records.is_empty() { POLL } else { Duration::ZERO };
            let more = match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    self.take(&message, &mut batch);
                    !batch.is_full()
                }
                Some(Err(error)) => {
                    if self.is_fatal(&error) {
                        break;
                    }
                    true
                }
                None => false,
            };
            if !more && !batch.records.is_empty() && self.hand_over(&mut batch).is_err() {
                break;
            }
        }
        self.leave();
    }

    fn closing(&self) -> bool {
        self.consumer.context().closing.load(Ordering::Acquire)
    }

    fn take(&self, message: &rdkafka::message::BorrowedMessage<'_>, batch: &mut Batch) {
        let context = self.consumer.context();
        // A record of a partition that has just gone may still lie in librdkafka's queue.
        let Some(assignment) = context.stays.of(message.topic(), message.partition()) else { return };
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        let assignment = match context.places.came(assignment.id, offset) {
            Came::InOrder => assignment,
            Came::Beyond(expected) => {
                self.look_for_deleted(&assignment, expected, offset);
                assignment
            }
            Came::Before(expected) => {
                tracing::error!(
                    topic,
                    partition,
                    offset,
                    expected,
                    "the log was cut back, or the topic was made anew; all from this offset on is handled as new"
                );
                context.begin_anew(topic, partition, offset)
            }
        };
        let record = copy::record(message, assignment);
        batch.bytes += record.weight();
        batch.records.push(record);
    }

    /// Tells the loop when what was to be read is gone from the log. A gap alone says nothing: compaction and transactions make them too.
    fn look_for_deleted(&self, assignment: &Assignment, expected: i64, offset: i64) {
        let (topic, partition) = (&*assignment.topic, assignment.partition);
        match self.consumer.fetch_watermarks(topic, partition, BOUNDS) {
            Ok((lowest, _)) if lowest > expected => {
                // Before the record that has come, so that the loop still knows what was settled there.
                self.consumer.context().queue.put_event(Event::Deleted { assignment: assignment.id, offsets: expected..lowest.min(offset) });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(topic, partition, %error, "it is not known whether retention deleted records before they were handled"),
        }
    }

    /// Hands the batch over, however long it takes, while rebalances go on being served.
    fn hand_over(&self, batch: &mut Batch) -> Result<(), End> {
        let context = self.consumer.context();
        let records = match context.queue.put_batch(batch.take(), PATIENCE) {
            Ok(()) => return Ok(()),
            Err(Refused::Closed) => return Err(End),
            Err(Refused::Full(records)) => records,
        };
        self.pause(true);
        let mut unsent = Some(records);
        let mut handed = Ok(());
        while let Some(records) = unsent.take() {
            match context.queue.put_batch(records, Duration::ZERO) {
                Ok(()) => {}
                Err(Refused::Closed) => handed = Err(End),
                Err(Refused::Full(records)) => {
                    unsent = Some(records);
                    match self.consumer.poll(PAUSED_POLL) {
                        // Intake is paused, so this is at most what was on its way: it waits for its turn.
                        Some(Ok(message)) => self.take(&message, batch),
                        Some(Err(error)) if self.is_fatal(&error) => handed = Err(End),
                        Some(Err(_)) | None => {}
                    }
                    if self.closing() {
                        handed = Err(End);
                    }
                }
            }
            if handed.is_err() {
                break;
            }
        }
        self.pause(false);
        handed
    }

    fn pause(&self, paused: bool) {
        let context = self.consumer.context();
        context.paused.store(paused, Ordering::Relaxed);
        let changed = self.consumer.assignment().and_then(|all| {
            if all.count() == 0 {
                Ok(())
            } else if paused {
                self.consumer.pause(&all)
            } else {
                self.consumer.resume(&all)
            }
        });
        match changed {
            Ok(()) => tracing::debug!(paused, "intake"),
            Err(error) => tracing::warn!(paused, %error, "intake could not be changed"),
        }
    }

    /// Tells the loop of an error that ends the source. The others were logged when they came, and librdkafka mends them by itself.
    fn is_fatal(&self, error: &KafkaError) -> bool {
        let fatal = self.consumer.client().fatal_error();
        let words = match (error, fatal) {
            (_, Some((code, reason))) => format!("read from Kafka: {reason} ({code})"),
            (KafkaError::MessageConsumptionFatal(code), None) => format!("read from Kafka: {code}"),
            _ => return false,
        };
        self.consumer.context().queue.put_event(Event::Failed(words));
        true
    }

    /// Commits what is settled, and leaves the group. Leaving by unsubscribing first lets a static member go too, whose partitions would
    /// otherwise wait for its session to time out (KIP-345).
    fn leave(self) {
        let context = Arc::clone(self.consumer.context());
        context.closing.store(true, Ordering::Release);
        let committed = self.commit_what_is_left().map_err(|error| error.to_string());
        let done = context.ending().take().map(|(_, done)| done);
        self.consumer.unsubscribe();
        // The revocation that follows is served by polling; it unassigns without asking anyone, and librdkafka then leaves.
        let mut left = 50;
        while left > 0 && self.consumer.assignment().is_ok_and(|assignment| assignment.count() > 0) {
            let _ = self.consumer.poll(POLL);
            left -= 1;
        }
        self.await_left();
        // A commit's thread may hold it for a moment longer; whoever drops it last closes it, and that must not be a task of the runtime.
        let mut consumer = self.consumer;
        for _ in 0..100 {
            match Arc::try_unwrap(consumer) {
                Ok(last) => {
                    drop(last);
                    break;
                }
                Err(shared) => {
                    consumer = shared;
                    std::thread::park_timeout(POLL);
                }
            }
        }
        drop(self.identity);
        if let Some(done) = done {
            // Whoever asked may have run out of patience.
            let _ = done.send(committed);
        }
    }
}

impl Reader {
    /// Commits for the last time. A rebalance may be under way, in which the group takes no commits; it goes on being served, and then what this host
    /// still has is committed; of partitions that go meanwhile it is committed as they go.
    fn commit_what_is_left(&self) -> Result<(), Uncommitted> {
        let context = self.consumer.context();
        let mut left = REBALANCE_LOOKS;
        loop {
            let marks: Vec<Mark> = context.ending().as_ref().map(|(marks, _)| marks.clone()).unwrap_or_default();
            let marks: Vec<Mark> = marks.into_iter().filter(|mark| context.stays.has(&mark.assignment)).collect();
            if marks.is_empty() || self.consumer.assignment_lost() {
                return Ok(());
            }
            match context.last_commit(&marks) {
                Err(Uncommitted::Rebalancing) if left > 0 => left -= 1,
                committed => return committed,
            }
            // Records that still come were not begun, and are the next owner's.
            let _ = self.consumer.poll(POLL);
        }
    }

    /// Waits until the group has let a static member go. Closing the consumer too early would take its wish to leave back, and nothing in
    /// librdkafka says when it was sent.
    fn await_left(&self) {
        let Some((group, client)) = &self.member else { return };
        for _ in 0..LEAVE_LOOKS {
            let _ = self.consumer.poll(PAUSED_POLL);
            match self.consumer.fetch_group_list(Some(group), POLL * 10) {
                Ok(groups) if groups.groups().iter().any(|group| group.members().iter().any(|member| member.client_id() == client)) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(%error, "the group's members are not known");
                    return;
                }
            }
        }
        tracing::warn!(group, "the group still lists this host; its partitions wait until its session times out");
    }
}

/// Records on their way to the queue.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    fn take(&mut self) -> Vec<Record> {
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }
}
