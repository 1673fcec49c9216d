//! Hosts that are killed at random while records flow: nothing is lost, order is kept, and little comes again.
//!
//! A binary of its own, since it takes all of a small machine for minutes.

#![expect(clippy::print_stderr, reason = "figures are read where the test is run")]

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use e2e::traffic::{Traffic, check, host, requests};
use e2e::{Answer, Broker, Destination, Host};

/// For how long records are written and hosts are killed.
const CHAOS: Duration = Duration::from_secs(120);

/// 300,000 records in two minutes, in a batch every second.
const BATCH: usize = 2_500;
const BATCHES: u32 = 120;

/// Longest wait for what is left afterwards, a session that has to end first included.
const REST: Duration = Duration::from_secs(300);

/// Pauses between two blows, and how long a host stays away, in milliseconds.
const PAUSE: (u64, u64) = (3_000, 5_000);
const AWAY: [u64; 4] = [0, 500, 1_000, 2_000];

#[test]
fn hosts_killed_at_random_lose_nothing_and_repeat_little() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("chaos", 12), broker.name("chaos"));
    let destination = Destination::start();
    destination.answer("", Answer::status(200).after(Duration::from_millis(2)));
    let mut hosts: Vec<Host> = (0..3).map(|_| host(broker, &topic, &group, &destination).start()).collect();
    let ended = std::thread::scope(|scope| {
        let (end, ended) = mpsc::channel();
        let topic = &topic;
        scope.spawn(move || {
            write(broker, topic);
            // The other side waits for this, or has panicked.
            let _ = end.send(());
        });
        strike(&mut hosts, &ended)
    });
    broker.await_settled(&group, &topic, REST);
    for host in &mut hosts {
        assert!(host.terminate().success());
    }
    let summary = check(&broker.read(&topic), requests, &destination.seen());
    eprintln!("{ended}: {summary:?}, {:.2} % repeated", 100.0 * summary.repeats as f64 / summary.requests as f64);
    assert_eq!(summary.records, BATCH * BATCHES as usize);
    assert!(summary.repeats * 100 < summary.requests, "{summary:?}");
}

/// Writes the records, at an even pace.
fn write(broker: &Broker, topic: &str) {
    let mut traffic = Traffic::new(5_000, 8);
    let begun = Instant::now();
    for batch in 1..=BATCHES {
        broker.produce(topic, traffic.by_ref().take(BATCH));
        std::thread::sleep((CHAOS * batch / BATCHES).saturating_sub(begun.elapsed()));
    }
}

/// Kills a host that runs, now and then, and starts it again after a while, until the writer has ended. About one of five is asked to end instead. Says
/// what was done.
fn strike(hosts: &mut [Host], ended: &mpsc::Receiver<()>) -> String {
    let mut random = fastrand::Rng::with_seed(9);
    // When each comes back.
    let mut away: Vec<Option<Instant>> = hosts.iter().map(|_| None).collect();
    let (mut killed, mut asked) = (0, 0);
    let mut next = Instant::now() + Duration::from_millis(PAUSE.1);
    loop {
        let due = away.iter().flatten().copied().chain([next]).min().unwrap_or(next);
        match ended.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
        for (host, back) in hosts.iter_mut().zip(&mut away) {
            if back.take_if(|back| *back <= Instant::now()).is_some() {
                host.launch();
            }
        }
        if next <= Instant::now() {
            next = Instant::now() + Duration::from_millis(random.u64(PAUSE.0..PAUSE.1));
            let up: Vec<usize> = (0..hosts.len()).filter(|at| away[*at].is_none()).collect();
            // One always stays, or nothing would be delivered for long.
            if up.len() > 1 {
                let at = up[random.usize(..up.len())];
                // One that does not answer yet may not listen for signals either.
                if random.u8(..5) == 0 && hosts[at].get("/livez").is_some() {
                    assert!(hosts[at].terminate().success());
                    asked += 1;
                } else {
                    hosts[at].kill();
                    killed += 1;
                }
                away[at] = Some(Instant::now() + Duration::from_millis(AWAY[random.usize(..AWAY.len())]));
            }
        }
    }
    for (host, back) in hosts.iter_mut().zip(away) {
        if back.is_some() {
            host.launch();
        }
    }
    format!("{killed} times killed, {asked} times asked to end")
}
