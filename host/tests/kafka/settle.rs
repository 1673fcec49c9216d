//! Dead letters and replies on a real Kafka.

use std::sync::Arc;
use std::time::Duration;

use e2e::{Broker, Message, until};
use keyway::config;
use keyway::outcome::{FailedRequest, Failure, Reason, Reply};
use keyway::plugin::{PluginName, Version};
use keyway::record::{Assignment, AssignmentId, Record};
use keyway::settle::dead_letter::Letter;
use keyway::settle::{DeadLetter, KafkaSettle, Mark, Offsets, Settle as _};

/// No commits here: they are tested with the source that does them.
#[derive(Debug)]
struct NoOffsets;

impl Offsets for NoOffsets {
    fn commit(&self, _marks: Vec<Mark>) -> Result<(), String> {
        Err("there is no consumer".into())
    }
}

fn settings(broker: &Broker, dead_letters: &str) -> config::Kafka {
    config::Kafka { dead_letters: dead_letters.to_owned(), ..super::consume::settings(broker, "unused", "letters", &[]) }
}

fn record(payload: Option<Vec<u8>>) -> Record {
    Record {
        assignment: Arc::new(Assignment { id: AssignmentId(0), topic: "events".into(), partition: 3 }),
        offset: 42,
        timestamp: Some(1_700_000_000_000),
        key: Some("customer-7".into()),
        headers: vec![("ce_type".into(), "order".into()), ("bytes".into(), vec![0xff, 0].into())],
        payload: payload.map(Into::into),
    }
}

