//! The bridge as a whole: nothing is lost, order per key is kept, and what comes again is the same.

#![expect(clippy::print_stderr, reason = "figures are read where the test is run")]

mod commands;
mod hostile;
mod log;
mod reload;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use e2e::traffic::{Sent, Traffic, check, guest, host, requests};
use e2e::{Answer, Broker, Destination, Host, Message, Seen, until};

/// Longest wait for a whole run. Long, since tests share their machine; a run that works takes a fraction of it.
const RUN: Duration = Duration::from_secs(480);

#[test]
fn a_hundred_thousand_records_arrive_once_and_in_order() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("zipf", 8), broker.name("zipf"));
    broker.produce(&topic, Traffic::new(5_000, 1).take(100_000));
    let destination = Destination::start();
    let mut host = host(broker, &topic, &group, &destination).start();
    broker.await_settled(&group, &topic, RUN);
    assert!(host.terminate().success());
    assert_eq!(broker.members(&group), Vec::<String>::new());
    let summary = check(&broker.read(&topic), requests, &destination.seen());
    assert_eq!((summary.records, summary.repeats), (100_000, 0));
}

#[test]
fn after_a_crash_nothing_is_lost_and_just_what_was_in_flight_comes_again_the_same() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("crash", 4), broker.name("crash"));
    broker.produce(&topic, Traffic::new(500, 2).take(20_000));
    let destination = Destination::start();
    let answer = || destination.answer("", Answer::status(200).after(Duration::from_millis(2)));
    answer();
    let mut host = ["orders", "shipping", "payments"]
        .iter()
        .fold(Host::builder(broker, &topic, &group), |host, name| host.destination(name, &destination.url(), "timeout = \"100s\""))
        .plugin("order.wasm", guest("order"))
        .plugin("shipment.wasm", guest("shipment"))
        .plugin("refund.wasm", guest("refund"))
        .start();
    let (mut expected, mut before) = (0, 0);
    for part in 1..=3 {
        destination.await_seen("a part of the requests", RUN, |seen| seen.len() >= part * 4_000);
        // From here on nothing is answered, so that what is in flight at the blow is known, and that all else has settled.
        destination.answer("", Answer::hang());
        await_last_commit(broker, &group, &topic);
        host.kill();
        expected += of_records_in_flight(&destination.seen()[before..]);
        before = destination.seen().len();
        answer();
        host.restart();
    }
    // A member that was killed and is not static would keep its partitions for 45 s after the last kill.
    broker.await_settled(&group, &topic, RUN);
    let summary = check(&broker.read(&topic), requests, &destination.seen());
    assert!(expected > 0, "something was in flight");
    assert_eq!(summary.repeats, expected, "{summary:?}");
    eprintln!("three crashes: {summary:?}, at most {} in flight", destination.most_in_flight());
}

/// Requests of the records that are not done with, each of which is handled anew as a whole: one of their requests is not answered, or the second of a
/// refund's two still waits for its turn.
fn of_records_in_flight(seen: &[Seen]) -> usize {
    let mut records: HashMap<_, (bool, HashSet<Sent>)> = HashMap::new();
    for seen in seen {
        let sent = Sent::of(seen);
        let (unanswered, requests) = records.entry((sent.partition, sent.offset)).or_default();
        *unanswered |= seen.status.is_none();
        requests.insert(sent);
        if seen.path == "/refunds" {
            requests.insert(Sent { index: WAITS, ..sent });
        }
    }
    let seen_requests = |requests: &HashSet<Sent>| requests.iter().filter(|sent| sent.index != WAITS).count();
    let is_done = |requests: &HashSet<Sent>| requests.len() != 2 || seen_requests(requests) == 2;
    records.values().filter(|(unanswered, requests)| *unanswered || !is_done(requests)).map(|(_, requests)| seen_requests(requests)).sum()
}

/// Stands for a second request that is to come.
const WAITS: u32 = u32::MAX;

/// Waits until all that has settled is committed: until the commits, which come 20 times a second, change no more.
pub(crate) fn await_last_commit(broker: &Broker, group: &str, topic: &str) {
    let mut last = broker.committed(group, topic);
    let mut same = 0;
    until("commits that change no more", RUN, || {
        let now = broker.committed(group, topic);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same > 25).then_some(())
    });
}

#[test]
fn a_killed_host_goes_on_before_its_session_ends() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("static", 2), broker.name("static"));
    let destination = Destination::start();
    broker.produce(&topic, Traffic::new(10, 3).take(50));
    // A session far longer than the test may take.
    let mut host = host(broker, &topic, &group, &destination).property("session.timeout.ms", "300000").start();
    broker.await_settled(&group, &topic, RUN);
    let members = broker.members(&group);
    host.kill();
    assert_eq!(broker.members(&group), members, "the broker does not know of the crash");
    broker.produce(&topic, Traffic::new(10, 4).take(50));
    host.restart();
    broker.await_settled(&group, &topic, RUN);
    assert_eq!(broker.members(&group), members, "the same member");
    check(&broker.read(&topic), requests, &destination.seen());
}

