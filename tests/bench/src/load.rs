//! The records: three kinds of about a kilobyte each.

use std::collections::HashMap;

use e2e::{Broker, Message};

use crate::setting::PARTITIONS;

/// A load, the same for every run of the same size.
pub(crate) struct Load {
    messages: Vec<Message>,
    /// Requests that the records become.
    pub(crate) requests: usize,
    /// Of these, the ones of the key that has the most.
    pub(crate) longest_lane: usize,
}

impl Load {
    /// Records of these kinds in turn, over so many keys of each kind, some of which have much more than others.
    pub(crate) fn new(kinds: &[&str], records: usize, keys: usize) -> Load {
        let mut random = fastrand::Rng::with_seed(2026);
        let zipf = Zipf::new(keys);
        Load::of(kinds, records, |_| zipf.draw(&mut random))
    }

    /// Records of one kind, as many of one key as of another.
    pub(crate) fn even(kind: &str, records: usize, keys: usize) -> Load {
        Load::of(&[kind], records, |at| at % keys)
    }

    fn of(kinds: &[&str], records: usize, mut key: impl FnMut(usize) -> usize) -> Load {
        let mut lanes: HashMap<String, usize> = HashMap::new();
        let messages = (0..records).zip(kinds.iter().cycle()).map(|(at, kind)| {
            let (key, payload) = (format!("{kind}:{}", key(at)), payload(kind));
            *lanes.entry(key.clone()).or_default() += made(kind, &key, payload);
            Message::new(key, payload)
        });
        let messages = messages.collect();
        Load { messages, requests: lanes.values().sum(), longest_lane: lanes.values().copied().max().unwrap_or_default() }
    }

    /// Records for the plugin that loops in every call, over so many keys.
    pub(crate) fn looping(records: usize, keys: usize) -> Load {
        let messages = (0..records).map(|n| Message::new(format!("hostile-loop:{}", n % keys), "{}")).collect();
        Load { messages, requests: 0, longest_lane: records.div_ceil(keys) }
    }

    pub(crate) fn records(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn mean_bytes(&self) -> usize {
        self.messages.iter().map(|message| message.payload.as_ref().map_or(0, Vec::len)).sum::<usize>() / self.messages.len().max(1)
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = Message> {
        self.messages.iter().cloned()
    }

    pub(crate) fn produce(&self, broker: &Broker, topic: &str) {
        broker.produce(topic, self.messages());
    }

    /// Two topics of this name: one with this load alone, and one in which the records of another are spread evenly among its own.
    pub(crate) fn alone_and_among(&self, others: &Load, broker: &Broker, name: &str) -> [String; 2] {
        let [alone, among] = [broker.topic(name, PARTITIONS), broker.topic(name, PARTITIONS)];
        self.produce(broker, &alone);
        self.produce_among(others, broker, &among);
        [alone, among]
    }

    /// The same, with the records of another load spread evenly among its own.
    pub(crate) fn produce_among(&self, others: &Load, broker: &Broker, topic: &str) {
        let every = self.records() / others.records();
        let mut others = others.messages();
        broker.produce(
            topic,
            self.messages().enumerate().flat_map(|(at, own)| std::iter::once(own).chain((at % every == 0).then(|| others.next()).flatten())),
        );
    }
}

const ORDER: &str = include_str!("../payloads/order.json");
const SHIPMENT: &str = include_str!("../payloads/shipment.json");
const REFUND: &str = include_str!("../payloads/refund.json");

fn payload(kind: &str) -> &'static str {
    match kind {
        "order" => ORDER,
        "shipment" => SHIPMENT,
        _ => REFUND,
    }
}

/// How many requests the transform makes of it.
fn made(kind: &str, key: &str, payload: &str) -> usize {
    let message = keyway_sdk::testing::message(key, payload);
    let verdict = match kind {
        "order" => order::Plugin::transform(&message),
        "shipment" => shipment::Plugin::transform(&message),
        _ => refund::Plugin::transform(&message),
    };
    match verdict {
        keyway_sdk::Verdict::Send(requests) => requests.len(),
        other => panic!("the payload of {kind} makes no request: {other:?}"),
    }
}

/// Zipf's law with exponent 1: the k-th key has a share of 1/k.
struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    fn new(keys: usize) -> Zipf {
        let mut sum = 0.0;
        let cumulative = (1..=keys)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        Zipf { cumulative }
    }

    fn draw(&self, random: &mut fastrand::Rng) -> usize {
        let total = self.cumulative.last().copied().unwrap_or_default();
        let at = random.f64() * total;
        self.cumulative.partition_point(|&sum| sum < at)
    }
}
