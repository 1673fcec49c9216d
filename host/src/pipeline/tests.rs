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

fn paths(destinations: &Destinations) -> Vec<String> {
    destinations.sent.lock().unwrap().iter().map(|(_, path)| path.clone()).collect()
}

/// The job that a redrive makes of the last letter.
fn redriven(pipeline: &FakePipeline, version: &str) -> Job {
    let delivered = pipeline.settle.letters.lock().unwrap().last().unwrap().delivered;
    Job { progress: Some(Box::new(Progress { version: Version(version.into()), delivered })), ..job(record(1, 0, "k")) }
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
