//! What the window costs: lanes and ledger, a record from its arrival to its settling.
//!
//! `cargo bench -p keyway --bench window`

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use keyway::config;
use keyway::lanes::{Job, Lanes};
use keyway::record::{Assignment, AssignmentId, Record};
use keyway::settle::{Ledger, Opened};
use tokio::time::Instant;

/// Records that wait at once: what 64 MiB hold of 1 KiB records is three times this.
const WINDOW: i64 = 20_000;

fn main() {
    divan::Divan::from_args().min_time(Duration::from_secs(1)).main();
}

fn records(keys: i64) -> Vec<Record> {
    let assignment = Arc::new(Assignment { id: AssignmentId(1), topic: "events".into(), partition: 0 });
    let payload = Bytes::from(vec![b'x'; 1024]);
    let record = |offset: i64| Record {
        assignment: Arc::clone(&assignment),
        offset,
        timestamp: None,
        key: Some(Bytes::from(format!("order:{}", offset * 7919 % keys))),
        headers: Vec::new(),
        payload: Some(payload.clone()),
    };
    (0..WINDOW).map(record).collect()
}

/// A full window comes, starts and settles, by number of keys.
#[divan::bench(args = [10, 1_000, 20_000])]
fn records_through_lanes_and_ledger(bencher: Bencher<'_, '_>, keys: i64) {
    bencher.counter(ItemsCount::new(WINDOW as usize)).with_inputs(|| records(keys)).bench_values(|records| {
        let mut ledger = Ledger::default();
        ledger.assign(Arc::clone(&records[0].assignment), Some(0), "");
        let mut lanes = Lanes::new(config::Lanes::default());
        for record in records {
            if let Opened::Undecided(ticket) = ledger.open(record.position(), record.key.as_deref()) {
                lanes.push(Job { record: Box::new(record), ticket, arrived: Instant::now(), progress: None, behind: 0 });
            }
        }
        while let Some((lane, job)) = lanes.start() {
            ledger.settle(job.ticket);
            lanes.finish(lane);
        }
        ledger.marks()
    });
}

/// One commit while every other record of a window is undecided: the worst that a map of it costs.
#[divan::bench]
fn a_commit_with_a_scattered_window(bencher: Bencher<'_, '_>) {
    let mut ledger = Ledger::default();
    let records = records(1);
    ledger.assign(Arc::clone(&records[0].assignment), Some(0), "");
    for record in &records {
        if let Opened::Undecided(ticket) = ledger.open(record.position(), record.key.as_deref())
            && record.offset % 2 == 1
        {
            ledger.settle(ticket);
        }
    }
    bencher.bench_local(|| {
        ledger.unmark(&[AssignmentId(1)]);
        ledger.marks()
    });
}
