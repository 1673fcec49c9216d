//! What each guest that attacks the host costs the keys of others, and what ends it.
//!
//! Ordinary records of three kinds come at a steady rate, well below what the host can do. For each guest in turn there is a phase in which they come by
//! themselves, and one in which the guest attacks beside them: with records of its own, or, when it is made to be refused, by lying in the plugins' directory
//! in one version after the other. The latency of an ordinary record is the time from its Kafka timestamp to the arrival of its first request. Timestamps
//! are when a record was due, not when it was sent (open loop), so a stall is counted in full by every record that comes in it.
//!
//! All the while the host is asked whether it lives, 50 times a second. The one who asks is at the mercy of the same processors, so how late it woke up from its
//! pauses is told beside. The peak of memory is that of the phase.
//!
//! For each guest the p99 beside it must be below twice that without, and each answer within 100 ms.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::traffic::guest;
use e2e::versions::{deploy, marked};
use e2e::{Broker, Destination, Host, Message, until};

use crate::clock::{Begun, Clock};
use crate::figures::{median, milliseconds, quantile, say};
use crate::load::Load;
use crate::setting::{DEADLINE, KINDS, PARTITIONS, host, peak_mib};

/// Between two ordinary records: 500 a second. Whole milliseconds, since Kafka's timestamps are.
const EVERY: Duration = Duration::from_millis(2);

/// Ordinary records to a hostile one: ten a second. At 100 ms of CPU time each, they keep the slow lane's thread busy, on two cores.
const ORDINARY: usize = 50;

/// Between two versions of a guest that is made to be refused.
const VERSION_EVERY: Duration = Duration::from_millis(500);

/// Seconds of a phase by itself, and of one with an attack.
const SECONDS: [usize; 2] = [3, 4];

/// The beginning of a phase, in which the producer connects; not measured.
const BEGINNING: Duration = Duration::from_secs(1);

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// What serves when it is compiled at last, and attacks by that.
const COMPILED: &str = "wat-slow-compile";

/// Keys of each kind.
const KEYS: usize = 1_000;

/// One guest.
struct Attack {
    name: String,
    component: Vec<u8>,
    /// How the host put it when it was to be loaded, if it was refused.
    refused: Option<String>,
}

impl Attack {
    /// Whether it attacks by being loaded, and not by what it does with records.
    fn is_offered(&self) -> bool {
        self.refused.is_some() || self.name == COMPILED
    }
}

/// A part of the run.
struct Phase {
    /// The place of the guest that attacks.
    attack: Option<usize>,
    /// Records with a timestamp within are measured.
    measured: Range<i64>,
    whole: Range<Instant>,
    peak_mib: f64,
}

/// One question.
struct Asked {
    at: Instant,
    took: Duration,
    /// How much longer the pause before it was than it should have been.
    late: Duration,
}

/// Runs all of them, or those whose names begin with one of these.
pub(crate) fn run(names: &[&str]) {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("hostile", PARTITIONS), broker.name("hostile"));
    let mut attacks = corpus(names);
    assert!(!attacks.is_empty(), "no such guest");
    say(&format!("hostile: 500 records a second by themselves and beside each of {} guests", attacks.len()));
    let destination = Destination::start();
    let folder = std::env::temp_dir().join(format!("keyway-bench-hostile-{}", std::process::id()));
    let host = start(broker, &topic, &group, &destination, &attacks, &folder);
    read_refusals(&host, &mut attacks);
    let clock = Clock::start();
    let over = AtomicBool::new(false);
    let (phases, asked) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&host, &over));
        let phases = play(broker, &topic, &group, &host, &attacks, &clock);
        over.store(true, Ordering::Relaxed);
        (phases, asking.join().expect("the host to be asked"))
    });
    let latencies = latencies(broker, &topic, &destination, &clock);
    report(&attacks, &phases, &latencies, &asked, &letters(broker, &group));
    fs::remove_dir_all(&folder).expect("the folder to go");
}

/// The guests of `plugins/hostile/`, and those that are written by hand.
fn corpus(names: &[&str]) -> Vec<Attack> {
    let folder = guest("hostile/loop").parent().expect("a folder").to_owned();
    let mut built: Vec<PathBuf> = fs::read_dir(folder).expect("the hostile guests").map(|entry| entry.expect("an entry").path()).collect();
    built.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    built.sort();
    let built = built.into_iter().map(|path| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(path).expect("a component"))
    });
    let by_hand = hostile_guests::all().into_iter().map(|(name, component)| (name.to_owned(), component));
    let chosen = built.chain(by_hand).filter(|(name, _)| names.is_empty() || names.iter().any(|prefix| name.starts_with(prefix)));
    chosen.map(|(name, component)| Attack { name, component, refused: None }).collect()
}

