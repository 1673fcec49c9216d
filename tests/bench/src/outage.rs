//! How much memory a host takes while one of its destinations is down.
//!
//! Half of the records are for a destination that answers 503 and has `on_exhausted = "hold"`, the others for one that answers at once. First a host with both
//! well drains them, which shows what the process takes for a backlog of this size; then one with the first destination down. When the
//! others' records are done and every record of the first is held, the destination comes back and all is delivered. The figure is the most memory that
//! the process had resident (`VmHWM`), over what it has without any records; the budget is that of `[lanes] bytes`, and a tenth of it.

use std::time::{Duration, Instant};

use e2e::{Broker, Host, until};

use crate::figures::say;
use crate::load::Load;
use crate::setting::{DEADLINE, PARTITIONS, host, peak_mib};
use crate::sink::Sink;

/// Records for the destination that is down, and as many for the other one.
const RECORDS: usize = 100_000;

const KEYS: usize = 1_000;

/// `[lanes] bytes`, in MiB; the default.
const BUDGET: usize = 64;

/// Holds at once and tries again every second.
const LINES: &str = "on_exhausted = \"hold\"\nretry = { attempts = 2, backoff = \"100ms..1s\" }\nbreaker = { open_for = \"1s\" }\n";

pub(crate) fn run() {
    let broker = Broker::shared();
    let topic = broker.topic("outage", PARTITIONS);
    let (held, others) = (Load::new(&["order"], RECORDS, KEYS), Load::new(&["shipment"], RECORDS, KEYS));
    others.produce_among(&held, broker, &topic);
    say(&format!(
        "outage: {RECORDS} records of {} bytes for a destination that is down, among {RECORDS} of {} for one that is not",
        held.mean_bytes(),
        others.mean_bytes()
    ));
    let (down, up) = (Sink::start(Duration::ZERO), Sink::start(Duration::ZERO));
    let start = |topic: &str, group: &str| {
        let url = |name: &str| if name == "orders" { down.url() } else { up.url() };
        host(broker, topic, group, url, LINES).table(&format!("[lanes]\nbytes = \"{BUDGET}MiB\"")).start()
    };

    let idle = {
        let nothing = broker.topic("outage-idle", PARTITIONS);
        peak_mib(&start(&nothing, &broker.name("outage-idle")))
    };
    say(&format!("without records: {idle:.0} MiB"));

    let group = broker.name("outage-none");
    let begun = Instant::now();
    let well = start(&topic, &group);
    broker.await_settled(&group, &topic, DEADLINE);
    say(&format!(
        "both well: {:.0} MiB peak, {:.0} more than without records; all settled after {:.1} s",
        peak_mib(&well),
        peak_mib(&well) - idle,
        begun.elapsed().as_secs_f64()
    ));
    drop(well);

    [&down, &up].iter().for_each(|sink| sink.reset());
    down.fail(true);
    let group = broker.name("outage");
    let begun = Instant::now();
    let host = start(&topic, &group);
    up.await_count(RECORDS, DEADLINE);
    let others = begun.elapsed();
    until("every record of the destination that is down to be held", DEADLINE, || {
        std::thread::sleep(Duration::from_millis(100));
        (waiting(&host) >= RECORDS as f64).then_some(())
    });
    let parked = host.metric("keyway_parked_records", &[]);
    let growth = peak_mib(&host) - idle;
    say(&format!(
        "one down: {:.0} MiB peak, {growth:.0} more than without records (at most {:.0}: the budget and a tenth); the others were done after {:.1} s, {parked:.0} of {RECORDS} parked",
        peak_mib(&host),
        BUDGET as f64 * 1.1,
        others.as_secs_f64()
    ));
    down.reset();
    down.fail(false);
    let back = Instant::now();
    broker.await_settled(&group, &topic, DEADLINE);
    let delivered = down.await_count(RECORDS, DEADLINE);
    say(&format!(
        "it came back: all settled after {:.1} s, {:.0} MiB peak, {:.0} more than without records",
        delivered.max(Instant::now()).duration_since(back).as_secs_f64(),
        peak_mib(&host),
        peak_mib(&host) - idle
    ));
}

/// Records that are neither settled nor lost.
fn waiting(host: &Host) -> f64 {
    host.metric("keyway_window_records", &[]) + host.metric("keyway_parked_records", &[])
}
