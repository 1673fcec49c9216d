//! Dead letters: why a record was given up on, and sending it on its way again.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::traffic::{Sent, Traffic, guest, host};
use e2e::{Answer, Broker, Destination, Host, Message, until};

mod languages;

/// Longest wait for anything here; see `bridge`.
const RUN: Duration = Duration::from_secs(240);

/// Waits until so many letters are there.
#[track_caller]
pub(crate) fn letters(broker: &Broker, group: &str, count: usize) -> Vec<Message> {
    let topic = format!("{group}.dead-letters");
    until(&format!("{count} letters in {topic}"), RUN, || {
        (broker.has_topic(&topic) && broker.ends(&topic).iter().sum::<i64>() >= count as i64).then_some(())
    });
    broker.read(&topic)
}

#[test]
fn bad_input_becomes_a_dead_letter_whole_and_stops_nothing() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("bad", 1), broker.name("bad"));
    let mut traffic = Traffic::new(10, 8);
    let mut good = traffic.record_of("order");
    good.key = Some(b"order:good".to_vec());
    let mut large = good.clone();
    let text = String::from_utf8(large.payload.expect("a payload")).expect("text");
    large.payload = Some(text.replacen('{', &format!("{{\"padding\":\"{}\",", "x".repeat(1_000_000)), 1).into_bytes());
    let bad = [
        ("rejected", Message::new("order:json", "{\"id\":")),
        ("malformed", Message::new("order:utf8", vec![b'{', 0xff, b'}'])),
        ("rejected", Message { payload: None, ..Message::new("order:null", "") }),
        ("unrouted", Message { key: None, ..Message::new("", "{}") }),
        ("unrouted", Message::new("unknown:1", "{}")),
        ("unrouted", Message::new(vec![0xff, 0xfe], "{}")),
    ];
    broker.produce(&topic, bad.iter().map(|(_, message)| message.clone()).chain([large, good]));
    let destination = Destination::start();
    let host = host(broker, &topic, &group, &destination).start();
    broker.await_settled(&group, &topic, RUN);
    let letters = letters(broker, &group, bad.len());
    assert_eq!(letters.len(), bad.len());
    let by_offset: BTreeMap<&str, &Message> = letters.iter().map(|letter| (letter.header("keyway-offset").expect("an offset"), letter)).collect();
    for (offset, (reason, message)) in bad.iter().enumerate() {
        let letter = by_offset[offset.to_string().as_str()];
        assert_eq!(letter.header("keyway-reason"), Some(*reason), "{message:?}");
        assert_eq!((&letter.key, &letter.payload), (&message.key, &message.payload));
        assert_eq!((letter.header("keyway-topic"), letter.header("keyway-partition")), (Some(topic.as_str()), Some("0")));
    }
    let offsets: Vec<i64> = destination.seen().iter().map(|seen| Sent::of(seen).offset).collect();
    assert_eq!(offsets, [6, 7], "the megabyte and the good one");

    let (status, output, errors) = host.command(&["dead-letters", "list", "--reason", "malformed"]);
    assert!(status.success(), "{errors}");
    assert!(output.lines().count() == 2 && output.contains("order:utf8") && errors.contains("1 of 6 dead letters"), "{output}{errors}");
    let id = output.lines().nth(1).and_then(|line| line.split('\t').next()).expect("an id");
    let (status, output, errors) = host.command(&["dead-letters", "show", id]);
    assert!(status.success() && output.contains("reason          malformed") && output.contains("order:utf8"), "{output}{errors}");
    let (status, _, errors) = host.command(&["dead-letters", "show", "0@999"]);
    assert!(status.code() == Some(1) && errors.contains("`0@999`"), "{errors}");
}

#[test]
fn hostile_plugins_cost_their_own_records_alone() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("hostile", 2), broker.name("hostile"));
    let hostile = [("loop", "cpu"), ("memory", "memory"), ("panic", "trapped"), ("output-32m", "output")];
    let mut traffic = Traffic::new(200, 9);
    let mut records: Vec<Message> = Vec::new();
    for round in 0..5 {
        records.extend(hostile.iter().map(|(name, _)| Message::new(format!("hostile-{name}:{round}"), "{}")));
        records.extend((0..400).map(|_| traffic.record_of("order")));
    }
    broker.produce(&topic, records);
    let destination = Destination::start();
    let mut host = hostile
        .iter()
        .fold(host(broker, &topic, &group, &destination), |host, (name, _)| {
            host.plugin(&format!("hostile-{name}.wasm"), guest(&format!("hostile/{name}")))
        })
        // Long by the clock, so that none ends for having had too little of a busy machine.
        .table("[teams.default]\nlimits = { wall = \"30s\" }")
        .start();
    broker.await_settled(&group, &topic, RUN);
    let letters = letters(broker, &group, 20);
    assert_eq!(letters.len(), 20);
    for letter in &letters {
        let key = String::from_utf8(letter.key.clone().expect("a key")).expect("text");
        let (_, reason) = hostile.iter().find(|(name, _)| key.starts_with(&format!("hostile-{name}:"))).expect("a hostile key");
        assert_eq!(letter.header("keyway-reason"), Some(*reason), "{key}: {:?}", letter.header("keyway-detail"));
        assert!(letter.header("keyway-plugin").is_some_and(|plugin| key.starts_with(plugin)));
    }
    assert_eq!(destination.seen().len(), 2_000);
    assert!(host.terminate().success());
}

