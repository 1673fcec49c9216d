//! What a guest call costs: a fresh instance for each, one record of 1 KiB through the plugin `order`.
//!
//! `cargo bench -p keyway --bench guest_call`, after the plugins are built. `KEYWAY_BENCH_GUEST=FILE` takes another component. At the end, how much more
//! two threads do than one, which divan's samples cannot say: its threads wait for each other after each. Beside it stands a native loop, since what two
//! processors do more than one is the machine's affair first.

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
    let rates: Vec<[f64; 4]> = (0..ROUNDS).map(|_| [rate(1, fresh_call), rate(2, fresh_call), rate(1, native), rate(2, native)]).collect();
    let middle = |of: fn(&[f64; 4]) -> f64| {
        let mut ratios: Vec<f64> = rates.iter().map(of).collect();
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    };
    for [one, two, native_one, native_two] in &rates {
        let (guest, native) = (two / one, native_two / native_one);
        println!(
            "fresh calls: {one:.0} a second on one thread, {two:.0} on two: {guest:.2} times; native: {native_one:.0} and {native_two:.0}: {native:.2} times"
        );
    }
    let (guest, native) = (middle(|[one, two, ..]| two / one), middle(|[.., one, two]| two / one));
    println!("median: {guest:.2} times (at least 1.6); of a native loop, which this machine bounds, {native:.2}; {:.2} of that", guest / native);
}

/// Rounds of one thread and then two, so that a busy moment of the machine is in both.
const ROUNDS: usize = 5;

/// What is done a second by so many threads that know nothing of each other.
fn rate<W: FnMut()>(threads: u32, work: fn() -> W) -> f64 {
    let begin = Barrier::new(threads as usize);
    std::thread::scope(|scope| {
        let counting = (0..threads).map(|_| {
            scope.spawn(|| {
                let mut once = work();
                (0..1_000).for_each(|_| once());
                begin.wait();
                let began = Instant::now();
                let mut count = 0_u32;
                while began.elapsed() < Duration::from_secs(1) {
                    once();
                    count += 1;
                }
                f64::from(count) / began.elapsed().as_secs_f64()
            })
        });
        counting.collect::<Vec<_>>().into_iter().map(|thread| thread.join().expect("a count")).sum()
    })
}

/// A fresh call.
fn fresh_call() -> impl FnMut() {
    let (plugin, record) = (plugin(None), guest::record(guest::order()));
    move || guest::call(&plugin, &record)
}

/// About as much time without the sandbox, and without anything that threads share but the allocator: the record's payload is parsed and written.
fn native() -> impl FnMut() {
    let record = guest::record(guest::order());
    move || {
        let payload: serde_json::Value = serde_json::from_slice(record.payload.as_deref().unwrap_or_default()).expect("JSON");
        drop(std::hint::black_box(payload.to_string()));
    }
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
