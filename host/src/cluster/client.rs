//! Settings of the clients.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::config::Kafka;

/// Properties that librdkafka knows for consumers only (its CONFIGURATION.md, column C), by the names that the configuration gives them, as all names
/// here: no property may stand under two in one client's settings. A producer would warn of each.
const CONSUMER_ONLY: [&str; 31] = [
    "allow.auto.create.topics",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
    "coordinator.query.interval.ms",
    "client.rack",
];

/// Properties that it knows for producers only (column P). A consumer would warn of each.
const PRODUCER_ONLY: [&str; 19] = [
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.level",
    "compression.type",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "linger.ms",
    "partitioner",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queuing.strategy",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
    "transactional.id",
];

/// What every client begins with: the brokers and the operator's properties, but for those of the other kind of client.
///
/// `defaults` are the host's own wishes, which the operator may overrule; `fixed` are not for the operator to choose.
///
/// # Errors
/// A property whose value comes from a file that cannot be read.
fn client(kafka: &Kafka, skipped: &[&str], defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> Result<ClientConfig, String> {
    let mut client = ClientConfig::new();
    for (name, value) in defaults {
        client.set(*name, *value);
    }
    for (name, value) in &kafka.properties {
        if !skipped.contains(&name.as_str()) {
            client.set(name, value.resolve().map_err(|error| format!("resolve `kafka.properties.\"{name}\"`: {error}"))?.expose());
        }
    }
    client.set("bootstrap.servers", &kafka.brokers);
    for (name, value) in fixed {
        client.set(*name, *value);
    }
    Ok(client)
}

/// Settings of a consumer, bounded in memory: what librdkafka fetches ahead is at most `PREFETCH_KIB` and one fetch more.
///
/// # Errors
/// A property whose value comes from a file that cannot be read.
pub fn consumer(kafka: &Kafka, client_id: &str) -> Result<ClientConfig, String> {
    let defaults = [
        ("client.id", client_id),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_committed"),
        ("queued.max.messages.kbytes", PREFETCH_KIB),
        ("fetch.max.bytes", FETCH_BYTES),
        // The default of 1 s would stall a reader whose prefetch was full for a moment.
        ("fetch.queue.backoff.ms", "20"),
        ("statistics.interval.ms", "5000"),
    ];
    let fixed = [
        ("group.id", kafka.group.as_str()),
        // The ledger alone says what may be committed.
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        // A mistyped topic must be an error, not a new topic.
        ("allow.auto.create.topics", "false"),
    ];
    client(kafka, &PRODUCER_ONLY, &defaults, &fixed)
}

/// 16 MiB ahead are a few thousand records of usual size: at 5 ms of latency and hundreds in flight, a tenth of a second.
const PREFETCH_KIB: &str = "16384";

/// Half of the prefetch, so that the overshoot of one fetch stays below the budget's own size. A larger record still comes, alone.
const FETCH_BYTES: &str = "8388608";

/// Settings of a producer that loses nothing: idempotent, acknowledged by all replicas.
///
/// # Errors
/// A property whose value comes from a file that cannot be read.
pub fn producer(kafka: &Kafka, client_id: &str) -> Result<ClientConfig, String> {
    let defaults = [
        ("client.id", client_id),
        // A dead letter blocks its key until it is acknowledged; the caller tries again after this.
        ("delivery.timeout.ms", "30000"),
        // The broker is the judge of what is too large, not the client's own default of 1 MB.
        ("message.max.bytes", "104857600"),
        ("compression.type", "zstd"),
        // Memory bound of what waits for the broker.
        ("queue.buffering.max.kbytes", "32768"),
    ];
    let fixed = [("acks", "all"), ("enable.idempotence", "true")];
    client(kafka, &CONSUMER_ONLY, &defaults, &fixed)
}

/// Settings of an admin client.
///
/// # Errors
/// A property whose value comes from a file that cannot be read.
pub fn admin(kafka: &Kafka, client_id: &str) -> Result<ClientConfig, String> {
    let skipped: Vec<&str> = CONSUMER_ONLY.into_iter().chain(PRODUCER_ONLY).collect();
    client(kafka, &skipped, &[("client.id", client_id)], &[])
}

/// An error in words, without the value of a property, which may be a secret.
pub fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, description, name, _) if description.contains("No such configuration property") => {
            format!("use `kafka.properties.\"{name}\"`: librdkafka {} has no such property", rdkafka::util::get_rdkafka_version().1)
        }
        KafkaError::ClientConfig(_, _, name, _) => format!("use `kafka.properties.\"{name}\"`: librdkafka does not take its value"),
        KafkaError::ClientCreation(description) => format!("make a Kafka client of these properties: {description}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    /// Under whichever of its names an operator writes it, a property overrules the host's own wish.
    #[test]
    fn an_operator_overrules_a_default_under_either_name() {
        for (typed, name, value) in [
            ("compression.codec", "compression.type", "gzip"),
            ("compression.type", "compression.type", "gzip"),
            ("message.timeout.ms", "delivery.timeout.ms", "60000"),
            ("delivery.timeout.ms", "delivery.timeout.ms", "60000"),
        ] {
            let text = format!(
                "[kafka]\nbrokers = \"localhost:9092\"\ntopics = [\"events\"]\ngroup = \"bridge\"\ndead_letters = \"letters\"\n\
                 [kafka.properties]\n\"{typed}\" = \"{value}\"\n[plugins]\ndirectory = \"plugins\""
            );
            let config = parse(&text, Path::new("keyway.toml")).unwrap();
            // A map that iterates at random decided, so once says little.
            for _ in 0..20 {
                let client = producer(&config.kafka, "keyway").unwrap().create_native_config().unwrap();
                assert_eq!(client.get(name).unwrap(), value, "{typed}");
            }
        }
    }
}
