//! Nothing that is turned away is forgotten: many requests through a destination that misbehaves in every way for a while, under every kind of
//! policy, with some of them cancelled. In the end each has an end, and the gate is empty.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};

use super::super::common::Common;
use super::super::gate::Recovery;
use super::super::testing::{post, stamp};
use super::tests::{Script, reply, settings};
use super::*;
use crate::config::{Breaker, Concurrency, Rate};

/// Far beyond the trouble, every pause and every hold that follow from it.
const LOST: Duration = Duration::from_secs(4 * 3600);

fn policy(random: &mut fastrand::Rng) -> config::Destination {
    config::Destination {
        concurrency: if random.bool() { Concurrency::Fixed(random.usize(1..8)) } else { Concurrency::Adaptive { min: 1, max: random.usize(1..20) } },
        rate: random.bool().then(|| Rate { requests: random.u32(1..50), per: Duration::from_secs(1) }),
        on_exhausted: if random.bool() { OnExhausted::Hold } else { OnExhausted::DeadLetter },
        breaker: Breaker {
            failure_ratio: random.f64(),
            minimum: random.u32(1..10),
            window: Duration::from_secs(random.u64(1..20)),
            open_for: Duration::from_secs(random.u64(1..20)),
        },
        retry: config::Retry { attempts: random.u32(1..6), ..settings().retry },
        batch: (random.u8(0..4) == 0).then(|| config::Batch {
            max: random.usize(1..5),
            linger: Duration::from_millis(random.u64(0..50)),
            bytes: 1 << 20,
            format: config::BatchFormat::JsonArray,
            // No results are given here, so such a batch ends with its first success, and is a failure of the destination.
            per_item: random.bool(),
            keys: random.bool(),
        }),
        ..settings()
    }
}

fn trouble(random: &mut fastrand::Rng) -> Result<Answer, Fault> {
    match random.u8(0..9) {
        0 => reply(200, &[]),
        1 => reply(500, &[]),
        2 => reply(503, &[("retry-after", "7")]),
        3 => reply(429, &[("retry-after", "600")]),
        4 => reply(401, &[]),
        5 => reply(403, &[]),
        6 => Err(Fault::NoConnection("refused".to_owned())),
        7 => Err(Fault::Timeout("no reply".to_owned())),
        _ => Err(Fault::Broken("reset".to_owned())),
    }
}

async fn run(seed: u64) {
    fastrand::seed(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let policy = policy(&mut random);
    let until = Duration::from_secs(random.u64(1..120));
    let answers = Mutex::new(fastrand::Rng::with_seed(seed));
    let start = Instant::now();
    let script = Script::new(move |_, _| {
        let mut answers = answers.lock().unwrap();
        let pause = Duration::from_millis(answers.u64(0..2000));
        let answer = if start.elapsed() < until { trouble(&mut answers) } else { reply(200, &[]) };
        async move {
            sleep(pause).await;
            answer
        }
    });
    let common = Arc::new(Common::new(1));
    let destination = Arc::new(Destination::over(script, &policy, Arc::clone(&common), Metrics::new()).unwrap());
    #[expect(clippy::disallowed_methods, reason = "a test knows how much it sends")]
    let (back, mut returned) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let total = random.usize(1..80);
    let begin = |key: usize, random: &mut fastrand::Rng, tasks: &mut JoinSet<()>| {
        let (destination, back) = (Arc::clone(&destination), back.clone());
        // Some are cancelled on their way, as when their partition goes away.
        let patience = if random.u8(0..20) == 0 { Duration::from_millis(random.u64(0..5000)) } else { LOST * 2 };
        let delay = Duration::from_millis(random.u64(0..500));
        tasks.spawn(async move {
            sleep(delay).await;
            let text = key.to_string();
            let request = post("/a", &text);
            let ended = tokio::time::timeout(patience, destination.deliver(&request, stamp(&text))).await;
            back.send((key, ended.ok())).unwrap();
        });
    };
    (0..total).for_each(|key| begin(key, &mut random, &mut tasks));
    let (mut held, mut ended) = (VecDeque::new(), 0);
    let mut look_again = None;
    while ended < total {
        let called = async {
            match look_again {
                Some(at) => drop(timeout_at(at, common.recovery.notified()).await),
                None => common.recovery.notified().await,
            }
        };
        tokio::select! { biased;
            Some((key, delivery)) = returned.recv() => match delivery {
                Some(Delivery::Held(_)) => held.push_back(key),
                Some(_) | None => ended += 1,
            },
            () = called => match destination.gate().recover() {
                Recovery::Ready(count) => {
                    common.recovery.notify_one();
                    for key in held.drain(..count.min(held.len())) { begin(key, &mut random, &mut tasks) }
                }
                Recovery::At(at) => look_again = Some(at),
                Recovery::Idle => look_again = None,
            },
            // What the loop does now and then: calls that came before it knew of a hold.
            () = sleep(Duration::from_secs(1)) => {
                let room = destination.gate().room().min(held.len());
                for key in held.drain(..room) { begin(key, &mut random, &mut tasks) }
                assert!(start.elapsed() < LOST, "seed {seed}: {} of {total} are held and not called back: {:?}, {policy:?}", held.len(), destination.status());
            }
        }
    }
    let status = destination.status();
    assert_eq!((status.in_flight, status.waiting), (0, 0), "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn nothing_held_is_forgotten() {
    for seed in 0..300 {
        run(seed).await;
    }
}
