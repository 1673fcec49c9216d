//! Ten minutes of a dead destination among three, 100,000 records for it, and a crash in the middle.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::counted;

/// Records for the dead destination before the flow of the crash, and in it.
const HELD_BEFORE: usize = 90_000;
const HELD: usize = 100_000;

/// A third of them are the dead destination's.
const KEYS: usize = 3_000;

/// Long enough that what is done every 100 ms is no large part of the whole.
const LATENCY: Duration = Duration::from_millis(50);

/// Records that come every 10 ms while the host is killed.
const AT_ONCE: usize = 100;

/// Turns of the flow, 10 ms each, after which what was sent is committed: two commits and a little.
const COMMITTED_WITHIN: usize = 12;

/// Three destinations' records, all in one partition, in random order.
struct Traffic {
    broker: Broker,
    random: fastrand::Rng,
    /// Of each record, by offset.
    destinations: Vec<usize>,
    held: usize,
}

impl Traffic {
    fn new() -> Traffic {
        Traffic { broker: Broker::default(), random: fastrand::Rng::with_seed(5), destinations: Vec::new(), held: 0 }
    }

    fn produce(&mut self) {
        let key = self.random.usize(..KEYS);
        let destination = key % 3;
        let name = ["down", "up", "also-up"][destination];
        counted::passed_over(|| {
            self.broker.produce(self.destinations.len() as i64, &format!("{name}:{key}"));
            self.destinations.push(destination);
        });
        self.held += usize::from(destination == 0);
    }

    fn others(&self) -> usize {
        self.destinations.len() - self.held
    }

    /// From its beginning on, all that it holds is counted.
    fn host(&self, stay: u64, down: Mood) -> Host {
        counted::begin();
        let host = Host::start(&self.broker, config::Lanes::default().bytes, send_one);
        for (name, mood) in [("down", down), ("up", Mood::Answers(200, LATENCY)), ("also-up", Mood::Answers(200, LATENCY))] {
            host.destinations.mood(name, mood);
        }
        host.prompter.say(self.broker.assigned(stay));
        host.prompter.follow(stay);
        host
    }

    /// Records come until so many of them are the dead destination's.
    async fn flow(&mut self, held: usize) {
        while self.held < held {
            (0..AT_ONCE).for_each(|_| self.produce());
            self.broker.grown();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How long the others' records take.
    async fn until_the_others_are_sent(&self, host: &Host) -> Duration {
        let began = Instant::now();
        let (mut looked_at, mut sent) = (0, 0);
        host.until("the others are sent", |host| {
            fits_in_memory();
            let all = host.destinations.sent.lock().unwrap();
            let new = all[looked_at..].iter().map(|(_, path)| path[1..].parse::<usize>().unwrap());
            sent += new.filter(|&offset| self.destinations[offset] != 0).count();
            looked_at = all.len();
            sent == self.others()
        })
        .await;
        began.elapsed()
    }
}

/// All that the host has held at once since its beginning, the budget for records and the rest of it.
fn fits_in_memory() {
    let (budget, peak) = (config::Lanes::default().bytes, counted::peak());
    assert!(peak <= budget + budget / 10, "{peak} bytes at once, of {budget}");
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_a_dead_destination_cost_the_others_nothing_and_a_crash_in_the_middle_repeats_nothing_that_was_committed() {
    let mut traffic = Traffic::new();
    while traffic.held < HELD_BEFORE {
        traffic.produce();
    }
    let host = traffic.host(1, Mood::Answers(200, LATENCY));
    let beside_a_good_one = traffic.until_the_others_are_sent(&host).await;
    host.shut_down().await;
    traffic.broker.0.lock().unwrap().committed = None;

    let mut host = traffic.host(2, Mood::Down);
    let beside_a_dead_one = traffic.until_the_others_are_sent(&host).await;
    assert!(beside_a_good_one.as_secs_f64() / beside_a_dead_one.as_secs_f64() > 0.95, "{beside_a_dead_one:?} instead of {beside_a_good_one:?}");
    tokio::time::sleep(Duration::from_secs(300)).await;
    fits_in_memory();
    assert!(counted::peak() > config::Lanes::default().bytes / 2, "it is counted what records cost: {}", counted::peak());
    let load = host.control.status().load;
    assert_eq!(load.records + load.parked, HELD_BEFORE, "{load:?}");
    assert!(load.parked > HELD_BEFORE / 2, "it is more than the window has room for: {load:?}");

    // In the middle of the ten minutes, and of a flow of records, it is killed. What is left is the commit.
    traffic.flow((HELD_BEFORE + HELD) / 2).await;
    let committed = counted::passed_over(|| host.sent());
    traffic.flow(traffic.held + COMMITTED_WITHIN * AT_ONCE / 3).await;
    host.task.abort();
    assert!((&mut host.task).await.unwrap_err().is_cancelled());
    fits_in_memory();
    // What it had begun ends with it.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut sent = host.sent();
    assert!(sent.len() > committed.len(), "it was killed while it was at work");
    let metadata = traffic.broker.0.lock().unwrap().committed.clone().unwrap().1;
    assert!(!metadata.is_empty() && metadata.len() <= 4096, "{} bytes", metadata.len());

    let host = traffic.host(3, Mood::Down);
    traffic.flow(HELD).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    fits_in_memory();
    host.destinations.mood("down", Mood::Answers(200, LATENCY));
    let end = traffic.destinations.len();
    host.until_committed(end as i64).await;
    fits_in_memory();
    let after = host.shut_down().await;

    let committed: HashSet<i64> = committed.into_iter().collect();
    let again = after.iter().filter(|offset| committed.contains(offset)).count();
    assert_eq!(again, 0, "of {} that were committed before the crash", committed.len());
    sent.extend(after);
    let log = traffic.broker.0.lock().unwrap();
    let (mut first, mut last) = (HashSet::new(), HashMap::new());
    for offset in sent.into_iter().filter(|offset| first.insert(*offset)) {
        let before = last.insert(&log.records[&offset], offset);
        assert!(before < Some(offset), "{before:?} before {offset}");
    }
    assert_eq!(first.len(), end, "nothing is lost");
}
