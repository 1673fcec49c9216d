use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::record::Assignment;
use crate::settle::{Ledger, Opened};

/// A partition whose records are made, opened and pushed in order.
struct Feed {
    ledger: Ledger,
    stay: Arc<Assignment>,
    next: i64,
}

impl Feed {
    fn new(id: u64) -> Feed {
        let stay = Arc::new(Assignment { id: AssignmentId(id), topic: "events".into(), partition: 0 });
        let mut ledger = Ledger::default();
        ledger.assign(Arc::clone(&stay), Some(0), "");
        Feed { ledger, stay, next: 0 }
    }

    fn record(&self, offset: i64, key: Option<&str>) -> Record {
        Record {
            assignment: Arc::clone(&self.stay),
            offset,
            timestamp: None,
            key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
            headers: Vec::new(),
            payload: Some(Bytes::from_static(&[b'x'; 1000])),
        }
    }

    fn push(&mut self, lanes: &mut Lanes, key: Option<&str>) {
        let record = self.record(self.next, key);
        self.next += 1;
        let Opened::Undecided(ticket) = self.ledger.open(record.position(), record.key.as_deref()) else { panic!("opened twice") };
        lanes.push(Job { record: Box::new(record), ticket, arrived: Instant::now(), progress: None, behind: 0 });
    }
}

fn lanes(bytes: usize) -> Lanes {
    Lanes::new(config::Lanes { bytes, ..config::Lanes::default() })
}

fn cause() -> Cause {
    Cause::Destination("orders".into())
}

#[test]
fn one_record_of_a_key_is_in_progress_and_other_keys_go_on() {
    let (mut feed, mut lanes) = (Feed::new(1), lanes(1 << 20));
    for key in ["a", "a", "b"] {
        feed.push(&mut lanes, Some(key));
    }
    let (lane, first) = lanes.start().unwrap();
    assert_eq!(first.record.offset, 0);
    assert_eq!(lanes.start().unwrap().1.record.offset, 2);
    assert!(lanes.start().is_none());
    lanes.finish(lane);
    assert_eq!(lanes.start().unwrap().1.record.offset, 1);
}

#[test]
fn records_without_a_key_have_no_order_to_keep() {
    let (mut feed, mut lanes) = (Feed::new(1), lanes(1 << 20));
    feed.push(&mut lanes, None);
    feed.push(&mut lanes, None);
    assert!(lanes.start().is_some() && lanes.start().is_some());
}

#[test]
fn ordering_by_partition_is_one_lane_and_none_is_a_lane_each() {
    for (ordering, at_once) in [(Ordering::Partition, 1), (Ordering::None, 3)] {
        let mut lanes = Lanes::new(config::Lanes { ordering, ..config::Lanes::default() });
        let mut feed = Feed::new(1);
        for key in ["a", "b", "a"] {
            feed.push(&mut lanes, Some(key));
        }
        assert_eq!(std::iter::from_fn(|| lanes.start()).count(), at_once, "{ordering:?}");
    }
}

#[test]
fn a_full_window_parks_what_is_held_and_fetches_it_again_in_order() {
    let (mut feed, mut lanes) = (Feed::new(1), lanes(10_000));
    feed.push(&mut lanes, Some("a"));
    let (lane, job) = lanes.start().unwrap();
    lanes.hold(lane, job, cause());
    while lanes.has_room() {
        feed.push(&mut lanes, Some("a"));
    }
    let waiting = feed.next as usize;
    assert_eq!(lanes.park(), waiting);
    assert!(lanes.has_room());
    assert_eq!(lanes.load(), Load { held: 1, parked: waiting, ..Load::default() });

    assert_eq!(lanes.release(&cause(), 5), 1);
    let mut handled = Vec::new();
    while handled.len() < waiting {
        assert!(lanes.start().is_none(), "a parked record cannot start");
        for (_, offsets) in lanes.wanted() {
            for offset in offsets {
                lanes.fetched(feed.record(offset, Some("a")));
            }
        }
        while let Some((lane, job)) = lanes.start() {
            handled.push(job.record.offset);
            feed.ledger.settle(job.ticket);
            lanes.finish(lane);
        }
    }
    assert_eq!(handled, (0..feed.next).collect::<Vec<_>>());
    assert_eq!(lanes.load(), Load::default());
}

