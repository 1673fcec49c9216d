//! What a guest call costs: a fresh instance for each, one record of 1 KiB through the plugin `order`.
//!
//! `cargo bench -p keyway --bench guest_call`, after the plugins are built. `KEYWAY_BENCH_GUEST=FILE` takes another component. At the end, how much more
//! two threads do than one, which divan's samples cannot say: its threads wait for each other after each.

#![expect(clippy::print_stdout, reason = "a benchmark is read where it is run")]

use std::path::PathBuf;
use std::sync::Barrier;
use std::time::Duration;

use divan::Bencher;
use keyway::plugin::{Plugin, Reuse};
use keyway::transform::Component;
use tokio::time::Instant;

mod guest;

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
                let (plugin, record) = (plugin(None), guest::record(guest::order()));
                let call = || guest::call(&plugin, &record);
                (0..1_000).for_each(|_| call());
                begin.wait();
                let began = Instant::now();
                let mut count = 0_u32;
                while began.elapsed() < Duration::from_secs(1) {
                    call();
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
    guest::plugin(&file, reuse)
}

fn call(bencher: Bencher<'_, '_>, reuse: Option<Reuse>) {
    guest::bench(bencher, &plugin(reuse), &guest::record(guest::order()));
}

/// The default: a fresh instance for each record.
#[divan::bench(threads = [1, 2])]
fn fresh(bencher: Bencher<'_, '_>) {
    call(bencher, None);
}

/// An instance kept for a thousand records.
#[divan::bench(threads = [1, 2])]
fn kept(bencher: Bencher<'_, '_>) {
    call(bencher, guest::KEPT);
}