fn letter_of(message: &Message) -> Letter {
    Letter::read(message.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_whole_and_its_topic_is_made() {
    let broker = Broker::shared();
    let topic = broker.name("letters");
    assert!(!broker.has_topic(&topic));
    let settle = KafkaSettle::start(&settings(broker, &topic), None, "h-1", NoOffsets).await.expect("a start");
    until("the topic to be known", Duration::from_secs(20), || broker.has_topic(&topic).then_some(()));
    // A second host finds it there.
    KafkaSettle::start(&settings(broker, &topic), None, "h-2", NoOffsets).await.expect("another start");

    let request = FailedRequest {
        index: 1,
        destination: "orders".into(),
        method: "POST".into(),
        url: "http://x/1".into(),
        attempts: 8,
        ..FailedRequest::default()
    };
    let failure = Failure::at(request, Reason::Exhausted, "timed out");
    let (name, version) = (PluginName::new("default", "order"), Version("abc".into()));
    settle
        .dead_letter(DeadLetter { record: &record(Some(b"{}".to_vec())), failure: &failure, plugin: Some((&name, &version)) })
        .await
        .expect("an acknowledgement");
    settle
        .dead_letter(DeadLetter { record: &record(None), failure: &Failure::new(Reason::Malformed, "x"), plugin: None })
        .await
        .expect("an acknowledgement");

    let letters = broker.read(&topic);
    assert_eq!(letters.len(), 2);
    assert_eq!((letters[0].key.as_deref(), letters[0].payload.as_deref()), (Some(&b"customer-7"[..]), Some(&b"{}"[..])));
    assert_eq!(letters[0].headers[..2], [("ce_type".to_owned(), b"order".to_vec()), ("bytes".to_owned(), vec![0xff, 0])]);
    let letter = letter_of(&letters[0]);
    assert_eq!((letter.reason.as_deref(), letter.destination.as_deref(), letter.request), (Some("exhausted"), Some("orders"), Some(1)));
    assert_eq!((letter.plugin.as_deref(), letter.source, letter.host.as_deref()), (Some("order"), Some(("events".into(), 3, 42)), Some("h-1")));
    assert_eq!(letters[1].payload, None);
    assert_eq!(letter_of(&letters[1]).payload_dropped, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_letter_is_written_without_its_payload() {
    let broker = Broker::shared();
    let topic = broker.topic_with("oversized", 1, &[("max.message.bytes", "20000")]);
    let settle = KafkaSettle::start(&settings(broker, &topic), None, "h", NoOffsets).await.expect("a start");
    // Noise, so that compression does not make it fit.
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    settle
        .dead_letter(DeadLetter { record: &record(Some(noise)), failure: &Failure::new(Reason::Rejected, "bad"), plugin: None })
        .await
        .expect("an acknowledgement");
    let letters = broker.read(&topic);
    assert_eq!((letters.len(), letters[0].payload.as_ref(), letters[0].key.as_deref()), (1, None, Some(&b"customer-7"[..])));
    let letter = letter_of(&letters[0]);
    assert_eq!((letter.payload_dropped, letter.source, letter.reason.as_deref()), (Some(200_000), Some(("events".into(), 3, 42)), Some("rejected")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_too_large_of_a_letter_is_left_out_and_the_letter_is_written() {
    let broker = Broker::shared();
    let mut random = fastrand::Rng::with_seed(3);
    // No compression makes it fit.
    let mut noise = |length: usize| -> Vec<u8> { (0..length).map(|_| random.u8(..)).collect() };

    // More than the producer takes into its queue, though the broker would take it.
    let topic = broker.topic_with("queue", 1, &[("max.message.bytes", "10000000")]);
    let small = config::Kafka {
        dead_letters: topic.clone(),
        ..super::consume::settings(broker, "unused", "letters", &[("queue.buffering.max.kbytes", "1024")])
    };
    let settle = KafkaSettle::start(&small, None, "h", NoOffsets).await.expect("a start");
    let failure = Failure::new(Reason::Rejected, "bad");
    for bytes in [(1 << 20) + 1, 1 << 20] {
        settle.dead_letter(DeadLetter { record: &record(Some(noise(bytes))), failure: &failure, plugin: None }).await.expect("an acknowledgement");
    }
    let letters = broker.read(&topic);
    assert_eq!(letters[0].payload, None);
    assert_eq!((letter_of(&letters[0]).payload_dropped, letters[0].key.as_deref()), (Some((1 << 20) + 1), Some(&b"customer-7"[..])));
    assert_eq!(letters[1].payload.as_ref().map(Vec::len), Some(1 << 20));

    // A key that the broker does not take, and then texts.
    let topic = broker.topic_with("key", 1, &[("max.message.bytes", "3500")]);
    let settle = KafkaSettle::start(&settings(broker, &topic), None, "h", NoOffsets).await.expect("a start");
    let large = Record { key: Some(noise(4_000).into()), ..record(Some(noise(10_000))) };
    let long: String = noise(8_000).into_iter().map(|byte| char::from(byte % 64 + 32)).collect();
    for detail in ["bad", &long] {
        let failure = Failure::new(Reason::Rejected, detail);
        settle.dead_letter(DeadLetter { record: &large, failure: &failure, plugin: None }).await.expect("an acknowledgement");
    }
    let letters = broker.read(&topic);
    assert_eq!(letters.len(), 2);
    for (written, detail) in letters.iter().zip(["bad", &long[..128]]) {
        let letter = letter_of(written);
        assert_eq!((written.key.as_ref(), written.payload.as_ref(), written.header("keyway-key-dropped")), (None, None, Some("4000")));
        assert_eq!((letter.payload_dropped, letter.source, letter.detail.as_deref()), (Some(10_000), Some(("events".into(), 3, 42)), Some(detail)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_keyed_like_their_record() {
    let broker = Broker::shared();
    let topic = broker.name("replies");
    let replies = config::Replies { topic: broker.name("the-replies") };
    let settle = KafkaSettle::start(&settings(broker, &topic), Some(&replies), "h", NoOffsets).await.expect("a start");
    let reply = Reply {
        status: 201,
        headers: vec![("location".into(), "/7".into()), ("keyway-status".into(), "500".into())],
        body: "done".into(),
        cut: true,
        attempts: 2,
    };
    settle.reply(&record(None), 1, "orders", &reply).await.expect("an acknowledgement");
    let written = broker.read(&replies.topic);
    assert_eq!((written[0].key.as_deref(), written[0].payload.as_deref()), (Some(&b"customer-7"[..]), Some(&b"done"[..])));
    let names =
        ["location", "keyway-status", "keyway-body-cut", "keyway-destination", "keyway-request", "keyway-attempts", "keyway-topic", "keyway-offset"];
    let headers: Vec<_> = names.iter().map(|name| written[0].header(name).unwrap_or("missing")).collect();
    assert_eq!(headers, ["/7", "201", "true", "orders", "1", "2", "events", "42"]);
    assert_eq!(written[0].headers.iter().filter(|(name, _)| name == "keyway-status").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_cannot_be_fails_the_start() {
    let broker = Broker::shared();
    let error = KafkaSettle::start(&settings(broker, "not a topic name"), None, "h", NoOffsets).await.expect_err("no start");
    assert!(error.cause.contains("look up topic `not a topic name`") && error.cause.contains("Invalid topic"), "{error}");
}
