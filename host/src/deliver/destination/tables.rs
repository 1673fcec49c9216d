//! What was sent when: the tables of `docs/guide/delivery.md`, computed anew and compared with what stands there.
//!
//! Time is paused and the jitter seeded, so each table is the same on every machine. When one differs, the test prints the one to put in.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::tests::{Script, over, recovered, reply, send, settings};
use super::*;
use crate::config::{Breaker, Concurrency, Rate};

fn compare(name: &str, table: &str) {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/delivery.md")).unwrap();
    assert!(guide.contains(table), "docs/guide/delivery.md has another table for {name}; what was sent is:\n{table}");
}

fn seconds(at: Duration) -> String {
    format!("{:.2}", at.as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn retry_after() {
    let answers = [("429", "Retry-After: 20", 20), ("503", "Retry-After: 100", 100), ("503", "Retry-After: two hours from now, as a date", 7200)];
    let script = Script::new(async |number, _| match number {
        0 => reply(429, &[("retry-after", "20")]),
        1 => reply(503, &[("retry-after", "100")]),
        2 => reply(503, &[("retry-after", &httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(7200)))]),
        _ => reply(200, &[]),
    });
    let destination = over(&script, &settings());
    assert!(matches!(send(&destination, "a").await, Delivery::Done(_)));
    let mut table = "| second | answer |\n|---:|---|\n".to_owned();
    for (index, (at, _)) in script.sent.lock().unwrap().iter().enumerate() {
        let answer = answers.get(index).map_or("`200`".to_owned(), |(status, header, _)| format!("`{status}`, `{header}`"));
        let _ = writeln!(table, "| {} | {answer} |", seconds(*at));
    }
    compare("Retry-After", &table);
}

#[tokio::test(start_paused = true)]
async fn backoff_of_one_request() {
    fastrand::seed(7);
    let script = Script::new(async |_, _| reply(500, &[]));
    let destination = over(&script, &settings());
    assert!(matches!(send(&destination, "a").await, Delivery::Exhausted { .. }));
    let mut table = "| attempt | second | longest pause before it |\n|---:|---:|---:|\n".to_owned();
    for (index, (at, _)) in script.sent.lock().unwrap().iter().enumerate() {
        let longest = if index == 0 { String::new() } else { format!("{} s", 0.1 * f64::from(1 << (index - 1))) };
        let _ = writeln!(table, "| {} | {} | {longest} |", index + 1, seconds(*at));
    }
    compare("backoff", &table);
}

#[tokio::test(start_paused = true)]
async fn retry_budget() {
    let script = Script::new(|_, path: String| async move {
        sleep(Duration::from_millis(10)).await;
        reply(if path.contains("bad") { 500 } else { 200 }, &[])
    });
    let retry = config::Retry {
        attempts: 1000,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(1),
        within: Duration::from_secs(3600),
    };
    let destination = over(&script, &config::Destination { concurrency: Concurrency::Fixed(1), retry, ..settings() });
    for number in 0..20 {
        let destination = Arc::clone(&destination);
        tokio::spawn(async move { send(&destination, &format!("bad-{number}")).await });
    }
    sleep(Duration::from_secs(2)).await;
    let good = Arc::clone(&destination);
    tokio::spawn(async move {
        let keys: Vec<String> = (0..500).map(|number| format!("good-{number}")).collect();
        join_all(keys.iter().map(|key| send(&good, key))).await
    });
    sleep(Duration::from_secs(8)).await;
    let mut table = "| second | first attempts of good requests | retries of bad ones |\n|---:|---:|---:|\n".to_owned();
    let sent = script.sent.lock().unwrap();
    for second in 1..9 {
        let in_it = |word: &str| sent.iter().filter(|(at, path)| at.as_secs() == second && path.contains(word)).count();
        let _ = writeln!(table, "| {second} | {} | {} |", in_it("good"), in_it("bad"));
    }
    compare("the retry budget", &table);
}

#[tokio::test(start_paused = true)]
async fn breaker() {
    fastrand::seed(7);
    // Down for the first 22 seconds, with one new record every 100 ms; a record that is held comes back when it is called.
    let script = Script::new(|_, _| async { reply(503, &[]) });
    let start = script.start;
    let script = Script::new(move |_, _| async move { reply(if start.elapsed() < Duration::from_secs(22) { 503 } else { 200 }, &[]) });
    let breaker = Breaker { failure_ratio: 0.5, minimum: 20, window: Duration::from_secs(10), open_for: Duration::from_secs(10) };
    let destination = over(&script, &config::Destination { breaker, ..settings() });
    #[expect(clippy::disallowed_methods, reason = "a test knows how much it sends")]
    let (back, mut returned) = tokio::sync::mpsc::unbounded_channel();
    let begin = |key: usize| {
        let (destination, back) = (Arc::clone(&destination), back.clone());
        tokio::spawn(async move { back.send((key, send(&destination, &key.to_string()).await)) });
    };
    let (mut held, mut done, mut begun) = (VecDeque::new(), 0, 0);
    let mut every = tokio::time::interval(Duration::from_millis(100));
    let mut rows: Vec<(u64, &str, usize, usize, usize)> = Vec::new();
    while start.elapsed() < Duration::from_secs(34) {
        tokio::select! { biased;
            Some((key, ended)) = returned.recv() => match ended {
                Delivery::Done(_) => done += 1,
                Delivery::Held(_) => held.push_back(key),
                other => panic!("{other:?}"),
            },
            count = recovered(&destination) => for key in held.drain(..count.min(held.len())) { begin(key) },
            _ = every.tick() => {
                begin(begun);
                begun += 1;
                if begun % 20 == 0 {
                    let second = start.elapsed().as_secs();
                    let sent = script.sent.lock().unwrap().iter().filter(|(at, _)| at.as_secs() / 2 == second / 2).count();
                    rows.push((second / 2 * 2, destination.status().breaker.code(), sent, held.len(), done));
                }
            }
        }
    }
    let mut table = "| seconds | breaker at the end | sent | held | delivered |\n|---|---|---:|---:|---:|\n".to_owned();
    for (second, state, sent, held, done) in rows {
        let _ = writeln!(table, "| {second} to {} | {state} | {sent} | {held} | {done} |", second + 2);
    }
    compare("the breaker", &table);
}

#[tokio::test(start_paused = true)]
async fn rate() {
    let script = Script::new(async |_, _| reply(200, &[]));
    let destination = over(&script, &config::Destination { rate: Some(Rate { requests: 50, per: Duration::from_secs(1) }), ..settings() });
    let keys: Vec<String> = (0..120).map(|number| number.to_string()).collect();
    join_all(keys.iter().map(|key| send(&destination, key))).await;
    let mut table = "| request | 1 | 2 | 3 | 50 | 51 | 100 | 101 | 120 |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n| second |".to_owned();
    let sent = script.sent.lock().unwrap();
    for index in [0, 1, 2, 49, 50, 99, 100, 119] {
        let _ = write!(table, " {} |", seconds(sent[index].0));
    }
    table.push('\n');
    compare("the rate", &table);
}

/// A destination with so many workers, each request taking 50 ms of one; its capacity halves after twenty seconds.
#[tokio::test(start_paused = true)]
async fn adaptive() {
    let workers = Arc::new(Semaphore::new(40));
    let served = Arc::new(AtomicUsize::new(0));
    let (at_work, count) = (Arc::clone(&workers), Arc::clone(&served));
    let script = Script::new(move |_, _| {
        let (at_work, count) = (Arc::clone(&at_work), Arc::clone(&count));
        async move {
            let _worker = at_work.acquire().await.unwrap();
            sleep(Duration::from_millis(50)).await;
            count.fetch_add(1, Ordering::Relaxed);
            reply(200, &[])
        }
    });
    let start = script.start;
    let destination = over(&script, &config::Destination { concurrency: Concurrency::Adaptive { min: 1, max: 500 }, ..settings() });
    // Always more to send than goes: three hundred senders, each with one request at a time.
    for sender in 0..300 {
        let destination = Arc::clone(&destination);
        tokio::spawn(async move {
            loop {
                assert!(matches!(send(&destination, &sender.to_string()).await, Delivery::Done(_)));
            }
        });
    }
    let mut table = "| second | workers | limit | replies in the second before |\n|---:|---:|---:|---:|\n".to_owned();
    let mut limits = Vec::new();
    for at in [1, 2, 5, 9, 19, 21, 22, 25, 29] {
        tokio::time::sleep_until(start + Duration::from_secs(at - 1)).await;
        if at == 21 {
            // Half of the workers go home as they become free.
            workers.forget_permits(workers.available_permits().min(20));
            let left = Arc::clone(&workers);
            tokio::spawn(async move {
                for _ in 0..20 {
                    left.acquire().await.unwrap().forget();
                }
            });
        }
        let before = served.load(Ordering::Relaxed);
        tokio::time::sleep_until(start + Duration::from_secs(at)).await;
        let (limit, replies) = (destination.status().limit, served.load(Ordering::Relaxed) - before);
        limits.push((at, limit));
        let _ = writeln!(table, "| {at} | {} | {limit} | {replies} |", if at < 21 { 40 } else { 20 });
    }
    for (at, limit) in limits {
        match at {
            5..=19 => assert!((32..=48).contains(&limit), "at {at} s: {limit}, and 40 is best"),
            22 => assert!(limit <= 30, "at {at} s: {limit}, two seconds after"),
            23.. => assert!((16..=24).contains(&limit), "at {at} s: {limit}, and 20 is best"),
            _ => {}
        }
    }
    compare("the adaptive limit", &table);
}
