//! What `/metrics` says: every family with its name, its help and its series, sorted, so that two scrapes differ in numbers only.

use std::fmt;
use std::sync::{Arc, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;

use super::super::lines;
use super::{DestinationMetrics, Metrics, PluginMetrics, STATUSES};
use crate::outcome::Reason;

/// States of a breaker, as [`Metrics::breaker`] is told them.
const BREAKER_STATES: [&str; 4] = ["closed", "half-open", "open", "open-credential"];

/// The metrics as a collector.
#[derive(Debug)]
pub(super) struct Book(pub(super) Arc<Metrics>);

impl Collector for Book {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let Book(metrics) = self;
        let out = &mut out;
        single(out, &Head::new("build", "What this host is"), &Info::new([("version", env!("CARGO_PKG_VERSION"))]))?;
        let uptime = ConstGauge::new(metrics.uptime().as_secs_f64());
        single(out, &Head::new("uptime", "Time since the host started").in_unit(Unit::Seconds), &uptime)?;
        plugins(out, &metrics.plugins.sorted())?;
        destinations(out, &metrics.destinations.sorted())?;
        let help = "Records of a partition of this host that are not settled yet";
        partitions(out, &Head::new("lag_records", help), &metrics.lag.sorted())?;
        let help = "Records that Kafka deleted before they could be handled";
        partitions(out, &Head::new("gone_records", help), &metrics.gone.sorted())?;

        let commits = [([("result", "ok")], &metrics.commits), ([("result", "failed")], &metrics.commits_failed)];
        family(out, &Head::new("commits", "Commits of offsets, by whether Kafka acknowledged them"), commits)?;
        let help = "Records that an earlier owner of their partition had settled beyond the watermark, and that were not handled again";
        single(out, &Head::new("settled_before", help), &metrics.settled_before)?;
        let help = "Commits of a partition that could not say exactly what is settled beyond the watermark; a crash then repeats some of it";
        single(out, &Head::new("inexact_commits", help), &metrics.inexact_commits)?;

        let help = "Lines of the log that were dropped since nobody drained standard error";
        single(out, &Head::new("log_lines_dropped", help), &ConstCounter::new(lines::dropped()))?;

        let window = &metrics.window;
        single(out, &Head::new("window", "Bytes of records that wait or are in progress").in_unit(Unit::Bytes), &window.bytes)?;
        single(out, &Head::new("window_records", "Records that wait or are in progress"), &window.records)?;
        single(out, &Head::new("held_keys", "Keys that are held"), &window.held)?;
        single(out, &Head::new("parked_records", "Records that are kept as offsets only, to be fetched from Kafka again"), &window.parked)
    }
}

fn plugins(out: &mut DescriptorEncoder<'_>, plugins: &[(Arc<str>, Arc<PluginMetrics>)]) -> fmt::Result {
    let head = Head::new("records", "Records that ended, by plugin (empty: no plugin claims the key) and outcome");
    let ended = plugins.iter().flat_map(|(name, plugin)| {
        let outcomes = [("delivered", &plugin.delivered), ("skipped", &plugin.skipped), ("dead-lettered", &plugin.dead_lettered)];
        outcomes.map(|(outcome, counter)| ([("plugin", &**name), ("outcome", outcome)], counter))
    });
    family(out, &head, ended)?;

    let head = Head::new("holds", "How often a record was held, by plugin and cause; a record that was held ends later");
    let held = plugins.iter().flat_map(|(name, plugin)| {
        let causes = [
            ("destination", &plugin.held_by_destination),
            ("plugin", &plugin.held_by_plugin),
            ("busy", &plugin.held_as_busy),
            ("unrouted", &plugin.held_unrouted),
        ];
        causes.map(|(cause, counter)| ([("plugin", &**name), ("cause", cause)], counter))
    });
    family(out, &head, held.filter(|(_, counter)| counter.get() > 0))?;

    let head = Head::new("failures", "Records that failed, by plugin and reason, whatever became of them");
    let failed = plugins.iter().flat_map(|(name, plugin)| {
        let reasons = Reason::ALL.iter().zip(&plugin.failures);
        reasons.map(|(reason, counter)| ([("plugin", &**name), ("reason", reason.code())], counter))
    });
    family(out, &head, failed.filter(|(_, counter)| counter.get() > 0))?;

    let head = Head::new("plugin_log_lines_dropped", "Log lines of a plugin over its rate or size, which were dropped");
    let dropped = plugins.iter().map(|(name, plugin)| ([("plugin", &**name)], &plugin.log_lines_dropped));
    family(out, &head, dropped.filter(|(_, counter)| counter.get() > 0))?;

    let head = Head::new("record", "Time from the arrival of a record to its end").in_unit(Unit::Seconds);
    family(out, &head, plugins.iter().map(|(name, plugin)| ([("plugin", &**name)], &plugin.record_seconds)))?;
    let head = Head::new("call_cpu", "CPU time of one call of a plugin").in_unit(Unit::Seconds);
    let called = plugins.iter().filter(|(name, _)| !name.is_empty());
    family(out, &head, called.map(|(name, plugin)| ([("plugin", &**name)], &plugin.call_cpu_seconds)))
}