#[test]
fn letters_are_redriven_once_and_only_those_that_are_meant() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("redrive", 2), broker.name("redrive"));
    let mut traffic = Traffic::new(20, 10);
    let records: Vec<Message> = (0..60).map(|n| traffic.record_of(["order", "refund", "shipment"][n % 3])).collect();
    broker.produce(&topic, records);
    let destination = Destination::start();
    destination.answer("/orders", Answer::status(422).body("no"));
    // A refund's second request goes to the notes of its order, which is refused too; its first one is delivered.
    let host = host(broker, &topic, &group, &destination).start();
    broker.await_settled(&group, &topic, RUN);
    let first = letters(broker, &group, 40);
    assert_eq!(first.len(), 40);
    assert!(first.iter().all(|letter| letter.header("keyway-reason") == Some("refused") && letter.header("keyway-last-status") == Some("422")));
    let refunds_delivered = |seen: &[e2e::Seen]| seen.iter().filter(|seen| seen.path == "/refunds").count();
    assert_eq!(refunds_delivered(&destination.seen()), 20);
    let before = destination.seen().len();

    let (status, output, errors) = host.command(&["dead-letters", "redrive", "--dry-run", "--key", "order:*"]);
    assert!(status.success(), "{errors}");
    assert_eq!(output.lines().filter(|line| line.starts_with("would send POST /orders to `orders`")).count(), 20, "{output}");
    assert_eq!(destination.seen().len(), before, "a dry run sends nothing");

    // Still refused: each becomes a letter again, with one redrive on it.
    let (status, output, errors) = host.command(&["dead-letters", "redrive", "--key", "order:*"]);
    assert!(status.success() && output.contains("20 dead-lettered again (refused 20)"), "{output}{errors}");
    let again = letters(broker, &group, 60);
    assert_eq!(again.iter().filter(|letter| letter.header("keyway-redrives") == Some("1")).count(), 20);

    destination.answer("/orders", Answer::status(200));
    let mark = destination.seen().len();
    let (status, output, errors) = host.command(&["dead-letters", "redrive", "--rate", "500"]);
    assert!(status.success() && output.contains("40 delivered"), "{output}{errors}");
    {
        let seen = destination.seen();
        assert_eq!(seen.len(), mark + 40, "the twenty letters that were redriven before are done with");
        assert_eq!(refunds_delivered(&seen), 20, "a refund's first request was delivered and is not sent again");
        // The same keys as at first: a destination can tell that it has seen them.
        let keys: std::collections::BTreeSet<_> = seen[..before].iter().map(|seen| seen.idempotency_key.clone()).collect();
        assert!(seen[mark..].iter().all(|seen| keys.contains(&seen.idempotency_key)));
    }
    let (status, output, _) = host.command(&["dead-letters", "redrive"]);
    assert!(status.success() && output.contains("0 delivered, 0 skipped, 0 dead-lettered again"), "{output}");
    assert_eq!(destination.seen().len(), mark + 40);
}

