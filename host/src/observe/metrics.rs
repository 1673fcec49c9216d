//! Every metric of the host, one method per event. The names are a contract: `/metrics` is a snapshot in the tests, and
//! `docs/guide/metrics.md` explains each.

mod book;
mod histogram;
mod named;
mod process;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use self::histogram::Histogram;
use self::named::{Named, Numbered};
use crate::outcome::{Cause, Outcome, Reason};

/// The host's metrics. Cheap to call on the path of a record; labels are plugins, destinations, outcomes and partitions, never keys.
#[derive(Debug)]
pub struct Metrics {
    begun: Instant,
    plugins: Named<PluginMetrics>,
    destinations: Named<DestinationMetrics>,
    lag: Numbered<Gauge>,
    gone: Numbered<Counter>,
    commits: Counter,
    commits_failed: Counter,
    settled_before: Counter,
    inexact_commits: Counter,
    window: Window,
}

/// How a plugin's records ended so far. Quantiles are estimates, within the buckets of `keyway_record_seconds`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PluginCounts {
    /// Records delivered.
    pub delivered: u64,
    /// Records skipped.
    pub skipped: u64,
    /// Records given up, their dead letters acknowledged.
    pub dead_lettered: u64,
    /// Half of the records ended within this time from their arrival; none before the first.
    pub p50: Option<Duration>,
    /// 99 of 100 did.
    pub p99: Option<Duration>,
}

/// What a destination answered so far. Quantiles are estimates, within the buckets of `keyway_reply_seconds`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DestinationCounts {
    /// Attempts that have ended, with a reply or without.
    pub replies: u64,
    /// Of these, answered with success.
    pub done: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Half of the replies came within this time; none before the first.
    pub p50: Option<Duration>,
    /// 99 of 100 did.
    pub p99: Option<Duration>,
}

/// From a record's arrival to its end. Five seconds and more is where breakers and backoff act.
const RECORD_SECONDS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// CPU time of a guest call, around the 10 us that a fresh instance costs up to the limit of 100 ms, and beyond it for raised limits.
const CALL_SECONDS: [f64; 14] = [5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0];

/// A destination's answer; the default timeout of an attempt lies within.
const REPLY_SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[derive(Debug)]
struct PluginMetrics {
    delivered: Counter,
    skipped: Counter,
    dead_lettered: Counter,
    held_by_destination: Counter,
    held_by_plugin: Counter,
    held_as_busy: Counter,
    held_unrouted: Counter,
    /// In the order of [`Reason::ALL`].
    failures: [Counter; Reason::ALL.len()],
    log_lines_dropped: Counter,
    record_seconds: Histogram,
    call_cpu_seconds: Histogram,
}

impl Default for PluginMetrics {
    fn default() -> PluginMetrics {
        PluginMetrics {
            delivered: Counter::default(),
            skipped: Counter::default(),
            dead_lettered: Counter::default(),
            held_by_destination: Counter::default(),
            held_by_plugin: Counter::default(),
            held_as_busy: Counter::default(),
            held_unrouted: Counter::default(),
            failures: Default::default(),
            log_lines_dropped: Counter::default(),
            record_seconds: Histogram::new(&RECORD_SECONDS),
            call_cpu_seconds: Histogram::new(&CALL_SECONDS),
        }
    }
}

/// The statuses that the policy tells apart, and classes for the rest: a destination cannot make up labels.
const STATUSES: [&str; 11] = ["2xx", "3xx", "4xx", "401", "403", "408", "425", "429", "5xx", "other", "none"];

fn status_label(status: Option<u16>) -> usize {
    match status {
        Some(401) => 3,
        Some(403) => 4,
        Some(408) => 5,
        Some(425) => 6,
        Some(429) => 7,
        Some(200..=299) => 0,
        Some(300..=399) => 1,
        Some(400..=499) => 2,
        Some(500..=599) => 8,
        Some(_) => 9,
        None => 10,
    }
}