/// A host with the three examples and all guests, each of which is offered the keys `hostile-NAME:*`.
fn start(broker: &Broker, topic: &str, group: &str, destination: &Destination, attacks: &[Attack], folder: &std::path::Path) -> Host {
    fs::create_dir_all(folder).expect("a folder");
    let mut builder = host(broker, topic, group, |_| destination.url(), "");
    for Attack { name, component, .. } in attacks {
        let (file, sidecar) = (folder.join(format!("{name}.wasm")), folder.join(format!("{name}.toml")));
        fs::write(&file, component).expect("a component");
        fs::write(&sidecar, format!("keys = [\"hostile-{name}:*\"]\n")).expect("a sidecar");
        builder = builder.plugin(&format!("hostile-{name}.wasm"), file).plugin(&format!("hostile-{name}.toml"), sidecar);
    }
    let host = builder.launch();
    until("the host to be ready", DEADLINE, || host.get("/readyz").filter(|(status, _)| *status == 200));
    host
}

/// Why guests were refused when they were loaded, of the host's own status.
fn read_refusals(host: &Host, attacks: &mut [Attack]) {
    let (_, text) = host.get("/api/status").expect("the status");
    let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for plugin in status["plugins"].as_array().expect("plugins") {
        let name = plugin["name"].as_str().expect("a name");
        let Some(attack) = attacks.iter_mut().find(|attack| name == format!("hostile-{}", attack.name)) else { continue };
        attack.refused = plugin["serving"].is_null().then(|| {
            let versions = plugin["versions"].as_array().into_iter().flatten();
            versions.filter_map(|version| version["reason"].as_str()).next_back().unwrap_or("refused").to_owned()
        });
    }
}

fn play(broker: &Broker, topic: &str, group: &str, host: &Host, attacks: &[Attack], clock: &Clock) -> Vec<Phase> {
    let mut phases = Vec::new();
    // The first is in no figure: a host and a broker that have just begun are slower, which would make the baseline a lenient one.
    for attack in std::iter::once(None).chain((0..attacks.len()).flat_map(|at| [None, Some(at)])) {
        forget_peak(host);
        let begun = clock.begin();
        let seconds = SECONDS[usize::from(attack.is_some())];
        let load = Load::new(&KINDS, seconds * 1_000 / EVERY.as_millis() as usize, KEYS);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            if let Some(attack) = attack.map(|at| &attacks[at]).filter(|attack| attack.is_offered()) {
                scope.spawn(|| offer(host, attack, &over));
            }
            let attacking = attack.map(|at| &attacks[at]).filter(|attack| !attack.is_offered());
            broker.produce(topic, records(attacking, &load, begun));
            over.store(true, Ordering::Relaxed);
        });
        broker.await_settled(group, topic, DEADLINE);
        let first = begun.timestamp + BEGINNING.as_millis() as i64;
        phases.push(Phase {
            attack,
            measured: first..begun.timestamp + seconds as i64 * 1_000,
            whole: begun.instant..Instant::now(),
            peak_mib: peak_mib(host),
        });
    }
    phases.remove(0);
    phases
}

/// The records of a phase, each at the time at which it is due.
fn records(attack: Option<&Attack>, load: &Load, begun: Begun) -> impl Iterator<Item = Message> {
    load.messages().enumerate().flat_map(move |(at, ordinary)| {
        let due = EVERY * at as u32;
        std::thread::sleep((begun.instant + due).saturating_duration_since(Instant::now()));
        let timestamp = Some(begun.timestamp + due.as_millis() as i64);
        let hostile = attack.filter(|_| at % ORDINARY == 0).map(|attack| Message::new(format!("hostile-{}:{at}", attack.name), "{}"));
        [Some(ordinary), hostile].into_iter().flatten().map(move |record| Message { timestamp, ..record })
    })
}

/// Puts one version after the other of a guest that is refused into the directory.
fn offer(host: &Host, attack: &Attack, over: &AtomicBool) {
    for version in 0_u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("hostile-{}", attack.name);
        deploy(&host.plugins(), &name, &marked(&attack.component, &format!("{}", version + 1)));
        std::thread::sleep(VERSION_EVERY);
    }
}

fn ask(host: &Host, over: &AtomicBool) -> Vec<Asked> {
    let mut asked = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let paused = Instant::now();
        std::thread::sleep(ASK_EVERY);
        let at = Instant::now();
        let answer = host.get("/livez");
        assert!(answer.as_ref().is_some_and(|(status, _)| *status == 200), "`/livez` answered {answer:?}");
        asked.push(Asked { at, took: at.elapsed(), late: (at - paused).saturating_sub(ASK_EVERY) });
    }
    asked
}