fn destinations(out: &mut DescriptorEncoder<'_>, destinations: &[(Arc<str>, Arc<DestinationMetrics>)]) -> fmt::Result {
    let head = Head::new("replies", "Attempts, by destination and status of the reply (none: there was no reply)");
    let replied = destinations.iter().flat_map(|(name, destination)| {
        let statuses = STATUSES.iter().zip(&destination.replies);
        statuses.map(|(status, counter)| ([("destination", &**name), ("status", status)], counter))
    });
    family(out, &head, replied.filter(|(_, counter)| counter.get() > 0))?;

    let head = Head::new("reply", "Time from the start of an attempt to the end of its reply").in_unit(Unit::Seconds);
    family(out, &head, destinations.iter().map(|(name, destination)| ([("destination", &**name)], &destination.reply_seconds)))?;
    let head = Head::new("retries", "Requests that were sent again");
    family(out, &head, destinations.iter().map(|(name, destination)| ([("destination", &**name)], &destination.retries)))?;

    let states: Vec<_> = destinations
        .iter()
        .flat_map(|(name, destination)| {
            let now = destination.breaker.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or("closed");
            BREAKER_STATES.map(|state| ([("destination", &**name), ("state", state)], ConstGauge::new(u64::from(state == now))))
        })
        .collect();
    let head = Head::new("breaker", "1 for the state in which the breaker of the destination is, 0 for the others");
    family(out, &head, states.iter().map(|(labels, state)| (*labels, state)))?;
    let head = Head::new("breaker_moves", "How often the breaker of the destination changed its state");
    family(out, &head, destinations.iter().map(|(name, destination)| ([("destination", &**name)], &destination.breaker_moves)))
}

fn partitions(out: &mut DescriptorEncoder<'_>, head: &Head, partitions: &[(Arc<str>, String, Arc<impl EncodeMetric>)]) -> fmt::Result {
    family(out, head, partitions.iter().map(|(topic, number, metric)| ([("topic", &**topic), ("partition", number)], &**metric)))
}

/// What is said of a family before its series.
struct Head {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
}

impl Head {
    fn new(name: &'static str, help: &'static str) -> Head {
        Head { name, help, unit: None }
    }

    fn in_unit(self, unit: Unit) -> Head {
        Head { unit: Some(unit), ..self }
    }
}

/// A family; nothing is said of one without series.
fn family<'m, const LABELS: usize, M: EncodeMetric + 'm>(
    out: &mut DescriptorEncoder<'_>,
    head: &Head,
    series: impl IntoIterator<Item = ([(&'static str, &'m str); LABELS], &'m M)>,
) -> fmt::Result {
    let mut series = series.into_iter().peekable();
    let Some((_, first)) = series.peek() else { return Ok(()) };
    let mut encoder = out.encode_descriptor(head.name, head.help, head.unit.as_ref(), first.metric_type())?;
    series.try_for_each(|(labels, metric)| metric.encode(encoder.encode_family(&labels)?))
}

fn single(out: &mut DescriptorEncoder<'_>, head: &Head, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(out.encode_descriptor(head.name, head.help, head.unit.as_ref(), metric.metric_type())?)
}