#[derive(Debug)]
struct DestinationMetrics {
    /// In the order of [`STATUSES`].
    replies: [Counter; STATUSES.len()],
    reply_seconds: Histogram,
    retries: Counter,
    /// Where the breaker stands, once it has moved.
    breaker: Mutex<Option<&'static str>>,
    breaker_moves: Counter,
}

impl Default for DestinationMetrics {
    fn default() -> DestinationMetrics {
        DestinationMetrics {
            replies: Default::default(),
            reply_seconds: Histogram::new(&REPLY_SECONDS),
            retries: Counter::default(),
            breaker: Mutex::default(),
            breaker_moves: Counter::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Window {
    bytes: Gauge,
    records: Gauge,
    held: Gauge,
    parked: Gauge,
    /// Milliseconds from the beginning to the loop's last word.
    told: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            begun: Instant::now(),
            plugins: Named::default(),
            destinations: Named::default(),
            lag: Numbered::default(),
            gone: Numbered::default(),
            commits: Counter::default(),
            commits_failed: Counter::default(),
            settled_before: Counter::default(),
            inexact_commits: Counter::default(),
            window: Window::default(),
        }
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Arc<Metrics> {
        Arc::new(Metrics::default())
    }

    /// A record ended, or was held; `elapsed` is from its arrival to its outcome.
    pub fn record_done(&self, plugin: Option<&str>, outcome: &Outcome, elapsed: Duration) {
        self.plugins.with(plugin.unwrap_or_default(), |plugin| {
            match outcome {
                Outcome::Delivered => plugin.delivered.inc(),
                Outcome::Skipped => plugin.skipped.inc(),
                Outcome::DeadLettered(_) => plugin.dead_lettered.inc(),
                Outcome::Held(Cause::Destination(_)) => plugin.held_by_destination.inc(),
                Outcome::Held(Cause::Plugin { .. }) => plugin.held_by_plugin.inc(),
                Outcome::Held(Cause::Busy(_)) => plugin.held_as_busy.inc(),
                Outcome::Held(Cause::Unrouted) => plugin.held_unrouted.inc(),
            };
            if !matches!(outcome, Outcome::Held(_)) {
                plugin.record_seconds.observe(elapsed);
            }
        });
    }

    /// A record failed with this reason, whatever becomes of it.
    pub fn failure(&self, plugin: Option<&str>, reason: Reason) {
        let place = Reason::ALL.iter().position(|other| *other == reason);
        self.plugins.with(plugin.unwrap_or_default(), |plugin| {
            if let Some(counter) = place.and_then(|place| plugin.failures.get(place)) {
                counter.inc();
            }
        });
    }

    /// A guest call ended after so much CPU time.
    pub fn call(&self, plugin: &str, cpu: Duration) {
        self.plugins.with(plugin, |plugin| plugin.call_cpu_seconds.observe(cpu));
    }

    /// So many log lines of a call were over the plugin's caps.
    pub fn log_lines_dropped(&self, plugin: &str, lines: u64) {
        self.plugins.with(plugin, |plugin| plugin.log_lines_dropped.inc_by(lines));
    }

    /// A destination answered an attempt (`None`: no answer) after so long. The time counts where there was an answer.
    pub fn reply(&self, destination: &str, status: Option<u16>, elapsed: Duration) {
        self.destinations.with(destination, |destination| {
            destination.replies[status_label(status)].inc();
            if status.is_some() {
                destination.reply_seconds.observe(elapsed);
            }
        });
    }

    /// A request is about to be sent again.
    pub fn retry(&self, destination: &str) {
        self.destinations.with(destination, |destination| destination.retries.inc());
    }

    /// The breaker of a destination moved: `closed`, `open`, `open-credential` or `half-open`.
    pub fn breaker(&self, destination: &str, state: &'static str) {
        self.destinations.with(destination, |destination| {
            *destination.breaker.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
            destination.breaker_moves.inc();
        });
    }

    /// A commit was acknowledged or failed.
    pub fn commit(&self, ok: bool) {
        if ok {
            self.commits.inc()
        } else {
            self.commits_failed.inc()
        };
    }

    /// The window: bytes and records that wait or are in progress, keys held, records parked as offsets. The loop tells it every second,
    /// which is also the sign that it is alive: see [`Metrics::loop_silence`].
    pub fn window(&self, bytes: usize, records: usize, held: usize, parked: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.window.bytes.set(number(bytes));
        self.window.records.set(number(records));
        self.window.held.set(number(held));
        self.window.parked.set(number(parked));
        self.window.told.store(self.elapsed_millis(), Ordering::Relaxed);
    }

    /// Records of a partition that the group has not settled yet.
    pub fn lag(&self, topic: &str, partition: i32, records: i64) {
        self.lag.with(topic, partition, |lag| lag.set(records));
    }

    /// The partition is no longer this host's: its lag is told by its new owner.
    pub fn partition_left(&self, topic: &str, partition: i32) {
        self.lag.remove(topic, partition);
    }

    /// A record came that an earlier owner of its partition had settled beyond the watermark, and was not handled again.
    pub fn settled_before(&self) {
        self.settled_before.inc();
    }

    /// Commits of a partition whose settled-beyond map did not fit exactly into the metadata.
    pub fn inexact_commits(&self, commits: u64) {
        self.inexact_commits.inc_by(commits);
    }

    /// Records that were parked and are no longer in Kafka.
    pub fn gone(&self, topic: &str, partition: i32, records: u64) {
        self.gone.with(topic, partition, |gone| gone.inc_by(records));
    }

    /// The lag of a partition of this host, once Kafka has told it.
    pub fn lag_of(&self, topic: &str, partition: i32) -> Option<i64> {
        self.lag.get(topic, partition).map(|lag| lag.get())
    }

    /// What there is to say of a plugin; all at zero before its first record.
    pub fn plugin(&self, name: &str) -> PluginCounts {
        let counts = self.plugins.get(name).map(|plugin| PluginCounts {
            delivered: plugin.delivered.get(),
            skipped: plugin.skipped.get(),
            dead_lettered: plugin.dead_lettered.get(),
            p50: plugin.record_seconds.quantile(0.50),
            p99: plugin.record_seconds.quantile(0.99),
        });
        counts.unwrap_or_default()
    }

    /// Records that no plugin claimed.
    pub fn unrouted(&self) -> PluginCounts {
        self.plugin("")
    }

    /// What there is to say of a destination; all at zero before its first reply.
    pub fn destination(&self, name: &str) -> DestinationCounts {
        let counts = self.destinations.get(name).map(|destination| DestinationCounts {
            replies: destination.replies.iter().map(Counter::get).sum(),
            done: destination.replies[0].get(),
            retries: destination.retries.get(),
            p50: destination.reply_seconds.quantile(0.50),
            p99: destination.reply_seconds.quantile(0.99),
        });
        counts.unwrap_or_default()
    }

    /// How long the loop has not told its window: about a second while it is well, and since the beginning before its first word.
    pub fn loop_silence(&self) -> Duration {
        Duration::from_millis(self.elapsed_millis().saturating_sub(self.window.told.load(Ordering::Relaxed)))
    }

    /// How long the host runs.
    pub fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Everything, in the text format of OpenMetrics 1.0, which Prometheus reads.
    pub fn render(self: &Arc<Self>) -> String {
        let mut registry = Registry::with_prefix("keyway");
        registry.register_collector(Box::new(book::Book(Arc::clone(self))));
        let mut out = String::with_capacity(16 << 10);
        // Writing into a string does not fail.
        let _ = text::encode_registry(&mut out, &registry);
        process::render(&mut out);
        let _ = text::encode_eof(&mut out);
        out
    }

    fn elapsed_millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