#[test]
fn hosts_that_join_and_leave_keep_the_order_of_every_key() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("members", 8), broker.name("members"));
    broker.produce(&topic, Traffic::new(2_000, 5).take(40_000));
    let destinations = [Destination::start(), Destination::start(), Destination::start()];
    for destination in &destinations {
        destination.answer("", Answer::status(200).after(Duration::from_millis(5)));
    }
    let seen_by = |at: usize| destinations[at].seen().len();
    let mut first = host(broker, &topic, &group, &destinations[0]).start();
    destinations[0].await_seen("the first host at work", RUN, |seen| seen.len() > 2_000);
    let mut second = host(broker, &topic, &group, &destinations[1]).start();
    destinations[1].await_seen("the second host at work", RUN, |seen| seen.len() > 1_000);
    assert!(first.terminate().success());
    assert_eq!(broker.members(&group).len(), 1, "who is asked to end leaves the group");
    let mut third = host(broker, &topic, &group, &destinations[2]).start();
    broker.await_settled(&group, &topic, RUN);
    assert!(second.terminate().success() && third.terminate().success());
    eprintln!("the three hosts made {}, {} and {} requests", seen_by(0), seen_by(1), seen_by(2));
    let mut seen: Vec<Seen> = destinations.iter().flat_map(|destination| destination.seen().clone()).collect();
    seen.sort_by_key(|seen| seen.at);
    let summary = check(&broker.read(&topic), requests, &seen);
    assert_eq!(summary.repeats, 0, "a host that is asked for a partition finishes what it has begun");
}

#[test]
fn a_destination_that_hangs_delays_only_its_own_keys() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("hang", 4), broker.name("hang"));
    let mut traffic = Traffic::new(1_000, 6);
    let mut records: Vec<Message> = (0..200).map(|_| traffic.record_of("refund")).collect();
    records.extend((0..10_000).map(|n| traffic.record_of(if n % 2 == 0 { "order" } else { "shipment" })));
    broker.produce(&topic, records);
    let (destination, hanging) = (Destination::start(), Destination::start());
    hanging.answer("", Answer::hang());
    let _host = ["order", "shipment", "refund"]
        .iter()
        .fold(
            Host::builder(broker, &topic, &group)
                .destination("orders", &destination.url(), "")
                .destination("shipping", &destination.url(), "")
                .destination("payments", &hanging.url(), "timeout = \"100s\""),
            |host, plugin| host.plugin(&format!("{plugin}.wasm"), guest(plugin)),
        )
        .start();
    destination.await_seen("all records of the other destinations", RUN, |seen| seen.len() == 10_000);
    assert!(hanging.seen().iter().all(|seen| seen.status.is_none()), "none of the hanging requests was answered");
    hanging.answer("", Answer::status(200));
    broker.await_settled(&group, &topic, RUN);
    let mut seen: Vec<Seen> = destination.seen().clone();
    seen.extend(hanging.seen().iter().cloned());
    assert_eq!(check(&broker.read(&topic), requests, &seen).repeats, 0);
}

#[test]
fn what_was_settled_beyond_a_held_key_is_not_sent_again_after_a_crash() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("beyond", 1), broker.name("beyond"));
    let mut traffic = Traffic::new(300, 7);
    let mut records = vec![traffic.record_of("refund")];
    records.extend((0..3_000).map(|_| traffic.record_of("order")));
    broker.produce(&topic, records);
    let (destination, hanging) = (Destination::start(), Destination::start());
    hanging.answer("", Answer::hang());
    let mut host = Host::builder(broker, &topic, &group)
        .destination("orders", &destination.url(), "")
        .destination("payments", &hanging.url(), "timeout = \"100s\"")
        .plugin("order.wasm", guest("order"))
        .plugin("refund.wasm", guest("refund"))
        .start();
    destination.await_seen("all that is not held", RUN, |seen| seen.len() == 3_000);
    // The first record holds the watermark at 0; what lies beyond it is in the commit's metadata, complete once it changes no more.
    await_last_commit(broker, &group, &topic);
    let last = broker.committed(&group, &topic);
    assert!(last[0].as_ref().is_some_and(|at| at.offset == 0 && !at.metadata.is_empty()), "{last:?}");
    host.kill();
    hanging.answer("", Answer::status(200));
    host.restart();
    broker.await_settled(&group, &topic, RUN);
    let again = destination.seen().len() - 3_000;
    assert_eq!(again, 0, "what was settled was sent again");
    let held: Vec<Sent> = hanging.seen().iter().map(Sent::of).collect();
    assert!(held.iter().all(|sent| sent.offset == 0) && held.len() >= 3, "{held:?}");
}
