//! Single records, read again by offset.
//!
//! A second consumer that joins no group, on a thread of its own, so that reading old records never disturbs the reading of new ones. It
//! is made when the first record is asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::Event;
use super::copy;
use super::queue::Queue;
use super::stays::Stays;
use crate::cluster::{ClientLog, describe};
use crate::record::{Assignment, AssignmentId, Record};

/// Wanted offsets that are further apart than this are read with a seek between them. A seek throws away what was fetched ahead, about a
/// millisecond and one fetch; reading this many records of 1 KiB costs the same.
const GAP: i64 = 1_000;

/// Records handed over at once, and their bytes: enough to keep the lanes of a released key busy, bounded while they wait.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

/// Longest poll, after which the thread looks whether the work is still wanted.
const POLL: Duration = Duration::from_millis(100);

/// Polls without a word from Kafka until the operator hears of it: 10 s.
const SILENCE: u32 = 100;

/// Asks for single records again.
#[derive(Debug)]
pub(super) struct Refetch {
    wanted: Arc<Wanted>,
    config: ClientConfig,
    queue: Arc<Queue>,
    stays: Arc<Stays>,
    started: bool,
}

/// What is still to be read. Bounded by the loop: it asks only for records that it has parked, each once.
#[derive(Debug, Default)]
struct Wanted {
    work: Mutex<Work>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    partitions: VecDeque<(Arc<Assignment>, VecDeque<i64>)>,
    closed: bool,
}

impl Wanted {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refetch {
    /// `config` is that of the group's consumer; only what would make it a member is taken out.
    pub(super) fn new(config: &ClientConfig, queue: Arc<Queue>, stays: Arc<Stays>) -> Refetch {
        let mut config = config.clone();
        // The group's name stays, since librdkafka wants one and the operator's access rights are for this one. It is never joined.
        for membership in ["group.instance.id", "statistics.interval.ms"] {
            config.remove(membership);
        }
        config.set("enable.partition.eof", "true");
        // Where retention has passed the first record that is wanted, those behind it are still there. Anywhere else than at the beginning of the log
        // they would seem to be gone.
        config.set("auto.offset.reset", "earliest");
        config.set("queued.max.messages.kbytes", "4096");
        Refetch { wanted: Arc::default(), config, queue, stays, started: false }
    }

    /// Adds to what is to be read.
    pub(super) fn want(&mut self, wanted: Vec<(Arc<Assignment>, Vec<i64>)>) {
        if wanted.is_empty() {
            return;
        }
        let mut work = self.wanted.work();
        work.partitions
            .extend(wanted.into_iter().filter(|(_, offsets)| !offsets.is_empty()).map(|(assignment, offsets)| (assignment, offsets.into())));
        drop(work);
        self.wanted.more.notify_one();
        if !self.started {
            self.started = true;
            let reader = Reader {
                wanted: Arc::clone(&self.wanted),
                config: self.config.clone(),
                queue: Arc::clone(&self.queue),
                stays: Arc::clone(&self.stays),
            };
            if let Err(error) = std::thread::Builder::new().name("keyway-refetch".into()).spawn(move || reader.run()) {
                self.queue.put_event(Event::Failed(format!("start the thread that reads records again: {error}")));
            }
        }
    }
}

impl Drop for Refetch {
    fn drop(&mut self) {
        self.wanted.work().closed = true;
        self.wanted.more.notify_one();
    }
}

struct Reader {
    wanted: Arc<Wanted>,
    config: ClientConfig,
    queue: Arc<Queue>,
    stays: Arc<Stays>,
}

impl Reader {
    fn run(self) {
        let consumer: BaseConsumer<ClientLog> = match self.config.create_with_context(ClientLog::default()) {
            Ok(consumer) => consumer,
            Err(error) => {
                self.queue.put_event(Event::Failed(format!("make a consumer that reads records again: {}", describe(&error))));
                return;
            }
        };
        while let Some((assignment, offsets)) = self.next() {
            if !self.read(&consumer, &assignment, offsets) {
                return;
            }
        }
    }

