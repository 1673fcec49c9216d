//! Destinations that never answer, under the default policy, beside one that does: the loop over the real gates.

use std::sync::Arc;

use super::*;
use crate::deliver::testing::actors;
use crate::fakes::{Script, pipeline};

/// A host whose window is small against what comes, and which reads the log as far as there is room.
struct Bridge {
    broker: Broker,
    produced: i64,
    accepted: Arc<Mutex<Vec<String>>>,
    _control: Control,
    _prompter: crate::fakes::Prompter,
    _task: tokio::task::JoinHandle<Result<(), String>>,
}

impl Bridge {
    fn start(destinations: &[&str], window: usize) -> Bridge {
        let broker = Broker::default();
        let (deliver, accepted) = actors(destinations);
        let (script, prompter) = Script::new(&broker);
        let lanes = config::Lanes { bytes: window, ..config::Lanes::default() };
        let settings = Settings { lanes, revoke: lanes.drain, commit_every: Duration::from_millis(50) };
        let (run, control) = Run::new(script, Arc::new(pipeline(&broker, deliver, send_one)), settings);
        let task = tokio::spawn(run.until(std::future::pending()));
        prompter.say(broker.assigned(1));
        prompter.follow(1);
        Bridge { broker, produced: 0, accepted, _control: control, _prompter: prompter, _task: task }
    }

    fn produce(&mut self, key: &str) {
        self.broker.produce(self.produced, key);
        self.produced += 1;
    }

    /// How long it takes until so many requests were accepted.
    async fn until_accepted(&self, count: usize) -> Duration {
        self.broker.grown();
        let began = Instant::now();
        while self.accepted.lock().unwrap().len() < count {
            assert!(began.elapsed() < Duration::from_secs(600), "{} of {count} were accepted", self.accepted.lock().unwrap().len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_keys_of_a_hung_destination_with_more_behind_them_than_the_window_stop_the_others_for_one_timeout_at_most() {
    let mut bridge = Bridge::start(&["hung", "good"], 1 << 20);
    for number in 0..6_000 {
        bridge.produce(&format!("hung:{}", number % 3));
    }
    for number in 0..500 {
        bridge.produce(&format!("good:{number}"));
    }
    // The first timeouts open the breaker; what is behind them is then parked.
    let took = bridge.until_accepted(500).await;
    assert!(took < Duration::from_secs(12), "{took:?}");

    // From then on there is one probe at a time, and most of the time there is one: it must not let its own lane fill the window.
    for round in 2..5 {
        tokio::time::sleep(Duration::from_secs(7)).await;
        for number in 0..9_000 {
            bridge.produce(&format!("hung:{}", number % 3));
        }
        for number in 0..500 {
            bridge.produce(&format!("good:{number}"));
        }
        let took = bridge.until_accepted(500 * round).await;
        assert!(took < Duration::from_secs(3), "{took:?} in round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_hung_destinations_do_not_take_all_records_in_progress() {
    let mut bridge = Bridge::start(&["hung-1", "hung-2", "good"], 1 << 30);
    for number in 0..12_000 {
        bridge.produce(&format!("hung-{}:{number}", 1 + number % 2));
    }
    for number in 0..2_000 {
        bridge.produce(&format!("good:{number}"));
    }
    let took = bridge.until_accepted(2_000).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}
