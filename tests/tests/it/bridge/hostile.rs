//! Every hostile guest at once against the real binary: the process lives, its memory is bounded, and it says all the while that it is well, soon.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::traffic::{Sent, Traffic, guest};
use e2e::{Broker, Destination, Host, Message, until};

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

/// Longest answer to the question whether the host lives, besides what the machine keeps anybody waiting.
const ANSWER: Duration = Duration::from_millis(100);

/// All of them, those that are written by hand put into this folder. Some are refused when they are loaded, as they should be; their records become dead
/// letters as unrouted.
fn hostile(by_hand: &std::path::Path) -> Vec<(String, PathBuf)> {
    let folder = guest("hostile/loop");
    let entries = std::fs::read_dir(folder.parent().expect("a folder")).expect("the hostile guests");
    let built = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    let mut guests: Vec<_> = built.map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path)).collect();
    assert!(guests.len() >= 18, "{guests:?}");
    for (name, component) in hostile_guests::all() {
        let path = by_hand.join(name).with_extension("wasm");
        std::fs::write(&path, component).expect("a component");
        guests.push((name.to_owned(), path));
    }
    guests.sort();
    guests
}

/// Answers whoever asks, as the host's admin server does, and does nothing besides: how long that takes is the machine's doing. Ends with the process.
fn idle_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
        }
    });
    address
}

fn ask_idle(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a question");
    stream.read_to_end(&mut Vec::new()).expect("an answer");
}

#[test]
fn while_all_hostile_guests_attack_the_host_is_well() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("corpus", 4), broker.name("corpus"));
    let destination = Destination::start();
    let folder = tempfile::tempdir().expect("a folder");
    let guests = hostile(folder.path());
    let names: Vec<&str> = guests.iter().map(|(name, _)| name.as_str()).collect();
    let mut builder = Host::builder(broker, &topic, &group).destination("orders", &destination.url(), "").plugin("order.wasm", guest("order"));
    for (name, path) in &guests {
        let sidecar = folder.path().join(format!("{name}.toml"));
        std::fs::write(&sidecar, format!("keys = [\"hostile-{name}:*\"]\n")).expect("a sidecar");
        builder = builder.plugin(&format!("hostile-{name}.wasm"), path).plugin(&format!("hostile-{name}.toml"), sidecar);
    }
    let host = builder.launch();
    let over = AtomicBool::new(false);
    let (asked, longest, machine) = std::thread::scope(|scope| {
        // While they are compiled, too.
        until("the host to answer", RUN, || host.get("/livez"));
        let asking = scope.spawn(|| {
            let idle = idle_server();
            let (mut asked, mut longest, mut machine) = (0, Duration::ZERO, Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = host.get("/livez");
                longest = longest.max(begun.elapsed());
                assert!(answer.as_ref().is_some_and(|(status, _)| *status == 200), "`/livez` answered {answer:?} after {asked} times");
                let begun = Instant::now();
                ask_idle(idle);
                machine = machine.max(begun.elapsed());
                asked += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            (asked, longest, machine)
        });
        until("the host to be ready", RUN, || host.get("/readyz").filter(|(status, _)| *status == 200));
        let mut traffic = Traffic::new(200, 11);
        let attacks = (0..EACH).flat_map(|n| names.iter().map(move |name| Message::new(format!("hostile-{name}:{n}"), "{}")));
        let every = (ORDINARY / (EACH * names.len())).max(1);
        let records = attacks.flat_map(|attack| std::iter::once(attack).chain((0..every).map(|_| traffic.record_of("order"))).collect::<Vec<_>>());
        broker.produce(&topic, records);
        broker.await_settled(&group, &topic, RUN);
        over.store(true, Ordering::Relaxed);
        asking.join().expect("the host to be asked")
    });
    assert!(asked > 10, "the host was asked {asked} times");
    let peak = host.peak_memory().expect("the host still runs");
    eprintln!("asked {asked} times, the longest answer took {longest:?}, one of an idle server {machine:?}; {} MiB at the most", peak >> 20);
    assert!(longest < ANSWER + machine, "{longest:?}, and {machine:?} to ask a server that does nothing else");
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
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    for name in ["about-loop", "wat-start-loop", "wat-memory-at-start", "wat-table-at-start", "wat-large-function", "wat-modules", "wat-nested"] {
        let plugin = status["plugins"].as_array().expect("plugins").iter().find(|plugin| plugin["name"] == format!("hostile-{name}"));
        assert!(plugin.is_some_and(|plugin| plugin["serving"].is_null()), "`{name}` is refused: {plugin:?}");
    }
}