    /// Waits for work; none when the source is closed.
    fn next(&self) -> Option<(Arc<Assignment>, VecDeque<i64>)> {
        let mut work = self.wanted.work();
        loop {
            if work.closed {
                return None;
            }
            if let Some((assignment, mut offsets)) = work.partitions.pop_front() {
                // All that is wanted of one partition is read in one pass: a seek costs as much as a thousand records.
                work.partitions.retain_mut(|(other, more)| {
                    let same = other.id == assignment.id;
                    if same {
                        offsets.append(more);
                    }
                    !same
                });
                offsets.make_contiguous().sort_unstable();
                return Some((assignment, offsets));
            }
            work = self.wanted.more.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_closed(&self) -> bool {
        self.wanted.work().closed
    }

    /// Reads the wanted records of one partition; false when the source is closed.
    fn read(&self, consumer: &BaseConsumer<ClientLog>, assignment: &Arc<Assignment>, mut wanted: VecDeque<i64>) -> bool {
        let mut found = Found::default();
        let mut silent = 0;
        let mut from = None;
        while let Some(&next) = wanted.front() {
            if self.is_closed() {
                return false;
            }
            if !self.stays.has(assignment) {
                // Another host's records now; whoever asked has forgotten them.
                break;
            }
            if from.is_none() {
                if let Err(error) = assign(consumer, assignment, next) {
                    self.queue.put_event(Event::Failed(format!("read {}/{} from {next} again: {error}", assignment.topic, assignment.partition)));
                    return false;
                }
                from = Some(next);
            }
            match consumer.poll(POLL) {
                Some(Ok(message)) if message.topic() == &*assignment.topic && message.partition() == assignment.partition => {
                    silent = 0;
                    let offset = message.offset();
                    // What was passed without being seen is not in the log any more.
                    while wanted.front().is_some_and(|&wanted| wanted < offset) {
                        found.gone.extend(wanted.pop_front().map(|offset| (assignment.id, offset)));
                    }
                    if wanted.front() == Some(&offset) {
                        wanted.pop_front();
                        found.take(copy::record(&message, Arc::clone(assignment)));
                    }
                    if wanted.front().is_some_and(|&next| next - offset > GAP) {
                        from = None;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    // Every wanted record was once before the end, so the log holds none of the rest.
                    found.gone.extend(wanted.drain(..).map(|offset| (assignment.id, offset)));
                }
                Some(Ok(_)) => {}
                // Librdkafka mends errors by itself, and has logged them. Should it not, that is to be heard of, like silence.
                Some(Err(_)) | None => {
                    silent += 1;
                    if silent % SILENCE == 0 {
                        tracing::warn!(
                            topic = &*assignment.topic,
                            partition = assignment.partition,
                            offset = next,
                            "waiting for Kafka to read records again"
                        );
                    }
                }
            }
            if found.is_full() && !found.hand_over(&self.queue) {
                return false;
            }
        }
        if let Err(error) = consumer.unassign() {
            tracing::warn!(%error, "a partition that was read again could not be given up");
        }
        found.is_empty() || found.hand_over(&self.queue)
    }
}

/// Begins reading one partition here, and only it.
fn assign(consumer: &BaseConsumer<ClientLog>, assignment: &Assignment, offset: i64) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&assignment.topic, assignment.partition, Offset::Offset(offset))?;
    consumer.assign(&list)
}

/// What was found so far.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    bytes: usize,
    gone: Vec<(AssignmentId, i64)>,
}

impl Found {
    fn take(&mut self, record: Record) {
        self.bytes += record.weight();
        self.records.push(record);
    }

    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.gone.is_empty()
    }

    fn hand_over(&mut self, queue: &Queue) -> bool {
        let Found { records, gone, .. } = std::mem::take(self);
        if !gone.is_empty() {
            let mut partitions: HashMap<AssignmentId, usize> = HashMap::new();
            for (assignment, _) in &gone {
                *partitions.entry(*assignment).or_default() += 1;
            }
            tracing::debug!(?partitions, "records that were asked for again are not in the log any more");
        }
        queue.put_event(Event::Refetched { records, gone })
    }
}
