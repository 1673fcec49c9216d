//! The path of one record over fakes.

use tokio::time::Instant;

use super::*;
use crate::fakes::{Broker, Code, Destinations, FakePipeline, Mood, pipeline, plugin, record, request};
use crate::plugin::Version;
use crate::policy::Grant;
use crate::settle::{Ledger, Opened};

fn job(record: Record) -> Job {
    let mut ledger = Ledger::default();
    ledger.assign(Arc::clone(&record.assignment), Some(0), "");
    let Opened::Undecided(ticket) = ledger.open(record.position(), None) else { panic!("a new record") };
    Job { record: Box::new(record), ticket, arrived: Instant::now(), progress: None, behind: 0 }
}

/// A pipeline with this plugin for every key.
fn over(destinations: &Arc<Destinations>, plugin: Plugin<Code>) -> FakePipeline {
    let pipeline = pipeline(&Broker::default(), Arc::clone(destinations), |_| unreachable!("another plugin serves"));
    assert!(pipeline.routes.serve(&[Arc::new(plugin)]).is_empty());
    pipeline
}

fn granted(destinations: &[&str], plugin: Plugin<Code>) -> Plugin<Code> {
    let destinations = destinations.iter().map(|name| (*name).to_owned()).collect();
    Plugin { grant: Arc::new(Grant { destinations, ..(*plugin.grant).clone() }), ..plugin }
}

/// Two requests, to `a` and to `b`.
fn send_two(_: &Record) -> Result<Verdict, Failure> {
    Ok(Verdict::Send(vec![request("a", "/1"), request("b", "/2")]))
}

/// It sees the replies: done, unless one is a 500.
fn sees_replies(plugin: Plugin<Code>) -> Plugin<Code> {
    Plugin { sees_replies: true, ..plugin }
}

fn paths(destinations: &Destinations) -> Vec<String> {
    destinations.sent.lock().unwrap().iter().map(|(_, path)| path.clone()).collect()
}

