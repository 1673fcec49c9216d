//! The tests' own Kafka client: topics, records in, records out, what a group has committed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::{Broker, until};

/// Longest wait for an answer of the broker to one question.
const ANSWER: Duration = Duration::from_secs(20);

/// A record, as the tests write and read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The partition; when it is written, none leaves it to the key.
    pub partition: Option<i32>,
    /// The offset; ignored when it is written.
    pub offset: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The headers in their order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Milliseconds since the epoch; when it is written, none takes the present.
    pub timestamp: Option<i64>,
}

impl Message {
    /// A record with this key and payload.
    pub fn new(key: impl Into<Vec<u8>>, payload: impl Into<Vec<u8>>) -> Message {
        Message { key: Some(key.into()), payload: Some(payload.into()), ..Message::default() }
    }

    /// The first value under this header name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// What a group has committed for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The committed offset: the next one to handle.
    pub offset: i64,
    /// The commit's metadata.
    pub metadata: String,
}

/// Whether a broker answers a request for metadata now.
pub(crate) fn answers(address: &str) -> bool {
    client(address, "keyway-tests").is_ok_and(|consumer| consumer.fetch_metadata(None, Duration::from_secs(2)).is_ok())
}

/// A consumer that joins no group; librdkafka wants a group's name all the same.
fn client(address: &str, group: &str) -> Result<BaseConsumer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .set("allow.auto.create.topics", "false")
        .set("log_level", "0")
        .create()
}

/// Counts deliveries, and keeps the first failure.
#[derive(Debug, Default)]
struct Deliveries {
    failure: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {}
impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failure.lock().expect("not poisoned").get_or_insert_with(|| error.clone());
        }
    }
}