/// A window that is full of what waits behind parked records must not be emptied one record at a time.
#[test]
fn what_waits_behind_parked_records_makes_room_for_them() {
    let (mut feed, mut lanes) = (Feed::new(1), lanes(20_000));
    let keys: Vec<String> = (0..4).map(|key| key.to_string()).collect();
    let mut fill = |lanes: &mut Lanes| {
        while lanes.has_room() {
            let key = &keys[feed.next as usize % keys.len()];
            feed.push(lanes, Some(key));
        }
    };
    fill(&mut lanes);
    let busy: Vec<(LaneId, Job)> = std::iter::from_fn(|| lanes.start()).collect();
    assert_eq!(busy.len(), 4);
    for (lane, job) in busy {
        lanes.hold(lane, job, cause());
    }
    // All is parked, and the window fills again behind it.
    lanes.park();
    fill(&mut lanes);
    assert_eq!(lanes.release(&cause(), 4), 4);
    let (mut rounds, mut asked) = (0, 0);
    while lanes.load().parked > 0 && rounds < 100 {
        rounds += 1;
        while let Some((lane, _)) = lanes.start() {
            lanes.finish(lane);
        }
        if !lanes.has_room() {
            lanes.park();
        }
        for (_, offsets) in lanes.wanted() {
            asked += offsets.len();
            for offset in offsets {
                lanes.fetched(feed.record(offset, Some(&keys[offset as usize % keys.len()])));
            }
        }
    }
    assert_eq!(lanes.load().parked, 0, "after {rounds} rounds");
    assert!(asked >= 4 * rounds, "{asked} records in {rounds} rounds");
}

/// A probe takes its destination's timeout, in which its lane alone could fill the window.
#[test]
fn what_comes_behind_a_record_that_was_held_makes_room_while_that_is_tried_again() {
    let (mut feed, mut lanes) = (Feed::new(1), lanes(20_000));
    feed.push(&mut lanes, Some("a"));
    feed.push(&mut lanes, Some("a"));
    let (lane, job) = lanes.start().unwrap();
    lanes.hold(lane, job, cause());
    lanes.release(&cause(), 1);
    let (_, job) = lanes.start().unwrap();
    let mut fill = |lanes: &mut Lanes| {
        while lanes.has_room() {
            feed.push(lanes, Some("a"));
        }
    };
    fill(&mut lanes);
    assert!(lanes.park() > 0 && lanes.has_room());
    fill(&mut lanes);
    assert!(lanes.park() > 0 && lanes.has_room());

    // When it has ended, what is behind the next one merely waits for its turn.
    let (mut feed, mut lanes) = (Feed::new(2), Lanes::new(config::Lanes { bytes: 20_000, ..config::Lanes::default() }));
    feed.push(&mut lanes, Some("a"));
    feed.push(&mut lanes, Some("a"));
    let (lane, first) = lanes.start().unwrap();
    lanes.hold(lane, first, cause());
    lanes.release(&cause(), 1);
    let (lane, first) = lanes.start().unwrap();
    feed.ledger.settle(first.ticket);
    lanes.finish(lane);
    let second = lanes.start().unwrap();
    while lanes.has_room() {
        feed.push(&mut lanes, Some("a"));
    }
    assert_eq!(lanes.park(), 0);
    drop((job, second));
}

