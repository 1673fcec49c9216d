//! What it costs the records to replace plugins every second.
//!
//! Orders and refunds come at a steady rate, in one host: first while nothing changes, then while both plugins go back and forth between two versions every
//! second (both compiled before, as after a rollback), then while every second brings two versions that nobody has seen, which are compiled
//! first, then quietly again. Latency is the time from a record's Kafka timestamp, which is when it was due, to the arrival of its first request.
//!
//! Afterwards: no record lost, repeated or out of order, and both requests of a refund by one version. From rename to live is the time until the first
//! request of a version comes that was not seen before, so it holds the latency of a record too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::traffic::{Traffic, check, guest, requests};
use e2e::versions::{self, CONTENT_TYPES};
use e2e::{Broker, Destination, Host};

use crate::clock::{Clock, paced};
use crate::figures::{milliseconds, quantile, say};
use crate::setting::{DEADLINE, PARTITIONS};

/// Records a millisecond, unless the command line says otherwise: 2,000 a second.
const PER_MILLISECOND: u32 = 2;

const SWAP_EVERY: Duration = Duration::from_secs(1);

/// Keys.
const KEYS: usize = 5_000;

/// The beginning of a phase, in which the producer connects; not measured.
const BEGINNING: Duration = Duration::from_secs(1);

const PLUGINS: [&str; 2] = ["order", "refund"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In no figure: a host and a broker that have just begun are slower.
    WarmUp,
    Quiet,
    /// Back and forth between two versions.
    Known,
    /// Versions that have to be compiled.
    New,
}

const PHASES: [(Phase, u32); 5] = [(Phase::WarmUp, 10), (Phase::Quiet, 30), (Phase::Known, 60), (Phase::New, 30), (Phase::Quiet, 30)];

/// One change of both plugins: when, and to which of the two contents.
struct Swap {
    phase: Phase,
    at: Instant,
    version: usize,
}

pub(crate) fn run(per_millisecond: Option<u32>) {
    let per_millisecond = per_millisecond.unwrap_or(PER_MILLISECOND);
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("reload", PARTITIONS), broker.name("reload"));
    say(&format!("reload: {} records a second, plugins replaced every second", per_millisecond * 1_000));
    let destination = Destination::start();
    let host = ["orders", "payments"]
        .iter()
        .fold(Host::builder(broker, &topic, &group), |host, name| host.destination(name, &destination.url(), ""))
        .plugin("order.wasm", guest("order"))
        .plugin("refund.wasm", guest("refund"))
        .start();
    let clock = Clock::start();
    let mut traffic = Traffic::new(KEYS, 10);
    let mut phases = Vec::new();
    let mut swaps: Vec<Swap> = Vec::new();
    for (phase, seconds) in PHASES {
        let begun = clock.begin();
        let records = (0..seconds * 1_000 * per_millisecond).map(|at| traffic.record_of(PLUGINS[at as usize % 2]));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let swapping = scope.spawn(|| swap(phase, &host, begun.instant, &over));
            broker.produce(&topic, paced(records, per_millisecond, begun));
            over.store(true, Ordering::Relaxed);
            swaps.extend(swapping.join().expect("the swaps"));
        });
        broker.await_settled(&group, &topic, DEADLINE);
        phases.push((phase, begun.timestamp));
    }
    let records = broker.read(&topic);
    let summary = check(&records, requests, &destination.seen());
    versions::check_one_each(&destination.seen());
    say(&format!(
        "{} records: none lost, {} repeated, none out of order, each by one version; {} swaps",
        summary.records,
        summary.repeats,
        swaps.len()
    ));
    let arrived = clock.arrivals(&destination);
    let latencies: Vec<(i64, f64)> = records
        .iter()
        .map(|record| {
            let timestamp = record.timestamp.expect("a timestamp");
            (timestamp, arrived[&(record.partition.unwrap_or_default(), record.offset)] - timestamp as f64)
        })
        .collect();
    report(&phases, &latencies);
    for phase in [Phase::Known, Phase::New] {
        report_live(phase, &swaps, &destination);
    }
}

/// Replaces both plugins every second until the phase's records have been produced.
fn swap(phase: Phase, host: &Host, begun: Instant, over: &AtomicBool) -> Vec<Swap> {
    let mut swaps = Vec::new();
    if !matches!(phase, Phase::Known | Phase::New) {
        return swaps;
    }
    let contents = PLUGINS.map(versions::two);
    for number in 0_u32.. {
        let due = begun + SWAP_EVERY * (number + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if over.load(Ordering::Relaxed) {
            break;
        }
        // The other one than the last, so that the first request of it tells.
        let version = (number as usize + 1) % 2;
        for (name, contents) in PLUGINS.iter().zip(&contents) {
            let bytes = &contents[version];
            let bytes = if phase == Phase::New { versions::marked(bytes, &number.to_string()) } else { bytes.clone() };
            versions::deploy(&host.plugins(), name, &bytes);
        }
        swaps.push(Swap { phase, at: Instant::now(), version });
    }
    swaps
}

fn report(phases: &[(Phase, i64)], latencies: &[(i64, f64)]) {
    let [quiet, known, new] = [Phase::Quiet, Phase::Known, Phase::New].map(|kind| {
        let mut of: Vec<f64> = Vec::new();
        for (index, (_, begun)) in phases.iter().enumerate().filter(|(_, (phase, _))| *phase == kind) {
            let ended = phases.get(index + 1).map_or(i64::MAX, |next| next.1);
            let measured = begun + BEGINNING.as_millis() as i64..ended;
            let mut own: Vec<f64> = latencies.iter().filter(|(timestamp, _)| measured.contains(timestamp)).map(|(_, latency)| *latency).collect();
            of.extend(&own);
            say(&format!(
                "{:6} p50 {:6.1} ms, p99 {:6.1} ms, {} records",
                format!("{kind:?}"),
                quantile(&mut own, 0.5),
                quantile(&mut own, 0.99),
                own.len()
            ));
        }
        quantile(&mut of, 0.99)
    });
    say(&format!(
        "p99: quiet {quiet:.1} ms; back and forth {known:.1} ms, {:.2} times (below 1.5); compiled {new:.1} ms, {:.2} times",
        known / quiet,
        new / quiet
    ));
}

/// From each rename to the first order that the version it brought made.
fn report_live(phase: Phase, swaps: &[Swap], destination: &Destination) {
    let seen = destination.seen();
    let mut live: Vec<f64> = Vec::new();
    let mut late = 0;
    for (index, swap) in swaps.iter().enumerate().filter(|(_, swap)| swap.phase == phase) {
        let until = swaps.get(index + 1).map_or(swap.at + SWAP_EVERY * 5, |next| next.at);
        let first = seen
            .iter()
            .filter(|seen| seen.path == "/orders" && seen.at > swap.at && seen.at < until)
            .find(|seen| seen.content_type.as_deref() == Some(CONTENT_TYPES[swap.version]));
        match first {
            Some(seen) => live.push(milliseconds(seen.at - swap.at)),
            None => late += 1,
        }
    }
    let (p50, longest) = (quantile(&mut live, 0.5), quantile(&mut live, 1.0));
    say(&format!(
        "{phase:?}: from rename to live p50 {p50:.0} ms, longest {longest:.0} ms (below 500); {late} of {} not before the next swap",
        live.len() + late
    ));
}
