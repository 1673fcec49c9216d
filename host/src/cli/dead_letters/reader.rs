//! Reads the dead-letter topic from its beginning to where it ends now, as a member of no group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::cluster::{ClientLog, Found, commit_within, consumer, describe, find, is_metadata_too_large};
use crate::config;
use crate::settle::dead_letter::Letter;
use crate::settle::{Mark, offsets};

/// Longest wait for one answer of a broker.
const ANSWER: Duration = Duration::from_secs(10);

/// Longest poll.
const POLL: Duration = Duration::from_millis(200);

/// Polls without a word from Kafka after which reading fails: 30 s.
const SILENCE: u32 = 150;

/// One dead letter.
#[derive(Debug, Clone)]
pub(super) struct DeadLetter {
    /// Where it stands in the dead-letter topic.
    pub(super) partition: i32,
    /// Where it stands in the dead-letter topic.
    pub(super) offset: i64,
    /// When it was written, by Kafka's or the host's clock, in milliseconds since the epoch.
    pub(super) timestamp: Option<i64>,
    /// The record's key.
    pub(super) key: Option<Bytes>,
    /// The record's payload.
    pub(super) payload: Option<Bytes>,
    /// The record's headers and ours, in their order.
    pub(super) headers: Vec<(String, Bytes)>,
    /// Ours, read.
    pub(super) letter: Letter,
}

impl DeadLetter {
    /// The form in which it is named: `PARTITION@OFFSET`.
    pub(super) fn id(&self) -> String {
        format!("{}@{}", self.partition, self.offset)
    }

    /// The key as text.
    pub(super) fn key_text(&self) -> Option<&str> {
        self.key.as_deref().and_then(|key| std::str::from_utf8(key).ok())
    }
}

/// What is committed of a partition by the group that reads it.
#[derive(Debug, Clone)]
pub(super) struct Committed {
    pub(super) partition: i32,
    pub(super) offset: Option<i64>,
    pub(super) metadata: String,
}

/// Why a commit is not known to be done.
#[derive(Debug)]
pub(super) enum NotCommitted {
    /// The broker takes less metadata.
    TooLarge,
    /// Anything else, in words for the operator.
    Failed(String),
}

/// A reader. Everything of it blocks.
pub(super) struct Reader {
    consumer: Arc<BaseConsumer<ClientLog>>,
    topic: String,
    /// Per partition, where reading ends: what is written later is not read.
    ends: HashMap<i32, i64>,
    partitions: i32,
}

impl Reader {
    /// Opens the configured dead-letter topic. `group` is whose commits are read and written; none is joined.
    ///
    /// # Errors
    /// No broker answers, or there is no such topic; in words for the operator.
    pub(super) fn open(settings: &config::Kafka, group: &str) -> Result<Reader, String> {
        let mut config: ClientConfig = consumer(settings, "keyway-dead-letters")?;
        for membership in ["group.instance.id", "group.protocol", "statistics.interval.ms"] {
            config.remove(membership);
        }
        config.set("group.id", group).set("enable.partition.eof", "true");
        let consumer: BaseConsumer<ClientLog> = config.create_with_context(ClientLog::default()).map_err(|error| describe(&error))?;
        let (topic, consumer) = (settings.dead_letters.clone(), Arc::new(consumer));
        match find(&consumer, &settings.brokers, &topic, ANSWER)? {
            Found::Partitions(partitions) => {
                Ok(Reader { consumer, topic, ends: HashMap::new(), partitions: i32::try_from(partitions).unwrap_or(i32::MAX) })
            }
            Found::Missing => Err(format!("find topic `{topic}`: nothing was given up on yet, or `kafka.dead_letters` names another one")),
        }
    }