#[test]
fn a_redrive_that_is_interrupted_goes_on_where_it_stopped_and_keeps_another_one_away() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("interrupt", 2), broker.name("interrupt"));
    let count = 600;
    let mut traffic = Traffic::new(200, 11);
    broker.produce(&topic, (0..count).map(|_| traffic.record_of("order")));
    let destination = Destination::start();
    destination.answer("/orders", Answer::status(422).body("no"));
    let mut host = host(broker, &topic, &group, &destination).start();
    broker.await_settled(&group, &topic, RUN);
    assert_eq!(letters(broker, &group, count).len(), count);
    assert!(host.terminate().success());

    destination.answer("/orders", Answer::status(200));
    let refused = destination.seen().len();
    let first = host.spawn(&["dead-letters", "redrive", "--rate", "60"]);
    destination.await_seen("the first of them", RUN, |seen| seen.len() >= refused + 50);
    // A second one would send the same letters.
    let (status, output, errors) = host.command(&["dead-letters", "redrive"]);
    assert!(status.code() == Some(1) && errors.contains("another redrive of this group runs"), "{output}{errors}");
    first.interrupt();
    let (status, output, errors) = first.end();
    assert!(status.code() == Some(3) && output.contains("stopped; the same command goes on from here"), "{output}{errors}");
    assert!(errors.contains("has committed nothing"), "{errors}");
    let after_first = destination.seen().len();
    assert!(after_first < refused + count / 2, "{after_first}");

    // One request hangs, and whoever asks twice does not wait for it. What the others did is committed.
    destination.answer("/orders", Answer::hang().times(1));
    let second = host.spawn(&["dead-letters", "redrive", "--rate", "60"]);
    destination.await_seen("some more", RUN, |seen| seen.len() >= after_first + 50);
    second.interrupt();
    // The wish has come when nothing is sent any more.
    let mut before = 0;
    until("the redrive to wait for the one that hangs", RUN, || {
        let now = destination.seen().len();
        let waits = now == before;
        before = now;
        std::thread::sleep(Duration::from_millis(500));
        waits.then_some(())
    });
    second.interrupt();
    let (status, output, errors) = second.end();
    assert!(status.code() == Some(3) && !errors.contains("has committed nothing"), "{output}{errors}");
    assert!(destination.seen().len() < refused + count, "there is something left");

    let (status, output, errors) = host.command(&["dead-letters", "redrive"]);
    assert!(status.success(), "{output}{errors}");
    let mut delivered: BTreeMap<String, usize> = BTreeMap::new();
    for seen in &destination.seen()[refused..] {
        if seen.status == Some(200) {
            *delivered.entry(seen.idempotency_key.clone().expect("an idempotency key")).or_default() += 1;
        }
    }
    assert_eq!(delivered.len(), count, "none is lost");
    assert!(delivered.values().all(|times| *times == 1), "none is delivered twice");
}

#[test]
fn a_dry_run_says_what_would_not_be_sent_and_a_topic_that_was_made_anew_is_redriven_whole() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("dry", 1), broker.name("dry"));
    let mut traffic = Traffic::new(5, 12);
    broker.produce(&topic, (0..5).map(|_| traffic.record_of("order")));
    let destination = Destination::start();
    destination.answer("/orders", Answer::status(422).body("no"));
    let mut host = host(broker, &topic, &group, &destination).start();
    broker.await_settled(&group, &topic, RUN);
    letters(broker, &group, 5);
    assert!(host.terminate().success());

    // The redrive before has seen more letters than there are.
    broker.commit(&format!("{group}.redrive"), &format!("{group}.dead-letters"), 0, 1_000);
    let (status, output, errors) = host.command(&["dead-letters", "redrive", "--dry-run"]);
    assert!(status.success() && errors.contains("the topic was made anew"), "{output}{errors}");
    assert_eq!(output.lines().filter(|line| line.starts_with("would send POST /orders to `orders`")).count(), 5, "{output}");

    let file = host.folder().join("keyway.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, text.replace("[destinations.orders]", "[destinations.others]")).expect("the configuration");
    let (status, output, errors) = host.command(&["dead-letters", "redrive", "--dry-run"]);
    assert!(status.success() && output.contains("0 delivered") && output.contains("5 dead-lettered again (denied 5)"), "{output}{errors}");
    assert!(output.contains("there is no destination `orders`") && !output.contains("would send"), "{output}");
}

#[test]
fn the_loop_guard_ends_what_would_go_round_for_ever() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("guard", 1), broker.name("guard"));
    broker.produce(&topic, [Message::new("order:1", "not json")]);
    let destination = Destination::start();
    let host = Host::builder(broker, &topic, &group).destination("orders", &destination.url(), "").plugin("order.wasm", guest("order")).start();
    letters(broker, &group, 1);
    for round in 1..=2 {
        let (status, output, errors) = host.command(&["dead-letters", "redrive", "--max-redrives", "2"]);
        assert!(status.success() && output.contains("1 dead-lettered again (rejected 1)"), "{output}{errors}");
        assert_eq!(letters(broker, &group, 1 + round).len(), 1 + round);
    }
    let (status, output, errors) = host.command(&["dead-letters", "redrive", "--max-redrives", "2"]);
    assert!(status.success() && output.contains("1 by --max-redrives"), "{output}{errors}");
    assert_eq!(letters(broker, &group, 3).len(), 3);
}
