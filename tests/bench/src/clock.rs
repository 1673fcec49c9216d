//! Records at a steady rate, each stamped with the time at which it was due, and how late their requests came (open loop).

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::traffic::Sent;
use e2e::{Destination, Message};

use crate::figures::milliseconds;

/// One clock for the destination's instants and Kafka's timestamps.
pub(crate) struct Clock {
    instant: Instant,
    /// The same moment in milliseconds since the epoch.
    epoch: f64,
}

/// The beginning of a phase, on a whole millisecond.
#[derive(Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) instant: Instant,
    pub(crate) timestamp: i64,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        Clock { instant: Instant::now(), epoch: milliseconds(epoch) }
    }

    /// In milliseconds since the epoch.
    pub(crate) fn at(&self, instant: Instant) -> f64 {
        self.epoch + milliseconds(instant - self.instant)
    }

    pub(crate) fn begin(&self) -> Begun {
        let timestamp = self.at(Instant::now()).ceil();
        let instant = self.instant + Duration::from_secs_f64((timestamp - self.epoch) / 1e3);
        Begun { instant, timestamp: timestamp as i64 }
    }

    /// When the first request of each record came, by partition and offset, in milliseconds since the epoch.
    pub(crate) fn arrivals(&self, destination: &Destination) -> HashMap<(i32, i64), f64> {
        let mut arrived: HashMap<(i32, i64), f64> = HashMap::new();
        for seen in destination.seen().iter() {
            let sent = Sent::of(seen);
            arrived.entry((sent.partition, sent.offset)).or_insert_with(|| self.at(seen.at));
        }
        arrived
    }
}

/// Stamps each message with the time at which it is due, so many a millisecond, and hands it on then.
pub(crate) fn paced(messages: impl Iterator<Item = Message>, per_millisecond: u32, begun: Begun) -> impl Iterator<Item = Message> {
    messages.zip(0_u32..).map(move |(message, at)| {
        let due = at / per_millisecond;
        std::thread::sleep((begun.instant + Duration::from_millis(due.into())).saturating_duration_since(Instant::now()));
        Message { timestamp: Some(begun.timestamp + i64::from(due)), ..message }
    })
}
