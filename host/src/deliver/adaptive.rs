//! How many requests may be in flight to a destination: a fixed number, or one that is found by watching it.
//!
//! Adaptive, the limit follows the latency that replies have without a queue (`base`), as Netflix's concurrency-limits do with their gradient
//! (`limit = limit * base / latency + room`), measured in windows of at least one round trip:
//!
//! * While the latency stays near `base` and the limit is what holds requests back, the limit grows: by half until the first sign
//!   of congestion (slow start, RFC 5681), by a twentieth after it.
//! * When the latency rises above `base`, requests are queueing at the destination. By Little's law the part of the limit that waits there is
//!   `1 - base / latency`, and the limit gives that part up at once.
//! * Overload said in words (408, 429, 503, 504) or by silence (timeouts, no connection) halves it, at most once a window (AIMD, Chiu and Jain, 1989).
//! * Every ten seconds the limit is halved for a moment, and the latency then becomes the new `base` (BBR's ProbeRTT, Cardwell et al., 2016). So a
//!   destination that became slower for good is not taken for one that is overloaded, and a queue that is always there is not taken for normal.
//!
//! After each change of the limit a round trip is left out, because what ends in it began under the limit before.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Concurrency;

/// Shortest window. Short against the two seconds in which a halved capacity is to be noticed, long against timer and scheduling noise.
const SHORTEST: Duration = Duration::from_millis(50);

/// Longest window that is waited for [`SAMPLES`]; destinations that are called rarely are judged by what there is.
const LONGEST: Duration = Duration::from_secs(1);

/// Replies that make a window, at least.
const SAMPLES: u32 = 32;

/// A window whose mean is not known as well as this goes on for [`PATIENT`]: services whose latencies differ much are not judged by a few.
const PRECISION: f64 = 0.04;

/// See [`PRECISION`].
const PATIENT: Duration = Duration::from_millis(300);

/// Replies that a new `base` is made of, unless it is known very well from fewer: it stays for ten seconds, so it is worth more of them.
const BASE_SAMPLES: u32 = 128;

/// Latency above `base` that counts as queueing, beside what may be chance.
const TOLERANCE: f64 = 1.1;

/// Standard errors that may be chance. With one, unlucky windows starve a destination whose latencies are exponentially distributed; with two, a halved
/// capacity is noticed late (measured in the tests' model).
const DOUBT: f64 = 1.5;

/// Where a limit that was too high goes, in parts of the one that would leave no queue. A little above one keeps the destination busy.
const AIM: f64 = 1.05;

/// How often `base` is measured anew.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// Requests in flight at the start: small enough for any service, large enough to see something soon.
const START: f64 = 8.0;

/// What the end of an attempt says about the destination's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// A reply after this long.
    Reply(Duration),
    /// Overload, in words or by silence.
    Overload,
    /// Nothing.
    None,
}

#[derive(Debug)]
pub(super) struct Limit {
    bounds: Option<(f64, f64)>,
    limit: f64,
    /// Replies without a queue.
    base: Option<Tally>,
    phase: Phase,
    window: Window,
    probe_at: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Before the first congestion. All that was seen is what `base` is made of.
    SlowStart(Tally),
    Steady,
    /// The limit is halved to measure `base`; afterwards it goes back to what it was. A `base` that rose is measured a second time at half of
    /// that, because the first may have met a queue: one that was just draining, or one that half the limit still makes where capacity is lost.
    Probing {
        before: f64,
        second: bool,
    },
}

/// Replies added up.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    replies: u32,
    seconds: f64,
    squares: f64,
}

#[derive(Debug)]
struct Window {
    /// Replies count from here.
    start: Instant,
    tally: Tally,
    /// Whether the limit held a request back.
    saturated: bool,
}

impl Limit {
    pub(super) fn new(concurrency: Concurrency, now: Instant) -> Limit {
        let (bounds, limit) = match concurrency {
            Concurrency::Fixed(limit) => (None, limit.max(1) as f64),
            Concurrency::Adaptive { min, max } => {
                let (min, max) = (min.max(1) as f64, max.max(min).max(1) as f64);
                (Some((min, max)), START.clamp(min, max))
            }
        };
        Limit { bounds, limit, base: None, phase: Phase::SlowStart(Tally::default()), window: Window::new(now), probe_at: now + PROBE_EVERY }
    }

    /// Requests that may be in flight now.
    pub(super) fn get(&self) -> usize {
        self.limit as usize
    }

    /// A request had to wait because of the limit.
    pub(super) fn saturated(&mut self) {
        self.window.saturated = true;
    }

    /// The destination is back after it was left alone: begin small again, so that the first wave does not push it over.
    pub(super) fn restart(&mut self, now: Instant) {
        if let Some((min, max)) = self.bounds {
            self.limit = START.clamp(min, max);
            self.phase = Phase::SlowStart(Tally::default());
            self.window = Window::new(now);
            self.probe_at = now + PROBE_EVERY;
        }
    }

