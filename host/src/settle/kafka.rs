//! Settles into Kafka: commits through the source's consumer, dead letters and replies through a producer of its own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::dead_letter::{self, Writer};
use super::{DeadLetter, Mark, Offsets, Settle};
use crate::cluster::{ClientLog, Failed, describe, ensure, producer};
use crate::config;
use crate::outcome::Reply;
use crate::record::Record;

/// Longest wait for room in the producer's queue. Delivery has a deadline of its own (`delivery.timeout.ms`).
const ROOM: Duration = Duration::from_secs(10);

/// The producer type, with errors in the host's log.
type Letters = FutureProducer<ClientLog>;

/// Settles into Kafka.
pub struct KafkaSettle<O> {
    offsets: O,
    dead_letters: String,
    replies: Option<String>,
    writer: Writer,
    queue_max: usize,
    config: ClientConfig,
    /// Made anew after a fatal error, which an idempotent producer does not survive.
    letters: Mutex<Letters>,
}

impl<O: Offsets> KafkaSettle<O> {
    /// Makes sure that the host's own topics are there, creating them if the cluster allows it. `host` is the host's id.
    ///
    /// # Errors
    /// A topic is missing and may not be created, a property is wrong, or no broker answers; in words for the operator, with the mend.
    pub async fn start(settings: &config::Kafka, replies: Option<&config::Replies>, host: &str, offsets: O) -> Result<KafkaSettle<O>, Failed> {
        let client_id = format!("keyway-{host}-letters");
        ensure(settings, &client_id, &settings.dead_letters).await?;
        if let Some(replies) = replies {
            ensure(settings, &client_id, &replies.topic).await?;
        }
        let mut config = producer(settings, &client_id)?;
        // One letter a batch: the broker judges the size of batches, and a small letter must not be refused for a large neighbour.
        config.set("batch.num.messages", "1");
        let letters = config.create_with_context(ClientLog::default()).map_err(|error| describe(&error))?;
        Ok(KafkaSettle {
            offsets,
            dead_letters: settings.dead_letters.clone(),
            replies: replies.map(|replies| replies.topic.clone()),
            writer: Writer { group: settings.group.clone(), host: host.to_owned() },
            queue_max: queue_max(&config),
            config,
            letters: Mutex::new(letters),
        })
    }
}

impl<O> KafkaSettle<O> {
    async fn write(&self, topic: &str, key: Option<&[u8]>, payload: Option<&[u8]>, headers: &[(String, Vec<u8>)]) -> Result<(), KafkaError> {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(headers.len()), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        record.key = key;
        record.payload = payload;
        match letters.send(record, ROOM).await {
            Ok(_) => Ok(()),
            Err((error, _)) => {
                if letters.client().fatal_error().is_some() {
                    self.renew(letters);
                }
                Err(error)
            }
        }
    }

    /// Writes all of it, or as much as Kafka takes: whatever is refused as too large would be refused for ever, and its record would never be done with. The
    /// coordinates in the headers find the record all the same.
    async fn write_what_is_taken(
        &self,
        what: &str,
        topic: &str,
        record: &Record,
        payload: Option<&[u8]>,
        headers: Vec<(String, Vec<u8>)>,
    ) -> Result<(), String> {
        let failed = |error: KafkaError| format!("write to topic `{topic}`: {error}");
        let (key, bytes) = (record.key.as_deref(), payload.map_or(0, <[u8]>::len));
        if bytes <= self.queue_max {
            match self.write(topic, key, payload, &headers).await {
                Err(error) if is_too_large(&error) => {}
                written => return written.map_err(failed),
            }
        }
        tracing::error!(%record, bytes, topic, "{what} is larger than Kafka takes; it is written without its payload and the record's headers");
        let mut headers = dead_letter::without_payload(bytes, headers);
        if key.is_none_or(|key| key.len() <= dead_letter::KEY_MAX) {
            match self.write(topic, key, None, &headers).await {
                Err(error) if is_too_large(&error) => {}
                written => return written.map_err(failed),
            }
        }
        if let Some(key) = key {
            headers = dead_letter::without_key(key.len(), headers);
            match self.write(topic, None, None, &headers).await {
                Err(error) if is_too_large(&error) => {}
                written => return written.map_err(failed),
            }
        }
        tracing::error!(%record, topic, "{what} is larger than Kafka takes even so; its texts are cut");
        self.write(topic, None, None, &dead_letter::least(headers)).await.map_err(failed)
    }

    /// Puts a new producer in the place of a broken one, unless another task has done so.
    fn renew(&self, broken: Letters) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if letters.client().native_ptr() == broken.client().native_ptr() {
            match self.config.create_with_context(ClientLog::default()) {
                Ok(new) => {
                    tracing::warn!("made a new producer in place of one that had failed");
                    *letters = new;
                }
                Err(error) => tracing::error!("no new producer in place of one that had failed: {}", describe(&error)),
            }
        }
        drop(letters);
        // Closing waits for librdkafka's threads, so whoever holds it last must not be a task.
        tokio::task::spawn_blocking(move || drop(broken));
    }
}

impl<O: Offsets> Settle for KafkaSettle<O> {
    fn commit(&self, marks: Vec<Mark>) -> Result<(), String> {
        self.offsets.commit(marks)
    }

    async fn dead_letter(&self, letter: DeadLetter<'_>) -> Result<(), String> {
        let headers = dead_letter::headers(&letter, &self.writer);
        let payload = letter.record.payload.as_deref();
        self.write_what_is_taken("a dead letter", &self.dead_letters, letter.record, payload, headers).await
    }

    async fn reply(&self, record: &Record, index: u32, destination: &str, reply: &Reply) -> Result<(), String> {
        let Some(topic) = &self.replies else { return Ok(()) };
        let mut headers: Vec<(String, Vec<u8>)> = reply
            .headers
            .iter()
            .filter(|(name, _)| !name.starts_with(dead_letter::PREFIX))
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
            .collect();
        for (name, value) in [
            ("keyway-status", reply.status.to_string()),
            (dead_letter::DESTINATION, destination.to_owned()),
            (dead_letter::REQUEST, index.to_string()),
            (dead_letter::ATTEMPTS, reply.attempts.to_string()),
            (dead_letter::TOPIC, record.topic().to_owned()),
            (dead_letter::PARTITION, record.partition().to_string()),
            (dead_letter::OFFSET, record.offset.to_string()),
        ] {
            headers.push((name.to_owned(), value.into_bytes()));
        }
        if reply.cut {
            headers.push(("keyway-body-cut".to_owned(), b"true".to_vec()));
        }
        self.write_what_is_taken("a reply", topic, record, Some(&reply.body), headers).await
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge))
}

/// Bytes of payload that the producer takes into its queue; a larger one it would refuse for ever, with an error that says that the queue is full.
fn queue_max(config: &ClientConfig) -> usize {
    let kib = config.get("queue.buffering.max.kbytes").and_then(|kib| kib.parse().ok());
    // Librdkafka's own default is 1 GiB.
    kib.unwrap_or(1_usize << 20).saturating_mul(1024)
}

impl<O> std::fmt::Debug for KafkaSettle<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSettle").field("dead_letters", &self.dead_letters).field("replies", &self.replies).finish_non_exhaustive()
    }
}
