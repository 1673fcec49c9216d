//! What plugins that attack the host cost the keys of others.
//!
//! Ordinary records of three kinds come at a steady rate, well below what the host can do, first by themselves and then beside records for
//! plugins that loop for ever, eat memory, trap and return far too much. The latency of an ordinary record is the time from its
//! Kafka timestamp to the arrival of its first request. Timestamps are when a record was due, not when it was sent (open loop), so a stall is
//! counted in full by every record that comes in it. The producer gathers records for up to 2 ms, which is in all figures.
//!
//! Quiet and hostile phases alternate in one host. The median p99 of the hostile ones must be below twice that of the quiet ones.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use e2e::traffic::guest;
use e2e::{Broker, Destination, Message, until};

use crate::clock::{Begun, Clock};
use crate::figures::{median, quantile, say};
use crate::load::Load;
use crate::setting::{DEADLINE, KINDS, PARTITIONS, host};

/// The guests; each claims the keys `hostile-NAME:*`. The one that returns 32 MiB rather than 64, as the latter does not get as far as to return
/// anything: by default a plugin has too little memory to make it.
const HOSTILE: [&str; 4] = ["loop", "memory", "panic", "output-32m"];

/// Between two ordinary records: 500 a second. Whole milliseconds, since Kafka's timestamps are.
const EVERY: Duration = Duration::from_millis(2);

/// Ordinary records to a hostile one: 20 a second, five of each kind.
const ORDINARY: usize = 25;

/// Ordinary records of a phase: ten seconds.
const RECORDS: usize = 5_000;

/// The beginning of a phase, in which the producer connects; not measured.
const BEGINNING: Duration = Duration::from_secs(1);

/// Keys of each kind.
const KEYS: usize = 1_000;

const ROUNDS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Quiet, and in no figure: a host and a broker that have just begun are slower, which would make the first quiet phase a lenient baseline.
    WarmUp,
    Quiet,
    Hostile,
}

pub(crate) fn run() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("hostile", PARTITIONS), broker.name("hostile"));
    say(&format!("hostile: 500 records a second by themselves, and beside five a second for each of the plugins {}", HOSTILE.join(", ")));
    let destination = Destination::start();
    let _host = HOSTILE
        .iter()
        .fold(host(broker, &topic, &group, |_| destination.url(), ""), |host, name| {
            host.plugin(&format!("hostile-{name}.wasm"), guest(&format!("hostile/{name}")))
        })
        .start();
    let load = Load::new(&KINDS, RECORDS, KEYS);
    let clock = Clock::start();
    let mut phases = Vec::new();
    let rounds = (0..ROUNDS).flat_map(|_| [Phase::Quiet, Phase::Hostile]);
    for phase in std::iter::once(Phase::WarmUp).chain(rounds) {
        let begun = clock.begin();
        broker.produce(&topic, records(phase, &load, begun));
        broker.await_settled(&group, &topic, DEADLINE);
        phases.push((phase, begun.timestamp));
    }
    let records: HashMap<(i32, i64), Message> =
        broker.read(&topic).into_iter().map(|record| ((record.partition.unwrap_or_default(), record.offset), record)).collect();
    report(&phases, &latencies(&destination, &records, &clock));
    report_letters(broker, &group);
}

/// The records of a phase, each at the time at which it is due.
fn records(phase: Phase, load: &Load, begun: Begun) -> impl Iterator<Item = Message> {
    let ordinary = load.messages().enumerate();
    ordinary.flat_map(move |(at, ordinary)| {
        let due = EVERY * at as u32;
        std::thread::sleep((begun.instant + due).saturating_duration_since(Instant::now()));
        let timestamp = Some(begun.timestamp + due.as_millis() as i64);
        let number = at / ORDINARY;
        let hostile = (phase == Phase::Hostile && at % ORDINARY == 0)
            .then(|| Message::new(format!("hostile-{}:{number}", HOSTILE[number % HOSTILE.len()]), "{}"));
        [Some(ordinary), hostile].into_iter().flatten().map(move |record| Message { timestamp, ..record })
    })
}

/// Timestamp and latency in milliseconds of each ordinary record.
fn latencies(destination: &Destination, records: &HashMap<(i32, i64), Message>, clock: &Clock) -> Vec<(i64, f64)> {
    let arrived = clock.arrivals(destination);
    let ordinary = records.iter().filter(|(_, record)| record.key.as_deref().is_some_and(|key| !key.starts_with(b"hostile-")));
    ordinary
        .map(|(at, record)| {
            let timestamp = record.timestamp.expect("a timestamp");
            let arrived = arrived.get(at).unwrap_or_else(|| panic!("lost: the record {at:?}"));
            (timestamp, arrived - timestamp as f64)
        })
        .collect()
}

fn report(phases: &[(Phase, i64)], latencies: &[(i64, f64)]) {
    let mut all: [Vec<(f64, f64)>; 2] = [Vec::new(), Vec::new()];
    for (index, &(phase, begun)) in phases.iter().enumerate() {
        let ended = phases.get(index + 1).map_or(i64::MAX, |next| next.1);
        let measured = begun + BEGINNING.as_millis() as i64..ended;
        let mut of: Vec<f64> = latencies.iter().filter(|(timestamp, _)| measured.contains(timestamp)).map(|(_, latency)| *latency).collect();
        let (p50, p99) = (quantile(&mut of, 0.5), quantile(&mut of, 0.99));
        say(&format!("{:7} p50 {p50:6.1} ms, p99 {p99:6.1} ms, {} records", format!("{phase:?}"), of.len()));
        match phase {
            Phase::WarmUp => {}
            Phase::Quiet => all[0].push((p50, p99)),
            Phase::Hostile => all[1].push((p50, p99)),
        }
    }
    let [quiet, hostile] = all.map(|figures| (median(figures.iter().map(|figure| figure.0)), median(figures.iter().map(|figure| figure.1))));
    say(&format!(
        "median: quiet p50 {:.1} ms, p99 {:.1} ms; hostile p50 {:.1} ms, p99 {:.1} ms: {:.2} times the p99 (below 2)",
        quiet.0,
        quiet.1,
        hostile.0,
        hostile.1,
        hostile.1 / quiet.1
    ));
}

/// How long the hostile records themselves took, to the timestamp of their dead letters.
fn report_letters(broker: &Broker, group: &str) {
    let topic = format!("{group}.dead-letters");
    let expected = ROUNDS * RECORDS / ORDINARY;
    until(&format!("{expected} letters in {topic}"), DEADLINE, || (broker.ends(&topic).iter().sum::<i64>() >= expected as i64).then_some(()));
    let letters = broker.read(&topic);
    for name in HOSTILE {
        let own = letters.iter().filter(|letter| letter.header("keyway-plugin").is_some_and(|plugin| plugin.ends_with(&format!("hostile-{name}"))));
        let mut took: Vec<f64> = own
            .map(|letter| {
                let from: i64 = letter.header("keyway-timestamp").and_then(|text| text.parse().ok()).expect("the record's timestamp");
                (letter.timestamp.expect("a timestamp") - from) as f64
            })
            .collect();
        let (p50, p99) = (quantile(&mut took, 0.5), quantile(&mut took, 0.99));
        say(&format!("to its dead letter: {name:10} p50 {p50:6.0} ms, p99 {p99:6.0} ms, {} records", took.len()));
    }
}
