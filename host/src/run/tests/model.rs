//! The promises under any interleaving of what can happen to a host.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::*;

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    /// A record of this key, after a gap of so many offsets.
    Produce { key: u8, gap: i64 },
    /// A destination changes its mood.
    Mood { destination: u8, mood: Mood },
    /// Time passes.
    Wait(u64),
    /// The partition goes away and comes back; lost, or in order.
    Rebalance { lost: bool },
    /// The host dies without a word, and another takes over.
    Crash,
    /// The host is told to stop, and another takes over.
    Restart,
}

const DESTINATIONS: [&str; 3] = ["a", "b", "c"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mood = prop_oneof![
        3 => (0_u64..200).prop_map(|ms| Mood::Answers(200, Duration::from_millis(ms))),
        2 => Just(Mood::Down),
        1 => Just(Mood::Hangs),
        1 => Just(Mood::Answers(400, Duration::from_millis(5))),
    ];
    let step = prop_oneof![
        12 => (0_u8..9, prop_oneof![5 => Just(0_i64), 1 => 0_i64..20]).prop_map(|(key, gap)| Step::Produce { key, gap }),
        3 => (0_u8..3, mood).prop_map(|(destination, mood)| Step::Mood { destination, mood }),
        4 => prop_oneof![0_u64..30, 100_u64..3_000].prop_map(Step::Wait),
        1 => any::<bool>().prop_map(|lost| Step::Rebalance { lost }),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

/// What was sent or given up, over the lives of all hosts.
#[derive(Default)]
struct History {
    /// Offsets in the order of their ends.
    ended: Vec<i64>,
    /// The path that was sent with each `Idempotency-Key`.
    requests: HashMap<String, String>,
}

impl History {
    /// Takes over what a host has done.
    fn take(&mut self, host: &Host) {
        for (key, path) in host.destinations.sent.lock().unwrap().drain(..) {
            self.ended.push(path[1..].parse().unwrap());
            let before = self.requests.insert(key.clone(), path.clone());
            assert!(before.is_none_or(|before| before == path), "`{key}` was sent with different content");
        }
        // A dead letter was sent first and then refused, so it has ended above already.
        host.pipeline.settle.dead.lock().unwrap().clear();
    }

    fn check(&self, broker: &Broker) {
        let ended: HashSet<i64> = self.ended.iter().copied().collect();
        let committed = broker.committed().unwrap_or(0);
        let lost: Vec<i64> =
            broker.0.lock().unwrap().records.range(..committed).map(|(&offset, _)| offset).filter(|offset| !ended.contains(offset)).collect();
        assert!(lost.is_empty(), "committed {committed} past {lost:?}");
    }

    /// Counting first deliveries, the records of each key ended in order.
    fn check_order(&self, keys: &BTreeMap<i64, String>) {
        let mut last: HashMap<&str, i64> = HashMap::new();
        let mut seen = HashSet::new();
        for &offset in self.ended.iter().filter(|&&offset| seen.insert(offset)) {
            let before = last.insert(&keys[&offset], offset);
            assert!(before < Some(offset), "{before:?} before {offset}: {:?}", self.ended);
        }
    }
}

struct World {
    broker: Broker,
    host: Host,
    stay: u64,
    moods: BTreeMap<u8, Mood>,
    history: History,
}

impl World {
    fn new() -> World {
        let broker = Broker::default();
        let host = World::host(&broker, 1, &BTreeMap::new());
        World { broker, host, stay: 1, moods: BTreeMap::new(), history: History::default() }
    }

    /// A host with a window so small that it has to park.
    fn host(broker: &Broker, stay: u64, moods: &BTreeMap<u8, Mood>) -> Host {
        let host = Host::start(broker, 6_000, send_one);
        for (&destination, &mood) in moods {
            host.destinations.mood(DESTINATIONS[destination as usize], mood);
        }
        host.prompter.say(broker.assigned(stay));
        host.prompter.say(broker.fetch(stay));
        host
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Produce { key, gap } => {
                let offset = self.broker.0.lock().unwrap().records.last_key_value().map_or(0, |(last, _)| last + 1) + gap;
                let key = format!("{}:{key}", DESTINATIONS[key as usize % 3]);
                self.broker.produce(offset, &key);
                self.host.prompter.say(Event::Records(vec![record(self.stay, offset, &key)]));
            }
            Step::Mood { destination, mood } => {
                self.moods.insert(destination, mood);
                self.host.destinations.mood(DESTINATIONS[destination as usize], mood);
            }
            Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Step::Rebalance { lost } => {
                let marks = self.host.prompter.revoke(self.stay, lost).await.unwrap();
                if !lost {
                    self.broker.commit(marks);
                }
                self.stay += 1;
                self.host.prompter.say(self.broker.assigned(self.stay));
                self.host.prompter.say(self.broker.fetch(self.stay));
            }
            Step::Crash => {
                self.host.task.abort();
                self.succeed().await;
            }
            Step::Restart => {
                drop(self.host.stop.take());
                self.succeed().await;
            }
        }
        self.history.take(&self.host);
        self.history.check(&self.broker);
    }

    /// Another host takes over from one that has ended.
    async fn succeed(&mut self) {
        match (&mut self.host.task).await {
            Ok(ended) => ended.unwrap(),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
        self.history.take(&self.host);
        self.stay += 1;
        self.host = World::host(&self.broker, self.stay, &self.moods);
    }

    /// All destinations are well again: everything ends.
    async fn end(&mut self) {
        // What hangs is aborted by a rebalance; a destination in the real world has a timeout.
        for destination in 0..3 {
            self.step(Step::Mood { destination, mood: Mood::Answers(200, Duration::from_millis(1)) }).await;
        }
        self.step(Step::Rebalance { lost: false }).await;
        let next = self.broker.0.lock().unwrap().records.last_key_value().map(|(last, _)| last + 1);
        if let Some(next) = next {
            self.host.until_committed(next).await;
        }
        self.history.take(&self.host);
        self.history.check(&self.broker);
        self.history.check_order(&self.broker.0.lock().unwrap().records);
        self.host.task.abort();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn nothing_is_lost_and_each_key_keeps_its_order(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.step(step).await;
            }
            world.end().await;
        });
    }
}
