//! Rebalances: what happens inside the poll when partitions come and go.
//!
//! librdkafka hands a rebalance to the thread that polls and waits until it is done with. Everything here therefore has a deadline, and the
//! sum of the deadlines is far below `max.poll.interval.ms` (300 s).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::commit_log::CommitLog;
use super::copy::readable;
use super::place::{First, Places, offset_reset};
use super::queue::Queue;
use super::stays::Stays;
use super::{Assigned, Event, Revoked};
use crate::cluster::{COMMIT_FAILED, ClientLog, commit_within, is_metadata_too_large};
use crate::observe::Metrics;
use crate::record::Assignment;
use crate::settle::{Mark, offsets};

/// Tries to read what was committed, one after another, each with this deadline. A coordinator that moves needs some seconds.
const COMMITTED: Duration = Duration::from_secs(10);

/// Tries in all; then the partition starts without its settled-beyond map, which repeats requests but loses nothing.
const COMMITTED_TRIES: u32 = 3;

/// Longest wait for the acknowledgement of a last commit. What is not acknowledged is sent again by the next owner.
const LAST_COMMIT: Duration = Duration::from_secs(10);

/// Looks at the loop's answer. The thread must not be woken by the runtime that it waits for, so it looks.
const LOOK: Duration = Duration::from_millis(1);

/// The wish to end, with what is settled and not committed yet, and where to say that it is done.
pub(super) type Ending = Mutex<Option<(Vec<Mark>, oneshot::Sender<Result<(), String>>)>>;

/// What the callbacks work with.
pub(super) struct Context {
    pub(super) log: ClientLog,
    pub(super) queue: Arc<Queue>,
    pub(super) stays: Arc<Stays>,
    pub(super) metrics: Arc<Metrics>,
    /// How long the loop may take to let partitions go.
    pub(super) release_within: Duration,
    /// The consumer itself, for commits that are waited for on another thread.
    pub(super) consumer: Mutex<Weak<BaseConsumer<Context>>>,
    /// Whether intake stands still, so that partitions that come meanwhile stand still too.
    pub(super) paused: AtomicBool,
    /// Whether the source is ending: nobody is asked any more.
    pub(super) closing: Arc<AtomicBool>,
    /// With what it ends. Set before `closing` is.
    pub(super) ending: Arc<Ending>,
    pub(super) commit_log: CommitLog,
    /// Where each stay's next record is expected.
    pub(super) places: Places,
    /// Where a partition begins of which the group has committed nothing.
    pub(super) first: First,
}

/// Why a last commit is not known to have been done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Uncommitted {
    /// The group is being rebalanced; when that is over, what this host still has can be committed.
    #[error("commit for the last time: the group was being rebalanced")]
    Rebalancing,
    /// Anything else, in words for the log.
    #[error("commit for the last time: {0}")]
    Failed(String),
}

impl From<KafkaError> for Uncommitted {
    fn from(error: KafkaError) -> Uncommitted {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::IllegalGeneration | RDKafkaErrorCode::RebalanceInProgress | RDKafkaErrorCode::StaleMemberEpoch) => {
                Uncommitted::Rebalancing
            }
            _ => Uncommitted::Failed(error.to_string()),
        }
    }
}

