//! Whether a slow destination gets all the requests at once that it may have.
//!
//! A destination that answers after a time takes at most its `concurrency` divided by that time. The bridge must reach 0.9 of it, and hold little
//! for each request that is in flight. Its keys are as frequent as one another and many more than may be in flight, so that neither the lanes nor,
//! at these rates, the processors are the bound. The server's own time is measured too; what is above the nominal latency is the machine's.

use std::time::Duration;

use e2e::Broker;

use crate::figures::{median, milliseconds, say};
use crate::load::Load;
use crate::setting::{DEADLINE, PARTITIONS, host, peak_mib};
use crate::sink::Sink;

/// How slow a destination is, and how much of it there is. Both may take 4,000 requests a second, half of what two cores can do.
struct Case {
    latency: Duration,
    concurrency: usize,
    keys: usize,
    /// Some six seconds, so that the beginning does not count for much.
    records: usize,
}

const CASES: [Case; 2] = [
    Case { latency: Duration::from_millis(50), concurrency: 200, keys: 1_000, records: 24_000 },
    Case { latency: Duration::from_millis(500), concurrency: 2_000, keys: 8_000, records: 24_000 },
];

const RUNS: usize = 3;

pub(crate) fn run() {
    let broker = Broker::shared();
    for Case { latency, concurrency, keys, records } in CASES {
        let topic = broker.topic("latency", PARTITIONS);
        let load = Load::even("order", records, keys);
        let ideal = concurrency as f64 / latency.as_secs_f64();
        say(&format!("latency: {records} records over {keys} keys, {latency:?} each, {concurrency} at once: at best {ideal:.0} requests/s"));
        load.produce(broker, &topic);
        let sink = Sink::start(latency);
        let shares: Vec<f64> = (0..RUNS)
            .map(|run| {
                sink.reset();
                let lines = format!("concurrency = {concurrency}\n");
                let host = host(broker, &topic, &broker.name("latency"), |_| sink.url(), &lines).launch();
                let rate = sink.rate(load.requests, DEADLINE);
                say(&format!(
                    "run {run}: {rate:.0} requests/s, {:.2} of the best; {:.1} ms a request in the server, {:.0} MiB peak",
                    rate / ideal,
                    milliseconds(sink.mean_latency()),
                    peak_mib(&host)
                ));
                rate / ideal
            })
            .collect();
        say(&format!("median: {:.2} of the best (at least 0.9)", median(shares)));
    }
}
