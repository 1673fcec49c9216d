//! How many requests may be in flight to a destination: a fixed number, or one that is found by watching it.
//!
//! Adaptive, the limit follows the latency that replies have at little load (`base`), as Netflix's concurrency-limits do with their gradient
//! (`limit = limit * base / latency + room`), measured in windows of whole round trips:
//!
//! * While the latency stays near `base` and the limit is what holds requests back, the limit grows: by half until the first sign
//!   of congestion (slow start, RFC 5681), by a twentieth after it.
//! * When the latency rises above `base`, requests are queueing at the destination. By Little's law the part of the limit that waits there is
//!   `1 - base / latency`, and the limit gives that part up at once.
//! * Overload said in words (408, 429, 503, 504) or by silence (timeouts, no connection) halves it, at most once a window (AIMD, Chiu and Jain, 1989).
//! * Every ten seconds the limit is halved for some windows, and their latency becomes the new `base` (BBR's ProbeRTT, Cardwell et al., 2016). So a
//!   destination that became slower for good is not taken for one that is overloaded, and a queue that is always there is not taken for normal.
//!
//! A window counts only requests that began in it: the latency of earlier ones says something of the limit before.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Concurrency;

/// Shortest window. Short against the two seconds in which a halved capacity is to be noticed, long against timer and scheduling noise.
const SHORTEST: Duration = Duration::from_millis(50);

/// Longest window, for destinations that are called rarely; a window without a single reply goes on.
const LONGEST: Duration = Duration::from_secs(1);

/// Replies that make a window before [`LONGEST`]. The mean of 32 exponentially distributed latencies is within a third of the truth nearly always.
const SAMPLES: u32 = 32;

/// Latency above `base` that counts as queueing. Less is noise.
const TOLERANCE: f64 = 1.1;

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
    base: Option<f64>,
    slow_start: bool,
    window: Window,
    probe: Probe,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    replies: u32,
    seconds: f64,
    overloaded: bool,
    /// Whether the limit held a request back.
    saturated: bool,
}

#[derive(Debug, Clone, Copy)]
enum Probe {
    /// Next at this time.
    At(Instant),
    /// Under way: windows seen, and the limit to go back to.
    Running { windows: u32, seconds: f64, replies: u32, before: f64 },
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
        Limit { bounds, limit, base: None, slow_start: true, window: Window::new(now), probe: Probe::At(now + PROBE_EVERY) }
    }

    /// Requests that may be in flight now.
    pub(super) fn get(&self) -> usize {
        self.limit as usize
    }

    /// The most that it can ever be.
    pub(super) fn most(&self) -> usize {
        self.bounds.map_or(self.limit, |(_, max)| max) as usize
    }

    /// A request had to wait because of the limit.
    pub(super) fn saturated(&mut self) {
        self.window.saturated = true;
    }

    /// The destination is back after it was left alone: begin small again, so that the first wave does not push it over.
    pub(super) fn restart(&mut self, now: Instant) {
        if let Some((min, max)) = self.bounds {
            self.limit = START.clamp(min, max);
            self.slow_start = true;
            self.window = Window::new(now);
            self.probe = Probe::At(now + PROBE_EVERY);
        }
    }

    /// An attempt that began at `begun` has ended.
    pub(super) fn ended(&mut self, begun: Instant, now: Instant, sign: Sign) {
        let Some(bounds) = self.bounds else { return };
        match sign {
            Sign::Reply(latency) if begun >= self.window.start => {
                self.window.replies += 1;
                self.window.seconds += latency.as_secs_f64();
            }
            Sign::Overload => self.window.overloaded |= begun >= self.window.start || now.saturating_duration_since(self.window.start) >= SHORTEST,
            Sign::Reply(_) | Sign::None => {}
        }
        let age = now.saturating_duration_since(self.window.start);
        let enough = self.window.replies >= SAMPLES && age >= SHORTEST || self.window.replies > 0 && age >= LONGEST;
        if self.window.overloaded {
            self.overload(bounds, now);
        } else if enough {
            self.close_window(bounds, now);
        }
    }

    fn overload(&mut self, (min, max): (f64, f64), now: Instant) {
        if let Probe::Running { before, .. } = self.probe {
            self.limit = before;
            self.probe = Probe::At(now + PROBE_EVERY);
        }
        self.slow_start = false;
        self.limit = (self.limit / 2.0).clamp(min, max);
        self.window = Window::new(now);
    }

    fn close_window(&mut self, (min, max): (f64, f64), now: Instant) {
        let window = std::mem::replace(&mut self.window, Window::new(now));
        let latency = window.seconds / f64::from(window.replies);
        if let Probe::Running { windows, seconds, replies, before } = self.probe {
            let (seconds, replies) = (seconds + window.seconds, replies + window.replies);
            // The first window still meets the queue that the limit before has left.
            if windows == 0 {
                self.probe = Probe::Running { windows: 1, seconds: 0.0, replies: 0, before };
            } else if windows < 2 {
                self.probe = Probe::Running { windows: windows + 1, seconds, replies, before };
            } else {
                self.base = Some(seconds / f64::from(replies));
                self.limit = before;
                self.probe = Probe::At(now + PROBE_EVERY);
            }
            return;
        }
        // Until there has been congestion, what is measured is the latency without it.
        let base = match self.base {
            None => *self.base.insert(latency),
            Some(base) if self.slow_start && latency < base => *self.base.insert(latency),
            Some(base) => base,
        };
        let ratio = latency / base;
        if ratio > TOLERANCE {
            self.slow_start = false;
            self.limit *= (AIM / ratio).max(0.5);
        } else if window.saturated {
            self.limit += if self.slow_start { self.limit / 2.0 } else { (self.limit / 20.0).max(1.0) };
        }
        self.limit = self.limit.clamp(min, max);
        if let Probe::At(at) = self.probe
            && now >= at
        {
            self.probe = Probe::Running { windows: 0, seconds: 0.0, replies: 0, before: self.limit };
            self.limit = (self.limit / 2.0).clamp(min, max);
        }
    }
}

impl Window {
    fn new(now: Instant) -> Window {
        Window { start: now, replies: 0, seconds: 0.0, overloaded: false, saturated: false }
    }
}

#[cfg(test)]
mod tests;
