//! Requests that are gathered: nothing is lost, order per key is kept, and each can be told when it comes again.

#![expect(clippy::print_stderr, reason = "figures are read where the test is run")]

use std::collections::HashSet;
use std::time::Duration;

use e2e::traffic::{Traffic, check, guest};
use e2e::{Answer, Broker, Destination, Host, Seen};

use crate::bridge::await_last_commit;

/// Longest wait for anything here; see `bridge`.
const RUN: Duration = Duration::from_secs(240);

#[test]
fn batches_keep_the_promises_though_the_host_is_killed_and_some_of_their_requests_fail() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("batches", 4), broker.name("batches"));
    let mut traffic = Traffic::new(500, 12);
    broker.produce(&topic, (0..6_000).map(|_| traffic.record_of("order")));
    let destination = Destination::start();
    // Every seventh is to be sent again.
    let answer = || destination.answer("", Answer::results(|number| if number % 7 == 6 { 503 } else { 201 }).after(Duration::from_millis(2)));
    answer();
    let lines = "timeout = \"100s\"\nbatch = { max = 50, linger = \"10ms\", results = \"per-item\" }\n";
    let mut host =
        Host::builder(broker, &topic, &group).destination("orders", &destination.url(), lines).plugin("order.wasm", guest("order")).start();
    for part in 1..=2 {
        destination.await_seen("a part of the requests", RUN, |seen| apart(seen).len() >= part * 2_000);
        // From here on nothing is answered, so that what was taken before the blow is committed.
        destination.answer("", Answer::hang());
        await_last_commit(broker, &group, &topic);
        host.kill();
        answer();
        host.restart();
    }
    broker.await_settled(&group, &topic, RUN);
    assert!(host.terminate().success());

    let batches = destination.seen().clone();
    let requests = apart(&batches);
    let summary = check(&broker.read(&topic), |_| 1, &requests);
    eprintln!("{} batches: {summary:?}", batches.len());
    assert_eq!(summary.records, 6_000);
    assert!(batches.len() * 2 < requests.len(), "{} batches for {} requests", batches.len(), requests.len());
    let taken: Vec<&Seen> = requests.iter().filter(|request| request.status == Some(201)).collect();
    let once: HashSet<_> = taken.iter().map(|request| &request.idempotency_key).collect();
    assert_eq!((taken.len(), once.len()), (6_000, 6_000), "each was taken once, and what was taken is not sent again");
    assert!(summary.repeats > 500, "every seventh was sent again: {summary:?}");
}

fn apart(batches: &[Seen]) -> Vec<Seen> {
    batches.iter().flat_map(Seen::apart).collect()
}