    /// The topic.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// What the group has committed, by partition.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) fn committed(&self) -> Result<Vec<Committed>, String> {
        let mut wanted = TopicPartitionList::new();
        for partition in 0..self.partitions {
            wanted.add_partition(&self.topic, partition);
        }
        let committed = self.consumer.committed_offsets(wanted, ANSWER).map_err(|error| format!("read the committed offsets: {error}"))?;
        let elements = committed.elements();
        let committed = elements.iter().map(|element| Committed {
            partition: element.partition(),
            offset: if let Offset::Offset(offset) = element.offset() { Some(offset) } else { None },
            metadata: element.metadata().to_owned(),
        });
        Ok(committed.collect())
    }

    /// Where a partition begins, and where it ends.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) fn bounds(&self, partition: i32) -> Result<(i64, i64), String> {
        let bounds = self.consumer.fetch_watermarks(&self.topic, partition, ANSWER);
        bounds.map_err(|error| format!("see where topic `{}` begins and ends: {error}", self.topic))
    }

    /// Commits for the group, and waits for Kafka's word, but not for ever.
    ///
    /// # Errors
    /// It is not known to be committed.
    pub(super) fn commit(&self, marks: &[Mark]) -> Result<(), NotCommitted> {
        if marks.is_empty() {
            return Ok(());
        }
        let failed = |why: String| NotCommitted::Failed(format!("commit what was redriven: {why}"));
        let (list, consumer) = (offsets(marks), Arc::clone(&self.consumer));
        match commit_within(ANSWER, move || consumer.commit(&list, CommitMode::Sync)).map_err(failed)? {
            Ok(()) => Ok(()),
            Err(error) if is_metadata_too_large(&error) => Err(NotCommitted::TooLarge),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Goes to the beginning, or to the first letter written at or after `since`, but never before `from` (by partition). Gives the number
    /// of offsets up to the end, which is at least the number of letters.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) fn rewind(&mut self, since: Option<i64>, from: &HashMap<i32, i64>) -> Result<u64, String> {
        let failed = |error: KafkaError| format!("go to the beginning of topic `{}`: {error}", self.topic);
        let first = match since {
            None => None,
            Some(since) => {
                let mut times = TopicPartitionList::new();
                for partition in 0..self.partitions {
                    times.add_partition_offset(&self.topic, partition, Offset::Offset(since)).map_err(failed)?;
                }
                Some(self.consumer.offsets_for_times(times, ANSWER).map_err(failed)?)
            }
        };
        let (mut starts, mut ends, mut offsets) = (TopicPartitionList::new(), HashMap::new(), 0);
        for partition in 0..self.partitions {
            let (low, high) = self.bounds(partition)?;
            let since = first.as_ref().and_then(|first| first.find_partition(&self.topic, partition)).map(|found| match found.offset() {
                Offset::Offset(offset) => offset,
                // Nothing so late.
                _ => high,
            });
            let start = low.max(since.unwrap_or(low)).max(from.get(&partition).copied().unwrap_or(low));
            if start < high {
                starts.add_partition_offset(&self.topic, partition, Offset::Offset(start)).map_err(failed)?;
                ends.insert(partition, high);
                offsets += (high - start).unsigned_abs();
            }
        }
        self.consumer.assign(&starts).map_err(failed)?;
        self.ends = ends;
        Ok(offsets)
    }

    /// Goes to one letter.
    ///
    /// # Errors
    /// There is none, in words for the operator.
    pub(super) fn find(&mut self, partition: i32, offset: i64) -> Result<DeadLetter, String> {
        let topic = self.topic.clone();
        let none = || format!("find dead letter `{partition}@{offset}`: there is none in topic `{topic}` (any more)");
        if !(0..self.partitions).contains(&partition) || offset < 0 {
            return Err(none());
        }
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(&self.topic, partition, Offset::Offset(offset)).map_err(|_| none())?;
        self.consumer.assign(&start).map_err(|error| format!("read topic `{}`: {error}", self.topic))?;
        self.ends = HashMap::from([(partition, offset + 1)]);
        self.next()?.filter(|found| found.offset == offset).ok_or_else(none)
    }

    /// The next letter; none at the end. Letters of one partition come in the order in which they were written.
    ///
    /// # Errors
    /// Kafka does not answer any more, in words for the operator.
    pub(super) fn next(&mut self) -> Result<Option<DeadLetter>, String> {
        self.next_unless(|| false)
    }

    /// The same; none as well when there is a wish to `stop` meanwhile.
    ///
    /// # Errors
    /// Kafka does not answer any more, in words for the operator.
    pub(super) fn next_unless(&mut self, stop: impl Fn() -> bool) -> Result<Option<DeadLetter>, String> {
        let mut silent = 0;
        while !self.ends.is_empty() && !stop() {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some(&end) = self.ends.get(&partition) else { continue };
                    if offset + 1 >= end {
                        self.ends.remove(&partition);
                    }
                    if offset >= end {
                        continue;
                    }
                    let headers: Vec<(String, Bytes)> = message
                        .headers()
                        .map(|headers| {
                            headers.iter().map(|header| (header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default()))).collect()
                        })
                        .unwrap_or_default();
                    return Ok(Some(DeadLetter {
                        partition,
                        offset,
                        timestamp: message.timestamp().to_millis(),
                        key: message.key().map(Bytes::copy_from_slice),
                        payload: message.payload().map(Bytes::copy_from_slice),
                        letter: Letter::read(headers.iter().map(|(name, value)| (name.as_str(), &value[..]))),
                        headers,
                    }));
                }
                // The rest up to the end are gaps: the ends of transactions, or what compaction took.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.ends.remove(&partition);
                }
                Some(Err(error)) if self.consumer.client().fatal_error().is_some() => return Err(format!("read topic `{}`: {error}", self.topic)),
                Some(Err(_)) | None => {
                    silent += 1;
                    if silent >= SILENCE {
                        let cause = self.consumer.context().last_error().unwrap_or_else(|| "no answer".into());
                        return Err(format!("read topic `{}`: {cause}", self.topic));
                    }
                }
            }
        }
        Ok(None)
    }
}
