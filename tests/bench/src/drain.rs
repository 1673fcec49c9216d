//! How fast a backlog is drained when every request takes 5 ms.
//!
//! Records of one key are handled one at a time, so a drain takes at least the requests of the longest lane times the latency. The time from the
//! first request that reaches the server to the last one must be at most 1.3 times that. What may be lost between the two: a window too small
//! to hold the work of all lanes, a limit of concurrency that is found too late, and the host's own time between a reply and the next request.
//!
//! The bound is to be the lane, not the processors. With [`KEYS`] keys of each kind the hottest has 4 % of the requests, so the longest lane lets
//! through some 3,800 records a second: about two fifths of the 8,000 to 10,000 that two cores can do. The window and the destinations have their
//! defaults. The time in the server is measured too; what is above 5 ms of it is the machine's, not the host's.

use std::time::Duration;

use e2e::Broker;

use crate::figures::{median, milliseconds, say};
use crate::load::Load;
use crate::setting::{DEADLINE, KINDS, PARTITIONS, host, peak_mib};
use crate::sink::Sink;

const LATENCY: Duration = Duration::from_millis(5);

/// Some five seconds in the longest lane, so that the beginning does not count for much.
const RECORDS: usize = 20_000;

/// Keys of each kind; see above.
const KEYS: usize = 100_000;

const RUNS: usize = 3;

pub(crate) fn run() {
    let broker = Broker::shared();
    let topic = broker.topic("drain", PARTITIONS);
    let load = Load::new(&KINDS, RECORDS, KEYS);
    let least = LATENCY * load.longest_lane as u32;
    say(&format!(
        "drain: {RECORDS} records, {} requests of 5 ms each; the longest lane has {} of them, {:.2} s",
        load.requests,
        load.longest_lane,
        least.as_secs_f64()
    ));
    load.produce(broker, &topic);
    let sink = Sink::start(LATENCY);
    let ratios: Vec<f64> = (0..RUNS)
        .map(|run| {
            sink.reset();
            let host = host(broker, &topic, &broker.name("drain"), |_| sink.url(), "").launch();
            let begun = sink.await_count(1, DEADLINE);
            let took = sink.await_count(load.requests, DEADLINE).duration_since(begun);
            let ratio = took.as_secs_f64() / least.as_secs_f64();
            say(&format!(
                "run {run}: drained in {:.2} s, {:.0} records/s, {ratio:.2} times the longest lane; {:.2} ms a request in the server, {:.0} MiB peak",
                took.as_secs_f64(),
                RECORDS as f64 / took.as_secs_f64(),
                milliseconds(sink.mean_latency()),
                peak_mib(&host)
            ));
            ratio
        })
        .collect();
    say(&format!("median: {:.2} times the longest lane (at most 1.3)", median(ratios)));
}
