//! Every hostile guest at once against the real binary: the process lives, its memory is bounded, and it says all the while that it is well.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::traffic::{Sent, Traffic, guest};
use e2e::{Broker, Destination, Host, Message};

/// Longest wait for a whole run. Long, since tests share their machine.
const RUN: Duration = Duration::from_secs(300);

/// Records for each hostile guest, each under a key of its own, so that as many calls as may be are in progress.
const EACH: usize = 20;

/// Ordinary records between them.
const ORDINARY: usize = 2_000;

/// What the process may hold: the window (64 MiB), some 200 MiB of its own, and instances at their limit of 64 MiB each: six calls of a team for each
/// thread of the slow lane (one less than there are cores) and four that wait.
fn memory_max() -> u64 {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).saturating_sub(1).max(1) as u64;
    (64 + 200 + (6 * threads + 4) * 64) << 20
}

/// All of them; `about-loop` is refused when it is loaded, and its records become dead letters as unrouted.
fn hostile() -> Vec<String> {
    let folder = guest("hostile/loop");
    let entries = std::fs::read_dir(folder.parent().expect("a folder")).expect("the hostile guests");
    let names = entries.filter_map(|entry| entry.expect("an entry").file_name().to_str()?.strip_suffix(".wasm").map(str::to_owned));
    names.filter(|name| !name.starts_with('.')).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn while_all_hostile_guests_attack_the_host_is_well() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("corpus", 4), broker.name("corpus"));
    let destination = Destination::start();
    let names = hostile();
    assert!(names.len() >= 18, "{names:?}");
    let host = names
        .iter()
        .fold(
            Host::builder(broker, &topic, &group).destination("orders", &destination.url(), "").plugin("order.wasm", guest("order")),
            |host, name| host.plugin(&format!("hostile-{name}.wasm"), guest(&format!("hostile/{name}"))),
        )
        .start();
    let over = AtomicBool::new(false);
    let (asked, longest) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut asked, mut longest) = (0, Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = host.get("/livez");
                longest = longest.max(begun.elapsed());
                assert!(answer.as_ref().is_some_and(|(status, _)| *status == 200), "`/livez` answered {answer:?} after {asked} times");
                asked += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            (asked, longest)
        });
        let mut traffic = Traffic::new(200, 11);
        let attacks = (0..EACH).flat_map(|n| names.iter().map(move |name| Message::new(format!("hostile-{name}:{n}"), "{}")));
        let every = ORDINARY / (EACH * names.len());
        let records = attacks.flat_map(|attack| std::iter::once(attack).chain((0..every).map(|_| traffic.record_of("order"))).collect::<Vec<_>>());
        broker.produce(&topic, records);
        broker.await_settled(&group, &topic, RUN);
        over.store(true, Ordering::Relaxed);
        asking.join().expect("the host to be asked")
    });
    assert!(asked > 10, "the host was asked {asked} times");
    let peak = host.peak_memory().expect("the host still runs");
    eprintln!("asked {asked} times, the longest answer took {longest:?}; {} MiB at the most", peak >> 20);
    assert!(peak < memory_max(), "{} MiB", peak >> 20);

    // Every ordinary record was delivered, and every attack ended in a dead letter, a skip or a refused request: nothing is left undecided.
    let orders: BTreeSet<(i32, i64)> = broker
        .read(&topic)
        .iter()
        .filter(|record| record.key.as_deref().is_some_and(|key| key.starts_with(b"order:")))
        .map(|record| (record.partition.expect("a read record"), record.offset))
        .collect();
    let delivered: BTreeSet<(i32, i64)> = destination.seen().iter().map(Sent::of).map(|sent| (sent.partition, sent.offset)).collect();
    assert!(orders.is_subset(&delivered), "{} of {} orders came", orders.intersection(&delivered).count(), orders.len());
    let letters = broker.read(&format!("{group}.dead-letters"));
    for reason in ["cpu", "memory", "output", "trapped", "denied"] {
        assert!(letters.iter().any(|letter| letter.header("keyway-reason") == Some(reason)), "no letter says `{reason}`");
    }
    let (_, status) = host.get("/api/status").expect("the status");
    assert!(status.contains("about-loop") && status.contains("\"refused\""), "a guest that never describes itself is refused");
}
