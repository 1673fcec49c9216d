//! What a team that loops in every call takes from another one, both at full load.
//!
//! Two backlogs in one topic, record by record in turn: orders of the team `quiet`, and as many records of the team `noisy`, whose plugin loops until its
//! CPU time is used up. The looping ones need 100 ms of a thread each, so theirs lasts for an hour; what counts is how fast the orders go. The fair
//! half is half of what the orders get when they are alone; they must get at least 80 % of it.

use std::time::Duration;

use e2e::traffic::guest;
use e2e::{Broker, Host};

use crate::figures::{median, say};
use crate::load::Load;
use crate::setting::{DEADLINE, peak_mib};
use crate::sink::Sink;

/// Orders: some five seconds on two cores, and several times what the host has in progress at once.
const RECORDS: usize = 40_000;

/// Keys of each team.
const KEYS: usize = 10_000;

const ROUNDS: usize = 3;

/// What the other team does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    Idle,
    Looping,
}

const TEAMS: &str =
    "[teams.quiet]\nkeys = [\"order:*\"]\ndestinations = [\"orders\"]\n\n[teams.noisy]\nkeys = [\"hostile-loop:*\"]\ndestinations = []\n";

pub(crate) fn run() {
    let broker = Broker::shared();
    let (orders, loops) = (Load::new(&["order"], RECORDS, KEYS), Load::looping(RECORDS, KEYS));
    say(&format!("teams: {RECORDS} records of a team, alone and in turn with as many of a team that loops in every call"));
    let topics = orders.alone_and_among(&loops, broker, "teams");
    let sink = Sink::start(Duration::ZERO);
    let mut rates: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for ((topic, other), rates) in topics.iter().zip([Other::Idle, Other::Looping]).zip(&mut rates) {
            sink.reset();
            let host = Host::builder(broker, topic, &broker.name("teams"))
                .destination("orders", &sink.url(), "")
                .table(TEAMS)
                .plugin("quiet/order.wasm", guest("order"))
                .plugin("noisy/hostile-loop.wasm", guest("hostile/loop"))
                .launch();
            // An order is one request.
            let rate = sink.rate(orders.requests, DEADLINE);
            let ended = host.metric("keyway_failures_total", &["plugin=\"noisy/hostile-loop\""]);
            say(&format!("round {round}: {other:?} {rate:6.0} records/s, {ended} loops ended, {:.0} MiB peak", peak_mib(&host)));
            rates.push(rate);
        }
    }
    let [idle, looping] = rates.map(median);
    say(&format!("median: {idle:.0} records/s alone, {looping:.0} beside the loops: {:.2} of the fair half (at least 0.8)", looping / (idle / 2.0)));
}