impl Context {
    fn assign(&self, consumer: &BaseConsumer<Context>, list: &mut TopicPartitionList) {
        let committed = self.committed(consumer, list);
        let mut unknown = Vec::new();
        let mut begun = Vec::with_capacity(list.count());
        for element in list.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let found = committed.as_ref().and_then(|committed| committed.find_partition(topic, partition));
            let offset = found.as_ref().and_then(|found| match found.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            });
            let metadata = found.and_then(|found| readable(|| found.metadata().to_owned())).unwrap_or_default();
            let assignment = self.stays.begin(topic, partition);
            match offset {
                Some(next) => self.places.begin(assignment.id, next),
                // Where it could not be read what is committed, librdkafka asks for it itself.
                None if committed.is_some() => unknown.push((topic.to_owned(), partition)),
                None => {}
            }
            begun.push(Assigned { assignment, committed: offset, metadata });
        }
        tracing::info!(partitions = begun.len(), "partitions were assigned");
        // Before any of their records can come: those come through the same thread.
        self.queue.put_event(Event::Assigned(begun));
        self.begin_unknown(list, &unknown);
        let assigned = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
        };
        if let Err(error) = assigned {
            tracing::error!(%error, "Kafka gave partitions that could not be taken");
        }
        if self.paused.load(Ordering::Relaxed)
            && let Err(error) = consumer.pause(list)
        {
            tracing::warn!(%error, "new partitions could not be paused");
        }
    }

    /// Has partitions of which nothing is committed begin where the operator wants it.
    fn begin_unknown(&self, list: &mut TopicPartitionList, unknown: &[(String, i32)]) {
        for (topic, partition) in unknown {
            match self.first {
                First::Earliest => {}
                First::Latest => {
                    if let Err(error) = list.set_partition_offset(topic, *partition, Offset::End) {
                        tracing::error!(topic, partition, %error, "a partition begins with its oldest record");
                    }
                }
                First::Nowhere => {
                    self.queue.put_event(Event::Failed(format!(
                        "begin with {topic}/{partition}: its group has committed nothing there, and `auto.offset.reset` is `error`"
                    )));
                }
            }
        }
    }

    fn committed(&self, consumer: &BaseConsumer<Context>, list: &TopicPartitionList) -> Option<TopicPartitionList> {
        if list.count() == 0 {
            return None;
        }
        for attempt in 1..=COMMITTED_TRIES {
            let mut wanted = TopicPartitionList::with_capacity(list.count());
            for element in list.elements() {
                wanted.add_partition(element.topic(), element.partition());
            }
            match consumer.committed_offsets(wanted, COMMITTED) {
                Ok(committed) if committed.elements().iter().all(|element| element.error().is_ok()) => return Some(committed),
                Ok(_) => tracing::warn!(attempt, "the committed offsets of some partitions could not be read"),
                Err(error) => tracing::warn!(attempt, %error, "the committed offsets could not be read"),
            }
            if self.closing.load(Ordering::Acquire) {
                break;
            }
        }
        tracing::error!("partitions start without what was settled beyond their committed offsets; those records are sent again");
        None
    }

    fn revoke(&self, consumer: &BaseConsumer<Context>, list: &TopicPartitionList) {
        let lost = consumer.assignment_lost();
        let ended: Vec<_> = list.elements().iter().filter_map(|element| self.end(element.topic(), element.partition())).collect();
        ended.iter().for_each(|assignment| self.metrics.partition_left(&assignment.topic, assignment.partition));
        if !ended.is_empty() {
            tracing::info!(partitions = ended.len(), lost, "partitions are revoked");
            let mut marks = if self.closing.load(Ordering::Acquire) { Vec::new() } else { self.drain(&ended, lost) };
            // The loop may have ended before it heard of this. What it said last is then committed while the partitions are still this host's.
            if self.closing.load(Ordering::Acquire) {
                marks.extend(self.ending().as_mut().map(|(left, _)| std::mem::take(left)).unwrap_or_default());
            }
            // Whatever the loop answers, only what is being revoked is committed here.
            let (marks, left): (Vec<Mark>, Vec<Mark>) = marks.into_iter().partition(|mark| ended.iter().any(|ended| ended.id == mark.assignment.id));
            if let Some((all, _)) = self.ending().as_mut() {
                all.extend(left);
            }
            // Lost partitions have another owner already, whose commits must not be overwritten; ask again, since they may have been lost while draining.
            if !marks.is_empty()
                && !lost
                && !consumer.assignment_lost()
                && let Err(error) = self.last_commit(&marks)
            {
                tracing::warn!(%error, "partitions go without their last commit; what it covered is sent again");
            }
        }
        let unassigned = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        };
        if let Err(error) = unassigned {
            tracing::error!(%error, "partitions that Kafka takes away could not be given up");
        }
    }

    pub(super) fn ending(&self) -> MutexGuard<'_, Option<(Vec<Mark>, oneshot::Sender<Result<(), String>>)>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a partition's stay, if there is one.
    fn end(&self, topic: &str, partition: i32) -> Option<Arc<Assignment>> {
        let ended = self.stays.end(topic, partition)?;
        self.places.end(ended.id);
        Some(ended)
    }

    /// Has the loop end these stays, and says what it settled of them.
    fn drain(&self, ended: &[Arc<Assignment>], lost: bool) -> Vec<Mark> {
        let (release, released) = oneshot::channel();
        let assignments = ended.iter().map(|assignment| assignment.id).collect();
        if self.queue.put_event(Event::Revoked(Revoked { assignments, lost, release })) { self.await_release(released) } else { Vec::new() }
    }

    /// Begins the stay of a partition anew, because reading goes on at this offset before the expected one: what was settled there was other
    /// records. What is in progress of the old stay may finish first; nothing of it is committed.
    pub(super) fn begin_anew(&self, topic: &str, partition: i32, offset: i64) -> Arc<Assignment> {
        let ended = self.end(topic, partition);
        self.drain(ended.as_slice(), false);
        let assignment = self.stays.begin(topic, partition);
        self.places.came(assignment.id, offset);
        self.queue.put_event(Event::Assigned(vec![Assigned { assignment: Arc::clone(&assignment), committed: None, metadata: String::new() }]));
        assignment
    }

    fn await_release(&self, mut released: oneshot::Receiver<Vec<Mark>>) -> Vec<Mark> {
        let mut left = self.release_within;
        loop {
            match released.try_recv() {
                Ok(marks) => return marks,
                Err(TryRecvError::Closed) => return Vec::new(),
                Err(TryRecvError::Empty) if left.is_zero() || self.closing.load(Ordering::Acquire) => {
                    tracing::warn!(within = ?self.release_within, "partitions go before their records in progress were done; the next owner sends those again");
                    return Vec::new();
                }
                Err(TryRecvError::Empty) => {
                    let look = LOOK.min(left);
                    std::thread::park_timeout(look);
                    left -= look;
                }
            }
        }
    }

    /// Commits and waits for Kafka's word, but not for ever.
    ///
    /// # Errors
    /// It is not known to be committed.
    pub(super) fn last_commit(&self, marks: &[Mark]) -> Result<(), Uncommitted> {
        let Some(consumer) = self.consumer.lock().unwrap_or_else(PoisonError::into_inner).upgrade() else {
            return Err(Uncommitted::Failed("the consumer is closed".into()));
        };
        let list = offsets(marks);
        let bare: Vec<Mark> = marks.iter().map(|mark| Mark { metadata: String::new(), ..mark.clone() }).collect();
        let committed = commit_within(LAST_COMMIT, move || match consumer.commit(&list, CommitMode::Sync) {
            // There is no time to find out how much the broker would take.
            Err(error) if is_metadata_too_large(&error) => consumer.commit(&offsets(&bare), CommitMode::Sync),
            committed => committed,
        });
        self.metrics.commit(matches!(committed, Ok(Ok(()))));
        committed.map_err(Uncommitted::Failed)?.map_err(Uncommitted::from)
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Context>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.revoke(consumer, list),
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // Nothing else tells of it. It comes before the first record from the new place.
        if facility == "OFFSET"
            && let Some((topic, partition, from)) = offset_reset(line)
        {
            self.stays.of(topic, partition).inspect(|stay| self.places.jumped(stay.id, from));
        }
        // Nor of a commit that was not waited for: librdkafka calls back for those that it makes by itself, and this host makes all of them.
        if facility == COMMIT_FAILED {
            self.metrics.commit(false);
            self.commit_log.failed(line);
            let too_large = line.contains("Offset metadata string too large");
            self.queue.put_event(Event::CommitFailed { stays: self.stays.all(), too_large });
        }
        self.log.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.report(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.log.reached();
        }
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                if self.stays.of(&topic.topic, partition.partition).is_none() || partition.hi_offset < 0 {
                    continue;
                }
                // With nothing committed yet, all that the log holds is still to do.
                let settled = if partition.committed_offset >= 0 { partition.committed_offset } else { partition.lo_offset.max(0) };
                let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
                self.metrics.lag(&topic.topic, partition.partition, (end - settled).max(0));
            }
        }
    }
}

impl AsRef<ClientLog> for Context {
    fn as_ref(&self) -> &ClientLog {
        &self.log
    }
}
