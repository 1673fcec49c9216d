//! What a call carries in and out.

use super::guest::{ECHO, Guest, SKIP};
use super::*;
use crate::outcome::{Body, Reason, Request};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_comes_out_as_the_guest_made_it() {
    let verdict = ask(&Guest::transform(ECHO).component(), limits(), "{\"a\":\"ü\"}".as_bytes()).await.unwrap();
    let request = Request {
        destination: "d".to_owned(),
        method: "POST".to_owned(),
        path: "/x".to_owned(),
        headers: Vec::new(),
        body: Some(Body::Text("{\"a\":\"ü\"}".to_owned())),
        attributes: Vec::new(),
    };
    assert_eq!(verdict, Verdict::Send(vec![request]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_has_no_payload() {
    let loaded = load(&Guest::transform(ECHO).component()).await.unwrap();
    let verdict = SANDBOX.transform(&plugin(loaded.code, limits()), &Record { payload: None, ..record(1, b"") }).await.unwrap();
    let Verdict::Send(requests) = verdict else { panic!("{verdict:?}") };
    assert_eq!(requests[0].body, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_not_utf8_never_reaches_the_plugin() {
    let failure = ask(&Guest::transform("unreachable").component(), limits(), b"ab\xffcd").await.unwrap_err();
    assert_eq!(failure.reason, Reason::Malformed);
    assert_eq!(failure.detail, "the payload is not UTF-8: byte 2 of 5 is the first that is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_larger_than_the_plugins_memory_never_reaches_it_and_is_no_fault_of_its() {
    let limits = Limits { memory: 1 << 20, ..limits() };
    let component = Guest::transform(SKIP).component();
    assert!(ask(&component, limits, &vec![b' '; 1 << 18]).await.is_ok());
    let failure = ask(&component, limits, &vec![b' '; 1 << 20]).await.unwrap_err();
    assert_eq!(failure.reason, Reason::Oversized);
    assert!(!failure.reason.is_fault() && failure.detail.contains("`limits.memory`"), "{}", failure.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_utf8_is_none() {
    let body = format!("(if (local.get $has_key) (then unreachable)) {SKIP}");
    let loaded = load(&Guest::transform(&body).component()).await.unwrap();
    let plugin = plugin(loaded.code, limits());
    let bad = Record { key: Some(Bytes::from_static(b"\xff")), ..record(1, b"{}") };
    assert!(SANDBOX.transform(&plugin, &bad).await.is_ok());
    let good = SANDBOX.transform(&plugin, &record(1, b"{}")).await.unwrap_err();
    assert_eq!(good.reason, Reason::Trapped);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_state_survives_a_call() {
    let body = format!("(if (i32.load (i32.const 512)) (then unreachable)) (i32.store (i32.const 512) (i32.const 1)) {SKIP}");
    let loaded = load(&Guest::transform(&body).component()).await.unwrap();
    let plugin = plugin(loaded.code, limits());
    for offset in 0..100 {
        SANDBOX.transform(&plugin, &record(offset, b"{}")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_instance_keeps_its_state_for_as_many_calls_as_it_may() {
    // Traps at its fourth call.
    let body = format!(
        "(i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1))) (if (i32.ge_u (i32.load (i32.const 512)) (i32.const 4)) (then unreachable)) {SKIP}"
    );
    let component = Guest::transform(&body).component();
    for (calls, ok) in [(3, 30), (10, 3)] {
        let sidecar = Sidecar { reuse: Some(crate::plugin::Reuse { calls, memory: 4 << 20 }), ..Sidecar::default() };
        let loaded = SANDBOX.load(&candidate(&component, limits(), sidecar)).await.unwrap();
        let plugin = plugin(loaded.code, limits());
        let mut passed = 0;
        for offset in 0..30 {
            match SANDBOX.transform(&plugin, &record(offset, b"{}")).await {
                Ok(_) => passed += 1,
                Err(_) => break,
            }
        }
        // The load is the first call of the first instance, but does not count what the guest counts.
        assert_eq!(passed, ok, "with {calls} calls");
    }
}

/// A guest that leaks, with a mark far beyond its limit: it is retired before it meets the limit, and no record suffers.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_instance_that_grows_is_retired_before_its_limit() {
    // Traps when it gets no further page.
    let body = format!("(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) {SKIP}");
    let sidecar = Sidecar { reuse: Some(crate::plugin::Reuse { calls: u32::MAX, memory: usize::MAX }), ..Sidecar::default() };
    let limits = limits();
    let loaded = SANDBOX.load(&candidate(&Guest::transform(&body).component(), limits, sidecar)).await.unwrap();
    let plugin = plugin(loaded.code, limits);
    let (mut before, mut retired) = (0, Vec::new());
    for offset in 0..300 {
        let trial = SANDBOX.trial(&plugin, &record(offset, b"{}")).await;
        assert_eq!(trial.verdict, Ok(Verdict::Skip("ok".to_owned())), "at call {offset}, with {} bytes", trial.memory);
        if trial.memory < before {
            retired.push(before);
        }
        before = trial.memory;
    }
    let (mark, page) = (limits.memory / 4 * 3, 64 << 10);
    assert!(retired.len() > 1 && retired.iter().all(|memory| (mark..=mark + page).contains(memory)), "{retired:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_call_gets_its_answer_from_the_slow_lane() {
    // About 50 ms of counting, so many ticks.
    let body = format!(
        "(loop $again (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $again (i32.lt_u (local.get $i) (i32.const 50000000)))) {SKIP}"
    );
    let limits = Limits { cpu: Duration::from_secs(10), ..limits() };
    let loaded = SANDBOX.load(&candidate(&Guest::transform(&body).component(), limits, Sidecar::default())).await.unwrap();
    let plugin = plugin(loaded.code, limits);
    let trial = SANDBOX.trial(&plugin, &record(1, b"{}")).await;
    assert_eq!(trial.verdict, Ok(Verdict::Skip("ok".to_owned())));
    assert!(trial.cpu > super::super::engine::TICK, "{:?}", trial.cpu);
    assert!(plugin.code.0.is_slow());
}

/// Two `memory.fill` of 62 MiB, in which nobody can look at the epoch, and after which the call is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_cannot_be_stopped_in_time_is_measured_and_goes_to_the_slow_lane() {
    let limits = Limits { memory: 64 << 20, cpu: Duration::from_secs(10), ..limits() };
    let loaded = SANDBOX.load(&candidate(&guest::large_fills(1_000).component(), limits, Sidecar::default())).await.unwrap();
    let plugin = plugin(loaded.code, limits);
    // Of the first one the clock of the wall says that it may have been slow; so the second is measured, and the next ones are kept from Kafka and HTTP.
    for offset in 1..3 {
        SANDBOX.transform(&plugin, &record(offset, b"{}")).await.unwrap();
    }
    assert!(plugin.code.0.is_slow());
    let trial = SANDBOX.trial(&plugin, &record(3, b"{}")).await;
    assert_eq!(trial.verdict, Ok(Verdict::Skip("ok".to_owned())));
    assert!(trial.cpu > super::super::engine::TICK * 3, "{:?}", trial.cpu);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_tells_what_a_call_took_that_cannot_be_stopped() {
    let limits = Limits { memory: 64 << 20, cpu: Duration::from_secs(10), ..limits() };
    let loaded = SANDBOX.load(&candidate(&guest::large_fills(1_000).component(), limits, Sidecar::default())).await.unwrap();
    let trial = SANDBOX.trial(&plugin(loaded.code, limits), &record(1, b"{}")).await;
    assert!(trial.cpu > super::super::engine::TICK * 3, "{:?}", trial.cpu);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_slow_makes_as_many_calls_in_the_slow_lane_as_it_took_ticks() {
    let loaded = load(&Guest::default().component()).await.unwrap();
    let plugin = plugin(loaded.code, limits());
    plugin.code.0.was_slow(4);
    for call in 0..4 {
        assert!(plugin.code.0.is_slow(), "after {call} calls");
        SANDBOX.transform(&plugin, &record(call, b"{}")).await.unwrap();
    }
    assert!(!plugin.code.0.is_slow());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_call_ends_its_guest() {
    let limits = Limits { cpu: Duration::from_secs(3600), wall: Duration::from_secs(3600), ..limits() };
    let loaded = load(&Guest::transform("(loop $again (br $again)) unreachable").component()).await.unwrap();
    let plugin = Arc::new(plugin(loaded.code, limits));
    let weak = Arc::downgrade(&plugin.code.0);
    let call = tokio::spawn({
        let plugin = Arc::clone(&plugin);
        async move { SANDBOX.transform(&plugin, &record(1, b"{}")).await }
    });
    eventually("the call to begin", || weak.strong_count() > 1).await;
    call.abort();
    drop(call.await);
    drop(plugin);
    eventually("the guest to be dropped", || weak.strong_count() == 0).await;
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let ends = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(tokio::time::Instant::now() < ends, "waited in vain for {what}");
        tokio::task::yield_now().await;
    }
}
