//! What flows through the bridge in the tests, and what must be true of it afterwards.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Broker, Destination, Host, HostBuilder, Message, Seen};

/// The component of a guest, as `scripts/build-guests`, or `scripts/off-the-shelf`, leaves it.
///
/// # Panics
/// When it is not built: a test without its guest would test nothing.
pub fn guest(name: &str) -> PathBuf {
    let file = built(name);
    let script = if name.starts_with("off-the-shelf/") { "scripts/off-the-shelf" } else { "scripts/build-guests" };
    assert!(file.is_file(), "`{}` is not built (`{script}`)", file.display());
    file
}

/// Whether [`guest`] finds it: for measurements that can do without.
pub fn is_built(name: &str) -> bool {
    built(name).is_file()
}

fn built(name: &str) -> PathBuf {
    plugins().join("built").join(format!("{name}.wasm"))
}

/// A host with the three example plugins and this destination for all of them.
pub fn host(broker: &Broker, topic: &str, group: &str, destination: &Destination) -> HostBuilder {
    ["order", "shipment", "refund"].iter().fold(
        ["orders", "shipping", "payments"]
            .iter()
            .fold(Host::builder(broker, topic, group), |host, name| host.destination(name, &destination.url(), "")),
        |host, plugin| host.plugin(&format!("{plugin}.wasm"), guest(plugin)),
    )
}

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
}

/// Makes records of the three example kinds, with Zipf keys: a few are hot, as in life. The same seed makes the same records.
#[derive(Debug)]
pub struct Traffic {
    kinds: Vec<(&'static str, Value)>,
    /// The share of the keys up to each one.
    shares: Vec<f64>,
    random: u64,
    made: u64,
}

impl Traffic {
    /// Records over so many keys; the n-th most frequent has the share of 1/n.
    ///
    /// # Panics
    /// When the example plugins' cases are not there.
    pub fn new(keys: usize, seed: u64) -> Traffic {
        let kinds = [("order", "created"), ("shipment", "in-transit"), ("refund", "approved")].map(|(kind, case)| {
            let file = plugins().join(format!("rust/{kind}/{kind}.cases/{case}.json"));
            let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("read `{}`: {error}", file.display()));
            let case: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("read `{}`: {error}", file.display()));
            (kind, case["message"]["payload"].clone())
        });
        let weights: Vec<f64> = (1..=keys).map(|n| 1.0 / n as f64).collect();
        let total: f64 = weights.iter().sum();
        let shares = weights.iter().scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        });
        Traffic { kinds: kinds.to_vec(), shares: shares.collect(), random: seed, made: 0 }
    }

    /// A number from 0 to 1 (SplitMix64, public domain by Sebastiano Vigna).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next record, of any kind.
    pub fn record(&mut self) -> Message {
        let kind = self.made as usize % self.kinds.len();
        self.of_kind(kind)
    }

    /// The next record of one kind: `order`, `shipment` or `refund`.
    pub fn record_of(&mut self, name: &str) -> Message {
        let kind = self.kinds.iter().position(|(kind, _)| *kind == name).expect("one of the three kinds");
        self.of_kind(kind)
    }

    fn of_kind(&mut self, kind: usize) -> Message {
        let random = self.random();
        let key = self.shares.partition_point(|share| *share < random);
        self.made += 1;
        let number = self.made;
        let (name, payload) = &mut self.kinds[kind];
        payload["id"] = Value::String(format!("{name}-{number}"));
        Message::new(format!("{name}:{key}"), payload.to_string())
    }
}

impl Iterator for Traffic {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        Some(self.record())
    }
}

/// One request of one record, by its idempotency key `GROUP/TOPIC/PARTITION/OFFSET/INDEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sent {
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// The request's place among the record's requests.
    pub index: u32,
}

impl Sent {
    /// Whose request this was.
    ///
    /// # Panics
    /// When it carries no idempotency key of this host's form.
    pub fn of(seen: &Seen) -> Sent {
        let key = seen.idempotency_key.as_deref().unwrap_or_else(|| panic!("{} {} has no idempotency key", seen.method, seen.path));
        let mut parts = key.rsplit('/');
        let mut number = || parts.next().and_then(|part| part.parse::<i64>().ok()).unwrap_or_else(|| panic!("idempotency key `{key}`"));
        let (index, offset, partition) = (number(), number(), number());
        Sent { partition: partition as i32, offset, index: index as u32 }
    }
}

/// What a run showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Records of which every request came.
    pub records: usize,
    /// Requests, each counted once.
    pub requests: usize,
    /// Requests that came again.
    pub repeats: usize,
}

/// Holds the promises up: every request of every record came, each key's records first came in their order, and whatever came again was the
/// same to the byte. `requests` says how many requests a record makes. `seen` is in the order of arrival.
///
/// # Panics
/// At the first promise that was broken.
#[track_caller]
pub fn check(records: &[Message], requests: impl Fn(&Message) -> u32, seen: &[Seen]) -> Summary {
    let mut first: HashMap<Sent, &Seen> = HashMap::new();
    let mut repeats = 0;
    let keys: BTreeMap<(i32, i64), &Message> =
        records.iter().map(|message| ((message.partition.expect("a read record"), message.offset), message)).collect();
    let mut newest: HashMap<&[u8], Sent> = HashMap::new();
    for request in seen {
        let sent = Sent::of(request);
        if let Some(before) = first.get(&sent) {
            let same = |seen: &Seen| (seen.method.clone(), seen.path.clone(), seen.headers.clone(), seen.body.clone());
            assert_eq!(same(before), same(request), "a repeat differs: {sent:?}");
            repeats += 1;
            continue;
        }
        first.insert(sent, request);
        let record = keys.get(&(sent.partition, sent.offset)).unwrap_or_else(|| panic!("a request for a record that was never written: {sent:?}"));
        let Some(key) = record.key.as_deref() else { continue };
        if let Some(before) = newest.insert(key, sent) {
            assert!(before < sent, "key `{}`: {sent:?} came after {before:?}", String::from_utf8_lossy(key));
        }
    }
    let mut count = 0;
    for (&(partition, offset), record) in &keys {
        for index in 0..requests(record) {
            let sent = Sent { partition, offset, index };
            assert!(first.contains_key(&sent), "lost: {sent:?} of key {:?}", record.key.as_deref().map(String::from_utf8_lossy));
            count += 1;
        }
    }
    assert_eq!(first.len(), count, "requests that no record makes");
    Summary { records: keys.len(), requests: count, repeats }
}

/// How many requests a record of [`Traffic`] makes: a refund makes two.
pub fn requests(message: &Message) -> u32 {
    if message.key.as_deref().is_some_and(|key| key.starts_with(b"refund:")) { 2 } else { 1 }
}