    /// An attempt has ended.
    pub(super) fn ended(&mut self, now: Instant, sign: Sign) {
        let Some(bounds) = self.bounds else { return };
        // None while the replies to what began under the limit before are left out.
        let Some(age) = now.checked_duration_since(self.window.start) else { return };
        match sign {
            Sign::Reply(latency) => self.window.tally.add(latency.as_secs_f64()),
            Sign::Overload => return self.overload(bounds, now),
            Sign::None => return,
        }
        let tally = self.window.tally;
        let (samples, patience) = match self.phase {
            Phase::Probing { .. } => (if tally.error() > PRECISION / 2.0 { BASE_SAMPLES } else { SAMPLES }, Duration::ZERO),
            Phase::SlowStart(_) | Phase::Steady => (SAMPLES, if tally.error() > PRECISION { PATIENT } else { Duration::ZERO }),
        };
        // At least a round trip, or the quick replies of it would stand for all.
        let least = SHORTEST.as_secs_f64().max(tally.mean()).min(LONGEST.as_secs_f64());
        if age.as_secs_f64() >= least && (tally.replies >= samples && age >= patience || age >= LONGEST) {
            self.close_window(bounds, now);
        }
    }

    fn overload(&mut self, (min, max): (f64, f64), now: Instant) {
        if let Phase::Probing { before, .. } = self.phase {
            self.limit = before;
        }
        self.phase = Phase::Steady;
        self.limit = (self.limit / 2.0).clamp(min, max);
        self.probe_at = now + PROBE_EVERY;
        // What fails in the next moments was sent before the limit was halved.
        self.window = Window::new(now + SHORTEST);
    }

    fn close_window(&mut self, (min, max): (f64, f64), now: Instant) {
        let Window { tally, saturated, .. } = std::mem::replace(&mut self.window, Window::new(now));
        let limit = self.limit;
        match self.phase {
            Phase::Probing { before, second: false } if self.base.is_some_and(|base| tally.mean() > base.mean() * TOLERANCE) => {
                self.phase = Phase::Probing { before, second: true };
                self.limit /= 2.0;
            }
            Phase::Probing { before, .. } => {
                self.base = Some(tally);
                self.phase = Phase::Steady;
                self.limit = before;
            }
            Phase::SlowStart(mut seen) => match tally.queueing(if seen.replies == 0 { tally } else { seen }) {
                Some(ratio) => {
                    self.phase = Phase::Steady;
                    self.limit *= (AIM / ratio).max(0.5);
                }
                None => {
                    seen.join(tally);
                    self.base = Some(seen);
                    self.phase = Phase::SlowStart(seen);
                    self.limit *= if saturated { 1.5 } else { 1.0 };
                }
            },
            Phase::Steady => match tally.queueing(*self.base.get_or_insert(tally)) {
                Some(ratio) => self.limit *= (AIM / ratio).max(0.5),
                None if saturated => self.limit += (self.limit / 20.0).max(1.0),
                None => {}
            },
        }
        if now >= self.probe_at && !matches!(self.phase, Phase::Probing { .. }) {
            self.probe_at = now + PROBE_EVERY;
            self.phase = Phase::Probing { before: self.limit.clamp(min, max), second: false };
            self.limit /= 2.0;
        }
        self.limit = self.limit.clamp(min, max);
        if self.limit != limit {
            self.window.start += Duration::from_secs_f64(tally.mean()).min(LONGEST);
        }
    }
}

impl Tally {
    fn add(&mut self, seconds: f64) {
        self.replies += 1;
        self.seconds += seconds;
        self.squares += seconds * seconds;
    }

    fn join(&mut self, other: Tally) {
        self.replies += other.replies;
        self.seconds += other.seconds;
        self.squares += other.squares;
    }

    fn mean(self) -> f64 {
        self.seconds / f64::from(self.replies.max(1))
    }

    /// How many times longer than without a queue these replies took, if that is more than chance may make of it; less what it may.
    fn queueing(self, base: Tally) -> Option<f64> {
        let ratio = self.mean() / base.mean();
        let doubt = DOUBT * ratio * self.error().hypot(base.error());
        (ratio - doubt > TOLERANCE).then_some(ratio - doubt)
    }

    /// Standard error of the mean, in parts of it.
    fn error(self) -> f64 {
        let mean = self.mean();
        let count = f64::from(self.replies.max(1));
        let variance = (self.squares / count - mean * mean).max(0.0);
        if mean > 0.0 { (variance / count).sqrt() / mean } else { 0.0 }
    }
}

impl Window {
    fn new(start: Instant) -> Window {
        Window { start, tally: Tally::default(), saturated: false }
    }
}

#[cfg(test)]
mod tests;
