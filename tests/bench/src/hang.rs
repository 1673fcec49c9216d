//! What a destination that never answers costs the others.
//!
//! A backlog of orders and shipments is drained; their destinations answer at once. Beside them stand refunds, one for every ten, for a
//! destination that takes requests and never answers. The figure is the rate of the orders and shipments, from a tenth of their requests to
//! all; beside the refunds it must be at least 0.9 of what it is without them.
//!
//! The baseline has no refunds at all. Refunds that are answered would take processor time themselves, on the two cores that everything here
//! runs on, and so make the baseline slower; this one is the stricter. What the hanging run pays and the baseline does not is to fetch the refunds,
//! to transform the first of each lane, and to keep the rest.

use std::time::Duration;

use e2e::{Answer, Broker, Destination};

use crate::figures::{median, say};
use crate::load::Load;
use crate::setting::{DEADLINE, host};
use crate::sink::Sink;

/// Orders and shipments: some five seconds on two cores, several of the time limits below.
const RECORDS: usize = 60_000;

const REFUNDS: usize = RECORDS / 10;

/// Keys of each kind.
const KEYS: usize = 1_000;

/// So short that what follows a hanging request happens while the others are measured: it is given up, tried again, and its destination held.
const TIMEOUT: &str = "timeout = \"1s\"\n";

const ROUNDS: usize = 3;

/// What the refunds' destination does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    /// Nothing: there are no refunds.
    Idle,
    Hanging,
}

pub(crate) fn run() {
    let broker = Broker::shared();
    let (load, refunds) = (Load::new(&["order", "shipment"], RECORDS, KEYS), Load::new(&["refund"], REFUNDS, KEYS));
    say(&format!("hang: {RECORDS} records for destinations that answer, without and beside {REFUNDS} for one that never does"));
    let topics = load.alone_and_among(&refunds, broker, "hang");
    let sink = Sink::start(Duration::ZERO);
    let mut rates: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for ((topic, other), rates) in topics.iter().zip([Other::Idle, Other::Hanging]).zip(&mut rates) {
            sink.reset();
            let hanging = Destination::start();
            hanging.answer("", Answer::hang());
            let url = |name: &str| if name == "payments" { hanging.url() } else { sink.url() };
            let _host = host(broker, topic, &broker.name("hang"), url, TIMEOUT).launch();
            let rate = sink.rate(load.requests, DEADLINE);
            say(&format!("round {round}: {other:?} {rate:6.0} requests/s, {} requests without an answer", hanging.seen().len()));
            rates.push(rate);
        }
    }
    let [idle, hanging] = rates.map(median);
    say(&format!("median: {idle:.0} requests/s alone, {hanging:.0} beside the hanging destination: {:.2} of it (at least 0.9)", hanging / idle));
}