/// The kernel counts the peak from here on (`clear_refs` in proc(5)).
fn forget_peak(host: &Host) {
    fs::write(format!("/proc/{}/clear_refs", host.process().expect("a running host")), "5").expect("the peak to be forgotten");
}

/// Timestamp and latency in milliseconds of each ordinary record.
fn latencies(broker: &Broker, topic: &str, destination: &Destination, clock: &Clock) -> Vec<(i64, f64)> {
    let arrived = clock.arrivals(destination);
    let records = broker.read(topic);
    let ordinary = records.iter().filter(|record| record.key.as_deref().is_some_and(|key| !key.starts_with(b"hostile-")));
    ordinary
        .map(|record| {
            let timestamp = record.timestamp.expect("a timestamp");
            let at = (record.partition.unwrap_or_default(), record.offset);
            (timestamp, arrived.get(&at).unwrap_or_else(|| panic!("lost: the record {at:?}")) - timestamp as f64)
        })
        .collect()
}

/// By guest, the reason of each of its dead letters, and the milliseconds from its record's timestamp to the letter's.
fn letters(broker: &Broker, group: &str) -> HashMap<String, Vec<(String, f64)>> {
    let mut letters: HashMap<String, Vec<(String, f64)>> = HashMap::new();
    for letter in broker.read(&format!("{group}.dead-letters")) {
        let key = String::from_utf8(letter.key.clone().unwrap_or_default()).expect("a key of ours");
        let name = key.strip_prefix("hostile-").and_then(|key| key.split_once(':')).map_or(key.as_str(), |(name, _)| name).to_owned();
        let from: i64 = letter.header("keyway-timestamp").and_then(|text| text.parse().ok()).expect("the record's timestamp");
        let reason = letter.header("keyway-reason").unwrap_or_default().to_owned();
        letters.entry(name).or_default().push((reason, (letter.timestamp.expect("a timestamp") - from) as f64));
    }
    letters
}

fn report(attacks: &[Attack], phases: &[Phase], latencies: &[(i64, f64)], asked: &[Asked], letters: &HashMap<String, Vec<(String, f64)>>) {
    let p99 = |phase: &Phase| {
        let mut own: Vec<f64> = latencies.iter().filter(|(timestamp, _)| phase.measured.contains(timestamp)).map(|(_, latency)| *latency).collect();
        quantile(&mut own, 0.99)
    };
    let quiet = median(phases.iter().filter(|phase| phase.attack.is_none()).map(p99));
    say(&format!("p99 of the others by themselves: {quiet:.1} ms, the median of {} phases", phases.len() / 2));
    say("| guest | ends with | after, p50 | p99 of others | times the quiet one | `/livez` at most | the one who asks was late by | memory |");
    say("|---|---|---|---|---|---|---|---|");
    let (mut worst_ratio, mut worst_answer): (f64, f64) = (0.0, 0.0);
    for phase in phases {
        let Some(attack) = phase.attack.map(|at| &attacks[at]) else { continue };
        let (ends, after) = match (&attack.refused, letters.get(&attack.name)) {
            (Some(why), _) => {
                let why = why.lines().next().unwrap_or_default().replace('|', "/");
                (format!("refused: {}", why.chars().take(90).collect::<String>()), String::from("loading"))
            }
            (None, None) if attack.is_offered() => (String::from("compiled"), String::from("loading")),
            (None, None) => (String::from("skipped"), String::new()),
            (None, Some(letters)) => (letters[0].0.clone(), format!("{:.0} ms", median(letters.iter().map(|(_, took)| *took)))),
        };
        let answers = || asked.iter().filter(|asked| phase.whole.contains(&asked.at));
        let longest = |of: fn(&Asked) -> Duration| answers().map(|asked| milliseconds(of(asked))).fold(0.0, f64::max);
        let (answer, late) = (longest(|asked| asked.took), longest(|asked| asked.late));
        let ratio = p99(phase) / quiet;
        worst_ratio = worst_ratio.max(ratio);
        worst_answer = worst_answer.max(answer);
        say(&format!(
            "| `{}` | {ends} | {after} | {:.1} ms | {ratio:.2} | {answer:.0} ms | {late:.0} ms | {:.0} MiB |",
            attack.name,
            p99(phase),
            phase.peak_mib
        ));
    }
    say(&format!("at worst {worst_ratio:.2} times the quiet p99 (below 2), and {worst_answer:.0} ms to an answer (within 100)"));
}
