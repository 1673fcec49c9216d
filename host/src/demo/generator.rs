//! Writes records at a steady rate, and counts those that the broker has acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::events;

/// Between two records: 200 a second.
const EVERY: Duration = Duration::from_millis(5);

/// How long the last records may take to be acknowledged.
const FLUSH: Duration = Duration::from_secs(10);

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl Written {
    /// Records that the broker has.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Records that it did not take.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

struct Count(Arc<Written>);

impl ClientContext for Count {}
impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.0.acknowledged } else { &self.0.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes until it is told to stop, and returns when every record is acknowledged or failed.
///
/// # Errors
/// In words for the operator.
pub(super) async fn generate(brokers: String, topic: &'static str, written: Arc<Written>, stop: CancellationToken) -> Result<(), String> {
    let failed = |error| format!("failed to write records: {error}");
    let producer: ThreadedProducer<Count> = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("linger.ms", "2")
        .create_with_context(Count(Arc::clone(&written)))
        .map_err(failed)?;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0.. {
        if stop.run_until_cancelled(ticks.tick()).await.is_none() {
            break;
        }
        let (key, payload) = events::event(number);
        producer.send(BaseRecord::to(topic).key(&key).payload(&payload)).map_err(|(error, _)| failed(error))?;
    }
    // Flushing blocks its thread.
    let flushed = tokio::task::spawn_blocking(move || producer.flush(FLUSH)).await;
    flushed.map_err(|error| format!("failed to write records: {error}"))?.map_err(failed)
}
