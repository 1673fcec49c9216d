//! What it costs the records to replace plugins every second.
//!
//! Orders and refunds come at a steady rate, in one host, in windows that take turns: one in which nothing changes; one in which both plugins go back and forth
//! between two versions every second (both compiled before, as after a rollback); one in which every second brings two versions that nobody has seen,
//! which are compiled first; and one in which a plugin in JavaScript, twelve megabytes, is compiled over and over while nothing else changes. Latency is the time
//! from a record's Kafka timestamp, which is when it was due, to the arrival of its first request. What is compared are medians over windows, so that whatever
//! else the machine does meets all of them alike.
//!
//! Afterwards: no record lost, repeated or out of order, and both requests of a refund by one version. From rename to live is the time until the first
//! request of a version comes that was not seen before, so it holds the latency of a record too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::traffic::{Traffic, check, guest, is_built, requests};
use e2e::versions::{self, CONTENT_TYPES};
use e2e::{Broker, Destination, Host, until};

use crate::clock::{Clock, paced};
use crate::figures::{median, milliseconds, quantile, say};
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
    /// Versions of a plugin in JavaScript, which has no records, one after the other.
    Script,
}

/// What is compared.
const KINDS: [Phase; 4] = [Phase::Quiet, Phase::Known, Phase::New, Phase::Script];

const ROUNDS: usize = 3;

/// Of a window, in seconds.
const WINDOW: u32 = 5;

/// The name of the plugin in JavaScript.
const SCRIPT: &str = "script";

/// Its component.
const SCRIPT_GUEST: &str = "off-the-shelf/js";

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
    std::fs::write(host.plugins().join(format!("{SCRIPT}.toml")), "keys = [\"script:*\"]\n").expect("a sidecar");
    let clock = Clock::start();
    let mut traffic = Traffic::new(KEYS, 10);
    let mut phases = Vec::new();
    let mut swaps: Vec<Swap> = Vec::new();
    let kinds = kinds();
    for phase in std::iter::once(Phase::WarmUp).chain((0..ROUNDS).flat_map(|_| kinds.iter().copied())) {
        let begun = clock.begin();
        let records = (0..WINDOW * 1_000 * per_millisecond).map(|at| traffic.record_of(PLUGINS[at as usize % 2]));
        let (over, swapped) = (AtomicBool::new(false), swaps.len());
        std::thread::scope(|scope| {
            let swapping = scope.spawn(|| swap(phase, &host, begun.instant, swapped, &over));
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
    report(&kinds, &phases, &latencies);
    for phase in [Phase::Known, Phase::New] {
        report_live(phase, &swaps, &destination);
    }
}

/// What can be compared here: the component in JavaScript takes that language's tools.
fn kinds() -> Vec<Phase> {
    let has_script = is_built(SCRIPT_GUEST);
    if !has_script {
        say("the plugin in JavaScript is not built, so there are no windows with it; `KEYWAY_LANGUAGES=all make languages` builds it");
    }
    KINDS.into_iter().filter(|kind| has_script || *kind != Phase::Script).collect()
}

/// Replaces both plugins every second until the window's records have been produced; so many times they were replaced before.
fn swap(phase: Phase, host: &Host, begun: Instant, swapped: usize, over: &AtomicBool) -> Vec<Swap> {
    let mut swaps = Vec::new();
    match phase {
        Phase::WarmUp | Phase::Quiet => return swaps,
        Phase::Script => {
            compile_scripts(host, begun, over);
            return swaps;
        }
        Phase::Known | Phase::New => {}
    }
    let contents = PLUGINS.map(versions::two);
    // Not at the window's end: nothing would come to tell when it was live.
    for number in 0..WINDOW - 1 {
        let due = begun + SWAP_EVERY * (number + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // The other one than the last, so that the first request of it tells.
        let version = (swapped + swaps.len() + 1) % 2;
        for (name, contents) in PLUGINS.iter().zip(&contents) {
            let bytes = &contents[version];
            let bytes = if phase == Phase::New { versions::marked(bytes, &mark(begun, number)) } else { bytes.clone() };
            versions::deploy(&host.plugins(), name, &bytes);
        }
        swaps.push(Swap { phase, at: Instant::now(), version });
    }
    swaps
}

/// So that no version is compiled twice.
fn mark(begun: Instant, number: u32) -> String {
    format!("{:?} {number}", begun).chars().filter(char::is_ascii_digit).collect()
}

/// Deploys a plugin in JavaScript, and the next version of it as soon as one is decided on, until the window's records have been produced.
fn compile_scripts(host: &Host, begun: Instant, over: &AtomicBool) {
    let component = std::fs::read(guest(SCRIPT_GUEST)).expect("a component");
    let mut compiled = 0_u32;
    while !over.load(Ordering::Relaxed) {
        versions::deploy(&host.plugins(), SCRIPT, &versions::marked(&component, &mark(begun, compiled)));
        let deployed = Instant::now();
        // A look comes 50 ms after the change; from then on it is loading until it is decided on.
        while !over.load(Ordering::Relaxed) && (deployed.elapsed() < Duration::from_millis(300) || is_loading(host)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        compiled += 1;
    }
    // What is not compiled yet must not disturb the next window.
    until("the last one to be compiled", DEADLINE, || (!is_loading(host)).then_some(()));
    let (_, status) = host.get("/api/status").expect("the status");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let script = status["plugins"].as_array().and_then(|plugins| plugins.iter().find(|plugin| plugin["name"] == SCRIPT)).expect("the plugin");
    assert!(script["serving"].is_string(), "it is not even compiled: {script}");
    say(&format!("Script: {compiled} components in JavaScript compiled, {:.1} s", begun.elapsed().as_secs_f64()));
}

fn is_loading(host: &Host) -> bool {
    let (_, text) = host.get("/api/status").expect("the status");
    let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    status["plugins"].as_array().expect("plugins").iter().any(|plugin| plugin["loading"] == true)
}

fn report(kinds: &[Phase], phases: &[(Phase, i64)], latencies: &[(i64, f64)]) {
    let mut quiet = None;
    for kind in kinds {
        let windows = phases.iter().filter(|(phase, _)| phase == kind).map(|(_, begun)| {
            let measured = begun + BEGINNING.as_millis() as i64..begun + i64::from(WINDOW) * 1_000;
            let mut own: Vec<f64> = latencies.iter().filter(|(timestamp, _)| measured.contains(timestamp)).map(|(_, latency)| *latency).collect();
            (quantile(&mut own, 0.5), quantile(&mut own, 0.99))
        });
        let windows: Vec<(f64, f64)> = windows.collect();
        let (p50, p99) = (median(windows.iter().map(|window| window.0)), median(windows.iter().map(|window| window.1)));
        let each: Vec<String> = windows.iter().map(|window| format!("{:.1}", window.1)).collect();
        say(&format!(
            "{:7} p50 {p50:6.1} ms, p99 {p99:6.1} ms, the median of {}: {:.2} times the quiet one (below 1.5)",
            format!("{kind:?}"),
            each.join(", "),
            p99 / *quiet.get_or_insert(p99)
        ));
    }
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
