//! What a guest call costs: a fresh instance for each, one record of 1 KiB through the plugin `order`.
//!
//! `cargo bench -p keyway --bench guest_call`, after the plugins are built. `KEYWAY_BENCH_GUEST=FILE` takes another component. At the end, how much more
//! two threads do than one, which divan's samples cannot say: its threads wait for each other after each.

#![expect(clippy::print_stdout, reason = "a benchmark is read where it is run")]

use std::path::PathBuf;
use std::sync::{Arc, Barrier, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use keyway::observe::Metrics;
use keyway::plugin::{Candidate, Load, Plugin, PluginName, Reuse, Sidecar, Version};
use keyway::policy::Limits;
use keyway::record::{Assignment, AssignmentId, Record};
use keyway::transform::{Component, Sandbox, Settings, Transform};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| Sandbox::new(&Settings::default(), Metrics::new()).expect("a sandbox"));

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fn main() {
    divan::Divan::from_args().min_time(Duration::from_secs(2)).main();
    let rates: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (rate(1), rate(2))).collect();
    let mut ratios: Vec<f64> = rates.iter().map(|(one, two)| two / one).collect();
    ratios.sort_by(f64::total_cmp);
    for (one, two) in &rates {
        println!("fresh calls: {one:.0} a second on one thread, {two:.0} on two: {:.2} times", two / one);
    }
    println!("median: {:.2} times (at least 1.6)", ratios[ratios.len() / 2]);
}

/// Rounds of one thread and then two, so that a busy moment of the machine is in both.
const ROUNDS: usize = 5;

/// Fresh calls a second, of so many threads that know nothing of each other.
fn rate(threads: u32) -> f64 {
    let begin = Barrier::new(threads as usize);
    std::thread::scope(|scope| {
        let counting = (0..threads).map(|_| {
            scope.spawn(|| {
                let (plugin, record) = (plugin(None), record());
                let call = || {
                    RUNTIME
                        .with(|runtime| runtime.block_on(SANDBOX.transform(&plugin, &record)))
                        .unwrap_or_else(|failure| panic!("{}", failure.detail))
                };
                (0..1_000).for_each(|_| drop(call()));
                begin.wait();
                let began = Instant::now();
                let mut count = 0_u32;
                while began.elapsed() < Duration::from_secs(1) {
                    drop(call());
                    count += 1;
                }
                f64::from(count) / began.elapsed().as_secs_f64()
            })
        });
        counting.collect::<Vec<_>>().into_iter().map(|thread| thread.join().expect("a count")).sum()
    })
}

/// A plugin of the component under test.
fn plugin(reuse: Option<Reuse>) -> Plugin<Component> {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/target/wasm32-unknown-unknown/release/order.wasm");
    let file = std::env::var_os("KEYWAY_BENCH_GUEST").map_or_else(|| PathBuf::from(built), PathBuf::from);
    let component = std::fs::read(&file).unwrap_or_else(|error| panic!("build the plugins first: `{}`: {error}", file.display()));
    let sidecar = Sidecar { reuse, ..Sidecar::default() };
    let name = PluginName::new("default", "order");
    let candidate = Candidate { name, version: Version("0".into()), component: Bytes::from(component), sidecar, limits: Limits::default() };
    let loaded = RUNTIME.with(|runtime| runtime.block_on(SANDBOX.load(&candidate))).unwrap_or_else(|refusal| panic!("{refusal}"));
    Plugin::alone(candidate, loaded.code, loaded.sees_replies)
}

/// An order of 1 KiB: one of the plugin's own cases.
fn record() -> Record {
    let case = include_str!("../../plugins/rust/order/order.cases/created.json");
    let case: serde_json::Value = serde_json::from_str(case).expect("a case");
    let payload = case["message"]["payload"].to_string();
    Record {
        assignment: Arc::new(Assignment { id: AssignmentId(1), topic: "events".into(), partition: 0 }),
        offset: 1,
        timestamp: Some(1_700_000_000_000),
        key: Some(Bytes::from_static(b"order:1001")),
        headers: vec![("trace".to_owned(), Bytes::from_static(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))],
        payload: Some(Bytes::from(payload)),
    }
}

fn call(bencher: Bencher<'_, '_>, reuse: Option<Reuse>) {
    let (plugin, record) = (plugin(reuse), record());
    bencher.counter(divan::counter::ItemsCount::new(1_usize)).bench(|| {
        RUNTIME.with(|runtime| runtime.block_on(SANDBOX.transform(&plugin, &record))).unwrap_or_else(|failure| panic!("{}", failure.detail))
    });
}

/// The default: a fresh instance for each record.
#[divan::bench(threads = [1, 2])]
fn fresh(bencher: Bencher<'_, '_>) {
    call(bencher, None);
}

/// An instance kept for a thousand records.
#[divan::bench(threads = [1, 2])]
fn kept(bencher: Bencher<'_, '_>) {
    call(bencher, Some(Reuse { calls: 1_000, memory: 64 << 20 }));
}
