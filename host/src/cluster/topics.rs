//! Looking for topics, and making the host's own.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::timeout;

use super::{ClientLog, Failed};
use crate::config::Kafka;

/// What a broker says of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is there, with so many partitions.
    Partitions(usize),
    /// It is not there.
    Missing,
}

/// Looks between which librdkafka's errors are heard, so that a missing answer can be explained.
const LOOK: Duration = Duration::from_secs(1);

/// Asks for one topic. Blocks for at most `deadline`.
///
/// # Errors
/// No broker answered, or it refused to say, in words for the operator, with the mend.
pub fn find<C: AsRef<ClientLog> + ConsumerContext>(
    consumer: &BaseConsumer<C>,
    brokers: &str,
    topic: &str,
    deadline: Duration,
) -> Result<Found, Failed> {
    let mut left = deadline;
    let metadata = loop {
        match consumer.fetch_metadata(Some(topic), left.min(LOOK)) {
            Ok(metadata) => break metadata,
            Err(_) if left > LOOK => {
                left -= LOOK;
                hear_errors(consumer);
            }
            Err(error) => {
                hear_errors(consumer);
                let cause = consumer.context().as_ref().as_ref().last_error().unwrap_or_else(|| error.to_string());
                let hint = "is `brokers` in `[kafka]` right, and can this machine reach it? TLS and SASL are said in `[kafka.properties]`";
                return Err(Failed { cause: format!("reach a broker at `{brokers}` within {deadline:?}: {cause}"), hint: Some(hint.into()) });
            }
        }
    };
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(Found::Missing) };
    match found.error().map(Code::from) {
        None => Ok(Found::Partitions(found.partitions().len())),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => Ok(Found::Missing),
        Some(other) => Err(format!("look up topic `{topic}`: {other}").into()),
    }
}

/// Serves the events that wait. A consumer that has subscribed to nothing has no records among them.
fn hear_errors<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    // Bounded, since a broken connection can bring events faster than they are served.
    for _ in 0..100 {
        if consumer.poll(Duration::ZERO).is_none() {
            break;
        }
    }
}

/// The command that creates a topic, for hints.
pub fn create(brokers: &str, topic: &str) -> String {
    format!("kafka-topics.sh --bootstrap-server {brokers} --create --topic {topic}")
}

/// How long a start waits for a broker, and for it to make a topic.
const REACH: Duration = Duration::from_secs(10);

/// Makes sure that a topic is there. If it is not, it is made with the cluster's own defaults for partitions, replication and retention.
///
/// # Errors
/// No broker answers within ten seconds, or the cluster does not allow it; in words for the operator, with the mend.
pub async fn ensure(settings: &Kafka, client_id: &str, topic: &str) -> Result<(), Failed> {
    // Looked for first, since a host that may write to a topic need not be allowed to make it.
    if look(settings, client_id, topic).await? != Found::Missing {
        return Ok(());
    }
    let failed = |cause: String| Failed {
        cause: format!("create topic `{topic}`, which does not exist: {cause}"),
        hint: Some(format!("create it by hand: `{}`", create(&settings.brokers, topic))),
    };
    let client: AdminClient<ClientLog> =
        super::admin(settings, client_id)?.create_with_context(ClientLog::default()).map_err(|error| failed(super::describe(&error)))?;
    // -1 leaves both to the broker (KIP-464).
    let wanted = NewTopic::new(topic, -1, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().operation_timeout(Some(REACH)).request_timeout(Some(REACH));
    let created = timeout(REACH * 2, client.create_topics([&wanted], &options))
        .await
        .map_err(|_| failed(format!("no answer within {:?}", REACH * 2)))?
        .map_err(|error| failed(error.to_string()))?;
    match created.into_iter().next() {
        Some(Ok(_)) => {
            tracing::info!(topic, "created a topic");
            Ok(())
        }
        // Another host was faster.
        Some(Err((_, Code::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(failed(code.to_string())),
        None => Err(failed("the broker gave no answer for it".into())),
    }
}

async fn look(settings: &Kafka, client_id: &str, topic: &str) -> Result<Found, Failed> {
    let mut config = super::consumer(settings, client_id)?;
    // Without a group it can only look.
    for membership in ["group.id", "group.instance.id", "group.protocol", "statistics.interval.ms"] {
        config.remove(membership);
    }
    let (brokers, topic) = (settings.brokers.clone(), topic.to_owned());
    let looked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer<ClientLog> = config.create_with_context(ClientLog::default()).map_err(|error| super::describe(&error))?;
        find(&consumer, &brokers, &topic, REACH)
    });
    looked.await.map_err(|error| Failed::from(format!("look for a topic: {error}")))?
}