/// The job that a redrive makes of the last letter.
fn redriven(pipeline: &FakePipeline, version: &str) -> Job {
    let delivered = pipeline.settle.letters.lock().unwrap().last().unwrap().delivered;
    Job { progress: Some(Box::new(Progress { version: Version(version.into()), delivered, conversation: None })), ..job(record(1, 0, "k")) }
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_before_anything_was_sent_is_sent_whole_by_a_redrive() {
    let destinations: Arc<Destinations> = Arc::default();
    let pipeline = over(&destinations, granted(&["a"], plugin("1", send_two)));
    assert_eq!(pipeline.handle(&mut job(record(1, 0, "k"))).await, Outcome::DeadLettered(Reason::Denied));
    assert_eq!(pipeline.settle.letters.lock().unwrap()[0].request, Some(1), "it is the second one that is not granted");
    assert_eq!(paths(&destinations), [] as [&str; 0]);

    let pipeline = FakePipeline { routes: Arc::default(), ..pipeline };
    assert!(pipeline.routes.serve(&[Arc::new(plugin("1", send_two))]).is_empty());
    assert_eq!(pipeline.handle(&mut redriven(&pipeline, "1")).await, Outcome::Delivered);
    assert_eq!(paths(&destinations), ["/1", "/2"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_delivered_is_not_sent_again_by_a_redrive_however_often_it_takes_one() {
    let destinations: Arc<Destinations> = Arc::default();
    destinations.mood("b", Mood::Answers(400, Duration::ZERO));
    let pipeline = over(&destinations, plugin("1", send_two));
    assert_eq!(pipeline.handle(&mut job(record(1, 0, "k"))).await, Outcome::DeadLettered(Reason::Refused));
    assert_eq!(pipeline.handle(&mut redriven(&pipeline, "1")).await, Outcome::DeadLettered(Reason::Refused));
    assert_eq!(paths(&destinations), ["/1", "/2", "/2"]);

    // It does not get as far as its requests: what was delivered stays so.
    assert!(pipeline.routes.serve(&[Arc::new(plugin("1", |_| Err(Failure::new(Reason::Cpu, "too long"))))]).is_empty());
    assert_eq!(pipeline.handle(&mut redriven(&pipeline, "1")).await, Outcome::DeadLettered(Reason::Cpu));
    assert!(pipeline.routes.serve(&[Arc::new(granted(&["a"], plugin("1", send_two)))]).is_empty());
    assert_eq!(pipeline.handle(&mut redriven(&pipeline, "1")).await, Outcome::DeadLettered(Reason::Denied));

    destinations.mood("b", Mood::Answers(200, Duration::ZERO));
    assert!(pipeline.routes.serve(&[Arc::new(plugin("1", send_two))]).is_empty());
    assert_eq!(pipeline.handle(&mut redriven(&pipeline, "1")).await, Outcome::Delivered);
    assert_eq!(paths(&destinations), ["/1", "/2", "/2", "/2"]);
    // Another version may make other requests.
    assert_eq!(pipeline.handle(&mut redriven(&pipeline, "2")).await, Outcome::Delivered);
    assert_eq!(paths(&destinations)[4..], ["/1", "/2"]);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_sees_replies_has_delivered_nothing_until_it_says_so() {
    let destinations: Arc<Destinations> = Arc::default();
    let pipeline = over(&destinations, sees_replies(plugin("1", send_two)));
    for (mood, reason) in [(Mood::Exhausts(503), Reason::Exhausted), (Mood::Unclear, Reason::Refused)] {
        destinations.mood("b", mood);
        assert_eq!(pipeline.handle(&mut job(record(1, 0, "k"))).await, Outcome::DeadLettered(reason));
        let letter = pipeline.settle.letters.lock().unwrap().pop().unwrap();
        assert_eq!((letter.request, letter.delivered), (Some(1), 0), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_reply_to_each_request_is_kept_however_it_ended() {
    for conversing in [false, true] {
        for (mood, status) in
            [(Mood::Answers(201, Duration::ZERO), 201), (Mood::Answers(404, Duration::ZERO), 404), (Mood::Exhausts(503), 503), (Mood::Unclear, 200)]
        {
            let destinations: Arc<Destinations> = Arc::default();
            destinations.mood("b", mood);
            let mut pipeline = over(&destinations, Plugin { sees_replies: conversing, ..plugin("1", send_two) });
            pipeline.policy.keep_replies = true;
            pipeline.handle(&mut job(record(1, 0, "k"))).await;
            assert_eq!(*pipeline.settle.replies.lock().unwrap(), [(0, 200), (1, status)], "{mood:?}");
        }
    }
}

/// A record as a producer with a schema registry writes it.
fn framed(payload: &[u8]) -> Record {
    let payload = [&[0, 0, 0, 0, 7], payload].concat();
    Record { payload: Some(payload.into()), ..record(1, 0, "k") }
}

#[tokio::test(start_paused = true)]
async fn the_frame_is_taken_off_before_a_plugin_sees_the_payload() {
    let destinations: Arc<Destinations> = Arc::default();
    let echo: Code = |record| {
        let path = record.payload.as_ref().map_or("none".into(), |payload| String::from_utf8_lossy(payload));
        Ok(Verdict::Send(vec![request("a", &format!("/{path}"))]))
    };
    let mut pipeline = over(&destinations, plugin("1", echo));
    pipeline.policy.framing = Framing::ConfluentJson;
    for record in [framed(b"{}"), framed(b""), Record { payload: None, ..record(1, 0, "k") }] {
        assert_eq!(pipeline.handle(&mut job(record)).await, Outcome::Delivered);
    }
    assert_eq!(paths(&destinations), ["/{}", "/", "/none"]);
    // Too short, or with another first byte.
    for payload in [&b"\0\0\0\0"[..], b"", b"{\"a\":1}"] {
        let bare = Record { payload: Some(payload.to_vec().into()), ..record(1, 0, "k") };
        assert_eq!(pipeline.handle(&mut job(bare)).await, Outcome::DeadLettered(Reason::Malformed));
    }
    pipeline.policy.framing = Framing::None;
    assert_eq!(pipeline.handle(&mut job(framed(b"{}"))).await, Outcome::Delivered);
    assert_eq!(paths(&destinations)[3], "/\0\0\0\0\u{7}{}");
}

#[tokio::test(start_paused = true)]
async fn an_event_s_attributes_are_found_within_the_frame() {
    let destinations: Arc<Destinations> = Arc::default();
    let mut pipeline = over(&destinations, Plugin { keys: vec!["order.*".parse().unwrap()], ..plugin("1", |_| Ok(Verdict::Skip("seen".into()))) });
    pipeline.policy.framing = Framing::ConfluentJson;
    pipeline.policy.route_by = RouteBy::CloudEvent("type".into());
    let headers = vec![("content-type".to_owned(), "application/cloudevents+json".into())];
    let event = Record { headers, ..framed(br#"{"type":"order.created"}"#) };
    assert_eq!(pipeline.handle(&mut job(event.clone())).await, Outcome::Skipped);
    let other = Record { payload: framed(br#"{"type":"refund.created"}"#).payload, ..event.clone() };
    assert_eq!(pipeline.handle(&mut job(other)).await, Outcome::DeadLettered(Reason::Unrouted));
    // Without the frame it is malformed, if it has a route at all: in binary mode the attribute is in a header.
    let binary = Record { headers: vec![("ce_type".to_owned(), "order.created".into())], payload: Some("{}".into()), ..event };
    assert_eq!(pipeline.handle(&mut job(binary)).await, Outcome::DeadLettered(Reason::Malformed));
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_before_a_hold_is_not_sent_again_and_seen_again() {
    let destinations: Arc<Destinations> = Arc::default();
    destinations.mood("b", Mood::Down);
    let pipeline = over(&destinations, sees_replies(plugin("1", send_two)));
    let mut held = job(record(1, 0, "k"));
    for _ in 0..3 {
        assert_eq!(pipeline.handle(&mut held).await, Outcome::Held(Cause::Destination("b".into())));
    }
    assert_eq!(paths(&destinations), ["/1"]);
    let free = pipeline.room.available_permits();
    assert!(free < CONVERSATIONS);
    destinations.mood("b", Mood::Answers(200, Duration::ZERO));
    assert_eq!(pipeline.handle(&mut held).await, Outcome::Delivered);
    assert_eq!(paths(&destinations), ["/1", "/2"]);
    assert_eq!(pipeline.room.available_permits(), CONVERSATIONS, "what is done takes no room");

    // Where there is none, and for another version, it begins anew.
    destinations.mood("b", Mood::Down);
    let taken = Arc::clone(&pipeline.room).try_acquire_many_owned(CONVERSATIONS as u32).unwrap();
    let mut held = job(record(1, 1, "k"));
    pipeline.handle(&mut held).await;
    drop(taken);
    pipeline.handle(&mut held).await;
    assert!(pipeline.routes.serve(&[Arc::new(sees_replies(plugin("2", send_two)))]).is_empty());
    destinations.mood("b", Mood::Answers(200, Duration::ZERO));
    assert_eq!(pipeline.handle(&mut held).await, Outcome::Delivered);
    assert_eq!(paths(&destinations)[2..], ["/1", "/1", "/1", "/2"]);
}
