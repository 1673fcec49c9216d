//! The policy against a scripted destination, under paused time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;

use futures_util::future::join_all;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::sleep;

use super::super::gate::Recovery;
use super::super::testing::{destination, post, stamp};
use super::*;
use crate::config::{Breaker, Concurrency, Rate};

pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Answer, Fault>> + Send>>;

/// A destination that answers as a test says, and keeps what it was sent when.
pub(super) struct Script {
    pub(super) start: Instant,
    answer: Box<dyn Fn(usize, String) -> Answering + Send + Sync>,
    pub(super) sent: Mutex<Vec<(Duration, String)>>,
    bodies: Mutex<Vec<(String, String)>>,
    /// What the header of the keys said of each request.
    keys: Mutex<Vec<Option<String>>>,
}

impl Wire for Arc<Script> {
    async fn send(&self, request: http::Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let path = request.uri().path().to_owned();
        let key = request.headers()[headers::IDEMPOTENCY_KEY].to_str().unwrap().to_owned();
        let keys = request.headers().get(headers::IDEMPOTENCY_KEYS).map(|keys| keys.to_str().unwrap().to_owned());
        self.keys.lock().unwrap().push(keys);
        let body = request.into_body().collect().await.unwrap().to_bytes();
        self.bodies.lock().unwrap().push((key, String::from_utf8(body.to_vec()).unwrap()));
        let number = {
            let mut sent = self.sent.lock().unwrap();
            sent.push((self.start.elapsed(), path.clone()));
            sent.len() - 1
        };
        (self.answer)(number, path).await
    }
}

