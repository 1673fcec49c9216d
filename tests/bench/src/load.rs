//! The records: three kinds of about a kilobyte each, under keys that some of have much more than others.

use e2e::{Broker, Message};

/// Keys of each kind.
const KEYS: usize = 1_000;

/// A load, the same for every run of the same size.
pub(crate) struct Load {
    messages: Vec<Message>,
    /// Requests that the records become.
    pub(crate) requests: usize,
}

impl Load {
    pub(crate) fn new(records: usize) -> Load {
        let mut random = fastrand::Rng::with_seed(2026);
        let zipf = Zipf::new(KEYS);
        let mut requests = 0;
        let messages = (0..records)
            .map(|index| {
                let (kind, payload) = [("order", ORDER), ("shipment", SHIPMENT), ("refund", REFUND)][index % 3];
                let key = format!("{kind}:{}", zipf.draw(&mut random));
                requests += made(kind, &key, payload);
                Message::new(key, payload)
            })
            .collect();
        Load { messages, requests }
    }

    pub(crate) fn records(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn mean_bytes(&self) -> usize {
        self.messages.iter().map(|message| message.payload.as_ref().map_or(0, Vec::len)).sum::<usize>() / self.messages.len().max(1)
    }

    pub(crate) fn produce(&self, broker: &Broker, topic: &str) {
        broker.produce(topic, self.messages.iter().cloned());
    }
}

const ORDER: &str = include_str!("../payloads/order.json");
const SHIPMENT: &str = include_str!("../payloads/shipment.json");
const REFUND: &str = include_str!("../payloads/refund.json");

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
