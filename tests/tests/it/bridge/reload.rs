//! Plugins are replaced under load: no record is lost, repeated or out of order, and each was handled by one version.

use std::time::Duration;

use e2e::traffic::{Traffic, check, guest, requests};
use e2e::versions::{self, CONTENT_TYPES};
use e2e::{Broker, Destination, Host, Message};

/// Longest wait for anything. Long, since tests share their machine.
const RUN: Duration = Duration::from_secs(240);

const SWAPS: usize = 12;

/// Records that come in each version's time, at least.
const BETWEEN: usize = 1_000;

#[test]
fn records_that_come_while_plugins_are_replaced_are_each_handled_by_one_version() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("reload", 4), broker.name("reload"));
    let destination = Destination::start();
    let mut host = ["orders", "payments"]
        .iter()
        .fold(Host::builder(broker, &topic, &group), |host, name| host.destination(name, &destination.url(), ""))
        .plugin("order.wasm", guest("order"))
        .plugin("refund.wasm", guest("refund"))
        .start();
    let plugins = ["order", "refund"].map(|name| (name, versions::two(name)));
    let mut traffic = Traffic::new(300, 9);
    let mut records = 0;
    for swap in 0..=SWAPS {
        let version = swap % 2;
        for (name, bytes) in &plugins {
            versions::deploy(&host.plugins(), name, &bytes[version]);
        }
        // Records flow before and after the version changes, until requests of the new one of each plugin have been seen.
        let begun = destination.seen().len();
        let is_live = |path: &str| {
            let seen = destination.seen();
            seen[begun..].iter().any(|seen| seen.path == path && seen.content_type.as_deref() == Some(CONTENT_TYPES[version]))
        };
        let deadline = std::time::Instant::now() + RUN;
        let mut sent = 0;
        while sent < BETWEEN || !(is_live("/orders") && is_live("/refunds")) {
            assert!(std::time::Instant::now() < deadline, "version {version} is not live");
            let some: Vec<Message> = (0..100).map(|n| traffic.record_of(if n % 2 == 0 { "order" } else { "refund" })).collect();
            broker.produce(&topic, some);
            sent += 100;
        }
        records += sent;
    }
    broker.await_settled(&group, &topic, RUN);
    assert!(host.terminate().success());
    let summary = check(&broker.read(&topic), requests, &destination.seen());
    assert_eq!((summary.records, summary.repeats), (records, 0));
    versions::check_one_each(&destination.seen());
    assert_eq!(host.log().matches("rolled back").count(), 0);
}