#[test]
fn what_kafka_no_longer_has_is_given_back() {
    let (mut feed, mut lanes) = (Feed::new(1), lanes(1 << 20));
    feed.push(&mut lanes, Some("a"));
    feed.push(&mut lanes, Some("a"));
    let (lane, job) = lanes.start().unwrap();
    lanes.hold(lane, job, cause());
    lanes.park();
    lanes.release(&cause(), 1);
    assert!(lanes.start().is_none());
    assert_eq!(lanes.wanted(), [(AssignmentId(1), vec![0, 1])]);
    let ticket = lanes.gone(Position { assignment: AssignmentId(1), offset: 0 }).unwrap();
    assert_eq!(ticket.position().offset, 0);
    lanes.fetched(feed.record(1, Some("a")));
    assert_eq!(lanes.start().unwrap().1.record.offset, 1);
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Start,
    Finish(usize),
    Hold(usize),
    Release(usize),
    Park,
    Ask,
    Fetch,
    Gone,
    Forget,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_u8..4).prop_map(Step::Push),
        8 => Just(Step::Start),
        6 => any::<usize>().prop_map(Step::Finish),
        3 => any::<usize>().prop_map(Step::Hold),
        3 => (0_usize..3).prop_map(Step::Release),
        2 => Just(Step::Park),
        3 => Just(Step::Ask),
        3 => Just(Step::Fetch),
        1 => Just(Step::Gone),
        1 => Just(Step::Forget),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Whatever is held, parked, fetched or forgotten: each key's records start in order, one at a time, and in the end none is left over.
    #[test]
    fn each_key_keeps_its_order(steps in steps()) {
        let mut lanes = lanes(20_000);
        let mut feed = Feed::new(1);
        let mut running: Vec<(LaneId, Job)> = Vec::new();
        let mut last: BTreeMap<Bytes, i64> = BTreeMap::new();
        let mut asked: VecDeque<i64> = VecDeque::new();
        let key_of = |offset: i64, keys: &BTreeMap<i64, u8>| format!("key-{}", keys[&offset]);
        let mut keys: BTreeMap<i64, u8> = BTreeMap::new();
        let mut undone = 0_usize;
        // At the end everything is let go and finished.
        let epilogue = [Step::Release(usize::MAX), Step::Start, Step::Ask, Step::Fetch, Step::Finish(0)];
        let mut rounds = 0;
        let mut steps: VecDeque<Step> = steps.into();
        loop {
            let Some(step) = steps.pop_front() else {
                if undone == 0 {
                    break;
                }
                rounds += 1;
                prop_assert!(rounds < 10_000, "{undone} records never end: {lanes:?}");
                steps.extend(epilogue.iter().cloned());
                continue;
            };
            match step {
                Step::Push(key) => {
                    keys.insert(feed.next, key);
                    feed.push(&mut lanes, Some(&format!("key-{key}")));
                    undone += 1;
                }
                Step::Start => if let Some((lane, job)) = lanes.start() {
                    let key = job.record.key.clone().unwrap();
                    prop_assert!(running.iter().all(|(_, other)| other.record.key.as_ref() != Some(&key)), "two of one key at once");
                    let before = last.insert(key, job.record.offset);
                    prop_assert!(before.is_none_or(|before| before <= job.record.offset), "{before:?} before {}", job.record.offset);
                    running.push((lane, job));
                },
                Step::Finish(which) if !running.is_empty() => {
                    let (lane, job) = running.swap_remove(which % running.len());
                    if feed.ledger.assignment(job.ticket.position().assignment).is_some() && job.ticket.position().assignment == feed.stay.id {
                        undone -= 1;
                    }
                    feed.ledger.settle(job.ticket);
                    lanes.finish(lane);
                }
                Step::Hold(which) if !running.is_empty() => {
                    let (lane, job) = running.swap_remove(which % running.len());
                    if job.ticket.position().assignment == feed.stay.id {
                        // A record that is handled anew starts at its own offset again.
                        lanes.hold(lane, job, cause());
                    } else {
                        lanes.finish(lane);
                    }
                }
                Step::Release(count) => { lanes.release(&cause(), count); }
                Step::Park => { lanes.park(); }
                Step::Ask => for (stay, offsets) in lanes.wanted() {
                    prop_assert_eq!(stay, feed.stay.id);
                    asked.extend(offsets);
                },
                Step::Fetch => for offset in std::mem::take(&mut asked) {
                    lanes.fetched(feed.record(offset, Some(&key_of(offset, &keys))));
                },
                Step::Gone => if let Some(offset) = asked.pop_back() {
                    let ticket = lanes.gone(Position { assignment: feed.stay.id, offset }).expect("it was asked for");
                    feed.ledger.settle(ticket);
                    undone -= 1;
                },
                Step::Forget => {
                    lanes.forget(&HashSet::from([feed.stay.id]));
                    asked.clear();
                    keys.clear();
                    last.clear();
                    undone = 0;
                    // What is in progress of the old stay is aborted by the loop.
                    for (lane, _) in running.drain(..) {
                        lanes.finish(lane);
                    }
                    prop_assert_eq!(lanes.load(), Load::default());
                    feed = Feed::new(feed.stay.id.0 + 1);
                }
                Step::Finish(_) | Step::Hold(_) => {}
            }
        }
        for (lane, _) in running {
            lanes.finish(lane);
        }
        // A lane whose last record is gone from Kafka is removed when its turn comes.
        lanes.release(&cause(), usize::MAX);
        prop_assert!(lanes.start().is_none());
        prop_assert_eq!(lanes.load(), Load::default());
        prop_assert_eq!(lanes.reserved, 0);
        prop_assert!(lanes.lanes.is_empty() && lanes.fetching.is_empty() && lanes.held.is_empty());
    }
}