impl Broker {
    fn client(&self, group: &str) -> BaseConsumer {
        client(&self.address, group).expect("a consumer for the tests")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.address).create().expect("an admin client for the tests")
    }

    /// A name that no other test uses.
    pub fn name(&self, prefix: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Creates a topic whose name no other test uses.
    pub fn topic(&self, prefix: &str, partitions: i32) -> String {
        self.topic_with(prefix, partitions, &[])
    }

    /// The same, with settings of the topic.
    pub fn topic_with(&self, prefix: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let name = self.name(prefix);
        let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        for (setting, value) in settings {
            topic = topic.set(setting, value);
        }
        let admin = self.admin();
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let created = block_on(admin.create_topics([&topic], &options)).expect("the broker to answer");
        created.into_iter().next().expect("one answer").expect("the topic to be created");
        let client = self.client("keyway-tests");
        until(&format!("topic {name} to have its leaders"), ANSWER, || {
            let metadata = client.fetch_metadata(Some(&name), ANSWER).ok()?;
            let topic = metadata.topics().first()?;
            (topic.partitions().len() == partitions as usize && topic.partitions().iter().all(|partition| partition.leader() >= 0)).then_some(())
        });
        name
    }

    /// Whether the broker has this topic.
    pub fn has_topic(&self, topic: &str) -> bool {
        let metadata = self.client("keyway-tests").fetch_metadata(Some(topic), ANSWER).expect("metadata");
        metadata.topics().iter().any(|found| found.name() == topic && found.error().is_none() && !found.partitions().is_empty())
    }

    /// Deletes the records of a partition below this offset, as retention would.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        let admin = self.admin();
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        block_on(admin.delete_records(&wanted, &options)).expect("the records to be deleted");
    }

    /// Writes records in order, and returns when the broker has acknowledged all of them.
    pub fn produce(&self, topic: &str, messages: impl IntoIterator<Item = Message>) {
        let producer: ThreadedProducer<Deliveries> = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .set("message.max.bytes", "20000000")
            .create_with_context(Deliveries::default())
            .expect("a producer for the tests");
        for message in messages {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic);
            record.partition = message.partition;
            record.key = message.key.as_deref();
            record.payload = message.payload.as_deref();
            record.timestamp = message.timestamp;
            if !message.headers.is_empty() {
                let headers =
                    message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
                record.headers = Some(headers);
            }
            let mut unsent = Some(record);
            until("room in the producer's queue", ANSWER, || match producer.send(unsent.take()?) {
                Ok(()) => Some(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                    unsent = Some(record);
                    None
                }
                Err((error, _)) => panic!("produce to {topic}: {error}"),
            });
        }
        producer.flush(Duration::from_secs(300)).expect("all records to be acknowledged");
        let failure = producer.context().failure.lock().expect("not poisoned").take();
        assert_eq!(failure, None, "produce to {topic}");
    }

    /// The offset after the last record, by partition.
    pub fn ends(&self, topic: &str) -> Vec<i64> {
        let client = self.client("keyway-tests");
        let metadata = client.fetch_metadata(Some(topic), ANSWER).expect("metadata");
        let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
        (0..partitions).map(|partition| client.fetch_watermarks(topic, partition as i32, ANSWER).expect("watermarks").1).collect()
    }

    /// All records that a topic holds now, by partition and offset.
    pub fn read(&self, topic: &str) -> Vec<Message> {
        let client = self.client("keyway-tests");
        let mut wanted = TopicPartitionList::new();
        let mut ends = BTreeMap::new();
        for partition in 0..self.ends(topic).len() as i32 {
            let (low, high) = client.fetch_watermarks(topic, partition, ANSWER).expect("watermarks");
            if low < high {
                wanted.add_partition_offset(topic, partition, Offset::Offset(low)).expect("an offset");
                ends.insert(partition, high);
            }
        }
        client.assign(&wanted).expect("an assignment");
        let mut messages = Vec::new();
        let mut heard = Instant::now();
        while !ends.is_empty() {
            let Some(polled) = client.poll(Duration::from_millis(200)) else {
                // The end of a transaction takes an offset that no reader sees; positions say that it was passed.
                let positions = client.position().expect("positions");
                ends.retain(|&partition, &mut end| {
                    positions.find_partition(topic, partition).is_none_or(|found| !matches!(found.offset(), Offset::Offset(at) if at >= end))
                });
                assert!(heard.elapsed() < ANSWER, "topic {topic} has {} partitions that do not come to their end", ends.len());
                continue;
            };
            let message = polled.expect("a record");
            heard = Instant::now();
            if ends.get(&message.partition()).is_some_and(|&end| message.offset() + 1 >= end) {
                ends.remove(&message.partition());
            }
            messages.push(Message {
                partition: Some(message.partition()),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                payload: message.payload().map(<[u8]>::to_vec),
                headers: message
                    .headers()
                    .map(|headers| headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect())
                    .unwrap_or_default(),
                timestamp: message.timestamp().to_millis(),
            });
        }
        messages.sort_by_key(|message| (message.partition, message.offset));
        messages
    }

    /// What a group has committed, by partition.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<Committed>> {
        let client = self.client(group);
        let mut wanted = TopicPartitionList::new();
        for partition in 0..self.ends(topic).len() as i32 {
            wanted.add_partition(topic, partition);
        }
        let found = client.committed_offsets(wanted, ANSWER).expect("the committed offsets");
        let elements = found.elements();
        let committed = elements.iter().map(|element| match element.offset() {
            Offset::Offset(offset) => Some(Committed { offset, metadata: element.metadata().to_owned() }),
            _ => None,
        });
        committed.collect()
    }

    /// Commits an offset for a group that has no members.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        self.client(group).commit(&wanted, CommitMode::Sync).expect("the commit to be taken");
    }

    /// Waits until a group has committed every record that the topic holds.
    #[track_caller]
    pub fn await_settled(&self, group: &str, topic: &str, deadline: Duration) {
        let ends = self.ends(topic);
        until(&format!("group {group} to commit all of {topic}"), deadline, || {
            let committed = self.committed(group, topic);
            let done = ends.iter().zip(&committed).all(|(&end, at)| end == 0 || at.as_ref().is_some_and(|at| at.offset >= end));
            if !done {
                // Asking is work for the broker that is measured here.
                std::thread::sleep(Duration::from_millis(100));
            }
            done.then_some(())
        });
    }

    /// The client ids of a group's members.
    pub fn members(&self, group: &str) -> Vec<String> {
        let groups = self.client("keyway-tests").fetch_group_list(Some(group), ANSWER).expect("the group");
        let mut members: Vec<String> =
            groups.groups().iter().flat_map(|group| group.members().iter().map(|member| member.client_id().to_owned())).collect();
        members.sort();
        members
    }
}

/// Waits for one answer, also from within a test that is async itself: a runtime cannot be entered twice on one thread.
fn block_on<F: Future<Output: Send> + Send>(future: F) -> F::Output {
    let wait = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future);
    std::thread::scope(|scope| scope.spawn(wait).join().expect("an answer"))
}