impl Script {
    pub(super) fn new<A>(answer: impl Fn(usize, String) -> A + Send + Sync + 'static) -> Arc<Script>
    where
        A: Future<Output = Result<Answer, Fault>> + Send + 'static,
    {
        Arc::new(Script {
            start: Instant::now(),
            answer: Box::new(move |number, path| Box::pin(answer(number, path))),
            sent: Mutex::default(),
            bodies: Mutex::default(),
            keys: Mutex::default(),
        })
    }

    pub(super) fn millis(&self) -> Vec<u64> {
        self.sent.lock().unwrap().iter().map(|(at, _)| at.as_millis() as u64).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.sent.lock().unwrap().len()
    }
}

pub(super) fn reply(status: u16, headers: &[(&'static str, &str)]) -> Result<Answer, Fault> {
    let headers = headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
    Ok(Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::new(), cut: false })
}

pub(super) fn settings() -> config::Destination {
    let mut settings = destination("http://orders.internal/");
    settings.retry = config::Retry {
        attempts: 8,
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(30),
        within: Duration::from_secs(300),
    };
    settings
}

pub(super) fn over(script: &Arc<Script>, settings: &config::Destination) -> Arc<Destination<Arc<Script>>> {
    Arc::new(Destination::over(Arc::clone(script), settings, Arc::new(Common::new(1)), Metrics::new()).unwrap())
}

pub(super) async fn send(destination: &Arc<Destination<Arc<Script>>>, key: &str) -> Delivery {
    destination.deliver(&post(&format!("/{key}"), "{}"), stamp(key)).await
}

/// Waits for the recovery of one destination, as `Http::recovered` does for all.
pub(super) async fn recovered<W: Wire>(destination: &Destination<W>) -> usize {
    loop {
        match destination.gate().recover() {
            Recovery::Ready(count) => return count,
            Recovery::At(at) => tokio::time::sleep_until(at).await,
            // Nothing here notifies; a small step of the paused clock stands in for it.
            Recovery::Idle => sleep(Duration::from_millis(1)).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn backs_off_with_full_jitter() {
    let script = Script::new(async |_, _| reply(500, &[]));
    let destination = over(&script, &settings());
    let mut longest = [0; 7];
    for number in 0..200 {
        assert!(matches!(send(&destination, &number.to_string()).await, Delivery::Exhausted { .. }));
    }
    for run in script.millis().chunks(8) {
        for (index, pair) in run.windows(2).enumerate() {
            longest[index] = longest[index].max(pair[1] - pair[0]);
        }
    }
    for (index, longest) in longest.iter().enumerate() {
        let most = 100 << index;
        assert!((most * 8 / 10..=most + 1).contains(longest), "pause {index}: at most {longest} ms of {most}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_in_full_and_bounded() {
    // In seconds, and as a date. The date is of the real clock, so it is given in hours, and only its effect of the bound is looked at.
    let script = Script::new(async |number, _| match number {
        0 => reply(429, &[("retry-after", "20")]),
        1 => reply(503, &[("retry-after", "100")]),
        2 => reply(503, &[("retry-after", &httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(7200)))]),
        _ => reply(200, &[]),
    });
    let destination = over(&script, &settings());
    assert!(matches!(send(&destination, "a").await, Delivery::Done(_)));
    let sent = script.millis();
    assert!(sent[1] >= 20_000 && sent[1] < 20_200, "{sent:?}");
    assert!(sent[2] >= 120_000 && sent[2] < 120_500, "{sent:?}");
    // Asked to wait for two hours: the last attempt is made when the time is up, after 300 s.
    assert!(sent[3] >= 300_000 && sent[3] < 300_005, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_when_the_time_is_up() {
    let script = Script::new(async |_, _| {
        sleep(Duration::from_secs(100)).await;
        reply(500, &[])
    });
    let destination = over(&script, &settings());
    let Delivery::Exhausted { request, .. } = send(&destination, "a").await else { panic!() };
    assert_eq!(request.attempts, 3);
    assert!(script.millis().iter().all(|at| *at <= 300_000));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_when_the_time_is_up_whatever_it_waited_for() {
    // For the one permit, which another request has for longer.
    let script = Script::new(|_, path: String| async move {
        sleep(Duration::from_secs(if path == "/long" { 400 } else { 0 })).await;
        reply(if path == "/long" { 200 } else { 500 }, &[])
    });
    let destination = over(&script, &config::Destination { concurrency: Concurrency::Fixed(1), ..settings() });
    let (ended, long) = tokio::join!(
        async {
            let ended = send(&destination, "a").await;
            (ended, script.start.elapsed())
        },
        send(&destination, "long")
    );
    assert!(matches!(&ended.0, Delivery::Exhausted { request, .. } if request.attempts == 1), "{ended:?}");
    assert_eq!(ended.1.as_secs(), 300);
    assert!(matches!(long, Delivery::Done(_)));
    assert_eq!(script.count(), 2);

    // For the rate.
    let script = Script::new(async |_, _| reply(500, &[]));
    let rate = Some(Rate { requests: 1, per: Duration::from_secs(200) });
    let destination = over(&script, &config::Destination { rate, ..settings() });
    assert!(matches!(send(&destination, "a").await, Delivery::Exhausted { .. }));
    assert_eq!((script.millis(), script.start.elapsed().as_secs()), (vec![0, 200_000], 300));
}

#[tokio::test(start_paused = true)]
async fn fixed_concurrency_is_kept() {
    let flying = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&flying), Arc::clone(&most));
    let script = Script::new(move |_, _| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1, std::sync::atomic::Ordering::SeqCst);
            sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            reply(200, &[])
        }
    });
    let destination = over(&script, &config::Destination { concurrency: Concurrency::Fixed(7), ..settings() });
    let keys: Vec<String> = (0..700).map(|number| number.to_string()).collect();
    let ended = join_all(keys.iter().map(|key| send(&destination, key))).await;
    assert!(ended.iter().all(|ended| matches!(ended, Delivery::Done(_))));
    assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 7);
    // A hundred rounds of ten milliseconds: no permit was ever left unused.
    assert_eq!(script.millis().last(), Some(&990));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_holds_and_burns_no_attempt() {
    let script = Script::new(async |number, _| if number < 10 { reply(503, &[]) } else { reply(200, &[]) });
    let breaker = Breaker { failure_ratio: 0.5, minimum: 8, window: Duration::from_secs(10), open_for: Duration::from_secs(5) };
    let destination = over(&script, &config::Destination { breaker, ..settings() });
    let keys: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let mut held: Vec<&String> = Vec::new();
    let first = join_all(keys.iter().map(|key| send(&destination, key))).await;
    for (key, ended) in keys.iter().zip(first) {
        match ended {
            Delivery::Held(name) => {
                assert_eq!(&*name, "orders");
                held.push(key);
            }
            Delivery::Done(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let before = script.count();
    assert_eq!(destination.status().breaker.code(), "open");
    // Open: turned away without being sent.
    assert!(matches!(send(&destination, "new").await, Delivery::Held(_)));
    assert_eq!(script.count(), before);
    held.push(&keys[0]);
    let mut probes = 0;
    while !held.is_empty() {
        let count = recovered(&destination).await;
        if destination.status().breaker.code() != "closed" {
            assert_eq!(count, 1, "one probe");
            probes += 1;
        }
        for key in held.drain(..count.min(held.len())).collect::<Vec<_>>() {
            if let Delivery::Held(_) = send(&destination, key).await {
                held.push(key);
            }
        }
    }
    assert!(probes >= 1);
    assert_eq!(destination.status().breaker.code(), "closed");
    assert_eq!(destination.status().held_since, None);
}

/// What is said of a destination when nothing is said but its URL.
fn defaults() -> config::Destination {
    config::Destination::new("orders", "http://orders.internal/".parse().unwrap())
}

async fn no_answer() -> Result<Answer, Fault> {
    sleep(defaults().timeout).await;
    Err(Fault::Timeout("no whole reply".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_hangs_is_left_alone_after_its_first_timeouts() {
    for (keys, seconds) in [(1, 31), (2, 21), (3, 11), (8, 11), (100, 11)] {
        let script = Script::new(|_, _| no_answer());
        let destination = over(&script, &defaults());
        let keys: Vec<String> = (0..keys).map(|number| number.to_string()).collect();
        let ended = join_all(keys.iter().map(|key| send(&destination, key))).await;
        assert!(ended.iter().all(|ended| matches!(ended, Delivery::Held(_))), "{ended:?}");
        assert_eq!(destination.status().breaker.code(), "open");
        assert!(script.start.elapsed() < Duration::from_secs(seconds), "{} keys: {:?}", keys.len(), script.start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn one_record_that_makes_its_destination_hang_does_not_hold_the_others() {
    let script = Script::new(|_, path: String| async move { if path.contains("bad") { no_answer().await } else { reply(200, &[]) } });
    let destination = over(&script, &defaults());
    let bad = Arc::clone(&destination);
    let bad = tokio::spawn(async move { send(&bad, "bad").await });
    let mut number = 0;
    while !bad.is_finished() {
        number += 1;
        assert!(matches!(send(&destination, &number.to_string()).await, Delivery::Done(_)));
        sleep(Duration::from_secs(1)).await;
    }
    let Delivery::Exhausted { request, .. } = bad.await.unwrap() else { panic!() };
    assert_eq!(request.attempts, 8);
}

#[tokio::test(start_paused = true)]
async fn retries_take_a_fifth_while_others_wait() {
    // Every request named `bad` fails; there are many of them, and one permit.
    let script = Script::new(|_, path: String| {
        let bad = path.contains("bad");
        async move {
            sleep(Duration::from_millis(10)).await;
            reply(if bad { 500 } else { 200 }, &[])
        }
    });
    let destination = over(
        &script,
        &config::Destination {
            concurrency: Concurrency::Fixed(1),
            retry: config::Retry {
                attempts: 1000,
                backoff_min: Duration::from_millis(1),
                backoff_max: Duration::from_millis(1),
                within: Duration::from_secs(3600),
            },
            ..settings()
        },
    );
    for number in 0..20 {
        let destination = Arc::clone(&destination);
        tokio::spawn(async move { send(&destination, &format!("bad-{number}")).await });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = script.count();
    let keys: Vec<String> = (0..1000).map(|number| format!("good-{number}")).collect();
    let ended = join_all(keys.iter().map(|key| send(&destination, key))).await;
    assert!(ended.iter().all(|ended| matches!(ended, Delivery::Done(_))));
    let sent = script.sent.lock().unwrap();
    let retries = sent[before..].iter().filter(|(_, path)| path.contains("bad")).count();
    // A fifth, and the ten that were saved up.
    assert!((180..=215).contains(&retries), "{retries} retries beside 1000 first attempts");
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_kept() {
    let script = Script::new(async |_, _| reply(200, &[]));
    let destination = over(&script, &config::Destination { rate: Some(Rate { requests: 50, per: Duration::from_secs(1) }), ..settings() });
    let keys: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    join_all(keys.iter().map(|key| send(&destination, key))).await;
    let mut each = BTreeMap::new();
    for at in script.millis() {
        *each.entry(at / 1000).or_insert(0) += 1;
    }
    assert!(each.values().all(|count| (49..=51).contains(count)), "{each:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_holds_and_resumes() {
    let script = Script::new(async |number, _| reply(if number < 3 { 401 } else { 200 }, &[]));
    let destination = over(&script, &settings());
    assert!(matches!(send(&destination, "a").await, Delivery::Held(_)));
    assert_eq!(destination.status().breaker.code(), "open-credential");
    assert!(matches!(send(&destination, "b").await, Delivery::Held(_)));
    assert_eq!(script.count(), 1);
    for expected in [2, 3] {
        assert_eq!(recovered(&destination).await, 1);
        assert!(matches!(send(&destination, "a").await, Delivery::Held(_)));
        assert_eq!(script.count(), expected);
    }
    assert_eq!(recovered(&destination).await, 1);
    assert!(matches!(send(&destination, "a").await, Delivery::Done(_)));
    assert!(recovered(&destination).await >= 1);
    assert!(matches!(send(&destination, "b").await, Delivery::Done(_)));
}

#[tokio::test(start_paused = true)]
async fn one_forbidden_record_does_not_hold_the_others() {
    let script = Script::new(|_, path: String| {
        let forbidden = path.contains("forbidden");
        async move {
            sleep(Duration::from_millis(10)).await;
            reply(if forbidden { 403 } else { 200 }, &[])
        }
    });
    let destination = over(&script, &settings());
    let busy = Arc::clone(&destination);
    let others = tokio::spawn(async move {
        for number in 0..2000 {
            assert!(matches!(send(&busy, &format!("{number}")).await, Delivery::Done(_)));
        }
    });
    sleep(Duration::from_millis(55)).await;
    let Delivery::Refused { reply, .. } = send(&destination, "forbidden").await else { panic!() };
    assert_eq!((reply.status, reply.attempts), (403, 8));
    others.await.unwrap();
}

/// Takes requests through a destination as the loop does: those that are held come back when they are called, the longest-held first. Gives their ends.
async fn carry_all(destination: &Arc<Destination<Arc<Script>>>, keys: &[&str]) -> BTreeMap<String, Delivery> {
    let mut ended = BTreeMap::new();
    let mut coming: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let mut held = std::collections::VecDeque::new();
    while ended.len() < keys.len() {
        let all = join_all(coming.iter().map(|key| send(destination, key))).await;
        for (key, delivery) in coming.drain(..).zip(all) {
            match delivery {
                Delivery::Held(_) => held.push_back(key),
                delivery => drop(ended.insert(key, delivery)),
            }
        }
        if !held.is_empty() {
            let count = recovered(destination).await.min(held.len());
            coming.extend(held.drain(..count));
        }
    }
    ended
}

const QUICK_BREAKER: Breaker = Breaker { failure_ratio: 0.5, minimum: 2, window: Duration::from_secs(10), open_for: Duration::from_secs(5) };

#[tokio::test(start_paused = true)]
async fn an_outage_uses_up_no_attempts_however_long_it_is() {
    let hour = Duration::from_secs(3600);
    for answer in [
        || reply(500, &[]),
        || reply(503, &[("retry-after", "7")]),
        || reply(429, &[]),
        || Err(Fault::NoConnection("refused".to_owned())),
        || Err(Fault::Timeout("no reply".to_owned())),
        || Err(Fault::Broken("reset".to_owned())),
    ] as [fn() -> Result<Answer, Fault>; 6]
    {
        let start = Instant::now();
        let script = Script::new(move |_, _| async move { if start.elapsed() < hour { answer() } else { reply(200, &[]) } });
        let destination = over(&script, &config::Destination { breaker: QUICK_BREAKER, ..settings() });
        let ended = carry_all(&destination, &["a", "b", "c"]).await;
        assert!(ended.values().all(|ended| matches!(ended, Delivery::Done(reply) if reply.attempts < 8)), "{ended:?}");
        assert!(script.count() > 8 * 3, "{} probes", script.count());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_uses_up_no_attempts() {
    // Refused for so long that the probes are more than the attempts; then one is taken, and the other meets one more failure.
    let status = |number| if number < 20 { 401 } else { 503 };
    let script = Script::new(move |number, _| async move { reply(if number == 20 || number > 21 { 200 } else { status(number) }, &[]) });
    let destination = over(&script, &settings());
    let ended = carry_all(&destination, &["a", "b"]).await;
    assert!(ended.values().all(|ended| matches!(ended, Delivery::Done(_))), "{ended:?}");
    assert_eq!(script.count(), 23);
}

/// Takes a bad request through a destination as the loop does, with a good one beside it at any time. Gives how the bad one ended, and what its
/// good ones had to wait at most.
async fn beside_good_ones<W: Wire>(destination: &Arc<Destination<W>>, (bad, key): &(Request, String)) -> (FailedRequest, Duration) {
    let mut held = std::collections::VecDeque::from([(bad.clone(), key.clone(), Instant::now())]);
    let (mut good, mut longest) = (0, Duration::ZERO);
    loop {
        if held.len() < 2 {
            good += 1;
            assert!(good < 50, "{:?}", destination.status());
            // Of the same kind, so that they could be gathered.
            held.push_back((post("/bulk", &format!("9{good}")), format!("good-{good}"), Instant::now()));
        }
        let count = if destination.status().held == 0 { held.len() } else { recovered(destination).await.min(held.len()) };
        let coming: Vec<_> = held.drain(..count).collect();
        let all = join_all(coming.iter().map(|(request, key, _)| destination.deliver(request, stamp(key)))).await;
        for (one, delivery) in coming.into_iter().zip(all) {
            match delivery {
                Delivery::Held(_) => held.push_back(one),
                Delivery::Done(_) => {
                    assert_ne!(one.1, *key);
                    longest = longest.max(one.2.elapsed());
                }
                Delivery::Exhausted { request, .. } if one.1 == *key => return (request, longest),
                other => panic!("{}: {other:?}", one.1),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_breaks_its_destination_neither_keeps_it_closed_nor_lives_for_ever() {
    let script = Script::new(|_, path: String| {
        let poison = path.contains("poison");
        async move { reply(if poison { 500 } else { 200 }, &[]) }
    });
    let destination = over(&script, &config::Destination { breaker: QUICK_BREAKER, ..settings() });
    let (ended, longest) = beside_good_ones(&destination, &(post("/poison", "{}"), "poison".to_owned())).await;
    assert_eq!(ended.attempts, 8, "those of the probes aside");
    assert!(longest <= Duration::from_secs(11), "a good one waited for {longest:?}, which is more than two turns of the probe");
}

#[tokio::test(start_paused = true)]
async fn hold_waits_for_better_times() {
    let script = Script::new(async |number, _| reply(if number < 16 { 500 } else { 200 }, &[]));
    let destination = over(&script, &config::Destination { on_exhausted: OnExhausted::Hold, ..settings() });
    let mut held = 0;
    loop {
        let begun = Instant::now();
        match send(&destination, "a").await {
            Delivery::Held(_) => held += 1,
            Delivery::Done(reply) => {
                assert_eq!(reply.attempts, 1);
                break;
            }
            other => panic!("{other:?}"),
        }
        if held == 1 {
            // Later there is room for some seconds after each call, for calls that came too early.
            assert_eq!(destination.gate().room(), 0, "not before its time");
        }
        recovered(&destination).await;
        assert!(begun.elapsed() >= Duration::from_secs(30));
    }
    assert_eq!((held, script.count()), (2, 17));
}

#[tokio::test(start_paused = true)]
async fn a_crowd_is_turned_away_and_called_back() {
    let script = Script::new(async |_, _| {
        sleep(Duration::from_millis(1)).await;
        reply(200, &[])
    });
    let destination = over(&script, &settings());
    let total = 20_000;
    #[expect(clippy::disallowed_methods, reason = "a test knows how much it sends")]
    let (back, mut returned) = tokio::sync::mpsc::unbounded_channel();
    let start = |key: usize| {
        let (destination, back) = (Arc::clone(&destination), back.clone());
        tokio::spawn(async move {
            let ended = send(&destination, &key.to_string()).await;
            back.send((key, ended)).unwrap();
        });
    };
    (0..total).for_each(start);
    let (mut done, mut held) = (0, std::collections::VecDeque::new());
    let mut most = 0;
    while done < total {
        tokio::select! { biased;
            Some((key, ended)) = returned.recv() => match ended {
                Delivery::Done(_) => done += 1,
                Delivery::Held(_) => held.push_back(key),
                other => panic!("{other:?}"),
            },
            count = recovered(&destination) => {
                most = most.max(destination.status().waiting);
                for key in held.drain(..count.min(held.len())) { start(key) }
            }
        }
    }
    assert_eq!(script.count(), total, "each was sent once");
    assert!(most <= 2048 + 3072, "{most}");
    let status = destination.status();
    assert_eq!((status.in_flight, status.waiting, status.held), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_leaves_nothing_behind() {
    let script = Script::new(async |_, _| std::future::pending().await);
    let destination = over(&script, &config::Destination { concurrency: Concurrency::Fixed(2), ..settings() });
    {
        let keys: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        let all = join_all(keys.iter().map(|key| send(&destination, key)));
        tokio::time::timeout(Duration::from_secs(1), all).await.unwrap_err();
    }
    assert_eq!(script.count(), 2);
    let status = destination.status();
    assert_eq!((status.in_flight, status.waiting), (0, 0));
}

fn batch(max: usize) -> config::Batch {
    config::Batch { max, linger: Duration::from_millis(20), bytes: 1 << 20, format: config::BatchFormat::JsonArray, per_item: false, keys: true }
}

/// Each has a result of its own.
fn per_item(max: usize) -> config::Batch {
    config::Batch { per_item: true, ..batch(max) }
}

fn items(count: usize) -> Vec<(Request, String)> {
    (0..count).map(|number| (post("/bulk", &number.to_string()), format!("key-{number}"))).collect()
}

async fn send_all(destination: &Arc<Destination<Arc<Script>>>, items: &[(Request, String)]) -> Vec<Delivery> {
    join_all(items.iter().map(|(request, key)| destination.deliver(request, stamp(key)))).await
}

fn bodies(script: &Script) -> Vec<String> {
    script.bodies.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
}

fn reply_body(body: &str) -> Result<Answer, Fault> {
    Ok(Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()), cut: false })
}

#[tokio::test(start_paused = true)]
async fn batches_go_when_full_or_when_the_first_has_waited() {
    let script = Script::new(async |_, _| reply(200, &[]));
    let destination = over(&script, &config::Destination { batch: Some(batch(3)), ..settings() });
    let ended = send_all(&destination, &items(8)).await;
    assert!(ended.iter().all(|ended| matches!(ended, Delivery::Done(_))));
    assert_eq!(bodies(&script), ["[0,1,2]", "[3,4,5]", "[6,7]"]);
    assert_eq!(script.millis(), [0, 0, 20]);
    // Other paths and other headers do not mix, and one alone keeps its own key.
    let mut apart = items(3);
    apart[1].0.path = "/other".to_owned();
    apart[2].0.headers.push(("x-tenant".to_owned(), "b".to_owned()));
    send_all(&destination, &apart).await;
    let mut last = bodies(&script).split_off(3);
    last.sort();
    assert_eq!(last, ["[0]", "[1]", "[2]"]);
    assert!(script.bodies.lock().unwrap().iter().any(|(key, _)| key == "key-1"));
}

#[tokio::test(start_paused = true)]
async fn batches_are_bounded_in_bytes() {
    let script = Script::new(async |_, _| reply(200, &[]));
    let settings = config::Destination { batch: Some(config::Batch { bytes: 16, format: config::BatchFormat::Ndjson, ..batch(100) }), ..settings() };
    let destination = over(&script, &settings);
    let long = post("/bulk", "\"a long one, alone\"");
    let items: Vec<_> =
        ["1111", "2222", "3333"].map(|body| post("/bulk", body)).into_iter().chain([long]).map(|request| (request, "k".to_owned())).collect();
    send_all(&destination, &items).await;
    assert_eq!(bodies(&script), ["1111\n2222\n", "3333\n", "\"a long one, alone\"\n"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_is_not_sent_again() {
    let script = Script::new(async |number, _| match number {
        0 => reply_body(r#"[201, 503, {"status":422,"error":"no"}, 503]"#),
        1 => reply_body("[200, 503]"),
        _ => reply_body("[200]"),
    });
    let destination = over(&script, &config::Destination { batch: Some(per_item(4)), ..settings() });
    let ended = send_all(&destination, &items(4)).await;
    assert_eq!(bodies(&script), ["[0,1,2,3]", "[1,3]", "[3]"]);
    let status: Vec<_> = ended
        .iter()
        .map(|ended| match ended {
            Delivery::Done(reply) => (reply.status, reply.attempts),
            Delivery::Refused { reply, request } => {
                assert_eq!(request.reply_excerpt.as_deref(), Some(r#"{"status":422,"error":"no"}"#));
                (reply.status, reply.attempts)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(status, [(201, 1), (200, 2), (422, 1), (200, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_a_result_for_each_item_is_not_taken_for_done_and_not_sent_again() {
    for body in ["", "ok", "{}", "[200, 200", "[200]", "[200, 200, 200]"] {
        let script = Script::new(move |_, _| async move { reply_body(body) });
        let destination = over(&script, &config::Destination { batch: Some(per_item(2)), ..settings() });
        for ended in send_all(&destination, &items(2)).await {
            let Delivery::Unclear { detail, reply, request } = ended else { panic!("{body}: {ended:?}") };
            assert!(detail.starts_with("`orders` answered a batch with 200 OK and not with one result for each request"), "{detail}");
            assert_eq!((reply.status, request.last_status), (200, Some(200)));
        }
        assert_eq!(script.count(), 1, "{body}");
    }
    // What was cut off may look whole.
    let script = Script::new(async |_, _| Ok(Answer { cut: true, ..reply_body("[200, 200]")? }));
    let destination = over(&script, &config::Destination { batch: Some(per_item(2)), ..settings() });
    assert!(send_all(&destination, &items(2)).await.iter().all(|ended| matches!(ended, Delivery::Unclear { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_gives_no_results_is_left_alone() {
    let script = Script::new(async |_, _| reply_body("<html>back soon</html>"));
    let breaker = Breaker { failure_ratio: 0.5, minimum: 5, window: Duration::from_secs(10), open_for: Duration::from_secs(5) };
    let destination = over(&script, &config::Destination { batch: Some(per_item(1)), breaker, ..settings() });
    let mut given_up = 0;
    for item in items(100) {
        given_up += usize::from(matches!(destination.deliver(&item.0, stamp(&item.1)).await, Delivery::Unclear { .. }));
    }
    assert_eq!((given_up, destination.status().breaker.code()), (5, "open"));
    assert!(destination.status().last_error.unwrap().1.contains("no JSON array"));
}

/// A wire that answers each body with the status that it is judged to deserve.
struct Judge(Arc<Script>, fn(&str) -> u16);

impl Wire for Judge {
    async fn send(&self, request: http::Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let Judge(script, judge) = self;
        Wire::send(script, request).await.unwrap();
        let status = judge(&script.bodies.lock().unwrap().last().unwrap().1);
        reply(status, &[])
    }
}

/// A destination behind a [`Judge`], and what it was sent.
fn judged(settings: config::Destination, judge: fn(&str) -> u16) -> (Arc<Script>, Arc<Destination<Judge>>) {
    let script = Script::new(async |_, _| reply(200, &[]));
    let wire = Judge(Arc::clone(&script), judge);
    let destination = Destination::over(wire, &settings, Arc::new(Common::new(1)), Metrics::new()).unwrap();
    (script, Arc::new(destination))
}

#[tokio::test(start_paused = true)]
async fn a_bad_item_is_found_by_halving() {
    let settings = config::Destination { batch: Some(batch(8)), ..settings() };
    let (script, destination) = judged(settings, |body| if body.contains('5') { 400 } else { 200 });
    let items = items(8);
    let ended = join_all(items.iter().map(|(request, key)| destination.deliver(request, stamp(key)))).await;
    for (number, ended) in ended.iter().enumerate() {
        match ended {
            Delivery::Refused { reply, .. } => assert_eq!((number, reply.status), (5, 400)),
            Delivery::Done(_) => assert_ne!(number, 5),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bodies(&script), ["[0,1,2,3,4,5,6,7]", "[0,1,2,3]", "[4,5,6,7]", "[4,5]", "[4]", "[5]", "[6,7]"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_held_is_called_back_whole() {
    let script = Script::new(async |number, _| reply(if number == 0 { 401 } else { 200 }, &[]));
    let destination = over(&script, &config::Destination { batch: Some(batch(10)), ..settings() });
    let mut items = items(10);
    assert!(send_all(&destination, &items).await.iter().all(|ended| matches!(ended, Delivery::Held(_))));
    assert_eq!(destination.status().held, 10);
    let mut done = 0;
    while done < 10 {
        let count = recovered(&destination).await.min(items.len());
        let called: Vec<_> = items.drain(..count).collect();
        done += send_all(&destination, &called).await.iter().filter(|ended| matches!(ended, Delivery::Done(_))).count();
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_in_a_batch_keeps_its_attempts_and_uses_up_nobody_elses() {
    let settings = config::Destination { batch: Some(batch(2)), breaker: QUICK_BREAKER, ..settings() };
    // It breaks at every batch with a 0 alone in it or at its beginning.
    let (script, destination) = judged(settings, |body| if body.starts_with("[0") { 500 } else { 200 });
    let first = items(2);
    let both = join_all(first.iter().map(|(request, key)| destination.deliver(request, stamp(key)))).await;
    assert!(both.iter().all(|ended| matches!(ended, Delivery::Held(_))), "the breaker has opened");
    // It comes back under the same key, beside fresh ones that it could be gathered with.
    let (ended, _) = beside_good_ones(&destination, &first[0]).await;
    assert_eq!(ended.attempts, 8);
    let bodies = bodies(&script);
    assert_eq!(bodies[..2], ["[0,1]", "[0,1]"]);
    assert!(bodies[2..].iter().all(|body| !body.contains(',')), "{bodies:?}");
    assert!(bodies[2..].iter().any(|body| body != "[0]"), "{bodies:?}");
}

/// The keys that came with each request, as a destination would read them.
fn keys(script: &Script) -> Vec<Vec<String>> {
    let keys = script.keys.lock().unwrap();
    keys.iter().map(|keys| keys.as_deref().unwrap_or_default().split(", ").map(str::to_owned).collect()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_keeps_its_key_in_whichever_batch_it_comes() {
    let script = Script::new(async |number, _| match number {
        0 => reply_body("[503, 200, 503]"),
        1 => reply(401, &[]),
        _ => reply_body("[200]"),
    });
    let destination = over(&script, &config::Destination { batch: Some(per_item(3)), ..settings() });
    let items = items(3);
    let ended = send_all(&destination, &items).await;
    assert!(matches!(ended[..], [Delivery::Held(_), Delivery::Done(_), Delivery::Held(_)]), "{ended:?}");
    recovered(&destination).await;
    assert!(matches!(send_all(&destination, &items[..1]).await[..], [Delivery::Done(_)]));
    assert_eq!(bodies(&script), ["[0,1,2]", "[0,2]", "[0]"]);
    assert_eq!(keys(&script), [vec!["key-0", "key-1", "key-2"], vec!["key-0", "key-2"], vec!["key-0"]]);
    assert_eq!(script.bodies.lock().unwrap()[2].0, "key-0", "one alone has its own");
}

#[tokio::test(start_paused = true)]
async fn the_list_of_keys_is_bounded_and_complete() {
    let long = |count: usize| -> Vec<_> { (0..count).map(|number| (post("/bulk", "1"), format!("{number:0>98}"))).collect() };
    let script = Script::new(async |_, _| reply(200, &[]));
    let destination = over(&script, &config::Destination { batch: Some(batch(100)), ..settings() });
    let items = long(100);
    send_all(&destination, &items).await;
    let listed = keys(&script);
    // A hundred bytes each, so forty fit into 4 KiB.
    assert_eq!(listed.iter().map(Vec::len).collect::<Vec<_>>(), [40, 40, 20]);
    assert_eq!(listed.concat(), items.iter().map(|(_, key)| key.clone()).collect::<Vec<_>>());

    let script = Script::new(async |_, _| reply(200, &[]));
    let destination = over(&script, &config::Destination { batch: Some(config::Batch { keys: false, ..batch(100) }), ..settings() });
    send_all(&destination, &items).await;
    assert_eq!(*script.keys.lock().unwrap(), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_retried_batch_is_the_same() {
    let script = Script::new(async |number, _| reply(if number < 2 { 503 } else { 200 }, &[]));
    let destination = over(&script, &config::Destination { batch: Some(batch(5)), ..settings() });
    assert!(send_all(&destination, &items(5)).await.iter().all(|ended| matches!(ended, Delivery::Done(reply) if reply.attempts == 3)));
    let sent = script.bodies.lock().unwrap().clone();
    assert!(sent.iter().all(|each| *each == sent[0]) && sent.len() == 3 && sent[0].0.starts_with("batch/"), "{sent:?}");
}

/// Sends these, and gives the first ones up after a while, as when their partition is taken away.
async fn send_and_leave(destination: &Arc<Destination<Arc<Script>>>, items: &[(Request, String)], leaving: usize, after: Duration) -> Vec<Delivery> {
    let (first, others) = items.split_at(leaving);
    let (left, ended) = tokio::join!(tokio::time::timeout(after, send_all(destination, first)), send_all(destination, others));
    left.unwrap_err();
    ended
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_nobody_waits_for_any_more_is_not_sent_again() {
    let script = Script::new(async |_, _| reply(503, &[("retry-after", "5")]));
    let destination = over(&script, &config::Destination { batch: Some(batch(2)), ..settings() });
    send_and_leave(&destination, &items(2), 2, Duration::from_secs(1)).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(script.millis(), [0]);
    let status = destination.status();
    assert_eq!((status.in_flight, status.waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_a_batch_is_not_in_what_is_sent_afterwards() {
    // Between two attempts, in the middle of one, and while it waits for a permit.
    let between = Script::new(async |number, _| if number == 0 { reply(503, &[("retry-after", "5")]) } else { reply(200, &[]) });
    let middle = Script::new(async |number, _| {
        sleep(Duration::from_secs(if number == 0 { 100 } else { 0 })).await;
        reply(200, &[])
    });
    for (script, again_at) in [(between, 5), (middle, 1)] {
        let destination = over(&script, &config::Destination { batch: Some(batch(3)), ..settings() });
        let ended = send_and_leave(&destination, &items(3), 1, Duration::from_secs(1)).await;
        assert!(ended.iter().all(|ended| matches!(ended, Delivery::Done(_))), "{ended:?}");
        assert_eq!(bodies(&script), ["[0,1,2]", "[1,2]"]);
        // What the destination asked for holds for those that are left.
        let sent = script.millis();
        assert_eq!((sent[1] - sent[0]) / 1000, again_at);
    }
    let waiting = Script::new(async |_, _| {
        sleep(Duration::from_secs(5)).await;
        reply(200, &[])
    });
    let settings = config::Destination { batch: Some(batch(3)), concurrency: Concurrency::Fixed(1), ..settings() };
    let destination = over(&waiting, &settings);
    let busy = items(6).split_off(3);
    let others = items(3);
    let (first, ended) = tokio::join!(send_all(&destination, &busy), send_and_leave(&destination, &others, 1, Duration::from_secs(1)));
    assert!(first.iter().chain(&ended).all(|ended| matches!(ended, Delivery::Done(_))));
    assert_eq!(bodies(&waiting), ["[3,4,5]", "[1,2]"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_no_json_is_denied_alone() {
    let script = Script::new(async |_, _| reply(200, &[]));
    let destination = over(&script, &config::Destination { batch: Some(batch(2)), ..settings() });
    let items = [(post("/bulk", "{"), "a".to_owned()), (post("/bulk", "1"), "b".to_owned())];
    let ended = send_all(&destination, &items).await;
    assert!(matches!(ended[..], [Delivery::Denied { .. }, Delivery::Done(_)]), "{ended:?}");
}
