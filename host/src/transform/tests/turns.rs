//! Whose turn it is in the slow lane.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

use super::super::slow_lane::{Meter, SlowLane, TeamId};

/// So many slices of a millisecond of CPU time each.
async fn slices(count: u32) {
    for _ in 0..count {
        let now = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            time.tv_sec * 1_000_000_000 + time.tv_nsec
        };
        let ends = now() + 1_000_000;
        while now() < ends {
            std::hint::spin_loop();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_with_many_calls_gets_no_more_than_one_with_few() {
    let lane = SlowLane::start(1).unwrap();
    let noisy: Vec<_> = (0..10).map(|_| Arc::new(Meter::default())).collect();
    let calls: Vec<_> = noisy.iter().map(|meter| lane.run(TeamId(0), slices(10_000), Arc::clone(meter))).collect();
    let quiet = Arc::new(Meter::default());
    lane.run(TeamId(1), slices(50), Arc::clone(&quiet)).await.unwrap();
    let noisy: Duration = noisy.iter().map(|meter| meter.used()).sum();
    // They ran side by side, so each had the same but for a slice or two, and what the noisy one had before the quiet one came.
    assert!(noisy < quiet.used() * 3 / 2, "{noisy:?} beside {:?}", quiet.used());
    assert!(noisy > quiet.used() / 2, "{noisy:?} beside {:?}", quiet.used());
    drop(calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_is_woken() {
    let lane = SlowLane::start(1).unwrap();
    let (sender, receiver) = oneshot::channel::<u32>();
    let call = tokio::spawn(lane.run(TeamId(0), async move { receiver.await.unwrap() }, Arc::default()));
    // Nobody else is kept waiting meanwhile.
    lane.run(TeamId(0), slices(1), Arc::default()).await.unwrap();
    sender.send(7).unwrap();
    assert_eq!(call.await.unwrap(), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_call_and_no_thread() {
    let lane = SlowLane::start(1).unwrap();
    assert_eq!(lane.run(TeamId(0), async { panic!("of the test") }, Arc::default()).await, None::<()>);
    assert_eq!(lane.run(TeamId(0), async { 1 }, Arc::default()).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_the_lane_ends_its_calls() {
    let lane = SlowLane::start(1).unwrap();
    let call = lane.run(TeamId(0), slices(u32::MAX), Arc::default());
    drop(lane);
    assert_eq!(call.await, None);
}
