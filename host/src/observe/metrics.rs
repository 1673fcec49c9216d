//! Every metric of the host, one method per event. The names are a contract: `/metrics` is a snapshot in the tests.

use std::sync::Arc;
use std::time::Duration;

use crate::outcome::{Outcome, Reason};

/// The host's metrics. Cheap to call on the path of a record; labels are plugins, destinations, outcomes and partitions, never keys.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// All at zero.
    pub fn new() -> Arc<Metrics> {
        Arc::new(Metrics::default())
    }

    /// A record ended; `elapsed` is from its arrival to its outcome.
    pub fn record_done(&self, _plugin: Option<&str>, _outcome: &Outcome, _elapsed: Duration) {}

    /// A record failed with this reason, whatever becomes of it.
    pub fn failure(&self, _plugin: Option<&str>, _reason: Reason) {}

    /// A guest call ended after so much CPU time.
    pub fn call(&self, _plugin: &str, _cpu: Duration) {}

    /// A destination answered an attempt (`None`: no answer) after so long.
    pub fn reply(&self, _destination: &str, _status: Option<u16>, _elapsed: Duration) {}

    /// A request is about to be sent again.
    pub fn retry(&self, _destination: &str) {}

    /// The breaker of a destination moved: `closed`, `open`, `open-credential` or `half-open`.
    pub fn breaker(&self, _destination: &str, _state: &'static str) {}

    /// A commit was acknowledged or failed.
    pub fn commit(&self, _ok: bool) {}

    /// The window: bytes and records that wait or are in progress, keys held, records parked as offsets.
    pub fn window(&self, _bytes: usize, _records: usize, _held: usize, _parked: usize) {}

    /// Records of a partition that the group has not settled yet.
    pub fn lag(&self, _topic: &str, _partition: i32, _records: i64) {}

    /// A record came that an earlier owner of its partition had settled beyond the watermark, and was not handled again.
    pub fn settled_before(&self) {}

    /// Records that were parked and are no longer in Kafka.
    pub fn gone(&self, _topic: &str, _partition: i32, _records: u64) {}
}
