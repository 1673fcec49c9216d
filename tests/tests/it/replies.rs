//! What destinations answered, kept in a topic.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::traffic::{Traffic, check, host, requests};
use e2e::{Answer, Broker, Destination, Message};

/// Longest wait for anything here; see `bridge`.
const RUN: Duration = Duration::from_secs(240);

#[test]
fn every_reply_is_kept_though_the_host_is_killed() {
    let broker = Broker::shared();
    let (topic, group, kept) = (broker.topic("asked", 2), broker.name("replies"), broker.topic("replies", 2));
    broker.produce(&topic, Traffic::new(100, 10).take(3_000));
    let destination = Destination::start();
    destination.answer("", Answer::status(201).header("x-trace", "abc").body("{\"ok\":true}").after(Duration::from_millis(2)));
    let mut host = host(broker, &topic, &group, &destination).table(&format!("[replies]\ntopic = \"{kept}\"\n")).start();
    destination.await_seen("a part of the requests", RUN, |seen| seen.len() >= 1_000);
    host.kill();
    host.restart();
    broker.await_settled(&group, &topic, RUN);
    assert!(host.terminate().success());

    let records = broker.read(&topic);
    let summary = check(&records, requests, &destination.seen());
    let mut replies: BTreeMap<(String, String, String), Message> = BTreeMap::new();
    for reply in broker.read(&kept) {
        let header = |name: &str| reply.header(name).unwrap_or_else(|| panic!("no `{name}` in {reply:?}")).to_owned();
        assert_eq!((header("keyway-status"), header("x-trace")), ("201".to_owned(), "abc".to_owned()));
        assert_eq!(reply.payload.as_deref(), Some(&b"{\"ok\":true}"[..]));
        replies.insert((header("keyway-partition"), header("keyway-offset"), header("keyway-request")), reply);
    }
    assert_eq!(replies.len(), summary.requests, "one for each request, repeats aside");
    for record in &records {
        let (partition, offset) = (record.partition.expect("a read record").to_string(), record.offset.to_string());
        for index in 0..requests(record) {
            let reply = &replies[&(partition.clone(), offset.clone(), index.to_string())];
            assert_eq!(reply.key, record.key, "keyed like its record");
        }
    }
}
