//! The embedded broker: librdkafka's mock cluster.

use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// How long the broker, in the same process, may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A running broker; it ends when it is dropped.
pub(super) struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Broker {
    /// Starts it with these topics and numbers of partitions.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) fn start(topics: &[(&str, i32)]) -> Result<Broker, String> {
        let failed = |error| format!("failed to start the embedded broker: {error}");
        let cluster = MockCluster::new(1).map_err(failed)?;
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions, 1).map_err(failed)?;
        }
        Ok(Broker { cluster })
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// How many records a partition has taken in all. Blocks.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) fn count(&self, topic: &str, partition: i32) -> Result<i64, String> {
        let failed = |error| format!("failed to ask the embedded broker: {error}");
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.address()).set("group.id", "demo-count").create().map_err(failed)?;
        consumer.fetch_watermarks(topic, partition, ANSWER).map(|(_, end)| end).map_err(failed)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Broker").field(&self.address()).finish()
    }
}
