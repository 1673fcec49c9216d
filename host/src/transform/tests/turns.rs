//! Whose turn it is in the slow lane.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::super::slow_lane::{Meter, ShareId, SlowLane};
use super::guest::{Guest, SKIP};
use super::*;
use crate::outcome::Reason;

const ROOM: usize = 64;

fn share(team: usize) -> ShareId {
    ShareId { team, plugin: 0 }
}

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
    let lane = SlowLane::start(1, ROOM).unwrap();
    let noisy: Vec<_> = (0..10).map(|_| Arc::new(Meter::default())).collect();
    let (place, other) = (lane.place(share(0), false).await, lane.place(share(1), false).await);
    let calls: Vec<_> = noisy.iter().map(|meter| lane.run(&place, slices(10_000), Arc::clone(meter))).collect();
    let quiet = Arc::new(Meter::default());
    lane.run(&other, slices(50), Arc::clone(&quiet)).await.unwrap();
    let noisy: Duration = noisy.iter().map(|meter| meter.used()).sum();
    // They ran side by side, so each had the same but for a slice or two, and what the noisy one had before the quiet one came.
    assert!(noisy < quiet.used() * 3 / 2, "{noisy:?} beside {:?}", quiet.used());
    assert!(noisy > quiet.used() / 2, "{noisy:?} beside {:?}", quiet.used());
    drop(calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_is_woken() {
    let lane = SlowLane::start(1, ROOM).unwrap();
    let (sender, receiver) = oneshot::channel::<u32>();
    let place = lane.place(share(0), false).await;
    let call = tokio::spawn(lane.run(&place, async move { receiver.await.unwrap() }, Arc::default()));
    // Nobody else is kept waiting meanwhile.
    lane.run(&place, slices(1), Arc::default()).await.unwrap();
    sender.send(7).unwrap();
    assert_eq!(call.await.unwrap(), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_call_and_no_thread() {
    let lane = SlowLane::start(1, ROOM).unwrap();
    let place = lane.place(share(0), false).await;
    assert_eq!(lane.run(&place, async { panic!("of the test") }, Arc::default()).await, None::<()>);
    assert_eq!(lane.run(&place, async { 1 }, Arc::default()).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_the_lane_ends_its_calls() {
    let lane = SlowLane::start(1, ROOM).unwrap();
    let place = lane.place(share(0), false).await;
    let call = lane.run(&place, slices(u32::MAX), Arc::default());
    drop(lane);
    assert_eq!(call.await, None);
}

/// Places of its plugin that are taken, and a wait that is given up: nobody loses a place by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_nobody_waits_for_any_more_goes_to_the_next() {
    let lane = SlowLane::start(1, ROOM).unwrap();
    let first = lane.place(share(0), false).await;
    let second = lane.place(share(0), false).await;
    let mut given_up = Box::pin(lane.place(share(0), false));
    let mut waits = Box::pin(lane.place(share(0), false));
    assert!(given_up.as_mut().now_or_never().is_none() && waits.as_mut().now_or_never().is_none());
    drop(given_up);
    drop(first);
    let third = waits.await;
    let mut waits = Box::pin(lane.place(share(0), false));
    assert!(waits.as_mut().now_or_never().is_none(), "two are taken");
    drop((second, third));
    waits.await;
}

/// Loads this guest as a plugin of this team.
async fn load_as(team: &str, name: &str, guest: &Guest, limits: Limits) -> Arc<Plugin<Component>> {
    let name = PluginName::new(team, name);
    let candidate = Candidate { name: name.clone(), ..candidate(&guest.component(), limits, Sidecar::default()) };
    let loaded = SANDBOX.load(&candidate).await.unwrap();
    Arc::new(Plugin { name, ..plugin(loaded.code, limits) })
}

/// Far more calls that loop than there are places: slow calls of a plugin of the same team, and of another team's, still take their turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_loops_in_every_call_delays_no_other() {
    const LOOPS: usize = 200;
    let looping = load_as("noisy", "loop", &Guest::transform("(loop $again (br $again)) unreachable"), limits()).await;
    let count = format!(
        "(loop $again (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $again (i32.lt_u (local.get $i) (i32.const 8000000)))) {SKIP}"
    );
    let patient = Limits { cpu: Duration::from_secs(10), ..limits() };
    let beside = load_as("noisy", "count", &Guest::transform(&count), patient).await;
    let other = load_as("quiet", "count", &Guest::transform(&count), patient).await;

    let ended = Arc::new(AtomicUsize::new(0));
    let mut loops = JoinSet::new();
    for n in 0..LOOPS {
        let (looping, ended) = (Arc::clone(&looping), Arc::clone(&ended));
        loops.spawn(async move {
            let failure = SANDBOX.transform(&looping, &record(n as i64, b"{}")).await.unwrap_err();
            assert_eq!(failure.reason, Reason::Cpu);
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    loops.join_next().await.unwrap().unwrap();
    let before = ended.load(Ordering::Relaxed);
    for n in 0..5 {
        for plugin in [&beside, &other] {
            assert_eq!(SANDBOX.transform(plugin, &record(n, b"{}")).await, Ok(Verdict::Skip("ok".to_owned())));
        }
    }
    // Ten calls of some 8 ms, each with a third of a thread or more, beside loops of 20 ms.
    let meanwhile = ended.load(Ordering::Relaxed) - before;
    assert!(meanwhile < LOOPS / 2, "{meanwhile} loops ended meanwhile");
    loops.abort_all();
}
