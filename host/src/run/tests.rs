mod hang;
mod model;
mod outage;

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::fakes::{Broker, Host, Mood, pipeline, plugin, record, send_one, serve};
use crate::outcome::{Failure, Reason, Verdict};
use crate::plugin::{OnFault, Plugin};

fn log(keys: &[&str]) -> Broker {
    let broker = Broker::default();
    for (offset, key) in (0..).zip(keys) {
        broker.produce(offset, key);
    }
    broker
}

#[tokio::test(start_paused = true)]
async fn records_of_a_key_are_sent_in_order_and_committed_when_they_are_delivered() {
    let broker = log(&["a:1", "a:1", "b:1", "a:1"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    host.destinations.mood("b", Mood::Answers(200, Duration::from_secs(20)));
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until_committed(2).await;
    assert_eq!(host.sent(), [0, 1, 3]);
    host.until_committed(4).await;
    assert_eq!(host.shut_down().await, [0, 1, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn more_that_end_in_one_moment_than_are_settled_at_once_are_all_settled() {
    let records = i64::try_from(SETTLE_AT_ONCE).unwrap() * 3 + 7;
    let broker = Broker::default();
    (0..records).for_each(|offset| broker.produce(offset, &format!("a:{offset}")));
    let host = Host::start(&broker, 1 << 30, send_one);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until_committed(records).await;
    assert_eq!(host.shut_down().await.len(), records as usize);
}

#[tokio::test(start_paused = true)]
async fn the_next_record_of_a_long_lane_does_not_stand_behind_all_that_came_before_it() {
    let (hot, others) = (30, 500);
    let broker = Broker::default();
    (0..hot).for_each(|offset| broker.produce(offset, "a:hot"));
    (hot..hot + others).for_each(|offset| broker.produce(offset, &format!("a:{offset}")));
    let host = Host::start(&broker, 1 << 30, send_one);
    host.destinations.mood("a", Mood::Answers(200, Duration::ZERO));
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until_committed(hot + others).await;
    let sent = host.shut_down().await;
    // The very last one has nothing behind it, and is as good as any other.
    let last = sent.iter().position(|offset| *offset == hot - 2).unwrap();
    assert!(last < 300, "the long lane came to its end with the {last}th request of {}", sent.len());
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_failed_is_tried_again_though_nothing_else_settles() {
    let broker = log(&["a:1"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    *host.pipeline.settle.refuse_commits.lock().unwrap() = 3;
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until_committed(1).await;
    // Kafka lost it after it was on its way.
    host.broker.0.lock().unwrap().committed = None;
    host.prompter.say(Event::CommitFailed { stays: vec![AssignmentId(1)], too_large: false });
    host.until_committed(1).await;
    assert_eq!(host.shut_down().await, [0]);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_less_metadata_gets_less_and_commits_go_on() {
    let broker = Broker::default();
    // Half of the records are held, in no order, so that the map needs room.
    let mut random = fastrand::Rng::with_seed(6);
    let held: Vec<i64> = (0..4_000).filter(|offset| *offset == 0 || random.bool()).collect();
    (0..4_000).for_each(|offset| broker.produce(offset, if held.contains(&offset) { "b:1" } else { "a:1" }));
    let host = Host::start(&broker, 1 << 24, send_one);
    host.destinations.mood("b", Mood::Down);
    *host.pipeline.settle.metadata_max.lock().unwrap() = 10;
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("all that can be is sent", |host| host.sent().len() == 4_000 - held.len()).await;
    let metadata = |host: &Host| host.broker.0.lock().unwrap().committed.as_ref().map(|(_, map)| map.len());
    host.until("the broker to refuse a commit", |host| host.pipeline.settle.refused_metadata.lock().unwrap().is_some()).await;
    let mut refused = Vec::new();
    let last_refused = || host.pipeline.settle.refused_metadata.lock().unwrap().take();
    while let Some(bytes) = last_refused() {
        refused.push(bytes);
        host.prompter.say(Event::CommitFailed { stays: vec![AssignmentId(1)], too_large: true });
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(refused.len() > 1 && refused.is_sorted_by(|more, less| *less <= more / 2), "{refused:?}");
    assert_eq!(metadata(&host), Some(0), "the watermark is committed, with nothing that the broker would refuse");
    assert!(host.pipeline.metrics.render().lines().any(|line| line.starts_with("keyway_inexact_commits_total ") && !line.ends_with(" 0")));
    host.destinations.mood("b", Mood::Answers(200, Duration::ZERO));
    host.until_committed(4_000).await;
    host.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn what_retention_deletes_unread_is_counted_but_for_what_was_settled_before() {
    let gone = |host: &Host| {
        let text = host.pipeline.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix("keyway_gone_records_total{topic=\"events\",partition=\"0\"} "));
        line.map_or(0, |number| number.parse::<u64>().unwrap())
    };
    // One key is held at offset 0, and a thousand records behind it are settled.
    let broker = Broker::default();
    broker.produce(0, "b:1");
    (1..=1_000).for_each(|offset| broker.produce(offset, "a:1"));
    let host = Host::start(&broker, 1 << 20, send_one);
    host.destinations.mood("a", Mood::Answers(200, Duration::ZERO));
    host.destinations.mood("b", Mood::Down);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("the rest is sent", |host| host.sent().len() == 1_000).await;
    host.shut_down().await;
    assert_eq!(broker.committed(), Some(0));

    // While no host runs, retention deletes all of it, and five records that nobody has seen.
    broker.produce(1_006, "a:1");
    let host = Host::start(&broker, 1 << 20, send_one);
    host.prompter.say(broker.assigned(2));
    host.prompter.say(Event::Deleted { assignment: AssignmentId(2), offsets: 0..1_006 });
    host.prompter.say(Event::Records(vec![record(2, 1_006, "a:1")]));
    host.until_committed(1_007).await;
    assert_eq!(gone(&host), 6, "the held one, and those that nobody has seen");

    // And while it runs.
    host.prompter.say(Event::Deleted { assignment: AssignmentId(2), offsets: 1_000..1_017 });
    host.prompter.say(Event::Records(vec![record(2, 1_017, "a:1")]));
    host.until_committed(1_018).await;
    assert_eq!(gone(&host), 16, "what was seen is not among it");
    host.prompter.say(Event::Deleted { assignment: AssignmentId(1), offsets: 1_000..1_017 });
    host.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_sends_nothing_again_that_was_settled_beyond_the_watermark() {
    let broker = log(&["b:1", "a:1", "a:2"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    host.destinations.mood("b", Mood::Hangs);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("the commit carries the map", |host| host.broker.0.lock().unwrap().committed.as_ref().is_some_and(|(_, map)| !map.is_empty())).await;
    host.until("both are sent", |host| host.sent().len() == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    host.task.abort();

    let host = Host::start(&broker, 1 << 20, send_one);
    host.prompter.say(broker.assigned(2));
    host.prompter.say(broker.fetch(2));
    host.until_committed(3).await;
    assert_eq!(host.shut_down().await, [0]);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_partition_is_drained_and_what_waited_is_left_to_its_next_owner() {
    let broker = log(&["a:1", "a:1"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    // The first is in progress for five milliseconds.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let marks = host.prompter.revoke(1, false).await.unwrap();
    assert_eq!(marks[0].next.0, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.shut_down().await, [0]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_before_the_deadline_is_aborted_and_settles_nothing() {
    let broker = log(&["a:1"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    host.destinations.mood("a", Mood::Answers(200, Duration::from_secs(60)));
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    let marks = host.prompter.revoke(1, false).await.unwrap();
    assert_eq!(marks[0].next.0, 0);
    assert_eq!(began.elapsed().as_secs(), config::Lanes::default().drain.as_secs());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(host.shut_down().await, [] as [i64; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_partition_is_not_waited_for() {
    let broker = log(&["a:1"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    host.destinations.mood("a", Mood::Hangs);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    host.prompter.revoke(1, true).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(100));
    host.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_acknowledged_before_the_offset_moves() {
    let broker = log(&["a:1", "a:2"]);
    let host = Host::start(&broker, 1 << 20, |_| Err(Failure::new(Reason::Trapped, "unreachable")));
    *host.pipeline.settle.refuse.lock().unwrap() = 5;
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("Kafka has refused it often enough", |host| *host.pipeline.settle.refuse.lock().unwrap() == 0).await;
    host.until_committed(2).await;
    assert_eq!(host.pipeline.settle.dead.lock().unwrap().len(), 2);
    host.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_down_holds_its_keys_alone_and_they_go_on_in_order() {
    let broker = log(&["down:1", "up:1", "down:1", "up:2", "down:2"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    host.destinations.mood("down", Mood::Down);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("the others are sent", |host| host.sent() == [1, 3]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(host.control.status().load.held, 2);
    host.destinations.mood("down", Mood::Answers(200, Duration::from_millis(5)));
    host.until_committed(5).await;
    let sent = host.shut_down().await;
    let down: Vec<i64> = sent.iter().copied().filter(|offset| [0, 2].contains(offset)).collect();
    assert_eq!(down, [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_held_record_that_kafka_has_deleted_is_counted_and_does_not_stall() {
    let broker = log(&["down:1", "down:1", "down:1"]);
    let host = Host::start(&broker, 2_000, send_one);
    host.destinations.mood("down", Mood::Down);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("all is parked", |host| host.control.status().load.parked == 3).await;
    broker.0.lock().unwrap().deleted.push(0);
    host.destinations.mood("down", Mood::Answers(200, Duration::ZERO));
    host.until_committed(3).await;
    assert_eq!(host.shut_down().await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_faulty_plugin_holds_its_keys_until_its_next_version() {
    let broker = log(&["a:1", "a:1"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    let faulty: fn(&Record) -> Result<Verdict, Failure> = |_| Err(Failure::new(Reason::Trapped, "unreachable"));
    serve(&host.pipeline.routes, "2", faulty, OnFault::Hold, false);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("the key is held", |host| host.control.status().load.held == 1).await;
    serve(&host.pipeline.routes, "2", faulty, OnFault::Hold, false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(host.pipeline.routes.find(Some("a:1")).unwrap().tally.read().0, 0, "the same version is not tried again");
    serve(&host.pipeline.routes, "3", send_one, OnFault::Hold, false);
    host.until_committed(2).await;
    assert_eq!(host.shut_down().await, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_fault_ends_after_its_version_was_replaced_is_given_to_the_one_that_serves() {
    let broker = log(&["a:1", "a:1"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    // It asks for one round after the other, and faults when it has had ten of them.
    serve(&host.pipeline.routes, "2", send_one, OnFault::Hold, true);
    host.destinations.mood("a", Mood::Answers(500, Duration::from_secs(1)));
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("it is under way", |host| !host.sent().is_empty()).await;
    serve(&host.pipeline.routes, "1", |_| Ok(Verdict::Skip("nothing to do".into())), OnFault::Hold, false);
    host.until_committed(2).await;
    host.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_nobody_claims_waits_while_plugins_are_on_their_way() {
    let broker = log(&["a:1", "a:1"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    // The plugin has `*`, which is what the others leave over.
    host.pipeline.routes.begin_incomplete();
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("the key is held", |host| host.control.status().load.held == 1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((host.sent().len(), host.broker.committed().unwrap_or(0)), (0, 0), "neither sent nor given up");
    host.pipeline.routes.complete();
    host.until_committed(2).await;
    assert_eq!(host.shut_down().await, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn records_of_a_busy_plugin_wait_in_their_lanes_and_come_in_order() {
    let broker = log(&["a:1", "a:1", "a:2", "a:2"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    host.pipeline.transform.busy.store(true, Relaxed);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("the keys are held", |host| host.control.status().load.held == 2).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(host.sent(), [] as [i64; 0]);
    assert_eq!(host.pipeline.routes.find(Some("a:1")).unwrap().tally.read().0, 0, "who was not asked has not done well");
    // It tells of room for one, whose key then goes on; of the rest it had told before they were held, so the loop has to ask.
    host.pipeline.transform.busy.store(false, Relaxed);
    host.pipeline.transform.relief.notify_one();
    host.until("the key that was held first goes on", |host| host.sent() == [0, 1]).await;
    host.until_committed(4).await;
    assert_eq!(host.shut_down().await, [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_person_can_release_a_key() {
    let broker = log(&["a:1", "a:2"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    serve(&host.pipeline.routes, "2", |_| Err(Failure::new(Reason::Cpu, "too long")), OnFault::Hold, false);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("the keys are held", |host| host.control.status().load.held == 2).await;
    let calls = || host.pipeline.routes.find(Some("a:1")).unwrap().tally.read().0;
    assert_eq!(host.control.ask(Command::ReleaseKey("a:1".into())).await, Some(1));
    host.until("it was tried again", |_| calls() == 3).await;
    assert_eq!(host.control.ask(Command::ReleasePlugin("all".into())).await, Some(2));
    host.until("both were tried again", |_| calls() == 5).await;
    host.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_delivered_of_a_held_record_is_not_sent_again() {
    let broker = log(&["x"]);
    let host = Host::start(&broker, 1 << 20, |record| {
        let path = format!("/{}", record.offset);
        Ok(Verdict::Send(vec![crate::fakes::request("up", &path), crate::fakes::request("down", &path)]))
    });
    host.destinations.mood("down", Mood::Down);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until("the key is held", |host| host.control.status().load.held == 1).await;
    host.destinations.mood("down", Mood::Answers(200, Duration::ZERO));
    host.until_committed(1).await;
    let sent = host.destinations.sent.lock().unwrap().clone();
    let keys: Vec<&str> = sent.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["bridge/events/0/0/0", "bridge/events/0/0/1"]);
    host.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_sees_the_replies_says_what_became_of_the_record() {
    let broker = log(&["a:1"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    serve(&host.pipeline.routes, "2", send_one, OnFault::DeadLetter, true);
    host.destinations.mood("a", Mood::Answers(409, Duration::ZERO));
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until_committed(1).await;
    assert_eq!(*host.pipeline.settle.dead.lock().unwrap(), []);

    host.destinations.mood("a", Mood::Answers(500, Duration::ZERO));
    host.prompter.say(Event::Records(vec![record(1, 1, "a:1")]));
    host.until_committed(2).await;
    assert_eq!(*host.pipeline.settle.dead.lock().unwrap(), [(1, Reason::Output)], "it asked for a further round without end");
    host.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_host_costs_a_dead_letter_and_not_the_host() {
    static SEEN: Mutex<u32> = Mutex::new(0);
    let broker = log(&["a:1", "a:1"]);
    let host = Host::start(&broker, 1 << 20, |record| {
        *SEEN.lock().unwrap() += 1;
        if record.offset == 0 { panic!("a defect") } else { send_one(record) }
    });
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until_committed(2).await;
    assert_eq!(*host.pipeline.settle.dead.lock().unwrap(), [(0, Reason::Trapped)]);
    assert_eq!(host.shut_down().await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_dead_letter_is_written_costs_one_more_try() {
    let broker = log(&["a:1", "a:1"]);
    let host = Host::start(&broker, 1 << 20, |_| Err(Failure::new(Reason::Trapped, "unreachable")));
    *host.pipeline.settle.panic.lock().unwrap() = 2;
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    host.until_committed(2).await;
    assert_eq!(*host.pipeline.settle.dead.lock().unwrap(), [(0, Reason::Trapped), (1, Reason::Trapped)]);
    host.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_may_take_longer_than_a_revoke() {
    let broker = log(&["a:1"]);
    let host = Host::start_with(&broker, 1 << 20, send_one, Duration::from_secs(2));
    host.destinations.mood("a", Mood::Answers(200, Duration::from_secs(5)));
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    assert_eq!(host.prompter.revoke(1, false).await.unwrap()[0].next.0, 0, "it did not end in time");
    assert_eq!(began.elapsed().as_secs(), 2);
    host.prompter.say(broker.assigned(2));
    host.prompter.say(broker.fetch(2));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(host.shut_down().await, [0]);
}

#[tokio::test(start_paused = true)]
async fn a_record_without_a_plugin_waits_for_one_if_the_operator_says_so() {
    let broker = log(&["a:1", "a:1", "b:1"]);
    let mut pipeline = pipeline(&broker, Arc::default(), send_one);
    pipeline.policy.unrouted = config::Unrouted::Hold;
    let only_b = Plugin { keys: vec!["b:*".parse().unwrap()], ..plugin("1", send_one) };
    assert!(pipeline.routes.serve(&[Arc::new(only_b)]).is_empty());
    let host = Host::start_as(&broker, 1 << 20, pipeline, config::Lanes::default().drain);
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((host.sent(), broker.committed()), (vec![2], Some(0)));
    assert!(matches!(host.control.status().held[..], [HeldLanes { cause: Cause::Unrouted, lanes: 1 }]));
    // The next plugin takes what has waited, in its order.
    serve(&host.pipeline.routes, "2", send_one, OnFault::DeadLetter, false);
    host.until_committed(3).await;
    assert!(host.pipeline.settle.dead.lock().unwrap().is_empty());
    assert_eq!(host.shut_down().await, [2, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_finishes_what_is_in_progress_and_commits_it() {
    let broker = log(&["a:1", "a:1"]);
    let host = Host::start(&broker, 1 << 20, send_one);
    host.destinations.mood("a", Mood::Answers(200, Duration::from_secs(1)));
    host.prompter.say(broker.assigned(1));
    host.prompter.say(broker.fetch(1));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(host.shut_down().await, [0]);
    assert_eq!(broker.committed(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_ends_the_loop_with_its_words() {
    let host = Host::start(&Broker::default(), 1 << 20, send_one);
    host.prompter.say(Event::Failed("the group is gone".into()));
    assert_eq!(host.task.await.unwrap(), Err("the group is gone".into()));
}
